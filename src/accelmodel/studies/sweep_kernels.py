"""Compiled reductions: what is kept of a span of points while they lie in the cache. All exact, and independent of how points are cut into spans.

Common arguments: `values` (n,) of one column, `sign` 1 or -1 (negative: larger is better), `first` the number of the first point in the sweep, `keep` (n,)
which points count (empty: all), `codes` (n,) the group of each (empty: all in group 0). NaN counts nowhere.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from accelmodel.core.jit import jit
from accelmodel.core.kernels import Array, Integers

Bytes = npt.NDArray[np.uint8]

LAST = np.iinfo(np.int64).max  # number of no point

# A double's bits as an integer ascend with it where the sign is off; the upper 12 + _MANTISSA of them name a bin whose ends lie 2^-9 apart.
_MANTISSA = 9
_SHIFT = 52 - _MANTISSA
_SPAN = 64  # exponents from -64 to 63; smaller counts as 0, larger to the last bin
_HALF = 2 * _SPAN * (1 << _MANTISSA)
_LOWEST_KEY = (1023 - _SPAN) << _MANTISSA
BINS = 2 * _HALF + 1  # negative numbers, zero, positive ones
LARGEST_ERROR = 2.0 ** -(_MANTISSA + 1)  # of a quantile, relative: half a bin over its lower end

TABLE = 256  # bins a side of the table by which most dominated points are known at once


@jit
def group_codes(begin: int, strides: Integers, counts: Integers, offsets: Integers, lookup: Integers, out: Integers) -> None:
    """Group of each point from load `begin` on: the sum over axes of `lookup` at the axis' offset + the step along it."""
    for i in range(out.shape[0]):
        code = 0
        for axis in range(strides.shape[0]):
            code += lookup[offsets[axis] + (begin + i) // strides[axis] % counts[axis]]
        out[i] = code


@jit
def add_top(values: Array, sign: float, first: int, keep: Bytes, codes: Integers, worth: Array, index: Integers) -> None:
    """The best of each group: `worth` and `index` (groups, count), ascending. Of equal ones the first, since points come in the order of their numbers."""
    last = worth.shape[1] - 1
    for i in range(values.shape[0]):
        v = sign * values[i]
        g = codes[i] if codes.shape[0] > 0 else 0
        if v >= worth[g, last] or v != v or (keep.shape[0] > 0 and keep[i] == 0):
            continue
        place = last
        while place > 0 and v < worth[g, place - 1]:
            worth[g, place], index[g, place] = worth[g, place - 1], index[g, place - 1]
            place -= 1
        worth[g, place], index[g, place] = v, first + i


@jit
def add_histogram(values: Array, keep: Bytes, codes: Integers, edges: Array, counts: Integers) -> None:
    """Points of each group in each interval: `counts` (groups, intervals + 2), those below the first edge first, those from the last edge on last."""
    for i in range(values.shape[0]):
        v = values[i]
        if v != v or (keep.shape[0] > 0 and keep[i] == 0):
            continue
        low, high = 0, edges.shape[0]
        while low < high:
            middle = (low + high) >> 1
            if edges[middle] <= v:
                low = middle + 1
            else:
                high = middle
        counts[codes[i] if codes.shape[0] > 0 else 0, low] += 1


@jit
def add_quantiles(values: Array, keep: Bytes, codes: Integers, counts: Integers, ends: Array) -> None:
    """Points of each group in each of BINS bins of equal relative width: `counts` (groups, BINS); and `ends` (groups, 2), least and largest."""
    bits = values.view(np.int64)
    for i in range(values.shape[0]):
        v = values[i]
        if v != v or (keep.shape[0] > 0 and keep[i] == 0):
            continue
        g = codes[i] if codes.shape[0] > 0 else 0
        place = ((bits[i] & 0x7FFFFFFFFFFFFFFF) >> _SHIFT) - _LOWEST_KEY
        place = min(place, _HALF - 1)
        if place < 0:
            counts[g, _HALF] += 1
        elif v > 0.0:
            counts[g, _HALF + 1 + place] += 1
        else:
            counts[g, _HALF - 1 - place] += 1
        ends[g, 0] = min(ends[g, 0], v)
        ends[g, 1] = max(ends[g, 1], v)


def bin_middle(place: int) -> float:
    """The number that stands for a bin: the middle of its ends."""
    if place == _HALF:
        return 0.0
    key = _LOWEST_KEY + (place - _HALF - 1 if place > _HALF else _HALF - 1 - place)
    low, high = np.array([key << _SHIFT, (key + 1) << _SHIFT], dtype=np.int64).view(np.float64)
    return math.copysign(0.5 * (float(low) + float(high)), place - _HALF)


@jit
def _key(bits: int) -> int:
    """A double's bits as an integer that ascends with the number; half of it, so that a difference is never too large for an integer."""
    return (bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)) >> 1


@jit
def add_frontier(
    a: Array,
    b: Array,
    c: Array,
    signs: Array,
    first: int,
    keep: Bytes,
    codes: Integers,
    scales: Integers,
    table: Array,
    values: Array,
    index: Integers,
    group: Integers,
    count: int,
) -> int:
    """Append the points that may be on a frontier to `values` (room, 3), `index`, `group` from `count` on; the new count.

    Left out is what `table` (groups, TABLE + 1, TABLE + 1) shows to be worse: its entry of the point's bins along the first two columns is the least of the
    third over points that lie in lower bins of both, hence are better in both. `scales` (groups, 2, 2) holds the first bin's number and the shift of each.
    """
    work = np.empty(2)
    bits = work.view(np.int64)
    for i in range(a.shape[0]):
        if keep.shape[0] > 0 and keep[i] == 0:
            continue
        x, y, z = signs[0] * a[i], signs[1] * b[i], signs[2] * c[i]
        g = codes[i] if codes.shape[0] > 0 else 0
        work[0], work[1] = x + 0.0, y + 0.0
        p = min(max((_key(bits[0]) - scales[g, 0, 0]) >> scales[g, 0, 1], 0), TABLE)
        q = min(max((_key(bits[1]) - scales[g, 1, 0]) >> scales[g, 1, 1], 0), TABLE)
        if table[g, p, q] <= z or x != x or y != y or z != z:
            continue
        values[count, 0], values[count, 1], values[count, 2] = x, y, z
        index[count], group[count] = first + i, g
        count += 1
    return count


@jit
def mark_frontier(values: Array, group: Integers, order: Integers, out: Bytes) -> None:
    """Mark the points that none dominates, of rows taken in `order`: by group, then ascending by the three columns, then by number.

    Whoever dominates a row comes before it, so that it is enough to know the stairs of (second, third) column so far: second ascending, third descending.
    """
    n = order.shape[0]
    seconds, thirds, stairs, current = np.empty(n), np.empty(n), 0, -1
    for k in range(n):
        row = order[k]
        if group[row] != current:
            current, stairs = group[row], 0
        y, z = values[row, 1], values[row, 2]
        low, high = 0, stairs  # the first stair whose second column is above y
        while low < high:
            middle = (low + high) >> 1
            if seconds[middle] <= y:
                low = middle + 1
            else:
                high = middle
        if low > 0 and thirds[low - 1] <= z:
            continue
        out[row] = 1
        begin = low - 1 if low > 0 and seconds[low - 1] == y else low
        end = low
        while end < stairs and thirds[end] >= z:
            end += 1
        move = begin + 1 - end
        if move > 0:
            for place in range(stairs - 1, end - 1, -1):
                seconds[place + 1], thirds[place + 1] = seconds[place], thirds[place]
        elif move < 0:
            for place in range(end, stairs):
                seconds[place + move], thirds[place + move] = seconds[place], thirds[place]
        seconds[begin], thirds[begin] = y, z
        stairs += move


@jit
def _span_bins(values: Array, group: Integers, scales: Integers) -> None:
    """The bins' scales: those that the points of each group span."""
    bits = np.empty(1, np.int64)
    highest = np.full((scales.shape[0], 2), -LAST)
    scales[:, :, 0] = LAST
    scales[:, :, 1] = 0
    for row in range(values.shape[0]):
        for k in range(2):
            bits.view(np.float64)[0] = values[row, k] + 0.0
            key = _key(bits[0])
            scales[group[row], k, 0] = min(scales[group[row], k, 0], key)
            highest[group[row], k] = max(highest[group[row], k], key)
    for g in range(scales.shape[0]):
        for k in range(2):
            scales[g, k, 0] = scales[g, k, 0] if scales[g, k, 0] != LAST else 0
            while (highest[g, k] - scales[g, k, 0]) >> scales[g, k, 1] >= TABLE:
                scales[g, k, 1] += 1


@jit
def fill_table(values: Array, group: Integers, scales: Integers, table: Array) -> None:
    """The table of `add_frontier` from the points that are on the frontier so far; `scales` to span them is filled too."""
    _span_bins(values, group, scales)
    bits, place = np.empty(1, np.int64), np.zeros(2, np.int64)
    table[:] = math.inf
    for row in range(values.shape[0]):
        g = group[row]
        for k in range(2):
            bits.view(np.float64)[0] = values[row, k] + 0.0
            place[k] = ((_key(bits[0]) - scales[g, k, 0]) >> scales[g, k, 1]) + 1
        table[g, place[0], place[1]] = min(table[g, place[0], place[1]], values[row, 2])
    for g in range(table.shape[0]):
        for p in range(TABLE + 1):
            for q in range(1, TABLE + 1):
                table[g, p, q] = min(table[g, p, q], table[g, p, q - 1])
        for p in range(1, TABLE + 1):
            for q in range(TABLE + 1):
                table[g, p, q] = min(table[g, p, q], table[g, p - 1, q])
