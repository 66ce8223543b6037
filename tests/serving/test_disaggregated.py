"""Disaggregated pools, worked by hand from the same replica under continuous and static batching: steps without stalls, the transfer of a prompt's cache, the
ratio of the pools, and rates, shares and power of one replica of the mix.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.core.replica import Replica
from situations import close, copy_of, with_parameters

REPLICAS: dict[str, dict[str, Any]] = {
    "dense": {"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8"},
    "experts": {"model": "qwen3-235b-a22b", "system": "p5en.48xlarge", "expert_parallel": 8, "weights": "fp8"},
    "latent": {"model": "deepseek-r1", "system": "p5en.48xlarge", "expert_parallel": 8, "attention_data_parallel": 8},
    "windows": {"model": "gpt-oss-120b", "system": "p6-b200.48xlarge", "accelerators": 2},
    "one prompt at a time": {"model": "llama-3.1-8b", "system": "trn2.48xlarge", "accelerators": 1},
    "drafts": {"model": "llama-3.1-70b", "system": "p5.48xlarge", "draft_model": "llama-3.1-8b", "speculative_tokens": 3, "acceptance_fraction": 0.7},
}
LOADS = [(2000, 300, 20, 0.0), (6000, 500, 8, 0.5), (500, 2, 3, 0.0), (1000, 1000, 1, 0.2)]
every_replica = pytest.mark.parametrize("name", sorted(REPLICAS))
every_load = pytest.mark.parametrize("load", LOADS)


@cache
def run_as(name: str, mode: str) -> Replica:
    return am.replica(**REPLICAS[name], mode=mode)


def point(one: Replica, load: tuple[float, ...], **options: Any) -> am.Point:
    names = ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction")
    return am.evaluate(one, **dict(zip(names, load, strict=True)), **options)


def mixed(name: str, load: tuple[float, ...]) -> am.Point:
    return point(run_as(name, "disaggregated"), load)


def step_s(name: str, load: tuple[float, ...]) -> float:
    """Seconds of a decode step: a static batch has no stalls, so that TPOT is the step over the tokens that it yields."""
    static = run_as(name, "static")
    return point(static, load).time_per_output_token_s * static.serving.tokens_per_step


def marginal_s(name: str, load: tuple[float, ...]) -> float:
    """Seconds of one prompt at the margin: continuous batching's share of time in prefill, over its requests per second."""
    p = point(run_as(name, "continuous"), load)
    assert p.prefill_time_fraction < 1.0
    return p.prefill_time_fraction / (p.output_tokens_per_s / load[1])


def pools_per_replica(name: str, load: tuple[float, ...]) -> tuple[float, float]:
    """(requests per second of a decoding replica by Little's law, prefilling replicas that it needs)."""
    p, u = mixed(name, load), run_as(name, "disaggregated").parameters["prefill_pool_utilisation"]
    x = load[2] / (p.time_to_first_token_s + (load[1] - 1) * p.time_per_output_token_s)
    return x, x * marginal_s(name, load) / u


def queue_s(p: am.Point, one: Replica, load: tuple[float, ...], prompt_s: float) -> float:
    """What a request waits for the others of its prefilling replica: a burst's share of the N / p - 1 prompts, N / p being u S / P by Little's law."""
    lifetime_s = p.time_to_first_token_s + (load[1] - 1) * p.time_per_output_token_s
    others = max(one.parameters["prefill_pool_utilisation"] * lifetime_s / prompt_s - 1, 0.0)
    return one.parameters["burst_fraction"] * others * prompt_s


# Cached bytes of one accelerator by hand: bf16 keys and values of its heads, or the whole latent.
def cached_bytes(name: str, tokens: float) -> float:
    if name in ("dense", "drafts"):
        own = 80 * 2 * 1 * 128 * 2 * tokens  # 8 KV heads on 8 accelerators
        # A draft's caches on the same ranks: 32 layers, 8 KV heads of 128.
        return own + (32 * 2 * 1 * 128 * 2 * tokens if name == "drafts" else 0.0)
    if name == "experts":
        return 94 * 2 * 1 * 128 * 2 * tokens  # 4 KV heads on 8 ranks: one each, replicated
    if name == "latent":
        return 61 * (512 + 64) * 2 * tokens  # every rank holds the whole latent
    if name == "windows":
        per_layer = 2 * 4 * 64 * 2  # 8 KV heads of 64 on 2 accelerators
        return 18 * per_layer * (tokens + min(tokens, 128))
    return 32 * 2 * 8 * 128 * 2 * tokens  # llama-3.1-8b on one accelerator


# EFA of an instance over its accelerators, as EC2 lists it: 3,200 Gbit/s by 8, 16 by 3,200 on Trainium2.
EFA = {"one prompt at a time": 3200e9 / 8 / 16}


def transfer_s(name: str, tokens: float) -> float:
    return cached_bytes(name, tokens) / (EFA.get(name, 3200e9 / 8 / 8) * run_as(name, "disaggregated").parameters["link_efficiency"])


@every_replica
@every_load
def test_no_prefill_stalls_a_step(name: str, load: tuple[float, ...]):
    assert mixed(name, load).time_per_output_token_s == close(point(run_as(name, "static"), load).time_per_output_token_s)
    assert mixed(name, load).time_per_output_token_s <= point(run_as(name, "continuous"), load).time_per_output_token_s


@every_replica
@every_load
def test_the_first_token_waits_for_the_prefill_pool_and_for_the_transfer(name: str, load: tuple[float, ...]):
    # One client of a continuous replica: overhead + L + the first step's wait. To that the longer step of the others, the queue, and the cache.
    p = run_as(name, "disaggregated").parameters
    alone = (*load[:2], 1, load[3])
    without = point(run_as(name, "continuous"), alone).time_to_first_token_s
    longer_s = p["first_step_wait_steps"] * (step_s(name, load) - step_s(name, alone))
    waited_s = queue_s(mixed(name, load), run_as(name, "disaggregated"), load, marginal_s(name, load))
    expected = without + longer_s + waited_s + transfer_s(name, load[0])
    assert mixed(name, load).time_to_first_token_s == close(expected, 1e-9)


@every_replica
@every_load
def test_rates_are_those_of_one_replica_of_the_mix(name: str, load: tuple[float, ...]):
    x, r = pools_per_replica(name, load)
    p = mixed(name, load)
    assert p.output_tokens_per_s == close(x * load[1] / (1 + r), 1e-9)
    assert p.input_tokens_per_s == close(x * load[0] / (1 + r), 1e-9)
    assert p.prefill_time_fraction == close(r / (1 + r), 1e-9)
    # What attends to cached tokens has the same share of prefill in both modes.
    one = point(run_as(name, "continuous"), load)
    assert p.cached_time_fraction == pytest.approx(one.cached_time_fraction / one.prefill_time_fraction * r / (1 + r), rel=1e-9, abs=1e-15)
    assert (p.cached_time_fraction > 0) == (load[3] > 0)
    assert (p.running_requests, p.waiting_requests) == (load[2], 0)


@every_replica
def test_power_is_the_mean_of_the_mix(name: str):
    # Continuous batching does the same work per request: design power x [floor + (1 - floor) x / sqrt(1 + x^2)], x = requests per second x work.
    load = LOADS[0]
    apart, together, one = mixed(name, load), point(run_as(name, "continuous"), load), run_as(name, "continuous")
    design_w, floor = one.accelerators * one.accelerator.need("tdp").si, one.parameters["power_floor_fraction"]
    assert max(apart.power_w, together.power_w) < design_w
    share = (together.power_w / design_w - floor) / (1 - floor)
    x = share / math.sqrt(1 - share**2) / together.output_tokens_per_s * apart.output_tokens_per_s
    assert apart.power_w == close(design_w * (floor + (1 - floor) * x / math.sqrt(1 + x**2)), 1e-9)
    assert apart.energy_j_per_output_token == close(apart.power_w / apart.output_tokens_per_s)


def test_the_bytes_that_are_sent_follow_the_cache():
    # One client of Llama-3.1-70B, 327,680 bytes a token in bf16 (80 layers, 8 + 8 heads of 128), a half in fp8; eight links of 50 GB/s.
    queued = (am.replica(**REPLICAS["dense"], kv=kv, mode="disaggregated") for kv in ("bf16", "fp8"))
    one, half = (copy_of(some, calibration=with_parameters(some.calibration, burst_fraction=0.0)) for some in queued)
    base_s = 10_000 * 327_680 / 8 / (50e9 * one.parameters["link_efficiency"])
    assert transfer_s("dense", 10_000) == close(base_s)

    def slower_s(of: Replica) -> float:
        # At half the links' efficiency the transfer takes twice as long, and so do the collectives of prefill, which are the same for both.
        generation = of.parameters["link_efficiency"] / of.calibration.parameters.link_efficiency.si  # what its generation multiplies
        slow = copy_of(of, calibration=with_parameters(of.calibration, link_efficiency=of.parameters["link_efficiency"] / generation / 2))
        load = (10_000, 1, 1, 0.0)
        return point(slow, load).time_to_first_token_s - point(of, load).time_to_first_token_s

    assert slower_s(one) - slower_s(half) == close(base_s / 2, 1e-6)


@pytest.mark.parametrize("cut", ["pipeline_parallel", "context_parallel"])
def test_every_accelerator_sends_its_share_of_the_cache(cut: str):
    # Four ranks hold two KV heads each of 40 layers (two stages), or of half of the tokens: as many bytes an accelerator as eight ranks of one head.
    of = REPLICAS["dense"] | {cut: 2}
    apart, together = (am.replica(**of, mode=mode) for mode in ("disaggregated", "continuous"))
    load = (2000, 300, 1, 0.0)
    p, q = point(together, load), point(apart, load)
    prompt_s = p.prefill_time_fraction / (p.output_tokens_per_s / 300)
    sent_s = q.time_to_first_token_s - p.time_to_first_token_s - queue_s(q, apart, load, prompt_s)
    assert sent_s == close(transfer_s("dense", 2000), 1e-6)


# Nobody publishes an on-demand price of the system that prefills one prompt at a time.
@pytest.mark.parametrize(("name", "offer"), [(name, offer) for name in sorted(REPLICAS) for offer in (None, "on-demand") if offer is None or name not in EFA])
def test_attribution_conserves_the_cost(name: str, offer: str | None):
    one = run_as(name, "disaggregated")
    rng = np.random.default_rng(11)
    loads = np.array([rng.integers(16, 20_000, 100), rng.integers(2, 2000, 100), np.exp(rng.uniform(0, 5, 100)), rng.uniform(0, 0.95, 100)], float)
    loads[3, :20] = 0.0
    table = point(one, tuple(loads), offer=offer, occupancy=0.5)  # type: ignore[arg-type]
    column = {key: np.nan_to_num(table[key].to_numpy()) for key in table.column_names if table.schema.field(key).type == "double"}
    paid = column["input_tokens_per_s"] * (1 - loads[3]) * column["cost_usd_per_mtok_input"]
    paid += column["input_tokens_per_s"] * loads[3] * column["cost_usd_per_mtok_cached_input"]
    paid += column["output_tokens_per_s"] * column["cost_usd_per_mtok_output"]
    np.testing.assert_allclose(paid * 0.5 * 3600 / 1e6, column["replica_cost_usd_per_h"], rtol=1e-12)
    # Output bears what the decoding replicas are of the mix.
    share = column["cost_usd_per_mtok_output"] * column["output_tokens_per_s"] * 0.5 * 3600 / 1e6 / column["replica_cost_usd_per_h"]
    np.testing.assert_allclose(share, 1 - column["prefill_time_fraction"], rtol=1e-9)


@pytest.mark.parametrize("busy", [0.2, 0.9])
def test_a_fuller_prefill_pool_is_smaller_and_slower(busy: float):
    # Of the same load r goes with 1 / u, but for the longer first token; the queue grows with the clients of a prefilling replica.
    load = LOADS[0]
    one = run_as("dense", "disaggregated")
    other = copy_of(one, calibration=with_parameters(one.calibration, prefill_pool_utilisation=busy))
    p, q = point(one, load), point(other, load)
    prompt_s = marginal_s("dense", load)
    wait_s = queue_s(q, other, load, prompt_s) - queue_s(p, one, load, prompt_s)
    assert (wait_s > 0) == (busy > 0.7)
    assert q.time_to_first_token_s - p.time_to_first_token_s == close(wait_s, 1e-6)
    x = 20 / (q.time_to_first_token_s + 299 * q.time_per_output_token_s)
    assert q.prefill_time_fraction == close(1 - 1 / (1 + x * marginal_s("dense", load) / busy), 1e-9)


def test_a_rate_is_that_of_one_replica_of_the_mix():
    one, load = run_as("dense", "disaggregated"), LOADS[0]
    rate = point(one, load).output_tokens_per_s / load[1]
    back = am.evaluate(one, input_tokens=load[0], output_tokens=load[1], requests_per_s=rate)
    assert back.concurrency == close(load[2], 1e-9)


def test_beyond_the_pool_requests_wait_and_the_rate_stays():
    one = run_as("dense", "disaggregated")
    full, beyond = (point(one, (20_000, 300, clients, 0.0)) for clients in (1e4, 2e4))
    assert full.running_requests == beyond.running_requests < 1e4
    assert beyond.output_tokens_per_s == close(full.output_tokens_per_s)
    assert beyond.time_per_output_token_s == full.time_per_output_token_s
    # The new clients wait for as many more requests to pass: N / X at the rate of the decoding replica.
    running_s = full.request_latency_s * full.running_requests / full.concurrency
    assert beyond.time_to_first_token_s - full.time_to_first_token_s == close(1e4 / (full.running_requests / running_s), 1e-9)


def test_without_a_network_between_systems_there_are_no_pools():
    one = am.replica(model="llama-3.1-70b", system="mi350x-8")
    assert am.evaluate(one, input_tokens=1000, output_tokens=100, concurrency=4).fits
    with pytest.raises(am.InputError, match="'mi350x' has no figure 'scale_out_bandwidth'"):
        am.evaluate(am.replica(model="llama-3.1-70b", system="mi350x-8", mode="disaggregated"), input_tokens=1000, output_tokens=100, concurrency=4)


def test_pools_are_asked_for_by_their_name():
    with pytest.raises(am.InputError, match="disaggregated") as caught:
        am.replica(**REPLICAS["dense"], mode="disagregated")
    assert caught.value.key == "mode"
