"""Disaggregated serving: a pool of replicas that prefill and a pool that decode, of any kinds and numbers, fed by a closed loop of clients.

With N clients, `p` prefilling replicas of lone-prompt time L and marginal time P, and `d` decoding replicas of step D(b):

    TPOT  = D(b) / E                              no prefill stalls a step
    first = first_token_overhead + L + first_step_wait_steps D(b) + wait
    wait  = max(burst, N P / p - (L + O TPOT))    a burst's share of the queue, or what a saturated prefill pool makes every request wait
    b     = (N / d) O TPOT / (first + O TPOT)     requests that decode, by Little's law; those beyond the pool's memory wait

solved by iteration, each step taking half of the change. `accelmodel.serving.steady_state` solves the same wait for pools of like replicas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelmodel.core.fold import Constants
from accelmodel.core.kernels import Array
from accelmodel.serving.pieces import pieces

_SIZED_FOR = 0.8  # share of its time that a prefill pool of unknown size is busy
_ROUNDS = 24  # halves the distance each time: below 1e-7 of where it began


@dataclass(frozen=True)
class Pools:
    """Latencies of a disaggregated deployment and its output tokens per second, (n,) each; NaN where a replica does not fit."""

    time_to_first_token_s: Array
    time_per_output_token_s: Array
    output_tokens_per_s: Array


def pools(
    prefill: Constants, prefill_replicas: Array, decode: Constants, decode_replicas: Array, input_tokens: Array, output_tokens: Array, concurrency: Array
) -> Pools:
    """A closed loop of `concurrency` clients of the deployment, arrays (n,). Where `prefill_replicas` is 0 the pool is sized for its load."""
    one = np.ones_like(concurrency)
    lone = pieces(prefill, input_tokens, output_tokens, one, unbounded=True)
    burst = float(prefill[0]["burst_fraction"])
    waiting_steps, overhead_s = float(decode[0]["first_step_wait_steps"]), float(prefill[0]["first_token_overhead_s"])
    each = concurrency / decode_replicas
    running = each.copy()
    for _ in range(_ROUNDS):
        decoding = pieces(decode, input_tokens, output_tokens, np.maximum(running, 1.0))
        per_token = decoding.step_s / decoding.tokens_per_step
        decode_s = output_tokens * per_token
        enough = np.maximum(concurrency * lone.marginal_s / (_SIZED_FOR * decode_s), 1.0)
        workers = np.where(prefill_replicas > 0.0, prefill_replicas, enough)
        queue_s = burst * np.maximum(concurrency / workers - 1.0, 0.0) * lone.marginal_s
        wait = np.maximum(queue_s, concurrency * lone.marginal_s / workers - lone.lone_s - decode_s)
        first = overhead_s + lone.lone_s + waiting_steps * decoding.step_s + wait
        running = 0.5 * (running + each * decode_s / (first + decode_s))
    late = np.maximum(running / decoding.batch - 1.0, 0.0) * decode_s
    rate = concurrency / (first + late + decode_s) * output_tokens
    fits = decoding.fits == 1.0
    return Pools(*(np.where(fits, values, np.nan) for values in (first + late, per_token, rate)))
