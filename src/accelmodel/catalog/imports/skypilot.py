"""SkyPilot's catalogue of virtual machines: `catalogs/<version>/<cloud>/vms.csv`, one row an instance type and zone."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.alias_generators import to_pascal

from accelmodel.catalog.imports.gathered import Gathered, Origin, fault, read_text
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError

# What SkyPilot means by a name where the catalogue's alias means another chip.
_OWN_NAMES = {"A100": "a100-40gb-sxm"}


class _Row(BaseModel):
    """The columns that say what is sold, where and at what price; a field left blank is unknown."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore")

    instance_type: str | None
    accelerator_name: str | None
    accelerator_count: Decimal | None
    price: Decimal | None
    spot_price: Decimal | None = None
    region: str

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unknown(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value


def read(path: Path, library: Library, provider: str | None = None) -> tuple[Gathered, Origin]:
    """Prices of a cloud's instances: of systems where the catalogue knows the instance type, else of accelerators on the rental market.

    On the spot market the zones of a region differ: the price is the cheapest zone's, `high` the dearest's.
    """
    rows = list(_rows(path))
    systems = library.files("systems")
    of_systems = provider in (None, "aws")
    if of_systems and not any(row.instance_type in systems for row in rows):
        message = "none of its instance types is a system of the catalogue; where another cloud's accelerators are for rent, name it"
        raise InputError(message, file=path, key="--provider")
    gathered = Gathered("hour")
    zones: dict[tuple[str, ...], list[Decimal]] = defaultdict(list)
    for row in rows:
        if not row.accelerator_name:
            gathered.skip("without an accelerator")
        elif not of_systems:
            _rental(row, provider or "", library, gathered)
        elif row.instance_type not in systems:
            gathered.skip("instance type that is no system of the catalogue")
        else:
            gathered.put((row.instance_type, "on-demand", row.region), "price", row.price, system=row.instance_type, term="on-demand", region=row.region)
            if row.spot_price:
                zones[row.instance_type, "spot", row.region].append(row.spot_price)
    for (system, term, region), prices in zones.items():
        gathered.put((system, term, region), "price", min(prices), system=system, term=term, region=region, high=max(prices))
    return gathered, Origin(f"SkyPilot's catalogue of {provider or 'aws'}", "SkyPilot", "press")


def _rows(path: Path) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = [field.alias or name for name, field in _Row.model_fields.items() if field.is_required()]
    for column in columns:
        if column not in (reader.fieldnames or ()):
            raise InputError(
                "is not a column of this file, so that it is no catalogue of SkyPilot's", file=path, key=column, value=column, allowed=reader.fieldnames
            )
    try:
        for row in reader:
            yield _Row.model_validate(row)
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", file=path, key=f"line {reader.line_num + 1}") from None
    except ValidationError as error:
        raise fault(error, path, f"line {reader.line_num}") from None


def _rental(row: _Row, provider: str, library: Library, gathered: Gathered) -> None:
    """A node for rent as a price of one of its accelerators; over regions and sizes the price is the cheapest, up to `high`."""
    name, count = row.accelerator_name or "", row.accelerator_count
    accelerator = _OWN_NAMES.get(name) or library.named("accelerators", name)
    if accelerator is None:
        gathered.skip("accelerator that is not in the catalogue")
    elif "pcie" in f"{row.instance_type} {name}".lower():
        gathered.skip("PCIe card, of which the catalogue has the module")
    elif not count:
        gathered.skip("without a number of accelerators")
    else:
        for term, price in (("rental", row.price), ("spot", row.spot_price)):
            if price:
                _widen(gathered, (accelerator, term, provider), price / count)


def _widen(gathered: Gathered, offer: tuple[str, str, str], price: Decimal) -> None:
    accelerator, term, provider = offer
    row = gathered.rows.setdefault(offer, {"accelerator": accelerator, "term": term, "provider": provider, "price": price})
    row |= {"price": min(price, row["price"]), "high": max(price, row.get("high", price))}
