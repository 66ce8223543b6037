"""What the explorer lets one set: a control for each key of a situation, with what it may be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from accelmodel import keys
from accelmodel.app.document import LOAD, Path, price_study
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import HourOffer, Offers, Term, Tier
from accelmodel.core.replica import ComputeDtype, Dtype, KvDtype
from accelmodel.economics.attribution import Convention
from accelmodel.errors import InputError
from accelmodel.numbers import number

BASE = "base"
HOUR, TOKEN = "offer_by_hour", "offer_by_token"
LOAD_KIND, LOAD_AMOUNT = "load_kind", "load_amount"
DISCOUNT, OVERHEAD = "discount_fraction", "overhead_fraction"
OWNED, UNSOLD = "owned", "unsold"  # no offer, where the base has one
TARGETS = "targets"

_POWERS = tuple(2**power for power in range(7))
_LOADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
_TOKENS = (16, 32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768, 65536, 131072)
_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0)
_TOKEN_SECONDS = (0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2)
_PERCENTS = tuple(float(value) for value in range(0, 101, 5))
_USD = tuple(float(value) for value in (1000, 2000, 3000, 4000, 5000, 7500, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 60_000, 80_000))
_WATTS = tuple(float(value) for value in range(200, 1500, 50))

Option = tuple[str, str]  # value and label


@dataclass(frozen=True)
class Control:
    """One control: what it sets and shows. A number has the stops of its slider and is shown times `scale`; a choice has options; empty means not set."""

    key: str
    words: str
    unit: str = ""
    stops: tuple[float, ...] = ()
    scale: float = 1.0
    choices: Literal["", "fixed", "catalogue"] = ""
    fixed: tuple[str, ...] = ()
    absent: str = ""
    told: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it takes a number."""
        return not self.choices

    @property
    def description(self) -> str:
        """What the key means, as everywhere."""
        return self.told or keys.of_scenario(self.key) or ""

    @property
    def otherwise(self) -> str:
        """What holds where nothing is set, as everywhere."""
        return self.absent or keys.held_without(self.key) or "not set"


def _number(key: str, words: str, stops: Sequence[float], absent: str = "", **others: Any) -> Control:
    return Control(key, words, stops=tuple(float(stop) for stop in stops), absent=absent, **others)


def _share(key: str, words: str, absent: str = "", stops: Sequence[float] = _PERCENTS, **others: Any) -> Control:
    return Control(key, words, "%", tuple(stops), 100.0, absent=absent, **others)


def _fixed(key: str, words: str, values: Sequence[str]) -> Control:
    return Control(key, words, choices="fixed", fixed=tuple(values))


def _named(key: str, words: str, absent: str = "", **others: Any) -> Control:
    return Control(key, words, choices="catalogue", absent=absent, **others)


_BOOKS = ("cloud", "tenant", "self")
MODEL = _named("model", "model")
SYSTEM = _named("system", "system")
ACCELERATORS = _number("accelerators", "accelerators of a replica", (*_POWERS, 72.0))
HOURLY = _named(HOUR, "hardware paid by", "owning it", told="A price by the hour; without one the cost is that of ownership.")
SOLD = _named(TOKEN, "tokens sold at", "not sold", told="A price by the token; without one there is no revenue, and no margin.")
SHAPE = (
    _fixed("weights", "weights", get_args(Dtype)),
    _fixed("kv", "KV cache", get_args(KvDtype)),
    _fixed("compute", "arithmetic", get_args(ComputeDtype)),
    _number("tensor_parallel", "tensor parallel", _POWERS),
    _number("pipeline_parallel", "pipeline parallel", _POWERS),
    _number("expert_parallel", "expert parallel", _POWERS),
    _number("attention_data_parallel", "attention data parallel", _POWERS),
    _number("context_parallel", "context parallel", _POWERS),
    _named("engine", "serving engine"),
    _fixed("mode", "batching", ("continuous", "static", "disaggregated")),
    _number("speculative_tokens", "drafted tokens a step", (0, 1, 2, 3, 4, 5, 6, 8)),
    _share("acceptance_fraction", "drafts accepted"),
    _number("power_cap_w", "power cap", _WATTS, unit="W"),
)
REQUESTS = (
    _named("workload", "workload", "own lengths"),
    _number("input_tokens", "input tokens", _TOKENS, "workload's"),
    _number("output_tokens", "output tokens", _TOKENS, "workload's"),
    _share("prefix_hit_fraction", "input found in the prefix cache", "workload's"),
)
ASKED = (
    Control(
        LOAD_KIND,
        "load",
        choices="fixed",
        fixed=("concurrency", "requests_per_s", TARGETS),
        absent=f"{LOAD} requests at a time",
        told="How much is asked of each replica.",
    ),
    _number(LOAD_AMOUNT, "how many", _LOADS, "none", told="Requests at a time, or a second."),
    _number("ttft_s", "time to first token", _SECONDS, "no target", unit="s"),
    _number("tpot_s", "time per output token", _TOKEN_SECONDS, "no target", unit="s"),
)
MONEY = (
    _fixed("books", "whose books", _BOOKS),
    _share("occupancy", "occupancy", stops=_PERCENTS[1:]),
    _named("site", "site", "the usual one"),
    _named("owner", "owner", "the usual one"),
    _number("purchase_usd", "purchase of an accelerator with its server share", _USD, unit="USD"),
    _fixed("tier", "tier of the price", get_args(Tier)),
    _fixed("attribution", "cost shared out by", get_args(Convention)),
)
PRICE = (
    _share(DISCOUNT, "discount on the token price", "0", _PERCENTS[:-1], told="Taken off the list price where the price is walked down to the margin."),
    _share(OVERHEAD, "overheads of revenue", stops=_PERCENTS[:-1], told="From gross to operating margin."),
)
PANELS = (
    ("Model and requests", (MODEL, *SHAPE[:2], *REQUESTS)),
    ("Load and targets", ASKED),
    ("Money", (SOLD, HOURLY, *MONEY, *PRICE)),
    ("Replica, where an alternative says nothing", (SYSTEM, ACCELERATORS, *SHAPE[2:])),
)
CARD = (SYSTEM, ACCELERATORS, HOURLY)
CARD_MORE = (MODEL, *SHAPE, *REQUESTS, *ASKED[2:], SOLD, *MONEY)
EVERY = {one.key: one for one in (*(control for _, panel in PANELS for control in panel), *CARD, *CARD_MORE)}


class Options:
    """What the catalogue has for a control to choose from; entries are read once."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._offers = Offers(library)

    @functools.cached_property
    def _titled(self) -> Mapping[str, list[Option]]:
        readers: dict[str, Callable[[str], Any]] = {
            "models": self._library.model,
            "systems": self._library.system,
            "workloads": self._library.workload,
            "sites": self._library.site,
            "ownership": self._library.ownership,
        }
        found = {kind: sorted(_titled(self._library, kind, read), key=lambda option: option[1].casefold()) for kind, read in readers.items()}
        engines = {name for calibration in self._library.files("calibrations") for name in self._library.calibration(calibration).engines}
        return {**found, "engines": [(name, name) for name in sorted(engines)]}

    def of(self, control: Control, situation: Mapping[str, Any]) -> list[Option]:
        """Values and labels, the situation's own first where the catalogue does not list it."""
        if control.choices == "fixed":
            return [(value, _WORDS.get(value, value)) for value in control.fixed]
        if control.key == HOUR:
            return self._hours(situation.get("system"))
        if control.key == TOKEN:
            return self._tokens(situation.get("model"))
        kinds = {"model": "models", "system": "systems", "workload": "workloads", "site": "sites", "owner": "ownership", "engine": "engines"}
        return self._titled[kinds[control.key]]

    def _hours(self, system: str | None) -> list[Option]:
        """Terms of a system (or of any), then every offer of it or of its accelerator."""
        if system is None:
            return [(term, term) for term in get_args(Term)]
        name = self._library.named("systems", system)
        if name is None:
            return []
        known = self._library.system(name)
        every = [offer for item in (name, known.accelerator) for offer in self._offers.hours(item)]
        terms: dict[str, str] = {}
        for offer in every:
            if offer.term not in terms and (found := self._found(offer.term, name)):
                terms[offer.term] = found
        listed = [(offer.id, f"{offer.id}: {number(offer.price)} USD/h") for offer in every if offer.price is not None]
        return [*((term, f"{term}: {said}") for term, said in terms.items()), *listed]

    def _found(self, term: str, system: str) -> str | None:
        """The price that a bare term means for a system; None where none is public."""
        try:
            offer = self._offers.find(term, system=system)
        except InputError:
            return None
        assert isinstance(offer, HourOffer)
        return f"{number(offer.price)} USD/h for {'a system' if offer.system else 'an accelerator'}, {offer.place}, {offer.date}"

    def _tokens(self, model: str | None) -> list[Option]:
        """Services that sell a model, then every offer of it; of a model that nobody is said to sell, all."""
        name = None if model is None else self._library.named("models", model)
        own = [] if name is None else self._offers.tokens(name)
        services = [(service, f"{service}: its price of this model") for service in sorted({offer.service for offer in own})]
        listed = own or self._offers.tokens()
        return [*services, *((one.id, f"{one.id}: {number(one.input)} in, {number(one.output)} out, USD/Mtok") for one in listed)]

    def is_hourly(self, offer: str, situation: Mapping[str, Any]) -> bool:
        """Whether the name of an offer is that of a price by the hour; what nothing is called so is taken for a price by the token."""
        try:
            found = self._offers.find(offer, system=situation.get("system"), model=self._library.named("models", str(situation.get("model"))))
        except InputError:
            return offer.split(":")[0].split("@")[0].split(" ")[0] in (*get_args(Term), *self._library.files("systems"), *self._library.files("accelerators"))
        return isinstance(found, HourOffer)


_WORDS = {
    "concurrency": "requests at a time",
    "requests_per_s": "requests a second",
    TARGETS: "as much as the targets allow",
    "cloud": "cloud: owns, sells tokens",
    "tenant": "tenant: rents, sells tokens",
    "self": "self: serves itself",
}


def _titled(library: Library, kind: str, read: Callable[[str], Any]) -> Iterator[Option]:
    for name in library.files(kind):
        title = read(name).title
        yield name, title if title == name else f"{title} ({name})"


# Reading and writing


def situation(document: Mapping[str, Any], case: str | None) -> dict[str, Any]:
    """The base, or an alternative with what the base says for it."""
    base = document.get("base", {})
    return dict(base) if case is None else {**base, **document["cases"][case]}


def value_of(control: Control, document: Mapping[str, Any], case: str | None, options: Options) -> Any:
    """What a control shows of the document: of the base, or what an alternative sets itself; None where nothing is set."""
    own = document.get("base", {}) if case is None else document["cases"][case]
    if control.key in (HOUR, TOKEN):
        return _offers_of(document, case, options)[control.key == TOKEN]
    if control.key in (LOAD_KIND, LOAD_AMOUNT):
        return _load_of(own)[control.key == LOAD_AMOUNT]
    if control.key in (DISCOUNT, OVERHEAD):
        own = price_study(document)[1]
    found = own.get(control.key)
    return _whole(found * control.scale) if control.is_number and isinstance(found, (int, float)) else found


def _load_of(own: Mapping[str, Any]) -> tuple[str | None, Any]:
    for kind in ("concurrency", "requests_per_s"):
        if kind in own:
            return kind, _whole(own[kind])
    return (TARGETS if "ttft_s" in own or "tpot_s" in own else None), None


def _listed(own: Mapping[str, Any]) -> list[str]:
    found = own.get("offer", [])
    return [found] if isinstance(found, str) else list(found)


def _offers_of(document: Mapping[str, Any], case: str | None, options: Options) -> tuple[str | None, str | None]:
    """The offers by hour and by token; of an alternative that names offers of its own, what it leaves out of the base's is said as such."""
    whole, base = situation(document, case), document.get("base", {})
    own = base if case is None else document["cases"][case]
    by: dict[bool, str | None] = {True: None, False: None}
    for offer in _listed(own):
        by[options.is_hourly(offer, whole)] = offer
    if case is not None and "offer" in own:
        in_base = {options.is_hourly(offer, whole) for offer in _listed(base)}
        by = {hourly: found or ((OWNED if hourly else UNSOLD) if hourly in in_base else None) for hourly, found in by.items()}
    return by[True], by[False]


def changes(values: Mapping[str, Any], document: Mapping[str, Any], case: str | None, options: Options) -> dict[Path, Any]:
    """What controls' values change in the document: keys to set, or to take out (None)."""
    found: dict[Path, Any] = {}
    at: Path = ("base",) if case is None else ("cases", case)
    shown = {key: value_of(EVERY[key], document, case, options) for key in (*values, HOUR, TOKEN, *((LOAD_KIND, LOAD_AMOUNT) if case is None else ()))}
    moved = {key for key, value in values.items() if _plain(value) != _plain(shown[key])}
    values = {**shown, **values}
    for key in moved - {HOUR, TOKEN, LOAD_KIND, LOAD_AMOUNT}:
        control = EVERY[key]
        value = _plain(values[key])
        if control.is_number and isinstance(value, (int, float)):
            value = _whole(value / control.scale)
        if key in (DISCOUNT, OVERHEAD):
            name, study = price_study(document)
            found[("studies", name, "kind")] = study["kind"]
            found[("studies", name, key)] = value
        else:
            found[(*at, key)] = value
    if moved & {LOAD_KIND, LOAD_AMOUNT}:
        found |= {(*at, key): value for key, value in _load(values[LOAD_KIND], _plain(values[LOAD_AMOUNT]), is_amount=LOAD_AMOUNT in moved).items()}
    if moved & {HOUR, TOKEN}:
        found[(*at, "offer")] = _offer(values, document, case, options)
    return found


def _load(kind: str | None, amount: float | None, *, is_amount: bool) -> dict[str, float | None]:
    """The keys of a load that two controls mean: an amount that was moved is of requests at a time where no kind is set, and emptied is none."""
    if is_amount:
        kind = None if amount is None else kind if kind == "requests_per_s" else "concurrency"
    return {key: _whole(amount or LOAD) if key == kind else None for key in ("concurrency", "requests_per_s")}


def _offer(values: Mapping[str, Any], document: Mapping[str, Any], case: str | None, options: Options) -> list[str] | None:
    """The key `offer` that two controls mean; None where an alternative leaves both to the base."""
    if case is None:
        return [one for one in (values[HOUR], values[TOKEN]) if one] or None
    if not (values[HOUR] or values[TOKEN]):
        return None
    whole = situation(document, case)
    base = {options.is_hourly(offer, whole): offer for offer in _listed(document.get("base", {}))}
    chosen = (values[HOUR] or base.get(True), values[TOKEN] or base.get(False))
    return [one for one in chosen if one and one not in (OWNED, UNSOLD)]


def _plain(value: Any) -> Any:
    """A control's value, none for what is empty."""
    return None if value in ("", None) else value


def _whole(value: float) -> float:
    """A number as a file writes it: whole ones without a point, no noise of a percentage."""
    rounded = round(float(value), 9)
    return int(rounded) if rounded == int(rounded) else rounded
