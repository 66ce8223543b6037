"""The sampler: distributions against scipy's, scores against what was asked of them, Sobol points against their own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accelmodel.errors import InputError
from accelmodel.studies.draws import Design, Points, Uncertain, check_range, quantile, usual_distribution, whole_power

PROBABILITIES = np.linspace(0.001, 0.999, 97)


def test_triangular_is_scipys():
    low, value, high = 7.0, 12.0, 25.0
    other = stats.triang((value - low) / (high - low), loc=low, scale=high - low)
    assert quantile("triangular", low, value, high, PROBABILITIES) == pytest.approx(other.ppf(PROBABILITIES), rel=1e-12)


@pytest.mark.parametrize(("low", "value", "high"), [(5.0, 5.0, 9.0), (5.0, 9.0, 9.0)])
def test_triangular_with_its_mode_at_an_end(low, value, high):
    other = stats.triang((value - low) / (high - low), loc=low, scale=high - low)
    assert quantile("triangular", low, value, high, PROBABILITIES) == pytest.approx(other.ppf(PROBABILITIES), rel=1e-12)


def test_uniform_is_scipys():
    assert quantile("uniform", 2.0, 3.0, 6.0, PROBABILITIES) == pytest.approx(stats.uniform(2.0, 4.0).ppf(PROBABILITIES), rel=1e-12)


def test_log_normal_with_even_sides_is_scipys():
    # 12 within a factor of 2 in nine cases of ten
    sigma = math.log(2.0) / stats.norm.ppf(0.95)
    assert quantile("log-normal", 6.0, 12.0, 24.0, PROBABILITIES) == pytest.approx(stats.lognorm(sigma, scale=12.0).ppf(PROBABILITIES), rel=1e-9)


@given(low=st.floats(0.1, 10.0), down=st.floats(1.01, 50.0), up=st.floats(1.01, 50.0))
def test_log_normal_holds_all_three_numbers(low, down, up):
    value, high = low * down, low * down * up
    assert quantile("log-normal", low, value, high, np.array([0.05, 0.5, 0.95])) == pytest.approx([low, value, high], rel=1e-9)


@given(
    distribution=st.sampled_from(["uniform", "triangular", "log-normal"]),
    numbers=st.lists(st.floats(0.01, 100.0), min_size=3, max_size=3).map(sorted),
)
def test_draws_rise_with_their_probability(distribution, numbers):
    drawn = quantile(distribution, *numbers, PROBABILITIES)
    assert np.all(np.diff(drawn) >= -1e-12 * numbers[2])
    if distribution != "log-normal":
        assert drawn.min() >= numbers[0] - 1e-12
        assert drawn.max() <= numbers[2] + 1e-12


def test_distributions_where_nobody_says():
    assert usual_distribution(24.0, 168.0, is_share=False) == "log-normal"
    assert usual_distribution(24.0, 71.0, is_share=False) == "triangular"
    assert usual_distribution(0.0, 0.04, is_share=False) == "triangular"  # no logarithm of 0
    assert usual_distribution(0.05, 0.9, is_share=True) == "triangular"  # a share may not leave its ends
    assert usual_distribution(8.3, 9.7, is_share=False, of_alternatives=True) == "uniform"


def test_moments_of_sampled_inputs():
    inputs = {
        "a": Uncertain("triangular", 1.0, 2.0, 6.0),
        "b": Uncertain("uniform", -1.0, 0.0, 3.0),
        "c": Uncertain("log-normal", 0.5, 1.0, 2.0),
    }
    values = Design(inputs).values(Points(3, 1).next(1 << 15))
    # (a + m + b) / 3 and (a2 + m2 + b2 - am - ab - mb) / 18; (a + b) / 2 and (b - a)2 / 12; exp(s2 / 2) and (exp(s2) - 1) exp(s2)
    assert values["a"].mean() == pytest.approx(3.0, rel=1e-4)
    assert values["a"].var() == pytest.approx((1 + 4 + 36 - 2 - 6 - 12) / 18.0, rel=1e-3)
    assert values["b"].mean() == pytest.approx(1.0, rel=1e-4)
    assert values["b"].var() == pytest.approx(16.0 / 12.0, rel=1e-3)
    square = (math.log(2.0) / stats.norm.ppf(0.95)) ** 2
    assert values["c"].mean() == pytest.approx(math.exp(square / 2.0), rel=1e-3)
    assert values["c"].var() == pytest.approx((math.exp(square) - 1.0) * math.exp(square), rel=1e-2)
    assert np.abs(np.corrcoef(list(values.values())) - np.eye(3)).max() < 0.01


def test_a_group_stands_at_one_percentile():
    inputs = {name: Uncertain("log-normal", 1.0, 2.0, high, "prices") for name, high in (("a", 4.0), ("b", 9.0))}
    design = Design(inputs)
    assert len(design.dimensions) == 1
    values = design.values(Points(1, 0).next(1 << 10))
    assert stats.spearmanr(values["a"], values["b"]).statistic == pytest.approx(1.0)
    assert design.components == [(["a", "b"], [0])]


def test_a_group_of_some_correlation():
    inputs = {"a": Uncertain("uniform", 0.0, 0.5, 1.0, "g"), "b": Uncertain("triangular", 0.0, 0.5, 1.0, "g"), "c": Uncertain("uniform", 0.0, 0.5, 1.0)}
    design = Design(inputs, {"g": 0.6})
    values = design.values(Points(len(design.dimensions), 0).next(1 << 15))
    scores = stats.norm.ppf([(stats.rankdata(one) - 0.5) / len(one) for one in values.values()])
    found = np.corrcoef(scores)
    assert found[0, 1] == pytest.approx(0.6, abs=0.01)
    assert abs(found[0, 2]) < 0.01
    assert values["a"].mean() == pytest.approx(0.5, abs=1e-3)  # the copula leaves each distribution as it is
    assert values["a"].var() == pytest.approx(1.0 / 12.0, rel=1e-2)
    assert sorted(names for names, _ in design.components) == [["a", "b"], ["c"]]


def test_scores_of_a_given_correlation():
    names = ["x", "y", "z"]
    matrix = np.array([[1.0, -0.5, 0.3], [-0.5, 1.0, 0.0], [0.3, 0.0, 1.0]])
    inputs = {name: Uncertain("log-normal", 0.5, 1.0, 2.0) for name in names}
    design = Design(inputs, scores=(names, matrix))
    values = design.values(Points(len(design.dimensions), 3).next(1 << 15))
    assert np.corrcoef(np.log(list(values.values()))) == pytest.approx(matrix, abs=0.01)


def test_a_correlation_that_no_scores_can_have_gives_the_nearest():
    matrix = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])  # not positive definite
    names = ["x", "y", "z"]
    design = Design({name: Uncertain("log-normal", 0.5, 1.0, 2.0) for name in names}, scores=(names, matrix))
    values = design.values(Points(len(design.dimensions), 3).next(1 << 12))
    for one in values.values():
        assert np.log(one).std() == pytest.approx(math.log(2.0) / stats.norm.ppf(0.95), rel=0.01)


def test_points_are_a_seeds_own_and_do_not_depend_on_chunks():
    whole = Points(7, 5).next(1 << 12)
    chunks = Points(7, 5)
    assert np.array_equal(whole, np.vstack([chunks.next(1 << 10) for _ in range(4)]))
    assert not np.array_equal(whole, Points(7, 6).next(1 << 12))
    assert whole.min() > 0.0
    assert whole.max() < 1.0


def test_points_fill_every_cell_once():
    # Each dimension of 2^m scrambled Sobol points has one point in each of 2^m equal intervals: they are (0, 1)-sequences.
    points = Points(9, 2).next(1 << 10)
    for dimension in points.T:
        assert np.array_equal(np.sort(np.floor(dimension * (1 << 10))), np.arange(1 << 10))


def test_sobol_points_integrate_better_than_random_ones():
    def error(points: np.ndarray) -> float:
        return abs(float(np.prod(1.0 + 0.5 * (points - 0.5), axis=1).mean()) - 1.0)

    sobol = [error(Points(6, seed).next(1 << 10)) for seed in range(20)]
    random = [error(np.random.default_rng(seed).random((1 << 10, 6))) for seed in range(20)]
    assert np.mean(sobol) < 0.1 * np.mean(random)


def test_whole_powers():
    assert [whole_power(draws) for draws in (16, 17, 1_000_000, 1 << 20)] == [16, 32, 1 << 20, 1 << 20]


def test_ranges_that_make_no_sense():
    with pytest.raises(InputError, match="does not hold"):
        check_range("x", "triangular", 2.0, 1.0, 3.0)
    with pytest.raises(InputError, match="above 0"):
        check_range("x", "log-normal", 0.0, 1.0, 3.0)
