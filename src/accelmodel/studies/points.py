"""Operating points: a replica by names, its latencies from `serving`, its cost and margin from `economics`."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.hardware import System
from accelmodel.catalog.library import Library
from accelmodel.catalog.models import Model
from accelmodel.catalog.workloads import Workload
from accelmodel.columns import COLUMNS, HIGH, LOW
from accelmodel.core.replica import Parallelism, Precision, Replica, Serving
from accelmodel.economics.attribution import token_weights
from accelmodel.errors import InputError
from accelmodel.studies.money import DEVICE_TIME, HOME_SITE, OWNER, Money, library, money

if TYPE_CHECKING:
    from accelmodel.serving.steady_state import Grid
    from accelmodel.studies.kernel import Wanted
    from accelmodel.studies.percentiles import Draw

Array = npt.NDArray[np.float64]

# A thread a core, up to where writing the columns is the limit.
_THREADS = min(os.cpu_count() or 1, 8)
_BOUNDED_FROM = {
    "time_to_first_token_s": "time_to_first_token",
    "time_per_output_token_s": "time_per_output_token",
    "output_tokens_per_s": "throughput",
    "cost_usd_per_mtok_output": "throughput",
    "cost_usd_per_mtok": "throughput",
    "margin_fraction": "throughput",
}


def replica(
    *,
    model: str | Model,
    system: str | System,
    accelerators: int | None = None,
    tensor_parallel: int | None = None,
    pipeline_parallel: int = 1,
    expert_parallel: int = 1,
    attention_data_parallel: int = 1,
    context_parallel: int = 1,
    weights: str | None = None,
    kv: str | None = None,
    compute: str | None = None,
    engine: str | None = None,
    mode: str = "continuous",
    chunk_tokens: float | None = None,
    compiled_batch: int | None = None,
    sequence_bucket: int | None = None,
    prompt_bucket: int | None = None,
    speculative_tokens: int = 0,
    acceptance_fraction: float | None = None,
    draft_model: str | Model | None = None,
    power_cap_w: float | None = None,
    catalog: Library | None = None,
) -> Replica:
    """A replica from names, paths (of a profile or a Hugging Face config.json) or catalogue objects.

    `accelerators` defaults to the whole system, `tensor_parallel` to what makes the ranks come out, `engine` to the calibration's default; the rest
    is described at `accelmodel.core.replica`: Parallelism, Precision, Serving. InputError says what cannot be combined, and why.
    """
    lib = catalog or library()
    the_system = lib.system(system) if isinstance(system, str) else system
    accelerator = lib.accelerator(the_system.accelerator)
    count = the_system.accelerators if accelerators is None else accelerators
    others = {
        "pipeline_parallel": pipeline_parallel,
        "expert_parallel": expert_parallel,
        "attention_data_parallel": attention_data_parallel,
        "context_parallel": context_parallel,
    }
    for key, value in ({"accelerators": count} | others).items():
        _check_count(key, value)
    if tensor_parallel is None:
        tensor_parallel = max(count * accelerator.ranks // (attention_data_parallel * pipeline_parallel * context_parallel), 1)
    _check_count("tensor_parallel", tensor_parallel)
    calibration = lib.calibration_of(accelerator)
    return Replica(
        model=lib.model(model) if isinstance(model, str) else model,
        system=the_system,
        accelerator=accelerator,
        accelerators=count,
        parallelism=Parallelism(tensor_parallel, pipeline_parallel, expert_parallel, attention_data_parallel, context_parallel),
        precision=Precision(weights, kv, compute),
        engine=calibration.engine(engine or calibration.default_engine),
        calibration=calibration,
        serving=Serving(
            mode=mode,  # type: ignore[arg-type]
            chunk_tokens=chunk_tokens,
            compiled_batch=compiled_batch,
            sequence_bucket=sequence_bucket,
            prompt_bucket=prompt_bucket,
            speculative_tokens=speculative_tokens,
            acceptance_fraction=acceptance_fraction,
            power_cap_w=power_cap_w,
        ),
        draft=lib.model(draft_model) if isinstance(draft_model, str) else draft_model,
    )


def _check_count(key: str, value: int) -> None:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise InputError("must be a whole number of at least 1", key=key, value=value)


class Point:
    """One operating point: its columns as attributes. None where there is no number."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return "Point(" + ", ".join(f"{name}={value!r}" for name, value in vars(self).items()) + ")"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the point has no column '{name}'; it has {', '.join(vars(self))}")

    def to_dict(self) -> dict[str, Any]:
        """Column -> value."""
        return dict(vars(self))


def evaluate(
    replica: Replica,
    *,
    input_tokens: Any,
    output_tokens: Any,
    concurrency: Any = None,
    requests_per_s: Any = None,
    prefix_hit_fraction: Any = 0.0,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    prefix_cache: str | Workload | None = None,
    columns: Sequence[str] | None = None,
    offer: str | Sequence[str] | None = None,
    books: str | None = None,
    occupancy: float | None = None,
    site: str = HOME_SITE,
    owner: str = OWNER,
    tier: str = "standard",
    attribution: str = DEVICE_TIME,
    purchase_usd: float | None = None,
    burstiness: float = 1.0,
    input_variation: float = 0.0,
    output_variation: float = 0.0,
    seed: int = 0,
    catalog: Library | None = None,
) -> Any:
    """Operating points of a replica: scalars give one `Point`, arrays broadcast to a `pyarrow.Table`.

    The load is `concurrency` (clients of a closed loop), or `requests_per_s`, or, where neither is given, the largest concurrency within the latency
    targets `ttft_s` and `tpot_s` (means, in seconds). `columns` picks and orders; default: all. Costs follow `offer`, `books`, `occupancy`, `site`
    and `owner`; without an offer by the hour they are the cost of ownership. `attribution` shares them out among input, cached input and output:
    "device-time", "price-weights", "blended" or "output-only"; `purchase_usd` replaces the owner's price of an accelerator with its share of the server.
    `prefix_cache` names a workload with a measured curve of prefix hits: the hit fraction is then what the spare KV pool serves at this load, in place of
    `prefix_hit_fraction`. Raises InputError for a load that is not positive and finite, and for unknown names.

    `columns` may name percentiles, as `simulate` has them (`time_to_first_token_p99_s`, also `..._p99_sampling_error_s`): the simulator makes them, of
    requests that a closed loop of clients sends, or that arrive at the rate; `burstiness`, `input_variation`, `output_variation` and `seed` say what is drawn
    (`percentiles.Draw`), and nothing else depends on them.
    """
    if not isinstance(replica, Replica):
        raise InputError("must be a replica: accelmodel.replica(model=..., system=...)", key="replica", value=replica)
    wanted = check_columns(columns)
    load = load_of(
        replica,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
        requests_per_s=requests_per_s,
        prefix_hit_fraction=prefix_hit_fraction,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        prefix_cache=(catalog or library()).workload(prefix_cache) if isinstance(prefix_cache, str) else prefix_cache,
    )
    offers = offer if offer is None or isinstance(offer, str) else tuple(offer)
    terms = _money_of(replica, offers, books, occupancy, site, owner, tier, attribution, purchase_usd, catalog)
    asked = percentile_names(wanted)
    others = wanted if wanted is None else tuple(name for name in wanted if name not in asked)
    ranked, metadata = dict[str, Array](), dict[str, str](attribution=terms.attribution)
    if asked:
        from accelmodel.studies.percentiles import Draw

        ranked = ranked_columns(replica, load, terms, asked, Draw(burstiness, input_variation, output_variation, seed))
        metadata["seed"] = str(seed)
    if load.scalar:
        point = point_of(replica, load, terms, others)
        return _with_ranked(point if others != () else Point({}), ranked, wanted) if asked else point
    from accelmodel.results.table import table

    found = columns_of(replica, load, terms, others) | ranked
    return table({name: found[name] for name in wanted or found}, metadata, terms.price_dates(replica.accelerator))


def ranked_columns(replica: Replica, load: Load, terms: Money, names: Sequence[str], draw: Draw) -> dict[str, Array]:
    """Percentiles of a load's points, by the simulator; NaN where a point does not run."""
    from accelmodel.studies.percentiles import percentiles

    fits = columns_of(replica, load, terms, ("fits",))["fits"].to_numpy(zero_copy_only=False)
    return percentiles(replica, load, fits, names, draw)


def _with_ranked(point: Point, ranked: Mapping[str, Array], wanted: Sequence[str] | None) -> Point:
    """The one point with its percentiles, its columns in the order wanted."""
    values = point.to_dict() | {name: None if math.isnan(seconds[0]) else float(seconds[0]) for name, seconds in ranked.items()}
    return Point({name: values[name] for name in wanted or values})


@functools.lru_cache(maxsize=512)
def _money_of(
    replica: Replica,
    offer: str | tuple[str, ...] | None,
    books: str | None,
    occupancy: float | None,
    site: str,
    owner: str,
    tier: str,
    attribution: str,
    purchase_usd: float | None,
    catalog: Library | None,
) -> Money:
    return money(
        replica,
        offer=offer,
        books=books,
        occupancy=occupancy,
        site=site,
        owner=owner,
        tier=tier,
        attribution=attribution,
        purchase_usd=purchase_usd,
        catalog=catalog,
    )


@dataclass(frozen=True)
class Load:
    """Loads that broadcast: the grid of INPUTS, which of its points no concurrency carries (None: all run), and the rate of each where that is the load."""

    grid: Grid
    impossible: npt.NDArray[np.bool_] | None
    scalar: bool
    requests_per_s: Array | None = None

    def input(self, name: str) -> Array:
        """One of the inputs, copied out to every point; NaN for the concurrency of an impossible load."""
        from accelmodel.serving.steady_state import INPUTS, spread

        values = spread(self.grid, INPUTS.index(name))
        return values if self.impossible is None or name != "concurrency" else np.where(self.impossible, math.nan, values)


def load_of(
    replica: Replica,
    *,
    input_tokens: Any,
    output_tokens: Any,
    concurrency: Any = None,
    requests_per_s: Any = None,
    prefix_hit_fraction: Any = 0.0,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    prefix_cache: Workload | None = None,
) -> Load:
    """Check a load, and solve for the concurrency where a rate or latency targets are given; InputError for what is not positive and finite."""
    from accelmodel.serving.steady_state import Grid

    check_targets(ttft_s, tpot_s)
    numbers = (input_tokens, output_tokens, concurrency, prefix_hit_fraction)
    if prefix_cache is None and requests_per_s is None and all(type(value) in (int, float) for value in numbers):
        _check_point(replica, *numbers)
        return Load(Grid.point(*numbers), None, scalar=True)
    given = [(key, value) for key, value in (("concurrency", concurrency), ("requests_per_s", requests_per_s)) if value is not None]
    if len(given) == 2:
        raise InputError("give concurrency or requests_per_s, not both", key="requests_per_s", value=requests_per_s)
    if not given and ttft_s is None and tpot_s is None:
        raise InputError("give a load: concurrency, or requests_per_s, or latency targets ttft_s and tpot_s", key="concurrency")
    key, load = given[0] if given else ("concurrency", 1.0)
    names = ("input_tokens", "output_tokens", key, "prefix_hit_fraction")
    arrays = [_numbers(name, value) for name, value in zip(names, (input_tokens, output_tokens, load, prefix_hit_fraction), strict=True)]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
        raise InputError(f"the arrays do not broadcast: {shapes}", key="input_tokens") from None
    _check_load(replica, key, arrays)
    if given and key == "concurrency" and prefix_cache is None:
        return Load(Grid.of(*arrays), None, scalar=shape == ())
    flat = [np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1) for array in arrays]
    if prefix_cache is not None:
        flat[3] = _hits(replica, flat, key if given else None, prefix_cache)
    solved, rate = _concurrency(replica, flat, key if given else None, ttft_s, tpot_s), flat[2] if key == "requests_per_s" else None
    impossible = np.isnan(solved)
    flat[2] = np.where(impossible, 1.0, solved)
    return Load(Grid.of(*flat), impossible if impossible.any() else None, scalar=shape == (), requests_per_s=rate)


def _check_point(replica: Replica, input_tokens: float, output_tokens: float, concurrency: float, hit: float) -> None:
    """`_check_load` for one point of plain numbers, without the cost of arrays: only what is wrong goes the long way, which words the error."""
    longest = input_tokens + output_tokens
    right = input_tokens >= 1 and output_tokens >= 1 and longest <= replica.model.architecture.max_context_tokens
    if not (right and 0 < concurrency < math.inf and 0 <= hit <= 1):
        _check_load(replica, "concurrency", [np.asarray(value, dtype=np.float64) for value in (input_tokens, output_tokens, concurrency, hit)])


def _numbers(key: str, value: Any) -> Array:
    try:
        array: Array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("must be a number or an array of numbers", key=key, value=value) from None
    return array


def _check_load(replica: Replica, load_key: str, arrays: Sequence[Array]) -> None:
    input_tokens, output_tokens, _, hit = arrays
    for key, values, least in zip(("input_tokens", "output_tokens", load_key), arrays, (1.0, 1.0, 0.0), strict=False):
        bad = ~(np.isfinite(values) & (values >= least) & (values > 0.0))
        if bad.any():
            raise InputError(f"must be finite and {'at least 1' if least else 'above 0'}, not {values[bad][0]:g}", key=key, value=float(values[bad][0]))
    bad = ~((hit >= 0.0) & (hit <= 1.0))
    if bad.any():
        raise InputError(f"must be from 0 to 1, not {hit[bad][0]:g}", key="prefix_hit_fraction", value=float(hit[bad][0]))
    longest = float(np.max(input_tokens, initial=0.0) + np.max(output_tokens, initial=0.0))
    limit = replica.model.architecture.max_context_tokens
    if longest > limit:
        longest = float(np.max(input_tokens + output_tokens, initial=0.0))
    if longest > limit:
        message = f"{longest:,.0f} tokens of input and output exceed the {limit:,} tokens of context of '{replica.model.name}'"
        raise InputError(message, key="input_tokens", value=longest)


def _hits(replica: Replica, flat: list[Array], key: str | None, workload: Workload) -> Array:
    """Hit fraction of a load whose concurrency is given, from a workload's measured curve."""
    from accelmodel.serving.prefix_cache import HitCurve, solve_hits

    if key != "concurrency" or flat[3].any():
        raise InputError("needs a concurrency, and no prefix_hit_fraction beside it", key="prefix_cache", value=workload.name)
    if not workload.prefix_hits or workload.requests_per_s is None:
        raise InputError(f"workload '{workload.name}' has no measured curve of prefix hits", key="prefix_cache", value=workload.name)
    sizes, fractions = (np.array([getattr(point, name).si for point in workload.prefix_hits]) for name in ("cache", "fraction"))
    return solve_hits(replica.constants, flat[0], flat[1], flat[2], HitCurve(sizes, fractions, workload.requests_per_s.si), replica.capped_constants)


def _concurrency(replica: Replica, flat: list[Array], key: str | None, ttft_s: float | None, tpot_s: float | None) -> Array:
    """The concurrency given, or the one that carries a rate, or the largest within latency targets; NaN where there is none."""
    if key == "concurrency":
        return flat[2]
    if key == "requests_per_s":
        from accelmodel.serving.steady_state import concurrency_at_rate

        return concurrency_at_rate(replica.constants, flat[0], flat[1], flat[2], flat[3], capped=replica.capped_constants)
    from accelmodel.serving.targets import largest_concurrency

    within = largest_concurrency(
        replica.constants,
        flat[0],
        flat[1],
        flat[3],
        ttft_s=math.inf if ttft_s is None else ttft_s,
        tpot_s=math.inf if tpot_s is None else tpot_s,
        capped=replica.capped_constants,
    )[0]
    return np.where(within > 0, within, math.nan)


def check_targets(ttft_s: float | None, tpot_s: float | None) -> None:
    """InputError for a latency target that is not above 0."""
    for name, target in (("ttft_s", ttft_s), ("tpot_s", tpot_s)):
        if target is not None and not target > 0:
            raise InputError("must be above 0", key=name, value=target)


def check_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """The wanted columns, each known; InputError with the nearest name otherwise."""
    if columns is None:
        return None
    ranked = percentile_names(columns)
    for name in columns:
        if name not in COLUMNS and name not in ranked and name.removesuffix(LOW).removesuffix(HIGH) not in _BOUNDED_FROM:
            from accelmodel.studies.percentiles import NAMES

            raise InputError(f"no column is called '{name}'", key="columns", value=name, allowed=(*COLUMNS, *NAMES))
    return tuple(columns)


def percentile_names(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Those of some columns that only a simulation gives."""
    if columns is None or not any("_p" in name and name not in COLUMNS for name in columns):
        return ()
    from accelmodel.studies.percentiles import NAMES

    return tuple(name for name in columns if name in NAMES)


_LOAD = ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction")
_SERVED = (
    *(
        "time_to_first_token_s",
        "time_per_output_token_s",
        "request_latency_s",
        "output_tokens_per_s",
        "input_tokens_per_s",
        "running_requests",
        "waiting_requests",
    ),
    *("kv_capacity_tokens", "fits", "binding", "power_w", "energy_j_per_output_token", "prefill_time_fraction", "cached_time_fraction"),
    *("output_tokens_per_s_per_accelerator", "output_tokens_per_s_per_user"),
)
_COSTS = ("replica_cost_usd_per_h", "cost_usd_per_mtok_input", "cost_usd_per_mtok_cached_input", "cost_usd_per_mtok_output", "cost_usd_per_mtok")
_SOLD = ("revenue_usd_per_h", "margin_fraction")
_ALWAYS_NUMBERS = ("input_tokens", "output_tokens", "prefix_hit_fraction", "kv_capacity_tokens", "weight_bytes_per_accelerator", "occupancy")
FIXED = ("cost_basis", "calibrated")  # columns that the kernel does not write: one value a replica
_WHERE_NOT_RUNNING = {"fits": 0.0, "binding": 4.0}


@dataclass(frozen=True)
class Plan:
    """How the columns of a replica on some money terms are made: what the kernel writes, its terms, and columns of one value."""

    columns: tuple[str, ...]
    wanted: Wanted
    terms: npt.NDArray[np.void]
    fixed: Mapping[str, Any]


@functools.lru_cache(maxsize=512)
def plan(replica: Replica, terms: Money, columns: tuple[str, ...] | None) -> Plan:
    """The plan of some columns, or of all that the terms give; InputError for a column that they do not."""
    from accelmodel.studies.kernel import wanted

    sells = terms.sells(replica)
    own = {name: (name, 0.0, 1.0) for name in (*_LOAD, *_SERVED) if name != "output_tokens_per_s_per_accelerator"}
    own["output_tokens_per_s_per_accelerator"] = ("output_tokens_per_s", 0.0, 1.0 / replica.accelerators)
    own |= {name: (name, 0.0, 1.0) for name in (*_COSTS, *(_SOLD if sells else ()))}
    own |= _bounds(replica, own)
    numbers = {"weight_bytes_per_accelerator": replica.memory.weight_bytes * replica.accelerator.ranks, "occupancy": terms.occupancy}
    own |= {name: ("fits", value, 0.0) for name, value in numbers.items()}  # a number that is the same everywhere is written like the others
    fixed = dict(zip(FIXED, (terms.basis, "extrapolated" if replica.is_extrapolated else "measured"), strict=True))
    first = (*_LOAD, *_SERVED, *numbers, *fixed)
    order = (*first, *(name for name in own if name not in first)) if columns is None else columns
    for name in order:
        if name.removesuffix(LOW).removesuffix(HIGH) in _SOLD and not sells:
            raise InputError(f"column '{name}' needs an offer that sells tokens, or hours on the cloud's books", key="offer", value=name)
        if name not in own and name not in fixed:
            raise InputError(f"no operating point has the column '{name}'", key="columns", value=name, allowed=(*own, *fixed))
    written = {name: own[name] for name in order if name in own}
    record = money_record(replica, terms, asked=columns is not None and any("usd" in row or row == "margin_fraction" for row, _, _ in written.values()))
    return Plan(order, wanted(written, bool(record["usd_per_h_per_w"][0])), record, {name: fixed[name] for name in order if name in fixed})


def money_record(replica: Replica, terms: Money, asked: bool) -> npt.NDArray[np.void]:
    """The money of a replica in the kernel's record; its cost is linear in its draw, so two evaluations give both coefficients.

    Where a figure of the cost is unknown, InputError names it if a column of money was asked for; otherwise those columns are null.
    """
    from accelmodel.studies.kernel import TERMS

    record = np.zeros(1, dtype=TERMS)
    record["occupancy"], record["hours_usd_per_h"] = terms.occupancy, math.nan
    try:
        fixed, with_1_w = terms.replica_cost_usd_per_h(replica, np.array([0.0, 1.0]))
    except InputError:
        if asked:
            raise
        fixed = with_1_w = math.nan
    record["fixed_usd_per_h"], record["usd_per_h_per_w"] = fixed, with_1_w - fixed
    prices, hours = terms.token_prices, terms.hours_usd_per_h(replica)
    if prices is not None:
        record["sells_tokens"] = 1
        for name in ("input", "output"):
            record[f"{name}_usd_per_mtok"] = getattr(prices, f"{name}_usd_per_mtok")
        record["cached_usd_per_mtok"] = prices.cached_input_usd_per_mtok
    elif hours is not None:
        record["hours_usd_per_h"] = hours
    if terms.attribution != DEVICE_TIME:
        record["by_weights"] = 1
        for name, weight in zip(("input", "cached", "output"), token_weights(terms.attribution, prices), strict=True):
            record[f"{name}_weight"] = weight
    return record


def _bounds(replica: Replica, own: Mapping[str, tuple[str, float, float]]) -> dict[str, tuple[str, float, float]]:
    """Central 90 % of what the engine believes, where the calibration has a spread: a factor either way on latencies and on throughput."""
    found = {}
    for name, metric in _BOUNDED_FROM.items():
        if replica.spread is not None and name in own:
            factor = getattr(replica.spread, metric).si
            down, up = (factor, 1.0 / factor) if name == "margin_fraction" else (1.0 / factor, factor)
            # A margin is 1 - cost / revenue, and the factor is on that ratio.
            shift = (1.0 - down, 1.0 - up) if name == "margin_fraction" else (0.0, 0.0)
            found[name + LOW], found[name + HIGH] = (name, shift[0], down), (name, shift[1], up)
    return found


def evaluated(replica: Replica, load: Load, made: Plan, threads: int = _THREADS) -> tuple[Array, bool]:
    """The plan's columns of a load, shape (columns, points), and whether a point may lack numbers.

    Blank where no concurrency carries the load.
    """
    from accelmodel.studies.kernel import run

    out, misfits = run(replica.constants, replica.capped_constants, made.terms, load.grid, made.wanted, threads)
    if load.impossible is not None:
        for row, name in enumerate(made.wanted.names):
            if name not in _ALWAYS_NUMBERS:
                out[row, load.impossible] = _WHERE_NOT_RUNNING.get(name, math.nan)
    return out, misfits > 0 or load.impossible is not None


def columns_of(replica: Replica, load: Load, terms: Money, columns: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Column -> array or Arrow array, the wanted ones in their order."""
    import pyarrow as pa

    from accelmodel.results.table import constant, every, labels, numbers
    from accelmodel.serving.steady_state import BINDINGS

    made = plan(replica, terms, columns)
    out, gaps = evaluated(replica, load, made)
    values: dict[str, Any] = {name: constant(value, load.grid.size) for name, value in made.fixed.items()}
    for name, row in zip(made.wanted.names, out, strict=True):
        if name == "fits":
            values[name] = pa.array(row == 1.0) if gaps else every(row.size)
        elif name == "binding":
            values[name] = labels(row, BINDINGS)
        else:
            # A cost that nobody knows is NaN in every row.
            values[name] = numbers(row, gaps or (row.size > 0 and bool(np.isnan(row[0]))) or name == "cost_usd_per_mtok_cached_input")
    return {name: values[name] for name in made.columns}


def point_of(replica: Replica, load: Load, terms: Money, columns: tuple[str, ...] | None = None) -> Point:
    """The one point of a load, as plain Python values; None where there is no number."""
    from accelmodel.serving.steady_state import BINDINGS

    made = plan(replica, terms, columns)
    out, _ = evaluated(replica, load, made)
    values: dict[str, Any] = dict.fromkeys(made.columns)
    values.update(made.fixed)
    values.update(zip(made.wanted.names, out[:, 0].tolist(), strict=True))
    if "fits" in values:
        values["fits"] = values["fits"] == 1.0
    if "binding" in values:
        values["binding"] = BINDINGS[int(values["binding"])]
    for name, value in values.items():
        if value != value:
            values[name] = None
    return Point(values)
