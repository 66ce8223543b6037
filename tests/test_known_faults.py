"""Faults that tests found in the engine: each a minimal reproduction and a strict expected failure, so that a repair shows.

When one is mended, its test says XPASS: take the mark away, move it to the tests of its room, and drop its override in tests/as_found.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accelmodel.catalog.models import Architecture, Dense, Gqa, LayerGroup, Model
from accelmodel.core.collectives import all_reduce, links_of
from accelmodel.core.replica import Parallelism, Replica
from accelmodel.errors import InputError
from accelmodel.serving.steady_state import BINDINGS, OUTPUTS
from accelmodel.studies.points import evaluate, library, replica
from reference import Reference
from situations import close, copy_of, points, with_parameters


def fault(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)


def row(one: Replica, kind: str) -> Any:
    """The first row of a kind in the engine's table."""
    return one.table[one.table["kind"] == kind][0]


def outputs(one: Replica, isl: float, osl: float, concurrency: float, hit: float = 0.0) -> dict[str, float]:
    return dict(zip(OUTPUTS, points(one, isl, osl, concurrency, hit)[:, 0].tolist(), strict=True))


# --- collectives ----------------------------------------------------------------------------------------------------------------------------


@fault("a level that states its own bandwidth states that of the axis it adds (z: 64 GB/s to either neighbour); a third of it is taken, as if for x, y and z")
def test_the_third_axis_of_an_ultraserver_is_used_whole():
    one = replica(model="llama-3.1-70b", system="trn2-ultraserver")
    seconds = min(per_byte for _, per_byte in all_reduce(links_of(one), 64)) * one.parameters["link_efficiency"]
    assert seconds == close(2 * 15 / 16 / 512e9 + 2 * 3 / 4 / 16 / 128e9)


@fault("four ranks of a Trainium2 each send their share over links that they share; one rank's bytes go at the whole accelerator's rate")
def test_ranks_of_an_accelerator_share_its_links_between_stages():
    # Two stages of eight chips: a chip sends an eighth of 8,192 x 2 bytes at 512 GB/s.
    one = replica(model="llama-3.1-70b", system="trn2.48xlarge", pipeline_parallel=2)
    assert min(row(one, "stage_send")["link_token_s"]) == close(8192 * 2 / 8 / (512e9 * one.parameters["link_efficiency"]))


@fault("the same among context ranks")
def test_ranks_of_an_accelerator_share_its_links_among_context_ranks():
    # Sixteen chips in two halves, tp 32 (two query heads and one KV head a rank, four ranks a chip): half of the keys and values over one axis of two.
    one = replica(model="llama-3.1-70b", system="trn2.48xlarge", context_parallel=2)
    assert row(one, "context_exchange")["prefill_link_token_s"] == close(4 * 2 * 128 * 2 / 2 / (512e9 / 2 * one.parameters["link_efficiency"]))


@fault("an accelerator that holds four attention groups sends the tokens of all four, not of one")
def test_an_accelerator_sends_the_tokens_of_all_its_attention_groups():
    # gpt-oss-120b, hidden 2,880, four experts a token, 64 groups on sixteen chips: 15/16 of a sixteenth of the tokens, four times, there and back.
    one = replica(model="gpt-oss-120b", system="trn2.48xlarge", attention_data_parallel=64, expert_parallel=64)
    assert min(row(one, "expert_exchange")["link_token_s"]) == close(2 * 4 * 15 / 16 / 16 * 2880 * 2 / (512e9 * one.parameters["link_efficiency"]))


@fault("context ranks lie as far apart as a tensor group is wide: in a mesh of eight, two of them share one link of seven, not all")
@pytest.mark.parametrize(("system", "owned"), [("mi300x-8", 1 / 7), ("tpu-v6e-8", 1 / 2)])
def test_context_ranks_own_the_links_between_them(system: str, owned: float):
    # tp 4 and cp 2 on a mesh; tp 2 (one side of 2 x 4) and cp 4 on a torus.
    cut = 2 if system == "mi300x-8" else 4
    one = replica(model="llama-3.1-70b", system=system, context_parallel=cut)
    kept = 2 * (8 * cut / 8) * 128 * 2
    rate = one.accelerator.need("scale_up_bandwidth").si * one.parameters["link_efficiency"]
    assert row(one, "context_exchange")["prefill_link_token_s"] == close((cut - 1) / cut * kept / (rate * owned))


@fault("four stages of four GPUs on two hosts: the second boundary crosses hosts, and all three are charged as if inside one")
def test_stages_that_cross_hosts_pay_the_network():
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=16, pipeline_parallel=4)
    rows = one.table[one.table["kind"] == "stage_send"]
    seconds = 8192 * 2 / 4 * (2 / 450e9 + 1 / 50e9) / one.parameters["link_efficiency"]
    assert (rows["layers"] * rows["link_token_s"].min(axis=1)).sum() == close(seconds)
    assert (rows["layers"] * rows["link_latency_s"].min(axis=1)).sum() == close(one.parameters["scale_out_latency"])


@fault("two stages inside one accelerator send over the network between systems, with its latency")
def test_stages_inside_one_accelerator_need_no_network():
    one = replica(model="llama-3.1-8b", system="trn2.3xlarge", pipeline_parallel=2)
    assert not one.table["link_token_s"].any()


@fault("six ranks lie on two Trainium2 of four ranks each; they are counted as one, so that their all-reduce is free")
def test_a_group_that_spans_two_accelerators_talks():
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=3, tensor_parallel=6, attention_data_parallel=2)
    assert (one.table["kind"] == "attention_all_reduce").any()


@fault("a gather and a scatter, or a dispatch and a combine, are two collectives: the messages of one are charged")
def test_an_exchange_is_two_collectives():
    # Two hosts: two messages between them at the least.
    one = replica(model="deepseek-r1", system="p5en.48xlarge", accelerators=16, attention_data_parallel=16, expert_parallel=16)
    assert min(row(one, "expert_exchange")["link_latency_s"]) == close(2 * one.parameters["scale_out_latency"])


@fault("a prefill's collectives across hosts are charged without their latency")
def test_a_prompt_waits_for_messages_too():
    # One prompt on two hosts: 80 layers of two all-reduces of at least one message each, longer by a factor for a lone prompt.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=16, tensor_parallel=16)
    at_once = copy_of(one, calibration=with_parameters(one.calibration, scale_out_latency=0.0))
    slow, fast = (outputs(some, 1000.0, 2.0, 1.0) for some in (one, at_once))
    steps = one.parameters["first_step_wait_steps"]
    prefill_s = [point["time_to_first_token_s"] - steps * point["time_per_output_token_s"] for point in (slow, fast)]
    assert prefill_s[0] - prefill_s[1] >= one.parameters["prefill_latency_factor"] * 80 * 2 * one.parameters["scale_out_latency"]


@fault("queries of latent attention are 192 wide, its values 128: the exchange among context ranks counts 128 for both")
def test_context_ranks_exchange_whole_queries():
    one = replica(model="deepseek-r1", system="p5en.48xlarge", context_parallel=2)
    assert min(row(one, "context_exchange")["link_token_s"]) == close(128 / 4 * (192 + 128) * 2 / 2 / (450e9 * one.parameters["link_efficiency"]))


@pytest.mark.xfail(strict=True, raises=InputError, reason="a legal replica is refused for the size of a table: six kinds of collectives, room for four")
def test_every_legal_combination_can_be_held():
    # Latent attention on four hosts, two context ranks, multi-token prediction.
    one = replica(model="deepseek-v3", system="p5en.48xlarge", accelerators=32, context_parallel=2, expert_parallel=32, speculative_tokens=1)
    assert one.constants["links"][0] > 0


# --- drafts ---------------------------------------------------------------------------------------------------------------------------------


@fault("a draft model's weights are taken in the dtype that the large model is published in")
def test_a_draft_keeps_its_own_dtype():
    # DeepSeek-R1 is published in fp8, Llama-3.1-8B in bf16.
    one = replica(model="deepseek-r1", system="p5en.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=2)
    assert row(one, "draft_ffn")["weight_bytes"] == 3 * 4096 * 14_336 / 8 * 2


@fault("of a draft model's embedding and LM head neither is counted (the larger LM head of the two models is)")
def test_a_draft_takes_all_its_memory():
    without = replica(model="llama-3.1-70b", system="p5.48xlarge")
    drafted = replica(model="llama-3.1-70b", system="p5.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=2)
    assert drafted.memory.weight_bytes - without.memory.weight_bytes == close(library().model("llama-3.1-8b").architecture.parameters * 2 / 8)


@pytest.mark.xfail(strict=True, reason="a draft's heads, experts and layers are not held against the parallelism: 40 heads on sixteen ranks are 2.5 each")
def test_a_draft_that_cannot_be_cut_is_refused():
    with pytest.raises(InputError):
        replica(model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, draft_model="qwen3-14b", speculative_tokens=2)


@fault("a prefill pass runs the draft's layers as well, and the overhead of an eager layer is charged for the model's alone")
def test_a_draft_prefills_too():
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=2)
    free = copy_of(one, calibration=with_parameters(one.calibration, prefill_layer_overhead=0.0))
    with_s, without_s = (outputs(some, 1000.0, 100.0, 1.0)["time_to_first_token_s"] for some in (one, free))
    assert with_s - without_s == close((80 + 32) * one.parameters["prefill_layer_overhead"], 1e-9)


@fault("a prefill pass reads the draft's weights once, and its draw counts them once per drafted token")
def test_a_pass_draws_for_one_read_of_the_draft():
    # What 4,000 more tokens of a prompt draw for reads is their share of a pass, however many tokens are drafted a step; decode attends to 20,000.
    def energy_j(tokens: int, isl: float) -> float:
        one = replica(model="llama-3.1-70b", system="p5.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=tokens, sequence_bucket=20_000)
        reads = with_parameters(one.calibration, power_floor_fraction=0.0, power_compute_fraction=0.0, power_memory_fraction=0.5)
        return outputs(copy_of(one, calibration=reads), isl, 1.0, 1.0)["energy_j_per_output_token"]

    one, eight = (energy_j(tokens, 8000.0) - energy_j(tokens, 4000.0) for tokens in (1, 8))
    assert eight == close(one, 1e-9)


# --- memory, stages, context ----------------------------------------------------------------------------------------------------------------


@fault("under attention data-parallelism a shared expert is not cut, and its activations are counted as if it were")
def test_activations_of_an_uncut_shared_expert():
    # Llama-4-Maverick: hidden 5,120, shared expert 8,192 whole on each of eight ranks; its routed expert is 8,192 / 4 wide, its dense FFN 16,384 / 4.
    one = replica(model="llama-4-maverick", system="p5en.48xlarge", attention_data_parallel=2, weights="fp8")
    assert row(one, "shared_expert")["weight_bytes"] == 3 * 5120 * 8192
    assert one.memory.activation_bytes == close((2 * 5120 + 2 * 8192) * 8192 * 2)


@fault("a request is refused unless the pool holds one per stage")
def test_one_request_that_the_pool_holds_fits():
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", pipeline_parallel=8)
    at = outputs(one, 100_000.0, 2.0, 1.0)["kv_capacity_tokens"]
    assert outputs(one, 0.8 * at, 2.0, 1.0)["fits"] == 1.0


@fault("of one running request only one stage reads at a time; the draw counts all stages reading all the time")
def test_one_request_in_a_pipeline_keeps_one_stage_busy():
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", pipeline_parallel=8)
    reads = with_parameters(one.calibration, power_floor_fraction=0.0, power_compute_fraction=0.0, power_memory_fraction=1.0)
    assert outputs(copy_of(one, calibration=reads), 10.0, 1000.0, 1.0)["power_w"] <= 700.0


@fault("a prompt's chunks over context ranks are counted as passes of one rank when alone, and of all ranks at the margin (and in memory, of one)")
def test_passes_are_the_same_number_alone_and_at_the_margin():
    # 32,768 tokens in chunks of 8,192 are four passes, each of 80 layers' overhead, in both.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", context_parallel=4, chunk_tokens=8192)
    free = copy_of(one, calibration=with_parameters(one.calibration, prefill_layer_overhead=0.0))
    with_, without = (outputs(some, 32_768.0, 1000.0, 1.0) for some in (one, free))
    marginal_s = [point["prefill_time_fraction"] / (point["output_tokens_per_s"] / 1000.0) for point in (with_, without)]
    assert with_["time_to_first_token_s"] - without["time_to_first_token_s"] == close(4 * 80 * one.parameters["prefill_layer_overhead"], 1e-9)
    assert marginal_s[0] - marginal_s[1] == close(4 * 80 * one.parameters["prefill_layer_overhead"], 1e-9)


@fault("every rank sends the cache of the layers and tokens that it holds; between pools each is taken to hold those of all stages and context ranks")
@pytest.mark.parametrize("cut", ["pipeline_parallel", "context_parallel"])
def test_a_cut_cache_is_sent_in_parallel(cut: str):
    # Eight GPUs hold an eighth each of 80 x 2 x 8 heads x 128 x 2 bytes a token, however they are cut. Pools that are hardly busy have no queue.
    options: dict[str, Any] = {"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8", cut: 4}
    idle = with_parameters(replica(**options).calibration, prefill_pool_utilisation=1e-12)
    apart, together = (copy_of(replica(**options, mode=mode), calibration=idle) for mode in ("disaggregated", "continuous"))
    first_s = [outputs(some, 10_000.0, 100.0, 1.0)["time_to_first_token_s"] for some in (apart, together)]
    assert first_s[0] - first_s[1] == close(80 * 2 * 8 * 128 * 2 * 10_000 / (8 * 50e9 * apart.parameters["link_efficiency"]), 1e-6)


# --- the closed loop ------------------------------------------------------------------------------------------------------------------------


@fault("where prompts of a static batch run one by one, the latency leaves out the prefills behind one's own, though decode waits for them all")
def test_littles_law_of_a_static_batch_on_neuron():
    point = outputs(replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, mode="static"), 1000.0, 100.0, 16.0)
    assert point["request_latency_s"] * point["output_tokens_per_s"] / 100.0 == close(16.0)


@fault("a compiled batch of 32 with one client in it: decode is divided by 32 before it is set against the prefill")
def test_a_lone_client_of_a_compiled_batch_waits_for_memory():
    # A prefill of half a second against 200 steps of 17 ms that read the compiled batch's caches: of one client's time, most is memory.
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1, compiled_batch=32, sequence_bucket=8704)
    point = outputs(one, 8000.0, 200.0, 1.0)
    assert BINDINGS[int(point["binding"])] == Reference(one).closed_loop(8000.0, 200.0, 1.0, 0.0)["binding"] == "memory"


@fault("the fullest stage holds up prefill and decode alike; what binds is told with prefill held up and decode not")
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


# --- a cap on power -------------------------------------------------------------------------------------------------------------------------


def capped(cap_w: float) -> Replica:
    return replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", power_cap_w=cap_w)


@fault("the largest concurrency within targets is looked for at the full clock and then run at the capped one")
def test_targets_are_met_under_a_cap():
    point = evaluate(capped(400.0), input_tokens=1000.0, output_tokens=500.0, tpot_s=0.02)
    assert point.time_per_output_token_s <= 0.02


@fault("the concurrency that carries a rate is looked for at the full clock and then run at the capped one")
def test_a_rate_is_carried_under_a_cap():
    point = evaluate(capped(400.0), input_tokens=1000.0, output_tokens=500.0, requests_per_s=10.0)
    assert point.output_tokens_per_s / 500.0 == close(10.0, 1e-9)


@fault("the clock is the lowest as soon as the cap is reached, not as low as the load needs: 121 clients get 3 % less than 120, and draw less than the cap")
def test_more_clients_never_lower_throughput_under_a_cap():
    table = evaluate(capped(550.0), input_tokens=1000.0, output_tokens=500.0, concurrency=np.arange(1.0, 300.0), columns=["output_tokens_per_s"])
    assert (np.diff(table["output_tokens_per_s"].to_numpy()) >= 0.0).all()
