"""Sizing: one fleet followed step by step, Rainier's published figures, and what must hold for every fleet."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.economics.ownership import Capital, OwnershipCost
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.fleet.availability import FailureDomain
from accelmodel.fleet.demand import Demand
from accelmodel.fleet.sizing import (
    ReplicaSupply,
    Reserve,
    UnitFigures,
    fleet_capacity,
    owned_unit,
    rented_unit,
    replicas_to_carry,
    size_fleet,
)

# 3 M tokens/s of input (half cached) and 1 M of output on average, 1.5 times that at the peak.
DEMAND = Demand(3e6 * 86_400, 1e6 * 86_400, cached_input_fraction=0.5, peak_to_mean_ratio=1.5)
REPLICA = ReplicaSupply(accelerators=16, accelerators_per_system=64, goodput=TokenRates(6_000.0, 6_000.0, 4_000.0))
NO_RESERVE = Reserve(0.0, 0.0, 0.5, (), 0.0, 0.0, 0.5)
RESERVE = Reserve(
    headroom_fraction=0.2,
    maintenance_fraction=0.02,
    availability_target_fraction=0.999,
    domains=(FailureDomain("system", 64, mtbf_h=990.0, mttr_h=10.0),),
    failures_per_accelerator_year=0.09,
    repair_turnaround_h=72.0,
    spares_service_fraction=0.999,
)
UNIT = UnitFigures(
    it_power_w=750.0,
    pue=1.15,
    peak_flop_per_s=1.299e15,
    capital_usd=30_000.0,
    cost_usd_per_h=1.0,
    spare_capital_usd=20_000.0,
    spare_cost_usd_per_h=0.5,
)


def test_the_chain_by_hand():
    plan = size_fleet(DEMAND, REPLICA, RESERVE, UNIT)
    assert (plan.replicas_mean, plan.replicas_peak) == pytest.approx((250, 375))  # 1 M / 4,000; x 1.5
    assert (plan.lower_bound_replicas_mean, plan.lower_bound_replicas_peak) == (250, 375)
    assert plan.replicas_with_headroom == 469  # 375 / 0.8 = 468.75
    assert plan.replicas_with_maintenance == 479  # 469 / 0.98 = 478.57
    assert plan.up_fraction == pytest.approx(0.99)  # 4 replicas to a system, which fails as one
    # 120 systems needed (479 / 4 = 119.75). P(X >= 120) at 0.99, X ~ B(n, 0.99), summed term by term:
    systems = next(n for n in range(120, 200) if sum(math.comb(n, k) * 0.01**k * 0.99 ** (n - k) for k in range(n - 120 + 1)) >= 0.999)
    assert plan.systems == systems == 126
    assert (plan.replicas, plan.accelerators, plan.stranded_accelerators) == (504, 8_064, 0)
    assert plan.gap == {"headroom": 94, "drained": 10, "failures and whole systems": 25, "correlated failures": 0}
    # In repair 8,064 x 0.09 / 8760 x 72 = 5.965; Poisson, summed term by term: 0.99868 with 14 spares, 0.99952 with 15; one whole system.
    served = [sum(math.exp(-5.9652) * 5.9652**k / math.factorial(k) for k in range(stock + 1)) for stock in (14, 15)]
    assert served[0] < 0.999 <= served[1]
    assert (plan.spare_accelerators, plan.spare_systems) == (15, 1)
    assert plan.mean_occupancy_fraction == pytest.approx(250 / 504)
    assert plan.it_power_mw == pytest.approx(6.048)  # 8,064 x 750 W
    assert plan.facility_power_mw == pytest.approx(6.9552)
    assert plan.peak_eflop_per_s == pytest.approx(10.475136)
    assert plan.capital_usd == pytest.approx(8_064 * 30_000 + 64 * 20_000)
    assert plan.annual_cost_usd == pytest.approx((8_064 * 1.0 + 64 * 0.5) * 8_760)


def test_a_chip_takes_down_its_replica_and_not_the_system():
    # Chips of 0.999: a replica of 16 is up 0.999^16 = 0.984 of the time. P(X >= 479) at 0.984, X ~ B(4 n, 0.984), summed term by term.
    chips = dataclasses.replace(RESERVE, domains=(FailureDomain("chip", 1, mtbf_h=999.0, mttr_h=1.0),))
    plan, up = size_fleet(DEMAND, REPLICA, chips, UNIT), 0.999**16
    assert plan.up_fraction == pytest.approx(up)
    tail = [math.fsum(math.comb(4 * n, k) * up**k * (1 - up) ** (4 * n - k) for k in range(479, 4 * n + 1)) for n in range(120, 130)]
    assert plan.systems == next(n for n, chance in enumerate(tail, 120) if chance >= 0.999)


def test_what_fails_together_stands_beside_the_rest():
    # A building of 1,000 chips: 16 systems of 64 more (15.6).
    alone, beside = (size_fleet(DEMAND, REPLICA, dataclasses.replace(RESERVE, correlated_accelerators=chips), UNIT) for chips in (0, 1_000))
    assert beside.systems == alone.systems + 16
    assert beside.gap == alone.gap | {"correlated failures": 64}
    assert sum(beside.gap.values()) == beside.replicas - beside.lower_bound_replicas_peak


def test_what_a_simulation_proved_takes_the_place_of_the_headroom():
    plan = size_fleet(DEMAND, REPLICA, RESERVE, UNIT, serving=500)
    assert (plan.replicas_with_headroom, plan.replicas_with_maintenance) == (500, 511)  # 500 / 0.98 = 510.2
    assert plan.gap["headroom"] == 125


def test_without_reserves_a_fleet_is_the_lower_bound_in_whole_systems():
    plan = size_fleet(DEMAND, REPLICA, NO_RESERVE, UNIT)
    assert (plan.replicas_with_maintenance, plan.systems, plan.replicas, plan.spare_systems) == (375, 94, 376, 0)


def test_a_replica_over_several_systems_strands_accelerators():
    # 100 accelerators on 64-accelerator systems: 2 systems each, 28 stranded in each pair.
    plan = size_fleet(DEMAND, dataclasses.replace(REPLICA, accelerators=100), NO_RESERVE, UNIT)
    assert (plan.replicas, plan.systems, plan.accelerators, plan.stranded_accelerators) == (375, 750, 48_000, 10_500)


def test_growth_sizes_a_later_year():
    growing = dataclasses.replace(DEMAND, growth_fraction_per_year=1.0)
    assert size_fleet(growing, REPLICA, NO_RESERVE, UNIT, years=1.0).replicas_peak == pytest.approx(750)


def test_no_demand_needs_nothing():
    plan = size_fleet(dataclasses.replace(DEMAND, input_tokens_per_day=0.0, output_tokens_per_day=0.0), REPLICA, RESERVE, UNIT)
    assert (plan.systems, plan.spare_systems, plan.capital_usd, plan.annual_cost_usd) == (0, 0, 0.0, 0.0)


def test_rounding_of_floats_buys_no_replica():
    # 3 x 0.1 / 0.1 is 3.0000000000000004.
    demand = Demand(0.0, 3 * 0.1 * 86_400, cached_input_fraction=0.0, peak_to_mean_ratio=1.0)
    plan = size_fleet(demand, dataclasses.replace(REPLICA, goodput=TokenRates(0.0, 0.0, 0.1)), NO_RESERVE, UNIT)
    assert plan.lower_bound_replicas_peak == 3


def test_project_rainier():
    # Published: nearly 500,000 Trainium2 in 64-chip UltraServers. At 1,299 TFLOP/s dense FP8 and 750 W of IT a chip, PUE 1.15:
    # 7,812.5, so 7,813 UltraServers; 649.5 EFLOP/s; 375 MW; 431.25 MW.
    fleet = fleet_capacity(500_000, REPLICA, UNIT, occupancy_fraction=0.5, availability_fraction=0.98)
    assert fleet.systems == 7_813
    assert fleet.peak_eflop_per_s == pytest.approx(649.5)
    assert fleet.it_power_mw == pytest.approx(375.0)
    assert fleet.facility_power_mw == pytest.approx(431.25)
    # 500,000 / 16 = 31,250 replicas x 4,000 tokens/s x 0.98 x 0.5 x 86,400 s
    assert (fleet.replicas, fleet.stranded_accelerators) == (31_250, 0)
    assert fleet.output_tokens_per_day == pytest.approx(31_250 * 4_000 * 0.49 * 86_400)
    assert fleet.tokens_per_day == pytest.approx(4 * fleet.output_tokens_per_day)
    assert fleet.capital_usd == pytest.approx(15e9)
    assert fleet.annual_cost_usd == pytest.approx(4.38e9)


def test_what_is_left_beside_whole_blocks_is_counted():
    # 96-accelerator replicas, 2 systems of 64 to each: 160 accelerators are one pair and 32 left over; 224 are one pair and 96 more,
    # enough for another.
    big = dataclasses.replace(REPLICA, accelerators=96)
    counted = [fleet_capacity(n, big, UNIT, occupancy_fraction=1, availability_fraction=1) for n in (160, 224)]
    assert [(fleet.replicas, fleet.stranded_accelerators, fleet.systems) for fleet in counted] == [(1, 64, 3), (2, 32, 4)]


def test_owned_and_rented_units():
    capital = Capital(server_usd=20_000.0, network_usd=2_000.0, spares_usd=600.0, facility_usd=8_000.0)
    cost = OwnershipCost(0.5, 0.05, 0.1, 0.06, 0.08, 0.04, 0.02)
    owned = owned_unit(750.0, 1.15, math.nan, capital, cost)
    assert (owned.capital_usd, owned.spare_capital_usd) == (30_000.0, 20_000.0)
    assert (owned.cost_usd_per_h, owned.spare_cost_usd_per_h) == pytest.approx((0.83, 0.5))  # spares come from the fleet's own stock
    rented = rented_unit(750.0, 1.15, math.nan, 2.235)
    assert (rented.capital_usd, rented.cost_usd_per_h, rented.spare_cost_usd_per_h) == (0.0, 2.235, 0.0)
    with pytest.raises(InputError, match="powered"):
        owned_unit(750.0, 1.15, math.nan, capital, cost.per_sold_h(0.9, 0.5))


@settings(deadline=None)
@given(
    tokens=st.floats(1e6, 1e12),
    more=st.floats(1, 3),
    accelerators=st.integers(1, 200),
    per_system=st.sampled_from([1, 8, 16, 64, 72, 144]),
    headroom=st.floats(0, 0.5),
)
def test_sizing_is_monotone_in_demand_and_never_short(tokens, more, accelerators, per_system, headroom):
    replica = ReplicaSupply(accelerators, per_system, REPLICA.goodput)
    reserve = dataclasses.replace(RESERVE, headroom_fraction=headroom)
    demand = dataclasses.replace(DEMAND, input_tokens_per_day=3 * tokens, output_tokens_per_day=tokens)
    plan, larger = (size_fleet(d, replica, reserve, UNIT) for d in (demand, _times(demand, more)))
    steps = (plan.replicas_peak, plan.lower_bound_replicas_peak, plan.replicas_with_headroom, plan.replicas_with_maintenance, plan.replicas)
    assert list(steps) == sorted(steps)
    assert plan.accelerators == plan.systems * per_system == plan.replicas * accelerators + plan.stranded_accelerators
    assert plan.spare_systems * per_system >= plan.spare_accelerators
    for line in ("replicas", "systems", "spare_accelerators", "facility_power_mw", "capital_usd", "annual_cost_usd"):
        assert getattr(larger, line) >= getattr(plan, line)


@given(accelerators=st.integers(0, 5_000), per_replica=st.integers(1, 200), per_system=st.integers(1, 200))
def test_capacity_strands_no_whole_replica_of_a_system(accelerators, per_replica, per_system):
    replica = ReplicaSupply(per_replica, per_system, REPLICA.goodput)
    fleet = fleet_capacity(accelerators, replica, UNIT, occupancy_fraction=0.5, availability_fraction=1.0)
    more = fleet_capacity(accelerators + 1, replica, UNIT, occupancy_fraction=0.5, availability_fraction=1.0)
    assert fleet.replicas * per_replica + fleet.stranded_accelerators == accelerators
    assert fleet.stranded_accelerators >= 0
    assert fleet.systems * per_system >= accelerators > (fleet.systems - 1) * per_system or accelerators == 0
    assert more.replicas >= fleet.replicas


def test_the_scarcest_stream_sizes_a_demand_of_another_mix():
    # Replicas by stream: 3, 2, 5.
    assert replicas_to_carry(TokenRates(300.0, 20.0, 50.0), TokenRates(100.0, 10.0, 10.0)) == pytest.approx(5.0)
    with pytest.raises(InputError, match="cached input"):
        replicas_to_carry(TokenRates(300.0, 20.0, 50.0), TokenRates(100.0, 0.0, 10.0))


@pytest.mark.parametrize(("key", "value"), [("headroom_fraction", 1.0), ("maintenance_fraction", -0.1), ("repair_turnaround_h", math.inf)])
def test_a_reserve_out_of_bounds_is_refused_by_name(key, value):
    with pytest.raises(InputError, match=key):
        dataclasses.replace(RESERVE, **{key: value})


def test_bad_capacity_input_is_refused_by_name():
    with pytest.raises(InputError, match="occupancy_fraction"):
        fleet_capacity(64, REPLICA, UNIT, occupancy_fraction=1.2, availability_fraction=1.0)
    with pytest.raises(InputError, match="pue"):
        dataclasses.replace(UNIT, pue=0.9)


def _times(demand: Demand, factor: float) -> Demand:
    return dataclasses.replace(demand, input_tokens_per_day=demand.input_tokens_per_day * factor, output_tokens_per_day=demand.output_tokens_per_day * factor)
