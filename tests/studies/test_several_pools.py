"""One trace served by several pools of different replicas: each is what it would be alone, and together they are the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelmodel as am
from accelmodel.studies.simulate import Pool, simulate
from naive_simulator import Physics, Request
from naive_simulator import simulate as simulate_naively

SHORT = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
LONG = am.replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=4)
rows = st.tuples(st.floats(0.0, 2.0), st.integers(1, 900), st.integers(1, 20), st.integers(0, 2))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(rows, min_size=1, max_size=16), st.integers(100, 800), st.integers(1, 3), st.integers(1, 3))
def test_each_request_goes_to_the_first_pool_that_holds_it(trace: list[Any], split: int, few: int, many: int) -> None:
    trace = sorted([*trace, (0.0, split, 3, 0), (0.0, split + 1, 3, 0)], key=lambda row: row[0])
    columns = dict(zip(("arrival_s", "input_tokens", "output_tokens", "priority"), map(list, zip(*trace, strict=True)), strict=True))
    pools = [Pool(SHORT, few, name="short", input_tokens=(0, split), when_full="preempt"), Pool(LONG, many, name="long", routing="round-robin")]
    found = simulate(pools, columns, samples=3).requests.to_pylist()
    for pool, chosen in ((pools[0], lambda tokens: tokens <= split), (pools[1], lambda tokens: tokens > split)):
        physics = Physics(pool.replica)
        mine = [(number, Request(*row)) for number, row in enumerate(trace) if chosen(row[1])]
        simulate_naively(physics, [one for _, one in mine], replicas=pool.replicas, routing=pool.routing, when_full=pool.when_full)
        for number, one in mine:
            row = found[number]
            assert (row["request"], row["pool"], row["replica"]) == (number, pool.name, one.replica)
            assert row["queue_s"] == pytest.approx(one.admitted_s - one.arrival_s, rel=1e-9, abs=1e-12)
            assert row["request_latency_s"] == pytest.approx(one.finish_s - one.arrival_s + physics.beside_s(one), rel=1e-9)


TRACE = am.Trace.generate([am.Client(4.0, 500, 60, output_variation=0.5), am.Client(1.0, 5000, 90)], duration_s=60.0, seed=2)


def test_one_pool_is_no_pool() -> None:
    alone, pool = simulate(SHORT, TRACE, replicas=2), simulate([Pool(SHORT, 2)], TRACE)
    assert pool.requests.equals(alone.requests)
    assert pool.summary.to_dict() == alone.summary.to_dict()
    assert pool.by_pool == {}


def test_pools_add_up() -> None:
    apart = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, mode="disaggregated")
    both = simulate([Pool(SHORT, 2, name="chat", input_tokens=(0, 1000)), Pool(apart, 2, prefill_replicas=1, name="documents")], TRACE, ttft_s=0.5)
    parts = list(both.by_pool.values())
    for name in ("requests", "replicas", "goodput_requests_per_s", "output_tokens_per_s", "input_tokens_per_s", "running_requests", "energy_j", "cost_usd"):
        assert sum(getattr(part, name) for part in parts) == pytest.approx(getattr(both.summary, name), rel=1e-12)
    assert {part.duration_s for part in parts} == {both.duration_s}
    table = both.requests.to_pandas()
    assert (table["pool"] == np.where(TRACE.input_tokens <= 1000, "chat", "documents")).all()
    assert (table.prefill_replica.isna() == (table["pool"] == "chat")).all()
    assert (table.request == np.arange(TRACE.requests)).all()
    chat = simulate(SHORT, {name: getattr(TRACE, name)[TRACE.input_tokens <= 1000] for name in ("arrival_s", "input_tokens", "output_tokens")}, replicas=2)
    assert both.by_pool["chat"].time_to_first_token_p99_s == chat.time_to_first_token_p99_s


@pytest.mark.parametrize(
    ("pools", "options", "key", "says"),
    [
        ([Pool(SHORT, input_tokens=(0, 10))], {}, "pools", "no pool's slice holds request 0"),
        ([Pool(SHORT, priorities=[1])], {}, "pools", "priority 0"),
        ([Pool(SHORT), Pool(LONG)], {}, "pools", "no request goes to pool '1'"),
        ([Pool(SHORT, name="a"), Pool(LONG, name="a")], {}, "name", "two pools"),
        ([Pool(SHORT), Pool(LONG)], {"replicas": 3}, "replicas", "each pool's own"),
        ([Pool(SHORT, input_tokens=(0, 1000)), Pool(LONG)], {"clients": 3}, "clients", "one pool"),
        ([Pool(SHORT, 0)], {}, "replicas", "at least 1"),
        ([Pool(SHORT, when_full="waits")], {}, "when_full", "did you mean 'wait'"),
        ([], {}, "replica", "pools"),
        ([SHORT], {}, "replica", "Pool"),
    ],
)
def test_wrong_pools_are_named(pools: list[Any], options: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(am.InputError, match=says.replace("(", "\\(")) as error:
        simulate(pools, TRACE, **options)
    assert error.value.key == key
