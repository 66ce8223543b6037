"""The identities of the studies of money: how each of their numbers follows from others, down to terms of operating points and the catalogue's figures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from accelmodel.economics.ownership import OwnershipCost
from accelmodel.studies.axes import label
from accelmodel.studies.equations import Maker, Term, Walk, figure, given, of_figure, total
from accelmodel.studies.owned import owned_hour
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import LOAD_KEYS, MarginStudy, OwnershipStudy, Parity, PriceShock, Waterfall
from accelmodel.studies.terms import PointTerms, terms_at

Rows = Sequence[Mapping[str, Any]]

# The hour is linear in the purchase: its price at which an hour costs a given amount.
PURCHASE_AT = "purchase_usd * ({} - cost_usd_per_h + of_purchase_usd_per_h) / of_purchase_usd_per_h"
CAPACITY = {"capacity_mtok_per_h": "(input_tokens_per_s + output_tokens_per_s) * 3600 / 1000000"}


def case_named(context: Context, name: str) -> str | None:
    """The case that a row calls so: by its own name, or by its system's where the scenario has no cases."""
    return name if name in context.scenario.cases else None


def cell_named(context: Context, name: str) -> Cell:
    """The cell of the case that a row calls so."""
    case = case_named(context, name)
    return context.cell(case, context.scenario.situation(case))


def point_named(context: Context, name: str) -> PointTerms:
    """Terms of a case's operating point."""
    return terms_at(context, cell_named(context, name), {})


def of_point(point: PointTerms) -> dict[str, Maker]:
    """What equations ask of an operating point: rates, accelerators, occupancy and the owner's figures."""
    rates = ("input_tokens_per_s", "output_tokens_per_s", "replica_cost_usd_per_h", "cost_usd_per_mtok", "revenue_usd_per_h", "power_w")
    own = ("availability", "overhead_share", "keep_warm_share", "failures_per_year", "repair_time", "cost_of_capital")
    stated = [name for name in own if getattr(point.money.catalog.ownership(point.money.owner).figures, name) is not None]
    found: dict[str, Maker] = {name: bound(point.term, name) for name in rates}
    found |= {name: bound(_owners(point), name) for name in stated}
    site = point.money.catalog.site(point.money.site)
    found |= {name: partial(figure, f"site {site.name}: {name}", of) for name, of in site.figures if of is not None}
    return found | {"occupancy": point.occupancy, "accelerators": point.accelerators}


def asked_for(asked: Any, key: str) -> Maker:
    """What a study was asked for by a key of its own."""
    return lambda: given(key, getattr(asked, key), f"[studies.*] of kind {asked.kind}")


def bound(make: Callable[[str], Term], name: str) -> Maker:
    """The making of one name's term."""
    return partial(make, name)


def _owners(point: PointTerms) -> Callable[[str], Term]:
    owner = point.money.catalog.ownership(point.money.owner)
    return lambda name: figure(f"owner {owner.name}: {name}", getattr(owner.figures, name))


# An owner's hour


def of_ownership(context: Context, asked: OwnershipStudy, rows: Rows, number: int) -> Walk:
    """An accelerator's hour in one view."""
    row, catalog = rows[number], context.catalog
    accelerator, owner = catalog.accelerator(row["accelerator"]), catalog.ownership(asked.owner)
    power = {"mean_it_power_w": "it_power * load_fraction"}
    makers: dict[str, Maker] = {"load_fraction": asked_for(asked, "load_fraction")}
    if row["view"] == "straight-line":
        makers["cost_of_capital"] = lambda: given("cost_of_capital", 0.0, "a straight line bears no interest")
        makers["depreciation_worth"] = lambda: given("present value of tax depreciation", 1.0, "a straight line bears no interest")

    def hour(purchase: Term) -> Term:
        """The whole hour at another purchase price."""
        return owned_hour(catalog, asked.owner, asked.site, accelerator, power, makers | {"purchase_usd": lambda: purchase}).term("cost_usd_per_h")

    price = figure(f"purchase price of {accelerator.name}", owner.purchase_price(accelerator.name))
    more: dict[str, Maker] = {
        "cost_at_low_purchase_usd_per_h": lambda: hour(dataclasses.replace(price, value=owner.purchase_price(accelerator.name).si_low)),
        "cost_at_high_purchase_usd_per_h": lambda: hour(dataclasses.replace(price, value=owner.purchase_price(accelerator.name).si_high)),
        "cost_without_purchase_usd_per_h": lambda: hour(given("purchase price", 0.0, "none, to see what goes with it", "USD")),
        "chip_usd": lambda: figure(f"chip of {accelerator.name}", owner.chip[accelerator.name]),
        "published_usd_per_h": lambda: _published(context, asked, accelerator.name),
    }
    equations = {
        "chip_capital_usd_per_h": "server_capital_usd_per_h * chip_usd / purchase_usd",
        "difference_fraction": "cost_usd_per_h / published_usd_per_h - 1",
        "of_purchase_usd_per_h": "cost_usd_per_h - cost_without_purchase_usd_per_h",
        "purchase_at_published_usd": PURCHASE_AT.format("published_usd_per_h"),
    }
    return owned_hour(catalog, asked.owner, asked.site, accelerator, power | equations, makers | more, row)


def _published(context: Context, asked: OwnershipStudy, accelerator: str) -> Term:
    assert asked.reference is not None
    reference = context.catalog.reference(asked.reference)
    return of_figure(f"{reference.name}: {asked.published} of {accelerator}", reference.need(asked.published, accelerator))


# Margins

_MARGIN = {
    "capacity_mtok_per_day": "capacity_mtok_per_h * 24",
    "list_price_usd_per_mtok": "list_revenue_usd_per_h / (capacity_mtok_per_h * occupancy)",
    "revenue_usd_per_h": "list_revenue_usd_per_h * (1 - discount_fraction)",
    "price_usd_per_mtok": "list_price_usd_per_mtok * (1 - discount_fraction)",
    "price_usd_per_accelerator_h": "revenue_usd_per_h / occupancy / accelerators",
    "margin_fraction": "1 - replica_cost_usd_per_h / revenue_usd_per_h",
    "markup_on_cost_fraction": "revenue_usd_per_h / replica_cost_usd_per_h - 1",
    "operating_margin_fraction": "margin_fraction - overhead_share",
    "break_even_price_usd_per_mtok": "cost_usd_per_mtok",
    "target_price_usd_per_mtok": "cost_usd_per_mtok / (1 - target_margin_fraction)",
    "operating_target_price_usd_per_mtok": "cost_usd_per_mtok / (1 - target_margin_fraction - overhead_share)",
    "target_price_usd_per_accelerator_h": "replica_cost_usd_per_h / (accelerators * occupancy) / (1 - target_margin_fraction)",
    "break_even_mtok_per_day": "break_even_occupancy_fraction * capacity_mtok_per_day",
    "carbon_kg_per_mtok": "site_energy_kwh_per_mtok * carbon_intensity",
    "water_l_per_mtok": "site_energy_kwh_per_mtok / pue * water_usage",
    "margin_fraction_low90": "1 - (1 - margin_fraction) * spread",
    "margin_fraction_high90": "1 - (1 - margin_fraction) / spread",
}
_FOR_MARGIN = "idle_cost_usd_per_h / (revenue_usd_per_h / occupancy{} - (replica_cost_usd_per_h - idle_cost_usd_per_h) / occupancy)"
# What an owner's hour gives beside.
_OWNED_MARGIN = {
    "idle_cost_usd_per_h": "accelerators * idle_hour_usd_per_h / availability",
    "site_energy_kwh_per_mtok": "mean_it_power_w / 1000 * accelerators / availability / (capacity_mtok_per_h * occupancy) * pue",
}


def of_margin(context: Context, asked: MarginStudy, rows: Rows, number: int) -> Walk:
    """A case at one occupancy and discount; a part of a mix, or the whole."""
    row = rows[number]
    if asked.mix and row["case"] == "mix":
        return _of_mix(context, asked, rows, number)
    situation, load = _situation(context, rows, number)
    point = terms_at(context, context.cell(case_named(context, row["case"]), situation), load)
    makers = of_point(point) | {name: asked_for(asked, name) for name in ("target_margin_fraction",)}
    makers |= {"discount_fraction": lambda: given("discount_fraction", row["discount_fraction"], "[studies.*] of kind margin")}
    makers |= {"list_revenue_usd_per_h": point.at_list_price, "spread": lambda: point.spread("throughput")}
    if asked.overhead_fraction is not None:
        makers["overhead_share"] = asked_for(asked, "overhead_fraction")
    if asked.mix and asked.mix[number % (len(asked.mix) + 1)].load_by_hour is not None:
        makers["occupancy"] = lambda: given("occupancy", row["occupancy"], "of the fleet that the mix shares hour by hour, [studies.*] of kind margin")
    left = {"break_even": "", "target": " * (1 - target_margin_fraction)", "operating_target": " * (1 - target_margin_fraction - overhead_share)"}
    equations = CAPACITY | _MARGIN | {f"{name}_occupancy_fraction": _FOR_MARGIN.format(part) for name, part in left.items()}
    if point.money.books == "self":  # nothing is sold: what the same tokens would cost bought stands in its place
        bought = {name: re.sub(r"\brevenue_usd_per_h", "bought_usd_per_h", text) for name, text in equations.items()}
        equations = bought | {"bought_usd_per_h": "list_revenue_usd_per_h * (1 - discount_fraction)", "saving_fraction": bought["margin_fraction"]}
    del makers["revenue_usd_per_h"]
    if point.money.rents:
        return Walk(row, equations | {"idle_cost_usd_per_h": "replica_cost_usd_per_h"}, makers)
    hour, idle = point.owned_hour(), point.owned_hour(0.0)
    makers["mean_it_power_w"] = bound(hour.term, "mean_it_power_w")
    makers["idle_hour_usd_per_h"] = bound(idle.term, "cost_usd_per_h")
    return Walk(row, equations | _OWNED_MARGIN | _at_purchases(point, makers), makers)


def _situation(context: Context, rows: Rows, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The situation of a row at its place of the axes and its occupancy, and the keys of it that are a load."""
    row = rows[number]
    at = [values for values in context.scenario.grid() if all(row.get(key, value) == label(value) for key, value in values.items())]
    own = context.scenario.situation(case_named(context, row["case"]))
    return own | at[0] | {"occupancy": row["occupancy"]}, {key: value for key, value in at[0].items() if key in LOAD_KEYS}


def _at_purchases(point: PointTerms, makers: dict[str, Maker]) -> dict[str, str]:
    """Cost and margin at the ends of the purchase price's range, whose hours the makers then have."""
    found = {}
    for end, money in zip(("low", "high"), point.money.purchase_ends(point.replica.accelerator) or (), strict=False):
        there = PointTerms(point.replica, money, point.point, point.inputs).owned_hour()
        makers[f"hour_at_{end}_usd_per_h"] = bound(there.term, "cost_usd_per_h")
        cost = f"cost_at_{end}_purchase_usd_per_mtok"
        found[cost] = f"accelerators * hour_at_{end}_usd_per_h / availability / (capacity_mtok_per_h * occupancy)"
        found[f"margin_at_{end}_purchase_fraction"] = f"1 - {cost} * capacity_mtok_per_h * occupancy / revenue_usd_per_h"
    return found


def _of_mix(context: Context, asked: MarginStudy, rows: Rows, number: int) -> Walk:
    """The whole of a mix: each column by share of the tokens, margins of the sums."""
    row, places = rows[number], range(number - len(asked.mix), number)
    walks = [of_margin(context, asked, rows, place) for place in places]
    makers: dict[str, Maker] = {f"share_{n}": bound(walk.term, "share_fraction") for n, walk in enumerate(walks, 1)}
    blended = [name for name in ("list_price_usd_per_mtok", "price_usd_per_mtok", "cost_usd_per_mtok", *_FOOTPRINT) if row.get(name) is not None]
    makers |= {f"{name}_{n}": bound(walk.term, name) for name in blended for n, walk in enumerate(walks, 1)}
    equations = {name: total(f"share_{n} * {name}_{n}" for n in range(1, len(walks) + 1)) for name in blended}
    prices = {name: _MARGIN[name] for name in _MARGIN if name.endswith("_price_usd_per_mtok") and name != "list_price_usd_per_mtok"}
    makers |= {f"overhead_{n}": bound(walk.term, "overhead_share") for n, walk in enumerate(walks, 1)}
    makers |= {"target_margin_fraction": asked_for(asked, "target_margin_fraction")}
    equations |= prices | {
        "overhead_share": total(f"share_{n} * overhead_{n}" for n in range(1, len(walks) + 1)),
        "margin_fraction": "1 - cost_usd_per_mtok / price_usd_per_mtok",
        "markup_on_cost_fraction": "price_usd_per_mtok / cost_usd_per_mtok - 1",
        "operating_margin_fraction": "margin_fraction - overhead_share",
    }
    return Walk(row, equations, makers)


_FOOTPRINT = ("site_energy_kwh_per_mtok", "carbon_kg_per_mtok", "water_l_per_mtok")


def of_price_shock(context: Context, asked: PriceShock, rows: Rows, number: int) -> Walk:
    """A mix of supplies after the vendor's price has moved."""
    row = rows[number]
    in_house, vendor = (point_named(context, case) for case in (asked.in_house, asked.vendor))
    makers = of_point(in_house) | {
        "in_house_cost_usd_per_mtok": bound(in_house.term, "cost_usd_per_mtok"),
        "vendor_cost_usd_per_mtok": bound(vendor.term, "cost_usd_per_mtok"),
        "in_house_fraction": lambda: given("in_house_fraction", row["in_house_fraction"], "[studies.*] of kind price-shock"),
        "vendor_price_shock_fraction": lambda: given("vendor_price_shock_fraction", row["vendor_price_shock_fraction"], "[studies.*] of kind price-shock"),
        "vendor_price_part": lambda: given("part of the vendor's cost that moves", 1.0, "all of a rent"),
    }
    equations = CAPACITY | {
        "price_usd_per_mtok": "revenue_usd_per_h / (capacity_mtok_per_h * occupancy)",
        "cost_usd_per_mtok": f"in_house_fraction * in_house_cost_usd_per_mtok + (1 - in_house_fraction) * {_SHOCKED}",
        "margin_fraction": "1 - cost_usd_per_mtok / price_usd_per_mtok",
        "parity_vendor_price_shock_fraction": "(in_house_cost_usd_per_mtok / vendor_cost_usd_per_mtok - 1) / vendor_price_part",
        "parity_vendor_price_usd": "purchase_usd * (1 + parity_vendor_price_shock_fraction)",
    }
    if not vendor.money.rents:
        equations["vendor_price_part"] = "of_purchase_usd_per_h / cost_usd_per_h"
    del makers["cost_usd_per_mtok"]
    return Walk(row, equations, makers | hour_of(vendor))


_SHOCKED = "vendor_cost_usd_per_mtok * (1 + vendor_price_part * vendor_price_shock_fraction)"


# From list price to operating margin


def of_waterfall(context: Context, asked: Waterfall, rows: Rows, number: int) -> Walk:
    """A step, from the other steps of its case and the hours that it pays for."""
    row = rows[number]
    point = point_named(context, row["case"])
    steps = {symbol(one["step"]): one["step_usd_per_mtok"] for one in rows if one["case"] == row["case"]}
    costs = list(steps)[3:-3]
    equations = (
        CAPACITY
        | (_rented_steps() if point.money.rents else _owned_steps(point))
        | {
            "list_price": "revenue_usd_per_h / occupancy / capacity_mtok_per_h",
            "price": "list_price * (1 - discount_fraction)",
            "discount": "price - list_price",
            "gross_margin": total(["price", *costs]),
            "overheads": "-price * overhead_share",
            "operating_margin": "gross_margin + overheads",
            "step_of_price_fraction": "step_usd_per_mtok / price",
        }
    )
    makers = of_point(point) | {"discount_fraction": asked_for(asked, "discount_fraction")}
    if asked.overhead_fraction is not None:
        makers["overhead_share"] = asked_for(asked, "overhead_fraction")
    if not point.money.rents:
        loaded, idle = point.owned_hour(1.0), point.owned_hour(0.0)
        makers |= {line: bound(loaded.term, line) for line in _line_names()} | {"loaded_hour_usd_per_h": bound(loaded.term, "cost_usd_per_h")}
        makers["idle_hour_usd_per_h"] = bound(idle.term, "cost_usd_per_h")
    equations["step_usd_per_mtok"] = equations[symbol(row["step"])]
    return Walk({**steps, **row}, equations, makers, dict.fromkeys(steps, "USD/Mtok"))


def symbol(words: str) -> str:
    """A step's name as equations have it.

    >>> symbol("keep warm hours")
    'keep_warm_hours'
    """
    return re.sub(r"\W+", "_", words)


def _line_names() -> list[str]:
    return [field.name for field in dataclasses.fields(OwnershipCost) if field.name != "basis"]


def _owned_steps(point: PointTerms) -> dict[str, str]:
    """Steps of an owner: the loaded hours by line, then the others; what the owner does not state is not in them."""
    own = point.money.catalog.ownership(point.money.owner).figures
    failed = "min(failures_per_year * repair_time, 1 - availability)" if own.failures_per_year is not None and own.repair_time is not None else "0"
    lines = {line.removesuffix("_usd_per_h").removesuffix("_capital"): f"-accelerators * {line} / capacity_mtok_per_h" for line in _line_names()}
    return (
        lines
        | _hours("accelerators * idle_hour_usd_per_h", own.keep_warm_share is not None)
        | {
            "mean_hour_usd_per_h": "accelerators * (occupancy * loaded_hour_usd_per_h + (1 - occupancy) * idle_hour_usd_per_h)",
            "drained_hours": f"-(1 - availability - {failed}) * mean_hour_usd_per_h / availability / (occupancy * capacity_mtok_per_h)",
            "failed_hours": f"-{failed} * mean_hour_usd_per_h / availability / (occupancy * capacity_mtok_per_h)",
        }
    )


def _rented_steps() -> dict[str, str]:
    return {"rent_of_loaded_hours": "-replica_cost_usd_per_h / capacity_mtok_per_h"} | _hours("replica_cost_usd_per_h", True)


def _hours(cost: str, warm: bool) -> dict[str, str]:
    """Hours without load at what they cost, warm and idle ones apart where the owner keeps some warm."""
    each = f"-(1 - occupancy) * {cost} / (occupancy * capacity_mtok_per_h)"
    return {"keep_warm_hours": f"{each} * keep_warm_share", "idle_hours": f"{each} * (1 - keep_warm_share)" if warm else each}


# At parity


def of_parity(context: Context, _: Parity, rows: Rows, number: int) -> Walk:
    """A subject's price at which its tokens cost what the baseline's cost."""
    row = rows[number]
    subject, baseline = point_named(context, row["subject"]), point_named(context, row["baseline"])
    equations = CAPACITY | {
        "subject_mtok_per_accelerator_h": "capacity_mtok_per_h * occupancy / accelerators",
        "cost_usd_per_accelerator_h": "subject_cost_usd_per_mtok * subject_mtok_per_accelerator_h",
        "parity_price_usd_per_accelerator_h": "baseline_cost_usd_per_mtok * subject_mtok_per_accelerator_h",
        "purchase_at_parity_usd": PURCHASE_AT.format("parity_price_usd_per_accelerator_h * availability"),
    }
    makers = of_point(subject) | {
        "subject_cost_usd_per_mtok": bound(subject.term, "cost_usd_per_mtok"),
        "baseline_cost_usd_per_mtok": bound(baseline.term, "cost_usd_per_mtok"),
    }
    return Walk(row, equations, makers | hour_of(subject))


def hour_of(point: PointTerms) -> dict[str, Maker]:
    """An owner's hour at the point's mean power; nothing where hardware is rented."""
    if point.money.rents:
        return {}
    hour = point.owned_hour()
    names = ("purchase_usd", "cost_usd_per_h", "of_purchase_usd_per_h", "running_usd_per_h", "equipment_usd_per_h", "facility_capital_usd_per_h", "it_power")
    return {name: bound(hour.term, name) for name in names}
