"""The parity study: at which hourly price, or purchase, one accelerator's tokens cost what another's cost."""

from __future__ import annotations

import itertools
from typing import Any

from accelmodel.economics.margin import parity_price_usd_per_h
from accelmodel.errors import InputError
from accelmodel.results.table import table
from accelmodel.studies.capital import name_of, running
from accelmodel.studies.margin import Served
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import Parity

_SHOWN = [
    *("subject", "baseline", "parity_price_usd_per_accelerator_h", "cost_usd_per_accelerator_h", "purchase_at_parity_usd", "purchase_usd"),
    *("subject_cost_usd_per_mtok", "baseline_cost_usd_per_mtok", "subject_mtok_per_accelerator_h"),
]


def study(context: Context, asked: Parity) -> StudyResult:
    """A row per subject and baseline: below the parity price the subject is the cheaper one per token."""
    every = {case: running(context, case) for case in dict.fromkeys((*asked.subjects, *asked.baselines))}
    rows = [_row(context, every[subject], every[other]) for subject, other in itertools.product(asked.subjects, asked.baselines) if subject != other]
    if not rows:
        raise InputError("needs a baseline that is not the subject itself", key="baselines", value=", ".join(asked.baselines))
    names = dict.fromkeys(name for row in rows for name in row)
    shown = [name for name in _SHOWN if name in names]
    return StudyResult("parity", table({name: [row.get(name) for row in rows] for name in names}), {"parities": rows}, [], shown)


def cost_usd_per_mtok(one: Served) -> float:
    """Cost of a million tokens at the case's occupancy."""
    occupancy = one.cell.money.occupancy
    return (one.fixed_usd_per_h + one.variable_usd_per_h * occupancy) / (one.mtok_per_h * occupancy)


def _row(context: Context, one: Served, other: Served) -> dict[str, Any]:
    mtok_per_h = one.mtok_per_h * one.cell.money.occupancy / one.cell.replica.accelerators
    cost, target = cost_usd_per_mtok(one), cost_usd_per_mtok(other)
    row: dict[str, Any] = {
        "subject": name_of(one),
        "baseline": name_of(other),
        "subject_mtok_per_accelerator_h": mtok_per_h,
        "subject_cost_usd_per_mtok": cost,
        "baseline_cost_usd_per_mtok": target,
        "cost_usd_per_accelerator_h": cost * mtok_per_h,
        "parity_price_usd_per_accelerator_h": float(parity_price_usd_per_h(target, mtok_per_h)),
    }
    if not one.cell.money.rents:
        row |= purchase_at_usd(context, one, row["parity_price_usd_per_accelerator_h"])
    return row


def purchase_at_usd(context: Context, one: Served, cost_usd_per_h: float) -> dict[str, float]:
    """Purchase price of an owned accelerator, and the one at which its available hour costs a given amount; the cost is linear in the purchase."""
    terms, of = one.cell.money, one.cell.replica
    purchase, owner = terms.purchase_price_usd(of.accelerator), context.catalog.ownership(terms.owner)
    capital, cost = terms.ownership(of.accelerator, terms.mean_power_w(of, one.point.power_w / of.accelerators))
    of_purchase = float(cost.total_usd_per_h - cost.facility_capital_usd_per_h - cost.energy_usd_per_h - cost.demand_usd_per_h - cost.software_usd_per_h)
    at = cost_usd_per_h * owner.figures.availability.si
    return {"purchase_usd": float(capital.server_usd), "purchase_at_parity_usd": purchase * (at - float(cost.total_usd_per_h) + of_purchase) / of_purchase}
