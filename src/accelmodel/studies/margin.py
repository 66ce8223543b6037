"""The margin study: what is left of a price, what price or occupancy a margin needs, and what a million tokens take of energy, carbon and water."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.columns import HIGH, LOW
from accelmodel.economics.footprint import carbon_kg_per_mtok, it_energy_kwh_per_mtok, site_energy_kwh_per_mtok, water_l_per_mtok
from accelmodel.economics.margin import (
    blended_cost_usd_per_mtok,
    break_even_occupancy_fraction,
    margin_fraction,
    markup_on_cost_fraction,
    occupancy_for_margin_fraction,
    operating_margin_fraction,
    price_for_margin_usd,
    token_revenue_usd_per_h,
)
from accelmodel.economics.offers import discounted_price
from accelmodel.economics.time_use import occupancy_by_hour_fraction
from accelmodel.errors import InputError
from accelmodel.results.table import table
from accelmodel.studies.fleet import goodput_of
from accelmodel.studies.grid import misfit
from accelmodel.studies.money import Money
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import MarginStudy
from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

_SHOWN = [
    *("case", "share_fraction", "occupancy", "discount_fraction", "price_usd_per_mtok", "price_usd_per_accelerator_h", "cost_usd_per_mtok", "margin_fraction"),
    *("saving_fraction", "target_occupancy_fraction", "target_price_usd_per_mtok", "target_price_usd_per_accelerator_h", "operating_margin_fraction"),
    *("operating_target_price_usd_per_mtok", "markup_on_cost_fraction", "break_even_occupancy_fraction", "break_even_mtok_per_day", "capacity_mtok_per_day"),
    *("margin_at_high_purchase_fraction", "margin_at_low_purchase_fraction"),
    *("site_energy_kwh_per_mtok", "carbon_kg_per_mtok", "water_l_per_mtok"),
]
_HOURS_PER_DAY = 24
_BLENDED = ("list_price_usd_per_mtok", "price_usd_per_mtok", "cost_usd_per_mtok", "site_energy_kwh_per_mtok", "carbon_kg_per_mtok", "water_l_per_mtok")


@dataclass(frozen=True)
class Served:
    """A replica at its operating point, and its money as lines in the occupancy: cost = fixed + variable x occupancy, revenue = full x occupancy.

    `full_revenue_usd_per_h` is what its tokens or hours fetch at list price; on one's own books, what the same tokens would cost bought. None without price.
    """

    cell: Cell
    point: Point
    mtok_per_h: float
    fixed_usd_per_h: float
    variable_usd_per_h: float
    full_revenue_usd_per_h: float | None

    @property
    def sells_hours(self) -> bool:
        """Whether hours are sold rather than tokens."""
        return self.cell.money.token is None


def served(context: Context, cell: Cell) -> Served | str:
    """A cell at its operating point; why not, in words, where it cannot run."""
    point = context.point(cell)
    if not point.fits:
        return misfit(cell, 1, 1, point.kv_capacity_tokens > 0)
    at_load, idle = (cost_usd_per_h(cell, point, occupancy) for occupancy in (1.0, 0.0))
    mtok_per_h = (point.input_tokens_per_s + point.output_tokens_per_s) * SECONDS_PER_HOUR / TOKENS_PER_MTOK
    return Served(cell, point, mtok_per_h, idle, at_load - idle, _full_revenue(cell, point))


def cost_usd_per_h(cell: Cell, point: Point, occupancy: float) -> float:
    """Cost of the replica per hour at an occupancy."""
    return float(_at(cell.money, occupancy).replica_cost_usd_per_h(cell.replica, np.array([point.power_w]))[0])


def _at(terms: Money, occupancy: float) -> Money:
    return dataclasses.replace(terms, occupancy=occupancy)


def _full_revenue(cell: Cell, point: Point) -> float | None:
    """What the replica's tokens fetch per hour at full occupancy, or its hours on the cloud's books; None where nothing has a price."""
    prices = cell.money.token_prices
    if prices is not None:
        return float(token_revenue_usd_per_h(goodput_of(point), prices))
    return _at(cell.money, 1.0).hours_usd_per_h(cell.replica)


def overheads(context: Context, cell: Cell, asked: float | None) -> float:
    """Overheads as a share of revenue: as asked, else the owner's."""
    return context.catalog.ownership(cell.money.owner).figures.overhead_share.si if asked is None else asked


def study(context: Context, asked: MarginStudy) -> StudyResult:
    """A row per case, point of the axes and discount; with a mix, of its parts and of the whole."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for values in context.scenario.grid():
        found = _parts(context, asked, values) if asked.mix else _cases(context, asked, values)
        for one in found:
            if isinstance(one, str):
                notes.append(one)
            else:
                rows += one
    if not rows:
        raise InputError(notes[0] if notes else "there is nothing to compute", key="cases")
    summary: dict[str, Any] = {"margins": rows, "target_margin_fraction": asked.target_margin_fraction}
    if asked.reference is not None:
        summary["published_operating_margin"] = span = _yardstick(context, asked.reference)
        notes.append(f"Published operating margins: {span['low']:.1%} to {span['high']:.1%} ({span['first']} to {span['last']})")
    names = dict.fromkeys(name for row in rows for name in row)
    shown = [name for name in dict.fromkeys([*_SHOWN[:1], *context.scenario.axis_keys, *_SHOWN[1:]]) if name in names]
    return StudyResult("margin", table({name: [row.get(name) for row in rows] for name in names}), summary, notes, shown)


def _cases(context: Context, asked: MarginStudy, values: dict[str, Any]) -> Iterator[list[dict[str, Any]] | str]:
    """Rows of every case."""
    for case in context.scenario.chosen(asked.cases):
        one = served(context, context.cell(case, {**context.scenario.situation(case), **values}))
        yield one if isinstance(one, str) else [_row(context, asked, one, one.cell.money.occupancy, off, values) for off in asked.discount_fraction]


def _row(context: Context, asked: MarginStudy, one: Served, occupancy: float, discount: float, values: dict[str, Any]) -> dict[str, Any]:
    """One case at one occupancy and discount."""
    cell, mtok_per_h = one.cell, one.mtok_per_h * occupancy
    cost = one.fixed_usd_per_h + one.variable_usd_per_h * occupancy
    row: dict[str, Any] = {
        "case": cell.case or cell.replica.system.name,
        **_of_axes(values),
        "model": cell.replica.model.name,
        "system": cell.replica.system.name,
        "books": cell.money.books,
        "cost_basis": cell.money.basis,
        "occupancy": occupancy,
        "discount_fraction": discount,
        "replica_cost_usd_per_h": cost,
        "cost_usd_per_mtok": cost / mtok_per_h,
        "capacity_mtok_per_day": one.mtok_per_h * _HOURS_PER_DAY,
        **_footprint(context, one, occupancy),
        **_purchase_range(one, occupancy),
    }
    if one.full_revenue_usd_per_h is None:
        return row
    full = float(discounted_price(one.full_revenue_usd_per_h, discount))
    return row | _margins(context, asked, one, row, full) | _prices(asked, one, row, full)


def _of_axes(values: dict[str, Any]) -> dict[str, Any]:
    """Values of the axes as columns; occupancy is one in any case."""
    return {key: ", ".join(value) if isinstance(value, tuple) else value for key, value in values.items() if key != "occupancy"}


def _margins(context: Context, asked: MarginStudy, one: Served, row: dict[str, Any], full_usd_per_h: float) -> dict[str, Any]:
    """What is left of the price, and at which occupancy how much would be."""
    cost, revenue = row["replica_cost_usd_per_h"], full_usd_per_h * row["occupancy"]
    even = float(break_even_occupancy_fraction(full_usd_per_h, one.fixed_usd_per_h, one.variable_usd_per_h))
    found: dict[str, Any] = {"break_even_occupancy_fraction": even}
    if not one.sells_hours:
        found["break_even_mtok_per_day"] = even * row["capacity_mtok_per_day"]
    if one.cell.money.books == "self":
        return found | {"saving_fraction": float(margin_fraction(revenue, cost))}
    share, target = overheads(context, one.cell, asked.overhead_fraction), asked.target_margin_fraction
    lines = (full_usd_per_h, one.fixed_usd_per_h, one.variable_usd_per_h, target)
    found |= {
        "revenue_usd_per_h": revenue,
        "margin_fraction": float(margin_fraction(revenue, cost)),
        "operating_margin_fraction": float(operating_margin_fraction(revenue, cost, share)),
        "markup_on_cost_fraction": float(markup_on_cost_fraction(revenue, cost)),
        "target_occupancy_fraction": float(occupancy_for_margin_fraction(*lines)),
        "operating_target_occupancy_fraction": float(occupancy_for_margin_fraction(*lines, share)),
        "target_price_usd_per_mtok": float(price_for_margin_usd(row["cost_usd_per_mtok"], target)),
        "operating_target_price_usd_per_mtok": float(price_for_margin_usd(row["cost_usd_per_mtok"], target, share)),
        "break_even_price_usd_per_mtok": row["cost_usd_per_mtok"],
    }
    if "cost_at_high_purchase_usd_per_mtok" in row:
        for end in ("low", "high"):
            found[f"margin_at_{end}_purchase_fraction"] = float(
                margin_fraction(revenue, row[f"cost_at_{end}_purchase_usd_per_mtok"] * one.mtok_per_h * row["occupancy"])
            )
    spread = one.cell.replica.spread
    if spread is not None and not one.sells_hours:  # hours are sold whatever the engine does with them
        factor, left = spread.throughput.si, 1.0 - found["margin_fraction"]
        found |= {"margin_fraction" + LOW: 1.0 - left * factor, "margin_fraction" + HIGH: 1.0 - left / factor}
    return found


def _purchase_range(one: Served, occupancy: float) -> dict[str, float]:
    """Cost of a million tokens at either end of the purchase price's range; nothing where hardware is rented or its price given."""
    ends = one.cell.money.purchase_ends(one.cell.replica.accelerator)
    if ends is None:
        return {}
    low, high = (cost_usd_per_h(dataclasses.replace(one.cell, money=terms), one.point, occupancy) / (one.mtok_per_h * occupancy) for terms in ends)
    return {"cost_at_low_purchase_usd_per_mtok": low, "cost_at_high_purchase_usd_per_mtok": high}


def _prices(asked: MarginStudy, one: Served, row: dict[str, Any], full_usd_per_h: float) -> dict[str, Any]:
    """Prices as they are sold: of a million tokens, or of an accelerator-hour."""
    if not one.sells_hours:
        assert one.full_revenue_usd_per_h is not None
        return {"list_price_usd_per_mtok": one.full_revenue_usd_per_h / one.mtok_per_h, "price_usd_per_mtok": full_usd_per_h / one.mtok_per_h}
    accelerators = one.cell.replica.accelerators
    an_hour = row["replica_cost_usd_per_h"] / (accelerators * row["occupancy"])
    return {
        "price_usd_per_accelerator_h": full_usd_per_h / accelerators,
        "target_price_usd_per_accelerator_h": float(price_for_margin_usd(an_hour, asked.target_margin_fraction)),
    }


def _footprint(context: Context, one: Served, occupancy: float) -> dict[str, Any]:
    """Energy, carbon and water of a million tokens; what the catalogue does not have is absent. A tenant's are those of the site as well."""
    of, site = one.cell.replica, context.catalog.site(one.cell.money.site).figures
    it, tdp = of.accelerator.figures.it_power, of.accelerator.figures.tdp
    if it is None or tdp is None:
        return {}
    each_w = float(_at(one.cell.money, occupancy).mean_power_w(of, one.point.power_w / of.accelerators)) + it.si - tdp.si
    up = one.cell.money.time_use().available_fraction
    energy = it_energy_kwh_per_mtok(each_w * of.accelerators / up, one.mtok_per_h * TOKENS_PER_MTOK / SECONDS_PER_HOUR * occupancy)
    at_meter = site_energy_kwh_per_mtok(energy, site.pue.si)
    found = {"site_energy_kwh_per_mtok": float(at_meter)}
    if site.carbon_intensity is not None:
        found["carbon_kg_per_mtok"] = float(carbon_kg_per_mtok(at_meter, site.carbon_intensity.si * 3.6e6))
    if site.water_usage is not None:
        found["water_l_per_mtok"] = float(water_l_per_mtok(energy, site.water_usage.si * 3.6e9))
    return found


def _parts(context: Context, asked: MarginStudy, values: dict[str, Any]) -> Iterator[list[dict[str, Any]] | str]:
    """Rows of the parts of a mix and of the whole, each part at the occupancy of the fleet that it shares."""
    parts = []
    for part in asked.mix:
        one = served(context, context.cell(part.case, {**context.scenario.situation(part.case), **values}))
        if isinstance(one, str):
            raise InputError(one, key=f"cases.{part.case}")
        if one.sells_hours or one.cell.money.books == "self":
            raise InputError("a mix is of tokens that are sold: give an offer by the token", key=f"cases.{part.case}.offer")
        parts.append(one)
    occupancies = _occupancies(asked, parts, values)
    for discount in asked.discount_fraction:
        rows = [_row(context, asked, one, occupancy, discount, values) for one, occupancy in zip(parts, occupancies, strict=True)]
        rows = [{**row, "share_fraction": part.share} for row, part in zip(rows, asked.mix, strict=True)]
        yield [*rows, _whole(context, asked, parts, rows) | _of_axes(values)]


def _occupancies(asked: MarginStudy, parts: list[Served], values: dict[str, Any]) -> list[float]:
    """Occupancy of each part: that of its situation, or, where loads by hour are given, of its system's fleet, which its parts share hour by hour."""
    if all(part.load_by_hour is None for part in asked.mix):
        return [one.cell.money.occupancy for one in parts]
    if "occupancy" in values:
        raise InputError("loads by hour decide the occupancy: leave out the axis, or the loads", key="axes.occupancy", value=values["occupancy"])
    needs: dict[str, Any] = {}
    for part, one in zip(asked.mix, parts, strict=True):
        load = np.ones(_HOURS_PER_DAY) if part.load_by_hour is None else np.array(part.load_by_hour)
        if not load.any():
            raise InputError("a load by hour needs an hour with load", key="mix.load_by_hour", value=part.case)
        accelerators = part.share * load / load.mean() * one.cell.replica.accelerators / one.mtok_per_h
        needs[one.cell.replica.system.name] = needs.get(one.cell.replica.system.name, 0.0) + accelerators
    found = {system: occupancy_by_hour_fraction(need, asked.headroom_fraction) for system, need in needs.items()}
    return [found[one.cell.replica.system.name] for one in parts]


def _whole(context: Context, asked: MarginStudy, parts: list[Served], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mix as a whole: prices, costs and footprint by share of the tokens, margins of the sums."""
    shares = np.array([row["share_fraction"] for row in rows])
    share = float(np.dot(shares, [overheads(context, one.cell, asked.overhead_fraction) for one in parts]))
    whole: dict[str, Any] = {"case": "mix", "share_fraction": float(shares.sum()), "discount_fraction": rows[0]["discount_fraction"]}
    if len({row["occupancy"] for row in rows}) == 1:
        whole["occupancy"] = rows[0]["occupancy"]
    for name in _BLENDED:
        if all(name in row for row in rows):
            whole[name] = float(blended_cost_usd_per_mtok(shares, np.array([row[name] for row in rows])))
    price, cost = whole["price_usd_per_mtok"], whole["cost_usd_per_mtok"]
    return whole | {
        "margin_fraction": float(margin_fraction(price, cost)),
        "operating_margin_fraction": float(operating_margin_fraction(price, cost, share)),
        "markup_on_cost_fraction": float(markup_on_cost_fraction(price, cost)),
        "break_even_price_usd_per_mtok": cost,
        "target_price_usd_per_mtok": float(price_for_margin_usd(cost, asked.target_margin_fraction)),
        "operating_target_price_usd_per_mtok": float(price_for_margin_usd(cost, asked.target_margin_fraction, share)),
    }


def _yardstick(context: Context, name: str) -> dict[str, Any]:
    """Lowest and highest operating margin that a reference holds, by period."""
    reference = context.catalog.reference(name)
    margins = {period: reference.need("operating_margin", period).value for period in reference.groups}
    if not margins:
        raise InputError(f"reference '{name}' has no operating margins by period", key="reference", value=name)
    context.rest_on([], {figure.source for group in reference.groups.values() for figure in group.values() if figure.source})
    return {"low": min(margins.values()), "high": max(margins.values()), "first": min(margins), "last": max(margins)}
