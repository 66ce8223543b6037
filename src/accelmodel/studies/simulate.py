"""A trace of requests served by replicas, request by request: percentiles, goodput, queue and KV cache over time, energy and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    prefill_replicas: int | None = None,
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
    of `evaluate`; the trace is the load, so that occupancy is 1 unless said otherwise. Where pools are apart (mode disaggregated), `replicas` decode and
    `prefill_replicas` prefill. `progress` is told how many requests are sent, of how many. InputError for wrong input, and for what is not simulated: a
    power cap, a closed loop of clients at pools apart or with a prefix cache.
    """
    from accelmodel.serving.simulation.replay import LARGEST_BATCH, ROUTINGS, replay, replay_pools

    counts = {"replicas": replicas, "prefill_replicas": prefill_replicas, "clients": clients, "largest_batch": largest_batch, "samples": samples}
    _check(replica, counts, routing, ROUTINGS, prefix_cache_tokens)
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
    requests = (replica.constants, load.arrival_s, load.input_tokens, load.output_tokens)
    how: dict[str, Any] = {
        "replicas": replicas,
        "routing": routing,
        "priority": load.priority,
        "sessions": load.session,
        "prompts": prompts,
        "cached_tokens": load.cached_tokens,
        "cache_tokens": prefix_cache_tokens,
        "largest_batch": largest_batch or LARGEST_BATCH,
        "progress": progress,
    }
    if prefill_replicas is None:
        found = replay(*requests, **how, clients=clients)
    else:
        found = replay_pools(*requests, **how, prefill_replicas=prefill_replicas)
    return _told(replica, found, terms, routing, ttft_s, tpot_s, samples)


def _check(replica: Replica, counts: Mapping[str, int | None], routing: str, routings: Sequence[str], prefix_cache_tokens: float | None) -> None:
    if not isinstance(replica, Replica):
        raise InputError("must be a replica: accelmodel.replica(model=..., system=...)", key="replica", value=replica)
    if replica.serving.power_cap_w is not None:
        raise InputError("a power cap is not simulated", key="power_cap_w", value=replica.serving.power_cap_w)
    for key, value in counts.items():
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < 1):
            raise InputError("must be a whole number of at least 1", key=key, value=value)
    apart = replica.serving.mode == "disaggregated"
    if apart and counts["prefill_replicas"] is None:
        raise InputError("is missing: pools apart need a number of replicas that prefill", key="prefill_replicas")
    if not apart and counts["prefill_replicas"] is not None:
        raise InputError("needs a replica of mode disaggregated", key="prefill_replicas", value=counts["prefill_replicas"])
    if apart and counts["clients"] is not None:
        raise InputError("a closed loop of clients is not simulated at pools apart", key="clients", value=counts["clients"])
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


def _told(replica: Replica, found: Simulated, terms: Money, routing: str, ttft_s: float | None, tpot_s: float | None, samples: int) -> Simulation:
    """The tables and the summary of what became of the requests."""
    from accelmodel.results.table import table

    rows, replicas = found.requests, found.states.shape[0]
    pools, decode = found.pools or (found,), (found.pools or (found,))[-1]
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
    if found.pools is not None:
        each["prefill_replica"] = found.pools[0].requests["replica"].astype(np.int64)
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
        "waiting_requests": sum(float((pool.requests["admitted_s"] - pool.requests["arrival_s"]).sum()) for pool in pools) / duration_s,
        "running_requests": sum(float((pool.requests["finish_s"] - pool.requests["admitted_s"]).sum()) for pool in pools) / duration_s,
        "kv_used_fraction": float((_held_s(decode) * decode.requests["kv_bytes"]).sum()) / duration_s / _pool_bytes(replica, replicas),
        "busy_time_fraction": float(np.concatenate([pool.states["busy_s"] for pool in pools]).mean()) / duration_s,
    }
    values |= _energy_and_cost(replica, found, terms, duration_s)
    return Simulation(Point(values), _of_each(table(each)), _series(replica, found, first_s, last_s, samples))


def _held_s(pool: Simulated) -> Array:
    """How long each request has run."""
    held: Array = pool.requests["finish_s"] - pool.requests["admitted_s"]
    return held


def _of_each(rows: pa.Table) -> pa.Table:
    """A table of requests, whose latencies are no means."""
    import pyarrow as pa

    fields = [field.with_metadata({key: text.replace(b", mean over requests", b"") for key, text in field.metadata.items()}) for field in rows.schema]
    return rows.cast(pa.schema(fields, metadata=rows.schema.metadata))


def _percentiles(name: str, seconds: Array) -> dict[str, Any]:
    """Mean and percentiles of a latency; None where no request has it."""
    known = seconds[~np.isnan(seconds)]
    if not known.size:
        return {f"{name}_s": None} | {f"{name}_p{rank}_s": None for rank in PERCENTILES}
    ranked = np.percentile(known, PERCENTILES)
    return {f"{name}_s": float(known.mean())} | {f"{name}_p{rank}_s": float(value) for rank, value in zip(PERCENTILES, ranked, strict=True)}


def _pool_bytes(replica: Replica, replicas: int) -> float:
    return float(replica.constants[0]["pool_bytes"]) * replicas


def _energy_and_cost(replica: Replica, found: Simulated, terms: Money, duration_s: float) -> dict[str, Any]:
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
        "replica_cost_usd_per_h": usd_per_h / joules.shape[0],
        "cost_usd": cost_usd,
        "cost_usd_per_mtok": cost_usd / (tokens + float(found.requests["input_tokens"].sum())) * _MILLION,
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()} | {"cost_basis": terms.basis}


def _series(replica: Replica, found: Simulated, first_s: float, last_s: float, samples: int) -> pa.Table:
    """Requests that wait and that run, and the KV cache they have reserved (of pools apart, where they decode), at evenly spaced times, in all."""
    from accelmodel.results.table import table

    time_s = np.linspace(first_s, last_s, samples)
    waiting, running = np.zeros(samples), np.zeros(samples)
    for pool in found.pools or (found,):
        arrived, admitted, finished = (_counted(pool.requests[name], time_s) for name in ("arrival_s", "admitted_s", "finish_s"))
        waiting += arrived - admitted
        running += admitted - finished
    rows = (found.pools or (found,))[-1].requests
    reserved = _counted(rows["admitted_s"], time_s, rows["kv_bytes"]) - _counted(rows["finish_s"], time_s, rows["kv_bytes"])
    return table(
        {
            "time_s": time_s,
            "waiting_requests": waiting,
            "running_requests": running,
            "kv_used_fraction": np.maximum(reserved, 0.0) / _pool_bytes(replica, found.states.shape[0]),
        }
    )


def _counted(when_s: Array, time_s: Array, weight: Array | None = None) -> Array:
    """How much has happened by each time, shape of `time_s`."""
    order = np.argsort(when_s, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(np.ones(when_s.shape) if weight is None else weight[order])])
    found: Array = total[np.searchsorted(when_s[order], time_s, side="right")]
    return found
