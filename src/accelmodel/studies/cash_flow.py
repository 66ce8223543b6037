"""The cash-flow study: a fleet's cash by quarter, with purchases, ramp, falling prices, faster software and a refresh."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from accelmodel.economics.cash_flow import CashFlow, Fleet, per_period_fraction, worth
from accelmodel.errors import InputError
from accelmodel.numbers import text
from accelmodel.results.table import table
from accelmodel.studies.capital import QUARTERS, Leg, beyond_terms, cost_of_capital, course_of, fleet_of, name_of, plain, running
from accelmodel.studies.margin import Served
from accelmodel.studies.money import ownership_terms
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import CashFlowStudy

_SHOWN = [
    *("case", "period", "time_years", "investment_usd", "revenue_usd", "energy_usd", "upkeep_usd", "proceeds_usd", "tax_usd", "cash_flow_usd"),
    *("discounted_cash_flow_usd", "cumulative_cash_flow_usd", "served_mtok"),
]


def study(context: Context, asked: CashFlowStudy) -> StudyResult:
    """A row per case and quarter; the summary holds what an investor asks of each case."""
    columns: dict[str, list[Any]] = {name: [] for name in _SHOWN}
    summary: dict[str, Any] = {}
    notes = []
    for case in context.scenario.chosen(asked.cases):
        one = running(context, case)
        flow, rate = _flow(context, asked, one), cost_of_capital(asked, one)
        found = _columns(name_of(one), flow, rate)
        for name in _SHOWN:
            columns[name] += found[name]
        figures = plain(worth(flow, rate, QUARTERS))
        summary[name_of(one)] = figures
        notes.append(f"{name_of(one)}: {_in_words(figures, rate)}")
        notes += beyond_terms(one, asked.fleet_accelerators, (len(flow.mtok) - 1) / QUARTERS)
    shown = [name for name in _SHOWN if name != "tax_usd" or any(columns["tax_usd"])]
    return StudyResult("cash-flow", table(columns), {"worth": summary}, notes, shown)


def legs(context: Context, asked: CashFlowStudy, one: Served) -> list[Leg]:
    """What one case's cash is the sum of: its fleet; with a refresh, the first equipment until it goes, the second from then on, the building throughout."""
    life = asked.equipment_life_years or float(ownership_terms(context.catalog.ownership(one.cell.money.owner).figures).server_life_years)
    periods = round((asked.years or life) * QUARTERS)
    first = Leg(one, asked.fleet_accelerators, fleet_of(one, asked.fleet_accelerators), course_of(asked, one, periods))
    first = dataclasses.replace(first, course=dataclasses.replace(first.course, equipment_life_years=life))
    if asked.refresh is None:
        return [first]
    turn = round(asked.refresh.year * QUARTERS)
    if not len(asked.purchase_fractions) <= turn < periods:
        raise InputError("lies outside the years after the purchases", key="refresh.year", value=asked.refresh.year)
    other = running(context, asked.refresh.case)
    count = at_equal_power(one, other, asked.fleet_accelerators)
    until = dataclasses.replace(first.course, periods=turn, sold_at_book=False)
    since = dataclasses.replace(first.course, first_period=turn, purchase_fractions=(1.0,))
    return [
        dataclasses.replace(first, fleet=dataclasses.replace(first.fleet, facility_usd=0.0), course=until),
        Leg(other, count, dataclasses.replace(fleet_of(other, count), facility_usd=0.0), since),
        dataclasses.replace(first, fleet=Fleet(0.0, facility_usd=first.fleet.facility_usd)),
    ]


def _flow(context: Context, asked: CashFlowStudy, one: Served) -> CashFlow:
    """Cash of one case."""
    flows = [leg.flow for leg in legs(context, asked, one)]
    periods = max(len(flow.mtok) for flow in flows) - 1
    first, *others = (_extended(flow, periods) for flow in flows)
    return sum(others, start=first)


def _extended(flow: CashFlow, periods: int) -> CashFlow:
    """The same flow in a longer horizon."""
    return CashFlow(**{name: np.pad(values, (0, periods + 1 - len(values))) for name, values in vars(flow).items()})


def at_equal_power(one: Served, other: Served, accelerators: int) -> int:
    """Accelerators of the other that the IT power of so many of the first runs."""
    first, second = (each.cell.replica.accelerator.need("it_power").si for each in (one, other))
    return int(accelerators * first / second)


def _columns(name: str, flow: CashFlow, cost_of_capital_fraction: float) -> dict[str, list[Any]]:
    times = np.arange(len(flow.net_usd))
    rate = per_period_fraction(cost_of_capital_fraction, QUARTERS)
    found = {key: getattr(flow, key) for key in ("investment_usd", "revenue_usd", "energy_usd", "upkeep_usd", "proceeds_usd", "tax_usd")}
    found |= {
        "served_mtok": flow.mtok,
        "time_years": times / QUARTERS,
        "cash_flow_usd": flow.net_usd,
        "discounted_cash_flow_usd": flow.net_usd / (1.0 + rate) ** times,
    }
    found["cumulative_cash_flow_usd"] = np.cumsum(flow.net_usd)
    listed: dict[str, list[Any]] = {key: values.tolist() for key, values in found.items()}
    return listed | {"case": [name] * len(times), "period": times.tolist()}


def _in_words(figures: dict[str, float | None], rate: float) -> str:
    """NPV, IRR, payback and levelised cost in one line."""
    internal, payback = figures["internal_rate_of_return_fraction"], figures["payback_years"]
    words = [f"NPV {text(figures['net_present_value_usd'], 'USD')} at {rate:.1%}", "no IRR" if internal is None else f"IRR {internal:.1%} a year"]
    words.append("not paid back" if payback is None else f"paid back in {payback:.2f} years")
    words.append(f"levelised cost {text(figures['levelised_cost_usd_per_accelerator_h'], 'USD')} per available accelerator-hour")
    words.append(text(figures["levelised_cost_usd_per_mtok"], "USD/Mtok"))
    return ", ".join(words)
