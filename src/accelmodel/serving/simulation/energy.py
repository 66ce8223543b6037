"""What simulated replicas draw, by the closed form's rule: shares of bandwidth, FLOP and links at their peaks, over the time in which anything runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accelmodel.core.fold import Constants
from accelmodel.core.kernels import Array, pairs_cost
from accelmodel.serving.simulation.replay import Simulated, padded_tokens


def energy_j(constants: Constants, simulated: Simulated, duration_s: float, idle_fraction: float) -> Array:
    """Joules that each replica's accelerators draw in `duration_s`, shape (replicas,), those that only prefill first; a share `idle_fraction` of their design
    power where nothing runs.

    With m, f, l the seconds at full bandwidth, peak and link rate, x = (p_m m + p_f f + p_l l) / busy_s and busy energy is design power x busy_s x (floor
    + (1 - floor) x / sqrt(1 + x^2)): the closed form's draw, of work that was done instead of rates.
    """
    if simulated.pools is None:
        return _pool_j(constants, simulated.requests, simulated.states, duration_s, idle_fraction)
    prefill, decode = simulated.pools
    first_j = _pool_j(constants, prefill.requests, prefill.states, duration_s, idle_fraction)
    return np.concatenate([first_j, _pool_j(constants, decode.requests[:0], decode.states, duration_s, idle_fraction)])


def _pool_j(constants: Constants, requests: npt.NDArray[np.void], states: npt.NDArray[np.void], duration_s: float, idle_fraction: float) -> Array:
    """Joules of a pool's replicas that have prefilled these requests, some of them again."""
    c = constants[0]
    fresh, cached = padded_tokens(constants, requests), np.ascontiguousarray(requests["cached_tokens"])
    pairs_s = np.empty(fresh.shape)
    pairs_cost(c["caps"], c["cap_tokens"], c["ideal_pair_s"], c["ideal_cap_pair_s"], c["square_factor"], fresh, cached, pairs_s)
    groups, caps = c["attention_data"] * c["context_ranks"], int(c["caps"])
    sums, bounded = states["sum_steps"][:, 0], states["sum_steps"][:, 1 : caps + 1]
    read_s = c["ideal_context_s"] * sums + bounded @ c["ideal_cap_context_s"][:caps] + c["ideal_sequence_s"] * states["sequence_steps"]
    flop_s = c["ideal_context_flop_s"] * sums + bounded @ c["ideal_cap_flop_s"][:caps] + c["ideal_step_flop_s"] * states["sequence_steps"]
    of = np.bincount(requests["replica"], minlength=states.shape[0]) + states["again"]
    fresh_of = np.bincount(requests["replica"], fresh, states.shape[0]) + states["again_tokens"]
    memory_s = states["weights_s"] + (read_s + fresh_of * c["ideal_pass_s"] / (c["chunk_tokens"] * c["attention_data"])) / c["stages"]
    pairs_of = np.bincount(requests["replica"], pairs_s, states.shape[0]) + states["again_pairs_s"]
    flop_s = (flop_s + fresh_of * c["ideal_token_flop_s"] + of * c["ideal_sampled_flop_s"] + pairs_of / groups) / c["stages"]
    link_s = (states["sequence_steps"] * c["link_busy_s"] + fresh_of * c["prefill_link_busy_s"]) / c["stages"]
    busy_s, floor = states["busy_s"], c["power_floor_fraction"]
    active_s = c["power_memory_fraction"] * memory_s + c["power_compute_fraction"] * flop_s + c["power_link_fraction"] * link_s
    share = active_s / np.maximum(busy_s, 1e-300)
    drawn_s = busy_s * (floor + (1.0 - floor) * share / np.sqrt(1.0 + share * share))
    joules: Array = c["accelerators"] * c["tdp_w"] * (drawn_s + idle_fraction * np.maximum(duration_s - busy_s, 0.0))
    return joules
