"""Which replica is best: every legal cut of a model over the asked systems, each at the largest load that meets the latency targets, ranked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from accelmodel.catalog.hardware import AcceleratorFigures
from accelmodel.catalog.library import Library
from accelmodel.catalog.models import Model
from accelmodel.core.replica import Parallelism, Replica
from accelmodel.errors import InputError
from accelmodel.studies.money import DEVICE_TIME, HOME_SITE, OWNER, Money, library, money
from accelmodel.studies.points import check_targets, columns_of, load_of, money_record, replica

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.studies.points import Array, Load

_PER_ACCELERATOR = "output_tokens_per_s_per_accelerator"
RANKINGS = {"cost_usd_per_mtok": False, _PER_ACCELERATOR: True, "margin_fraction": True}


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
    first: Replica | None = None  # the others are cut from it: names are looked up once
    for accelerators in _powers_of_two(profile.accelerators):
        every = _powers_of_two(accelerators * ranks)
        for data, expert in itertools.product(every, every if "moe" in model.architecture.kind_counts else [1]):
            if accelerators * ranks % data or accelerators * ranks % expert:
                continue
            try:
                if first is None:
                    first = replica(
                        model=model,
                        system=profile,
                        accelerators=accelerators,
                        attention_data_parallel=data,
                        expert_parallel=expert,
                        catalog=of,
                        **options,
                    )
                    yield first
                else:
                    ways = first.parallelism
                    inside = data * ways.pipeline * ways.context
                    tensor = options.get("tensor_parallel") or max(accelerators * ranks // inside, 1)
                    yield replace(first, accelerators=accelerators, parallelism=Parallelism(tensor, ways.pipeline, expert, data, ways.context))
            except InputError as error:
                if error.key not in _CUT:
                    raise  # an option that is wrong for every cut; others are cuts that heads, experts or layers do not allow


def choices(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of options of which several values are given.

    >>> choices({"weights": ["fp8", "bf16"], "engine": "vllm"})
    [{'weights': 'fp8', 'engine': 'vllm'}, {'weights': 'bf16', 'engine': 'vllm'}]
    """
    several = [value if isinstance(value, (list, tuple)) else [value] for value in options.values()]
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*several)]


@dataclass(frozen=True)
class _Candidates:
    """Replicas on one system, each at the largest load that meets the targets, and what each is worth; NaN where that is unknown."""

    replicas: list[Replica]
    terms: Money
    concurrency: Array
    worth: Array


def _candidates(ways: list[Replica], terms: Money, load: Load, ttft_s: float, tpot_s: float, by: str) -> _Candidates:
    """Search and compare many replicas in two calls of the kernels; those that meet no target are left out."""
    from accelmodel.core.fold import stacked
    from accelmodel.serving.targets import largest_concurrency
    from accelmodel.studies.kernel import TERMS, compare

    constants = stacked(one.constants for one in ways)
    capped = stacked(one.capped_constants for one in ways)
    isl, osl, _, hit = load.grid.values
    concurrency = largest_concurrency(constants, isl, osl, hit, ttft_s=ttft_s, tpot_s=tpot_s, capped=capped)[:, 0]
    # Money depends on the size of a replica, not on how it is cut.
    of_size = {one.accelerators: one for one in ways}
    money_of = {size: money_record(one, terms, asked=False) for size, one in of_size.items()}
    records = stacked((money_of[one.accelerators] for one in ways), TERMS)
    loads = np.array([[isl[0], osl[0], max(clients, 1.0), hit[0]] for clients in concurrency])
    worth = compare(constants, capped, records, loads, "output_tokens_per_s" if by == _PER_ACCELERATOR else by)
    if by == _PER_ACCELERATOR:
        worth = worth / np.array([one.accelerators for one in ways])
    meeting = concurrency > 0
    return _Candidates([one for one, meets in zip(ways, meeting, strict=True) if meets], terms, concurrency[meeting], worth[meeting])


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
    attribution: str = DEVICE_TIME,
    purchase_usd: float | None = None,
    catalog: Library | None = None,
    **options: Any,
) -> pa.Table:
    """The best replicas of a model over some systems at latency targets (means, s), a row each, best first: a `pyarrow.Table`.

    Each replica runs the largest load that meets the targets; `by` ranks (cost_usd_per_mtok, output_tokens_per_s_per_accelerator, margin_fraction),
    `options` are the others of a replica (weights, kv, engine, mode, pipeline_parallel ...): one value for all, or a list of values to search over.
    InputError where nothing fits, or nothing meets the targets.
    """
    import pyarrow as pa

    from accelmodel.results.table import dated, table
    from accelmodel.studies.grid import replica_labels

    if top < 1:
        raise InputError("must be at least 1", key="top", value=top)
    if by not in RANKINGS:
        raise InputError(f"'{by}' ranks nothing", key="by", value=by, allowed=RANKINGS)
    _check_single(input_tokens=input_tokens, output_tokens=output_tokens, ttft_s=ttft_s, tpot_s=tpot_s, prefix_hit_fraction=prefix_hit_fraction)
    lib = catalog or library()
    the_model = lib.model(model) if isinstance(model, str) else model
    ttft_s, tpot_s = (math.inf if target is None else target for target in (ttft_s, tpot_s))
    check_targets(ttft_s, tpot_s)
    systems = [system] if isinstance(system, str) else list(system)
    found: list[_Candidates] = []
    lacking: InputError | None = None
    for name, chosen in itertools.product(systems, choices(options)):
        try:
            ways = [one for one in cuts(lib, the_model, name, **chosen) if one.memory.pool_bytes > 0.0]
            if not ways:
                continue
            load = load_of(ways[0], input_tokens=input_tokens, output_tokens=output_tokens, concurrency=1.0, prefix_hit_fraction=prefix_hit_fraction)
            terms = money(
                ways[0],
                offer=offer,
                books=books,
                occupancy=occupancy,
                site=site,
                owner=owner,
                tier=tier,
                attribution=attribution,
                purchase_usd=purchase_usd,
                catalog=lib,
            )
            if by == "margin_fraction" and not terms.sells(ways[0]):
                raise InputError(f"ranking by '{by}' needs an offer by the token", key="offer", value=by)
            found.append(_candidates(ways, terms, load, ttft_s, tpot_s, by))
        except InputError as error:
            if error.key not in AcceleratorFigures.model_fields:
                raise
            lacking = error  # a figure that this system's accelerator has not; another's may
    every = [(part, index) for part in found for index in range(len(part.replicas))]
    if not every and lacking is not None:
        raise lacking
    if not every:
        raise InputError(f"no replica of '{the_model.name}' on these systems meets the targets", key="system", value=", ".join(systems))
    worth = np.concatenate([part.worth for part in found])
    if np.isnan(worth).all():
        raise InputError(f"no replica has a '{by}': its figures are unknown", key="by", value=by)
    order = np.argsort(np.where(np.isnan(worth), math.inf, -worth if RANKINGS[by] else worth), kind="stable")
    rows, dates = [], set[str]()
    for part, index in (every[place] for place in order[:top].tolist()):
        one = part.replicas[index]
        load = load_of(
            one,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=float(part.concurrency[index]),
            prefix_hit_fraction=prefix_hit_fraction,
        )
        rows.append(table({**replica_labels(one, 1), **columns_of(one, load, part.terms)}))
        dates |= part.terms.price_dates(one.accelerator)
    return dated(pa.concat_tables(rows, promote_options="permissive").unify_dictionaries(), dates)
