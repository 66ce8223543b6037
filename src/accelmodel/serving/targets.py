"""The largest load within latency targets."""

from __future__ import annotations

import math

import numpy as np

from accelmodel.core.fold import Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Array
from accelmodel.serving.steady_state import NO_CAP, PLACE, ROWS, forget, scratch, served_block

LARGEST_CONCURRENCY = 65_536
_STEPS = 17  # halvings from LARGEST_CONCURRENCY to one

_ISL, _OSL, _CLIENTS, _HIT = (PLACE[name] for name in ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction"))
_TTFT, _TPOT, _WAITING, _FITS = (PLACE[name] for name in ("time_to_first_token_s", "time_per_output_token_s", "waiting_requests", "fits"))


@jit
def _search(constants: Constants, capped: Constants, input_tokens: Array, output_tokens: Array, hit: Array, ttft_s: float, tpot_s: float, out: Array) -> None:
    """`largest_concurrency` of every record of `constants` (replicas,) at every load (n,), into out (replicas, n)."""
    f, spare, bits = scratch(ROWS), scratch(ROWS), np.empty(BLOCK, np.int64)
    for r in range(constants.shape[0]):
        forget(f)
        forget(spare)
        for i in range(input_tokens.shape[0]):
            f[_ISL], f[_OSL], f[_HIT] = input_tokens[i], output_tokens[i], hit[i]
            low, high = 0, LARGEST_CONCURRENCY + 1
            for _ in range(_STEPS):
                middle = max((low + high) // 2, 1)
                f[_CLIENTS] = float(middle)
                served_block(constants, capped, r, f, spare, bits, 1, 0, 0)
                if f[_FITS] == 1.0 and f[_WAITING] == 0.0 and f[_TTFT] <= ttft_s and f[_TPOT] <= tpot_s:
                    low = middle
                else:
                    high = middle
            out[r, i] = float(low)


def largest_concurrency(
    constants: Constants,
    input_tokens: Array,
    output_tokens: Array,
    prefix_hit_fraction: Array,
    *,
    ttft_s: float = math.inf,
    tpot_s: float = math.inf,
    capped: Constants = NO_CAP,
) -> Array:
    """The largest whole number of clients at which mean TTFT and mean TPOT both meet their targets; 0 where not even one client does.

    `constants` has shape (replicas,), the loads (n,); the result is (replicas, n). Both latencies rise with concurrency, so bisection finds it;
    without targets, or with loose ones, it is the number that the KV pool admits: more clients would only wait.
    """
    out = np.empty((constants.shape[0], input_tokens.shape[0]))
    _search(constants, capped, input_tokens, output_tokens, prefix_hit_fraction, ttft_s, tpot_s, out)
    return out
