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
from accelmodel.studies.points import check_targets, columns_of, load_of, money_record, ranked_columns, replica

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.studies.percentiles import Draw
    from accelmodel.studies.points import Array, Load

_PER_ACCELERATOR = "output_tokens_per_s_per_accelerator"
_LOAD_TOLERANCE = 0.02  # of the largest load at a percentile
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


def _searched(
    lib: Library,
    the_model: Model,
    systems: list[str],
    options: Mapping[str, Any],
    lengths: tuple[float, float, float],
    targets: tuple[float, float],
    by: str,
    money_terms: Mapping[str, Any],
) -> tuple[list[_Candidates], InputError | None]:
    """Candidates of every system under every combination of options, and the figure that one of the systems lacks."""
    found: list[_Candidates] = []
    lacking: InputError | None = None
    for name, chosen in itertools.product(systems, choices(options)):
        try:
            ways = [one for one in cuts(lib, the_model, name, **chosen) if one.memory.pool_bytes > 0.0]
            if not ways:
                continue
            terms = money(ways[0], **money_terms, catalog=lib)
            if by == "margin_fraction" and not terms.sells(ways[0]):
                raise InputError(f"ranking by '{by}' needs an offer by the token", key="offer", value=by)
            found.append(_candidates(ways, terms, _load(ways[0], lengths, 1.0), *targets, by))
        except InputError as error:
            if error.key not in AcceleratorFigures.model_fields:
                raise
            lacking = error  # a figure that this system's accelerator has not; another's may
    return found, lacking


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
    percentile: int | None = None,
    input_variation: float = 0.0,
    output_variation: float = 0.0,
    seed: int = 0,
    catalog: Library | None = None,
    **options: Any,
) -> pa.Table:
    """The best replicas of a model over some systems at latency targets (means, s), a row each, best first: a `pyarrow.Table`.

    Each replica runs the largest load that meets the targets; `by` ranks (cost_usd_per_mtok, output_tokens_per_s_per_accelerator, margin_fraction),
    `options` are the others of a replica (weights, kv, engine, mode, pipeline_parallel ...): one value for all, or a list of values to search over.
    With a `percentile` (50, 90, 95, 99) the targets bound that one of the requests' latencies instead: the rows that would be shown are simulated, lengths
    varying as said (`percentiles.Draw`), each is run at the largest load that meets the targets so, and they are ranked anew; other replicas are not looked at
    but where one of these meets no target. InputError where nothing fits, or nothing meets the targets.
    """
    import pyarrow as pa

    from accelmodel.results.table import dated

    tail = _tail(percentile, ttft_s, tpot_s, input_variation, output_variation, seed)
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
    money_terms = {"offer": offer, "books": books, "occupancy": occupancy, "site": site, "owner": owner, "tier": tier}
    money_terms |= {"attribution": attribution, "purchase_usd": purchase_usd}
    found, lacking = _searched(lib, the_model, systems, options, (input_tokens, output_tokens, prefix_hit_fraction), (ttft_s, tpot_s), by, money_terms)
    every = [(part, index) for part in found for index in range(len(part.replicas))]
    if not every and lacking is not None:
        raise lacking
    if not every:
        raise InputError(f"no replica of '{the_model.name}' on these systems meets the targets", key="system", value=", ".join(systems))
    worth = np.concatenate([part.worth for part in found])
    if np.isnan(worth).all():
        raise InputError(f"no replica has a '{by}': its figures are unknown", key="by", value=by)
    order = np.argsort(np.where(np.isnan(worth), math.inf, -worth if RANKINGS[by] else worth), kind="stable")
    rows, dates = _shown((every[place] for place in order.tolist()), (input_tokens, output_tokens, prefix_hit_fraction), top, tail)
    if not rows:
        raise InputError(f"no replica of '{the_model.name}' on these systems meets the targets at this percentile", key="percentile", value=percentile)
    if tail is not None:
        rows.sort(key=lambda row: _rank(row, by))
    whole = dated(pa.concat_tables(rows, promote_options="permissive").unify_dictionaries(), dates)
    return whole if tail is None else whole.replace_schema_metadata({**(whole.schema.metadata or {}), "seed": str(seed)})


def _shown(ranked: Iterator[tuple[_Candidates, int]], lengths: tuple[float, float, float], top: int, tail: _Tail | None) -> tuple[list[pa.Table], set[str]]:
    """Rows of the first `top` candidates, at the loads that a tail allows where one is asked for, and the dates of their prices."""
    from accelmodel.results.table import table
    from accelmodel.studies.grid import replica_labels

    rows, dates = list[Any](), set[str]()
    for part, index in ranked:
        one, clients, more = part.replicas[index], float(part.concurrency[index]), dict[str, Any]()
        if tail is not None:
            more["mean_target_concurrency"] = np.array([clients])
            clients = float(tail.largest(one, part.terms, lengths, clients))
            if not clients:
                continue
            more |= ranked_columns(one, _load(one, lengths, clients), part.terms, tail.names, tail.draw)
        rows.append(table({**replica_labels(one, 1), **columns_of(one, _load(one, lengths, clients), part.terms), **more}))
        dates |= part.terms.price_dates(one.accelerator)
        if len(rows) == top:
            break
    return rows, dates


def _load(one: Replica, lengths: tuple[float, float, float], clients: float) -> Load:
    """So many clients; `lengths` are input tokens, output tokens and the share of the input that a prefix cache serves."""
    return load_of(one, input_tokens=lengths[0], output_tokens=lengths[1], prefix_hit_fraction=lengths[2], concurrency=clients)


def _rank(row: pa.Table, by: str) -> float:
    """What sorts a row of one replica, the best first; unknown ones last."""
    worth = row[by][0].as_py()
    return math.inf if worth is None else -worth if RANKINGS[by] else worth


@dataclass(frozen=True)
class _Tail:
    """Latency targets (s; inf: none) at a percentile, and what is drawn to find it."""

    ttft_s: float
    tpot_s: float
    names: tuple[str, str]
    draw: Draw

    def largest(self, one: Replica, terms: Money, lengths: tuple[float, float, float], clients: float) -> int:
        """The largest number of clients whose percentiles meet the targets, sought from `clients` on, to within 2 % or one; 0 where there is none.

        At most as many as the KV pool holds: more would only wait.
        """
        from accelmodel.serving.targets import largest_concurrency
        from accelmodel.studies.percentiles import largest_within

        isl, osl, hit = (np.array([float(value)]) for value in lengths)
        most = float(largest_concurrency(one.constants, isl, osl, hit, capped=one.capped_constants)[0, 0])
        known: dict[float, bool] = {}

        def holds(load: float) -> bool:
            whole = float(math.floor(load))
            if not 1.0 <= whole <= most:
                return False
            if whole not in known:
                found = ranked_columns(one, _load(one, lengths, whole), terms, self.names, self.draw)
                known[whole] = all(not found[name][0] > target for name, target in zip(self.names, (self.ttft_s, self.tpot_s), strict=True))
            return known[whole]

        return math.floor(largest_within(holds, clients, _LOAD_TOLERANCE))


def _tail(percentile: int | None, ttft_s: float | None, tpot_s: float | None, input_variation: float, output_variation: float, seed: int) -> _Tail | None:
    """What a percentile asks for; None where there is none. InputError for one that is not simulated, or without a target."""
    from accelmodel.studies.percentiles import Draw
    from accelmodel.studies.simulation_tables import PERCENTILES

    if percentile is None:
        return None
    if percentile not in PERCENTILES:
        raise InputError("is none of the percentiles that are simulated", key="percentile", value=percentile, allowed=tuple(map(str, PERCENTILES)))
    if ttft_s is None and tpot_s is None:
        raise InputError("needs a latency target: ttft_s, tpot_s or both", key="percentile", value=percentile)
    first_s, token_s = (math.inf if target is None else target for target in (ttft_s, tpot_s))
    names = (f"time_to_first_token_p{percentile}_s", f"time_per_output_token_p{percentile}_s")
    return _Tail(first_s, token_s, names, Draw(input_variation=input_variation, output_variation=output_variation, seed=seed))
