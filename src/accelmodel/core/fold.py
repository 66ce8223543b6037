"""Folding: an operator table becomes a few constants, once per replica.

Folding is exact. GEMM rows of equal memory-to-compute ratio add up inside the fourth-power mean, since (k m)^4 + (k c)^4 has the root k (m^4 +
c^4)^(1/4); a context row is proportional to sequences x context as a whole; collectives without latency, states and overheads are linear. What is
left per point is one fourth-power mean per distinct ratio, and two for routed experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.core.jit import jit
from accelmodel.core.kernels import Array, Integers
from accelmodel.core.operators import Table
from accelmodel.core.power import power_floor
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError

_GEMMS = 8  # distinct memory-to-compute ratios: three weight dtypes, router and head, each at its own share of the tokens, and those of a draft
_EXPERTS = 2  # the model's own and its draft's
_CAPS = 4  # distinct context bounds: windows, chunks, sparse choices
_LINKS = 12  # collectives whose algorithms differ in latency

CONSTANTS = np.dtype(
    [
        # GEMM groups in a decode step, per sequence of a micro-batch, and in a prefill, per token. `of_group` groups pass the tokens of one attention
        # group, `of_all` those of all; in a prefill, `prefill_all` groups pass every token and the others one a pass, whose seconds are
        # `prefill_sampled_s`.
        ("gemms", "i8"),
        ("step_memory_s", "f8", (_GEMMS,)),
        ("step_compute_s", "f8", (_GEMMS,)),
        ("step_floor_s", "f8", (_GEMMS,)),
        ("prefill_memory_s", "f8", (_GEMMS,)),
        ("prefill_compute_s", "f8", (_GEMMS,)),
        ("prefill_floor_s", "f8", (_GEMMS,)),
        ("of_group", "f8", (_GEMMS,)),
        ("of_all", "f8", (_GEMMS,)),
        ("prefill_all", "f8", (_GEMMS,)),
        ("prefill_sampled_s", "f8"),
        ("step_memory_sum_s", "f8"),
        ("group_compute_sum_s", "f8"),
        ("all_compute_sum_s", "f8"),
        ("floor_sum_s", "f8"),
        # Routed experts: seconds of reading all, per token and of the floor; log2 of the chance that a token misses a given expert; tokens per
        # sequence in a step.
        ("expert_groups", "i8"),
        ("expert_memory_s", "f8", (_EXPERTS,)),
        ("expert_compute_s", "f8", (_EXPERTS,)),
        ("expert_floor_s", "f8", (_EXPERTS,)),
        ("expert_log2_miss", "f8", (_EXPERTS,)),
        ("expert_step_tokens", "f8", (_EXPERTS,)),
        ("expert_repeats", "f8", (_EXPERTS,)),
        ("expert_skew", "f8"),
        ("expert_unread_fraction", "f8"),
        ("expert_prefill_factor", "f8"),
        # Context: seconds per (sequence x context token) without bound, and per bound; per sequence of an attention group (states), of the replica
        # (host, links); fixed.
        ("caps", "i8"),
        ("cap_tokens", "f8", (_CAPS,)),
        ("context_s", "f8"),
        ("cap_context_s", "f8", (_CAPS,)),
        ("state_s", "f8"),
        ("sequence_s", "f8"),
        ("link_s", "f8"),
        ("overhead_s", "f8"),
        # Collectives with latency: three algorithms each, per sequence of a micro-batch.
        ("links", "i8"),
        ("link_latency_s", "f8", (_LINKS, 3)),
        ("link_token_s", "f8", (_LINKS, 3)),
        # Prefill: seconds per token in a full chunk, seconds per token of a lone prompt beside its GEMMs, per (query, key) pair, per pass.
        ("prefill_token_s", "f8"),
        ("prefill_lone_token_s", "f8"),
        ("square_factor", "f8"),
        ("pair_s", "f8"),
        ("cap_pair_s", "f8", (_CAPS,)),
        ("pass_overhead_s", "f8"),
        ("pass_latency_s", "f8"),
        ("chunk_tokens", "f8"),
        ("prefill_latency_factor", "f8"),
        ("serial_prefill", "f8"),
        # How the replica is cut and run.
        ("attention_data", "f8"),
        ("context_ranks", "f8"),
        ("stages", "f8"),
        ("stage_balance", "f8"),
        ("tokens_per_step", "f8"),
        ("compiled_batch", "f8"),
        ("sequence_bucket", "f8"),
        ("prompt_bucket", "f8"),
        ("static", "f8"),
        ("disaggregated", "f8"),
        ("prefill_pool_utilisation", "f8"),
        ("transfer_s_per_byte", "f8"),
        ("first_token_overhead_s", "f8"),
        ("first_step_wait_steps", "f8"),
        ("burst_fraction", "f8"),
        ("prefill_stall_fraction", "f8"),
        # Memory: bytes of the pool, all attention groups and stages, and of a sequence on the rank that holds it.
        ("pool_bytes", "f8"),
        ("kv_reserved_fraction", "f8"),
        ("saturated_factor", "f8"),
        ("stored_token_bytes", "f8"),
        ("stored_caps", "i8"),
        ("stored_cap_tokens", "f8", (_CAPS,)),
        ("stored_cap_bytes", "f8", (_CAPS,)),
        ("stored_state_bytes", "f8"),
        # What a step would take at full bandwidth and at full peak: for power, for what binds, and for the roofline bound.
        ("ideal_weight_s", "f8"),
        ("ideal_expert_s", "f8", (_EXPERTS,)),
        ("ideal_context_s", "f8"),
        ("ideal_cap_context_s", "f8", (_CAPS,)),
        ("ideal_sequence_s", "f8"),
        ("ideal_step_flop_s", "f8"),
        ("ideal_token_flop_s", "f8"),
        ("ideal_sampled_flop_s", "f8"),
        ("ideal_context_flop_s", "f8"),
        ("ideal_cap_flop_s", "f8", (_CAPS,)),
        ("ideal_pair_s", "f8"),
        ("ideal_cap_pair_s", "f8", (_CAPS,)),
        ("ideal_pass_s", "f8"),
        ("link_busy_s", "f8"),
        ("prefill_link_busy_s", "f8"),
        # Power.
        ("accelerators", "f8"),
        ("tdp_w", "f8"),
        ("power_cap_w", "f8"),
        ("power_floor_fraction", "f8"),
        ("power_memory_fraction", "f8"),
        ("power_compute_fraction", "f8"),
        ("power_link_fraction", "f8"),
    ]
)
Constants = npt.NDArray[np.void]


_TOLERANCE = 1e-9  # relative difference below which two memory-to-compute ratios count as one
_HELD = {"GEMM groups": _GEMMS, "kinds of routed experts": _EXPERTS, "bounds of context": _CAPS, "collectives with latency": _LINKS, "bounds of KV": _CAPS}


@jit
def mean4(memory_s: float, compute_s: float) -> float:
    """Fourth-power mean of two times: (m^4 + c^4)^(1/4), never below the larger and at most 1.19 times it."""
    memory, compute = memory_s * memory_s, compute_s * compute_s
    return math.sqrt(math.sqrt(memory * memory + compute * compute))


@jit
def _place(keys: Array, count: int, key: Array) -> int:
    """Index of a key among the first `count` rows of `keys`, where it is added if it is new; the first number of a key may differ in its last digits."""
    for index in range(count):
        same = abs(keys[index, 0] - key[0]) <= _TOLERANCE * abs(key[0])
        for part in range(1, key.shape[0]):
            same = same and keys[index, part] == key[part]
        if same:
            return index
    keys[count] = key
    return count


@jit
def _fold_gemms(table: Table, clock: float, c: Any) -> int:
    """Groups of GEMMs of equal ratio of memory to compute; their number."""
    keys, count = np.empty((table.shape[0], 5)), 0
    for row in table:
        if row["weight_bytes"] > 0.0 and row["experts"] == 0.0:
            rate, repeats = row["compute_rate"] * clock, row["repeats"]
            memory = row["layers"] * row["weight_bytes"] / row["memory_rate"]
            compute = row["layers"] * row["flop_per_token"] * row["share"] / rate
            floor = row["layers"] * row["floor_flop"] / rate
            g = _place(keys, count, np.array([memory / compute, row["share"], row["sampled"], row["step_tokens"], repeats]))
            count = max(count, g + 1)
            if g < _GEMMS:
                c["step_memory_s"][g] += memory * repeats
                c["step_compute_s"][g] += compute * repeats * row["step_tokens"]
                c["step_floor_s"][g] += floor * repeats
                c["prefill_memory_s"][g] += memory
                c["prefill_compute_s"][g] += compute
                c["prefill_floor_s"][g] += floor
                c["of_group"][g] = 1.0 if row["share"] < 1.0 else 0.0
                c["prefill_all"][g] = 1.0 - row["sampled"]
    for g in range(min(count, _GEMMS)):
        c["of_all"][g] = 1.0 - c["of_group"][g]
        c["prefill_sampled_s"] += (1.0 - c["prefill_all"][g]) * mean4(c["prefill_memory_s"][g], c["prefill_compute_s"][g] + c["prefill_floor_s"][g])
        c["step_memory_sum_s"] += c["step_memory_s"][g]
        c["floor_sum_s"] += c["step_floor_s"][g]
        c["group_compute_sum_s"] += c["step_compute_s"][g] * c["of_group"][g]
        c["all_compute_sum_s"] += c["step_compute_s"][g] * c["of_all"][g]
    c["gemms"] = count
    return count


@jit
def _fold_experts(table: Table, clock: float, c: Any) -> int:
    """Groups of routed experts of equal chance to be missed; their number."""
    keys, count = np.empty((table.shape[0], 3)), 0
    for row in table:
        if row["experts"] > 0.0:
            g = _place(keys, count, np.array([row["miss_probability"], row["step_tokens"], row["repeats"]]))
            count = max(count, g + 1)
            if g < _EXPERTS:
                c["expert_log2_miss"][g] = math.log2(max(row["miss_probability"], 1e-300))
                c["expert_step_tokens"][g], c["expert_repeats"][g] = row["step_tokens"], row["repeats"]
                c["expert_memory_s"][g] += row["layers"] * row["weight_bytes"] / row["memory_rate"]
                c["expert_compute_s"][g] += row["layers"] * row["flop_per_token"] / (row["compute_rate"] * clock)
                c["expert_floor_s"][g] += row["layers"] * row["floor_flop"] / (row["compute_rate"] * clock)
                c["ideal_expert_s"][g] += row["layers"] * row["weight_bytes"] / row["memory_peak"]
    c["expert_groups"] = count
    return count


@jit
def _fold_context(table: Table, clock: float, c: Any) -> int:
    """Attention and recurrent states, by the bound of the context that they see; the number of bounds."""
    keys, count = np.empty((table.shape[0], 1)), 0
    for row in table:
        if row["context_bytes"] > 0.0 or row["sequence_bytes"] > 0.0:
            layers, rate = row["layers"], row["compute_rate"] * clock
            in_step, flop = layers * row["share"] * row["repeats"], row["context_flop"] * row["step_tokens"]
            context = in_step * mean4(row["context_bytes"] / row["memory_rate"], flop / rate)
            pair = layers * row["prefill_pair_flop"] / rate
            ideal, ideal_flop = in_step * row["context_bytes"] / row["memory_peak"], in_step * flop / row["compute_peak"]
            ideal_pair = layers * row["prefill_pair_flop"] / row["compute_peak"]
            if row["context_cap"] == math.inf:
                c["context_s"] += context
                c["pair_s"] += pair
                c["ideal_context_s"] += ideal
                c["ideal_context_flop_s"] += ideal_flop
                c["ideal_pair_s"] += ideal_pair
            else:
                g = _place(keys, count, np.array([row["context_cap"]]))
                count = max(count, g + 1)
                if g < _CAPS:
                    c["cap_tokens"][g] = row["context_cap"]
                    c["cap_context_s"][g] += context
                    c["cap_pair_s"][g] += pair
                    c["ideal_cap_context_s"][g] += ideal
                    c["ideal_cap_flop_s"][g] += ideal_flop
                    c["ideal_cap_pair_s"][g] += ideal_pair
            c["state_s"] += in_step * mean4(row["sequence_bytes"] / row["memory_rate"], row["flop_per_token"] * row["step_tokens"] / rate)
            c["ideal_sequence_s"] += in_step * row["sequence_bytes"] / row["memory_peak"]
            c["prefill_lone_token_s"] += layers * row["share"] * row["flop_per_token"] / rate
    c["caps"] = count
    return count


@jit
def _fold_links(table: Table, c: Any) -> int:
    """Collectives without latency are linear, at their least slope; others keep their three lines, those of like shape together; the number of these."""
    keys, count = np.empty((table.shape[0], 6)), 0
    key = np.empty(6)
    for row in table:
        times, per_step = row["layers"] * row["repeats"], row["share"] * row["step_tokens"]
        latency, slope = row["link_latency_s"], row["link_token_s"]
        busy = times * per_step * min(slope[0], min(slope[1], slope[2]))
        c["link_busy_s"] += busy
        c["prefill_link_busy_s"] += row["layers"] * row["share"] * row["prefill_link_token_s"]
        c["pass_latency_s"] += row["layers"] * row["prefill_link_latency_s"]
        if max(latency[0], max(latency[1], latency[2])) == 0.0:
            c["link_s"] += busy
        else:
            for k in range(3):
                key[k], key[3 + k] = latency[k], slope[k] * per_step
            g = _place(keys, count, key)
            count = max(count, g + 1)
            if g < _LINKS:
                for k in range(3):
                    c["link_latency_s"][g, k] += times * latency[k]
                    c["link_token_s"][g, k] += times * slope[k] * per_step
    c["links"] = count
    return count


@jit
def _fold_stored(table: Table, c: Any) -> int:
    """What a sequence keeps in memory, by the bound of the context that is kept; the number of bounds."""
    keys, count = np.empty((table.shape[0], 1)), 0
    for row in table:
        c["stored_state_bytes"] += row["layers"] * row["stored_state_bytes"]
        if row["stored_cap"] == math.inf:
            c["stored_token_bytes"] += row["layers"] * row["stored_bytes"]
        elif row["stored_bytes"] > 0.0:
            g = _place(keys, count, np.array([row["stored_cap"]]))
            count = max(count, g + 1)
            if g < _CAPS:
                c["stored_cap_tokens"][g] = row["stored_cap"]
                c["stored_cap_bytes"][g] += row["layers"] * row["stored_bytes"]
    c["stored_caps"] = count
    return count


@jit
def _fold_rest(table: Table, prefill_layer_overhead_s: float, c: Any) -> None:
    """Overheads, and what weights and FLOP would take at full bandwidth and peak."""
    for row in table:
        layers, repeats = row["layers"], row["repeats"]
        c["overhead_s"] += layers * repeats * row["overhead_s"]
        c["pass_overhead_s"] += layers * (row["passes"] * prefill_layer_overhead_s + row["overhead_s"])
        per_token = layers * row["share"] * row["flop_per_token"] / row["compute_peak"]
        c["ideal_step_flop_s"] += per_token * repeats * row["step_tokens"]
        c["ideal_token_flop_s"] += per_token * (1.0 - row["sampled"])
        c["ideal_sampled_flop_s"] += per_token * row["sampled"]
        c["ideal_pass_s"] += layers * row["weight_bytes"] / row["memory_peak"]
        if row["experts"] == 0.0:
            c["ideal_weight_s"] += layers * repeats * row["weight_bytes"] / row["memory_peak"]


@jit
def _fold_prefill(c: Any) -> None:
    """Prefill at the margin of a full chunk on every attention group; `prefill_lone_token_s` is what of it is linear for a lone prompt too."""
    tokens, per_pass = c["chunk_tokens"] * c["attention_data"], c["prefill_sampled_s"]
    for g in range(c["gemms"]):
        per_pass += c["prefill_all"][g] * mean4(c["prefill_memory_s"][g], c["prefill_compute_s"][g] * tokens + c["prefill_floor_s"][g])
    for g in range(c["expert_groups"]):
        distinct = 1.0 - c["expert_unread_fraction"] * 2.0 ** max(c["expert_log2_miss"][g] * tokens ** c["expert_skew"], -1000.0)
        experts = mean4(c["expert_memory_s"][g] * distinct, c["expert_compute_s"][g] * tokens + c["expert_floor_s"][g] * distinct)
        per_pass += c["expert_prefill_factor"] * experts
    c["prefill_lone_token_s"] += c["prefill_link_busy_s"]
    c["prefill_token_s"] = (per_pass + c["pass_latency_s"]) / tokens + c["prefill_lone_token_s"]


@jit
def _fold(table: Table, clock: float, prefill_layer_overhead_s: float, constants: Constants, kinds: Integers) -> None:
    """Fold a table into a record that holds what does not come from it; `kinds` (5,) counts distinct kinds in the order of _HELD."""
    c = constants[0]
    kinds[0] = _fold_gemms(table, clock, c)
    kinds[1] = _fold_experts(table, clock, c)
    kinds[2] = _fold_context(table, clock, c)
    kinds[3] = _fold_links(table, c)
    kinds[4] = _fold_stored(table, c)
    _fold_rest(table, prefill_layer_overhead_s, c)
    if kinds[0] <= _GEMMS and kinds[1] <= _EXPERTS:
        _fold_prefill(c)


def stacked(records: Iterable[npt.NDArray[np.void]], dtype: np.dtype[np.void] = CONSTANTS) -> npt.NDArray[np.void]:
    """Records of many replicas as one array; through bytes, since NumPy compares every field's type before it joins records."""
    return np.frombuffer(b"".join(record.tobytes() for record in records), dtype=dtype)


_FROM_PARAMETERS = (
    *("prefill_latency_factor", "serial_prefill", "first_step_wait_steps", "burst_fraction", "prefill_stall_fraction", "kv_reserved_fraction"),
    *("power_floor_fraction", "power_memory_fraction", "power_compute_fraction", "power_link_fraction", "prefill_pool_utilisation", "saturated_factor"),
    *("expert_unread_fraction", "expert_prefill_factor"),
)


def _fill(c: Any, replica: Replica) -> None:
    """What does not come from the table."""
    p, serving, parts, tdp = replica.parameters, replica.serving, replica.parallelism, replica.accelerator.figures.tdp
    c["attention_data"], c["context_ranks"] = parts.attention_data, parts.context
    c["stages"], c["stage_balance"] = parts.pipeline, replica.stage_balance
    c["accelerators"] = replica.accelerators
    c["tdp_w"] = tdp.si if tdp else math.nan
    c["power_cap_w"] = math.inf if serving.power_cap_w is None else serving.power_cap_w
    c["overhead_s"] = c["pass_overhead_s"] = p["step_overhead"]
    c["sequence_s"] = p["sequence_overhead"] / parts.attention_data  # every attention group schedules its own sequences
    c["expert_skew"], c["square_factor"] = p["expert_skew_exponent"], p["prefill_square_factor"]
    c["chunk_tokens"] = serving.chunk_tokens or p["chunk_tokens"]
    c["tokens_per_step"] = serving.tokens_per_step
    c["compiled_batch"], c["sequence_bucket"] = serving.compiled_batch or 0.0, serving.sequence_bucket or 0.0
    c["prompt_bucket"] = serving.prompt_bucket or 0.0
    c["static"], c["disaggregated"] = serving.mode == "static", serving.mode == "disaggregated"
    if serving.mode == "disaggregated":
        rate = replica.accelerator.need("scale_out_bandwidth").si * p["link_efficiency"]
        c["transfer_s_per_byte"] = replica.accelerator.ranks / rate * replica.stage_balance / (parts.pipeline * parts.context)
    c["first_token_overhead_s"] = p["first_token_overhead"]
    c["pool_bytes"] = replica.memory.pool_bytes * parts.attention_data * parts.context * parts.pipeline / replica.stage_balance
    for name in _FROM_PARAMETERS:
        c[name] = p[name]


def fold(replica: Replica, clock_fraction: float = 1.0) -> Constants:
    """The constants of a replica, shape (1,), dtype CONSTANTS, in SI, at a share of the full clock (which scales every rate of compute).

    InputError where the model has more distinct kinds of rows than the engine holds.
    """
    constants, kinds = np.zeros(1, dtype=CONSTANTS), np.zeros(len(_HELD), dtype=np.int64)
    c: Any = constants[0]
    _fill(c, replica)
    _fold(replica.table, clock_fraction, replica.parameters["prefill_layer_overhead"], constants, kinds)
    for (kind, held), found in zip(_HELD.items(), kinds.tolist(), strict=True):
        if found > held:
            raise InputError(f"'{replica.model.name}' cut like this has {found} {kind}, and the engine holds {held}", key="model", value=replica.model.name)
    # A lower clock needs a lower voltage: the energy of a FLOP goes with its square.
    c["power_compute_fraction"] *= clock_fraction**2
    c["power_floor_fraction"] = power_floor(replica, clock_fraction)
    return constants
