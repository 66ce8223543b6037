"""Measured runs that only the simulator answers: tails of closed loops and of waves, and whatever arrives at a rate.

A closed loop's clients start together, as benchmarks do, and send as many prompts as the benchmark says, or `ROUNDS` each; all count. At a rate, a benchmark
of so many prompts is served from the first to the last; one of unknown length is steady, and only the middle of its run counts (`percentiles.Steady`).
Every request has the mean length. Of several replicas each has its share of the arrivals, at random. Where a benchmark raised its rate until a 99th
percentile met its limit, the throughput predicted is that of the largest rate at which the simulated percentiles meet theirs; the latencies are those at the
measured rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from accelmodel.core.kernels import Array
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.serving.simulation.replay import replay
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop, concurrency_at_rate
from accelmodel.serving.targets import largest_concurrency
from accelmodel.studies.measured import Measurements, Run
from accelmodel.studies.percentiles import LATENCIES, Draw, Size, Steady, largest_within
from accelmodel.studies.simulation_tables import Latencies
from accelmodel.studies.traces import Trace

ROUNDS = 10  # prompts of each client where their number is not published
SIZE = Size(ahead=2, counted=2000, lives=2)  # of a steady run
RATE_TOLERANCE = 0.03  # of the largest rate within limits
_SEED = 0
_EVENLY = 0.001  # coefficient of variation of the times between evenly spaced requests
_LATE = 1.05  # a server whose answers take so many times as long as their requests took to arrive does not carry them
_NEAR = 0.85  # of the rate that the closed form gives the best way to cut: others are not simulated
_ALIKE = 0.01  # output lengths that differ by less share the search for the largest rate
_MS = 1e3
_METRIC = re.compile(r"(ttft|tpot|itl|e2e)_ms(?:_(mean|p(\d\d)))?")
_LATENCY = {"ttft": LATENCIES[0], "tpot": LATENCIES[1], "itl": LATENCIES[1], "e2e": LATENCIES[2]}

NOT_CARRIED = "arrivals at a rate that the simulator does not carry: latencies would grow as long as it runs"
_GIVEN = "the rate of an open loop is given: nothing for the simulator to predict"


@dataclass(frozen=True)
class Served:
    """Latencies of the requests that count, by name, s; and requests per second of one replica, NaN where these are given."""

    latencies: Mapping[str, Array]
    requests_per_s: float

    def metric(self, metric: str, run: Run) -> float:
        """A metric of a run, in the unit that measurements use; NaN where it has none."""
        of = _METRIC.fullmatch(metric)
        if of is None:
            tokens = {"req_s": 1.0, "output_tok_s": run.output_tokens, "total_tok_s": run.input_tokens + run.output_tokens}[metric]
            return self.requests_per_s * run.copies * tokens
        seconds = self.latencies[_LATENCY[of[1]]]
        seconds = seconds[~np.isnan(seconds)]
        if not seconds.size:
            return math.nan
        return _MS * float(np.percentile(seconds, float(of[3])) if of[3] else seconds.mean())


def simulated(found: Measurements) -> dict[int, float | str]:
    """What the simulator predicts of each row that only it answers, or the reason why it does not, by the row's number."""
    runs = _Runs()
    metrics = found.rows["metric"].astype(str).tolist()
    return {number: runs.predicted(run, metrics[number]) for number, run in found.simulations.items()}


@dataclass
class _Runs:
    """Simulations, each made once."""

    served: dict[tuple[object, ...], Served | str] = field(default_factory=dict)
    chosen: dict[tuple[object, ...], tuple[Run, float, float]] = field(default_factory=dict)
    largest: dict[tuple[object, ...], float] = field(default_factory=dict)

    def predicted(self, run: Run, metric: str) -> float | str:
        """A metric of a run, or the reason why there is none."""
        run, concurrency, rate = self.best(run)
        try:
            if run.load == "open" and not run.prompts and _METRIC.fullmatch(metric) is None:
                return self.within_limits(run, concurrency, rate, metric)
            made = self.of(run, concurrency * run.requests_per_s / rate if rate else None)
        except InputError as error:
            return f"not simulated: {error.message}"
        if isinstance(made, str):
            return made
        value = made.metric(metric, run)
        return value if math.isfinite(value) else f"no request of the simulation has a {metric}"

    def of(self, run: Run, in_system: float | None) -> Served | str:
        """A run, served; the reason where it is not. `in_system` is how many requests are about in the system."""
        key = (id(run.replica), run.load, run.input_tokens, run.output_tokens, run.concurrency, run.requests_per_s, run.prompts, run.copies)
        if key not in self.served:
            self.served[key] = (
                _wave(run) if run.load == "wave" else _closed(run) if run.load == "closed" else _finite(run) if run.prompts else _steady(run, in_system)
            )
        return self.served[key]

    def best(self, run: Run) -> tuple[Run, float, float]:
        """The run cut as its author will have cut it where the source does not say, the way that carries most within the limits; and what the closed form
        finds within them for one replica: clients, and their rate (0 where nothing meets the limits, or there are none).

        Ways that the closed form puts far behind its best are not simulated.
        """
        if run.load != "open" or (not _is_limited(run) and not run.options):
            return run, run.concurrency, 0.0
        ways = ((run.replica, run.copies), *run.options)
        key = (*(id(one) for one, _ in ways), run.input_tokens, run.output_tokens, run.requests_per_s * run.copies, run.ttft_limit_s, run.tpot_limit_s)
        if key not in self.chosen:
            total = run.requests_per_s * run.copies
            cut = [replace(run, replica=one, copies=copies, options=(), requests_per_s=total / copies) for one, copies in ways]
            found = [(one, *_carried(one)) for one in cut]
            most = max(one.copies * rate for one, _, rate in found)
            near = [place for place in found if place[0].copies * place[2] >= _NEAR * most]
            simulates = _is_limited(run) and len(near) > 1 and most > 0.0
            self.chosen[key] = max(near, key=lambda way: way[0].copies * (self.largest_rate(*way) if simulates else way[2]))
        return self.chosen[key]

    def within_limits(self, run: Run, concurrency: float, rate: float, metric: str) -> float | str:
        """The throughput at the largest rate within the limits."""
        if not _is_limited(run):
            return _GIVEN
        if not rate:
            return "no load meets the limits of the 99th percentiles: nothing for the simulator to raise"
        return Served({}, self.largest_rate(run, concurrency, rate)).metric(metric, run)

    def largest_rate(self, run: Run, concurrency: float, rate: float) -> float:
        """The largest rate of one replica within the limits, the same number of tokens per second for output lengths that hardly differ."""
        alike = math.exp(_ALIKE * round(math.log(run.output_tokens) / _ALIKE))
        key = (id(run.replica), run.input_tokens, alike, run.ttft_limit_s, run.tpot_limit_s)
        if key not in self.largest:
            self.largest[key] = largest_rate(replace(run, output_tokens=alike), concurrency, rate) * alike
        return self.largest[key] / run.output_tokens


def _is_limited(run: Run) -> bool:
    return not math.isinf(run.ttft_limit_s) or not math.isinf(run.tpot_limit_s)


def _carried(run: Run) -> tuple[float, float]:
    """The largest closed loop within the limits on one replica of a run, and its requests per second; 0 where there is none."""
    one, isl, osl = run.replica, np.array([run.input_tokens]), np.array([run.output_tokens])
    clients = largest_concurrency(one.constants, isl, osl, np.zeros(1), ttft_s=run.ttft_limit_s, tpot_s=run.tpot_limit_s)[0]
    if clients[0] < 1.0:
        return 0.0, 0.0
    tokens = closed_loop(one.constants, Grid.of(isl, osl, clients, np.zeros(1)), 1)[OUTPUTS.index("output_tokens_per_s")][0]
    return float(clients[0]), float(tokens) / run.output_tokens


def largest_rate(run: Run, concurrency: float, start: float) -> float:
    """The largest rate, to within RATE_TOLERANCE, at which the 99th percentiles of one replica's first tokens and tokens are within the run's limits; sought
    from `start` on, at which about `concurrency` requests are in the system.
    """

    def holds(rate: float) -> bool:
        made = _steady(replace(run, requests_per_s=rate), concurrency * rate / start)
        return not isinstance(made, str) and all(
            not made.metric(metric, run) > _MS * limit for metric, limit in (("ttft_ms_p99", run.ttft_limit_s), ("tpot_ms_p99", run.tpot_limit_s))
        )

    return largest_within(holds, start, RATE_TOLERANCE)


def _lengths(run: Run, prompts: int) -> tuple[Array, Array]:
    return np.full(prompts, np.rint(run.input_tokens)), np.full(prompts, max(np.rint(run.output_tokens), 1.0))


def _closed(run: Run) -> Served:
    """All clients start together; a client of many replicas stays with one."""
    clients = max(round(run.concurrency), 1)
    prompts = max(round(run.prompts / run.copies), clients) if run.prompts else ROUNDS * clients
    return _told(run, Trace("loop", np.zeros(prompts), *_lengths(run, prompts)), clients)


def _wave(run: Run) -> Served:
    """All requests start together, and no more come. A token's time is taken from the last first token on: that is when all decode."""
    static = replace(run.replica, serving=replace(run.replica.serving, mode="static"))
    batch = max(round(run.concurrency), 1)
    found = _latencies(static, Trace("wave", np.zeros(batch), *_lengths(run, batch)))
    steps = max(np.rint(run.output_tokens) - 1.0, 1.0)
    decoding = (found[LATENCIES[2]] - found[LATENCIES[0]].max()) / steps
    return Served(found | {LATENCIES[1]: decoding[decoding > 0.0]}, math.nan)


def _finite(run: Run) -> Served:
    """A benchmark of so many prompts, from the first arrival to the last token."""
    prompts = max(round(run.prompts / run.copies), 1)
    if math.isinf(run.requests_per_s):
        return _told(run, Trace("burst", np.zeros(prompts), *_lengths(run, prompts)), None)
    lengths = dict(zip(("input_tokens", "output_tokens"), _lengths(run, prompts), strict=True))
    burstiness = _EVENLY if run.is_even else 1.0
    return _told(run, Trace.paced(lengths, requests_per_s=run.requests_per_s, burstiness=burstiness, seed=_SEED), None)


def _told(run: Run, trace: Trace, clients: int | None) -> Served:
    found = _latencies(run.replica, trace, clients)
    return Served(found, trace.requests / float(np.ptp(np.append(found["finish"], found["arrival"].min()))))


def _latencies(of: Replica, trace: Trace, clients: int | None = None) -> dict[str, Array]:
    """Arrivals, finishes and latencies of a trace on one replica, as `simulate` counts them."""
    found = Latencies.of(replay(of.constants, trace.arrival_s, trace.input_tokens, trace.output_tokens, clients=clients).requests)
    seconds = dict(zip(LATENCIES, (found.ttft_s, found.tpot_s, found.latency_s), strict=True))
    return {"arrival": found.arrival_s, "finish": found.arrival_s + found.latency_s, **seconds}


def _steady(run: Run, in_system: float | None = None) -> Served | str:
    """The middle of a run that has no end; the reason where it is not steady. `in_system` says about how many requests are in the system."""
    if in_system is None:
        one = np.ones(1)
        isl, osl, rate = one * run.input_tokens, one * run.output_tokens, one * run.requests_per_s
        in_system = float(concurrency_at_rate(run.replica.constants, isl, osl, rate, np.zeros(1))[0])
        if math.isnan(in_system):
            return NOT_CARRIED
    draw = Draw(burstiness=_EVENLY if run.is_even else 1.0, seed=_SEED)
    steady = Steady.of(run.input_tokens, run.output_tokens, in_system, run.requests_per_s, draw, SIZE)
    found = {name: values[steady.first : steady.last] for name, values in _latencies(run.replica, steady.trace).items()}
    if np.ptp(found["finish"]) > _LATE * np.ptp(found["arrival"]):
        return NOT_CARRIED
    return Served(found, math.nan)
