"""How much of a change each of several inputs makes, exactly: put in one after the other, or by Shapley's value.

`value(chosen)` gives some numbers with the inputs `chosen` as they are after the change and all others as they were before; NaN where they cannot be
had. The parts of a number sum to `value(all) - value(none)`:

- sequential: part of input k = value(0 ... k) - value(0 ... k-1), in the order in which the inputs stand;
- Shapley: part of input k = sum over sets S without k of |S|! (n - |S| - 1)! / n! (value(S + k) - value(S)), the mean over all n! orders
  (Shapley, A Value for n-Person Games, 1953). Beyond `EXACT_INPUTS` inputs, the mean over some orders drawn at random, with its standard error.

Inputs between which a number cannot be had are taken together, as one. The interaction is what all do together less the sum of what each does alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float64]]
Chosen = frozenset[int]
Block = tuple[int, ...]
Method = Literal["sequential", "shapley", "shapley-sampled"]

EXACT_INPUTS = 7
ORDERS = 32  # drawn at random where there are more inputs


@dataclass
class Parts:
    """Numbers that split alike: their places, the parts of each block of inputs, standard errors where sampled, and the interaction (NaN: unknown)."""

    method: Method
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    changes: dict[Block, Vector]
    interaction: Vector
    errors: dict[Block, Vector] = field(default_factory=dict)


def decompose(value: Callable[[Chosen], Vector], inputs: int, *, shapley: bool = False, seed: int = 0) -> list[Parts]:
    """The parts of every number that can be had both before and after the change; the others are in none of the groups."""
    ends = value(frozenset()) + value(frozenset(range(inputs)))
    known = np.flatnonzero(~np.isnan(ends))
    if not inputs or not known.size:
        return []
    if not shapley:
        return _sequential(value, inputs, known)
    if inputs <= EXACT_INPUTS:
        return _shapley(value, inputs, known)
    return _sampled(value, inputs, known, np.random.default_rng(seed))


def evaluations(inputs: int, *, shapley: bool) -> int:
    """How many times at most the numbers are asked for."""
    if not shapley:
        return max(2 * inputs, 1)
    return 2**inputs if inputs <= EXACT_INPUTS else ORDERS * (inputs - 1) + 2 * inputs


def _sequential(value: Callable[[Chosen], Vector], inputs: int, known: np.ndarray[Any, np.dtype[np.int64]]) -> list[Parts]:
    steps = np.array([value(frozenset(range(count)))[known] for count in range(inputs + 1)])
    found = []
    for there, places in _patterns(~np.isnan(steps)):
        stops = np.flatnonzero(there)
        changes = {tuple(range(start, stop)): steps[stop, places] - steps[start, places] for start, stop in itertools.pairwise(stops.tolist())}
        found.append(Parts("sequential", known[places], changes, _interaction(value, inputs, list(changes), known[places])))
    return found


def _shapley(value: Callable[[Chosen], Vector], inputs: int, known: np.ndarray[Any, np.dtype[np.int64]]) -> list[Parts]:
    every = [frozenset(chosen) for size in range(inputs + 1) for chosen in itertools.combinations(range(inputs), size)]
    values = np.array([value(chosen)[known] for chosen in every])
    place = {chosen: number for number, chosen in enumerate(every)}
    found = []
    for there, places in _patterns(~np.isnan(values)):
        blocks = _together(inputs, lambda chosen, there=there: bool(there[place[chosen]]))  # type: ignore[misc]
        changes = {block: np.zeros(places.size) for block in blocks}
        for block, without, weight in _marginals(blocks):
            changes[block] += weight * (values[place[without | set(block)], places] - values[place[without], places])
        found.append(Parts("shapley", known[places], changes, _interaction(value, inputs, blocks, known[places])))
    return found


def _sampled(value: Callable[[Chosen], Vector], inputs: int, known: np.ndarray[Any, np.dtype[np.int64]], random: np.random.Generator) -> list[Parts]:
    """Means over random orders; a number that some order meets where it cannot be had is told in the sequential order instead."""
    total, squares = np.zeros((inputs, known.size)), np.zeros((inputs, known.size))
    for _ in range(ORDERS):
        order = random.permutation(inputs).tolist()
        steps = np.array([value(frozenset(order[:count]))[known] for count in range(inputs + 1)])
        change = np.diff(steps, axis=0)[np.argsort(order)]
        total += change
        squares += change**2
    means = total / ORDERS
    errors = np.sqrt(np.maximum(squares / ORDERS - means**2, 0.0) / (ORDERS - 1))
    whole = np.flatnonzero(~np.isnan(means).any(axis=0))
    found = [] if whole.size == known.size else _sequential(value, inputs, np.delete(known, whole))
    if whole.size:
        blocks: list[Block] = [(number,) for number in range(inputs)]
        changes, spread = ({block: of[block[0], whole] for block in blocks} for of in (means, errors))
        found.append(Parts("shapley-sampled", known[whole], changes, _interaction(value, inputs, blocks, known[whole]), spread))
    return found


def _marginals(blocks: Sequence[Block]) -> Iterator[tuple[Block, Chosen, float]]:
    """Every block, every set of other blocks, and the share of the orders in which that set stands before the block."""
    count = len(blocks)
    for block in blocks:
        others = [other for other in blocks if other != block]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for chosen in itertools.combinations(others, size):
                yield block, frozenset(itertools.chain.from_iterable(chosen)), weight


def _interaction(value: Callable[[Chosen], Vector], inputs: int, blocks: Sequence[Block], numbers: np.ndarray[Any, np.dtype[np.int64]]) -> Vector:
    before = value(frozenset())[numbers]
    whole: Vector = value(frozenset(range(inputs)))[numbers] - before
    if len(blocks) == 1:
        return np.zeros(numbers.size)
    alone: Vector = np.sum([value(frozenset(block))[numbers] - before for block in blocks], axis=0)
    return whole - alone


def _patterns(
    there: np.ndarray[Any, np.dtype[np.bool_]],
) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.int64]]]]:
    """The distinct columns of a table of what can be had, each with the places of the numbers that have it."""
    patterns, of = np.unique(there, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        yield patterns[:, number], np.flatnonzero(of.ravel() == number)


def _together(inputs: int, is_there: Callable[[Chosen], bool]) -> list[Block]:
    """Blocks of inputs such that every union of them can be had: two are joined, those that leave the fewest gaps, until there is none."""
    blocks: list[Block] = [(number,) for number in range(inputs)]
    while _gaps(blocks, is_there):
        joined = [_joined(blocks, one, other) for one, other in itertools.combinations(blocks, 2)]
        blocks = min(joined, key=lambda tried: _gaps(tried, is_there))
    return blocks


def _joined(blocks: Sequence[Block], one: Block, other: Block) -> list[Block]:
    return sorted([block for block in blocks if block not in (one, other)] + [tuple(sorted(one + other))])


def _gaps(blocks: Sequence[Block], is_there: Callable[[Chosen], bool]) -> int:
    unions = (chosen for size in range(len(blocks) + 1) for chosen in itertools.combinations(blocks, size))
    return sum(not is_there(frozenset(itertools.chain.from_iterable(chosen))) for chosen in unions)
