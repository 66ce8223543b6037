"""Seconds of one iteration: b decoding sequences of given contexts, and prompt tokens beside them; the closed form's kernels, sequence by sequence.

A decode step's time D(b, context) is linear in the context but for bounds. With the contexts c_i of b sequences, the bucket B and the bounds w_k,

    step_s  = D(b, 0) + balance g / b x sum_i [ context_s max(c_i, B) + sum_k cap_context_s_k min(max(c_i, B), w_k) ]
    pass_s  = balance / stages x [ tokens x (prefill_token_s + pass_overhead_s / (chunk_tokens groups)) + pairs / (context_ranks groups) ]

where g is the number of sequences as executed (a compiled batch in full, at least one an attention group). At equal contexts `step_s` is the closed form's
step, and the chunks of a prompt sum to its marginal prefill.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from accelmodel.core.fold import CONSTANTS, Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Array, Integers, pairs_cost
from accelmodel.serving.steady_state import PLACE, apply_shapes, decode_step, prefill, scratch

SUMS = 1 + CONSTANTS["cap_tokens"].shape[0]  # sums over contexts: without bound, and up to each bound

_BATCH, _CONTEXT, _FRESH, _CACHED, _GROUPED, _STEP, _WEIGHTS, _LONE, _MARGINAL, _A, _B, _INPUT = (
    PLACE[name] for name in ("batch", "context", "fresh", "cached", "grouped", "step", "weights", "lone", "marginal", "a", "b", "input_tokens")
)
_ROWS = len(PLACE)

# Columns of the table of steps: seconds without context, seconds per second of context cost, seconds at full bandwidth to read the weights (by
# the stages that have anything to do).
BARE_S, PER_CONTEXT, WEIGHTS_S = range(3)


@jit
def _tabulate(constants: Constants, out: Array) -> None:
    """Fill `out` (batch + 1, 3) for every number of decoding sequences; a step of none takes no time."""
    c: Any = constants[0]
    f, bits = scratch(_ROWS), np.empty(BLOCK, np.int64)
    out[0, :] = 0.0
    for start in range(1, out.shape[0], BLOCK):
        n = min(BLOCK, out.shape[0] - start)
        for i in range(n):
            f[_BATCH + i] = float(start + i)
            f[_FRESH + i] = 1.0
        apply_shapes(c, f, n)
        for i in range(n):
            f[_CONTEXT + i] = 0.0
        decode_step(c, f, bits[:n], n, 0)
        for i in range(n):
            out[start + i, BARE_S] = f[_STEP + i]
            out[start + i, PER_CONTEXT] = c["stage_balance"] * f[_GROUPED + i] / float(start + i)
            out[start + i, WEIGHTS_S] = f[_WEIGHTS + i] * min(float(start + i) / c["stages"], 1.0)


def step_table(constants: Constants, largest_batch: int) -> Array:
    """What a step of 0 to `largest_batch` sequences takes before their contexts count, shape (largest_batch + 1, 3)."""
    out = np.empty((largest_batch + 1, 3))
    _tabulate(constants, out)
    return out


@jit
def context_s(c: Any, sums: Array) -> float:
    """Seconds of context cost of sums (SUMS,) over sequences: of contexts without bound, then of those up to each bound."""
    seconds: float = c["context_s"] * sums[0]
    for k in range(c["caps"]):
        seconds += c["cap_context_s"][k] * sums[k + 1]
    return seconds


@jit
def step_s(c: Any, steps: Array, decoding: int, sums: Array) -> float:
    """Seconds of a decode step of `decoding` sequences whose contexts have these sums, from the table of steps."""
    bare_s, per_context = float(steps[decoding, BARE_S]), float(steps[decoding, PER_CONTEXT])
    return bare_s + per_context * context_s(c, sums)


@jit
def padded(c: Any, fresh_tokens: float) -> float:
    """Tokens of a prompt as they execute: at least one, and a multiple of the prompt bucket."""
    tokens, bucket = max(fresh_tokens, 1.0), c["prompt_bucket"]
    whole: float = np.ceil(tokens / bucket) * bucket if bucket > 0.0 else tokens
    return whole


@jit
def pairs_s(c: Any, f: Array, tokens: float, behind: float) -> float:
    """Seconds of the (query, key) pairs of `tokens` prompt tokens behind `behind` others, all context ranks together; `f` is scratch."""
    f[_FRESH], f[_CACHED] = tokens, behind
    fresh, cached, out = f[_FRESH : _FRESH + 1], f[_CACHED : _CACHED + 1], f[_B : _B + 1]
    pairs_cost(c["caps"], c["cap_tokens"], c["pair_s"], c["cap_pair_s"], c["square_factor"], fresh, cached, out)
    return float(f[_B])


@jit
def ideal_pairs_s(c: Any, f: Array, tokens: float, behind: float) -> float:
    """Seconds at full peak of the pairs of `tokens` prompt tokens behind `behind` others, all context ranks together; `f` is scratch."""
    f[_FRESH], f[_CACHED] = tokens, behind
    fresh, cached, out = f[_FRESH : _FRESH + 1], f[_CACHED : _CACHED + 1], f[_B : _B + 1]
    pairs_cost(c["caps"], c["cap_tokens"], c["ideal_pair_s"], c["ideal_cap_pair_s"], c["square_factor"], fresh, cached, out)
    return float(f[_B])


@jit
def pass_s(c: Any, tokens: float, pairs: float) -> float:
    """Seconds that `tokens` prompt tokens add to an iteration, their `pairs` taking so many seconds."""
    groups = c["attention_data"]
    token_s = c["prefill_token_s"] + c["pass_overhead_s"] / (c["chunk_tokens"] * groups)
    seconds: float = c["stage_balance"] / c["stages"] * (tokens * token_s + pairs / (c["context_ranks"] * groups))
    return seconds


@jit
def prompt_s(c: Any, f: Array, bits: Integers, fresh_tokens: float, cached_tokens: float) -> tuple[float, float]:
    """Seconds of one prompt alone, and of one at the margin, by the closed form's `prefill`; tokens as they execute; `f` and `bits` are scratch."""
    f[_FRESH], f[_CACHED] = fresh_tokens, cached_tokens
    prefill(c, f, bits[:1], 1)
    return float(f[_LONE]), float(f[_MARGINAL])
