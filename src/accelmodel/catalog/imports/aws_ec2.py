"""Prices of EC2's accelerated instances: on demand, reserved, under Savings Plans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from accelmodel.catalog.imports.gathered import Gathered, fault
from accelmodel.catalog.library import Library

if TYPE_CHECKING:
    from accelmodel.catalog.imports.aws import Item, Payment, Terms

# What a price is of that the catalogue speaks of: a bare Linux instance of one's own account, running.
_PLAIN = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "preInstalledSw": "NA",
    "operation": "RunInstances",
}
_DAYS = {1: 365, 3: 1095}
_SAVINGS = {"ComputeSavingsPlans": "compute-savings", "EC2InstanceSavingsPlans": "instance-savings"}


def gather(items: Iterable[Item], library: Library, currency: str, payment: Payment) -> Gathered:
    """Rows of the instance types that are systems of the catalogue."""
    gathered = Gathered("hour")
    for item in items:
        reason = _unusable(item.attributes, library)
        if reason:
            gathered.skip(reason)
            continue
        system, region = item.attributes["instanceType"], item.attributes["regionCode"]
        for terms in item.terms("OnDemand"):
            hourly, _ = _prices(terms, currency)
            _put(gathered, library, system, "on-demand", region, hourly)
        for terms in item.terms("Reserved"):
            _put_reserved(gathered, library, system, region, terms, currency, payment)
    return gathered


def _unusable(attributes: Mapping[str, str], library: Library) -> str | None:
    """Why a product is none of the catalogue's; None where it is one."""
    if attributes.get("instanceType") not in library.files("systems"):
        return "instance type that is no system of the catalogue"
    if attributes.get("marketoption", "OnDemand") != "OnDemand":
        # The list has them at 0.00: the price is quoted when a block is bought.
        return "Capacity Block, whose price no list states"
    if any(attributes.get(key, value) != value for key, value in _PLAIN.items()):
        return "other operating system, tenancy, software or state"
    if attributes.get("locationType", "AWS Region") != "AWS Region":
        return "in a Local or Wavelength Zone"
    return None if attributes.get("regionCode") else "without a region"


def _prices(terms: Terms, currency: str) -> tuple[Decimal | None, Decimal]:
    """Price of an hour and fee upfront."""
    hourly, upfront = None, Decimal(0)
    for dimension in terms.price_dimensions.values():
        price = dimension.price_per_unit.get(currency)
        if price is not None and dimension.unit.lower() in ("hrs", "hours", "hour"):
            hourly = price
        elif price is not None and dimension.unit.lower() == "quantity":
            upfront = price
    return hourly, upfront


def _put_reserved(gathered: Gathered, library: Library, system: str, region: str, terms: Terms, currency: str, payment: Payment) -> None:
    """A reservation of the standard class with the wanted payment; a fee upfront is spread over the hours of the term."""
    told = terms.term_attributes
    years = {"1yr": 1, "3yr": 3}.get(told.get("LeaseContractLength", ""))
    if told.get("OfferingClass", "standard") != "standard":
        gathered.skip("reservation of the convertible class")
    elif years is None:
        gathered.skip("reservation of another length than one or three years")
    elif told.get("PurchaseOption", "").lower() != payment:
        gathered.skip("commitment with another payment")
    else:
        hourly, upfront = _prices(terms, currency)
        facts: dict[str, Any] = {"longest_term_days": _DAYS[years], "note": payment}
        if upfront:
            hours = 24 * _DAYS[years]
            facts |= {"kind": "derived", "formula": f"{_shown(hourly or Decimal(0))} + {_shown(upfront)} upfront / {hours} h"}
            hourly = (hourly or 0) + upfront / hours
        _put(gathered, library, system, f"reserved-{years}y", region, hourly, **facts)


def _put(gathered: Gathered, library: Library, system: str, term: str, region: str, price: Decimal | None, **facts: Any) -> None:
    """A row of a system; an instance that is sold only as part of an UltraServer is a price of the whole one."""
    whole = library.system(system).sold_within
    if whole is not None and price is not None:
        count = library.system(whole).accelerators // library.system(system).accelerators
        listed = f"({facts['formula']})" if "formula" in facts else _shown(price)
        facts |= {"kind": "derived", "formula": f"{count} x {listed} of {system}"}
        system, price = whole, price * count
    gathered.put((system, term, region), "price", price, system=system, term=term, region=region, **facts)


def _shown(price: Decimal) -> str:
    """A price without the zeros that the list pads it with."""
    return f"{price.normalize():f}"


# Savings Plans


class _Record(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class _Money(_Record):
    price: Decimal
    currency: str


class _Rate(_Record):
    discounted_usage_type: str
    discounted_operation: str
    discounted_region_code: str | None = None
    discounted_service_code: str = "AmazonEC2"
    discounted_rate: _Money


class _Lease(_Record):
    duration: int
    unit: str


class _Plan(_Record):
    sku: str
    lease_contract_length: _Lease
    rates: list[_Rate]


class _Product(_Record):
    sku: str
    product_family: str
    attributes: dict[str, str]


class _PlanTerms(_Record):
    savings_plan: list[_Plan]


class _PlanFile(_Record):
    region_code: str = ""
    products: list[_Product]
    terms: _PlanTerms


def gather_savings(document: Mapping[str, Any], library: Library, payment: Payment, path: Path, gathered: Gathered) -> set[str]:
    """Rates of a bulk file of Savings Plans, each of an instance type's usage; the currencies that they are in."""
    try:
        file = _PlanFile.model_validate(document)
    except ValidationError as error:
        raise fault(error, path, "") from None
    products = {product.sku: product for product in file.products}
    currencies = {rate.discounted_rate.currency for plan in file.terms.savings_plan for rate in plan.rates}
    for plan in file.terms.savings_plan:
        product = products.get(plan.sku)
        term = _SAVINGS.get(product.product_family) if product else None
        years = plan.lease_contract_length.duration
        if product is None or term is None or years not in _DAYS:
            gathered.skip("plan that is none of Compute or EC2 Instance Savings Plans")
        elif product.attributes.get("purchaseOption", "").lower() != payment:
            gathered.skip("commitment with another payment")
        else:
            for rate in plan.rates:
                _put_rate(gathered, library, rate, f"{term}-{years}y", _DAYS[years], file.region_code, payment)
    return currencies


def _put_rate(gathered: Gathered, library: Library, rate: _Rate, term: str, days: int, region: str, payment: Payment) -> None:
    usage = re.fullmatch(r"(?:[A-Z0-9]+-)?BoxUsage:(.+)", rate.discounted_usage_type)
    system = usage[1] if usage else ""
    region = rate.discounted_region_code or region
    if system not in library.files("systems"):
        gathered.skip("instance type that is no system of the catalogue")
    elif rate.discounted_operation != _PLAIN["operation"]:
        gathered.skip("other operating system, tenancy, software or state")
    elif not region:
        gathered.skip("without a region")
    else:
        _put(gathered, library, system, term, region, rate.discounted_rate.price, longest_term_days=days, note=payment)
