"""Prefix caching: the share of input tokens that a cache serves, by how long a cached block survives in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelmodel.core.fold import Constants
from accelmodel.core.kernels import Array
from accelmodel.errors import InputError
from accelmodel.serving.steady_state import NO_CAP, OUTPUTS, Grid, closed_loop

_ROUNDS = 200
_CLOSE = 1e-9


@dataclass(frozen=True)
class HitCurve:
    """Hits measured on one trace: `fraction` of the input tokens with an LRU cache of `cache_tokens` at `requests_per_s`; both rise, shape (k,)."""

    cache_tokens: Array
    fraction: Array
    requests_per_s: float

    def at(self, cache_tokens: Array, requests_per_s: Array) -> Array:
        """Hit fraction of caches of another size at another rate of the same traffic.

        A block of an LRU cache survives until the cache has been filled once with other blocks, so what counts is cache / rate: a cache of C at rate
        x serves as one of C x0 / x at the trace's rate x0. Between measured sizes linear in the logarithm, below the smallest in proportion, beyond
        the largest constant.
        """
        alike = cache_tokens * self.requests_per_s / requests_per_s
        least = self.cache_tokens[0]
        known = np.interp(np.log(np.maximum(alike, least)), np.log(self.cache_tokens), self.fraction)
        found: Array = np.where(alike < least, self.fraction[0] * alike / least, known)
        return found


def solve_hits(constants: Constants, input_tokens: Array, output_tokens: Array, concurrency: Array, curve: HitCurve, capped: Constants = NO_CAP) -> Array:
    """Hit fraction at which a closed loop and its cache agree, shape (n,): the cache is what the running requests leave of the KV pool.

    More hits raise the rate, which shortens survival: the fixed point is one, and damped iteration finds it to 1e-9. InputError where the rate jumps
    with the hits, as it may where prompts are padded, and there is none.
    """
    rate, running, capacity = (OUTPUTS.index(name) for name in ("output_tokens_per_s", "running_requests", "kv_capacity_tokens"))
    hits = np.zeros(input_tokens.shape)
    for _ in range(_ROUNDS):
        out = closed_loop(constants, Grid.of(input_tokens, output_tokens, concurrency, hits), capped=capped)
        spare = np.maximum(out[capacity] - out[running] * (input_tokens + 0.5 * output_tokens), 0.0)
        new = np.where(np.isnan(out[rate]), 0.0, curve.at(np.nan_to_num(spare), np.nan_to_num(out[rate] / output_tokens, nan=1.0)))
        if np.max(np.abs(new - hits)) < _CLOSE:
            return hits
        hits = 0.5 * (hits + new)
    raise InputError("no hit fraction agrees with the load that it leads to: padded prompts make the rate jump; give prefix_hit_fraction", key="prefix_cache")
