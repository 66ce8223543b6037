"""Operating points: a replica by names, its latencies from `serving`, its cost and margin from `economics`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.library import Library
from accelmodel.catalog.models import Model
from accelmodel.catalog.offers import HourOffer, Offers, TokenOffer
from accelmodel.columns import COLUMNS, HIGH, LOW
from accelmodel.core.replica import Parallelism, Precision, Replica
from accelmodel.economics.attribution import attribute
from accelmodel.economics.margin import margin_fraction, token_revenue_usd_per_h
from accelmodel.economics.offers import replica_cost_usd_per_h
from accelmodel.economics.ownership import Capital, OwnershipCost, OwnershipTerms, capital_per_accelerator, cost_of_ownership
from accelmodel.economics.tokens import BusyShares, TokenPrices, TokenRates
from accelmodel.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[np.float64]
Books = Literal["cloud", "tenant"]

HOME_SITE = "new-carlisle"
OWNER = "default"

_INPUTS = ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction")
_BOUNDED_FROM = {
    "time_to_first_token_s": "time_to_first_token",
    "time_per_output_token_s": "time_per_output_token",
    "output_tokens_per_s": "throughput",
    "cost_usd_per_mtok_output": "throughput",
    "cost_usd_per_mtok": "throughput",
    "margin_fraction": "throughput",
}


@functools.cache
def library(*folders: str) -> Library:
    """The catalogue with these folders before the shipped entries; one per process and folders."""
    return Library(*folders)


def replica(
    *,
    model: str | Model,
    system: str | System,
    accelerators: int | None = None,
    tensor_parallel: int | None = None,
    expert_parallel: int = 1,
    attention_data_parallel: int = 1,
    weights: str | None = None,
    kv: str | None = None,
    compute: str | None = None,
    engine: str | None = None,
    chunk_tokens: float | None = None,
    catalog: Library | None = None,
) -> Replica:
    """A replica from names, paths (of a profile or a Hugging Face config.json) or catalogue objects.

    `accelerators` defaults to the whole system, `tensor_parallel` to what makes the ranks come out, `engine` to the calibration's default. InputError says what
    cannot be combined, and why.
    """
    books = catalog or library()
    the_model = books.model(model) if isinstance(model, str) else model
    the_system = books.system(system) if isinstance(system, str) else system
    accelerator = books.accelerator(the_system.accelerator)
    count = the_system.accelerators if accelerators is None else accelerators
    for key, value in (("accelerators", count), ("expert_parallel", expert_parallel), ("attention_data_parallel", attention_data_parallel)):
        _check_count(key, value)
    if tensor_parallel is None:
        tensor_parallel = max(count * accelerator.ranks // attention_data_parallel, 1)
    _check_count("tensor_parallel", tensor_parallel)
    calibration = books.calibration_of(accelerator)
    return Replica(
        model=the_model,
        system=the_system,
        accelerator=accelerator,
        accelerators=count,
        parallelism=Parallelism(tensor_parallel, expert_parallel, attention_data_parallel),
        precision=Precision(weights, kv, compute),
        engine=calibration.engine(engine or calibration.default_engine),
        calibration=calibration,
        chunk_tokens=chunk_tokens,
    )


def _check_count(key: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError("must be a whole number of at least 1", key=key, value=value)


@dataclass(frozen=True)
class Money:
    """Whose books, at what prices: what cost and margin of a replica rest on.

    On the cloud's books hardware costs what owning it costs, and hours or tokens are sold; on a tenant's, hours are rented and tokens are sold. `occupancy` is the
    share of the hours in which the replica carries its load; the other hours cost the same, less energy, and earn nothing.
    """

    catalog: Library
    books: Books
    hour: HourOffer | None
    token: TokenOffer | None
    tier: str
    occupancy: float
    site: str
    owner: str

    @property
    def basis(self) -> str:
        """The `cost_basis` column: the rented offer's id, or ownership."""
        return self.hour.id if self.books == "tenant" and self.hour is not None else "ownership"

    def ownership(self, accelerator: Accelerator, mean_power_w: Array | float) -> tuple[Capital, OwnershipCost]:
        """Capital behind one accelerator and its cost per powered hour at a mean draw of the accelerator itself (host and network are added)."""
        owner, site = self.catalog.ownership(self.owner), self.catalog.site(self.site)
        it_power_w = accelerator.need("it_power").si
        beside_w = it_power_w - accelerator.need("tdp").si
        terms = ownership_terms(owner.figures)
        capital = capital_per_accelerator(terms, owner.purchase_price(accelerator.name).si, it_power_w)
        cost = cost_of_ownership(
            terms, capital, power_w=mean_power_w + beside_w, pue=site.figures.pue.si, tariff_usd_per_kwh=site.figures.tariff.si * _J_PER_KWH
        )
        return capital, cost

    def replica_cost_usd_per_h(self, replica: Replica, power_w: Array) -> Array:
        """Cost of the replica per hour, shape of `power_w` (its accelerators' draw under load, W)."""
        if self.books == "tenant":
            assert self.hour is not None
            by = self.hour.price_usd_per_accelerator_h(replica.system.accelerators)
            whole = replica_cost_usd_per_h(replica.accelerators, replica.system.accelerators, by * replica.system.accelerators, "system")
            return np.full(power_w.shape, whole)
        idle_w = replica.parameters["power_floor_fraction"] * replica.accelerator.need("tdp").si
        mean_w = self.occupancy * power_w / replica.accelerators + (1.0 - self.occupancy) * idle_w
        _, cost = self.ownership(replica.accelerator, mean_w)
        available = self.catalog.ownership(self.owner).figures.availability.si
        total: Array = replica.accelerators * np.asarray(cost.per_available_h(available).total_usd_per_h)
        return total

    def revenue_usd_per_h(self, replica: Replica, rates: TokenRates) -> Array | None:
        """Revenue per hour at the occupancy: of tokens where a token offer is given, else of hours on the cloud's books; None where nothing is sold."""
        if self.token is not None:
            prices = self.token.tier(self.tier)
            cached = prices.cached_input_usd_per_mtok
            sold = TokenPrices(prices.input_usd_per_mtok, prices.input_usd_per_mtok if cached is None else cached, prices.output_usd_per_mtok)
            return np.asarray(token_revenue_usd_per_h(rates, sold)) * self.occupancy
        if self.books == "cloud" and self.hour is not None:
            by = self.hour.price_usd_per_accelerator_h(replica.system.accelerators)
            return np.full(np.shape(rates.output_tokens_per_s), by * replica.accelerators * self.occupancy)
        return None


_J_PER_KWH = 3.6e6


def ownership_terms(figures: Any) -> OwnershipTerms:
    """An owner's figures as the terms that `economics` takes."""
    from accelmodel.units import HOURS_PER_YEAR, SECONDS_PER_HOUR

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
    )


def money(
    replica: Replica,
    *,
    offer: str | Sequence[str] | None = None,
    books: str | None = None,
    occupancy: float | None = None,
    site: str = HOME_SITE,
    owner: str = OWNER,
    tier: str = "standard",
    catalog: Library | None = None,
) -> Money:
    """Resolve offers by name for a replica. An offer by the hour makes the books a tenant's unless `books` says the cloud's."""
    lib = catalog or library()
    hour, token = None, None
    for name in [offer] if isinstance(offer, str) else offer or ():
        found = offers_of(lib).find(name, system=replica.system.name, model=replica.model.name)
        if isinstance(found, HourOffer):
            hour = found
        else:
            token = found
    if books is None:
        books = "tenant" if hour is not None else "cloud"
    if books not in ("cloud", "tenant"):
        raise InputError(f"'{books}' are nobody's books", key="books", value=books, allowed=("cloud", "tenant"))
    if books == "tenant" and hour is None:
        raise InputError("a tenant rents by the hour: give an offer by the hour, such as on-demand", key="offer", value=offer)
    if occupancy is None:
        occupancy = lib.ownership(owner).figures.occupancy.si
    if not 0.0 < occupancy <= 1.0:
        raise InputError("must be above 0 and at most 1", key="occupancy", value=occupancy)
    return Money(lib, books, hour, token, tier, occupancy, lib.site(site).name, owner)  # type: ignore[arg-type]


@functools.cache
def offers_of(catalog: Library) -> Offers:
    """The offers of a catalogue, read once."""
    return Offers(catalog)


class Point:
    """One operating point: its columns as attributes. None where there is no number."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return "Point(" + ", ".join(f"{name}={value!r}" for name, value in vars(self).items()) + ")"

    def to_dict(self) -> dict[str, Any]:
        """Column -> value."""
        return dict(vars(self))


def evaluate(
    replica: Replica,
    *,
    input_tokens: Any,
    output_tokens: Any,
    concurrency: Any = None,
    requests_per_s: Any = None,
    prefix_hit_fraction: Any = 0.0,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    columns: Sequence[str] | None = None,
    offer: str | Sequence[str] | None = None,
    books: str | None = None,
    occupancy: float | None = None,
    site: str = HOME_SITE,
    owner: str = OWNER,
    tier: str = "standard",
    catalog: Library | None = None,
) -> Any:
    """Operating points of a replica: scalars give one `Point`, arrays broadcast to a `pyarrow.Table`.

    The load is `concurrency` (clients of a closed loop), or `requests_per_s`, or, where neither is given, the largest concurrency within the latency targets
    `ttft_s` and `tpot_s` (means, in seconds). `columns` picks and orders; default: all. Costs follow `offer`, `books`, `occupancy`, `site` and `owner`; without an
    offer by the hour they are the cost of ownership. Raises InputError for a load that is not positive and finite, and for unknown names.
    """
    wanted = check_columns(columns)
    load = _load(replica, input_tokens, output_tokens, concurrency, requests_per_s, prefix_hit_fraction, ttft_s, tpot_s)
    terms = money(replica, offer=offer, books=books, occupancy=occupancy, site=site, owner=owner, tier=tier, catalog=catalog)
    values = _columns(replica, load, terms, wanted)
    if load.scalar:
        return Point({name: _plain(value) for name, value in values.items()})
    from accelmodel.results.table import table

    return table(values)


@dataclass(frozen=True)
class _Load:
    """Loads as flat float64 arrays of one length."""

    input_tokens: Array
    output_tokens: Array
    concurrency: Array
    prefix_hit_fraction: Array
    scalar: bool


def _load(
    replica: Replica, input_tokens: Any, output_tokens: Any, concurrency: Any, requests_per_s: Any, hit: Any, ttft_s: float | None, tpot_s: float | None
) -> _Load:
    given = [("concurrency", concurrency), ("requests_per_s", requests_per_s)]
    given = [(key, value) for key, value in given if value is not None]
    if len(given) == 2:
        raise InputError("give concurrency or requests_per_s, not both", key="requests_per_s", value=requests_per_s)
    if not given and ttft_s is None and tpot_s is None:
        raise InputError("give a load: concurrency, or requests_per_s, or latency targets ttft_s and tpot_s", key="concurrency")
    key, load = given[0] if given else ("concurrency", 1.0)
    names = ("input_tokens", "output_tokens", key, "prefix_hit_fraction")
    arrays = [_numbers(name, value) for name, value in zip(names, (input_tokens, output_tokens, load, hit), strict=True)]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
        raise InputError(f"the arrays do not broadcast: {shapes}", key="input_tokens") from None
    flat = [np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1) for array in arrays]
    _check_load(replica, *flat[:3], flat[3])
    flat[2] = _concurrency(replica, flat, key if given else None, ttft_s, tpot_s)
    return _Load(*flat, scalar=shape == ())


def _numbers(key: str, value: Any) -> Array:
    try:
        array: Array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("must be a number or an array of numbers", key=key, value=value) from None
    return array


def _check_load(replica: Replica, input_tokens: Array, output_tokens: Array, load: Array, hit: Array) -> None:
    for key, values, least in (("input_tokens", input_tokens, 1.0), ("output_tokens", output_tokens, 1.0), ("concurrency", load, 0.0)):
        bad = ~(np.isfinite(values) & (values >= least) & (values > 0.0))
        if bad.any():
            raise InputError(f"must be finite and {'at least 1' if least else 'above 0'}, not {values[bad][0]:g}", key=key, value=float(values[bad][0]))
    bad = ~((hit >= 0.0) & (hit <= 1.0))
    if bad.any():
        raise InputError(f"must be from 0 to 1, not {hit[bad][0]:g}", key="prefix_hit_fraction", value=float(hit[bad][0]))
    longest = float(np.max(input_tokens + output_tokens, initial=0.0))
    limit = replica.model.architecture.max_context_tokens
    if longest > limit:
        raise InputError(f"{longest:,.0f} tokens of input and output exceed the {limit:,} tokens of context of '{replica.model.name}'", key="input_tokens", value=longest)


def _concurrency(replica: Replica, flat: list[Array], key: str | None, ttft_s: float | None, tpot_s: float | None) -> Array:
    if key == "concurrency":
        return flat[2]
    if key == "requests_per_s":
        from accelmodel.serving.steady_state import concurrency_at_rate

        return concurrency_at_rate(replica.constants, *flat)
    from accelmodel.serving.targets import largest_concurrency

    for name, target in (("ttft_s", ttft_s), ("tpot_s", tpot_s)):
        if target is not None and not target > 0:
            raise InputError("must be above 0", key=name, value=target)
    within = largest_concurrency(
        replica.constants, flat[0], flat[1], flat[3], ttft_s=math.inf if ttft_s is None else ttft_s, tpot_s=math.inf if tpot_s is None else tpot_s
    )
    return np.where(within > 0, within, math.nan)


def check_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """The wanted columns, each known; InputError with the nearest name otherwise."""
    if columns is None:
        return None
    for name in columns:
        if name not in COLUMNS and name.removesuffix(LOW).removesuffix(HIGH) not in _BOUNDED_FROM:
            raise InputError(f"no column is called '{name}'", key="columns", value=name, allowed=COLUMNS)
    return tuple(columns)


def _columns(replica: Replica, load: _Load, terms: Money, wanted: tuple[str, ...] | None) -> dict[str, Any]:
    """Column -> array, the wanted ones in their order."""
    from accelmodel.results.table import constant, labels
    from accelmodel.serving.steady_state import BINDINGS, OUTPUTS, closed_loop

    n = load.input_tokens.shape[0]
    # A load that no concurrency carries is a point that cannot run: any number stands in for it, and the point is blanked.
    runs = np.isfinite(load.concurrency)
    out = closed_loop(replica.constants, load.input_tokens, load.output_tokens, np.where(runs, load.concurrency, 1.0), load.prefix_hit_fraction)
    values: dict[str, Any] = {name: getattr(load, name) for name in _INPUTS}
    values |= {name: out[row] for row, name in enumerate(OUTPUTS)}
    if not runs.all():
        for name in OUTPUTS:
            blank = {"fits": 0.0, "binding": float(BINDINGS.index("capacity")), "kv_capacity_tokens": values["kv_capacity_tokens"]}.get(name, math.nan)
            values[name] = np.where(runs, values[name], blank)
    values["output_tokens_per_s_per_accelerator"] = values["output_tokens_per_s"] / replica.accelerators
    values["output_tokens_per_s_per_user"] = 1.0 / values["time_per_output_token_s"]
    values["weight_bytes_per_accelerator"] = np.full(n, replica.memory.weight_bytes * replica.accelerator.ranks)
    if wanted is None or any("usd" in name or name.startswith("margin") for name in wanted):
        values |= _money_columns(replica, values, terms)
    values["fits"] = values["fits"] == 1.0
    values["binding"] = labels(values["binding"], BINDINGS)
    values["occupancy"] = np.full(n, terms.occupancy)
    values["cost_basis"] = constant(terms.basis, n)
    values["calibrated"] = constant("extrapolated" if replica.is_extrapolated else "measured", n)
    _add_bounds(replica, values)
    if wanted is None:
        return values
    missing = [name for name in wanted if name not in values]
    if missing:
        raise InputError(f"column '{missing[0]}' needs an offer by the token", key="columns", value=missing[0])
    return {name: values[name] for name in wanted}


def _money_columns(replica: Replica, values: Mapping[str, Any], terms: Money) -> dict[str, Any]:
    """Cost, and where something is sold revenue and margin, of points whose other columns are known."""
    hit = values["prefix_hit_fraction"]
    rates = TokenRates(values["input_tokens_per_s"] * (1.0 - hit), values["input_tokens_per_s"] * hit, values["output_tokens_per_s"])
    prefill, cached = values["prefill_time_fraction"], values["cached_time_fraction"]
    cost = np.where(values["fits"] == 1.0, terms.replica_cost_usd_per_h(replica, values["power_w"]), math.nan)
    costs = attribute(cost, rates.scaled(terms.occupancy), busy=BusyShares(prefill - cached, cached, 1.0 - prefill))
    found: dict[str, Any] = {"replica_cost_usd_per_h": cost, **vars(costs)}
    revenue = terms.revenue_usd_per_h(replica, rates)
    if revenue is not None:
        found |= {"revenue_usd_per_h": revenue, "margin_fraction": margin_fraction(revenue, cost)}
    return found


def _add_bounds(replica: Replica, values: dict[str, Any]) -> None:
    """Central 90 % of what the engine believes, where the calibration has a spread: a factor either way on latencies and on throughput."""
    spread = replica.calibration.spread(replica.accelerator.generation)
    if spread is None:
        return
    for name, metric in _BOUNDED_FROM.items():
        if name in values:
            factor = getattr(spread, metric).si
            centre = values[name]
            if name == "margin_fraction":
                low, high = 1.0 - (1.0 - centre) * factor, 1.0 - (1.0 - centre) / factor
            else:
                low, high = centre / factor, centre * factor
            values[name + LOW], values[name + HIGH] = low, high


def _plain(value: Any) -> Any:
    """The only element of a column, as a plain Python value; None for NaN."""
    element = value[0].as_py() if hasattr(value[0], "as_py") else value[0].item()
    return None if isinstance(element, float) and math.isnan(element) else element


def names(values: Iterable[str]) -> str:
    """Names as text.

    >>> names(["a", "b"])
    'a, b'
    """
    return ", ".join(values)
