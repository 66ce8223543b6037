"""AWS's price lists: the bulk files (`offers/v1.0/aws/AmazonEC2/current/us-east-1/index.json`, those of Savings Plans too) and GetProducts' answers.

A bulk file holds products by SKU and apart from them their terms; GetProducts gives one product with its terms at a time, as JSON in a string.
Both come down to items here: the attributes of a product and its terms.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from accelmodel.catalog.imports import aws_bedrock, aws_ec2
from accelmodel.catalog.imports.gathered import Gathered, Origin, fault, read_json
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError

Payment = Literal["no upfront", "partial upfront", "all upfront"]


class _Record(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class _Listed(_Record):
    """A product with its terms by type and code, these not looked into: a list has a hundred thousand, of which few are read."""

    attributes: dict[str, str]
    terms: dict[str, dict[str, Any]]


class Dimension(_Record):
    """One price of a term: per hour, as an upfront fee ("Quantity"), per 1,000 tokens ..."""

    unit: str
    price_per_unit: dict[str, Decimal]


class Terms(_Record):
    """One way of buying a product."""

    price_dimensions: dict[str, Dimension]
    term_attributes: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One product: its service, its attributes and, unread, its terms by type and code."""

    service: str
    attributes: Mapping[str, str]
    raw_terms: Mapping[str, Mapping[str, Any]]
    published: str
    path: Path

    def terms(self, kind: str) -> Iterator[Terms]:
        """The terms of a type, `OnDemand` or `Reserved`; InputError where they are not as the format has them."""
        for code, raw in self.raw_terms.get(kind, {}).items():
            try:
                yield Terms.model_validate(raw)
            except ValidationError as error:
                raise fault(error, self.path, f"terms.{kind}.{code}") from None


def read(path: Path, library: Library, payment: Payment = "no upfront") -> tuple[Gathered, Origin]:
    """Prices of EC2 systems by the hour, or of Bedrock models by the token, from one or more documents in a file."""
    items: list[Item] = []
    plans: list[Mapping[str, Any]] = []
    for document in read_json(path):
        _sort_out(document, path, items, plans)
    wanted = [item for item in items if _kind(item.service)]
    service = _service(items, plans, path)
    currency = _currency(wanted)
    currencies = {currency} if wanted else set()
    if service == "AmazonBedrock":
        gathered = aws_bedrock.gather(wanted, library, currency)
    else:
        gathered = aws_ec2.gather(wanted, library, currency, payment)
        for plan in plans:
            currencies |= aws_ec2.gather_savings(plan, library, payment, path, gathered)
    if len(currencies) > 1:
        raise InputError(f"holds prices in {' and '.join(sorted(currencies))}: import them apart", file=path)
    for _ in range(len(items) - len(wanted)):
        gathered.skip("of another service")
    published = [item.published for item in items] + [str(plan.get("publicationDate", "")) for plan in plans]
    return gathered, Origin(f"AWS price list of {service}", "Amazon Web Services", "official", max(published)[:10] or None, min(currencies, default="USD"))


def _service(items: Iterable[Item], plans: Iterable[Mapping[str, Any]], path: Path) -> str:
    """The one service that a file holds prices of; InputError where it is none of the two, or both."""
    found = {kind for item in items if (kind := _kind(item.service))} | {"AmazonEC2" for _ in plans}
    if len(found) > 1:
        raise InputError("holds prices both by the hour (EC2) and by the token (Bedrock): import them apart", file=path)
    if not found:
        services = sorted({item.service or "unknown" for item in items})
        raise InputError(f"holds no prices of EC2 or Bedrock, only of {', '.join(services)}" if services else "holds no products", file=path)
    return found.pop()


def _kind(service: str) -> str:
    """AmazonEC2 or AmazonBedrock, of which the latter goes by several names; empty for another service."""
    return service if service == "AmazonEC2" else "AmazonBedrock" if service.startswith("AmazonBedrock") else ""


def _sort_out(document: Any, path: Path, items: list[Item], plans: list[Mapping[str, Any]]) -> None:
    """A document's products among the items, or itself among the Savings Plans."""
    if isinstance(document, str):
        document = _unquoted(document, path)
    if isinstance(document, list):
        for part in document:
            _sort_out(part, path, items, plans)
    elif isinstance(document, dict) and isinstance(document.get("PriceList"), list):
        _sort_out(document["PriceList"], path, items, plans)
    elif isinstance(document, dict) and isinstance(document.get("terms"), dict) and "savingsPlan" in document["terms"]:
        plans.append(document)
    elif isinstance(document, dict) and isinstance(document.get("products"), dict) and isinstance(document.get("terms"), dict):
        items.extend(_of_bulk(document, path))
    elif isinstance(document, dict) and isinstance(document.get("product"), dict) and isinstance(document.get("terms"), dict):
        items.append(_item(document["product"], document["terms"], document, path))
    else:
        found = f"found: {', '.join(list(document)[:8])}" if isinstance(document, dict) else f"found: {type(document).__name__}"
        raise InputError(f"is no price list of AWS: neither 'products' and 'terms' nor 'PriceList' ({found})", file=path)


def _unquoted(text: str, path: Path) -> Any:
    """A product that GetProducts gives as JSON in a string."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON inside a string: {error.msg}", file=path, key="PriceList") from None


def _of_bulk(document: Mapping[str, Any], path: Path) -> Iterator[Item]:
    for sku, product in document["products"].items():
        terms = {kind: by_sku[sku] for kind, by_sku in document["terms"].items() if isinstance(by_sku, dict) and sku in by_sku}
        yield _item(product, terms, document, path)


def _item(product: Any, terms: Mapping[str, Any], document: Mapping[str, Any], path: Path) -> Item:
    try:
        listed = _Listed.model_validate({"attributes": product.get("attributes") if isinstance(product, dict) else product, "terms": terms})
    except ValidationError as error:
        raise fault(error, path, "product") from None
    service = document.get("serviceCode") or document.get("offerCode") or listed.attributes.get("servicecode") or _service_of(listed.attributes)
    return Item(str(service), listed.attributes, listed.terms, str(document.get("publicationDate", "")), path)


def _service_of(attributes: Mapping[str, str]) -> str:
    """The service of a product that does not name it, by the attributes that only its products have."""
    if "inferenceType" in attributes or "(Amazon Bedrock Edition)" in attributes.get("servicename", ""):
        return "AmazonBedrock"
    return "AmazonEC2" if "instanceType" in attributes and "operatingSystem" in attributes else ""


def _currency(items: Iterable[Item]) -> str:
    """The currency of a list: USD where it states any price in USD, else the one that it mostly uses (a list of China's regions: CNY)."""
    found = Counter(
        currency
        for item in items
        for by_code in item.raw_terms.values()
        for term in by_code.values()
        for dimension in _table(_table(term).get("priceDimensions")).values()
        for currency in _table(_table(dimension).get("pricePerUnit"))
    )
    return "USD" if "USD" in found or not found else found.most_common(1)[0][0]


def _table(raw: Any) -> dict[str, Any]:
    """A part of a document that should be a table; whether it is, is told by whoever reads it in earnest."""
    return raw if isinstance(raw, dict) else {}
