"""Depreciation by year, for accounts and for tax, and what tax does to the payments that recover a capital."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accelmodel.economics import Values, check_range
from accelmodel.economics.ownership import capital_recovery_factor

Array = npt.NDArray[np.float64]


def straight_line_fractions(life_years: int) -> Array:
    """Equal shares of the cost less residual value, one a year: 1/n."""
    check_range("life_years", life_years, at_least=1)
    return np.full(life_years, 1.0 / life_years)


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


def present_value_fraction(shares: Array, discount_fraction: float) -> float:
    """Present value of shares that fall at the end of each year, the first one year ahead: sum of d_t / (1 + r)^t."""
    return float(np.sum(shares / (1.0 + discount_fraction) ** np.arange(1, len(shares) + 1)))


def fixed_charge_rate(cost_of_capital_fraction: Values, life_years: Values, tax_fraction: Values, depreciation_present_value_fraction: Values) -> Values:
    """Share of a capital that each year's revenue must return when income is taxed: CRF (1 - T PVD) / (1 - T).

    PVD is the present value of tax depreciation (Short, Packey, Holt: Manual for the Economic Evaluation of Energy Efficiency, NREL/TP-462-5173, 1995;
    also NREL's Annual Technology Baseline). Without tax it is the capital recovery factor.
    """
    check_range("tax_fraction", tax_fraction, at_least=0, below=1)
    recovery = capital_recovery_factor(cost_of_capital_fraction, life_years)
    return recovery * (1.0 - tax_fraction * np.asarray(depreciation_present_value_fraction)[()]) / (1.0 - tax_fraction)
