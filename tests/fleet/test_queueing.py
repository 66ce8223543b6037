"""Queueing against printed tables, sums written out, SciPy's distributions and a queue walked through customer by customer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import poisson

from accelmodel.errors import InputError
from accelmodel.fleet.queueing import (
    beta_of_delay,
    delay_probability,
    dispersion_of_counts,
    erlang_b,
    erlang_c,
    mean_wait_s,
    rate_percentile_per_s,
    servers_for_wait,
    square_root_servers,
    variability,
    wait_percentile_s,
)

# T. S. Rappaport, Wireless Communications, table 3.4 "Capacity of an Erlang B system": channels, blocking, capacity in erlang as printed.
RAPPAPORT = [(2, 0.01, "0.153"), (4, 0.01, "0.869"), (5, 0.01, "1.36"), (10, 0.01, "4.46"), (20, 0.01, "12.0"), (24, 0.01, "15.3"), (40, 0.01, "29.0"),
             (70, 0.01, "56.1"), (100, 0.01, "84.1"), (10, 0.005, "3.96"), (10, 0.002, "3.43"), (10, 0.001, "3.09"), (100, 0.001, "75.2")]  # fmt: skip
# Erlang B capacity table for 2 % blocking, WirelessU (Lucent Technologies), garywagoner.tripod.com/traffic/ERLANG.HTML.
LUCENT = [(3, 0.602), (5, 1.657), (7, 2.935), (9, 4.345), (15, 9.010), (25, 17.505), (47, 37.462), (85, 73.490), (89, 77.342)]
# J. Dunlop, D. Girma, J. Irvine, Digital Mobile Communications and the TETRA System, A.4: channels, share delayed, erlang of the Erlang C table.
TETRA = [(8, 0.05, 3.87), (10, 0.01, 4.08)]


@pytest.mark.parametrize(("channels", "blocking", "capacity"), RAPPAPORT)
def test_erlang_b_as_printed(channels, blocking, capacity):
    # The printed capacity is rounded: blocking passes the column's within half a unit of its last digit.
    half = 0.5 * 10.0 ** -len(capacity.split(".")[1])
    assert erlang_b(channels, float(capacity) - half) < blocking < erlang_b(channels, float(capacity) + half)


@pytest.mark.parametrize(("channels", "capacity"), LUCENT)
def test_erlang_b_at_two_percent(channels, capacity):
    assert erlang_b(channels, capacity) == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize(("channels", "delayed", "capacity"), TETRA)
def test_erlang_c_as_printed(channels, delayed, capacity):
    assert erlang_c(channels, capacity - 0.005) < delayed < erlang_c(channels, capacity + 0.005)


def test_who_waits_longer_than_one_service():
    # The same book's example: of those delayed, 0.016 wait longer than a mean holding time with 8 channels at 3.87 erlang, 0.0022 with 10
    # ("approximately the same offered traffic": it keeps 3.87). Here the percentile at which the wait is one service.
    for channels, of_delayed in ((8, 0.016), (10, 0.0022)):
        beyond = erlang_c(channels, 3.87) * math.exp(-(channels - 3.87))
        assert round(beyond / erlang_c(channels, 3.87), 3 if channels == 8 else 4) == of_delayed
        assert wait_percentile_s(channels, 3.87, 1.0, 100 * (1 - beyond)) == pytest.approx(1.0)


def test_a_call_centre_as_printed():
    # Worked example "The Erlang-C formula" (mitan.co.uk): 360 calls in 30 minutes of 4 minutes, 55 agents: load 48, 23.9 % wait,
    # mean wait 8.2 s, 84.5 % are answered within 15 s.
    assert round(erlang_c(55, 48.0), 3) == 0.239
    assert round(mean_wait_s(55, 48.0, 240.0), 1) == 8.2
    assert wait_percentile_s(55, 48.0, 240.0, 84.4) < 15.0 < wait_percentile_s(55, 48.0, 240.0, 84.6)
    assert servers_for_wait(48.0, 240.0, 15.0, percentile=84.4) == 55
    assert servers_for_wait(48.0, 240.0, 15.0, percentile=84.6) == 56


@pytest.mark.parametrize(("servers", "load"), [(1, 0.3), (3, 2.9), (40, 35.0), (170, 150.0), (200, 600.0), (500, 400.0)])
def test_erlang_b_is_a_truncated_poisson(servers, load):
    # B = P(N = c) / P(N <= c), N Poisson with mean A; and 1/B = A x integral of exp(-A x) (1 + x)^c (Fredericks).
    assert erlang_b(servers, load) == pytest.approx(poisson.pmf(servers, load) / poisson.cdf(servers, load), rel=1e-9)
    inverse = quad(lambda x: load * math.exp(-load * x + servers * math.log1p(x)), 0, math.inf)[0] if servers <= load else 1 / erlang_b(servers, load)
    assert 1 / erlang_b(servers, load) == pytest.approx(inverse, rel=1e-6)


@pytest.mark.parametrize(("servers", "load"), [(100_000, 99_000.0), (100_500, 100_000.0), (1_000_000, 999_000.0)])
def test_very_many_servers(servers, load):
    assert erlang_b(servers, load) == pytest.approx(math.exp(poisson.logpmf(servers, load) - poisson.logcdf(servers, load)), rel=1e-6)


def test_far_too_few_servers():
    # 50,000 servers under 60,000: from no server at all, one by one; and a sixth of the load and a little more must be lost.
    lost = 1.0
    for count in range(1, 50_001):
        lost = 60_000.0 * lost / (count + 60_000.0 * lost)
    assert erlang_b(50_000, 60_000.0) == pytest.approx(lost, rel=1e-12)
    assert 1 / 6 < lost < 1 / 6 + 1e-4


def walked(servers: int, arrivals: np.ndarray, services: np.ndarray) -> np.ndarray:
    """Waits of a first-come-first-served queue, walked customer by customer."""
    free = np.zeros(servers)
    waits = np.empty(len(arrivals))
    for i, (arrives, serves) in enumerate(zip(arrivals, services, strict=True)):
        first = int(np.argmin(free))
        starts = max(arrives, free[first])
        waits[i] = starts - arrives
        free[first] = starts + serves
    return waits


def test_against_a_queue_walked_through():
    # M/M/6 at 85 %: 200,000 customers; the waits are correlated, so a mean is good to some percent.
    random = np.random.default_rng(1)
    count, servers, load, service_s = 200_000, 6, 5.1, 2.0
    waits = walked(servers, np.cumsum(random.exponential(service_s / load, count)), random.exponential(service_s, count))[10_000:]
    assert erlang_c(servers, load) == pytest.approx((waits > 0).mean(), rel=0.03)
    assert mean_wait_s(servers, load, service_s) == pytest.approx(waits.mean(), rel=0.06)
    assert wait_percentile_s(servers, load, service_s, 99) == pytest.approx(np.percentile(waits, 99), rel=0.08)


def test_one_server_is_pollaczek_khinchine():
    # M/G/1: mean wait = rho s (1 + Cs^2) / (2 (1 - rho)).
    for load, cv in ((0.3, 0.0), (0.8, 1.0), (0.9, 2.0)):
        assert mean_wait_s(1, load, 5.0, service_cv=cv) == pytest.approx(load * 5.0 * (1 + cv**2) / (2 * (1 - load)))
    assert variability(1.0, 0.0) == 0.5
    assert wait_percentile_s(1, 0.8, 5.0, 99, arrival_cv=3.0, service_cv=1.0) == pytest.approx(5 * wait_percentile_s(1, 0.8, 5.0, 99))


@given(load=st.floats(0.01, 300), spare=st.integers(1, 60))
def test_bounds_and_order(load, spare):
    servers = math.ceil(load) + spare
    lost, delayed = erlang_b(servers, load), erlang_c(servers, load)
    assert 0 <= lost <= delayed <= 1
    assert erlang_c(servers + 1, load) <= delayed
    assert mean_wait_s(servers + 1, load, 3.0) <= mean_wait_s(servers, load, 3.0)
    assert wait_percentile_s(servers, load, 3.0, 99) >= wait_percentile_s(servers, load, 3.0, 95)
    assert erlang_c(2 * servers, 2 * load) <= delayed + 1e-12  # pooling two fleets lets fewer wait


@given(load=st.floats(0.01, 500), wait=st.floats(0.001, 10), percentile=st.sampled_from([None, 50.0, 95.0, 99.0]), cv=st.floats(0.1, 4))
def test_the_number_of_servers_is_the_smallest(load, wait, percentile, cv):
    def waited(servers: int) -> float:
        if percentile is None:
            return mean_wait_s(servers, load, 2.0, arrival_cv=cv)
        return wait_percentile_s(servers, load, 2.0, percentile, arrival_cv=cv)

    servers = servers_for_wait(load, 2.0, wait, percentile=percentile, arrival_cv=cv)
    assert waited(servers) <= wait * (1 + 1e-9)
    assert servers == 1 or waited(servers - 1) > wait * (1 - 1e-9)


def test_limits():
    assert erlang_b(0, 5.0) == erlang_b(0, 0.0) == 1.0
    assert erlang_b(3, 0.0) == erlang_c(3, 0.0) == 0.0
    assert erlang_c(5, 5.0) == 1.0
    assert mean_wait_s(5, 5.0, 1.0) == wait_percentile_s(5, 6.0, 1.0, 99) == math.inf
    assert wait_percentile_s(100, 1.0, 1.0, 99) == 0.0  # hardly anyone waits
    assert servers_for_wait(0.0, 1.0, 1.0) == 0
    assert erlang_b(10_000, 1e-3) == 0.0


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.0, 2.0])
def test_square_root_staffing_meets_erlang_c_in_the_limit(beta):
    # Halfin and Whitt: with A + beta sqrt(A) servers the share delayed tends to a constant.
    load = 4e6
    assert erlang_c(square_root_servers(load, beta), load) == pytest.approx(delay_probability(beta), rel=5e-3)
    assert beta_of_delay(delay_probability(beta)) == pytest.approx(beta)
    # The density and distribution by integration, not by SciPy's normal.
    distribution = 0.5 + quad(lambda x: math.exp(-x * x / 2), 0, beta)[0] / math.sqrt(2 * math.pi)
    assert delay_probability(beta) == pytest.approx(1 / (1 + beta * distribution * math.sqrt(2 * math.pi) * math.exp(beta * beta / 2)))


def test_square_root_staffing_by_hand():
    assert delay_probability(0.0) == 1.0
    assert beta_of_delay(1.0) == pytest.approx(0.0, abs=1e-9)
    assert square_root_servers(10_000, 1.0) == 10_100
    assert square_root_servers(10_000, 1.0, peakedness=4.0) == 10_200
    # Above thousands of replicas this headroom is under 3 %: at 99 % unhindered (beta 2.37), 10,000 need 238 more.
    assert square_root_servers(10_000, beta_of_delay(0.01)) / 10_000 - 1 < 0.03


def test_dispersion():
    random = np.random.default_rng(3)
    poissonian = np.cumsum(random.exponential(0.1, 100_000))
    assert dispersion_of_counts(poissonian, 1.0) == pytest.approx(1.0, abs=0.05)
    assert dispersion_of_counts(np.arange(1000) * 0.25, 1.0) == 0.0
    # Arrivals in batches of 5 at Poisson instants: the variance is 5 times the mean.
    assert dispersion_of_counts(np.repeat(poissonian, 5), 1.0) == pytest.approx(5.0, abs=0.25)
    # By hand: 3 in the first second, 1 in the second, 2 in the third, the fourth not whole: mean 2, variance 1.
    assert dispersion_of_counts([3.5, 0.0, 0.1, 0.2, 1.9, 2.0, 2.5], 1.0) == pytest.approx(0.5)
    assert rate_percentile_per_s([3.5, 0.0, 0.1, 0.2, 1.9, 2.0, 2.5], 1.0, 100.0) == 3.0
    assert rate_percentile_per_s(np.arange(1000) * 0.25, 2.0) == 4.0


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: erlang_b(1, -1.0), "offered_load"),
        (lambda: erlang_b(-1, 1.0), "servers"),
        (lambda: servers_for_wait(5.0, 1.0, 0.0), "wait_s"),
        (lambda: servers_for_wait(5.0, 1.0, 1.0, percentile=100.0), "percentile"),
        (lambda: variability(-1.0), "arrival_cv"),
        (lambda: square_root_servers(1.0, 1.0, peakedness=0.0), "peakedness"),
        (lambda: beta_of_delay(0.0), "probability"),
        (lambda: dispersion_of_counts([0.0, 1.0], 1.0), "window_s"),
        (lambda: rate_percentile_per_s([], 1.0), "window_s"),
        (lambda: dispersion_of_counts([0.0, 1.0, math.nan], 0.1), "arrival_s"),
        (lambda: erlang_b(10.5, 4.0), "servers"),
    ],
)
def test_bad_input_is_refused_by_name(call, key):
    with pytest.raises(InputError, match=key):
        call()
