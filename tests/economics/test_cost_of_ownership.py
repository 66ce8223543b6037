"""Cost of ownership against textbook annuities, hand-worked lines and what must hold whatever the figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.economics.annuities import annuity_usd_per_year, capital_recovery_factor, sinking_fund_usd_per_year
from accelmodel.economics.ownership import OwnershipCost, OwnershipTerms, capital_per_accelerator, cost_of_ownership, mean_tariff_usd_per_kwh
from accelmodel.errors import InputError

# Round numbers, so that every line below can be worked by hand: straight line (no interest), 8760 h a year.
TERMS = OwnershipTerms(
    cost_of_capital_fraction=0.0,
    server_life_years=5.0,
    network_life_years=5.0,
    facility_life_years=20.0,
    facility_usd_per_w=12.0,
    network_share_fraction=0.2,
    spares_fraction=0.04,
    operations_fraction_per_year=0.032,
    maintenance_fraction_per_year=0.016,
    residual_fraction=0.0,
)


def cost(terms: OwnershipTerms = TERMS, purchase_usd: float = 21_900.0, power_w: float = 500.0, tariff: float = 0.10) -> OwnershipCost:
    capital = capital_per_accelerator(terms, purchase_usd, it_power_w=730.0)
    return cost_of_ownership(terms, capital, power_w=power_w, pue=1.2, tariff_usd_per_kwh=tariff)


@pytest.mark.parametrize(
    ("rate", "years", "printed"),
    [
        # (A/P, i, n) as printed in discrete compound interest tables (Blank & Tarquin, Engineering Economy, appendix).
        (0.0025, 10, 0.10138),
        (0.0025, 25, 0.04131),
        (0.08, 5, 0.25046),
        (0.08, 10, 0.14903),
        (0.10, 5, 0.26380),
    ],
)
def test_capital_recovery_factor_equals_the_interest_tables(rate, years, printed):
    assert capital_recovery_factor(rate, years) == pytest.approx(printed, abs=5e-6)


def test_capital_recovery_without_interest_is_straight_line():
    assert capital_recovery_factor(0.0, 8.0) == 0.125
    assert capital_recovery_factor(1e-9, 8.0) == pytest.approx(0.125, rel=1e-8)
    np.testing.assert_allclose(capital_recovery_factor(np.array([0.0, 0.10]), 5.0), [0.2, 0.26380], atol=5e-6)


@pytest.mark.parametrize(
    ("first_cost", "salvage", "rate", "years", "printed", "digits"),
    [
        # Blank & Tarquin, Engineering Economy, 6.2: 50,000 (A/P,10%,5) - 5,000 (A/F,10%,5) = 50,000 (0.26380) - 5,000 (0.16380) = 12,371.
        (50_000, 5_000, 0.10, 5, 12_371, 0.5),
        # CE board, Nov. 2016 (capital recovery): 100,000, life 15 years, salvage 20 %, 10 %: 12,517.90.
        (100_000, 20_000, 0.10, 15, 12_517.90, 0.005),
        # Equivalent uniform annual cost at 15 %, 3 years: 20,000 (0.4380) - 5,000 (0.2880) = 8,760 - 1,440 = 7,320.
        (20_000, 5_000, 0.15, 3, 7_320, 0.5),
        # ENGR 390, lecture 13 (equivalent annual worth): 1,155.68 (A/P,10%,5) = 304.87.
        (1_155.68, 0, 0.10, 5, 304.87, 0.01),
    ],
)
def test_annuity_of_published_examples(first_cost, salvage, rate, years, printed, digits):
    assert annuity_usd_per_year(first_cost, rate, years, salvage / first_cost) == pytest.approx(printed, abs=digits)


@given(rate=st.floats(0.001, 0.4), years=st.integers(1, 25), residual=st.floats(0, 1))
def test_payments_and_residual_value_repay_the_capital(rate, years, residual):
    """Discounted one by one: the independent way to the same annuity."""
    payment = annuity_usd_per_year(1000.0, rate, years, residual)
    repaid = sum(payment / (1 + rate) ** year for year in range(1, years + 1)) + 1000.0 * residual / (1 + rate) ** years
    assert repaid == pytest.approx(1000.0, rel=1e-9)


def test_every_line_worked_by_hand():
    # network 0.2 of both: 21,900 x 0.2 / 0.8 = 5,475; both 27,375; facility 730 W x 12 = 8,760; spares 4 % = 876.
    assert dataclasses.astuple(capital_per_accelerator(TERMS, 21_900.0, 730.0)) == pytest.approx((21_900, 5_475, 876, 8_760, 0))
    assert capital_per_accelerator(TERMS, 21_900.0, 730.0).total_usd == pytest.approx(37_011)
    assert cost().lines == pytest.approx(
        {
            "server_capital_usd_per_h": 0.5,  # 21,900 / (5 x 8760)
            "network_capital_usd_per_h": 0.125,  # 5,475 / (5 x 8760)
            "facility_capital_usd_per_h": 0.05,  # 8,760 / (20 x 8760)
            "energy_usd_per_h": 0.06,  # 0.5 kW x 1.2 x 0.10
            "operations_usd_per_h": 0.1,  # 27,375 x 0.032 / 8760 = 876 / 8760
            "maintenance_usd_per_h": 0.05,  # half of that
            "spares_usd_per_h": 0.02,  # 876 / (5 x 8760)
            # What this owner does not have is 0.
            "integration_usd_per_h": 0.0,
            "demand_usd_per_h": 0.0,
            "software_usd_per_h": 0.0,
            "decommissioning_usd_per_h": 0.0,
        }
    )
    assert cost().total_usd_per_h == pytest.approx(0.905)


def test_interest_and_residual_value_worked_by_hand():
    terms = dataclasses.replace(TERMS, cost_of_capital_fraction=0.10, residual_fraction=0.10)
    # 21,900 x (0.9 x 0.263797 + 0.1 x 0.10) / 8760 = 2.5 x 0.2474177 = 0.618544; the network keeps no value: 0.625 x 0.263797 = 0.164873.
    assert cost(terms).server_capital_usd_per_h == pytest.approx(0.618544, abs=1e-6)
    assert cost(terms).network_capital_usd_per_h == pytest.approx(0.164873, abs=1e-6)
    assert cost(terms).spares_usd_per_h == pytest.approx(0.04 * 0.618544, abs=1e-6)


def test_racks_peak_software_and_removal_worked_by_hand():
    # Racks 10 % of 21,900 over 5 years: 2,190 / 43,800; a peak of 730 W x 1.2 at 7.30 USD per kW and month of 730 h; 4,380 USD a year; 6 % of the server.
    terms = dataclasses.replace(TERMS, integration_fraction=0.10, software_usd_per_year=4_380.0, decommissioning_fraction=0.06)
    capital = capital_per_accelerator(terms, 21_900.0, it_power_w=730.0)
    assert (capital.integration_usd, capital.equipment_usd) == pytest.approx((2_190, 29_565))
    full = cost_of_ownership(terms, capital, power_w=500.0, pue=1.2, tariff_usd_per_kwh=0.10, peak_power_w=730.0, demand_usd_per_kw_h=7.30 / 730)
    assert full.integration_usd_per_h == pytest.approx(0.05)
    assert full.demand_usd_per_h == pytest.approx(0.73 * 1.2 * 0.01)
    assert full.software_usd_per_h == pytest.approx(0.5)
    assert full.decommissioning_usd_per_h == pytest.approx(1_314 / 43_800)
    assert full.total_usd_per_h == pytest.approx(0.905 + 0.05 + 0.00876 + 0.5 + 0.03)
    assert full.running_usd_per_h == pytest.approx(0.06 + 0.00876 + 0.1 + 0.05 + 0.5)


def test_the_straight_line_is_the_annuity_without_interest():
    terms = dataclasses.replace(TERMS, cost_of_capital_fraction=0.10)
    assert cost(terms.straight_line) == cost(TERMS)
    assert cost(terms).total_usd_per_h > cost(TERMS).total_usd_per_h


def test_a_sinking_fund_as_printed_and_as_paid_in():
    # (A/F, 10 %, 5) = 0.16380 and (A/F, 15 %, 3) = 0.2880 in the interest tables.
    assert sinking_fund_usd_per_year(1.0, 0.10, 5) == pytest.approx(0.16380, abs=5e-6)
    assert sinking_fund_usd_per_year(1.0, 0.15, 3) == pytest.approx(0.2880, abs=5e-5)
    assert sum(sinking_fund_usd_per_year(100.0, 0.08, 4) * 1.08**paid for paid in range(4)) == pytest.approx(100.0)
    assert sinking_fund_usd_per_year(100.0, 0.0, 4) == 25.0


def test_a_tariff_by_classes_of_hours():
    # 4,000 h at 0.12 and 4,760 h at 0.06: (480 + 285.6) / 8,760 = 0.08740; a load twice as high on peak weighs it twice.
    tariffs, hours = np.array([0.12, 0.06]), np.array([4_000, 4_760]) / 8_760
    assert mean_tariff_usd_per_kwh(tariffs, hours) == pytest.approx(0.0873973, abs=1e-7)
    assert mean_tariff_usd_per_kwh(tariffs, hours, np.array([2.0, 1.0])) == pytest.approx((960 + 285.6) / (8_000 + 4_760))


def test_availability_divides_and_occupancy_at_the_very_end():
    available, sold = cost().per_available_h(0.905), cost().per_sold_h(0.905, 0.5)
    assert (available.basis, sold.basis) == ("available", "sold")
    assert available.total_usd_per_h == pytest.approx(1.0)
    assert sold.total_usd_per_h == pytest.approx(2.0)
    assert sold.energy_usd_per_h == pytest.approx(0.06 / 0.905 / 0.5)
    with pytest.raises(ValueError, match="already divided"):
        sold.per_available_h(0.9)


fractions = st.floats(0, 0.5)
terms_strategy = st.builds(
    OwnershipTerms,
    cost_of_capital_fraction=st.floats(0, 0.3),
    server_life_years=st.floats(1, 10),
    network_life_years=st.floats(1, 10),
    facility_life_years=st.floats(5, 40),
    facility_usd_per_w=st.floats(1, 30),
    network_share_fraction=fractions,
    spares_fraction=fractions,
    operations_fraction_per_year=fractions,
    maintenance_fraction_per_year=fractions,
    residual_fraction=fractions,
    integration_fraction=fractions,
    decommissioning_fraction=fractions,
    software_usd_per_year=st.floats(0, 1e4),
    tax_fraction=st.floats(0, 0.5),
)


@given(terms=terms_strategy, availability=st.floats(0.5, 1), occupancy=st.floats(0.1, 1))
def test_lines_sum_to_the_total_on_every_basis(terms, availability, occupancy):
    powered = cost(terms)
    available, sold = powered.per_available_h(availability), powered.per_sold_h(availability, occupancy)
    for each in (powered, available, sold):
        assert sum(each.lines.values()) == pytest.approx(each.total_usd_per_h)
        assert min(each.lines.values()) >= 0
    assert powered.total_usd_per_h <= available.total_usd_per_h <= sold.total_usd_per_h
    assert sold.total_usd_per_h * availability * occupancy == pytest.approx(powered.total_usd_per_h)


@given(terms_strategy, st.sampled_from(["server_life_years", "network_life_years", "facility_life_years"]), st.floats(0, 20))
def test_a_longer_life_never_costs_more_without_interest(terms, life, more):
    short = dataclasses.replace(terms, cost_of_capital_fraction=0.0)
    long = dataclasses.replace(short, **{life: getattr(short, life) + more})
    assert cost(long).total_usd_per_h <= cost(short).total_usd_per_h * (1 + 1e-12)


@given(terms=terms_strategy, more=st.floats(0, 1e5))
def test_cost_rises_with_price_power_and_tariff(terms, more):
    base = cost(terms).total_usd_per_h
    assert cost(terms, purchase_usd=21_900 + more).total_usd_per_h >= base
    assert cost(terms, power_w=500 + more).total_usd_per_h >= base
    assert cost(terms, tariff=0.10 + more).total_usd_per_h >= base


def test_arrays_broadcast_to_the_same_numbers():
    lives, powers = np.array([[3.0], [5.0], [6.0]]), np.array([200.0, np.nan, 500.0])
    terms = dataclasses.replace(TERMS, server_life_years=lives, cost_of_capital_fraction=0.09)
    grid = cost_of_ownership(terms, capital_per_accelerator(terms, 21_900.0, 730.0), power_w=powers, pue=1.2, tariff_usd_per_kwh=0.10)
    assert np.shape(grid.total_usd_per_h) == (3, 3)
    one = cost(dataclasses.replace(terms, server_life_years=6.0))
    assert grid.total_usd_per_h[2, 2] == pytest.approx(one.total_usd_per_h)
    assert np.isnan(grid.total_usd_per_h[:, 1]).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server_life_years", 0.0),
        ("facility_life_years", -5.0),
        ("network_share_fraction", 1.0),
        ("residual_fraction", 1.2),
        ("cost_of_capital_fraction", float("nan")),
        ("facility_usd_per_w", -1.0),
        ("spares_fraction", np.array([0.1, -0.1])),
    ],
)
def test_a_term_out_of_bounds_is_refused_by_name(key, value):
    with pytest.raises(InputError, match=key):
        dataclasses.replace(TERMS, **{key: value})


@pytest.mark.parametrize(("availability", "occupancy"), [(0.0, 0.5), (1.1, 0.5), (0.9, 0.0), (0.9, 1.5)])
def test_no_hours_to_bear_the_cost_is_refused(availability, occupancy):
    with pytest.raises(InputError, match="fraction: must be"):
        cost().per_sold_h(availability, occupancy)
