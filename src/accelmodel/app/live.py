"""What the page shows of a scenario: the engine run at once on its alternatives, one question of one person at a time."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelmodel.app import document as documents
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError
from accelmodel.reports import charts, words
from accelmodel.reports.overlay import over
from accelmodel.studies.measured_frontier import Published
from accelmodel.studies.run import Context, Run, run
from accelmodel.studies.scenario import load

if TYPE_CHECKING:
    from accelmodel.reports.charts import Chart
    from accelmodel.studies.assumptions import Assumption

ASSUMPTIONS = 3
MEASURED = 60  # dots of published measurements in a chart: each travels with every answer
FIGURES = {"cost-speed": "Cost against speed", "throughput-speed": "Throughput against speed", "cost": "Cost of a million tokens", "margin": "Gross margin"}
CLOSER = {"price": "Where the price", "operators": "Where the time goes", "roofline": "Roofline"}  # place on the page -> how the chart's title begins
Row = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """Numbers of one scenario: a row for each alternative at its load, or why there is none; and what is said and drawn of them.

    `names` are the alternatives shown, `others` those of the file that are not; `shown` are the columns that matter most, `charts` stand by their place.
    """

    names: tuple[str, ...]
    rows: Mapping[str, Row]
    why_not: Mapping[str, str]
    shown: tuple[str, ...]
    answer: tuple[str, ...]
    notes: tuple[str, ...]
    assumptions: tuple[Assumption, ...]
    charts: Mapping[str, Chart]
    others: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Closer:
    """A closer look at one alternative: charts of its price and of its decode step, and why one is missing."""

    charts: Mapping[str, Chart]
    missing: tuple[str, ...]


class Live:
    """The engine behind the page. A catalogue notes what a run reads, so that one run goes at a time; none here takes long."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory()
        self._published = Published(None, library)  # makes the runs of a model on an accelerator once

    def close(self) -> None:
        """Leave nothing behind."""
        self._folder.cleanup()

    def view(self, text: str) -> View:
        """The numbers of a scenario's first alternatives; InputError where none of them can be had."""
        document = documents.parsed(text)
        names = documents.cases(document)[: documents.ALTERNATIVES]
        with self._lock:
            at_load, why_not = self._each(documents.at_load, document, names)
            along, _ = self._each(documents.along_loads, document, [name for name in names if name not in why_not])
        table, frontier = at_load.studies["load"], along.studies["frontier"]
        rows, points = table.table.to_pylist(), frontier.table.to_pylist()
        lines = charts.charts("points", points, frontier.summary, ("concurrency",))
        with self._lock:
            measured, _ = over(lines, points, self._published, MEASURED)
        drawn = [*measured, *charts.charts("points", rows, table.summary)]
        return View(
            tuple(names or [row["case"] for row in rows]),
            {row["case"]: row for row in rows},
            why_not,
            tuple(table.columns_to_show),
            (*(f"At its load, {said}" for said in words.at_one_load(rows)), *(f"Along all loads, {said}" for said in words.answer("points", points, {}))),
            (*_loads(document, names), *table.notes),
            tuple(at_load.assumptions),
            _placed(drawn, FIGURES),
            tuple(documents.cases(document)[documents.ALTERNATIVES :]),
        )

    def refused(self, text: str) -> str | None:
        """Why a run would refuse the whole file before it began; None where it would not."""
        with self._lock:
            path = Path(self._folder.name) / "whole.toml"
            path.write_text(text, encoding="utf-8")
            try:
                load(path, self.library)
            except InputError as error:
                return str(without_file(error, path))
        return None

    def closer(self, text: str, case: str | None) -> Closer:
        """A closer look at one alternative, or at the base where there are none."""
        document = documents.parsed(text)
        found: list[Chart] = []
        missing: list[str] = []
        with self._lock:
            try:
                (study,) = self._run(documents.of_price(document, case)).studies.values()
                found += charts.charts(study.kind, study.table.to_pylist(), study.summary)
            except InputError as error:
                missing.append(f"Where the price goes: {error.message}.")
            try:
                found += self._roofline(documents.at_load(document, [] if case is None else [case]), case)
            except InputError as error:
                missing.append(f"Where the time goes: {error.message}.")
        return Closer(_placed(found, CLOSER), tuple(missing))

    def _each(self, make: Any, document: Mapping[str, Any], names: Sequence[str]) -> tuple[Run, dict[str, str]]:
        """A run of alternatives, without those that cannot run, and why those cannot; InputError where none can."""
        try:
            return self._run(make(document, names)), {}
        except InputError:
            if len(names) < 2:
                raise
        why: dict[str, str] = {}
        for name in names:
            try:
                self._run(make(document, [name]))
            except InputError as error:
                why[name], last = str(error), error
        if len(why) == len(names):
            raise last
        return self._run(make(document, [name for name in names if name not in why])), why

    def _run(self, document: Mapping[str, Any]) -> Run:
        path = self._written(document)
        try:
            return run(path, catalog=self.library)
        except InputError as error:
            raise without_file(error, path) from None

    def _roofline(self, document: Mapping[str, Any], case: str | None) -> list[Chart]:
        from accelmodel.studies.roofline import roofline

        path, scenario = load(self._written(document), self.library)
        return charts.roofline_charts(roofline(Context(scenario, self.library, path.parent), case))

    def _written(self, document: Mapping[str, Any]) -> Path:
        import tomlkit

        path = Path(self._folder.name) / "scenario.toml"
        path.write_text(tomlkit.dumps(document), encoding="utf-8")
        return path


def _loads(document: Mapping[str, Any], names: list[str]) -> list[str]:
    """What is said where the scenario sets no load."""
    found = documents.without_load(document, names)
    return [f"The file sets no load for {', '.join(found)}: {documents.LOAD} requests at a time are taken"] if found else []


def without_file(error: InputError, path: Path) -> InputError:
    """The error as one of the page, which shows no file of this name."""
    if error.file != str(path):
        return error
    return InputError(error.message, key=error.key, value=error.value, allowed=error.allowed, nearest=error.nearest)


def _placed(found: Sequence[Chart], places: Mapping[str, str]) -> dict[str, Chart]:
    return {place: chart for place, title in places.items() for chart in found if chart.title.startswith(title)}
