"""The closed loop against the reference, row by row and point by point, and against what must hold of any closed loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.catalog.figures import Figure
from accelmodel.catalog.models import Linear, Mamba2
from accelmodel.core.replica import Replica
from accelmodel.serving.steady_state import BINDINGS, OUTPUTS, closed_loop, concurrency_at_rate
from accelmodel.serving.targets import LARGEST_CONCURRENCY, largest_concurrency
from accelmodel.studies.points import replica
from reference import Reference
from situations import copy_of, random_loads, random_replicas, with_figures

TTFT, TPOT, LATENCY, OUTPUT_RATE, RUNNING, WAITING = (
    OUTPUTS.index(name)
    for name in (
        "time_to_first_token_s",
        "time_per_output_token_s",
        "request_latency_s",
        "output_tokens_per_s",
        "running_requests",
        "waiting_requests",
    )
)

# One of each kind: dense, one accelerator, experts dealt out, latent attention under attention data-parallelism, windows, states, a sparse index, ROCm, Neuron.
REPLICAS = {
    "dense": replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", kv="fp8"),
    "single": replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1),
    "experts": replica(model="qwen3-235b-a22b", system="p5en.48xlarge", expert_parallel=8, weights="fp8"),
    "latent": replica(model="deepseek-r1", system="p5en.48xlarge", expert_parallel=8, attention_data_parallel=8),
    "windows": replica(model="gpt-oss-120b", system="p6-b200.48xlarge", accelerators=2, engine="tensorrt-llm"),
    "states": replica(model="qwen3.5-397b-a17b", system="p6-b200.48xlarge", engine="sglang"),
    "index": replica(model="deepseek-v3.2", system="p6-b200.48xlarge", weights="nvfp4"),
    "rocm": replica(model="mixtral-8x22b", system="mi300x-8"),
    "neuron": replica(model="llama-3.1-70b", system="trn2.48xlarge"),
    "neuron-experts": replica(model="gpt-oss-120b", system="trn3-ultraserver-gen2", accelerators=16, expert_parallel=8),
}

names = st.sampled_from(sorted(REPLICAS))
lengths = st.tuples(st.integers(1, 60_000).map(float), st.integers(1, 8_000).map(float))
clients = st.floats(0.01, 20_000.0)
hits = st.one_of(st.just(0.0), st.floats(0.0, 1.0))
examples = settings(max_examples=60, deadline=None, derandomize=True)


def point(one: Replica, isl: float, osl: float, concurrency: float, hit: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """All OUTPUTS of one point."""
    return closed_loop(one.constants, *(np.array([value]) for value in (isl, osl, concurrency, hit)))[:, 0]


def pool_clients(one: Replica, isl: float, osl: float) -> float:
    """Clients that the KV pool admits; NaN where none fits."""
    return float(point(one, isl, osl, 1e9)[RUNNING])


def not_slower(fast: float, slow: float, rel: float = 1e-12) -> bool:
    """Whether one latency is at most another, up to rounding; two points that do not fit compare as equal."""
    return fast <= slow * (1 + rel) or (math.isnan(fast) and math.isnan(slow))


# --- equal to the reference -----------------------------------------------------------------------------------------------------------------


def test_every_output_equals_the_reference_on_random_replicas_and_loads():
    rng = np.random.default_rng(20261122)
    compared = fitting = 0
    bindings = set()
    for one in random_replicas(rng, 1_500):
        loads = random_loads(rng, 3)
        out, reference = closed_loop(one.constants, *loads), Reference(one)
        # A pool that is a small difference of large numbers amplifies their rounding.
        rel = 1e-12 if abs(reference.pool_bytes) > 0.01 * reference.weight_bytes else 1e-9
        has_states = any(isinstance(group.attention, Linear | Mamba2) for group in one.model.architecture.groups)
        for load, got in zip(loads.T, out.T, strict=True):
            expected = reference.closed_loop(*load)
            where = (one.model.name, one.system.name, one.parallelism, one.precision, load.tolist())
            for name, value in zip(OUTPUTS, got, strict=True):
                if name != "binding":
                    assert value == pytest.approx(expected.get(name, math.nan), rel=rel, nan_ok=True), (name, where)
            # Where states are read, the label is wrong (tests/test_known_faults.py).
            if not has_states:
                assert BINDINGS[int(got[OUTPUTS.index("binding")])] == expected["binding"], where
            bindings.add(expected["binding"])
            compared, fitting = compared + 1, fitting + int(expected["fits"])
    assert compared == 4_500
    assert fitting > 2_000
    assert bindings >= {"compute", "memory", "overhead", "capacity"}


def test_a_slow_link_binds():
    # PCIe between eight cards: 80 x 2 x 1.75 x 16,384 bytes at 17 GB/s are 0.27 ms a token, against 0.05 ms of arithmetic and, among 200, of reading weights.
    one = replica(model="llama-3.1-70b", system="g6e.48xlarge", weights="fp8")
    got = point(one, 10.0, 1000.0, 200.0)
    assert BINDINGS[int(got[OUTPUTS.index("binding")])] == Reference(one).closed_loop(10.0, 1000.0, 200.0, 0.0)["binding"] == "network"


def test_what_does_not_fit_is_nan_but_for_three_columns():
    got = dict(zip(OUTPUTS, point(replica(model="llama-3.1-405b", system="p5.48xlarge", accelerators=4, weights="bf16"), 1000.0, 100.0, 8.0), strict=True))
    assert (got.pop("fits"), got.pop("kv_capacity_tokens"), BINDINGS[int(got.pop("binding"))]) == (0.0, 0.0, "capacity")
    assert all(math.isnan(value) for value in got.values())


# --- results do not depend on how they are computed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "experts", "states"])
def test_bit_equal_for_any_threads_and_any_chunking(name: str):
    constants = REPLICAS[name].constants
    loads = random_loads(np.random.default_rng(1), 120_001)
    one = closed_loop(constants, *loads, threads=1)
    assert closed_loop(constants, *loads, threads=2).tobytes() == one.tobytes()
    assert closed_loop(constants, *loads, threads=3).tobytes() == one.tobytes()
    for begin, end in ((0, 1), (255, 258), (1_000, 1_777), (119_990, 120_001)):
        alone = closed_loop(constants, *np.ascontiguousarray(loads[:, begin:end]))
        assert alone.tobytes() == np.ascontiguousarray(one[:, begin:end]).tobytes()


@pytest.mark.parametrize(
    ("figure", "unit", "factor"),
    [
        ("hbm_bandwidth", "GB/s", 1e3),
        ("hbm_bandwidth", "MB/s", 1e6),
        ("peak_bf16", "PFLOP/s", 1e-3),
        ("peak_fp8", "GFLOP/s", 1e3),
        ("hbm_usable", "MiB", None),
        ("scale_up_bandwidth", "Gbit/s", 8),
        ("tdp", "kW", 1e-3),
    ],
)
def test_the_unit_of_a_figure_changes_nothing(figure: str, unit: str, factor: float | None):
    one = REPLICAS["dense"]
    old = getattr(one.accelerator.figures, figure)
    value = old.si / 2**20 if factor is None else old.value * factor
    new = Figure(value=value, unit=unit, kind="published", source=old.source)
    figures = one.accelerator.figures.model_copy(update={figure: new})
    other = copy_of(one, accelerator=one.accelerator.model_copy(update={"figures": figures}))
    load = (2000.0, 500.0, 700.0, 0.25)
    assert point(other, *load) == pytest.approx(point(one, *load), rel=4e-15)


# --- laws -----------------------------------------------------------------------------------------------------------------------------------


@examples
@given(names, lengths, clients, hits)
def test_littles_law(name: str, length: tuple[float, float], concurrency: float, hit: float):
    out = point(REPLICAS[name], *length, concurrency, hit)
    if not math.isnan(out[TTFT]):
        in_system = out[OUTPUT_RATE] / length[1] * (out[TTFT] + (length[1] - 1) * out[TPOT])
        assert out[RUNNING] + out[WAITING] == pytest.approx(in_system, rel=1e-12)
        assert out[RUNNING] + out[WAITING] == pytest.approx(concurrency, rel=1e-12)


@examples
@given(names, lengths, st.floats(1.0, 2000.0), hits)
def test_a_second_is_spent_once(name: str, length: tuple[float, float], concurrency: float, hit: float):
    # X (P + O D / b) is the busy share of the replica: at most one, but for one part in O - 1, since O - 1 intervals carry the stall of O (FIDELITY's form).
    one, (isl, osl) = REPLICAS[name], length
    out = point(one, *length, concurrency, hit)
    if osl > 1 and not math.isnan(out[TTFT]):
        reference, cached = Reference(one), isl * hit
        marginal_s = reference.prefill_s(max(isl - cached, 1.0), cached)[1]
        step_s = reference.step_s(max(out[RUNNING], 1.0), isl + osl / 2)
        busy = out[OUTPUT_RATE] / osl * (marginal_s + osl * step_s / max(out[RUNNING], 1.0))
        assert busy <= osl / (osl - 1) * (1 + 1e-9)


@examples
@given(names, lengths, clients, hits)
def test_no_step_beats_the_roofline(name: str, length: tuple[float, float], concurrency: float, hit: float):
    # A step reads all weights that its tokens need and every running sequence's cache, and does its arithmetic, on each rank. Below one sequence per attention
    # group the mean rank is not the busiest, so the law is stated from there on.
    one, (isl, osl) = REPLICAS[name], length
    out = point(one, *length, concurrency, hit)
    running = max(out[RUNNING], 1.0)
    if not math.isnan(running) and running >= one.parallelism.attention_data:
        reference, context = Reference(one), isl + osl / 2
        read_s, attend_s = reference.ideal_context_s(context)
        flop_s = reference.ideal_flop_s(sampled=False) + reference.ideal_flop_s(sampled=True) + attend_s
        assert out[TPOT] >= reference.ideal_read_s(running) + running * read_s
        assert out[TPOT] >= running * flop_s


@pytest.mark.parametrize("name", ["dense", "single", "neuron"])
def test_one_sequence_reads_the_model_by_hand(name: str):
    # The coarsest bound needs no table: parameters x bytes / (accelerators x bandwidth), with the input embedding left out.
    one = REPLICAS[name]
    architecture = one.model.architecture
    least = 1.0 if one.precision.weights == "fp8" else 2.0
    read = least * (architecture.parameters - 2 * architecture.embedding_parameters) + 2.0 * architecture.embedding_parameters
    bound_s = read / (one.accelerators * one.accelerator.need("hbm_bandwidth").si)
    assert bound_s < point(one, 100.0, 100.0, 1.0)[TPOT] < 6 * bound_s


@examples
@given(
    names,
    st.sampled_from(["hbm_bandwidth", "peak_bf16", "peak_fp8", "peak_fp4", "scale_up_bandwidth"]),
    st.floats(1.0, 4.0),
    lengths,
    clients,
    hits,
)
def test_faster_hardware_never_slows_a_request(name: str, figure: str, factor: float, length: tuple[float, float], concurrency: float, hit: float):
    slow = REPLICAS[name]
    if getattr(slow.accelerator.figures, figure) is not None:
        fast = copy_of(slow, accelerator=with_figures(slow.accelerator, **{figure: factor}))
        before, after = (point(one, *length, concurrency, hit) for one in (slow, fast))
        assert all(not_slower(after[row], before[row]) for row in (TTFT, TPOT, LATENCY))


@examples
@given(names, lengths, clients, st.floats(1.0, 100.0), hits)
def test_more_clients_never_speed_a_request_up(name: str, length: tuple[float, float], concurrency: float, more: float, hit: float):
    few, many = (point(REPLICAS[name], *length, n, hit) for n in (concurrency, concurrency * more))
    assert all(not_slower(few[row], many[row]) for row in (TTFT, TPOT, LATENCY))


@examples
@given(names, lengths, st.floats(0.0, 1.0), st.floats(0.0, 1.0), hits)
def test_more_clients_never_lower_throughput_within_the_pool(name: str, length: tuple[float, float], less: float, more: float, hit: float):
    one = REPLICAS[name]
    pool = pool_clients(one, *length)
    if not math.isnan(pool):
        few, many = (point(one, *length, max(share * pool, 0.01), hit)[OUTPUT_RATE] for share in sorted((less, more)))
        assert few <= many * (1 + 1e-12)


@examples
@given(names, lengths, st.floats(1.0, 50.0), hits)
def test_clients_beyond_the_pool_wait_and_slow_no_step(name: str, length: tuple[float, float], more: float, hit: float):
    one = REPLICAS[name]
    pool = pool_clients(one, *length)
    if not math.isnan(pool):
        at, beyond, further = (point(one, *length, pool * times, hit) for times in (1.0, more, 2 * more))
        assert beyond[TPOT] == at[TPOT] == further[TPOT]
        assert beyond[RUNNING] == at[RUNNING]
        # Each further client waits the same.
        assert further[TTFT] - at[TTFT] == pytest.approx((2 * more - 1) / (more - 1) * (beyond[TTFT] - at[TTFT]) if more > 1.01 else further[TTFT] - at[TTFT])


@examples
@given(names, lengths, st.integers(0, 30_000), st.floats(0.01, 1.0), hits)
def test_a_longer_prompt_is_never_faster_within_the_pool(name: str, length: tuple[float, float], longer: int, share: float, hit: float):
    one, (isl, osl) = REPLICAS[name], length
    pool = pool_clients(one, isl + longer, osl)
    if not math.isnan(pool):
        short, long = (point(one, tokens, osl, share * pool, hit) for tokens in (isl, isl + longer))
        assert all(not_slower(short[row], long[row]) for row in (TTFT, TPOT, LATENCY))


@examples
@given(names, lengths, clients, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_prefix_hits_never_slow_a_request(name: str, length: tuple[float, float], concurrency: float, one_hit: float, other_hit: float):
    # At least one token is always computed, so hits count up to (I - 1) / I.
    largest = 1 - 1 / length[0]
    few, many = (point(REPLICAS[name], *length, concurrency, min(hit, largest)) for hit in sorted((one_hit, other_hit)))
    assert all(not_slower(many[row], few[row]) for row in (TTFT, TPOT, LATENCY))


# --- inverses -------------------------------------------------------------------------------------------------------------------------------


@examples
@given(names, lengths, st.floats(0.001, 0.98), hits)
def test_a_rate_within_capacity_is_carried_at_the_concurrency_found(name: str, length: tuple[float, float], share: float, hit: float):
    one, (isl, osl) = REPLICAS[name], length
    pool = pool_clients(one, isl, osl)
    if not math.isnan(pool):
        most = min(point(one, *length, n, hit)[OUTPUT_RATE] for n in (pool, 1e7)) / osl
        found = concurrency_at_rate(one.constants, *(np.array([value]) for value in (isl, osl, share * most, hit)))[0]
        assert 0.0 < found <= pool * (1 + 1e-9)
        assert point(one, *length, found, hit)[OUTPUT_RATE] / osl == pytest.approx(share * most, rel=1e-9)


def test_a_rate_beyond_capacity_has_no_concurrency():
    one = REPLICAS["dense"]
    most = point(one, 1000.0, 1000.0, pool_clients(one, 1000.0, 1000.0))[OUTPUT_RATE] / 1000.0
    load = (np.array([1000.0]), np.array([1000.0]), np.array([1.2 * most]), np.array([0.0]))
    assert np.isnan(concurrency_at_rate(one.constants, *load)).all()


@examples
@given(names, lengths, hits, st.floats(0.01, 60.0), st.floats(0.001, 0.3))
def test_the_largest_concurrency_meets_its_targets_and_one_more_does_not(name: str, length: tuple[float, float], hit: float, ttft_s: float, tpot_s: float):
    one = REPLICAS[name]
    arrays = [np.array([value]) for value in (*length, hit)]
    found = largest_concurrency(one.constants, *arrays, ttft_s=ttft_s, tpot_s=tpot_s)[0]

    def meets(concurrency: float) -> bool:
        out = point(one, *length, concurrency, hit)
        return bool(out[TTFT] <= ttft_s and out[TPOT] <= tpot_s and out[WAITING] == 0.0)

    assert found == math.floor(found)
    assert 0.0 <= found <= LARGEST_CONCURRENCY
    assert found == 0.0 or meets(found)
    assert not meets(found + 1.0)


def test_without_targets_the_largest_concurrency_is_what_the_pool_admits():
    one = REPLICAS["dense"]
    found = largest_concurrency(one.constants, np.array([4000.0]), np.array([1000.0]), np.array([0.0]))[0]
    # By hand: 80 layers x 2 x 1 head x 128 bytes (fp8) a token and rank, 4,500 tokens, 85.9 GB x 0.92 - 1.5 GB - weights, times 1.26.
    architecture = one.model.architecture
    weights = (architecture.parameters - 2 * architecture.embedding_parameters) / 8 + 2 * architecture.embedding_parameters * 2 / 8
    pool = one.accelerator.memory.si * 0.92 - 1.5e9 - weights
    assert found == math.floor(1.26 * pool / (80 * 2 * 128 * 4500.0))
