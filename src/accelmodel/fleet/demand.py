"""Demand: tokens a day from tokens, requests or users; how much of the input is cached; its shape through the day and the week; its regions; its growth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.shapes import HOURS_PER_DAY, HOURS_PER_WEEK
from accelmodel.economics import Values, check_range
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Demand:
    """Tokens of an average day: all input (cached or not) and output.

    `peak_to_mean_ratio` is the rate in the busiest window that the fleet must carry over the mean rate. Growth
    compounds yearly. InputError where a figure is out of its bounds.
    """

    input_tokens_per_day: Values
    output_tokens_per_day: Values
    cached_input_fraction: Values
    peak_to_mean_ratio: Values
    growth_fraction_per_year: Values = 0.0

    def __post_init__(self) -> None:
        check_range("input_tokens_per_day", self.input_tokens_per_day, at_least=0)
        check_range("output_tokens_per_day", self.output_tokens_per_day, at_least=0)
        check_range("cached_input_fraction", self.cached_input_fraction, at_least=0, at_most=1)
        check_range("peak_to_mean_ratio", self.peak_to_mean_ratio, at_least=1)
        check_range("growth_fraction_per_year", self.growth_fraction_per_year, above=-1)

    def mean_rates(self, years: Values = 0.0) -> TokenRates:
        """Mean tokens per second `years` from now: tokens/day / 86400 x (1 + growth)^years."""
        grown = (1 + self.growth_fraction_per_year) ** years / SECONDS_PER_DAY
        return TokenRates(
            uncached_input_tokens_per_s=self.input_tokens_per_day * (1 - self.cached_input_fraction) * grown,
            cached_input_tokens_per_s=self.input_tokens_per_day * self.cached_input_fraction * grown,
            output_tokens_per_s=self.output_tokens_per_day * grown,
        )

    def peak_rates(self, years: Values = 0.0) -> TokenRates:
        """Tokens per second in the busiest window `years` from now: mean x peak to mean."""
        return self.mean_rates(years).scaled(self.peak_to_mean_ratio)


def demand_of_requests(
    requests_per_day: Values,
    input_tokens: Values,
    output_tokens: Values,
    *,
    cached_input_fraction: Values,
    peak_to_mean_ratio: Values,
    growth_fraction_per_year: Values = 0.0,
) -> Demand:
    """The demand of so many requests a day with these mean lengths in tokens."""
    return Demand(
        input_tokens_per_day=requests_per_day * input_tokens,
        output_tokens_per_day=requests_per_day * output_tokens,
        cached_input_fraction=cached_input_fraction,
        peak_to_mean_ratio=peak_to_mean_ratio,
        growth_fraction_per_year=growth_fraction_per_year,
    )


@dataclass(frozen=True)
class Session:
    """A conversation of one user with a model: every turn sends the whole conversation so far again.

    `turns` is the mean number of turns, as of sessions that all have it; sessions of different lengths have more context than that, long ones weighing more.
    `input_tokens_per_turn` is what the user adds, `output_tokens_per_turn` what the model answers; `system_prompt_tokens` stands before all of it.
    `context_hit_fraction` of what an earlier turn has already sent or got is still in the prefix cache: 1 is a cache without limit.
    """

    turns: float
    input_tokens_per_turn: float
    output_tokens_per_turn: float
    system_prompt_tokens: float = 0.0
    context_hit_fraction: float = 1.0

    def __post_init__(self) -> None:
        check_range("turns", self.turns, at_least=1)
        check_range("input_tokens_per_turn", self.input_tokens_per_turn, above=0)
        check_range("output_tokens_per_turn", self.output_tokens_per_turn, above=0)
        check_range("system_prompt_tokens", self.system_prompt_tokens, at_least=0)
        check_range("context_hit_fraction", self.context_hit_fraction, at_least=0, at_most=1)

    @property
    def input_tokens(self) -> float:
        """Input tokens of the mean request: s + i + (i + o) (T - 1) / 2, turn k of T sending k - 1 earlier turns again."""
        earlier = (self.input_tokens_per_turn + self.output_tokens_per_turn) * (self.turns - 1) / 2
        return self.system_prompt_tokens + self.input_tokens_per_turn + earlier

    @property
    def output_tokens(self) -> float:
        """Output tokens of the mean request."""
        return self.output_tokens_per_turn

    @property
    def prefix_hit_fraction(self) -> float:
        """Share of the input that a prefix cache serves: all that turn k sends except what the user adds, but for the first turn, whose prompt is new."""
        sent_before = self.input_tokens - self.input_tokens_per_turn - self.system_prompt_tokens / self.turns
        return max(self.context_hit_fraction * sent_before / self.input_tokens, 0.0)


@dataclass(frozen=True)
class Users:
    """People with sessions."""

    users: float
    sessions_per_user_day: float
    session: Session

    def __post_init__(self) -> None:
        check_range("users", self.users, at_least=0)
        check_range("sessions_per_user_day", self.sessions_per_user_day, at_least=0)

    @property
    def requests_per_day(self) -> float:
        """Users x sessions x turns."""
        return self.users * self.sessions_per_user_day * self.session.turns


def demand_of_users(users: Users, *, peak_to_mean_ratio: float, growth_fraction_per_year: float = 0.0) -> Demand:
    """The demand of users with their sessions, context and prefix hits growing turn by turn."""
    return demand_of_requests(
        users.requests_per_day,
        users.session.input_tokens,
        users.session.output_tokens,
        cached_input_fraction=users.session.prefix_hit_fraction,
        peak_to_mean_ratio=peak_to_mean_ratio,
        growth_fraction_per_year=growth_fraction_per_year,
    )


@dataclass(frozen=True)
class Shape:
    """A load through the hours of a day (24) or a week (168), in units of its mean.

    `weights` have the mean 1; `Shape.of` makes them from values of any scale. InputError for another number of hours, and for what is negative.
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) not in (HOURS_PER_DAY, HOURS_PER_WEEK):
            raise InputError(f"needs {HOURS_PER_DAY} or {HOURS_PER_WEEK} hours, not {len(self.weights)}", key="shape", value=len(self.weights))
        check_range("shape", np.asarray(self.weights), at_least=0)
        mean = math.fsum(self.weights) / len(self.weights)
        if not math.isclose(mean, 1.0, rel_tol=1e-9):
            raise InputError(f"the mean of the weights must be 1, not {mean:g}: Shape.of(values) scales them", key="shape", value=mean)

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Shape:
        """The shape of hourly values of any scale."""
        array = np.asarray(values, float)
        check_range("shape", array, at_least=0)
        mean = array.mean() if array.size else 0.0
        if not mean > 0:
            raise InputError("needs an hour with a load above 0", key="shape")
        return cls(tuple((array / mean).tolist()))

    @classmethod
    def flat(cls) -> Shape:
        """The same load at every hour."""
        return cls((1.0,) * HOURS_PER_DAY)

    @classmethod
    def of_arrivals(cls, arrival_s: npt.ArrayLike, work: npt.ArrayLike | None = None) -> Shape:
        """The shape of a trace, from the requests (or their `work`) in each hour from its first arrival on: of a week if it spans one, else of a day.

        More weeks or days are averaged, what is left over is not used. InputError for a trace of less than a day.
        """
        if not np.size(arrival_s):
            raise InputError("no request arrives", key="arrival_s")
        hours = (np.asarray(arrival_s, float) - np.min(arrival_s)) / SECONDS_PER_HOUR
        spanned = math.floor(float(hours.max()) + 1e-9) + 1  # the hour of the last arrival counts as whole
        period = HOURS_PER_WEEK if spanned >= HOURS_PER_WEEK else HOURS_PER_DAY
        if spanned < period:
            raise InputError(f"the trace spans {spanned} hours: the shape of a day needs {HOURS_PER_DAY}", key="shape", value=spanned)
        inside = hours < spanned // period * period
        weights = None if work is None else np.asarray(work, float)[inside]
        return cls.of(np.bincount(hours[inside].astype(np.int64) % period, weights=weights, minlength=period))

    @property
    def hours(self) -> int:
        """Hours until it repeats."""
        return len(self.weights)

    @property
    def peak_to_mean_ratio(self) -> float:
        """The highest hour over the mean."""
        return max(self.weights)

    @property
    def busiest_hour(self) -> int:
        """The first of the highest hours."""
        return self.weights.index(max(self.weights))

    def at(self, hour: float) -> float:
        """The load at an hour, whatever its number, in units of the mean."""
        return self.weights[math.floor(hour) % self.hours]

    def shifted(self, hours: float) -> Shape:
        """The same shape so many hours earlier, as on the clock of a place whose day begins so much earlier; between whole hours by interpolation."""
        whole, part = divmod(hours, 1.0)
        values = np.asarray(self.weights)
        return Shape(tuple(((1 - part) * np.roll(values, -int(whole)) + part * np.roll(values, -int(whole) - 1)).tolist()))


@dataclass(frozen=True)
class Region:
    """A part of the demand that is served by its own site first: its share, its shape on the common clock, which `shift_h` puts so many hours earlier."""

    name: str
    share_fraction: float
    shape: Shape
    shift_h: float = 0.0

    def __post_init__(self) -> None:
        check_range(f"{self.name}.share_fraction", self.share_fraction, at_least=0, at_most=1)

    def load(self, hours: int) -> Array:
        """Its load hour by hour, in units of the mean of the whole demand."""
        shape = self.shape.shifted(self.shift_h)
        return self.share_fraction * np.array([shape.at(hour) for hour in range(hours)])


@dataclass(frozen=True)
class RegionalPeaks:
    """Several regions, in units of the mean of the whole demand.

    peak_of_sum        the busiest hour of all regions together: what one pool must carry
    sum_of_peaks       what regions need that each carry their own peak
    capacity           of each region where, any one of them lost, the others carry the whole peak, and each its own peak: the least in sum
    """

    names: tuple[str, ...]
    peaks: tuple[float, ...]
    peak_of_sum: float
    sum_of_peaks: float
    capacity: tuple[float, ...]

    @property
    def diversity_factor(self) -> float:
        """Sum of peaks over peak of the sum: what regions of different hours save by helping each other out; at least 1."""
        return self.sum_of_peaks / self.peak_of_sum

    @property
    def capacity_without_one_over_peak(self) -> float:
        """All that is installed for the loss of one region, over the peak of the sum."""
        return math.fsum(self.capacity) / self.peak_of_sum


def regional_peaks(regions: Sequence[Region]) -> RegionalPeaks:
    """Peaks of the regions and of their sum, and what each needs where one may be lost.

    With P the peak of the sum and p_i the regions' own, the loss of region i leaves C - c_i >= P; the least total is the largest of P n / (n - 1), P + max p_i
    and the sum of peaks, shared out over the room that each region has between p_i and C - P. InputError for fewer than two regions, and for shares that do
    not sum to 1.
    """
    if len(regions) < 2:
        raise InputError("needs at least two regions, so that one may be lost", key="regions", value=len(regions))
    total_share = math.fsum(region.share_fraction for region in regions)
    if not math.isclose(total_share, 1.0, abs_tol=1e-6):
        raise InputError(f"the shares of the regions must sum to 1, not {total_share:g}", key="regions", value=total_share)
    hours = max(region.shape.hours for region in regions)
    loads = np.array([region.load(hours) for region in regions])
    own, together = loads.max(axis=1), float(loads.sum(axis=0).max())
    total = max(together * len(regions) / (len(regions) - 1), together + float(own.max()), float(own.sum()))
    room = (total - together) - own
    spread = (total - float(own.sum())) * room / room.sum() if room.sum() > 0 else np.zeros(len(regions))
    return RegionalPeaks(
        names=tuple(region.name for region in regions),
        peaks=tuple(own.tolist()),
        peak_of_sum=together,
        sum_of_peaks=float(own.sum()),
        capacity=tuple((own + spread).tolist()),
    )
