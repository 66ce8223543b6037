"""What owning accelerators costs: purchase prices, lives, cost of capital, facility, upkeep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Figure, Fraction, Name, Strict, of
from accelmodel.errors import InputError

_Life = Annotated[Figure, of("time", 1, 50, "year")]
_ShareOfCapital = Annotated[Figure, of("ratio", 0.0, 0.3)]
_Purchase = Annotated[Figure, of("money per accelerator", 500, 500_000, "USD/accelerator")]


class OwnershipFigures(Strict):
    """Figures that hold for every accelerator of one owner. Shares of capital are per year where the name says so.

    `network_share` is the network outside the servers as a share of cluster capital (servers and network); `facility_cost` is per W of
    critical (IT) power; `operations_per_year` is of all capital, `maintenance_per_year` of servers and network; `overhead_share` is of
    revenue and separates operating from gross margin; `occupancy` is the share of the hours in which a replica carries its load;
    `failures_per_year` is of one accelerator; `host_failures_per_year` are those that take a whole host down, per accelerator of the host.

    Absent where an owner has no such cost, or it is not known: `integration_share` (racks, installation, testing) and `decommissioning_share` (removal at
    the end of life) are of the server; `software_per_year` is of one accelerator; `keep_warm_share` is of the hours without load; `tax_rate` is of profit.
    """

    cost_of_capital: Annotated[Figure, of("ratio", 0.0, 0.5)]
    server_life: _Life
    network_life: _Life
    facility_life: _Life
    facility_cost: Annotated[Figure, of("money per power", 1, 60, "USD/W")]
    network_share: _ShareOfCapital
    operations_per_year: _ShareOfCapital
    maintenance_per_year: _ShareOfCapital
    spare_fraction: Annotated[Figure, of("ratio", 0.0, 0.5)]
    availability: Annotated[Figure, of("ratio", 0.5, 1.0)]
    residual_fraction: Annotated[Figure, of("ratio", 0.0, 0.9)]
    overhead_share: Fraction
    occupancy: Fraction
    failures_per_year: Annotated[Figure, of("frequency", 0.0, 5.0, "1/year")] | None = None
    repair_time: Annotated[Figure, of("time", 1, 10_000, "hour")] | None = None
    host_failures_per_year: Annotated[Figure, of("frequency", 0.0, 5.0, "1/year")] | None = None
    host_repair_time: Annotated[Figure, of("time", 0.01, 10_000, "hour")] | None = None
    integration_share: _ShareOfCapital | None = None
    decommissioning_share: _ShareOfCapital | None = None
    software_per_year: Annotated[Figure, of("money per accelerator and time", 0, 50_000, "USD/accelerator/year")] | None = None
    keep_warm_share: Fraction | None = None
    tax_rate: Fraction | None = None


class Ownership(Strict):
    """One owner's figures, and the purchase price per accelerator as part of a server (host, board, chassis, in-rack links).

    `chip` is the part of a purchase that the chip alone is, where that is known; the rest is the share of the server.
    """

    name: Name
    title: str
    note: str | None = None
    figures: OwnershipFigures
    purchase: dict[Name, _Purchase]
    chip: dict[Name, _Purchase] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _chips_are_parts(self) -> Ownership:
        for name, chip in self.chip.items():
            if name not in self.purchase or chip.si > self.purchase[name].si:
                raise ValueError(f"chip.{name} is a part of purchase.{name}: it cannot be more, nor stand alone")
        return self

    def purchase_price(self, accelerator: str) -> Figure:
        """Purchase price of one accelerator with its share of the server; InputError where none is known."""
        found = self.purchase.get(accelerator)
        if found is None:
            message = f"no purchase price of '{accelerator}' is known: rent it by an offer, or give [purchase] {accelerator}"
            raise InputError(message, key="purchase", value=accelerator, allowed=self.purchase)
        return found
