"""The split of a change over inputs: by hand, against the mean over all orders written out, exact sums, gaps, sampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.studies.decomposition import EXACT_INPUTS, ORDERS, Parts, decompose, evaluations

Game = Callable[[frozenset[int]], float]


def split(game: Game, inputs: int, **options: bool) -> Parts:
    (parts,) = decompose(lambda chosen: np.array([game(chosen)]), inputs, **options)
    return parts


def shapley_by_orders(game: Game, inputs: int) -> list[float]:
    """The definition, written out: the mean over every order of what an input adds when it comes."""
    total = [0.0] * inputs
    for order in itertools.permutations(range(inputs)):
        for place, number in enumerate(order):
            total[number] += game(frozenset(order[: place + 1])) - game(frozenset(order[:place]))
    return [value / math.factorial(inputs) for value in total]


def product(chosen: frozenset[int]) -> float:
    """10 x 2 x 3: two factors."""
    return 10.0 * (2.0 if 0 in chosen else 1.0) * (3.0 if 1 in chosen else 1.0)


def test_two_factors_by_hand():
    # 10 -> 20 -> 60 in order; Shapley: (10 + 30) / 2 and (40 + 20) / 2; alone they make 10 + 20, together 50.
    sequential, shapley = split(product, 2), split(product, 2, shapley=True)
    assert {block: values[0] for block, values in sequential.changes.items()} == {(0,): 10.0, (1,): 40.0}
    assert {block: values[0] for block, values in shapley.changes.items()} == {(0,): 20.0, (1,): 30.0}
    assert sequential.interaction[0] == shapley.interaction[0] == 20.0


@given(st.integers(1, 5).flatmap(lambda count: st.lists(st.floats(-1e3, 1e3), min_size=2**count, max_size=2**count)))
def test_shapley_is_the_mean_over_all_orders_and_every_split_is_exact(values: list[float]):
    inputs = len(values).bit_length() - 1

    def game(chosen: frozenset[int]) -> float:
        return values[sum(1 << number for number in chosen)]

    found = split(game, inputs, shapley=True)
    assert [found.changes[number,][0] for number in range(inputs)] == pytest.approx(shapley_by_orders(game, inputs), abs=1e-9)
    in_order = split(game, inputs)
    for number in range(inputs):
        expected = game(frozenset(range(number + 1))) - game(frozenset(range(number)))
        assert in_order.changes[number,][0] == pytest.approx(expected, abs=1e-9)
    for parts in (found, in_order):
        assert sum(change[0] for change in parts.changes.values()) == pytest.approx(values[-1] - values[0], abs=1e-9)


def test_inputs_between_which_nothing_can_be_had_are_one():
    def game(chosen: frozenset[int]) -> float:
        return math.nan if (0 in chosen) != (2 in chosen) else 5.0 * (0 in chosen) + 2.0 * (1 in chosen)

    assert {block: values[0] for block, values in split(game, 3, shapley=True).changes.items()} == {(0, 2): 5.0, (1,): 2.0}
    # In order 0, 1, 2 nothing can be had between: all three are one.
    assert {block: values[0] for block, values in split(game, 3).changes.items()} == {(0, 1, 2): 7.0}


def test_numbers_with_other_gaps_are_split_apart_and_those_without_ends_not_at_all():
    def value(chosen: frozenset[int]) -> np.ndarray:
        return np.array([product(chosen), math.nan if chosen == {0} else product(chosen), math.nan if not chosen else 1.0])

    for shapley in (False, True):
        found = {int(number): parts for parts in decompose(value, 2, shapley=shapley) for number in parts.numbers}
        assert sorted(found) == [0, 1]
        assert set(found[0].changes) == {(0,), (1,)}
        assert {block: values[0] for block, values in found[1].changes.items()} == {(0, 1): 50.0}


def test_many_inputs_are_sampled_exactly_in_sum_and_near_the_truth():
    inputs = EXACT_INPUTS + 2
    weights = np.arange(1.0, inputs + 1)

    def game(chosen: frozenset[int]) -> float:
        return float(np.prod([1.0 + weights[number] / 10.0 for number in chosen]))

    parts = split(game, inputs, shapley=True)
    assert parts.method == "shapley-sampled"
    assert sum(change[0] for change in parts.changes.values()) == pytest.approx(game(frozenset(range(inputs))) - 1.0)
    for number in range(inputs):
        truth = sum(
            math.factorial(size) * math.factorial(inputs - size - 1) / math.factorial(inputs) * (game(frozenset((*others, number))) - game(frozenset(others)))
            for size in range(inputs)
            for others in itertools.combinations([one for one in range(inputs) if one != number], size)
        )
        error = parts.errors[number,][0]
        assert abs(parts.changes[number,][0] - truth) < 4.5 * error
        assert 0 < error < truth


def test_a_sampled_number_with_gaps_is_told_in_order():
    inputs = EXACT_INPUTS + 1

    def value(chosen: frozenset[int]) -> np.ndarray:
        return np.array([float(len(chosen)), math.nan if len(chosen) == 1 else float(len(chosen))])

    found = {int(number): parts for parts in decompose(value, inputs, shapley=True) for number in parts.numbers}
    assert (found[0].method, found[1].method) == ("shapley-sampled", "sequential")
    assert next(iter(found[1].changes)) == (0, 1)
    assert all(values[0] == 1.0 for values in found[0].changes.values())
    assert all(values[0] == 0.0 for values in found[0].errors.values())


@pytest.mark.parametrize("shapley", [False, True])
@pytest.mark.parametrize("inputs", [1, 4, EXACT_INPUTS + 1])
def test_no_more_is_asked_for_than_announced(inputs: int, shapley: bool):
    asked: set[frozenset[int]] = set()

    def value(chosen: frozenset[int]) -> np.ndarray:
        asked.add(chosen)
        return np.array([float(sum(chosen))])

    decompose(value, inputs, shapley=shapley)
    assert len(asked) - 2 <= evaluations(inputs, shapley=shapley) <= max(2**inputs, ORDERS * inputs + 2 * inputs)


def test_no_inputs_have_no_parts():
    assert decompose(lambda _: np.array([1.0]), 0) == []
