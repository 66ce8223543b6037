"""Indices, the value of knowing and roots against functions whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from accelmodel.studies.break_even import roots
from accelmodel.studies.draws import Points
from accelmodel.studies.indices import rank_correlation, sobol_indices, value_of_knowing, value_of_knowing_all, variance_reduction_fraction

DRAWS = 1 << 16


def ishigami(points: np.ndarray, a: float = 7.0, b: float = 0.1) -> np.ndarray:
    x = math.pi * (2.0 * points - 1.0)
    return np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])


# Ishigami and Homma (1990), a = 7, b = 0.1: variances of the analysis in closed form
_V1, _V2, _V13 = 0.5 * (1.0 + 0.1 * math.pi**4 / 5.0) ** 2, 49.0 / 8.0, 0.1**2 * math.pi**8 * (1.0 / 18.0 - 1.0 / 50.0)
_V = _V1 + _V2 + _V13
ISHIGAMI_FIRST, ISHIGAMI_TOTAL = (_V1 / _V, _V2 / _V, 0.0), ((_V1 + _V13) / _V, _V2 / _V, _V13 / _V)

# Sobol' G-function: V_i = (1/3) / (1 + a_i)^2, V = prod (1 + V_i) - 1
_A = np.array([0.0, 1.0, 4.5, 9.0, 99.0])
_G = (1.0 / 3.0) / (1.0 + _A) ** 2
G_FIRST = _G / (np.prod(1.0 + _G) - 1.0)
G_TOTAL = _G * np.array([np.prod(np.delete(1.0 + _G, i)) for i in range(5)]) / (np.prod(1.0 + _G) - 1.0)


def g_function(points: np.ndarray) -> np.ndarray:
    return np.prod((np.abs(4.0 * points - 2.0) + _A) / (1.0 + _A), axis=1)


def test_ishigami_by_salib():
    found = sobol_indices(ishigami, [("a", [0]), ("b", [1]), ("c", [2])], 1 << 12, seed=1)
    assert [one["first_order_index"] for one in found] == pytest.approx(ISHIGAMI_FIRST, abs=0.02)
    assert [one["total_order_index"] for one in found] == pytest.approx(ISHIGAMI_TOTAL, abs=0.02)


def test_g_function_by_salib():
    found = sobol_indices(g_function, [(str(i), [i]) for i in range(5)], 1 << 12, seed=1)
    assert [one["first_order_index"] for one in found] == pytest.approx(G_FIRST, abs=0.02)
    assert [one["total_order_index"] for one in found] == pytest.approx(G_TOTAL, abs=0.02)


def test_indices_of_inputs_that_share_dimensions_are_of_them_as_one():
    found = sobol_indices(ishigami, [("first and third", [0, 2]), ("second", [1])], 1 << 12, seed=1)
    assert found[0]["first_order_index"] == pytest.approx(1.0 - _V2 / _V, abs=0.02)  # together they have no interaction with the second
    assert found[0]["total_order_index"] == pytest.approx(1.0 - _V2 / _V, abs=0.02)
    assert found[1]["first_order_index"] == pytest.approx(_V2 / _V, abs=0.02)


def test_variance_reduction_is_the_first_order_index():
    points = Points(5, 0).next(DRAWS)
    found = [variance_reduction_fraction(g_function(points), points[:, i]) for i in range(5)]
    assert found == pytest.approx(G_FIRST, abs=0.01)
    found = [variance_reduction_fraction(ishigami(points[:, :3]), points[:, i]) for i in range(3)]
    assert found == pytest.approx(ISHIGAMI_FIRST, abs=0.01)


def test_variance_reduction_of_noise_is_nearly_nothing():
    rng = np.random.default_rng(0)
    found = [variance_reduction_fraction(rng.standard_normal(4096), rng.random(4096)) for _ in range(50)]
    assert np.mean(found) < 0.002
    assert variance_reduction_fraction(np.ones(64), np.arange(64.0)) == 0.0


def test_rank_correlation_is_scipys_and_blind_to_scale():
    rng = np.random.default_rng(1)
    x = rng.random(500)
    y = np.exp(3.0 * x) + rng.random(500)
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1.0)
    assert math.isnan(rank_correlation(x, np.ones(500)))


def unit_normal_loss(mean: float, deviation: float) -> float:
    """E[max(0, d)] - max(0, E d) of a normal d: deviation x (density - |t| x tail), Raiffa and Schlaifer, Applied Statistical Decision Theory (1961)."""
    t = abs(mean) / deviation
    return deviation * float(stats.norm.pdf(t) - t * stats.norm.sf(t))


@pytest.mark.parametrize("mean", [0.0, 0.5, -1.0])
def test_value_of_knowing_of_two_actions_with_linear_normal_payoffs(mean):
    # d = mean + 2 z1 + z2 + 0 z3 between two actions: knowing z1 leaves a normal of deviation 2, knowing both one of sqrt 5, knowing z3 nothing
    z = stats.norm.ppf(Points(3, 4).next(DRAWS))
    benefits = np.column_stack([10.0 + z[:, 1] * 5.0, 10.0 + z[:, 1] * 5.0 + mean + 2.0 * z[:, 0] + z[:, 1]])
    assert value_of_knowing(benefits, z[:, 0]) == pytest.approx(unit_normal_loss(mean, 2.0), abs=0.01)
    assert value_of_knowing(benefits, z[:, 1]) == pytest.approx(unit_normal_loss(mean, 1.0), abs=0.01)
    assert value_of_knowing(benefits, z[:, 2]) == pytest.approx(0.0, abs=0.01)
    assert value_of_knowing_all(benefits) == pytest.approx(unit_normal_loss(mean, math.sqrt(5.0)), abs=0.01)


def test_knowing_is_worth_no_more_than_knowing_all_and_nothing_where_the_choice_is_clear():
    points = Points(4, 2).next(1 << 12)
    benefits = np.column_stack([g_function(np.column_stack([points, points[:, :1]])), points[:, 1] + 0.5])
    for x in points.T:
        assert 0.0 <= value_of_knowing(benefits, x) <= value_of_knowing_all(benefits) + 1e-12
    clear = np.column_stack([points[:, 0], points[:, 0] + 2.0 + points[:, 1]])
    assert value_of_knowing(clear, points[:, 1]) == 0.0
    assert value_of_knowing_all(clear) == 0.0


def test_value_of_knowing_does_not_see_a_common_term():
    points = Points(3, 2).next(1 << 12)
    benefits = np.column_stack([points[:, 0], 0.5 + 0.1 * points[:, 1]])
    shifted = benefits + 1e3 * points[:, 2:3]  # both alternatives alike
    assert value_of_knowing(shifted, points[:, 0]) == pytest.approx(value_of_knowing(benefits, points[:, 0]), abs=1e-9)


def test_roots_of_polynomials():
    found, _, _ = roots(lambda x: (x - 2.0) * (x - 5.0) * (x - 7.5), 0.0, 10.0)
    assert found == pytest.approx([2.0, 5.0, 7.5], rel=1e-12)
    assert roots(lambda x: x**2 + 1.0, -5.0, 5.0)[0] == []
    assert roots(lambda x: np.log10(x) - 2.0, 1e-3, 1e6)[0] == pytest.approx([100.0], rel=1e-12)


def test_roots_skip_where_there_is_no_number():
    found, _, signs = roots(lambda x: np.where(x > 4.0, x - 6.0, math.nan), 0.0, 10.0)
    assert found == pytest.approx([6.0], rel=1e-12)
    assert np.isnan(signs[0])
