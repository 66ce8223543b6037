"""The waterfall study: from list price to operating margin per million tokens, each line of the cost a step."""

from __future__ import annotations

from typing import Any

from accelmodel.economics.margin import Step, waterfall
from accelmodel.errors import InputError
from accelmodel.results.table import table
from accelmodel.studies.margin import Served, overheads, served
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import Waterfall

_ENDS = ("_capital_usd_per_h", "_usd_per_h")


def study(context: Context, asked: Waterfall) -> StudyResult:
    """A row per case and step."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for case in context.scenario.chosen(asked.cases):
        one = served(context, context.cell(case, context.scenario.situation(case)))
        if isinstance(one, str):
            notes.append(one)
            continue
        if one.sells_hours or one.full_revenue_usd_per_h is None or one.cell.money.books == "self":
            raise InputError("sells no tokens: give an offer by the token, such as bedrock", key=f"cases.{case}.offer")
        list_price = one.full_revenue_usd_per_h / one.mtok_per_h
        steps = waterfall(list_price, asked.discount_fraction, costs_usd_per_mtok(one), overheads(context, one.cell, asked.overhead_fraction))
        rows += [_row(one, step, list_price * (1.0 - asked.discount_fraction)) for step in steps]
    names = ("case", "step", "step_usd_per_mtok", "step_of_price_fraction")
    return StudyResult("waterfall", table({name: [row[name] for row in rows] for name in names}), {"steps": rows}, notes, list(names))


def _row(one: Served, step: Step, price_usd_per_mtok: float) -> dict[str, Any]:
    return {
        "case": one.cell.case or one.cell.replica.system.name,
        "step": step.name,
        "step_usd_per_mtok": step.usd,
        "step_of_price_fraction": step.usd / price_usd_per_mtok,
    }


def costs_usd_per_mtok(one: Served) -> dict[str, float]:
    """Cost of a million tokens: the lines of the loaded hours, then the hours kept warm, idle, drained and failed. They sum to the whole."""
    cell, terms = one.cell, one.cell.money
    sold_mtok_per_h = one.mtok_per_h * terms.occupancy
    by_use = {use: float(usd) / sold_mtok_per_h for use, usd in terms.cost_by_use(cell.replica, one.point.power_w).lines.items()}
    loaded = by_use.pop("loaded_usd_per_h")
    others = {_words(use) + " hours": usd for use, usd in by_use.items() if usd}
    if terms.rents:
        return {"rent of loaded hours": loaded, **others}
    _, cost = terms.ownership(cell.replica.accelerator, one.point.power_w / cell.replica.accelerators)
    whole = float(cost.total_usd_per_h)
    return {_words(line): loaded * float(usd) / whole for line, usd in cost.lines.items() if usd} | others


def _words(name: str) -> str:
    """A line's name in words.

    >>> _words("server_capital_usd_per_h"), _words("keep_warm_usd_per_h")
    ('server', 'keep warm')
    """
    for end in _ENDS:
        name = name.removesuffix(end)
    return name.replace("_", " ")
