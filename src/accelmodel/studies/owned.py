"""An owner's hour of an accelerator as equations: every line of its cost down to the owner's, the site's and the accelerator's figures.

The equations are those of `accelmodel.economics.ownership`; symbols are the catalogue's names of the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator
from accelmodel.catalog.library import Library
from accelmodel.catalog.ownership import Ownership
from accelmodel.catalog.sites import Site
from accelmodel.economics.depreciation import macrs_fractions, present_value_fraction
from accelmodel.studies.equations import Maker, Term, Walk, figure, given, total

_RECOVERY = "CRF(cost_of_capital, {}_life) * {}_tax"
_SERVER = f"({_RECOVERY.format('server', 'equipment')} - residual_fraction * (CRF(cost_of_capital, server_life) - cost_of_capital)) / 8760"
_LINES = {
    "server_capital_usd_per_h": f"purchase_usd * {_SERVER}",
    "network_capital_usd_per_h": f"network_usd * {_RECOVERY.format('network', 'equipment')} / 8760",
    "facility_capital_usd_per_h": f"it_power * facility_cost * {_RECOVERY.format('facility', 'facility')} / 8760",
    "energy_usd_per_h": "mean_it_power_w / 1000 * pue * tariff",
    "operations_usd_per_h": "(purchase_usd + network_usd) * operations_per_year / 8760",
    "maintenance_usd_per_h": "(purchase_usd + network_usd) * maintenance_per_year / 8760",
    "spares_usd_per_h": f"purchase_usd * spare_fraction * {_SERVER}",
    "integration_usd_per_h": f"purchase_usd * integration_share * {_RECOVERY.format('server', 'equipment')} / 8760",
    "demand_usd_per_h": "it_power / 1000 * pue * demand_charge",
    "software_usd_per_h": "software_per_year / 8760",
    "decommissioning_usd_per_h": "purchase_usd * decommissioning_share * (CRF(cost_of_capital, server_life) - cost_of_capital) / 8760",
}
_TAXES = {
    "equipment_tax": "(1 - tax_rate * depreciation_worth) / (1 - tax_rate)",
    "facility_tax": "(1 - tax_rate / (facility_life * CRF(cost_of_capital, facility_life))) / (1 - tax_rate)",
}
# What an owner or a site may not have, by the line or factor that then is not there.
_STATED = {"integration_usd_per_h": "integration_share", "software_usd_per_h": "software_per_year", "decommissioning_usd_per_h": "decommissioning_share"}

OF_PURCHASE = ("server_capital", "network_capital", "operations", "maintenance", "spares", "integration", "decommissioning")
RUNNING = ("energy", "demand", "operations", "maintenance", "software")
EQUIPMENT = ("server_capital", "network_capital", "spares", "integration", "decommissioning")
_ALL = tuple(line.removesuffix("_usd_per_h") for line in _LINES)


def owned_hour(
    catalog: Library,
    owner: str,
    site: str,
    accelerator: Accelerator,
    equations: Mapping[str, str],
    makers: Mapping[str, Maker],
    values: Mapping[str, Any] | None = None,
) -> Walk:
    """Terms of the powered hour by line (`server_capital_usd_per_h` ...), of all (`cost_usd_per_h`), and of some: `running_usd_per_h` is what is paid as the
    hours go by, `equipment_usd_per_h` capital without the building, `of_purchase_usd_per_h` what is in proportion to the purchase.

    `equations` and `makers` say what `mean_it_power_w` is, and whatever else is to be another than the owner's figures; `values` are numbers as computed.
    """
    of, place = catalog.ownership(owner), catalog.site(site)
    figures: dict[str, Figure] = {name: found for name, found in (*of.figures, *place.figures) if isinstance(found, Figure)}
    stated = [line for line in _ALL if _STATED.get(f"{line}_usd_per_h", "pue") in figures and (line != "demand" or "demand_charge" in figures)]
    lines = {f"{line}_usd_per_h": _LINES[f"{line}_usd_per_h"] for line in stated}
    if "tax_rate" not in figures:
        lines = {name: text.replace(" * equipment_tax", "").replace(" * facility_tax", "") for name, text in lines.items()}
    sums = {"cost": _ALL, "running": RUNNING, "equipment": EQUIPMENT, "of_purchase": OF_PURCHASE}
    sums_of = {f"{name}_usd_per_h": total(f"{line}_usd_per_h" for line in some if line in stated) for name, some in sums.items()}
    network = {"network_usd": "purchase_usd * network_share / (1 - network_share)"}
    own = {name: _maker(f"{'owner ' + of.name if name in dict(of.figures) else 'site ' + place.name}: {name}", found) for name, found in figures.items()}
    own |= {name: _maker(f"{accelerator.name}: {name}", found) for name, found in accelerator.figures if name in ("it_power", "tdp") and found is not None}
    own |= {f"{line}_usd_per_h": _nothing(f"{line}_usd_per_h", of) for line in _ALL if line not in stated}
    own["purchase_usd"] = lambda: purchase(of, accelerator)
    own["depreciation_worth"] = lambda: _written_off(figures["cost_of_capital"].si)
    tariff, tariffs = _tariff(place)
    return Walk(values or {}, lines | sums_of | network | _TAXES | tariff | dict(equations), own | tariffs | dict(makers))


def _maker(name: str, of: Figure) -> Maker:
    return lambda: figure(name, of)


def _nothing(line: str, owner: Ownership) -> Maker:
    return lambda: given(line, 0.0, f"owner {owner.name} or its site states no such cost")


def purchase(owner: Ownership, accelerator: Accelerator) -> Term:
    """The owner's purchase price of an accelerator with its share of the server."""
    return figure(f"purchase price of {accelerator.name}", owner.purchase_price(accelerator.name))


def _written_off(cost_of_capital_fraction: float) -> Term:
    worth = float(present_value_fraction(macrs_fractions(5), cost_of_capital_fraction))
    return given("present value of tax depreciation", worth, "MACRS over 5 years, at the cost of capital")


def _tariff(site: Site) -> tuple[dict[str, str], dict[str, Maker]]:
    """The mean of the tariffs of a site's classes of hours; nothing where it has none, for its tariff is then a figure."""
    makers: dict[str, Maker] = {}
    for number, one in enumerate(site.hour_classes, 1):
        makers |= {f"tariff_{number}": _maker(f"site {site.name}: tariff {one.name}", one.tariff)}
        makers |= {f"hours_{number}": _maker(f"site {site.name}: hours {one.name}", one.hours)}
    numbers = range(1, len(site.hour_classes) + 1)
    of = {"tariff": f"({total(f'tariff_{n} * hours_{n}' for n in numbers)}) / ({total(f'hours_{n}' for n in numbers)})"}
    return (of if makers else {}), makers
