"""Requests on several replicas: a trace replayed, or a closed loop of clients; who serves which request.

Routing, at a request's arrival: `round-robin` by turns; `least-loaded` to the replica with the fewest unfinished requests, the first of equals; `session` by
the hash of the request's session; `prefix-affine` to the replica that holds most of its prompt, the least loaded of equals, among those whose load is at most
twice the least and 8 more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelmodel.core.fold import Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Array, Integers
from accelmodel.errors import InputError
from accelmodel.serving.simulation.batching import EVENTS_PER_SLOT, REQUEST, RULES, SLOT, STATE, advance, enqueue, start
from accelmodel.serving.simulation.cache import empty, holder
from accelmodel.serving.simulation.step import padded, prompt_s, step_table
from accelmodel.serving.steady_state import ROWS, scratch

WHEN_FULL = ("wait", "preempt")
ROUTINGS = ("round-robin", "least-loaded", "session", "prefix-affine")
LARGEST_BATCH = 2048  # sequences of a step: the usual limit of a serving engine

_ROUND_ROBIN, _LEAST_LOADED, _SESSION, _PREFIX_AFFINE = range(4)
_LOAD_FACTOR, _LOAD_MORE = 2, 8  # a replica whose load is beyond so many times the least, and so many more, is spared whatever it holds
_CHUNK = 65_536  # requests between two reports of progress, and two chances to interrupt
_SCAN = 8  # replicas looked at together
_ROUNDING = 1e-12  # share of the KV pool: sums of bytes are equal within it
_NUMBER_BITS = 32  # of a rank, those of the replica's number
_NUMBER = (1 << _NUMBER_BITS) - 1


class Servers(NamedTuple):
    """All replicas and all they need, each an argument of what is compiled: to take an array out of a tuple there costs as much as an event.

    Constants of their kind, RULES, a table of steps, STATE (replicas,), SLOT (replicas, slots), heaps of events, REQUEST (n, and room for stays), the blocks of
    their prompts, caches (`cache.empty`), scratch.
    """

    constants: Constants
    rules: Any
    steps: Array
    states: Any
    slots: Any
    heaps: Integers
    requests: Any
    blocks: Integers
    lru: Any
    holders: Integers
    f: Array
    bits: Integers


class Router(NamedTuple):
    """How requests find their replica, and what is known of the replicas: `rank`, unfinished requests x 2^32 + number, so that the least is the least loaded,
    the first of equals; `due_s`, when it next has something to do. Both are padded to a whole number of _SCAN by what never is the least; `session` (n,).
    """

    routing: int
    session: Integers
    rank: Integers
    due_s: Array


class Clients(NamedTuple):
    """A closed loop: when each client is ready (inf: it waits for a request) and whose request i is (n,); trees of `race` over that and over when replicas are
    due.
    """

    ready_s: Array
    sender: Integers
    first: Integers
    soonest: Integers


def race(values: Array) -> Integers:
    """A tree over values that knows the place of the least, the first of equals: row 1 names it, row i the lesser of rows 2 i and 2 i + 1."""
    leaves = 1 << (values.shape[0] - 1).bit_length()
    tree = np.concatenate([np.zeros(leaves, np.int64), np.minimum(np.arange(leaves), values.shape[0] - 1)])
    for place in range(leaves - 2, -1, -2):
        run_again(tree, values, place)
    return tree


@jit
def run_again(tree: Integers, values: Array, place: int) -> None:
    """Put a tree of `race` right after the value at `place` has changed."""
    node = (tree.shape[0] // 2 + place) >> 1
    while node > 0:
        one, other = tree[2 * node], tree[2 * node + 1]
        tree[node] = one if values[one] <= values[other] else other
        node >>= 1


@jit
def _hashed(key: int) -> int:
    """A whole number that looks random (splitmix64), at least 0."""
    x = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((x ^ (x >> np.uint64(31))) >> np.uint64(1))


@jit
def _least_loaded(rank: Integers) -> int:
    least = rank[0]
    for r in range(rank.shape[0]):
        least = min(least, rank[r])
    return int(least & _NUMBER)


@jit
def _route(requests: Any, blocks: Integers, holders: Integers, replicas: int, routing: int, session: Integers, rank: Integers, i: int) -> int:
    if routing == _ROUND_ROBIN:
        return int(i % replicas)
    if routing == _SESSION:
        return int(_hashed(session[i]) % replicas)
    least = _least_loaded(rank)
    if routing == _LEAST_LOADED:
        return least
    most = _LOAD_FACTOR * (rank[least] >> _NUMBER_BITS) + _LOAD_MORE
    return holder(blocks, holders, rank, ((most + 1) << _NUMBER_BITS) - 1, least, requests[i]["first_block"], requests[i]["blocks"])


@jit
def _send(states: Any, requests: Any, rank: Integers, due_s: Array, i: int, r: int) -> None:
    """Request i arrives at replica r."""
    requests[i]["replica"] = r
    enqueue(states[r], requests, i)
    rank[r] += 1 << _NUMBER_BITS
    due_s[r] = min(due_s[r], requests[i]["arrival_s"])


@jit
def _advance_all(
    constants: Constants,
    rules: Any,
    steps: Array,
    states: Any,
    slots: Any,
    heaps: Integers,
    requests: Any,
    blocks: Integers,
    lru: Any,
    holders: Integers,
    f: Array,
    bits: Integers,
    rank: Integers,
    due_s: Array,
    until_s: float,
) -> None:
    """Advance every replica that is due by then."""
    c, w = constants[0], rules[0]
    for r in range(states.shape[0]):
        if due_s[r] <= until_s:
            due_s[r] = advance(c, states[r], w, steps, slots[r], heaps[r], requests, blocks, lru[r], holders, r, f, bits, until_s)
            rank[r] = (states[r]["load"] << _NUMBER_BITS) | r


@jit
def _replay(
    constants: Constants,
    rules: Any,
    steps: Array,
    states: Any,
    slots: Any,
    heaps: Integers,
    requests: Any,
    blocks: Integers,
    lru: Any,
    holders: Integers,
    f: Array,
    bits: Integers,
    routing: int,
    session: Integers,
    rank: Integers,
    due_s: Array,
    begin: int,
    end: int,
) -> None:
    """Send requests from `begin` to `end`, in the order of their arrivals, and advance to these the replicas that routing looks at."""
    c, w, looks = constants[0], rules[0], routing in (_LEAST_LOADED, _PREFIX_AFFINE)
    for i in range(begin, end):
        arrival_s = requests[i]["arrival_s"]
        for some in range(0, due_s.shape[0] if looks else 0, _SCAN):
            many = 0
            for r in range(some, some + _SCAN):
                many += 1 if due_s[r] <= arrival_s else 0
            r = some
            while many > 0:
                if due_s[r] <= arrival_s:
                    due_s[r] = advance(c, states[r], w, steps, slots[r], heaps[r], requests, blocks, lru[r], holders, r, f, bits, arrival_s)
                    rank[r] = (states[r]["load"] << _NUMBER_BITS) | r
                    many -= 1
                r += 1
        _send(states, requests, rank, due_s, i, _route(requests, blocks, holders, states.shape[0], routing, session, rank, i))


@jit
def _serve_clients(
    constants: Constants,
    rules: Any,
    steps: Array,
    states: Any,
    slots: Any,
    heaps: Integers,
    requests: Any,
    blocks: Integers,
    lru: Any,
    holders: Integers,
    f: Array,
    bits: Integers,
    routing: int,
    session: Integers,
    rank: Integers,
    due_s: Array,
    ready_s: Array,
    sender: Integers,
    first: Integers,
    soonest: Integers,
    begin: int,
    end: int,
) -> None:
    """Send requests from `begin` to `end`, each by the client that is ready first; at one time first what ends, then what arrives, then what starts, which is
    due just after it here.
    """
    c, w, i = constants[0], rules[0], begin
    while i < end:
        client, r = first[1], soonest[1]
        if due_s[r] <= ready_s[client]:
            limit_s = due_s[r]
            next_s = advance(c, states[r], w, steps, slots[r], heaps[r], requests, blocks, lru[r], holders, r, f, bits, limit_s)
            due_s[r], rank[r] = max(next_s, np.nextafter(limit_s, math.inf)), (states[r]["load"] << _NUMBER_BITS) | r
            run_again(soonest, due_s, r)
            while states[r]["done"] >= 0:
                done = states[r]["done"]
                states[r]["done"] = requests[done]["next"]
                ready_s[sender[done]] = requests[done]["finish_s"] + _beside_s(c, f, bits, requests, done)
                run_again(first, ready_s, sender[done])
            continue
        requests[i]["arrival_s"] = ready_s[client]
        sender[i], ready_s[client] = client, math.inf
        run_again(first, ready_s, client)
        r = _route(requests, blocks, holders, states.shape[0], routing, session, rank, i)
        _send(states, requests, rank, due_s, i, r)
        due_s[r] = max(due_s[r], np.nextafter(requests[i]["arrival_s"], math.inf))
        run_again(soonest, due_s, r)
        i += 1


@jit
def _beside_s(c: Any, f: Array, bits: Integers, requests: Any, i: int) -> float:
    """Seconds beside the engine, first_token_overhead + L - P, at least the overhead, of request i behind its cached tokens."""
    cached = requests[i]["cached_tokens"]
    lone_s, marginal_s = prompt_s(c, f, bits, padded(c, requests[i]["input_tokens"] - cached), cached)
    seconds: float = c["first_token_overhead_s"] + max(lone_s - marginal_s, 0.0)
    return seconds


@jit
def _fill_beside(constants: Constants, requests: Any, f: Array, bits: Integers, begin: int, end: int) -> None:
    """Fill `beside_s` of requests from `begin` to `end`."""
    for i in range(begin, end):
        requests[i]["beside_s"] = _beside_s(constants[0], f, bits, requests, i)


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

    Where pools are apart, `pools` are the simulations of the one that prefills and of the one that decodes, whose `states` are these. `stays` (dtype
    REQUEST) are the records of evicted requests, as they were then (`finish_s`), where they preempt; their `next` says whose.
    """

    requests: npt.NDArray[np.void]
    states: npt.NDArray[np.void]
    pools: tuple[Simulated, Simulated] | None = None
    stays: npt.NDArray[np.void] | None = None


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
    when_full: str = "wait",
    prefilled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Serve n requests, arrays (n,) in the order of their arrivals, on `replicas` replicas.

    With `clients`, arrivals are not given but found: each client sends the next request when its last one is done. Where the KV pool is full, requests wait
    or preempt. Of `prefilled` requests only the steps are left. `cached_tokens` of each prompt need no prefill, wherever it is served; `prompts` with a cache
    find out for themselves. `progress` is called with the requests sent and all. InputError for a request that no replica can hold, naming it.
    """
    n, preempts = arrival_s.shape[0], when_full == "preempt"
    requests = np.zeros(n, REQUEST)
    requests["arrival_s"], requests["input_tokens"], requests["output_tokens"] = arrival_s, input_tokens, output_tokens
    requests["kv_bytes"] = kv_bytes(constants, input_tokens) if preempts else reserved_bytes(constants, input_tokens, output_tokens)
    for name in ("admitted_s", "first_token_s", "finish_s"):
        requests[name] = math.nan
    _refuse_misfits(constants, requests)
    requests["priority"] = 0 if priority is None else priority
    requests["cached_tokens"] = 0.0 if cached_tokens is None else np.minimum(cached_tokens, input_tokens - 1.0)
    rules = _rules(constants, prompts, cache_tokens, preempts, prefilled)
    blocks, kinds = (np.zeros(0, np.int64), 0) if prompts is None else (prompts.blocks, prompts.kinds)
    if prompts is not None:
        requests["first_block"], requests["blocks"] = prompts.first[:-1], np.diff(prompts.first)
    rules["stays_from"], most_stays = n, n if preempts else 0
    while True:
        served = np.concatenate([requests, np.zeros(most_stays, REQUEST)]) if preempts else requests
        servers = _servers(constants, rules.copy(), served, (blocks, *empty(kinds, replicas)), largest_batch)
        _serve(servers, _router(replicas, routing, np.zeros(n, np.int64) if sessions is None else sessions), n, clients, progress)
        stays = int(servers.rules[0]["stays"])
        if stays <= most_stays:
            return Simulated(served[:n], servers.states, stays=served[n : n + stays] if preempts else None)
        most_stays = stays  # there was not room for all: once more


def _servers(
    constants: Constants,
    rules: npt.NDArray[np.void],
    requests: npt.NDArray[np.void],
    caches: tuple[Integers, Any, Integers],
    largest_batch: int,
) -> Servers:
    """Replicas, as many as there are caches, that have served nobody yet."""
    c, n, replicas = constants[0], int(rules[0]["stays_from"]), caches[1].shape[0]
    least = float(np.min(requests["kv_bytes"][:n], initial=math.inf))
    in_pool = float(rules[0]["pool_bytes"]) / least if least > 0.0 else math.inf
    slots_of = int(max(min(int(c["compiled_batch"]) or largest_batch, n, in_pool), 1))
    states, slots = np.zeros(replicas, STATE), np.zeros((replicas, slots_of), SLOT)
    start(states, slots)
    heaps = np.empty((replicas, slots_of * (EVENTS_PER_SLOT if c["caps"] or c["sequence_bucket"] else 1)), np.int64)
    work = scratch(ROWS), np.empty(BLOCK, np.int64)
    return Servers(constants, rules, step_table(constants, slots_of), states, slots, heaps, requests, *caches, *work)


def _router(replicas: int, routing: str, session: Integers) -> Router:
    """What is known of empty replicas."""
    padded_to = -(-replicas // _SCAN) * _SCAN
    rank, due_s = np.full(padded_to, np.iinfo(np.int64).max), np.full(padded_to, math.inf)
    rank[:replicas] = np.arange(replicas)
    return Router(ROUTINGS.index(routing), session, rank, due_s)


def _serve(servers: Servers, router: Router, n: int, clients: int | None, progress: Callable[[int, int], None] | None) -> None:
    """Serve all requests, a chunk after the other: between them a run can be interrupted."""
    requests = servers.requests
    if clients is not None:
        ready_s = np.zeros(clients)
        loop = Clients(ready_s, np.empty(n, np.int64), race(ready_s), race(router.due_s))
    for begin in range(0, n, _CHUNK):
        end = min(begin + _CHUNK, n)
        if clients is not None:
            _serve_clients(*servers, *router, *loop, begin, end)
        else:
            _replay(*servers, *router, begin, end)
            _advance_all(*servers, router.rank, router.due_s, float(requests["arrival_s"][end - 1]))
        if progress is not None:
            progress(end, n)
    _drain(servers, router)
    for begin in range(0, n, _CHUNK):
        _fill_beside(servers.constants, requests, servers.f, servers.bits, begin, min(begin + _CHUNK, n))


def _drain(servers: Servers, router: Router) -> None:
    """Serve what has arrived to its end, in slices of time in which about a chunk of requests is done."""
    until_s, span_s = float(servers.requests["arrival_s"].max(initial=0.0)), 1.0
    while servers.states["load"].any():
        before = servers.states["load"].sum()
        until_s += span_s
        _advance_all(*servers, router.rank, router.due_s, until_s)
        done = before - servers.states["load"].sum()
        span_s *= 0.5 if done > _CHUNK else 2.0


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


def _rules(constants: Constants, prompts: Prompts | None, cache_tokens: float | None, preempts: bool, prefilled: bool) -> npt.NDArray[np.void]:
    """What holds of every replica."""
    c, rules = constants[0], np.zeros(1, RULES)
    rules["pool_bytes"], rules["cache_tokens"] = c["pool_bytes"], math.nan if cache_tokens is None else cache_tokens
    if prompts is not None:
        rules["block_tokens"], rules["block_bytes"] = prompts.block_tokens, c["stored_token_bytes"] * prompts.block_tokens
    if preempts:
        rules["preempts"], rules["pool_bytes"] = 1.0, c["pool_bytes"] * (1.0 + _ROUNDING)
        rules["growth_bytes"] = c["tokens_per_step"] * (c["stored_token_bytes"] + c["stored_cap_bytes"][: c["stored_caps"]].sum())
    rules["prefilled"] = prefilled
    return rules
