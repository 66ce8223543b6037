"""Demand: tokens a day, how much of the input is cached, how high the peak stands over the mean, how fast it grows."""

from __future__ import annotations

from dataclasses import dataclass

from accelmodel.economics import Values, check_range
from accelmodel.economics.tokens import TokenRates
from accelmodel.units import SECONDS_PER_DAY


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
