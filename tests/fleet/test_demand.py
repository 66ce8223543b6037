"""Demand: tokens a day to tokens a second, mean and peak; users and their growing context; shapes; regions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from accelmodel.errors import InputError
from accelmodel.fleet.demand import Demand, Region, Session, Shape, Users, demand_of_requests, demand_of_users, regional_peaks

DEMAND = Demand(input_tokens_per_day=8.64e9, output_tokens_per_day=1.728e9, cached_input_fraction=0.25, peak_to_mean_ratio=2.0)


def test_rates_by_hand():
    # 8.64 G / 86,400 s = 100,000 tokens/s of input, a quarter cached; 20,000 of output; twice that at the peak.
    assert DEMAND.mean_rates().streams == pytest.approx((75_000, 25_000, 20_000))
    assert DEMAND.peak_rates().streams == pytest.approx((150_000, 50_000, 40_000))
    assert DEMAND.peak_rates().tokens_per_s == pytest.approx(240_000)


def test_growth_compounds():
    growing = dataclasses.replace(DEMAND, growth_fraction_per_year=0.5)
    assert growing.mean_rates(2.0).output_tokens_per_s == pytest.approx(20_000 * 2.25)
    np.testing.assert_allclose(growing.peak_rates(np.array([0.0, 1.0, 2.0])).output_tokens_per_s, [40_000, 60_000, 90_000])


def test_requests_are_tokens():
    requests = demand_of_requests(1e6, 8_640.0, 1_728.0, cached_input_fraction=0.25, peak_to_mean_ratio=2.0)
    assert requests.mean_rates().streams == pytest.approx(DEMAND.mean_rates().streams)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_tokens_per_day", -1.0),
        ("output_tokens_per_day", float("nan")),
        ("cached_input_fraction", 1.1),
        ("peak_to_mean_ratio", 0.9),
        ("growth_fraction_per_year", -1.0),
    ],
)
def test_a_figure_out_of_bounds_is_refused_by_name(key, value):
    with pytest.raises(InputError, match=key):
        dataclasses.replace(DEMAND, **{key: value})


# Users


def turn_by_turn(session: Session) -> tuple[float, float, float]:
    """Input, cached input and output tokens of a whole session, walked turn by turn."""
    context, known, inputs, cached, outputs = session.system_prompt_tokens, 0.0, 0.0, 0.0, 0.0
    for _ in range(int(session.turns)):
        cached += session.context_hit_fraction * known
        context += session.input_tokens_per_turn
        inputs += context
        context += session.output_tokens_per_turn
        known = context
        outputs += session.output_tokens_per_turn
    return inputs, cached, outputs


@given(
    turns=st.integers(1, 40), added=st.floats(1, 5_000), answer=st.floats(1, 5_000), prompt=st.floats(0, 20_000), hit=st.floats(0, 1), users=st.floats(0, 1e6)
)
def test_context_grows_turn_by_turn(turns, added, answer, prompt, hit, users):
    session = Session(turns, added, answer, prompt, hit)
    inputs, cached, outputs = turn_by_turn(session)
    demand = demand_of_users(Users(users, 2.0, session), peak_to_mean_ratio=1.5)
    assert demand.input_tokens_per_day == pytest.approx(users * 2 * inputs)
    assert demand.output_tokens_per_day == pytest.approx(users * 2 * outputs)
    rounding = 1e-12 + 1e-14 * users * 2 * inputs / 86_400  # a share of all input tokens: exact to their last digits
    assert demand.mean_rates().cached_input_tokens_per_s == pytest.approx(users * 2 * cached / 86_400, rel=1e-9, abs=rounding)


def test_a_conversation_by_hand():
    # Two turns of 100 in, 200 out, behind a prompt of 50: 150 then 450 tokens of input, of which 350 were there before.
    session = Session(turns=2, input_tokens_per_turn=100, output_tokens_per_turn=200, system_prompt_tokens=50)
    assert (session.input_tokens, session.output_tokens) == (300, 200)
    assert session.prefix_hit_fraction == pytest.approx(350 / 600)
    assert Session(1, 100, 200).prefix_hit_fraction == 0.0
    assert Users(1_000, 3, session).requests_per_day == 6_000


# Shapes

WORKDAY = Shape.of([1] * 8 + [4] * 10 + [1] * 6)  # sum 54, mean 2.25


def test_a_shape_has_the_mean_one():
    assert WORKDAY.peak_to_mean_ratio == pytest.approx(4 / 2.25)
    assert WORKDAY.busiest_hour == 8
    assert sum(WORKDAY.weights) == pytest.approx(24)
    assert WORKDAY.at(7.99) == pytest.approx(1 / 2.25)
    assert WORKDAY.at(8) == WORKDAY.at(32) == WORKDAY.at(-16) == pytest.approx(4 / 2.25)
    assert Shape.flat().peak_to_mean_ratio == 1.0


@given(values=st.lists(st.floats(0.0, 1e6), min_size=24, max_size=24).filter(lambda v: sum(v) > 1), scale=st.floats(1e-3, 1e3), by=st.integers(-50, 50))
def test_a_shape_knows_no_scale_and_a_shift_moves_it(values, scale, by):
    shape = Shape.of(values)
    np.testing.assert_allclose(Shape.of(np.array(values) * scale).weights, shape.weights, rtol=1e-9)
    moved = shape.shifted(by)
    assert all(moved.at(hour) == pytest.approx(shape.at(hour + by)) for hour in range(24))
    assert shape.shifted(0.5).peak_to_mean_ratio <= shape.peak_to_mean_ratio * (1 + 1e-9)


def test_the_shape_of_a_trace():
    # Hour h of each of two days has h + 1 requests, the first at the full hour; half a day more is not used.
    arrivals = [86_400 * day + 3_600 * hour + 60 * i for day in range(2) for hour in range(24) for i in range(hour + 1)]
    arrivals += [2 * 86_400 + 3_600 * hour for hour in range(12)]
    np.testing.assert_allclose(Shape.of_arrivals(arrivals).weights, np.arange(1, 25) / 12.5)
    # Of a week, by work: every hour one request, those of the second day ten times as heavy.
    hourly = np.arange(168) * 3_600.0
    heavy = np.where((hourly >= 86_400) & (hourly < 2 * 86_400), 10.0, 1.0)
    shape = Shape.of_arrivals(hourly, heavy)
    assert shape.hours == 168
    assert shape.at(30) / shape.at(3) == pytest.approx(10)
    with pytest.raises(InputError, match="spans 5 hours"):
        Shape.of_arrivals(np.arange(5) * 3_600.0)


# Regions


def least_capacity(regions: list[Region], loads: np.ndarray) -> float:
    """The least total that carries the whole peak without any one region, and each region's own peak: a linear programme."""
    count, peak = len(regions), loads.sum(axis=0).max()
    others = np.ones((count, count)) - np.eye(count)
    return linprog(np.ones(count), A_ub=-others, b_ub=-np.full(count, peak), bounds=[(own, None) for own in loads.max(axis=1)]).fun


def test_three_regions_eight_hours_apart():
    regions = [Region(name, 1 / 3, WORKDAY, shift) for name, shift in (("america", 0), ("europe", 8), ("asia", 16))]
    found = regional_peaks(regions)
    # Peaks of 10 hours, 8 hours apart: two at a time, at the most, are at 4 / 2.25; the third is at 1 / 2.25.
    assert found.peak_of_sum == pytest.approx((4 + 4 + 1) / 2.25 / 3)
    assert found.sum_of_peaks == pytest.approx(4 / 2.25)
    assert found.diversity_factor == pytest.approx(12 / 9)
    assert found.capacity_without_one_over_peak == pytest.approx(1.5)  # three halves of the peak: any two carry it
    assert found.capacity == pytest.approx([found.peak_of_sum / 2] * 3)


@given(shares=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=5), shifts=st.lists(st.integers(0, 23), min_size=5, max_size=5))
def test_n_minus_one_is_enough_and_no_more(shares, shifts):
    regions = [Region(f"r{i}", share / sum(shares), WORKDAY, shifts[i]) for i, share in enumerate(shares)]
    found = regional_peaks(regions)
    loads = np.array([region.load(24) for region in regions])
    assert found.peak_of_sum == pytest.approx(loads.sum(axis=0).max())
    assert found.diversity_factor >= 1 - 1e-9
    for lost, own in enumerate(found.capacity):
        assert sum(found.capacity) - own >= found.peak_of_sum * (1 - 1e-9)
        assert own >= loads[lost].max() * (1 - 1e-9)
    assert sum(found.capacity) == pytest.approx(least_capacity(regions, loads))


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: Shape.of([1.0] * 23), "shape"),
        (lambda: Shape.of([0.0] * 24), "shape"),
        (lambda: Shape.of([-1.0] + [2.0] * 23), "shape"),
        (lambda: Shape((2.0,) * 24), "shape"),
        (lambda: Session(0.5, 10, 10), "turns"),
        (lambda: Session(2, 10, 10, context_hit_fraction=1.5), "context_hit_fraction"),
        (lambda: Users(-1.0, 1.0, Session(1, 10, 10)), "users"),
        (lambda: regional_peaks([Region("one", 1.0, WORKDAY)]), "regions"),
        (lambda: regional_peaks([Region("a", 0.5, WORKDAY), Region("b", 0.4, WORKDAY)]), "regions"),
        (lambda: Shape.of_arrivals([]), "arrival_s"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(call, key):
    with pytest.raises(InputError, match=key):
        call()
