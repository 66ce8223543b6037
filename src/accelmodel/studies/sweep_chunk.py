"""One chunk of a sweep: its points through the kernel, into a Parquet part where rows are wanted, and into the reductions' states.

What a chunk gives depends on its number alone: not on who computes it, nor on what was computed before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accelmodel.columns import COLUMNS
from accelmodel.errors import InputError
from accelmodel.results.memory import empty
from accelmodel.results.parts import arrays_bytes, read_arrays
from accelmodel.results.table import labels as dictionary
from accelmodel.results.table import table
from accelmodel.studies.kernel import run_span
from accelmodel.studies.points import FIXED, evaluated
from accelmodel.studies.sweep_grid import LeftOut, LoadGroups, Loads, Sweep
from accelmodel.studies.sweep_reductions import AnyReduction, FrontierOf, Span, State, reduction_of

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.serving.steady_state import Grid

Array = npt.NDArray[np.float64]

_NO_LOADS, _ALL = np.empty(0, np.int64), np.empty(0, np.uint8)
SPAN = 1 << 14  # points that pass the reductions at a time: their columns lie in the second-level cache
_REASONS_KEPT = 20
_STATE_BYTES = 1 << 27  # of all reductions of a chunk


@dataclass
class Counts:
    """How many points: that ran (of which do not fit, and run beyond the limits), and that were left out, by a condition or for a reason."""

    ran: int = 0
    not_fitting: int = 0
    beyond_limits: int = 0
    excluded: int = 0
    illegal: int = 0

    def add(self, other: Counts) -> None:
        """Count others too."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Record:
    """What is kept of a chunk beside its rows: counts, the first reasons why cells were left out, the reductions' states by group."""

    number: int
    counts: Counts = field(default_factory=Counts)
    rows: int = 0
    cells_illegal: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)
    states: dict[str, dict[tuple[Any, ...], State]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The record as a file."""
        document = {
            "number": self.number,
            "counts": vars(self.counts),
            "rows": self.rows,
            "cells_illegal": self.cells_illegal,
            "reasons": self.reasons,
            "groups": {name: [list(group) for group in groups] for name, groups in self.states.items()},
        }
        arrays = {
            f"{name}/{place}/{key}": array
            for name, groups in self.states.items()
            for place, state in enumerate(groups.values())
            for key, array in state.items()
        }
        return arrays_bytes(document, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> Record:
        """The record of a file."""
        document, arrays = read_arrays(content)
        states: dict[str, dict[tuple[Any, ...], State]] = {}
        for name, groups in document["groups"].items():
            parts = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
            states[name] = {
                tuple(group): {key.removeprefix(f"{place}/"): array for key, array in parts.items() if key.startswith(f"{place}/")}
                for place, group in enumerate(groups)
            }
        reasons = [(number, reason) for number, reason in document["reasons"]]
        return cls(document["number"], Counts(**document["counts"]), document["rows"], document["cells_illegal"], reasons, states)


class Reduced:
    """One reduction of a sweep with its groups."""

    def __init__(self, sweep: Sweep, name: str) -> None:
        self.name = name
        self.asked = sweep.asked.reductions[name]
        self.reduction: AnyReduction = reduction_of(self.asked)
        self.groups: LoadGroups = sweep.load_groups(self.asked.by)

    @property
    def state_bytes(self) -> int:
        """Memory of one state."""
        of_one: int = sum(array.nbytes for array in self.reduction.new(1).values() if isinstance(array, np.ndarray))
        return len(self.groups.values) * of_one


class Chunks:
    """The chunk function of a sweep, with what all chunks share."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._check_groups()
        self.reduced = [Reduced(sweep, name) for name in sweep.asked.reductions]
        needed = sum(one.state_bytes for one in self.reduced)
        if needed > _STATE_BYTES:
            name = max(self.reduced, key=lambda one: one.state_bytes).name
            message = f"its groups by load take {needed / 1e6:,.0f} MB a chunk, more than {_STATE_BYTES / 1e6:,.0f}: group by fewer values, or write the points"
            raise InputError(message, key=f"reductions.{name}.by")

    def _check_groups(self) -> None:
        known = ("case", *self.sweep.outer_keys, *self.sweep.inner_keys, *self.sweep.replica_keys)
        for name, asked in self.sweep.asked.reductions.items():
            for key in asked.by:
                if key not in known:
                    raise InputError(f"no group goes by '{key}'", key=f"reductions.{name}.by", value=key, allowed=set(known))

    @cached_property
    def samples(self) -> dict[str, dict[tuple[Any, ...], State]]:
        """The frontiers of a sample of the sweep, by reduction and group: every chunk starts from them, so that it keeps next to nothing that others beat."""
        states = _States([one for one in self.reduced if isinstance(one.reduction, FrontierOf)], {})
        if states.reduced and self.sweep.chunks > 1:
            for cell, loads in self.sweep.sample():
                values, _ = evaluated(cell.cell.replica, self.sweep.load(cell, loads), cell.plan, 1)
                within = np.all(
                    [values[self.rows[column]] <= limit for column, limit in self.sweep.asked.limits.items()] or [np.ones(len(loads), bool)], axis=0
                )
                values, loads = values[:, within], loads[within]
                first = cell.number * self.sweep.loads
                for one, state in zip(states.reduced, states.of([self.sweep.group(cell, one.asked.by) for one in states.reduced]), strict=True):
                    assert isinstance(one.reduction, FrontierOf)
                    rows = one.reduction.rows_of(Span(self.rows, values, 0, _ALL), first + loads, one.groups.at(loads))
                    one.reduction.extend(state, rows)
        return states.closed()

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of the buffer of each column."""
        return {name: place for place, name in enumerate(name for name in self.sweep.wanted if name not in FIXED)}

    def compute(self, number: int) -> tuple[Record, pa.Table | None]:
        """A chunk by its number: its record, and its rows where points are wanted."""
        writes = self.sweep.asked.points
        record, open_states = Record(number), _States(self.reduced, self.samples)
        runs: list[_Run] = []
        begin, end = number * self.sweep.asked.chunk, min((number + 1) * self.sweep.asked.chunk, self.sweep.points)
        out = empty(len(self.rows), end - begin if writes else min(end - begin, SPAN))
        to = 0
        for cell_number, first, last in self.sweep.spans(number):
            cell = self.sweep.cell(cell_number)
            if isinstance(cell, LeftOut):
                self._leave_out(record, cell, first, last)
                continue
            states = open_states.of([self.sweep.group(cell, one.asked.by) for one in self.reduced])
            run = _Run(cell, first, last, [])
            for span in self._spans(cell, first, last, out, to if writes else None, record.counts):
                for one, state in zip(self.reduced, states, strict=True):
                    load = span.first - cell.number * self.sweep.loads
                    one.reduction.add(state, span, one.groups.codes(load, load + span.values.shape[1]))
                run.keep.append(span.keep)
            runs.append(run)
            to += last - first
        record.states = open_states.closed()
        found = self._table(out, runs) if writes and runs else None
        record.rows = 0 if found is None else found.num_rows
        return record, found

    def _leave_out(self, record: Record, cell: LeftOut, first: int, last: int) -> None:
        if cell.reason is None:
            record.counts.excluded += last - first
            return
        record.counts.illegal += last - first
        if first == 0:
            record.cells_illegal += 1
            if len(record.reasons) < _REASONS_KEPT:
                record.reasons.append((cell.number, cell.reason))

    def _spans(self, cell: Loads, first: int, last: int, out: Array, to: int | None, counts: Counts) -> Iterator[Span]:
        """A cell's loads, some at a time, as the kernel leaves them in `out`: one behind the other from `to` on, or each in the place of the one before."""
        grid = self._grid(cell) if cell.is_direct else None
        of, made = cell.cell.replica, cell.plan
        for begin in range(first, last, SPAN):
            end = min(begin + SPAN, last)
            place = 0 if to is None else to + begin - first
            keep = self.sweep.kept(cell, np.arange(begin, end) if cell.conditions or cell.longest < math.inf else _NO_LOADS)
            if grid is not None:
                misfits = run_span(of.constants, of.capped_constants, made.terms, grid, made.wanted, begin, end, out, place)
            else:
                misfits = self._solve(cell, begin, end, keep, out[:, place : place + end - begin])
            span = Span(self.rows, out[:, place : place + end - begin], cell.number * self.sweep.loads + begin, keep)
            self._count(counts, span, misfits)
            yield span

    def _count(self, counts: Counts, span: Span, misfits: int) -> None:
        """Count a span's points, and leave out those beyond the limits."""
        n, fits = span.values.shape[1], span.of("fits")
        kept = n
        if len(span.keep):
            kept = int(np.count_nonzero(span.keep))
            misfits = int(np.count_nonzero(span.keep & (fits == 0.0)))
        counts.ran += kept
        counts.excluded += n - kept
        counts.not_fitting += misfits
        if self.sweep.asked.limits:
            within = self._within(span.values).astype(np.uint8)
            span.keep = within & span.keep if len(span.keep) else within
            counts.beyond_limits += kept - misfits - int(np.count_nonzero(span.keep))

    def _within(self, values: Array) -> npt.NDArray[np.bool_]:
        """Which points fit and are within the limits."""
        within: npt.NDArray[np.bool_] = values[self.rows["fits"]] == 1.0
        for column, limit in self.sweep.asked.limits.items():
            within &= values[self.rows[column]] <= limit
        return within

    @staticmethod
    def _grid(cell: Loads) -> Grid:
        from accelmodel.serving.steady_state import INPUTS, Grid

        return Grid.of(*(cell.values.get(name, np.zeros(())) for name in INPUTS))

    def _solve(self, cell: Loads, begin: int, end: int, keep: npt.NDArray[np.uint8], out: Array) -> int:
        """Loads that are rates or targets: solved for, where they are kept, then run; how many do not fit or cannot be carried."""
        numbers = np.arange(begin, end)
        chosen = np.flatnonzero(keep) if len(keep) else numbers - begin
        out[:] = np.nan
        if not len(chosen):
            return 0
        found, _ = evaluated(cell.cell.replica, self.sweep.load(cell, numbers[chosen]), cell.plan, 1)
        out[:, chosen] = found
        return int(np.count_nonzero(found[self.rows["fits"]] == 0.0))

    # Rows

    def _table(self, out: Array, runs: list[_Run]) -> pa.Table:
        """The rows of a chunk as a table, those that conditions leave out dropped."""
        total = sum(run.size for run in runs)
        values = out[:, :total]
        keep = None
        if any(len(keep) for run in runs for keep in run.keep):
            keep = np.flatnonzero(np.concatenate([run.kept for run in runs]))
            values = values[:, keep]
        columns = {name: self._column(name, values, runs, keep) for name in self.sweep.row_columns}
        return table(columns)

    def _column(self, name: str, values: Array, runs: list[_Run], keep: npt.NDArray[np.intp] | None) -> Any:
        import pyarrow as pa

        from accelmodel.serving.steady_state import BINDINGS

        if name not in self.rows:
            return self._label(name, runs, keep)
        row = values[self.rows[name]]
        if name == "fits":
            return pa.array(row == 1.0)
        return dictionary(row, BINDINGS) if name == "binding" else row

    def _label(self, name: str, runs: list[_Run], keep: npt.NDArray[np.intp] | None) -> Any:
        """A column of one value a cell, or the rate of each load."""
        import pyarrow as pa

        if name == "requests_per_s" and name in self.sweep.inner_keys:
            rates = np.concatenate([self.sweep.steps_at(np.arange(run.first, run.last))[name] for run in runs])
            return rates if keep is None else rates[keep]
        values = [{**run.cell.plan.fixed, **self.sweep.label_values(run.cell)}[name] for run in runs]
        kinds = sorted(set(values))
        codes = np.repeat([kinds.index(value) for value in values], [run.size for run in runs])
        codes = codes if keep is None else codes[keep]
        if COLUMNS[name].type == "string":
            return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array([str(kind) for kind in kinds]))
        return np.array(kinds, dtype=np.int64 if COLUMNS[name].type == "integer" else np.float64)[codes]


@dataclass
class _Run:
    """Loads of a cell that lie behind each other in a chunk, and which are kept, span by span (empty: all of it)."""

    cell: Loads
    first: int
    last: int
    keep: list[npt.NDArray[np.uint8]]

    @property
    def size(self) -> int:
        return self.last - self.first

    @property
    def kept(self) -> npt.NDArray[np.uint8]:
        starts = range(self.first, self.last, SPAN)
        return np.concatenate(
            [keep if len(keep) else np.ones(min(start + SPAN, self.last) - start, np.uint8) for start, keep in zip(starts, self.keep, strict=True)]
        )


class _States:
    """The reductions' states of a chunk by group: one open for each reduction, closed when another group comes."""

    def __init__(self, reduced: list[Reduced], samples: dict[str, dict[tuple[Any, ...], State]]) -> None:
        self.reduced = reduced
        self.samples = samples
        self.open: list[tuple[tuple[Any, ...], State] | None] = [None] * len(reduced)
        self.done: dict[str, dict[tuple[Any, ...], State]] = {one.name: {} for one in reduced}

    def of(self, groups: list[tuple[Any, ...]]) -> list[State]:
        """The open states of some groups, one for each reduction."""
        found = []
        for place, (one, group) in enumerate(zip(self.reduced, groups, strict=True)):
            current = self.open[place]
            if current is None or current[0] != group:
                self._close(place)
                current = self.open[place] = (group, self._new(one, group))
            found.append(current[1])
        return found

    def _new(self, one: Reduced, group: tuple[Any, ...]) -> State:
        loads = len(one.groups.values)
        if isinstance(one.reduction, FrontierOf):
            return one.reduction.start(loads, self.samples.get(one.name, {}).get(group))
        return one.reduction.new(loads)

    def _close(self, place: int) -> None:
        current, one = self.open[place], self.reduced[place]
        if current is not None:
            group, state = current[0], one.reduction.close(current[1])
            before = self.done[one.name].get(group)
            self.done[one.name][group] = state if before is None else one.reduction.merge(before, state)

    def closed(self) -> dict[str, dict[tuple[Any, ...], State]]:
        """All states, closed, by reduction and group."""
        for place in range(len(self.reduced)):
            self._close(place)
        return self.done
