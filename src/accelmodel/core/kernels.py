"""The step model in numbers: an operator table folded into a few constants, and the kernels that turn them into seconds.

Folding is exact. Rows of equal memory-to-compute ratio add up inside the fourth-power mean, since (k m)^4 + (k c)^4 has the root k (m^4 + c^4)^(1/4); a context row
is proportional to sequences x context as a whole; links and overheads are linear.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.core.jit import jit
from accelmodel.core.memory import Memory
from accelmodel.core.operators import Table
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError

BLOCK = 256  # points a scratch row holds: large enough to vectorise, small enough for the first-level cache

_GEMMS = 6  # distinct memory-to-compute ratios a replica can have: three weight dtypes, router and head, each with its own share of the tokens
_EXPERTS = 2
_CAPS = 4  # distinct context bounds: windows, chunks, sparse choices

CONSTANTS = np.dtype(
    [
        # GEMM groups: seconds to read the weights, seconds per replica token, seconds of the floor; whether only sampled tokens pass.
        ("gemms", "i8"),
        ("gemm_memory_s", "f8", (_GEMMS,)),
        ("gemm_compute_s", "f8", (_GEMMS,)),
        ("gemm_floor_s", "f8", (_GEMMS,)),
        ("gemm_sampled", "f8", (_GEMMS,)),
        # Routed experts: the same, and the logarithm of the chance that a token misses a given expert.
        ("expert_groups", "i8"),
        ("expert_memory_s", "f8", (_EXPERTS,)),
        ("expert_compute_s", "f8", (_EXPERTS,)),
        ("expert_floor_s", "f8", (_EXPERTS,)),
        ("expert_log_miss", "f8", (_EXPERTS,)),
        ("expert_skew", "f8"),
        # Context: seconds per (sequence x context token) without bound, and per bound.
        ("context_s", "f8"),
        ("caps", "i8"),
        ("cap_tokens", "f8", (_CAPS,)),
        ("cap_context_s", "f8", (_CAPS,)),
        ("sequence_s", "f8"),
        ("token_link_s", "f8"),
        ("overhead_s", "f8"),
        # Prefill: seconds per token in a full chunk, per (query, key) pair, per pass, and what a lone prompt pays beside.
        ("prefill_token_s", "f8"),
        ("prefill_lone_token_s", "f8"),
        ("pair_s", "f8"),
        ("cap_pair_s", "f8", (_CAPS,)),
        ("pass_overhead_s", "f8"),
        ("chunk_tokens", "f8"),
        ("prefill_latency_factor", "f8"),
        ("serial_prefill", "f8"),
        ("attention_groups", "f8"),
        # Serving.
        ("first_token_overhead_s", "f8"),
        ("first_step_wait_steps", "f8"),
        ("burst_fraction", "f8"),
        ("prefill_stall_fraction", "f8"),
        # Memory: bytes of the pool (all attention groups), and of a sequence.
        ("pool_bytes", "f8"),
        ("kv_admission_factor", "f8"),
        ("stored_token_bytes", "f8"),
        ("stored_caps", "i8"),
        ("stored_cap_tokens", "f8", (_CAPS,)),
        ("stored_cap_bytes", "f8", (_CAPS,)),
        ("stored_state_bytes", "f8"),
        # What the step would take at full bandwidth and at full peak: for power and for the roofline bound.
        ("ideal_weight_s", "f8"),
        ("ideal_expert_s", "f8", (_EXPERTS,)),
        ("ideal_context_s", "f8"),
        ("ideal_cap_context_s", "f8", (_CAPS,)),
        ("ideal_sequence_s", "f8"),
        ("ideal_token_s", "f8"),
        ("ideal_sampled_s", "f8"),
        ("ideal_context_flop_s", "f8"),
        ("ideal_cap_flop_s", "f8", (_CAPS,)),
        ("ideal_pair_s", "f8"),
        ("ideal_cap_pair_s", "f8", (_CAPS,)),
        # Power.
        ("accelerators", "f8"),
        ("tdp_w", "f8"),
        ("power_floor_fraction", "f8"),
        ("power_memory_fraction", "f8"),
        ("power_compute_fraction", "f8"),
    ]
)
Constants = npt.NDArray[np.void]


def mean4(memory_s: float, compute_s: float) -> float:
    """Fourth-power mean of two times: (m^4 + c^4)^(1/4), never below the larger and at most 1.19 times it."""
    return math.sqrt(math.sqrt(memory_s**4 + compute_s**4))


def _fill(record: Any, name: str, values: list[float]) -> None:
    """Write a list into a fixed-size field; InputError where the replica has more distinct kinds than the field holds."""
    size = record[name].shape[0]
    if len(values) > size:
        raise InputError(f"the model has {len(values)} distinct kinds of '{name}', and the engine holds {size}")
    record[name][: len(values)] = values


def _by_cap(table: Table, value: npt.NDArray[np.float64], caps: list[float], cap: str) -> tuple[float, list[float]]:
    """Sum of a column over rows without bound, and over the rows of each bound."""
    return float(value[np.isinf(table[cap])].sum()), [float(value[table[cap] == tokens].sum()) for tokens in caps]


def _fold_gemms(c: Any, table: Table) -> None:
    rows = table[(table["compute_rate"] < math.inf) & (table["weight_bytes"] > 0) & (table["experts"] == 0)]
    groups: dict[tuple[float, ...], list[float]] = {}
    for row in rows:
        memory = row["layers"] * row["weight_bytes"] / row["memory_rate"]
        compute = row["layers"] * row["flop_per_token"] * row["share"] / row["compute_rate"]
        floor = row["layers"] * row["floor_flop"] / row["compute_rate"]
        key = (round(math.log(memory / compute), 9), row["share"], row["sampled"])
        total = groups.setdefault(key, [0.0, 0.0, 0.0])
        for index, value in enumerate((memory, compute, floor)):
            total[index] += value
    c["gemms"] = len(groups)
    for index, name in enumerate(("gemm_memory_s", "gemm_compute_s", "gemm_floor_s")):
        _fill(c, name, [total[index] for total in groups.values()])
    _fill(c, "gemm_sampled", [key[2] for key in groups])


def _fold_experts(c: Any, table: Table, skew: float) -> None:
    rows = table[table["experts"] > 0]
    misses = sorted(set(rows["miss_probability"].tolist()))
    c["expert_groups"] = len(misses)
    c["expert_skew"] = skew
    _fill(c, "expert_log_miss", [math.log(max(miss, 1e-300)) for miss in misses])
    for name, column, rate in (
        ("expert_memory_s", "weight_bytes", "memory_rate"),
        ("expert_compute_s", "flop_per_token", "compute_rate"),
        ("expert_floor_s", "floor_flop", "compute_rate"),
        ("ideal_expert_s", "weight_bytes", "memory_peak"),
    ):
        seconds = rows["layers"] * rows[column] / rows[rate]
        _fill(c, name, [float(seconds[rows["miss_probability"] == miss].sum()) for miss in misses])


def _fold_context(c: Any, table: Table) -> None:
    rows = table[(table["context_bytes"] > 0) | (table["sequence_bytes"] > 0)]
    weight = rows["layers"] * rows["share"]
    caps = sorted(set(rows["context_cap"][np.isfinite(rows["context_cap"])].tolist()))
    c["caps"] = len(caps)
    _fill(c, "cap_tokens", caps)
    step = weight * ((rows["context_bytes"] / rows["memory_rate"]) ** 4 + (rows["context_flop"] / rows["compute_rate"]) ** 4) ** 0.25
    for name, capped, value in (
        ("context_s", "cap_context_s", step),
        ("pair_s", "cap_pair_s", rows["layers"] * rows["prefill_pair_flop"] / rows["compute_rate"]),
        ("ideal_context_s", "ideal_cap_context_s", weight * rows["context_bytes"] / rows["memory_peak"]),
        ("ideal_context_flop_s", "ideal_cap_flop_s", weight * rows["context_flop"] / rows["compute_peak"]),
        ("ideal_pair_s", "ideal_cap_pair_s", rows["layers"] * rows["prefill_pair_flop"] / rows["compute_peak"]),
    ):
        c[name], by_cap = _by_cap(rows, value, caps, "context_cap")
        _fill(c, capped, by_cap)
    per_sequence = ((rows["sequence_bytes"] / rows["memory_rate"]) ** 4 + (rows["flop_per_token"] / rows["compute_rate"]) ** 4) ** 0.25
    c["sequence_s"] += float((weight * per_sequence).sum())
    c["ideal_sequence_s"] = float((weight * rows["sequence_bytes"] / rows["memory_peak"]).sum())


def _fold_prefill(c: Any, table: Table, chunk_tokens: float) -> None:
    """Prefill at the margin of a full chunk on every attention group; `prefill_lone_token_s` is what of it is linear for a lone prompt too."""
    rows = table[(table["context_bytes"] > 0) | (table["sequence_bytes"] > 0)]
    state = float((rows["layers"] * rows["share"] * rows["flop_per_token"] / rows["compute_rate"]).sum())
    tokens = chunk_tokens * c["attention_groups"]
    per_pass = 0.0
    for index in range(int(c["gemms"])):
        passing = 1.0 if c["gemm_sampled"][index] else tokens
        per_pass += mean4(c["gemm_memory_s"][index], c["gemm_compute_s"][index] * passing + c["gemm_floor_s"][index])
    for index in range(int(c["expert_groups"])):
        distinct = 1.0 - math.exp(c["expert_log_miss"][index] * tokens ** c["expert_skew"])
        compute = c["expert_compute_s"][index] * tokens + c["expert_floor_s"][index] * distinct
        per_pass += mean4(c["expert_memory_s"][index] * distinct, compute)
    c["prefill_lone_token_s"] = state + c["token_link_s"]
    c["prefill_token_s"] = per_pass / tokens + c["prefill_lone_token_s"]


def _fold_memory(c: Any, table: Table, memory: Memory) -> None:
    caps = sorted(set(table["stored_cap"][np.isfinite(table["stored_cap"])].tolist()))
    c["stored_caps"] = len(caps)
    _fill(c, "stored_cap_tokens", caps)
    c["stored_token_bytes"], by_cap = _by_cap(table, table["layers"] * table["stored_bytes"], caps, "stored_cap")
    _fill(c, "stored_cap_bytes", by_cap)
    c["stored_state_bytes"] = float((table["layers"] * table["stored_state_bytes"]).sum())
    c["pool_bytes"] = memory.pool_bytes * c["attention_groups"]


def fold(replica: Replica, table: Table, memory: Memory, chunk_tokens: float | None = None) -> Constants:
    """The constants of a replica, shape (1,), dtype CONSTANTS, in SI for the whole replica (all ranks work side by side)."""
    parameters = replica.parameters
    constants = np.zeros(1, dtype=CONSTANTS)
    c: Any = constants[0]
    c["attention_groups"] = replica.parallelism.attention_data
    linked = table["layers"] * table["share"] * table["link_bytes_per_token"] / table["link_rate"]
    c["token_link_s"] = float(linked.sum())
    layer_overhead_s = float((table["layers"] * table["overhead_s"]).sum())
    c["overhead_s"] = layer_overhead_s + parameters["step_overhead"]
    c["sequence_s"] = parameters["sequence_overhead"]
    _fold_gemms(c, table)
    _fold_experts(c, table, parameters["expert_skew_exponent"])
    _fold_context(c, table)
    _fold_memory(c, table, memory)
    c["chunk_tokens"] = chunk_tokens or parameters["chunk_tokens"]
    _fold_prefill(c, table, c["chunk_tokens"])
    c["pass_overhead_s"] = replica.model.architecture.layers * parameters["prefill_layer_overhead"] + layer_overhead_s
    for name in ("prefill_latency_factor", "serial_prefill", "first_step_wait_steps", "burst_fraction", "prefill_stall_fraction", "kv_admission_factor"):
        c[name] = parameters[name]
    c["first_token_overhead_s"] = parameters["first_token_overhead"]
    dense = table[(table["experts"] == 0) & (table["weight_bytes"] > 0)]
    c["ideal_weight_s"] = float((dense["layers"] * dense["weight_bytes"] / dense["memory_peak"]).sum())
    per_token = table["layers"] * table["share"] * table["flop_per_token"] / table["compute_peak"]
    c["ideal_token_s"] = float(per_token[table["sampled"] == 0].sum())
    c["ideal_sampled_s"] = float(per_token[table["sampled"] == 1].sum())
    c["accelerators"] = replica.accelerators
    c["tdp_w"] = replica.accelerator.figures.tdp.si if replica.accelerator.figures.tdp else math.nan
    for name in ("power_floor_fraction", "power_memory_fraction", "power_compute_fraction"):
        c[name] = parameters[name]
    return constants


@jit
def add_gemms(c, tokens, sampled, out):  # type: ignore[no-untyped-def]
    """Add the seconds of all GEMM groups and routed experts to `out` (n,) for `tokens` and `sampled` tokens (n,) of the replica."""
    n = out.shape[0]
    for g in range(c["gemms"]):
        memory4 = c["gemm_memory_s"][g] ** 4
        compute, floor, only = c["gemm_compute_s"][g], c["gemm_floor_s"][g], c["gemm_sampled"][g]
        for i in range(n):
            seconds = compute * (only * sampled[i] + (1.0 - only) * tokens[i]) + floor
            square = seconds * seconds
            out[i] += math.sqrt(math.sqrt(memory4 + square * square))
    for g in range(c["expert_groups"]):
        memory, compute, floor = c["expert_memory_s"][g], c["expert_compute_s"][g], c["expert_floor_s"][g]
        log_miss, skew = c["expert_log_miss"][g], c["expert_skew"]
        for i in range(n):
            distinct = 1.0 - math.exp(log_miss * tokens[i] ** skew)
            square_m = (memory * distinct) ** 2
            square_c = (compute * tokens[i] + floor * distinct) ** 2
            out[i] += math.sqrt(math.sqrt(square_m * square_m + square_c * square_c))


@jit
def add_context(c, sequences, context, out):  # type: ignore[no-untyped-def]
    """Add the seconds of attention over the KV cache, of states, links and overheads of a decode step to `out` (n,)."""
    n = out.shape[0]
    per_sequence, per_context, overhead = c["sequence_s"] + c["token_link_s"], c["context_s"], c["overhead_s"]
    for i in range(n):
        out[i] += overhead + sequences[i] * (per_sequence + per_context * context[i])
    for g in range(c["caps"]):
        cap, seconds = c["cap_tokens"][g], c["cap_context_s"][g]
        for i in range(n):
            out[i] += sequences[i] * seconds * min(context[i], cap)


@jit
def add_pairs(pair, caps, cap_tokens, cap_pair, fresh, cached, out):  # type: ignore[no-untyped-def]
    """Add to `out` (n,) the cost of every (query, key) pair of a causal prefill of `fresh` tokens behind `cached` ones.

    Without bound a prompt has fresh x cached + fresh^2 / 2 pairs; with a bound w, query i sees min(cached + i, w) keys:
    with m = min(max(w - cached, 0), fresh) queries still below the bound, m x cached + m^2 / 2 + (fresh - m) x w pairs.
    """
    n = out.shape[0]
    for i in range(n):
        out[i] += pair * fresh[i] * (cached[i] + 0.5 * fresh[i])
    for g in range(caps):
        cap, seconds = cap_tokens[g], cap_pair[g]
        for i in range(n):
            below = min(max(cap - cached[i], 0.0), fresh[i])
            out[i] += seconds * (below * (cached[i] + 0.5 * below) + (fresh[i] - below) * cap)
