"""Queueing: how many servers keep a pooled wait short, and how bursty arrivals are.

A server is whatever serves one thing at a time: a running slot of a replica, or a replica taken whole with its goodput as its rate. The
offered load A is the servers that are busy on average, arrivals per second times seconds of service. These forms are Markovian: they size
the headroom over a mean rate, and a simulation of the busy hour proves it.

SciPy is imported where it is used: it takes a third of a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from accelmodel.economics import check_range
from accelmodel.errors import InputError

# The recursion forgets where it started: over m standard deviations of the load it forgets all but exp(-m^2/2).
_FORGOTTEN_AFTER_DEVIATIONS = 10


def _blocking(offered_load: float, first: float) -> Iterator[tuple[int, float]]:
    """Servers and Erlang B, one more server at a time, from no more than `first` upwards: B(k) = A B(k-1) / (k + A B(k-1)).

    It starts ten standard deviations of the load below, with the fluid limit 1 - k/A: a load of a million is ten thousand steps away, not a million.
    """
    servers = max(0, math.floor(min(first, offered_load) - _FORGOTTEN_AFTER_DEVIATIONS * math.sqrt(offered_load)))
    blocked = 1 - servers / offered_load
    while True:
        yield servers, blocked
        servers += 1
        blocked = offered_load * blocked / (servers + offered_load * blocked)


def erlang_b(servers: int, offered_load: float) -> float:
    """Probability that an arrival finds all servers busy and is lost, M/M/c/c (Erlang 1917).

    InputError for a negative load, and for servers that are no whole number of at least 0.
    """
    check_range("offered_load", offered_load, at_least=0)
    check_range("servers", servers, at_least=0)
    if servers != int(servers):
        raise InputError("must be a whole number", key="servers", value=servers)
    if offered_load == 0:
        return 0.0 if servers else 1.0
    return next(blocked for count, blocked in _blocking(offered_load, servers) if count == servers or blocked == 0)


def _delayed(servers: int, offered_load: float, blocked: float) -> float:
    """Erlang C from Erlang B: c B / (c - A (1 - B))."""
    return servers * blocked / (servers - offered_load * (1 - blocked))


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arrival must wait, M/M/c: c B / (c - A (1 - B)); 1 where the load is not below the servers, whose queue grows for ever."""
    check_range("offered_load", offered_load, at_least=0)
    check_range("servers", servers, at_least=0)
    if offered_load >= servers:
        return 1.0
    return _delayed(servers, offered_load, erlang_b(servers, offered_load))


def variability(arrival_cv: float = 1.0, service_cv: float = 1.0) -> float:
    """What scales a Markovian wait to other arrivals and services: (Ca^2 + Cs^2) / 2 (Allen and Cunneen), 1 for M/M/c, 1/2 for M/D/c."""
    check_range("arrival_cv", arrival_cv, at_least=0)
    check_range("service_cv", service_cv, at_least=0)
    return (arrival_cv**2 + service_cv**2) / 2


def mean_wait_s(servers: int, offered_load: float, service_s: float, *, arrival_cv: float = 1.0, service_cv: float = 1.0) -> float:
    """Mean wait over all arrivals, waiting or not: C x service / (c - A) x (Ca^2 + Cs^2) / 2; infinite where the load is not below the servers."""
    if offered_load >= servers:
        return math.inf
    return erlang_c(servers, offered_load) * _mean_wait_of_the_delayed_s(servers, offered_load, service_s, variability(arrival_cv, service_cv))


def wait_percentile_s(servers: int, offered_load: float, service_s: float, percentile: float, *, arrival_cv: float = 1.0, service_cv: float = 1.0) -> float:
    """Wait that `percentile` % of the arrivals do not exceed.

    Who waits at all waits exponentially long (exact for M/M/c, first come first served), so that P(wait > t) = C exp(-t / mean wait of the
    delayed). 0 where fewer are delayed than the percentile leaves; infinite where the load is not below the servers.
    """
    check_range("percentile", percentile, at_least=0, below=100)
    if offered_load >= servers:
        return math.inf
    delayed = erlang_c(servers, offered_load)
    return _percentile_s(delayed, _mean_wait_of_the_delayed_s(servers, offered_load, service_s, variability(arrival_cv, service_cv)), percentile)


def _mean_wait_of_the_delayed_s(servers: int, offered_load: float, service_s: float, scale: float) -> float:
    """Mean wait of those who wait: service / (c - A), scaled by the variability."""
    return service_s / (servers - offered_load) * scale


def _percentile_s(delayed: float, mean_of_delayed_s: float, percentile: float) -> float:
    left = 1 - percentile / 100
    return mean_of_delayed_s * math.log(delayed / left) if delayed > left else 0.0


def servers_for_wait(
    offered_load: float, service_s: float, wait_s: float, *, percentile: float | None = None, arrival_cv: float = 1.0, service_cv: float = 1.0
) -> int:
    """Smallest number of servers whose mean wait, or with `percentile` that percentile of the wait, is at most `wait_s`.

    0 for no load at all. InputError for a mean wait of 0, which no number of servers reaches, and for figures out of bounds.
    """
    check_range("offered_load", offered_load, at_least=0)
    check_range("service_s", service_s, above=0)
    if percentile is None:
        check_range("wait_s", wait_s, above=0)
    else:
        check_range("wait_s", wait_s, at_least=0)
        check_range("percentile", percentile, at_least=0, below=100)
    if offered_load == 0:
        return 0
    scale = variability(arrival_cv, service_cv)
    for servers, blocked in _blocking(offered_load, offered_load):
        if servers > offered_load:
            delayed, of_delayed_s = _delayed(servers, offered_load, blocked), _mean_wait_of_the_delayed_s(servers, offered_load, service_s, scale)
            waited_s = delayed * of_delayed_s if percentile is None else _percentile_s(delayed, of_delayed_s, percentile)
            if waited_s <= wait_s:
                break
    return servers


def delay_probability(beta: float) -> float:
    """Probability of waiting with A + beta sqrt(A) servers, many of them: 1 / (1 + beta Phi(beta) / phi(beta)) (Halfin and Whitt 1981).

    Phi and phi are the standard normal distribution and density. 1 at beta 0.
    """
    from scipy.special import ndtr

    check_range("beta", beta, at_least=0)
    density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
    return density / (density + beta * float(ndtr(beta)))


def beta_of_delay(probability: float) -> float:
    """The beta of square-root staffing at which this share of the arrivals waits: the inverse of `delay_probability`."""
    from scipy.optimize import brentq

    check_range("probability", probability, above=0, at_most=1)
    most = 1.0
    while delay_probability(most) > probability:
        most *= 2
    return float(brentq(lambda beta: delay_probability(beta) - probability, 0.0, most, xtol=1e-12, rtol=1e-12))


def square_root_servers(offered_load: float, beta: float, *, peakedness: float = 1.0) -> int:
    """Square-root staffing: ceil(A + beta sqrt(A z)), z the peakedness, the variance of the servers busy over their mean were there endlessly many.

    z is 1 for Poisson arrivals; of a trace, `dispersion_of_counts` at the time scale of the service stands for it.
    """
    check_range("offered_load", offered_load, at_least=0)
    check_range("beta", beta, at_least=0)
    check_range("peakedness", peakedness, above=0)
    return math.ceil(offered_load + beta * math.sqrt(offered_load * peakedness))


def dispersion_of_counts(arrival_s: npt.ArrayLike, window_s: float) -> float:
    """Index of dispersion: variance of the arrivals in windows of this length over their mean; 1 for a Poisson process, 0 for a clock.

    It holds slow changes of the rate (the time of day) as well as bursts: give a stretch over which the rate is steady.
    """
    counts = _counts(arrival_s, window_s)
    return float(counts.var(ddof=1) / counts.mean())


def rate_percentile_per_s(arrival_s: npt.ArrayLike, window_s: float, percentile: float = 99.0) -> float:
    """Arrivals per second in the window that `percentile` % of the windows do not exceed: the rate to size for where bursts outlast the patience."""
    check_range("percentile", percentile, at_least=0, at_most=100)
    return float(np.percentile(_counts(arrival_s, window_s), percentile) / window_s)


def _counts(arrival_s: npt.ArrayLike, window_s: float) -> npt.NDArray[np.int64]:
    """Arrivals in each whole window between the first and the last of them."""
    check_range("window_s", window_s, above=0)
    arrivals = np.sort(np.asarray(arrival_s, float))
    if len(arrivals) and not np.all(np.isfinite(arrivals)):
        raise InputError("arrivals must be finite", key="arrival_s")
    windows = math.floor((arrivals[-1] - arrivals[0]) / window_s) if len(arrivals) else 0
    if windows < 2:
        raise InputError(f"the arrivals span less than two windows of {window_s:g} s", key="window_s", value=window_s)
    inside = np.floor((arrivals - arrivals[0]) / window_s).astype(np.int64)
    return np.bincount(inside[inside < windows], minlength=windows)
