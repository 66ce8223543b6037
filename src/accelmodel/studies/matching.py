"""Rows of two runs of a study that are about the same thing: matched by the columns that tell rows apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accelmodel.studies.run import ALONG_AXES
from accelmodel.studies.scenario import LOAD_KEYS, REPLICA_KEYS, Scenario

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[Any, ...]

# Columns that name what a row is about, and those that do so in one kind of study.
_NAMING = ("case", "subject", "baseline", "quantity", "policy", "view", "step", "period", "plan_step", "quarter", "place", "input")
_OF_KIND = {"ownership": ("accelerator",), "refresh": ("horizon_years",)}


@dataclass(frozen=True)
class Ran:
    """A study as one run had it: the scenario, and the table."""

    name: str
    scenario: Scenario
    table: pa.Table

    @property
    def asked(self) -> Any:
        """The study as it was asked for."""
        return self.scenario.studies[self.name]


def identifying(a: Ran, b: Ran) -> list[str]:
    """The columns that tell rows apart: names, axes and lists of the study that have several values in either run.

    An axis or list of one value is a setting like any other: a change of it is explained, not a reason for other rows.
    """
    kind = a.asked.kind
    named = [name for name in (*_NAMING, *_OF_KIND.get(kind, ())) if name in _both(a, b)]
    if not (a.scenario.cases or b.scenario.cases):
        named = [name for name in named if name != "case"]  # without cases it is the system's name
    axes = [name for name in _axes(a, b) if max(len(_values(one.scenario, name)) for one in (a, b)) > 1]
    lists = [name for name in _lists(a, b) if max(len(getattr(one.asked, name)) for one in (a, b)) > 1 and all(_is_echoed(one, name) for one in (a, b))]
    return list(dict.fromkeys([*named, *axes, *lists]))


def settings(a: Ran, b: Ran) -> set[str]:
    """Columns that repeat what was asked for."""
    return {*identifying(a, b), *_axes(a, b), *_lists(a, b), *REPLICA_KEYS}


def keys(of: Ran, names: Sequence[str]) -> list[Key]:
    """What each row of a table is about, in the order of `names`; rows that are about the same are numbered."""
    rows = list(_points(of, names)) if of.asked.kind == "points" else []
    if len(rows) != of.table.num_rows:
        columns = [of.table.column(name).to_pylist() if name in of.table.column_names else [None] * of.table.num_rows for name in names]
        rows = list(zip(*columns, strict=True)) if names else [()] * of.table.num_rows
    seen: Counter[Key] = Counter()
    found = []
    for row in rows:
        found.append((*row, seen[row]))
        seen[row] += 1
    return found


def numbers(of: Ran, names: Sequence[str], wanted: Sequence[Key], columns: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Some columns of some rows, row by row; NaN where there is no such row, column or number."""
    place = {key: number for number, key in enumerate(keys(of, names))}
    rows = np.array([place.get(key, -1) for key in wanted], np.int64)
    found = np.full((len(wanted), len(columns)), np.nan)
    for number, name in enumerate(columns):
        if name in of.table.column_names and of.table.num_rows:
            values = of.table.column(name).to_numpy(zero_copy_only=False).astype(float)
            found[:, number] = np.where(rows < 0, np.nan, values[rows])
    return found.ravel()


def _both(a: Ran, b: Ran) -> set[str]:
    """Columns of both tables; a table without rows lacks none."""
    columns = [set(one.table.column_names) for one in (a, b) if one.table.num_rows]
    return set.intersection(*columns) if columns else set()


def _axes(a: Ran, b: Ran) -> list[str]:
    if a.asked.kind not in ALONG_AXES:
        return []
    every = dict.fromkeys([*a.scenario.axis_keys, *b.scenario.axis_keys])
    return [name for name in every if a.asked.kind == "points" or name in _both(a, b)]


def _lists(a: Ran, b: Ran) -> list[str]:
    fields = [name for name in type(a.asked).model_fields if isinstance(getattr(a.asked, name), tuple)]
    return [name for name in fields if name in _both(a, b)]


def _is_echoed(of: Ran, name: str) -> bool:
    return not of.table.num_rows or set(of.table.column(name).to_pylist()) <= set(getattr(of.asked, name))


def _values(scenario: Scenario, name: str) -> Sequence[Any]:
    return [step[name] for axis in scenario.axes for step in scenario.steps(axis) if name in step]


def _points(of: Ran, names: Sequence[str]) -> Iterator[Key]:
    """What the rows of operating points are about, in their order: by case, replica and load; an axis need not be a column of the table."""
    for case in of.scenario.chosen(of.asked.cases):
        grid = list(of.scenario.grid(case, of.asked.axes))
        first: dict[Key, int] = {}
        replicas = [tuple(value for key, value in values.items() if key not in LOAD_KEYS) for values in grid]
        for replica in replicas:
            first.setdefault(replica, len(first))
        ordered = [values for _, values in sorted(zip(replicas, grid, strict=True), key=lambda pair: first[pair[0]])]
        situation = of.scenario.situation(case)
        for values in ordered:
            row = {**situation, **values, "case": case}
            yield tuple(row.get(name) for name in names)
