"""Memory of a rank: weights of the fullest stage, activations of a full pass, reserves, and what is left as the KV pool; worked by hand."""

from __future__ import annotations

from accelmodel.core.replica import Replica
from accelmodel.serving.steady_state import OUTPUTS
from accelmodel.studies.points import library, replica
from situations import close, points


def outputs(one: Replica, isl: float, osl: float, concurrency: float) -> dict[str, float]:
    return dict(zip(OUTPUTS, points(one, isl, osl, concurrency, 0.0)[:, 0].tolist(), strict=True))


def test_a_rank_of_llama_3_1_70b_by_hand():
    # Eight H100, fp8: 80 layers, LM head and embedding in bf16; a pass of 8,192 tokens: residual and its normed copy, gate and up of 28,672 / 8.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8", chunk_tokens=8192)
    p, memory = one.parameters, one.memory
    assert memory.usable_bytes == close(81_559 * 2**20 * p["usable_memory_fraction"], 0.01)
    assert memory.weight_bytes == close((80 * (2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28_672) + 2 * 2 * 128_256 * 8192) / 8)
    assert memory.activation_bytes == close((2 * 8192 + 2 * 28_672 / 8) * 8192 * 2)
    assert memory.runtime_bytes == close(p["runtime_reserve"] + p["graph_reserve"])
    assert memory.pool_bytes == close(memory.usable_bytes - memory.weight_bytes - memory.activation_bytes - memory.runtime_bytes)


def test_a_rank_has_its_share_of_the_reserves():
    # Four ranks of a Trainium2 share 96 GiB and what the runtime keeps.
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=1)
    assert one.memory.runtime_bytes == close((one.parameters["runtime_reserve"] + one.parameters["graph_reserve"]) / 4)
    assert one.memory.usable_bytes == close(96 * 2**30 / 4 * one.parameters["usable_memory_fraction"])


def test_the_fullest_stage_decides():
    # DeepSeek-V3, 61 layers in four stages: 16 of them, and the embedding, which is larger than a rank's share of the LM head or as large.
    whole, cut = (replica(model="deepseek-v3", system="p5en.48xlarge", accelerators=stages * 8, pipeline_parallel=stages) for stages in (1, 4))
    table = 129_280 * 7168 * 2 / 8
    assert cut.memory.weight_bytes - table == close((whole.memory.weight_bytes - 2 * table) * 16 / 61)


def test_context_ranks_share_the_tokens_of_a_pass():
    one, four = (replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=n * 2, context_parallel=n, weights="fp8") for n in (1, 4))
    assert four.memory.activation_bytes == close(one.memory.activation_bytes / 4)


def test_a_draft_takes_all_its_memory():
    without = replica(model="llama-3.1-70b", system="p5.48xlarge")
    drafted = replica(model="llama-3.1-70b", system="p5.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=2, acceptance_fraction=0.0)
    assert drafted.memory.weight_bytes - without.memory.weight_bytes == close(library().model("llama-3.1-8b").architecture.parameters * 2 / 8)


def test_activations_of_an_uncut_shared_expert():
    # Llama-4-Maverick: hidden 5,120, shared expert 8,192 whole on each of eight ranks; its routed expert is 8,192 / 4 wide, its dense FFN 16,384 / 4.
    one = replica(model="llama-4-maverick", system="p5en.48xlarge", attention_data_parallel=2, weights="fp8")
    assert one.table[one.table["kind"] == "shared_expert"]["weight_bytes"][0] == 3 * 5120 * 8192
    assert one.memory.activation_bytes == close((2 * 5120 + 2 * 8192) * 8192 * 2)


def test_one_request_that_the_pool_holds_fits():
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", pipeline_parallel=8)
    at = outputs(one, 100_000.0, 2.0, 1.0)["kv_capacity_tokens"]
    assert outputs(one, 0.8 * at, 2.0, 1.0)["fits"] == 1.0
