"""A plan's scenario as the arrays of its program: replicas at their latency targets, demand by quarter, money by system and site, reserves, limits."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.economics.offers import block
from accelmodel.economics.ownership import OwnershipTerms
from accelmodel.errors import InputError
from accelmodel.fleet.plan_model import HOURS_PER_QUARTER, QUARTERS_PER_YEAR, Array, PlanProblem, Reserves
from accelmodel.fleet.schedule import needed_replicas
from accelmodel.fleet.sizing import Held, spares_for
from accelmodel.studies.assumptions import assumptions, sources
from accelmodel.studies.demanded import peak_to_mean_of
from accelmodel.studies.fleet import goodput_of
from accelmodel.studies.grid import misfit
from accelmodel.studies.money import ownership_terms
from accelmodel.studies.points import Point
from accelmodel.studies.proof import Targets
from accelmodel.studies.reserves import held_for
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import PlanStudy, PlanWorkload, PowerFrom
from accelmodel.studies.traces import Client, Trace
from accelmodel.units import SECONDS_PER_DAY, TOKENS_PER_MTOK

_DRAWN_REQUESTS = 20_000  # of a workload without a trace
_PREFIX_BLOCK_TOKENS = 64
_PREFIX_FAMILIES = 16
_W_PER_MW = 1e6
_NAN = math.nan
_WHOLE = 1e-9


@dataclass(frozen=True, eq=False)
class Demanded:
    """A workload, or a slice of one: its requests, what rate of them, and the replicas that may serve them, by system's place."""

    name: str
    of: str
    asked: PlanWorkload
    traffic: Trace
    mean_requests_per_s: Array
    served: dict[int, tuple[Cell, Point]]

    @property
    def some(self) -> tuple[Cell, Point]:
        """One of the replicas: what all of them have in common (tokens, targets, prices) can be read from it."""
        return next(iter(self.served.values()))

    @property
    def tokens(self) -> float:
        """Mean tokens of a request, input and output."""
        point = self.some[1]
        return float(point.input_tokens + point.output_tokens)

    @property
    def targets(self) -> Targets:
        """What the simulator is to find."""
        situation = self.some[0].situation
        return Targets(situation.get("ttft_s"), situation.get("tpot_s"), self.asked.percentile)


@dataclass(frozen=True, eq=False)
class Worth:
    """Shares of a system's capital, spares and all: what it is charged with in each quarter that it lives (S,), what is left at the plan's end of one delivered
    in a quarter (S, T), and of one that stands when the plan begins, then and at its end (S, 2)."""

    charge: Array
    horizon: Array
    in_place: Array


@dataclass(frozen=True, eq=False)
class Built:
    """A plan's problem with what its arrays were made of."""

    asked: PlanStudy
    demanded: tuple[Demanded, ...]
    problem: PlanProblem
    lead_quarters: tuple[int, ...]
    worth: Worth
    notes: tuple[str, ...]
    seed: int = 0  # of the simulations

    def with_proof(self, problem: PlanProblem, goodput: Array, proof: Array) -> PlanProblem:
        """The problem at other goodputs and factors of what the simulator found short, with the reserves and spares of the replicas that this takes."""
        reserves, spares = _reserves(self.asked, self.demanded, problem.peak_requests_per_s, goodput, proof)
        capital, shape = problem.price_usd + spares[:, None] * problem.spare_usd, problem.in_place.shape
        return dataclasses.replace(
            problem,
            goodput_requests_per_s=goodput,
            reserves=reserves,
            spare_fraction=spares,
            horizon_usd=capital * self.worth.horizon,
            in_place_usd=np.broadcast_to(capital[:, :1] * self.worth.in_place[:, :1], shape),
            in_place_horizon_usd=np.broadcast_to(capital[:, :1] * self.worth.in_place[:, 1:], shape),
        )

    def cell(self, w: int, s: int) -> Cell:
        """The replica by which a workload is served on a system."""
        return self.demanded[w].served[s][0]


def quarter_number(quarter: str) -> int:
    """Quarters since year 0.

    >>> quarter_number("2026Q1") - quarter_number("2025Q4")
    1
    """
    return int(quarter[:4]) * QUARTERS_PER_YEAR + int(quarter[5]) - 1


def quarter_names(first: str, count: int) -> tuple[str, ...]:
    """Names of quarters from one on.

    >>> quarter_names("2025Q4", 2)
    ('2025Q4', '2026Q1')
    """
    begin = quarter_number(first)
    return tuple(f"{number // QUARTERS_PER_YEAR}Q{number % QUARTERS_PER_YEAR + 1}" for number in range(begin, begin + count))


def built(context: Context, asked: PlanStudy) -> Built:
    """The problem of a plan study; InputError for what does not go together."""
    systems = tuple(context.catalog.system(name).name for name in asked.systems)
    sites = tuple(context.catalog.site(name).name for name in asked.sites)
    notes: list[str] = []
    demanded = tuple(one for name, workload in asked.workloads.items() for one in _demanded(context, asked, name, workload, systems, notes))
    return _Builder(context, asked, systems, sites, demanded).built(tuple(notes))


# --- demand --------------------------------------------------------------------------------------------------------------------------------------


def _demanded(context: Context, asked: PlanStudy, name: str, workload: PlanWorkload, systems: tuple[str, ...], notes: list[str]) -> Iterator[Demanded]:
    """The workload, or its slices."""
    key = f"workloads.{name}"
    situation = context.with_workload(context.scenario.situation(workload.case))
    traffic = _traffic(context, workload, situation, key)
    situation |= traffic.means
    tokens = situation["input_tokens"] + situation["output_tokens"]
    requests_per_s = _tokens_per_day(asked, workload, key) / tokens / SECONDS_PER_DAY
    for label, part in _parts(workload, traffic):
        one = f"{name}{label}"
        served = _served(context, asked, one, workload, situation | part.means, systems, notes)
        if not served:
            raise InputError("; ".join(notes[-len(workload.replicas) :]), key=f"{key}.replicas")
        yield Demanded(one, name, workload, part, requests_per_s * part.requests / traffic.requests, served)


def _tokens_per_day(asked: PlanStudy, workload: PlanWorkload, key: str) -> Array:
    given = workload.tokens_per_day
    if isinstance(given, tuple):
        if len(given) != asked.quarters:
            raise InputError(f"has {len(given)} quarters, the plan {asked.quarters}", key=f"{key}.tokens_per_day", value=list(given))
        return np.array(given)
    found: Array = given * (1.0 + workload.growth_fraction_per_year) ** (np.arange(asked.quarters) / QUARTERS_PER_YEAR)
    return found


def _traffic(context: Context, workload: PlanWorkload, situation: dict[str, Any], key: str) -> Trace:
    """Requests of the workload, with its mean lengths (the trace's own where it states none), its bursts and its share of prefixes that repeat."""
    if workload.trace is not None:
        trace = context.trace(workload.trace)
        found = _with_means(trace, situation.get("input_tokens"), situation.get("output_tokens"))
    else:
        for name in ("input_tokens", "output_tokens"):
            if name not in situation:
                raise InputError(f"has no '{name}': name a workload in its case, give the lengths, or a trace", key=key)
        means = (situation["input_tokens"], situation["output_tokens"])
        client = Client(100.0, *means, workload.burstiness, input_variation=workload.input_variation, output_variation=workload.output_variation)
        drawn = Trace.generate(client, duration_s=_DRAWN_REQUESTS / client.requests_per_s, seed=context.seed)
        found = _with_means(dataclasses.replace(drawn, session=None), *means)
    hit = situation.get("prefix_hit_fraction", 0.0)
    if not hit or found.knows_prefixes:
        return found
    return _with_prefixes(found, hit) if workload.slices is None else found.cached(hit)  # slices are cut and mixed again, which leaves no prefixes


def _with_means(trace: Trace, input_tokens: float | None, output_tokens: float | None) -> Trace:
    """The trace with its lengths brought to means, where these are given; prompts that change their lengths are no longer those that have the hashes."""
    if input_tokens is not None:
        trace = dataclasses.replace(trace, hash_ids=None, first_hash=None)
    inputs, outputs = _brought_to(trace.input_tokens, input_tokens), _brought_to(trace.output_tokens, output_tokens)
    cached = None if trace.cached_tokens is None else np.floor(trace.cached_tokens * inputs / trace.input_tokens)
    return dataclasses.replace(trace, input_tokens=inputs, output_tokens=outputs, cached_tokens=cached)


def _brought_to(lengths: Array, mean: float | None) -> Array:
    """Lengths in whole tokens, scaled to a mean; as they are where none is asked for."""
    return lengths if mean is None else np.maximum(np.rint(lengths * (mean / lengths.mean())), 1.0)


def _with_prefixes(trace: Trace, hit_fraction: float) -> Trace:
    """The same requests, the leading share of each prompt being one of a few that every replica comes to know: the hits that the workload is said to have."""
    blocks = np.minimum(np.rint(trace.input_tokens * hit_fraction / _PREFIX_BLOCK_TOKENS), trace.input_tokens // _PREFIX_BLOCK_TOKENS).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(blocks)])
    place = np.arange(first[-1]) - np.repeat(first[:-1], blocks)
    family = np.repeat(np.arange(trace.requests) % _PREFIX_FAMILIES, blocks)
    ids = family * (int(blocks.max()) + 1) + place
    numbered = np.unique(ids, return_inverse=True)[1].astype(np.int64).reshape(-1)
    return dataclasses.replace(trace, hash_ids=numbered, first_hash=first, block_tokens=float(_PREFIX_BLOCK_TOKENS))


def _parts(workload: PlanWorkload, traffic: Trace) -> Iterator[tuple[str, Trace]]:
    """The workload's slices with what to call them, or the whole."""
    if workload.slices is None:
        yield "", traffic
        return
    cuts = (workload.slices.input_tokens, workload.slices.output_tokens)
    lengths = (traffic.input_tokens, traffic.output_tokens)
    places = [np.searchsorted(np.array(sorted(edges)), of, side="right") for edges, of in zip(cuts, lengths, strict=True)]
    for i, o in itertools.product(*(range(len(edges) + 1) for edges in cuts)):
        inside = np.flatnonzero((places[0] == i) & (places[1] == o))
        if inside.size >= 2:
            label = " ".join(f"{word} {_bucket(sorted(edges), place)}" for word, edges, place in zip(("in", "out"), cuts, (i, o), strict=True) if edges)
            yield f" {label}", dataclasses.replace(traffic.picked(inside), session=None, hash_ids=None, first_hash=None)


def _bucket(edges: Sequence[float], place: int) -> str:
    if place == 0:
        return f"below {edges[0]:g}"
    return f"from {edges[-1]:g}" if place == len(edges) else f"{edges[place - 1]:g}-{edges[place]:g}"


def _served(
    context: Context, asked: PlanStudy, name: str, workload: PlanWorkload, situation: dict[str, Any], systems: tuple[str, ...], notes: list[str]
) -> dict[int, tuple[Cell, Point]]:
    """The replicas that can serve a workload, each at its largest load within the targets, by their system's place."""
    found: dict[int, tuple[Cell, Point]] = {}
    rents = dict(zip(systems, (system.rent for system in asked.systems.values()), strict=True))
    for case in workload.replicas:
        whole = situation | context.scenario.cases[case].model_dump(exclude_none=True)
        system = context.catalog.system(whole["system"]).name if "system" in whole else None
        if system not in rents:
            raise InputError(f"case '{case}' is on no system of the plan", key=f"cases.{case}.system", value=system, allowed=systems)
        s = systems.index(str(system))
        if s in found:
            raise InputError(f"two replicas of '{name}' on {system}", key=f"workloads.{name}.replicas", value=case)
        cell = context.cell(f"{name} on {system}", _rented(whole, rents[str(system)]))
        point = context.point(cell)
        if point.fits:
            found[s] = (cell, point)
        else:
            notes.append(misfit(cell, 1, 1, point.kv_capacity_tokens > 0))
    return found


def _rented(situation: dict[str, Any], offer: str | None) -> dict[str, Any]:
    """The situation on the tenant's books where its system is rented."""
    if offer is None:
        return situation
    others = situation.get("offer") or ()
    return situation | {"offer": (offer, *((others,) if isinstance(others, str) else others)), "books": "tenant"}


# --- arrays ----------------------------------------------------------------------------------------------------------------------------------------


class _Builder:
    """Fills a problem's arrays."""

    def __init__(self, context: Context, asked: PlanStudy, systems: tuple[str, ...], sites: tuple[str, ...], demanded: tuple[Demanded, ...]) -> None:
        self.context, self.asked, self.systems, self.sites, self.demanded = context, asked, systems, sites, demanded
        self.quarters = quarter_names(asked.first_quarter, asked.quarters)
        self.years = np.arange(asked.quarters) / QUARTERS_PER_YEAR
        self.shape = (len(demanded), len(systems), len(sites), asked.quarters)
        self.some: dict[int, Cell] = {s: cell for one in demanded for s, (cell, _) in one.served.items()}
        owner = context.catalog.ownership(demanded[0].some[0].money.owner).figures
        self.rate: float = owner.cost_of_capital.si if asked.cost_of_capital_fraction is None else asked.cost_of_capital_fraction

    def built(self, notes: tuple[str, ...]) -> Built:
        """Everything put together."""
        w, s, sites, _ = self.shape
        goodput, per_system = np.full((w, s), _NAN), np.full((w, s), _NAN)
        for i, one in enumerate(self.demanded):
            for j, (cell, point) in one.served.items():
                least = block(cell.replica.accelerators, cell.replica.system.accelerators)
                goodput[i, j], per_system[i, j] = point.output_tokens_per_s / point.output_tokens, least.replicas / least.systems
        peak_to_mean = [peak_to_mean_of(self.context, one.asked) for one in self.demanded]
        peak = np.array([one.mean_requests_per_s * ratio for one, ratio in zip(self.demanded, peak_to_mean, strict=True)])
        money, worth = self._money()
        without = np.ones((*goodput.shape, len(self.quarters)))
        names = list(dict.fromkeys(one.of for one in self.demanded))
        problem = PlanProblem(
            workloads=tuple(one.name for one in self.demanded),
            systems=self.systems,
            sites=self.sites,
            quarters=self.quarters,
            regions=tuple(site.region or name for name, site in zip(self.sites, self.asked.sites.values(), strict=True)),
            pools=np.array([names.index(one.of) for one in self.demanded]),
            peak_requests_per_s=peak,
            mean_fraction=1.0 / np.array(peak_to_mean),
            goodput_requests_per_s=goodput,
            replicas_per_system=per_system,
            reserves=Reserves(without, without, without, np.ones_like(goodput)),
            survives=np.array([one.asked.survives_region_loss for one in self.demanded]),
            revenue_usd_per_request=self._revenue(),
            load_usd_per_replica_h=self._load_usd(),
            spare_fraction=np.zeros(s),
            accelerators=np.array([self.context.catalog.system(name).accelerators for name in self.systems]),
            it_mw_per_system=np.array([self._it_w(j) for j in range(s)]) * self.asked.power_diversity_fraction / _W_PER_MW,
            allowed=self._allowed(),
            supply_systems=self._supply(),
            it_mw=np.array([self._power(name, site.power) for name, site in zip(self.sites, self.asked.sites.values(), strict=True)]),
            budget_usd=self._budget(),
            budget_in_all_usd=self.asked.budget_usd or math.inf,
            discount_fraction_per_quarter=(1.0 + self.rate) ** (1.0 / QUARTERS_PER_YEAR) - 1.0,
            must_serve=self.asked.objective == "cost",
            in_place=self._in_place(),
            **{name: money[name] for name in ("holding_usd", "price_usd", "spare_usd", "resale_usd")},
            horizon_usd=np.zeros_like(money["price_usd"]),
            in_place_usd=np.zeros((s, sites)),
            in_place_horizon_usd=np.zeros((s, sites)),
            life_quarters=money["life"],
            in_place_quarters_left=np.repeat(money["left"][:, None], sites, 1),
        )
        leads = tuple(system.lead_quarters for system in self.asked.systems.values())
        made = Built(self.asked, self.demanded, problem, leads, worth, notes, self.context.seed)
        return dataclasses.replace(made, problem=made.with_proof(problem, goodput, np.where(np.isfinite(goodput), 1.0, _NAN)))

    def _it_w(self, s: int) -> float:
        """All-in IT power of a system; NaN where it is unknown."""
        system = self.context.catalog.system(self.systems[s])
        power = self.context.catalog.accelerator(system.accelerator).figures.it_power
        return _NAN if power is None else power.si * system.accelerators

    def _allowed(self) -> Any:
        found = np.zeros(self.shape[1:3], bool)
        for j, (name, system) in enumerate(self.asked.systems.items()):
            for site in self.sites if system.sites is None else [self.context.catalog.site(one).name for one in system.sites]:
                found[j, self._place(site, f"systems.{name}.sites")] = True
        return found

    def _place(self, site: str, key: str) -> int:
        if site not in self.sites:
            raise InputError(f"'{site}' is no site of the plan", key=key, value=site, allowed=self.sites)
        return self.sites.index(site)

    def _in_place(self) -> Array:
        found = np.zeros(self.shape[1:3])
        for j, (name, system) in enumerate(self.asked.systems.items()):
            for site, count in system.in_place.items():
                found[j, self._place(self.context.catalog.site(site).name, f"systems.{name}.in_place")] = count
        return found

    def _steps(self, key: str, steps: Sequence[tuple[str, float]]) -> Array:
        """A value a quarter from steps that begin in a quarter; 0 before the first."""
        numbers = [quarter_number(quarter) for quarter, _ in steps]
        if numbers != sorted(set(numbers)):
            raise InputError("the quarters must rise", key=key, value=[quarter for quarter, _ in steps])
        now = quarter_number(self.quarters[0]) + np.arange(len(self.quarters))
        values = np.array([0.0, *(value for _, value in steps)])
        found: Array = values[np.searchsorted(np.array(numbers), now, side="right")]
        return found

    def _supply(self) -> Array:
        found = np.full((self.shape[1], self.shape[3]), math.inf)
        for j, (name, system) in enumerate(self.asked.systems.items()):
            if system.supply is not None:
                found[j] = self._steps(f"systems.{name}.supply", [(step.quarter, step.systems) for step in system.supply])
            found[j, : system.lead_quarters] = 0.0
        return found

    def _power(self, name: str, steps: tuple[PowerFrom, ...] | None) -> Array:
        if steps is None:
            return np.full(self.shape[3], math.inf)
        pue = self.context.catalog.site(name).figures.pue.si
        limits = [(step.quarter, min(_or_inf(step.it_mw), _or_inf(step.facility_mw) / pue)) for step in steps]
        return self._steps(f"sites.{name}.power", limits)

    def _budget(self) -> Array:
        given = self.asked.budget_usd_per_quarter
        if isinstance(given, tuple) and len(given) != self.asked.quarters:
            raise InputError(f"has {len(given)} quarters, the plan {self.asked.quarters}", key="budget_usd_per_quarter", value=list(given))
        return np.broadcast_to(np.array(math.inf if given is None else given, float), self.shape[3:]).copy()

    def _revenue(self) -> Array:
        """USD per request of each workload by quarter: 0 where nothing is sold, which the search for the greatest margin refuses."""
        found = np.zeros((self.shape[0], self.shape[3]))
        for i, one in enumerate(self.demanded):
            cell, point = one.some
            prices = cell.money.token_prices
            if prices is not None and cell.money.books != "self":
                rates = goodput_of(point)
                usd_per_s = sum(rate * price for rate, price in zip(rates.streams, prices.streams, strict=True)) / TOKENS_PER_MTOK
                per_request = float(usd_per_s) / (point.output_tokens_per_s / point.output_tokens)
                found[i] = per_request * (1.0 + self.asked.price_change_fraction_per_year) ** self.years
            elif self.asked.objective == "margin":
                raise InputError("has no price: the greatest margin needs an offer by the token", key=f"workloads.{one.of}")
        return found

    def _load_usd(self) -> Array:
        """USD that full load adds to a replica's hour at each site: energy, its owner's."""
        found = np.zeros(self.shape[:3])
        for i, one in enumerate(self.demanded):
            for j, (cell, point) in one.served.items():
                if not cell.money.rents:
                    for k, site in enumerate(self.sites):
                        found[i, j, k] = self._energy_of_load(cell, point, site)
        return found

    def _energy_of_load(self, cell: Cell, point: Point, site: str) -> float:
        of, loaded_w = cell.replica, point.power_w / cell.replica.accelerators
        energy = []
        for occupancy in (1.0, 0.0):
            terms = dataclasses.replace(cell.money, site=site, occupancy=occupancy)
            energy.append(float(terms.ownership(of.accelerator, terms.mean_power_w(of, loaded_w))[1].energy_usd_per_h))
        return (energy[0] - energy[1]) * of.accelerators

    def _money(self) -> tuple[dict[str, Array], Worth]:
        """Money of systems without spares, by quarter and by site; and what shares of their capital they are charged with and worth."""
        _, s, sites, t = self.shape
        found: dict[str, Any] = {name: np.zeros((s, t)) for name in ("price_usd", "spare_usd", "resale_usd")}
        found |= {"holding_usd": np.zeros((s, sites, t)), "life": np.full(s, math.inf), "left": np.full(s, math.inf)}
        worth = Worth(np.zeros(s), np.zeros((s, t)), np.zeros((s, 2)))
        for j, system in enumerate(self.asked.systems.values()):
            change = (1.0 + system.price_change_fraction_per_year) ** self.years
            if j not in self.some:
                continue
            cell = self.some[j]
            count = cell.replica.system.accelerators
            if cell.money.rents:
                assert cell.money.hour is not None
                found["holding_usd"][j] = cell.money.hour.price_usd_per_accelerator_h(count) * count * HOURS_PER_QUARTER * change
                continue
            terms = ownership_terms(self.context.catalog.ownership(cell.money.owner).figures)
            life = round((system.life_years or float(terms.server_life_years)) * QUARTERS_PER_YEAR)
            found["life"][j], found["left"][j] = life, life - system.in_place_age_quarters
            for k, site in enumerate(self.sites):
                capital, found["holding_usd"][j, k] = self._holding(cell, site, count)
            price, spare = float(capital.equipment_usd) * count, float(capital.server_usd) * count
            found["price_usd"][j], found["spare_usd"][j] = price * change, spare * change
            salvage = _salvage_fraction(terms, spare, price)
            found["resale_usd"][j] = salvage * found["price_usd"][j]
            worth.charge[j] = self._annuity(life, salvage)
            worth.horizon[j] = self._left_value(t - np.arange(t), life, salvage)
            worth.in_place[j] = self._left_value(system.in_place_age_quarters + np.array([0, t]), life, salvage)
        return found, worth

    def _holding(self, cell: Cell, site: str, count: int) -> tuple[Any, float]:
        """Capital of one accelerator, and what a system costs at a site in a quarter without load: idle energy, upkeep, the building's annuity."""
        terms = dataclasses.replace(cell.money, site=site, occupancy=0.0)
        capital, cost = terms.ownership(cell.replica.accelerator, terms.mean_power_w(cell.replica, 0.0))
        self.context.rest_on(assumptions(cell.replica, terms), sources(cell.replica, terms))
        self.context.price_dates |= terms.price_dates(cell.replica.accelerator)
        return capital, float(cost.running_usd_per_h + cost.facility_capital_usd_per_h) * count * HOURS_PER_QUARTER

    def _left_value(self, age_quarters: Any, life: int, salvage: float) -> Array:
        """Share of its price that equipment is worth at an age: its annuity's payments to come and its salvage, discounted; or straight-line; or nothing."""
        left = np.clip(life - age_quarters, 0, None)
        if self.asked.horizon_value == "none":
            return np.zeros(left.shape)
        rate = (1.0 + self.rate) ** (1.0 / QUARTERS_PER_YEAR) - 1.0
        if self.asked.horizon_value == "book" or rate == 0.0:
            straight: Array = salvage + (1.0 - salvage) * left / life
            return straight
        discount = (1.0 + rate) ** -left.astype(float)
        found: Array = salvage * discount + self._annuity(life, salvage) * (1.0 - discount) / rate
        return found

    def _annuity(self, life: int, salvage: float) -> float:
        """Equal payments at the quarters' ends that repay a capital of 1 less its salvage."""
        rate = (1.0 + self.rate) ** (1.0 / QUARTERS_PER_YEAR) - 1.0
        if rate == 0.0:
            return (1.0 - salvage) / life
        kept = (1.0 + rate) ** -float(life)
        return float((1.0 - salvage * kept) * rate / (1.0 - kept))


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _salvage_fraction(terms: OwnershipTerms, server_usd: float, price_usd: float) -> float:
    """What a system fetches at the end of its life, less its removal, as a share of its price."""
    return float(terms.residual_fraction - terms.decommissioning_fraction) * server_usd / price_usd


# --- reserves --------------------------------------------------------------------------------------------------------------------------------------


def _reserves(asked: PlanStudy, demanded: Sequence[Demanded], peak: Array, goodput: Array, proof: Array) -> tuple[Reserves, Array]:
    """Factors for each workload on each system in each quarter, and the spares of each system, one stock for all workloads that may run on it.

    Slices of a workload stand in one another's replicas: what is held for them all is held for all of them together.
    """
    shape = (*goodput.shape, peak.shape[1])
    headroom, maintenance, availability = (np.full(shape, _NAN) for _ in range(3))
    spares = np.zeros(goodput.shape[1])
    for s in range(goodput.shape[1]):
        systems, last = np.zeros(peak.shape[1]), None
        for name in dict.fromkeys(one.of for one in demanded):
            members = [w for w, one in enumerate(demanded) if one.of == name and np.isfinite(goodput[w, s])]
            if members:
                carrying = (proof[members, s, None] * peak[members] / goodput[members, s, None]).sum(0)
                held = [held_for(*demanded[members[0]].served[s], asked, serving) for serving in _serving(carrying, asked.headroom_fraction)]
                headroom[members, s], maintenance[members, s], availability[members, s] = _factors(carrying, held)
                last = held[-1]
                systems += np.array([one.fewest_replicas for one in held]) * (last.replica.block.systems / last.replica.block.replicas)
        if last is not None:
            count, per_system = math.ceil(systems.max() - _WHOLE), last.replica.accelerators_per_system
            spares[s] = spares_for(count * per_system, per_system, last.reserve).systems / count
    return Reserves(headroom, maintenance, availability, proof), spares


def _serving(carrying: Array, headroom_fraction: float) -> list[int]:
    """Whole replicas that serve peaks which take so many at goodput; one at least."""
    counts: list[int] = np.maximum(needed_replicas(carrying, headroom_fraction), 1).tolist()
    return counts


def _factors(carrying: Array, held: Sequence[Held]) -> tuple[Array, Array, Array]:
    """What is installed for each replica that carries the peaks: factors for queueing, maintenance and failures, arrays (quarters,); 1 without demand.

    Their product takes the peak to the fewest replicas of which enough are up; whole systems come on top.
    """
    steps = np.array([carrying, *zip(*((one.serving, one.with_maintenance, one.fewest_replicas) for one in held), strict=True)], float)
    headroom, maintenance, availability = np.where(carrying > 0.0, steps[1:] / np.where(carrying > 0.0, steps[:-1], 1.0), 1.0)
    return headroom, maintenance, availability
