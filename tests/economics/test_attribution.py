"""Attribution: by hand, conserving the cost under every convention, silent about nothing."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.economics.attribution import Convention, attribute, cost_per_mtok_usd
from accelmodel.economics.tokens import BusyShares, TokenPrices, TokenRates
from accelmodel.errors import InputError

# 1 Mtok/h of uncached input, 3 of cached, 2 of output, at 12 USD/h: 2 USD per million of all tokens.
RATES = TokenRates(1e6 / 3600, 3e6 / 3600, 2e6 / 3600)
BUSY = BusyShares(0.2, 0.1, 0.5)
PRICES = TokenPrices(3.0, 0.3, 15.0)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        # busy 0.2 : 0.1 : 0.5 of 0.8, the idle 0.2 in proportion: 12 x 2/8 / 1, 12 x 1/8 / 3, 12 x 5/8 / 2
        ("device-time", (3.0, 0.5, 3.75)),
        # worth 1 x 3, 3 x 0.3, 2 x 15 = 33.9: the price of each stream x 12 / 33.9
        ("price-weights", (36 / 33.9, 3.6 / 33.9, 180 / 33.9)),
        ("blended", (2.0, 2.0, 2.0)),
        ("output-only", (0.0, 0.0, 6.0)),
    ],
)
def test_conventions_by_hand(convention, expected):
    costs = attribute(12.0, RATES, convention=convention, busy=BUSY, prices=PRICES)
    assert costs.streams == pytest.approx(expected)
    assert costs.cost_usd_per_mtok == pytest.approx(2.0)


def test_device_time_is_the_default():
    assert attribute(12.0, RATES, busy=BUSY) == attribute(12.0, RATES, convention="device-time", busy=BUSY)


def test_cost_from_rate_and_price_as_published():
    # GMI Cloud, "Cost per million tokens explained" (2026-05-28): 2.00 / (85 x 3,600) x 1,000,000 = 6.54; 800 tokens/s at 2.00: 0.69.
    assert round(float(cost_per_mtok_usd(2.00, 85.0)), 2) == 6.54
    assert round(float(cost_per_mtok_usd(2.00, 800.0)), 2) == 0.69


rates = st.one_of(st.just(0.0), st.floats(1e-3, 1e6))
shares = st.floats(1e-3, 1)
prices = st.floats(1e-3, 100)


@given(
    cost=st.floats(0.01, 1e4),
    rate=st.tuples(rates, rates, st.floats(1e-3, 1e6)),
    busy=st.tuples(shares, shares, shares),
    price=st.tuples(prices, prices, prices),
    convention=st.sampled_from(get_args(Convention)),
)
def test_every_convention_conserves_the_cost(cost, rate, busy, price, convention):
    costs = attribute(cost, TokenRates(*rate), convention=convention, busy=BusyShares(*busy), prices=TokenPrices(*price))
    paid = sum(r * 3600 / 1e6 * c for r, c in zip(rate, costs.streams, strict=True) if r > 0)
    assert paid == pytest.approx(cost)
    assert sum(rate) * 3600 / 1e6 * costs.cost_usd_per_mtok == pytest.approx(cost)
    assert all(np.isnan(c) == (r == 0) for r, c in zip(rate, costs.streams, strict=True))


def test_a_grid_with_points_that_cannot_run():
    rate = np.array([100.0, np.nan, 0.0])
    costs = attribute(np.array([3.6, 3.6, 3.6]), TokenRates(rate, 0.0 * rate, rate), busy=BusyShares(0.5, 0.0, 0.5))
    np.testing.assert_allclose(costs.cost_usd_per_mtok_output, [5.0, np.nan, np.nan])
    np.testing.assert_allclose(costs.cost_usd_per_mtok_cached_input, [np.nan] * 3)
    np.testing.assert_allclose(costs.cost_usd_per_mtok, [5.0, np.nan, np.nan])


def test_a_stream_without_tokens_bears_nothing_even_where_a_share_is_stated():
    costs = attribute(3.6, TokenRates(100.0, 0.0, 100.0), busy=BusyShares(0.3, 0.4, 0.3))
    assert (costs.cost_usd_per_mtok_input, costs.cost_usd_per_mtok_output) == pytest.approx((5.0, 5.0))


def test_no_basis_no_cost():
    costs = attribute(3.6, RATES, busy=BusyShares(0.0, 0.0, 0.0))
    assert np.isnan(costs.streams).all()


def test_what_a_convention_needs_is_asked_for():
    with pytest.raises(InputError, match="busy"):
        attribute(1.0, RATES)
    with pytest.raises(InputError, match="prices"):
        attribute(1.0, RATES, convention="price-weights")
    with pytest.raises(InputError, match="did you mean 'device-time'"):
        attribute(1.0, RATES, convention="device_time", busy=BUSY)
