"""Which replica is best: every legal cut of a model over the asked systems, each at the largest load that meets the latency targets, ranked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from accelmodel.catalog.hardware import AcceleratorFigures
from accelmodel.catalog.library import Library
from accelmodel.catalog.models import Model
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.money import HOME_SITE, OWNER, library, money
from accelmodel.studies.points import columns_of, load_of, replica

if TYPE_CHECKING:
    import pyarrow as pa

RANKINGS = {"cost_usd_per_mtok": False, "output_tokens_per_s_per_accelerator": True, "margin_fraction": True}


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself.

    >>> _powers_of_two(12)
    [1, 2, 4, 8, 12]
    """
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


_CUT = ("accelerators", "tensor_parallel", "expert_parallel", "attention_data_parallel", "pipeline_parallel", "context_parallel")


def cuts(of: Library, model: Model, system: str, **options: Any) -> Iterator[Replica]:
    """Every replica of a model inside one system: accelerators in powers of two, each split among tensor, attention-data and expert parallelism as is legal."""
    profile = of.system(system)
    ranks = of.accelerator(profile.accelerator).ranks
    for accelerators in _powers_of_two(profile.accelerators):
        every = _powers_of_two(accelerators * ranks)
        for data, expert in itertools.product(every, every if "moe" in model.architecture.kind_counts else [1]):
            if accelerators * ranks % data or accelerators * ranks % expert:
                continue
            try:
                yield replica(
                    model=model,
                    system=profile,
                    accelerators=accelerators,
                    attention_data_parallel=data,
                    expert_parallel=expert,
                    catalog=of,
                    **options,
                )
            except InputError as error:
                if error.key not in _CUT:
                    raise  # an option that is wrong for every cut; others are cuts that heads, experts or layers do not allow


def _check_single(**numbers: Any) -> None:
    for key, value in numbers.items():
        if value is not None and np.ndim(value):
            raise InputError("must be one number: a search is at one load", key=key, value=value)


def optimize(
    *,
    model: str | Model,
    system: str | Sequence[str],
    input_tokens: float,
    output_tokens: float,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    prefix_hit_fraction: float = 0.0,
    top: int = 10,
    by: str = "cost_usd_per_mtok",
    offer: str | Sequence[str] | None = None,
    books: str | None = None,
    occupancy: float | None = None,
    site: str = HOME_SITE,
    owner: str = OWNER,
    tier: str = "standard",
    catalog: Library | None = None,
    **options: Any,
) -> pa.Table:
    """The best replicas of a model over some systems at latency targets (means, s), a row each, best first: a `pyarrow.Table`.

    Each replica runs the largest load that meets the targets; `by` ranks (cost_usd_per_mtok, output_tokens_per_s_per_accelerator, margin_fraction),
    `options` are those of a replica that are the same for all (weights, kv, engine, mode ...). InputError where nothing fits, or nothing meets the
    targets.
    """
    import pyarrow as pa

    from accelmodel.results.table import table
    from accelmodel.studies.grid import replica_labels

    if top < 1:
        raise InputError("must be at least 1", key="top", value=top)
    if by not in RANKINGS:
        raise InputError(f"'{by}' ranks nothing", key="by", value=by, allowed=RANKINGS)
    _check_single(input_tokens=input_tokens, output_tokens=output_tokens, ttft_s=ttft_s, tpot_s=tpot_s, prefix_hit_fraction=prefix_hit_fraction)
    lib = catalog or library()
    the_model = lib.model(model) if isinstance(model, str) else model
    found = []
    lacking: InputError | None = None
    for name in [system] if isinstance(system, str) else system:
        try:
            ways = list(cuts(lib, the_model, name, **options))
        except InputError as error:
            if error.key not in AcceleratorFigures.model_fields:
                raise
            ways, lacking = [], error  # a figure that this system's accelerator has not; another's may
        for one in ways:
            load = load_of(
                one,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                prefix_hit_fraction=prefix_hit_fraction,
                ttft_s=math.inf if ttft_s is None else ttft_s,
                tpot_s=math.inf if tpot_s is None else tpot_s,
            )
            terms = money(one, offer=offer, books=books, occupancy=occupancy, site=site, owner=owner, tier=tier, catalog=lib)
            if load.impossible is None:
                found.append(table({**replica_labels(one, 1), **columns_of(one, load, terms)}))
    if not found and lacking is not None:
        raise lacking
    if not found:
        raise InputError(
            f"no replica of '{the_model.name}' on these systems meets the targets",
            key="system",
            value=", ".join([system] if isinstance(system, str) else system),
        )
    whole = pa.concat_tables(found, promote_options="permissive").unify_dictionaries()
    if by not in whole.column_names:
        raise InputError(f"ranking by '{by}' needs an offer by the token", key="offer", value=by)
    values = whole[by].to_numpy(zero_copy_only=False).astype(float)
    if np.isnan(values).all():
        raise InputError(f"no replica has a '{by}': its figures are unknown", key="by", value=by)
    order = np.argsort(np.where(np.isnan(values), math.inf, -values if RANKINGS[by] else values), kind="stable")
    return whole.take(pa.array(order[:top]))
