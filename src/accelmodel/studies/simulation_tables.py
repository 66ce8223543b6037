"""What became of a trace's requests, in tables: one row a request, samples over time, a summary; of one pool of replicas or of several together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.money import Money
from accelmodel.studies.points import Point
from accelmodel.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.serving.simulation.replay import Simulated

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PERCENTILES = (50, 90, 95, 99)
_LATENCIES = ("time_to_first_token", "time_per_output_token", "request_latency")
_MILLION = 1e6


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a pool made of its requests, which stand at `places` of the trace."""

    name: str
    replica: Replica
    found: Simulated
    terms: Money
    routing: str
    places: Integers

    @property
    def parts(self) -> tuple[Simulated, ...]:
        """The simulations of the replicas that prefill and of those that decode where they are apart, else the one."""
        return self.found.pools or (self.found,)

    @property
    def replicas(self) -> int:
        """Number of replicas, without those that only prefill."""
        return int(self.found.states.shape[0])

    @property
    def pool_bytes(self) -> float:
        """Bytes of the replicas' KV pools."""
        return float(self.replica.constants[0]["pool_bytes"]) * self.replicas


@dataclass(frozen=True)
class Stays:
    """When requests ran, from admission to eviction or finish, when they began to decode, and what of the KV pool they had before and in the end; arrays of one
    length.
    """

    begin_s: Array
    joined_s: Array
    end_s: Array
    first_bytes: Array
    last_bytes: Array

    @classmethod
    def of(cls, replica: Replica, pool: Simulated) -> Stays:
        """Of the requests of a pool: what they reserved, or, where they preempt, what their prompts took and what they had in the end."""
        from accelmodel.serving.simulation.replay import kv_bytes

        rows = pool.requests
        if pool.stays is None:
            begin_s, end_s, kept = (np.ascontiguousarray(rows[name]) for name in ("admitted_s", "finish_s", "kv_bytes"))
            return cls(begin_s, end_s, end_s, kept, kept)
        every = np.concatenate([rows, pool.stays])
        prompts = kv_bytes(replica.constants, rows["input_tokens"] + rows["sent_tokens"])
        evicted = kv_bytes(replica.constants, pool.stays["input_tokens"] + pool.stays["sent_tokens"])
        first, last = np.concatenate([prompts, pool.stays["kv_bytes"]]), np.concatenate([rows["kv_bytes"], evicted])
        joined_s = np.where(every["joined_s"] > every["since_s"], every["joined_s"], every["finish_s"])
        return cls(every["since_s"], joined_s, every["finish_s"], first, last)

    @property
    def byte_s(self) -> float:
        """Bytes of the KV pool times seconds."""
        decoding_s = self.end_s - self.joined_s
        return float((self.first_bytes * (self.held_s - decoding_s) + 0.5 * (self.first_bytes + self.last_bytes) * decoding_s).sum())

    @property
    def held_s(self) -> Array:
        """How long each lasted."""
        return self.end_s - self.begin_s

    def at(self, time_s: Array) -> tuple[Array, Array]:
        """How many run at each time, and what they have of the KV pool; while they decode it grows evenly with time."""
        begun, ended = _Sampled(self.begin_s, time_s), _Sampled(self.end_s, time_s)
        held_bytes = begun.so_far(self.first_bytes) - ended.so_far(self.first_bytes)
        if self.last_bytes is not self.first_bytes:
            joined, decoding_s = _Sampled(self.joined_s, time_s), self.end_s - self.joined_s
            growth = np.where(decoding_s > 0.0, self.last_bytes - self.first_bytes, 0.0) / np.where(decoding_s > 0.0, decoding_s, 1.0)
            rate, level = (joined.so_far(weight) - ended.so_far(weight) for weight in (growth, growth * self.joined_s))
            held_bytes = held_bytes + rate * time_s - level
        return begun.so_far() - ended.so_far(), np.maximum(held_bytes, 0.0)


@dataclass(frozen=True, eq=False)
class Latencies:
    """Columns of n requests: arrays (n,)."""

    arrival_s: Array
    input_tokens: Array
    output_tokens: Array
    cached_tokens: Array
    queue_s: Array
    ttft_s: Array
    tpot_s: Array
    latency_s: Array

    @classmethod
    def of(cls, rows: npt.NDArray[np.void]) -> Latencies:
        """Those of simulated requests; TPOT is NaN where there is but one token."""
        arrival_s, beside_s, output = rows["arrival_s"], rows["beside_s"], rows["output_tokens"]
        with np.errstate(invalid="ignore", divide="ignore"):
            tpot_s = np.where(output > 1.0, (rows["finish_s"] - rows["first_token_s"]) / (output - 1.0), math.nan)
        arrived, given, sent, cached = (np.ascontiguousarray(rows[name]) for name in ("arrival_s", "input_tokens", "output_tokens", "cached_tokens"))
        ttft_s, latency_s = rows["first_token_s"] - arrival_s + beside_s, rows["finish_s"] - arrival_s + beside_s
        return cls(arrived, given, sent, cached, rows["admitted_s"] - arrival_s, ttft_s, tpot_s, latency_s)

    def within(self, ttft_s: float | None, tpot_s: float | None) -> npt.NDArray[np.bool_]:
        """Who meets the targets."""
        good: npt.NDArray[np.bool_] = (self.ttft_s <= (math.inf if ttft_s is None else ttft_s)) & ~(self.tpot_s > (math.inf if tpot_s is None else tpot_s))
        return good


def span(served: Sequence[Outcome]) -> tuple[float, float]:
    """From the first arrival to the last token."""
    every = [one.found.requests for one in served]
    return min(float(rows["arrival_s"].min()) for rows in every), max(float((rows["finish_s"] + rows["beside_s"]).max()) for rows in every)


def requests_table(served: Sequence[Outcome]) -> pa.Table:
    """One row a request, in the order of the trace; of several pools with their names."""
    import pyarrow as pa

    from accelmodel.results.table import table

    order = np.argsort(np.concatenate([one.places for one in served]), kind="stable") if len(served) > 1 else None
    rows = np.concatenate([one.found.requests for one in served])[order] if order is not None else served[0].found.requests
    of = Latencies.of(rows)
    each: dict[str, Any] = {"request": np.arange(rows.shape[0])}
    if order is not None:
        codes = np.concatenate([np.full(one.places.shape, place, np.int32) for place, one in enumerate(served)])[order]
        each["pool"] = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array([one.name for one in served]))
    each |= {"arrival_s": of.arrival_s, "input_tokens": of.input_tokens, "output_tokens": of.output_tokens, "cached_tokens": of.cached_tokens}
    each |= {name: rows[name].astype(np.int64) for name in ("priority", "replica", "preemptions")}
    each |= {"queue_s": of.queue_s, "time_to_first_token_s": of.ttft_s, "time_per_output_token_s": of.tpot_s, "request_latency_s": of.latency_s}
    if any(one.found.pools for one in served):
        numbers = [one.found.pools[0].requests["replica"] if one.found.pools else np.full(one.places.shape, -1) for one in served]
        prefill = np.concatenate(numbers).astype(np.int64)
        prefill = prefill if order is None else prefill[order]
        each["prefill_replica"] = pa.array(prefill, mask=prefill < 0)
    return _of_each(table(each))


def _of_each(rows: pa.Table) -> pa.Table:
    """A table of requests, whose latencies are no means."""
    import pyarrow as pa

    fields = [field.with_metadata({key: text.replace(b", mean over requests", b"") for key, text in field.metadata.items()}) for field in rows.schema]
    return rows.cast(pa.schema(fields, metadata=rows.schema.metadata))


def summary(served: Sequence[Outcome], duration_s: float, ttft_s: float | None, tpot_s: float | None) -> Point:
    """What pools made of their requests together, in `duration_s`."""
    rows = np.concatenate([one.found.requests for one in served]) if len(served) > 1 else served[0].found.requests
    of, replicas = Latencies.of(rows), sum(one.replicas for one in served)
    good, stays = of.within(ttft_s, tpot_s), [Stays.of(one.replica, part) for one in served for part in one.parts]
    running = sum(float(some.held_s.sum()) for some in stays) / duration_s
    in_system = sum(float((part.requests["finish_s"] - part.requests["arrival_s"]).sum()) for one in served for part in one.parts) / duration_s
    values: dict[str, Any] = {"requests": rows.shape[0], "replicas": replicas, "routing": _named(one.routing for one in served), "duration_s": duration_s}
    values |= {"requests_per_s": rows.shape[0] / duration_s}
    for name, seconds in zip(_LATENCIES, (of.ttft_s, of.tpot_s, of.latency_s), strict=True):
        values |= _percentiles(name, seconds)
    values |= {
        "goodput_fraction": float(good.mean()),
        "goodput_requests_per_s": float(good.sum()) / duration_s,
        "goodput_output_tokens_per_s": float(of.output_tokens[good].sum()) / duration_s,
        "output_tokens_per_s": float(of.output_tokens.sum()) / duration_s,
        "input_tokens_per_s": float(of.input_tokens.sum()) / duration_s,
        "prefix_hit_fraction": float(of.cached_tokens.sum() / of.input_tokens.sum()),
        "queue_s": float(of.queue_s.mean()),
        "preemptions": int(rows["preemptions"].sum()),
        # Little's law, of requests in the queue and of those admitted.
        "waiting_requests": in_system - running,
        "running_requests": running,
        "kv_used_fraction": sum(Stays.of(one.replica, one.parts[-1]).byte_s for one in served) / duration_s / sum(one.pool_bytes for one in served),
        "busy_time_fraction": float(np.concatenate([part.states["busy_s"] for one in served for part in one.parts]).mean()) / duration_s,
    }
    return Point(values | _energy_and_cost(served, duration_s))


def _named(names: Any) -> str:
    """Different names as one."""
    return " and ".join(dict.fromkeys(names))


def _percentiles(name: str, seconds: Array) -> dict[str, Any]:
    """Mean and percentiles of a latency; None where no request has it."""
    known = seconds[~np.isnan(seconds)]
    if not known.size:
        return {f"{name}_s": None} | {f"{name}_p{rank}_s": None for rank in PERCENTILES}
    ranked = np.percentile(known, PERCENTILES)
    return {f"{name}_s": float(known.mean())} | {f"{name}_p{rank}_s": float(value) for rank, value in zip(PERCENTILES, ranked, strict=True)}


def _energy_and_cost(served: Sequence[Outcome], duration_s: float) -> dict[str, Any]:
    """Energy and cost of all replicas over the duration; None where a figure is unknown."""
    from accelmodel.serving.simulation.energy import energy_j

    joules = [energy_j(one.replica.constants, one.found, duration_s, one.replica.parameters["power_idle_fraction"]) for one in served]
    every, output = np.concatenate(joules), sum(float(one.found.requests["output_tokens"].sum()) for one in served)
    tokens = output + sum(float(one.found.requests["input_tokens"].sum()) for one in served)
    usd_per_h = sum(_usd_per_h(one, some / duration_s) for one, some in zip(served, joules, strict=True))
    cost_usd = usd_per_h * duration_s / SECONDS_PER_HOUR
    values = {
        "power_w": float(every.mean()) / duration_s,
        "energy_j": float(every.sum()),
        "energy_j_per_output_token": float(every.sum()) / output,
        "replica_cost_usd_per_h": usd_per_h / every.shape[0],
        "cost_usd": cost_usd,
        "cost_usd_per_mtok": cost_usd / tokens * _MILLION,
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()} | {"cost_basis": _named(one.terms.basis for one in served)}


def _usd_per_h(one: Outcome, power_w: Array) -> float:
    """What a pool's replicas cost; NaN where a figure is unknown."""
    try:
        return float(one.terms.replica_cost_usd_per_h(one.replica, power_w).sum())
    except InputError:
        return math.nan


def series_table(served: Sequence[Outcome], first_s: float, last_s: float, samples: int) -> pa.Table:
    """Requests that wait and that run, and the KV cache they have (of pools apart, where they decode), at evenly spaced times, in all."""
    from accelmodel.results.table import table

    time_s = np.linspace(first_s, last_s, samples)
    waiting, running, held_bytes = np.zeros(samples), np.zeros(samples), np.zeros(samples)
    for one in served:
        for part in one.parts:
            active, part_bytes = Stays.of(one.replica, part).at(time_s)
            waiting += _Sampled(part.requests["arrival_s"], time_s).so_far() - _Sampled(part.requests["finish_s"], time_s).so_far() - active
            running += active
        # Never more than the pool, whatever the interpolation says.
        held_bytes += np.minimum(part_bytes, one.pool_bytes)
    used = held_bytes / sum(one.pool_bytes for one in served)
    return table({"time_s": time_s, "waiting_requests": waiting, "running_requests": running, "kv_used_fraction": used})


class _Sampled:
    """Events, by which of some times they have happened."""

    def __init__(self, when_s: Array, time_s: Array) -> None:
        self.first, self.samples = np.searchsorted(time_s, when_s), time_s.shape[0]

    def so_far(self, weight: Array | None = None) -> Array:
        """How many have happened by each time, or the sum of their weights."""
        found: Array = np.cumsum(np.bincount(self.first, weight, self.samples + 1)[: self.samples])
        return found
