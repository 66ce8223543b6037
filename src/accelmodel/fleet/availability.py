"""Failures: how much of the time a replica is up, how many are needed so that enough are, how many spares wait on the shelf.

SciPy is imported where it is used: it takes a third of a second.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelmodel.economics import check_range
from accelmodel.units import HOURS_PER_YEAR

Array = npt.NDArray[np.float64]

_EXPONENT = 70.0  # what is rarer than exp(-70) does not happen


@dataclass(frozen=True)
class FailureDomain:
    """What fails as one: a chip, a host, a system. `accelerators` is how many go down with it.

    `mtbf_h` is the mean time between failures of one such domain, `mttr_h` the mean time to repair it or to replace it by a spare.
    """

    name: str
    accelerators: int
    mtbf_h: float
    mttr_h: float

    def __post_init__(self) -> None:
        check_range(f"{self.name}.accelerators", self.accelerators, at_least=1)
        check_range(f"{self.name}.mtbf_h", self.mtbf_h, above=0)
        check_range(f"{self.name}.mttr_h", self.mttr_h, at_least=0)

    @property
    def availability_fraction(self) -> float:
        """Share of time that it is up: MTBF / (MTBF + MTTR)."""
        return self.mtbf_h / (self.mtbf_h + self.mttr_h)


def group_availability_fraction(accelerators: int, domains: Sequence[FailureDomain]) -> float:
    """Share of time that all of a group of accelerators is up, nested domains failing independently.

    Product over domains of A^ceil(accelerators / domain's accelerators): a group needs all its chips and hosts, A_chip^k A_host^h.
    """
    check_range("accelerators", accelerators, at_least=1)
    return math.prod(domain.availability_fraction ** math.ceil(accelerators / domain.accelerators) for domain in domains)


def replicas_up(replicas: int, accelerators_per_replica: int, domains: Sequence[FailureDomain]) -> Array:
    """Probability that 0, 1 ... all of `replicas` are up that stand side by side in one block (a system), shape (replicas + 1,).

    A domain of at most a replica's accelerators takes one replica down; a larger one takes all that stand in it, and lies in the next larger. A domain larger
    than the block takes the block down.
    """
    alone = [domain for domain in domains if domain.accelerators <= accelerators_per_replica]
    shared = sorted((domain for domain in domains if domain.accelerators > accelerators_per_replica), key=lambda domain: -domain.accelerators)
    one = group_availability_fraction(accelerators_per_replica, alone)
    levels = [(domain.accelerators // accelerators_per_replica, domain.availability_fraction) for domain in shared]
    return _up(replicas, np.array([1.0 - one, one]), levels)


def _up(replicas: int, one: Array, levels: Sequence[tuple[int, float]]) -> Array:
    """Probabilities of 0 to `replicas` up, each `one` by itself, in nested groups of (replicas, availability), the largest first."""
    if not levels:
        return _copies(one, replicas)
    (size, available), *inner = levels

    def group(count: int) -> Array:
        within: Array = available * _up(count, one, inner)
        within[0] += 1.0 - available
        return within

    whole, left = divmod(replicas, size)
    found = _copies(group(size), whole) if whole else np.ones(1)
    return np.convolve(found, group(left)) if left else found


def _few_down(states: Array, count: int) -> Array:
    """Distribution of the replicas that are down of `count` blocks, over 0, 1 ... to where more are down with less than 1e-30.

    By Bernstein's inequality for sums of bounded terms: P(sum > mean + t) <= exp(-t^2 / (2 (variance + each t / 3))), each the replicas of a block.
    """
    down, places = states[::-1], np.arange(states.shape[0], dtype=np.float64)
    mean = float(places @ down)
    slope, variance = _EXPONENT * float(places[-1]) / 3.0, count * max(float(places**2 @ down) - mean**2, 0.0)
    return _copies(down, count, math.ceil(count * mean + slope + math.sqrt(slope**2 + 2.0 * _EXPONENT * variance)))


def _copies(states: Array, count: int, most: int | None = None) -> Array:
    """Distribution of the sum of `count` independent copies of one over 0, 1, 2 ... (`most`, which it never exceeds): the power of its Fourier transform."""
    size = count * (states.shape[0] - 1) + 1
    size = size if most is None else min(size, most + 1)
    length = 1 << size.bit_length()  # a power of two transforms several times faster than lengths with large prime factors
    total: Array = np.maximum(np.fft.irfft(np.fft.rfft(states, n=length) ** count, n=length)[:size], 0.0)
    return total


def probability_enough_up(blocks: int, needed: int, states: Array) -> float:
    """P(at least `needed` replicas are up in so many independent blocks), `states` the probabilities of 0, 1 ... all of one block's replicas up.

    With one replica a block it is the upper tail of a binomial.
    """
    each = states.shape[0] - 1
    if needed <= 0:
        return 1.0
    if blocks * each < needed:
        return 0.0
    return min(float(_few_down(states, blocks)[: blocks * each - needed + 1].sum()), 1.0)  # of those down: few, so that rounding matters least


def blocks_for_availability(needed: int, states: Array, target_fraction: float) -> int:
    """Smallest number of blocks with P(at least `needed` replicas are up) >= target; `states` as for `probability_enough_up`.

    InputError for replicas that are never up, or a target of 1, which no number reaches unless nothing ever fails.
    """
    each = int(states.shape[0]) - 1
    few = max(-(-needed // each), 0)
    if needed <= 0 or states[each] == 1.0:
        return few
    check_range("availability_fraction", float(np.arange(each + 1) @ states) / each, above=0, at_most=1 + 1e-9)
    check_range("target_fraction", target_fraction, at_least=0, below=1)

    def enough(count: int) -> bool:
        return probability_enough_up(count, needed, states) >= target_fraction

    if enough(few):
        return few
    few, many = _bracket(enough, few, max(few + 1, _normal_guess(needed, states, target_fraction)))
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def _normal_guess(needed: int, states: Array, target_fraction: float) -> int:
    """Blocks by the normal approximation: the n at which n x mean less z deviations of n blocks are `needed`."""
    from scipy.special import ndtri

    up = np.arange(states.shape[0])
    mean = float(up @ states)
    reach = float(ndtri(target_fraction)) * math.sqrt(max(float(up**2 @ states) - mean**2, 0.0))
    root = (reach + math.sqrt(reach**2 + 4.0 * mean * needed)) / (2.0 * mean)
    return math.ceil(root**2)


def _bracket(enough: Callable[[int], bool], never: int, guess: int) -> tuple[int, int]:
    """A count that is not enough and one that is, about a guess, by steps that double; `never` is below the guess and not enough."""
    step = 1
    if enough(guess):
        few = max(guess - step, never)
        while few > never and enough(few):
            guess, step = few, 2 * step
            few = max(guess - step, never)
        return few, guess
    while not enough(guess + step):
        guess, step = guess + step, 2 * step
    return guess, guess + step


def replicas_for_availability(
    needed: int, replicas_per_block: int, accelerators_per_replica: int, domains: Sequence[FailureDomain], target_fraction: float
) -> int:
    """Smallest number of replicas, in whole blocks and one that is partly filled, of which at least `needed` are up with the target's probability."""
    states = replicas_up(replicas_per_block, accelerators_per_replica, domains)
    blocks = blocks_for_availability(needed, states, target_fraction)
    return fewest_in_blocks(needed, blocks, states, accelerators_per_replica, domains, target_fraction)


def fewest_in_blocks(needed: int, blocks: int, states: Array, accelerators_per_replica: int, domains: Sequence[FailureDomain], target_fraction: float) -> int:
    """Smallest number of replicas of which enough are up, the last of `blocks`, the fewest whole ones that do, being filled as far as it takes.

    More replicas in the last block are never fewer up, so that it is found by bisection.
    """
    each = int(states.shape[0]) - 1
    if blocks == 0:
        return 0
    others = _few_down(states, blocks - 1)

    def enough(left: int) -> bool:
        installed = (blocks - 1) * each + left
        down = np.convolve(others, replicas_up(left, accelerators_per_replica, domains)[::-1])
        return installed >= needed and bool(down[: installed - needed + 1].sum() >= target_fraction)

    return (blocks - 1) * each + 1 + bisect.bisect_left(range(1, each), True, key=enough)


def mean_in_repair(units: float, failures_per_unit_year: float, turnaround_h: float) -> float:
    """Mean number away for repair: units x failures a year / 8760 x turnaround hours (Little's law)."""
    return units * failures_per_unit_year / HOURS_PER_YEAR * turnaround_h


def spares_service_fraction(mean: float, stock: int) -> float:
    """P(number in repair <= stock): the service level of a stock of spares, the number in repair being Poisson with this mean."""
    from scipy.special import pdtr

    return float(pdtr(stock, mean)) if stock >= 0 else 0.0


def spare_stock(mean: float, service_fraction: float) -> int:
    """Smallest stock of spares that reaches a service level: min s with P(Poisson(mean) <= s) >= service."""
    from scipy.special import pdtrik

    check_range("mean", mean, at_least=0)
    check_range("service_fraction", service_fraction, at_least=0, below=1)
    if spares_service_fraction(mean, 0) >= service_fraction:
        return 0
    stock = math.ceil(float(pdtrik(service_fraction, mean)))
    # The inverse is continuous and rounded: step to the exact integer.
    while spares_service_fraction(mean, stock) < service_fraction:
        stock += 1
    while spares_service_fraction(mean, stock - 1) >= service_fraction:
        stock -= 1
    return stock
