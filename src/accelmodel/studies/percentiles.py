"""Percentiles of operating points, by the simulator: requests like the point's, from a closed loop of clients or as they arrive at a rate.

Only the requests in the middle of a run count, those that meet a server as full as it stays: some times as many as are in the system go before, as many
as are in the system come after (`Size`). At least 10,000 count, so that the 99th percentile has a hundred above it.

How far a percentile may be off because other random numbers were not drawn is told by sections (Asmussen and Glynn, Stochastic Simulation, 2007, III.5):
the requests that count are cut into `SECTIONS` runs; half the width of the central 90 % is t s / sqrt(SECTIONS), with s the standard deviation of the
sections' percentiles and t Student's. Waiting times of requests close to each other are alike, which order statistics would not see.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.simulate import Simulation, simulate
from accelmodel.studies.simulation_tables import PERCENTILES
from accelmodel.studies.traces import Client, Trace

if TYPE_CHECKING:
    from accelmodel.studies.points import Array, Load

LATENCIES = ("time_to_first_token", "time_per_output_token", "request_latency")
SECTIONS = 10
_STUDENT_90 = 1.8331129326536335  # of SECTIONS - 1 degrees of freedom, 95 % one-sided
_BRACKET, _LEAST = 1.2, 1e-3  # factor between two loads tried, and the least share of the first

NAMES = tuple(f"{latency}_p{rank}{ending}_s" for latency in LATENCIES for rank in PERCENTILES for ending in ("", "_sampling_error"))
_NAME = re.compile(rf"({'|'.join(LATENCIES)})_p(\d\d)(_sampling_error)?_s")


class Size(NamedTuple):
    """How many requests a steady run takes: `ahead` times as many as are in the system before any counts, then `counted`, or `lives` times as many."""

    ahead: int = 4
    counted: int = 10_000
    lives: int = 4


SIZE = Size()


@dataclass(frozen=True)
class Draw:
    """What is drawn about a load: how bursty arrivals at a rate are (coefficient of variation of the times between them, gamma; 1: Poisson), how much
    lengths vary (coefficients of variation, lognormal; 0: all alike), and the seed.
    """

    burstiness: float = 1.0
    input_variation: float = 0.0
    output_variation: float = 0.0
    seed: int = 0

    @property
    def in_step(self) -> str | None:
        """What to know of a closed loop of such requests; None where their lengths vary."""
        message = "requests of equal lengths keep in step in a closed loop and wait for each other: input_variation and output_variation say how lengths vary"
        return None if self.input_variation or self.output_variation else message

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not hasattr(self.seed, "__index__") or self.seed < 0:
            raise InputError("must be a whole number of at least 0", key="seed", value=self.seed)


@dataclass(frozen=True)
class Steady:
    """Requests of a steady load: `trace`, by how many `clients` it is sent (None: at its own times); those from `first` to before `last` count."""

    trace: Trace
    clients: int | None
    first: int
    last: int

    @classmethod
    def of(cls, input_tokens: float, output_tokens: float, in_system: float, requests_per_s: float | None, draw: Draw, size: Size = SIZE) -> Steady:
        """Requests for a loop of `in_system` clients, or at a rate at which about so many are in the system."""
        many = max(math.ceil(in_system), 1)
        ahead, counted = size.ahead * many, max(size.counted, size.lives * many)
        rate = 1.0 if requests_per_s is None else requests_per_s
        client = Client(
            rate, input_tokens, output_tokens, burstiness=draw.burstiness, input_variation=draw.input_variation, output_variation=draw.output_variation
        )
        trace = Trace.generate(client, duration_s=(ahead + counted + many) / rate, seed=draw.seed)
        return cls(trace, many if requests_per_s is None else None, min(ahead, trace.requests - 1), max(trace.requests - many, ahead + 1))

    def simulate(self, replica: Replica) -> Simulation:
        """The requests on one replica."""
        return simulate(replica, self.trace, clients=self.clients, samples=1)

    def latencies(self, replica: Replica) -> dict[str, Array]:
        """Each latency of the requests that count, in the order in which they are sent; without those that do not have it."""
        rows = self.simulate(replica).requests
        found = {}
        for name in LATENCIES:
            seconds = rows[f"{name}_s"].to_numpy()[self.first : self.last]
            found[name] = seconds[~np.isnan(seconds)]
        return found


def measured(name: str, latencies: dict[str, Array]) -> float:
    """A percentile, or its sampling error, by the name of its column; NaN where no request has the latency."""
    parts = _NAME.fullmatch(name)
    assert parts is not None, name
    seconds, rank = latencies[parts[1]], float(parts[2])
    if seconds.size < SECTIONS:
        return math.nan
    if parts[3] is None:
        return float(np.percentile(seconds, rank))
    each = [np.percentile(section, rank) for section in np.array_split(seconds, SECTIONS)]
    return float(_STUDENT_90 * np.std(each, ddof=1) / math.sqrt(SECTIONS))


def largest_within(holds: Callable[[float], bool], start: float, tolerance: float) -> float:
    """The largest load, to within a share `tolerance`, that `holds`, which it does below it and not above: bracketed from `start`, then bisected; 0 where
    none does down to a thousandth of it.
    """
    low, high = (start, math.inf) if holds(start) else (0.0, start)
    while math.isinf(high):
        low, high = (low * _BRACKET, high) if holds(low * _BRACKET) else (low, low * _BRACKET)
    while not low:
        if high < _LEAST * start:
            return 0.0
        low, high = (high / _BRACKET, high) if holds(high / _BRACKET) else (0.0, high / _BRACKET)
    while high > low * (1.0 + tolerance):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def percentiles(replica: Replica, load: Load, fits: Any, names: Iterable[str], draw: Draw) -> dict[str, Array]:
    """Columns of `names` at each point of a load, NaN where it does not run; equal points are simulated once.

    InputError for what is not simulated here: a part of a client, a prefix cache, pools apart (and what `simulate` refuses).
    """
    names = tuple(names)
    _check(replica, load)
    inputs = [load.input(name) for name in ("input_tokens", "output_tokens", "concurrency")]
    rates = load.requests_per_s
    out = {name: np.full(load.grid.size, math.nan) for name in names}

    @functools.cache
    def latencies(input_tokens: float, output_tokens: float, in_system: float, requests_per_s: float | None) -> dict[str, Array]:
        return Steady.of(input_tokens, output_tokens, in_system, requests_per_s, draw).latencies(replica)

    for i in np.flatnonzero(fits).tolist():
        found = latencies(*(float(values[i]) for values in inputs), None if rates is None else float(rates[i]))
        for name in names:
            out[name][i] = measured(name, found)
    return out


def _check(replica: Replica, load: Load) -> None:
    hits = load.input("prefix_hit_fraction")
    if (hits > 0.0).any():
        message = "percentiles of an operating point know no prefix cache: simulate a trace with hash_ids"
        raise InputError(message, key="prefix_hit_fraction", value=float(hits.max()))
    if replica.serving.mode == "disaggregated":
        raise InputError("percentiles of an operating point are not simulated at pools apart: simulate a trace", key="mode", value="disaggregated")
    clients = load.input("concurrency")
    parts = clients[~np.isnan(clients) & (clients != np.rint(clients))]
    if load.requests_per_s is None and parts.size:
        raise InputError("must be a whole number of clients where percentiles are asked for", key="concurrency", value=float(parts[0]))
