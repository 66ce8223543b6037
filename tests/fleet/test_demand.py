"""Demand: tokens a day to tokens a second, mean and peak."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from accelmodel.errors import InputError
from accelmodel.fleet.demand import Demand, demand_of_requests

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
