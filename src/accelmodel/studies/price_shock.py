"""The price-shock study: what a vendor's price does to the margin, by the share of inference on in-house silicon."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from accelmodel.economics.margin import SupplyMix, cost_under_price_shock_usd_per_mtok, margin_under_price_shock_fraction, parity_price_shock_fraction
from accelmodel.errors import InputError
from accelmodel.results.table import table
from accelmodel.studies.grid import misfit
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import PriceShock

_SHOWN = ["in_house_fraction", "vendor_price_shock_fraction", "cost_usd_per_mtok", "price_usd_per_mtok", "margin_fraction"]


def study(context: Context, asked: PriceShock) -> StudyResult:
    """A row per share and shock; costs and the selling price come from the two cases' operating points."""
    in_house = context.cell(asked.in_house, context.scenario.situation(asked.in_house))
    vendor = context.cell(asked.vendor, context.scenario.situation(asked.vendor))
    price, in_house_cost = _price_and_cost(context, in_house)
    other_price, vendor_cost = _price_and_cost(context, vendor)
    if abs(price - other_price) > 1e-9 * price:
        raise InputError(
            f"cases '{asked.in_house}' and '{asked.vendor}' sell tokens at {price:.4g} and {other_price:.4g} USD/Mtok: give both one offer and one load"
        )
    vendor_share = _vendor_price_fraction(context, vendor)
    rows = []
    for fraction, shock in itertools.product(asked.in_house_fraction, asked.vendor_price_shock_fraction):
        mix = SupplyMix(fraction, in_house_cost, vendor_cost, vendor_share)
        rows.append(
            {
                "in_house_fraction": fraction,
                "vendor_price_shock_fraction": shock,
                "in_house_cost_usd_per_mtok": in_house_cost,
                "vendor_cost_usd_per_mtok": vendor_cost,
                "cost_usd_per_mtok": float(cost_under_price_shock_usd_per_mtok(mix, shock)),
                "price_usd_per_mtok": price,
                "margin_fraction": float(margin_under_price_shock_fraction(mix, price, shock)),
            }
        )
    found = _parity(vendor, SupplyMix(0.0, in_house_cost, vendor_cost, vendor_share))
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {name: [value] * len(rows) for name, value in found.items()}
    note = f"'{asked.vendor}' costs per token what '{asked.in_house}' costs when the vendor's price moves by {found['parity_vendor_price_shock_fraction']:+.1%}"
    return StudyResult("price-shock", table(columns), {**_summary(rows, vendor_share), "parity": found}, [note], _SHOWN)


def _parity(vendor: Cell, mix: SupplyMix) -> dict[str, float]:
    """The move of the vendor's price, and the price then, at which both supplies cost the same per token."""
    shock = float(parity_price_shock_fraction(mix))
    if vendor.money.rents and vendor.money.hour is not None:
        price = vendor.money.hour.price_usd_per_accelerator_h(vendor.replica.system.accelerators)
        return {"parity_vendor_price_shock_fraction": shock, "parity_vendor_price_usd_per_accelerator_h": price * (1.0 + shock)}
    purchase = vendor.money.purchase_price_usd(vendor.replica.accelerator)
    return {"parity_vendor_price_shock_fraction": shock, "parity_vendor_price_usd": purchase * (1.0 + shock)}


def _price_and_cost(context: Context, cell: Cell) -> tuple[float, float]:
    """Selling price and cost of a million tokens of the case's mix."""
    point = context.point(cell)
    if not hasattr(point, "revenue_usd_per_h"):
        raise InputError("sells nothing: give an offer by the token, such as bedrock", key=f"cases.{cell.case}.offer")
    if not point.fits:
        raise InputError(misfit(cell, 1, 1, point.kv_capacity_tokens > 0), key=f"cases.{cell.case}")
    return point.revenue_usd_per_h * point.cost_usd_per_mtok / point.replica_cost_usd_per_h, point.cost_usd_per_mtok


def _vendor_price_fraction(context: Context, cell: Cell) -> float:
    """Share of the case's cost that moves with the vendor's price: all of a rent; of ownership, what another purchase price changes."""
    terms, of = cell.money, cell.replica
    if terms.rents:
        return 1.0
    doubled = dataclasses.replace(terms, purchase_usd=2.0 * terms.purchase_price_usd(of.accelerator))
    loaded_w = np.array([context.point(cell).power_w])
    cost, dearer = (float(one.replica_cost_usd_per_h(of, loaded_w)[0]) for one in (terms, doubled))
    return dearer / cost - 1.0


def _summary(rows: list[dict[str, Any]], vendor_share: float) -> dict[str, Any]:
    """The spread of the margin over the shocks, by share in house: what the thesis is about."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        span = found.setdefault(
            f"{row['in_house_fraction']:g}", {"lowest_margin_fraction": row["margin_fraction"], "highest_margin_fraction": row["margin_fraction"]}
        )
        span["lowest_margin_fraction"] = min(span["lowest_margin_fraction"], row["margin_fraction"])
        span["highest_margin_fraction"] = max(span["highest_margin_fraction"], row["margin_fraction"])
    for span in found.values():
        span["spread"] = span["highest_margin_fraction"] - span["lowest_margin_fraction"]
    return {"margin_by_in_house_fraction": found, "vendor_price_share_of_cost": vendor_share}
