"""Draws of uncertain inputs: scrambled Sobol points, and what turns a point of the unit cube into values.

A range is read as follows, here and nowhere else. *Uniform*: any value from low to high. *Triangular*: mode at the value, low and high the ends, beyond
which nothing lies. *Log-normal*: the value is the median, low and high the 5th and 95th percentile; where value / low and high / value differ, each side of
the median has the spread of its own end (a two-piece log-normal). So a calibration's ranges are read, too: central 90 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from accelmodel.errors import InputError

Array = npt.NDArray[np.float64]
Distribution = Literal["uniform", "triangular", "log-normal"]

_SPANS_A_FACTOR = 3.0  # from this high / low on a range is one of orders, not of differences
_P95 = 1.6448536269514722  # 95th percentile of the standard normal distribution
_BITS = 30  # of scipy's Sobol points


def usual_distribution(low: float, high: float, *, is_share: bool, of_alternatives: bool = False) -> Distribution:
    """How a range is distributed where nobody says.

    Uniform between published values that disagree; log-normal where the range spans a factor of 3 or more and may go beyond its ends (a share may not);
    else triangular.

    >>> usual_distribution(7_000, 25_000, is_share=False), usual_distribution(0.3, 0.9, is_share=True)
    ('log-normal', 'triangular')
    """
    if of_alternatives:
        return "uniform"
    return "log-normal" if not is_share and low > 0.0 and high >= _SPANS_A_FACTOR * low else "triangular"


def quantile(distribution: Distribution, low: float, value: float, high: float, u: Array) -> Array:
    """Values at the probabilities `u`, of its shape: the inverse of the distribution function, so that equal probabilities are equal draws.

    >>> quantile("triangular", 0.0, 1.0, 2.0, np.array([0.125, 0.5])).tolist()
    [0.5, 1.0]
    """
    if distribution == "uniform":
        return low + (high - low) * u
    if distribution == "triangular":
        if high == low:
            return np.full(u.shape, value)
        # Kotz and van Dorp, Beyond Beta (2004), section 1.1
        left = np.sqrt(u * ((high - low) * (value - low)))
        right = np.sqrt((1.0 - u) * ((high - low) * (high - value)))
        return np.where(u * (high - low) < value - low, low + left, high - right)
    from scipy.special import ndtri

    below, above = math.log(value / low) / _P95, math.log(high / value) / _P95
    z = ndtri(u)
    return np.asarray(value * np.exp(z * np.where(z < 0.0, below, above)))


@dataclass(frozen=True)
class Uncertain:
    """One uncertain number: how it is distributed between its ends, and the group with which it moves, if any."""

    distribution: Distribution
    low: float
    value: float
    high: float
    group: str | None = None


def check_range(key: str, distribution: Distribution, low: float, value: float, high: float) -> None:
    """InputError for a range that does not hold its value, or has no logarithm."""
    if not (math.isfinite(low) and math.isfinite(high) and low <= value <= high):
        raise InputError(f"the range [{low:g}, {high:g}] does not hold the value {value:g}", key=f"inputs.{key}", value=value)
    if distribution == "log-normal" and low <= 0.0:
        raise InputError(f"a log-normal input needs a low end above 0, not {low:g}", key=f"inputs.{key}.low", value=low)


class Design:
    """How independent dimensions make the values of inputs: a Gaussian copula over them.

    Each input has a standard normal score z = sum of weight x score of a dimension, of unit variance, and the value at the probability of z. Without a group
    an input is its own dimension; members of a group of correlation r share one dimension by sqrt(r) and have one of their own by sqrt(1 - r): their scores
    correlate by r, and with r = 1, the default, all stand at the same percentile of their ranges. `scores` gives the correlation matrix of some inputs'
    scores, in place of groups (a calibration's).
    """

    def __init__(
        self, inputs: Mapping[str, Uncertain], correlations: Mapping[str, float] | None = None, scores: tuple[Sequence[str], Array] | None = None
    ) -> None:
        self.inputs = dict(inputs)
        self.dimensions: list[str] = []
        self.weights: dict[str, dict[int, float]] = {}
        matrix = {} if scores is None else _rows_of(*scores)
        for key, one in self.inputs.items():
            if key in matrix:
                self.weights[key] = {self._dimension(name): weight for name, weight in matrix[key].items()}
            elif one.group is None:
                self.weights[key] = {self._dimension(key): 1.0}
            else:
                shared = (correlations or {}).get(one.group, 1.0)
                own = {} if shared == 1.0 else {self._dimension(key): math.sqrt(1.0 - shared)}
                self.weights[key] = ({self._dimension(f"group {one.group}"): math.sqrt(shared)} if shared else {}) | own

    def _dimension(self, name: str) -> int:
        if name not in self.dimensions:
            self.dimensions.append(name)
        return self.dimensions.index(name)

    def values(self, points: Array) -> dict[str, Array]:
        """Values of every input, shape (n,), at points of the unit cube, shape (n, dimensions)."""
        return {key: quantile(one.distribution, one.low, one.value, one.high, self._probability(key, points)) for key, one in self.inputs.items()}

    def _probability(self, key: str, points: Array) -> Array:
        weights = self.weights[key]
        if list(weights.values()) == [1.0]:
            return points[:, next(iter(weights))]
        from scipy.special import ndtr, ndtri

        score: Array = ndtr(sum(weight * ndtri(points[:, dimension]) for dimension, weight in weights.items()))
        return score

    @property
    def components(self) -> list[tuple[list[str], list[int]]]:
        """Inputs that share dimensions, and those dimensions: what is independent of all the rest."""
        found: list[tuple[list[str], set[int]]] = []
        for key, weights in self.weights.items():
            touching = [one for one in found if one[1] & weights.keys()]
            merged = ([name for names, _ in touching for name in names] + [key], set(weights).union(*(places for _, places in touching)))
            found = [one for one in found if one not in touching] + [merged]
        return [(names, sorted(places)) for names, places in found]


def _rows_of(names: Sequence[str], correlation: Array) -> dict[str, dict[str, float]]:
    """Weights of independent dimensions that give scores this correlation: rows of a square root of the nearest matrix that is one."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    return {name: {f"score {place}": float(weight) for place, weight in enumerate(row) if weight} for name, row in zip(names, root, strict=True)}


class Points:
    """Scrambled Sobol points (Owen 1995; Matousek's linear scramble with a digital shift, as scipy has it), drawn chunk by chunk."""

    def __init__(self, dimensions: int, seed: int) -> None:
        from scipy.stats import qmc

        self._engine = qmc.Sobol(max(dimensions, 1), scramble=True, bits=_BITS, rng=np.random.default_rng(seed))

    def next(self, count: int) -> Array:
        """The next `count` points, a power of two of them, shape (count, dimensions), inside the open unit cube."""
        points: Array = self._engine.random_base2(count.bit_length() - 1) if self._engine.num_generated == 0 else self._engine.random(count)
        return points + 0.5 ** (_BITS + 1)  # the middle of the cell that a point of so many bits stands for: never 0


def whole_power(draws: int) -> int:
    """The smallest power of two that is at least `draws`: only these leave Sobol points balanced.

    >>> whole_power(1000), whole_power(1024)
    (1024, 1024)
    """
    return 1 << max(draws - 1, 0).bit_length()
