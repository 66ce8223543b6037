"""A trace of requests served by replicas, request by request: percentiles, goodput, queue and KV cache over time, energy and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.library import Library
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.money import HOME_SITE, OWNER, money
from accelmodel.studies.points import Point, check_targets
from accelmodel.studies.simulation_tables import Outcome, requests_table, series_table, span, summary
from accelmodel.studies.traces import Trace

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.serving.simulation.replay import Prompts, Simulated

Integers = npt.NDArray[np.int64]

_ANY = (0.0, float("inf"))


@dataclass(frozen=True, eq=False)
class Pool:
    """Like replicas that serve a slice of a trace: requests whose input and output tokens are within the ranges (both ends included), of these priorities.

    `routing`, `when_full` and the others as in `simulate`, of this pool; without a `name` it is its number.
    """

    replica: Replica
    replicas: int = 1
    prefill_replicas: int | None = None
    name: str | None = None
    input_tokens: tuple[float, float] = _ANY
    output_tokens: tuple[float, float] = _ANY
    priorities: Sequence[int] | None = None
    routing: str = "least-loaded"
    prefix_cache_tokens: float | None = None
    largest_batch: int | None = None
    when_full: str = "wait"

    def holds(self, load: Trace) -> npt.NDArray[np.bool_]:
        """Which requests are in its slice."""
        priority = np.zeros(load.requests, np.int64) if load.priority is None else load.priority
        held: npt.NDArray[np.bool_] = np.ones(load.requests, np.bool_) if self.priorities is None else np.isin(priority, list(self.priorities))
        for (low, high), tokens in ((self.input_tokens, load.input_tokens), (self.output_tokens, load.output_tokens)):
            held = held & (tokens >= low) & (tokens <= high)
        return held


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation found: `summary` (its columns are attributes), `requests` (an Arrow table, one row a request), `series` (samples over time) and, of
    several pools, `by_pool`, the summary of each by its name.
    """

    summary: Point
    requests: pa.Table
    series: pa.Table
    by_pool: Mapping[str, Point] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.summary, name)


def simulate(
    replica: Replica | Sequence[Pool],
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
    when_full: str = "wait",
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
    """Serve a trace on `replicas` copies of a replica, or on pools of several, iteration by iteration.

    `trace` is a path (Parquet, CSV), a table or a `Trace`; `stretch` moves its arrivals apart and `thicken` adds copies, drawn from `seed`. With `clients`
    its arrivals are forgotten: so many clients send its requests, each the next when its last is done. Prompts' hashes, if the trace has them, feed a prefix
    cache of `prefix_cache_tokens` a replica: what the KV pool spares where absent, none at 0. Where the KV pool is full, requests `wait` for what they
    reserve, or `preempt`: memory is taken token by token, and the last admitted evicted and computed anew. `ttft_s` and `tpot_s` are the targets of goodput.
    Money is that of `evaluate`; the trace is the load, so that occupancy is 1 unless said otherwise. Where pools are apart (mode disaggregated), `replicas`
    decode and `prefill_replicas` prefill. Of several pools each request goes to the first whose slice holds it, and what is a pool's own is said there.
    `progress` is told how many requests are sent, of how many. InputError for wrong input, for a request that no pool holds, and for what is not simulated: a
    power cap, a closed loop of clients at pools apart or of several, preemption but on continuous batching.
    """
    own = {"replicas": replicas, "prefill_replicas": prefill_replicas, "routing": routing, "prefix_cache_tokens": prefix_cache_tokens}
    own |= {"largest_batch": largest_batch, "when_full": when_full}
    pools = _pools(replica, own)
    for pool in pools:
        _check(pool, clients, samples)
    check_targets(ttft_s, tpot_s)
    load = Trace.of(trace).thickened(thicken, seed).stretched(stretch)
    shares = _shares(pools, load)
    if clients is not None and len(pools) > 1:
        raise InputError("a closed loop of clients has one pool", key="clients", value=clients)
    prices: dict[str, Any] = {"offer": offer, "books": books, "occupancy": occupancy, "site": site, "owner": owner, "tier": tier, "catalog": catalog}
    terms = [money(pool.replica, **prices) for pool in pools]
    served, before = [], 0
    for number, (pool, places, price) in enumerate(zip(pools, shares, terms, strict=True)):
        told = None if progress is None else _after(progress, before, load.requests)
        found = _serve(pool, load if len(pools) == 1 else load.picked(places), clients, told)
        served.append(Outcome(pool.name or str(number), pool.replica, found, price, pool.routing, places))
        before += places.size
    first_s, last_s = span(served)
    by_pool = {one.name: summary([one], last_s - first_s, ttft_s, tpot_s) for one in served} if len(served) > 1 else {}
    whole = summary(served, last_s - first_s, ttft_s, tpot_s)
    return Simulation(whole, requests_table(served), series_table(served, first_s, last_s, samples), by_pool)


def _pools(replica: Any, own: Mapping[str, Any]) -> list[Pool]:
    """The pools of a simulation: those given, or one of a replica and the options."""
    if not isinstance(replica, Sequence):
        return [Pool(replica, **own)]
    pools = list(replica)
    if not pools or not all(isinstance(pool, Pool) for pool in pools):
        raise InputError("must be a replica, or pools: [accelmodel.Pool(replica, ...), ...]", key="replica", value=replica)
    for key, value in own.items():
        if value != getattr(Pool, key):
            raise InputError("is each pool's own: accelmodel.Pool(replica, ...)", key=key, value=value)
    names = [pool.name or str(number) for number, pool in enumerate(pools)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"'{name}' is the name of two pools", key="name", value=name)
    return pools


def _shares(pools: Sequence[Pool], load: Trace) -> list[Integers]:
    """The requests of each pool, by their places: each goes to the first whose slice holds it; InputError for one that none holds, and for an idle pool."""
    of = np.full(load.requests, -1)
    for number, pool in reversed(list(enumerate(pools))):
        of[pool.holds(load)] = number
    left = np.flatnonzero(of < 0)
    if left.size:
        i = int(left[0])
        priority = 0 if load.priority is None else load.priority[i]
        what = f"{load.input_tokens[i]:,.0f} input and {load.output_tokens[i]:,.0f} output tokens, priority {priority}"
        raise InputError(f"no pool's slice holds request {i} ({what}), nor {left.size - 1:,} others", key="pools", value=i)
    shares = [np.flatnonzero(of == number) for number in range(len(pools))]
    for number, places in enumerate(shares):
        if not places.size:
            raise InputError(f"no request goes to pool '{pools[number].name or number}'", key="pools", value=number)
    return shares


def _after(progress: Callable[[int, int], None], before: int, whole: int) -> Callable[[int, int], None]:
    """The progress of a pool as that of all."""
    return lambda sent, _: progress(before + sent, whole)


def _serve(pool: Pool, load: Trace, clients: int | None, progress: Callable[[int, int], None] | None) -> Simulated:
    """What a pool makes of its requests."""
    from accelmodel.serving.simulation.replay import LARGEST_BATCH, replay, replay_pools

    _check_lengths(pool.replica, load)
    if pool.routing == "session" and load.session is None:
        raise InputError("needs a trace with a column 'session'", key="routing", value=pool.routing)
    prompts = _prompts(load, pool.prefix_cache_tokens)
    if pool.routing == "prefix-affine" and prompts is None:
        raise InputError("needs a trace with a column 'hash_ids', and a prefix cache", key="routing", value=pool.routing)
    requests = (pool.replica.constants, load.arrival_s, load.input_tokens, load.output_tokens)
    how: dict[str, Any] = {
        "replicas": pool.replicas,
        "routing": pool.routing,
        "priority": load.priority,
        "sessions": load.session,
        "prompts": prompts,
        "cached_tokens": load.cached_tokens,
        "cache_tokens": pool.prefix_cache_tokens,
        "largest_batch": pool.largest_batch or LARGEST_BATCH,
        "progress": progress,
    }
    if pool.prefill_replicas is not None:
        return replay_pools(*requests, **how, prefill_replicas=pool.prefill_replicas)
    return replay(*requests, **how, clients=clients, when_full=pool.when_full)


def _check(pool: Pool, clients: int | None, samples: int) -> None:
    replica = pool.replica
    if not isinstance(replica, Replica):
        raise InputError("must be a replica: accelmodel.replica(model=..., system=...)", key="replica", value=replica)
    if replica.serving.power_cap_w is not None:
        raise InputError("a power cap is not simulated", key="power_cap_w", value=replica.serving.power_cap_w)
    counts = {"replicas": pool.replicas, "prefill_replicas": pool.prefill_replicas, "clients": clients, "largest_batch": pool.largest_batch, "samples": samples}
    for key, value in counts.items():
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < 1):
            raise InputError("must be a whole number of at least 1", key=key, value=value)
    apart = replica.serving.mode == "disaggregated"
    if apart and pool.prefill_replicas is None:
        raise InputError("is missing: pools apart need a number of replicas that prefill", key="prefill_replicas")
    if not apart and pool.prefill_replicas is not None:
        raise InputError("needs a replica of mode disaggregated", key="prefill_replicas", value=pool.prefill_replicas)
    if apart and clients is not None:
        raise InputError("a closed loop of clients is not simulated at pools apart", key="clients", value=clients)
    if pool.prefix_cache_tokens is not None and not pool.prefix_cache_tokens >= 0.0:
        raise InputError("must be at least 0", key="prefix_cache_tokens", value=pool.prefix_cache_tokens)
    _check_choices(replica, pool.routing, pool.when_full)


def _check_choices(replica: Replica, routing: str, when_full: str) -> None:
    from accelmodel.serving.simulation.replay import ROUTINGS, WHEN_FULL

    if routing not in ROUTINGS:
        raise InputError(f"'{routing}' is no way to find a replica", key="routing", value=routing, allowed=ROUTINGS)
    if when_full not in WHEN_FULL:
        raise InputError(f"'{when_full}' is nothing to do when the KV pool is full", key="when_full", value=when_full, allowed=WHEN_FULL)
    if when_full == "preempt" and replica.serving.mode != "continuous":
        raise InputError(f"preemption is not simulated in mode {replica.serving.mode}", key="when_full", value=when_full, allowed=("wait",))


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
