"""What a run read, as rows: the scenario's keys, every figure behind its cases with range, kind, source and date, and how accurate the engine is there."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from accelmodel.catalog.calibrations import Calibration, FitError, Region
from accelmodel.catalog.entries import figures, read
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import FOLDERS
from accelmodel.catalog.offers import HourOffer, TokenOffer
from accelmodel.errors import InputError
from accelmodel.studies.axes import keys_of
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import LOAD_KEYS

SCENARIO = "scenario"
_OF_FIGURES = ("accelerators", "ownership", "sites", "workloads")
_MOST_CELLS = 200
_OFFERED = ("price", "input", "output", "cache_read", "batch_input", "batch_output")


@dataclass(frozen=True)
class Given:
    """One input: of which file or entry, its key, its value in its unit, and where that is from."""

    entry: str
    key: str
    value: Any
    unit: str = ""
    low: float | None = None
    high: float | None = None
    kind: str = ""
    source: str = ""
    date: str = ""


@dataclass(frozen=True)
class Accuracy:
    """How far a calibration's predictions lay from measurements that its fit did not see, as fractions: of the `region` that cases of the run lie in, or,
    where nobody measured there, of the nearest that was (`measured`). Both are empty of all that was measured, wherever it was.
    """

    calibration: str
    region: str
    measured: str
    load: str
    quantity: str
    rows: int
    median: float
    mean: float
    p90: float


def inputs(context: Context, files: Iterable[str], scenario: Mapping[str, Any]) -> list[Given]:
    """The scenario's own keys first, then the figures of the entries that the run read, then its offers and calibrations.

    Of the frozen calibrations only those of accelerators in use are inputs; of a snapshot of prices only the offers of the cases.
    """
    found = [Given(SCENARIO, key, value) for table in ("base", "cases", "axes", "studies") for key, value in _flat(scenario.get(table, {}), table)]
    cells = list(_cells(context))
    entries = [(kind, name) for kind, name in map(_entry, files) if kind in _OF_FIGURES]
    for kind, name in entries:
        found += _figures(context, f"{kind}/{name}", read(kind, name, context.catalog).record)
    found += [row for calibration in _used(cells) for row in _figures(context, f"calibrations/{calibration.name}", calibration)]
    return [*found, *_offers(cells)]


def accuracy(context: Context) -> list[Accuracy]:
    """Errors on measurements left out of the calibrations' fits: in each region that the run's cases lie in, and wherever each was measured."""
    asked = {(cell.replica.calibration.name, _place(cell)): cell.replica.calibration for cell in _cells(context)}
    near = [row for (_, place), calibration in asked.items() for row in _near(calibration, place)]
    return [*near, *(row for one in {one.name: one for one in asked.values()}.values() for row in _overall(one))]


@dataclass(frozen=True)
class _Place:
    """Where a case lies, as far as measurements tell: the nearer of two regions agrees in the earlier of these."""

    generation: str
    experts: bool
    engine: str
    mode: str

    def agrees(self, region: Region) -> tuple[bool, ...]:
        loaded = region.load in _LOADS[self.mode]
        return region.generation == self.generation, loaded, region.experts == self.experts, region.engine == self.engine

    def __str__(self) -> str:
        return f"{_in_words(self.generation, self.engine, experts=self.experts)}, {self.mode}"


# How requests are batched, and the kinds of load that measure it.
_LOADS = {"continuous": ("closed", "closed-busy", "saturated", "batch"), "static": ("wave", "batch"), "disaggregated": ("pools", "pools-unknown")}


def _place(cell: Cell) -> _Place:
    one = cell.replica
    return _Place(one.accelerator.generation, one.has_experts, one.engine, one.serving.mode)


def _in_words(generation: str, engine: str, *, experts: bool) -> str:
    return f"{generation}, {'mixture of experts' if experts else 'dense'}, {engine}"


def _near(calibration: Calibration, place: _Place) -> list[Accuracy]:
    """The errors of a place: of its region by load, or of the nearest; of the nearest ones the most measured."""
    if not calibration.regions:
        return []
    best = max(map(place.agrees, calibration.regions))
    alike = [region for region in calibration.regions if place.agrees(region) == best]
    groups = {(region.generation, region.experts, region.engine): 0 for region in alike}
    for region in alike:
        groups[region.generation, region.experts, region.engine] += sum(error.rows for error in region.errors.values())
    generation, experts, engine = max(groups, key=lambda key: groups[key])
    chosen = [region for region in alike if (region.generation, region.experts, region.engine) == (generation, experts, engine)]
    found = str(place) if all(best) else _in_words(generation, engine, experts=experts)
    return [_accuracy(calibration, str(place), found, region.load, *item) for region in chosen for item in region.errors.items()]


def _overall(calibration: Calibration) -> list[Accuracy]:
    """The errors wherever it was measured."""
    return [_accuracy(calibration, "", "", "", quantity, error) for quantity, error in calibration.errors.items()]


def _accuracy(calibration: Calibration, region: str, measured: str, load: str, quantity: str, error: FitError) -> Accuracy:
    return Accuracy(calibration.name, region, measured, load, quantity, error.rows, error.median, error.mean, error.p90)


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}")
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for place, part in enumerate(value, 1):
            yield from _flat(part, f"{key}.{place}")
    elif isinstance(value, (list, tuple)):
        if value:
            yield key, ", ".join(map(str, value))
    else:
        yield key, value


def _entry(place: str) -> tuple[str, str]:
    """Kind and name of a frozen file."""
    path = PurePosixPath(place)
    return (path.parent.name, path.stem) if path.parent.name in FOLDERS else ("", path.stem)


def _figures(context: Context, entry: str, record: Any) -> Iterator[Given]:
    for row in figures(record):
        figure: Figure = row.figure
        yield Given(entry, row.key, figure.value, figure.unit, figure.low, figure.high, figure.kind, figure.source or "", context.catalog.date_of(figure) or "")


def _cells(context: Context) -> Iterator[Cell]:
    """Every case at every value of the axes that are no load, with its money; what is no legal replica is left out."""
    scenario = context.scenario
    axes = [scenario.steps(name) for name, axis in scenario.axes.items() if not set(keys_of({name: axis})) <= set(LOAD_KEYS)]
    for case in scenario.chosen(()):
        for steps in itertools.islice(itertools.product(*axes), _MOST_CELLS):
            values = {key: value for step in steps for key, value in step.items()}
            with contextlib.suppress(InputError):
                yield context.cell(case, scenario.situation(case) | values)


def _used(cells: Iterable[Cell]) -> list[Calibration]:
    return list({cell.replica.calibration.name: cell.replica.calibration for cell in cells}.values())


def _offers(cells: Iterable[Cell]) -> Iterator[Given]:
    offers = {offer.id: offer for cell in cells for offer in (cell.money.hour, cell.money.token) if offer is not None}
    for offer in offers.values():
        yield from _offered(offer)


def _offered(offer: HourOffer | TokenOffer) -> Iterator[Given]:
    for key in _OFFERED:
        price = getattr(offer, key, None)
        if price is not None:
            ends = (offer.low, offer.high) if isinstance(offer, HourOffer) else (None, None)
            yield Given(f"offers/{offer.id}", key, price, offer.unit, *ends, offer.kind, offer.source or "", offer.date)
