"""What a trace asks of replicas over time: the work of each request, its bursts, its busiest window; and the share that some of many replicas get."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.traces import Trace

Array = npt.NDArray[np.float64]

_TYPICAL_CLIENTS = 64.0  # at which prefill's share of a replica's time is taken


def request_work(replica: Replica, trace: Trace) -> Array:
    """Work of each request in units of the mean request's, shape (n,): u input / mean input + (1 - u) output / mean output.

    u is the share of a busy replica's time that goes to prefill at the trace's mean lengths: the rest goes to decode.
    """
    from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop

    mean_input, mean_output = float(trace.input_tokens.mean()), float(trace.output_tokens.mean())
    out = closed_loop(replica.constants, Grid.point(mean_input, mean_output, _TYPICAL_CLIENTS, 0.0))
    prefill = float(out[OUTPUTS.index("prefill_time_fraction"), 0])
    prefill = 0.5 if math.isnan(prefill) else prefill
    work: Array = prefill * trace.input_tokens / mean_input + (1.0 - prefill) * trace.output_tokens / mean_output
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


def share_of(traffic: Trace, requests_per_s: float, replicas: int, largest: int, seed: int = 0) -> Share:
    """At most `largest` of `replicas`, and their share of traffic whose mean rate is brought to `requests_per_s`.

    A fleet's router may look at few replicas, so that a large fleet is many such cells, each with a random share of the requests. More
    replicas for the same rate get a part of the same requests (random numbers are common), so that what they carry rises with their number.
    """
    if traffic.requests < 2 or not traffic.duration_s > 0.0:
        raise InputError("needs at least two requests at different times", key="trace", value=traffic.requests)
    simulated = min(replicas, largest)
    own_rate = traffic.requests / traffic.duration_s
    return Share(simulated, traffic.at_rate(requests_per_s / own_rate * simulated / replicas, seed))
