"""Pieces of the step model: attention pairs, the smooth maximum, distinct experts, decode steps; each stated approximation against the exact term."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.core.fold import mean4
from accelmodel.core.kernels import distinct_experts, exp2_in_place, log2, pairs_cost
from accelmodel.core.replica import Replica
from accelmodel.serving.steady_state import OUTPUTS
from accelmodel.studies.points import replica
from reference import causal_pairs
from situations import close, copy_of, points, with_parameters

tokens = st.integers(0, 4000)
bounds = st.integers(1, 3000)
examples = settings(max_examples=100, deadline=None, derandomize=True)
TPOT = OUTPUTS.index("time_per_output_token_s")


def pairs(fresh: float, cached: float, bound: float | None = None, square: float = 1.0) -> float:
    """Pairs as the kernel counts them, at one second each."""
    out = np.zeros(1)
    caps, seconds = (np.array([0.0]), np.array([0.0])) if bound is None else (np.array([float(bound)]), np.array([1.0]))
    pairs_cost(1, caps, 1.0 if bound is None else 0.0, seconds, square, np.array([float(fresh)]), np.array([float(cached)]), out)
    return float(out[0])


@examples
@given(tokens, tokens, bounds)
def test_pairs_are_counted_query_by_query(fresh: int, cached: int, bound: int):
    # Query i (from 1) sees the cached keys, the i - 1 before it and half of itself: the area under min(position, bound), exact for whole bounds.
    positions = cached + np.arange(fresh) + 0.5
    assert pairs(fresh, cached) == pytest.approx(positions.sum(), rel=1e-13)
    assert pairs(fresh, cached, bound) == pytest.approx(np.minimum(positions, bound).sum(), rel=1e-13)
    assert causal_pairs(fresh, cached, bound) == pytest.approx(np.minimum(positions, bound).sum(), rel=1e-13)


@examples
@given(tokens, tokens, bounds)
def test_a_whole_square_doubles_a_prompts_own_triangle_and_no_rectangle(fresh: int, cached: int, bound: int):
    assert pairs(fresh, cached, None, 2.0) == pytest.approx(fresh * cached + fresh**2)
    below = min(max(bound - cached, 0), fresh)
    assert pairs(fresh, cached, bound, 2.0) - pairs(fresh, cached, bound) == pytest.approx(below**2 / 2, rel=1e-9, abs=1e-6)
    assert causal_pairs(fresh, cached, bound, 2.0) == pytest.approx(pairs(fresh, cached, bound, 2.0), rel=1e-13)


@examples
@given(st.lists(st.floats(0.0, 5000.0), min_size=1, max_size=6), st.floats(0.0, 5000.0), st.one_of(st.none(), st.floats(1.0, 8000.0)))
def test_pairs_of_chunks_add_up_to_the_prompts(chunks: list[float], cached: float, bound: float | None):
    behind = cached + np.concatenate(([0.0], np.cumsum(chunks)[:-1]))
    assert sum(pairs(chunk, before, bound) for chunk, before in zip(chunks, behind, strict=True)) == pytest.approx(pairs(sum(chunks), cached, bound), rel=1e-11)


def test_a_window_of_a_whole_prompt_bounds_nothing():
    assert pairs(1000, 500, 1500) == pairs(1000, 500)
    # 100 queries each see 10 keys, but for the first ten, which see 0.5, 1.5, ... 9.5: 90 x 10 + 50
    assert pairs(100, 0, 10) == 950.0


@examples
@given(st.floats(1e-9, 10.0), st.floats(1e-9, 10.0))
def test_mean4_lies_between_the_maximum_and_1_19_times_it(memory_s: float, compute_s: float):
    assert max(memory_s, compute_s) * (1 - 1e-15) <= mean4(memory_s, compute_s) <= 2**0.25 * max(memory_s, compute_s) * (1 + 1e-15)
    assert mean4(3.0, 3.0) == pytest.approx(3.0 * 2**0.25)


# --- the written-out exponential and logarithm, and what they are for, against libm's --------------------------------------------------------


def test_powers_of_two_agree_with_libm():
    exponents = np.concatenate((np.linspace(-999.9, 999.9, 40_001), np.linspace(-1.0, 1.0, 20_001), [-1000.0, -0.5, 0.0, 0.5, 1.0]))
    found = exponents.copy()
    exp2_in_place(found, np.empty(found.size, np.int64))
    assert np.abs(found / np.exp2(exponents) - 1.0).max() < 1e-15 * 4
    # Below -1000 there is nothing that matters beside one.
    far = np.array([-1000.5, -1e300])
    exp2_in_place(far, np.empty(2, np.int64))
    assert far.max() <= 2.0**-999


def test_logarithms_agree_with_libm():
    values = np.concatenate((np.exp(np.linspace(-600.0, 600.0, 40_001)), np.linspace(0.5, 2.0, 20_001), [1.0, 2.0, 0.5, 1e-300]))
    found = np.empty(values.size)
    log2(values, found, np.empty(values.size, np.int64))
    expected = np.log2(values)
    # Relative to the larger of the logarithm and one: near one the logarithm itself is next to nothing.
    assert (np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)).max() < 1e-15


@pytest.mark.parametrize(("experts", "chosen"), [(8, 2), (128, 4), (256, 8), (384, 8), (512, 10), (16, 1), (1, 1)])
@pytest.mark.parametrize("skew", [0.82, 0.89, 1.0])
def test_distinct_experts_agree_with_libm(experts: int, chosen: int, skew: float):
    # One minus something near one: an error of 1e-16 there is one of 1e-14 of an expert's share.
    miss = 1.0 - chosen / experts
    tokens = np.concatenate(([1.0, 2.0], np.exp(np.linspace(0.0, 18.0, 5_000))))
    found, bits = np.empty(tokens.size), np.empty(tokens.size, np.int64)
    distinct_experts(tokens, math.log2(max(miss, 1e-300)), skew, 1.0, found, bits)
    exact = np.array([-math.expm1(n**skew * math.log1p(-chosen / experts)) if miss > 0 else 1.0 for n in tokens.tolist()])
    assert np.abs(found - exact).max() < 1e-14
    assert np.abs(found / exact - 1.0).max() < 1e-13
    assert found[0] == pytest.approx(chosen / experts, rel=1e-13)  # one token reads k of E


@pytest.mark.parametrize("unread", [0.0, 0.01, 0.5])
def test_software_that_reads_more_experts_than_are_chosen(unread: float):
    tokens, found, bits = np.array([1.0, 10.0]), np.empty(2), np.empty(2, np.int64)
    distinct_experts(tokens, math.log2(0.75), 1.0, unread, found, bits)
    assert found == pytest.approx(1.0 - unread * 0.75**tokens)


# --- whole steps ----------------------------------------------------------------------------------------------------------------------------


def without_stalls(**options: Any) -> Replica:
    """A replica whose decode no prefill stalls: its TPOT is its step."""
    one = replica(**options)
    return copy_of(one, calibration=with_parameters(one.calibration, prefill_stall_fraction=0.0))


def smax(memory_s: float, compute_s: float) -> float:
    """Fourth-power mean."""
    return float(np.hypot(memory_s**2, compute_s**2) ** 0.5)


def step_by_hand_s(one: Replica, layers: int, hidden: int, heads: int, ffn: int, ranks: int, sequences: float, context: float, links: float) -> float:
    """A decode step of a Llama 3.1 (8 KV heads of 128, a vocabulary of 128,256), weights and KV in fp8, LM head in bf16; `links` in bytes per sequence."""
    p, bandwidth = one.parameters, one.accelerator.need("hbm_bandwidth").si
    peak_fp8, peak_bf16 = (one.accelerator.need(name).si for name in ("peak_fp8", "peak_bf16"))
    read, passed = bandwidth * p["weight_bandwidth_efficiency"], sequences + p["gemm_floor_tokens"]
    body = layers * (2 * hidden**2 + 2 * hidden * 1024 + 3 * hidden * ffn) / ranks
    head = 128_256 * hidden / ranks
    seen = sequences * context * layers
    body_s = smax(body / read, 2 * body * passed / (peak_fp8 * p["compute_efficiency_fp8"]))
    head_s = smax(2 * head / read, 2 * head * passed / (peak_bf16 * p["compute_efficiency_bf16"]))
    attend = 4 * heads / ranks * 128
    attention_s = smax(seen * 256 / (bandwidth * p["kv_bandwidth_efficiency"]), seen * attend / (peak_bf16 * p["attention_compute_efficiency"]))
    overhead_s = layers * p["layer_overhead"] + p["step_overhead"] + sequences * p["sequence_overhead"]
    return body_s + head_s + attention_s + links * sequences / (450e9 * p["link_efficiency"]) + overhead_s


def test_a_decode_step_of_llama_3_1_70b_by_hand():
    # Eight H100, 32 sequences of 2,000 tokens; two all-reduces a layer of 8,192 x 2 bytes, 7/8 twice.
    one = without_stalls(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", kv="fp8", engine="vllm")
    assert (one.accelerator.need("hbm_bandwidth").si, one.accelerator.need("scale_up_bandwidth").si) == (3.35e12, 450e9)
    expected = step_by_hand_s(one, 80, 8192, 64, 28_672, 8, 32.0, 2000.0, 80 * 2 * (2 * 7 / 8) * 8192 * 2)
    assert points(one, 1500.0, 1000.0, 32.0, 0.0)[TPOT, 0] == close(expected)


def test_a_pipelined_step_by_hand():
    # Llama-3.1-405B, 126 layers in 2 stages of 8 H200: 64 sequences are two micro-batches of 32, each of which passes all layers, on eighths of the
    # matrices, and is sent on once, an eighth by each over 50 GB/s.
    one = without_stalls(model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, pipeline_parallel=2, weights="fp8", kv="fp8", engine="vllm")
    step_s = step_by_hand_s(one, 126, 16_384, 128, 53_248, 8, 32.0, 2000.0, 126 * 2 * (2 * 7 / 8) * 16_384 * 2)
    send_s = one.parameters["scale_out_latency"] + 32 * 16_384 * 2 / 8 / (50e9 * one.parameters["link_efficiency"])
    assert points(one, 1500.0, 1000.0, 64.0, 0.0)[TPOT, 0] == close(step_s + send_s)


def test_stages_are_as_slow_as_the_fullest():
    # 32 layers in 3 stages: 11 in the fullest, 10.67 in the mean. One stage of one GPU each, so that all else but the sends is the same.
    whole = without_stalls(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
    cut = without_stalls(model="llama-3.1-8b", system="p5.48xlarge", accelerators=3, pipeline_parallel=3)
    sends_s = 2 * 16 * 4096 * 2 / (450e9 * cut.parameters["link_efficiency"])
    one, three = (points(some, 1000.0, 100.0, clients, 0.0)[TPOT, 0] for some, clients in ((whole, 16.0), (cut, 48.0)))
    assert three == close((one + sends_s) * 11 / (32 / 3))


def test_compiled_shapes_execute_in_full():
    # A batch compiled for 32 sequences of 4,096 tokens takes one step for one client of 500 tokens, as 32 clients of 4,096 take.
    compiled = without_stalls(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, compiled_batch=32, sequence_bucket=4096)
    plain = without_stalls(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    assert points(compiled, 400.0, 200.0, 1.0, 0.0)[TPOT, 0] == close(points(plain, 4046.0, 100.0, 32.0, 0.0)[TPOT, 0])
    # More clients than slots wait.
    assert points(compiled, 400.0, 200.0, 50.0, 0.0)[OUTPUTS.index("waiting_requests"), 0] == 18.0


def test_prompts_are_padded_to_their_bucket():
    padded = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, prompt_bucket=2048)
    plain = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    ttft = OUTPUTS.index("time_to_first_token_s")
    first = points(padded, np.array([1.0, 2048.0, 2049.0]), 1.0, 1.0, 0.0)
    whole = points(plain, np.array([2048.0, 2048.0, 4096.0]), 1.0, 1.0, 0.0)
    # But for the decode steps that a request waits for, which know the prompt's own length.
    steps = plain.parameters["first_step_wait_steps"]
    assert first[ttft] - steps * first[TPOT] == close(whole[ttft] - steps * whole[TPOT])
