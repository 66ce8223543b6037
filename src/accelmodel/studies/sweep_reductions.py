"""Reductions of a sweep: a state per group that points are added to and other states are merged into, in any order and to the same end.

A state is a dict of arrays. `loads` are the groups that follow from a point's load (codes from 0), the others are told apart outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from accelmodel.errors import InputError
from accelmodel.studies import sweep_kernels as kernels
from accelmodel.studies.sweep_schema import Frontier, Histogram, Quantiles, Top, columns_of

State = dict[str, Any]
_MERGED_FROM = 1 << 15  # points that may be on the frontier are sifted when there are so many, and twice those that are on it


class Span:
    """A span of points as the kernel left them: `values` (columns, n), the number of the first, and which count (empty: all)."""

    def __init__(self, columns: Mapping[str, int], values: Any, first: int, keep: Any) -> None:
        self.columns, self.values, self.first, self.keep = columns, values, first, keep

    def of(self, column: str) -> Any:
        """One column."""
        return self.values[self.columns[column]]


class TopOf:
    """The best points of each group."""

    def __init__(self, asked: Top) -> None:
        self.asked, self.sign = asked, 1.0 if asked.order == "lowest" else -1.0

    def new(self, loads: int) -> State:
        """A state of no points."""
        shape = (loads, self.asked.count)
        return {"worth": np.full(shape, math.inf), "index": np.full(shape, kernels.LAST)}

    def add(self, state: State, span: Span, codes: Any) -> None:
        """Take a span of points in."""
        kernels.add_top(span.of(self.asked.column), self.sign, span.first, span.keep, codes, state["worth"], state["index"])

    def close(self, state: State) -> State:
        """The state as it is kept and merged."""
        return state

    def merge(self, one: State, other: State) -> State:
        """The state of the points of both."""
        worth, index = (np.concatenate([one[name], other[name]], axis=1) for name in ("worth", "index"))
        order = np.lexsort((index, worth), axis=1)[:, : self.asked.count]
        return {"worth": np.take_along_axis(worth, order, 1), "index": np.take_along_axis(index, order, 1)}

    def found(self, state: State) -> list[int]:
        """Numbers of the points, by group, the best first."""
        return [int(number) for row in state["index"] for number in row if number != kernels.LAST]


class FrontierOf:
    """The points of each group that none dominates."""

    def __init__(self, asked: Frontier) -> None:
        self.asked = asked
        signs = [1.0] * len(asked.minimise) + [-1.0] * len(asked.maximise)
        self.signs = np.array([*signs, 0.0][:3])
        self.columns = (*columns_of(asked), columns_of(asked)[0])[:3]

    def new(self, loads: int) -> State:
        """A state of no points."""
        table = np.full((loads, kernels.TABLE + 1, kernels.TABLE + 1), math.inf)
        return {"table": table, "scales": np.zeros((loads, 2, 2), np.int64), "kept": 0, "count": 0, **_rows(2 * _MERGED_FROM)}

    def start(self, loads: int, some: State | None) -> State:
        """A state that knows some points of the sweep already (a closed state): what they dominate needs no keeping."""
        state = self.new(loads)
        if some is not None:
            self.extend(state, some)
        return state

    def _thinned(self, state: State, width: float) -> State:
        """Of the points in one box, which spans a factor 1 + `width` of every column, the first."""
        values = np.abs(state["values"][:, : len(columns_of(self.asked))])
        if (self.signs[: values.shape[1]] * state["values"][:, : values.shape[1]] <= 0.0).any():
            raise InputError("needs columns whose values are all above 0", key="resolution_fraction", value=width)
        boxes = np.floor(np.log(values) / math.log1p(width))
        _, first = np.unique(np.column_stack([state["group"], boxes]), axis=0, return_index=True)
        return {name: array[np.sort(first)] for name, array in state.items()}

    def rows_of(self, span: Span, numbers: Any, codes: Any) -> State:
        """Points by their numbers as rows of a state, those that lack a value left out."""
        values = np.stack([sign * span.of(column) for column, sign in zip(self.columns, self.signs, strict=True)], axis=1)
        known = ~np.isnan(values).any(axis=1)
        return {"values": values[known], "index": numbers[known], "group": codes[known]}

    def extend(self, state: State, rows: State) -> None:
        """Take rows in, and sift."""
        self._append(state, rows)
        self._sift(state)

    def _append(self, state: State, rows: State) -> None:
        self._make_room(state, state["count"] + len(rows["index"]))
        begin, end = state["count"], state["count"] + len(rows["index"])
        for name in ("values", "index", "group"):
            state[name][begin:end] = rows[name]
        state["count"] = end

    @staticmethod
    def _make_room(state: State, needed: int) -> None:
        if needed > len(state["index"]):
            longer = _rows(2 * needed)
            for name, array in longer.items():
                array[: state["count"]] = state[name][: state["count"]]
            state |= longer

    def add(self, state: State, span: Span, codes: Any) -> None:
        """Take a span of points in; now and then sift those that may be on the frontier, and make the table of them anew."""
        self._make_room(state, state["count"] + span.values.shape[1])
        rows = (state["values"], state["index"], state["group"])
        a, b, c = (span.of(column) for column in self.columns)
        state["count"] = kernels.add_frontier(a, b, c, self.signs, span.first, span.keep, codes, state["scales"], state["table"], *rows, state["count"])
        if state["count"] > max(_MERGED_FROM, 2 * state["kept"]) or (state["kept"] == 0 and state["count"] > 0):
            self._sift(state)

    def _sift(self, state: State) -> None:
        kept = _sifted({name: state[name][: state["count"]] for name in ("values", "index", "group")})
        count = len(kept["index"])
        for name, array in kept.items():
            state[name][:count] = array
        state["count"] = state["kept"] = count
        kernels.fill_table(kept["values"], kept["group"], state["scales"], state["table"])

    def close(self, state: State) -> State:
        """The points of the frontier alone, by group and number."""
        return _sifted({name: state[name][: state["count"]] for name in ("values", "index", "group")})

    def merge(self, one: State, other: State) -> State:
        """The state of the points of both."""
        return _sifted({name: np.concatenate([one[name], other[name]]) for name in ("values", "index", "group")})

    def found(self, state: State) -> list[int]:
        """Numbers of the points, by group, ascending by the first column; InputError where boxes are asked for and a value is not above 0."""
        state = state if self.asked.resolution_fraction is None else self._thinned(state, self.asked.resolution_fraction)
        order = np.lexsort((state["index"], state["values"][:, 0], state["group"]))
        numbers: list[int] = state["index"][order].tolist()
        return numbers


def _rows(room: int) -> State:
    return {"values": np.empty((room, 3)), "index": np.empty(room, np.int64), "group": np.empty(room, np.int64)}


def _sifted(rows: State) -> State:
    """Those of some rows that no other of their group dominates, by group and number."""
    values, index, group = rows["values"], rows["index"], rows["group"]
    marks = np.zeros(len(index), np.uint8)
    kernels.mark_frontier(values, group, _in_order(values, index, group), marks)
    places = np.flatnonzero(marks)
    places = places[np.lexsort((index[places], group[places]))]
    return {"values": values[places], "index": index[places], "group": group[places]}


def _in_order(values: Any, index: Any, group: Any) -> Any:
    """Rows by group, then the columns, then number: sorted by group and first column, and only what is equal in these by all."""
    first = np.ascontiguousarray(values[:, 0])
    grouped = len(group) > 0 and bool((group != group[0]).any())
    order = np.lexsort((first, group)) if grouped else np.argsort(first)
    same = (first[order[1:]] == first[order[:-1]]) & (group[order[1:]] == group[order[:-1]])
    if same.any():
        tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
        rows = order[tied]
        order[tied] = rows[np.lexsort((index[rows], values[rows, 2], values[rows, 1], first[rows], group[rows]))]
    return order


class HistogramOf:
    """How many points of each group lie where."""

    def __init__(self, asked: Histogram) -> None:
        spaced = np.geomspace if asked.scale == "log" else np.linspace
        self.asked, self.edges = asked, spaced(asked.first, asked.last, asked.bins + 1)

    def new(self, loads: int) -> State:
        """A state of no points."""
        return {"counts": np.zeros((loads, self.asked.bins + 2), np.int64)}

    def add(self, state: State, span: Span, codes: Any) -> None:
        """Take a span of points in."""
        kernels.add_histogram(span.of(self.asked.column), span.keep, codes, self.edges, state["counts"])

    def close(self, state: State) -> State:
        """The state as it is kept and merged."""
        return state

    def merge(self, one: State, other: State) -> State:
        """The state of the points of both."""
        return {"counts": one["counts"] + other["counts"]}

    def rows(self, state: State) -> list[tuple[int, dict[str, Any]]]:
        """(group, row) of every interval, those below and above included; an end that there is none is None."""
        ends = [None, *self.edges.tolist(), None]
        return [
            (group, {"column": self.asked.column, "from_value": ends[place], "to_value": ends[place + 1], "points": int(count)})
            for group, counts in enumerate(state["counts"])
            for place, count in enumerate(counts)
        ]


class QuantilesOf:
    """Counts of points of each group in bins of equal relative width, and the ends."""

    def __init__(self, asked: Quantiles) -> None:
        self.asked = asked

    def new(self, loads: int) -> State:
        """A state of no points."""
        counts = {f"counts_{column}": np.zeros((loads, kernels.BINS), np.int64) for column in self.asked.columns}
        return counts | {f"ends_{column}": np.tile([math.inf, -math.inf], (loads, 1)) for column in self.asked.columns}

    def add(self, state: State, span: Span, codes: Any) -> None:
        """Take a span of points in."""
        for column in self.asked.columns:
            kernels.add_quantiles(span.of(column), span.keep, codes, state[f"counts_{column}"], state[f"ends_{column}"])

    def close(self, state: State) -> State:
        """Only the bins that hold points: (group, bin, count)."""
        found = {}
        for column in self.asked.columns:
            counts = state[f"counts_{column}"]
            group, place = np.nonzero(counts)
            found[f"counts_{column}"] = np.stack([group, place, counts[group, place]])
            found[f"ends_{column}"] = state[f"ends_{column}"]
        return found

    def merge(self, one: State, other: State) -> State:
        """The state of the points of both."""
        found = {}
        for column in self.asked.columns:
            group, place, count = np.concatenate([one[f"counts_{column}"], other[f"counts_{column}"]], axis=1)
            keys, inverse = np.unique(group * kernels.BINS + place, return_inverse=True)
            total = np.zeros(len(keys), np.int64)
            np.add.at(total, inverse, count)
            found[f"counts_{column}"] = np.stack([keys // kernels.BINS, keys % kernels.BINS, total])
            ends = one[f"ends_{column}"], other[f"ends_{column}"]
            found[f"ends_{column}"] = np.stack([np.minimum(ends[0][:, 0], ends[1][:, 0]), np.maximum(ends[0][:, 1], ends[1][:, 1])], axis=1)
        return found

    def rows(self, state: State) -> list[tuple[int, dict[str, Any]]]:
        """(group, row) of every quantile: the value that at least this share of the points do not exceed."""
        found = []
        for column in self.asked.columns:
            group, place, count = state[f"counts_{column}"]
            for code, (least, largest) in enumerate(state[f"ends_{column}"].tolist()):
                places, counts = place[group == code], count[group == code]
                found += [(code, {"column": column, **row}) for row in self._of_group(places, counts, least, largest)]
        return found

    def _of_group(self, places: Any, counts: Any, least: float, largest: float) -> list[dict[str, Any]]:
        total = np.cumsum(counts)
        if not len(total):
            return []
        rows = []
        for quantile in self.asked.quantiles:
            rank = max(math.ceil(Fraction(str(quantile)) * int(total[-1])), 1)  # in decimals, as it was asked for
            middle = kernels.bin_middle(int(places[np.searchsorted(total, rank)]))
            value = least if quantile == 0.0 else largest if quantile == 1.0 else min(max(middle, least), largest)
            rows.append({"quantile": quantile, "value": value, "points": int(total[-1])})
        return rows


AnyReduction = TopOf | FrontierOf | HistogramOf | QuantilesOf


def reduction_of(asked: Any) -> AnyReduction:
    """What carries a reduction of a scenario file out."""
    kinds: dict[str, Any] = {"top": TopOf, "frontier": FrontierOf, "histogram": HistogramOf, "quantiles": QuantilesOf}
    made: AnyReduction = kinds[asked.kind](asked)
    return made


def merged(reduction: AnyReduction, states: Sequence[State]) -> State:
    """Several closed states as one."""
    whole, *others = states
    for other in others:
        whole = reduction.merge(whole, other)
    return whole
