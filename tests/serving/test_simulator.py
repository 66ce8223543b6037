"""The request simulator against the naive one, request by request, and against what must hold of any server."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.serving.simulation.replay import ROUTINGS, WHEN_FULL, Prompts, Simulated, kv_bytes, replay, replay_pools
from accelmodel.studies.points import replica
from naive_simulator import Physics, Request, serve_clients, simulate, simulate_pools

# One of each kind that runs continuous batching: dense, bounds of context, states, latent attention on groups, stages, context ranks, drafts of two kinds,
# compiled shapes with a bucket, prompts one by one.
REPLICAS = {
    "dense": functools.partial(replica, model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", kv="fp8", chunk_tokens=512),
    "windows": functools.partial(replica, model="gpt-oss-120b", system="p6-b200.48xlarge", accelerators=2, chunk_tokens=256),
    "states": functools.partial(replica, model="qwen3.5-397b-a17b", system="p6-b200.48xlarge", chunk_tokens=300),
    "latent": functools.partial(replica, model="deepseek-r1", system="p5en.48xlarge", expert_parallel=8, attention_data_parallel=8, chunk_tokens=64),
    "stages": functools.partial(replica, model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, pipeline_parallel=2, weights="fp8"),
    "context": functools.partial(replica, model="llama-3.1-70b", system="p5.48xlarge", context_parallel=4, weights="fp8", chunk_tokens=200),
    "next-tokens": functools.partial(
        replica, model="deepseek-v3", system="p5en.48xlarge", accelerators=16, expert_parallel=16, speculative_tokens=2, acceptance_fraction=0.8
    ),
    "window-drafts": functools.partial(
        replica, model="gpt-oss-120b", system="p6-b200.48xlarge", speculative_tokens=3, acceptance_fraction=0.55, draft_model="gpt-oss-20b"
    ),
    "compiled": functools.partial(
        replica, model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, compiled_batch=3, sequence_bucket=180, prompt_bucket=64, chunk_tokens=100
    ),
    "windows-compiled": functools.partial(
        replica, model="gpt-oss-120b", system="trn3-ultraserver-gen2", accelerators=16, expert_parallel=8, compiled_batch=5, sequence_bucket=110
    ),
    "windows-beyond": functools.partial(replica, model="gpt-oss-120b", system="p6-b200.48xlarge", accelerators=2, sequence_bucket=160, chunk_tokens=256),
    "static": functools.partial(replica, model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, mode="static", chunk_tokens=500),
    "waves": functools.partial(
        replica, model="gpt-oss-120b", system="trn3-ultraserver-gen2", accelerators=16, expert_parallel=8, mode="static", compiled_batch=4, sequence_bucket=200
    ),
    "neuron": functools.partial(replica, model="llama-3.1-70b", system="trn2.48xlarge"),
}


@functools.cache
def made(name: str) -> Any:
    return REPLICAS[name]()


arrivals = st.one_of(st.just(0.0), st.floats(0.0, 0.3))
prompt = st.one_of(st.integers(1, 900), st.integers(100, 130), st.integers(150, 185))  # near the bounds of context and the bucket
request = st.tuples(arrivals, prompt, st.integers(1, 30), st.integers(0, 3), st.integers(0, 4))
traces = st.lists(request, min_size=1, max_size=14)
names = st.sampled_from(sorted(REPLICAS))
numbers = st.one_of(st.integers(1, 3), st.sampled_from([9, 67]))  # of replicas: more than are looked at together, than a word of bits says


def served(name: str, trace: Any, pool_tokens: float | None = None, **options: Any) -> tuple[Simulated, Any]:
    """A trace of (arrival, input, output, priority, session) on replicas by name; the KV pool may hold so many tokens and the longest request."""
    constants = made(name).constants.copy()
    rows = np.array(sorted(trace, key=lambda row: row[0]), dtype=np.float64).T
    if pool_tokens is not None:
        longest = kv_bytes(constants, rows[1] + rows[2]).max()
        constants["pool_bytes"] = (longest + float(kv_bytes(constants, np.array([pool_tokens]))[0])) * constants["attention_data"]
    found = replay(constants, *rows[:3], priority=rows[3].astype(np.int64), sessions=rows[4].astype(np.int64), **options)
    return found, constants


def of_naive(requests: list[Request]) -> np.ndarray[Any, Any]:
    return np.array([[one.replica, one.admitted_s, one.first_token_s, one.finish_s, one.cached_tokens] for one in requests])


def of_kernel(found: Simulated) -> np.ndarray[Any, Any]:
    return np.array([found.requests[name] for name in ("replica", "admitted_s", "first_token_s", "finish_s", "cached_tokens")]).T


def same(found: Simulated, requests: list[Request]) -> None:
    np.testing.assert_allclose(of_kernel(found), of_naive(requests), rtol=1e-9, atol=0.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(names, traces, st.floats(0.0, 1.0), st.sampled_from(WHEN_FULL))
def test_what_is_known_to_be_cached_is_not_prefilled(name: str, trace: Any, share: float, when_full: str) -> None:
    when_full = when_full if made(name).serving.mode == "continuous" else "wait"
    rows = sorted(trace, key=lambda row: row[0])
    cached = [min(int(share * row[1]), row[1] - 1) for row in rows]
    found, constants = served(name, trace, 300, when_full=when_full, cached_tokens=np.array(cached, dtype=np.float64))
    requests = [Request(*row, cached_tokens=tokens) for row, tokens in zip(rows, cached, strict=True)]
    simulate(Physics(made(name), float(constants["pool_bytes"][0])), requests, replicas=1, routing="least-loaded", slots=2048, when_full=when_full)
    same(found, requests)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(names, traces, numbers, st.sampled_from(ROUTINGS[:3]), st.one_of(st.none(), st.integers(1, 1500)), st.sampled_from([1, 3, 2048]))
def test_every_request_is_served_as_the_naive_simulator_serves_it(
    name: str, trace: Any, replicas: int, routing: str, pool_tokens: int | None, slots: int
) -> None:
    found, constants = served(name, trace, pool_tokens, replicas=replicas, routing=routing, largest_batch=slots)
    requests = [Request(*row) for row in sorted(trace, key=lambda row: row[0])]
    physics = Physics(made(name), float(constants["pool_bytes"][0]))
    servers = simulate(physics, requests, replicas=replicas, routing=routing, slots=slots)
    same(found, requests)
    assert [one.beside_s(r) for one, r in ((physics, r) for r in requests)] == pytest.approx(found.requests["beside_s"], rel=1e-12)
    assert all(server.peak_bytes <= physics.pool_bytes for server in servers)


CONTINUOUS = sorted(name for name, make in REPLICAS.items() if make.keywords.get("mode") != "static")
full_arrivals = st.one_of(st.just(0.0), st.floats(0.0, 0.1))
growing = st.lists(st.tuples(full_arrivals, prompt, st.integers(1, 200), st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=10)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(CONTINUOUS), growing, st.integers(1, 2), st.integers(0, 900), st.sampled_from([3, 2048]))
def test_requests_preempt_as_those_of_the_naive_simulator_do(name: str, trace: Any, replicas: int, pool_tokens: int, slots: int) -> None:
    found, constants = served(name, trace, pool_tokens, replicas=replicas, largest_batch=slots, when_full="preempt")
    requests = [Request(*row) for row in sorted(trace, key=lambda row: row[0])]
    physics = Physics(made(name), float(constants["pool_bytes"][0]))
    servers = simulate(physics, requests, replicas=replicas, routing="least-loaded", slots=slots, when_full="preempt")
    same(found, requests)
    assert found.requests["preemptions"].tolist() == [one.preemptions for one in requests]
    assert all(server.peak_bytes <= physics.full_bytes for server in servers)


families = st.lists(st.lists(st.integers(0, 3), min_size=0, max_size=8), min_size=1, max_size=12)
BLOCK_TOKENS = 64


def with_prefixes(paths: list[list[int]], random: Any, most_output: int) -> tuple[list[Any], list[list[int]], Prompts]:
    """A trace whose prompts share prefixes: its rows, the blocks of each prompt, named by everything up to their end, and the same for the kernel."""
    numbers: dict[tuple[int, ...], int] = {}
    blocks = [[numbers.setdefault(tuple(path[: end + 1]), len(numbers)) for end in range(len(path))] for path in paths]
    rows = [
        (random.uniform(0.0, 0.4), len(path) * BLOCK_TOKENS + random.randint(1, BLOCK_TOKENS), random.randint(1, most_output), random.randint(0, 1), 0)
        for path in paths
    ]
    rows.sort(key=lambda row: row[0])
    flat = np.array([block for path in blocks for block in path], dtype=np.int64)
    return rows, blocks, Prompts(flat, np.cumsum([0, *map(len, blocks)]), float(BLOCK_TOKENS), len(numbers))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(["dense", "windows", "compiled"]),
    families,
    st.randoms(use_true_random=False),
    numbers,
    st.sampled_from(["prefix-affine", "least-loaded"]),
    st.one_of(st.none(), st.integers(0, 1200)),
    st.sampled_from(WHEN_FULL),
)
def test_prefixes_are_found_as_the_naive_simulator_finds_them(
    name: str, paths: list[list[int]], random: Any, replicas: int, routing: str, cache_tokens: int | None, when_full: str
) -> None:
    trace, blocks, prompts = with_prefixes(paths, random, 12 if when_full == "wait" else 150)
    options = {"replicas": replicas, "routing": routing, "when_full": when_full}
    cache = None if cache_tokens is None else float(cache_tokens)
    found, constants = served(name, trace, random.randint(1, 2000), prompts=prompts, cache_tokens=cache, **options)
    requests = [Request(*row, blocks=path) for row, path in zip(trace, blocks, strict=True)]
    simulate(Physics(made(name), float(constants["pool_bytes"][0])), requests, block_tokens=BLOCK_TOKENS, cache_tokens=cache_tokens, **options)
    same(found, requests)
    assert found.requests["preemptions"].tolist() == [one.preemptions for one in requests]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(["dense", "windows", "compiled"]),
    families,
    st.randoms(use_true_random=False),
    st.integers(1, 3),
    st.sampled_from(ROUTINGS),
    st.integers(1, 5),
    st.sampled_from(WHEN_FULL),
)
def test_a_closed_loop_with_prefixes_is_the_naive_one(
    name: str, paths: list[list[int]], random: Any, replicas: int, routing: str, clients: int, when_full: str
) -> None:
    trace, blocks, prompts = with_prefixes(paths, random, 60)
    rows = [(0.0, *row[1:]) for row in trace]
    options = {"replicas": replicas, "routing": routing, "when_full": when_full}
    found, constants = served(name, rows, random.randint(1, 2000), prompts=prompts, clients=clients, **options)
    requests = [Request(*row, blocks=path) for row, path in zip(rows, blocks, strict=True)]
    serve_clients(Physics(made(name), float(constants["pool_bytes"][0])), requests, clients, block_tokens=BLOCK_TOKENS, **options)
    same(found, requests)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(names, traces, numbers, st.sampled_from(ROUTINGS[:3]), st.integers(1, 9))
def test_a_closed_loop_is_the_naive_one(name: str, trace: Any, replicas: int, routing: str, clients: int) -> None:
    rows = [(0.0, *row[1:]) for row in trace]
    found, _ = served(name, rows, replicas=replicas, routing=routing, clients=clients)
    requests = [Request(*row) for row in rows]
    serve_clients(Physics(made(name)), requests, clients, replicas=replicas, routing=routing)
    same(found, requests)
    np.testing.assert_allclose(found.requests["arrival_s"], [one.arrival_s for one in requests], rtol=1e-9)


POOLS = {
    "pools": functools.partial(replica, model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", mode="disaggregated", chunk_tokens=700),
    "pools-windows": functools.partial(replica, model="gpt-oss-120b", system="p6-b200.48xlarge", accelerators=2, mode="disaggregated"),
}
REPLICAS |= POOLS


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(POOLS)), traces, st.integers(1, 3), st.integers(1, 3), st.sampled_from(ROUTINGS[:3]))
def test_pools_apart_are_the_naive_ones(name: str, trace: Any, prefill_replicas: int, replicas: int, routing: str) -> None:
    trace = sorted(trace, key=lambda row: row[0])
    rows = np.array(trace, dtype=np.float64).T
    classes = {"priority": rows[3].astype(np.int64), "sessions": rows[4].astype(np.int64)}
    found = replay_pools(made(name).constants, *rows[:3], **classes, prefill_replicas=prefill_replicas, replicas=replicas, routing=routing)
    requests = [Request(*row) for row in trace]
    simulate_pools(Physics(made(name)), requests, prefill_replicas=prefill_replicas, replicas=replicas, routing=routing)
    same(found, requests)
    assert not found.states["load"].any()


def intervals_union(start: Any, end: Any) -> float:
    """Length of the union of intervals."""
    order = np.argsort(start, kind="stable")
    whole, reach = 0.0, -np.inf
    for begin, stop in zip(start[order], end[order], strict=True):
        whole += max(stop - max(begin, reach), 0.0)
        reach = max(reach, stop)
    return whole


@settings(max_examples=100, deadline=None, derandomize=True)
@given(names, traces, st.integers(1, 3), st.sampled_from(ROUTINGS[:3]), st.one_of(st.none(), st.integers(1, 1500)))
def test_what_must_hold_of_any_server(name: str, trace: Any, replicas: int, routing: str, pool_tokens: int | None) -> None:
    found, constants = served(name, trace, pool_tokens, replicas=replicas, routing=routing)
    one, c = found.requests, constants[0]
    # Every request is served, in order, none before it arrives.
    assert (one["arrival_s"] <= one["admitted_s"]).all()
    assert (one["admitted_s"] < one["first_token_s"]).all()
    assert (one["first_token_s"] <= one["finish_s"]).all()
    # Every token is made once: a step for each, or for each E where some are drafted.
    steps = np.ceil((one["output_tokens"] - 1.0) / c["tokens_per_step"] - 1e-9)
    assert found.states["sequence_steps"].sum() >= steps.sum()
    assert found.states["sequence_steps"].sum() == steps.sum() or c["static"] == 1.0
    assert not found.states["load"].any()
    assert not found.states["used_bytes"].any()
    for r in range(replicas):
        mine = one[one["replica"] == r]
        # A replica works whenever it has a request.
        assert found.states["busy_s"][r] == pytest.approx(intervals_union(mine["arrival_s"], mine["finish_s"]), rel=1e-9)
        # The KV pool is never overbooked.
        at = mine["admitted_s"]
        held = np.array([mine["kv_bytes"][(mine["admitted_s"] <= t) & (mine["finish_s"] > t)].sum() for t in at])
        assert (held <= c["pool_bytes"] * (1 + 1e-12)).all()
        # Of one priority, none overtakes.
        for k in range(4):
            queue = mine[mine["priority"] == k]
            assert (np.diff(queue["admitted_s"]) >= 0.0).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([name for name in CONTINUOUS if "next" not in name and "drafts" not in name]), growing, st.integers(1, 2), st.integers(0, 900))
def test_what_must_hold_where_requests_preempt(name: str, trace: Any, replicas: int, pool_tokens: int) -> None:
    found, constants = served(name, trace, pool_tokens, replicas=replicas, when_full="preempt")
    one, stays, c = found.requests, found.stays, constants[0]
    assert stays is not None
    assert np.bincount(stays["next"], minlength=one.shape[0]).tolist() == one["preemptions"].tolist()
    assert (one["arrival_s"] <= one["admitted_s"]).all()
    assert (one["admitted_s"] < one["first_token_s"]).all()
    assert (one["first_token_s"] <= one["finish_s"]).all()
    # Every token is made once: by a step, or at the end of a prefill, of which a stay has one unless it ended before.
    prefilled = one.shape[0] + np.count_nonzero(stays["joined_s"] > stays["since_s"])
    assert found.states["sequence_steps"].sum() + prefilled == one["output_tokens"].sum()
    assert not found.states["load"].any()
    assert not found.states["used_bytes"].any()
    # Stays of one request follow each other, and prompts alone never overfill the pool.
    begin, end, whose = (np.concatenate([stays[key], one[key] if key != "next" else np.arange(one.shape[0])]) for key in ("since_s", "finish_s", "next"))
    prompts = np.concatenate([stays["kv_bytes"], kv_bytes(constants, one["input_tokens"] + one["sent_tokens"])])
    at = np.concatenate([stays["replica"], one["replica"]])
    for i in range(one.shape[0]):
        mine = np.argsort(begin[whose == i])
        assert (end[whose == i][mine][:-1] <= begin[whose == i][mine][1:]).all()
    for when, r in zip(begin, at, strict=True):
        assert prompts[(begin <= when) & (end > when) & (at == r)].sum() <= c["pool_bytes"] * (1 + 1e-9)
    for r in range(replicas):
        mine = one[one["replica"] == r]
        assert found.states["busy_s"][r] == pytest.approx(intervals_union(mine["arrival_s"], mine["finish_s"]), rel=1e-9)


def test_more_evictions_than_there_was_room_to_write_down_are_all_written_down() -> None:
    constants = made("dense").constants.copy()
    n = 40
    rows = [np.zeros(n), np.full(n, 30.0), np.full(n, 900.0)]
    constants["pool_bytes"] = kv_bytes(constants, np.array([2000.0]))
    found = replay(constants, *rows, when_full="preempt")
    assert found.stays is not None
    assert found.stays.shape[0] == found.requests["preemptions"].sum() > n
    requests = [Request(0.0, 30, 900) for _ in range(n)]
    simulate(Physics(made("dense"), float(constants["pool_bytes"][0])), requests, replicas=1, routing="least-loaded", when_full="preempt")
    same(found, requests)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["dense", "windows", "states", "neuron"]), st.integers(1, 900), st.integers(1, 30), st.lists(st.floats(0.0, 0.5), min_size=1, max_size=12)
)
def test_identical_requests_are_served_no_later_by_a_replica_each(name: str, input_tokens: int, output_tokens: int, arrivals: list[float]) -> None:
    trace = [(arrival, input_tokens, output_tokens, 0, 0) for arrival in sorted(arrivals)]
    few, _ = served(name, trace, replicas=1)
    alone, _ = served(name, trace, replicas=len(trace))
    assert (alone.requests["finish_s"] <= few.requests["finish_s"] * (1 + 1e-12)).all()


def test_more_replicas_lower_the_mean_latency_of_random_traffic() -> None:
    rng = np.random.default_rng(5)
    rows = np.array([np.cumsum(rng.exponential(0.05, 2000)), np.full(2000, 700.0), np.full(2000, 60.0)])
    constants = made("dense").constants
    means = []
    for replicas in (1, 2, 4, 8, 16):
        one = replay(constants, *rows, replicas=replicas, routing="least-loaded").requests
        means.append((one["finish_s"] - one["arrival_s"]).mean())
    assert means == sorted(means, reverse=True)


def test_advancing_in_slices_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    rows = np.array([np.cumsum(rng.exponential(0.02, 500)), rng.integers(1, 900, 500), rng.integers(1, 60, 500)], dtype=np.float64)
    constants = made("dense").constants
    for options in ({"routing": "round-robin"}, {"routing": "least-loaded"}, {"routing": "least-loaded", "clients": 7}):
        whole = replay(constants, *rows, replicas=3, **options)  # type: ignore[arg-type]
        told = []
        monkeypatch.setattr("accelmodel.serving.simulation.replay._CHUNK", 37)
        sliced = replay(constants, *rows, replicas=3, progress=lambda sent, n, told=told: told.append((sent, n)), **options)  # type: ignore[arg-type]
        monkeypatch.undo()
        np.testing.assert_allclose(of_kernel(sliced), of_kernel(whole), rtol=1e-12)
        assert told[-1] == (500, 500)
        assert len(told) == 14
