"""Whose books and what prices: offers by name, ownership by figures, as the terms that a replica's cost and margin rest on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import HourOffer, Offers, TokenOffer
from accelmodel.catalog.ownership import OwnershipFigures
from accelmodel.catalog.sites import Site
from accelmodel.core.replica import Replica
from accelmodel.economics import check_range
from accelmodel.economics.attribution import Convention
from accelmodel.economics.margin import token_revenue_usd_per_h
from accelmodel.economics.offers import replica_cost_usd_per_h
from accelmodel.economics.ownership import Capital, OwnershipCost, OwnershipTerms, capital_per_accelerator, cost_of_ownership, mean_tariff_usd_per_kwh
from accelmodel.economics.time_use import TimeCost, TimeUse, cost_by_use, time_use
from accelmodel.economics.tokens import TokenPrices, TokenRates
from accelmodel.errors import InputError
from accelmodel.units import HOURS_PER_YEAR, SECONDS_PER_HOUR

Array = npt.NDArray[np.float64]
Books = Literal["cloud", "tenant", "self"]

HOME_SITE = "new-carlisle"
OWNER = "default"
DEVICE_TIME: Convention = "device-time"
_J_PER_KWH = 3.6e6
_DAYS_PER_YEAR = 365


@functools.cache
def library(*folders: str) -> Library:
    """The catalogue with these folders before the shipped entries; one per process and folders."""
    return Library(*folders)


@dataclass(frozen=True, eq=False)
class Money:
    """Whose books, at what prices: what cost and margin of a replica rest on.

    On the cloud's books hardware costs what owning it costs, and hours or tokens are sold; on a tenant's, hours are rented and tokens are sold.
    On one's own (`self`) hardware is owned, or rented where an offer by the hour is given, nothing is sold, and an offer by the token is what the same tokens
    would cost bought. `occupancy` is the share of the hours in which the replica carries its load; the other hours cost the same, less energy, and earn
    nothing. `attribution` names the convention by which an hour's cost is shared out among input, cached input and output; `purchase_usd` takes the place of
    the owner's purchase price of an accelerator with its share of the server.
    """

    catalog: Library
    books: Books
    hour: HourOffer | None
    token: TokenOffer | None
    tier: str
    occupancy: float
    site: str
    owner: str
    attribution: Convention = DEVICE_TIME
    purchase_usd: float | None = None

    @property
    def rents(self) -> bool:
        """Whether hardware is rented by the hour; otherwise it is owned."""
        return self.hour is not None and self.books != "cloud"

    @property
    def basis(self) -> str:
        """The `cost_basis` column: the rented offer's id, or ownership."""
        return self.hour.id if self.rents and self.hour is not None else "ownership"

    def ownership(self, accelerator: Accelerator, mean_power_w: Array | float) -> tuple[Capital, OwnershipCost]:
        """Capital behind one accelerator and its cost per powered hour at a mean draw of the accelerator itself (host and network are added)."""
        owner, site = self.catalog.ownership(self.owner), self.catalog.site(self.site)
        it_power_w = accelerator.need("it_power").si
        beside_w = it_power_w - accelerator.need("tdp").si
        terms = ownership_terms(owner.figures)
        capital = capital_per_accelerator(terms, self.purchase_price_usd(accelerator), it_power_w)
        cost = cost_of_ownership(
            terms,
            capital,
            power_w=mean_power_w + beside_w,
            pue=site.figures.pue.si,
            tariff_usd_per_kwh=tariff_usd_per_kwh(site),
            peak_power_w=it_power_w,
            demand_usd_per_kw_h=demand_usd_per_kw_h(site),
        )
        return capital, cost

    def purchase_price_usd(self, accelerator: Accelerator) -> float:
        """Purchase of one accelerator with its share of the server: as given, else the owner's; InputError where none is known."""
        return self.catalog.ownership(self.owner).purchase_price(accelerator.name).si if self.purchase_usd is None else self.purchase_usd

    def purchase_ends(self, accelerator: Accelerator) -> tuple[Money, Money] | None:
        """The same terms at the low and the high end of the owner's purchase price; None where a price is given, or hardware is rented."""
        if self.rents or self.purchase_usd is not None:
            return None
        price = self.catalog.ownership(self.owner).purchase_price(accelerator.name)
        low, high = (dataclasses.replace(self, purchase_usd=end) for end in (price.si_low, price.si_high))
        return low, high

    def outlived(self, systems: int, years: float) -> str | None:
        """What a plan asks beyond the terms of the offer that it rents by, in words; None where the terms cover it or say nothing."""
        if not self.rents or self.hour is None:
            return None
        days, count = self.hour.longest_term_days, self.hour.largest_count
        beyond = [f"lasts {years:g} years, the offer {days} days at most"] if days is not None and years * _DAYS_PER_YEAR > days else []
        beyond += [f"takes {systems:,} systems, the offer {count:,} at a time"] if count is not None and systems > count else []
        return f"the plan {' and '.join(beyond)} ({self.hour.id})" if beyond else None

    def time_use(self) -> TimeUse:
        """Shares of the owner's powered hours: loaded, kept warm, idle, drained, failed; a tenant pays for no hour that is not delivered."""
        own = self.catalog.ownership(self.owner).figures
        warm = 0.0 if own.keep_warm_share is None else own.keep_warm_share.si
        if self.rents:
            return time_use(1.0, self.occupancy, keep_warm_fraction=warm)
        failed = 0.0 if own.failures_per_year is None or own.repair_time is None else own.failures_per_year.si * own.repair_time.si
        return time_use(own.availability.si, self.occupancy, keep_warm_fraction=warm, failed_fraction=failed)

    def cost_by_use(self, replica: Replica, loaded_w: float) -> TimeCost:
        """The replica's hour by the use of the powered hours behind it; the lines sum to `replica_cost_usd_per_h` at a draw under load of `loaded_w`."""
        use = self.time_use()
        at_load, idle = (dataclasses.replace(self, occupancy=share).replica_cost_usd_per_h(replica, np.array([loaded_w]))[0] for share in (1.0, 0.0))
        return cost_by_use(use, at_load * use.available_fraction, idle * use.available_fraction)

    def mean_power_w(self, replica: Replica, loaded_w: Array | float) -> Array | float:
        """Mean draw of one accelerator: under load in the occupied hours, idle in the others."""
        idle_w = replica.parameters["power_idle_fraction"] * replica.accelerator.need("tdp").si
        return self.occupancy * loaded_w + (1.0 - self.occupancy) * idle_w

    def replica_cost_usd_per_h(self, replica: Replica, power_w: Array) -> Array:
        """Cost of the replica per hour, shape of `power_w` (its accelerators' draw under load, W)."""
        if self.rents:
            assert self.hour is not None
            by = self.hour.price_usd_per_accelerator_h(replica.system.accelerators)
            whole = replica_cost_usd_per_h(replica.accelerators, replica.system.accelerators, by * replica.system.accelerators, "system")
            return np.full(power_w.shape, whole)
        _, cost = self.ownership(replica.accelerator, self.mean_power_w(replica, power_w / replica.accelerators))
        available = self.catalog.ownership(self.owner).figures.availability.si
        total: Array = replica.accelerators * np.asarray(cost.per_available_h(available).total_usd_per_h)
        return total

    def revenue_usd_per_h(self, replica: Replica, rates: TokenRates) -> Array | None:
        """Revenue per hour at the occupancy: of tokens where a token offer is given, else of hours on the cloud's books; None where nothing is sold."""
        prices, hours = self.token_prices, self.hours_usd_per_h(replica)
        if self.books == "self":
            return None
        if prices is not None:
            return np.asarray(token_revenue_usd_per_h(rates, prices)) * self.occupancy
        return None if hours is None else np.full(np.shape(rates.output_tokens_per_s), hours)

    @property
    def token_prices(self) -> TokenPrices | None:
        """Prices of the tokens that are sold; cached input sells as input where it has no price of its own."""
        if self.token is None:
            return None
        prices = self.token.tier(self.tier)
        cached = prices.cached_input_usd_per_mtok
        return TokenPrices(prices.input_usd_per_mtok, prices.input_usd_per_mtok if cached is None else cached, prices.output_usd_per_mtok)

    def sells(self, replica: Replica) -> bool:
        """Whether anything is sold: tokens, or the hours themselves."""
        return self.books != "self" and (self.token is not None or self.hours_usd_per_h(replica) is not None)

    def hours_usd_per_h(self, replica: Replica) -> float | None:
        """Revenue of the hours that the cloud sells instead of tokens."""
        if self.books != "cloud" or self.hour is None:
            return None
        return self.hour.price_usd_per_accelerator_h(replica.system.accelerators) * replica.accelerators * self.occupancy

    def price_dates(self, accelerator: Accelerator) -> set[str]:
        """Dates of the prices that cost and revenue rest on: of the offers, and of an owner's figures in money where their source is dated."""
        dates = {offer.date for offer in (self.hour, self.token) if offer is not None}
        if self.rents:
            return dates
        own, site = self.catalog.ownership(self.owner), self.catalog.site(self.site).figures
        figures = (own.purchase.get(accelerator.name), own.figures.facility_cost, own.figures.software_per_year, site.tariff, site.demand_charge)
        return dates | {date for figure in figures if figure is not None and (date := self.catalog.date_of(figure)) is not None}


def tariff_usd_per_kwh(site: Site) -> float:
    """Tariff of a site at an even load: that of its classes of hours where it has some, else its average."""
    if not site.hour_classes:
        return site.figures.tariff.si * _J_PER_KWH
    tariffs, hours = zip(*((one.tariff.si * _J_PER_KWH, one.hours.si) for one in site.hour_classes), strict=True)
    return float(mean_tariff_usd_per_kwh(np.array(tariffs), np.array(hours)))


def demand_usd_per_kw_h(site: Site) -> float:
    """Demand charge of a site per kW of its highest draw and hour; 0 where it has none."""
    return 0.0 if site.figures.demand_charge is None else site.figures.demand_charge.si * _J_PER_KWH


def ownership_terms(figures: OwnershipFigures) -> OwnershipTerms:
    """An owner's figures as the terms that `economics` takes."""
    year_s = HOURS_PER_YEAR * SECONDS_PER_HOUR
    return OwnershipTerms(
        cost_of_capital_fraction=figures.cost_of_capital.si,
        server_life_years=figures.server_life.si / year_s,
        network_life_years=figures.network_life.si / year_s,
        facility_life_years=figures.facility_life.si / year_s,
        facility_usd_per_w=figures.facility_cost.si,
        network_share_fraction=figures.network_share.si,
        spares_fraction=figures.spare_fraction.si,
        operations_fraction_per_year=figures.operations_per_year.si,
        maintenance_fraction_per_year=figures.maintenance_per_year.si,
        residual_fraction=figures.residual_fraction.si,
        integration_fraction=_or_nothing(figures.integration_share),
        decommissioning_fraction=_or_nothing(figures.decommissioning_share),
        software_usd_per_year=_or_nothing(figures.software_per_year) * year_s,
        tax_fraction=_or_nothing(figures.tax_rate),
    )


def _or_nothing(figure: Figure | None) -> float:
    """A cost that an owner states; one that it does not is left out."""
    return 0.0 if figure is None else figure.si


def money(
    replica: Replica,
    *,
    offer: str | Sequence[str] | None = None,
    books: str | None = None,
    occupancy: float | None = None,
    site: str = HOME_SITE,
    owner: str = OWNER,
    tier: str = "standard",
    attribution: str = DEVICE_TIME,
    purchase_usd: float | None = None,
    catalog: Library | None = None,
) -> Money:
    """Resolve offers by name for a replica. An offer by the hour makes the books a tenant's unless `books` says otherwise."""
    lib = catalog or library()
    hour, token = None, None
    for name in [offer] if isinstance(offer, str) else offer or ():
        found = offers_of(lib).find(name, system=replica.system.name, model=replica.model.name)
        if isinstance(found, HourOffer):
            _refuse_second("by the hour", hour, found)
            hour = found
        else:
            _refuse_second("by the token", token, found)
            token = found
    if books is None:
        books = "tenant" if hour is not None else "cloud"
    if books not in get_args(Books):
        raise InputError(f"'{books}' are nobody's books", key="books", value=books, allowed=get_args(Books))
    if attribution not in get_args(Convention):
        raise InputError(f"'{attribution}' is no convention of attribution", key="attribution", value=attribution, allowed=get_args(Convention))
    if attribution == "price-weights" and token is None:
        raise InputError("attribution by price weights needs the token prices: give an offer by the token", key="attribution", value=attribution)
    if books == "tenant" and hour is None:
        raise InputError("a tenant rents by the hour: give an offer by the hour, such as on-demand", key="offer", value=offer)
    if purchase_usd is not None:
        check_range("purchase_usd", purchase_usd, above=0)
    if occupancy is None:
        occupancy = lib.ownership(owner).figures.occupancy.si
    if not 0.0 < occupancy <= 1.0:
        raise InputError("must be above 0 and at most 1", key="occupancy", value=occupancy)
    terms = Money(lib, books, hour, token, tier, occupancy, lib.site(site).name, owner, attribution, purchase_usd)  # type: ignore[arg-type]
    if purchase_usd is not None and terms.rents:
        raise InputError("is of no account where hardware is rented: leave it out, or the offer by the hour", key="purchase_usd", value=purchase_usd)
    return terms


def _refuse_second(kind: str, first: HourOffer | TokenOffer | None, second: HourOffer | TokenOffer) -> None:
    if first is not None:
        raise InputError(f"two offers {kind}: '{first.id}' and '{second.id}'; give one", key="offer", value=second.id)


@functools.cache
def offers_of(catalog: Library) -> Offers:
    """The offers of a catalogue, read once."""
    return Offers(catalog)
