"""The fleet study: given numbers of accelerators, what they carry, draw, tie up and earn, beside published figures."""

from __future__ import annotations

import math
from typing import Any

from accelmodel.catalog.references import Reference
from accelmodel.columns import HIGH, LOW
from accelmodel.economics.margin import margin_fraction
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.fleet.sizing import FleetCapacity, ReplicaSupply, UnitFigures, fleet_capacity, owned_unit, rented_unit
from accelmodel.results.table import table
from accelmodel.studies.grid import misfit
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import Fleet
from accelmodel.units import HOURS_PER_YEAR

_SHOWN = [
    *(
        "case",
        "fleet_accelerators",
        "systems",
        "replicas",
        "peak_fp8_eflop_per_s",
        "it_power_mw",
        "it_power_of_phase_fraction",
        "facility_power_mw",
        "facility_power_of_site_fraction",
    ),
    *("capital_usd", "annual_cost_usd", "tokens_per_day", "cost_usd_per_mtok", "annual_revenue_usd", "revenue_of_segment_fraction", "margin_fraction"),
    *("margin_fraction_low90", "margin_fraction_high90"),
]
_QUARTERS = 4
_DAYS_PER_YEAR = 365


def study(context: Context, asked: Fleet) -> StudyResult:
    """A row per case and number of accelerators."""
    reference = None if asked.reference is None else context.catalog.reference(asked.reference)
    rows, notes = [], []
    for case in context.scenario.chosen(asked.cases):
        cell = context.cell(case, context.scenario.situation(case))
        point = context.point(cell)
        if not point.fits:
            notes.append(misfit(cell, 1, 1, point.kv_capacity_tokens > 0))
            continue
        found = [_row(context, cell, point, count, reference) for count in asked.fleet_accelerators]
        beyond = [cell.money.outlived(row["systems"], 1.0) for row in found]
        notes += [f"{row['case']}: {words}" for row, words in zip(found, beyond, strict=True) if words is not None]
        rows += found
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    summary: dict[str, Any] = {"fleets": rows}
    if reference is not None and rows:
        summary["reproduced"] = _reproduced(rows[0], reference)
        used = {one["source"] for one in summary["reproduced"]} | {
            reference.figures["aws_revenue_q3_2025"].source if "aws_revenue_q3_2025" in reference.figures else None
        }
        context.rest_on([], {source for source in used if source})
    return StudyResult("fleet", table(columns), summary, notes, [name for name in _SHOWN if name in columns])


def _row(context: Context, cell: Cell, point: Point, count: int, reference: Reference | None) -> dict[str, Any]:
    """One fleet: capacity, power, capital, cost, and revenue where tokens are sold."""
    of, goodput = cell.replica, goodput_of(point)
    owner = context.catalog.ownership(cell.money.owner).figures
    if count < of.accelerators:
        raise InputError(f"{count:,} accelerators hold no replica of {of.accelerators}", key="fleet_accelerators", value=count)
    rented = cell.money.rents
    spares = 0 if rented else round(count * owner.spare_fraction.si)
    carried = fleet_capacity(
        count,
        supply_of(cell, point),
        unit_of(cell, point),
        occupancy_fraction=cell.money.occupancy,
        availability_fraction=availability(cell),
        spare_accelerators=spares,
    )
    row: dict[str, Any] = {
        "case": cell.case or of.system.name,
        "system": of.system.name,
        "fleet_accelerators": count,
        "systems": carried.systems,
        "replicas": carried.replicas,
        "stranded_accelerators": carried.stranded_accelerators,
        "peak_fp8_eflop_per_s": None if math.isnan(carried.peak_eflop_per_s) else carried.peak_eflop_per_s,
        "it_power_mw": carried.it_power_mw,
        "facility_power_mw": carried.facility_power_mw,
        "capital_usd": carried.capital_usd,
        "annual_cost_usd": carried.annual_cost_usd,
        "tokens_per_day": carried.tokens_per_day,
        "output_tokens_per_day": carried.output_tokens_per_day,
        "cost_usd_per_mtok": carried.annual_cost_usd / (carried.tokens_per_day * _DAYS_PER_YEAR) * 1e6,
    }
    row |= _site_shares(context, cell, carried, reference) | _revenue(cell, goodput, carried, reference)
    return row | _bounds(cell, row)


def _bounds(cell: Cell, row: dict[str, Any]) -> dict[str, Any]:
    """Central 90 % of what follows from the engine's throughput alone; what model, traffic and prices add to it is not in it."""
    spread = cell.replica.spread
    if spread is None:
        return {}
    factor = spread.throughput.si
    found: dict[str, Any] = {}
    for name, low, high in (("tokens_per_day", 1 / factor, factor), ("cost_usd_per_mtok", 1 / factor, factor)):
        found |= {name + LOW: row[name] * low, name + HIGH: row[name] * high}
    if "margin_fraction" in row:
        cost = 1.0 - row["margin_fraction"]
        found |= {"margin_fraction" + LOW: 1.0 - cost * factor, "margin_fraction" + HIGH: 1.0 - cost / factor}
    return found


def goodput_of(point: Point) -> TokenRates:
    """Tokens per second of each stream that a replica carries at an operating point."""
    hit = point.prefix_hit_fraction
    return TokenRates(point.input_tokens_per_s * (1 - hit), point.input_tokens_per_s * hit, point.output_tokens_per_s)


def supply_of(cell: Cell, point: Point) -> ReplicaSupply:
    """What a replica is to a fleet: its accelerators, those of its system, its goodput."""
    return ReplicaSupply(cell.replica.accelerators, cell.replica.system.accelerators, goodput_of(point))


def unit_of(cell: Cell, point: Point) -> UnitFigures:
    """Figures of one installed accelerator on the books of the situation, at the situation's share of loaded hours."""
    terms, of = cell.money, cell.replica
    return unit_at(cell, math.nan if terms.rents else float(terms.mean_power_w(of, point.power_w / of.accelerators)))


def unit_at(cell: Cell, mean_power_w: float) -> UnitFigures:
    """Figures of one installed accelerator that itself draws so much in the mean, which is of no account where it is rented."""
    of, terms = cell.replica, cell.money
    site = terms.catalog.site(terms.site)
    it_power = of.accelerator.figures.it_power if terms.rents else of.accelerator.need("it_power")  # a tenant pays for no power
    it_power_w, pue = math.nan if it_power is None else it_power.si, site.figures.pue.si
    peak = of.accelerator.figures.peak_fp8
    peak_flop_per_s = math.nan if peak is None else peak.si
    if terms.rents:
        assert terms.hour is not None
        return rented_unit(it_power_w, pue, peak_flop_per_s, terms.hour.price_usd_per_accelerator_h(of.system.accelerators))
    capital, cost = terms.ownership(of.accelerator, mean_power_w)
    return owned_unit(it_power_w, pue, peak_flop_per_s, capital, cost)


def availability(cell: Cell) -> float:
    """Share of the paid hours in which a replica is up: an owner's; a tenant does not pay for hours that the cloud fails to deliver."""
    return 1.0 if cell.money.rents else cell.money.catalog.ownership(cell.money.owner).figures.availability.si


def _site_shares(context: Context, cell: Cell, carried: FleetCapacity, reference: Reference | None) -> dict[str, Any]:
    """The fleet's power over that of the site's first phase and over its ultimate draw, where the site has them."""
    site = context.catalog.site(cell.money.site)
    found: dict[str, Any] = {}
    if site.phases and reference is not None:
        found["it_power_of_phase_fraction"] = carried.it_power_mw * 1e6 / site.phases[0].it_power.si
    if site.figures.power is not None and reference is not None:
        found["facility_power_of_site_fraction"] = carried.facility_power_mw * 1e6 / site.figures.power.si
    return found


def _revenue(cell: Cell, goodput: TokenRates, carried: FleetCapacity, reference: Reference | None) -> dict[str, Any]:
    """Revenue and margin where the situation sells something, and its share of the segment's published revenue."""
    hourly = cell.money.revenue_usd_per_h(cell.replica, goodput)
    if hourly is None:
        return {}
    annual = float(hourly) * carried.replicas * availability(cell) * HOURS_PER_YEAR
    found: dict[str, Any] = {"annual_revenue_usd": annual, "margin_fraction": float(margin_fraction(annual, carried.annual_cost_usd))}
    if reference is not None and "aws_revenue_q3_2025" in reference.figures:
        found["revenue_of_segment_fraction"] = annual / _QUARTERS / reference.need("aws_revenue_q3_2025").si
    return found


def _reproduced(row: dict[str, Any], reference: Reference) -> list[dict[str, Any]]:
    """Computed against published, for the figures that a reference holds of its number of accelerators."""
    pairs = (
        ("systems", "ultraservers", 1.0),
        ("peak_fp8_eflop_per_s", "compute_fp8", 1e18),
        ("it_power_mw", "it_power", 1e6),
        ("facility_power_mw", "facility_power", 1e6),
    )
    if row["fleet_accelerators"] != reference.need("chips_at_activation").si:
        return []
    found = []
    for column, name, factor in pairs:
        figure = reference.need(name)
        found.append({"quantity": name, "computed": row[column], "published": figure.si / factor, "kind": figure.kind, "source": figure.source})
    return found
