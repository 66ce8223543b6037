"""The capital study: NPV, IRR, payback, profitability index and levelised cost of a fleet, by the life of its equipment.

With it, what the other studies over time share: a fleet on its first day, and how it goes through time.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from accelmodel.economics import Values
from accelmodel.economics.cash_flow import CashFlow, Course, Fleet, Worth, cash_flow, worth
from accelmodel.economics.ownership import Capital
from accelmodel.errors import InputError
from accelmodel.fleet.sizing import replicas_in
from accelmodel.results.table import table
from accelmodel.studies.fleet import availability, supply_of
from accelmodel.studies.margin import Served, served
from accelmodel.studies.money import ownership_terms
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import CapitalStudy, CashFlowStudy, RefreshStudy
from accelmodel.units import HOURS_PER_YEAR

QUARTERS = 4
OverTime = CapitalStudy | CashFlowStudy | RefreshStudy


def study(context: Context, asked: CapitalStudy) -> StudyResult:
    """A row per case and life."""
    rows, notes = [], []
    for case in context.scenario.chosen(asked.cases):
        one = running(context, case)
        notes += beyond_terms(one, asked.fleet_accelerators, max(asked.life_years))
        for life in asked.life_years:
            flow = leg(asked, one, life).flow
            found = worth(flow, cost_of_capital(asked, one), QUARTERS)
            label = {"case": name_of(one), "fleet_accelerators": asked.fleet_accelerators, "life_years": life}
            rows.append({**label, **plain(found), "investment_usd": float(flow.investment_usd.sum())})
    names = list(rows[0])
    return StudyResult("capital", table({name: [row[name] for row in rows] for name in names}), {"lives": rows}, notes, names)


@dataclass(frozen=True)
class Leg:
    """A fleet of so many accelerators of a case, and how it goes through time: what a cash flow is made of."""

    served: Served
    accelerators: int
    fleet: Fleet
    course: Course

    @property
    def flow(self) -> CashFlow:
        """Its cash by quarter."""
        return cash_flow(self.fleet, self.course)


def leg(asked: CapitalStudy, one: Served, life_years: float) -> Leg:
    """A case's fleet over the life of its equipment."""
    course = dataclasses.replace(course_of(asked, one, round(life_years * QUARTERS)), equipment_life_years=life_years)
    return Leg(one, asked.fleet_accelerators, fleet_of(one, asked.fleet_accelerators), course)


def plain(found: Worth) -> dict[str, float | None]:
    """The figures of a worth; None where there is no answer."""
    return {name: None if math.isnan(value) else value for name, value in vars(found).items()}


def beyond_terms(one: Served, accelerators: int, years: float) -> list[str]:
    """A note where a plan asks more than the offer that it rents by gives."""
    words = one.cell.money.outlived(-(-accelerators // one.cell.replica.system.accelerators), years)
    return [] if words is None else [f"{name_of(one)}: {words}"]


def name_of(one: Served) -> str:
    """How a row calls a case."""
    return one.cell.case or one.cell.replica.system.name


def running(context: Context, case: str | None) -> Served:
    """A case at its operating point; InputError where it cannot run."""
    one = served(context, context.cell(case, context.scenario.situation(case)))
    if isinstance(one, str):
        raise InputError(one, key=f"cases.{case}")
    return one


def cost_of_capital(asked: OverTime, one: Served) -> float:
    """As asked, else the owner's."""
    given = asked.cost_of_capital_fraction
    return one.cell.money.catalog.ownership(one.cell.money.owner).figures.cost_of_capital.si if given is None else given


def course_of(asked: OverTime, one: Served, periods: int) -> Course:
    """How a fleet goes through time: as asked, with the owner's lives, residual value and removal."""
    terms = ownership_terms(one.cell.money.catalog.ownership(one.cell.money.owner).figures)
    return Course(
        periods=periods,
        periods_per_year=QUARTERS,
        purchase_fractions=asked.purchase_fractions,
        ramp_years=asked.ramp_years,
        price_change_fraction_per_year=asked.price_change_fraction_per_year,
        equipment_price_change_fraction_per_year=asked.equipment_price_change_fraction_per_year,
        price_cuts=tuple((cut.year, cut.fraction) for cut in asked.price_cuts),
        progress_fraction=asked.progress_fraction,
        speedup_fraction_per_year=asked.speedup_fraction_per_year,
        equipment_life_years=terms.server_life_years,
        facility_life_years=terms.facility_life_years,
        residual_fraction=terms.residual_fraction,
        decommissioning_fraction=terms.decommissioning_fraction,
        tax_fraction=terms.tax_fraction if asked.tax_fraction is None else asked.tax_fraction,
    )


def fleet_of(one: Served, accelerators: int) -> Fleet:
    """A fleet of so many accelerators on the first day, on the books of the situation; servers, racks, network and spares go as one."""
    cell, up = one.cell, availability(one.cell)
    if accelerators < cell.replica.accelerators:
        raise InputError(f"{accelerators:,} accelerators hold no replica of {cell.replica.accelerators}", key="fleet_accelerators", value=accelerators)
    supply = supply_of(cell, one.point)
    occupancy, replicas = cell.money.occupancy, replicas_in(accelerators, supply)
    hours, paid_replicas = HOURS_PER_YEAR * up, accelerators / cell.replica.accelerators
    revenue = 0.0 if one.full_revenue_usd_per_h is None or cell.money.books == "self" else one.full_revenue_usd_per_h
    sold = {
        "revenue_usd_per_year": revenue * occupancy * hours * replicas,
        "mtok_per_year": one.mtok_per_h * occupancy * hours * replicas,
        "accelerator_h_per_year": accelerators * hours,
    }
    if cell.money.rents:
        return Fleet(0.0, upkeep_usd_per_year=one.fixed_usd_per_h * HOURS_PER_YEAR * paid_replicas, **sold)
    loaded_w = one.point.power_w / cell.replica.accelerators
    capital, cost = cell.money.ownership(cell.replica.accelerator, cell.money.mean_power_w(cell.replica, loaded_w))
    _, idle = cell.money.ownership(cell.replica.accelerator, dataclasses.replace(cell.money, occupancy=0.0).mean_power_w(cell.replica, loaded_w))
    powered = accelerators * HOURS_PER_YEAR
    return Fleet(
        equipment_usd=equipment_usd(capital) * accelerators,
        facility_usd=capital.facility_usd * accelerators,
        unloaded_energy_usd_per_year=(idle.energy_usd_per_h + idle.demand_usd_per_h) * powered,
        load_energy_usd_per_year=(cost.energy_usd_per_h - idle.energy_usd_per_h) * powered,
        upkeep_usd_per_year=(cost.running_usd_per_h - cost.energy_usd_per_h - cost.demand_usd_per_h) * powered,
        **sold,
    )


def equipment_usd(capital: Capital) -> Values:
    """What one accelerator's equipment costs anew: server, racks, network, spares."""
    return capital.equipment_usd + capital.spares_usd
