"""Where the time of one step goes, row by row of the operator table: the kernels' decode step before it is folded, for who wants to look inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelmodel.core.fold import mean4
from accelmodel.core.replica import Replica


@dataclass(frozen=True)
class Part:
    """Seconds of one kind of operator in a decode step: in all, of which by memory, compute and links alone (they overlap), with bytes and FLOP of a rank."""

    kind: str
    seconds: float
    memory_s: float
    compute_s: float
    link_s: float
    overhead_s: float
    weight_bytes: float
    cache_bytes: float
    flop: float
    memory_rate: float
    compute_rate: float
    memory_peak: float
    compute_peak: float


def decode_step(replica: Replica, batch: float, context_tokens: float) -> list[Part]:
    """Parts of the decode step of a batch, requests at a mean context (tokens), one per kind of operator in the order of the table.

    The equation stands at `accelmodel.core.operators`; the parts' seconds add up to the kernels' step. `step` is what is paid once a step and
    `scheduling` what is paid once a sequence.
    """
    c, stages = replica.constants[0], replica.parallelism.pipeline
    micro = max(max(batch, float(c["compiled_batch"])) / stages, 1.0)
    grouped = max(micro, float(c["attention_data"]))
    context = max(context_tokens, float(c["sequence_bucket"]))
    balance = replica.stage_balance if stages > 1 else 1.0
    found: dict[str, Part] = {}
    for row in replica.table:
        part = _part(row, micro, grouped, context, balance, c)
        found[part.kind] = part if part.kind not in found else _joined(found[part.kind], part)
    p = replica.parameters
    found["step"] = _overhead("step", p["step_overhead"] * balance)
    found["scheduling"] = _overhead("scheduling", float(c["sequence_s"]) * grouped * balance)
    return [part for part in found.values() if part.seconds > 0.0]


def _part(row: np.void, micro: float, grouped: float, context: float, balance: float, c: np.void) -> Part:
    """One row's share of the step."""
    times, tokens = float(row["layers"] * row["repeats"]), float(row["step_tokens"])
    sequences = (grouped if row["share"] < 1.0 else micro) * float(row["share"])
    seen, distinct = min(context, float(row["context_cap"])), 1.0
    if row["experts"] > 0.0:
        distinct = 1.0 - float(c["expert_unread_fraction"]) * float(row["miss_probability"]) ** ((micro * tokens) ** float(c["expert_skew"]))
    weights = times * float(row["weight_bytes"]) * distinct
    cache, states = times * sequences * float(row["context_bytes"]) * seen, times * sequences * float(row["sequence_bytes"])
    per_token = times * sequences * tokens
    matrix_flop = per_token * float(row["flop_per_token"]) + times * float(row["floor_flop"]) * distinct
    context_flop = per_token * float(row["context_flop"]) * seen
    memory, compute = float(row["memory_rate"]), float(row["compute_rate"])
    if weights > 0.0:
        work_s = mean4(weights / memory, matrix_flop / compute)
    else:
        work_s = mean4(cache / memory, context_flop / compute) + mean4(states / memory, matrix_flop / compute)
    slopes = row["link_token_s"] * row["share"] * tokens * micro
    link_s, overhead_s = times * float(np.min(row["link_latency_s"] + slopes)), times * float(row["overhead_s"])
    flop, read = matrix_flop + context_flop, weights + cache + states
    return Part(
        kind=str(row["kind"]),
        seconds=(work_s + link_s + overhead_s) * balance,
        memory_s=read / memory * balance,
        compute_s=flop / compute * balance,
        link_s=link_s * balance,
        overhead_s=overhead_s * balance,
        weight_bytes=weights,
        cache_bytes=cache + states,
        flop=flop,
        memory_rate=memory,
        compute_rate=compute,
        memory_peak=float(row["memory_peak"]),
        compute_peak=float(row["compute_peak"]),
    )


_ADDED = ("seconds", "memory_s", "compute_s", "link_s", "overhead_s", "weight_bytes", "cache_bytes", "flop")


def _joined(one: Part, other: Part) -> Part:
    """Two parts of one kind: times, bytes and FLOP add up; rates are the first's."""
    return Part(**{**vars(one), **{name: getattr(one, name) + getattr(other, name) for name in _ADDED}})


def _overhead(kind: str, seconds: float) -> Part:
    inf = float("inf")
    return Part(kind, seconds, 0.0, 0.0, 0.0, seconds, 0.0, 0.0, 0.0, inf, inf, inf, inf)
