"""The ownership study: an accelerator's hour line by line, with interest and on a straight line, beside what analysts publish."""

from __future__ import annotations

from typing import Any

from accelmodel.economics.ownership import OwnershipCost, OwnershipTerms, capital_per_accelerator, cost_of_ownership
from accelmodel.results.table import table
from accelmodel.studies.money import demand_usd_per_kw_h, ownership_terms, tariff_usd_per_kwh
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import OwnershipStudy

_SHOWN = [
    *("accelerator", "view", "cost_usd_per_h", "published_usd_per_h", "difference_fraction", "purchase_usd", "purchase_at_published_usd"),
    *("cost_at_low_purchase_usd_per_h", "cost_at_high_purchase_usd_per_h", "server_capital_usd_per_h", "network_capital_usd_per_h"),
    *("facility_capital_usd_per_h", "energy_usd_per_h", "operations_usd_per_h", "maintenance_usd_per_h", "spares_usd_per_h"),
]


def study(context: Context, asked: OwnershipStudy) -> StudyResult:
    """Two rows per accelerator: capital as an annuity, and on a straight line."""
    terms = ownership_terms(context.catalog.ownership(asked.owner).figures)
    views = {"annuity": terms, "straight-line": terms.straight_line}
    rows = [_row(context, asked, name, view, of) for name in asked.accelerators for view, of in views.items()]
    if asked.reference is not None:
        context.rest_on_reference(context.catalog.reference(asked.reference))
    _rest_on_figures(context, asked)
    names = dict.fromkeys(name for row in rows for name in row)
    return StudyResult("ownership", table({name: [row.get(name) for row in rows] for name in names}), {"hours": rows}, [], [n for n in _SHOWN if n in names])


def _row(context: Context, asked: OwnershipStudy, name: str, view: str, terms: OwnershipTerms) -> dict[str, Any]:
    """One accelerator in one view."""
    owner, accelerator = context.catalog.ownership(asked.owner), context.catalog.accelerator(name)
    purchase_usd, it_power_w = owner.purchase_price(accelerator.name).si, accelerator.need("it_power").si
    cost = _cost(context, asked, terms, purchase_usd, it_power_w)
    chip = owner.chip.get(accelerator.name)
    row: dict[str, Any] = {"accelerator": accelerator.name, "view": view, "purchase_usd": purchase_usd, "chip_usd": None if chip is None else chip.si}
    row |= {line: float(value) for line, value in cost.lines.items()} | {"cost_usd_per_h": float(cost.total_usd_per_h)}
    price = owner.purchase_price(accelerator.name)
    row["cost_at_low_purchase_usd_per_h"], row["cost_at_high_purchase_usd_per_h"] = (
        float(_cost(context, asked, terms, usd, it_power_w).total_usd_per_h) for usd in (price.si_low, price.si_high)
    )
    row["chip_capital_usd_per_h"] = None if chip is None else row["server_capital_usd_per_h"] * chip.si / purchase_usd
    published = _published(context, asked, accelerator.name)
    if published is not None:
        without = float(_cost(context, asked, terms, 0.0, it_power_w).total_usd_per_h)
        row |= {"published_usd_per_h": published, "difference_fraction": row["cost_usd_per_h"] / published - 1.0}
        # All lines are linear in the purchase, so one ratio gives the price that the published hour implies.
        row["purchase_at_published_usd"] = purchase_usd * (published - without) / (row["cost_usd_per_h"] - without)
    return row


def _cost(context: Context, asked: OwnershipStudy, terms: OwnershipTerms, purchase_usd: float, it_power_w: float) -> OwnershipCost:
    site = context.catalog.site(asked.site)
    return cost_of_ownership(
        terms,
        capital_per_accelerator(terms, purchase_usd, it_power_w),
        power_w=it_power_w * asked.load_fraction,
        pue=site.figures.pue.si,
        tariff_usd_per_kwh=tariff_usd_per_kwh(site),
        peak_power_w=it_power_w,
        demand_usd_per_kw_h=demand_usd_per_kw_h(site),
    )


def _published(context: Context, asked: OwnershipStudy, accelerator: str) -> float | None:
    """The reference's figure for an accelerator, USD/h; None where it has none."""
    if asked.reference is None:
        return None
    reference = context.catalog.reference(asked.reference)
    return reference.need(asked.published, accelerator).value if accelerator in reference.groups else None


def _rest_on_figures(context: Context, asked: OwnershipStudy) -> None:
    """Sources and dates of the owner's and the site's figures."""
    owner, site = context.catalog.ownership(asked.owner), context.catalog.site(asked.site)
    figures = [figure for _, figure in owner.figures if figure is not None]
    figures += [owner.purchase_price(context.catalog.accelerator(name).name) for name in asked.accelerators] + [site.figures.tariff, site.figures.pue]
    context.rest_on([], {figure.source for figure in figures if figure.source})
    context.price_dates |= {date for figure in figures if figure.dimension.startswith("money") and (date := context.catalog.date_of(figure)) is not None}
