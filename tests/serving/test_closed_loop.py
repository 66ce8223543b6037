"""The closed loop against the reference, row by row and point by point, and against what must hold of any closed loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelmodel.catalog.figures import Figure
from accelmodel.core.replica import Replica
from accelmodel.serving.steady_state import BINDINGS, OUTPUTS, Grid, concurrency_at_rate, spread
from accelmodel.serving.targets import LARGEST_CONCURRENCY, largest_concurrency
from accelmodel.studies.points import replica
from reference import Reference, served
from situations import close, copy_of, points, random_loads, random_replicas, with_figures

TTFT, TPOT, LATENCY, OUTPUT_RATE, RUNNING, WAITING, CAPACITY, PREFILL = (
    OUTPUTS.index(name)
    for name in (
        "time_to_first_token_s",
        "time_per_output_token_s",
        "request_latency_s",
        "output_tokens_per_s",
        "running_requests",
        "waiting_requests",
        "kv_capacity_tokens",
        "prefill_time_fraction",
    )
)

# One of each kind: dense, one accelerator, experts dealt out, latent attention under attention data-parallelism, windows, states, a sparse index, ROCm, Neuron;
# stages across hosts, context ranks, drafts of the model's own and of another model, compiled shapes, a static batch, pools apart.
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
    "stages": replica(model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, pipeline_parallel=2, weights="fp8"),
    "context": replica(model="llama-3.1-70b", system="p5.48xlarge", context_parallel=4, weights="fp8"),
    "next-tokens": replica(model="deepseek-v3", system="p5en.48xlarge", accelerators=16, expert_parallel=16, speculative_tokens=2, acceptance_fraction=0.8),
    "draft": replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", speculative_tokens=4, acceptance_fraction=0.6, draft_model="llama-3.1-8b"),
    "compiled": replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, compiled_batch=32, sequence_bucket=4096, prompt_bucket=512),
    "static": replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, mode="static"),
    "pools": replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", mode="disaggregated"),
}
CONTINUOUS = sorted(name for name, one in REPLICAS.items() if one.serving.mode == "continuous")

names = st.sampled_from(sorted(REPLICAS))
lengths = st.tuples(st.integers(1, 60_000).map(float), st.integers(1, 8_000).map(float))
clients = st.floats(0.01, 20_000.0)
hits = st.one_of(st.just(0.0), st.floats(0.0, 1.0))
examples = settings(max_examples=60, deadline=None, derandomize=True)


def point(one: Replica, isl: float, osl: float, concurrency: float, hit: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """All OUTPUTS of one point."""
    return points(one, isl, osl, concurrency, hit)[:, 0]


def pool_clients(one: Replica, isl: float, osl: float) -> float:
    """Clients that the KV pool admits; NaN where none fits."""
    return float(point(one, isl, osl, 1e9)[RUNNING])


def not_slower(fast: float, slow: float, rel: float = 1e-12) -> bool:
    """Whether one latency is at most another, up to rounding; two points that do not fit compare as equal."""
    return fast <= slow * (1 + rel) or (math.isnan(fast) and math.isnan(slow))


# --- equal to the reference -----------------------------------------------------------------------------------------------------------------


def assert_equal(got: np.ndarray[tuple[int], np.dtype[np.float64]], expected: dict[str, object], reference: Reference, where: object) -> None:
    """Every output of a point to 1e-12, what binds too but for ties."""
    # A pool that is a small difference of large numbers amplifies their rounding.
    rel = 1e-12 if abs(reference.pool_bytes) > 0.01 * reference.weight_bytes else 1e-9
    for name, value in zip(OUTPUTS, got.tolist(), strict=True):
        if name == "binding":
            found, shares = BINDINGS[int(value)], expected.get("shares")
            tied = isinstance(shares, dict) and shares.get(found, 0.0) >= max(shares.values()) * (1 - 1e-9)
            assert found == expected["binding"] or (tied and expected["binding"] != "capacity"), where
        elif name == "cached_time_fraction":  # a difference of two counts of pairs
            least = 1e-12 * expected.get("prefill_time_fraction", 0.0)  # type: ignore[operator]
            assert value == pytest.approx(expected.get(name, math.nan), rel=rel, abs=least, nan_ok=True), (name, where)
        else:
            assert value == close(expected.get(name, math.nan), rel), (name, where)


KINDS = ("pipeline", "context", "attention_data", "expert", "speculative", "static", "disaggregated", "compiled", "hosts", "capped")


def test_every_output_equals_the_reference_on_random_replicas_and_loads():
    rng = np.random.default_rng(20261122)
    fitting, bindings = 0, set()
    kinds = dict.fromkeys(KINDS, 0)
    for one in random_replicas(rng, 1_500):
        loads = random_loads(rng, 2)
        out, reference = points(one, *loads), Reference(one)
        for load, got in zip(loads.T, out.T, strict=True):
            expected = served(one, *load)
            assert_equal(got, expected, reference, (one.model.name, one.system.name, one.parallelism, one.precision, one.serving, load.tolist()))
            bindings.add(expected["binding"])
            fitting += int(expected["fits"])
        for kind in kinds:
            kinds[kind] += is_of(one, kind)
    assert fitting > 1_500
    assert bindings >= {"compute", "memory", "network", "overhead", "capacity"}
    assert min(kinds.values()) > 75, kinds


def is_of(one: Replica, kind: str) -> bool:
    """Whether a replica is cut or run in some way."""
    run = {
        "speculative": one.serving.speculative_tokens > 0,
        "static": one.serving.mode == "static",
        "disaggregated": one.serving.mode == "disaggregated",
        "compiled": one.serving.compiled_batch is not None,
        "hosts": one.accelerators > one.system.accelerators,
        "capped": one.serving.power_cap_w is not None,
    }
    return run[kind] if kind in run else getattr(one.parallelism, kind) > 1


def test_a_slow_link_binds():
    # PCIe between eight cards: 80 x 2 x 1.75 x 16,384 bytes at 17 GB/s are 0.27 ms a token, against 0.05 ms of arithmetic and, among 200, of reading weights.
    one = replica(model="llama-3.1-70b", system="g6e.48xlarge", weights="fp8")
    got = point(one, 10.0, 1000.0, 200.0)
    assert BINDINGS[int(got[OUTPUTS.index("binding")])] == Reference(one).closed_loop(10.0, 1000.0, 200.0, 0.0)["binding"] == "network"


def test_reading_states_is_memory():
    one = replica(model="nemotron-h-56b", system="p5.48xlarge")
    parts = Reference(one).decode_parts_s(256.0, 1064.0)
    assert parts["memory"] > 3 * parts["overhead"]
    assert BINDINGS[int(point(one, 64.0, 2000.0, 256.0)[OUTPUTS.index("binding")])] == "memory"


def test_attending_to_cached_tokens_is_a_rectangle():
    # Fresh x cached pairs of 4 x heads x head_dim FLOP each; on Neuron a prompt's own square is computed whole, its rectangle behind a prefix is whole anyway.
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    behind, alone = point(one, 8000.0, 1.0, 1.0, 0.75), point(one, 2000.0, 1.0, 1.0, 0.0)
    prefill_s = [out[TTFT] - one.parameters["first_step_wait_steps"] * out[TPOT] for out in (behind, alone)]
    seconds = 32 * 4 * 32 * 128 * 2000 * 6000 / (one.accelerator.need("peak_bf16").si * one.parameters["attention_compute_efficiency"])
    assert prefill_s[0] - prefill_s[1] == close(seconds, 1e-9)


def test_one_sequence_reads_its_whole_cache_on_its_rank():
    # 61 layers x 576 x 2 bytes a token (arXiv:2412.19437) of 100,000 more tokens, whatever the attention groups.
    one = REPLICAS["latent"]
    short, long = (point(one, isl, 2.0, 1.0, 0.9)[TPOT] for isl in (1000.0, 101_000.0))
    assert long - short >= 61 * 576 * 2 * 100_000 / (one.accelerator.need("hbm_bandwidth").si * one.parameters["kv_bandwidth_efficiency"])


def test_what_does_not_fit_is_nan_but_for_three_columns():
    got = dict(zip(OUTPUTS, point(replica(model="llama-3.1-405b", system="p5.48xlarge", accelerators=4, weights="bf16"), 1000.0, 100.0, 8.0), strict=True))
    assert (got.pop("fits"), got.pop("kv_capacity_tokens"), BINDINGS[int(got.pop("binding"))]) == (0.0, 0.0, "capacity")
    assert all(math.isnan(value) for value in got.values())


# --- results do not depend on how they are computed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "experts", "states"])
def test_bit_equal_for_any_threads_and_any_chunking(name: str):
    some = REPLICAS[name]
    loads = random_loads(np.random.default_rng(1), 120_001)
    one = points(some, *loads, threads=1)
    assert points(some, *loads, threads=2).tobytes() == one.tobytes()
    assert points(some, *loads, threads=3).tobytes() == one.tobytes()
    for begin, end in ((0, 1), (255, 258), (1_000, 1_777), (119_990, 120_001)):
        alone = points(some, *loads[:, begin:end])
        assert alone.tobytes() == np.ascontiguousarray(one[:, begin:end]).tobytes()


def test_grids_broadcast_as_numpy_does():
    # Axes of length one, scalars, arrays of fewer axes and transposed ones: every point as if it had been written out.
    rng = np.random.default_rng(2)
    one = REPLICAS["experts"]
    arrays = (
        rng.uniform(1.0, 5000.0, (7, 1, 40)),
        rng.uniform(1.0, 900.0, (40, 3)).T[:, :],
        np.array(rng.uniform(1.0, 300.0, (7, 1, 1))),
        np.asarray(0.25),
    )
    lazily = points(one, *arrays)
    whole = [np.ascontiguousarray(array).reshape(-1) for array in np.broadcast_arrays(*arrays)]
    assert lazily.shape == (len(OUTPUTS), 7 * 3 * 40)
    assert lazily.tobytes() == points(one, *whole).tobytes()
    grid = Grid.of(*arrays)
    assert grid.size == 840
    assert [spread(grid, row).tolist() for row in range(4)] == [array.tolist() for array in whole]
    assert Grid.of(*(np.asarray(1.0),) * 4).size == 1


@pytest.mark.parametrize(
    ("figure", "unit", "factor"),
    [
        ("hbm_bandwidth", "GB/s", 1e3),
        ("hbm_bandwidth", "MB/s", 1e6),
        ("peak_bf16", "PFLOP/s", 1e-3),
        ("peak_fp8", "GFLOP/s", 1e3),
        ("hbm_usable", "MiB", None),
        ("scale_up_bandwidth", "Gbit/s", 8),
        ("scale_out_bandwidth", "GB/s", 1 / 8),
        ("tdp", "kW", 1e-3),
    ],
)
@pytest.mark.parametrize("name", ["dense", "stages"])
def test_the_unit_of_a_figure_changes_nothing(name: str, figure: str, unit: str, factor: float | None):
    one = REPLICAS[name]
    old = getattr(one.accelerator.figures, figure)
    value = old.si / 2**20 if factor is None else old.value * factor
    new = Figure(value=value, unit=unit, kind="published", source=old.source)
    figures = one.accelerator.figures.model_copy(update={figure: new})
    other = copy_of(one, accelerator=one.accelerator.model_copy(update={"figures": figures}))
    load = (2000.0, 500.0, 700.0, 0.25)
    assert point(other, *load) == close(point(one, *load), 1e-14)


# --- laws -----------------------------------------------------------------------------------------------------------------------------------


@examples
@given(names, lengths, clients, hits)
def test_littles_law(name: str, length: tuple[float, float], concurrency: float, hit: float):
    out = point(REPLICAS[name], *length, concurrency, hit)
    if not math.isnan(out[TTFT]):
        # Rates of pools apart are those of one replica of the mix, of which only those that do not prefill have clients.
        decoding = 1.0 - out[PREFILL] if REPLICAS[name].serving.mode == "disaggregated" else 1.0
        in_system = out[OUTPUT_RATE] / decoding / length[1] * (out[TTFT] + (length[1] - 1) * out[TPOT])
        assert out[LATENCY] == close(out[TTFT] + (length[1] - 1) * out[TPOT])
        assert out[RUNNING] + out[WAITING] == close(in_system)
        assert out[RUNNING] + out[WAITING] == close(concurrency)


@examples
@given(st.sampled_from(CONTINUOUS), lengths, st.floats(1.0, 2000.0), hits)
def test_a_second_is_spent_once(name: str, length: tuple[float, float], concurrency: float, hit: float):
    # X (P + (O - 1) D / (E b)) is the busy share of the replica, or of one of its stages: at most one. True of continuous batching where every
    # prefill stalls the others (prefill_stall_fraction 1, as every calibration's centre is) and a prompt takes no less alone than in company.
    one, (isl, osl) = REPLICAS[name], length
    out = point(one, *length, concurrency, hit)
    if not math.isnan(out[TTFT]):
        reference, cached = Reference(one), isl * hit
        fresh = max(isl - cached, 1.0)
        bucket = one.serving.prompt_bucket or 0
        marginal_s = reference.prefill_s(math.ceil(fresh / bucket) * bucket if bucket else fresh, cached)[1]
        running = max(out[RUNNING], 1.0)
        micro = max((one.serving.compiled_batch or running) / one.parallelism.pipeline, 1.0)
        step_s = reference.step_s(micro, max(isl + osl / 2, one.serving.sequence_bucket or 0))
        busy = out[OUTPUT_RATE] / osl * (marginal_s + (osl - 1) * step_s / reference.tokens_per_step / running)
        assert one.parameters["prefill_stall_fraction"] == 1.0
        assert busy <= 1.0 + 1e-12


@examples
@given(names, lengths, clients, hits)
def test_no_step_beats_the_roofline(name: str, length: tuple[float, float], concurrency: float, hit: float):
    # A step reads all weights that its tokens need and every running sequence's cache, and does its arithmetic, at full bandwidth and at full peak,
    # on each rank in turn; it yields `tokens_per_step` tokens.
    one, (isl, osl) = REPLICAS[name], length
    out = point(one, *length, concurrency, hit)
    if not math.isnan(out[RUNNING]):
        reference, context = Reference(one), max(isl + osl / 2, one.serving.sequence_bucket or 0)
        micro = max((one.serving.compiled_batch or out[RUNNING]) / one.parallelism.pipeline, 1.0)
        read_s, attend_s = reference.ideal_context_s(context)
        step_s = out[TPOT] * reference.tokens_per_step * (1 + 1e-12)
        assert step_s >= reference.ideal_read_s(micro) + max(micro, one.parallelism.attention_data) * read_s
        assert step_s >= micro * (reference.ideal_flop_s()[0] + attend_s)


@examples
@given(names, lengths, clients, hits)
def test_no_more_is_kept_than_the_pool_holds(name: str, length: tuple[float, float], concurrency: float, hit: float):
    # Running requests at their mean length, and the room that is kept for a share of what their full length takes beyond that, are at most the pool; one
    # request whole always fits.
    one, (isl, osl) = REPLICAS[name], length
    out = point(one, *length, concurrency, hit)
    if not math.isnan(out[RUNNING]):
        reference = Reference(one)
        pool = reference.group_pool_bytes() * reference.dp
        mean, full = reference.sequence_bytes(isl + osl / 2), reference.sequence_bytes(isl + osl)
        assert out[RUNNING] <= 1.0 or out[RUNNING] * (mean + one.parameters["kv_reserved_fraction"] * (full - mean)) <= pool * (1 + 1e-9)
        assert out[CAPACITY] == close(pool / reference.sequence_bytes(isl + osl / 2) * (isl + osl / 2), 1e-9)
        assert reference.group_pool_bytes() >= reference.sequence_bytes(isl + osl)


@pytest.mark.parametrize("output_tokens", [1.0, 1.5, 2.0])
def test_throughput_never_exceeds_prefill(output_tokens: float):
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
    marginal_s = Reference(one).prefill_s(1000.0, 0.0)[1]
    assert point(one, 1000.0, output_tokens, 200.0)[OUTPUT_RATE] / output_tokens <= 1 / marginal_s


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
    st.sampled_from(["hbm_bandwidth", "peak_bf16", "peak_fp8", "peak_fp4", "scale_up_bandwidth", "scale_out_bandwidth"]),
    st.floats(1.0, 4.0),
    lengths,
    clients,
    hits,
)
def test_faster_hardware_never_slows_a_request(name: str, figure: str, factor: float, length: tuple[float, float], concurrency: float, hit: float):
    # Without a cap on power, which a faster chip reaches sooner.
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
        assert beyond[OUTPUT_RATE] == close(at[OUTPUT_RATE])
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
    # A padded prompt computes its whole bucket whatever is cached, and attends to the cache besides.
    assume(REPLICAS[name].serving.prompt_bucket is None)
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
        most = point(one, *length, pool, hit)[OUTPUT_RATE] / osl
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
    found = largest_concurrency(one.constants, *arrays, ttft_s=ttft_s, tpot_s=tpot_s)[0, 0]

    def meets(concurrency: float) -> bool:
        out = point(one, *length, concurrency, hit)
        return bool(out[TTFT] <= ttft_s and out[TPOT] <= tpot_s and out[WAITING] == 0.0)

    assert found == math.floor(found)
    assert 0.0 <= found <= LARGEST_CONCURRENCY
    assert found == 0.0 or meets(found)
    assert not meets(found + 1.0)


def test_without_targets_the_largest_concurrency_is_what_the_pool_admits():
    one = REPLICAS["dense"]
    found = largest_concurrency(one.constants, np.array([4000.0]), np.array([1000.0]), np.array([0.0]))[0, 0]
    # By hand: 80 layers x 2 x 1 head x 128 bytes (fp8) a token and rank, 4,500 tokens; memory less reserves, weights, and activations of a full
    # pass: 2 x 8,192 of the residual and its normed copy, 2 x 28,672 / 8 of the FFN, two bytes each.
    architecture = one.model.architecture
    weights = (architecture.parameters - 2 * architecture.embedding_parameters) / 8 + 2 * architecture.embedding_parameters * 2 / 8
    activations = (2 * 8192 + 2 * 28_672 / 8) * one.parameters["chunk_tokens"] * 2
    p = one.parameters
    pool = one.accelerator.memory.si * p["usable_memory_fraction"] - p["runtime_reserve"] - p["graph_reserve"] - weights - activations
    assert one.memory.pool_bytes == close(pool)
    assert found == math.floor(pool / (80 * 2 * 128 * (4500.0 + p["kv_reserved_fraction"] * 500.0)))


def test_a_rate_that_some_concurrency_carries_is_found():
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    isl, osl, hit = 8000.0, 2.0, 0.0
    rate = 0.9 * point(one, isl, osl, pool_clients(one, isl, osl))[OUTPUT_RATE] / osl
    assert not math.isnan(concurrency_at_rate(one.constants, *(np.array([value]) for value in (isl, osl, rate, hit)))[0])
