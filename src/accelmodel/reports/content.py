"""What a report holds, whatever its format: the answer in words, every study with its table and charts, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from accelmodel.catalog.calibrations import QUANTITIES
from accelmodel.columns import Column, column
from accelmodel.errors import InputError
from accelmodel.numbers import UNKNOWN, number, percent
from accelmodel.reports import charts, words
from accelmodel.reports.layout import Column as Shown
from accelmodel.reports.terminal import ASSUMPTIONS_SHOWN, in_words, label, replica_in_words, table_columns
from accelmodel.studies.saved import SavedRun

if TYPE_CHECKING:
    import pyarrow as pa

    from accelmodel.catalog.library import Library
    from accelmodel.studies.basis import Accuracy, Given
    from accelmodel.studies.run import Context, Run

_FEW = 12  # measurements
_LOADS = {
    "closed": "a closed loop",
    "closed-busy": "a closed loop of more than 64 clients",
    "saturated": "a saturated server",
    "batch": "a mean batch",
    "wave": "one wave of a fixed batch",
    "pools": "pools",
    "pools-unknown": "pools of unknown size",
}
MOST_ROWS = 100_000  # of which words and charts are made
_BATCH = 10_000


@dataclass(frozen=True)
class Study:
    """One study: its table with the columns that the terminal shows, its answer, charts and notes."""

    name: str
    kind: str
    table: pa.Table
    shown: tuple[str, ...]
    summary: Mapping[str, Any]
    notes: tuple[str, ...]
    answer: tuple[str, ...]
    charts: tuple[charts.Chart, ...]

    def rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows as dicts, all or the first."""
        found: list[dict[str, Any]] = self.table.slice(0, limit).to_pylist()
        return found

    def every_row(self) -> Iterator[dict[str, Any]]:
        """Rows as dicts one after the other, however many."""
        for batch in self.table.to_batches(max_chunksize=_BATCH):
            yield from batch.to_pylist()

    def columns(self, names: Sequence[str], limit: int | None = None) -> list[tuple[str, Shown]]:
        """Columns by name, their cells as the terminal prints them."""
        known, rows = [name for name in names if is_known(name)], self.rows(limit)
        mixed = "unit" in known
        found = dict(zip([name for name in known if not (mixed and name == "unit")], table_columns(rows, known), strict=True))
        for name in set(names) - set(known):
            found[name] = Shown(in_words(name), self._unit(name), [number(row.get(name)) for row in rows], False)
        return [(name, found[name]) for name in names if name in found]

    def _unit(self, name: str) -> str:
        return ((self.table.schema.field(name).metadata or {}).get(b"unit") or b"").decode()

    def described(self, name: str) -> tuple[str, str, str]:
        """Label, unit and description of a column; what the dictionary does not know says what its table says."""
        if is_known(name):
            known: Column = column(name)
            return label(name)[0], known.unit, known.description
        meta = self.table.schema.field(name).metadata or {}
        return in_words(name), self._unit(name), (meta.get(b"description") or b"").decode()


def is_known(name: str) -> bool:
    """Whether the dictionary has a column."""
    try:
        column(name)
    except KeyError:
        return False
    return True


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a table is a number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Listing:
    """A plain table beside the studies: heads, units and rows of values; inputs as their files give them, results rounded as in the terminal."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""
    units: tuple[str, ...] = ()
    is_rounded: bool = False

    def is_numeric(self, place: int) -> bool:
        """Whether a column holds numbers alone, and some."""
        known = [row[place] for row in self.rows if row[place] is not None]
        return bool(known) and all(map(is_number, known))


@dataclass(frozen=True)
class Content:
    """Everything that a report says. `roofline` holds the chosen replica in words and its charts; `missing` what could not be had, and why."""

    title: str
    description: str
    studies: tuple[Study, ...]
    assumptions: Listing
    sources: Listing
    inputs: Listing
    accuracy: Listing
    identity: Listing
    assumption_count: int
    roofline: tuple[str, tuple[charts.Chart, ...]] | None = None
    missing: tuple[str, ...] = field(default=())

    @property
    def answer(self) -> list[tuple[str, str]]:
        """Study and sentence, in the order of the studies."""
        return [(study.name, sentence) for study in self.studies for sentence in study.answer]

    @property
    def told(self) -> list[str]:
        """The answer's sentences as a page says them: where several studies of a kind speak, each sentence names its own."""
        speaking = [study for study in self.studies if study.answer]
        kinds = [study.kind for study in speaking]
        named = [(f"{study.name}: " if kinds.count(study.kind) > 1 else "", study) for study in speaking]
        return [name + sentence for name, study in named for sentence in study.answer]

    @property
    def listings(self) -> tuple[Listing, ...]:
        """The tables beside the studies."""
        return self.assumptions, self.accuracy, self.inputs, self.sources, self.identity


def content(run: Run | Path | str, measured: Path | str | None = None, catalog: Library | None = None) -> Content:
    """What is to be said of a run, or of the folder that it was saved to; `measured` is a file of measurements to lay over its frontiers in place of the
    catalogue's published ones.

    InputError where the folder holds no run, or not all of it.
    """
    saved = SavedRun.of(run)
    document = saved.document
    missing: list[str] = []
    with saved.context() as context:
        studies = tuple(one for name in document["studies"] for one in (_study(saved, name), *_others(saved, name)))
        missing += [f"{one.name} has {one.table.num_rows:,} rows, too many for words and charts." for one in studies if one.table.num_rows > MOST_ROWS]
        from accelmodel.reports.overlay import overlaid

        studies, found = overlaid(studies, measured, catalog)
        missing += found
        roofline = _roofline(context, missing)
        inputs, accuracy = _basis(context, saved, missing)
        dates = _price_dates(studies)
        identity = _identity(saved, context, dates)
    if saved.edited:
        missing.append(f"Changed since the run read them: {', '.join(saved.edited)}. Numbers and charts that are found anew may differ.")
    return Content(
        title=str(document.get("title") or document["scenario"]),
        description=saved.scenario.description,
        studies=studies,
        assumptions=_assumptions(document["assumptions"]),
        sources=_sources(document["sources"]),
        inputs=inputs,
        accuracy=accuracy,
        identity=identity,
        assumption_count=min(ASSUMPTIONS_SHOWN, len(document["assumptions"])),
        roofline=roofline,
        missing=tuple(missing),
    )


def _study(saved: SavedRun, name: str) -> Study:
    known, table = saved.document["studies"][name], saved.tables[name]
    names = [one for one in known.get("columns_to_show") or table.column_names if one in table.column_names]
    rows = table.to_pylist() if table.num_rows <= MOST_ROWS else []
    if "case" not in names and len({row.get("case") for row in rows}) > 1 and known["kind"] == "fleet":
        names.insert(0, "case")
    summary = known["summary"]
    sentences = tuple(words.answer(known["kind"], rows, summary))
    drawn = tuple(charts.charts(known["kind"], rows, summary, saved.scenario.axis_keys))
    return Study(name, known["kind"], table, tuple(names), summary, tuple(known.get("notes", ())), sentences, drawn)


def _others(saved: SavedRun, name: str) -> Iterator[Study]:
    """Further tables of a study, such as a sweep's other reductions, without words."""
    kind = saved.document["studies"][name]["kind"]
    for other, table in saved.others.get(name, {}).items():
        yield Study(f"{name}.{other}", kind, table, tuple(table.column_names), {}, (), (), ())


def _roofline(context: Context, missing: list[str]) -> tuple[str, tuple[charts.Chart, ...]] | None:
    from accelmodel.studies.roofline import roofline

    try:
        found = roofline(context)
    except InputError as error:
        if _names_replicas(context):
            missing.append(f"No roofline: {error.message}.")
        return None
    said = f"'{found.case}', {replica_in_words(found.replica)}: the cheapest tokens of the run, at {number(found.point.concurrency)} requests at a time"
    return f"{said}, {number(found.point.input_tokens)} tokens in and {number(found.point.output_tokens)} out.", tuple(charts.roofline_charts(found))


def _names_replicas(context: Context) -> bool:
    """Whether the scenario's cases are of replicas at all; a published day, or an owner's hour, is of none."""
    return any("model" in context.scenario.situation(case) for case in context.scenario.chosen(()))


def _basis(context: Context, saved: SavedRun, missing: list[str]) -> tuple[Listing, Listing]:
    from accelmodel.studies import basis

    try:
        given, errors = basis.inputs(context, saved.files, saved.document["inputs"]), basis.accuracy(context)
    except InputError as error:
        missing.append(f"Inputs and accuracy are not listed: {error}")
        given, errors = [], []
    return _inputs(given), _accuracy(errors)


def _inputs(given: Sequence[Given]) -> Listing:
    heads = ("of", "input", "value", "unit", "low", "high", "kind", "source", "date")
    rows = tuple((one.entry, one.key, one.value, one.unit, one.low, one.high, one.kind, one.source, one.date) for one in given)
    return Listing("Inputs", heads, rows, "Values as the files give them; a figure without a source is an estimate with a range.")


def _accuracy(errors: Sequence[Accuracy]) -> Listing:
    heads = ("calibration", "measured on", "under", "quantity", "measurements", "median error", "mean error", "90th percentile")
    seen = dict.fromkeys((one.calibration, one.measured, one.load, one.quantity, one.rows, one.median, one.mean, one.p90) for one in errors)
    rows = tuple(
        (name, where or "wherever it was measured", _LOADS.get(load, load or "any load"), QUANTITIES.get(what, what), *rest)
        for name, where, load, what, *rest in seen
    )
    note = "How far predictions lay from published measurements that the fit did not see, |predicted / measured - 1|; left out were whole groups."
    nearest = dict.fromkeys((one.region, one.measured) for one in errors if one.region != one.measured)
    if any(one.rows < _FEW for one in errors):
        note += f" A median of fewer than {_FEW} measurements says little: it stands beside that of all."
    note += "".join(f" No published measurement is of this run's {region}; the nearest are of {measured}." for region, measured in nearest)
    return Listing("Accuracy of the engine used", heads, rows, note, ("", "", "", "", "", "%", "%", "%"))


def _assumptions(found: Sequence[Mapping[str, Any]]) -> Listing:
    rows = tuple((place, one["text"], one.get("source") or "no source") for place, one in enumerate(found, 1))
    return Listing("Assumptions", ("rank", "assumption", "source"), rows, "The weightiest first.")


def _sources(found: Mapping[str, Mapping[str, Any]]) -> Listing:
    keys = ("title", "publisher", "date", "accessed", "confidence", "url", "locator")
    return Listing("Sources", ("key", *keys), tuple((key, *(one.get(name) or "" for name in keys)) for key, one in found.items()))


def _price_dates(studies: Sequence[Study]) -> str:
    from accelmodel.results.table import price_date

    found = {(field.metadata or {}).get(b"price_date", b"").decode() for study in studies for field in study.table.schema}
    return price_date(date for dates in found for date in dates.split("/") if date)


def _identity(saved: SavedRun, context: Context, dates: str) -> Listing:
    from accelmodel.catalog.entries import catalogue_date

    document = saved.document
    rows = (
        ("scenario", document["scenario"]),
        ("run hash (SHA-256 of run.json's content)", saved.sha256),
        ("program version", document["version"]),
        ("catalogue hash (SHA-256)", document["catalog_sha256"]),
        ("catalogue date", catalogue_date(context.catalog)),
        ("dates of prices", dates.replace("/", " to ") or UNKNOWN),
        ("currency", "USD"),
        ("seed", document["seed"]),
    )
    return Listing("This run", ("what", "value"), rows)


def shown_cell(listing: Listing, place: int, value: Any) -> str:
    """A cell of a listing as text: fractions in percent, inputs as their files give them."""
    unit = listing.units[place] if listing.units else ""
    if unit == "%":
        return percent(value)
    if value is None:
        return ""
    if listing.is_rounded:
        return number(value)
    return f"{value:,.10g}" if isinstance(value, float) else str(value)
