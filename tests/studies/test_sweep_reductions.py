"""Reductions on any numbers: what a naive search of all of them finds, however they are cut into spans and states, in whatever order these are merged."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.studies import sweep_kernels as kernels
from accelmodel.studies import sweep_reductions as reductions
from accelmodel.studies.axes import Condition
from accelmodel.studies.sweep_schema import Frontier, Histogram, Quantiles, Top

VALUES = st.one_of(
    st.sampled_from([math.nan, 0.0, -0.0, 1.0, 2.0, 3.0, -1.0, 1e-300, -1e300, 1e300]),
    st.floats(-1e6, 1e6),
    st.floats(1.0, 1.001),
)
POINTS = st.lists(st.tuples(VALUES, VALUES, VALUES, st.integers(0, 2), st.booleans()), min_size=1, max_size=60)
NAMES = {"a": 0, "b": 1, "c": 2}


def reduced(reduction: reductions.AnyReduction, points: list, seed: int, some: reductions.State | None = None) -> reductions.State:
    """The state of some points (three columns, group, whether it counts): cut in chunks of spans at random, merged in random order."""
    chance, states, at = random.Random(seed), [], 0
    values = np.array([point[:3] for point in points]).T.copy()
    codes, keep = np.array([point[3] for point in points]), np.array([point[4] for point in points], np.uint8)
    while at < len(points):
        state = reduction.start(3, some) if isinstance(reduction, reductions.FrontierOf) else reduction.new(3)
        for _ in range(chance.randint(1, 3)):
            end = min(at + chance.randint(0, 12), len(points))
            span = reductions.Span(NAMES, values[:, at:end].copy(), at, keep[at:end].copy())
            reduction.add(state, span, codes[at:end].copy())
            at = end
        states.append(reduction.close(state))
    chance.shuffle(states)
    return reductions.merged(reduction, states)


def naive_frontier(points: list, signs: tuple[float, ...]) -> list[int]:
    worth = [tuple(sign * value for sign, value in zip(signs, point, strict=False)) for point in points]
    counted = [place for place, point in enumerate(points) if point[4] and not any(math.isnan(value) for value in worth[place])]

    def beats(one: int, other: int) -> bool:
        no_worse = all(a <= b for a, b in zip(worth[one], worth[other], strict=True))
        return points[one][3] == points[other][3] and no_worse and (worth[one] != worth[other] or one < other)

    return sorted(place for place in counted if not any(beats(other, place) for other in counted))


@settings(max_examples=120, deadline=None)
@given(POINTS, st.integers(0, 10**6))
def test_a_frontier_of_three_columns_is_the_naive_one(points, seed):
    reduction = reductions.FrontierOf(Frontier(kind="frontier", minimise=("a", "c"), maximise=("b",)))
    assert sorted(reduction.found(reduced(reduction, points, seed))) == naive_frontier([(a, c, b, *rest) for a, b, c, *rest in points], (1.0, 1.0, -1.0))


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(0, 10**6))
def test_a_frontier_of_two_columns_is_the_naive_one(points, seed):
    reduction = reductions.FrontierOf(Frontier(kind="frontier", maximise=("a", "b")))
    assert sorted(reduction.found(reduced(reduction, points, seed))) == naive_frontier(points, (-1.0, -1.0))


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(0, 10**6), st.integers(1, 20))
def test_a_sample_to_start_from_changes_nothing(points, seed, step):
    reduction = reductions.FrontierOf(Frontier(kind="frontier", minimise=("a", "b", "c")))
    sampled = [place for place in range(0, len(points), step) if points[place][4]]
    values = np.array([points[place][:3] for place in sampled]).reshape(-1, 3).T.copy()
    rows = reduction.rows_of(reductions.Span(NAMES, values, 0, np.empty(0)), np.array(sampled, int), np.array([points[place][3] for place in sampled], int))
    state = reduction.new(3)
    reduction.extend(state, rows)
    assert sorted(reduction.found(reduced(reduction, points, seed, reduction.close(state)))) == naive_frontier(points, (1.0, 1.0, 1.0))


def test_a_large_frontier_is_sifted_on_the_way_and_is_the_same():
    # Points of a sphere's corner: most of them lie near its surface, so that the buffer fills and is sifted several times.
    chance = np.random.default_rng(5)
    directions = np.abs(chance.normal(size=(200_000, 3))) + 0.02
    values = (directions / np.linalg.norm(directions, axis=1)[:, None] * chance.uniform(0.9, 1.0, 200_000)[:, None]).T.copy()
    reduction = reductions.FrontierOf(Frontier(kind="frontier", maximise=("a", "b", "c")))
    state = reduction.new(1)
    sifted = 0
    for at in range(0, 200_000, 1 << 13):
        reduction.add(state, reductions.Span(NAMES, values[:, at : at + (1 << 13)].copy(), at, np.empty(0, np.uint8)), np.empty(0, np.int64))
        sifted += state["count"] == state["kept"]
    assert sifted >= 2
    found = set(reduction.found(reduction.close(state)))
    # By another way: a point is beaten where the best third column among those ahead in the other two exceeds its own.
    order = np.lexsort((-values[2], -values[1], -values[0]))
    expected, front = set(), []
    for place in order:
        b, c = values[1, place], values[2, place]
        if not any(other_b >= b and other_c >= c for other_b, other_c in front):
            expected.add(int(place))
            front = [(other_b, other_c) for other_b, other_c in front if not (other_b <= b and other_c <= c)] + [(b, c)]
    assert found == expected
    assert len(found) > 500


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(0, 10**6), st.sampled_from(["lowest", "highest"]), st.integers(1, 5))
def test_the_top_is_what_sorting_finds(points, seed, order, count):
    reduction = reductions.TopOf(Top(kind="top", column="b", order=order, count=count))
    sign = 1.0 if order == "lowest" else -1.0
    expected = []
    for group in range(3):
        of_group = [(sign * point[1], place) for place, point in enumerate(points) if point[3] == group and point[4] and not math.isnan(point[1])]
        expected += [place for _, place in sorted(of_group)[:count]]
    assert reduction.found(reduced(reduction, points, seed)) == expected


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(0, 10**6))
def test_quantiles_and_counts_are_those_of_the_sorted_values(points, seed):
    quantiles = reductions.QuantilesOf(Quantiles(kind="quantiles", columns=("a",), quantiles=(0.0, 0.25, 0.5, 0.9, 1.0)))
    histogram = reductions.HistogramOf(Histogram.model_validate({"kind": "histogram", "column": "a", "from": -2, "to": 3, "bins": 5}))
    rows, counts = quantiles.rows(reduced(quantiles, points, seed)), histogram.rows(reduced(histogram, points, seed))
    for group in range(3):
        values = sorted(point[0] for point in points if point[3] == group and point[4] and not math.isnan(point[0]))
        own = [row for code, row in rows if code == group]
        assert len(own) == (5 if values else 0)
        for row in own:
            exact = values[max(math.ceil(row["quantile"] * len(values)), 1) - 1]
            if 1e-19 < abs(exact) < 1e19:
                assert row["value"] == pytest.approx(exact, rel=kernels.LARGEST_ERROR)
            if row["quantile"] in (0.0, 1.0):
                assert row["value"] == exact
        inside = [sum(low <= value < low + 1 for value in values) for low in range(-2, 3)]
        assert [row["points"] for code, row in counts if code == group] == [sum(v < -2 for v in values), *inside, sum(v >= 3 for v in values)]


def test_the_bins_of_quantiles_are_as_narrow_as_they_are_said_to_be():
    assert kernels.LARGEST_ERROR < 1e-3
    for value in (1e-12, 0.0317, 1.0, 1.9999, 7e8):
        counts, ends = np.zeros((1, kernels.BINS), np.int64), np.array([[math.inf, -math.inf]])
        kernels.add_quantiles(np.array([value, -value]), np.empty(0, np.uint8), np.empty(0, np.int64), counts, ends)
        low, high = np.flatnonzero(counts[0])
        assert kernels.bin_middle(int(high)) == pytest.approx(value, rel=kernels.LARGEST_ERROR)
        assert kernels.bin_middle(int(low)) == -kernels.bin_middle(int(high))


# --- conditions --------------------------------------------------------------------------------------------------------------------------------

KEYS = ("tensor_parallel", "accelerators", "system", "input_tokens", "offer")


@pytest.mark.parametrize(
    ("words", "situation", "holds"),
    [
        ("tensor_parallel > accelerators", {"tensor_parallel": 8, "accelerators": 4}, True),
        ("tensor_parallel > accelerators", {"tensor_parallel": 4, "accelerators": 4}, False),
        ("2 * tensor_parallel + 1 == accelerators", {"tensor_parallel": 4, "accelerators": 9}, True),
        ("system == 'trn2.48xlarge' and accelerators<=4", {"system": "trn2.48xlarge", "accelerators": 4}, True),
        ("system != trn2.48xlarge", {"system": "trn2.48xlarge"}, False),
        ("input_tokens >= 1e3", {"input_tokens": 1000.0}, True),
        ("offer == on-demand", {"offer": ("on-demand", "bedrock")}, False),
    ],
)
def test_a_condition_is_read_as_it_is_written(words, situation, holds):
    assert bool(Condition.read(words, KEYS).holds(situation)) is holds


def test_a_condition_on_arrays_holds_place_by_place():
    condition = Condition.read("input_tokens * tensor_parallel > 100 and accelerators < 3", KEYS)
    found = condition.holds({"input_tokens": np.array([10.0, 60.0]), "tensor_parallel": 2, "accelerators": 2})
    assert found.tolist() == [False, True]


@pytest.mark.parametrize(
    "words", ["", "accelerators", "accelerators > ", "1 > 2", "system > trn2.48xlarge", "__import__('os') == 1", "accelerators > 2 or 1 > 0", "a.b == 1"]
)
def test_what_is_no_condition_is_refused(words):
    with pytest.raises(ValueError, match=r"is no comparison|compares no key"):
        Condition.read(words, KEYS)
