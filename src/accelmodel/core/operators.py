"""The operator table: a replica becomes a small structured array, one row per operator kind, multiplied by its layers.

A row holds what is linear in tokens, sequences and context, per rank and layer, and the rates that apply. Adding an architecture is adding rows.

    memory  = (weight_bytes x distinct + sequence_bytes x sequences + context_bytes x sequences x min(context, context_cap)) / memory_rate
    compute = (flop_per_token x tokens + floor_flop x distinct + context_flop x sequences x min(context, context_cap)) / compute_rate
    row     = layers x repeats x [ (memory^4 + compute^4)^(1/4) + link(tokens) + overhead ]
    link    = the least of three algorithms' latency + seconds per token x tokens

Sequences are those of one pipeline stage's micro-batch times `share` (the part that one rank sees); tokens are sequences x `step_tokens` in a decode
step (more than one where drafted tokens are verified) and prompt tokens in a prefill. `repeats` counts the passes of a draft in one step. `distinct`
is the expected share of this rank's experts that a step reads, and one for every other row. The fourth-power mean joins memory and compute smoothly;
with efficiencies beside it, it predicts measured steps better than their maximum. A row is memory- or compute-limited by operators, not by the step
as a whole.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.models import Architecture, Attention, Compressed, Dense, Gqa, LayerGroup, Linear, Mamba2, Mla, Moe, SparseIndex
from accelmodel.core.collectives import Line, Lines, Link, all_gather, all_reduce, all_to_all, fastest_slope, joined, links_of, scaled, send
from accelmodel.core.replica import BYTES_PER_WEIGHT, Replica, Same

ACTIVATION_BYTES = 2.0  # activations travel and accumulate in 16 bits, whatever the weights are
FLOP_PER_WEIGHT = 2.0  # a multiplication and an addition


class Row(NamedTuple):
    """One row of the table; quantities are per rank and per layer.

    `stored_bytes` and `stored_state_bytes` are what a sequence keeps per context token (up to `stored_cap` tokens) and as a whole; a prefill
    multiplies queries with `prefill_pair_flop` per (query, key) pair. `sampled` rows see only the tokens that are sampled from: all in a decode step,
    one per pass in a prefill. `link` rows hold latency in s and seconds per token for each algorithm; `prefill_link` where a prefill sends something
    else. `passes` is 1 in the one row of a layer that stands for its launches.
    """

    kind: str
    layers: float
    share: float = 1.0
    sampled: float = 0.0
    weight_bytes: float = 0.0
    flop_per_token: float = 0.0
    floor_flop: float = 0.0
    experts: float = 0.0
    miss_probability: float = 1.0
    sequence_bytes: float = 0.0
    context_bytes: float = 0.0
    context_flop: float = 0.0
    context_cap: float = math.inf
    prefill_pair_flop: float = 0.0
    stored_bytes: float = 0.0
    stored_cap: float = math.inf
    stored_state_bytes: float = 0.0
    link_latency_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    link_token_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    prefill_link_latency_s: float = 0.0
    prefill_link_token_s: float = 0.0
    overhead_s: float = 0.0
    passes: float = 0.0
    repeats: float = 1.0
    step_tokens: float = 1.0
    memory_rate: float = math.inf
    compute_rate: float = math.inf
    memory_peak: float = math.inf
    compute_peak: float = math.inf


_SHAPES = {"kind": ("U24",), "link_latency_s": ("f8", (3,)), "link_token_s": ("f8", (3,))}
TABLE = np.dtype([(name, *_SHAPES.get(name, ("f8",))) for name in Row._fields])
Table = npt.NDArray[np.void]

_KIND_BYTES = TABLE["kind"].itemsize
_PACKED = struct.Struct(f"={_KIND_BYTES}s{(TABLE.itemsize - _KIND_BYTES) // 8}d")
_LINK = Row._fields.index("link_latency_s")


def _packed(rows: Iterable[Row]) -> bytes:
    """Rows as the bytes of TABLE, in a tenth of the time that NumPy takes for a few rows."""
    found = []
    for row in rows:
        numbers = (*row[1:_LINK], *row[_LINK], *row[_LINK + 1], *row[_LINK + 2 :])  # type: ignore[misc]
        found.append(_PACKED.pack(row.kind.encode("utf-32-le")[:_KIND_BYTES], *numbers))
    return b"".join(found)


class Block(NamedTuple):
    """Rows as bytes of TABLE, and the weights that they hold, LM head not included."""

    rows: bytes
    layer_weight_bytes: float


@dataclass(frozen=True)
class _Made:
    """What was made before of the same architecture, accelerator, calibration and precision: many cuts of a model share most of their rows."""

    blocks: dict[tuple[Any, ...], Block] = field(default_factory=dict)
    stored_bytes: dict[tuple[int, int], float] = field(default_factory=dict)


@functools.lru_cache(maxsize=64)
def _made(*_of: Any) -> _Made:
    return _Made()


class _Builder:
    """Rates and sizes of one rank, from which rows of an architecture are made: the model's own, or its draft's.

    Rows come in blocks, each made once for all replicas that differ only in what the block does not depend on.
    """

    def __init__(
        self,
        replica: Replica,
        architecture: Architecture,
        layers: tuple[LayerGroup, ...],
        *,
        step_tokens: float = 1.0,
        repeats: float = 1.0,
        prefix: str = "",
        is_nextn: bool = False,
    ) -> None:
        self.replica = replica
        self.p = replica.parameters
        self.architecture, self.layers, self.is_nextn = architecture, layers, is_nextn
        self.step_tokens, self.repeats, self.prefix = step_tokens, repeats, prefix
        self.hidden = float(architecture.hidden_size)
        self.parts = replica.parallelism
        self.tp = self.parts.tensor
        self.groups = self.parts.attention_data * self.parts.context
        self.share = 1.0 / self.groups

    @cached_property
    def made(self) -> _Made:
        """What was made before."""
        of = (self.architecture, self.replica.accelerator, self.replica.calibration)
        rows = (self.step_tokens, self.prefix, self.repeats, self.is_nextn)
        return _made(*(Same(one) for one in of), self.replica.engine, self.replica.precision, *rows)

    @cached_property
    def per_rank(self) -> float:
        """Share of an accelerator that a rank is."""
        return 1.0 / self.replica.accelerator.ranks

    @cached_property
    def bandwidth(self) -> float:
        """Vendor's memory bandwidth of a rank, in bytes per second."""
        return self.replica.accelerator.need("hbm_bandwidth").si * self.per_rank

    @cached_property
    def peak_bf16(self) -> float:
        """Vendor's bf16 peak of a rank, in FLOP per second."""
        return self.replica.peak("bf16").si * self.per_rank

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Levels of the network."""
        return links_of(self.replica)

    @cached_property
    def kv_bytes(self) -> float:
        """Bytes of a number in the KV cache."""
        return BYTES_PER_WEIGHT[self.replica.kv_dtype]

    def pack(self, rows: Iterable[Row]) -> bytes:
        """Rows as bytes of the table, with what all rows of this architecture have in common."""
        if self.step_tokens == self.repeats == 1.0 and not self.prefix:
            return _packed(rows)
        return _packed(row._replace(kind=self.prefix + row.kind, step_tokens=self.step_tokens, repeats=self.repeats) for row in rows)

    def block(self, rows: Callable[[], Iterable[Row]], *depends_on: int) -> Block:
        """Rows of a method, made once for equal `depends_on`, which must hold all of the cut that the method looks at."""
        key = (rows.__name__, *depends_on)
        found = self.made.blocks.get(key)
        if found is None:
            made = list(rows())
            found = self.made.blocks[key] = Block(self.pack(made), sum(row.layers * row.weight_bytes for row in made if not row.sampled))
        return found

    def dtype(self, component: Literal["attention", "ffn", "expert"]) -> str:
        """Dtype of a component's weights."""
        return self.replica.weight_dtype(component, self.architecture)

    def heads(self, heads: int) -> float:
        """Heads of one rank; padded to a multiple of the ranks where the software does so."""
        return math.ceil(heads / self.tp) if self.replica.pads_heads else heads / self.tp

    def kv_heads(self, kv_heads: int, heads: int) -> float:
        """KV heads of one rank: shared out, replicated where ranks are a multiple of them, expanded to all heads where neither divides."""
        if kv_heads % self.tp == 0 or self.tp % kv_heads == 0:
            return max(kv_heads / self.tp, 1.0)
        return self.heads(heads)

    def gemm(self, kind: str, layers: float, weights: float, dtype: str, share: float, *, efficiency: float = 1.0, sampled: float = 0.0) -> Row:
        """A matrix multiplication of `weights` elements per rank."""
        compute = self.replica.compute_dtype(dtype)
        peak = self.replica.peak(compute).si * self.per_rank
        return Row(
            kind,
            layers,
            share,
            sampled,
            weight_bytes=weights * BYTES_PER_WEIGHT[dtype],
            flop_per_token=FLOP_PER_WEIGHT * weights,
            floor_flop=FLOP_PER_WEIGHT * weights * self.p["gemm_floor_tokens"],
            memory_rate=self.bandwidth * self.p["weight_bandwidth_efficiency"] * efficiency,
            compute_rate=peak * self.p[f"compute_efficiency_{compute}"] * efficiency,
            memory_peak=self.bandwidth,
            compute_peak=peak,
        )

    def context(self, kind: str, layers: float, **quantities: Any) -> Row:
        """A row that reads the KV cache or a recurrent state."""
        return Row(
            kind,
            layers,
            self.share,
            memory_rate=self.bandwidth * self.p["kv_bandwidth_efficiency"],
            compute_rate=self.peak_bf16 * self.p["attention_compute_efficiency"],
            memory_peak=self.bandwidth,
            compute_peak=self.peak_bf16,
            **quantities,
        )

    def attention(self, part: Attention, layers: float) -> Iterator[Row]:
        """Rows of an attention or state-space part."""
        match part:
            case Gqa():
                yield from self.gqa(part, layers)
            case Mla():
                yield from self.mla(part, layers)
            case Compressed():
                yield from self.compressed(part, layers)
            case Linear():
                yield from self.recurrent("linear", part, part.value_heads, layers)
            case Mamba2():
                yield from self.recurrent("state_space", part, part.heads, layers)

    def gqa(self, part: Gqa, layers: float) -> Iterator[Row]:
        """Grouped-query attention (Ainslie et al., arXiv:2305.13245): KV is read once per KV head, FLOP are spent once per query head."""
        dtype = self.dtype("attention")
        heads, kv_heads = self.heads(part.heads), self.kv_heads(part.kv_heads, part.heads)
        queries = heads * (part.head_dim + (part.v_head_dim if part.output_gate else 0))
        qkv = self.hidden * (queries + kv_heads * (part.head_dim + part.v_head_dim))
        yield self.gemm("query_key_value", layers, qkv, dtype, self.share)
        floor = self.p["kv_row_floor"]
        key_bytes, value_bytes = (kv_heads * dim * self.kv_bytes for dim in (part.head_dim, part.v_head_dim))
        pair_flop = FLOP_PER_WEIGHT * heads * (part.head_dim + part.v_head_dim)
        window = float(part.window_tokens or math.inf)
        yield self.context(
            "attention",
            layers,
            context_bytes=max(key_bytes, floor) + max(value_bytes, floor),
            context_flop=pair_flop,
            context_cap=min(window, float(part.sparse.index_topk) if part.sparse else math.inf),
            prefill_pair_flop=pair_flop,
            stored_bytes=key_bytes + value_bytes,
            stored_cap=window,
        )
        if part.sparse:
            yield from self.indexer(part.sparse, layers, self.hidden)
        yield self.gemm("output", layers, heads * part.v_head_dim * self.hidden, dtype, self.share)

    def mla(self, part: Mla, layers: float) -> Iterator[Row]:
        """Multi-head latent attention (arXiv:2405.04434): absorbed in decode (every head attends to the latent), expanded in prefill. Each rank holds
        the whole latent.
        """
        dtype = self.dtype("attention")
        heads = self.heads(part.heads)
        query_width = heads * (part.qk_nope_head_dim + part.qk_rope_head_dim)
        rank = part.q_lora_rank
        queries = self.hidden * query_width if rank is None else rank * (self.hidden + query_width)
        latent = part.kv_lora_rank + part.qk_rope_head_dim
        expanded = part.kv_lora_rank * heads * (part.qk_nope_head_dim + part.v_head_dim)
        yield self.gemm("query_key_value", layers, queries + self.hidden * latent + expanded, dtype, self.share)
        pair_flop = FLOP_PER_WEIGHT * heads * (part.qk_nope_head_dim + part.qk_rope_head_dim + part.v_head_dim)
        yield self.context(
            "attention",
            layers,
            context_bytes=max(latent * self.kv_bytes, self.p["kv_row_floor"]),
            context_flop=FLOP_PER_WEIGHT * heads * (latent + part.kv_lora_rank),
            context_cap=float(part.sparse.index_topk) if part.sparse else math.inf,
            prefill_pair_flop=pair_flop,
            stored_bytes=latent * self.kv_bytes,
        )
        if part.sparse:
            yield from self.indexer(part.sparse, layers, self.hidden if rank is None else rank)
        outputs = (2 if part.output_gate else 1) * heads * part.v_head_dim * self.hidden
        yield self.gemm("output", layers, outputs, dtype, self.share)

    def compressed(self, part: Compressed, layers: float) -> Iterator[Row]:
        """Attention over a window and over one compressed entry per `compression` tokens, keys serving as values; the index picks among compressed entries."""
        dtype = self.dtype("attention")
        heads = self.heads(part.heads)
        per_entry = 2 * (2 if part.overlap else 1) if part.compression > 1 else 0
        inputs = part.q_lora_rank * (self.hidden + heads * part.head_dim) + self.hidden * part.head_dim * (1 + per_entry)
        yield self.gemm("query_key_value", layers, inputs, dtype, self.share)
        entry_bytes = part.head_dim * self.kv_bytes
        entry_flop = FLOP_PER_WEIGHT * heads * 2 * part.head_dim
        yield self._entries(layers, entry_bytes, entry_flop, float(part.window_tokens), float(part.window_tokens))
        if part.compression > 1:
            chosen = float(part.sparse.index_topk * part.compression) if part.sparse else math.inf
            yield self._entries(layers, entry_bytes / part.compression, entry_flop / part.compression, chosen, math.inf)
        if part.sparse:
            yield from self.indexer(part.sparse, layers, part.q_lora_rank, part.compression, per_entry)
        outputs = part.o_lora_rank * (heads * part.head_dim + part.o_groups * self.hidden / self.tp)
        yield self.gemm("output", layers, outputs, dtype, self.share)

    def _entries(self, layers: float, entry_bytes: float, entry_flop: float, cap: float, stored_cap: float) -> Row:
        return self.context(
            "attention",
            layers,
            context_bytes=entry_bytes,
            context_flop=entry_flop,
            context_cap=cap,
            prefill_pair_flop=entry_flop,
            stored_bytes=entry_bytes,
            stored_cap=stored_cap,
        )

    def indexer(self, index: SparseIndex, layers: float, query_size: float, compression: int = 1, per_entry: int = 1) -> Iterator[Row]:
        """The index that scores every cached position before attention reads the best ones; its keys are eight-bit and on every rank.

        `per_entry` projections of the hidden state make one key, where a compressor of the index's own does.
        """
        if not index.owned:
            return
        weights = index.parameters(int(self.hidden), int(query_size)) + (per_entry - 1) * self.hidden * index.index_head_dim
        yield self.gemm("index_projection", layers, weights, self.dtype("attention"), self.share)
        pair_flop = FLOP_PER_WEIGHT * index.index_heads * index.index_head_dim / compression
        key_bytes = index.index_head_dim * BYTES_PER_WEIGHT["fp8"] / compression
        yield self.context("index", layers, context_bytes=key_bytes, context_flop=pair_flop, prefill_pair_flop=pair_flop, stored_bytes=key_bytes)

    def recurrent(self, kind: str, part: Linear | Mamba2, heads: int, layers: float) -> Iterator[Row]:
        """A recurrent layer: its state is read and written once per sequence and step, whatever the context."""
        padding = self.heads(heads) * self.tp / heads
        weights = part.parameters(int(self.hidden)) * padding / self.tp
        state = part.state_elements * padding / self.tp
        state_bytes = state * BYTES_PER_WEIGHT[part.state_dtype]
        yield self.gemm(f"{kind}_projections", layers, weights, self.dtype("attention"), self.share)
        # The state's update and read-out are FLOP per token in prefill too; as a chunked scan they run on the same units as attention.
        yield self.context(
            f"{kind}_state",
            layers,
            sequence_bytes=2 * state_bytes,
            flop_per_token=2 * FLOP_PER_WEIGHT * state,
            stored_state_bytes=state_bytes,
        )

    def ffn(self, part: Dense | Moe, layers: float) -> Iterator[Row]:
        """Rows of an FFN but its routed experts. Under attention data-parallelism every rank sees all tokens of those, and its own of the rest."""
        matrices = 3.0 if part.gated else 2.0
        if isinstance(part, Dense):
            yield self.gemm("ffn", layers, matrices * self.hidden * part.intermediate_size / self.tp, self.dtype("ffn"), self.share)
            return
        yield self.gemm("router", layers, self.hidden * part.experts, "bf16", self.share)
        if part.latent_size:
            yield self.gemm("latent", layers, 2 * self.hidden * part.latent_size / self.tp, self.dtype("ffn"), self.share)
        if part.shared_intermediate_size:
            split = self.tp if self.groups == 1 else 1
            shared = matrices * self.hidden * part.shared_intermediate_size / split
            yield self.gemm("shared_expert", layers, shared, self.dtype("ffn"), self.share)

    def routed(self, part: Moe, layers: float) -> Row:
        """Routed experts: all of a rank's, read by the expected distinct share; the busiest rank carries `expert_imbalance_factor` times the mean."""
        parallelism = self.parts
        matrices = 3.0 if part.gated else 2.0
        expert = matrices * (part.latent_size or self.hidden) * part.expert_intermediate_size / parallelism.expert_tensor
        local = part.experts / parallelism.expert
        whole = self.gemm("routed_experts", layers, expert * local, self.dtype("expert"), 1.0, efficiency=self.p["expert_efficiency"])
        imbalance = self.p["expert_imbalance_factor"] if parallelism.expert > 1 else 1.0
        per_token = FLOP_PER_WEIGHT * expert * part.experts_per_token / parallelism.expert
        return whole._replace(flop_per_token=per_token * imbalance, experts=local, miss_probability=1.0 - part.experts_per_token / part.experts)

    def linked(self, kind: str, layers: float, share: float, lines: Lines, prefill_lines: Lines | None = None) -> Row:
        """A row of collectives from lines per token, less the stated overlap with compute."""
        exposed = 1.0 - self.p["link_overlap_fraction"]
        (latency_0, token_0), (latency_1, token_1), (latency_2, token_2) = lines
        least, slowest_to_start = min((per_token, latency) for latency, per_token in prefill_lines or lines)
        return Row(
            kind,
            layers,
            share,
            link_latency_s=(latency_0 * exposed, latency_1 * exposed, latency_2 * exposed),
            link_token_s=(token_0 * exposed, token_1 * exposed, token_2 * exposed),
            prefill_link_latency_s=slowest_to_start * exposed,
            prefill_link_token_s=least * exposed,
        )

    def collectives(self) -> Iterator[Row]:
        """One all-reduce after attention and one after the FFN; among attention groups the FFN's tokens are exchanged instead. A row a kind, for all layers."""
        payload = self.hidden * ACTIVATION_BYTES
        tensor_chips, stage_chips = self.replica.chips(self.tp), self.replica.chips(self.parts.stage_ranks)
        reduced = scaled(all_reduce(self.links, tensor_chips), payload)
        attending = sum(group.count for group in self.layers if group.attention is not None)
        if tensor_chips > 1 and attending:
            yield self.linked("attention_all_reduce", attending, self.share, reduced)
        if self.replica.chips(self.tp * self.parts.context) > tensor_chips:
            yield from (self.context_exchange(group.attention, group.count) for group in self.layers if group.attention is not None)
        if stage_chips == 1:
            return
        layers_of: dict[int, int] = {}  # by the experts of a token; 0 where it passes none
        for group in self.layers:
            if group.ffn is not None:
                experts = group.ffn.experts_per_token if isinstance(group.ffn, Moe) and self.groups > 1 else 0
                layers_of[experts] = layers_of.get(experts, 0) + group.count
        for experts, layers in layers_of.items():
            if experts:
                yield self.linked("expert_exchange", layers, 1.0, self.expert_exchange(experts, stage_chips, payload))
            elif self.groups == 1 or tensor_chips > 1:
                yield self.linked("ffn_all_reduce", layers, self.share, reduced)

    def expert_exchange(self, experts_per_token: int, chips: int, payload: float) -> Lines:
        """Dispatch and combine of one token of the replica: gather all and scatter the sums, or send each token to its experts' ranks alone; the lesser.

        All-to-all: an accelerator sends the tokens of its attention groups to as many ranks as hold their experts, and gets as much back.
        """
        gather = scaled(all_gather(self.links, chips), payload)
        gathered = joined(gather, gather)
        if self.parts.expert == 1:
            return gathered
        copies = min(experts_per_token, self.parts.expert)
        groups_on_chip = max(self.replica.accelerator.ranks / self.tp, 1.0)
        dispatch = scaled(all_to_all(self.links, chips), copies * payload * self.share * groups_on_chip)
        return fastest_slope(gathered, joined(dispatch, dispatch))

    def context_exchange(self, part: Attention, layers: float) -> Row:
        """Among context ranks: in decode queries are gathered and partial outputs reduced; in prefill keys and values go round (arXiv:2310.01889).

        An accelerator exchanges for all of its ranks; those of one tensor group hold different heads.
        """
        inner = self.replica.chips(self.tp)
        lines = all_gather(self.links, self.replica.chips(self.tp * self.parts.context), inner)
        ranks = min(self.replica.accelerator.ranks, self.tp)
        kept = self.stored_bytes(part) * ranks
        queries, outputs = (scaled(lines, width * ACTIVATION_BYTES * ranks) for width in self.query_and_output_width(part))
        exchanged = joined(queries, outputs)
        return self.linked("context_exchange", layers, 1.0 / self.parts.attention_data, exchanged, scaled(lines, kept))

    def stored_bytes(self, part: Attention) -> float:
        """Bytes of KV cache that a token leaves on one rank in one layer."""
        key = (id(part), self.tp)  # parts live as long as the architecture, which the cache holds
        if key not in self.made.stored_bytes:
            self.made.stored_bytes[key] = sum(row.stored_bytes for row in self.attention(part, 1.0))
        return self.made.stored_bytes[key]

    def query_and_output_width(self, part: Attention) -> tuple[float, float]:
        """Numbers in the queries, and in the attention output, of one token on one rank."""
        match part:
            case Mla():
                return self.heads(part.heads) * (part.qk_nope_head_dim + part.qk_rope_head_dim), self.heads(part.heads) * part.v_head_dim
            case Gqa():
                return self.heads(part.heads) * part.head_dim, self.heads(part.heads) * part.v_head_dim
            case Compressed():
                return self.heads(part.heads) * part.head_dim, self.heads(part.heads) * part.head_dim
            case _:
                return 0.0, 0.0

    def pipeline(self) -> Iterator[Row]:
        """Activations sent from stage to stage (Narayanan et al., arXiv:2104.04473, section 4.1): each rank sends its share to its like, a stage further.

        A boundary is as slow as the level at which the farthest of its pairs meet; the ranks of an accelerator share its links, and those whose like
        lies on the same accelerator need none. A row per level crossed.
        """
        ranks, stage = self.replica.accelerator.ranks, self.parts.stage_ranks
        crossed: dict[tuple[Line, int], int] = {}
        for boundary in range(1, self.parts.pipeline):
            senders = range((boundary - 1) * stage, boundary * stage)
            leaving = [rank // ranks for rank in senders if rank // ranks != (rank + stage) // ranks] if stage < ranks else [0] * min(stage, ranks)
            if leaving:
                line = send(self.links, senders[0] / ranks, (boundary + 1) * stage / ranks - 1 / ranks)
                key = (line, max(leaving.count(chip) for chip in set(leaving)))
                crossed[key] = crossed.get(key, 0) + 1
        for ((latency, per_byte), sharing), boundaries in crossed.items():
            line = (latency, per_byte * self.hidden * ACTIVATION_BYTES / self.tp * sharing)
            yield self.linked("stage_send", boundaries, self.share, (line, line, line))

    def overhead(self, group: LayerGroup) -> Row:
        """What a layer costs beyond bytes and FLOP: launches, synchronisation, small-message latency; a half for each half of a layer."""
        seconds = 0.0
        if group.attention is not None:
            seconds += self.p["layer_overhead"] / 2
            seconds += self.p["mla_layer_overhead"] if isinstance(group.attention, Mla) else 0.0
            seconds += self.p["linear_layer_overhead"] if isinstance(group.attention, (Linear, Mamba2)) else 0.0
        if group.ffn is not None:
            seconds += self.p["layer_overhead"] / 2
            seconds += self.p["moe_layer_overhead"] if isinstance(group.ffn, Moe) else 0.0
        return Row("overhead", group.count, overhead_s=seconds, passes=1.0)

    def of_group(self) -> Iterator[Row]:
        """Rows of all layers but their routed experts: what an attention group of a size does whatever else the cut is."""
        if self.is_nextn:
            yield self.gemm("projection", 1, 2 * self.hidden * self.hidden / self.tp, self.dtype("ffn"), self.share)
        for group in self.layers:
            if group.attention is not None:
                yield from self.attention(group.attention, group.count)
            if group.ffn is not None:
                yield from self.ffn(group.ffn, group.count)
            yield self.overhead(group)

    def experts(self) -> Iterator[Row]:
        """Rows of the routed experts."""
        for group in self.layers:
            if isinstance(group.ffn, Moe):
                yield self.routed(group.ffn, group.count)

    def head(self) -> Iterator[Row]:
        """The LM head, cut among all ranks of a stage; each sees every token."""
        yield self.gemm("lm_head", 1, self.architecture.embedding_parameters / self.parts.stage_ranks, "bf16", 1.0, sampled=1.0)

    def network(self) -> Iterator[Row]:
        """Rows of what goes over links."""
        if self.parts.stage_ranks > 1:
            yield from self.collectives()
        if self.parts.pipeline > 1 and not self.is_nextn:
            yield from self.pipeline()

    def blocks(self) -> tuple[Block, Block, Block]:
        """The blocks beside the network's."""
        parts = self.parts
        return (
            self.block(self.of_group, self.tp, self.groups),
            self.block(self.experts, parts.expert, parts.expert_tensor),
            self.block(self.head, parts.stage_ranks),
        )


def _builders(replica: Replica) -> Iterator[_Builder]:
    """Builders of the model, and of what drafts tokens, run once per drafted token: a draft model, or the model's own multi-token prediction."""
    drafted, own = float(replica.serving.speculative_tokens), replica.model.architecture
    yield _Builder(replica, own, own.groups, step_tokens=drafted + 1.0)
    if drafted and replica.draft is not None:
        draft = replica.draft.architecture
        yield _Builder(replica, draft, draft.groups, repeats=drafted, prefix="draft_")
    elif drafted and own.nextn is not None:
        yield _Builder(replica, own, (LayerGroup(count=1, attention=own.nextn.attention, ffn=own.nextn.ffn),), repeats=drafted, prefix="draft_", is_nextn=True)


def blocks_of(replica: Replica) -> list[Block]:
    """Blocks of a replica's table but for the network's: enough to know its weights."""
    return [block for builder in _builders(replica) for block in builder.blocks()]


def operator_table(replica: Replica, blocks: Iterable[Block]) -> Table:
    """The replica's operator table, shape (rows,), dtype TABLE, in SI per rank; `layers` and `repeats` are not multiplied in."""
    networks = (builder.pack(builder.network()) for builder in _builders(replica))
    return np.frombuffer(bytearray(b"".join((*(block.rows for block in blocks), *networks))), dtype=TABLE)
