"""Uses of the hours, waterfalls, energy, carbon and water: by hand, by published figures, and by identity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.economics.attribution import token_weights
from accelmodel.economics.footprint import carbon_kg_per_mtok, it_energy_kwh_per_mtok, site_energy_kwh_per_mtok, water_l_per_mtok
from accelmodel.economics.margin import (
    SupplyMix,
    break_even_occupancy_fraction,
    cost_under_price_shock_usd_per_mtok,
    occupancy_for_margin_fraction,
    operating_margin_fraction,
    parity_price_shock_fraction,
    parity_price_usd_per_h,
    waterfall,
)
from accelmodel.economics.offers import accelerator_price_usd_per_h, discounted_price, replica_cost_usd_per_h
from accelmodel.economics.time_use import cost_by_use, occupancy_by_hour_fraction, time_use
from accelmodel.errors import InputError


def test_ec2_instances_by_the_accelerator():
    # EC2 list prices, us-east-1: p5.48xlarge 55.04 USD an hour for eight H100, and p5.4xlarge 6.88 for one: the same. A Trainium2 Capacity Block at
    # 2.235 a chip is 35.76 an instance of sixteen.
    assert accelerator_price_usd_per_h(55.04, 8) == pytest.approx(6.88)
    assert replica_cost_usd_per_h(16, 16, 16 * 2.235, "system") == pytest.approx(35.76)


@pytest.mark.parametrize(
    ("before", "off", "after"),
    # AWS, June 2025: P5 down 44 %, P5en 25 %, P4d and P4de 33 %; the list prices before and after, from the price history.
    [(98.32, 0.44, 55.04), (84.80, 0.25, 63.296), (32.7726, 0.33, 21.957642), (40.96575, 0.33, 27.44705)],
)
def test_the_price_cut_of_june_2025(before, off, after):
    assert discounted_price(before, off) == pytest.approx(after, rel=0.006)


def test_hours_by_use_by_hand():
    # Up 90 % of the hours, loaded in half of these, a fifth of the rest kept warm; 2 % failed. An hour loaded costs 3 USD, without load 2.
    use = time_use(0.9, 0.5, keep_warm_fraction=0.2, failed_fraction=0.02)
    assert (use.loaded_fraction, use.keep_warm_fraction, use.idle_fraction) == pytest.approx((0.45, 0.09, 0.36))
    assert (use.drained_fraction, use.failed_fraction) == pytest.approx((0.08, 0.02))
    cost = cost_by_use(use, 3.0, 2.0)
    assert cost.loaded_usd_per_h == pytest.approx(0.45 * 3 / 0.9)
    assert cost.drained_usd_per_h == pytest.approx(0.08 * 2.5 / 0.9)
    assert cost.total_usd_per_h == pytest.approx(2.5 / 0.9)


shares = st.floats(0.0, 1.0)


@given(available=st.floats(0.01, 1), occupancy=shares, warm=shares, failed=shares, loaded=st.floats(0.1, 10), idle=st.floats(0.1, 10))
def test_uses_sum_to_the_powered_hours_and_their_costs_to_the_available_one(available, occupancy, warm, failed, loaded, idle):
    use = time_use(available, occupancy, keep_warm_fraction=warm, failed_fraction=failed)
    assert sum(vars(use).values()) == pytest.approx(1.0)
    assert min(vars(use).values()) >= 0
    cost = cost_by_use(use, loaded, idle)
    assert cost.total_usd_per_h == pytest.approx((occupancy * loaded + (1 - occupancy) * idle) / available)
    assert min(cost.lines.values()) >= 0


def test_a_fleet_is_sized_for_its_busiest_hour():
    day = np.array([1.0, 3.0] * 12)
    assert occupancy_by_hour_fraction(day) == pytest.approx(2 / 3)
    # The night filled up by batch: no hour without load but the headroom.
    assert occupancy_by_hour_fraction(day + day[::-1], headroom_fraction=0.1) == pytest.approx(0.9)
    with pytest.raises(InputError, match="accelerators_by_hour"):
        occupancy_by_hour_fraction(-day)


def test_a_waterfall_by_hand():
    steps = {step.name: step.usd for step in waterfall(1.0, 0.1, {"server": 0.3, "energy": 0.1, "idle hours": 0.2}, 0.15)}
    assert steps["price"] == pytest.approx(0.9)
    assert steps["gross margin"] == pytest.approx(0.3)
    assert steps["overheads"] == pytest.approx(-0.135)
    assert steps["operating margin"] == pytest.approx(0.165)
    assert steps["operating margin"] / 0.9 == pytest.approx(float(operating_margin_fraction(0.9, 0.6, 0.15)))


@given(price=st.floats(0.01, 100), off=st.floats(0, 0.9), costs=st.lists(st.floats(0, 10), min_size=1, max_size=8), share=st.floats(0, 0.5))
def test_every_level_of_a_waterfall_is_the_one_before_it_and_the_steps_between(price, off, costs, share):
    level = 0.0
    for step in waterfall(price, off, {str(place): usd for place, usd in enumerate(costs)}, share):
        if step.is_level and step.name != "list price":
            assert step.usd == pytest.approx(level, abs=1e-9)
        level = step.usd if step.is_level else level + step.usd


@given(revenue=st.floats(1, 100), fixed=st.floats(0.1, 50), variable=st.floats(0, 0.2), target=st.floats(0, 0.5), share=st.floats(0, 0.2))
def test_the_target_occupancy_leaves_the_target_margin(revenue, fixed, variable, target, share):
    occupancy = float(occupancy_for_margin_fraction(revenue, fixed, variable * revenue, target, share))
    margin = operating_margin_fraction(revenue * occupancy, fixed + variable * revenue * occupancy, share)
    assert margin == pytest.approx(target, abs=1e-9)
    assert occupancy >= float(break_even_occupancy_fraction(revenue, fixed, variable * revenue))


@given(in_house=st.floats(0.1, 5), vendor=st.floats(0.1, 5), exposed=st.floats(0.05, 1))
def test_at_the_parity_price_both_supplies_cost_the_same(in_house, vendor, exposed):
    mix = SupplyMix(0.0, in_house, vendor, exposed)
    assert cost_under_price_shock_usd_per_mtok(mix, parity_price_shock_fraction(mix)) == pytest.approx(in_house)
    assert np.isnan(parity_price_shock_fraction(SupplyMix(0.0, in_house, vendor, 0.0)))


def test_parity_by_hand():
    # 0.18 USD a million and 5 million an hour: 0.90 USD an hour. The vendor's 0.20, of which 0.15 moves: it must fall by 0.02 / 0.15.
    assert parity_price_usd_per_h(0.18, 5.0) == pytest.approx(0.90)
    assert parity_price_shock_fraction(SupplyMix(0.5, 0.18, 0.20, 0.75)) == pytest.approx(-0.02 / 0.15)


def test_energy_carbon_and_water_by_hand():
    # 720 W at 200 tokens/s: 3.6 J a token, 1 kWh a million; PUE 1.15; Indiana in 2023: 61,252 kt of CO2 over 90,047 GWh (EIA) = 0.680 kg/kWh; 0.12 L/kWh.
    energy = it_energy_kwh_per_mtok(720.0, 200.0)
    assert energy == pytest.approx(1.0)
    at_meter = site_energy_kwh_per_mtok(energy, 1.15)
    assert carbon_kg_per_mtok(at_meter, 61_252 / 90_047) == pytest.approx(0.7823, abs=5e-5)
    assert water_l_per_mtok(energy, 0.12) == pytest.approx(0.12)
    assert np.isnan(it_energy_kwh_per_mtok(720.0, 0.0))


def test_weights_of_tokens_are_of_conventions_by_tokens():
    assert token_weights("blended") == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="by tokens"):
        token_weights("device-time")
    with pytest.raises(InputError, match="prices"):
        token_weights("price-weights")
