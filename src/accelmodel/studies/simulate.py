"""A trace of requests served by replicas, request by request: percentiles, goodput, queue and KV cache over time, energy and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.library import Library
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.money import HOME_SITE, OWNER, Money, money
from accelmodel.studies.points import Point, check_targets
from accelmodel.studies.traces import Trace
from accelmodel.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.serving.simulation.replay import Prompts, Simulated

Array = npt.NDArray[np.float64]

PERCENTILES = (50, 90, 95, 99)
_LATENCIES = ("time_to_first_token", "time_per_output_token", "request_latency")
_MILLION = 1e6


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation found: `summary` (its columns are attributes), `requests` (an Arrow table, one row a request) and `series` (samples over time)."""

    summary: Point
    requests: pa.Table
    series: pa.Table

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.summary, name)


def simulate(
    replica: Replica,
    trace: Any,
    *,
    replicas: int = 1,
    routing: str = "least-loaded",
    clients: int | None = None,
    stretch: float = 1.0,
    thicken: int = 1,
    seed: int = 0,
    prefix_cache_tokens: float | None = None,
    largest_batch: int | None = None,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    samples: int = 500,
    offer: str | Sequence[str] | None = None,
    books: str | None = None,
    occupancy: float = 1.0,
    site: str = HOME_SITE,
    owner: str = OWNER,
    tier: str = "standard",
    catalog: Library | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Serve a trace on `replicas` copies of a replica, iteration by iteration.

    `trace` is a path (Parquet, CSV), a table or a `Trace`; `stretch` moves its arrivals apart and `thicken` adds copies, drawn from `seed`. With `clients`
    its arrivals are forgotten: so many clients send its requests, each the next when its last is done. Prompts' hashes, if the trace has them, feed a prefix
    cache of `prefix_cache_tokens` a replica: what the KV pool spares where absent, none at 0. `ttft_s` and `tpot_s` are the targets of goodput. Money is that
    of `evaluate`; the trace is the load, so that occupancy is 1 unless said otherwise. `progress` is told how many requests are sent, of how many. InputError
    for wrong input, and for a way of serving that is not simulated (static batches, pools apart, power caps).
    """
    from accelmodel.serving.simulation.replay import LARGEST_BATCH, ROUTINGS, replay

    _check(replica, replicas, routing, ROUTINGS, clients, largest_batch, prefix_cache_tokens, samples)
    check_targets(ttft_s, tpot_s)
    load = Trace.of(trace).thickened(thicken, seed).stretched(stretch)
    _check_lengths(replica, load)
    if routing == "session" and load.session is None:
        raise InputError("needs a trace with a column 'session'", key="routing", value=routing)
    prompts = _prompts(load, prefix_cache_tokens)
    if routing == "prefix-affine" and prompts is None:
        raise InputError("needs a trace with a column 'hash_ids', and a prefix cache", key="routing", value=routing)
    if clients is not None and prompts is not None:
        raise InputError("a closed loop of clients has no prefix cache: set prefix_cache_tokens to 0", key="clients", value=clients)
    terms = money(replica, offer=offer, books=books, occupancy=occupancy, site=site, owner=owner, tier=tier, catalog=catalog)
    found = replay(
        replica.constants,
        load.arrival_s,
        load.input_tokens,
        load.output_tokens,
        replicas=replicas,
        routing=routing,
        clients=clients,
        priority=load.priority,
        sessions=load.session,
        prompts=prompts,
        cache_tokens=prefix_cache_tokens,
        largest_batch=largest_batch or LARGEST_BATCH,
        progress=progress,
    )
    return _told(replica, found, terms, replicas, routing, ttft_s, tpot_s, samples)


def _check(
    replica: Replica,
    replicas: int,
    routing: str,
    routings: Sequence[str],
    clients: int | None,
    largest_batch: int | None,
    prefix_cache_tokens: float | None,
    samples: int,
) -> None:
    if not isinstance(replica, Replica):
        raise InputError("must be a replica: accelmodel.replica(model=..., system=...)", key="replica", value=replica)
    if replica.serving.mode != "continuous":
        raise InputError("only continuous batching is simulated", key="mode", value=replica.serving.mode, allowed=("continuous",))
    if replica.serving.power_cap_w is not None:
        raise InputError("a power cap is not simulated", key="power_cap_w", value=replica.serving.power_cap_w)
    for key, value in (("replicas", replicas), ("clients", clients), ("largest_batch", largest_batch), ("samples", samples)):
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < 1):
            raise InputError("must be a whole number of at least 1", key=key, value=value)
    if routing not in routings:
        raise InputError(f"'{routing}' is no way to find a replica", key="routing", value=routing, allowed=routings)
    if prefix_cache_tokens is not None and not prefix_cache_tokens >= 0.0:
        raise InputError("must be at least 0", key="prefix_cache_tokens", value=prefix_cache_tokens)


def _check_lengths(replica: Replica, load: Trace) -> None:
    longest, limit = load.input_tokens + load.output_tokens, replica.model.architecture.max_context_tokens
    if longest.max() > limit:
        row = int(np.argmax(longest))
        message = f"request {row} of {longest[row]:,.0f} tokens exceeds the {limit:,} tokens of context of '{replica.model.name}'"
        raise InputError(message, key="input_tokens", value=float(load.input_tokens[row]))


def _prompts(load: Trace, prefix_cache_tokens: float | None) -> Prompts | None:
    from accelmodel.serving.simulation.replay import Prompts

    if load.hash_ids is None or load.first_hash is None or prefix_cache_tokens == 0.0:
        return None
    return Prompts(load.hash_ids, load.first_hash, load.block_tokens, int(load.hash_ids.max(initial=-1)) + 1)


def _told(
    replica: Replica, found: Simulated, terms: Money, replicas: int, routing: str, ttft_s: float | None, tpot_s: float | None, samples: int
) -> Simulation:
    """The tables and the summary of what became of the requests."""
    from accelmodel.results.table import table

    rows = found.requests
    arrival_s, beside_s, output = rows["arrival_s"], rows["beside_s"], rows["output_tokens"]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpot = np.where(output > 1.0, (rows["finish_s"] - rows["first_token_s"]) / (output - 1.0), math.nan)
    ttft, latency = rows["first_token_s"] - arrival_s + beside_s, rows["finish_s"] - arrival_s + beside_s
    each = {
        "request": np.arange(rows.shape[0]),
        "arrival_s": np.ascontiguousarray(arrival_s),
        "input_tokens": np.ascontiguousarray(rows["input_tokens"]),
        "output_tokens": np.ascontiguousarray(output),
        "cached_tokens": np.ascontiguousarray(rows["cached_tokens"]),
        "priority": rows["priority"].astype(np.int64),
        "replica": rows["replica"].astype(np.int64),
        "queue_s": rows["admitted_s"] - arrival_s,
        "time_to_first_token_s": ttft,
        "time_per_output_token_s": tpot,
        "request_latency_s": latency,
    }
    first_s, last_s = float(arrival_s.min()), float((arrival_s + latency).max())
    duration_s = last_s - first_s
    good = (ttft <= (math.inf if ttft_s is None else ttft_s)) & ~(tpot > (math.inf if tpot_s is None else tpot_s))
    values: dict[str, Any] = {"requests": rows.shape[0], "replicas": replicas, "routing": routing, "duration_s": duration_s}
    values |= {"requests_per_s": rows.shape[0] / duration_s}
    for name, seconds in zip(_LATENCIES, (ttft, tpot, latency), strict=True):
        values |= _percentiles(name, seconds)
    values |= {
        "goodput_fraction": float(good.mean()),
        "goodput_requests_per_s": float(good.sum()) / duration_s,
        "goodput_output_tokens_per_s": float(output[good].sum()) / duration_s,
        "output_tokens_per_s": float(output.sum()) / duration_s,
        "input_tokens_per_s": float(rows["input_tokens"].sum()) / duration_s,
        "prefix_hit_fraction": float(rows["cached_tokens"].sum() / rows["input_tokens"].sum()),
        "queue_s": float(each["queue_s"].mean()),
        # Little's law, of requests in the queue and of those admitted.
        "waiting_requests": float(each["queue_s"].sum()) / duration_s,
        "running_requests": float((rows["finish_s"] - rows["admitted_s"]).sum()) / duration_s,
        "kv_used_fraction": float(((rows["finish_s"] - rows["admitted_s"]) * rows["kv_bytes"]).sum()) / duration_s / _pool_bytes(replica, replicas),
        "busy_time_fraction": float(found.states["busy_s"].mean()) / duration_s,
    }
    values |= _energy_and_cost(replica, found, terms, replicas, duration_s)
    return Simulation(Point(values), table(each), _series(replica, found, replicas, first_s, last_s, samples))


def _percentiles(name: str, seconds: Array) -> dict[str, Any]:
    """Mean and percentiles of a latency; None where no request has it."""
    known = seconds[~np.isnan(seconds)]
    if not known.size:
        return {f"{name}_s": None} | {f"{name}_p{rank}_s": None for rank in PERCENTILES}
    ranked = np.percentile(known, PERCENTILES)
    return {f"{name}_s": float(known.mean())} | {f"{name}_p{rank}_s": float(value) for rank, value in zip(PERCENTILES, ranked, strict=True)}


def _pool_bytes(replica: Replica, replicas: int) -> float:
    return float(replica.constants[0]["pool_bytes"]) * replicas


def _energy_and_cost(replica: Replica, found: Simulated, terms: Money, replicas: int, duration_s: float) -> dict[str, Any]:
    """Energy and cost of all replicas over the duration; None where a figure is unknown."""
    from accelmodel.serving.simulation.energy import energy_j

    joules = energy_j(replica.constants, found, duration_s, replica.parameters["power_idle_fraction"])
    tokens = float(found.requests["output_tokens"].sum())
    power_w = joules / duration_s
    try:
        usd_per_h = float(terms.replica_cost_usd_per_h(replica, power_w).sum())
    except InputError:
        usd_per_h = math.nan
    cost_usd = usd_per_h * duration_s / SECONDS_PER_HOUR
    values = {
        "power_w": float(power_w.mean()),
        "energy_j": float(joules.sum()),
        "energy_j_per_output_token": float(joules.sum()) / tokens,
        "replica_cost_usd_per_h": usd_per_h / replicas,
        "cost_usd": cost_usd,
        "cost_usd_per_mtok": cost_usd / (tokens + float(found.requests["input_tokens"].sum())) * _MILLION,
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()} | {"cost_basis": terms.basis}


def _series(replica: Replica, found: Simulated, replicas: int, first_s: float, last_s: float, samples: int) -> pa.Table:
    """Requests that wait and that run, and the KV cache they have reserved, at evenly spaced times, all replicas together."""
    from accelmodel.results.table import table

    rows = found.requests
    time_s = np.linspace(first_s, last_s, samples)
    arrived, admitted = _counted(rows["arrival_s"], time_s), _counted(rows["admitted_s"], time_s)
    finished = _counted(rows["finish_s"], time_s)
    reserved = _counted(rows["admitted_s"], time_s, rows["kv_bytes"]) - _counted(rows["finish_s"], time_s, rows["kv_bytes"])
    return table(
        {
            "time_s": time_s,
            "waiting_requests": arrived - admitted,
            "running_requests": admitted - finished,
            "kv_used_fraction": np.maximum(reserved, 0.0) / _pool_bytes(replica, replicas),
        }
    )


def _counted(when_s: Array, time_s: Array, weight: Array | None = None) -> Array:
    """How much has happened by each time, shape of `time_s`."""
    order = np.argsort(when_s, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(np.ones(when_s.shape) if weight is None else weight[order])])
    found: Array = total[np.searchsorted(when_s[order], time_s, side="right")]
    return found
