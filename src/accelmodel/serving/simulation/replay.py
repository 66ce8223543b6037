"""Requests on several replicas: a trace replayed, or a closed loop of clients; who serves which request.

Routing, at a request's arrival: `round-robin` by turns; `least-loaded` to the replica with the fewest unfinished requests, the first of equals; `session` by
the hash of the request's session; `prefix-affine` to the replica that holds most of its prompt, the least loaded of equals, among those whose load is at most
twice the least and 8 more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.core.fold import Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Array, Integers
from accelmodel.errors import InputError
from accelmodel.serving.simulation.batching import EVENTS_PER_SLOT, REQUEST, RULES, SLOT, STATE, advance, enqueue, start
from accelmodel.serving.simulation.cache import LINK, clear, matched
from accelmodel.serving.simulation.step import padded, prompt_s, step_table
from accelmodel.serving.steady_state import ROWS, scratch

ROUTINGS = ("round-robin", "least-loaded", "session", "prefix-affine")
LARGEST_BATCH = 2048  # sequences of a step: the usual limit of a serving engine

_ROUND_ROBIN, _LEAST_LOADED, _SESSION, _PREFIX_AFFINE = range(4)
_LOAD_FACTOR, _LOAD_MORE = 2, 8  # a replica whose load is beyond so many times the least, and so many more, is spared whatever it holds
_CHUNK = 65_536  # requests between two reports of progress


@jit
def _least(load: Integers) -> int:
    best = 0
    for r in range(1, load.shape[0]):
        if load[r] < load[best]:
            best = r
    return best


@jit
def _hashed(key: int) -> int:
    """A whole number that looks random (splitmix64), at least 0."""
    x = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((x ^ (x >> np.uint64(31))) >> np.uint64(1))


@jit
def _holder(lru: Any, load: Integers, blocks: Integers, first: int, count: int) -> int:
    """The replica that holds most of a prompt, of those that are not overloaded."""
    best = _least(load)
    most, bound = matched(lru[best], blocks, first, count), _LOAD_FACTOR * load[best] + _LOAD_MORE
    for r in range(load.shape[0]):
        if load[r] <= bound:
            found = matched(lru[r], blocks, first, count)
            if found > most or (found == most and load[r] < load[best]):
                best, most = r, found
    return best


@jit
def _route(routing: int, i: int, requests: Any, sessions: Integers, load: Integers, blocks: Integers, lru: Any) -> int:
    if routing == _ROUND_ROBIN:
        return int(i % load.shape[0])
    if routing == _LEAST_LOADED:
        return _least(load)
    if routing == _SESSION:
        return int(_hashed(sessions[i]) % load.shape[0])
    return _holder(lru, load, blocks, requests[i]["first_block"], requests[i]["blocks"])


@jit
def _replay(
    constants: Constants,
    rules: Any,
    steps: Array,
    states: Any,
    slots: Any,
    heaps: Integers,
    requests: Any,
    sessions: Integers,
    blocks: Integers,
    lru: Any,
    due_s: Array,
    load: Integers,
    finished: Integers,
    routing: int,
    begin: int,
    end: int,
    until_s: float,
) -> None:
    """Send requests from `begin` to `end`, in the order of their arrivals, and advance every replica to `until_s`."""
    c, w, f, bits = constants[0], rules[0], scratch(ROWS), np.empty(BLOCK, np.int64)
    looks = routing in (_LEAST_LOADED, _PREFIX_AFFINE)
    for i in range(begin, end):
        arrival_s = requests[i]["arrival_s"]
        if looks:
            for r in range(load.shape[0]):
                if due_s[r] <= arrival_s:
                    due_s[r] = advance(c, states[r], w, steps, slots[r], heaps[r], requests, blocks, lru[r], f, bits, arrival_s, finished)
                    load[r] = states[r]["load"]
        r = _route(routing, i, requests, sessions, load, blocks, lru)
        requests[i]["replica"] = r
        enqueue(states[r], requests, i)
        load[r] += 1
        due_s[r] = min(due_s[r], arrival_s)
    for r in range(load.shape[0]):
        due_s[r] = advance(c, states[r], w, steps, slots[r], heaps[r], requests, blocks, lru[r], f, bits, until_s, finished)
        load[r] = states[r]["load"]


@jit
def _serve_clients(
    constants: Constants,
    rules: Any,
    steps: Array,
    states: Any,
    slots: Any,
    heaps: Integers,
    requests: Any,
    sessions: Integers,
    blocks: Integers,
    lru: Any,
    due_s: Array,
    load: Integers,
    finished: Integers,
    routing: int,
    ready_s: Array,
    client: Integers,
    begin: int,
    end: int,
) -> None:
    """Send requests from `begin` to `end`, each by the client that is ready first; `ready_s` (clients,) inf where it waits, `client` (n,) whose one is."""
    c, w, f, bits = constants[0], rules[0], scratch(ROWS), np.empty(BLOCK, np.int64)
    i = begin
    while i < end:
        sender = np.argmin(ready_s)
        arrival_s, soonest = ready_s[sender], np.min(due_s)
        if soonest <= arrival_s:
            # What ends now ends before what starts now: finishes first, then arrivals, then new iterations.
            before, moved = finished[0], False
            for late in range(2):
                limit_s = soonest if late == 0 else np.nextafter(soonest, np.inf)
                if late == 0 or not (moved or arrival_s <= soonest):
                    for r in range(load.shape[0]):
                        if due_s[r] <= soonest:
                            due_s[r] = advance(c, states[r], w, steps, slots[r], heaps[r], requests, blocks, lru[r], f, bits, limit_s, finished)
                            moved = moved or due_s[r] > soonest
                            load[r] = states[r]["load"]
                    for place in range(before + 1, finished[0] + 1):
                        done = finished[place]
                        ready_s[client[done]] = requests[done]["finish_s"] + requests[done]["beside_s"]
                        moved = True
                    before = finished[0]
            if moved or arrival_s > soonest:
                continue
        requests[i]["arrival_s"] = arrival_s
        r = _route(routing, i, requests, sessions, load, blocks, lru)
        requests[i]["replica"], client[i], ready_s[sender] = r, sender, np.inf
        enqueue(states[r], requests, i)
        load[r] += 1
        due_s[r] = min(due_s[r], arrival_s)
        i += 1


@jit
def _beside(constants: Constants, requests: Any) -> None:
    """Fill `beside_s`: first_token_overhead + L - P, at least the overhead, of each request behind its cached tokens."""
    c, f, bits = constants[0], scratch(ROWS), np.empty(BLOCK, np.int64)
    last_fresh, last_cached, beside_s = -1.0, -1.0, 0.0
    for i in range(requests.shape[0]):
        cached = requests[i]["cached_tokens"]
        fresh = padded(c, requests[i]["input_tokens"] - cached)
        if fresh != last_fresh or cached != last_cached:
            lone_s, marginal_s = prompt_s(c, f, bits, fresh, cached)
            beside_s = c["first_token_overhead_s"] + max(lone_s - marginal_s, 0.0)
            last_fresh, last_cached = fresh, cached
        requests[i]["beside_s"] = beside_s


@dataclass(frozen=True)
class Prompts:
    """What prompts have in common: `blocks` (flat) of request i from `first[i]` to `first[i + 1]`, of `block_tokens` each, numbered from 0 to `kinds` - 1."""

    blocks: Integers
    first: Integers
    block_tokens: float
    kinds: int


@dataclass(frozen=True)
class Simulated:
    """What became of n requests (`requests`, dtype REQUEST), and of the replicas (`states`, dtype STATE).

    Where pools are apart, `pools` are the simulations of the one that prefills and of the one that decodes, whose `states` are these.
    """

    requests: npt.NDArray[np.void]
    states: npt.NDArray[np.void]
    pools: tuple[Simulated, Simulated] | None = None


def kv_bytes(constants: Constants, tokens: Array) -> Array:
    """Bytes that sequences of so many tokens keep in the KV pool, shape of `tokens`."""
    c = constants[0]
    whole: Array = c["stored_state_bytes"] + c["stored_token_bytes"] * tokens
    for k in range(int(c["stored_caps"])):
        whole = whole + c["stored_cap_bytes"][k] * np.minimum(tokens, c["stored_cap_tokens"][k])
    return whole


def reserved_bytes(constants: Constants, input_tokens: Array, output_tokens: Array) -> Array:
    """Bytes that requests reserve when admitted, (n,): those of their mean length, and `kv_reserved_fraction` of what their full length takes beyond; at most
    the pool.
    """
    c = constants[0]
    mean, full = kv_bytes(constants, input_tokens + 0.5 * output_tokens), kv_bytes(constants, input_tokens + output_tokens)
    kept: Array = np.minimum(mean + c["kv_reserved_fraction"] * (full - mean), c["pool_bytes"])
    return kept


def replay(
    constants: Constants,
    arrival_s: Array,
    input_tokens: Array,
    output_tokens: Array,
    *,
    replicas: int = 1,
    routing: str = "least-loaded",
    clients: int | None = None,
    priority: Integers | None = None,
    sessions: Integers | None = None,
    prompts: Prompts | None = None,
    cached_tokens: Array | None = None,
    cache_tokens: float | None = None,
    largest_batch: int = LARGEST_BATCH,
    prefilled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Serve n requests, arrays (n,) in the order of their arrivals, on `replicas` replicas.

    With `clients`, arrivals are not given but found: each client sends the next request when its last one is done. Of `prefilled` requests only the steps are
    left. `cached_tokens` of each prompt need no prefill, wherever it is served; `prompts` with a cache find out for themselves. `progress` is called with the
    requests sent and all. InputError for a request that no replica can hold, naming it.
    """
    c = constants[0]
    n, slots_of = arrival_s.shape[0], int(c["compiled_batch"]) or largest_batch
    requests = np.zeros(n, REQUEST)
    requests["arrival_s"], requests["input_tokens"], requests["output_tokens"] = arrival_s, input_tokens, output_tokens
    requests["kv_bytes"] = reserved_bytes(constants, input_tokens, output_tokens)
    for name in ("admitted_s", "first_token_s", "finish_s"):
        requests[name] = math.nan
    _refuse_misfits(constants, requests)
    requests["priority"] = 0 if priority is None else priority
    requests["cached_tokens"] = 0.0 if cached_tokens is None else np.minimum(cached_tokens, input_tokens - 1.0)
    least = float(np.min(requests["kv_bytes"], initial=math.inf))
    slots_of = int(max(min(slots_of, n, float(c["pool_bytes"]) / least if least > 0.0 else math.inf), 1))
    rules, blocks, lru = _prefixes(constants, requests, prompts, cache_tokens, replicas)
    rules["prefilled"] = prefilled
    states, slots = np.zeros(replicas, STATE), np.zeros((replicas, slots_of), SLOT)
    heaps = np.empty((replicas, slots_of * (EVENTS_PER_SLOT if c["caps"] or c["sequence_bucket"] else 1)), np.int64)
    start(states, slots)
    steps, finished = step_table(constants, slots_of), np.zeros(n + 1, np.int64)
    due_s, load = np.full(replicas, math.inf), np.zeros(replicas, np.int64)
    sessions = np.zeros(n, np.int64) if sessions is None else sessions
    world = (constants, rules, steps, states, slots, heaps, requests, sessions, blocks, lru, due_s, load, finished, ROUTINGS.index(routing))
    _beside(constants, requests)
    if clients is not None:
        ready_s, client = np.zeros(clients), np.empty(n, np.int64)
    for begin in range(0, n, _CHUNK):
        end = min(begin + _CHUNK, n)
        if clients is not None:
            _serve_clients(*world, ready_s, client, begin, end)
        else:
            _replay(*world, begin, end, float(arrival_s[end - 1]))
        if progress is not None:
            progress(end, n)
    _replay(*world, n, n, math.inf)
    if prompts is not None:
        _beside(constants, requests)
    return Simulated(requests, states)


def replay_pools(
    constants: Constants,
    arrival_s: Array,
    input_tokens: Array,
    output_tokens: Array,
    *,
    prefill_replicas: int,
    replicas: int,
    routing: str = "least-loaded",
    priority: Integers | None = None,
    sessions: Integers | None = None,
    prompts: Prompts | None = None,
    cached_tokens: Array | None = None,
    cache_tokens: float | None = None,
    largest_batch: int = LARGEST_BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Serve n requests on `prefill_replicas` that prefill and `replicas` that decode.

    A prompt's KV cache is sent when it is prefilled, transfer_s_per_byte x its bytes; then its first token is out, and it queues for a place in the decoding
    pool, routed anew (by load where prompts route the prefill). Nothing goes back, so that the pools are simulated one after the other.
    """
    shared: dict[str, Any] = {"largest_batch": largest_batch, "priority": priority}
    first = replay(
        constants,
        arrival_s,
        input_tokens,
        np.ones_like(output_tokens),
        replicas=prefill_replicas,
        routing=routing,
        sessions=sessions,
        prompts=prompts,
        cached_tokens=cached_tokens,
        cache_tokens=cache_tokens,
        progress=progress,
        **shared,
    )
    requests = first.requests.copy()
    requests["output_tokens"] = output_tokens
    requests["first_token_s"] += constants[0]["transfer_s_per_byte"] * kv_bytes(constants, input_tokens)
    requests["finish_s"] = requests["first_token_s"]
    order = np.argsort(requests["first_token_s"], kind="stable")
    order = order[output_tokens[order] > 1.0]
    shared["priority"] = None if priority is None else priority[order]
    second = replay(
        constants,
        requests["first_token_s"][order],
        input_tokens[order],
        output_tokens[order],
        replicas=replicas,
        routing="least-loaded" if routing == "prefix-affine" else routing,
        sessions=None if sessions is None else sessions[order],
        prefilled=True,
        **shared,
    )
    for name in ("finish_s", "replica", "kv_bytes"):
        requests[name][order] = second.requests[name]
    return Simulated(requests, second.states, (first, second))


def padded_tokens(constants: Constants, requests: npt.NDArray[np.void]) -> Array:
    """Prompt tokens of each request as they were executed, shape (n,)."""
    tokens: Array = np.maximum(requests["input_tokens"] - requests["cached_tokens"], 1.0)
    bucket = float(constants[0]["prompt_bucket"])
    return np.ceil(tokens / bucket) * bucket if bucket else tokens


def _refuse_misfits(constants: Constants, requests: npt.NDArray[np.void]) -> None:
    pool_bytes = float(constants[0]["pool_bytes"] / constants[0]["attention_data"])
    whole = kv_bytes(constants, requests["input_tokens"] + requests["output_tokens"])
    bad = np.flatnonzero(whole > pool_bytes)
    if bad.size:
        i = int(bad[0])
        tokens = requests["input_tokens"][i] + requests["output_tokens"][i]
        message = f"request {i} of {tokens:,.0f} tokens needs {whole[i]:,.0f} bytes of KV cache, and the replica has {max(pool_bytes, 0.0):,.0f}"
        raise InputError(message, key="input_tokens", value=float(requests["input_tokens"][i]))


def _prefixes(
    constants: Constants, requests: npt.NDArray[np.void], prompts: Prompts | None, cache_tokens: float | None, replicas: int
) -> tuple[npt.NDArray[np.void], Integers, npt.NDArray[np.void]]:
    """Rules, blocks and empty caches; nothing of blocks where prompts have nothing in common."""
    rules = np.zeros(1, RULES)
    rules["pool_bytes"], rules["cache_tokens"] = constants[0]["pool_bytes"], math.nan if cache_tokens is None else cache_tokens
    blocks, kinds = np.zeros(0, np.int64), 0
    if prompts is not None:
        blocks, kinds = prompts.blocks, prompts.kinds
        requests["first_block"], requests["blocks"] = prompts.first[:-1], np.diff(prompts.first)
        rules["block_tokens"] = prompts.block_tokens
        rules["block_bytes"] = constants[0]["stored_token_bytes"] * prompts.block_tokens
    lru = np.zeros((replicas, kinds + 1), LINK)
    clear(lru)
    return rules, blocks, lru
