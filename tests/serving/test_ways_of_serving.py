"""Ways of cutting and running a replica: chunks, static batches, drafts, copies, a cap on power; each law with the conditions under which it is true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.catalog.models import Architecture, Dense, Gqa, LayerGroup, Model
from accelmodel.core.replica import Parallelism, Replica, Serving
from accelmodel.serving.steady_state import BINDINGS, OUTPUTS
from accelmodel.studies.points import evaluate, replica
from reference import Reference
from situations import close, copy_of, points, with_parameters

TTFT, TPOT, OUTPUT_RATE, PREFILL, POWER = (
    OUTPUTS.index(name) for name in ("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "prefill_time_fraction", "power_w")
)

REPLICAS = {
    "dense": replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", kv="fp8"),
    "experts": replica(model="qwen3-235b-a22b", system="p5en.48xlarge", expert_parallel=8, weights="fp8"),
    "latent": replica(model="deepseek-r1", system="p5en.48xlarge", expert_parallel=8, attention_data_parallel=8),
    "windows": replica(model="gpt-oss-120b", system="p6-b200.48xlarge", accelerators=2, engine="tensorrt-llm"),
    "states": replica(model="qwen3.5-397b-a17b", system="p6-b200.48xlarge", engine="sglang"),
    "stages": replica(model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, pipeline_parallel=2, weights="fp8"),
}
names = st.sampled_from(sorted(REPLICAS))
examples = settings(max_examples=60, deadline=None, derandomize=True)


def run_as(one: Replica, **changes: object) -> Replica:
    """A replica served in another way."""
    return copy_of(one, serving=Serving(**({name: getattr(one.serving, name) for name in Serving.__dataclass_fields__} | changes)))  # type: ignore[arg-type]


def marginal_s(one: Replica, input_tokens: float, hit: float = 0.0) -> float:
    """Seconds of one prompt at the margin: the share of the replica's time in prefill over its requests per second, in a load that keeps the share below
    one.
    """
    out = points(one, input_tokens, 1000.0, 1.0, hit)[:, 0]
    assert out[PREFILL] < 1.0
    return float(out[PREFILL] / (out[OUTPUT_RATE] / 1000.0))


# --- prefill in chunks ----------------------------------------------------------------------------------------------------------------------


@examples
@given(names, st.integers(2, 6), st.sampled_from([512.0, 2048.0]))
def test_chunks_of_a_prompt_cost_what_the_prompt_costs(name: str, chunks: int, chunk: float):
    # Whole chunks, each behind those before it. True of engines that fill passes with the chunks of several prompts and mask a prompt's own square.
    one = run_as(REPLICAS[name], chunk_tokens=chunk)
    assert (one.parameters["serial_prefill"], one.parameters["prefill_square_factor"]) == (0.0, 1.0)
    parts = [marginal_s(one, (i + 1) * chunk, i / (i + 1)) for i in range(chunks)]
    assert sum(parts) == close(marginal_s(one, chunks * chunk), 1e-9)


@examples
@given(names, st.integers(2, 6))
def test_pieces_smaller_than_a_chunk_cost_what_the_whole_costs(name: str, pieces: int):
    # Pieces of several prompts share a pass, and its overhead: at the margin each pays for its tokens and pairs alone.
    one, piece = REPLICAS[name], 256.0
    behind = sum(marginal_s(one, (i + 1) * piece, i / (i + 1)) for i in range(pieces))
    assert behind == close(marginal_s(one, pieces * piece), 1e-9)


@examples
@given(names, st.floats(64.0, 16_000.0), st.floats(1.0, 8.0), st.integers(1, 40_000), st.floats(0.0, 0.99))
def test_a_longer_chunk_never_raises_the_marginal_prefill(name: str, chunk: float, longer: float, input_tokens: int, hit: float):
    one = REPLICAS[name]
    if longer * chunk < 30_000:
        short, long = (marginal_of(run_as(one, chunk_tokens=tokens), float(input_tokens), hit) for tokens in (chunk, longer * chunk))
        assert math.isnan(long) or math.isnan(short) or long <= short * (1 + 1e-12)


def marginal_of(one: Replica, input_tokens: float, hit: float) -> float:
    """The marginal prefill, NaN where the prompt does not fit."""
    out = points(one, input_tokens, 1000.0, 1.0, hit)[:, 0]
    return float(out[PREFILL] / out[OUTPUT_RATE])


# --- a static batch -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["p5.48xlarge", "trn2.48xlarge"])
def test_a_static_batch_by_hand(system: str):
    # A wave of sixteen: all prompts, then 199 steps of sixteen; no prefill falls between its steps. On Neuron prompts run one by one: half wait
    # behind one's own.
    one = replica(model="llama-3.1-8b", system=system, accelerators=1, mode="static")
    reference, p = Reference(one), one.parameters
    lone_s, prompt_s = reference.prefill_s(1000.0, 0.0)
    step_s = reference.step_s(16.0, 1100.0)
    out = points(one, 1000.0, 200.0, 16.0, 0.0)[:, 0]
    before_s = p["first_token_overhead"] + lone_s + p["first_step_wait_steps"] * step_s
    assert out[TPOT] == close(step_s)
    assert out[TTFT] == close(before_s + 15 * prompt_s * (0.5 if system == "trn2.48xlarge" else 1.0))
    assert out[OUTPUT_RATE] == close(16 * 200 / (before_s + 15 * prompt_s + 199 * step_s))


@examples
@given(st.sampled_from(["dense", "experts", "latent", "windows", "states"]), st.floats(1.0, 500.0), st.integers(2, 2000))
def test_nothing_stalls_a_static_step(name: str, clients: float, output_tokens: int):
    # Of the same running requests; a static engine admits the same.
    one = REPLICAS[name]
    waves, mixed = (points(some, 1000.0, float(output_tokens), clients, 0.0)[:, 0] for some in (run_as(one, mode="static"), one))
    assert waves[TPOT] <= mixed[TPOT] * (1 + 1e-12)


# --- pools apart ----------------------------------------------------------------------------------------------------------------------------


def test_pools_apart_by_hand():
    # Llama-3.1-70B on eight H100, sixteen decoding clients of 4,000 in and 200 out: nothing stalls a step. A prefilling replica that is busy a share u has
    # u S / P clients, S the whole time of a request; each waits for a burst's share of the others. 80 layers x 2 x 8 heads x 128 in fp8 cross eight links
    # of 50 GB/s at 53 %.
    one = run_as(REPLICAS["dense"], mode="disaggregated")
    reference, p = Reference(REPLICAS["dense"]), one.parameters
    lone_s, prompt_s = reference.prefill_s(4000.0, 0.0)
    step_s = reference.step_s(16.0, 4100.0)
    busy = p["prefill_pool_utilisation"]
    transfer_s = 80 * 2 * 8 * 128 * 4000 / (8 * 50e9 * p["link_efficiency"])
    first_s = p["first_token_overhead"] + lone_s + p["first_step_wait_steps"] * step_s + transfer_s
    first_s += p["burst_fraction"] * (busy * (first_s + 199 * step_s) - prompt_s) / (1 - p["burst_fraction"] * busy)
    carried = 16 / (first_s + 199 * step_s)
    pool = carried * prompt_s / busy
    out = points(one, 4000.0, 200.0, 16.0, 0.0)[:, 0]
    assert (out[TTFT], out[TPOT]) == close((first_s, step_s))
    assert out[OUTPUT_RATE] == close(200 * carried / (1 + pool))
    assert out[PREFILL] == close(pool / (1 + pool))


# --- drafts ---------------------------------------------------------------------------------------------------------------------------------


def drafting(acceptance: float, tokens: int, draft: str | None = "llama-3.1-8b") -> Replica:
    model, weights = ("llama-3.1-70b", "fp8") if draft else ("deepseek-r1", None)
    system = "p5.48xlarge" if draft else "p5en.48xlarge"
    # No admitted request waits, so that only steps differ.
    return replica(
        model=model,
        system=system,
        weights=weights,
        draft_model=draft if tokens else None,
        speculative_tokens=tokens,
        acceptance_fraction=acceptance if tokens else None,
    )


@pytest.mark.parametrize("draft", ["llama-3.1-8b", None])
@pytest.mark.parametrize("tokens", [1, 3, 7])
def test_acceptance_decides_what_drafts_yield(draft: str | None, tokens: int):
    # One client, so that no other's prefill stalls a step: TPOT is the step over the tokens that it yields.
    without, nothing, half, all_of_them = (
        points(drafting(acceptance, drafted, draft), 500.0, 500.0, 1.0, 0.0)[TPOT, 0]
        for acceptance, drafted in ((0.0, 0), (0.0, tokens), (0.5, tokens), (1.0, tokens))
    )
    assert nothing > without  # no gain, but the cost of drafting and of checking
    assert all_of_them == close(nothing / (tokens + 1))  # every drafted token and one more
    # arXiv:2211.17192, equation 1: (1 - a^(s + 1)) / (1 - a).
    assert half == close(nothing * 0.5 / (1 - 0.5 ** (tokens + 1)))


def test_a_drafted_step_by_hand():
    # Llama-3.1-8B drafts three tokens for Llama-3.1-70B on eight H100, fp8 weights; one sequence of 1,000 tokens. Per rank: the large model's
    # matrices once for four tokens, the small one's three times for one; caches in bf16; two all-reduces a layer and token.
    one = drafting(0.0, 3)
    p = one.parameters
    bandwidth, peak_fp8, peak_bf16 = (one.accelerator.need(name).si for name in ("hbm_bandwidth", "peak_fp8", "peak_bf16"))
    seconds = p["step_overhead"] + p["sequence_overhead"]
    read, floor = bandwidth * p["weight_bandwidth_efficiency"], p["gemm_floor_tokens"]
    for layers, hidden, heads, ffn, times, tokens in ((80, 8192, 64, 28_672, 1, 4), (32, 4096, 32, 14_336, 3, 1)):
        body = layers * (2 * hidden**2 + 2 * hidden * 1024 + 3 * hidden * ffn) / 8
        head = 128_256 * hidden / 8
        cache, scores = layers * 1000 * 2 * 128 * 2, layers * 1000 * 4 * heads / 8 * 128 * tokens
        parts = (
            (body / read, 2 * body * (tokens + floor) / (peak_fp8 * p["compute_efficiency_fp8"])),
            (2 * head / read, 2 * head * (tokens + floor) / (peak_bf16 * p["compute_efficiency_bf16"])),
            (cache / (bandwidth * p["kv_bandwidth_efficiency"]), scores / (peak_bf16 * p["attention_compute_efficiency"])),
        )
        link_s = layers * 2 * (2 * 7 / 8) * hidden * 2 * tokens / (450e9 * p["link_efficiency"])
        seconds += times * (sum((memory**4 + compute**4) ** 0.25 for memory, compute in parts) + link_s + layers * p["layer_overhead"])
    assert points(one, 750.0, 500.0, 1.0, 0.0)[TPOT, 0] == close(seconds)


# --- copies ---------------------------------------------------------------------------------------------------------------------------------


def made_up(system: str, accelerators: int, data: int, context: int = 1) -> Replica:
    """A dense model of sixteen layers whose LM head is next to nothing, without a host's time per sequence and without stalls."""
    group = LayerGroup(count=16, attention=Gqa(heads=32, kv_heads=8, head_dim=128), ffn=Dense(intermediate_size=11_008))
    architecture = Architecture(hidden_size=4096, vocab_size=1, max_context_tokens=10**6, groups=(group,))
    base = replica(model="llama-3.1-8b", system=system, accelerators=1)
    parallelism = Parallelism(accelerators * base.accelerator.ranks // data // context, attention_data=data, context=context)
    calibration = with_parameters(base.calibration, sequence_overhead=0.0, prefill_stall_fraction=0.0)
    model = Model(name="made-up", title="Made up", architecture=architecture)
    return copy_of(base, model=model, accelerators=accelerators, parallelism=parallelism, calibration=calibration)


@pytest.mark.parametrize(("system", "per_copy"), [("p5.48xlarge", 1), ("mi300x-8", 1), ("trn2.48xlarge", 1), ("p5.48xlarge", 2)])
@pytest.mark.parametrize("copies", [2, 4])
@pytest.mark.parametrize("clients", [1.0, 7.0, 200.0])
def test_copies_take_the_steps_of_one(system: str, per_copy: int, copies: int, clients: float):
    # d attention groups of a dense model with d times the clients take exactly the step of one group: true of what groups do apart, which is all but
    # the LM head (cut among all, here one row) and the host's time per sequence (here none). Per group, the pool too: the runtime is each rank's own.
    one, many = made_up(system, per_copy, 1), made_up(system, per_copy * copies, copies)
    alone, together = points(one, 900.0, 200.0, clients, 0.0)[:, 0], points(many, 900.0, 200.0, copies * clients, 0.0)[:, 0]
    assert together[TPOT] == close(alone[TPOT], 1e-5)
    capacity = OUTPUTS.index("kv_capacity_tokens")
    assert together[capacity] == close(copies * alone[capacity], 1e-6)
    # A lone prompt on every group takes what it takes on one.
    assert Reference(many).prefill_s(900.0, 0.0)[0] == close(Reference(one).prefill_s(900.0, 0.0)[0], 1e-5)


def test_copies_prefill_as_many_times_as_fast():
    one, many = made_up("p5.48xlarge", 1, 1), made_up("p5.48xlarge", 4, 4)
    assert marginal_s(many, 3000.0) == close(marginal_s(one, 3000.0) / 4, 1e-5)


def test_context_ranks_share_one_prompt_and_one_cache():
    # Four ranks: a quarter of the cache each, so four times the pool of one for the same replica of weights; a prompt takes a quarter of its arithmetic.
    one, cut = made_up("p5.48xlarge", 1, 1), made_up("p5.48xlarge", 4, 1, context=4)
    assert cut.constants["context_s"][0] == close(one.constants["context_s"][0] / 4)
    assert Reference(cut).group_pool_bytes() > 4 * Reference(one).group_pool_bytes()  # activations are dealt out too
    assert Reference(cut).pairs_s(8000.0, 0.0) == close(Reference(one).pairs_s(8000.0, 0.0))


# --- a cap on power -------------------------------------------------------------------------------------------------------------------------

COLUMNS = ["time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "power_w"]
LOADS = {"input_tokens": np.array([100.0, 2000.0, 8000.0] * 4), "output_tokens": 300.0, "concurrency": np.repeat([1.0, 8.0, 64.0, 512.0], 3)}


def columns(cap_w: float | None, model: str = "llama-3.1-70b", system: str = "p5.48xlarge") -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    base = replica(model=model, system=system, weights="fp8", power_cap_w=cap_w)
    one = copy_of(base, calibration=with_parameters(base.calibration, power_floor_fraction=0.36))
    table = evaluate(one, **LOADS, columns=COLUMNS)
    return {name: table[name].to_numpy() for name in COLUMNS}


@pytest.mark.parametrize("model", ["llama-3.1-70b", "gpt-oss-120b"])
def test_a_cap_at_the_design_power_changes_nothing(model: str):
    free, at, above = (columns(cap, model) for cap in (None, 700.0, 900.0))
    for name in COLUMNS:
        assert at[name].tolist() == close(free[name].tolist())
        assert above[name].tolist() == close(free[name].tolist())


@examples
@given(st.floats(300.0, 700.0), st.floats(300.0, 700.0))
def test_a_lower_cap_never_speeds_up_and_is_kept(one_w: float, other_w: float):
    low_w, high_w = sorted((one_w, other_w))
    low, high, free = columns(low_w), columns(high_w), columns(None)
    assert (low["power_w"] <= 8 * low_w * (1 + 1e-12)).all()
    for slow, fast in ((low, high), (high, free)):
        for name in COLUMNS[:2]:
            assert (slow[name] >= fast[name] * (1 - 1e-12)).all()
        assert (slow["output_tokens_per_s"] <= fast["output_tokens_per_s"] * (1 + 1e-12)).all()


def test_the_clock_goes_with_the_cube_root_of_the_power_above_the_idle_draw():
    # 15 % of 700 W are drawn idle: of the other 595 W, a cap of 402.5 W leaves a half. A prompt's arithmetic then takes 2^(1/3) as long, and of the 21 % that
    # a running engine draws beyond that, a half is left.
    base = replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", power_cap_w=402.5)
    one = copy_of(base, calibration=with_parameters(base.calibration, power_idle_fraction=0.15, power_floor_fraction=0.36))
    assert one.capped_constants["power_floor_fraction"][0] == close(0.15 + 0.21 / 2)
    assert one.capped_constants is not None
    assert one.capped_constants["pair_s"][0] == close(one.constants["pair_s"][0] * 2 ** (1 / 3))
    assert one.capped_constants["prefill_compute_s"] == close(one.constants["prefill_compute_s"] * 2 ** (1 / 3))
    for name in ("prefill_memory_s", "link_s", "overhead_s", "pool_bytes", "ideal_weight_s"):
        assert (one.capped_constants[name] == one.constants[name]).all()
    full, capped = Reference(one), Reference(one, 0.5 ** (1 / 3))
    assert one.capped_constants["context_s"][0] > one.constants["context_s"][0]
    assert capped.pairs_s(1000.0, 0.0) == close(full.pairs_s(1000.0, 0.0) * 2 ** (1 / 3))


def x_of(share: float, one: Replica) -> float:
    """What makes an accelerator draw a share of its design power: share = p0 + (1 - p0) x / sqrt(1 + x^2)."""
    above = (share - one.parameters["power_floor_fraction"]) / (1.0 - one.parameters["power_floor_fraction"])
    return above / math.sqrt(1.0 - above**2)


def test_links_draw_their_share():
    # Half of the design power for links all busy: Llama-3.1-70B on eight PCIe cards sends 80 x 2 x 1.75 x 16,384 bytes a token; 8 clients, one rank a card.
    one = replica(model="llama-3.1-70b", system="g6e.48xlarge", weights="fp8")
    silent, heard = (copy_of(one, calibration=with_parameters(one.calibration, power_link_fraction=share)) for share in (0.0, 0.3))
    quiet, loud = (points(some, 1000.0, 1000.0, 8.0, 0.0)[:, 0] for some in (silent, heard))
    tokens_per_s = quiet[OUTPUT_RATE] + quiet[OUTPUTS.index("input_tokens_per_s")]
    busy = 80 * 2 * 1.75 * 16_384 / (32e9 * one.parameters["link_efficiency"]) * tokens_per_s
    assert x_of(loud[POWER] / 2800.0, one) - x_of(quiet[POWER] / 2800.0, one) == close(0.3 * busy, 1e-9)


# --- found wrong once -----------------------------------------------------------------------------------------------------------------------


def outputs(one: Replica, isl: float, osl: float, concurrency: float, hit: float = 0.0) -> dict[str, float]:
    """All OUTPUTS of one point by name."""
    return dict(zip(OUTPUTS, points(one, isl, osl, concurrency, hit)[:, 0].tolist(), strict=True))


def test_a_prompt_waits_for_messages_too():
    # One prompt on two hosts: 80 layers of two all-reduces of at least one message each, longer by a factor for a lone prompt.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=16, tensor_parallel=16)
    at_once = copy_of(one, calibration=with_parameters(one.calibration, scale_out_latency=0.0))
    slow, fast = (outputs(some, 1000.0, 2.0, 1.0) for some in (one, at_once))
    steps = one.parameters["first_step_wait_steps"]
    prefill_s = [point["time_to_first_token_s"] - steps * point["time_per_output_token_s"] for point in (slow, fast)]
    assert prefill_s[0] - prefill_s[1] >= one.parameters["prefill_latency_factor"] * 80 * 2 * one.parameters["scale_out_latency"]


def test_a_draft_prefills_too():
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=2, acceptance_fraction=0.0)
    free = copy_of(one, calibration=with_parameters(one.calibration, prefill_layer_overhead=0.0))
    with_s, without_s = (outputs(some, 1000.0, 100.0, 1.0)["time_to_first_token_s"] for some in (one, free))
    assert with_s - without_s == close((80 + 32) * one.parameters["prefill_layer_overhead"], 1e-9)


def test_a_pass_draws_for_one_read_of_the_draft():
    # What 4,000 more tokens of a prompt draw for reads is their share of a pass, however many tokens are drafted a step; decode attends to 20,000.
    def energy_j(tokens: int, isl: float) -> float:
        one = replica(
            model="llama-3.1-70b", system="p5.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=tokens, acceptance_fraction=0.0, sequence_bucket=20_000
        )
        reads = with_parameters(one.calibration, power_floor_fraction=0.0, power_compute_fraction=0.0, power_memory_fraction=0.5)
        reader = copy_of(one, calibration=reads)
        point = outputs(reader, isl, 1.0, 1.0)
        return x_of(point["power_w"] / 5600.0, reader) / point["output_tokens_per_s"]

    one, eight = (energy_j(tokens, 8000.0) - energy_j(tokens, 4000.0) for tokens in (1, 8))
    assert eight == close(one, 1e-9)


def test_one_request_in_a_pipeline_keeps_one_stage_busy():
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", pipeline_parallel=8)
    reads = with_parameters(one.calibration, power_floor_fraction=0.0, power_compute_fraction=0.0, power_memory_fraction=1.0)
    assert outputs(copy_of(one, calibration=reads), 10.0, 1000.0, 1.0)["power_w"] <= 700.0


def test_passes_are_the_same_number_alone_and_at_the_margin():
    # 32,768 tokens in chunks of 8,192 are four passes, each of 80 layers' overhead, in both.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", context_parallel=4, chunk_tokens=8192)
    free = copy_of(one, calibration=with_parameters(one.calibration, prefill_layer_overhead=0.0))
    with_, without = (outputs(some, 32_768.0, 1000.0, 1.0) for some in (one, free))
    marginal_s = [point["prefill_time_fraction"] / (point["output_tokens_per_s"] / 1000.0) for point in (with_, without)]
    assert with_["time_to_first_token_s"] - without["time_to_first_token_s"] == close(4 * 80 * one.parameters["prefill_layer_overhead"], 1e-9)
    assert marginal_s[0] - marginal_s[1] == close(4 * 80 * one.parameters["prefill_layer_overhead"], 1e-9)


@pytest.mark.parametrize("cut", ["pipeline_parallel", "context_parallel"])
def test_a_cut_cache_is_sent_in_parallel(cut: str):
    # Eight GPUs hold an eighth each of 80 x 2 x 8 heads x 128 x 2 bytes a token, however they are cut. Pools that are hardly busy have no queue.
    options: dict[str, Any] = {"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8", cut: 4}
    idle = with_parameters(replica(**options).calibration, prefill_pool_utilisation=1e-12)
    apart, together = (copy_of(replica(**options, mode=mode), calibration=idle) for mode in ("disaggregated", "continuous"))
    first_s = [outputs(some, 10_000.0, 100.0, 1.0)["time_to_first_token_s"] for some in (apart, together)]
    assert first_s[0] - first_s[1] == close(80 * 2 * 8 * 128 * 2 * 10_000 / (8 * 50e9 * apart.parameters["link_efficiency"]), 1e-6)


def test_littles_law_of_a_static_batch_on_neuron():
    point = outputs(replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, mode="static"), 1000.0, 100.0, 16.0)
    assert point["request_latency_s"] * point["output_tokens_per_s"] / 100.0 == close(16.0)


def test_a_lone_client_of_a_compiled_batch_waits_for_memory():
    # A prefill of half a second against 200 steps of 17 ms that read the compiled batch's caches: of one client's time, most is memory.
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, compiled_batch=32, sequence_bucket=8704)
    point = outputs(one, 8000.0, 200.0, 1.0)
    assert BINDINGS[int(point["binding"])] == Reference(one).closed_loop(8000.0, 200.0, 1.0, 0.0)["binding"] == "memory"


def test_what_binds_in_uneven_stages():
    # Five layers in four stages: the fullest has 1.6 times the mean.
    group = LayerGroup(count=5, attention=Gqa(heads=32, kv_heads=8, head_dim=128), ffn=Dense(intermediate_size=14_336))
    architecture = Architecture(hidden_size=4096, vocab_size=32_000, max_context_tokens=10**6, groups=(group,))
    base = replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=4)
    one = copy_of(base, model=Model(name="made-up", title="Made up", architecture=architecture), parallelism=Parallelism(1, pipeline=4))
    reference = Reference(one)
    for output_tokens in np.arange(1.0, 100.0):
        got = BINDINGS[int(outputs(one, 4000.0, output_tokens, 16.0)["binding"])]
        assert got == reference.closed_loop(4000.0, output_tokens, 16.0, 0.0)["binding"]


def capped(cap_w: float) -> Replica:
    base = replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", power_cap_w=cap_w)
    return copy_of(base, calibration=with_parameters(base.calibration, power_floor_fraction=0.36))


def test_targets_are_met_under_a_cap():
    point = evaluate(capped(400.0), input_tokens=1000.0, output_tokens=500.0, tpot_s=0.02)
    assert point.time_per_output_token_s <= 0.02


def test_a_rate_is_carried_under_a_cap():
    point = evaluate(capped(400.0), input_tokens=1000.0, output_tokens=500.0, requests_per_s=10.0)
    assert point.output_tokens_per_s / 500.0 == close(10.0, 1e-9)


@examples
@given(st.floats(280.0, 700.0), st.floats(50.0, 8000.0), st.floats(2.0, 2000.0), st.floats(1.0, 300.0), st.floats(1.0, 3.0))
def test_more_clients_never_lower_throughput_under_a_cap(cap_w: float, isl: float, osl: float, clients: float, more: float):
    few, many = (outputs(capped(cap_w), isl, osl, n)["output_tokens_per_s"] for n in (clients, clients * more))
    assert few <= many * (1 + 1e-12)
