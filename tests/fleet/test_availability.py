"""Availability, N of M, spares: published examples, and sums written out term by term."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from accelmodel.errors import InputError
from accelmodel.fleet.availability import (
    FailureDomain,
    blocks_for_availability,
    group_availability_fraction,
    mean_in_repair,
    probability_enough_up,
    replicas_for_availability,
    replicas_up,
    spare_stock,
    spares_service_fraction,
)


def binomial_tail(installed: int, needed: int, up: float) -> float:
    return math.fsum(math.comb(installed, k) * up**k * (1 - up) ** (installed - k) for k in range(needed, installed + 1))


def poisson_sum(mean: float, stock: int) -> float:
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(stock + 1))


def test_mtbf_and_mttr():
    assert FailureDomain("host", 16, mtbf_h=990.0, mttr_h=10.0).availability_fraction == pytest.approx(0.99)


def test_a_replica_needs_all_its_chips_and_hosts():
    chip = FailureDomain("chip", 1, mtbf_h=9_999.0, mttr_h=1.0)  # 0.9999
    host = FailureDomain("host", 16, mtbf_h=999.0, mttr_h=1.0)  # 0.999
    # 32 chips on 2 hosts: 0.9999^32 x 0.999^2; 33 chips need a third host.
    assert group_availability_fraction(32, [chip, host]) == pytest.approx(0.9999**32 * 0.999**2)
    assert group_availability_fraction(33, [chip, host]) == pytest.approx(0.9999**33 * 0.999**3)
    assert group_availability_fraction(8, []) == 1.0


def of_one(up: float) -> np.ndarray:
    """A block of one replica."""
    return np.array([1.0 - up, up])


def test_three_of_four():
    # Reliability Analytics, "k out of n configuration" (2011-09-02): 4 displays at 0.9, 3 must work: 0.6561 + 0.2916 = 0.9477.
    assert round(probability_enough_up(4, 3, of_one(0.9)), 4) == 0.9477
    # 3 of 4 engines at 0.97: 0.9948 (reliability course, k-out-of-n redundancy).
    assert round(probability_enough_up(4, 3, of_one(0.97)), 4) == 0.9948
    assert probability_enough_up(2, 3, of_one(0.9)) == 0.0
    assert probability_enough_up(2, 0, of_one(0.9)) == 1.0


def test_smallest_count_by_hand():
    assert blocks_for_availability(3, of_one(0.9), 0.94) == 4  # 0.729 with 3, 0.9477 with 4
    assert blocks_for_availability(3, of_one(0.9), 0.95) == 5  # 0.99144 with 5
    assert blocks_for_availability(1, of_one(0.9), 0.999) == 3  # 1 - 0.1^3
    assert blocks_for_availability(7, of_one(1.0), 1.0) == 7
    assert blocks_for_availability(0, of_one(0.9), 0.999) == 0


@settings(deadline=None)
@given(needed=st.integers(1, 60), up=st.floats(0.5, 0.9999), target=st.floats(0.5, 0.9999))
def test_the_count_is_the_smallest_that_is_enough(needed, up, target):
    count = blocks_for_availability(needed, of_one(up), target)
    assert binomial_tail(count, needed, up) >= target - 1e-9
    assert count == needed or binomial_tail(count - 1, needed, up) < target + 1e-9


def test_thousands_of_systems():
    # 7,813 systems of availability 0.99 at 99.9 %: near the normal approximation, (7813 + 3.0902 sqrt(7813 x 0.01)) / 0.99 = 7919.5.
    assert blocks_for_availability(7_813, of_one(0.99), 0.999) == pytest.approx(7_919.5, abs=2)


def by_enumeration(replicas: int, of: int, domains: list[FailureDomain]) -> list[float]:
    """Every domain of a block up or down, all combinations: how likely each number of replicas is up."""
    parts = [(domain, first) for domain in domains for first in range(0, replicas * of, domain.accelerators)]
    found = [0.0] * (replicas + 1)
    for combination in itertools.product((True, False), repeat=len(parts)):
        chance, down = 1.0, set()
        for (domain, first), up in zip(parts, combination, strict=True):
            chance *= domain.availability_fraction if up else 1.0 - domain.availability_fraction
            if not up:
                down |= {accelerator // of for accelerator in range(first, min(first + domain.accelerators, replicas * of))}
        found[replicas - len(down)] += chance
    return found


def test_nested_domains_take_down_what_stands_in_them():
    chip, host, rack = FailureDomain("chip", 1, 9.0, 1.0), FailureDomain("host", 4, 19.0, 1.0), FailureDomain("rack", 8, 49.0, 1.0)
    for replicas, of, domains in (
        (2, 4, [chip, host, rack]),  # a replica a host, two to a rack
        (4, 2, [chip, host, rack]),  # two replicas a host
        (3, 2, [host, rack, chip]),  # the last host half used
        (3, 2, [chip]),
        (1, 8, [chip, host]),  # a replica on two hosts needs both
    ):
        assert replicas_up(replicas, of, domains) == pytest.approx(by_enumeration(replicas, of, domains), abs=1e-12), (replicas, of)
    assert replicas_up(3, 4, []) == pytest.approx([0, 0, 0, 1])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(blocks=st.integers(1, 4), states=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4), data=st.data())
def test_many_blocks_by_enumeration(blocks, states, data):
    states = np.array(states) / sum(states)
    needed = data.draw(st.integers(0, blocks * (len(states) - 1)))
    enough = math.fsum(math.prod(states[up] for up in one) for one in itertools.product(range(len(states)), repeat=blocks) if sum(one) >= needed)
    assert probability_enough_up(blocks, needed, states) == pytest.approx(enough, abs=1e-12)


@pytest.mark.parametrize(("blocks", "each", "down"), [(20_000, 1, 0.01), (3_000, 64, 0.002), (500, 64, 1e-6), (40, 8, 0.4)])
def test_large_fleets_are_binomial(blocks, each, down):
    """Blocks that are up or down as a whole: the blocks that are up are binomial, into the tail."""
    states = np.array([down, *[0.0] * (each - 1), 1.0 - down])
    for target in (0.5, 0.999, 1 - 1e-9):
        lost = int(binom.ppf(target, blocks, down))
        for allowed in (lost, max(lost - 1, 0)):
            needed = (blocks - allowed) * each
            expected = binom.cdf(allowed, blocks, down)
            assert 1 - probability_enough_up(blocks, needed, states) == pytest.approx(
                1 - expected, rel=1e-6, abs=1e-15 * blocks
            )  # a power of so many rounds so much


@settings(deadline=None, max_examples=30, derandomize=True)
@given(needed=st.integers(0, 5), each=st.integers(1, 3), target=st.floats(0.5, 0.97))
def test_the_last_block_may_be_partly_filled(needed, each, target):
    domains = [FailureDomain("chip", 1, 19.0, 1.0), FailureDomain("host", 4, 9.0, 1.0)]

    def enough(installed: int) -> bool:  # block by block, all combinations
        sizes = [each] * (installed // each) + ([installed % each] if installed % each else [])
        chances = [by_enumeration(size, 2, domains) for size in sizes]
        found = math.fsum(
            math.prod(chance[up] for chance, up in zip(chances, one, strict=True))
            for one in itertools.product(*(range(size + 1) for size in sizes))
            if sum(one) >= needed
        )
        return found >= target - 1e-12

    assert replicas_for_availability(needed, each, 2, domains, target) == next(count for count in itertools.count(needed) if enough(count))


def test_spares_of_half_a_million_chips():
    # 500,000 chips, 9 % a year, 72 h turnaround: 500,000 x 0.09 / 8760 x 72 = 369.86, or 370. A stock of 430 (the normal approximation,
    # 369.86 + 3.0902 sqrt(369.86) = 429.3) serves 99.897 %, 99.9 % to the printed digit; 431 is the first that is not below 99.9 %.
    mean = mean_in_repair(500_000, 0.09, 72.0)
    assert mean == pytest.approx(369.863, abs=1e-3)
    assert spares_service_fraction(mean, 430) == pytest.approx(0.99897, abs=5e-6)
    assert round(spares_service_fraction(mean, 430), 3) == 0.999
    assert spare_stock(mean, 0.999) == 431
    assert poisson_sum(mean, 430) < 0.999 <= poisson_sum(mean, 431)


@settings(deadline=None)
@given(mean=st.floats(0.001, 500), service=st.floats(0.01, 0.9999))
def test_the_stock_is_the_smallest_that_serves(mean, service):
    stock = spare_stock(mean, service)
    assert poisson_sum(mean, stock) >= service - 1e-9
    assert stock == 0 or poisson_sum(mean, stock - 1) < service + 1e-9


def test_nothing_fails_nothing_is_stocked():
    assert spare_stock(mean_in_repair(1000, 0.0, 72.0), 0.999) == 0


def test_bad_input_is_refused_by_name():
    with pytest.raises(InputError, match=r"host\.mtbf_h"):
        FailureDomain("host", 16, mtbf_h=0.0, mttr_h=1.0)
    with pytest.raises(InputError, match="target_fraction"):
        blocks_for_availability(3, of_one(0.9), 1.0)
    with pytest.raises(InputError, match="availability_fraction"):
        blocks_for_availability(3, of_one(0.0), 0.9)
    with pytest.raises(InputError, match="service_fraction"):
        spare_stock(10.0, 1.0)
