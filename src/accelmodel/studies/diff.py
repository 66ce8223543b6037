"""`accelmodel diff`: two runs, what changed in their inputs, and how much of the change of each number each input explains.

The scenario runs again from the frozen inputs of the first run with the changed inputs of the second put in, some at a time (`decomposition`). What
the stored numbers differ from those of the same inputs run again is the part of the program's version: code cannot be mixed.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelmodel.catalog.figures import parse
from accelmodel.errors import InputError
from accelmodel.studies.changes import SEARCHED, Change, Input, Inputs, inputs_of, overridden, presence, read_by_one, supplied
from accelmodel.studies.decomposition import Chosen, Method, Parts, Vector, decompose, evaluations
from accelmodel.studies.matching import Key, Ran, identifying, keys, numbers, settings
from accelmodel.studies.run import Context, Run, StudyResult, study_kinds
from accelmodel.studies.saved import Frozen, SavedRun, as_read
from accelmodel.studies.scenario import Scenario

if TYPE_CHECKING:
    import pyarrow as pa

METHODS = ("sequential", "shapley")
_SAME = 1e-9  # relative difference up to which a number is the same
_ROUNDING = 1e-12  # likewise, of a sum of the same numbers in another order


@dataclass(frozen=True)
class Part:
    """What some inputs, put in together, change of a number."""

    inputs: tuple[str, ...]
    change: float
    standard_error: float | None = None


@dataclass(frozen=True)
class NumberChange:
    """A number of both runs that is not the same: its row and column, its parts, the program version's part, and the interaction.

    `parts` and `program_version` sum to `b - a`. Without parts where the number is unknown in one of the runs, is text, or is not found again.
    """

    row: Mapping[str, Any]
    column: str
    a: Any
    b: Any
    parts: tuple[Part, ...] = ()
    program_version: float | None = None
    interaction: float | None = None
    method: Method | None = None

    @property
    def change(self) -> float | None:
        """The whole change; None where one of the two is no number."""
        return None if any(isinstance(value, (str, bool, type(None))) for value in (self.a, self.b)) else self.b - self.a


@dataclass
class StudyChange:
    """A study of both runs: what tells its rows apart, which rows only one run has, and which values changed."""

    kind: str
    identified_by: list[str]
    matched: int
    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[NumberChange] = field(default_factory=list)


@dataclass
class Difference:
    """Two runs compared: the changed inputs in the order in which they are put in, other changes, and the studies."""

    a: SavedRun
    b: SavedRun
    method: str
    inputs: list[Input]
    idle: list[Change]
    studies: dict[str, StudyChange]
    notes: list[str]
    reruns: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the runs are equal: inputs, version and results."""
        same = self.a.document["version"] == self.b.document["version"] and not any(
            study.added or study.removed or study.numbers for study in self.studies.values()
        )
        return same and not (self.inputs or self.idle or self.studies_of("a") or self.studies_of("b"))

    def studies_of(self, side: str) -> list[str]:
        """Studies that only one of the runs has."""
        one, other = (self.a, self.b) if side == "a" else (self.b, self.a)
        return [name for name in one.tables if name not in other.tables]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as one document."""
        return {
            "schema": "accelmodel.difference/1",
            "a": _run_told(self.a),
            "b": _run_told(self.b),
            "equal": self.is_empty,
            "method": self.method,
            "inputs": [{"name": one.name, "changes": [change.to_dict() for change in one.changes]} for one in self.inputs],
            "changes_without_effect": [change.to_dict() for change in self.idle],
            "studies_only_in_a": self.studies_of("a"),
            "studies_only_in_b": self.studies_of("b"),
            "studies": {name: _study_told(study) for name, study in self.studies.items()},
            "notes": self.notes,
            "reruns": self.reruns,
        }


def _run_told(run: SavedRun) -> dict[str, Any]:
    return {"where": run.where} | {key: run.document[key] for key in ("scenario", "version", "seed", "catalog_sha256")}


def _study_told(study: StudyChange) -> dict[str, Any]:
    rows = {"matched": study.matched, "added": study.added, "removed": study.removed}
    return {"kind": study.kind, "identified_by": study.identified_by, "rows": rows, "numbers": [_number_told(one) for one in study.numbers]}


def _number_told(one: NumberChange) -> dict[str, Any]:
    from accelmodel.columns import column

    parts = [
        {"inputs": list(part.inputs), "change": part.change} | ({} if part.standard_error is None else {"standard_error": part.standard_error})
        for part in one.parts
    ]
    found: dict[str, Any] = {"row": dict(one.row), "column": one.column, "unit": column(one.column).unit, "a": one.a, "b": one.b, "change": one.change}
    return found | {"parts": parts, "program_version": one.program_version, "interaction": one.interaction, "method": one.method}


def diff(
    a: Run | Path | str,
    b: Run | Path | str,
    *,
    studies: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    method: str = "sequential",
    detail: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Difference:
    """What changed from run `a` to run `b`, each a run or the folder that one was saved to.

    `studies` and `columns` pick some; without `columns` those that a study shows. `method` is 'sequential' (the inputs one after the other, in the order of
    `.inputs`) or 'shapley'. `detail` takes every changed figure of a file as an input of its own. InputError where a folder holds no run, where the runs
    have nothing in common, and for names that they do not have.
    """
    if method not in METHODS:
        raise InputError(f"'{method}' is no way to split a change", key="--method", value=method, allowed=METHODS)
    one, other = SavedRun.of(a), SavedRun.of(b)
    chosen = _chosen(one, other, studies)
    _check_columns(one, other, chosen, columns)
    with tempfile.TemporaryDirectory() as folder:
        return _Comparison(one, other, chosen, columns, _Reruns(Path(folder), chosen, progress)).difference(shapley=method == "shapley", detail=detail)


def _chosen(a: SavedRun, b: SavedRun, studies: Sequence[str] | None) -> list[str]:
    common = [name for name in a.tables if name in b.tables and a.scenario.studies[name].kind == b.scenario.studies[name].kind]
    for name in studies or ():
        if name not in common:
            raise InputError(f"the runs have no study '{name}' in common", key="--study", value=name, allowed=common)
    names, told = ([one.document["scenario"] for one in (a, b)], [", ".join(one.tables) for one in (a, b)])
    if not common:
        raise InputError(f"'{names[0]}' and '{names[1]}' have nothing in common: the studies of one are {told[0]}, those of the other {told[1]}", file=b.where)
    if names[0] != names[1] and not any(_matched(_ran(a, name), _ran(b, name)) for name in common):
        raise InputError(f"'{names[0]}' and '{names[1]}' have nothing in common: no row of one is about what a row of the other is about", file=b.where)
    return list(studies) if studies else common


def _check_columns(a: SavedRun, b: SavedRun, chosen: Sequence[str], columns: Sequence[str] | None) -> None:
    every = {name for study in chosen for name in a.tables[study].column_names if name in b.tables[study].column_names}
    for name in columns or ():
        if name not in every:
            raise InputError(f"the runs have no column '{name}' in common", key="--column", value=name, allowed=every)


def _ran(run: SavedRun, study: str, table: pa.Table | None = None) -> Ran:
    return Ran(study, run.scenario, run.tables[study] if table is None else table)


def _matched(a: Ran, b: Ran) -> list[Key]:
    names = identifying(a, b)
    there = set(keys(a, names))
    return [key for key in keys(b, names) if key in there]


class _Reruns:
    """Runs studies again from inputs; catalogues that are alike are read once."""

    def __init__(self, folder: Path, studies: Sequence[str], progress: Callable[[str], None] | None) -> None:
        self._folder, self._studies, self._progress = folder, studies, progress
        self._catalogs: dict[Any, Frozen] = {}
        self.count = 0
        self.expected = 2
        self.errors: dict[str, InputError] = {}

    def results(self, inputs: Inputs, originals: Sequence[Inputs], label: Any) -> tuple[Scenario | None, dict[str, StudyResult]]:
        """The studies that run; `label` says which catalogue it is. `errors` keeps why some did not."""
        self.count += 1
        if self._progress is not None:
            self._progress(f"run {self.count} of up to {max(self.expected, self.count)}")
        found: dict[str, StudyResult] = {}
        self.errors = {}
        try:
            scenario = parse(Scenario, as_read(inputs.tree["scenario"]), "the scenario")
        except InputError as error:
            self.errors = dict.fromkeys(self._studies, error)
            return None, found
        catalog = self._catalog(inputs, originals, label)
        context = Context(scenario, catalog, catalog.roots[0], inputs.tree["seed"])
        for name in self._studies:
            if name not in scenario.studies:
                continue
            try:
                found[name] = study_kinds()[scenario.studies[name].kind](context, scenario.studies[name])
            except InputError as error:
                self.errors[name] = error
        return scenario, found

    def _catalog(self, inputs: Inputs, originals: Sequence[Inputs], label: Any) -> Frozen:
        if label not in self._catalogs:
            home = self._folder / str(len(self._catalogs))
            inputs.write(home, originals)
            self._catalogs[label] = Frozen(home)
        return self._catalogs[label]


@dataclass(frozen=True)
class _Numbers:
    """The values of one study that both runs have: rows by key, columns, and which of the columns are numbers."""

    study: str
    names: list[str]
    keys: list[Key]
    columns: list[str]
    numeric: list[str]

    def of(self, scenario: Scenario | None, table: pa.Table | None) -> Vector:
        """The numbers, row by row."""
        if scenario is None or table is None:
            return np.full(len(self.keys) * len(self.numeric), np.nan)
        return numbers(Ran(self.study, scenario, table), self.names, self.keys, self.numeric)

    def row(self, key: Key) -> dict[str, Any]:
        """A row by what it is about; where that does not tell it apart, by its number among those alike."""
        return dict(zip(self.names, key, strict=False)) | ({"row": key[-1]} if key[-1] or not self.names else {})


class _Comparison:
    """Two runs on the way to their difference."""

    def __init__(self, a: SavedRun, b: SavedRun, studies: Sequence[str], columns: Sequence[str] | None, reruns: _Reruns) -> None:
        self.runs, self.studies, self.columns, self.reruns = (a, b), studies, columns, reruns
        self.originals = [Inputs.of(a), Inputs.of(b)]
        self.notes = [f"{run.where}: frozen inputs are not as the run has read them: {', '.join(run.edited)}" for run in self.runs if run.edited]
        self.before, self.after = self.originals
        self.again: list[tuple[Scenario | None, dict[str, StudyResult]]] = []
        self.ends: list[Vector] = []
        self.numbers: list[_Numbers] = []
        self.inputs: list[Input] = []
        self.cache: dict[Chosen, Vector] = {}

    def difference(self, *, shapley: bool, detail: bool) -> Difference:
        """Inputs, numbers, parts."""
        a, b = self.runs
        named = {place.split("/")[0] for one in self.originals for place in one.files} - set(SEARCHED)
        before, after = self.originals
        self.before, self.after = supplied(before, after, named), supplied(after, before, named)
        is_same = all(a.tables[name].equals(b.tables[name]) for name in self.studies)
        shown = {} if is_same else self._run_again()
        self.numbers = [self._numbers_of(name, shown.get(name, [])) for name in self.studies]
        self.ends = [self._vector(*end) for end in self.again]
        changed_folders = [] if is_same else [folder for folder in SEARCHED if self._settle(folder)]
        changed, idle = inputs_of(self.before, self.after, (overridden(a), overridden(b)), detail=detail)
        self.inputs = [presence(self.before, self.after, folder) for folder in changed_folders] + changed
        told = {place for one in self.inputs for place in (change.where for change in one.changes)}
        idle += [change for change in read_by_one(before, after) if change.where not in told]
        found = {one.study: self._frame(one) for one in self.numbers}
        self._explain(found, shapley=shapley)
        return Difference(a, b, "shapley" if shapley else "sequential", self.inputs, idle, found, self.notes, self.reruns.count)

    def _run_again(self) -> dict[str, list[str]]:
        """Each run once more from its own inputs; the columns that its studies show."""
        shown: dict[str, list[str]] = {}
        for side, inputs in zip("AB", (self.before, self.after), strict=True):
            scenario, results = self.reruns.results(inputs, self.originals, side)
            self.again.append((scenario, results))
            self.notes += [f"study '{name}' of {side} does not run again: {error}" for name, error in self.reruns.errors.items()]
            for name, result in results.items():
                shown.setdefault(name, []).extend(result.columns_to_show or result.table.column_names)
        return shown

    def _numbers_of(self, study: str, shown: Sequence[str]) -> _Numbers:
        import pyarrow as pa

        a, b = (_ran(run, study) for run in self.runs)
        asked = self.columns if self.columns is not None else [name for name in shown or a.table.column_names if name not in settings(a, b)]
        common = [name for name in dict.fromkeys(asked) if name in a.table.column_names and name in b.table.column_names]
        types = {name: [one.table.schema.field(name).type for one in (a, b)] for name in common}
        numeric = [name for name in common if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types[name])]
        return _Numbers(study, identifying(a, b), _matched(a, b), common, numeric)

    def _vector(self, scenario: Scenario | None, results: Mapping[str, StudyResult]) -> Vector:
        return np.concatenate([one.of(scenario, results[one.study].table if one.study in results else None) for one in self.numbers])

    def _settle(self, folder: str) -> bool:
        """Let both runs have the files of a folder that only one has read, where they make no difference; whether some do.

        Prices and calibrations are searched for: a file that only one run has read is there because another input named it, or it is what changed.
        """
        sides = [self.before, self.after]
        for number, own in enumerate((self.before, self.after)):
            more = supplied(own, sides[1 - number], [folder])
            if more.files.keys() != own.files.keys():
                found = self._vector(*self.reruns.results(more, self.originals, (folder, number)))
                if np.array_equal(found, self.ends[number], equal_nan=True):
                    sides[number] = more
        self.before, self.after = sides
        there = [{place for place in one.files if place.startswith(f"{folder}/")} for one in sides]
        return there[0] != there[1]

    def _value(self, chosen: Chosen) -> Vector:
        """The numbers with some of the inputs put in."""
        if chosen not in self.cache:
            picked = [self.inputs[number] for number in sorted(chosen)]
            mixed = self.before.with_edits(itertools.chain.from_iterable(one.edits for one in picked))
            label = tuple(number for number in sorted(chosen) if self.inputs[number].touches_files)
            self.cache[chosen] = self._vector(*self.reruns.results(mixed, self.originals, label))
        return self.cache[chosen]

    def _frame(self, of: _Numbers) -> StudyChange:
        """A study's rows, and the values that changed and are not numbers in both runs."""
        ran = [_ran(run, of.study) for run in self.runs]
        every = [keys(one, of.names) for one in ran]
        matched = set(of.keys)
        removed, added = ([of.row(key) for key in side if key not in matched] for side in every)
        found = StudyChange(ran[0].asked.kind, of.names, len(of.keys), added, removed)
        places = [{key: number for number, key in enumerate(side)} for side in every]
        for name in of.columns:
            values = [one.table.column(name).to_pylist() for one in ran]
            for key in of.keys:
                pair = [side[place[key]] for side, place in zip(values, places, strict=True)]
                if pair[0] != pair[1] and (name not in of.numeric or None in pair):
                    found.numbers.append(NumberChange(of.row(key), name, *pair))
        return found

    def _explain(self, found: Mapping[str, StudyChange], *, shapley: bool) -> None:
        """Parts of every number that changed."""
        a, b = (self._vector_of(run) for run in self.runs)
        wanted = _differ(a, b)
        told: dict[int, tuple[Parts, int]] = {}
        count = len(self.inputs)
        if count and wanted.any():
            self.cache |= {frozenset(): self.ends[0], frozenset(range(count)): self.ends[1]}
            self.reruns.expected = self.reruns.count + evaluations(count, shapley=shapley)
            for parts in decompose(self._value, count, shapley=shapley):
                told |= {number: (parts, place) for place, number in enumerate(parts.numbers.tolist())}
        labels = [(one, key, column) for one in self.numbers for key in one.keys for column in one.numeric]
        names = [one.name for one in self.inputs]
        for number in np.flatnonzero(wanted).tolist():
            one, key, column = labels[number]
            change = NumberChange(one.row(key), column, a[number].item(), b[number].item(), program_version=(b - a)[number].item())
            if number in told:
                residual = (b - a - (self.ends[1] - self.ends[0]))[number].item()
                change = _explained(change, *told[number], residual, names)
            found[one.study].numbers.append(change)

    def _vector_of(self, run: SavedRun) -> Vector:
        return np.concatenate([one.of(run.scenario, run.tables[one.study]) for one in self.numbers])


def _explained(change: NumberChange, parts: Parts, place: int, residual: float, names: Sequence[str]) -> NumberChange:
    rounding = abs(residual) <= _ROUNDING * max(abs(change.a), abs(change.b))
    interaction = parts.interaction[place].item()
    return replace(
        change,
        parts=tuple(_parts(parts, place, names)),
        program_version=0.0 if rounding else residual,
        interaction=None if math.isnan(interaction) else interaction,
        method=parts.method,
    )


def _parts(parts: Parts, place: int, names: Sequence[str]) -> Iterator[Part]:
    for block, changes in parts.changes.items():
        error = parts.errors[block][place].item() if block in parts.errors else None
        yield Part(tuple(names[number] for number in block), changes[place].item(), error)


def _differ(a: Vector, b: Vector) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which numbers are known in both and not the same."""
    changed: np.ndarray[Any, np.dtype[np.bool_]] = np.abs(b - a) > _SAME * np.fmax(np.abs(a), np.abs(b))
    return changed
