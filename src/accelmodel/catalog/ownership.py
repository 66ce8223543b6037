"""What owning accelerators costs: purchase prices, lives, cost of capital, facility, upkeep."""

from __future__ import annotations

from typing import Annotated

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
    `failures_per_year` is of one accelerator with its share of the server.
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


class Ownership(Strict):
    """One owner's figures, and the purchase price per accelerator as part of a server (host, board, chassis, in-rack links)."""

    name: Name
    title: str
    note: str | None = None
    figures: OwnershipFigures
    purchase: dict[Name, _Purchase]

    def purchase_price(self, accelerator: str) -> Figure:
        """Purchase price of one accelerator with its share of the server; InputError where none is known."""
        found = self.purchase.get(accelerator)
        if found is None:
            message = f"no purchase price of '{accelerator}' is known: rent it by an offer, or give [purchase] {accelerator}"
            raise InputError(message, key="purchase", value=accelerator, allowed=self.purchase)
        return found
