"""Faults that tests found in the engine: each a minimal reproduction and a strict expected failure, so that a repair shows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from accelmodel.serving.steady_state import BINDINGS, OUTPUTS, closed_loop, concurrency_at_rate
from accelmodel.studies.points import replica
from reference import Reference


def outputs(one, isl: float, osl: float, concurrency: float, hit: float = 0.0) -> dict[str, float]:  # type: ignore[no-untyped-def]
    columns = closed_loop(one.constants, *(np.array([value]) for value in (isl, osl, concurrency, hit)))[:, 0]
    return dict(zip(OUTPUTS, columns.tolist(), strict=True))


@pytest.mark.xfail(strict=True, reason="the bandwidth of a system's scale-up level is not used: eight cards on PCIe talk at NVLink's 300 GB/s")
def test_links_are_as_fast_as_the_level_that_they_cross():
    one = replica(model="llama-3.1-70b", system="h100-nvl-8")
    level = one.system.scale_up[-1]
    assert (level.topology, level.bandwidth.si) == ("pcie", 64e9)
    rate = one.table[one.table["kind"] == "ffn_all_reduce"]["link_rate"][0]
    assert rate <= level.bandwidth.si * one.parameters["link_efficiency"]


@pytest.mark.xfail(strict=True, reason="reading recurrent states is labelled overhead, since it is folded into the seconds per sequence")
def test_reading_states_is_memory():
    one = replica(model="nemotron-h-56b", system="p5.48xlarge")
    shares = Reference(one).request_shares_s(256.0, 1064.0, 2000.0, 0.0)
    assert shares["memory"] > 4 * shares["overhead"]
    assert BINDINGS[int(outputs(one, 64.0, 2000.0, 256.0)["binding"])] == "memory"


@pytest.mark.xfail(strict=True, reason="of O requests' stall only O - 1 intervals are counted: at one output token throughput is 8 times what prefill allows")
@pytest.mark.parametrize("output_tokens", [1.0, 2.0])
def test_throughput_never_exceeds_prefill(output_tokens: float):
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
    marginal_s = Reference(one).prefill_s(1000.0, 0.0)[1]
    assert outputs(one, 1000.0, output_tokens, 200.0)["output_tokens_per_s"] / output_tokens <= 1 / marginal_s


@pytest.mark.xfail(strict=True, reason="throughput falls a little beyond the pool, so bisection up to 1e7 clients misses rates that fewer carry")
def test_a_rate_that_some_concurrency_carries_is_found():
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    isl, osl, hit = 8000.0, 2.0, 0.0
    pool = outputs(one, isl, osl, 1e9)["running_requests"]
    rate = 0.9 * outputs(one, isl, osl, pool)["output_tokens_per_s"] / osl
    assert not math.isnan(concurrency_at_rate(one.constants, *(np.array([value]) for value in (isl, osl, rate, hit)))[0])


@pytest.mark.xfail(strict=True, reason="with fewer sequences than attention groups each rank is charged the mean of them, not the whole one that some rank has")
def test_one_sequence_reads_its_whole_cache_on_its_rank():
    # 61 layers x 576 x 2 bytes a token (arXiv:2412.19437) of 100,000 more tokens at full bandwidth.
    one = replica(model="deepseek-r1", system="p5en.48xlarge", attention_data_parallel=8, expert_parallel=8)
    short, long = (outputs(one, isl, 2.0, 1.0, 0.9)["time_per_output_token_s"] for isl in (1000.0, 101_000.0))
    assert long - short >= 61 * 576 * 2 * 100_000 / one.accelerator.need("hbm_bandwidth").si


@pytest.mark.xfail(strict=True, reason="the square factor of unmasked attention doubles the rectangle over cached tokens too, which a mask leaves whole")
def test_attending_to_cached_tokens_is_a_rectangle():
    # Fresh x cached pairs of 4 x heads x head_dim FLOP each; on Neuron a prompt's own square is computed whole, its rectangle behind a prefix is whole anyway.
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    behind, alone = outputs(one, 8000.0, 1.0, 1.0, 0.75), outputs(one, 2000.0, 1.0, 1.0, 0.0)
    prefill_s = [point["time_to_first_token_s"] - point["time_per_output_token_s"] for point in (behind, alone)]
    seconds = 32 * 4 * 32 * 128 * 2000 * 6000 / (one.accelerator.need("peak_bf16").si * one.parameters["attention_compute_efficiency"])
    assert prefill_s[0] - prefill_s[1] == pytest.approx(seconds, rel=1e-6)


@pytest.mark.xfail(strict=True, reason="a dense FFN under attention data-parallelism works on its own tokens and is still charged a gather and a scatter")
def test_copies_of_a_dense_model_have_nothing_to_say_to_each_other():
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", attention_data_parallel=8)
    assert one.parallelism.tensor == 1
    assert one.table["link_bytes_per_token"].sum() == 0.0
