"""The points of a sweep, enumerated lazily: cells (a case and a replica on its money terms) outside, the loads that each runs inside.

A point has a number: cell x loads + load. Cases and the values of each axis ascend, so that points are sorted by case, outer axes, inner axes; nothing is made
before it is asked for, but each axis' own values. An axis of loads alone is an inner one: all others make cells.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.errors import InputError
from accelmodel.studies import sweep_kernels as kernels
from accelmodel.studies.axes import Condition, label
from accelmodel.studies.grid import replica_labels
from accelmodel.studies.points import Load, Plan, load_of, plan
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import LOAD_KEYS, TARGET_KEYS
from accelmodel.studies.sweep_schema import SweepStudy, columns_of

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_WORDS = ("weights", "kv", "compute", "mode")  # whose words are the same for every replica: one that is not known is no matter of a combination
_SAMPLE, _SAMPLED_CELLS = 1 << 18, 256  # points, cells
_GOLDEN = 0.6180339887498949  # the fractional parts of its multiples are spread evenly, whatever the lengths of the axes
_NAMED = {"model": "model", "draft_model": "model", "system": "system", "site": "site", "owner": "ownership"}
_NAMED |= {"workload": "workload", "prefix_cache": "workload"}


_REPLICA_LABELS = (
    *("model", "system", "accelerator", "engine", "mode", "weights", "kv", "accelerators", "tensor_parallel", "expert_parallel"),
    *("attention_data_parallel", "pipeline_parallel", "context_parallel"),
)


@dataclass(frozen=True)
class Steps:
    """An axis: the keys that go along it, and what they are at each step, ascending."""

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @property
    def count(self) -> int:
        """Number of steps."""
        return len(self.values)

    def at(self, step: int) -> dict[str, Any]:
        """The keys at a step."""
        return dict(zip(self.keys, self.values[step], strict=True))

    def numbers(self, key: str) -> Array:
        """The values of one key at all steps."""
        return np.array([row[self.keys.index(key)] for row in self.values], dtype=np.float64)


@dataclass(frozen=True)
class LeftOut:
    """A cell that is left out: by a condition, or for a reason."""

    number: int
    reason: str | None = None


@dataclass(frozen=True)
class Loads:
    """A cell that runs: its replica and money, the plan of its columns, its loads, and which of these conditions or the model's context leave out."""

    number: int
    cell: Cell
    plan: Plan
    values: Mapping[str, Array]
    conditions: tuple[Condition, ...]
    longest: float
    is_direct: bool


@dataclass(frozen=True)
class LoadGroups:
    """Groups by keys of the loads: what the keys are in each, and how a load's number leads to its group's code (see `sweep_kernels.group_codes`)."""

    values: list[dict[str, float]]
    strides: Integers
    counts: Integers
    offsets: Integers
    lookup: Integers

    def codes(self, begin: int, end: int) -> Integers:
        """Group of each load; empty where there is one group alone."""
        out = np.empty(end - begin if len(self.values) > 1 else 0, np.int64)
        if len(out):
            kernels.group_codes(begin, self.strides, self.counts, self.offsets, self.lookup, out)
        return out

    def at(self, loads: Integers) -> Integers:
        """Group of some loads by number."""
        codes = np.zeros(len(loads), np.int64)
        for stride, count, offset in zip(self.strides, self.counts, self.offsets, strict=True):
            codes += self.lookup[offset + loads // stride % count]
        return codes


def _some(values: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in values.items() if key in keys)


class Sweep:
    """A sweep study of a scenario: which points it has, and each by its number."""

    def __init__(self, context: Context, asked: SweepStudy) -> None:
        scenario = context.scenario
        self.context, self.asked, self.scenario = context, asked, scenario
        self.cases = sorted(scenario.chosen(asked.cases), key=str)
        axes = [self._steps(name) for name in scenario.axes]
        self.inner = tuple(axis for axis in axes if set(axis.keys) <= set(LOAD_KEYS))
        self.outer = tuple(axis for axis in axes if axis not in self.inner)
        self.outer_keys = tuple(key for axis in self.outer for key in axis.keys)
        self.inner_keys = tuple(key for axis in self.inner for key in axis.keys)
        self.shape = tuple(axis.count for axis in self.inner)
        self.loads = math.prod(self.shape)
        self.cells = len(self.cases) * math.prod(axis.count for axis in self.outer)
        self.points = self.cells * self.loads
        self.chunks = -(-self.points // asked.chunk)
        self._latest: Loads | LeftOut | None = None

    def _steps(self, name: str) -> Steps:
        steps = self.scenario.steps(name)
        keys = tuple(steps[0])
        return Steps(keys, tuple(sorted({tuple(step.values()): None for step in steps}, key=lambda row: [label(value) for value in row])))

    def check_names(self) -> None:
        """InputError for a name that the catalogue does not know, before anything runs: what then fails is a combination."""
        situations = [self.scenario.situation(case) for case in self.cases]
        values = [(key, value) for axis in self.outer for key in axis.keys for value in {row[axis.keys.index(key)] for row in axis.values}]
        for key, value in sorted({(key, one[key]) for one in situations for key in _NAMED if key in one} | {pair for pair in values if pair[0] in _NAMED}):
            getattr(self.context.catalog, _NAMED[key])(self.context.beside(value))

    # The cells

    def situation(self, number: int) -> tuple[str | None, dict[str, Any]]:
        """Case and situation of a cell, its axes' values in it."""
        place = number
        steps: list[dict[str, Any]] = []
        for axis in reversed(self.outer):
            place, step = divmod(place, axis.count)
            steps.append(axis.at(step))
        case = self.cases[place]
        own = self.scenario.situation(case)
        set_by_axes = {key: value for step in reversed(steps) for key, value in step.items()}
        if {"concurrency", "requests_per_s"} & {*set_by_axes, *self.inner_keys}:
            own = {key: value for key, value in own.items() if key not in ("concurrency", "requests_per_s")}
        return case, own | set_by_axes

    def cell(self, number: int) -> Loads | LeftOut:
        """A cell by its number, or why it is left out; InputError for what is wrong with all, or refused."""
        latest = self._latest  # chunks of one cell follow each other, and threads may well make it twice
        if latest is not None and latest.number == number:
            return latest
        try:
            self._latest = found = self._made(number)
        except InputError as error:
            if self.asked.illegal == "refuse" or error.key in ("columns", "exclude") or (error.key in _WORDS and error.allowed is not None):
                raise
            return LeftOut(number, str(error))
        return found

    def _made(self, number: int) -> Loads | LeftOut:
        case, situation = self.situation(number)
        filled = self.context.with_workload(situation)
        if any(self.scenario.held(condition, filled) for condition in self._outer_conditions):
            return LeftOut(number)
        cell = self.context.cell(case, situation)
        if cell.replica.memory.pool_bytes <= 0.0 and self.scenario.only_fitting:
            return LeftOut(number, f"'{cell.replica.model.name}' does not fit on {cell.replica.accelerators} accelerators of '{cell.replica.system.name}'")
        made = plan(cell.replica, cell.money, self.wanted)
        return Loads(number, cell, made, *self._loads_of(cell))

    @cached_property
    def _outer_conditions(self) -> list[Condition]:
        return [condition for condition in self.scenario.conditions if not condition.keys & set(self.inner_keys)]

    @cached_property
    def _inner_conditions(self) -> tuple[Condition, ...]:
        return tuple(condition for condition in self.scenario.conditions if condition.keys & set(self.inner_keys))

    def _loads_of(self, cell: Cell) -> tuple[dict[str, Array], tuple[Condition, ...], float, bool]:
        """The loads' arrays, which broadcast; conditions on them; the most tokens that the model takes, inf where all have less; whether none is solved."""
        situation = cell.situation
        values = {key: np.asarray(float(situation[key])) for key in LOAD_KEYS if key in situation}
        for place, axis in enumerate(self.inner):
            shape = [1] * len(self.inner)
            shape[place] = axis.count
            values |= {key: axis.numbers(key).reshape(shape) for key in axis.keys}
        for key in ("input_tokens", "output_tokens"):
            if key not in values:
                raise InputError("is missing: give it, or a workload", key=f"base.{key}")
            if values[key].min() < 1.0:
                raise InputError(f"must be at least 1, not {values[key].min():g}", key=key, value=float(values[key].min()))
            if values[key].min() < 1.0:
                raise InputError(f"must be at least 1, not {values[key].min():g}", key=key, value=float(values[key].min()))
        solved = "requests_per_s" in values or "concurrency" not in values or "prefix_cache" in situation
        longest = float(values["input_tokens"].max() + values["output_tokens"].max())
        limit = float(cell.replica.model.architecture.max_context_tokens)
        if solved and "concurrency" not in values and "requests_per_s" not in values and not any(key in situation for key in TARGET_KEYS):
            raise InputError("give a load: concurrency, or requests_per_s, or latency targets ttft_s and tpot_s", key="base.concurrency")
        return values, self._inner_conditions, limit if longest > limit else math.inf, not solved

    # Columns

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Columns that say which cell a row is of, in the order by which rows are sorted."""
        return ("case", *self.outer_keys)

    replica_keys = _REPLICA_LABELS

    @property
    def sorted_keys(self) -> tuple[str, ...]:
        """Columns by which rows ascend: cases, outer axes, inner axes."""
        return (*self.labels, *self.inner_keys)

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Columns that the kernel writes: what rows hold of it, what reductions look at, and whether a point fits."""
        asked = [name for name in self.asked.columns if name not in (*_REPLICA_LABELS, *self.labels)] if self.asked.points else []
        reduced = [name for one in self.asked.reductions.values() for name in columns_of(one)]
        inputs = [key for key in self.inner_keys if key != "requests_per_s"] if self.asked.points else []
        return tuple(dict.fromkeys([*inputs, *asked, *reduced, *self.asked.limits, "fits"]))

    @cached_property
    def told(self) -> tuple[str, ...]:
        """Columns of the points that a reduction finds, beside their replica and axes."""
        reduced = [name for one in self.asked.reductions.values() for name in columns_of(one)]
        found = ["input_tokens", "output_tokens", "prefix_hit_fraction", "concurrency", *reduced, *self.asked.columns, *self.asked.limits]
        return tuple(dict.fromkeys(name for name in found if name not in (*_REPLICA_LABELS, *self.labels)))

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns of the rows of points, in order."""
        return tuple(dict.fromkeys([*self.labels, *self.inner_keys, *self.asked.columns]))

    def group(self, cell: Loads, by: tuple[str, ...]) -> tuple[Any, ...]:
        """What tells a cell's group apart from others', of the keys that do not follow from the load."""
        known = self.label_values(cell)
        return tuple(known[key] for key in by if key not in self.inner_keys)

    def label_values(self, cell: Loads) -> dict[str, Any]:
        """Case, axes and replica of a cell."""
        of = {name: values[0].as_py() if hasattr(values[0], "as_py") else values[0].item() for name, values in replica_labels(cell.cell.replica, 1).items()}
        axes = {key: label(cell.cell.situation.get(key)) for key in self.outer_keys}
        return of | axes | {"case": cell.cell.case or cell.cell.replica.system.name}

    def load_groups(self, by: tuple[str, ...]) -> LoadGroups:
        """The groups that follow from a point's load."""
        axes = [(place, axis) for place, axis in enumerate(self.inner) if set(axis.keys) & set(by)]
        levels = [sorted({_some(axis.at(step), by) for step in range(axis.count)}) for _, axis in axes]
        factors = [math.prod(len(level) for level in levels[at + 1 :]) for at in range(len(levels))]
        lookup = [
            level.index(_some(axis.at(step), by)) * factor for (_, axis), level, factor in zip(axes, levels, factors, strict=True) for step in range(axis.count)
        ]
        counts = [axis.count for _, axis in axes]
        return LoadGroups(
            [dict(pair for level in row for pair in level) for row in itertools.product(*levels)],
            np.array([math.prod(self.shape[place + 1 :]) for place, _ in axes], np.int64),
            np.array(counts, np.int64),
            np.cumsum([0, *counts])[:-1].astype(np.int64),
            np.array(lookup, np.int64),
        )

    # Points

    def spans(self, chunk: int) -> Iterator[tuple[int, int, int]]:
        """The cells of a chunk, each with the loads of it from one to another."""
        begin, end = chunk * self.asked.chunk, min((chunk + 1) * self.asked.chunk, self.points)
        for number in range(begin // self.loads, -(-end // self.loads)):
            yield number, max(begin - number * self.loads, 0), min(end - number * self.loads, self.loads)

    def steps_at(self, loads: Integers) -> dict[str, Array]:
        """The inner axes' keys at some loads by number."""
        found: dict[str, Array] = {}
        for place, axis in enumerate(self.inner):
            step = loads // math.prod(self.shape[place + 1 :]) % axis.count
            found |= {key: axis.numbers(key)[step] for key in axis.keys}
        return found

    def kept(self, cell: Loads, loads: Integers) -> npt.NDArray[np.uint8]:
        """Which loads of a cell run (1): those that no condition leaves out and that the model's context holds; empty where all of the cell's do."""
        if not cell.conditions and math.isinf(cell.longest):
            return np.empty(0, np.uint8)
        situation = {**cell.cell.situation, **self.steps_at(loads)}
        keep = np.broadcast_to(np.add(situation["input_tokens"], situation["output_tokens"]) <= cell.longest, len(loads))
        for condition in cell.conditions:
            keep = keep & ~np.broadcast_to(self.scenario.held(condition, situation), len(loads))
        return keep.astype(np.uint8)

    def sample(self) -> Iterator[tuple[Loads, Integers]]:
        """Some cells that run with some of their loads, spread evenly over the sweep; the same ones each time."""
        per_cell = min(max(_SAMPLE // self.cells, 64), self.loads)
        for number in np.unique(np.linspace(0, self.cells - 1, min(self.cells, _SAMPLED_CELLS)).astype(np.int64)).tolist():
            cell = self.cell(number)
            if isinstance(cell, LeftOut) or not cell.is_direct:
                continue
            loads = np.unique((np.arange(per_cell) * _GOLDEN % 1.0 * self.loads).astype(np.int64))
            keep = self.kept(cell, loads)
            yield cell, loads[keep == 1] if len(keep) else loads

    def load(self, cell: Loads, loads: Integers) -> Load:
        """Some loads of a cell by number, solved for where they are rates or targets."""
        steps = self.steps_at(loads)
        arrays: dict[str, Any] = {key: steps[key] if key in steps else np.full(len(loads), values.item()) for key, values in cell.values.items()}
        situation = cell.cell.situation
        targets = {key: situation[key] for key in TARGET_KEYS if key in situation}
        if "prefix_cache" in situation:
            targets["prefix_cache"] = self.context.catalog.workload(situation["prefix_cache"])
            arrays.pop("prefix_hit_fraction", None)
        return load_of(cell.cell.replica, **arrays, **targets)

    def cell_of(self, point: int) -> tuple[int, int]:
        """The cell and the load of a point by its number."""
        return divmod(point, self.loads)
