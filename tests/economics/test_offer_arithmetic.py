"""Arithmetic of offers: published instance prices, whole systems, what they strand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.economics.offers import accelerator_price_usd_per_h, block, discounted_price, replica_cost_usd_per_h, whole_systems
from accelmodel.errors import InputError


@pytest.mark.parametrize(
    ("system_price", "accelerators", "accelerator_price"),
    [
        (55.04, 8, 6.88),  # p5.48xlarge, on-demand, us-east-1, AWS price list of 2026-07-20
        (35.7608, 16, 2.23505),  # trn2.48xlarge Capacity Block, published as 2.235 USD per accelerator-hour
    ],
)
def test_instance_price_to_accelerator_price(system_price, accelerators, accelerator_price):
    assert accelerator_price_usd_per_h(system_price, accelerators) == pytest.approx(accelerator_price)


def test_discount():
    # p5.48xlarge fell 44 % in June 2025, from 98.32 to 55.04 USD: 98.32 x 0.56 = 55.06.
    assert discounted_price(98.32, 0.44) == pytest.approx(55.06, abs=0.005)


def test_blocks_by_hand():
    assert (block(8, 8).replicas, block(8, 8).systems) == (1, 1)
    assert (block(4, 16).replicas, block(4, 16).systems) == (4, 1)
    assert (block(3, 8).replicas, block(3, 8).systems) == (2, 1)
    assert (block(100, 64).replicas, block(100, 64).systems) == (1, 2)


def test_whole_systems_show_what_they_strand():
    # 5 replicas of 3 on 8-accelerator nodes: 2 to a node, so 3 nodes = 24 accelerators, of which 9 serve nobody.
    fleet = whole_systems(5, 3, 8)
    assert (fleet.systems, fleet.accelerators, fleet.stranded_accelerators) == (3, 24, 9)
    # 2 replicas of 96 on 64-accelerator systems: 2 systems each, 32 stranded in each pair.
    fleet = whole_systems(2, 96, 64)
    assert (fleet.systems, fleet.accelerators, fleet.stranded_accelerators) == (4, 256, 64)
    assert whole_systems(0, 3, 8).systems == 0


def test_replica_by_accelerator_or_by_whole_systems():
    # 3 of 8 accelerators at 8 USD a node-hour: 3 USD by the accelerator; two replicas share the node, so 4 USD each whole.
    assert replica_cost_usd_per_h(3, 8, 8.0) == pytest.approx(3.0)
    assert replica_cost_usd_per_h(3, 8, 8.0, billing="system") == pytest.approx(4.0)
    assert replica_cost_usd_per_h(16, 8, 8.0, billing="system") == pytest.approx(16.0)


counts = st.integers(1, 300)


@given(replicas=st.integers(0, 2000), per_replica=counts, per_system=counts)
def test_whole_systems_hold_all_replicas_and_no_block_more_than_needed(replicas, per_replica, per_system):
    fleet = whole_systems(replicas, per_replica, per_system)
    unit = block(per_replica, per_system)
    assert fleet.accelerators == fleet.systems * per_system
    assert fleet.accelerators == replicas * per_replica + fleet.stranded_accelerators
    assert fleet.stranded_accelerators >= 0
    assert unit.replicas * per_replica <= unit.systems * per_system
    assert (fleet.systems - unit.systems) * unit.replicas < max(replicas, 1) * unit.systems


@given(per_replica=counts, per_system=counts, price=st.floats(0.01, 1000))
def test_whole_billing_is_never_cheaper(per_replica, per_system, price):
    share = replica_cost_usd_per_h(per_replica, per_system, price)
    assert replica_cost_usd_per_h(per_replica, per_system, price, billing="system") >= share * (1 - 1e-12)


def test_bad_input_is_refused_by_name():
    with pytest.raises(InputError, match="accelerators_per_replica"):
        block(0, 8)
    with pytest.raises(InputError, match="replicas"):
        whole_systems(-1, 8, 8)
    with pytest.raises(InputError, match="discount_fraction"):
        discounted_price(10.0, 1.5)
    with pytest.raises(InputError, match="did you mean 'system'"):
        replica_cost_usd_per_h(8, 8, 1.0, billing="sytem")
