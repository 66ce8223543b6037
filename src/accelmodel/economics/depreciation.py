"""Depreciation for tax, by year."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from accelmodel.economics import Values, check_range

Array = npt.NDArray[np.float64]


@functools.cache
def macrs_fractions(recovery_years: int) -> Array:
    """Shares of the cost by tax year, half-year convention: the table A-1 of IRS Publication 946, before its rounding.

    Declining balance (200 % for 3, 5, 7 and 10 years, 150 % for 15 and 20) on what is left, changed to a straight line over the remaining life as soon as that
    gives more. The first year counts half, so that n years take n + 1. Computers and their servers are 5-year property.
    """
    check_range("recovery_years", recovery_years, at_least=3, at_most=20)
    rate = (2.0 if recovery_years <= 10 else 1.5) / recovery_years
    shares, left, age = [], 1.0, 0.0
    for year in range(recovery_years + 1):
        length = 0.5 if year in (0, recovery_years) else 1.0
        shares.append(min(max(rate * (1.0 if year else 0.5), length / (recovery_years - age)) * left, left))
        left -= shares[-1]
        age += length
    return np.array(shares)


def present_value_fraction(shares: Array, discount_fraction: Values) -> Values:
    """Present value of shares that fall at the end of each year, the first one year ahead: sum of d_t / (1 + r)^t."""
    return sum((share / (1.0 + np.asarray(discount_fraction)[()]) ** year for year, share in enumerate(shares, 1)), start=0.0)
