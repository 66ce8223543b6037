"""Run a scenario: its studies one after the other, to tables, a summary, the assumptions and the sources behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelmodel.catalog.library import Library
from accelmodel.catalog.references import Reference
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.numbers import number
from accelmodel.studies.assumptions import Assumption, assumptions, how_known, sources
from accelmodel.studies.money import Money, library, money
from accelmodel.studies.points import Load, Point, columns_of, load_of, point_of, ranked_columns, replica
from accelmodel.studies.scenario import LOAD_KEYS, MONEY_KEYS, REPLICA_KEYS, TARGET_KEYS, Scenario, blamed, load
from accelmodel.studies.traces import Trace, trace_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from accelmodel.studies.percentiles import Draw

ALONG_AXES = ("points", "margin", "sweep")  # kinds of study that run over the axes
SCHEMA = "accelmodel.run/1"


@dataclass(frozen=True)
class Executor:
    """What carries the parts of a large study out: this process' `threads`, or `dask`, at a scheduler's address or on a cluster of its own."""

    kind: str = "threads"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("threads", "dask"):
            raise InputError(f"'{self.kind}' carries nothing out", key="executor", value=self.kind, allowed=("threads", "dask"))
        if self.scheduler is not None and self.kind != "dask":
            raise InputError("is an address of dask's: give executor dask with it", key="scheduler", value=self.scheduler)


THREADS = Executor()


@dataclass
class StudyResult:
    """What one study found: its table, a summary of a few numbers, and notes in words."""

    kind: str
    table: pa.Table
    summary: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    columns_to_show: list[str] = field(default_factory=list)
    others: dict[str, pa.Table] = field(default_factory=dict)  # further tables, each written as STUDY.NAME.parquet
    rows_to_show: int | None = None  # of the table, in print; None: all
    is_partial: bool = False  # interrupted: holds what was done until then


@dataclass
class Run:
    """A scenario that ran: its studies, what they rest on, and its input files as they were read (by their place in a catalogue's folder)."""

    scenario: str
    title: str
    description: str
    path: Path
    seed: int
    catalog: Library
    inputs: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    studies: dict[str, StudyResult] = field(default_factory=dict)
    assumptions: list[Assumption] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Study -> Arrow table; a study with several has the others as STUDY.NAME."""
        found = {}
        for name, study in self.studies.items():
            found[name] = study.table
            found |= {f"{name}.{other}": table for other, table in study.others.items()}
        return found

    @property
    def is_partial(self) -> bool:
        """Whether the run was interrupted and holds what was done until then."""
        return any(study.is_partial for study in self.studies.values())

    @property
    def summary(self) -> dict[str, dict[str, Any]]:
        """Study -> summary."""
        return {name: study.summary for name, study in self.studies.items()}

    def to_pandas(self, study: str) -> pd.DataFrame:
        """A study's table as a pandas frame."""
        if study not in self.studies:
            raise InputError(f"the run has no study '{study}'", key="study", value=study, allowed=self.studies)
        frame: pd.DataFrame = self.studies[study].table.to_pandas()
        return frame

    def document(self) -> dict[str, Any]:
        """The run as one JSON document; tables are named by their files."""
        from accelmodel import __version__

        studies = {
            name: {
                "kind": study.kind,
                "rows": study.table.num_rows,
                "table": f"{name}.parquet",
                "summary": study.summary,
                "notes": study.notes,
                "columns_to_show": study.columns_to_show,
                **({"others": {other: f"{name}.{other}.parquet" for other in study.others}} if study.others else {}),
            }
            for name, study in self.studies.items()
        }
        return {
            "schema": SCHEMA,
            "scenario": self.scenario,
            "title": self.title,
            "version": __version__,
            "catalog_sha256": self.catalog.sha256,
            "seed": self.seed,
            "inputs": self.inputs,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()},
            "studies": studies,
            "assumptions": [vars(assumption) for assumption in self.assumptions],
            "sources": {key: self.catalog.sources[key].model_dump(exclude_none=True) for key in self.sources},
        }

    def save(self, folder: Path | str) -> list[Path | str]:
        """Write `run.json`, one Parquet file per study and, under `inputs`, the files that the run read into a folder or a URL, each whole or not at all.

        `accelmodel run inputs/SCENARIO.toml --catalog inputs` runs them again; what `set` overrode is in run.json.
        """
        from accelmodel.results.store import bytes_writer, folder_at, json_bytes, parquet_writer

        files: dict[str, Callable[[Any], object]] = {f"{name}.parquet": parquet_writer(self._labelled(table)) for name, table in self.tables.items()}
        files |= {f"inputs/{name}": bytes_writer(content) for name, content in self.files.items()}
        files["run.json"] = bytes_writer(json_bytes(self.document()))
        target = folder_at(folder)
        return [target.write(name, writer) for name, writer in files.items()]

    def _labelled(self, table: pa.Table) -> pa.Table:
        """A table with version and hashes in its metadata, so that a stale one is recognised."""
        from accelmodel import __version__

        kept = table.schema.metadata or {}
        return table.replace_schema_metadata(
            {**kept, "accelmodel_version": __version__, "scenario": self.scenario, "catalog_sha256": self.catalog.sha256, "seed": str(self.seed)}
        )


@dataclass(frozen=True)
class Cell:
    """One situation of a study: its case, its keys, the replica and the money terms they make."""

    case: str | None
    situation: dict[str, Any]
    replica: Replica
    money: Money


class Context:
    """What the studies of one run share: the scenario, the catalogue, and what they rest on."""

    def __init__(
        self,
        scenario: Scenario,
        catalog: Library,
        folder: Path,
        seed: int = 0,
        progress: Callable[[str], None] | None = None,
        output: Path | str | None = None,
        executor: Executor = THREADS,
    ) -> None:
        self.scenario = scenario
        self.output = output
        self.executor = executor
        self.seed = seed
        self.progress = progress
        self.folder = folder
        self.catalog = catalog
        self.assumptions: dict[tuple[str, str], Assumption] = {}
        self.sources: set[str] = set()
        self.price_dates: set[str] = set()

    def rest_on(self, found: Iterable[Assumption], keys: Iterable[str]) -> None:
        """Remember assumptions and sources."""
        for assumption in found:
            self.assumptions.setdefault((assumption.name, assumption.text), assumption)
        self.sources.update(keys)

    def rest_on_reference(self, reference: Reference) -> None:
        """Remember a reference's sources, and the dates of its figures in money."""
        figures = [*reference.figures.values(), *(figure for group in reference.groups.values() for figure in group.values())]
        self.rest_on([], {figure.source for figure in figures if figure.source})
        dates = (self.catalog.date_of(figure) for figure in figures if figure.dimension.startswith("money"))
        self.price_dates |= {date for date in dates if date is not None}

    def cell(self, case: str | None, situation: dict[str, Any]) -> Cell:
        """Resolve a situation's names into a replica and its money terms."""
        filled = self.with_workload(situation)
        for key in ("model", "system"):
            if key not in filled:
                raise InputError("is missing: give it in [base] or in the case", key=f"cases.{case}.{key}" if case else f"base.{key}")
        named = {key: filled[key] for key in REPLICA_KEYS if key in filled}
        named |= {key: self.beside(named[key]) for key in ("model", "system", "draft_model") if key in named}
        of = replica(**named, catalog=self.catalog)
        terms = money(of, **{key: filled[key] for key in MONEY_KEYS if key in filled}, catalog=self.catalog)
        self.rest_on(assumptions(of, terms), sources(of, terms))
        self.price_dates |= terms.price_dates(of.accelerator)
        return Cell(case, filled, of, terms)

    def beside(self, name: str) -> str:
        """A path as the scenario means it: relative to its own folder where it names a file there; a name as it is."""
        path = self.folder / name
        return str(path) if name.endswith((".json", ".toml", ".parquet", ".csv")) and path.is_file() else name

    def trace(self, name: str) -> Trace:
        """A trace by its shipped name or path, which the run then freezes with its other files."""
        file = trace_file(self.beside(name))
        self.catalog.used.add(file)
        return Trace.read(file)

    def with_workload(self, situation: dict[str, Any]) -> dict[str, Any]:
        """The situation with the token counts of its workload where it names one; keys of its own win."""
        if "workload" not in situation:
            return situation
        workload = self.catalog.workload(situation["workload"])
        found = {name: figure.si for name, figure in workload.figures if figure is not None}
        for name, figure in workload.figures:
            if figure is not None and name not in situation:
                said = f"{workload.title}: {name.replace('_', ' ')} {number(figure.value)} ({how_known(figure)})"
                self.rest_on([Assumption(2 if figure.kind == "estimated" else 6, "workload", said, figure.source)], filter(None, [figure.source]))
        return {**found, **{key: value for key, value in situation.items() if key != "workload"}}

    def points(self, cell: Cell, loads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Columns of a cell's operating points at some loads (each overriding keys of the situation)."""
        return columns_of(cell.replica, self._load(cell, loads), cell.money)

    def percentiles(self, cell: Cell, loads: Sequence[Mapping[str, Any]], names: Sequence[str], draw: Draw) -> dict[str, Any]:
        """Percentiles of a cell's operating points at some loads."""
        return ranked_columns(cell.replica, self._load(cell, loads), cell.money, names, draw) if names else {}

    def is_loop(self, cell: Cell, loads: Sequence[Mapping[str, Any]]) -> bool:
        """Whether clients send the loads of a cell, not a rate."""
        return "requests_per_s" not in cell.situation and not any("requests_per_s" in one for one in loads)

    def point(self, cell: Cell) -> Point:
        """The operating point of a cell's own load."""
        return self.point_at(cell, {})

    def point_at(self, cell: Cell, load: Mapping[str, Any]) -> Point:
        """The operating point of a cell at one load."""
        return point_of(cell.replica, self._load(cell, [load]), cell.money)

    def _load(self, cell: Cell, loads: Sequence[Mapping[str, Any]]) -> Load:
        keys = [key for key in LOAD_KEYS if key in cell.situation or any(key in one for one in loads)]
        arrays: dict[str, Any] = {key: np.array([float({**cell.situation, **one}[key]) for one in loads]) for key in keys}
        for key in ("input_tokens", "output_tokens"):
            if key not in arrays:
                raise InputError("is missing: give it, or a workload", key=f"base.{key}")
        targets: dict[str, Any] = {key: cell.situation[key] for key in TARGET_KEYS if key in cell.situation}
        if "prefix_cache" in cell.situation:
            targets["prefix_cache"] = self.catalog.workload(cell.situation["prefix_cache"])
            arrays.pop("prefix_hit_fraction", None)
        return load_of(cell.replica, **arrays, **targets)


def study_kinds() -> dict[str, Callable[[Context, Any], StudyResult]]:
    """What runs each kind of study."""
    from accelmodel.studies import (
        break_even,
        capital,
        cash_flow,
        day,
        demand,
        fleet,
        grid,
        margin,
        ownership,
        parity,
        plan,
        price_shock,
        refresh,
        schedule,
        sensitivity,
        sweep,
        uncertainty,
        waterfall,
    )

    return {
        "points": grid.study,
        "sweep": sweep.study,
        "fleet": fleet.study,
        "demand": demand.study,
        "schedule": schedule.study,
        "price-shock": price_shock.study,
        "day": day.study,
        "ownership": ownership.study,
        "margin": margin.study,
        "waterfall": waterfall.study,
        "cash-flow": cash_flow.study,
        "capital": capital.study,
        "refresh": refresh.study,
        "parity": parity.study,
        "plan": plan.study,
        "plan-part": plan.part,
        "uncertainty": uncertainty.study,
        "sensitivity": sensitivity.study,
        "break-even": break_even.study,
    }


def run(
    scenario: str | Path,
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002  the name that planners script against
    studies: Sequence[str] | None = None,
    seed: int = 0,
    catalog: Library | None = None,
    progress: Callable[[str], None] | None = None,
    output: Path | str | None = None,
    executor: str = "threads",
    scheduler: str | None = None,
) -> Run:
    """Run a scenario by name or path.

    `set` overrides keys by dotted name ({"base.occupancy": 0.6}); `studies` picks some of the scenario's. `progress` is told what runs. A sweep keeps its
    parts in the folder or URL `output`, where it goes on if it was interrupted; `Run.save` writes everything else there. `executor` is `threads` or `dask`,
    the latter at a `scheduler`'s address or on a cluster of this machine. Raises InputError with file and key for anything that cannot be read, is unknown
    or cannot run.
    """
    from accelmodel.results.table import dated

    kinds = study_kinds()
    if set is not None and not isinstance(set, Mapping):
        raise InputError("must be a mapping of dotted keys to values", key="set", value=set)
    lib = catalog or library()
    lib.used.clear()
    path, parsed = load(scenario, lib, set)
    chosen = list(parsed.studies) if studies is None else list(studies)
    for name in chosen:
        if name not in parsed.studies:
            raise InputError(f"the scenario has no study '{name}'", file=path, key="studies", value=name, allowed=parsed.studies)
    context = Context(parsed, lib, path.parent, seed, progress, output, Executor(executor, scheduler))
    result = Run(path.stem, parsed.title, parsed.description, path, seed, lib, parsed.model_dump(mode="json", exclude_none=True, by_alias=True))
    for name in chosen:
        if progress is not None:
            progress(f"study '{name}'")
        study = parsed.studies[name]
        try:
            found = kinds[study.kind](context, study)
            found.table = dated(found.table, context.price_dates)
            found.others = {other: dated(table, context.price_dates) for other, table in found.others.items()}
            if parsed.axes and study.kind not in ALONG_AXES:
                found.notes.append(f"A study of kind '{study.kind}' runs each case as it stands: the axes ({', '.join(parsed.axes)}) are not in it")
            result.studies[name] = found
            if found.is_partial:
                break
        except InputError as error:
            raise blamed(_located(error, path, name), set) from None
    result.files = lib.snapshot(path)
    result.assumptions = sorted(context.assumptions.values(), key=lambda assumption: assumption.rank)
    result.sources = sorted(context.sources & lib.sources.keys())
    return result


def _located(error: InputError, path: Path, study: str) -> InputError:
    """The same error with the scenario's file, where it names no other."""
    if error.file is not None:
        return error
    key = f"studies.{study}" if error.key is None else error.key
    return InputError(error.message, file=path, key=key, value=error.value, allowed=error.allowed, nearest=error.nearest)
