"""Architectures: hand-worked counts of each part, and every shipped model against its developer's own count."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.catalog.figures import Source, parse, read_toml
from accelmodel.catalog.models import (
    Architecture,
    Compressed,
    Dense,
    Gqa,
    LayerGroup,
    Linear,
    Mamba2,
    Mla,
    Model,
    Moe,
    NextN,
    SparseIndex,
)
from accelmodel.errors import InputError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "scenarios" / "models").glob("*.toml"))


def shipped(path: Path) -> Model:
    return parse(Model, read_toml(path), path)


MODELS = {path.stem: shipped(path) for path in FILES}


# --- parts, worked by hand ----------------------------------------------------------------------------------------------------------------


def test_gqa_of_llama_3_1_8b() -> None:
    part = Gqa(heads=32, kv_heads=8, head_dim=128)
    # queries and outputs 4096 x 32 x 128 = 16 777 216 each; keys and values 4096 x 8 x 128 = 4 194 304 each
    assert part.parameters(4096) == 2 * 16_777_216 + 2 * 4_194_304
    assert part.v_head_dim == 128


def test_gqa_with_output_gate_of_qwen3_5_27b() -> None:
    part = Gqa(heads=24, kv_heads=4, head_dim=256, output_gate=True)
    # queries, gate and outputs 5120 x 24 x 256 = 31 457 280 each; keys and values 5120 x 4 x 256 = 5 242 880 each
    assert part.parameters(5120) == 3 * 31_457_280 + 2 * 5_242_880


def test_gqa_with_a_block_index_of_minimax_m3() -> None:
    index = SparseIndex(index_heads=4, index_head_dim=128, index_topk=2048, block_tokens=128, scaled=False)
    plain = Gqa(heads=64, kv_heads=4, head_dim=128)
    # queries 6144 x 4 x 128 = 3 145 728, one key head 6144 x 128 = 786 432, no head scales
    assert plain.model_copy(update={"sparse": index}).parameters(6144) - plain.parameters(6144) == 3_145_728 + 786_432


DEEPSEEK_MLA = {"heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}


def test_mla_of_deepseek_v3() -> None:
    # 7168 x 1536, 1536 x 128 x 192, 7168 x (512 + 64), 512 x 128 x (128 + 128), 128 x 128 x 7168
    assert Mla(**DEEPSEEK_MLA).parameters(7168) == 11_010_048 + 37_748_736 + 4_128_768 + 16_777_216 + 117_440_512


def test_mla_without_query_compression() -> None:
    part = Mla(heads=16, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
    # DeepSeek-V2-Lite: 2048 x 16 x 192, 2048 x 576, 512 x 16 x 256, 16 x 128 x 2048
    assert part.parameters(2048) == 6_291_456 + 1_179_648 + 2_097_152 + 4_194_304


def test_index_of_deepseek_v3_2_and_a_shared_one() -> None:
    index = SparseIndex(index_heads=64, index_head_dim=128, index_topk=2048)
    # queries 1536 x 64 x 128 from the compressed query, key 7168 x 128, head scales 7168 x 64
    assert index.parameters(7168, 1536) == 12_582_912 + 917_504 + 458_752
    assert index.model_copy(update={"owned": False}).parameters(7168, 1536) == 0


def test_compressed_attention_of_deepseek_v4_flash() -> None:
    sizes = {"heads": 64, "head_dim": 512, "q_lora_rank": 1024, "o_groups": 8, "o_lora_rank": 1024, "window_tokens": 128}
    # queries 4096 x 1024 and 1024 x 64 x 512, key-value 4096 x 512, outputs 1024 x 64 x 512 and 8 x 1024 x 4096
    window = 4_194_304 + 33_554_432 + 2_097_152 + 33_554_432 + 33_554_432
    assert Compressed(**sizes).parameters(4096) == window
    # the compressor mixes 512 values with 512 weights
    assert Compressed(**sizes, compression=128).parameters(4096) == window + 2 * 4096 * 512
    # overlapping: twice that; index: queries 1024 x 64 x 128, scales 4096 x 64, its own overlapping compressor 4 x 4096 x 128
    index = SparseIndex(index_heads=64, index_head_dim=128, index_topk=512)
    sparse = Compressed(**sizes, compression=4, overlap=True, sparse=index)
    assert sparse.parameters(4096) == window + 4 * 4096 * 512 + 8_388_608 + 262_144 + 2_097_152


def test_gated_delta_net_of_qwen3_5_27b() -> None:
    part = Linear(key_heads=16, key_head_dim=128, value_heads=48, value_head_dim=128, conv_kernel=4)
    # queries, keys, values 5120 x (2048 + 2048 + 6144), convolution 4 x 10240, decay and strength 2 x 5120 x 48, gate, output 5120 x 6144
    assert part.parameters(5120) == 52_428_800 + 40_960 + 491_520 + 2 * 31_457_280
    assert part.state_elements == 48 * 128 * 128
    assert part.conv_channels == 10_240


def test_kimi_delta_attention_of_kimi_k3() -> None:
    part = Linear(key_heads=96, key_head_dim=128, value_heads=96, value_head_dim=128, conv_kernel=4, decay_rank=128)
    # q, k, v, gate, output 7168 x 12288 each; convolution 4 x 36864; decay 7168 x 128 and 128 x 12288; strength 7168 x 96
    assert part.parameters(7168) == 5 * 88_080_384 + 147_456 + 917_504 + 1_572_864 + 688_128
    # a low-rank gate (Kimi Linear) is 7168 x 128 and 128 x 12288 instead of 7168 x 12288
    low_rank = part.model_copy(update={"gate_rank": 128})
    assert part.parameters(7168) - low_rank.parameters(7168) == 88_080_384 - 917_504 - 1_572_864


def test_mamba2_of_nemotron_h_56b() -> None:
    part = Mamba2(heads=256, head_dim=64, groups=8, state_size=256, conv_kernel=4)
    # input 8192 x (16384 gate + 20480 convolved + 256 steps), convolution 4 x 20480, output 16384 x 8192
    assert part.parameters(8192) == 8192 * (16_384 + 20_480 + 256) + 81_920 + 134_217_728
    assert part.state_elements == 4_194_304
    assert part.conv_channels == 20_480


def test_dense_of_three_and_of_two_matrices() -> None:
    assert Dense(intermediate_size=14_336).parameters(4096) == 3 * 58_720_256
    assert Dense(intermediate_size=32_768, gated=False).active_parameters(8192) == 2 * 268_435_456


def test_moe_of_deepseek_v3() -> None:
    part = Moe(experts=256, experts_per_token=8, expert_intermediate_size=2048, shared_intermediate_size=2048)
    # an expert 3 x 7168 x 2048 = 44 040 192, router 7168 x 256 = 1 835 008
    assert part.parameters(7168) == 257 * 44_040_192 + 1_835_008
    assert part.active_parameters(7168) == 9 * 44_040_192 + 1_835_008


def test_moe_on_a_latent_of_kimi_k3() -> None:
    part = Moe(experts=896, experts_per_token=16, expert_intermediate_size=3072, shared_intermediate_size=6144, latent_size=3584)
    # an expert 3 x 3584 x 3072, shared 3 x 7168 x 6144, to and from the latent 7168 x 3584 each, router 7168 x 896
    fixed = 132_120_576 + 2 * 25_690_112 + 6_422_528
    assert part.parameters(7168) == 896 * 33_030_144 + fixed
    assert part.active_parameters(7168) == 16 * 33_030_144 + fixed


def test_draft_module_of_deepseek_v3() -> None:
    moe = Moe(experts=256, experts_per_token=8, expert_intermediate_size=2048, shared_intermediate_size=2048)
    # projection 2 x 7168 x 7168, attention 187 105 280, MoE 11 320 164 352
    assert NextN(modules=1, attention=Mla(**DEEPSEEK_MLA), ffn=moe).parameters(7168) == 102_760_448 + 187_105_280 + 11_320_164_352


# --- whole models -------------------------------------------------------------------------------------------------------------------------

# Sum of the tensors' elements in the published checkpoints (Hugging Face, safetensors); vectors, which are left out here, included.
CHECKPOINTS = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-8b": 8_190_735_360,
    "deepseek-v3": 671_026_419_200,
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_count_is_that_of_the_checkpoint_but_for_vectors(name: str) -> None:
    architecture = MODELS[name].architecture
    assert architecture.parameters == pytest.approx(CHECKPOINTS[name], rel=2e-4)


def test_llama_3_1_8b_lacks_just_its_norms() -> None:
    # 32 layers x 2 norms and a last one, of 4096 each
    assert CHECKPOINTS["llama-3.1-8b"] - MODELS["llama-3.1-8b"].architecture.parameters == 65 * 4096


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_count_is_the_published_one(model: Model) -> None:
    published = model.parameters
    assert published is not None
    counted = model.architecture.parameters + (model.other_parameters.si if model.other_parameters else 0.0)
    rounded_from = not model.is_estimate and published.low is not None and published.si_low <= counted <= published.si_high
    assert rounded_from or counted == pytest.approx(published.si, rel=0.01)


@pytest.mark.parametrize("model", [model for model in MODELS.values() if model.active_parameters], ids=lambda model: model.name)
def test_active_count_is_the_published_one(model: Model) -> None:
    """Cards count neither, one or both of embedding and LM head, and round to whole billions: 3 %."""
    assert model.active_parameters is not None
    architecture = model.architecture
    least = architecture.active_parameters - architecture.embedding_parameters
    most = architecture.active_parameters + (0 if architecture.tied_embeddings else architecture.embedding_parameters)
    assert 0.97 * least <= model.active_parameters.si <= 1.03 * most


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_named_after_its_model_and_sourced(path: Path) -> None:
    model = MODELS[path.stem]
    assert model.name == path.stem
    folder = ROOT / "hardware_profiles"
    sources = {key: value for file in folder.glob("sources*.toml") for key, value in read_toml(file).items()}
    counts = (model.parameters, model.active_parameters, model.other_parameters)
    used = {figure.source for figure in counts if figure} | {model.config_source}
    for key in used - {None}:
        assert parse(Source, sources[key], key)
    assert model.is_estimate or None not in used


def test_no_two_models_share_a_name() -> None:
    names = [name.casefold().replace("_", "-") for model in MODELS.values() for name in (model.name, *model.aliases)]
    assert len(names) == len(set(names))


def test_estimate_says_so_and_lies_in_its_ranges() -> None:
    model = MODELS["claude-class-moe"]
    assert model.is_estimate
    assert [name for name, other in MODELS.items() if other.is_estimate] == ["claude-class-moe"]
    architecture, (dense, sparse) = model.architecture, model.architecture.groups
    assert isinstance(dense.attention, Gqa)
    assert isinstance(sparse.ffn, Moe)
    point = architecture.model_dump() | dense.attention.model_dump() | sparse.ffn.model_dump() | {"layers": architecture.layers}
    for key, figure in model.estimates.items():
        assert figure.si == point[key], key
        assert figure.si_low < figure.si_high
    for figure, count in ((model.parameters, architecture.parameters), (model.active_parameters, architecture.active_parameters)):
        assert figure is not None
        assert figure.kind == "estimated"
        assert count == pytest.approx(figure.si, rel=0.01)


def test_published_figure_among_the_estimates_is_refused() -> None:
    data = read_toml(ROOT / "scenarios" / "models" / "claude-class-moe.toml")
    data["estimates"]["layers"] = {"value": 64, "unit": "1", "kind": "published", "source": "somewhere"}
    with pytest.raises(InputError, match="not estimated: layers"):
        parse(Model, data, "own.toml")


def test_kinds_are_counted_by_layer() -> None:
    assert MODELS["nemotron-h-56b"].architecture.kind_counts == {"mamba2": 54, "dense": 54, "gqa": 10}
    assert MODELS["deepseek-v3"].architecture.kind_counts == {"mla": 61, "dense": 3, "moe": 58}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"attention": {"kind": "gqa", "heads": 10, "kv_heads": 4, "head_dim": 64}}, "10 heads do not divide"),
        ({"attention": {"kind": "gqa", "heads": 8, "kv_heads": 0, "head_dim": 64}}, "kv_heads"),
        ({"attention": {"kind": "retention", "heads": 8}}, "retention"),
        ({"ffn": {"kind": "moe", "experts": 4, "experts_per_token": 5, "expert_intermediate_size": 64}}, "more than the 4 experts"),
        ({"ffn": {"kind": "dense", "intermediate_size": 64, "gatd": True}}, "gatd"),
    ],
)
def test_bad_part_is_refused(part: dict[str, object], message: str) -> None:
    architecture = {"hidden_size": 64, "vocab_size": 10, "max_context_tokens": 8, "groups": [{"count": 1, **part}]}
    data = {"name": "own", "title": "Own", "architecture": architecture}
    with pytest.raises(InputError, match=message):
        parse(Model, data, "own.toml")


# --- properties ---------------------------------------------------------------------------------------------------------------------------

sizes = st.integers(1, 512)


@given(hidden=sizes, experts=sizes, width=sizes, gated=st.booleans())
def test_moe_that_uses_every_expert_is_all_active(hidden: int, experts: int, width: int, gated: bool) -> None:
    part = Moe(experts=experts, experts_per_token=experts, expert_intermediate_size=width, gated=gated)
    assert part.active_parameters(hidden) == part.parameters(hidden)
    dense = Dense(intermediate_size=width, gated=gated)
    assert part.parameters(hidden) == experts * dense.parameters(hidden) + hidden * experts


@given(hidden=sizes, kv_heads=sizes, head_dim=sizes, groups=st.integers(1, 8))
def test_fewer_kv_heads_never_add_parameters(hidden: int, kv_heads: int, head_dim: int, groups: int) -> None:
    grouped = Gqa(heads=kv_heads * groups, kv_heads=kv_heads, head_dim=head_dim)
    full = Gqa(heads=kv_heads * groups, kv_heads=kv_heads * groups, head_dim=head_dim)
    saved = 2 * hidden * head_dim * kv_heads * (groups - 1)
    assert full.parameters(hidden) - grouped.parameters(hidden) == saved


@given(hidden=sizes, vocab=sizes, counts=st.lists(st.integers(1, 20), min_size=1, max_size=5), tied=st.booleans())
def test_parameters_add_up_over_groups(hidden: int, vocab: int, counts: list[int], tied: bool) -> None:
    def built(*numbers: int) -> Architecture:
        groups = tuple(LayerGroup(count=number, ffn=Dense(intermediate_size=7)) for number in numbers)
        return Architecture(hidden_size=hidden, vocab_size=vocab, max_context_tokens=8, tied_embeddings=tied, groups=groups)

    split, whole = built(*counts), built(sum(counts))
    assert (split.parameters, split.active_parameters, split.layers) == (whole.parameters, whole.active_parameters, sum(counts))
    assert split.parameters - split.active_parameters == (0 if tied else hidden * vocab)
