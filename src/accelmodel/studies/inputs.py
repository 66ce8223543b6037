"""Uncertain inputs of a result: which figures with a range lie behind it, how each is distributed, and what a scenario says otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.catalog.calibrations import Parameters
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import Library
from accelmodel.columns import COLUMNS
from accelmodel.errors import InputError
from accelmodel.studies.draws import Array, Design, Uncertain, check_range, usual_distribution
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import WORKLOAD_KEYS, DemandStudy, Scenario, Situation
from accelmodel.studies.uncertain import InputRange, Uncertainly
from accelmodel.studies.varied import FIELD, figure_at

PRICES = "accelerator prices"  # the group in which all purchase prices move, where a scenario does not say otherwise
ENGINE = "engine"
OWN = ("price_change_fraction_per_year",)  # keys of a study of uncertain inputs itself that may vary

# An owner's figures that cost rests on; those of failures enter the size of a fleet, overheads the operating margin.
_COST = (
    *("cost_of_capital", "server_life", "network_life", "facility_life", "facility_cost", "network_share", "operations_per_year", "maintenance_per_year"),
    *("spare_fraction", "availability", "residual_fraction", "integration_share", "decommissioning_share", "software_per_year", "tax_rate"),
)
_FAILURES = ("failures_per_year", "repair_time", "host_failures_per_year", "host_repair_time")
_OF_SITE = ("tariff", "pue", "demand_charge")


@dataclass(frozen=True)
class Input(Uncertain):
    """An uncertain input by its dotted key, in words and in its own unit."""

    key: str = ""
    name: str = ""
    unit: str = "1"
    source: str | None = None


def inputs_of(context: Context, study: str, asked: Uncertainly, cells: Sequence[Cell], outcomes: Collection[str] = ()) -> dict[str, Input]:
    """Key -> input: every range behind the cases' outcomes, as the study overrides, adds to or fixes them."""
    found: dict[str, Input] = {}
    for cell in cells:
        for one in _behind(context, asked, cell, outcomes):
            found.setdefault(one.key, one)
    for key, told in asked.inputs.items():
        found[key] = _as_told(found.get(key) or named_input(context, study, key, told), told)
    kept = {key: one for key, one in found.items() if one.high > one.low and not asked.inputs.get(key, InputRange()).fixed}
    for group in asked.correlations:
        if all(one.group != group for one in kept.values()):
            raise InputError("no input is of this group", key="correlations", value=group, allowed={one.group for one in kept.values() if one.group})
    return kept


def design_of(context: Context, asked: Uncertainly, inputs: Mapping[str, Input]) -> Design:
    """The joint distribution of the inputs: a calibration's fitted parameters with their recorded correlations, the rest by groups."""
    scores = _fitted_scores(context.catalog, inputs) if asked.engine == "parameters" else None
    return Design(inputs, asked.correlations, scores)


def _behind(context: Context, asked: Uncertainly, cell: Cell, outcomes: Collection[str]) -> Iterator[Input]:
    """Inputs with a range behind one case."""
    terms, of = cell.money, cell.replica
    situation = context.scenario.situation(cell.case)
    owner = terms.catalog.ownership(terms.owner)
    names = [*(() if terms.rents else _COST), *(_FAILURES if asked.fleet is not None else ()), *(() if "occupancy" in situation else ("occupancy",))]
    names += ["overhead_share"] if asked.overhead_fraction is None and "operating_margin_fraction" in outcomes else []
    yield from _ranges((f"ownership.{owner.name}.{name}", _words(name), getattr(owner.figures, name)) for name in names)
    if terms.rents:
        yield from _rent(cell)
    else:
        if terms.purchase_usd is None and of.accelerator.name in owner.purchase:
            for one in _ranges(
                [(f"ownership.{owner.name}.purchase.{of.accelerator.name}", f"purchase of {of.accelerator.name}", owner.purchase[of.accelerator.name])]
            ):
                yield dataclasses.replace(one, group=PRICES)
        site = terms.catalog.site(terms.site)
        names = [name for name in _OF_SITE if not (name == "tariff" and site.hour_classes)]
        yield from _ranges((f"sites.{site.name}.{name}", f"{_words(name)}, {site.name}", getattr(site.figures, name)) for name in names)
        yield from _ranges([(f"accelerators.{of.accelerator.name}.it_power", f"IT power of {of.accelerator.name}", of.accelerator.figures.it_power)])
    if "workload" in situation:
        load = terms.catalog.workload(situation["workload"])
        yield from _ranges((f"workloads.{load.name}.{name}", _words(name), getattr(load.figures, name)) for name in WORKLOAD_KEYS if name not in situation)
    yield from _engine(asked, cell)
    sized = None if asked.fleet is None else context.scenario.studies[asked.fleet]
    if isinstance(sized, DemandStudy) and sized.shape is not None:
        shape = context.catalog.shape(sized.shape)
        yield from _ranges([(f"shapes.{shape.name}.peak_to_mean", f"peak to mean, {shape.name}", shape.figures.peak_to_mean)])


def _ranges(figures: Iterable[tuple[str, str, Figure | None]]) -> Iterator[Input]:
    for key, name, figure in figures:
        one = None if figure is None else of_figure(key, name, figure)
        if one is not None:
            yield one


def of_figure(key: str, name: str, figure: Figure) -> Input | None:
    """A figure as an uncertain input: its range, else the spread of the published values that disagree with it; None where it has neither."""
    if figure.low is None and figure.high is None:
        if not figure.alternatives:
            return None
        factor = figure.si / figure.value if figure.value else 1.0
        others = [figure.value, *(Figure(value=one.value, unit=one.unit, kind="published", source="-").si / factor for one in figure.alternatives)]
        low, high, of_alternatives = min(others), max(others), True
    else:
        low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
        of_alternatives = False
    distribution = usual_distribution(low, high, is_share=figure.dimension == "ratio", of_alternatives=of_alternatives)
    return Input(distribution, low, figure.value, high, None, key, name, figure.unit, figure.source)


def _rent(cell: Cell) -> Iterator[Input]:
    """The hourly price of a rented case, where the offer gives a range."""
    hour = cell.money.hour
    if hour is not None and hour.price is not None and (hour.low is not None or hour.high is not None):
        low, high = hour.low or hour.price, hour.high or hour.price
        yield Input(
            usual_distribution(low, high, is_share=False),
            low,
            hour.price,
            high,
            None,
            f"offers.{hour.id}.price",
            f"rent of {hour.item}",
            "USD/hour",
            hour.source,
        )


def engine_key(cell: Cell) -> str:
    """Points of one calibration and one accelerator generation err together."""
    return f"{ENGINE}.{cell.replica.calibration.name}.{cell.replica.accelerator.generation}"


def _engine(asked: Uncertainly, cell: Cell) -> Iterator[Input]:
    """How far the engine may be off: its throughput over the predicted one, or its fitted parameters."""
    of = cell.replica
    if asked.engine == "spread" and of.spread is not None:
        width = of.spread.throughput.si
        yield Input("log-normal", 1.0 / width, 1.0, width, None, engine_key(cell), f"engine on {of.accelerator.generation}", "1", of.calibration.name)
    if asked.engine == "parameters":
        for name in Parameters.model_fields:
            figure: Figure = getattr(of.calibration.parameters, name)
            if figure.low is not None and figure.high is not None and figure.high > figure.low and of.calibration.prior is not None:
                key = f"calibrations.{of.calibration.name}.{name}"
                distribution = usual_distribution(figure.low, figure.high, is_share=figure.high <= 1.0) if figure.low <= 0.0 else "log-normal"
                yield Input(
                    distribution, figure.low, figure.value, figure.high, None, key, f"{_words(name)} ({of.calibration.name})", figure.unit, figure.source
                )


def _fitted_scores(catalog: Library, inputs: Mapping[str, Input]) -> tuple[list[str], Array] | None:
    """Correlation of the scores of calibrations' fitted parameters; deviations of single levels (an engine's, a generation's) are not drawn."""
    keys = [key for key in inputs if key.startswith("calibrations.")]
    if not keys:
        return None
    matrix = np.eye(len(keys))
    for name in {key.removeprefix("calibrations.").rsplit(".", 1)[0] for key in keys}:
        for one in catalog.calibration(name).correlations:
            places = [keys.index(key) for key in (f"calibrations.{name}.{parameter}" for parameter in one.between) if key in keys]
            if len(places) == 2:
                matrix[places[0], places[1]] = matrix[places[1], places[0]] = one.value
    return keys, matrix


def named_input(context: Context, study: str, key: str, told: InputRange | None = None) -> Input:
    """An input that a study names itself: a figure of the catalogue, or a number of the scenario, which needs to be `told` its range if it is to be drawn."""
    if key.split(".")[0] in FIELD:
        figure = figure_at(context.catalog, key)
        found = of_figure(key, _words(key.rsplit(".", 1)[-1]), figure)
        return found or Input("triangular", figure.value, figure.value, figure.value, None, key, _words(key.rsplit(".", 1)[-1]), figure.unit, figure.source)
    value = number_at(context.scenario, study, key)
    if told is not None and (told.low is None or told.high is None):
        raise InputError("a number of the scenario has no range of its own: give 'low' and 'high'", key=f"inputs.{key}")
    last = key.rsplit(".", 1)[-1]
    return Input("triangular", value, value, value, None, key, _words(last), COLUMNS[last].unit if last in COLUMNS else "1")


def _as_told(one: Input, told: InputRange) -> Input:
    """An input as a scenario overrides it."""
    low, value, high = (one_of if given is None else given for given, one_of in ((told.low, one.low), (told.value, one.value), (told.high, one.high)))
    is_same = (low, high) == (one.low, one.high)
    distribution = told.distribution or (
        one.distribution if is_same or one.key.startswith(f"{ENGINE}.") else usual_distribution(low, high, is_share=one.unit == "1")
    )
    check_range(one.key, distribution, low, value, high)
    group = one.group if told.group is None else told.group or None
    return dataclasses.replace(one, low=low, value=value, high=high, distribution=distribution, group=group)


def number_at(scenario: Scenario, study: str, key: str) -> float:
    """The number at a dotted key of the scenario, as it stands there; `study` is the one that asks, whose own keys need no prefix."""
    where, _, rest = key.partition(".")
    tables: dict[str, Any] = {"base": {"": scenario.base}, "cases": scenario.cases, "studies": scenario.studies}
    if key in OWN:
        return float(getattr(scenario.studies[study], key))
    if where not in tables:
        raise InputError("names no input", key=f"inputs.{key}", value=where, allowed=(*FIELD, *tables, *OWN))
    name = "" if where == "base" else max((name for name in tables[where] if rest.startswith(f"{name}.")), key=len, default=None)
    if name is None:
        raise InputError(f"the scenario has no such table in '{where}'", key=f"inputs.{key}", value=rest.split(".")[0], allowed=tables[where])
    of, last = tables[where][name], rest[len(name) + 1 :] if name else rest
    value = getattr(of, last, None)
    if value is None and where == "cases" and last in Situation.model_fields:
        value = getattr(scenario.base, last)
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError("is no number of the scenario: give it a value there, or name a figure of the catalogue", key=f"inputs.{key}", value=last)
    return float(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
