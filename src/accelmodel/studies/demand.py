"""The demand study: tokens a day become replicas, reserves, whole systems, megawatts and money, each step kept."""

from __future__ import annotations

from typing import Any

from accelmodel.economics.margin import margin_fraction
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.fleet.availability import FailureDomain
from accelmodel.fleet.demand import Demand
from accelmodel.fleet.sizing import FleetPlan, ReplicaSupply, Reserve, size_fleet
from accelmodel.results.table import table
from accelmodel.studies.fleet import goodput_of, unit_of
from accelmodel.studies.grid import misfit
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import DemandStudy
from accelmodel.units import HOURS_PER_YEAR, SECONDS_PER_HOUR

_SHOWN = [
    *("case", "tokens_per_day", "lower_bound_replicas", "replicas_at_peak", "replicas", "systems", "fleet_accelerators", "stranded_accelerators"),
    *("spare_accelerators", "mean_occupancy_fraction", "it_power_mw", "facility_power_mw", "capital_usd", "annual_cost_usd", "cost_usd_per_mtok"),
    *("annual_revenue_usd", "margin_fraction"),
]
_DAYS_PER_YEAR = 365


def study(context: Context, asked: DemandStudy) -> StudyResult:
    """A row per case and demand."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for case in context.scenario.chosen(asked.cases):
        cell = context.cell(case, context.scenario.situation(case))
        point = context.point(cell)
        if point.fits:
            rows += [_row(cell, point, tokens, asked) for tokens in asked.tokens_per_day]
        else:
            notes.append(misfit(cell, 1, 1, point.kv_capacity_tokens > 0))
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return StudyResult("demand", table(columns), {"fleets": rows}, notes, [name for name in _SHOWN if name in columns])


def _row(cell: Cell, point: Point, tokens_per_day: float, asked: DemandStudy) -> dict[str, Any]:
    """One fleet sized for a demand of the situation's mix of tokens."""
    of, hit = cell.replica, point.prefix_hit_fraction
    inputs = point.input_tokens / (point.input_tokens + point.output_tokens)
    demand = Demand(
        input_tokens_per_day=tokens_per_day * inputs,
        output_tokens_per_day=tokens_per_day * (1.0 - inputs),
        cached_input_fraction=hit,
        peak_to_mean_ratio=asked.peak_to_mean,
        growth_fraction_per_year=asked.growth_fraction_per_year,
    )
    supply = ReplicaSupply(of.accelerators, of.system.accelerators, goodput_of(point))
    plan = size_fleet(demand, supply, _reserve(cell, asked), unit_of(cell, point), asked.years)
    carried = demand.mean_rates(asked.years)
    per_day = tokens_per_day * (1.0 + asked.growth_fraction_per_year) ** asked.years
    row: dict[str, Any] = {
        "case": cell.case or of.system.name,
        "system": of.system.name,
        "tokens_per_day": per_day,
        "lower_bound_replicas": plan.lower_bound_replicas_peak,
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


def _reserve(cell: Cell, asked: DemandStudy) -> Reserve:
    """What the fleet holds beyond its peak: headroom and drained replicas as asked, failures and repairs as the owner has them; a tenant holds no spares."""
    owner = cell.money.catalog.ownership(cell.money.owner)
    failures, repair = owner.figures.failures_per_year, owner.figures.repair_time
    if failures is None or repair is None:
        raise InputError(f"owner '{owner.name}' has no figures 'failures_per_year' and 'repair_time', which sizing a fleet needs", key="owner")
    per_year, repair_h = failures.si * HOURS_PER_YEAR * SECONDS_PER_HOUR, repair.si / SECONDS_PER_HOUR
    return Reserve(
        headroom_fraction=asked.headroom_fraction,
        maintenance_fraction=asked.maintenance_fraction,
        availability_target_fraction=asked.availability_target_fraction,
        domains=(FailureDomain("accelerator", 1, HOURS_PER_YEAR / per_year, repair_h),),
        failures_per_accelerator_year=0.0 if cell.money.rents else per_year,
        repair_turnaround_h=repair_h,
        spares_service_fraction=asked.spares_service_fraction,
    )


def _revenue(cell: Cell, carried: TokenRates, plan: FleetPlan) -> dict[str, Any]:
    """Revenue of the demand's tokens and the margin that it leaves, where tokens are sold."""
    if cell.money.token_prices is None or cell.money.books == "self":
        return {}
    hourly = cell.money.revenue_usd_per_h(cell.replica, carried.scaled(1.0 / cell.money.occupancy))
    annual = float(hourly if hourly is not None else 0.0) * HOURS_PER_YEAR
    return {"annual_revenue_usd": annual, "margin_fraction": float(margin_fraction(annual, plan.annual_cost_usd))}
