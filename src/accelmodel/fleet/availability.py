"""Failures: how much of the time a replica is up, how many are needed so that enough are, how many spares wait on the shelf.

SciPy is imported where it is used: it takes a third of a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from accelmodel.economics import check_range
from accelmodel.units import HOURS_PER_YEAR


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
    """Share of time that all of a group of accelerators (a replica, a system) is up, nested domains failing independently.

    Product over domains of A^ceil(accelerators / domain's accelerators): a group needs all its chips and hosts,
    A_chip^k A_host^h. What takes many groups down at once (a building) is no such domain: put its largest on top of
    the count.
    """
    check_range("accelerators", accelerators, at_least=1)
    return math.prod(domain.availability_fraction ** math.ceil(accelerators / domain.accelerators) for domain in domains)


def probability_enough_up(installed: int, needed: int, availability_fraction: float) -> float:
    """P(at least `needed` of `installed` are up): the upper tail of a binomial."""
    from scipy.special import bdtrc

    return 1.0 if needed <= 0 else float(bdtrc(needed - 1, installed, availability_fraction)) if installed >= needed else 0.0


def count_for_availability(needed: int, availability_fraction: float, target_fraction: float) -> int:
    """Smallest N with P(at least `needed` of N are up) >= target.

    InputError for an availability of 0 or a target of 1, which no number reaches unless nothing ever fails.
    """
    check_range("availability_fraction", availability_fraction, above=0, at_most=1)
    if needed <= 0 or availability_fraction == 1:
        return max(needed, 0)
    check_range("target_fraction", target_fraction, at_least=0, below=1)

    def enough(count: int) -> bool:
        return probability_enough_up(count, needed, availability_fraction) >= target_fraction

    if enough(needed):
        return needed
    few, many = needed, needed + 1  # few is never enough; many grows until it is
    while not enough(many):
        few, many = many, needed + 2 * (many - needed)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


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
