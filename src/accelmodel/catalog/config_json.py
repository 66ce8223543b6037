"""Read a Hugging Face `config.json`, unchanged, into an architecture.

One reader per `model_type`, after that type's own modelling code. What a reader does not know is refused by name, never guessed: an
unknown type, an unknown layer type, and any key left unread whose name speaks of structure (heads, experts, windows, ranks ...).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from accelmodel.catalog.figures import input_error
from accelmodel.catalog.models import (
    Architecture,
    Attention,
    Compressed,
    Dense,
    Dtype,
    Ffn,
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

_Layer = tuple[Attention | None, Ffn | None]

# A key whose name matches speaks of structure: left unread, it may change the architecture.
_STRUCTURAL = re.compile(
    r"attn|attention|block|chunk|compress|conv|cross|dim|expert|ffn|freq|group|head|hidden|index|kernel|latent|layer|linear|lora|mamba|mlp|moe|mtp|nextn|"
    r"qk|rank|shared|size|sparse|ssm|window|kv"
)
# Keys that match and change neither sizes nor counts: vectors, activations, normalisation, training, generation.
_INERT = frozenset(
    {
        "attention_bias",
        "attention_dropout",
        "attn_logit_softcapping",
        "attn_scale",
        "attn_temperature_tuning",
        "chunk_size_feed_forward",
        "ep_size",
        "floor_scale",
        "hidden_act",
        "hidden_activation",
        "hidden_dropout",
        "hidden_dropout_prob",
        "indexer_rope_interleave",
        "layer_norm_eps",
        "layer_norm_epsilon",
        "mamba_hidden_act",
        "mamba_proj_bias",
        "mamba_ssm_cache_dtype",
        "mamba_ssm_dtype",
        "max_window_layers",
        "mlp_bias",
        "mlp_hidden_act",
        "moe_renormalize",
        "moe_router_activation_func",
        "moe_router_dtype",
        "moe_router_scaling_factor",
        "moe_shared_expert_overlap",
        "n_group",
        "num_beam_groups",
        "num_expert_group",
        "partial_rotary_factor",
        "qk_layernorm",
        "qk_norm_type",
        "qkv_bias",
        "query_pre_attn_scalar",
        "rescale_prenorm_residual",
        "residual_in_fp32",
        "rotary_dim",
        "time_step_rank",
        "topk_group",
        "use_grouped_topk",
        "use_mamba_kernels",
        "use_moe_router_bias",
        "use_qk_norm",
    }
)


class _Config:
    """A config's dict that remembers which keys were read; `None` counts as absent."""

    def __init__(self, data: Mapping[str, Any], file: object, within: str = "") -> None:
        self.data = data
        self.file = file
        self.within = within
        self.read: set[str] = set()

    def fault(self, message: str, key: str, value: object = None, allowed: Any = None) -> InputError:
        """An InputError that points at a key of this config."""
        return InputError(message, file=self.file, key=self.within + key, value=value, allowed=allowed)

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value, or the default where it is absent."""
        self.read.add(key)
        value = self.data.get(key)
        return default if value is None else value

    def has(self, *keys: str) -> bool:
        """Whether any of the keys has a value."""
        return any(self.data.get(key) is not None for key in keys)

    def whole(self, key: str, default: int | None = None, at_least: int = 0) -> int:
        """A whole number; InputError where it is absent and has no default."""
        value = self.get(key, default)
        if value is None:
            raise self.fault("is missing, and the architecture needs it", key)
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise self.fault(f"is not a whole number of at least {at_least} (got {value!r})", key, value)
        return value

    def first(self, *keys: str) -> int:
        """The whole number of the first key that is present; the first key is the one named where all are absent."""
        return self.whole(next((key for key in keys if self.has(key)), keys[0]))

    def optional(self, key: str) -> int | None:
        """A whole number, or None where it is absent or 0."""
        return self.whole(key, 0) or None

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(f"is neither true nor false (got {value!r})", key, value)
        return value

    def items(self, key: str, length: int | None = None) -> list[Any]:
        """A list, of the given length if one is given; InputError where it is absent."""
        value = self.get(key)
        if value is None:
            raise self.fault("is missing, and the architecture needs it", key)
        if not isinstance(value, list):
            raise self.fault(f"is not a list (got {type(value).__name__})", key)
        if length is not None and len(value) < length:
            raise self.fault(f"has {len(value)} entries for {length} layers", key)
        return value[:length]

    def whole_items(self, key: str) -> list[int]:
        """A list of whole numbers, empty where it is absent."""
        values = self.items(key) if self.has(key) else []
        self.read.add(key)
        if not all(isinstance(value, int) for value in values):
            raise self.fault("is not a list of whole numbers", key)
        return values

    def word(self, key: str, default: str) -> str:
        """A string."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.fault(f"is not a string (got {value!r})", key, value)
        return value

    def inner(self, key: str, where: Mapping[str, Any] | None = None) -> _Config:
        """A nested config; InputError where it is absent or not an object."""
        value = self.get(key) if where is None else where
        if not isinstance(value, Mapping):
            raise self.fault("is missing, and the architecture needs it" if value is None else "is not an object", key)
        return _Config(value, self.file, f"{self.within}{key}.")

    def one_of(self, key: str, value: object, meanings: Mapping[str, Any]) -> Any:
        """What a word means; InputError with the words that are understood."""
        if not isinstance(value, str) or value not in meanings:
            raise self.fault(f"'{value}' is not understood", key, value, meanings)
        return meanings[value]

    def skip(self, *keys: str) -> None:
        """Mark keys as known to change neither sizes nor counts for this type."""
        self.read.update(keys)

    def refuse_unread(self, every_key: bool = False) -> None:
        """InputError for the first unread key that says something and speaks of structure (or for any, with `every_key`)."""
        for key, value in self.data.items():
            known = key in self.read or key in _INERT or value in (None, False, 0, "", [], {})
            if not known and (every_key or _STRUCTURAL.search(key)):
                raise self.fault("speaks of structure that the reader of this model_type does not understand", key, value)


# --- parts that several types share -------------------------------------------------------------------------------------------------------


def _layers(c: _Config) -> int:
    layers = c.whole("num_hidden_layers")
    if not 1 <= layers <= 10_000:
        raise c.fault(f"is not a plausible number of layers (got {layers})", "num_hidden_layers", layers)
    return layers


def _head_dim(c: _Config) -> int:
    """`head_dim`, or the hidden size divided among the heads, as every type without the key has it."""
    if c.has("head_dim"):
        return c.whole("head_dim")
    heads = c.whole("num_attention_heads", at_least=1)
    if c.whole("hidden_size") % heads:
        raise c.fault(f"does not divide the hidden size {c.whole('hidden_size')}", "num_attention_heads", heads)
    return c.whole("hidden_size") // heads


def _gqa(
    c: _Config,
    window: int | None = None,
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    output_gate: bool = False,
) -> Gqa:
    """Grouped-query attention in the words that nearly all configs use; what a caller gives is not looked up."""
    return Gqa(
        heads=c.whole("num_attention_heads") if heads is None else heads,
        kv_heads=c.whole("num_key_value_heads") if kv_heads is None else kv_heads,
        head_dim=_head_dim(c) if head_dim is None else head_dim,
        window_tokens=window,
        output_gate=output_gate,
    )


def _dense(c: _Config, key: str = "intermediate_size", gated: bool = True) -> Dense:
    return Dense(intermediate_size=c.whole(key), gated=gated)


def _mla(c: _Config, **more: Any) -> Mla:
    c.skip("num_key_value_heads", "head_dim", "qk_head_dim")  # all follow from the ranks and dimensions below
    return Mla(
        heads=c.whole("num_attention_heads"),
        q_lora_rank=c.optional("q_lora_rank"),
        kv_lora_rank=c.whole("kv_lora_rank"),
        qk_nope_head_dim=c.whole("qk_nope_head_dim"),
        qk_rope_head_dim=c.whole("qk_rope_head_dim"),
        v_head_dim=c.whole("v_head_dim"),
        **more,
    )


def _index(c: _Config, **more: Any) -> SparseIndex:
    heads, head_dim, topk = (c.whole(key) for key in ("index_n_heads", "index_head_dim", "index_topk"))
    return SparseIndex(index_heads=heads, index_head_dim=head_dim, index_topk=topk, **more)


def _plain_moe(c: _Config, **more: Any) -> Moe:
    """An MoE in the words of Mixtral's config: every FFN is an expert, so `intermediate_size` is an expert's."""
    return Moe(
        experts=c.whole("num_local_experts"),
        experts_per_token=c.whole("num_experts_per_tok"),
        expert_intermediate_size=c.whole("intermediate_size"),
        **more,
    )


def _routed_moe(c: _Config, **more: Any) -> Moe:
    """An MoE in the words of DeepSeek's configs, which many took over: shared experts are as wide as routed ones."""
    width = c.whole("moe_intermediate_size")
    sizes: dict[str, Any] = {
        "experts": c.first("n_routed_experts", "num_experts"),
        "experts_per_token": c.first("num_experts_per_tok", "num_experts_per_token"),
        "expert_intermediate_size": width,
        "shared_intermediate_size": c.first("n_shared_experts", "num_shared_experts") * width,
    }
    return Moe(**(sizes | more))


def _ffns(c: _Config, dense: Callable[[], Ffn], moe: Ffn) -> list[Ffn]:
    """FFN by layer: some leading dense layers, then an MoE in every `moe_layer_freq`-th (a number, or a list of one flag a layer)."""
    layers = _layers(c)
    leading = c.whole("first_k_dense_replace")
    frequency = c.get("moe_layer_freq", 1)
    if isinstance(frequency, list):
        routed = [bool(flag) for flag in c.items("moe_layer_freq", layers)]
    else:
        every = c.whole("moe_layer_freq", 1, at_least=1)
        routed = [layer >= leading and layer % every == 0 for layer in range(layers)]
    if c.has("mlp_layer_types"):
        words = {"dense": False, "sparse": True}
        named = [c.one_of("mlp_layer_types", word, words) for word in c.items("mlp_layer_types", layers)]
        if named != routed:
            raise c.fault("does not agree with 'first_k_dense_replace'", "mlp_layer_types")
    return [moe if is_routed else dense() for is_routed in routed]


def _by_type(c: _Config, meanings: Mapping[str, Any], default: Callable[[int], str] | None = None, key: str = "layer_types") -> list[Any]:
    """What each layer's entry in `layer_types` means; without that key, what `default` names for each layer."""
    layers = _layers(c)
    if c.has(key) or default is None:
        return [c.one_of(key, word, meanings) for word in c.items(key, layers)]
    c.skip(key)
    return [meanings[default(layer)] for layer in range(layers)]


def _grouped(layers: list[_Layer]) -> tuple[LayerGroup, ...]:
    """Layers merged into groups of identical ones, in order of first appearance."""
    counts: dict[_Layer, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    return tuple(LayerGroup(count=count, attention=attention, ffn=ffn) for (attention, ffn), count in counts.items())


def _nextn(c: _Config, key: str, layer: _Layer) -> NextN | None:
    modules = c.optional(key)
    return None if modules is None else NextN(modules=modules, attention=layer[0], ffn=layer[1])


def _architecture(c: _Config, layers: list[_Layer], nextn: NextN | None = None, **defaults: Any) -> Architecture:
    """The architecture of these layers; `defaults` are for keys that the type's own config class fills in where a file leaves them out."""
    native, expert = _dtypes(c)
    return Architecture(
        hidden_size=c.whole("hidden_size"),
        vocab_size=c.whole("vocab_size", defaults.get("vocab_size")),
        tied_embeddings=c.flag("tie_word_embeddings", defaults.get("tied", False)),
        max_context_tokens=c.whole("model_max_length" if c.has("model_max_length") else "max_position_embeddings", defaults.get("max_context_tokens")),
        native_dtype=native,
        expert_dtype=expert,
        groups=_grouped(layers),
        nextn=nextn,
    )


# --- dtypes -------------------------------------------------------------------------------------------------------------------------------

_PLAIN: dict[str, Dtype] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_EXPERT: dict[str, Dtype] = {"fp4": "mxfp4", "mxfp4": "mxfp4", "fp8": "fp8", "bf16": "bf16"}
_MODELOPT: dict[str, Dtype] = {"FP8": "fp8", "NVFP4": "nvfp4"}
_METHODS = {name: name for name in ("fp8", "mxfp4", "compressed-tensors", "modelopt", "awq", "gptq")}


def _dtypes(c: _Config) -> tuple[Dtype, Dtype | None]:
    """Stored dtype of attention and FFN weights, and of the routed experts where it differs."""
    plain: Dtype = c.one_of("dtype", c.get("dtype", c.get("torch_dtype", "bfloat16")), _PLAIN)
    has_experts = c.has("num_experts", "num_local_experts", "n_routed_experts")
    if not c.has("quantization_config"):
        c.skip("expert_dtype")
        return plain, None
    quantization = c.inner("quantization_config")
    dtype, experts_only = _quantized(quantization)
    if experts_only and not has_experts:
        raise quantization.fault("quantises the FFN of a dense model but not its attention, which is not understood", "quant_method")
    if experts_only:
        return plain, dtype
    return dtype, c.one_of("expert_dtype", c.get("expert_dtype"), _EXPERT) if c.has("expert_dtype") else None


def _quantized(q: _Config) -> tuple[Dtype, bool]:
    """Dtype of a quantised checkpoint and whether it leaves attention alone, which leaves the routed experts."""
    kept = [str(name) for key in ("modules_to_not_convert", "ignore", "exclude_modules") if q.has(key) for name in q.items(key)]
    spares_attention = any("attn" in name or "attention" in name for name in kept)
    method = q.one_of("quant_method", q.get("quant_method"), _METHODS)
    if method == "fp8":
        return "fp8", spares_attention
    if method == "mxfp4":
        return "mxfp4", True  # the format's own converter touches expert weights only
    if method == "modelopt":
        dtype: Dtype = q.one_of("quant_algo", q.get("quant_algo"), _MODELOPT)
        return dtype, spares_attention
    if method == "compressed-tensors":
        return _compressed_tensors(q), spares_attention
    bits: dict[str, Dtype] = {"4": "int4", "8": "int8"}
    return q.one_of("bits", str(q.whole("bits")), bits), spares_attention


def _compressed_tensors(q: _Config) -> Dtype:
    groups = q.inner("config_groups")
    found: set[Dtype] = set()
    for name in groups.data:
        group = groups.inner(name)
        weights = group.inner("weights")
        form = str(group.get("format", q.get("format", "")))
        kind = f"{weights.get('type')}{weights.whole('num_bits')}"
        if kind == "float4":
            kind = "mxfp4" if "mxfp4" in form else "nvfp4" if "nvfp4" in form else kind
        meanings: dict[str, Dtype] = {"float8": "fp8", "int8": "int8", "int4": "int4", "mxfp4": "mxfp4", "nvfp4": "nvfp4"}
        found.add(weights.one_of("type", kind, meanings))
    if len(found) != 1:
        raise q.fault("has groups of more than one dtype, which is not understood", "config_groups")
    return found.pop()


# --- readers ------------------------------------------------------------------------------------------------------------------------------


def _llama(c: _Config) -> Architecture:
    kv_heads = c.whole("num_key_value_heads", c.whole("num_attention_heads"))
    return _architecture(c, [(_gqa(c, kv_heads=kv_heads), _dense(c))] * _layers(c))


def _mistral(c: _Config) -> Architecture:
    return _architecture(c, [(_gqa(c, c.optional("sliding_window")), _dense(c))] * _layers(c))


def _mixtral(c: _Config) -> Architecture:
    moe = _plain_moe(c)
    return _architecture(c, [(_gqa(c, c.optional("sliding_window")), moe)] * _layers(c))


def _qwen_window(c: _Config) -> list[Attention]:
    """Attention by layer: full, or with `use_sliding_window` a window from layer `max_window_layers` on."""
    window = c.optional("sliding_window")
    if not c.flag("use_sliding_window"):
        window = None
    leading = c.whole("max_window_layers", 0) if window else 0
    meanings = {"full_attention": _gqa(c), "sliding_attention": _gqa(c, window)}
    return _by_type(c, meanings, lambda layer: "full_attention" if layer < leading or window is None else "sliding_attention")


def _qwen_dense(c: _Config) -> Architecture:
    return _architecture(c, [(attention, _dense(c)) for attention in _qwen_window(c)])


def _qwen_ffns(c: _Config) -> list[Ffn]:
    """FFN by layer: MoE in every `decoder_sparse_step`-th layer that `mlp_only_layers` does not name."""
    moe = Moe(
        experts=c.whole("num_experts"),
        experts_per_token=c.whole("num_experts_per_tok"),
        expert_intermediate_size=c.whole("moe_intermediate_size"),
        shared_intermediate_size=c.whole("shared_expert_intermediate_size", 0),
    )
    step = c.whole("decoder_sparse_step", 1, at_least=1)
    dense_layers = c.whole_items("mlp_only_layers")
    routed = [layer not in dense_layers and (layer + 1) % step == 0 for layer in range(_layers(c))]
    c.skip("intermediate_size")  # present in files whose every layer is MoE
    return [moe if is_routed else _dense(c) for is_routed in routed]


def _qwen_moe(c: _Config) -> Architecture:
    return _architecture(c, list(zip(_qwen_window(c), _qwen_ffns(c), strict=True)))


def _qwen_hybrid(c: _Config) -> Architecture:
    """Gated delta net with full attention in every `full_attention_interval`-th layer; the query projection carries the output gate."""
    linear = Linear(
        key_heads=c.whole("linear_num_key_heads"),
        key_head_dim=c.whole("linear_key_head_dim"),
        value_heads=c.whole("linear_num_value_heads"),
        value_head_dim=c.whole("linear_value_head_dim"),
        conv_kernel=c.whole("linear_conv_kernel_dim"),
        state_dtype=c.one_of("mamba_ssm_dtype", c.get("mamba_ssm_dtype", "float32"), _PLAIN),
    )
    full = _gqa(c, output_gate=c.flag("attn_output_gate", True))
    interval = c.whole("full_attention_interval", 4, at_least=1)
    meanings: dict[str, Attention] = {"linear_attention": linear, "full_attention": full}
    attentions = _by_type(c, meanings, lambda layer: "linear_attention" if (layer + 1) % interval else "full_attention")
    ffns = _qwen_ffns(c) if c.has("num_experts") else [_dense(c)] * len(attentions)
    c.skip("mtp_use_dedicated_embeddings")
    return _architecture(c, list(zip(attentions, ffns, strict=True)), _nextn(c, "mtp_num_hidden_layers", (full, ffns[-1])))


def _deepseek(c: _Config, attention: Attention | None = None) -> Architecture:
    part = attention or _mla(c)
    ffns = _ffns(c, lambda: _dense(c), _routed_moe(c))
    return _architecture(c, [(part, ffn) for ffn in ffns], _nextn(c, "num_nextn_predict_layers", (part, ffns[-1])))


def _deepseek_sparse(c: _Config) -> Architecture:
    return _deepseek(c, _mla(c, sparse=_index(c)))


def _glm_sparse(c: _Config) -> Architecture:
    """As DeepSeek's sparse attention; `indexer_types` may let layers share the index of an earlier one."""
    owned, shared = _mla(c, sparse=_index(c)), _mla(c, sparse=_index(c, owned=False))
    attentions = _by_type(c, {"full": owned, "shared": shared}, lambda _: "full", "indexer_types")
    c.skip("index_share_for_mtp_iteration", "index_skip_topk_offset", "index_topk_freq", "index_topk_pattern")  # how indexer_types was made
    if c.has("index_topk_freq") and c.whole("index_topk_freq") > 1 and not c.has("indexer_types"):
        raise c.fault("is missing, and 'index_topk_freq' says that layers share indexers", "indexer_types")
    ffns = _ffns(c, lambda: _dense(c), _routed_moe(c))
    return _architecture(c, list(zip(attentions, ffns, strict=True)), _nextn(c, "num_nextn_predict_layers", (owned, ffns[-1])))


def _deepseek_compressed(c: _Config) -> Architecture:
    """Windowed attention beside entries that compress 4 tokens (picked by an indexer) or 128 (all read); one MoE in every layer.

    Layers routed by a hash of the token (`num_hash_layers`) and the residual streams (`hc_*`) have the sizes of ordinary ones within 0.1 %.
    """
    c.skip("num_key_value_heads", "num_hash_layers", "qk_rope_head_dim", "swiglu_limit", "compress_rope_theta")
    sizes = {
        "heads": c.whole("num_attention_heads"),
        "head_dim": c.whole("head_dim"),
        "q_lora_rank": c.whole("q_lora_rank"),
        "o_groups": c.whole("o_groups"),
        "o_lora_rank": c.whole("o_lora_rank"),
        "window_tokens": c.whole("sliding_window"),
    }
    kinds: dict[str, Attention] = {
        "0": Compressed(**sizes),
        "4": Compressed(**sizes, compression=4, overlap=True, sparse=_index(c)),
        "128": Compressed(**sizes, compression=128),
    }
    layers, ratios = _layers(c), c.items("compress_ratios")
    attentions = [c.one_of("compress_ratios", str(ratio), kinds) for ratio in ratios]
    if len(attentions) < layers:
        raise c.fault(f"has {len(attentions)} entries for {layers} layers", "compress_ratios")
    moe = _routed_moe(c)
    nextn = _nextn(c, "num_nextn_predict_layers", (attentions[-1], moe))
    return _architecture(c, [(attention, moe) for attention in attentions[:layers]], nextn)


def _gpt_oss(c: _Config) -> Architecture:
    c.skip("experts_per_token")  # a second spelling of num_experts_per_tok
    moe = _plain_moe(c)
    meanings = {"full_attention": _gqa(c), "sliding_attention": _gqa(c, c.whole("sliding_window"))}
    attentions = _by_type(c, meanings, lambda layer: "full_attention" if layer % 2 else "sliding_attention")
    return _architecture(c, [(attention, moe) for attention in attentions])


def _llama4(c: _Config) -> Architecture:
    """Attention in chunks, in layers without rotary positions over the whole context; MoE in every `interleave_moe_layer_step`-th layer."""
    full, chunked = _gqa(c), _gqa(c, c.whole("attention_chunk_size"))
    layers, step = _layers(c), c.whole("interleave_moe_layer_step", at_least=1)
    interval = c.whole("no_rope_layer_interval", 4, at_least=1)
    rotary = c.whole_items("no_rope_layers") or [(layer + 1) % interval for layer in range(layers)]
    if len(rotary) < layers:
        raise c.fault(f"has {len(rotary)} entries for {layers} layers", "no_rope_layers")
    meanings = {"full_attention": full, "chunked_attention": chunked}
    attentions = _by_type(c, meanings, lambda layer: "chunked_attention" if rotary[layer] else "full_attention")
    moe = _plain_moe(c, shared_intermediate_size=c.whole("intermediate_size"))
    routed = c.whole_items("moe_layers") or [layer for layer in range(layers) if (layer + 1) % step == 0]
    ffns = [moe if layer in routed else _dense(c, "intermediate_size_mlp") for layer in range(layers)]
    c.skip("intermediate_size_mlp", "for_llm_compressor")
    return _architecture(c, list(zip(attentions, ffns, strict=True)))


def _gemma(c: _Config, pattern: int, **defaults: Any) -> Architecture:
    every = c.whole("sliding_window_pattern", c.whole("_sliding_window_pattern", pattern), at_least=1)
    meanings = {"full_attention": _gqa(c), "sliding_attention": _gqa(c, c.whole("sliding_window"))}
    attentions = _by_type(c, meanings, lambda layer: "sliding_attention" if (layer + 1) % every else "full_attention")
    return _architecture(c, [(attention, _dense(c)) for attention in attentions], tied=True, **defaults)


def _gemma2(c: _Config) -> Architecture:
    c.whole("head_dim")  # not hidden_size / heads in this family
    return _gemma(c, 2)


def _gemma3(c: _Config) -> Architecture:
    # The family's files leave out what its config class fills in.
    c.whole("head_dim")
    return _gemma(c, 6, vocab_size=262_208, max_context_tokens=131_072)


def _glm_moe(c: _Config) -> Architecture:
    return _deepseek(c, _gqa(c))


def _kimi_linear(c: _Config) -> Architecture:
    """Kimi delta attention with MLA in the layers that `full_attn_layers` names (counted from 1)."""
    linear = c.inner("linear_attn_config")
    heads, head_dim = linear.whole("num_heads"), linear.whole("head_dim")
    delta = Linear(
        key_heads=heads,
        key_head_dim=head_dim,
        value_heads=heads,
        value_head_dim=head_dim,
        conv_kernel=linear.whole("short_conv_kernel_size"),
        decay_rank=head_dim,
        gate_rank=None if linear.flag("use_full_rank_gate") else head_dim,
    )
    full = _mla(c, output_gate=c.flag("mla_use_output_gate"))
    layers = _layers(c)
    full_layers, delta_layers = set(linear.whole_items("full_attn_layers")), set(linear.whole_items("kda_layers"))
    if full_layers & delta_layers or full_layers | delta_layers != set(range(1, layers + 1)):
        raise linear.fault(f"and 'kda_layers' do not name each of the {layers} layers once", "full_attn_layers")
    linear.refuse_unread()
    moe = _routed_moe(c, latent_size=c.optional("routed_expert_hidden_size"))
    ffns = _ffns(c, lambda: _dense(c), moe)
    attentions: list[Attention] = [full if layer + 1 in full_layers else delta for layer in range(layers)]
    # Attention residuals and the latent's norm are vectors.
    c.skip("attn_res_block_size", "latent_moe_use_norm", "mla_use_nope", "activation_situ_linear_beta")
    return _architecture(c, list(zip(attentions, ffns, strict=True)), _nextn(c, "num_nextn_predict_layers", (full, moe)))


def _minimax_m2(c: _Config) -> Architecture:
    for kind in c.items("attn_type_list", _layers(c)) if c.has("attn_type_list") else ():
        c.one_of("attn_type_list", str(kind), {"1": "full attention"})
    attention = _gqa(c)
    moe = _plain_moe(c, shared_intermediate_size=c.whole("shared_intermediate_size", 0))
    c.whole("mtp_transformer_layers", 1)
    nextn = _nextn(c, "num_mtp_modules", (attention, moe)) if c.flag("use_mtp") else None
    return _architecture(c, [(attention, moe)] * _layers(c), nextn)


def _minimax_m3(c: _Config) -> Architecture:
    """Block-sparse attention in the layers that `sparse_attention_freq` flags: an indexer without head scales picks blocks of keys."""
    full = _gqa(c, output_gate=c.flag("attention_output_gate"))
    attentions: list[Attention] = [full] * _layers(c)
    if c.has("sparse_attention_config"):
        sparse = c.inner("sparse_attention_config")
        block = sparse.whole("sparse_block_size")
        index = SparseIndex(
            index_heads=sparse.whole("sparse_num_index_heads"),
            index_head_dim=sparse.whole("sparse_index_dim"),
            index_topk=sparse.whole("sparse_topk_blocks") * block,
            block_tokens=block,
            scaled=False,
        )
        flags = sparse.items("sparse_attention_freq", _layers(c))
        if any(flag and not off for flag, off in zip(flags, sparse.items("sparse_disable_index_value", _layers(c)), strict=True)):
            raise sparse.fault("has index values, which are not understood", "sparse_disable_index_value")
        if sparse.flag("use_sparse_attention"):
            attentions = [full.model_copy(update={"sparse": index}) if flag else full for flag in flags]
        sparse.skip("sparse_init_block", "sparse_local_block", "sparse_score_type")
        sparse.refuse_unread()
    width = c.whole("moe_intermediate_size")
    moe = Moe(
        experts=c.whole("num_local_experts"),
        experts_per_token=c.whole("num_experts_per_tok"),
        expert_intermediate_size=width,
        shared_intermediate_size=c.whole("n_shared_experts") * c.whole("shared_intermediate_size", width),
    )
    ffns = _ffns(c, lambda: _dense(c, "dense_intermediate_size"), moe)
    c.skip("intermediate_size", "num_mtp_modules")  # the experts' width again; modules trained, of which nextn counts those in use
    nextn = _nextn(c, "num_nextn_predict_layers", (attentions[-1], moe))
    return _architecture(c, list(zip(attentions, ffns, strict=True)), nextn)


def _nemotron_nas(c: _Config) -> Architecture:
    """Layers found by search (`block_configs`): attention with its own group size or none, an FFN of its own width or none."""
    heads, hidden = c.whole("num_attention_heads"), c.whole("hidden_size")
    layers: list[_Layer] = []
    for number, block in enumerate(c.items("block_configs", _layers(c))):
        entry = c.inner(f"block_configs.{number}", block)
        attention, ffn = entry.inner("attention"), entry.inner("ffn")
        part: Attention | None = None
        if not attention.flag("no_op"):
            per_group = attention.whole("n_heads_in_group", at_least=1)
            if heads % per_group:
                raise attention.fault(f"does not divide the {heads} heads", "n_heads_in_group", per_group)
            part = _gqa(c, attention.optional("window_length"), heads=heads, kv_heads=heads // per_group)
        attention.skip("n_heads_in_group", "window_length")
        width = None if ffn.flag("no_op") else _ffn_width(ffn, hidden)
        for config in (attention, ffn):
            config.skip("no_op", "ffn_mult", "intermediate_size")
            config.refuse_unread(every_key=True)
        layers.append((part, None if width is None else Dense(intermediate_size=width)))
    c.skip("intermediate_size", "num_key_value_heads")
    return _architecture(c, layers)


def _ffn_width(ffn: _Config, hidden_size: int) -> int:
    """Width as the type's own code rounds it: two thirds of twice `ffn_mult` hidden sizes, up to a multiple of 256."""
    if ffn.has("intermediate_size"):
        return ffn.whole("intermediate_size")
    multiple = ffn.get("ffn_mult")
    if not isinstance(multiple, (int, float)) or not 0 < multiple < 1000:
        raise ffn.fault(f"is not a plausible multiple of the hidden size (got {multiple!r})", "ffn_mult", multiple)
    return -(-int(2 * multiple * hidden_size / 3) // 256) * 256


_HYBRID_PATTERN = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def _nemotron_h(c: _Config) -> Architecture:
    """Layers of one part each: Mamba-2, attention, dense FFN or MoE, as `layers_block_type` or `hybrid_override_pattern` lists them."""
    mamba = Mamba2(
        heads=c.whole("mamba_num_heads"),
        head_dim=c.whole("mamba_head_dim"),
        groups=c.whole("n_groups"),
        state_size=c.whole("ssm_state_size"),
        conv_kernel=c.whole("conv_kernel"),
        state_dtype=c.one_of("mamba_ssm_cache_dtype", c.get("mamba_ssm_cache_dtype", "float32"), _PLAIN),
    )
    attention = _gqa(c, c.optional("sliding_window"), head_dim=c.first("head_dim", "attention_head_dim"))
    gated = not c.word("mlp_hidden_act", "relu2").startswith("relu")
    layers: dict[str, _Layer] = {"mamba": (mamba, None), "attention": (attention, None), "mlp": (None, _dense(c, gated=gated))}
    if c.has("n_routed_experts"):
        shared = c.whole("n_shared_experts") * c.whole("moe_shared_expert_intermediate_size")
        latent = c.optional("moe_latent_size")
        layers["moe"] = (None, _routed_moe(c, shared_intermediate_size=shared, latent_size=latent, gated=gated))
    c.skip("chunk_size", "use_conv_bias", "expand")  # the inner size is heads x head_dim, not expand x hidden size
    pattern = c.word("hybrid_override_pattern", "")
    if c.has("layers_block_type"):
        words = c.items("layers_block_type")
    else:
        words = [c.one_of("hybrid_override_pattern", letter, _HYBRID_PATTERN) for letter in pattern]
    if not words:
        raise c.fault("is missing, and the architecture needs it", "hybrid_override_pattern")
    if c.whole("num_hidden_layers", len(words)) != len(words):
        raise c.fault(f"is not the {len(words)} of the layer pattern", "num_hidden_layers", c.whole("num_hidden_layers"))
    parts = [c.one_of("layers_block_type", word, layers) for word in words]
    return _architecture(c, parts, _nemotron_h_nextn(c, layers))


def _nemotron_h_nextn(c: _Config, layers: Mapping[str, _Layer]) -> NextN | None:
    """Draft modules of an attention and an FFN layer each."""
    if not c.optional("num_nextn_predict_layers"):
        c.skip("mtp_layers_block_type")
        return None
    words = c.items("mtp_layers_block_type")
    parts = [c.one_of("mtp_layers_block_type", word, layers) for word in words]
    attention = next((part[0] for part in parts if part[0] is not None), None)
    ffn = next((part[1] for part in parts if part[1] is not None), None)
    if len(parts) != (attention is not None) + (ffn is not None):
        raise c.fault(f"{words} is not one attention and one FFN layer", "mtp_layers_block_type")
    return _nextn(c, "num_nextn_predict_layers", (attention, ffn))


def _step(c: _Config) -> Architecture:
    """Full layers and sliding ones, which may have heads of their own number; leading dense layers, then MoE; one gate number a head."""
    kv_heads = c.first("num_key_value_heads", "num_attention_groups")
    full = _gqa(c, kv_heads=kv_heads)
    heads = full.heads
    if c.has("attention_other_setting"):
        heads = c.inner("attention_other_setting").whole("num_attention_heads", heads)
    sliding = _gqa(c, c.whole("sliding_window"), heads=heads, kv_heads=kv_heads)
    meanings = {"full_attention": full, "sliding_attention": sliding}
    attentions = _by_type(c, meanings)
    moe = Moe(
        experts=c.first("num_experts", "moe_num_experts"),
        experts_per_token=c.first("num_experts_per_tok", "moe_top_k"),
        expert_intermediate_size=c.whole("moe_intermediate_size"),
        shared_intermediate_size=c.first("share_expert_dim", "share_expert_dims") * c.whole("n_shared_experts", 1),
    )
    ffns = _ffns(c, lambda: _dense(c), moe)
    return _architecture(c, list(zip(attentions, ffns, strict=True)), _nextn(c, "num_nextn_predict_layers", (full, _dense(c))))


READERS: dict[str, Callable[[_Config], Architecture]] = {
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "deepseek_v32": _deepseek_sparse,
    "deepseek_v4": _deepseek_compressed,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
    "glm4_moe": _glm_moe,
    "glm_moe_dsa": _glm_sparse,
    "gpt_oss": _gpt_oss,
    "kimi_k2": _deepseek,
    "kimi_k25": _deepseek,
    "kimi_k3": _kimi_linear,
    "kimi_linear": _kimi_linear,
    "llama": _llama,
    "llama4": _llama4,
    "llama4_text": _llama4,
    "minimax_m2": _minimax_m2,
    "minimax_m3": _minimax_m3,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "nemotron-nas": _nemotron_nas,
    "nemotron_h": _nemotron_h,
    "qwen2": _qwen_dense,
    "qwen2_moe": _qwen_moe,
    "qwen3": _qwen_dense,
    "qwen3_5": _qwen_hybrid,
    "qwen3_5_moe": _qwen_hybrid,
    "qwen3_5_moe_text": _qwen_hybrid,
    "qwen3_5_text": _qwen_hybrid,
    "qwen3_moe": _qwen_moe,
    "qwen3_next": _qwen_hybrid,
    "step3p5": _step,
    "step3p7": _step,
}


# --- entry points -------------------------------------------------------------------------------------------------------------------------


def _reader(c: _Config) -> Callable[[_Config], Architecture]:
    kind = c.get("model_type")
    if kind is None:
        raise c.fault("is missing: it says which architecture the config describes", "model_type", allowed=READERS)
    if not isinstance(kind, str) or kind not in READERS:
        raise c.fault(f"'{kind}' is not an architecture that can be read", "model_type", str(kind), READERS)
    return READERS[kind]


# What a multimodal config's outer level may say about its language model.
_OUTER_KEYS = ("tie_word_embeddings", "dtype", "torch_dtype", "quantization_config")


def _language_model(outer: _Config) -> _Config:
    """The config of the language model: the whole, or `text_config` with what the outer level says for it."""
    if not outer.has("text_config"):
        return outer
    inner = outer.inner("text_config")
    taken = {key: outer.data[key] for key in _OUTER_KEYS if outer.has(key) and not inner.has(key)}
    return _Config({**inner.data, **taken, "model_type": inner.get("model_type", outer.get("model_type"))}, outer.file, inner.within)


def read_config(config: Path | str | Mapping[str, Any], file: object = None) -> Architecture:
    """The architecture that a Hugging Face `config.json` (a path, or its content as a dict) describes.

    Encoders of other modalities are left out. Raises InputError with file and key for an unreadable file, an unknown `model_type`, a key
    that the architecture needs and the config lacks, and every feature that is not understood.
    """
    if not isinstance(config, Mapping):
        return read_config(_json(Path(config)), config if file is None else file)
    outer = _Config(config, file)
    _reader(outer)
    c = _language_model(outer)
    try:
        architecture = _reader(c)(c)
    except ValidationError as error:
        raise input_error(error, Architecture, file) from None
    c.refuse_unread()
    return architecture


def model_from_config(path: Path | str) -> Model:
    """A model named after its `config.json` (or after the folder that holds a file of that very name), without published counts."""
    path = Path(path)
    stem = path.resolve().parent.name if path.name == "config.json" else path.stem
    title = stem.rsplit("--", 1)[-1]
    name = re.sub(r"[^a-z0-9.]+", "-", title.casefold()).strip("-.")
    return Model(name=name or "config", title=title or "config", architecture=read_config(path))


def _json(path: Path) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: _object(pairs, path))
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except json.JSONDecodeError as error:
        raise InputError(f"is not valid JSON: {error}", file=path) from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from None
    if not isinstance(data, dict):
        raise InputError("is not a JSON object, as a config.json is", file=path)
    return data


def _object(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in set(keys):
        if keys.count(key) > 1:
            raise InputError("is given twice", file=path, key=key)
    return dict(pairs)
