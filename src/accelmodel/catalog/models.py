"""Language models: the architecture as the engine needs it, and the catalogue's record of a model.

An architecture is a tuple of layer groups; a group is `count` identical layers, each an attention (or state-space) part, an FFN part, or
both. Sizes carry the names of the Hugging Face `config.json` where it has one. Parameter counts are of matrices and convolution kernels:
vectors (norms, biases, gates of one number per head) are below 0.1 % of every model here and left out.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Figure, Name, Strict, of

Dtype = Literal["fp32", "bf16", "fp16", "fp8", "int8", "mxfp4", "nvfp4", "int4"]

Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrNone = Annotated[int, Field(ge=0, le=10**9)]


class SparseIndex(Strict):
    """An indexer that scores every cached position with few, narrow heads and lets attention read the best `index_topk` of them.

    `index_topk` counts cached positions (`block_tokens` x blocks where whole blocks are picked). A layer with `owned = false` reuses the
    choice of an earlier layer: it has no indexer of its own and caches no index keys. `scaled` is whether each head's score is weighted
    by a projection of the token. Source: DeepSeek-V3.2 report, section 2.1 (lightning indexer).
    """

    index_heads: Count
    index_head_dim: Count
    index_topk: Count
    block_tokens: Count = 1
    owned: bool = True
    scaled: bool = True

    def parameters(self, hidden_size: int, query_size: int) -> int:
        """Weights: query heads from a vector of `query_size`; one shared key head and the heads' scales from the hidden state."""
        if not self.owned:
            return 0
        scale = hidden_size * self.index_heads if self.scaled else 0
        return query_size * self.index_heads * self.index_head_dim + hidden_size * self.index_head_dim + scale


class Gqa(Strict):
    """Grouped-query attention; multi-head with `kv_heads == heads`, multi-query with `kv_heads == 1`.

    `window_tokens` bounds the context that a token sees (sliding window, or the chunk of chunked attention). `output_gate`: the query
    projection is twice as wide and its second half gates the output.
    """

    kind: Literal["gqa"] = "gqa"
    heads: Count
    kv_heads: Count
    head_dim: Count
    v_head_dim: Count = Field(default_factory=lambda sizes: sizes.get("head_dim", 1))
    window_tokens: Count | None = None
    output_gate: bool = False
    sparse: SparseIndex | None = None

    @model_validator(mode="after")
    def _heads_form_groups(self) -> Gqa:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide into groups of {self.kv_heads} kv_heads")
        return self

    def parameters(self, hidden_size: int) -> int:
        """Weights of the query, key, value and output projections, gate and indexer included."""
        queries = self.heads * (self.head_dim + (self.v_head_dim if self.output_gate else 0))
        keys_values = self.kv_heads * (self.head_dim + self.v_head_dim)
        index = self.sparse.parameters(hidden_size, hidden_size) if self.sparse else 0
        return hidden_size * (queries + keys_values + self.heads * self.v_head_dim) + index


class Mla(Strict):
    """Multi-head latent attention: keys and values are expanded from one cached latent of `kv_lora_rank`, beside a shared rotary key of
    `qk_rope_head_dim`.

    Source: DeepSeek-V2 report (arXiv:2405.04434), section 2.1. `output_gate`: a further projection from the hidden state gates the heads'
    output.
    """

    kind: Literal["mla"] = "mla"
    heads: Count
    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: CountOrNone
    v_head_dim: Count
    output_gate: bool = False
    sparse: SparseIndex | None = None

    def parameters(self, hidden_size: int) -> int:
        """Weights of the down- and up-projections of queries and of keys and values, the output projection, gate and indexer included."""
        query_width = self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        rank = self.q_lora_rank
        queries = hidden_size * query_width if rank is None else rank * (hidden_size + query_width)
        down = hidden_size * (self.kv_lora_rank + self.qk_rope_head_dim)
        up = self.kv_lora_rank * self.heads * (self.qk_nope_head_dim + self.v_head_dim)
        outputs = (2 if self.output_gate else 1) * hidden_size * self.heads * self.v_head_dim
        index = self.sparse.parameters(hidden_size, hidden_size if rank is None else rank) if self.sparse else 0
        return queries + down + up + outputs + index


class Compressed(Strict):
    """Attention over a sliding window and over compressed entries, each a learned mixture of `compression` tokens (1: no compressed
    branch, the window alone).

    One key-value head serves as key and value; the cache holds `window_tokens` entries and one entry of `head_dim` per `compression`
    tokens beyond. `overlap`: each entry mixes two neighbouring blocks, so the compressor is twice as wide. `sparse` picks among
    *compressed* entries; its index keys come from a compressor of their own. The output projection works in `o_groups` groups of heads,
    each through `o_lora_rank`. Source: DeepSeek-V4 report, section 2.3 (compressed sparse and heavily compressed attention).
    """

    kind: Literal["compressed"] = "compressed"
    heads: Count
    head_dim: Count
    q_lora_rank: Count
    o_groups: Count
    o_lora_rank: Count
    window_tokens: Count
    compression: Count = 1
    overlap: bool = False
    sparse: SparseIndex | None = None

    def parameters(self, hidden_size: int) -> int:
        """Weights of the query, key-value and grouped output projections, of the compressor and of the indexer."""
        width = self.heads * self.head_dim
        queries = self.q_lora_rank * (hidden_size + width)
        outputs = self.o_lora_rank * (width + self.o_groups * hidden_size)
        per_entry = 2 * (2 if self.overlap else 1)  # what is mixed and the weights of the mixture
        compressor = hidden_size * per_entry * self.head_dim if self.compression > 1 else 0
        index = 0
        if self.sparse is not None and self.sparse.owned:
            key = hidden_size * self.sparse.index_head_dim
            index = self.sparse.parameters(hidden_size, self.q_lora_rank) + (per_entry - 1) * key
        return queries + hidden_size * self.head_dim + outputs + compressor + index


class Linear(Strict):
    """Linear attention with the gated delta rule: a state of `key_head_dim` x `value_head_dim` per value head replaces the KV cache.

    The decay is one number per value head, or (`decay_rank`) one per key channel through a low-rank projection; the output gate is a full
    projection, or low-rank (`gate_rank`). Sources: Gated DeltaNet (arXiv:2412.06464), Kimi Linear (arXiv:2510.26692).
    """

    kind: Literal["linear"] = "linear"
    key_heads: Count
    key_head_dim: Count
    value_heads: Count
    value_head_dim: Count
    conv_kernel: Count
    decay_rank: Count | None = None
    gate_rank: Count | None = None
    state_dtype: Dtype = "fp32"

    @property
    def state_elements(self) -> int:
        """Numbers of recurrent state that one sequence keeps in one layer."""
        return self.value_heads * self.key_head_dim * self.value_head_dim

    @property
    def conv_channels(self) -> int:
        """Channels of the short convolution over queries, keys and values; each keeps `conv_kernel - 1` past inputs."""
        return 2 * self.key_heads * self.key_head_dim + self.value_heads * self.value_head_dim

    def parameters(self, hidden_size: int) -> int:
        """Weights of the query, key, value, decay, write-strength, gate and output projections and of the convolution."""
        values = self.value_heads * self.value_head_dim
        decayed = self.key_heads * self.key_head_dim
        decay = hidden_size * self.value_heads if self.decay_rank is None else self.decay_rank * (hidden_size + decayed)
        gate = hidden_size * values if self.gate_rank is None else self.gate_rank * (hidden_size + values)
        strength = hidden_size * self.value_heads
        return (hidden_size + self.conv_kernel) * self.conv_channels + decay + strength + gate + values * hidden_size


class Mamba2(Strict):
    """A Mamba-2 state-space mixer: a state of `head_dim` x `state_size` per head; `groups` share their input and output maps.

    Source: Dao and Gu, arXiv:2405.21060, section 7.
    """

    kind: Literal["mamba2"] = "mamba2"
    heads: Count
    head_dim: Count
    groups: Count
    state_size: Count
    conv_kernel: Count
    state_dtype: Dtype = "fp32"

    @property
    def state_elements(self) -> int:
        """Numbers of recurrent state that one sequence keeps in one layer."""
        return self.heads * self.head_dim * self.state_size

    @property
    def conv_channels(self) -> int:
        """Channels of the short convolution; each keeps `conv_kernel - 1` past inputs."""
        return self.heads * self.head_dim + 2 * self.groups * self.state_size

    def parameters(self, hidden_size: int) -> int:
        """Weights of the input projection (gate, convolved channels, one time step per head), the convolution and the output projection."""
        inner = self.heads * self.head_dim
        return hidden_size * (inner + self.conv_channels + self.heads) + self.conv_kernel * self.conv_channels + inner * hidden_size


Attention = Annotated[Gqa | Mla | Compressed | Linear | Mamba2, Field(discriminator="kind")]


class Dense(Strict):
    """A dense FFN of three matrices (`gated`: gate, up, down) or two (up, down)."""

    kind: Literal["dense"] = "dense"
    intermediate_size: Count
    gated: bool = True

    def parameters(self, hidden_size: int) -> int:
        """Weights of the matrices."""
        return (3 if self.gated else 2) * hidden_size * self.intermediate_size

    def active_parameters(self, hidden_size: int) -> int:
        """Weights that one token uses: all."""
        return self.parameters(hidden_size)


class Moe(Strict):
    """A mixture-of-experts FFN. `shared_intermediate_size` is the total width of the experts that every token passes (0: none).

    `latent_size`: routed experts work on a projection of the hidden state to that size, and their sum is projected back; the router and
    the shared experts see the hidden state itself.
    """

    kind: Literal["moe"] = "moe"
    experts: Count
    experts_per_token: Count
    expert_intermediate_size: Count
    shared_intermediate_size: CountOrNone = 0
    gated: bool = True
    latent_size: Count | None = None

    @model_validator(mode="after")
    def _picks_from_what_there_is(self) -> Moe:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token {self.experts_per_token} is more than the {self.experts} experts")
        return self

    def expert_parameters(self, hidden_size: int) -> int:
        """Weights of one routed expert."""
        return (3 if self.gated else 2) * (self.latent_size or hidden_size) * self.expert_intermediate_size

    def always_active_parameters(self, hidden_size: int) -> int:
        """Weights that every token passes: router, shared experts, projections to and from the latent."""
        shared = (3 if self.gated else 2) * hidden_size * self.shared_intermediate_size
        return hidden_size * self.experts + shared + 2 * hidden_size * (self.latent_size or 0)

    def parameters(self, hidden_size: int) -> int:
        """Weights of the router, all experts and the latent projections."""
        return self.always_active_parameters(hidden_size) + self.experts * self.expert_parameters(hidden_size)

    def active_parameters(self, hidden_size: int) -> int:
        """Weights that one token uses."""
        return self.always_active_parameters(hidden_size) + self.experts_per_token * self.expert_parameters(hidden_size)


Ffn = Annotated[Dense | Moe, Field(discriminator="kind")]


class LayerGroup(Strict):
    """`count` identical layers, wherever they stand; a layer without attention, or without FFN, has that part absent."""

    count: Count
    attention: Attention | None = None
    ffn: Ffn | None = None

    def layer_parameters(self, hidden_size: int) -> int:
        """Weights of one layer."""
        return sum(part.parameters(hidden_size) for part in (self.attention, self.ffn) if part)

    def layer_active_parameters(self, hidden_size: int) -> int:
        """Weights of one layer that one token uses."""
        attention = self.attention.parameters(hidden_size) if self.attention else 0
        return attention + (self.ffn.active_parameters(hidden_size) if self.ffn else 0)


class NextN(Strict):
    """Multi-token prediction: `modules` draft modules, each one layer on a projection of (hidden state, next token's embedding) to the
    hidden size.

    Embedding and LM head are the model's own. Source: DeepSeek-V3 report (arXiv:2412.19437), section 2.2.
    """

    modules: Count
    attention: Attention | None = None
    ffn: Ffn | None = None

    @property
    def layer(self) -> LayerGroup:
        """The modules' layers as a group."""
        return LayerGroup(count=self.modules, attention=self.attention, ffn=self.ffn)

    def parameters(self, hidden_size: int) -> int:
        """Weights of all modules."""
        return self.modules * (2 * hidden_size**2 + self.layer.layer_parameters(hidden_size))


class Architecture(Strict):
    """A decoder-only language model's sizes: what decides its FLOP, bytes and memory.

    `native_dtype` is the dtype that the published weights of attention and FFN are stored in, `expert_dtype` that of the routed experts
    where it differs; embeddings, LM head and routers are bf16 whatever the rest is.
    """

    hidden_size: Count
    vocab_size: Count
    tied_embeddings: bool = False
    max_context_tokens: Count
    native_dtype: Dtype = "bf16"
    expert_dtype: Dtype | None = None
    groups: tuple[LayerGroup, ...] = Field(min_length=1)
    nextn: NextN | None = None

    @property
    def layers(self) -> int:
        """Number of layers, as the model's config counts them."""
        return sum(group.count for group in self.groups)

    @property
    def kind_counts(self) -> dict[str, int]:
        """How many layers hold each kind of attention and of FFN, in order of first appearance."""
        counts: Counter[str] = Counter()
        for group in self.groups:
            for part in (group.attention, group.ffn):
                if part is not None:
                    counts[part.kind] += group.count
        return dict(counts)

    @property
    def embedding_parameters(self) -> int:
        """Weights of the input embedding, which is also the LM head where they are tied."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """Weights of the language model, without multi-token prediction and without encoders of other modalities."""
        layers = sum(group.count * group.layer_parameters(self.hidden_size) for group in self.groups)
        return layers + (1 if self.tied_embeddings else 2) * self.embedding_parameters

    @property
    def active_parameters(self) -> int:
        """Weights that one token multiplies with: its routed experts, all else, the LM head; not the input embedding, which is a look-up.

        Model cards differ in what they count: some leave out the LM head too, some count both tables.
        """
        layers = sum(group.count * group.layer_active_parameters(self.hidden_size) for group in self.groups)
        return layers + self.embedding_parameters


_Parameters = Annotated[Figure, of("ratio", 1e5, 1e14)]


class Model(Strict):
    """A language model of the catalogue.

    `parameters` and `active_parameters` are the developer's own counts (absent where none is published, as for a bare `config.json`); a
    range on a published count is what it was rounded from. `other_parameters` are weights that `parameters` counts and the architecture
    leaves out: encoders of other modalities, multi-token prediction. The architecture's numbers all come from `config_source`. Where
    nothing is published every number is an estimate: `estimates` then holds each with its range, and `is_estimate` says so.
    """

    name: Name
    title: str
    developer: str | None = None
    aliases: tuple[str, ...] = ()
    config_source: str | None = None
    note: str | None = None
    parameters: _Parameters | None = None
    active_parameters: _Parameters | None = None
    other_parameters: _Parameters | None = None
    estimates: dict[str, Figure] = Field(default_factory=dict)
    architecture: Architecture

    @model_validator(mode="after")
    def _estimates_are_estimated(self) -> Model:
        published = [key for key, figure in self.estimates.items() if figure.kind != "estimated"]
        if published:
            raise ValueError(f"'estimates' holds figures that are not estimated: {', '.join(published)}")
        return self

    @property
    def is_estimate(self) -> bool:
        """Whether the architecture itself is an estimate, which every use of the model has to say."""
        return bool(self.estimates)
