"""The operator table against a table written from the papers, and against counts that need no table."""

from __future__ import annotations

import numpy as np
import pytest

from accelmodel.catalog.models import Architecture, Dense, Gqa, LayerGroup, Mla, Model, Moe
from accelmodel.core.operators import operator_table
from accelmodel.core.replica import Parallelism, Precision, Replica
from accelmodel.errors import InputError
from accelmodel.studies.points import library, replica
from reference import Reference
from situations import close, copy_of, random_replicas

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
    compared: dict[str, int] = {}
    for one in random_replicas(rng, 500):
        table, reference = one.table, Reference(one)
        where = (one.model.name, one.system.name, one.parallelism, one.serving)
        for column, quantity in SUMS.items():
            got = float((table["layers"] * table["repeats"] * table[column]).sum())
            expected = sum(row["layers"] * row.get("repeats", 1) * row.get(quantity, 0.0) for row in reference.rows)
            assert got == close(expected), (where, column)
        assert one.memory.weight_bytes == close(reference.weight_bytes), where
        assert one.memory.activation_bytes == close(reference.activation_bytes), where
        assert one.memory.pool_bytes == pytest.approx(reference.pool_bytes, abs=1e-12 * max(one.memory.usable_bytes, reference.weight_bytes)), where
        for kind in {row["kind"][:24] for row in reference.rows if "lines" in row}:
            compared[kind] = compared.get(kind, 0) + 1
            for tokens in (1.0, 300.0, 1e5):
                assert link_s(table[table["kind"] == kind], tokens) == close(reference_link_s(reference, kind, tokens)), (where, kind)
    assert compared.keys() >= {"attention_all_reduce", "ffn_all_reduce", "expert_exchange", "context_exchange", "stage_send", "draft_ffn_all_reduce"}


def link_s(rows: np.ndarray[tuple[int], np.dtype[np.void]], tokens: float) -> tuple[float, float]:
    """Seconds of collectives of the engine's table in a decode step of so many sequences, and in a prefill of so many tokens, latency aside."""
    lines = rows["link_latency_s"] + rows["link_token_s"] * (tokens * rows["share"] * rows["step_tokens"])[:, None]
    step_s = (rows["layers"] * rows["repeats"] * lines.min(axis=1)).sum()
    return float(step_s), float((rows["layers"] * rows["share"] * tokens * rows["prefill_link_token_s"]).sum())


def reference_link_s(reference: Reference, kind: str, tokens: float) -> tuple[float, float]:
    """The same of the reference's rows."""
    step_s = prefill_s = 0.0
    for row in reference.rows:
        if row["kind"][:24] == kind and "lines" in row:
            here = tokens * row["share"]
            step_s += row["layers"] * row.get("repeats", 1) * min(latency + slope * here * row.get("step_tokens", 1) for latency, slope in row["lines"])
            prefill_s += row["layers"] * here * min(slope for _, slope in row["prefill_lines"])
    return step_s, prefill_s


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
def test_one_accelerator_has_no_collectives(model: str):
    assert not has_links(one_accelerator(model, None))


def has_links(one: Replica) -> bool:
    """Whether any row of the table takes time on a link."""
    return bool(one.table["link_token_s"].any() or one.table["link_latency_s"].any() or one.table["prefill_link_token_s"].any())


@pytest.mark.parametrize("cut", ["tensor", "attention_data", "context", "expert", "pipeline"])
@pytest.mark.parametrize("parts", [2, 4])
def test_ranks_of_one_accelerator_have_no_collectives_either(cut: str, parts: int):
    # Four ranks of one Trainium2.
    assert not has_links(replica(model="gpt-oss-20b", system="trn2.48xlarge", accelerators=1, **({} if cut == "tensor" else {f"{cut}_parallel": parts})))


@pytest.mark.parametrize("system", ["p5.48xlarge", "mi300x-8", "g6e.48xlarge"])
def test_copies_of_a_dense_model_have_nothing_to_say_to_each_other(system: str):
    one = replica(model="llama-3.1-8b", system=system, attention_data_parallel=8)
    assert one.parallelism.tensor == 1
    assert not has_links(one)


def test_llama_3_1_70b_on_eight_by_hand():
    # 80 layers; 64 query heads and 8 KV heads of 128, hidden 8192, FFN 28,672, vocabulary 128,256; fp8 weights, bf16 head and KV.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", tensor_parallel=8, weights="fp8")
    table = one.table
    total = {row["kind"]: row for row in table}
    assert (table["layers"][0], len(table)) == (80, 8)
    assert total["query_key_value"]["weight_bytes"] == 8192 * (64 + 8 + 8) * 128 / 8
    assert total["output"]["weight_bytes"] == 8192 * 64 * 128 / 8
    assert total["ffn"]["weight_bytes"] == 3 * 8192 * 28_672 / 8
    assert total["lm_head"]["weight_bytes"] == 128_256 * 8192 * 2 / 8
    assert total["attention"]["context_bytes"] == 2 * 1 * 128 * 2  # one KV head a rank: 512 bytes a token and layer
    assert total["attention"]["context_flop"] == 4 * 8 * 128  # q k and p v for eight query heads
    # Two all-reduces of 8192 x 2 bytes among eight: 2 x 7/8 x 16,384 = 28,672 bytes each, one way, at 450 GB/s.
    for kind in ("attention_all_reduce", "ffn_all_reduce"):
        assert min(total[kind]["link_token_s"]) == close(28_672 / (450e9 * one.parameters["link_efficiency"]))
        assert not total[kind]["link_latency_s"].any()
    assert total["overhead"]["overhead_s"] == close(one.parameters["layer_overhead"])


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
    assert tables[0]["link_token_s"].sum() == tables[1]["link_token_s"].sum()


def test_experts_are_dealt_out_and_cut_to_equal_bytes():
    # 128 experts on eight accelerators: sixteen whole ones each, or an eighth of all.
    one, other = (replica(model="qwen3-235b-a22b", system="p5en.48xlarge", expert_parallel=ep) for ep in (8, 1))
    dealt, cut = one.table, other.table
    rows = [table[table["kind"] == "routed_experts"][0] for table in (dealt, cut)]
    assert rows[0]["weight_bytes"] == rows[1]["weight_bytes"]
    assert (rows[0]["experts"], rows[1]["experts"]) == (16, 128)
    # The busiest rank carries more than the mean.
    assert rows[0]["flop_per_token"] == close(one.parameters["expert_imbalance_factor"] * rows[1]["flop_per_token"])


def test_kv_heads_are_replicated_beyond_their_number():
    # 8 KV heads: 8 ranks hold one each, 16 ranks still one each.
    base = replica(model="llama-3.1-70b", system="trn2.48xlarge", accelerators=4)
    by_ranks = {ranks: copy_of(base, accelerators=ranks // 4, parallelism=Parallelism(ranks)).table["stored_bytes"].sum() for ranks in (4, 8, 16, 64)}
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


def test_links_are_as_fast_as_the_level_that_they_cross():
    # Two cards on a bridge of 300 GB/s, four pairs on PCIe of 64: 16,384 bytes a token.
    one = replica(model="llama-3.1-70b", system="h100-nvl-8")
    row = one.table[one.table["kind"] == "ffn_all_reduce"][0]
    assert min(row["link_token_s"]) == close(16_384 * (2 * 1 / 2 / 300e9 + 2 * 3 / 4 / 2 / 64e9) / one.parameters["link_efficiency"])


def test_experts_exchange_tokens_by_the_lesser_of_gather_and_all_to_all():
    # 7,168 x 2 bytes; eight H200 on NVSwitch. Gathered and scattered: 2 x 7/8 of all tokens. One by one: an eighth of the tokens, to 8 of 8
    # groups and back: 2 x 8 x 7/8 / 8, the same: eight experts on eight ranks gain nothing. On 64 of 72 GB200, eight copies of 1/64 are an eighth of a gather.
    eight = replica(model="deepseek-r1", system="p5en.48xlarge", attention_data_parallel=8, expert_parallel=8)
    rack = replica(model="deepseek-r1", system="gb200-nvl72-rack", accelerators=64, attention_data_parallel=64, expert_parallel=64)
    for one, bytes_per_token, rate in ((eight, 2 * 7 / 8 * 14_336, 450e9), (rack, 2 * 8 * 63 / 64 / 64 * 14_336, 900e9)):
        row = one.table[one.table["kind"] == "expert_exchange"][0]
        assert min(row["link_token_s"]) * row["share"] == close(bytes_per_token / (rate * one.parameters["link_efficiency"]))
        assert not (one.table["kind"] == "attention_all_reduce").any()


def test_context_ranks_exchange_queries_in_decode_and_keys_and_values_in_prefill():
    # Llama-3.1-70B on 4 x 2 of eight H100: 16 query heads and 2 KV heads of 128 a rank, bf16. Half of it comes from the other.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", context_parallel=2)
    row, kv = (one.table[one.table["kind"] == kind][0] for kind in ("context_exchange", "attention"))
    assert (one.parallelism.tensor, row["share"], kv["share"]) == (4, 1.0, 0.5)
    assert min(row["link_token_s"]) == close((16 + 16) * 128 * 2 / 2 / (450e9 * one.parameters["link_efficiency"]))
    assert row["prefill_link_token_s"] == close((2 + 2) * 128 * 2 / 2 / (450e9 * one.parameters["link_efficiency"]))


def test_stages_send_activations_on():
    # Llama-3.1-405B, 126 layers of 16,384, on two hosts of eight: one send of 16,384 x 2 bytes, an eighth by each, over 50 GB/s.
    one = replica(model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, pipeline_parallel=2)
    row = one.table[one.table["kind"] == "stage_send"][0]
    assert (one.parallelism.tensor, row["layers"], row["share"]) == (8, 1, 1.0)
    assert min(row["link_latency_s"]) == one.parameters["scale_out_latency"]
    assert min(row["link_token_s"]) == close(16_384 * 2 / 8 / (50e9 * one.parameters["link_efficiency"]))
    assert one.stage_balance == 1.0
    # 61 layers in 4 stages: 16 in the fullest, 15.25 in the mean.
    assert replica(model="deepseek-v3", system="p5en.48xlarge", accelerators=32, pipeline_parallel=4).stage_balance == close(16 / 15.25)


def test_drafts_are_repeated_and_checked_together():
    # Three drafted tokens: the model checks four positions at once, the module of multi-token prediction runs three times for one.
    one = replica(model="deepseek-v3", system="p5en.48xlarge", speculative_tokens=3, acceptance_fraction=0.7)
    table = one.table
    draft = np.char.startswith(table["kind"], "draft_")
    assert set(table["step_tokens"][~draft]) == {4.0}
    assert set(table["repeats"][~draft]) == {1.0}
    assert set(table["step_tokens"][draft]) == {1.0}
    assert set(table["repeats"][draft]) == {3.0}
    # arXiv:2412.19437, 2.2: projection of 2 x 7,168 to 7,168 (fp8), one layer, the model's own LM head.
    assert table[np.char.endswith(table["kind"], "draft_projection")]["weight_bytes"][0] == 2 * 7168**2 / 8
    assert table[table["kind"] == "draft_lm_head"]["weight_bytes"][0] == table[table["kind"] == "lm_head"]["weight_bytes"][0]
    assert table[draft]["layers"].max() == 1


def row(one: Replica, kind: str) -> np.void:
    """The first row of a kind in the engine's table."""
    return one.table[one.table["kind"] == kind][0]


def test_ranks_of_an_accelerator_share_its_links_between_stages():
    # Two stages of eight chips: a chip sends an eighth of 8,192 x 2 bytes at 512 GB/s.
    one = replica(model="llama-3.1-70b", system="trn2.48xlarge", pipeline_parallel=2)
    assert min(row(one, "stage_send")["link_token_s"]) == close(8192 * 2 / 8 / (512e9 * one.parameters["link_efficiency"]))


def test_ranks_of_an_accelerator_share_its_links_among_context_ranks():
    # Sixteen chips in two halves, tp 32 (two query heads and one KV head a rank, four ranks a chip): half of the keys and values over one axis of two.
    one = replica(model="llama-3.1-70b", system="trn2.48xlarge", context_parallel=2)
    assert row(one, "context_exchange")["prefill_link_token_s"] == close(4 * 2 * 128 * 2 / 2 / (512e9 / 2 * one.parameters["link_efficiency"]))


def test_an_accelerator_sends_the_tokens_of_all_its_attention_groups():
    # gpt-oss-120b, hidden 2,880, four experts a token, 64 groups on sixteen chips: 15/16 of a sixteenth of the tokens, four times, there and back;
    # on a 4 x 4 torus the way from one to another is 2 x 4/4 links on average over all sixteen places, so 32/15 over the fifteen others.
    one = replica(model="gpt-oss-120b", system="trn2.48xlarge", attention_data_parallel=64, expert_parallel=64)
    assert min(row(one, "expert_exchange")["link_token_s"]) == close(32 / 15 * 2 * 4 * 15 / 16 / 16 * 2880 * 2 / (512e9 * one.parameters["link_efficiency"]))


@pytest.mark.parametrize(("system", "owned"), [("mi300x-8", 1 / 7), ("tpu-v6e-8", 1 / 2)])
def test_context_ranks_own_the_links_between_them(system: str, owned: float):
    # tp 4 and cp 2 on a mesh; tp 2 (one side of 2 x 4) and cp 4 on a torus.
    cut = 2 if system == "mi300x-8" else 4
    one = replica(model="llama-3.1-70b", system=system, context_parallel=cut)
    kept = 2 * (8 * cut / 8) * 128 * 2
    rate = one.accelerator.need("scale_up_bandwidth").si * one.parameters["link_efficiency"]
    assert row(one, "context_exchange")["prefill_link_token_s"] == close((cut - 1) / cut * kept / (rate * owned))


def test_stages_that_cross_hosts_pay_the_network():
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=16, pipeline_parallel=4)
    rows = one.table[one.table["kind"] == "stage_send"]
    seconds = 8192 * 2 / 4 * (2 / 450e9 + 1 / 50e9) / one.parameters["link_efficiency"]
    assert (rows["layers"] * rows["link_token_s"].min(axis=1)).sum() == close(seconds)
    assert (rows["layers"] * rows["link_latency_s"].min(axis=1)).sum() == close(one.parameters["scale_out_latency"])


def test_stages_inside_one_accelerator_need_no_network():
    one = replica(model="llama-3.1-8b", system="trn2.3xlarge", pipeline_parallel=2)
    assert not one.table["link_token_s"].any()


def test_a_group_that_spans_two_accelerators_talks():
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=3, tensor_parallel=6, attention_data_parallel=2)
    assert (one.table["kind"] == "attention_all_reduce").any()


def test_an_exchange_is_two_collectives():
    # Two hosts: two messages between them at the least.
    one = replica(model="deepseek-r1", system="p5en.48xlarge", accelerators=16, attention_data_parallel=16, expert_parallel=16)
    assert min(row(one, "expert_exchange")["link_latency_s"]) == close(2 * one.parameters["scale_out_latency"])


def test_context_ranks_exchange_whole_queries():
    one = replica(model="deepseek-r1", system="p5en.48xlarge", context_parallel=2)
    assert min(row(one, "context_exchange")["link_token_s"]) == close(128 / 4 * (192 + 128) * 2 / 2 / (450e9 * one.parameters["link_efficiency"]))


def test_every_legal_combination_can_be_held():
    # Latent attention on four hosts, two context ranks, multi-token prediction.
    one = replica(
        model="deepseek-v3", system="p5en.48xlarge", accelerators=32, context_parallel=2, expert_parallel=32, speculative_tokens=1, acceptance_fraction=0.0
    )
    assert one.constants["links"][0] > 0


def test_a_draft_keeps_its_own_dtype():
    # DeepSeek-R1 is published in fp8, Llama-3.1-8B in bf16.
    one = replica(model="deepseek-r1", system="p5en.48xlarge", draft_model="llama-3.1-8b", speculative_tokens=2, acceptance_fraction=0.0)
    assert row(one, "draft_ffn")["weight_bytes"] == 3 * 4096 * 14_336 / 8 * 2


def test_a_draft_that_cannot_be_cut_is_refused():
    with pytest.raises(InputError) as caught:
        replica(model="llama-3.1-405b", system="p5en.48xlarge", accelerators=16, draft_model="qwen3-14b", speculative_tokens=2, acceptance_fraction=0.5)
    assert caught.value.key == "tensor_parallel"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"pipeline_parallel": 3}, "tensor_parallel"),
        ({"tensor_parallel": 4}, "tensor_parallel"),
        ({"tensor_parallel": 1, "pipeline_parallel": 64, "accelerators": 64}, "pipeline_parallel"),
        ({"mode": "static", "pipeline_parallel": 2}, "pipeline_parallel"),
        ({"model": "nemotron-h-56b", "context_parallel": 2}, "context_parallel"),
        ({"speculative_tokens": 2}, "speculative_tokens"),
        ({"expert_parallel": 8}, "expert_parallel"),
        ({"model": "gpt-oss-120b", "expert_parallel": 3}, "expert_parallel"),
        ({"system": "h100-nvl-8", "accelerators": 16}, "accelerators"),
        ({"speculative_tokens": -1}, "speculative_tokens"),
        ({"acceptance_fraction": 1.5}, "acceptance_fraction"),
        ({"mode": "batch"}, "mode"),
        ({"compiled_batch": 0}, "compiled_batch"),
        ({"power_cap_w": -5.0}, "power_cap_w"),
    ],
)
def test_what_cannot_be_combined_is_refused_by_name(changes: dict[str, object], key: str):
    with pytest.raises(InputError) as refused:
        replica(**{"model": "llama-3.1-8b", "system": "p5.48xlarge"} | changes)
    assert refused.value.key == key


def test_table_is_made_afresh_and_equal():
    one = one_accelerator("gpt-oss-20b")
    assert operator_table(one, one.blocks).tobytes() == one.table.tobytes()


def test_a_models_own_prediction_and_the_whole_model_as_a_draft_do_not_share_rows():
    options = {"model": "deepseek-v3", "system": "p6-b200.48xlarge", "speculative_tokens": 2, "acceptance_fraction": 0.7}
    own, whole = replica(**options), replica(**options, draft_model="deepseek-v3")
    layers = [float(one.table["layers"][one.table["kind"] == "draft_overhead"].sum()) for one in (own, whole)]
    assert layers == [1.0, own.model.architecture.layers]
