"""Proofs: a plan that holds, one that is short and repaired, one that nothing repairs; cells of large fleets; the busiest window of a trace."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelmodel as am
from accelmodel.studies.proof import Targets, prove
from accelmodel.studies.traffic import burst_ratio, busiest_window, request_work, work_in_windows


@pytest.fixture(scope="module")
def replica():
    return am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)


@pytest.fixture(scope="module")
def traffic():
    """Ten minutes of bursty chat at 4 requests/s, ~2,400 requests: shorter than the window in which 2,000 requests arrive, so that all of it counts."""
    return am.Trace.generate(am.Client(3.0, 900, 200, burstiness=2.0, input_variation=0.6, output_variation=0.6), duration_s=600, seed=3)


RATE_TIMES = 20.0
TARGETS = Targets(ttft_s=0.5, tpot_s=0.02, percentile=95.0)


def percentiles(replica, trace, replicas):
    sim = am.simulate(replica, trace, replicas=replicas)
    ttft, tpot = (sim.requests[name].to_numpy() for name in ("time_to_first_token_s", "time_per_output_token_s"))
    return float(np.percentile(ttft, 95)), float(np.percentile(tpot[~np.isnan(tpot)], 95))


def own_rate(trace):
    return trace.requests / trace.duration_s


def test_a_short_plan_is_repaired_to_the_least_number_that_holds(replica, traffic):
    rate = own_rate(traffic) * RATE_TIMES
    proof = prove(replica, traffic, rate, 1, TARGETS, window_s=1e9)
    assert not proof.held
    assert proof.why_not is None
    assert proof.replicas_proven > 2
    assert proof.short_fraction == proof.replicas_proven - 1
    whole = traffic.at_rate(RATE_TIMES)
    assert (proof.ttft_s, proof.tpot_s) == pytest.approx(percentiles(replica, whole, 1))
    enough, few = (percentiles(replica, whole, proof.replicas_proven - less) for less in (0, 1))
    assert (proof.repaired_ttft_s, proof.repaired_tpot_s) == pytest.approx(enough)
    assert enough[0] <= TARGETS.ttft_s
    assert enough[1] <= TARGETS.tpot_s
    assert few[0] > TARGETS.ttft_s or few[1] > TARGETS.tpot_s
    assert "short by" in proof.words
    assert f"{proof.replicas_proven:,}" in proof.words
    held = prove(replica, traffic, rate, proof.replicas_proven, TARGETS, window_s=1e9)
    assert held.held
    assert held.short_fraction == 0.0
    assert "they hold" in held.words


def test_tighter_targets_and_more_requests_never_take_fewer(replica, traffic):
    rate = own_rate(traffic) * RATE_TIMES
    first = prove(replica, traffic, rate, 1, TARGETS).replicas_proven
    for other in (Targets(0.5, 0.015, 95.0), Targets(0.3, 0.02, 95.0), Targets(0.5, 0.02, 99.0)):
        assert prove(replica, traffic, rate, 1, other).replicas_proven >= first
    assert prove(replica, traffic, 1.5 * rate, 1, TARGETS).replicas_proven > first


def test_what_no_number_of_replicas_meets_is_said(replica, traffic):
    proof = prove(replica, traffic, 1.0, 3, Targets(ttft_s=0.001, percentile=50.0))
    assert proof.replicas_proven is None
    assert not proof.held
    assert math.isnan(proof.short_fraction)
    assert "alone on a replica" in proof.why_not
    assert "target 0.001 s" in proof.why_not
    assert "not feasible" in proof.words


def test_targets_that_only_caches_meet_are_met_by_more_replicas(replica):
    """Prompts of 10,240 tokens, all but the last 20 in common, take a quarter of a second anew: 0.1 s is met from the cache, once there are enough."""
    n, blocks = 2_500, 20
    arrival_s = np.sort(np.random.default_rng(0).uniform(0.0, 300.0, n))
    columns = {"arrival_s": arrival_s, "input_tokens": np.full(n, blocks * 512 + 20), "output_tokens": np.full(n, 100), "hash_ids": [list(range(blocks))] * n}
    trace, targets = am.Trace.of(columns), Targets(ttft_s=0.1, tpot_s=0.02)
    assert am.simulate(replica, trace.stretched(1e4), prefix_cache_tokens=0).requests["time_to_first_token_s"].to_numpy().min() > targets.ttft_s
    proof = prove(replica, trace, 60.0, 1, targets, routing="prefix-affine")
    assert not proof.held
    assert proof.why_not is None
    assert proof.repaired_ttft_s <= targets.ttft_s
    without = prove(replica, trace, 60.0, 1, targets, prefix_cache_tokens=0)
    assert "alone on a replica" in without.why_not


def test_few_long_prompts_do_not_make_a_percentile_out_of_reach(replica):
    """99.2 % of the prompts are short; of every 39th, which is what a sample of 512 in 20,000 sees, a quarter is long."""
    n = 20_000
    input_tokens = np.full(n, 100.0)
    input_tokens[np.linspace(0, n - 1, 512).astype(int)[::4]] = 60_000.0
    trace = am.Trace.of({"arrival_s": np.linspace(0.0, 2_000.0, n), "input_tokens": input_tokens, "output_tokens": np.full(n, 20)})
    assert (input_tokens == 100.0).mean() > 0.99
    proof = prove(replica, trace, 200.0, 1, Targets(ttft_s=0.5))
    assert not proof.held
    assert proof.why_not is None
    assert proof.replicas_proven > 1


def test_of_a_slow_demand_so_many_requests_are_simulated_that_a_percentile_means_something(replica):
    """One request in 20 is far longer than the target allows: a part of three of them would miss it one time in seven only."""
    n = 1_000
    input_tokens = np.where(np.arange(n) % 20 == 7, 100_000.0, 100.0)
    trace = am.Trace.of({"arrival_s": np.arange(n, dtype=float), "input_tokens": input_tokens, "output_tokens": np.full(n, 20)})
    for rate in (1e-1, 1e-3, 1e-6):
        proof = prove(replica, trace, rate, 1, Targets(ttft_s=0.5))
        assert proof.requests == n
        assert "alone on a replica" in proof.why_not
    two = am.Trace.of({"arrival_s": [0.0, 1.0], "input_tokens": [10, 10], "output_tokens": [10, 10]})
    assert prove(replica, two, 1e-3, 1, Targets(ttft_s=0.5)).requests == 2


def test_a_large_fleet_is_proven_by_one_of_its_cells(replica, traffic):
    small = prove(replica, traffic, own_rate(traffic) * 4, 4, TARGETS)
    large = prove(replica, traffic, own_rate(traffic) * 4_000, 4_000, TARGETS, cell_replicas=4)
    assert (large.ttft_s, large.tpot_s, large.requests) == (small.ttft_s, small.tpot_s, small.requests)
    assert (large.simulated_replicas, large.replicas) == (4, 4_000)


@pytest.mark.parametrize(
    ("key", "call"),
    [
        ("replicas", lambda replica, trace: prove(replica, trace, 1.0, 0, TARGETS)),
        ("requests_per_s", lambda replica, trace: prove(replica, trace, 0.0, 1, TARGETS)),
        ("window_s", lambda replica, trace: prove(replica, trace, 1.0, 1, TARGETS, window_s=0.0)),
        ("window_s", lambda replica, trace: prove(replica, trace, 1.0, 1, TARGETS, window_s=math.nan)),
        ("cell_replicas", lambda replica, trace: prove(replica, trace, 1.0, 2, TARGETS, cell_replicas=0)),
        ("cell_replicas", lambda replica, trace: prove(replica, trace, 1.0, 2, TARGETS, cell_replicas=-1)),
        ("trace", lambda replica, _: prove(replica, "no-such-trace", 1.0, 2, TARGETS)),
        ("ttft_s", lambda *_: Targets(ttft_s=0.0)),
        ("percentile", lambda *_: Targets(ttft_s=1.0, percentile=100.0)),
    ],
)
def test_what_cannot_be_proven_is_refused(replica, traffic, key, call):
    with pytest.raises(am.InputError) as caught:
        call(replica, traffic)
    assert caught.value.key == key


arrivals = st.lists(st.floats(0.0, 100.0), min_size=2, max_size=30).filter(lambda times: max(times) > min(times))


def trace_of(times):
    return am.Trace.of({"arrival_s": sorted(times), "input_tokens": [100.0] * len(times), "output_tokens": [10.0] * len(times)})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(arrivals, st.floats(0.5, 60.0))
def test_no_window_that_begins_at_an_arrival_is_busier(times, window_s):
    trace = trace_of(times)
    work = np.arange(1.0, len(times) + 1.0)
    begin, end = busiest_window(trace, work, window_s)

    def inside(start, stop):
        return work[(trace.arrival_s >= start) & (trace.arrival_s < stop)].sum()

    whole = [start for start in trace.arrival_s if start + window_s <= trace.arrival_s[-1]]
    assert inside(begin, end) >= max((inside(start, start + window_s) for start in whole), default=work.sum()) - 1e-9


@settings(max_examples=50, deadline=None, derandomize=True)
@given(arrivals, st.floats(0.2, 5.0), st.floats(0.1, 5.0))
def test_a_smaller_rate_gives_a_part_of_a_larger(times, low, more):
    trace = trace_of(times)
    try:
        few = trace.at_rate(low)
    except am.InputError:
        return  # nothing is left
    many = trace.at_rate(low + more)
    if math.ceil(low) == math.ceil(low + more):
        assert set(few.arrival_s) <= set(many.arrival_s)
    assert few.requests <= many.requests <= math.ceil(low + more) * trace.requests


def test_rates_are_met_and_prefixes_kept():
    trace = am.Trace.of("mooncake_conversation")
    for factor in (0.3, 2.7):
        scaled = trace.at_rate(factor)
        assert scaled.requests == pytest.approx(factor * trace.requests, rel=0.03)
        assert scaled.hash_ids.size == pytest.approx(factor * trace.hash_ids.size, rel=0.05)


def test_copies_have_sessions_and_prefixes_of_their_own():
    trace = am.Trace.of({"arrival_s": [0.0, 5.0, 9.0], "input_tokens": [10.0] * 3, "output_tokens": [5.0] * 3, "session": [7, 7, 8]})
    thick = trace.thickened(3, seed=1)
    assert sorted(np.unique(thick.session, return_counts=True)[1]) == [1, 1, 1, 2, 2, 2]
    moon = am.Trace.of("mooncake_conversation").between(0.0, 120.0)
    thick = moon.thickened(2)
    assert np.unique(thick.hash_ids).size == 2 * np.unique(moon.hash_ids).size
    assert sorted(np.unique(thick.hash_ids, return_counts=True)[1]) == sorted(2 * list(np.unique(moon.hash_ids, return_counts=True)[1]))


def test_work_counts_every_request_and_bursts_stand_above_the_mean(replica, traffic):
    work = request_work(replica, traffic)
    assert work.mean() == pytest.approx(1.0)
    arrived = work_in_windows(traffic, work, 10.0)
    assert arrived.size == int(traffic.duration_s / 10.0)
    inside = traffic.arrival_s < traffic.arrival_s[0] + 10.0 * arrived.size
    assert arrived.sum() == pytest.approx(work[inside].sum())
    ratios = [burst_ratio(traffic, work, window_s, 99.0) for window_s in (1.0, 10.0, 60.0)]
    assert ratios[0] > ratios[1] > ratios[2] > 1.0


def test_bursts_of_a_trace_that_is_nearly_always_idle_take_no_memory(replica):
    trace = trace_of(np.arange(300) * 1e9)
    assert burst_ratio(trace, request_work(replica, trace), 1.0, 99.0) == 1.0
