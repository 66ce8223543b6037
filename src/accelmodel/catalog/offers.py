"""Offers: dated, immutable price snapshots of hardware by the hour and of models by the token, and how one is found by name.

A snapshot is a TOML file in `hardware_profiles/offers/`: a header (name, date, source ...) and rows `hour`, `token` and `discount`, which
inherit from the header. A new price is a new file; the newest wins, an older one is reached by `@date`. Prices of another currency are
converted as they are read, at the rate that the file states.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from accelmodel.catalog.figures import Kind, Name, Source, Strict, parse, read_toml
from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.catalog.library import Library

Commitment = Literal["reserved-1y", "reserved-3y", "compute-savings-1y", "compute-savings-3y", "instance-savings-1y", "instance-savings-3y"]
Term = Literal["on-demand", Commitment, "capacity-block", "spot", "rental"]
Tier = Literal["standard", "batch", "flex", "priority", "long"]
# USD and the currencies for which the European Central Bank publishes a daily rate.
Currency = Literal[
    "USD", "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR",
    "ISK", "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK", "SGD", "THB", "TRY", "ZAR",
]  # fmt: skip

# The region that a bare term means where it is on offer there: prices are usually compared by it.
HOME_REGION = "us-east-1"

Price = Annotated[float, Field(gt=0)]
Date = Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]

# Keys that a row takes from its file's header where it does not say otherwise.
INHERITED = {
    "hour": (
        *("date", "date_note", "source", "kind", "currency", "provider", "history"),
        *("longest_term_days", "largest_count", "terms_source"),
    ),
    "token": ("date", "date_note", "source", "kind", "currency", "service"),
    "discount": ("date", "source", "kind"),
}


class _Offer(Strict):
    """What every offer says: where its price comes from, when it held and how sure it is."""

    snapshot: str
    date: Date
    date_note: str | None = None
    source: str
    kind: Kind
    currency: Literal["USD"]
    formula: str | None = None
    note: str | None = None
    # The discount that was taken off; a file states prices, a discount is asked for by name.
    less: str | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _is_a_list_price(self) -> Self:
        if self.less is not None:
            raise ValueError("a row states a price; a discount is a row 'discount', and is asked for as '<offer> less <discount>'")
        return self

    @property
    @abstractmethod
    def list_id(self) -> str:
        """The name under which the seller lists it."""

    @property
    def id(self) -> str:
        """The offer's name; with `@date` it is unique in the catalogue."""
        return self.list_id if self.less is None else f"{self.list_id} less {self.less}"

    @property
    @abstractmethod
    def prices(self) -> dict[str, float]:
        """Every price of the offer by its key."""

    def after(self, discount: Discount) -> Self:
        """The same offer at a flat discount: every price times (1 - fraction)."""
        prices = {key: price * (1 - discount.fraction) for key, price in self.prices.items()}
        listed = f"({self.formula})" if self.formula else f"{self.prices['price']:.10g}" if "price" in self.prices else "list price"
        formula = f"{listed} x (1 - {discount.fraction:g}), {discount.told}"
        kind = self.kind if self.kind == "estimated" else "derived"
        return self.model_copy(update={**prices, "kind": kind, "formula": formula, "less": discount.name})


class HourOffer(_Offer):
    """A price by the hour: of a whole `system`, or (rental market) of one `accelerator`.

    `price` is in USD/hour of that item; absent where none is public (`reservation_only`), which is never free. `low` and `high` bound it,
    such as the zones of a region on the spot market. `longest_term_days` and `largest_count` (systems) limit what one purchase covers,
    as `terms_source` says.
    """

    system: Name | None = None
    accelerator: Name | None = None
    term: Term
    region: str = "any"
    provider: Name
    price: Price | None = None
    low: Price | None = None
    high: Price | None = None
    reservation_only: bool = False
    longest_term_days: Annotated[int, Field(gt=0)] | None = None
    largest_count: Annotated[int, Field(gt=0)] | None = None
    terms_source: str | None = None
    history: bool = False

    @model_validator(mode="after")
    def _is_honest(self) -> HourOffer:
        if (self.system is None) == (self.accelerator is None):
            raise ValueError("an hourly offer is of a 'system' or of an 'accelerator': give one of the two")
        if (self.price is None) != self.reservation_only:
            raise ValueError("an hourly offer has a 'price', or says 'reservation_only = true' and has none")
        if self.kind == "estimated" and (self.low is None or self.high is None):
            raise ValueError("an estimated price needs 'low' and 'high'")
        if self.kind == "derived" and self.formula is None:
            raise ValueError("a derived price needs its 'formula'")
        if self.price is not None and not (self.low or self.price) <= self.price <= (self.high or self.price):
            raise ValueError(f"the range [{self.low}, {self.high}] does not hold the price {self.price}")
        return self

    @property
    def item(self) -> str:
        """The system or accelerator that is sold."""
        return self.system or self.accelerator or ""

    @property
    def place(self) -> str:
        """Where or by whom it is sold: the region of a system, the provider of an accelerator."""
        return self.region if self.system else self.provider

    @property
    def list_id(self) -> str:
        """`system:term:region`, or `accelerator:term:provider`."""
        return f"{self.item}:{self.term}:{self.place}"

    @property
    def prices(self) -> dict[str, float]:
        """`price`, and its range where it has one."""
        return _known(self, HOUR_PRICES)

    @property
    def unit(self) -> str:
        """The unit of `price`."""
        return "USD/hour"

    @property
    def price_usd_per_system_h(self) -> float | None:
        """Price of one system, USD/hour; None where the offer has no public price or is by the accelerator."""
        return self.price if self.system else None

    def price_usd_per_accelerator_h(self, accelerators: int) -> float:
        """Price of one accelerator, USD/hour, of a system with that many; InputError where no price is public."""
        if self.price is None:
            raise self.unpriced()
        return self.price / accelerators if self.system else self.price

    def unpriced(self) -> InputError:
        """The error of asking a reservation-only offer for its price."""
        message = f"'{self.item}' has no public {self.term} price; it is sold by reservation only: give a price"
        return InputError(message, key="offer", value=self.id)


@dataclasses.dataclass(frozen=True)
class TokenPrices:
    """Prices of one tier, USD per million tokens; None where the tier does not sell it."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None = None
    cache_write_usd_per_mtok: float | None = None


class TokenOffer(_Offer):
    """Prices of a served model by the token, in USD/Mtok; `long_*` are those of a request with more than `long_above_tokens` of input.

    `model_unit_*` are what the seller takes by the hour for one unit of provisioned throughput, without commitment and for one and six
    months; how many tokens a second a unit serves is not public, so that no cost per token follows from them.

    `model_id` is the seller's own name: a bare one, one with a geography (`us.`, `eu.`, `global.` ...), or one bound to a region or
    platform (`us-west-2/` ...). `model` is the catalogue's model behind it, absent where its architecture is not public.
    """

    service: Name
    model_id: str
    model: Name | None = None
    input: Price
    output: Price
    cache_read: Price | None = None
    cache_write: Price | None = None
    batch_input: Price | None = None
    batch_output: Price | None = None
    flex_input: Price | None = None
    flex_output: Price | None = None
    priority_input: Price | None = None
    priority_output: Price | None = None
    long_input: Price | None = None
    long_output: Price | None = None
    long_cache_read: Price | None = None
    long_cache_write: Price | None = None
    long_above_tokens: Annotated[int, Field(gt=0)] | None = None
    model_unit_usd_per_h: Price | None = None
    model_unit_1_month_usd_per_h: Price | None = None
    model_unit_6_months_usd_per_h: Price | None = None
    max_input_tokens: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _tiers_are_whole(self) -> TokenOffer:
        for tier in PAIRED_TIERS:
            if (getattr(self, f"{tier}_input") is None) != (getattr(self, f"{tier}_output") is None):
                raise ValueError(f"'{tier}_input' and '{tier}_output' come together")
        return self

    @property
    def list_id(self) -> str:
        """`service:model_id`."""
        return f"{self.service}:{self.model_id}"

    @property
    def prices(self) -> dict[str, float]:
        """Every price that the model has, tiers and model units included."""
        return _known(self, TOKEN_PRICES)

    @property
    def unit(self) -> str:
        """The unit of every price."""
        return "USD/Mtok"

    @property
    def scope(self) -> str:
        """Geography, region or platform that the id is bound to; empty for the bare id."""
        found = re.match(r"([a-z0-9_\-]+)/|(apac|au|eu|global|in|jp|us|us-gov)\.", self.model_id)
        return "" if found is None else found[1] or found[2]

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that have prices."""
        return tuple(tier for tier in get_args(Tier) if tier == "standard" or getattr(self, f"{tier}_input") is not None)

    def tier(self, name: str) -> TokenPrices:
        """Prices of a tier; InputError with the tiers that there are. Cache prices are published for the standard and the long tier only."""
        if name not in self.tiers:
            raise InputError(f"'{self.id}' has no tier '{name}'", key="tier", value=name, allowed=self.tiers)
        if name == "standard":
            return TokenPrices(self.input, self.output, self.cache_read, self.cache_write)
        cache = (self.long_cache_read, self.long_cache_write) if name == "long" else ()
        return TokenPrices(getattr(self, f"{name}_input"), getattr(self, f"{name}_output"), *cache)


PAIRED_TIERS: tuple[Tier, ...] = ("batch", "flex", "priority", "long")
HOUR_PRICES = ("price", "low", "high")
TOKEN_PRICES = (
    *("input", "output", "cache_read", "cache_write"),
    *(f"{tier}_{side}" for tier in PAIRED_TIERS for side in ("input", "output")),
    *("long_cache_read", "long_cache_write"),
    *("model_unit_usd_per_h", "model_unit_1_month_usd_per_h", "model_unit_6_months_usd_per_h"),
)


def _known(offer: _Offer, keys: Iterable[str]) -> dict[str, float]:
    return {key: getattr(offer, key) for key in keys if getattr(offer, key) is not None}


class Discount(Strict):
    """A flat discount on offers whose ids match one of `of` (`*` is anything), asked for as `<offer> less <name>`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*%?$")]
    fraction: Annotated[float, Field(gt=0, lt=1)]
    of: tuple[str, ...]
    snapshot: str
    date: Date | None
    source: str | None
    kind: Kind
    note: str | None = None

    @property
    def told(self) -> str:
        """Which discount, of when and from where."""
        return f"'{self.name}'" + (f" of {self.date} ({self.source})" if self.source else ", assumed")

    def applies_to(self, offer: HourOffer | TokenOffer) -> bool:
        """Whether the offer is among those that the discount is granted on."""
        return any(fnmatchcase(offer.list_id, pattern) for pattern in self.of)


class Exchange(Strict):
    """The rate at which a list in another currency is converted: USD for one unit of it, on a day, from a source."""

    value: Price
    unit: str
    kind: Kind
    source: str
    date: Date

    @property
    def formula(self) -> str:
        """The factor as a formula says it."""
        return f"{self.value:g} {self.unit} of {self.date} ({self.source})"


class Snapshot(Strict):
    """One file of prices; its rows take date, source, kind and currency from the header unless they say otherwise.

    `history` marks a file of past prices: they have ids and dates, but are never what a bare term means while there is a later one.
    `sources` may hold the sources of this file alone, as an import writes it. Rows of another `currency` are in USD once read, at `exchange`.
    """

    name: str
    title: str
    date: Date
    date_note: str | None = None
    currency: Currency
    exchange: Exchange | None = None
    unit: str
    source: str
    kind: Kind
    accessed: Date
    note: str | None = None
    provider: Name | None = None
    service: Name | None = None
    longest_term_days: Annotated[int, Field(gt=0)] | None = None
    largest_count: Annotated[int, Field(gt=0)] | None = None
    terms_source: str | None = None
    history: bool = False
    hour: tuple[HourOffer, ...] = Field(default=(), description="prices by the hour, a row each")
    token: tuple[TokenOffer, ...] = Field(default=(), description="prices by the token, a row each")
    discount: tuple[Discount, ...] = Field(default=(), description="discounts, a row each")
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _rows_inherit(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = {rows: _filled(data[rows], data, keys) for rows, keys in INHERITED.items() if rows in data}
        currency = data.get("currency", "USD")
        if currency not in get_args(Currency) or currency == "USD":
            return data | filled
        if "exchange" not in data:
            raise ValueError(f"prices in {currency} need their rate: exchange = {{ value, unit = 'USD/{currency}', kind, source, date }}")
        try:
            rate = Exchange.model_validate(data["exchange"])
        except ValidationError:
            return data  # told of the field itself, with its key
        if rate.unit != f"USD/{currency}":
            raise ValueError(f"the rate of {currency} is in 'USD/{currency}', not in '{rate.unit}'")
        return data | {rows: [_converted(row, currency, rate) for row in of_kind] for rows, of_kind in filled.items() if isinstance(of_kind, list)}

    @model_validator(mode="after")
    def _unit_fits_the_rows(self) -> Snapshot:
        by = "hour" if self.hour else "Mtok" if self.token else None
        if (self.hour and self.token) or (by is not None and self.unit != f"{self.currency}/{by}"):
            raise ValueError(f"rows 'hour' are in '{self.currency}/hour', rows 'token' in '{self.currency}/Mtok', and a file has one of the two")
        if by is None and self.unit not in ("1", f"{self.currency}/hour", f"{self.currency}/Mtok"):
            raise ValueError(f"'{self.unit}' is not a unit of prices; of discounts alone it is '1'")
        return self


def _filled(rows: Any, header: dict[str, Any], keys: Iterable[str]) -> Any:
    given = {key: header[key] for key in keys if key in header} | {"snapshot": header.get("name", "")}
    return [given | row if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else rows


def _converted(row: Any, currency: str, rate: Exchange) -> Any:
    """A row in another currency as one in USD; what is no price of that currency is left to the row's own checks."""
    if not isinstance(row, dict) or row.get("currency") != currency:
        return row
    prices = {key: row[key] for key in (*HOUR_PRICES, *TOKEN_PRICES) if isinstance(row.get(key), (int, float))}
    if not prices:
        return row | {"currency": "USD"}
    listed = f"({row['formula']})" if "formula" in row else f"{row['price']:.10g} {currency}" if "price" in prices else f"{currency} price"
    kind = row.get("kind") if row.get("kind") == "estimated" else "derived"
    converted = {key: price * rate.value for key, price in prices.items()}
    return row | converted | {"currency": "USD", "kind": kind, "formula": f"{listed} x {rate.formula}"}


Offer = TypeVar("Offer", HourOffer, TokenOffer)


class Offers:
    """All offers of a library, by the hour and by the token, each kind read when it is first asked for."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def hours(self, system: str | None = None, term: str | None = None, region: str | None = None) -> list[HourOffer]:
        """Today's hourly offers (the newest of each id), reservation-only ones included.

        `system` may also be an accelerator, `region` a provider of one.
        """
        found = newest(self._current_hours)
        return [offer for offer in found if system in (None, offer.item) and term in (None, offer.term) and region in (None, offer.place)]

    def tokens(self, model: str | None = None) -> list[TokenOffer]:
        """Today's token offers (the newest of each id), or those of one catalogue model."""
        return [offer for offer in newest(self._tokens) if model in (None, offer.model)]

    def all_dated(self) -> list[HourOffer | TokenOffer]:
        """Every offer of every date, as a check of the catalogue needs them."""
        return [*self._hours, *self._tokens]

    def history(self, system: str, term: str = "on-demand", region: str = HOME_REGION) -> list[HourOffer]:
        """Every dated price of one hourly offer, oldest first; each holds from its date to the next one's."""
        return sorted((offer for offer in self._hours if offer.id == f"{system}:{term}:{region}"), key=lambda offer: offer.date)

    def find(self, text: str, system: str | None = None, model: str | None = None) -> HourOffer | TokenOffer:
        """The offer that `text` names, with a price.

        `text` is an id; or a bare term, for `system` (in us-east-1, else the newest of the United States, else the cheapest; where the
        system itself is not on offer so, its accelerator); or a model id of a token service, with or without `service:` and release
        suffix; or a service's name alone, for the catalogue model `model`. A suffix `@2025-03-31` asks for the price in force that day;
        behind it ` less NAME` takes a discount of the catalogue off, ` less 28%` an assumed one.
        Raises InputError where nothing is so called (with the nearest name) and where the price is not public.
        """
        text, _, less = text.partition(" less ")
        dated = re.fullmatch(r"(.+)@(\d{4}(?:-\d{2}){0,2})", text)
        name, date = (dated[1], dated[2]) if dated else (text, "")
        offer: HourOffer | TokenOffer
        if name in get_args(Term):
            offer = self._by_term(name, system, date)
        elif name.split(":")[0] in {known.item for known in self._hours}:
            offer = self._by_hour_id(name, date)
        elif model is not None and name in self._services:
            offer = self._by_model(name, model, date)
        else:
            offer = self._by_token_id(name, date)
        if isinstance(offer, HourOffer) and offer.price is None:
            raise offer.unpriced()
        self._library.used.add(self._library.path("offers", offer.snapshot))
        return self._discounted(offer, less.strip()) if less else offer

    def _discounted(self, offer: HourOffer | TokenOffer, name: str) -> HourOffer | TokenOffer:
        """An offer less a discount, by the discount's name or as a percentage."""
        if re.fullmatch(r"\d+(\.\d+)?%", name) and 0 < float(name[:-1]) < 100:
            assumed = Discount(name=name, fraction=float(name[:-1]) / 100, of=("*",), snapshot="", date=None, source=None, kind="estimated")
            return offer.after(assumed)
        found = self._discounts.get(name)
        if found is None:
            message = f"no discount is called '{name}'; a percentage is written as 28%"
            raise InputError(message, key="offer", value=name, allowed=self._discounts)
        if not found.applies_to(offer):
            raise InputError(f"the discount '{name}' is not granted on '{offer.id}', only on {', '.join(found.of)}", key="offer", value=name)
        self._library.used.add(self._library.path("offers", found.snapshot))
        return offer.after(found)

    def _by_term(self, term: str, system: str | None, date: str) -> HourOffer:
        if system is None:
            raise InputError(f"the offer '{term}' needs a system", key="offer", value=term)
        of_system = [offer for offer in self._hours if offer.item == system]
        if not any(offer.term == term for offer in of_system) and system in self._library.files("systems"):
            accelerator = self._library.system(system).accelerator
            of_system += [offer for offer in self._hours if offer.accelerator == accelerator]
        if not of_system:
            raise InputError(f"there is no offer for '{system}'", key="system", value=system, allowed={offer.item for offer in self._hours})
        # A system without any public price is refused as that, whichever term is asked for.
        found = of_system if all(offer.reservation_only for offer in of_system) else [offer for offer in of_system if offer.term == term]
        if not found:
            terms = {offer.term for offer in of_system}
            raise InputError(f"there is no {term} offer for '{system}'", key="offer", value=term, allowed=terms)
        if not date:
            found = [offer for offer in found if not offer.history] or found
        ids = sorted({offer.id for offer in found})
        in_force = [_in_force([offer for offer in found if offer.id == name], date) for name in ids]
        return _preferred([offer for offer in in_force if offer is not None] or [_at(found, term, date)])

    def _by_hour_id(self, name: str, date: str) -> HourOffer:
        found = [offer for offer in self._hours if offer.id == name]
        if not found:
            ids = {offer.id for offer in self._hours}
            of_item = {known for known in ids if known.split(":")[0] == name.split(":")[0]}
            raise InputError(f"no offer is called '{name}'", key="offer", value=name, allowed=of_item or ids)
        return _at(found, name, date)

    def _by_token_id(self, name: str, date: str) -> TokenOffer:
        bare = name
        for service in self._services:
            bare = bare.removeprefix(f"{service}:").removeprefix(f"{service}/")
        found = [offer for offer in self._tokens if offer.model_id == bare]
        if not found and (releases := sorted(offer.model_id for offer in self._tokens if stem(offer.model_id) == bare)):
            found = [offer for offer in self._tokens if offer.model_id == releases[-1]]
        if not found:
            hours = {offer.id for offer in self._hours}
            allowed = {*get_args(Term), *self._services, *hours, *(stem(offer.id) for offer in self._tokens)}
            raise InputError(f"no offer is called '{name}'", key="offer", value=name, allowed=allowed)
        return _at(found, name, date)

    def _by_model(self, service: str, model: str, date: str) -> TokenOffer:
        every = [offer for offer in self._tokens if offer.service == service and offer.model == model]
        found = newest([offer for offer in every if not date or offer.date <= date])
        if every and not found:
            _at(every, service, date)
        if not found:
            models = {offer.model for offer in self._tokens if offer.service == service and offer.model}
            raise InputError(f"'{service}' sells no model '{model}'", key="model", value=model, allowed=models)
        first = {"": 0, "us": 1, "global": 2}
        return min(found, key=lambda offer: (first.get(offer.scope, 3), offer.output, offer.id))

    @functools.cached_property
    def _hours(self) -> tuple[HourOffer, ...]:
        return tuple(_distinct(offer for snapshot in self._snapshots("hour") for offer in snapshot.hour))

    @property
    def _current_hours(self) -> Iterator[HourOffer]:
        return (offer for offer in self._hours if not offer.history)

    @functools.cached_property
    def _tokens(self) -> tuple[TokenOffer, ...]:
        return tuple(_distinct(offer for snapshot in self._snapshots("token") for offer in snapshot.token))

    @functools.cached_property
    def _discounts(self) -> Mapping[str, Discount]:
        """Discounts by name, the newest of each."""
        every = (discount for snapshot in self._snapshots("discount") for discount in snapshot.discount)
        return {discount.name: discount for discount in sorted(every, key=lambda discount: discount.date or "")}

    @functools.cached_property
    def _services(self) -> tuple[str, ...]:
        return tuple(sorted({offer.service for offer in self._tokens}))

    def _snapshots(self, rows: Literal["hour", "token", "discount"]) -> Iterator[Snapshot]:
        """Snapshots with such rows; other files are not parsed, because the token lists are long and TOML is slow to read."""
        declares = re.compile(rf"^(\[\[{rows}\]\]|{rows}\s*=)", re.MULTILINE)
        for name, path in self._library.files("offers").items():
            if not declares.search(path.read_text(encoding="utf-8")):
                continue
            snapshot = parse(Snapshot, read_toml(path), path)
            if snapshot.name != name:
                raise InputError(f"a snapshot is named as its file, '{name}'", file=path, key="name", value=snapshot.name)
            yield snapshot


def stem(model_id: str) -> str:
    """A model id without its release suffix.

    >>> stem("maker.model-4-5-20250929-v1:0")
    'maker.model-4-5'
    """
    return re.sub(r"([-@]\d{8})?(-v\d+(:\d+)?|-\d:\d)?$", "", model_id)


def _distinct(offers: Iterable[Offer]) -> Iterator[Offer]:
    seen: dict[tuple[str, str], str] = {}
    for offer in offers:
        if (offer.id, offer.date) in seen:
            raise InputError(f"'{offer.id}' of {offer.date} is also in '{seen[offer.id, offer.date]}'", file=offer.snapshot, key=offer.id)
        seen[offer.id, offer.date] = offer.snapshot
        yield offer


def newest(offers: Iterable[Offer]) -> list[Offer]:
    """The newest offer of each id."""
    found: dict[str, Offer] = {}
    for offer in sorted(offers, key=lambda offer: offer.date):
        found[offer.id] = offer
    return list(found.values())


def _in_force(offers: list[Offer], date: str) -> Offer | None:
    """The newest offer that is not younger than a date; without a date the newest of all."""
    return max((offer for offer in offers if not date or offer.date <= date), key=lambda offer: offer.date, default=None)


def _at(offers: list[Offer], name: str, date: str) -> Offer:
    found = _in_force(offers, date)
    if found is None:
        raise InputError(f"'{name}' has no price as old as {date}", key="offer", value=name, allowed={offer.date for offer in offers})
    return found


def _preferred(offers: list[HourOffer]) -> HourOffer:
    """A price before none; the home region, else the newest of the United States, else the cheapest."""
    priced = [offer for offer in offers if offer.price is not None] or offers
    domestic = [offer for offer in priced if offer.region == HOME_REGION] or [offer for offer in priced if offer.region.startswith("us")]
    if domestic:
        return max(domestic, key=lambda offer: (offer.date, -(offer.price or 0.0)))
    return min(priced, key=lambda offer: (offer.price or 0.0, offer.id))
