"""Whole things: counts rounded up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_ROUNDING = 1e-12  # what rounding of floats puts on top of a whole number


def whole(counts: npt.ArrayLike) -> Counts:
    """Counts rounded up, forgiving what rounding of floats put on top of a whole number.

    >>> whole([0.0, 2.5, 0.3 / 0.1]).tolist()
    [0, 3, 3]
    """
    found: Counts = np.ceil(np.asarray(counts, float) * (1 - _ROUNDING)).astype(np.int64)
    return found
