"""Money: cost of ownership, offers' arithmetic, attribution to tokens, margin.

Pure functions of floats or NumPy arrays, which broadcast. Money is in USD; a name ends in its unit. Not a number
(NaN) in, NaN out: a point of a grid that cannot run has no cost. Whatever has no answer (the cost per token of a
stream without tokens) is NaN too, never infinite and never 0.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from accelmodel.errors import InputError

Values = float | npt.NDArray[np.float64]


def ratio(numerator: Values, denominator: Values) -> Values:
    """numerator / denominator, NaN where the denominator is 0.

    >>> float(ratio(1.0, 4.0)), float(ratio(1.0, 0.0))
    (0.25, nan)
    """
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    quotient: Values = np.divide(top, bottom, out=np.full(top.shape, math.nan), where=bottom != 0)[()]
    return quotient


def check_range(key: str, value: Values, *, at_least: float = -math.inf, above: float = -math.inf, at_most: float = math.inf, below: float = math.inf) -> None:
    """Demand that every value is finite and within the bounds; InputError with key and value otherwise."""
    values = np.asarray(value, float)
    if not np.all(np.isfinite(values) & (values >= at_least) & (values > above) & (values <= at_most) & (values < below)):
        bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
        wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)) or "finite"
        raise InputError(f"must be {wanted}, not {value}", key=key, value=value)
