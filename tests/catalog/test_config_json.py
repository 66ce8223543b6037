"""The config.json reader: real configs against the shipped catalogue, defaults, and everything it refuses."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.catalog.config_json import READERS, model_from_config, read_config
from accelmodel.catalog.figures import parse, read_toml
from accelmodel.catalog.models import Dense, Gqa, Mla, Model, Moe
from accelmodel.errors import InputError

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "../shared/facts"
CONFIGS = sorted((FACTS / "model_configs").glob("*.json"))
beside = pytest.mark.skipif(not FACTS.is_dir(), reason="the facts folder lies beside the checkout only in development")


def folded(name: str) -> str:
    return name.casefold().replace("_", "-")


MODELS = [parse(Model, read_toml(path), path) for path in sorted((ROOT / "scenarios" / "models").glob("*.toml"))]
BY_NAME = {folded(name): model for model in MODELS for name in (model.name, *model.aliases)}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}
QWEN_MOE: dict[str, Any] = LLAMA | {
    "model_type": "qwen3_moe",
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [3],
}
DEEPSEEK: dict[str, Any] = LLAMA | {
    "model_type": "deepseek_v3",
    "kv_lora_rank": 32,
    "q_lora_rank": None,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
NEMOTRON_H: dict[str, Any] = LLAMA | {
    "model_type": "nemotron_h",
    "head_dim": 8,
    "hybrid_override_pattern": "M-M*",
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "n_groups": 2,
    "ssm_state_size": 8,
    "conv_kernel": 4,
}


# --- real configs -------------------------------------------------------------------------------------------------------------------------


@beside
def test_every_config_is_there() -> None:
    assert len(CONFIGS) == 38


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_gives_the_architecture_of_the_catalogue(path: Path) -> None:
    assert read_config(path) == BY_NAME[folded(path.stem.replace("--", "/", 1))].architecture


# Measured once or twice, or not decoder-only language models of a type that is read.
UNRESOLVED = """
Apertus-8B-Instruct-2509 Chandra-OCR(Qwen3-VL-8B-class) ERNIE-4.5-0.3B-PT MiniCPM4-8B Mistral-Small-3.1-24B-Instruct-2503 OLMo-3-7B-Think
Phi-3-mini-4k-instruct Phi-3.5-MoE-instruct Qwen2-7B-Instruct Qwen2.5-Omni-7B Qwen2.5-VL-32B-Instruct Qwen3-0.6B Qwen3-VL-8B-Thinking
Qwen3.5-2B Qwen3.5-4B Seed-OSS-36B-Instruct SmolLM3-3B Trinity-Large-250B-A15B Trinity-Nano-6B-A1B biogpt gemma-3-1b-it google/flan-t5-xl
gpt2 granite-3.1-8b-instruct helium-1-2b hunyuan-7b-instruct idefics-9b-instruct orion-14b-chat persimmon-8b-base phi-1_5 pythia-2.8b
recurrentgemma-2b-it starcoder2-3b t5-3b vaultgemma-1b xglm-564M
""".split()  # noqa: SIM905


@beside
def test_measured_models_resolve() -> None:
    measured = pytest.importorskip("pandas").read_parquet(FACTS / "measured_calibration.parquet", columns=["model"])["model"]
    unresolved = {name for name in measured.unique() if folded(name) not in BY_NAME}
    assert unresolved == {*UNRESOLVED, "Gemma-3-VLM (size not in file)"}
    assert measured.isin(unresolved).mean() < 0.01


# --- reading ------------------------------------------------------------------------------------------------------------------------------


def test_llama_reads_as_written() -> None:
    architecture = read_config(LLAMA)
    (group,) = architecture.groups
    assert group.count == 4
    assert group.attention == Gqa(heads=8, kv_heads=2, head_dim=8)
    assert group.ffn == Dense(intermediate_size=128)
    assert (architecture.hidden_size, architecture.vocab_size, architecture.max_context_tokens) == (64, 1000, 2048)
    assert (architecture.tied_embeddings, architecture.native_dtype, architecture.nextn) == (False, "bf16", None)


def test_absent_kv_heads_mean_multi_head_attention() -> None:
    (group,) = read_config(LLAMA | {"num_key_value_heads": None}).groups
    assert group.attention == Gqa(heads=8, kv_heads=8, head_dim=8)


def test_sparse_step_and_named_layers_stay_dense() -> None:
    # of layers 0..3 the step makes 1 and 3 MoE, and mlp_only_layers takes 3 back
    dense, moe = read_config(QWEN_MOE).groups
    assert (dense.count, moe.count) == (3, 1)
    assert moe.ffn == Moe(experts=16, experts_per_token=2, expert_intermediate_size=32)


def test_window_begins_at_max_window_layers() -> None:
    config = LLAMA | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 512, "max_window_layers": 1}
    full, windowed = read_config(config).groups
    assert (full.count, windowed.count) == (1, 3)
    assert isinstance(windowed.attention, Gqa)
    assert windowed.attention.window_tokens == 512
    assert len(read_config(config | {"use_sliding_window": False}).groups) == 1


def test_gemma_fills_in_its_family_defaults_and_alternates() -> None:
    text = {key: value for key, value in LLAMA.items() if key not in ("vocab_size", "max_position_embeddings")}
    text |= {"model_type": "gemma3_text", "num_hidden_layers": 7, "head_dim": 16, "sliding_window": 32}
    config = {"model_type": "gemma3", "text_config": text}
    architecture = read_config(config)
    sliding, full = architecture.groups
    assert (sliding.count, full.count) == (6, 1)  # every sixth layer is full
    assert (architecture.vocab_size, architecture.max_context_tokens, architecture.tied_embeddings) == (262_208, 131_072, True)


def test_deepseek_shape_without_query_compression() -> None:
    dense, moe = read_config(DEEPSEEK).groups
    assert (dense.count, moe.count) == (1, 3)
    assert moe.attention == Mla(heads=8, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16)
    assert moe.ffn == Moe(experts=8, experts_per_token=2, expert_intermediate_size=32, shared_intermediate_size=64)


def test_sliding_layers_may_have_heads_of_their_own() -> None:
    config = LLAMA | {
        "model_type": "step3p5",
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "sliding_window": 16,
        "attention_other_setting": {"num_attention_heads": 12},
        "head_dim": 8,
        "first_k_dense_replace": 4,
        "num_experts": 4,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 8,
        "share_expert_dim": 8,
    }
    full, sliding = read_config(config).groups
    assert full.attention == Gqa(heads=8, kv_heads=2, head_dim=8)
    assert sliding.attention == Gqa(heads=12, kv_heads=2, head_dim=8, window_tokens=16)


@pytest.mark.parametrize(
    ("config", "quantization", "native", "expert"),
    [
        (LLAMA, {"quant_method": "fp8"}, "fp8", None),
        (DEEPSEEK, {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.self_attn"]}, "bf16", "fp8"),
        (DEEPSEEK, {"quant_method": "mxfp4"}, "bf16", "mxfp4"),
        (LLAMA, {"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", None),
        (LLAMA, {"quant_method": "awq", "bits": 4}, "int4", None),
        (LLAMA, {"quant_method": "gptq", "bits": 8}, "int8", None),
        (
            LLAMA,
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}},
            "fp8",
            None,
        ),
        (
            DEEPSEEK,
            {
                "quant_method": "compressed-tensors",
                "ignore": ["re:.*self_attn.*"],
                "config_groups": {"group_0": {"format": "nvfp4-pack-quantized", "weights": {"num_bits": 4, "type": "float"}}},
            },
            "bf16",
            "nvfp4",
        ),
    ],
)
def test_stored_dtypes(config: dict[str, Any], quantization: dict[str, Any], native: str, expert: str | None) -> None:
    architecture = read_config(config | {"quantization_config": quantization})
    assert (architecture.native_dtype, architecture.expert_dtype) == (native, expert)


def test_outer_level_speaks_for_the_language_model() -> None:
    inner = LLAMA | {"model_type": "llama4_text", "intermediate_size_mlp": 256, "attention_chunk_size": 128, "interleave_moe_layer_step": 1}
    inner |= {"num_local_experts": 4, "num_experts_per_tok": 1}
    architecture = read_config({"model_type": "llama4", "text_config": inner, "tie_word_embeddings": True, "torch_dtype": "float16"})
    assert (architecture.tied_embeddings, architecture.native_dtype) == (True, "fp16")
    chunked, full = architecture.groups
    assert (chunked.count, full.count) == (3, 1)  # every fourth layer sees the whole context


# --- refusals -----------------------------------------------------------------------------------------------------------------------------


def without(config: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        (without(LLAMA, "model_type"), "model_type", "is missing"),
        (LLAMA | {"model_type": "rwkv7"}, "model_type", "'rwkv7' is not an architecture that can be read"),
        (LLAMA | {"model_type": ["llama"]}, "model_type", "not an architecture"),
        (without(LLAMA, "hidden_size"), "hidden_size", "is missing, and the architecture needs it"),
        (without(LLAMA, "vocab_size"), "vocab_size", "is missing, and the architecture needs it"),
        (without(LLAMA, "num_hidden_layers"), "num_hidden_layers", "is missing"),
        (without(DEEPSEEK, "kv_lora_rank"), "kv_lora_rank", "is missing"),
        (without(DEEPSEEK, "n_routed_experts"), "n_routed_experts", "is missing"),
        (LLAMA | {"hidden_size": 64.5}, "hidden_size", "not a whole number"),
        (LLAMA | {"hidden_size": -64}, "hidden_size", "not a whole number"),
        (LLAMA | {"hidden_size": True}, "hidden_size", "not a whole number"),
        (LLAMA | {"vocab_size": 0}, "vocab_size", "greater than or equal to 1"),
        (LLAMA | {"num_hidden_layers": 10**9}, "num_hidden_layers", "not a plausible number of layers"),
        (LLAMA | {"num_attention_heads": 7}, "num_attention_heads", "does not divide the hidden size 64"),
        (LLAMA | {"num_key_value_heads": 3}, None, "8 heads do not divide into groups of 3"),
        (LLAMA | {"tie_word_embeddings": "yes"}, "tie_word_embeddings", "neither true nor false"),
        (LLAMA | {"torch_dtype": "float9"}, "dtype", "'float9' is not understood"),
        (LLAMA | {"num_experts": 8}, "num_experts", "does not understand"),
        (LLAMA | {"attention_sink_window": 4}, "attention_sink_window", "does not understand"),
        (LLAMA | {"model_type": "qwen3", "layer_types": ["full_attention"] * 3}, "layer_types", "3 entries for 4 layers"),
        (LLAMA | {"model_type": "qwen3", "layer_types": ["retention"] * 4}, "layer_types", "'retention' is not understood"),
        (LLAMA | {"model_type": "qwen3", "layer_types": "full_attention"}, "layer_types", "is not a list"),
        (QWEN_MOE | {"num_experts_per_tok": 17}, None, "more than the 16 experts"),
        (DEEPSEEK | {"moe_layer_freq": [0, 1]}, "moe_layer_freq", "2 entries for 4 layers"),
        (NEMOTRON_H | {"hybrid_override_pattern": "M-M"}, "num_hidden_layers", "is not the 3 of the layer pattern"),
        (NEMOTRON_H | {"hybrid_override_pattern": "M-MX"}, "hybrid_override_pattern", "'X' is not understood"),
        (without(NEMOTRON_H, "hybrid_override_pattern"), "hybrid_override_pattern", "is missing"),
        (LLAMA | {"quantization_config": {"quant_method": "quip"}}, "quantization_config.quant_method", "'quip' is not understood"),
        (LLAMA | {"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config.quant_method", "dense model"),
        (LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 3}}, "quantization_config.bits", "'3' is not understood"),
        (DEEPSEEK | {"mlp_layer_types": ["sparse"] * 4}, "mlp_layer_types", "does not agree"),
        ({"model_type": "llama4", "text_config": 5}, "text_config", "is not an object"),
        ({"model_type": "llama4", "text_config": LLAMA | {"model_type": "rwkv7"}}, "text_config.model_type", "'rwkv7'"),
    ],
)
def test_refused_by_name(config: dict[str, Any], key: str | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_config(config, "config.json")
    assert message in str(caught.value)
    assert caught.value.file == "config.json"
    if key is not None:
        assert caught.value.key == key


def test_unknown_type_lists_what_can_be_read() -> None:
    with pytest.raises(InputError) as caught:
        read_config({"model_type": "lama"})
    assert caught.value.nearest == "llama"
    assert set(caught.value.allowed or ()) == set(READERS)


def test_shared_indexers_must_be_named() -> None:
    config = DEEPSEEK | {"model_type": "glm_moe_dsa", "index_n_heads": 2, "index_head_dim": 8, "index_topk": 16, "index_topk_freq": 4}
    with pytest.raises(InputError, match="indexer_types"):
        read_config(config)


def test_searched_block_with_an_unknown_feature() -> None:
    block = {"attention": {"no_op": True}, "ffn": {"no_op": False, "ffn_mult": 1.0, "sparsify": None}}
    config = LLAMA | {"model_type": "nemotron-nas", "num_hidden_layers": 1, "block_configs": [block]}
    (group,) = read_config(config).groups
    assert group.attention is None
    assert group.ffn == Dense(intermediate_size=256)  # two thirds of 2 x 64 is 85, up to a multiple of 256
    block["ffn"]["sparsify"] = "2:4"
    with pytest.raises(InputError, match=r"block_configs\.0\.ffn\.sparsify"):
        read_config(config)


nonsense = st.one_of(st.floats(), st.lists(st.integers()), st.integers(max_value=-1), st.dictionaries(st.text(), st.none()))


@given(st.sampled_from(sorted(LLAMA)), nonsense)
def test_nonsense_is_refused_with_its_key(key: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        read_config(LLAMA | {key: value}, "config.json")
    assert caught.value.key == key


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_wrong_value_is_refused_or_does_not_matter(path: Path) -> None:
    config = json.loads(path.read_text())
    for level in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key, right in list(level.items()):
            for level[key] in (0, -1, 1.5, "x", ["x"], [[1]], {"a": 1}, None):
                with contextlib.suppress(InputError):
                    assert read_config(config).layers > 0
            level[key] = right


@given(st.permutations(["full_attention", "sliding_attention", "sliding_attention", "full_attention"]))
def test_order_of_layers_does_not_matter_to_the_count(layer_types: list[str]) -> None:
    config = LLAMA | {"model_type": "qwen3", "use_sliding_window": True, "sliding_window": 16, "layer_types": layer_types}
    architecture = read_config(config)
    assert sorted(group.count for group in architecture.groups) == [2, 2]
    assert architecture.parameters == read_config(LLAMA).parameters


# --- files --------------------------------------------------------------------------------------------------------------------------------


def test_model_is_named_after_its_file_or_folder(tmp_path: Path) -> None:
    by_file = tmp_path / "some-org--My_Model-7B.json"
    by_file.write_text(json.dumps(LLAMA))
    model = model_from_config(by_file)
    assert (model.name, model.title, model.parameters, model.is_estimate) == ("my-model-7b", "My_Model-7B", None, False)
    folder = tmp_path / "Tiny-1.5B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert model_from_config(str(folder / "config.json")).name == "tiny-1.5b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"model_type": "llama", "model_type": "qwen3"}', "model_type: is given twice"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_unreadable_file(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message) as caught:
        model_from_config(path)
    assert caught.value.file == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_config(tmp_path / "config.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path)
