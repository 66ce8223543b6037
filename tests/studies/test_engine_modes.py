"""Modes of serving over the whole catalogue, and single laws of each way to run a replica, on operating points by name."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.catalog.models import Model
from accelmodel.core.replica import Replica
from accelmodel.serving.steady_state import BINDINGS, OUTPUTS, Grid, closed_loop
from accelmodel.studies.points import library
from situations import close, points

MODES = ("continuous", "static", "disaggregated")
LOADS = {"input_tokens": np.array([200.0, 1000.0, 3000.0]), "output_tokens": np.array([50.0, 200.0, 1000.0]), "concurrency": np.array([1.0, 16.0, 5000.0])}


def legal(model: Model, system: str, accelerators: int, **options: Any) -> Replica | None:
    """The replica of so many accelerators with the most tensor-parallelism that the heads allow; None where there is none."""
    ranks = accelerators * library().accelerator(library().system(system).accelerator).ranks
    for data in (1, 2, 4, 8, 16, 32, 64):
        if ranks % data == 0:
            try:
                return am.replica(model=model, system=system, accelerators=accelerators, attention_data_parallel=data, **options)
            except am.InputError:
                continue
    return None


def check(one: Replica) -> bool:
    """Whether the replica holds the middle load; fails on a point that is neither finite and sensible nor a clean misfit."""
    out = points(one, *LOADS.values(), 0.25)
    named = dict(zip(OUTPUTS, out, strict=True))
    where = (one.model.name, one.system.name, one.parallelism, one.serving.mode)
    unknown = set() if one.accelerator.figures.tdp else {"power_w", "energy_j_per_output_token"}
    for i in range(3):
        point = {name: float(row[i]) for name, row in named.items()}
        if point["fits"] == 1.0:
            assert {name for name, value in point.items() if not math.isfinite(value)} == unknown, where
            assert 0 < point["time_to_first_token_s"] <= point["request_latency_s"] * (1 + 1e-12), where
            assert 1e-5 < point["time_per_output_token_s"] < 60, where
            assert point["running_requests"] + point["waiting_requests"] == close(LOADS["concurrency"][i]), where
            assert 0 <= point["cached_time_fraction"] <= point["prefill_time_fraction"] <= 1, where
            assert (BINDINGS[int(point["binding"])] == "capacity") == (point["waiting_requests"] > 0), where
        else:
            known = {name for name, value in point.items() if not math.isnan(value)}
            assert known == {"fits", "kv_capacity_tokens", "binding"}, where
            assert (point["fits"], BINDINGS[int(point["binding"])]) == (0.0, "capacity"), where
            assert point["kv_capacity_tokens"] >= 0, where
    return bool(named["fits"][1])


@pytest.mark.parametrize("mode", MODES)
def test_every_model_on_every_accelerator_in_every_mode(mode: str):
    # One system of each accelerator, the whole of it or sixteen of its accelerators.
    of = {library().system(name).accelerator: name for name in sorted(library().files("systems"))}
    assert sorted(of) == sorted(library().files("accelerators"))
    held, tried = 0, 0
    for model in map(library().model, sorted(library().files("models"))):
        for accelerator, system in sorted(of.items()):
            if mode == "disaggregated" and library().accelerator(accelerator).figures.scale_out_bandwidth is None:
                continue
            one = legal(model, system, min(library().system(system).accelerators, 16), mode=mode)
            if one is not None:
                tried += 1
                held += check(one)
    assert tried > held > 500


@pytest.mark.parametrize("accelerator", sorted(library().files("accelerators")))
def test_pools_need_a_network_and_nothing_else_does(accelerator: str):
    system = next(name for name in sorted(library().files("systems")) if library().system(name).accelerator == accelerator)
    model = library().model("llama-3.1-8b")
    for mode in MODES:
        if mode == "disaggregated" and library().accelerator(accelerator).figures.scale_out_bandwidth is None:
            with pytest.raises(am.InputError, match="scale_out_bandwidth"):
                am.replica(model=model, system=system, accelerators=1, mode=mode)
            continue
        one = legal(model, system, min(library().system(system).accelerators, 8), mode=mode)
        assert one is not None
        check(one)


# --- drafts ---------------------------------------------------------------------------------------------------------------------------------


@cache
def eight(**options: Any) -> Replica:
    return am.replica(**{"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8"} | options)


def point(one: Replica, input_tokens: float = 1000, output_tokens: float = 200, concurrency: float = 8, **more: Any) -> am.Point:
    return am.evaluate(one, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency, **more)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("drafted", [1, 4])
def test_drafts_that_are_never_accepted_slow_down_and_those_that_always_are_yield_one_more(mode: str, drafted: int):
    never, always = (
        point(eight(mode=mode, draft_model="llama-3.1-8b", speculative_tokens=drafted, acceptance_fraction=share), concurrency=1) for share in (0.0, 1.0)
    )
    without = point(eight(mode=mode), concurrency=1)
    assert never.time_per_output_token_s > without.time_per_output_token_s
    assert never.output_tokens_per_s < without.output_tokens_per_s
    # s drafts and the token that the check itself gives, in the same step; a single client's step is not stalled.
    assert always.time_per_output_token_s * (drafted + 1) == close(never.time_per_output_token_s)
    assert always.time_per_output_token_s < without.time_per_output_token_s


def test_a_drafts_cache_and_weights_take_their_room():
    plain, drafting = eight(), eight(draft_model="llama-3.1-8b", speculative_tokens=2, acceptance_fraction=0.0)
    assert point(drafting).kv_capacity_tokens < point(plain).kv_capacity_tokens
    # 80 and 32 layers with 8 KV heads of 128 each on 8 ranks, keys and values in two bytes.
    assert plain.constants["stored_token_bytes"][0] == 80 * 2 * 128 * 2
    assert drafting.constants["stored_token_bytes"][0] == (80 + 32) * 2 * 128 * 2


# --- a cap on power -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("system", ["p5.48xlarge", "trn2.48xlarge"])
def test_a_lower_cap_is_kept_and_never_faster(mode: str, system: str):
    design_w = library().accelerator(library().system(system).accelerator).need("tdp").si
    caps = [None, *(design_w * share for share in (1.2, 1.0, 0.9, 0.75, 0.6, 0.5))]
    names = ["time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "power_w"]
    before: dict[str, Any] = {}
    slower = False
    for cap_w in caps:
        one = am.replica(model="llama-3.1-70b", system=system, accelerators=8, weights="fp8", mode=mode, power_cap_w=cap_w)
        table = am.evaluate(one, input_tokens=[500, 4000, 8000] * 3, output_tokens=150, concurrency=np.repeat([1, 24, 96], 3), columns=names)
        now = {name: table[name].to_numpy() for name in names}
        assert (now["power_w"] <= 8 * (cap_w or design_w) * (1 + 1e-12)).all()
        if before:
            assert (now["time_to_first_token_s"] >= before["time_to_first_token_s"] * (1 - 1e-12)).all()
            assert (now["time_per_output_token_s"] >= before["time_per_output_token_s"] * (1 - 1e-12)).all()
            assert (now["output_tokens_per_s"] <= before["output_tokens_per_s"] * (1 + 1e-12)).all()
            slower |= bool((now["output_tokens_per_s"] < before["output_tokens_per_s"] * 0.999).any())
        before = now
    assert slower


def test_a_cap_below_what_is_drawn_idle_is_refused():
    # 15 % of 700 W.
    one = eight(power_cap_w=104.0)
    with pytest.raises(am.InputError, match="104 W is below the 105 W") as caught:
        point(one)
    assert caught.value.key == "power_cap_w"


# --- pipelines ------------------------------------------------------------------------------------------------------------------------------


def test_three_stages_of_eighty_layers():
    # 27 + 27 + 26: the fullest stage takes 27 / (80 / 3) = 1.0125 of the mean.
    one = eight(accelerators=6, pipeline_parallel=3)
    assert one.stage_balance == close(1.0125)
    even = one.constants.copy()
    even["stage_balance"] = 1.0
    load, row = Grid.point(1000.0, 200.0, 1.0, 0.0), OUTPUTS.index("time_per_output_token_s")
    uneven, mean = (closed_loop(constants, load)[row, 0] for constants in (one.constants, even))
    assert uneven / mean == close(1.0125)
    # Its weights: 27 layers of fp8 on two accelerators, and of the two ends, each 128,256 x 8,192 in bf16, one.
    layer_bytes = 8192 * (8192 + 1024 + 1024 + 8192) + 3 * 8192 * 28_672
    assert point(one).weight_bytes_per_accelerator == close((27 * layer_bytes + 2 * 128_256 * 8192) / 2)


def test_four_stages_of_eighty_layers_are_even():
    one = eight(pipeline_parallel=4)
    assert one.stage_balance == 1.0
    # A token passes the stages one after the other, so a lone client waits longer; many keep every stage busy.
    flat = eight()
    assert point(one, concurrency=1).time_per_output_token_s > point(flat, concurrency=1).time_per_output_token_s
    assert point(one, 200, 200, 400).output_tokens_per_s > 4 * point(one, 200, 200, 4).output_tokens_per_s


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"pipeline_parallel": 2, "mode": "static"}, "pipeline_parallel", "a static batch does not fill a pipeline"),
        ({"accelerators": 128, "pipeline_parallel": 128}, "pipeline_parallel", "128 stages are more than the 80 layers"),
        ({"speculative_tokens": 2, "acceptance_fraction": 0.5}, "speculative_tokens", "give a draft_model"),
        ({"speculative_tokens": 2, "draft_model": "llama-3.1-8b"}, "acceptance_fraction", "is missing"),
        ({"acceptance_fraction": 0.5}, "acceptance_fraction", "needs speculative_tokens"),
        ({"draft_model": "llama-3.1-8b"}, "draft_model", "needs speculative_tokens"),
        ({"speculative_tokens": 65, "draft_model": "llama-3.1-8b"}, "speculative_tokens", "from 0 to 64"),
        ({"acceptance_fraction": 1.1}, "acceptance_fraction", "from 0 to 1"),
        ({"compiled_batch": 0}, "compiled_batch", "above 0"),
        ({"power_cap_w": math.inf}, "power_cap_w", "above 0"),
    ],
    ids=str,
)
def test_ways_that_do_not_go_together_are_refused(options: dict[str, Any], key: str, words: str):
    with pytest.raises(am.InputError, match=words) as caught:
        am.replica(**{"model": "llama-3.1-70b", "system": "p5.48xlarge"} | options)
    assert caught.value.key == key


# --- long prompts ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("system", "accelerators"), [("p5.48xlarge", 8), ("trn2.48xlarge", 8), ("mi300x-8", 8)])
def test_context_ranks_shorten_a_prompt_of_100000_tokens(system: str, accelerators: int):
    # On twice and four times the accelerators, the tensor ranks the same: the prompt is dealt out.
    first_s = [
        point(
            am.replica(model="llama-3.1-8b", system=system, accelerators=count * accelerators // 8, context_parallel=count), 100_000, 100, 1
        ).time_to_first_token_s
        for count in (1, 2, 4, 8)
    ]
    assert first_s == sorted(first_s, reverse=True)
    assert len(set(first_s)) == 4
    # No more than the ranks allow.
    for count, seconds in zip((2, 4, 8), first_s[1:], strict=True):
        assert seconds > first_s[0] / count


# --- compiled shapes ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["static", "continuous", "disaggregated"])
@pytest.mark.parametrize("system", ["trn2.48xlarge", "p5.48xlarge"])
def test_a_compiled_batch_executes_in_full(mode: str, system: str):
    # One user of a batch of 32 compiled for 4,096 tokens has the step of 32 users at 4,096: a static batch of 3,584 and half of 1,024 tokens.
    options = {"model": "llama-3.1-8b", "system": system, "accelerators": 2}
    compiled = am.replica(**options, mode=mode, compiled_batch=32, sequence_bucket=4096)
    full = point(am.replica(**options, mode="static"), 3584, 1024, 32)
    for input_tokens, output_tokens in ((10, 2), (1000, 200), (3584, 1024)):
        assert point(compiled, input_tokens, output_tokens, 1).time_per_output_token_s == close(full.time_per_output_token_s)
    # The 33rd waits; beyond the bucket's context the context counts.
    more = point(compiled, 1000, 200, 40)
    assert (more.running_requests, more.waiting_requests, more.binding) == (32, 8, "capacity")
    assert point(compiled, 8000, 1024, 1).time_per_output_token_s > full.time_per_output_token_s


def test_a_prompt_is_padded_to_its_bucket():
    padded, plain = (am.replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=2, prompt_bucket=bucket) for bucket in (2048, None))
    first_s = [point(padded, tokens, 100, 1).time_to_first_token_s for tokens in (1, 100, 2047, 2048)]
    # The step, of which one is waited for, is that of the true length.
    wait = padded.parameters["first_step_wait_steps"]
    steps = [wait * point(padded, tokens, 100, 1).time_per_output_token_s for tokens in (1, 100, 2047, 2048)]
    assert [a - b for a, b in zip(first_s, steps, strict=True)] == close([first_s[-1] - steps[-1]] * 4)
    assert first_s[-1] == point(plain, 2048, 100, 1).time_to_first_token_s
    assert point(padded, 2049, 100, 1).time_to_first_token_s > first_s[-1]


# --- waves ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["p5.48xlarge", "trn2.48xlarge"])
@pytest.mark.parametrize("clients", [1, 6, 48])
def test_a_wave_prefills_then_decodes(system: str, clients: int):
    # All clients' prompts at the margin but the first alone, then O - 1 steps of all: the wave's length is what N requests take by Little's law.
    one, mixed = (am.replica(model="llama-3.1-70b", system=system, accelerators=8, weights="fp8", mode=mode) for mode in ("static", "continuous"))
    p, q, alone = point(one, concurrency=clients), point(mixed, concurrency=clients), point(one, concurrency=1)
    prompt_s = q.prefill_time_fraction / (q.output_tokens_per_s / 200)
    longer_s = one.parameters["first_step_wait_steps"] * (p.time_per_output_token_s - alone.time_per_output_token_s)
    wave_s = alone.time_to_first_token_s + longer_s + (clients - 1) * prompt_s + 199 * p.time_per_output_token_s
    assert p.output_tokens_per_s == close(clients * 200 / wave_s, 1e-9)
    # Where prompts run one by one a request's own is on average half-way.
    behind = (clients - 1) * prompt_s * (0.5 if system == "trn2.48xlarge" else 1.0)
    assert p.time_to_first_token_s == close(alone.time_to_first_token_s + longer_s + behind, 1e-9)
    # A client's token comes with every step, whatever the others' prompts.
    assert p.time_per_output_token_s <= q.time_per_output_token_s * (1 + 1e-12)
