"""What changes with time and volume: compound change, ramps, learning."""

from __future__ import annotations

import numpy as np

from accelmodel.economics import Values, check_range


def compounded(change_fraction_per_year: Values, years: Values) -> Values:
    """Factor after some years of a yearly change: (1 + g)^t; a fall of 30 % a year is g = -0.3.

    >>> round(compounded(-0.3, 2.0), 2)
    0.49
    """
    check_range("change_fraction_per_year", change_fraction_per_year, above=-1)
    return (1.0 + change_fraction_per_year) ** years


def ramp_fraction(years: Values, ramp_years: Values) -> Values:
    """Share of its final load that a fleet carries some time after it stands: a straight line to 1 over `ramp_years`, at once where these are 0.

    >>> float(ramp_fraction(0.25, 1.0)), float(ramp_fraction(2.0, 1.0)), float(ramp_fraction(0.0, 0.0))
    (0.25, 1.0, 1.0)
    """
    check_range("ramp_years", ramp_years, at_least=0)
    age, length = np.broadcast_arrays(np.maximum(years, 0.0), np.asarray(ramp_years, float))
    risen: Values = np.divide(age, length, out=np.ones(age.shape), where=age < length)[()]
    return risen


def learning_curve_fraction(cumulative_units: Values, progress_fraction: Values) -> Values:
    """Cost of the n-th unit over that of the first: n^(log2 b), so that each doubling leaves b of it (Wright 1936; an 80 % curve: b = 0.8).

    >>> round(float(learning_curve_fraction(8.0, 0.8)), 3)
    0.512
    """
    check_range("cumulative_units", cumulative_units, above=0)
    check_range("progress_fraction", progress_fraction, above=0)
    return np.asarray(cumulative_units, float) ** np.log2(progress_fraction)
