"""Folding: an operator table becomes a few constants, once per replica.

Folding is exact. GEMM rows of equal memory-to-compute ratio add up inside the fourth-power mean, since (k m)^4 + (k c)^4 has the root k (m^4 +
c^4)^(1/4); a context row is proportional to sequences x context as a whole; collectives without latency, states and overheads are linear. What is
left per point is one fourth-power mean per distinct ratio, and two for routed experts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.core.kernels import Array
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


def mean4(memory_s: Any, compute_s: Any) -> Any:
    """Fourth-power mean of two times: (m^4 + c^4)^(1/4), never below the larger and at most 1.19 times it."""
    return np.sqrt(np.sqrt(memory_s**4 + compute_s**4))


def _fill(record: Any, name: str, values: list[float]) -> None:
    """Write a list into a fixed-size field; InputError where the replica has more distinct kinds than the field holds."""
    size = record[name].shape[0]
    if len(values) > size:
        raise InputError(f"the model has {len(values)} distinct kinds of '{name}', and the engine holds {size}")
    record[name][: len(values)] = values


def _add_by_cap(c: Any, name: str, capped: str, values: Array, bounds: Array, caps: list[float]) -> None:
    """Sums of a column over rows without bound, and over the rows of each bound."""
    c[name] += float(values[np.isinf(bounds)].sum())
    _fill(c, capped, [float(values[bounds == tokens].sum()) for tokens in caps])


def _fold_gemms(c: Any, table: Table) -> None:
    rows = table[(table["weight_bytes"] > 0) & (table["experts"] == 0)]
    groups: dict[tuple[float, ...], Array] = {}
    for row in rows:
        memory = row["layers"] * row["weight_bytes"] / row["memory_rate"]
        compute = row["layers"] * row["flop_per_token"] * row["share"] / row["compute_rate"]
        floor = row["layers"] * row["floor_flop"] / row["compute_rate"]
        repeats = row["repeats"]
        key = (round(math.log(memory / compute), 9), row["share"], row["sampled"], row["step_tokens"], repeats)
        parts = np.array([memory * repeats, compute * repeats * row["step_tokens"], floor * repeats, memory, compute, floor])
        groups[key] = groups.get(key, 0.0) + parts
    c["gemms"] = len(groups)
    names = ("step_memory_s", "step_compute_s", "step_floor_s", "prefill_memory_s", "prefill_compute_s", "prefill_floor_s")
    for index, name in enumerate(names):
        _fill(c, name, [float(parts[index]) for parts in groups.values()])
    _fill(c, "of_group", [1.0 if key[1] < 1.0 else 0.0 for key in groups])
    _fill(c, "of_all", [0.0 if key[1] < 1.0 else 1.0 for key in groups])
    _fill(c, "prefill_all", [1.0 - key[2] for key in groups])
    sampled = mean4(c["prefill_memory_s"], c["prefill_compute_s"] + c["prefill_floor_s"])[: len(groups)]
    c["prefill_sampled_s"] = float((sampled * (1.0 - c["prefill_all"][: len(groups)])).sum())
    c["step_memory_sum_s"], c["floor_sum_s"] = float(c["step_memory_s"].sum()), float(c["step_floor_s"].sum())
    for name in ("of_group", "of_all"):
        c[{"of_group": "group_compute_sum_s", "of_all": "all_compute_sum_s"}[name]] = float((c["step_compute_s"] * c[name]).sum())


def _fold_experts(c: Any, table: Table, skew: float) -> None:
    rows = table[table["experts"] > 0]
    keys = sorted({(row["miss_probability"], row["step_tokens"], row["repeats"]) for row in rows})
    c["expert_groups"], c["expert_skew"] = len(keys), skew
    _fill(c, "expert_log2_miss", [math.log2(max(miss, 1e-300)) for miss, _, _ in keys])
    _fill(c, "expert_step_tokens", [tokens for _, tokens, _ in keys])
    _fill(c, "expert_repeats", [repeats for _, _, repeats in keys])
    for name, column, rate in (
        ("expert_memory_s", "weight_bytes", "memory_rate"),
        ("expert_compute_s", "flop_per_token", "compute_rate"),
        ("expert_floor_s", "floor_flop", "compute_rate"),
        ("ideal_expert_s", "weight_bytes", "memory_peak"),
    ):
        seconds = rows["layers"] * rows[column] / rows[rate]
        of = [(rows["miss_probability"] == miss) & (rows["step_tokens"] == tokens) & (rows["repeats"] == repeats) for miss, tokens, repeats in keys]
        _fill(c, name, [float(seconds[chosen].sum()) for chosen in of])


def _context_rows(table: Table) -> Table:
    return table[(table["context_bytes"] > 0) | (table["sequence_bytes"] > 0)]


def _fold_context(c: Any, table: Table) -> None:
    rows = _context_rows(table)
    in_step = rows["layers"] * rows["share"] * rows["repeats"]
    bounds = rows["context_cap"]
    caps = sorted(set(bounds[np.isfinite(bounds)].tolist()))
    c["caps"] = len(caps)
    _fill(c, "cap_tokens", caps)
    flop = rows["context_flop"] * rows["step_tokens"]
    for name, capped, value in (
        ("context_s", "cap_context_s", in_step * mean4(rows["context_bytes"] / rows["memory_rate"], flop / rows["compute_rate"])),
        ("pair_s", "cap_pair_s", rows["layers"] * rows["prefill_pair_flop"] / rows["compute_rate"]),
        ("ideal_context_s", "ideal_cap_context_s", in_step * rows["context_bytes"] / rows["memory_peak"]),
        ("ideal_context_flop_s", "ideal_cap_flop_s", in_step * flop / rows["compute_peak"]),
        ("ideal_pair_s", "ideal_cap_pair_s", rows["layers"] * rows["prefill_pair_flop"] / rows["compute_peak"]),
    ):
        _add_by_cap(c, name, capped, value, bounds, caps)
    state_flop = rows["flop_per_token"] * rows["step_tokens"]
    c["state_s"] = float((in_step * mean4(rows["sequence_bytes"] / rows["memory_rate"], state_flop / rows["compute_rate"])).sum())
    c["ideal_sequence_s"] = float((in_step * rows["sequence_bytes"] / rows["memory_peak"]).sum())


def _fold_links(c: Any, table: Table) -> None:
    """Collectives without latency are linear, at their least slope; others keep their three lines, those of like shape together."""
    groups: dict[tuple[float, ...], Array] = {}
    for row in table[(table["link_token_s"] > 0).any(axis=1)]:
        times = row["layers"] * row["repeats"]
        slopes = row["link_token_s"] * row["share"] * row["step_tokens"]
        busy = times * float(slopes.min())
        c["link_busy_s"] += busy
        c["prefill_link_busy_s"] += row["layers"] * row["share"] * row["prefill_link_token_s"]
        c["pass_latency_s"] += row["layers"] * row["prefill_link_latency_s"]
        if not row["link_latency_s"].any():
            c["link_s"] += busy
            continue
        key = (*row["link_latency_s"].tolist(), *slopes.tolist())
        groups[key] = groups.get(key, 0.0) + times * np.array([row["link_latency_s"], slopes])
    c["links"] = len(groups)
    if len(groups) > _LINKS:
        raise InputError(f"the replica has {len(groups)} kinds of collectives with latency, and the engine holds {_LINKS}")
    for index, lines in enumerate(groups.values()):
        c["link_latency_s"][index], c["link_token_s"][index] = lines


def _fold_prefill(c: Any, table: Table) -> None:
    """Prefill at the margin of a full chunk on every attention group; `prefill_lone_token_s` is what of it is linear for a lone prompt too."""
    rows = _context_rows(table)
    state = float((rows["layers"] * rows["share"] * rows["flop_per_token"] / rows["compute_rate"]).sum())
    tokens = c["chunk_tokens"] * c["attention_data"]
    in_chunk = mean4(c["prefill_memory_s"], c["prefill_compute_s"] * tokens + c["prefill_floor_s"])
    per_pass = float((in_chunk * c["prefill_all"]).sum()) + c["prefill_sampled_s"]
    for index in range(int(c["expert_groups"])):
        distinct = 1.0 - 2.0 ** max(c["expert_log2_miss"][index] * tokens ** c["expert_skew"], -1000.0)
        compute = c["expert_compute_s"][index] * tokens + c["expert_floor_s"][index] * distinct
        per_pass += float(mean4(c["expert_memory_s"][index] * distinct, compute))
    c["prefill_lone_token_s"] = state + c["prefill_link_busy_s"]
    c["prefill_token_s"] = (per_pass + c["pass_latency_s"]) / tokens + c["prefill_lone_token_s"]


def _fold_memory(c: Any, replica: Replica, table: Table) -> None:
    bounds = table["stored_cap"]
    caps = sorted(set(bounds[np.isfinite(bounds)].tolist()))
    c["stored_caps"] = len(caps)
    _fill(c, "stored_cap_tokens", caps)
    _add_by_cap(c, "stored_token_bytes", "stored_cap_bytes", table["layers"] * table["stored_bytes"], bounds, caps)
    c["stored_state_bytes"] = float((table["layers"] * table["stored_state_bytes"]).sum())
    parts = replica.parallelism
    c["pool_bytes"] = replica.memory.pool_bytes * parts.attention_data * parts.context * parts.pipeline / replica.stage_balance


def _fold_ideal(c: Any, table: Table) -> None:
    dense = table[(table["experts"] == 0) & (table["weight_bytes"] > 0)]
    c["ideal_weight_s"] = float((dense["layers"] * dense["repeats"] * dense["weight_bytes"] / dense["memory_peak"]).sum())
    passed = table[table["weight_bytes"] > 0]
    c["ideal_pass_s"] = float((passed["layers"] * passed["weight_bytes"] / passed["memory_peak"]).sum())
    per_token = table["layers"] * table["share"] * table["flop_per_token"] / table["compute_peak"]
    c["ideal_step_flop_s"] = float((per_token * table["repeats"] * table["step_tokens"]).sum())
    c["ideal_token_flop_s"] = float(per_token[table["sampled"] == 0].sum())
    c["ideal_sampled_flop_s"] = float(per_token[table["sampled"] == 1].sum())


def _fold_engine(c: Any, replica: Replica, table: Table) -> None:
    parameters, serving = replica.parameters, replica.serving
    layer_overhead_s = float((table["layers"] * table["repeats"] * table["overhead_s"]).sum())
    c["overhead_s"] = layer_overhead_s + parameters["step_overhead"]
    c["sequence_s"] = parameters["sequence_overhead"] / replica.parallelism.attention_data  # every attention group schedules its own sequences
    passed = float(table["layers"][np.char.endswith(table["kind"], "overhead")].sum())
    c["pass_overhead_s"] = passed * parameters["prefill_layer_overhead"] + float((table["layers"] * table["overhead_s"]).sum())
    c["pass_overhead_s"] += parameters["step_overhead"]
    c["square_factor"] = parameters["prefill_square_factor"]
    c["chunk_tokens"] = serving.chunk_tokens or parameters["chunk_tokens"]
    c["tokens_per_step"] = serving.tokens_per_step
    for name in ("compiled_batch", "sequence_bucket", "prompt_bucket"):
        c[name] = getattr(serving, name) or 0.0
    c["static"] = 1.0 if serving.mode == "static" else 0.0
    c["disaggregated"] = 1.0 if serving.mode == "disaggregated" else 0.0
    c["prefill_pool_utilisation"] = parameters["prefill_pool_utilisation"]
    if serving.mode == "disaggregated":
        rate = replica.accelerator.need("scale_out_bandwidth").si * parameters["link_efficiency"]
        parts = replica.parallelism
        c["transfer_s_per_byte"] = replica.accelerator.ranks / rate * replica.stage_balance / (parts.pipeline * parts.context)
    c["first_token_overhead_s"] = parameters["first_token_overhead"]
    for name in (
        *("prefill_latency_factor", "serial_prefill", "first_step_wait_steps", "burst_fraction", "prefill_stall_fraction", "kv_reserved_fraction"),
        "saturated_factor",
        *("power_floor_fraction", "power_memory_fraction", "power_compute_fraction", "power_link_fraction"),
    ):
        c[name] = parameters[name]


def fold(replica: Replica, clock_fraction: float = 1.0) -> Constants:
    """The constants of a replica, shape (1,), dtype CONSTANTS, in SI, at a share of the full clock (which scales every rate of compute)."""
    table = replica.table.copy()
    table["compute_rate"] *= clock_fraction
    constants = np.zeros(1, dtype=CONSTANTS)
    c: Any = constants[0]
    parts, tdp, cap_w = replica.parallelism, replica.accelerator.figures.tdp, replica.serving.power_cap_w
    c["attention_data"], c["context_ranks"] = parts.attention_data, parts.context
    c["stages"], c["stage_balance"] = parts.pipeline, replica.stage_balance
    c["accelerators"] = replica.accelerators
    c["tdp_w"] = tdp.si if tdp else math.nan
    c["power_cap_w"] = math.inf if cap_w is None else cap_w
    _fold_engine(c, replica, table)
    _fold_gemms(c, table)
    _fold_experts(c, table, replica.parameters["expert_skew_exponent"])
    _fold_context(c, table)
    _fold_links(c, table)
    _fold_memory(c, replica, table)
    _fold_prefill(c, table)
    _fold_ideal(c, table)
    # A lower clock needs a lower voltage: the energy of a FLOP goes with its square.
    c["power_compute_fraction"] *= clock_fraction**2
    c["power_floor_fraction"] = power_floor(replica, clock_fraction)
    return constants
