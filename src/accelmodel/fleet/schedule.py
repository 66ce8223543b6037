"""Schedules: a fleet through the hours of a day or a week, all of it on or autoscaled, and the work that fits into its troughs.

A load is replicas at full goodput, one value an hour (or another step), not rounded; it repeats. Loads are means of their hours: what happens
within one is left to the headroom. Autoscaling is worked out to the minute.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from accelmodel.economics import check_range
from accelmodel.errors import InputError
from accelmodel.fleet.counts import Counts, whole
from accelmodel.units import SECONDS_PER_HOUR

Array = npt.NDArray[np.float64]
Installed = Callable[[int], int]  # replicas that are on so that so many can serve

_Number = TypeVar("_Number", bound=np.generic)

_MINUTES_PER_HOUR = 60
_SECONDS_PER_MINUTE = 60
_HOURS_PER_DAY = 24


@dataclass(frozen=True)
class Autoscaling:
    """How replicas come and go.

    A replica is asked for `reaction_s` and `startup_s` before it is needed, and is paid for all that time; it stays on until it has not been needed
    for `minimum_on_h`, and so at least that long after its start. The fleet is scaled for `forecast_error_fraction` more than the load, so that a
    load so much above its forecast is still carried. `minimum_replicas` are never switched off, and `maximum_replicas` are all that there are.
    """

    startup_s: float = 0.0
    reaction_s: float = 0.0
    minimum_on_h: float = 0.0
    forecast_error_fraction: float = 0.0
    minimum_replicas: int = 0
    maximum_replicas: int | None = None

    def __post_init__(self) -> None:
        check_range("startup_s", self.startup_s, at_least=0, at_most=_HOURS_PER_DAY * SECONDS_PER_HOUR)
        check_range("reaction_s", self.reaction_s, at_least=0, at_most=_HOURS_PER_DAY * SECONDS_PER_HOUR)
        check_range("minimum_on_h", self.minimum_on_h, at_least=0, at_most=_HOURS_PER_DAY)
        check_range("forecast_error_fraction", self.forecast_error_fraction, at_least=0)
        check_range("minimum_replicas", self.minimum_replicas, at_least=0)
        if self.maximum_replicas is not None:
            check_range("maximum_replicas", self.maximum_replicas, at_least=self.minimum_replicas)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Replicas through the minutes of a period that repeats, arrays (minutes,).

    load      replicas at full goodput that the demand keeps busy, not rounded
    on        replicas that are powered and paid for
    starting  those of them that do not serve yet
    """

    load: Array
    on: Counts
    starting: Counts

    @property
    def hours(self) -> float:
        """Length of the period."""
        return self.load.size / _MINUTES_PER_HOUR

    @property
    def peak_replicas(self) -> int:
        """The most that are on at once."""
        return int(self.on.max())

    @property
    def mean_replicas(self) -> float:
        """On in the mean."""
        return float(self.on.mean())

    @property
    def replica_hours_per_day(self) -> float:
        """Hours paid for in a day of the period."""
        return self.mean_replicas * _HOURS_PER_DAY

    @property
    def occupancy_fraction(self) -> float:
        """Load over the replicas that are on; NaN where none ever is."""
        return float(self.load.mean()) / self.mean_replicas if self.on.any() else math.nan

    @property
    def starts_per_day(self) -> float:
        """Replicas switched on in a day of the period."""
        return float(_starts(self.on).sum()) / self.hours * _HOURS_PER_DAY

    @property
    def lower_bound(self) -> Counts:
        """The honest lower bound in every minute: ceil(load), no reserve at all."""
        return whole(self.load)


def needed_replicas(load: npt.ArrayLike, headroom_fraction: float) -> Counts:
    """Replicas that carry each load with so much of them left over: ceil(load / (1 - headroom)). At a headroom of 0, the lower bound."""
    check_range("headroom_fraction", headroom_fraction, at_least=0, below=1)
    loads = np.asarray(load, float)
    check_range("load", loads, at_least=0)
    return whole(loads / (1 - headroom_fraction))


def static_schedule(load: npt.ArrayLike, headroom_fraction: float, *, step_h: float = 1.0, installed: Installed | None = None) -> Schedule:
    """As many replicas as the busiest hour needs, and what is held beside them (`installed`; nothing where absent), on all the time."""
    needed = _on(needed_replicas(load, headroom_fraction), installed)
    by_minute = _by_minute(np.asarray(load, float), step_h)
    on = np.full(by_minute.size, int(needed.max()), dtype=np.int64)
    return Schedule(by_minute, on, np.zeros_like(on))


def autoscaled_schedule(
    load: npt.ArrayLike, headroom_fraction: float, autoscaling: Autoscaling, *, step_h: float = 1.0, installed: Installed | None = None
) -> Schedule:
    """As many replicas as each hour needs, and what is held beside so many, started ahead of need and kept on as `autoscaling` says.

    At every minute the most that is needed from `minimum_on_h` ago until a replica asked for now would serve. InputError where `maximum_replicas` do
    not carry the load without an error of the forecast.
    """
    loads = np.asarray(load, float)
    forecast = _on(needed_replicas(loads * (1 + autoscaling.forecast_error_fraction), headroom_fraction), installed)
    most = autoscaling.maximum_replicas
    needed = np.clip(_by_minute(forecast, step_h), autoscaling.minimum_replicas, most)
    if most is not None and most < (peak := int(_on(needed_replicas(loads, headroom_fraction).max(keepdims=True), installed)[0])):
        raise InputError(f"{most} do not carry the busiest hour, which needs {peak}", key="maximum_replicas", value=most)
    lead = _minutes(autoscaling.startup_s) + _minutes(autoscaling.reaction_s)
    held = _minutes(autoscaling.minimum_on_h * SECONDS_PER_HOUR)
    on = np.roll(_largest_ahead(needed, lead + held), held)
    return Schedule(_by_minute(loads, step_h), on, np.minimum(_sum_behind(_starts(on), _minutes(autoscaling.startup_s)), on))


def _on(needed: Counts, installed: Installed | None) -> Counts:
    """Replicas that are on so that so many can serve, each number looked up once."""
    if installed is None:
        return needed
    distinct, place = np.unique(needed, return_inverse=True)
    return np.array([installed(int(count)) for count in distinct], np.int64)[place]


def _starts(on: Counts) -> Counts:
    """Replicas switched on in each minute."""
    risen: Counts = np.maximum(on - np.roll(on, 1), 0)
    return risen


def _minutes(seconds: float) -> int:
    """Whole minutes, rounded up."""
    return int(whole(seconds / _SECONDS_PER_MINUTE))


def _by_minute(values: npt.NDArray[_Number], step_h: float) -> npt.NDArray[_Number]:
    """Every value for the minutes of its step."""
    minutes = step_h * _MINUTES_PER_HOUR
    if values.ndim != 1 or not values.size:
        raise InputError("needs at least one value", key="load")
    if minutes < 1 or minutes != round(minutes):
        raise InputError("must be whole minutes", key="step_h", value=step_h)
    return np.repeat(values, round(minutes))


def _largest_ahead(values: Counts, minutes: int) -> Counts:
    """The largest value from now until so many minutes on, in a period that repeats."""
    found: Counts = values
    reach = 1  # `found` looks over `reach` minutes
    while reach < min(minutes + 1, values.size):
        by = min(reach, min(minutes + 1, values.size) - reach)
        found, reach = np.maximum(found, np.roll(found, -by)), reach + by
    return found


def _sum_behind(values: Counts, minutes: int) -> Counts:
    """The sum over the last so many minutes, this one included, in a period that repeats."""
    if minutes == 0:
        return np.zeros_like(values)
    span = min(minutes, values.size)
    total: Counts = np.concatenate([[0], np.cumsum(np.concatenate([values[-span:], values]))])
    return (total[span + 1 :] - total[1:-span]).astype(np.int64)


def idle_replica_hours_per_day(schedule: Schedule, installed: int, *, minimum_h: float = 0.0, startup_s: float = 0.0) -> float:
    """Hours a day in which installed replicas are not on and long enough together for other work.

    A trough counts from `minimum_h` on, less `startup_s` for what the other work takes to begin. Replicas are stacked, the first to come being the
    last to go, so that troughs are as long as they can be. InputError for fewer installed than the schedule has on.
    """
    check_range("minimum_h", minimum_h, at_least=0)
    check_range("startup_s", startup_s, at_least=0)
    if installed < schedule.peak_replicas:
        raise InputError(f"{installed} are fewer than the {schedule.peak_replicas} that are on at the peak", key="installed", value=installed)
    levels = [*np.unique(schedule.on).tolist(), installed]
    hours = 0.0
    for below, level in itertools.pairwise(levels):
        troughs = np.array([length / _MINUTES_PER_HOUR for length in _runs(schedule.on <= below)])
        long_enough = troughs[troughs >= minimum_h] - startup_s / SECONDS_PER_HOUR
        hours += (level - below) * float(np.maximum(long_enough, 0.0).sum())
    return hours / schedule.hours * _HOURS_PER_DAY


def _runs(true: npt.NDArray[np.bool_]) -> Iterator[int]:
    """Lengths of the runs of true in a period that repeats; the whole period where it is true throughout."""
    if true.all():
        yield true.size
    elif true.any():
        turned = np.roll(true, -int(np.argmin(true)))  # begins with a false
        edges = np.flatnonzero(np.diff(np.concatenate([turned, [False]]).astype(np.int8), prepend=0))
        yield from (edges[1::2] - edges[::2]).tolist()


@dataclass(frozen=True)
class Draw:
    """What a replica with its share of hosts and network draws at full goodput, on without load, and off, in W; between them by its load."""

    loaded_w: float
    idle_w: float
    off_w: float = 0.0

    def __post_init__(self) -> None:
        check_range("off_w", self.off_w, at_least=0)
        check_range("idle_w", self.idle_w, at_least=self.off_w)
        check_range("loaded_w", self.loaded_w, at_least=self.idle_w)

    def mean_w(self, schedule: Schedule, installed: float, other_replicas: float = 0.0) -> float:
        """Mean draw of all that is installed, `other_replicas` of what is off being loaded with other work in the mean."""
        load, on = float(schedule.load.mean()), schedule.mean_replicas
        off = installed - on - other_replicas
        return (load + other_replicas) * self.loaded_w + (on - load) * self.idle_w + off * self.off_w
