"""The refresh study: keep equipment that is paid for, or put another generation on the same power."""

from __future__ import annotations

import dataclasses
from typing import Any

from accelmodel.economics.cash_flow import worth
from accelmodel.errors import InputError
from accelmodel.results.table import table
from accelmodel.studies.capital import QUARTERS, Leg, cost_of_capital, course_of, fleet_of, name_of, running
from accelmodel.studies.cash_flow import at_equal_power
from accelmodel.studies.margin import Served
from accelmodel.studies.parity import purchase_at_usd
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import RefreshStudy
from accelmodel.units import HOURS_PER_YEAR

_SHOWN = [
    *("case", "horizon_years", "refresh_pays", "refresh_pays_per_token", "cost_usd_per_mtok", "margin_usd_per_mw_year", "net_present_value_usd"),
    *("purchase_at_parity_usd", "running_cost_usd_per_mtok", "capital_cost_usd_per_mtok", "fleet_accelerators", "it_power_mw", "served_mtok_per_mwh"),
]
_W_PER_MW = 1e6


def study(context: Context, asked: RefreshStudy) -> StudyResult:
    """A row per horizon and option, keeping first; the building stands already and is in neither."""
    old = running(context, asked.keep)
    if any(one.cell.money.rents for one in (old, *(running(context, case) for case in asked.refresh))):
        raise InputError("a refresh is of equipment that is owned: use the cloud's books", key="books")
    rows: list[dict[str, Any]] = []
    for years in asked.years:
        kept = _row(context, asked, old, years, asked.fleet_accelerators, is_kept=True)
        rows.append(kept)
        for case in asked.refresh:
            new = running(context, case)
            row = _row(context, asked, new, years, at_equal_power(old, new, asked.fleet_accelerators), is_kept=False)
            per_accelerator_h = kept["cost_usd_per_mtok"] * _mtok_per_accelerator_h(new)
            rows.append(row | _verdict(context, new, row, kept, per_accelerator_h))
    names = dict.fromkeys(name for row in rows for name in row)
    shown = [name for name in _SHOWN if name in names]
    return StudyResult("refresh", table({name: [row.get(name) for row in rows] for name in names}), {"options": rows}, [], shown)


def _mtok_per_accelerator_h(one: Served) -> float:
    return one.mtok_per_h * one.cell.money.occupancy / one.cell.replica.accelerators


def leg(asked: RefreshStudy, one: Served, years: float, count: int, *, is_kept: bool) -> Leg:
    """An option through the years, the building in neither; what is kept has been bought and ramped."""
    fleet, course = dataclasses.replace(fleet_of(one, count), facility_usd=0.0), course_of(asked, one, round(years * QUARTERS))
    if is_kept:
        fleet, course = dataclasses.replace(fleet, equipment_usd=0.0), dataclasses.replace(course, purchase_fractions=(1.0,), ramp_years=0.0)
    return Leg(one, count, fleet, course)


def _row(context: Context, asked: RefreshStudy, one: Served, years: float, count: int, *, is_kept: bool) -> dict[str, Any]:
    """One option: what is kept has been paid for; what is bought costs its equipment."""
    cell, option = one.cell, leg(asked, one, years, count, is_kept=is_kept)
    fleet = option.fleet
    _, cost = cell.money.ownership(cell.replica.accelerator, cell.money.mean_power_w(cell.replica, one.point.power_w / cell.replica.accelerators))
    sold_mtok_per_h = _mtok_per_accelerator_h(one) * context.catalog.ownership(cell.money.owner).figures.availability.si
    running_usd = float(cost.running_usd_per_h) / sold_mtok_per_h
    capital_usd = 0.0 if is_kept else float(cost.total_usd_per_h - cost.running_usd_per_h - cost.facility_capital_usd_per_h) / sold_mtok_per_h
    mw = count * cell.replica.accelerator.need("it_power").si / _W_PER_MW
    revenue_usd_per_mtok = fleet.revenue_usd_per_year / fleet.mtok_per_year
    return {
        "case": name_of(one),
        "horizon_years": years,
        "fleet_accelerators": count,
        "it_power_mw": mw,
        "served_mtok_per_mwh": fleet.mtok_per_year / (mw * HOURS_PER_YEAR),
        "running_cost_usd_per_mtok": running_usd,
        "capital_cost_usd_per_mtok": capital_usd,
        "cost_usd_per_mtok": running_usd + capital_usd,
        "margin_usd_per_mw_year": (revenue_usd_per_mtok - running_usd - capital_usd) * fleet.mtok_per_year / mw,
        "net_present_value_usd": worth(option.flow, cost_of_capital(asked, one), QUARTERS).net_present_value_usd,
    }


def _verdict(context: Context, new: Served, row: dict[str, Any], kept: dict[str, Any], per_accelerator_h: float) -> dict[str, Any]:
    """Whether the refresh pays, and the purchase price at which its tokens, capital and all but the building, cost what running the old one costs."""
    terms, of = new.cell.money, new.cell.replica
    _, cost = terms.ownership(of.accelerator, terms.mean_power_w(of, new.point.power_w / of.accelerators))
    building = float(cost.facility_capital_usd_per_h) / context.catalog.ownership(terms.owner).figures.availability.si
    purchase = purchase_at_usd(context, new, per_accelerator_h + building)["purchase_at_parity_usd"]
    return {
        # Below 0 the new one's own running costs are above the old one's: it does not pay at any price.
        "purchase_at_parity_usd": max(purchase, 0.0),
        "refresh_pays_per_token": row["cost_usd_per_mtok"] < kept["cost_usd_per_mtok"],
        "refresh_pays": row["net_present_value_usd"] > kept["net_present_value_usd"],
    }
