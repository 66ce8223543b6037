"""The engine's equations a second time: one replica and one point at a time, in plain Python, slow and obvious.

Written from the papers and from the equations as stated, never from the folded constants or the kernels, which have to equal it. Everything is in SI and per
rank; a row is a dict, and what a row leaves out is zero (bytes, FLOP, seconds) or without limit (rates, bounds).

    step(m, context)   balance x sum over rows of layers x repeats x [ smax4(bytes / read rate, FLOP / multiply rate) + link(tokens) + overhead ] +
    c_step + c_sequence m
    smax4(m, c)        (m^4 + c^4)^(1/4)
    link(tokens)       the least of three algorithms' latency + seconds per token x tokens
    TPOT, TTFT, X      the closed loop of `accelmodel.serving.steady_state`

Where the engine departs from this, the fault is told in tests/test_known_faults.py.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from accelmodel.catalog.models import Architecture, Attention, Compressed, Dense, Gqa, LayerGroup, Linear, Mamba2, Mla, Moe, NextN, SparseIndex
from accelmodel.core.replica import Replica

Row = dict[str, Any]
Line = tuple[float, float]  # seconds of latency, and seconds per byte or per token

# Bits of a stored weight with its scales: OCP MX 1.0 (8 bits among 32), NVFP4 (8 among 16), INT4 in groups of 128 with a 16-bit scale.
BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "mxfp4": 4 + 8 / 32, "nvfp4": 4 + 8 / 16, "fp4": 4 + 8 / 16, "int4": 4 + 16 / 128}
ACTIVATION_BYTES = 2
BINDINGS = ("compute", "memory", "network", "overhead", "capacity")


def smax4(memory_s: float, compute_s: float) -> float:
    """A smooth maximum: the fourth-power mean."""
    return (memory_s**4 + compute_s**4) ** 0.25


def causal_pairs(fresh: float, cached: float, bound: float = math.inf, square: float = 1.0) -> float:
    """(query, key) pairs of `fresh` queries behind `cached` keys: the area under min(position, bound) from `cached` to `cached + fresh`.

    `square` 2: software computes the whole square of a prompt's own keys, of which half is masked; what lies behind a prefix is a rectangle anyway.
    """
    end = cached + fresh
    slope_end = min(max(bound, cached), end)
    below = slope_end - cached
    slope = (cached + slope_end) / 2 * below + (square - 1) * below**2 / 2
    flat = (end - slope_end) * bound if end > slope_end else 0.0
    return slope + flat


# --- the network ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """A level of the network: accelerators that it joins, those that the level inside joins, one-way bytes per second of an accelerator, seconds of a
    message.
    """

    size: float
    inside: float
    topology: str
    shape: tuple[int, ...]
    own: bool
    rate: float
    latency_s: float

    def usable(self, start: float, reach: float) -> float:
        """Bytes per second among the parties of a group that grows from `start` to `reach` accelerators here: over links among its own members only.

        A mesh joins each pair by a link of its own. A torus is filled axis by axis, and a chip's rate is that of its links along all axes; a level
        that states its own rate means that of the axes that it adds.
        """
        if self.topology == "mesh":
            return self.rate * (reach / start - 1) / (self.size - 1)
        if self.topology.startswith("torus"):
            before, counted, used = 1, 0, 0
            for side in self.shape:
                counted += not (self.own and before * side <= self.inside)
                used += before < reach and before * side > start
                before *= side
            return self.rate * used / counted
        return self.rate

    @property
    def direct(self) -> bool:
        """Whether each reaches each without passing through a third."""
        return self.topology in ("switch", "mesh", "pcie")


def network(replica: Replica) -> list[Level]:
    """Levels from the innermost; beyond the system, every host reaches every other. Inside a system a message's latency is part of the layer's overhead."""
    efficiency = replica.parameters["link_efficiency"]
    levels: list[Level] = []
    inside = 1.0
    for one in replica.system.scale_up:
        if one.topology != "single":
            rate = (one.bandwidth or replica.accelerator.need("scale_up_bandwidth")).si * efficiency
            levels.append(Level(one.accelerators, inside, one.topology, one.shape, one.bandwidth is not None, rate, 0.0))
            inside = one.accelerators
    out = replica.accelerator.figures.scale_out_bandwidth
    if out is not None:
        levels.append(Level(math.inf, inside, "switch", (), True, out.si * efficiency, replica.parameters["scale_out_latency"]))
    return levels


def crossings(levels: list[Level], start: float, reach: float) -> list[tuple[Level, float, float]]:
    """What a group crosses that grows from `start` accelerators (one party) to `reach`: level, parties that meet there, usable rate."""
    found = []
    for level in levels:
        if (here := min(level.size, reach)) > start:
            found.append((level, here / start, level.usable(start, here)))
            start = here
    return found


def all_reduce_lines(crossed: list[tuple[Level, float, float]]) -> list[Line]:
    """Thakur, Rabenseifner, Gropp 2005, section 4.5: ring, halving and doubling, recursive doubling; seconds per byte of the payload.

    Ring and halving: a reduce-scatter and an all-gather, each of (g - 1)/g. What a level leaves to each party, 1/g, is what the next carries.
    """
    lines = []
    for algorithm in ("ring", "halving", "doubling"):
        latency, per_byte, left = 0.0, 0.0, 1.0
        for level, g, rate in crossed:
            rounds = math.ceil(math.log2(g))
            messages = {"ring": 2 * (g - 1), "halving": 2 * rounds if level.direct else 2 * (g - 1), "doubling": rounds}[algorithm]
            volume = rounds if algorithm == "doubling" else 2 * (g - 1) / g
            latency, per_byte, left = latency + messages * level.latency_s, per_byte + volume * left / rate, left / g
        lines.append((latency, per_byte))
    return lines


def all_gather_lines(crossed: list[tuple[Level, float, float]]) -> list[Line]:
    """The same, section 4.1: (g - 1)/g of the whole, in g - 1 messages round a ring or in log2 g where each reaches each; a reduce-scatter is its mirror."""
    per_byte, ring, doubling, left = 0.0, 0.0, 0.0, 1.0
    for level, g, rate in crossed:
        ring += (g - 1) * level.latency_s
        doubling += (math.ceil(math.log2(g)) if level.direct else g - 1) * level.latency_s
        per_byte, left = per_byte + (g - 1) / g * left / rate, left / g
    return [(ring, per_byte), (doubling, per_byte)]


def all_to_all_lines(crossed: list[tuple[Level, float, float]]) -> list[Line]:
    """One message to each party of each level; of what an accelerator sends in equal parts to all of G, a level carries the parts that no level inside does."""
    latency, per_byte, reached = 0.0, 0.0, 1.0
    whole = math.prod(g for _, g, _ in crossed)
    for level, g, rate in crossed:
        latency += (g - 1) * level.latency_s
        per_byte += (g - 1) * reached / whole * mean_way(level, reached, g) / rate
        reached *= g
    return [(latency, per_byte)]


@functools.cache
def mean_way(level: Level, start: float, parties: float) -> float:
    """Links that a byte takes on average between two different parties: counted place by place round the axes along which they lie."""
    if level.direct or parties == 1:
        return 1.0
    along, before = [], level.inside if level.own and level.topology.startswith("torus") and level.inside > 1 else 1
    sides = level.shape or (level.size,)
    if before > 1:
        sides = [side for k, side in enumerate(sides) if math.prod(sides[: k + 1]) > before]
        start = 1.0
        before = 1
    left = parties
    for side in sides:
        free = before * side / max(before, min(start, before * side))
        before *= side
        if free > 1 and left > 1:
            along.append(min(free, left))
            left /= along[-1]
    if any(extent != round(extent) for extent in along):  # a group that fills an axis in part: as if on average
        return max(sum(math.floor(extent * extent / 4) / extent for extent in along) * parties / (parties - 1), 1.0)
    places = list(itertools.product(*(range(round(extent)) for extent in along)))
    ways = [sum(min(place, round(extent) - place) for place, extent in zip(there, along, strict=True)) for there in places]
    return max(sum(ways) / (len(places) - 1), 1.0)


def twice(lines: list[Line]) -> list[Line]:
    """A collective and its mirror, each of half the bytes that the line's unit counts: twice the messages."""
    return [(2 * latency, per_byte) for latency, per_byte in lines]


# --- the operator table ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rank:
    """One tensor-parallel rank: its share of the chip, and what the calibration says of it. `architecture` is the model's or its draft's."""

    replica: Replica
    architecture: Architecture
    published: Architecture

    @property
    def tp(self) -> int:
        return self.replica.parallelism.tensor

    @property
    def dp(self) -> int:
        return self.replica.parallelism.attention_data

    @property
    def cp(self) -> int:
        return self.replica.parallelism.context

    @property
    def groups(self) -> int:
        """Parts into which a step's tokens are dealt: those of attention groups, and in each those of context ranks."""
        return self.dp * self.cp

    @property
    def parameters(self) -> dict[str, float]:
        return self.replica.parameters

    @property
    def bandwidth(self) -> float:
        return self.replica.accelerator.need("hbm_bandwidth").si / self.replica.accelerator.ranks

    def chips(self, ranks: int) -> int:
        """Accelerators on which a group of ranks lies."""
        return -(-ranks // self.replica.accelerator.ranks)

    def peak(self, dtype: str) -> float:
        return self.replica.accelerator.need(f"peak_{dtype}").si / self.replica.accelerator.ranks

    def heads(self, heads: int) -> float:
        """Query heads: padded to a multiple of the ranks on Neuron (NxDI gqa.py), divided evenly elsewhere."""
        return -(-heads // self.tp) if self.replica.accelerator.stack == "neuron" else heads / self.tp

    def kv_heads(self, heads: int, kv_heads: int) -> float:
        """KV heads: at least one a rank (replication), multi-head where neither number divides the other (NxDI gqa.py)."""
        if max(kv_heads, self.tp) % min(kv_heads, self.tp):
            return self.heads(heads)
        return max(1.0, kv_heads / self.tp)

    def stored(self, component: str) -> str:
        """Dtype of stored weights: as asked for, else as published; four-bit formats are for the experts where a model has experts."""
        published = self.published.native_dtype
        if component == "expert" and self.published.expert_dtype is not None:
            published = self.published.expert_dtype
        asked = self.replica.precision.weights
        mixture = "moe" in self.published.kind_counts
        if asked is None or (BITS[asked] < 8 and mixture and component != "expert"):
            return published
        return asked

    def multiplied(self, stored: str) -> str:
        """Dtype of the multiplication: the weights' own where the chip has a rate for it, MXFP4 against eight-bit activations, else bf16."""
        if self.replica.precision.compute is not None:
            return self.replica.precision.compute
        figures = self.replica.accelerator.figures
        has_fp8, has_fp4 = figures.peak_fp8 is not None, figures.peak_fp4 is not None
        rate = {"fp8": has_fp8 and "fp8", "fp4": has_fp4 and "fp4", "nvfp4": has_fp4 and "fp4", "mxfp4": has_fp4 and has_fp8 and "fp8"}
        return rate.get(stored) or "bf16"

    def matrix(self, kind: str, layers: float, elements: float, stored: str, *, everyone: bool = False, efficiency: float = 1.0) -> Row:
        """A matrix of `elements` on this rank: every element is read once per step and multiplied and added once per token."""
        p, dtype = self.parameters, self.multiplied(stored)
        return {
            "kind": kind,
            "layers": layers,
            "share": 1.0 if everyone else 1 / self.groups,
            "weight_bytes": elements * BITS[stored] / 8,
            "flop_per_token": 2 * elements,
            "floor_flop": 2 * elements * p["gemm_floor_tokens"],
            "read_rate": self.bandwidth * p["weight_bandwidth_efficiency"] * efficiency,
            "multiply_rate": self.peak(dtype) * p[f"compute_efficiency_{dtype}"] * efficiency,
            "read_peak": self.bandwidth,
            "multiply_peak": self.peak(dtype),
        }

    def context(self, kind: str, layers: float, **quantities: float) -> Row:
        """What every sequence keeps and reads back: keys and values, index keys, a recurrent state."""
        p = self.parameters
        return {
            "kind": kind,
            "layers": layers,
            "share": 1 / self.groups,
            "read_rate": self.bandwidth * p["kv_bandwidth_efficiency"],
            "multiply_rate": self.peak("bf16") * p["attention_compute_efficiency"],
            "read_peak": self.bandwidth,
            "multiply_peak": self.peak("bf16"),
            **quantities,
        }

    def link(self, kind: str, layers: float, share: float, lines: list[Line], bytes_per_token: float, prefill: list[Line] | None = None) -> Row:
        """A collective of so many bytes a token, less what is hidden behind compute; `prefill` where a prefill exchanges something else (per token)."""
        exposed = 1 - self.parameters["link_overlap_fraction"]
        of_token = [(latency * exposed, per_byte * bytes_per_token * exposed) for latency, per_byte in lines]
        in_prefill = of_token if prefill is None else [(latency * exposed, per_token * exposed) for latency, per_token in prefill]
        return {"kind": kind, "layers": layers, "share": share, "lines": of_token, "prefill_lines": in_prefill}

    @property
    def kv_element_bytes(self) -> float:
        return BITS[self.replica.precision.kv or "bf16"] / 8

    def read(self, cached_bytes: float) -> float:
        """Bytes that a read of a cached row costs: short rows run below the DMA's peak, as if they were longer."""
        return max(cached_bytes, self.parameters["kv_row_floor"])


def gqa_rows(rank: Rank, part: Gqa, layers: float, hidden: int) -> list[Row]:
    """arXiv:2305.13245: H query heads of d share G key-value heads. K and V are read once per KV head; scores and weighted sums are per query head."""
    heads, kv_heads = rank.heads(part.heads), rank.kv_heads(part.heads, part.kv_heads)
    key, value = part.head_dim, part.v_head_dim
    gate = hidden * heads * value if part.output_gate else 0
    projections = hidden * heads * key + gate + hidden * kv_heads * key + hidden * kv_heads * value
    per_pair = 2 * heads * key + 2 * heads * value
    cached_keys, cached_values = kv_heads * key * rank.kv_element_bytes, kv_heads * value * rank.kv_element_bytes
    window = part.window_tokens or math.inf
    rows = [
        rank.matrix("query_key_value", layers, projections, rank.stored("attention")),
        rank.context(
            "attention",
            layers,
            context_bytes=rank.read(cached_keys) + rank.read(cached_values),
            context_flop=per_pair,
            bound=min(window, part.sparse.index_topk) if part.sparse else window,
            pair_flop=per_pair,
            cached_bytes=cached_keys + cached_values,
            cached_bound=window,
        ),
        rank.matrix("output", layers, heads * value * hidden, rank.stored("attention")),
    ]
    return rows + (index_rows(rank, part.sparse, layers, hidden, hidden) if part.sparse else [])


def mla_rows(rank: Rank, part: Mla, layers: float, hidden: int) -> list[Row]:
    """arXiv:2405.04434, 2.1: one latent of d_c and one rotary key per token serve all heads, so every rank holds them.

    Decode absorbs the expansions: a query of d_c + d_rope scores the latent, and the weighted sum is of d_c. Prefill expands: keys of d_nope + d_rope, values
    of d_v.
    """
    heads = rank.heads(part.heads)
    nope, rope, value, latent = part.qk_nope_head_dim, part.qk_rope_head_dim, part.v_head_dim, part.kv_lora_rank
    query = heads * (nope + rope)
    if part.q_lora_rank is None:
        query_weights, query_input = hidden * query, hidden
    else:
        query_weights, query_input = hidden * part.q_lora_rank + part.q_lora_rank * query, part.q_lora_rank
    down = hidden * (latent + rope)
    up = latent * heads * nope + latent * heads * value
    absorbed_pair = 2 * heads * (latent + rope) + 2 * heads * latent
    expanded_pair = 2 * heads * (nope + rope) + 2 * heads * value
    cached = (latent + rope) * rank.kv_element_bytes
    output = heads * value * hidden
    rows = [
        rank.matrix("query_key_value", layers, query_weights + down + up, rank.stored("attention")),
        rank.context(
            "attention",
            layers,
            context_bytes=rank.read(cached),
            context_flop=absorbed_pair,
            bound=part.sparse.index_topk if part.sparse else math.inf,
            pair_flop=expanded_pair,
            cached_bytes=cached,
        ),
        rank.matrix("output", layers, 2 * output if part.output_gate else output, rank.stored("attention")),
    ]
    return rows + (index_rows(rank, part.sparse, layers, hidden, query_input) if part.sparse else [])


def compressed_rows(rank: Rank, part: Compressed, layers: float, hidden: int) -> list[Row]:
    """Window attention beside attention over one entry per `compression` tokens; one vector of `head_dim` is key and value at once.

    An entry is a softmax-weighted mixture of projected tokens: two projections (what is mixed, and the weights), both doubled where neighbouring blocks
    overlap. The index has a compressor of its own for its keys.
    """
    heads, width = rank.heads(part.heads), part.head_dim
    mixture = (4 if part.overlap else 2) if part.compression > 1 else 0
    inputs = hidden * part.q_lora_rank + part.q_lora_rank * heads * width + hidden * width + mixture * hidden * width
    entry, per_pair = width * rank.kv_element_bytes, 2 * heads * width + 2 * heads * width
    window = part.window_tokens
    rows = [
        rank.matrix("query_key_value", layers, inputs, rank.stored("attention")),
        rank.context(
            "attention", layers, context_bytes=entry, context_flop=per_pair, bound=window, pair_flop=per_pair, cached_bytes=entry, cached_bound=window
        ),
        rank.matrix("output", layers, heads * width * part.o_lora_rank + part.o_groups * part.o_lora_rank * hidden / rank.tp, rank.stored("attention")),
    ]
    if part.compression > 1:
        each, pair = entry / part.compression, per_pair / part.compression
        chosen = part.sparse.index_topk * part.compression if part.sparse else math.inf
        rows.append(rank.context("attention", layers, context_bytes=each, context_flop=pair, bound=chosen, pair_flop=pair, cached_bytes=each))
    if part.sparse and part.sparse.owned:
        key_compressor = (mixture - 1) * hidden * part.sparse.index_head_dim
        rows += index_rows(rank, part.sparse, layers, hidden, part.q_lora_rank, part.compression, key_compressor)
    return rows


def index_rows(rank: Rank, index: SparseIndex, layers: float, hidden: int, query_input: int, compression: int = 1, key_compressor: float = 0.0) -> list[Row]:
    """DeepSeek-V3.2 report, 2.1: few narrow heads score every cached position against one eight-bit key; whole on every rank."""
    if not index.owned:
        return []
    queries = query_input * index.index_heads * index.index_head_dim
    keys = hidden * index.index_head_dim + key_compressor
    scales = hidden * index.index_heads if index.scaled else 0
    per_pair, key = 2 * index.index_heads * index.index_head_dim / compression, index.index_head_dim / compression
    return [
        rank.matrix("index_projection", layers, queries + keys + scales, rank.stored("attention")),
        rank.context("index", layers, context_bytes=key, context_flop=per_pair, pair_flop=per_pair, cached_bytes=key),
    ]


def recurrent_rows(rank: Rank, part: Linear | Mamba2, layers: float, hidden: int) -> list[Row]:
    """arXiv:2412.06464 (gated delta rule), 2510.26692 (Kimi), 2405.21060 (Mamba-2): a state in place of a cache, read and written once per step."""
    if isinstance(part, Linear):
        heads, inner = part.value_heads, part.value_heads * part.value_head_dim
        queries = keys = part.key_heads * part.key_head_dim
        decay = part.decay_rank * (hidden + keys) if part.decay_rank else hidden * heads
        gate = part.gate_rank * (hidden + inner) if part.gate_rank else hidden * inner
        strength = hidden * heads
        elements = (hidden + part.conv_kernel) * (queries + keys + inner) + decay + strength + gate + inner * hidden
        state = heads * part.key_head_dim * part.value_head_dim
    else:
        heads, inner = part.heads, part.heads * part.head_dim
        convolved = inner + 2 * part.groups * part.state_size
        elements = hidden * (inner + convolved + heads) + part.conv_kernel * convolved + inner * hidden
        state = heads * part.head_dim * part.state_size
    share = rank.heads(heads) / heads
    state_bytes = share * state * BITS[part.state_dtype] / 8
    return [
        rank.matrix("projections", layers, share * elements, rank.stored("attention")),
        # A multiplication and an addition for the update of each element, and for its read-out.
        rank.context("state", layers, state_bytes=2 * state_bytes, flop_per_token=(2 + 2) * share * state, kept_bytes=state_bytes),
    ]


def ffn_rows(rank: Rank, part: Dense | Moe, layers: float, hidden: int) -> list[Row]:
    """Gate, up and down (or up and down) per expert; a router in bf16; shared experts for all tokens; routed experts dealt out to `expert` groups."""
    matrices = 3 if part.gated else 2
    if isinstance(part, Dense):
        return [rank.matrix("ffn", layers, matrices * hidden * part.intermediate_size / rank.tp, rank.stored("ffn"))]
    rows = [rank.matrix("router", layers, hidden * part.experts, "bf16")]
    if part.latent_size:
        rows.append(rank.matrix("latent", layers, 2 * hidden * part.latent_size / rank.tp, rank.stored("ffn")))
    if part.shared_intermediate_size:
        rows.append(rank.matrix("shared_expert", layers, matrices * hidden * part.shared_intermediate_size / shared_cut(rank), rank.stored("ffn")))
    return [*rows, routed_row(rank, part, layers, matrices * (part.latent_size or hidden) * part.expert_intermediate_size)]


def shared_cut(rank: Rank) -> int:
    """Ranks that share a shared expert: under attention data-parallelism it is not cut."""
    return rank.tp if rank.groups == 1 else 1


def routed_row(rank: Rank, part: Moe, layers: float, expert_elements: float) -> Row:
    """n tokens reach E/ep (1 - (1 - k/E)^(n^skew)) of a rank's experts, and n k/ep expert-tokens fall to it: times the imbalance on the busiest rank."""
    groups = rank.replica.parallelism.expert
    on_rank = part.experts / groups
    elements = expert_elements / (rank.tp * rank.groups / groups)
    row = rank.matrix("routed_experts", layers, elements * on_rank, rank.stored("expert"), everyone=True, efficiency=rank.parameters["expert_efficiency"])
    busiest = rank.parameters["expert_imbalance_factor"] if groups > 1 else 1.0
    return row | {"flop_per_token": 2 * elements * part.experts_per_token / groups * busiest, "miss": 1 - part.experts_per_token / part.experts}


def collective_rows(rank: Rank, group: LayerGroup, hidden: int) -> list[Row]:
    """After attention an all-reduce among the chips of a tensor group; after the FFN one among all chips of the stage.

    Under attention data-parallelism (or context parallelism) a dense FFN is its tensor group's own matter, and a mixture's tokens are exchanged instead.
    """
    stage = rank.chips(rank.tp * rank.groups)
    inner = rank.chips(rank.tp)
    levels, payload = network(rank.replica), hidden * ACTIVATION_BYTES
    among = all_reduce_lines(crossings(levels, 1, inner))
    rows = []
    if group.attention is not None:
        if inner > 1:
            rows.append(rank.link("attention_all_reduce", group.count, 1 / rank.groups, among, payload))
        if rank.chips(rank.tp * rank.cp) > inner:
            rows.append(context_row(rank, group.attention, group.count, hidden))
    if group.ffn is None or stage == 1:
        return rows
    if rank.groups == 1 or isinstance(group.ffn, Dense):
        if inner > 1:
            rows.append(rank.link("ffn_all_reduce", group.count, 1 / rank.groups, among, payload))
    else:
        rows.append(exchange_row(rank, group.ffn, group.count, payload))
    return rows


def exchange_row(rank: Rank, part: Moe, layers: float, payload: float) -> Row:
    """Dispatch and combine: gather all tokens and scatter the sums, or send each token to as many groups as hold its experts, and back; the less of the two.

    An accelerator that holds several attention groups sends the tokens of all of them.
    """
    stage, groups = rank.chips(rank.tp * rank.groups), rank.replica.parallelism.expert
    crossed = crossings(network(rank.replica), 1, stage)
    gathered = rank.link("expert_exchange", layers, 1.0, twice(all_gather_lines(crossed)), 2 * payload)
    if groups == 1:
        return gathered
    copies = min(part.experts_per_token, groups)
    sent = rank.link("expert_exchange", layers, 1.0, twice(all_to_all_lines(crossed)), 2 * copies * payload * max(1 / rank.groups, 1 / stage))
    return min(gathered, sent, key=lambda row: min(per_token for _, per_token in row["lines"]))


def context_row(rank: Rank, part: Attention, layers: float, hidden: int) -> Row:
    """Decode gathers the queries of a rank's heads and scatters their partial outputs; prefill passes keys and values round the ring (arXiv:2310.01889).

    Every tensor rank of a chip exchanges its own heads over the links that they share.
    """
    start, reach = rank.chips(rank.tp), rank.chips(rank.tp * rank.cp)
    lines = all_gather_lines(crossings(network(rank.replica), start, reach))
    on_chip = min(rank.tp, rank.replica.accelerator.ranks)
    if isinstance(part, Gqa):
        width = rank.heads(part.heads) * (part.head_dim + part.v_head_dim)
    elif isinstance(part, Mla):
        width = rank.heads(part.heads) * (part.qk_nope_head_dim + part.qk_rope_head_dim + part.v_head_dim)
    else:
        assert isinstance(part, Compressed)
        width = rank.heads(part.heads) * 2 * part.head_dim
    kept = sum(row.get("cached_bytes", 0.0) for row in ATTENTION_ROWS[type(part)](rank, part, 1, hidden))  # type: ignore[operator]
    prefill = [(latency, per_byte * kept * on_chip) for latency, per_byte in lines]
    return rank.link("context_exchange", layers, 1 / rank.dp, twice(lines), width * ACTIVATION_BYTES * on_chip, prefill)


def send_rows(rank: Rank, hidden: int) -> list[Row]:
    """Narayanan et al., arXiv:2104.04473, 4.1: each rank of a stage sends its share of a token's activations on; the ranks of a chip share its links.

    A boundary between stages is as slow as the outermost level that a pair of neighbours meets at.
    """
    stage, per_chip, levels = rank.tp * rank.groups, rank.replica.accelerator.ranks, network(rank.replica)
    rows = []
    for boundary in range(1, rank.replica.parallelism.pipeline):
        pairs = [(sender // per_chip, (sender + stage) // per_chip) for sender in range((boundary - 1) * stage, boundary * stage)]
        sent = Counter(here for here, there in pairs if here != there)
        if sent:
            met = [next(k for k, level in enumerate(levels) if here // level.size == there // level.size) for here, there in pairs if here != there]
            payload = hidden * ACTIVATION_BYTES / rank.tp * max(sent.values())
            rows.append(rank.link("stage_send", 1, 1 / rank.groups, [(levels[max(met)].latency_s, 1 / levels[max(met)].rate)], payload))
    return rows


def overhead_row(rank: Rank, group: LayerGroup) -> Row:
    """study-gpu-2026-11: L c + L_moe c_moe + L_mla c_mla + L_linear c_linear; a layer of attention alone, or of an FFN alone, is half a layer."""
    p = rank.parameters
    halves = (group.attention is not None) + (group.ffn is not None)
    seconds = halves * p["layer_overhead"] / 2
    if isinstance(group.attention, Mla):
        seconds += p["mla_layer_overhead"]
    if isinstance(group.attention, Linear | Mamba2):
        seconds += p["linear_layer_overhead"]
    if isinstance(group.ffn, Moe):
        seconds += p["moe_layer_overhead"]
    return {"kind": "overhead", "layers": group.count, "overhead_s": seconds}


ATTENTION_ROWS = {Gqa: gqa_rows, Mla: mla_rows, Compressed: compressed_rows, Linear: recurrent_rows, Mamba2: recurrent_rows}


def layer_rows(rank: Rank, group: LayerGroup) -> list[Row]:
    """Rows of a group of layers."""
    rows, hidden = [], rank.architecture.hidden_size
    if group.attention is not None:
        rows += ATTENTION_ROWS[type(group.attention)](rank, group.attention, group.count, hidden)  # type: ignore[operator]
    if group.ffn is not None:
        rows += ffn_rows(rank, group.ffn, group.count, hidden)
    return [*rows, *collective_rows(rank, group, hidden), overhead_row(rank, group)]


def head_row(rank: Rank) -> Row:
    """The LM head is cut among all ranks of a stage, and every rank sees every sampled token."""
    elements = rank.architecture.vocab_size * rank.architecture.hidden_size / (rank.tp * rank.groups)
    return rank.matrix("lm_head", 1, elements, "bf16", everyone=True) | {"sampled": True}


def model_rows(rank: Rank) -> list[Row]:
    """Rows of a whole language model."""
    rows = [row for group in rank.architecture.groups for row in layer_rows(rank, group)]
    return [*rows, *send_rows(rank, rank.architecture.hidden_size), head_row(rank)]


def next_token_rows(rank: Rank, nextn: NextN) -> list[Row]:
    """arXiv:2412.19437, 2.2: a module projects (hidden state, embedding) to the hidden size and is one layer; the LM head is the model's own."""
    width = rank.architecture.hidden_size
    projection = rank.matrix("projection", 1, 2 * width * width / rank.tp, rank.stored("ffn"))
    return [projection, *layer_rows(rank, LayerGroup(count=1, attention=nextn.attention, ffn=nextn.ffn)), head_row(rank)]


def draft_rows(replica: Replica, published: Architecture | None = None) -> list[Row]:
    """What drafts tokens: run once per drafted token. `published` says in whose dtypes: the draft's own."""
    drafted = replica.serving.speculative_tokens
    if drafted == 0:
        return []
    own = replica.model.architecture
    if replica.draft is not None:
        rows = model_rows(Rank(replica, replica.draft.architecture, published or replica.draft.architecture))
    else:
        assert own.nextn is not None
        rows = next_token_rows(Rank(replica, own, own), own.nextn)
    return [row | {"kind": f"draft_{row['kind']}", "repeats": drafted} for row in rows]


def table_reference(replica: Replica) -> list[Row]:
    """All rows of a replica, per rank and layer. Speculative decoding checks its drafted tokens and one more at once (arXiv:2211.17192)."""
    own = replica.model.architecture
    tokens = replica.serving.speculative_tokens + 1
    return [row | {"step_tokens": tokens} for row in model_rows(Rank(replica, own, own))] + draft_rows(replica)


# --- the closed loop ------------------------------------------------------------------------------------------------------------------------


class Reference:
    """A replica's rows, its memory, and its operating points; `clock` is the share of the full clock that a power cap leaves."""

    def __init__(self, replica: Replica, clock: float = 1.0) -> None:
        self.replica, self.clock = replica, clock
        self.rows = self.table()
        self.parameters, self.serving, self.parts = replica.parameters, replica.serving, replica.parallelism
        self.architecture: Architecture = replica.model.architecture
        self.chunk = self.serving.chunk_tokens or self.parameters["chunk_tokens"]
        self.dp, self.cp, self.stages = self.parts.attention_data, self.parts.context, self.parts.pipeline
        # The fullest stage holds whole layers; the mean stage holds layers / stages of them.
        self.balance = -(-self.architecture.layers // self.stages) / (self.architecture.layers / self.stages)
        tdp = replica.accelerator.figures.tdp
        self.design_power_w = math.nan if tdp is None else tdp.si * replica.accelerators
        usable = (replica.accelerator.figures.hbm_usable or replica.accelerator.need("hbm_capacity")).si * self.parameters["usable_memory_fraction"]
        reserves = self.parameters["runtime_reserve"] + self.parameters["graph_reserve"]
        self.weight_bytes, self.activation_bytes = self.weights(), self.activations()
        self.pool_bytes = (usable - reserves) / replica.accelerator.ranks - self.weight_bytes - self.activation_bytes

    def table(self) -> list[Row]:
        return table_reference(self.replica)

    # --- memory

    def total(self, quantity: str) -> float:
        """Sum of a quantity over all layers of a rank."""
        return sum(row["layers"] * row.get(quantity, 0.0) for row in self.rows)

    def weights(self) -> float:
        """Weight bytes of a rank of the fullest stage: its layers, and of embedding and LM head both (one stage) or the larger (their stages)."""
        layers = sum(row["layers"] * row.get("weight_bytes", 0.0) for row in self.rows if not row.get("sampled"))
        return layers / self.stages * self.balance + self.ends(self.architecture) + self.draft_ends()

    def ends(self, architecture: Architecture) -> float:
        """Bytes of embedding and LM head on a rank; tied, they are one table, held as the larger of the two asks for."""
        whole = architecture.vocab_size * architecture.hidden_size * ACTIVATION_BYTES
        embedding, head = whole / self.parts.tensor, whole / self.parts.stage_ranks
        return max(embedding, head) if self.stages > 1 or architecture.tied_embeddings else embedding + head

    def draft_ends(self) -> float:
        """A draft model has an embedding and an LM head of its own."""
        return self.ends(self.replica.draft.architecture) if self.serving.speculative_tokens and self.replica.draft is not None else 0.0

    def activations(self) -> float:
        """(2 hidden + 2 widest FFN) x tokens of a pass on this rank x 2 bytes; of a mixture, routed experts as many times as a token has experts here."""
        widest = 0.0
        for group in self.architecture.groups:
            if isinstance(group.ffn, Dense):
                widest = max(widest, group.ffn.intermediate_size / self.parts.tensor)
            if isinstance(group.ffn, Moe):
                # Of its group's tokens and of all other groups', a rank computes those of k experts that are its own.
                widest = max(widest, group.ffn.experts_per_token * group.ffn.expert_intermediate_size / self.parts.tensor, self.shared_width(group.ffn))
        return (2 * self.architecture.hidden_size + 2 * widest) * self.chunk / self.cp * ACTIVATION_BYTES

    def shared_width(self, part: Moe) -> float:
        return part.shared_intermediate_size / shared_cut(Rank(self.replica, self.architecture, self.architecture))

    def sequence_bytes(self, tokens: float) -> float:
        """Bytes that a sequence of `tokens` keeps on a rank of its attention group, all stages and context ranks together."""
        cache = sum(row["layers"] * row["cached_bytes"] * min(tokens, row.get("cached_bound", math.inf)) for row in self.rows if "cached_bytes" in row)
        return cache + self.total("kept_bytes")

    def group_pool_bytes(self) -> float:
        """What an attention group's context ranks and stages hold, the fullest stage being full."""
        return self.pool_bytes * self.cp * self.stages / self.balance

    def fits(self, tokens: float) -> bool:
        """Whether at least one request fits."""
        return self.group_pool_bytes() >= self.sequence_bytes(tokens)

    # --- a step

    def distinct(self, row: Row, tokens: float) -> float:
        """Expected share of a rank's experts that are read: those that `tokens` reach, and some of the others; one for what is not an expert."""
        p = self.parameters
        return 1.0 - p["expert_unread_fraction"] * row["miss"] ** (tokens ** p["expert_skew_exponent"]) if "miss" in row else 1.0

    def passing(self, row: Row, micro: float) -> float:
        """Sequences of a micro-batch on this rank; an attention group holds at least one."""
        return micro if row["share"] == 1.0 else max(micro, self.dp) * row["share"]

    def decode_parts_s(self, micro: float, context: float) -> dict[str, float]:
        """Seconds of one decode step of a micro-batch, on the mean stage times the stages; `step` is the whole, the others what it is spent on."""
        p = self.parameters
        parts = dict.fromkeys(("step", "memory", "compute", "network"), 0.0)
        overhead_s = p["step_overhead"] + p["sequence_overhead"] * max(micro, self.dp) / self.dp
        for row in self.rows:
            times, tokens = row["layers"] * row.get("repeats", 1), row.get("step_tokens", 1)
            if "weight_bytes" in row:
                read = self.distinct(row, micro * tokens)
                memory_s = row["weight_bytes"] * read / row["read_rate"]
                compute_s = (row["flop_per_token"] * self.passing(row, micro) * tokens + row["floor_flop"] * read) / (row["multiply_rate"] * self.clock)
                parts["step"] += times * smax4(memory_s, compute_s)
                parts["memory"] += times * memory_s
                parts["compute"] += times * compute_s
            elif "read_rate" in row:
                seen = self.passing(row, micro) * min(context, row.get("bound", math.inf))
                here = self.passing(row, micro)
                memory_s = (row.get("context_bytes", 0.0) * seen + row.get("state_bytes", 0.0) * here) / row["read_rate"]
                flop = row.get("context_flop", 0.0) * seen + row.get("flop_per_token", 0.0) * here
                attend_s = smax4(memory_s, flop * tokens / (row["multiply_rate"] * self.clock))
                parts["step"] += times * attend_s
                parts["memory"] += times * attend_s
            elif "lines" in row:
                link_s = min(latency + per_token * micro * row["share"] * tokens for latency, per_token in row["lines"])
                parts["step"] += times * link_s
                parts["network"] += times * link_s
            else:
                overhead_s += times * row["overhead_s"]
        parts["overhead"] = overhead_s
        parts["step"] = (parts["step"] + overhead_s) * self.balance
        return parts

    def step_s(self, micro: float, context: float) -> float:
        """Seconds of one decode step."""
        return self.decode_parts_s(micro, context)["step"]

    @property
    def tokens_per_step(self) -> float:
        """arXiv:2211.17192: the first i drafted tokens all pass with probability a^i, and one token more always comes."""
        return sum((self.serving.acceptance_fraction or 0.0) ** i for i in range(self.serving.speculative_tokens + 1))

    # --- a prefill

    def body_s(self, tokens: float, passes: float = 1.0) -> float:
        """Seconds of prefilling `tokens` of all attention groups, attention aside: matrices, states, collectives; one token is sampled from.

        What a pass exchanges is large: of a collective's algorithms the one with the least seconds per token, its messages once a pass.
        """
        seconds = 0.0
        for row in self.rows:
            here = (1.0 if row.get("sampled") else tokens) * row.get("share", 0.0)
            if "weight_bytes" in row:
                read = self.distinct(row, tokens)
                compute_s = (row["flop_per_token"] * here + row["floor_flop"] * read) / (row["multiply_rate"] * self.clock)
                slower = self.parameters["expert_prefill_factor"] if "miss" in row else 1.0
                seconds += row["layers"] * slower * smax4(row["weight_bytes"] * read / row["read_rate"], compute_s)
            elif "flop_per_token" in row:
                seconds += row["layers"] * row["flop_per_token"] * here / (row["multiply_rate"] * self.clock)
            elif "lines" in row:
                latency, per_token = min(row["prefill_lines"], key=lambda line: (line[1], line[0]))
                seconds += row["layers"] * (latency * passes + per_token * here)
        return seconds

    def pairs_s(self, fresh: float, cached: float, rate: str = "multiply_rate") -> float:
        """Seconds of the (query, key) pairs of one prompt, all context ranks together."""
        square, clock = self.parameters["prefill_square_factor"], self.clock if rate == "multiply_rate" else 1.0
        return sum(
            row["layers"] * row["pair_flop"] * causal_pairs(fresh, cached, row.get("bound", math.inf), square) / (row[rate] * clock)
            for row in self.rows
            if "pair_flop" in row
        )

    def prefilled_layers(self) -> float:
        """Layers that a prefill pass runs: a draft needs its own keys and values of the prompt."""
        return sum(row["layers"] for row in self.rows if row["kind"].endswith("overhead"))

    def pass_overhead_s(self) -> float:
        return self.prefilled_layers() * self.parameters["prefill_layer_overhead"] + self.total("overhead_s") + self.parameters["step_overhead"]

    def full_pass_tokens(self) -> float:
        """A full chunk on every attention group."""
        return self.chunk * self.dp

    def prefill_s(self, fresh: float, cached: float) -> tuple[float, float]:
        """Seconds of a lone prompt on every attention group, and of one prompt at the margin: in full chunks on every group, or, where prompts run one by one,
        of one prompt a group. Stages work on different prompts, the fullest holding the others up."""
        p = self.parameters
        pairs_s = self.pairs_s(fresh, cached) / self.cp
        passes = max(1.0, fresh / self.chunk)
        lone_s = p["prefill_latency_factor"] * (self.body_s(fresh * self.dp, passes) + pairs_s) + passes * self.pass_overhead_s()
        full = self.full_pass_tokens()
        shared_s = (self.body_s(full) + self.pass_overhead_s()) * fresh / full + pairs_s / self.dp
        marginal_s = p["serial_prefill"] * lone_s / self.dp + (1.0 - p["serial_prefill"]) * shared_s
        return lone_s, marginal_s * self.balance / self.stages

    # --- power and what binds

    def ideal_read_s(self, tokens: float, *, repeated: bool = True) -> float:
        """Seconds at full bandwidth to read the weights of a decode step of so many sequences, or (not `repeated`, inf) of a prefill pass, all stages."""
        seconds = 0.0
        for row in self.rows:
            if "weight_bytes" in row:
                times = row["layers"] * (row.get("repeats", 1) if repeated else 1)
                seconds += times * row["weight_bytes"] * self.distinct(row, tokens * row.get("step_tokens", 1)) / row["read_peak"]
        return seconds

    def ideal_context_s(self, context: float) -> tuple[float, float]:
        """Seconds per sequence and step at full bandwidth to read cache and state, and at full peak to attend to it, on the mean rank, all stages."""
        read_s = flop_s = 0.0
        for row in self.rows:
            if "read_rate" in row and "weight_bytes" not in row:
                times, seen = row["layers"] * row["share"] * row.get("repeats", 1), min(context, row.get("bound", math.inf))
                read_s += times * (row.get("context_bytes", 0.0) * seen + row.get("state_bytes", 0.0)) / row["read_peak"]
                flop_s += times * row.get("context_flop", 0.0) * seen * row.get("step_tokens", 1) / row["multiply_peak"]
        return read_s, flop_s

    def ideal_flop_s(self) -> tuple[float, float, float]:
        """Seconds at full peak in matrices and states: per sequence and step; per prefilled token; per sampled token of a prefill."""
        step_s = token_s = sampled_s = 0.0
        for row in self.rows:
            if "flop_per_token" in row:
                seconds = row["layers"] * row["share"] * row["flop_per_token"] / row["multiply_peak"]
                step_s += seconds * row.get("repeats", 1) * row.get("step_tokens", 1)
                token_s += 0.0 if row.get("sampled") else seconds
                sampled_s += seconds if row.get("sampled") else 0.0
        return step_s, token_s, sampled_s

    def ideal_links_s(self) -> tuple[float, float]:
        """Seconds in which an accelerator's links are busy: per sequence and step, and per prefilled token."""
        step_s = prefill_s = 0.0
        for row in self.rows:
            if "lines" in row:
                times = row["layers"] * row["share"]
                step_s += times * row.get("repeats", 1) * row.get("step_tokens", 1) * min(per_token for _, per_token in row["lines"])
                prefill_s += times * min(per_token for _, per_token in row["prefill_lines"])
        return step_s, prefill_s

    def served_by_a_step(self, running: float) -> float:
        """Running requests that one micro-batch serves; an empty one is not run."""
        return max(running / self.stages, 1.0)

    def pass_read_s(self) -> float:
        """Seconds at full bandwidth, per prefilled token, to read the weights of a full pass."""
        return self.ideal_read_s(math.inf, repeated=False) / self.full_pass_tokens()

    def power_w(self, requests_per_s: float, running: float, micro: float, context: float, output: float, fresh: float, cached: float) -> float:
        """Draw = design power x [p0 + (1 - p0) x / sqrt(1 + x^2)], x = m x bandwidth share + c x FLOP share + l x link share, shares of the peaks over the
        replica's time, mean over stages. At a lower clock, of what p0 holds beyond the idle draw the cube of the clock is left.
        """
        p = self.parameters
        steps = output / self.tokens_per_step
        read_s, attend_s = self.ideal_context_s(context)
        memory_s = steps / self.served_by_a_step(running) * self.ideal_read_s(micro) + steps * read_s + fresh * self.pass_read_s()
        step_s, token_s, sampled_s = self.ideal_flop_s()
        compute_s = steps * (step_s + attend_s) + fresh * token_s + sampled_s + self.pairs_s(fresh, cached, "multiply_peak") / (self.dp * self.cp)
        link_step_s, link_token_s = self.ideal_links_s()
        link_s = steps * link_step_s + fresh * link_token_s
        busy = p["power_memory_fraction"] * memory_s + p["power_compute_fraction"] * self.clock**2 * compute_s + p["power_link_fraction"] * link_s
        x = requests_per_s * busy / self.stages
        floor = p["power_idle_fraction"] + (p["power_floor_fraction"] - p["power_idle_fraction"]) * self.clock**3
        return self.design_power_w * (floor + (1.0 - floor) * x / math.hypot(1.0, x))

    def shares_s(self, running: float, micro: float, context: float, output: float, marginal_s: float) -> dict[str, float]:
        """A request's time on a stage by what it is spent on: reads of weights, caches and states are memory, prefill is compute."""
        parts = self.decode_parts_s(micro, context)
        steps = output / self.tokens_per_step / self.served_by_a_step(running) * self.balance / self.stages
        found = {name: steps * parts[name] for name in ("compute", "memory", "network", "overhead")}
        return found | {"compute": found["compute"] + marginal_s}

    # --- a point

    def transfer_s(self, tokens: float) -> float:
        """Seconds in which every accelerator of the fullest stage sends its part of a prompt's caches over the network between systems."""
        rate = self.replica.accelerator.need("scale_out_bandwidth").si * self.parameters["link_efficiency"]
        return self.sequence_bytes(tokens) * self.balance / (self.stages * self.cp) * self.replica.accelerator.ranks / rate

    def closed_loop(self, input_tokens: float, output_tokens: float, concurrency: float, hit: float) -> dict[str, Any]:
        """Every output of a closed loop of `concurrency` clients; NaN where a request does not fit into memory."""
        p, serving, isl, osl = self.parameters, self.serving, input_tokens, output_tokens
        mean_length = isl + osl / 2
        held = self.group_pool_bytes() * self.dp / self.sequence_bytes(mean_length)
        capacity_tokens = max(held, 0.0) * mean_length
        if not self.fits(isl + osl):
            return {"fits": 0.0, "kv_capacity_tokens": capacity_tokens, "binding": "capacity"}
        # Room is kept for a request's mean length, and for a share of what its full length needs beyond that.
        mean_bytes, full_bytes = self.sequence_bytes(mean_length), self.sequence_bytes(isl + osl)
        admitted = self.group_pool_bytes() * self.dp / (mean_bytes + p["kv_reserved_fraction"] * (full_bytes - mean_bytes))
        running = min(concurrency, max(1.0, admitted), serving.compiled_batch or math.inf)
        batch = max(running, 1.0)
        micro = max((serving.compiled_batch or batch) / self.stages, 1.0)
        context = max(mean_length, serving.sequence_bucket or 0.0)
        cached = isl * hit
        fresh = max(isl - cached, 1.0)
        if serving.prompt_bucket:
            fresh = math.ceil(fresh / serving.prompt_bucket) * serving.prompt_bucket
        lone_s, marginal_s = self.prefill_s(fresh, cached)
        step_s = self.step_s(micro, context)
        others_s = marginal_s * (batch - 1)
        alone_s = p["first_token_overhead"] + lone_s + p["first_step_wait_steps"] * step_s
        pool = 0.0  # prefilling replicas to a decoding one
        if serving.mode == "static":
            # A wave: all prompts, then all steps. Where prompts run one by one, half of the others' are behind one's own on average.
            tpot_s = step_s / self.tokens_per_step
            before_s = others_s * (1.0 - p["serial_prefill"] / 2)
            service_s = alone_s + others_s + (osl - 1) * tpot_s
        elif serving.mode == "disaggregated":
            # A prefilling replica has N / p clients; each waits for a share of the others' prompts. It is busy a share u: N / p x P = u x a request's time,
            # which holds the wait: iterated to the fixed point.
            tpot_s, busy, wait_s = step_s / self.tokens_per_step, p["prefill_pool_utilisation"], 0.0
            for _ in range(10_000):
                service_s = alone_s + wait_s + self.transfer_s(isl) + (osl - 1) * tpot_s
                wait_s = min(p["burst_fraction"], 1.0) * max(busy * service_s / marginal_s - 1, 0.0) * marginal_s
            before_s = wait_s + self.transfer_s(isl)
            service_s = alone_s + before_s + (osl - 1) * tpot_s
            pool = min(running, batch) / service_s * marginal_s / busy
        else:
            stall_s = p["prefill_stall_fraction"] * others_s
            wait_s = min(p["burst_fraction"] * others_s, 0.9 * stall_s)
            decoding_s = stall_s - wait_s
            tpot_s = step_s / self.tokens_per_step + decoding_s / max(osl - 1, 1.0)
            before_s = wait_s + decoding_s * max(2.0 - osl, 0.0)
            service_s = alone_s + before_s + (osl - 1) * tpot_s
        carried_per_s = min(running, batch) / service_s
        requests_per_s = carried_per_s / (1.0 + pool)
        overflow_s = (concurrency - running) / batch * service_s
        ttft_s = alone_s + before_s + overflow_s
        power_w = self.power_w(requests_per_s, batch, micro, context, osl, fresh, cached)
        shares = self.shares_s(batch, micro, context, osl, marginal_s)
        attended_s = (self.pairs_s(fresh, cached) - self.pairs_s(fresh, 0.0)) / (self.dp * self.cp * self.stages) * self.balance
        return {
            "time_to_first_token_s": ttft_s,
            "time_per_output_token_s": tpot_s,
            "request_latency_s": concurrency / carried_per_s,
            "output_tokens_per_s": requests_per_s * osl,
            "input_tokens_per_s": requests_per_s * isl,
            "running_requests": running,
            "waiting_requests": concurrency - running,
            "kv_capacity_tokens": capacity_tokens,
            "fits": 1.0,
            "binding": "capacity" if concurrency > running else max(shares, key=lambda name: shares[name]),
            "shares": shares,
            "power_w": power_w,
            "energy_j_per_output_token": power_w / (requests_per_s * osl),
            "prefill_time_fraction": pool / (1.0 + pool) if pool else min(1.0, requests_per_s * marginal_s),
            "cached_time_fraction": pool / (1.0 + pool) * attended_s / marginal_s if pool else min(1.0, requests_per_s * attended_s),
        }


def served(replica: Replica, *load: float) -> dict[str, Any]:
    """A point under the replica's cap on power, if it has one.

    The clock is lowered no further than the load needs: between the full clock and the one at which the chip's largest draw is the cap, where above the idle
    draw (cap - idle) / (TDP - idle) is the cube of the clock, latencies go in proportion to the excess of the draw, and rates by Little's law.
    """
    full, cap_w = Reference(replica).closed_loop(*load), replica.serving.power_cap_w
    if cap_w is None or not full["fits"] or not full["power_w"] > cap_w * replica.accelerators:
        return full
    tdp_w = replica.accelerator.need("tdp").si
    idle_w = replica.parameters["power_idle_fraction"] * tdp_w
    slowest = Reference(replica, min(1.0, math.cbrt((cap_w - idle_w) / (tdp_w - idle_w)))).closed_loop(*load)
    excess_w, least_w = full["power_w"] - cap_w * replica.accelerators, slowest["power_w"]
    slow = min(1.0, excess_w / (full["power_w"] - least_w)) if full["power_w"] - least_w > excess_w else 1.0
    between = {name: full[name] + slow * (slowest[name] - full[name]) for name in full if name.endswith(("_s", "fraction"))}
    rate = full["request_latency_s"] / between["request_latency_s"]
    for name in ("output_tokens_per_s", "input_tokens_per_s"):
        between[name] = full[name] * rate
    power_w = cap_w * replica.accelerators
    return full | between | {"power_w": power_w, "energy_j_per_output_token": power_w / between["output_tokens_per_s"]}
