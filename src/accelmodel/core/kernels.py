"""Kernels of the step model: what a block of points costs in seconds, from the folded constants of a replica.

Each takes rows of a block (n,) and adds to or fills an output row (n,); loops are short, branch-free and over one block, so that they vectorise and
stay in the first-level cache. Rows are contiguous: a block's arrays are never sliced along the points (a last block that is not full computes its
idle places too). `c` is one record of `accelmodel.core.fold.CONSTANTS`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.core.jit import jit

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCK = 256  # points of a block: long enough to vectorise, short enough for its scratch rows to stay in the first-level cache

# 2^f on [-1/2, 1/2] by its Taylor series, and log2 on [sqrt(1/2), sqrt(2)] by that of the inverse hyperbolic tangent: both to the last bits of a double.
_EXP2 = tuple(math.log(2) ** k / math.factorial(k) for k in range(13))
_LOG2 = tuple(2 / math.log(2) / (2 * k + 1) for k in range(10))
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD  # the bit pattern of sqrt(1/2): subtracting it leaves the exponent of a number in the upper twelve bits
_LOWEST_EXPONENT = -1000.0  # below, 2^y counts as 2^-1000: next to 1, both are nothing


@jit
def exp2_in_place(values: Array, bits: Integers) -> None:
    """Replace y by 2^y, y at most 1000; `bits` is scratch. Written out because a call of libm's does not vectorise."""
    for i in range(values.shape[0]):
        y = max(values[i], _LOWEST_EXPONENT)
        whole = math.floor(y + 0.5)
        f = y - whole
        p = _EXP2[12]
        p = p * f + _EXP2[11]
        p = p * f + _EXP2[10]
        p = p * f + _EXP2[9]
        p = p * f + _EXP2[8]
        p = p * f + _EXP2[7]
        p = p * f + _EXP2[6]
        p = p * f + _EXP2[5]
        p = p * f + _EXP2[4]
        p = p * f + _EXP2[3]
        p = p * f + _EXP2[2]
        p = p * f + _EXP2[1]
        values[i] = p * f + _EXP2[0]
        bits[i] = (int(whole) + 1023) << 52
    scale = bits.view(np.float64)
    for i in range(values.shape[0]):
        values[i] *= scale[i]


@jit
def log2(values: Array, out: Array, bits: Integers) -> None:
    """log2 of positive numbers; `bits` is scratch."""
    pattern = values.view(np.int64)
    for i in range(values.shape[0]):
        exponent = (pattern[i] - _SQRT_HALF_BITS) >> 52
        bits[i] = pattern[i] - (exponent << 52)
        out[i] = float(exponent)
    mantissa = bits.view(np.float64)
    for i in range(values.shape[0]):
        z = (mantissa[i] - 1.0) / (mantissa[i] + 1.0)
        w = z * z
        p = _LOG2[9]
        p = p * w + _LOG2[8]
        p = p * w + _LOG2[7]
        p = p * w + _LOG2[6]
        p = p * w + _LOG2[5]
        p = p * w + _LOG2[4]
        p = p * w + _LOG2[3]
        p = p * w + _LOG2[2]
        p = p * w + _LOG2[1]
        out[i] += z * (p * w + _LOG2[0])


@jit
def distinct_experts(tokens: Array, log2_miss: float, skew: float, unread: float, out: Array, bits: Integers) -> None:
    """Expected share of the experts that are read: 1 - u (1 - k/E)^(tokens^skew), where `unread` u of those that no token chooses are left alone."""
    log2(tokens, out, bits)
    for i in range(out.shape[0]):
        out[i] *= skew
    exp2_in_place(out, bits)
    for i in range(out.shape[0]):
        out[i] *= log2_miss
    exp2_in_place(out, bits)
    for i in range(out.shape[0]):
        out[i] = 1.0 - unread * out[i]


@jit
def add_gemms(groups: int, memory_s: Array, compute_s: Array, floor_s: Array, chosen: Array, tokens: Array, out: Array) -> None:
    """Add the fourth-power means of those of the first `groups` GEMM groups whose `chosen` is 1, each passing `tokens` tokens."""
    for g in range(groups):
        if chosen[g] == 1.0:
            memory = memory_s[g] * memory_s[g]
            memory *= memory
            slope, floor = compute_s[g], floor_s[g]
            for i in range(out.shape[0]):
                seconds = slope * tokens[i] + floor
                square = seconds * seconds
                out[i] += math.sqrt(math.sqrt(memory + square * square))


@jit
def add_experts(memory_s: float, compute_s: float, floor_s: float, distinct: Array, tokens: Array, out: Array) -> None:
    """Add the fourth-power mean of a group of routed experts of which a share `distinct` is read."""
    for i in range(out.shape[0]):
        memory = memory_s * distinct[i]
        compute = compute_s * tokens[i] + floor_s * distinct[i]
        memory *= memory
        compute *= compute
        out[i] += math.sqrt(math.sqrt(memory * memory + compute * compute))


@jit
def add_links(c: Any, tokens: Array, out: Array) -> None:
    """Add the collectives of each link group: the fastest of its algorithms, each a latency and seconds per token."""
    for g in range(c["links"]):
        a0, a1, a2 = c["link_latency_s"][g, 0], c["link_latency_s"][g, 1], c["link_latency_s"][g, 2]
        t0, t1, t2 = c["link_token_s"][g, 0], c["link_token_s"][g, 1], c["link_token_s"][g, 2]
        for i in range(out.shape[0]):
            out[i] += min(a0 + t0 * tokens[i], min(a1 + t1 * tokens[i], a2 + t2 * tokens[i]))


@jit
def context_cost(caps: int, cap_tokens: Array, per_token: float, per_capped: Array, context: Array, out: Array) -> None:
    """Cost of attending to `context` tokens: per token without bound, and per token up to each bound."""
    for i in range(out.shape[0]):
        out[i] = per_token * context[i]
    for g in range(caps):
        cap, cost = cap_tokens[g], per_capped[g]
        for i in range(out.shape[0]):
            out[i] += cost * min(context[i], cap)


@jit
def pairs_cost(caps: int, cap_tokens: Array, per_pair: float, per_capped: Array, square: float, fresh: Array, cached: Array, out: Array) -> None:
    """Cost of every (query, key) pair of a prefill of `fresh` tokens behind `cached` ones.

    Without bound a prompt has fresh x cached pairs and, causally, fresh^2 / 2 of its own; `square` is 1, or 2 where software computes the whole
    square of its own. With a bound w, query i sees min(cached + i, w) keys: with m = min(max(w - cached, 0), fresh) queries below the bound, m x
    cached + m^2 / 2 + (fresh - m) x w.
    """
    half = 0.5 * square
    for i in range(out.shape[0]):
        out[i] = per_pair * fresh[i] * (cached[i] + half * fresh[i])
    for g in range(caps):
        cap, cost = cap_tokens[g], per_capped[g]
        for i in range(out.shape[0]):
            below = min(max(cap - cached[i], 0.0), fresh[i])
            out[i] += cost * (below * (cached[i] + half * below) + (fresh[i] - below) * cap)


@jit
def _copy_run(values: Array, offset: int, step: int, out: Array, begin: int, n: int) -> None:
    """`n` elements from `offset` on, `step` apart, to out[begin:]."""
    if step == 0:
        value = values[offset]
        for i in range(n):
            out[begin + i] = value
    elif step == 1:
        for i in range(n):
            out[begin + i] = values[offset + i]
    else:
        for i in range(n):
            out[begin + i] = values[offset + i * step]


@jit
def broadcast(a: Array, b: Array, c: Array, d: Array, shape: Integers, strides: Integers, start: int, n: int, out: Array, apart: int) -> None:
    """`n` elements from `start` on of four arrays broadcast to `shape` in C order, into four rows of `out`, `apart` from each other.

    Strides (4, axes) are in elements, 0 along broadcast axes. The way through the axes is found once for all four.
    """
    axes = shape.shape[0]
    last, filled = shape[axes - 1], 0
    s0, s1, s2, s3 = strides[0, axes - 1], strides[1, axes - 1], strides[2, axes - 1], strides[3, axes - 1]
    while filled < n:
        rest = (start + filled) // last
        column = start + filled - rest * last
        o0, o1, o2, o3 = column * s0, column * s1, column * s2, column * s3
        for axis in range(axes - 2, -1, -1):
            index = rest % shape[axis]
            rest //= shape[axis]
            o0 += index * strides[0, axis]
            o1 += index * strides[1, axis]
            o2 += index * strides[2, axis]
            o3 += index * strides[3, axis]
        run = min(last - column, n - filled)
        _copy_run(a, o0, s0, out, filled, run)
        _copy_run(b, o1, s1, out, apart + filled, run)
        _copy_run(c, o2, s2, out, 2 * apart + filled, run)
        _copy_run(d, o3, s3, out, 3 * apart + filled, run)
        filled += run
