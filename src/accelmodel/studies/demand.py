"""The demand study: a demand becomes replicas, proven by simulation, reserves, whole systems on sites, megawatts and money, each step kept."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from accelmodel.economics.margin import margin_fraction
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.fleet.counts import whole
from accelmodel.fleet.demand import Shape
from accelmodel.fleet.sites import Placed, Site, place
from accelmodel.fleet.sizing import FleetPlan, replicas_to_carry
from accelmodel.results.table import table
from accelmodel.studies.demanded import Asked, cell_of, demands_of, lengths_of, peak_to_mean_of, shape_of
from accelmodel.studies.fleet import supply_of
from accelmodel.studies.grid import misfit
from accelmodel.studies.points import Point
from accelmodel.studies.proof import prefix_hits
from accelmodel.studies.reserves import sized
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import DemandStudy
from accelmodel.studies.staffing import Staffed, staffed
from accelmodel.studies.traces import Trace
from accelmodel.studies.traffic import share_of
from accelmodel.units import HOURS_PER_YEAR, SECONDS_PER_DAY

_SHOWN = [
    *("case", "tokens_per_day", "lower_bound_replicas", "replicas_planned", "replicas_proven", "replicas", "systems", "fleet_accelerators"),
    *("stranded_accelerators", "spare_accelerators", "mean_occupancy_fraction", "it_power_mw", "facility_power_mw", "capital_usd", "annual_cost_usd"),
    *("cost_usd_per_mtok", "annual_revenue_usd", "margin_fraction"),
]
_HOURS_PER_DAY, _DAYS_PER_YEAR = 24, 365
_HIT_ROUNDS = 2


def study(context: Context, asked: DemandStudy) -> StudyResult:
    """A row per case and demand that can be met; notes say what the simulator found, why a fleet is larger than its lower bound, and what cannot be met."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    shape = shape_of(context, asked)
    for case in context.scenario.chosen(asked.cases):
        cell = cell_of(context, case, context.scenario.situation(case) | lengths_of(asked))
        trace = None if asked.trace is None else context.trace(asked.trace)
        if trace is not None and any(key in cell.situation for key in trace.means):
            notes.append(f"{cell.case or cell.replica.system.name}: lengths are those of the trace, not the situation's")
        point = context.point(cell) if trace is None else _point_of_trace(context, cell, trace, asked)
        if not point.fits:
            notes.append(misfit(cell, 1, 1, point.kv_capacity_tokens > 0))
            continue
        for demand in _demands(context, asked, point, trace):
            row, words = _fleet(context, cell, point, demand, asked, trace, shape)
            notes += words
            rows += [] if row is None else [row]
    if not rows:
        raise InputError("; ".join(notes), key="cases")
    names = dict.fromkeys(name for row in rows for name in row if name not in ("gap", "sites"))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return StudyResult("demand", table(columns), {"fleets": rows}, notes, [name for name in _SHOWN if name in columns])


def _point_of_trace(context: Context, cell: Cell, trace: Trace, asked: DemandStudy) -> Point:
    """The operating point at a trace's mean lengths and, where it has prefixes and the situation does not say how many are cached, the hits that replicas find
    for themselves: as many replicas as the closed form asks for at the hits of the round before.
    """
    lengths = trace.means
    point, rate = context.point_at(cell, lengths), trace.requests / trace.duration_s * asked.trace_rate_factor
    if trace.hash_ids is None or asked.prefix_cache_tokens == 0.0 or "prefix_hit_fraction" in cell.situation:
        return point
    for _ in range(_HIT_ROUNDS):
        if not point.fits:
            break
        replicas = int(whole(rate * point.output_tokens / point.output_tokens_per_s))
        hit = prefix_hits(cell.replica, share_of(trace, rate, replicas, context.seed), asked.routing, asked.prefix_cache_tokens)
        point = context.point_at(cell, {**lengths, "prefix_hit_fraction": hit})
    return point


def _demands(context: Context, asked: DemandStudy, point: Point, trace: Trace | None) -> list[Asked]:
    """The demands for a point's lengths; where nothing but a trace is given, the trace's own, whose rate is that of the peak."""
    ratio = peak_to_mean_of(context, asked)
    if trace is not None and asked.tokens_per_day is asked.requests_per_day is None:
        per_day = trace.requests / trace.duration_s * asked.trace_rate_factor * SECONDS_PER_DAY / ratio
        found = demands_of(asked.model_copy(update={"requests_per_day": (per_day,)}), point, ratio)
        return [dataclasses.replace(one, quantity="tokens_per_day", value=one.tokens_per_day(0.0)) for one in found]
    return demands_of(asked, point, ratio)


def _fleet(
    context: Context, cell: Cell, point: Point, wanted: Asked, asked: DemandStudy, trace: Trace | None, shape: Shape | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """One fleet, and what is to be said of it; no row where the simulator finds that no number of replicas would do."""
    name, demand, supply = cell.case or cell.replica.system.name, wanted.demand, supply_of(cell, point)
    carrying = replicas_to_carry(demand.peak_rates(asked.years), supply.goodput)
    peak_requests_per_s = wanted.mean_requests_per_s(asked.years) * float(demand.peak_to_mean_ratio)
    found = staffed(context, cell, point, asked, trace, peak_requests_per_s, carrying)
    if not found.feasible:
        return None, [found.words_of_proof(name)]
    plan = sized(cell, point, demand, asked, found.serving)
    placed = _placed(context, plan, asked)
    row = _row(cell, point, wanted, plan, asked, shape) | _proven(found)
    words = found.words(name, plan.lower_bound_replicas_peak, plan.held)
    words += [f"{name}: {one.systems:,} systems at {one.site}, {one.facility_power_mw:,.1f} MW at the meter" for one in placed]
    return row | {"gap": found.gap(plan.lower_bound_replicas_peak, plan.held), "sites": [vars(one) for one in placed]}, words


def _placed(context: Context, plan: FleetPlan, asked: DemandStudy) -> list[Placed]:
    """The plan's systems on the sites asked for."""
    rooms = []
    for one in asked.sites:
        site = context.catalog.site(one.site)
        whole_mw = math.inf if site.figures.power is None else site.figures.power.si / 1e6
        rooms.append(Site(one.site, whole_mw if one.facility_power_mw is None else one.facility_power_mw, site.figures.pue.si))
    if not rooms or not plan.systems:
        return []
    if math.isnan(plan.it_power_mw):
        raise InputError("the accelerator has no figure 'it_power', by which sites are filled", key="sites")
    return place(plan.systems, plan.it_power_mw * 1e6 / plan.systems, rooms, asked.power_diversity_fraction)


def _row(cell: Cell, point: Point, wanted: Asked, plan: FleetPlan, asked: DemandStudy, shape: Shape | None) -> dict[str, Any]:
    """The plan as a row."""
    of, carried, per_day = cell.replica, wanted.demand.mean_rates(asked.years), wanted.tokens_per_day(asked.years)
    by_hour = plan.replicas_mean * np.array((1.0,) if shape is None else shape.weights)
    row: dict[str, Any] = {
        "case": cell.case or of.system.name,
        "system": of.system.name,
        wanted.quantity: wanted.value,
        "tokens_per_day": per_day,
        "input_tokens": point.input_tokens,
        "output_tokens": point.output_tokens,
        "prefix_hit_fraction": point.prefix_hit_fraction,
        "requests_per_s": wanted.mean_requests_per_s(asked.years) * float(wanted.demand.peak_to_mean_ratio),
        "lower_bound_replicas": plan.lower_bound_replicas_peak,
        "lower_bound_accelerator_h_per_day": float(whole(by_hour).mean()) * of.accelerators * _HOURS_PER_DAY,
        "accelerator_h_per_day": float(plan.accelerators * _HOURS_PER_DAY),
        "replicas_at_peak": plan.replicas_with_maintenance,
        "replicas": plan.replicas,
        "systems": plan.systems,
        "fleet_accelerators": plan.accelerators,
        "stranded_accelerators": plan.stranded_accelerators,
        "spare_accelerators": plan.spare_accelerators,
        "mean_occupancy_fraction": plan.mean_occupancy_fraction,
        "it_power_mw": plan.it_power_mw,
        "facility_power_mw": plan.facility_power_mw,
        "capital_usd": plan.capital_usd,
        "annual_cost_usd": plan.annual_cost_usd,
        "cost_usd_per_mtok": plan.annual_cost_usd / (per_day * _DAYS_PER_YEAR) * 1e6,
    }
    return row | _revenue(cell, carried, plan)


def _proven(found: Staffed) -> dict[str, Any]:
    """What the closed form planned and the simulator proved, and the percentiles of the proven number."""
    proof = found.proof
    if proof is None:
        return {"replicas_planned": found.planned}
    rank = f"p{proof.targets.percentile:g}"
    return {
        "replicas_planned": found.planned,
        "replicas_proven": proof.replicas_proven,
        "short_fraction": proof.short_fraction,
        f"time_to_first_token_{rank}_s": proof.repaired_ttft_s,
        f"time_per_output_token_{rank}_s": proof.repaired_tpot_s,
    }


def _revenue(cell: Cell, carried: TokenRates, plan: FleetPlan) -> dict[str, Any]:
    """Revenue of the demand's tokens and the margin that it leaves, where tokens are sold."""
    if cell.money.token_prices is None or cell.money.books == "self":
        return {}
    hourly = cell.money.revenue_usd_per_h(cell.replica, carried.scaled(1.0 / cell.money.occupancy))
    annual = float(hourly if hourly is not None else 0.0) * HOURS_PER_YEAR
    return {"annual_revenue_usd": annual, "margin_fraction": float(margin_fraction(annual, plan.annual_cost_usd))}
