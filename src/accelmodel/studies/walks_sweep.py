"""A row of a sweep's table that is an operating point: found again from its case and axes, and walked down as a point."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from accelmodel.errors import InputError
from accelmodel.studies.axes import label
from accelmodel.studies.equations import Term, given, plain
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.sweep_grid import LeftOut, Steps, Sweep
from accelmodel.studies.sweep_schema import Frontier, SweepStudy, Top
from accelmodel.studies.terms import terms_at


def of_sweep(context: Context, asked: SweepStudy, table: str, row: Mapping[str, Any], column: str) -> Term:
    """The term of a number of a sweep; one that counts points, not tells them, has no parts."""
    name = table or next(iter(asked.reductions), "parts")
    if not isinstance(asked.reductions.get(name), (Top, Frontier)):
        return plain(column, row[column])
    sweep = Sweep(context, asked)
    cell = _cell(sweep, row)
    point = terms_at(context, cell, {key: row[key] for key in sweep.inner_keys})
    if column in vars(point.point):
        return point.term(column)
    return given(column, row[column], f"case '{cell.case}' or [axes]" if cell.case else "the scenario")


def _cell(sweep: Sweep, row: Mapping[str, Any]) -> Cell:
    """The cell whose case, axes and replica are those of a row."""
    for number in _candidates(sweep, row):
        found = sweep.cell(number)
        if not isinstance(found, LeftOut) and all(row[key] == value for key, value in sweep.label_values(found).items() if key in row):
            return found.cell
    raise InputError("no cell of the sweep has this row's case and axes: another version of the engine wrote it, run the scenario anew", key="--row")


def _candidates(sweep: Sweep, row: Mapping[str, Any]) -> Iterator[int]:
    """Numbers of the cells whose axes are as a row says; all steps of an axis whose values the row has by other names."""
    cases = [place for place, case in enumerate(sweep.cases) if case == row["case"]] or range(len(sweep.cases))
    for case, *places in itertools.product(cases, *(_places(axis, row) for axis in sweep.outer)):
        number = case
        for axis, place in zip(sweep.outer, places, strict=True):
            number = number * axis.count + place
        yield number


def _places(axis: Steps, row: Mapping[str, Any]) -> list[int]:
    told = [place for place in range(axis.count) if all(label(value) == row.get(key) for key, value in axis.at(place).items())]
    return told or list(range(axis.count))
