"""Margin, mark-up, break-even, target price, and the vendor's price shock: by hand and by identity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.economics.margin import (
    SupplyMix,
    blended_cost_usd_per_mtok,
    break_even_occupancy_fraction,
    break_even_price_usd,
    cost_under_price_shock_usd_per_mtok,
    hour_revenue_usd_per_h,
    margin_fraction,
    margin_under_price_shock_fraction,
    markup_on_cost_fraction,
    operating_margin_fraction,
    price_for_margin_usd,
    token_revenue_usd_per_h,
)
from accelmodel.economics.tokens import TokenPrices, TokenRates
from accelmodel.errors import InputError


def test_revenue_by_hand():
    # 1 Mtok/h at 3 USD + 3 at 0.30 + 2 at 15 = 33.90 USD/h
    assert token_revenue_usd_per_h(TokenRates(1e6 / 3600, 3e6 / 3600, 2e6 / 3600), TokenPrices(3.0, 0.3, 15.0)) == pytest.approx(33.9)
    # 16 accelerators at 2.235 USD, 80 % of the hours sold: 28.608 USD/h
    assert hour_revenue_usd_per_h(16, 2.235, 0.8) == pytest.approx(28.608)


def test_a_stream_without_tokens_needs_no_price_one_with_tokens_does():
    unpriced = TokenPrices(3.0, np.nan, 15.0)
    assert token_revenue_usd_per_h(TokenRates(1e6 / 3600, 0.0, 0.0), unpriced) == pytest.approx(3.0)
    assert np.isnan(token_revenue_usd_per_h(TokenRates(1e6 / 3600, 1.0, 0.0), unpriced))


def test_margin_and_markup_are_two_numbers():
    # mathondemand.com: cost 70, margin 30 % of revenue -> price 70 / 0.7 = 100, mark-up 30 / 70 = 42.86 % of cost.
    assert price_for_margin_usd(70.0, 0.30) == pytest.approx(100.0)
    assert margin_fraction(100.0, 70.0) == pytest.approx(0.30)
    assert round(float(markup_on_cost_fraction(100.0, 70.0)), 4) == 0.4286
    # calcunation.com: cost 8.57, margin 27 % -> 11.74.
    assert round(float(price_for_margin_usd(8.57, 0.27)), 2) == 11.74


def test_gross_and_operating_margin():
    # Revenue 100, cost of serving 45, overheads 20 % of revenue: 55 % gross, 35 % operating.
    assert margin_fraction(100.0, 45.0) == pytest.approx(0.55)
    assert operating_margin_fraction(100.0, 45.0, 0.20) == pytest.approx(0.35)


def test_break_even_by_hand():
    # 10 USD/h sold in full, 4 fixed, 2 variable: 4 / (10 - 2) = 0.5; with 20 % overheads 4 / (8 - 2) = 0.667.
    assert break_even_occupancy_fraction(10.0, 4.0, 2.0) == pytest.approx(0.5)
    assert break_even_occupancy_fraction(10.0, 4.0, 2.0, 0.2) == pytest.approx(2 / 3)
    assert break_even_occupancy_fraction(2.0, 4.0) == pytest.approx(2.0)
    assert np.isnan(break_even_occupancy_fraction(np.array([10.0, 0.0, 5.0]), 4.0, 5.0)).tolist() == [False, True, True]
    assert break_even_price_usd(7.0, 0.3) == pytest.approx(10.0)


def test_without_revenue_there_is_no_margin():
    assert np.isnan(margin_fraction(0.0, 1.0))
    np.testing.assert_allclose(margin_fraction(np.array([2.0, 0.0, np.nan]), 1.0), [0.5, np.nan, np.nan])


money = st.floats(0.01, 1e6)


@given(cost=money, target=st.floats(-1, 0.6), overhead=st.floats(0, 0.3))
def test_the_target_price_leaves_the_target_margin(cost, target, overhead):
    price = price_for_margin_usd(cost, target, overhead)
    assert operating_margin_fraction(price, cost, overhead) == pytest.approx(target, abs=1e-9)


@given(cost=money, overhead=st.floats(0, 0.9))
def test_margin_at_the_break_even_price_is_zero(cost, overhead):
    assert operating_margin_fraction(break_even_price_usd(cost, overhead), cost, overhead) == pytest.approx(0.0, abs=1e-9)


@given(revenue=money, fixed=money, variable_share=st.floats(0, 0.6), overhead=st.floats(0, 0.3))
def test_margin_at_the_break_even_occupancy_is_zero(revenue, fixed, variable_share, overhead):
    variable = revenue * variable_share
    occupancy = break_even_occupancy_fraction(revenue, fixed, variable, overhead)
    margin = operating_margin_fraction(revenue * occupancy, fixed + variable * occupancy, overhead)
    assert margin == pytest.approx(0.0, abs=1e-9)


@given(revenue=money, cost=money)
def test_markup_follows_from_margin(revenue, cost):
    margin = margin_fraction(revenue, cost)
    assert markup_on_cost_fraction(revenue, cost) == pytest.approx(margin / (1 - margin), rel=1e-6, abs=1e-9)


@given(cost=money, price=money, more=st.floats(0, 1e3))
def test_margin_rises_with_price_and_falls_with_cost(cost, price, more):
    assert margin_fraction(price + more, cost) >= margin_fraction(price, cost)
    assert margin_fraction(price, cost + more) <= margin_fraction(price, cost)


def test_blended_cost():
    assert blended_cost_usd_per_mtok(np.array([0.5, 0.3, 0.2]), np.array([1.0, 2.0, 5.0])) == pytest.approx(2.1)
    with pytest.raises(InputError, match="sum to 1"):
        blended_cost_usd_per_mtok(np.array([0.5, 0.3]), np.array([1.0, 2.0]))


def test_price_shock_by_hand():
    # Half in house at 1 USD, half on a vendor's accelerators at 2 USD, 60 % of which is the vendor's price; sold at 3 USD.
    # Unshocked 1.5: 50 %.  +50 %: 0.5 + 0.5 x 2 x 1.3 = 1.8: 40 %.  -30 %: 0.5 + 0.5 x 2 x 0.82 = 1.32: 56 %.
    mix = SupplyMix(0.5, 1.0, 2.0, 0.6)
    shocks = np.array([-0.3, 0.0, 0.5])
    np.testing.assert_allclose(cost_under_price_shock_usd_per_mtok(mix, shocks), [1.32, 1.5, 1.8])
    np.testing.assert_allclose(margin_under_price_shock_fraction(mix, 3.0, shocks), [0.56, 0.5, 0.4])


@given(share=st.floats(0, 1), exposed=st.floats(0, 1), shock=st.floats(-0.5, 0.5), in_house=st.floats(0.1, 5), vendor=st.floats(0.1, 5))
def test_in_house_supply_shields_the_margin_from_the_shock(share, exposed, shock, in_house, vendor):
    mix, price = SupplyMix(share, in_house, vendor, exposed), 10.0
    calm, shocked = (margin_under_price_shock_fraction(mix, price, x) for x in (0.0, shock))
    blended = blended_cost_usd_per_mtok(np.array([share, 1 - share]), np.array([in_house, vendor]))
    assert calm == pytest.approx(margin_fraction(price, blended))
    assert shocked - calm == pytest.approx(-(1 - share) * vendor * exposed * shock / price, abs=1e-12)


def test_bad_input_is_refused_by_name():
    with pytest.raises(InputError, match="below 1"):
        price_for_margin_usd(1.0, 0.8, 0.3)
    with pytest.raises(InputError, match="in_house_share_fraction"):
        SupplyMix(1.2, 1.0, 2.0, 0.5)
    with pytest.raises(InputError, match="vendor_price_fraction"):
        SupplyMix(0.5, 1.0, 2.0, -0.5)
