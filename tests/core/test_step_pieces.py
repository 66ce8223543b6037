"""Pieces of the step model: attention pairs, the smooth maximum, folding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.core.kernels import add_context, add_gemms, add_pairs, mean4
from accelmodel.studies.points import replica
from reference import Reference, causal_pairs
from situations import random_replicas

tokens = st.integers(0, 4000)
bounds = st.integers(1, 3000)
examples = settings(max_examples=100, deadline=None, derandomize=True)


def pairs(fresh: float, cached: float, bound: float | None = None) -> float:
    """Pairs as the kernel counts them, at one second each."""
    out = np.zeros(1)
    caps, seconds = (np.array([0.0]), np.array([0.0])) if bound is None else (np.array([float(bound)]), np.array([1.0]))
    add_pairs(1.0 if bound is None else 0.0, 1, caps, seconds, np.array([float(fresh)]), np.array([float(cached)]), out)
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


def test_a_folded_step_equals_the_sum_over_rows():
    rng = np.random.default_rng(7)
    for one in random_replicas(rng, 150):
        sequences, context = np.exp(rng.uniform(0.0, 8.0, 4)), np.exp(rng.uniform(0.0, 12.0, 4))
        out = np.zeros(4)
        add_gemms(one.constants[0], sequences, sequences, out)
        add_context(one.constants[0], sequences, context, out)
        reference = Reference(one)
        assert out == pytest.approx([reference.step_s(b, ctx) for b, ctx in zip(sequences, context, strict=True)], rel=1e-12)


def test_a_decode_step_of_llama_3_1_70b_by_hand():
    # Eight H100, fp8 weights and KV, 32 sequences of 2,000 tokens, calibration's centres. Seconds per rank:
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", kv="fp8", engine="vllm")
    bandwidth, link = 3.35e12, 450e9
    assert (one.accelerator.need("hbm_bandwidth").si, one.accelerator.need("scale_up_bandwidth").si) == (bandwidth, link)
    body = 80 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28_672) / 8
    peak_fp8, peak_bf16 = (one.accelerator.need(name).si for name in ("peak_fp8", "peak_bf16"))
    body_s = np.hypot(np.square(body / (bandwidth * 0.91)), np.square(2 * body * (32 + 29) / (peak_fp8 * 0.54))) ** 0.5
    head = 128_256 * 8192 / 8
    head_s = np.hypot(np.square(2 * head / (bandwidth * 0.91)), np.square(2 * head * (32 + 29) / (peak_bf16 * 0.63))) ** 0.5
    pairs_read = 32 * 2000 * 80
    attention_s = np.hypot(np.square(pairs_read * 256 / (bandwidth * 0.56)), np.square(pairs_read * 4 * 8 * 128 / (peak_bf16 * 0.45))) ** 0.5
    link_s = 80 * 2 * (2 * 7 / 8) * 8192 * 2 * 32 / (link * 0.53)
    overhead_s = 80 * 54e-6 + 0.2e-3 + 32 * 13e-6 * 0.7
    out = np.zeros(1)
    add_gemms(one.constants[0], np.array([32.0]), np.array([32.0]), out)
    add_context(one.constants[0], np.array([32.0]), np.array([2000.0]), out)
    assert out[0] == pytest.approx(body_s + head_s + attention_s + link_s + overhead_s, rel=1e-12)
