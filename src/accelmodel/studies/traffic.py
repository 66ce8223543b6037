"""What a trace asks of replicas over time: the work of each request, its bursts, its busiest window; and the share that some of many replicas get."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.fleet.counts import whole
from accelmodel.studies.points import Point
from accelmodel.studies.scenario import Trafficked
from accelmodel.studies.traces import Client, Trace

Array = npt.NDArray[np.float64]

_CELL_REPLICAS, _CELL_WITH_PREFIXES = 64, 16  # more replicas than so many are simulated as cells; fewer where each keeps a cache of blocks

_TYPICAL_CLIENTS = 64.0  # at which prefill's share of a replica's time is taken
_LONGEST_BURST_S = 10.0
_DRAWN_S, _DRAWN_REQUESTS = 1200.0, 6000  # traffic that is drawn lasts so long, and longer until it has so many requests
LEAST_REQUESTS = 2000  # that are simulated, where a trace has them: a 99th percentile then rests on twenty


def request_work(replica: Replica, trace: Trace) -> Array:
    """Work of each request in units of the mean request's, shape (n,): u fresh / mean fresh + (1 - u) output / mean output, fresh the input that is not cached.

    u is the share of a busy replica's time that goes to prefill at the trace's mean lengths: the rest goes to decode.
    """
    from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop

    fresh = trace.input_tokens if trace.cached_tokens is None else np.maximum(trace.input_tokens - trace.cached_tokens, 1.0)
    mean_input, mean_fresh, mean_output = (float(tokens.mean()) for tokens in (trace.input_tokens, fresh, trace.output_tokens))
    out = closed_loop(replica.constants, Grid.point(mean_input, mean_output, _TYPICAL_CLIENTS, 1.0 - mean_fresh / mean_input))
    prefill = float(out[OUTPUTS.index("prefill_time_fraction"), 0])
    prefill = 0.5 if math.isnan(prefill) else prefill
    work: Array = prefill * fresh / mean_fresh + (1.0 - prefill) * trace.output_tokens / mean_output
    return work


def work_in_windows(trace: Trace, work: Array, window_s: float) -> Array:
    """Work that arrives in each of the windows of `window_s` that follow one another from the first arrival on; the last, unless whole, is left out."""
    windows = max(int(trace.duration_s / window_s), 1)
    place = ((trace.arrival_s - trace.arrival_s[0]) / window_s).astype(np.int64)
    inside = place < windows
    arrived: Array = np.bincount(place[inside], weights=work[inside], minlength=windows).astype(np.float64)
    return arrived


def burst_ratio(trace: Trace, work: Array, window_s: float, percentile: float) -> float:
    """A percentile of the work that arrives in windows of `window_s`, over the mean; at least 1."""
    if trace.requests + 2 < (1.0 - percentile / 100.0) * trace.duration_s / window_s:
        return 1.0  # so many windows are empty that the percentile is one of them
    arrived = work_in_windows(trace, work, window_s)
    return max(float(np.percentile(arrived, percentile) / arrived.mean()), 1.0)


def busiest_window(trace: Trace, work: Array, window_s: float) -> tuple[float, float]:
    """From when to when most work arrives, begun at an arrival; the whole trace where it is no longer than `window_s`."""
    begin, end = float(trace.arrival_s[0]), float(trace.arrival_s[-1])
    if end - begin <= window_s:
        return begin, math.nextafter(end, math.inf)
    done = np.concatenate([[0.0], np.cumsum(work)])
    first = np.arange(int(np.searchsorted(trace.arrival_s, end - window_s, side="right")))
    last = np.searchsorted(trace.arrival_s, trace.arrival_s[first] + window_s)
    start_s = float(trace.arrival_s[first[np.argmax(done[last] - done[first])]])
    return start_s, start_s + window_s


@dataclass(frozen=True)
class Share:
    """The part of a fleet that is simulated, `replicas` of it, and the requests that come to them."""

    replicas: int
    traffic: Trace


def cell_of(traffic: Trace) -> int:
    """Replicas among which one router chooses: fewer where prompts have prefixes, whose caches take memory."""
    return _CELL_REPLICAS if traffic.hash_ids is None else _CELL_WITH_PREFIXES


def share_of(traffic: Trace, requests_per_s: float, replicas: int, seed: int = 0, largest: int | None = None) -> Share:
    """At most `largest` (`cell_of` the traffic) of `replicas`, and their share of traffic whose mean rate is brought to `requests_per_s`.

    A fleet's router may look at few replicas, so that a large fleet is many such cells, each with a random share of the requests. More
    replicas for the same rate get a part of the same requests (random numbers are common), so that what they carry rises with their number. Where that part
    would be too few for a percentile, more of the requests are kept, and farther apart.
    """
    if traffic.requests < 2 or not traffic.duration_s > 0.0:
        raise InputError("needs at least two requests at different times", key="trace", value=traffic.requests)
    simulated = min(replicas, largest or cell_of(traffic))
    factor = requests_per_s / (traffic.requests / traffic.duration_s) * simulated / replicas
    kept = max(factor, min(LEAST_REQUESTS / traffic.requests, 1.0))
    return Share(simulated, traffic.at_rate(kept, seed).stretched(kept / factor))


def traffic_of(asked: Trafficked, trace: Trace | None, replica: Replica, point: Point, requests_per_s: float, replicas: float, seed: int) -> Trace:
    """Requests of a fleet's peak: those of a trace, with the prefix hits of a point where the trace itself knows nothing of prefixes; or drawn.

    Drawn are those that come to a cell of the fleet, with the mean lengths and prefix hits of the point and variations as asked, none longer than the model's
    context.
    """
    if trace is not None:
        return trace if trace.knows_prefixes or not point.prefix_hit_fraction else trace.cached(point.prefix_hit_fraction)
    rate = requests_per_s * min(1.0, _CELL_REPLICAS / max(replicas, 1.0))
    client = Client(rate, point.input_tokens, point.output_tokens, asked.burstiness, "gamma", asked.input_variation, asked.output_variation)
    drawn = Trace.generate(client, duration_s=max(_DRAWN_S, _DRAWN_REQUESTS / rate), seed=seed)
    return drawn.within(replica.model.architecture.max_context_tokens).cached(point.prefix_hit_fraction)


def burst_headroom(replica: Replica, traffic: Trace, requests_per_s: float, carrying: float, ttft_s: float | None, percentile: float, seed: int) -> int:
    """Replicas for the bursts: `carrying`, which the mean rate takes, x the percentile of the work in windows over its mean.

    Windows are as long as the time to first token may be, 10 s at most; the work is that of one cell.
    """
    share = share_of(traffic, requests_per_s, max(int(whole(carrying)), 1), seed)
    window_s = min(_LONGEST_BURST_S if ttft_s is None else ttft_s, _LONGEST_BURST_S)
    return max(int(whole(carrying * burst_ratio(share.traffic, request_work(replica, share.traffic), window_s, percentile))), 1)
