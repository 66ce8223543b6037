"""The sweep study: a grid of any size in chunks, which an interrupted or killed run takes up again where it was; its reductions as tables."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from accelmodel.errors import InputError
from accelmodel.results.manifest import close_manifest, open_manifest
from accelmodel.results.parts import part_name
from accelmodel.results.store import DiskFullError, Folder, folder_at
from accelmodel.results.table import constant, table
from accelmodel.studies.grid import labels
from accelmodel.studies.points import check_columns, columns_of
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.sweep_chunk import Chunks, Counts, Record, Reduced
from accelmodel.studies.sweep_executors import RECORDS, Job, interruptible, records
from accelmodel.studies.sweep_grid import LeftOut, Sweep
from accelmodel.studies.sweep_kernels import LARGEST_ERROR
from accelmodel.studies.sweep_reductions import FrontierOf, State, TopOf
from accelmodel.studies.sweep_schema import Frontier, SweepStudy
from accelmodel.studies.sweep_schema import columns_of as reduced_columns

if TYPE_CHECKING:
    import pyarrow as pa

_REASONS_TOLD = 5
_ROWS_SHOWN = 20
_TOLD_FROM_S, _TOLD_EVERY_S = 2.0, 10.0
_SHOWN = ("case", "system", "accelerators", "tensor_parallel", "input_tokens", "output_tokens", "concurrency")


@dataclass
class Total:
    """What the chunks that are done found together; the same whatever their order."""

    reduced: list[Reduced]
    done: dict[int, int] = field(default_factory=dict)  # chunk -> rows written
    counts: Counts = field(default_factory=Counts)
    cells_illegal: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)
    states: dict[str, dict[tuple[Any, ...], State]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take a chunk in."""
        self.done[record.number] = record.rows
        self.counts.add(record.counts)
        self.cells_illegal += record.cells_illegal
        self.reasons = sorted([*self.reasons, *record.reasons])[:_REASONS_TOLD]
        for one in self.reduced:
            states = self.states.setdefault(one.name, {})
            for group, state in record.states[one.name].items():
                states[group] = one.reduction.merge(states[group], state) if group in states else state


def study(context: Context, asked: SweepStudy) -> StudyResult:
    """Run what is left of a sweep, and make its tables; InputError where everything is left out, or the folder holds another's results."""
    name = next(name for name, one in context.scenario.studies.items() if one is asked)
    sweep = Sweep(context, asked)
    sweep.check_names()
    check_columns([name for name in asked.columns if name not in sweep.replica_keys])
    chunks = Chunks(sweep)
    if asked.points and context.output is None:
        raise InputError("points are written to a folder: give `output`", key=f"studies.{name}.points")
    total = Total(chunks.reduced)
    job = Job.of(context, name)
    if context.output is None:
        _run_rest(context, sweep, job, total)
    else:
        folder = folder_at(context.output)
        with folder.alone(name):
            _run_kept(context, sweep, job, total, folder)
    if not total.counts.ran and not _is_partial(sweep, total):
        raise _nothing_left(sweep, total)
    return _result(context, sweep, chunks, total)


def _run_kept(context: Context, sweep: Sweep, job: Job, total: Total, folder: Folder) -> None:
    """Run what an earlier run has left, and keep in a folder what is done."""
    plan = {"study": job.study, "points": sweep.points, "chunks": sweep.chunks, "chunk_points": sweep.asked.chunk, "sorted_by": list(sweep.sorted_keys)}
    manifest = open_manifest(folder, job.study, job.identity, plan)
    for record in _kept_records(folder, job.study, sweep.asked.points):
        total.add(record)
    try:
        _run_rest(context, sweep, job, total)
    except DiskFullError as error:
        kept = f"{len(total.done):,} of {sweep.chunks:,} chunks are kept: make room, and the same command goes on from there"
        raise DiskFullError(f"{error.message}; {kept}", file=error.file, key=error.key) from None
    close_manifest(folder, job.study, manifest, len(total.done), {"counts": vars(total.counts)})


def _kept_records(folder: Folder, name: str, writes: bool) -> Iterator[Record]:
    """The records of the chunks that an earlier run finished; one that cannot be read, or whose part is gone, is as if it were not there."""
    folder.clean(name)
    folder.clean(f"{name}/{RECORDS}")
    parts = set(folder.names(name))
    for file in folder.names(f"{name}/{RECORDS}"):
        try:
            record = Record.from_bytes(folder.read(f"{name}/{RECORDS}/{file}") or b"")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue
        if not (writes and record.rows and part_name(record.number) not in parts):
            yield record


def _run_rest(context: Context, sweep: Sweep, job: Job, total: Total) -> None:
    """Run the chunks that are not done yet, until all are, or an interruption is asked for."""
    progress = _Progress(context.progress, sweep, len(total.done))
    already = set(total.done)
    rest = (number for number in range(sweep.chunks) if number not in already)
    if len(already) == sweep.chunks:
        return
    with interruptible() as stop:
        for content in records(context.executor, job, rest, stop):
            total.add(Record.from_bytes(content))
            progress.tell(len(total.done))


class _Progress:
    """How far a sweep is, how fast, and how long it will take, said now and then."""

    def __init__(self, say: Callable[[str], None] | None, sweep: Sweep, done: int) -> None:
        self.say, self.sweep, self.before = say, sweep, done
        self.begin = time.monotonic()
        self.next = self.begin + _TOLD_FROM_S
        if say is not None and done:
            say(f"{self._points(done)} of {sweep.points:,} points were done before")

    def _points(self, chunks: int) -> str:
        return f"{min(chunks * self.sweep.asked.chunk, self.sweep.points):,}"

    def tell(self, done: int) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if self.say is None or now < self.next:
            return
        self.next = now + _TOLD_EVERY_S
        per_s = (done - self.before) * self.sweep.asked.chunk / (now - self.begin)
        left_s = (self.sweep.chunks - done) * self.sweep.asked.chunk / per_s
        self.say(f"{self._points(done)} of {self.sweep.points:,} points, {per_s / 1e6:.3g} million/s, {_duration(left_s)} left")


def _duration(seconds: float) -> str:
    """A time as one reads it.

    >>> _duration(5400)
    '1 h 30 min'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def _is_partial(sweep: Sweep, total: Total) -> bool:
    return len(total.done) < sweep.chunks


def _nothing_left(sweep: Sweep, total: Total) -> InputError:
    if total.reasons:
        return InputError(f"no point of the sweep can run: {total.reasons[0][1]}")
    return InputError("leaves no point of this sweep", key="exclude", value=" or ".join(sweep.scenario.exclude))


# Tables


def _result(context: Context, sweep: Sweep, chunks: Chunks, total: Total) -> StudyResult:
    tables = {one.name: _reduced_table(sweep, one, total.states.get(one.name, {})) for one in chunks.reduced}
    if sweep.asked.points:
        tables["parts"] = _parts_table(context, sweep, total)
    _rest_on_all(sweep)
    first, *others = tables
    partial = _is_partial(sweep, total)
    summary = {
        "points": sweep.points,
        **vars(total.counts),
        "cells": sweep.cells,
        "cells_illegal": total.cells_illegal,
        "chunks": sweep.chunks,
        "chunks_done": len(total.done),
        "complete": not partial,
        "rows": {name: found.num_rows for name, found in tables.items()},
    }
    return StudyResult(
        "sweep",
        tables[first],
        summary,
        list(_notes(sweep, chunks, total, others)),
        _shown(sweep, chunks, tables[first]),
        {name: tables[name] for name in others},
        _ROWS_SHOWN,
        partial,
    )


def _notes(sweep: Sweep, chunks: Chunks, total: Total, others: list[str]) -> Iterator[str]:
    if _is_partial(sweep, total):
        goes_on = "; the same command goes on from there" if sweep.context.output is not None else ""
        until = f"Partial: interrupted after {len(total.done):,} of {sweep.chunks:,} chunks"
        yield f"{until}: all that follows is of their points (a frontier also of a sample of all){goes_on}"
    counts = total.counts
    beyond = f", {counts.beyond_limits:,} are beyond the limits" if sweep.asked.limits else ""
    yield f"{counts.ran:,} points ran, of which {counts.not_fitting:,} do not fit or cannot be carried{beyond}; conditions leave out {counts.excluded:,}"
    for one in chunks.reduced:
        if isinstance(one.asked, Frontier) and one.asked.resolution_fraction is not None:
            exact = sum(len(state["index"]) for state in total.states.get(one.name, {}).values())
            yield f"{one.name}: {exact:,} points, of which each box of {one.asked.resolution_fraction:.1%} in every column shows one"
    if total.cells_illegal:
        some = "; ".join(dict.fromkeys(reason for _, reason in total.reasons))
        yield f"{total.cells_illegal:,} of {sweep.cells:,} cells ({counts.illegal:,} points) cannot be and are left out, such as: {some}"
    if any(one.asked.kind == "quantiles" for one in chunks.reduced):
        yield f"Quantiles lie within {LARGEST_ERROR:.2%} of the value (counted in bins); minimum and maximum are exact"
    if others:
        yield f"Further tables: {', '.join(others)}"


def _shown(sweep: Sweep, chunks: Chunks, first: pa.Table) -> list[str]:
    reduced = [name for one in chunks.reduced[:1] for name in (*one.asked.by, *reduced_columns(one.asked))]
    names = dict.fromkeys([*(name for name in _SHOWN if name in ("case", *sweep.sorted_keys)), *reduced])
    return [name for name in names if name in first.column_names]


def _parts_table(context: Context, sweep: Sweep, total: Total) -> pa.Table:
    """The files of rows: a row each."""
    name = next(name for name, one in context.scenario.studies.items() if one is sweep.asked)
    done = [(number, rows) for number, rows in sorted(total.done.items()) if rows]
    return table({"part": [f"{name}/{part_name(number)}" for number, _ in done], "rows": [rows for _, rows in done]})


def _reduced_table(sweep: Sweep, one: Reduced, states: Mapping[tuple[Any, ...], State]) -> pa.Table:
    """A reduction's table: points of operation with all their columns, or rows of counts, by group."""
    groups = sorted(states, key=lambda group: [(str(type(value)), value) for value in group])
    if isinstance(one.reduction, (TopOf, FrontierOf)):
        return _points_table(sweep, [number for group in groups for number in one.reduction.found(states[group])])
    keys = [key for key in one.asked.by if key not in sweep.inner_keys]
    rows = [dict(zip(keys, group, strict=True)) | one.groups.values[code] | row for group in groups for code, row in one.reduction.rows(states[group])]
    names = list(rows[0]) if rows else [*one.asked.by, "points"]
    return table({name: [row[name] for row in rows] for name in [*one.asked.by, *(name for name in names if name not in one.asked.by)]})


def _points_table(sweep: Sweep, numbers: list[int]) -> pa.Table:
    """Points by their numbers, in this order: their replica, their load, and the columns asked for or reduced."""
    import pyarrow as pa

    by_cell: dict[int, list[int]] = {}
    for number in numbers:
        by_cell.setdefault(sweep.cell_of(number)[0], []).append(number)
    parts, order = [], []
    for cell_number, of_cell in sorted(by_cell.items()):
        cell = sweep.cell(cell_number)
        assert not isinstance(cell, LeftOut)
        n = len(of_cell)
        loads = sweep.load(cell, np.array(of_cell) - cell_number * sweep.loads)
        columns = columns_of(cell.cell.replica, loads, cell.cell.money)  # all, for a cost that nobody knows is then null
        values = {**labels(cell.cell, n), **{name: columns[name] for name in sweep.told if name in columns}}
        axes = {key: value for key, value in sweep.label_values(cell).items() if key in sweep.outer_keys}
        values |= {key: _constant(value, n) for key, value in axes.items() if key not in values}
        if "requests_per_s" in sweep.inner_keys:
            values["requests_per_s"] = sweep.steps_at(np.array(of_cell) - cell_number * sweep.loads)["requests_per_s"]
        parts.append(table(values))
        order += of_cell
    if not parts:
        return table({"case": pa.array([], pa.string())})
    place = {number: row for row, number in enumerate(order)}
    missing = [name for name in sweep.told if not any(name in part.column_names for part in parts)]
    if missing:
        raise InputError(f"no point has the column '{missing[0]}'", key="columns", value=missing[0])
    whole = pa.concat_tables(parts, promote_options="permissive").unify_dictionaries().combine_chunks()
    return whole.take([place[number] for number in numbers])


def _constant(value: Any, length: int) -> Any:
    return np.full(length, value) if isinstance(value, int) else constant(value, length)


def _rest_on_all(sweep: Sweep) -> None:
    """Remember what the answer rests on: the assumptions of the first cell of each case and of each value of each axis."""
    size = sweep.cells // len(sweep.cases)
    for case in range(len(sweep.cases)):
        sweep.cell(case * size)
        stride = size
        for axis in sweep.outer:
            stride //= axis.count
            for step in range(1, axis.count):
                sweep.cell(case * size + step * stride)
