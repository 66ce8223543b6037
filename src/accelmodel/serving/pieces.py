"""What the closed forms are made of, by itself: the requests that run, one decode step, one prompt alone, one prompt at the margin.

From these follow loads that are no closed loop: a saturated server, one wave of requests, and pools of different replicas for prefill and decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.core.fold import Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Array
from accelmodel.serving.steady_state import PLACE, ROWS, STRIDE, admit, apply_shapes, decode_step, prefill

_INPUTS = tuple(PLACE[name] for name in ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction"))
_PIECES = tuple(PLACE[name] for name in ("batch", "step", "lone", "marginal", "fits", "kv_capacity_tokens"))
_LARGEST_BATCH = 2048.0  # sequences of a step: the usual limit of a serving engine


@dataclass(frozen=True)
class Pieces:
    """Pieces of n points, each (n,): `batch` requests that run, `step_s` of one decode step of them, `lone_s` of one prompt alone, `marginal_s` of one
    among many, `fits` (1 or 0), and the capacity in tokens. `tokens_per_step` and `first_token_overhead_s` are the replica's.
    """

    batch: Array
    step_s: Array
    lone_s: Array
    marginal_s: Array
    fits: Array
    kv_capacity_tokens: Array
    tokens_per_step: float
    first_token_overhead_s: float
    saturated_factor: float


@jit
def _pieces(constants: Constants, inputs: Array, out: Array) -> None:
    c: Any = constants[0]
    f, bits = np.zeros(ROWS * STRIDE), np.empty(BLOCK, np.int64)
    for start in range(0, inputs.shape[1], BLOCK):
        n = min(BLOCK, inputs.shape[1] - start)
        for row in range(4):
            for i in range(n):
                f[_INPUTS[row] + i] = inputs[row, start + i]
        admit(c, f, n)
        apply_shapes(c, f, n)
        decode_step(c, f, bits[:n], n, 0)
        prefill(c, f, bits[:n], n)
        for row in range(6):
            for i in range(n):
                out[row, start + i] = f[_PIECES[row] + i]


def pieces(
    constants: Constants, input_tokens: Array, output_tokens: Array, concurrency: Array, prefix_hit_fraction: Array | float = 0.0, *, unbounded: bool = False
) -> Pieces:
    """Pieces of some loads, arrays (n,); `unbounded` lets every client run, whatever the memory holds."""
    if unbounded:
        constants = constants.copy()
        constants["pool_bytes"] = 1e30
    rows = np.broadcast_arrays(input_tokens, output_tokens, concurrency, prefix_hit_fraction)
    inputs = np.array([row.reshape(-1) for row in rows], dtype=np.float64)
    out = np.empty((len(_PIECES), inputs.shape[1]))
    _pieces(constants, inputs, out)
    c = constants[0]
    batch, step_s, lone_s, marginal_s, fits, capacity = out
    own = (float(c[name]) for name in ("tokens_per_step", "first_token_overhead_s", "saturated_factor"))
    return Pieces(batch, step_s, lone_s, marginal_s, fits, capacity, *own)


def saturated_output_tokens_per_s(constants: Constants, input_tokens: Array, output_tokens: Array, largest_batch: float = _LARGEST_BATCH) -> Array:
    """Output tokens per second of a server that never lacks requests, shape (n,); NaN where the replica does not fit.

    Time is conserved: b requests of O tokens cost O / E decode steps D of the whole batch and b prefills P at the margin, so X = b O / (O D / E + b P);
    b is what memory admits, at most `largest_batch`. Times `saturated_factor`: what servers gain whose steps are always full.
    """
    p = pieces(constants, input_tokens, output_tokens, np.full_like(output_tokens, largest_batch))
    rate = p.batch * output_tokens / (output_tokens * p.step_s / p.tokens_per_step + p.batch * p.marginal_s)
    return np.where(p.fits == 1.0, rate * p.saturated_factor, np.nan)


def wave(constants: Constants, input_tokens: Array, output_tokens: Array, concurrency: Array) -> tuple[Array, Array]:
    """(seconds to the first tokens of a wave, seconds per output token) where `concurrency` requests start together, shape (n,) each.

    All prompts are prefilled, then all sequences decoded: first = overhead + L + (N - 1) P. A wave larger than memory runs as several.
    """
    p = pieces(constants, input_tokens, output_tokens, concurrency)
    first = p.first_token_overhead_s + p.lone_s + (p.batch - 1.0) * p.marginal_s
    waves = np.ceil(concurrency / p.batch - 1e-9)
    per_token = p.step_s / p.tokens_per_step
    late = (waves - 1.0) * (first + (output_tokens - 1.0) * per_token)
    return np.where(p.fits == 1.0, first + late, np.nan), np.where(p.fits == 1.0, per_token, np.nan)
