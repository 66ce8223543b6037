"""What draws tell of inputs: rank correlation, the share of variance that goes with an input, the value of knowing it, Sobol indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from accelmodel.errors import InputError
from accelmodel.studies.draws import Array


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's rank correlation of two arrays of one shape; NaN where one of them does not vary."""
    from scipy.stats import rankdata

    if np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def variance_reduction_fraction(outcome: Array, x: Array) -> float:
    """Share of an outcome's variance that goes, on average, when one input is known: Var(E[y | x]) / Var(y), 0 for an outcome that does not vary.

    Of independent inputs it is the first-order Sobol index (Sobol' 1993; Saltelli et al., Global Sensitivity Analysis, 2008, section 1.2.6). E[y | x] is
    the mean of each of about n^(1/3) groups of equally many draws in the order of x; what scatter alone makes of the means' variance is taken off (the
    epsilon squared of the analysis of variance, Kelley 1935).
    """
    total = float(np.var(outcome))
    if total == 0.0:
        return 0.0
    deviations, weights, scatter = _given(outcome[:, None], x)
    return max(float(weights @ deviations[:, 0] ** 2 - scatter[0]), 0.0) / total


def value_of_knowing(benefits: Array, x: Array) -> float:
    """What it is worth to know one input before choosing among alternatives: E_x[max_a E(benefit_a | x)] - max_a E(benefit_a).

    The expected value of partial perfect information (EVPPI), by the single-loop method of Strong and Oakley, An efficient method for computing
    single-parameter partial expected value of perfect information, Medical Decision Making 33 (2013) 755-766: draws in the order of x, cut into about
    n^(1/3) groups of equally many, the best alternative of each group's means. Scatter of the means alone would make every input worth something where the
    alternatives are near each other; so each alternative's means, less those of the one that is best on average, are drawn towards their mean by
    1 - scatter / variance (the positive-part rule of James and Stein 1961), which is 1 for an input that matters and 0 for one that does not.
    `benefits` is (n, alternatives), larger is better, in any unit, which the result has; `x` is (n,). 0 where knowing never changes the choice.
    """
    best = int(np.argmax(benefits.mean(axis=0)))
    gains = benefits - benefits[:, best : best + 1]
    deviations, weights, scatter = _given(gains, x)
    variance = weights @ deviations**2
    kept = np.maximum(1.0 - scatter / np.where(variance > 0.0, variance, math.inf), 0.0)
    means = gains.mean(axis=0) + kept * deviations
    return max(float(weights @ means.max(axis=1)), 0.0)


def value_of_knowing_all(benefits: Array) -> float:
    """What it is worth to know every input before choosing (EVPI): E[max_a benefit_a] - max_a E(benefit_a)."""
    return max(float(benefits.max(axis=1).mean() - benefits.mean(axis=0).max()), 0.0)


def _given(values: Array, x: Array) -> tuple[Array, Array, Array]:
    """Of values (n, columns) in groups of draws by x: deviations of the groups' means from the mean, their weights, and what scatter makes of them.

    Shapes (groups, columns), (groups,), (columns,): the mean square that deviations of the means would have if x said nothing.
    """
    count = max(2 ** round(math.log2(len(x)) / 3.0), 2)  # a power of two: then Sobol points are balanced inside every group
    parts = np.array_split(np.argsort(x, kind="stable"), count)
    means = np.array([values[part].mean(axis=0) for part in parts])
    within = np.array([values[part].var(axis=0, ddof=1) for part in parts]).mean(axis=0)
    weights = np.array([len(part) / len(x) for part in parts])
    return means - values.mean(axis=0), weights, within * (count - 1) / len(x)


def sobol_indices(evaluate: Callable[[Array], Array], components: Sequence[tuple[str, Sequence[int]]], points: int, seed: int) -> list[dict[str, float]]:
    """First-order and total Sobol indices of independent components of the unit cube, by SALib.

    `evaluate` maps points (n, dimensions) to an outcome (n,); a component is a name and its dimensions. Sampling of Saltelli (Computer Physics
    Communications 145, 2002), first order by Saltelli et al. (2010), total by Jansen (1999): points x (components + 2) evaluations. `..._conf` are half-widths
    of 95 % intervals by bootstrap. InputError where SALib is not installed.
    """
    try:
        from SALib.analyze import sobol as analysis
        from SALib.sample import sobol as sampling
    except ImportError:
        raise InputError("Sobol indices need SALib: pip install 'accelmodel[indices]'", key="indices") from None
    place = {dimension: name for name, dimensions in components for dimension in dimensions}
    count = len(place)
    problem: dict[str, Any] = {"num_vars": count, "names": [str(one) for one in range(count)], "bounds": [[0.0, 1.0]] * count}
    grouped = any(len(dimensions) > 1 for _, dimensions in components)
    if grouped:
        problem["groups"] = [place[dimension] for dimension in range(count)]
    order = list(dict.fromkeys(place[dimension] for dimension in range(count)))
    sample = sampling.sample(problem, points, calc_second_order=False, seed=seed)
    outcome = evaluate(np.clip(sample, 2.0**-31, 1.0 - 2.0**-31))
    if not np.all(np.isfinite(outcome)):
        raise InputError(
            "the case does not run in some draws, and Sobol indices need an outcome everywhere: give looser latency targets, or a concurrency", key="indices"
        )
    found = analysis.analyze(problem, outcome, calc_second_order=False, seed=seed)
    table = {
        name: {"first_order_index": float(found["S1"][row]), "total_order_index": float(found["ST"][row]), "first_order_conf": float(found["S1_conf"][row])}
        for row, name in enumerate(order)
    }
    return [table[name] for name, _ in components]
