"""The largest load within latency targets."""

from __future__ import annotations

import math

import numpy as np

from accelmodel.core.fold import Constants
from accelmodel.core.kernels import Array
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop

LARGEST_CONCURRENCY = 65_536.0
_STEPS = 40


def largest_concurrency(
    constants: Constants, input_tokens: Array, output_tokens: Array, prefix_hit_fraction: Array, *, ttft_s: float = math.inf, tpot_s: float = math.inf
) -> Array:
    """The largest whole number of clients at which mean TTFT and mean TPOT both meet their targets, shape (n,); 0 where not even one client does.

    Both latencies rise with concurrency, so bisection finds it; without targets, or with loose ones, it is the number that the KV pool admits: more clients
    would only wait.
    """
    ttft_row, tpot_row, running_row = (OUTPUTS.index(name) for name in ("time_to_first_token_s", "time_per_output_token_s", "running_requests"))

    def meets(concurrency: Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        out = closed_loop(constants, Grid.of(input_tokens, output_tokens, concurrency, prefix_hit_fraction))
        within = (out[ttft_row] <= ttft_s) & (out[tpot_row] <= tpot_s) & (out[running_row] >= concurrency)
        found: np.ndarray[tuple[int], np.dtype[np.bool_]] = within
        return found

    low, high = np.zeros(input_tokens.shape), np.full(input_tokens.shape, LARGEST_CONCURRENCY)
    for _ in range(_STEPS):
        middle = np.floor(0.5 * (low + high))
        ok = meets(np.maximum(middle, 1.0)) & (middle >= 1.0)
        low, high = np.where(ok, middle, low), np.where(ok, high, middle)
    return np.where((low == 0.0) & meets(np.ones(input_tokens.shape)), 1.0, low)
