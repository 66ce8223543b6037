"""Schedules against hours counted by hand, a fleet walked minute by minute, and a published day."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.catalog.library import Library
from accelmodel.errors import InputError
from accelmodel.fleet.demand import Shape
from accelmodel.fleet.schedule import Autoscaling, Draw, autoscaled_schedule, idle_replica_hours_per_day, needed_replicas, static_schedule

NOW = Autoscaling()
# 2 replicas by night, 5 in the morning, 9 for two hours at noon, 5 until the evening
DAY = [2.0] * 6 + [5.0] * 5 + [9.0] * 2 + [5.0] * 5 + [2.0] * 6

loads = st.lists(st.floats(0, 40), min_size=24, max_size=24)


def test_a_day_by_hand():
    static, scaled = static_schedule(DAY, 0.0), autoscaled_schedule(DAY, 0.0, NOW)
    assert (static.peak_replicas, static.replica_hours_per_day) == (9, 216)
    assert scaled.replica_hours_per_day == 12 * 2 + 10 * 5 + 2 * 9 == 92
    assert scaled.occupancy_fraction == 1.0
    assert static.occupancy_fraction == pytest.approx(92 / 216)
    assert scaled.starts_per_day == 3 + 4
    assert static.starts_per_day == 0


def test_headroom_rounds_up():
    assert needed_replicas([0.0, 0.1, 9.0, 9.01], 0.0).tolist() == [0, 1, 9, 10]
    assert needed_replicas([9.0], 0.1).tolist() == [10]
    assert needed_replicas([9.0], 0.11).tolist() == [11]


def test_a_replica_is_paid_for_while_it_starts():
    # 7 starts a day, each asked for 5 minutes and started 10 minutes ahead: 7 x 15 minutes more.
    scaled = autoscaled_schedule(DAY, 0.0, Autoscaling(startup_s=600, reaction_s=300))
    assert scaled.replica_hours_per_day == pytest.approx(92 + 7 * 0.25)
    assert scaled.starting.sum() == 7 * 10
    assert scaled.on[5 * 60 + 45] == 5
    assert scaled.on[5 * 60 + 44] == 2


def test_a_replica_stays_for_its_minimum_time():
    # Three hours more: the four of noon until 16:00, the three of the day until 21:00.
    assert autoscaled_schedule(DAY, 0.0, Autoscaling(minimum_on_h=3)).replica_hours_per_day == 92 + 4 * 3 + 3 * 3
    # For a whole day, whatever was started once is on all the time.
    assert autoscaled_schedule(DAY, 0.0, Autoscaling(minimum_on_h=24)).replica_hours_per_day == 216


def test_an_error_of_the_forecast_is_carried():
    scaled = autoscaled_schedule(DAY, 0.0, Autoscaling(forecast_error_fraction=0.2, minimum_replicas=4))
    assert scaled.replica_hours_per_day == 12 * 4 + 10 * 6 + 2 * 11


def test_what_is_held_is_on_with_what_serves():
    # Hosts of four with one more beside them: 2 -> 8, 5 -> 12, 9 -> 16.
    def hosts(serving: int) -> int:
        return (-(-serving // 4) + 1) * 4

    static, scaled = static_schedule(DAY, 0.0, installed=hosts), autoscaled_schedule(DAY, 0.0, Autoscaling(maximum_replicas=16), installed=hosts)
    assert static.peak_replicas == 16
    assert scaled.replica_hours_per_day == 12 * 8 + 10 * 12 + 2 * 16
    assert (scaled.load == static.load).all()
    with pytest.raises(InputError, match="needs 16"):
        autoscaled_schedule(DAY, 0.0, Autoscaling(maximum_replicas=15), installed=hosts)


def walked(needed: list[int], hold: int, lead: int) -> list[int]:
    """Replicas on hour by hour, walked through three days: each is asked for `lead` hours ahead and goes when it was not needed for `hold` hours."""
    days, last_needed = needed * 3, [-(10**6)] * (max(needed) + 1)
    on = []
    for hour in range(2 * len(needed)):
        for replica in range(1, max(needed) + 1):
            if any(days[later] >= replica for later in range(hour, hour + lead + 1)):
                last_needed[replica] = hour
        on.append(sum(hour - last <= hold for last in last_needed[1:]))
    return on[len(needed) :]


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 6), min_size=24, max_size=24), hold=st.integers(0, 20), lead=st.integers(0, 20))
def test_a_fleet_walked_hour_by_hour(counts, hold, lead):
    found = autoscaled_schedule(np.array(counts, float), 0.0, Autoscaling(startup_s=3600 * lead, minimum_on_h=hold))
    assert found.on[::60].tolist() == walked(counts, hold, lead)


@settings(max_examples=60, deadline=None)
@given(load=loads, headroom=st.floats(0, 0.5), startup=st.integers(0, 120), reaction=st.integers(0, 30), hold=st.integers(0, 6))
def test_what_serves_is_always_enough(load, headroom, startup, reaction, hold):
    needed = needed_replicas(load, headroom)
    scaled = autoscaled_schedule(load, headroom, Autoscaling(60 * startup, 60 * reaction, hold))
    static = static_schedule(load, headroom)
    assert np.all(scaled.on - scaled.starting >= np.repeat(needed, 60))
    assert np.all(scaled.on <= static.on)
    assert np.all(scaled.lower_bound <= scaled.on)
    ideal = autoscaled_schedule(load, headroom, NOW)
    assert ideal.replica_hours_per_day == pytest.approx(needed.sum())
    assert np.all(ideal.on <= scaled.on)


@settings(max_examples=30, deadline=None)
@given(load=loads, by=st.integers(1, 23), startup=st.integers(0, 100), hold=st.integers(0, 5))
def test_it_does_not_matter_when_the_day_begins(load, by, startup, hold):
    policy = Autoscaling(60 * startup, 0.0, hold)
    turned = autoscaled_schedule(np.roll(load, by), 0.1, policy)
    assert turned.replica_hours_per_day == pytest.approx(autoscaled_schedule(load, 0.1, policy).replica_hours_per_day)


# Other work in the troughs


def test_troughs_by_hand():
    scaled = autoscaled_schedule(DAY, 0.0, NOW)
    # Nine installed: 4 are idle for 22 hours round midnight, 3 for 12 hours.
    assert idle_replica_hours_per_day(scaled, 9) == 4 * 22 + 3 * 12 == 216 - 92
    assert idle_replica_hours_per_day(scaled, 9, minimum_h=13) == 4 * 22
    assert idle_replica_hours_per_day(scaled, 9, minimum_h=12, startup_s=1800) == 4 * 21.5 + 3 * 11.5
    assert idle_replica_hours_per_day(scaled, 11) == 124 + 2 * 24
    assert idle_replica_hours_per_day(static_schedule(DAY, 0.0), 9) == 0
    with pytest.raises(InputError, match="installed"):
        idle_replica_hours_per_day(scaled, 8)


@settings(max_examples=40, deadline=None)
@given(load=loads, least=st.floats(0, 12), spare=st.integers(0, 5))
def test_troughs_and_load_make_the_fleet(load, least, spare):
    scaled = autoscaled_schedule(load, 0.0, NOW)
    installed = scaled.peak_replicas + spare
    idle = idle_replica_hours_per_day(scaled, installed)
    assert idle + scaled.replica_hours_per_day == pytest.approx(installed * 24)
    assert idle_replica_hours_per_day(scaled, installed, minimum_h=least, startup_s=600) <= idle + 1e-9


def test_draw_by_hand():
    draw = Draw(loaded_w=1_000.0, idle_w=300.0, off_w=10.0)
    scaled, static = autoscaled_schedule(DAY, 0.0, NOW), static_schedule(DAY, 0.0)
    busy = 92 / 24
    assert draw.mean_w(static, 9) == pytest.approx(busy * 1_000 + (9 - busy) * 300)
    assert draw.mean_w(scaled, 9) == pytest.approx(busy * 1_000 + (9 - busy) * 10)
    assert draw.mean_w(scaled, 9, other_replicas=2.0) == pytest.approx((busy + 2) * 1_000 + (9 - busy - 2) * 10)


# The world


def test_deepseeks_night():
    # Published (open-infra-index, 2025-02-28): at most 278 nodes, 226.75 in the mean: an autoscaled fleet of 81.6 % of a static one's node-hours.
    quarters = [278] * 48 + [218] * 5 + [188] * 3 + [158] * 3 + [128] + [98] * 2 + [68] * 12 + [98] * 2 + [128] * 2 + [188] * 2 + [218] * 2 + [278] * 14
    nodes = np.array(quarters, float)
    static, scaled = static_schedule(nodes, 0.0, step_h=0.25), autoscaled_schedule(nodes, 0.0, NOW, step_h=0.25)
    assert static.peak_replicas == 278
    assert scaled.mean_replicas == 226.75
    assert round(scaled.replica_hours_per_day / static.replica_hours_per_day, 3) == 0.816
    # What the catalogue carries of it by the hour says the same.
    reference, shape = Library().reference("deepseek_day"), Shape.of(Library().shape("deepseek-nodes-2025-02").hours.values)
    load = reference.need("nodes_mean").value * np.array(shape.weights)
    assert static_schedule(load, 0.0).peak_replicas == reference.need("nodes_peak").value
    assert static_schedule(load, 0.0).occupancy_fraction == pytest.approx(0.816, abs=5e-4)
    assert autoscaled_schedule(load, 0.0, NOW).mean_replicas == pytest.approx(226.75, abs=24 / 24)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: static_schedule([], 0.0), "load"),
        (lambda: static_schedule([-1.0], 0.0), "load"),
        (lambda: static_schedule([math.nan], 0.0), "load"),
        (lambda: static_schedule([1.0], 1.0), "headroom_fraction"),
        (lambda: static_schedule([1.0], 0.0, step_h=0.001), "step_h"),
        (lambda: Autoscaling(minimum_on_h=25.0), "minimum_on_h"),
        (lambda: Draw(100.0, 200.0), "loaded_w"),
    ],
)
def test_bad_input_is_refused_by_name(call, key):
    with pytest.raises(InputError, match=key):
        call()
