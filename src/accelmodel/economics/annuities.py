"""Equal yearly payments: capital recovery, residual value, sinking funds, and what tax adds."""

from __future__ import annotations

import numpy as np

from accelmodel.economics import Values, check_range


def capital_recovery_factor(cost_of_capital_fraction: Values, life_years: Values) -> Values:
    """Share of a capital that n equal payments, one at each year's end, must return to repay it with interest.

    CRF(r, n) = r (1+r)^n / ((1+r)^n - 1), and 1/n at r = 0 (straight line): the (A/P, i, n) of engineering economy.

    >>> round(float(capital_recovery_factor(0.10, 5)), 5)
    0.2638
    """
    rate, years = np.asarray(cost_of_capital_fraction, float), np.asarray(life_years, float)
    some = np.where(rate == 0, 1.0, rate)
    factor: Values = np.where(rate == 0, 1 / years, some / -np.expm1(-years * np.log1p(some)))[()]
    return factor


def annuity_usd_per_year(
    capital_usd: Values, cost_of_capital_fraction: Values, life_years: Values, residual_fraction: Values = 0.0, tax_factor: Values = 1.0
) -> Values:
    """Equal yearly payment that recovers a capital less its residual value at the end of life, and the tax on it.

    P [g CRF(r, n) - s (CRF(r, n) - r)], the residual s P being credited by its sinking-fund annuity; g is the `tax_factor`, 1 without tax.
    """
    recovery = capital_recovery_factor(cost_of_capital_fraction, life_years)
    return capital_usd * (recovery * tax_factor - residual_fraction * (recovery - cost_of_capital_fraction))


def tax_factor(tax_fraction: Values, depreciation_present_value_fraction: Values) -> Values:
    """By how much tax on profit raises the payments that recover a capital: (1 - T PVD) / (1 - T), PVD being the present value of its tax depreciation.

    CRF x this is the fixed charge rate of Short, Packey and Holt, Manual for the Economic Evaluation of Energy Efficiency (NREL/TP-462-5173, 1995), pp. 22-24.
    """
    check_range("tax_fraction", tax_fraction, at_least=0, below=1)
    return (1.0 - np.multiply(tax_fraction, depreciation_present_value_fraction)) / (1.0 - np.asarray(tax_fraction)[()])


def sinking_fund_usd_per_year(due_usd: Values, cost_of_capital_fraction: Values, life_years: Values) -> Values:
    """Equal yearly payment that saves up a sum due at the end of life: F (CRF(r, n) - r), the (A/F, i, n) of engineering economy.

    >>> round(float(sinking_fund_usd_per_year(1.0, 0.10, 5)), 5)
    0.1638
    """
    return due_usd * (capital_recovery_factor(cost_of_capital_fraction, life_years) - cost_of_capital_fraction)
