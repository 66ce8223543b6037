"""Capital over time: published NPV, IRR and payback, IRS tables, learning curves; and what must hold whatever the figures."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.economics.annuities import capital_recovery_factor, tax_factor
from accelmodel.economics.cash_flow import (
    Course,
    Fleet,
    cash_flow,
    internal_rate_of_return_fraction,
    levelised_cost,
    net_present_value_usd,
    payback_periods,
    per_period_fraction,
    per_year_fraction,
    profitability_index,
    worth,
)
from accelmodel.economics.curves import compounded, learning_curve_fraction, ramp_fraction
from accelmodel.economics.depreciation import macrs_fractions, present_value_fraction
from accelmodel.economics.ownership import OwnershipTerms, capital_per_accelerator, cost_of_ownership
from accelmodel.errors import InputError

# --- published ---------------------------------------------------------------------------------------------------------------------------------


def test_brigham_project_of_52125():
    # Brigham and Ehrhardt, Financial Management, problems 10-1 to 10-6: 52,125 now, 12,000 a year for 8 years, 12 %. Published solution: NPV 7,486.68,
    # IRR 16 %, payback 4.34 years, discounted payback 6.51 years (with the rounded factors of a table; 6.51 unrounded as well), PI 1.14.
    flows = [-52_125.0, *[12_000.0] * 8]
    assert round(net_present_value_usd(flows, 0.12), 2) == 7_486.68
    assert round(internal_rate_of_return_fraction(flows), 2) == 0.16
    assert round(payback_periods(flows), 4) == 4.3438
    assert round(payback_periods(flows, 0.12), 2) == 6.51
    assert round(profitability_index(flows, [52_125.0], 0.12), 2) == 1.14


def test_keown_project_of_80000():
    # Keown et al., Foundations of Finance, 11-24: 80,000 now, 20,000 a year for six years, 10 %. Payback 4 years; by hand with (P/A, 10 %, 6) = 4.35526:
    # NPV 87,105.21 - 80,000 = 7,105.21, PI 1.089.
    flows = [-80_000.0, *[20_000.0] * 6]
    assert payback_periods(flows) == pytest.approx(4.0)
    assert net_present_value_usd(flows, 0.10) == pytest.approx(20_000 * 4.35526 - 80_000, abs=0.1)
    assert round(profitability_index(flows, [80_000.0], 0.10), 3) == 1.089


@pytest.mark.parametrize(
    ("flows", "printed"),
    [([-100, 39, 59, 55, 20], 0.28095), ([-100, 0, 0, 74], -0.0955), ([-100, 100, 0, -7], -0.0833), ([-5, 10.5, 1, -8, 1], 0.0886)],
)
def test_internal_rates_as_documented(flows, printed):
    # numpy-financial, documentation of `irr` (the first after L. J. Gitman, Principles of Managerial Finance: Brief, 3rd ed., p. 348).
    assert internal_rate_of_return_fraction(flows) == pytest.approx(printed, abs=5e-5)


def test_net_present_value_as_documented():
    # numpy-financial, documentation of `npv`: 40,000 now, then 5, 8, 12 and 30 thousand, 8 %: 3,065.22.
    assert round(net_present_value_usd([-40_000, 5_000, 8_000, 12_000, 30_000], 0.08), 2) == 3_065.22


@pytest.mark.parametrize(
    ("years", "percent"),
    [
        # IRS Publication 946, table A-1, half-year convention. The table rounds so that it sums to 100: hence a hundredth.
        (3, [33.33, 44.45, 14.81, 7.41]),
        (5, [20.00, 32.00, 19.20, 11.52, 11.52, 5.76]),
        (7, [14.29, 24.49, 17.49, 12.49, 8.93, 8.92, 8.93, 4.46]),
        (15, [5.00, 9.50, 8.55, 7.70, 6.93, 6.23, 5.90, 5.90, 5.91, 5.90, 5.91, 5.90, 5.91, 5.90, 5.91, 2.95]),
    ],
)
def test_macrs_equals_the_irs_table(years, percent):
    np.testing.assert_allclose(100 * macrs_fractions(years), percent, atol=0.0101)


def test_two_percent_a_quarter_is_8_243_percent_a_year():
    # Blank and Tarquin, Engineering Economy, effective rates: 8 % a year compounded quarterly is 8.243 %.
    assert round(100 * per_year_fraction(0.02, 4), 3) == 8.243
    assert per_period_fraction(per_year_fraction(0.02, 4), 4) == pytest.approx(0.02)


def test_an_80_percent_learning_curve():
    # Wright (1936), as in Heizer and Render, Operations Management: 100 hours for the first unit, 80 for the second, 64 for the fourth, 51.2 for the eighth.
    np.testing.assert_allclose(100 * learning_curve_fraction(np.array([1.0, 2.0, 4.0, 8.0]), 0.8), [100, 80, 64, 51.2])


# --- by hand -----------------------------------------------------------------------------------------------------------------------------------


def test_ramp_and_compounding_by_hand():
    assert ramp_fraction(np.array([0.0, 0.25, 1.0, 9.0]), 0.5).tolist() == [0.0, 0.5, 1.0, 1.0]
    assert ramp_fraction(0.0, 0.0) == 1.0
    assert compounded(-0.3, 2.0) == pytest.approx(0.49)


def test_a_fleet_of_two_years_by_hand():
    # 1,000 USD of equipment that lasts two years, half the load in the first (mid-year of a ramp of one), prices down by half, tokens up by half, no tax.
    fleet = Fleet(1_000.0, 0.0, 1_200.0, 100.0, 40.0, 60.0, mtok_per_year=10.0, accelerator_h_per_year=8_760.0)
    course = Course(2, 1, ramp_years=1.0, price_change_fraction_per_year=-0.5, speedup_fraction_per_year=0.5, equipment_life_years=2.0)
    flow = cash_flow(fleet, course)
    assert flow.investment_usd.tolist() == [1_000, 0, 0]
    assert flow.revenue_usd == pytest.approx([0, 600, 1_200 * 0.5 * 1.5])
    assert flow.energy_usd == pytest.approx([0, 120, 140])
    assert flow.upkeep_usd == pytest.approx([0, 60, 60])
    assert flow.net_usd == pytest.approx([-1_000, 420, 700])
    assert flow.mtok == pytest.approx([0, 5, 15])
    found = worth(flow, 0.10, 1)
    assert found.net_present_value_usd == pytest.approx(-1_000 + 420 / 1.1 + 700 / 1.21)
    assert found.payback_years == pytest.approx(1 + 580 / 700)
    # 1,000 + 180 / 1.1 + 200 / 1.21 over 5 / 1.1 + 15 / 1.21.
    assert found.levelised_cost_usd_per_mtok == pytest.approx((1_000 + 180 / 1.1 + 200 / 1.21) / (5 / 1.1 + 15 / 1.21))


def test_purchases_renewals_residual_value_and_removal_by_hand():
    # Half at once, half a year later; two years' life; sold for 10 %, removed for 3 %; equipment a tenth cheaper every year; four years.
    course = Course(4, 1, purchase_fractions=(0.5, 0.5), equipment_life_years=2.0, residual_fraction=0.1, decommissioning_fraction=0.03)
    flow = cash_flow(Fleet(1_000.0), dataclasses.replace(course, equipment_price_change_fraction_per_year=-0.1))
    assert flow.investment_usd == pytest.approx([500, 450, 405, 364.5, 0])
    # The last, bought at year 3, has a year of two behind it: 364.5 x (1 - 0.9 / 2) = 200.475.
    assert flow.proceeds_usd == pytest.approx([0, 0, 35, 31.5, 405 * 0.07 + 200.475])


def test_cuts_of_the_price_and_learning_by_hand():
    # Tokens a tenth cheaper a year, and 44 % at once after two years (EC2's P5 in June 2025); a doubling of what is bought leaves 80 % of its price.
    course = Course(4, 1, purchase_fractions=(0.25, 0.25, 0.5), price_change_fraction_per_year=-0.1, price_cuts=((2.0, 0.44),), progress_fraction=0.8)
    assert course.token_price_factor(np.arange(4.0)) == pytest.approx([1.0, 0.9, 0.81 * 0.56, 0.729 * 0.56])
    flow = cash_flow(Fleet(1_000.0, revenue_usd_per_year=100.0), course)
    assert flow.investment_usd == pytest.approx([250, 250 * 0.8, 500 * 0.64, 0, 0])
    assert flow.revenue_usd == pytest.approx([0, 25, 50 * 0.9, 100 * 0.81 * 0.56, 100 * 0.729 * 0.56])


def test_tax_by_hand():
    # 1,000 USD over two years at 21 %: MACRS writes off 200 and 320 of it, the rest (480) when it goes for nothing.
    flow = cash_flow(Fleet(1_000.0, 0.0, 800.0), Course(2, 1, equipment_life_years=2.0, tax_fraction=0.21))
    assert flow.tax_usd == pytest.approx([0, 0.21 * (800 - 200), 0.21 * (800 - 320 - 480)])
    assert flow.tax_usd.sum() == pytest.approx(0.21 * (1_600 - 1_000))


def test_a_building_keeps_its_book_value():
    flow = cash_flow(Fleet(0.0, 1_400.0), Course(16, 4, facility_life_years=14.0, tax_fraction=0.21))
    assert flow.investment_usd[0] == 1_400
    assert flow.proceeds_usd[-1] == pytest.approx(1_000)
    assert flow.tax_usd.sum() == pytest.approx(-0.21 * 400)


def test_a_flow_that_never_turns_has_no_rate_and_no_payback():
    assert math.isnan(internal_rate_of_return_fraction([-1.0, -1.0]))
    assert math.isnan(payback_periods([-2.0, 1.0]))
    assert payback_periods([0.0, 1.0]) == 0.0
    # What is spent again must come back again.
    assert payback_periods([-1.0, 1.0, -1.0, 2.0]) == pytest.approx(2.5)
    assert math.isnan(levelised_cost([1.0], [0.0], 0.1))
    assert math.isnan(profitability_index([1.0], [0.0], 0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"purchase_fractions": (0.5, 0.4)}, "must sum to 1"), ({"purchase_fractions": (0.2,) * 5}, "outlast"), ({"equipment_life_years": 0.0}, "life")],
)
def test_a_course_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(Course(4), **change)


# --- identities --------------------------------------------------------------------------------------------------------------------------------

money = st.floats(1.0, 1e6)
rates = st.floats(0.0, 0.3)


@given(cost=money, returns=st.lists(money, min_size=1, max_size=24))
def test_the_present_value_at_the_internal_rate_is_nothing(cost, returns):
    flows = np.array([-cost, *returns])
    rate = internal_rate_of_return_fraction(flows)
    assert net_present_value_usd(flows, rate) == pytest.approx(0.0, abs=1e-6 * (cost + sum(returns)))


@given(costs=st.lists(money, min_size=2, max_size=12), rate=rates)
def test_at_the_levelised_cost_as_price_the_present_value_is_nothing(costs, rate):
    output = np.array([0.0, *np.linspace(1.0, 2.0, len(costs) - 1)])
    price = levelised_cost(costs, output, rate)
    assert net_present_value_usd(price * output - np.array(costs), rate) == pytest.approx(0.0, abs=1e-9 * sum(costs))
    assert profitability_index(price * output - np.array(costs), costs, rate) == pytest.approx(1.0)


@given(
    equipment=money,
    facility=money,
    running=money,
    life=st.integers(1, 10),
    more=st.integers(0, 6),
    residual=st.floats(0, 0.9),
    removal=st.floats(0, 0.1),
    ramp=st.floats(0, 2),
)
def test_a_longer_life_never_raises_the_levelised_cost_without_discounting(equipment, facility, running, life, more, residual, removal, ramp):
    fleet = Fleet(equipment, facility, upkeep_usd_per_year=running, mtok_per_year=5.0, accelerator_h_per_year=8_760.0)

    def costs(years: int) -> tuple[float, float]:
        course = Course(4 * years, 4, ramp_years=ramp, equipment_life_years=years, residual_fraction=residual, decommissioning_fraction=removal)
        found = worth(cash_flow(fleet, dataclasses.replace(course, facility_life_years=20.0)), 0.0, 4)
        return found.levelised_cost_usd_per_accelerator_h, found.levelised_cost_usd_per_mtok

    for short, long in zip(costs(life), costs(life + more), strict=True):
        assert long <= short * (1 + 1e-12)


@given(rate=rates, life=st.integers(1, 10), residual=st.floats(0, 0.5), removal=st.floats(0, 0.1), purchase=money, power=st.floats(0, 2_000))
def test_the_levelised_cost_of_whole_years_is_the_cost_of_ownership(rate, life, residual, removal, purchase, power):
    terms = OwnershipTerms(rate, life, life, 20.0, 0.0, 0.1, 0.0, 0.02, 0.01, residual, decommissioning_fraction=removal)
    capital = capital_per_accelerator(terms, purchase, power)
    hour = cost_of_ownership(terms, capital, power_w=power, pue=1.2, tariff_usd_per_kwh=0.1)
    yearly = {"unloaded_energy_usd_per_year": float(hour.energy_usd_per_h) * 8_760, "accelerator_h_per_year": 8_760.0}
    yearly["upkeep_usd_per_year"] = float(hour.operations_usd_per_h + hour.maintenance_usd_per_h) * 8_760
    # The network keeps no residual value and is not removed, so it goes through on its own.
    course = Course(life, 1, equipment_life_years=life, residual_fraction=residual, decommissioning_fraction=removal)
    servers = cash_flow(Fleet(float(capital.server_usd), **yearly), course)
    network = cash_flow(Fleet(float(capital.network_usd)), Course(life, 1, equipment_life_years=life))
    assert worth(servers + network, rate, 1).levelised_cost_usd_per_accelerator_h == pytest.approx(float(hour.total_usd_per_h))


@given(tax=st.floats(0, 0.5), rate=rates, life=st.integers(1, 20), recovery=st.sampled_from([3, 5, 7, 10, 15, 20]))
def test_the_fixed_charge_rate_pays_capital_and_tax(tax, rate, life, recovery):
    shares = macrs_fractions(recovery)
    assert shares.sum() == pytest.approx(1.0)
    assert shares.min() > 0
    worth_of_shares = present_value_fraction(shares, rate)
    assert tax_factor(0.0, worth_of_shares) == 1.0
    # A year's revenue of CRF x factor, taxed, with the shield of depreciation, is worth the capital.
    charge = capital_recovery_factor(rate, life) * tax_factor(tax, worth_of_shares)
    assert charge * (1 - tax) / capital_recovery_factor(rate, life) + tax * worth_of_shares == pytest.approx(1.0)


@given(tax=st.floats(0, 0.5), rate=rates, life=st.integers(6, 12), residual=st.floats(0, 0.4), removal=st.floats(0, 0.1))
def test_sold_at_the_taxed_cost_of_ownership_an_hour_leaves_a_present_value_of_nothing(tax, rate, life, residual, removal):
    terms = OwnershipTerms(rate, life, life, 20.0, 0.0, 0.0, 0.0, 0.02, 0.0, residual, decommissioning_fraction=removal, tax_fraction=tax)
    hour = cost_of_ownership(terms, capital_per_accelerator(terms, 1_000.0, 0.0), power_w=0.0, pue=1.0, tariff_usd_per_kwh=0.0)
    fleet = Fleet(1_000.0, revenue_usd_per_year=8_760 * float(hour.total_usd_per_h), upkeep_usd_per_year=20.0)
    course = Course(life, 1, equipment_life_years=life, residual_fraction=residual, decommissioning_fraction=removal, tax_fraction=tax)
    assert worth(cash_flow(fleet, course), rate, 1).net_present_value_usd == pytest.approx(0.0, abs=1e-6)


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    tax=st.floats(0, 0.4),
    years=st.integers(2, 8),
    life=st.floats(0.5, 6),
    changes=st.tuples(st.floats(-0.6, 0.5), st.floats(-0.3, 0.5), st.floats(-0.3, 0.3)),
)
def test_cash_is_the_sum_of_its_lines_and_tax_is_of_the_profit(shares, tax, years, life, changes):
    fleet = Fleet(900.0, 300.0, 700.0, 20.0, 10.0, 30.0, 5.0, 8_760.0)
    fractions = tuple(share / sum(shares) for share in shares)
    course = Course(4 * years, 4, 0, fractions, 0.5, *changes, equipment_life_years=life, residual_fraction=0.1, tax_fraction=tax)
    flow = cash_flow(fleet, course)
    parts = flow.revenue_usd + flow.proceeds_usd - flow.investment_usd - flow.energy_usd - flow.upkeep_usd - flow.tax_usd
    np.testing.assert_allclose(flow.net_usd, parts)
    before_tax = float((flow.net_usd + flow.tax_usd).sum())
    assert float(flow.tax_usd.sum()) == pytest.approx(tax * before_tax, abs=1e-6)
    # Each purchase apart gives the same as all together.
    alone = [
        cash_flow(fleet, dataclasses.replace(course, purchase_fractions=tuple(float(i == k) for i in range(len(fractions))))) for k in range(len(fractions))
    ]
    np.testing.assert_allclose(flow.net_usd, sum(part * one.net_usd for part, one in zip(fractions, alone, strict=True)), atol=1e-6)
