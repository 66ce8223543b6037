"""DeepSeek's published day: 24 hours from 2025-02-27 12:00 UTC+8, in the general functions.

Source: DeepSeek, "One More Thing: DeepSeek-V3/R1 Inference System Overview" (open-infra-index, 202502OpenSourceWeek, day 6): 226.75 nodes
of 8 H800 on average at 2 USD per GPU-hour; 608 G input tokens, of which 342 G cache hits, and 168 G output tokens; 0.14 / 0.55 / 2.19 USD
per million; 73.7 k input tokens/s (cache hits included) and 14.8 k output tokens/s per node; cost 87,072 USD, revenue 562,027 USD, cost
profit margin 545 %.
"""

from __future__ import annotations

import pytest

from accelmodel.economics.attribution import attribute
from accelmodel.economics.margin import margin_fraction, markup_on_cost_fraction, token_revenue_usd_per_h
from accelmodel.economics.offers import replica_cost_usd_per_h
from accelmodel.economics.tokens import BusyShares, TokenPrices, TokenRates

NODES, HOURS, SECONDS = 226.75, 24, 86_400
RATES = TokenRates((608e9 - 342e9) / SECONDS, 342e9 / SECONDS, 168e9 / SECONDS)
PRICES = TokenPrices(0.55, 0.14, 2.19)
COST_USD_PER_H = NODES * replica_cost_usd_per_h(8, 8, 8 * 2.0)


def test_cost_of_the_day():
    assert pytest.approx(87_072) == COST_USD_PER_H * HOURS


def test_revenue_of_the_day_from_the_rounded_token_totals():
    # 266 G x 0.55 + 342 G x 0.14 + 168 G x 2.19 = 146,300 + 47,880 + 367,920 = 562,100 USD; published, from unrounded totals: 562,027.
    revenue = token_revenue_usd_per_h(RATES, PRICES) * HOURS
    assert revenue == pytest.approx(562_100)
    assert revenue == pytest.approx(562_027, rel=2e-4)


def test_545_percent_on_cost_is_84_5_percent_of_revenue():
    assert round(100 * float(markup_on_cost_fraction(562_027, 87_072))) == 545
    assert round(100 * float(margin_fraction(562_027, 87_072)), 1) == 84.5


def test_the_rates_per_node_account_for_the_nodes_split_42_to_58():
    # The input rate goes with all input, cache hits included: 608 G / 73.7 k/s = 2,291.6 node-hours, 168 G / 14.8 k/s = 3,153.2;
    # in all 5,444.7 of 226.75 x 24 = 5,442.
    prefill_h, decode_h = (608e9 / 73.7e3 / 3600, 168e9 / 14.8e3 / 3600)
    assert prefill_h + decode_h == pytest.approx(5_444.7, abs=0.05)
    # Without them 266 G would leave a fifth of the day unexplained.
    assert 266e9 / 73.7e3 / 3600 + decode_h < 0.8 * 5_442

    # Prefill split between uncached and cached input by tokens, which is how the node's rate counts them.
    busy_s, total_s = (prefill_h * 3600, decode_h * 3600), NODES * SECONDS
    busy = BusyShares(busy_s[0] * 266 / 608 / total_s, busy_s[0] * 342 / 608 / total_s, busy_s[1] / total_s)
    costs = attribute(COST_USD_PER_H, RATES, busy=busy)
    input_usd = 266e3 * costs.cost_usd_per_mtok_input + 342e3 * costs.cost_usd_per_mtok_cached_input
    output_usd = 168e3 * costs.cost_usd_per_mtok_output
    assert input_usd + output_usd == pytest.approx(87_072)
    assert round(100 * float(input_usd / 87_072)) == 42
    assert round(100 * float(output_usd / 87_072)) == 58
    # 87,072 x 0.5791 / 168,000 Mtok = 0.300 USD; 87,072 x 0.4209 / 608,000 Mtok = 0.0603 USD
    assert costs.cost_usd_per_mtok_output == pytest.approx(0.3001, abs=1e-4)
    assert costs.cost_usd_per_mtok_input == pytest.approx(0.0603, abs=1e-4)
