"""The operator table against a table written from the papers, and against counts that need no table."""

from __future__ import annotations

import numpy as np
import pytest

from accelmodel.catalog.models import Architecture, Dense, Gqa, LayerGroup, Mla, Model, Moe
from accelmodel.core.collectives import all_gather, all_reduce
from accelmodel.core.operators import operator_table
from accelmodel.core.replica import Parallelism, Precision, Replica
from accelmodel.studies.points import library, replica
from reference import Reference
from situations import copy_of, random_replicas

MODELS = sorted(library().files("models"))

# Column of the table -> quantity of the reference.
SUMS = {
    "weight_bytes": "weight_bytes",
    "flop_per_token": "flop_per_token",
    "floor_flop": "floor_flop",
    "context_bytes": "context_bytes",
    "context_flop": "context_flop",
    "prefill_pair_flop": "pair_flop",
    "sequence_bytes": "state_bytes",
    "stored_bytes": "cached_bytes",
    "stored_state_bytes": "kept_bytes",
    "link_bytes_per_token": "link_bytes",
    "overhead_s": "overhead_s",
}


def one_accelerator(model: str, weights: str | None = "bf16") -> Replica:
    """A model on one large accelerator, whether it fits or not."""
    return replica(model=model, system="p5.48xlarge", accelerators=1, weights=weights)


def with_architecture(base: Replica, groups: tuple[LayerGroup, ...], hidden: int = 4096) -> Replica:
    architecture = Architecture(hidden_size=hidden, vocab_size=32_000, max_context_tokens=100_000, groups=groups)
    return copy_of(base, model=Model(name="made-up", title="Made up", architecture=architecture))


def test_sums_equal_the_reference_on_random_replicas():
    rng = np.random.default_rng(20261122)
    for one in random_replicas(rng, 600):
        table, reference = one.table, Reference(one)
        for column, quantity in SUMS.items():
            got = float((table["layers"] * table[column]).sum())
            assert got == pytest.approx(reference.total(quantity), rel=1e-12), (one.model.name, one.system.name, one.parallelism, column)
        assert one.memory.weight_bytes == pytest.approx(reference.weight_bytes, rel=1e-12)
        assert one.memory.pool_bytes == pytest.approx(reference.pool_bytes, abs=1e-12 * max(one.memory.usable_bytes, reference.weight_bytes))


@pytest.mark.parametrize("model", MODELS)
def test_one_rank_holds_every_parameter_once(model: str):
    # Two bytes each, but for the input embedding: a look-up, which no row multiplies with.
    one = one_accelerator(model)
    architecture, table = one.model.architecture, one.table
    multiplied = architecture.parameters - (0 if architecture.tied_embeddings else architecture.embedding_parameters)
    assert (table["layers"] * table["weight_bytes"]).sum() == pytest.approx(2 * multiplied, rel=1e-12)
    assert one.memory.weight_bytes == pytest.approx(2 * architecture.parameters, rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_a_token_costs_two_flop_per_active_parameter(model: str):
    one = one_accelerator(model)
    matrices = one.table[one.table["weight_bytes"] > 0]
    assert (matrices["layers"] * matrices["flop_per_token"]).sum() == pytest.approx(2 * one.model.architecture.active_parameters, rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_one_accelerator_has_no_links(model: str):
    assert one_accelerator(model, None).table["link_bytes_per_token"].sum() == 0.0


def test_llama_3_1_70b_on_eight_by_hand():
    # 80 layers; 64 query heads and 8 KV heads of 128, hidden 8192, FFN 28,672, vocabulary 128,256; fp8 weights, bf16 head and KV.
    table = replica(model="llama-3.1-70b", system="p5.48xlarge", tensor_parallel=8, weights="fp8").table
    total = {row["kind"]: row for row in table}
    assert (table["layers"][0], len(table)) == (80, 8)
    assert total["query_key_value"]["weight_bytes"] == 8192 * (64 + 8 + 8) * 128 / 8
    assert total["output"]["weight_bytes"] == 8192 * 64 * 128 / 8
    assert total["ffn"]["weight_bytes"] == 3 * 8192 * 28_672 / 8
    assert total["lm_head"]["weight_bytes"] == 128_256 * 8192 * 2 / 8
    assert total["attention"]["context_bytes"] == 2 * 1 * 128 * 2  # one KV head a rank: 512 bytes a token and layer
    assert total["attention"]["context_flop"] == 4 * 8 * 128  # q k and p v for eight query heads
    # Two all-reduces of 8192 x 2 bytes among eight: 2 x 7/8 x 16,384 = 28,672 bytes each, one way.
    assert total["attention_all_reduce"]["link_bytes_per_token"] == total["ffn_all_reduce"]["link_bytes_per_token"] == 28_672
    assert total["overhead"]["overhead_s"] == pytest.approx(54e-6)


def test_deepseek_r1_latent_by_hand():
    # arXiv:2412.19437: latent 512 and rotary key 64, 128 heads, nope 128, values 128, query rank 1,536, hidden 7,168; whole on every rank, whatever tp.
    for tensor, data in ((8, 1), (1, 8)):
        one = replica(model="deepseek-r1", system="p5en.48xlarge", tensor_parallel=tensor, attention_data_parallel=data)
        row = one.table[one.table["kind"] == "attention"][0]
        heads = 128 / tensor
        assert row["context_bytes"] == row["stored_bytes"] == 576 * 2
        assert row["context_flop"] == 2 * heads * (576 + 512)  # absorbed
        assert row["prefill_pair_flop"] == 2 * heads * (192 + 128)  # expanded
        query_key_value = one.table[one.table["kind"] == "query_key_value"][0]
        assert query_key_value["weight_bytes"] == 7168 * 1536 + 1536 * heads * 192 + 7168 * 576 + 512 * heads * 256


def test_latent_attention_saves_what_its_paper_says():
    # arXiv:2405.04434, 2.1.4: the cache of a layer is (d_c + d_rope) elements in place of 2 n_h d_h: 576 against 2 x 128 x 128.
    mla = Mla(heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
    mha = Gqa(heads=128, kv_heads=128, head_dim=128)
    base = one_accelerator("deepseek-r1")
    latent, whole = (with_architecture(base, (LayerGroup(count=1, attention=part),)).table["stored_bytes"].sum() for part in (mla, mha))
    assert latent / whole == 576 / 32_768


@pytest.mark.parametrize("tensor", [1, 8])
@pytest.mark.parametrize("gated", [True, False])
def test_a_dense_layer_is_a_mixture_of_one_expert(tensor: int, gated: bool):
    base = replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=tensor)
    dense = Dense(intermediate_size=14_336, gated=gated)
    mixture = Moe(experts=1, experts_per_token=1, expert_intermediate_size=14_336, gated=gated)
    tables = [with_architecture(base, (LayerGroup(count=7, ffn=part),)).table for part in (dense, mixture)]
    ffn, expert = tables[0][tables[0]["kind"] == "ffn"][0], tables[1][tables[1]["kind"] == "routed_experts"][0]
    for column in ("layers", "weight_bytes", "flop_per_token", "floor_flop"):
        assert ffn[column] == expert[column]
    assert expert["miss_probability"] == 0.0
    assert tables[0]["link_bytes_per_token"].sum() == tables[1]["link_bytes_per_token"].sum()


def test_experts_are_dealt_out_and_cut_to_equal_bytes():
    # 128 experts on eight accelerators: sixteen whole ones each, or an eighth of all.
    dealt, cut = (replica(model="qwen3-235b-a22b", system="p5en.48xlarge", expert_parallel=ep).table for ep in (8, 1))
    rows = [table[table["kind"] == "routed_experts"][0] for table in (dealt, cut)]
    assert rows[0]["weight_bytes"] == rows[1]["weight_bytes"]
    assert (rows[0]["experts"], rows[1]["experts"]) == (16, 128)
    # the busiest rank carries 1.35 times the mean (calibration)
    assert rows[0]["flop_per_token"] == pytest.approx(1.35 * rows[1]["flop_per_token"])


def test_kv_heads_are_replicated_beyond_their_number():
    # 8 KV heads: 8 ranks hold one each, 16 ranks still one each.
    base = replica(model="llama-3.1-70b", system="trn2.48xlarge", accelerators=4)
    by_ranks = {
        ranks: copy_of(base, accelerators=ranks // 4, parallelism=Parallelism(ranks)).table["stored_bytes"].sum() for ranks in (4, 8, 16, 64)
    }
    assert by_ranks[4] == 2 * by_ranks[8]
    assert by_ranks[8] == by_ranks[16] == by_ranks[64] == 2 * 128 * 2


def test_neuron_pads_heads_and_expands_kv_heads_that_do_not_divide():
    # 40 heads and 8 KV heads on 12 ranks: ceil(40 / 12) = 4 query heads; 8 and 12 do not divide, so KV becomes multi-head, 4 a rank.
    one = replica(model="qwen3-14b", system="trn2.48xlarge", accelerators=3)
    table = one.table
    assert one.parallelism.tensor == 12
    assert table[table["kind"] == "query_key_value"]["weight_bytes"][0] == 5120 * (4 + 4 + 4) * 128 * 2
    assert table[table["kind"] == "attention"]["stored_bytes"][0] == 2 * 4 * 128 * 2


def test_short_cache_rows_are_read_as_long_ones_on_neuron():
    # One KV head of 128 in fp8 is 128 bytes; the calibration's least row is 512, for K and for V. What is stored stays 256.
    table = replica(model="llama-3.1-70b", system="trn2.48xlarge", kv="fp8").table
    row = table[table["kind"] == "attention"][0]
    assert (row["context_bytes"], row["stored_bytes"]) == (1024, 256)


@pytest.mark.parametrize(
    ("weights", "bits"), [("bf16", 16), ("fp16", 16), ("fp8", 8), ("int8", 8), ("mxfp4", 4.25), ("nvfp4", 4.5), ("fp4", 4.5), ("int4", 4.125)]
)
def test_weight_bytes_with_scales(weights: str, bits: float):
    # MXFP4: 8 bits among 32 (OCP MX 1.0); NVFP4: 8 among 16; INT4: 16 among 128. The LM head stays bf16.
    table = replica(model="llama-3.1-8b", system="p6-b200.48xlarge", accelerators=1, weights=weights).table
    by_kind = {row["kind"]: row["weight_bytes"] for row in table}
    assert by_kind["ffn"] == 3 * 4096 * 14_336 * bits / 8
    assert by_kind["lm_head"] == 128_256 * 4096 * 2


@pytest.mark.parametrize(
    ("system", "weights", "peak"),
    [
        ("p5.48xlarge", "fp8", "peak_fp8"),
        ("p5.48xlarge", "mxfp4", "peak_bf16"),  # no four-bit rate: expanded
        ("p6-b200.48xlarge", "nvfp4", "peak_fp4"),
        ("p6-b200.48xlarge", "mxfp4", "peak_fp8"),  # against eight-bit activations
        ("p4d.24xlarge", "fp8", "peak_bf16"),
        ("p5.48xlarge", "int4", "peak_bf16"),
    ],
)
def test_weights_multiply_at_the_rate_that_the_chip_has(system: str, weights: str, peak: str):
    one = replica(model="llama-3.1-8b", system=system, accelerators=1, weights=weights)
    assert one.table[one.table["kind"] == "ffn"]["compute_peak"][0] == one.accelerator.need(peak).si


def test_four_bit_weights_of_a_mixture_are_its_experts():
    one = replica(model="deepseek-r1", system="p6-b200.48xlarge", weights="nvfp4")
    assert (one.weight_dtype("expert"), one.weight_dtype("attention"), one.weight_dtype("ffn")) == ("nvfp4", "fp8", "fp8")
    dense = copy_of(one, model=library().model("llama-3.1-70b"), precision=Precision("nvfp4"))
    assert dense.weight_dtype("attention") == "nvfp4"


def test_collective_volumes_of_thakur_et_al():
    assert all_reduce(4) == 2 * all_gather(4) == 1.5
    assert all_reduce(1) == all_gather(1) == 0.0


def test_table_is_made_afresh_and_equal():
    one = one_accelerator("gpt-oss-20b")
    assert operator_table(one).tobytes() == one.table.tobytes()
