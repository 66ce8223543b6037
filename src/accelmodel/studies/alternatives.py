"""One case under many values of its inputs at once: the way from the operating point to margin, fleet and net present value, as arrays over draws.

Nothing is computed by equations of its own. The engine's kernel runs the loads; a catalogue whose figures are arrays stands in for the scenario's, so that
`Money` and `economics` give arrays; a fleet is sized by `size_fleet`, draw by draw.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from accelmodel.core.replica import Replica
from accelmodel.economics.attribution import cost_per_mtok_usd
from accelmodel.economics.cash_flow import cash_flow, present_values_usd
from accelmodel.economics.curves import compounded
from accelmodel.economics.margin import margin_fraction, operating_margin_fraction, token_revenue_usd_per_h
from accelmodel.errors import InputError
from accelmodel.fleet.demand import Demand
from accelmodel.fleet.sizing import FleetPlan
from accelmodel.studies.capital import QUARTERS, cost_of_capital, course_of, fleet_of
from accelmodel.studies.demanded import demands_of, shape_of
from accelmodel.studies.draws import Array
from accelmodel.studies.fleet import goodput_of
from accelmodel.studies.inputs import ENGINE, engine_key
from accelmodel.studies.margin import Served
from accelmodel.studies.money import Money, ownership_terms
from accelmodel.studies.points import Point, replica
from accelmodel.studies.reserves import sized
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import LOAD_KEYS, REPLICA_KEYS, TARGET_KEYS, CashFlowStudy, DemandStudy
from accelmodel.studies.uncertain import Asked
from accelmodel.studies.varied import Varied
from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

# What is asked of a case, by the way that it takes; what is larger is better only for these.
OF_POINT = ("concurrency", "time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "input_tokens_per_s", "power_w")
OF_MONEY = ("replica_cost_usd_per_h", "cost_usd_per_mtok", "revenue_usd_per_h", "margin_fraction", "operating_margin_fraction")
OF_FLEET = ("replicas", "systems", "fleet_accelerators", "spare_accelerators", "it_power_mw", "capital_usd", "annual_cost_usd")
OF_INVESTMENT = ("net_present_value_usd",)
OUTCOMES = (*OF_POINT, *OF_MONEY, *OF_FLEET, *OF_INVESTMENT)
MORE_IS_BETTER = ("output_tokens_per_s", "input_tokens_per_s", "revenue_usd_per_h", "margin_fraction", "operating_margin_fraction", "net_present_value_usd")

MOST_REPLICAS = 4_096  # that one study builds anew, a millisecond or two each
_HALVINGS = 17  # from LARGEST_CONCURRENCY to one
_STRUCTURAL_KEYS = ("chunk_tokens", "acceptance_fraction", "power_cap_w")
_MONEY_KEYS = ("occupancy", "purchase_usd")
# What may vary of a demand study and of a cash-flow study
_OF_DEMAND = (
    *("tokens_per_day", "requests_per_day", "peak_to_mean", "growth_fraction_per_year", "years"),
    *("headroom_fraction", "maintenance_fraction", "availability_target_fraction", "spares_service_fraction"),
)
_OF_CASH = (
    *("ramp_years", "price_change_fraction_per_year", "speedup_fraction_per_year", "equipment_price_change_fraction_per_year"),
    *("cost_of_capital_fraction", "tax_fraction", "equipment_life_years"),
)
_IT_POWER = ".it_power"

Values = Mapping[str, Array]


@dataclass(frozen=True)
class _Installed:
    """What money asks of a replica, its accelerator's figures and its idle power as arrays."""

    accelerators: int
    system: Any
    accelerator: Any
    parameters: Mapping[str, Any]


class Alternative:
    """A case of a study, its replica and terms resolved once."""

    def __init__(self, context: Context, study: str, asked: Asked, case: str | None) -> None:
        self.context, self.study, self.asked, self.case = context, study, asked, case
        self.cell = context.cell(case, context.scenario.situation(case))
        self.name = case or self.cell.replica.system.name
        self.sells = self.cell.money.sells(self.cell.replica)

    @functools.cached_property
    def owner(self) -> str:
        """The owner's name, whatever alias the scenario has for it."""
        return self.cell.money.catalog.ownership(self.cell.money.owner).name

    @property
    def offered(self) -> tuple[str, ...]:
        """The outcomes that the case has."""
        left_out = {"operating_margin_fraction", "margin_fraction", "revenue_usd_per_h"} if not self.sells else set()
        found = [name for name in (*OF_POINT, *OF_MONEY) if name not in left_out]
        return (*found, *(OF_FLEET if self.asked.fleet else ()), *(OF_INVESTMENT if self.asked.investment else ()))

    def check(self, outcomes: Iterable[str], key: str) -> None:
        """InputError for an outcome that the case does not have."""
        for name in outcomes:
            if name not in self.offered:
                raise InputError(f"case '{self.name}' has no such outcome", key=key, value=name, allowed=self.offered)

    def outcomes(self, values: Values, count: int, wanted: Iterable[str]) -> dict[str, Array]:
        """Outcome -> array (count,) of it under each of `count` sets of values, NaN where the case does not run.

        `values` are arrays (count,) by key of the inputs that vary, each in its input's own unit; whatever is not among them is as the scenario has it.
        """
        asked = set(wanted)
        found = _Draws(self, {key: value for key, value in values.items() if self.is_touched_by(key)}, count)
        makers: tuple[tuple[tuple[str, ...], Callable[[], Mapping[str, Any]]], ...] = (
            (OF_POINT, lambda: found.served),
            (OF_MONEY, lambda: found.money),
            (OF_FLEET, lambda: found.fleet),
            (OF_INVESTMENT, lambda: {"net_present_value_usd": found.net_present_value_usd}),
        )
        made = {name: made()[name] for names, made in makers for name in names if name in asked}
        return {name: np.array(np.broadcast_to(value, count), dtype=float) for name, value in made.items()}

    def is_touched_by(self, key: str) -> bool:
        """Whether an input may change this case: keys of another case, owner, site or accelerator, and a base's that the case overrides, do not."""
        where, _, rest = key.partition(".")
        if where in ("base", "cases"):
            return self._is_own(where, rest)
        if where == "studies":
            name, _, last = rest.rpartition(".")
            return (
                (name == self.asked.fleet and last in _OF_DEMAND)
                or (name == self.asked.investment and last in _OF_CASH)
                or key == f"{where}.{self.study}.{last}"
            )
        if where == "ownership" and ".purchase." in rest:
            terms = self.cell.money
            return rest == f"{self.owner}.purchase.{self.cell.replica.accelerator.name}" and terms.purchase_usd is None and not terms.rents
        if key == f"ownership.{self.owner}.occupancy":
            return "occupancy" not in self.context.scenario.situation(self.case)
        return rest == "" or any(rest.startswith(f"{name}.") or key == name for name in self._entries.get(where, ()))

    def _is_own(self, where: str, rest: str) -> bool:
        """Whether a key of the base or of a case is one of this case's that may vary."""
        last = rest.rpartition(".")[2]
        if last not in (*LOAD_KEYS, *TARGET_KEYS, *_MONEY_KEYS, *_STRUCTURAL_KEYS):
            return False
        if where == "cases":
            return self.case is not None and rest == f"{self.case}.{last}"
        return self.case is None or rest not in self.context.scenario.cases[self.case].model_fields_set

    @functools.cached_property
    def _entries(self) -> dict[str, tuple[str, ...]]:
        """Entries of the catalogue behind the case, by kind; of a derived accelerator, those that it takes figures from as well."""
        of, terms = self.cell.replica, self.cell.money
        derivation = of.accelerator.derivation
        origins = () if derivation is None else (derivation.base, *derivation.taken.values())
        workload = self.context.scenario.situation(self.case).get("workload")
        sized = self.context.scenario.studies[self.asked.fleet] if self.asked.fleet is not None else None
        shape = sized.shape if isinstance(sized, DemandStudy) else None
        return {
            "ownership": (self.owner,),
            "sites": (terms.site,),
            "accelerators": (of.accelerator.name, *origins),
            "calibrations": (of.calibration.name,),
            "workloads": () if workload is None else (self.context.catalog.workload(workload).name,),
            "shapes": () if shape is None else (self.context.catalog.shape(shape).name,),
            "offers": () if terms.hour is None else (terms.hour.id,),
            ENGINE: (engine_key(self.cell),),
        }

    def is_structural(self, key: str) -> bool:
        """Whether an input changes the replica itself, so that it is built anew for every value."""
        where = key.split(".")[0]
        if where in ("base", "cases"):
            return key.rsplit(".", 1)[-1] in _STRUCTURAL_KEYS
        return where == "calibrations" or (where == "accelerators" and not key.endswith(_IT_POWER))

    def situation_key(self, name: str, values: Values) -> Array | None:
        """Values of a key of the situation: the case's own, else the base's; None where neither varies."""
        own, base = values.get(f"cases.{self.case}.{name}"), values.get(f"base.{name}")
        return base if own is None else own

    @functools.cached_property
    def shape_peak_to_mean_ratio(self) -> float:
        """Peak over mean of the hours of the shape that the demand study names."""
        asked = self.context.scenario.studies[self.asked.fleet or ""]
        shape = shape_of(self.context, asked) if isinstance(asked, DemandStudy) else None
        return 1.0 if shape is None else shape.peak_to_mean_ratio

    @functools.cached_property
    def numbers(self) -> dict[str, float]:
        """The load of the situation in numbers; a prefix cache's hits are those at the case's own values."""
        situation = self.cell.situation
        found = {key: float(situation[key]) for key in (*LOAD_KEYS, *TARGET_KEYS) if key in situation}
        for key in ("input_tokens", "output_tokens"):
            if key not in found:
                raise InputError("is missing: give it, or a workload", key=f"base.{key}")
        if "prefix_cache" in situation:
            found["prefix_hit_fraction"] = float(self.context.point(self.cell).prefix_hit_fraction)
        found.setdefault("prefix_hit_fraction", 0.0)
        if not {"concurrency", "requests_per_s", *TARGET_KEYS} & found.keys():
            raise InputError("give a load: concurrency, or requests_per_s, or latency targets ttft_s and tpot_s", key="concurrency")
        return found

    def load_input(self, name: str, values: Values) -> Array | float | None:
        """A number of the load under the draws: a key of the situation, a figure of its workload, or as it stands; None where it has none."""
        varied = self.situation_key(name, values)
        workload = self.context.scenario.situation(self.case).get("workload")
        if varied is None and workload is not None:
            varied = values.get(f"workloads.{self.context.catalog.workload(workload).name}.{name}")
        return self.numbers.get(name) if varied is None else varied

    def replica_at(self, key_values: Mapping[str, float]) -> Replica:
        """The case's replica with structural inputs at some values."""
        situation = dict(self.cell.situation) | {key.rsplit(".", 1)[-1]: value for key, value in key_values.items() if key.split(".")[0] in ("base", "cases")}
        figures = {key: value for key, value in key_values.items() if key.split(".")[0] not in ("base", "cases")}
        named = {key: situation[key] for key in REPLICA_KEYS if key in situation}
        named |= {key: self.context.beside(named[key]) for key in ("model", "system", "draft_model") if key in named}
        return replica(**named, catalog=Varied(self.context.catalog, figures))

    def number_of(self, study: str, key: str, values: Values, default: Any) -> Any:
        """A number of a study under the draws."""
        return values.get(f"studies.{study}.{key}", values.get(key, default) if study == self.study else default)


class _Draws:
    """A case under `count` sets of values; each part is made when it is asked for."""

    def __init__(self, of: Alternative, values: Values, count: int) -> None:
        self.of, self.values, self.count = of, values, count

    # The engine

    @functools.cached_property
    def error(self) -> Array | float:
        """The engine's throughput over the predicted one."""
        return self.values.get(engine_key(self.of.cell), 1.0)

    def _slower(self, metric: str) -> Array | float:
        """By what the engine's error multiplies a latency: spreads of latencies and of throughput at one percentile, a slow engine being slow in all."""
        spread = self.of.cell.replica.spread
        if spread is None or isinstance(self.error, float):
            return 1.0
        return self.error ** -(math.log(getattr(spread, metric).si) / math.log(spread.throughput.si))

    @functools.cached_property
    def served(self) -> dict[str, Any]:
        """Columns of the operating point, arrays (count,) or numbers, and the draw of an idle accelerator."""
        structural = [key for key in self.values if self.of.is_structural(key)]
        if not structural:
            return self._served(self.of.cell.replica, np.arange(self.count))
        rows, place = np.unique(np.column_stack([self.values[key] for key in structural]), axis=0, return_inverse=True)
        if len(rows) > MOST_REPLICAS:
            message = (
                f"changes the replica itself, which is built anew for each of {len(rows):,} values; at most {MOST_REPLICAS:,}: ask for fewer draws, or fix it"
            )
            raise InputError(message, key=f"inputs.{structural[0]}", value=len(rows))
        order = np.split(np.argsort(place.ravel(), kind="stable"), np.cumsum(np.bincount(place.ravel()))[:-1])
        found: dict[str, Array] = {}
        for row, chosen in zip(rows, order, strict=True):
            part = self._served(self.of.replica_at(dict(zip(structural, map(float, row), strict=True))), chosen)
            for name, value in part.items():
                found.setdefault(name, np.empty(self.count))[chosen] = value
        return found

    def _served(self, of: Replica, chosen: Any) -> dict[str, Any]:
        """Columns of one replica at the loads of the chosen draws."""
        from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop, concurrency_at_rate

        load = {name: _at(self.of.load_input(name, self.values), chosen) for name in (*LOAD_KEYS, *TARGET_KEYS)}
        faster = _at(self.error, chosen)
        slower = {name: _at(self._slower(name), chosen) for name in ("time_to_first_token", "time_per_output_token")}
        shape = (load["input_tokens"], load["output_tokens"], load["prefix_hit_fraction"])
        if load["concurrency"] is not None:
            clients = load["concurrency"]
        elif load["requests_per_s"] is not None:
            # An engine that is slower by a factor carries a rate as the predicted one carries that many times the rate.
            flat = _flat(*shape, load["requests_per_s"] / faster)
            clients = concurrency_at_rate(of.constants, flat[0], flat[1], flat[3], flat[2], of.capped_constants)
        else:
            ttft_s, tpot_s = (math.inf if load[name] is None else load[name] for name in TARGET_KEYS)
            clients = _largest(of, shape, ttft_s / slower["time_to_first_token"], tpot_s / slower["time_per_output_token"])
        runs = np.isfinite(clients) & (np.asarray(clients) > 0.0) & (np.add(shape[0], shape[1]) <= of.model.architecture.max_context_tokens)
        grid = Grid.of(*(np.asarray(value, float) for value in (shape[0], shape[1], np.where(runs, clients, 1.0), shape[2])))
        columns: dict[str, Any] = dict(zip(OUTPUTS, closed_loop(of.constants, grid, 1, of.capped_constants), strict=True))
        columns = {name: np.where(runs, value, math.nan) if not np.all(runs) else value for name, value in columns.items()}
        columns["concurrency"] = np.where(runs, clients, math.nan)
        columns |= {"input_tokens": shape[0], "output_tokens": shape[1], "prefix_hit_fraction": shape[2]}
        for name in ("time_to_first_token", "time_per_output_token"):
            columns[f"{name}_s"] = columns[f"{name}_s"] * slower[name]
        for name in ("input_tokens_per_s", "output_tokens_per_s"):
            columns[name] = columns[name] * faster
        columns["idle_fraction"] = of.parameters["power_idle_fraction"]
        columns["tdp_w"] = of.accelerator.need("tdp").si
        return {name: value[0] if np.shape(value) == (1,) else value for name, value in columns.items()}

    # Money

    @functools.cached_property
    def terms(self) -> Money:
        """The case's terms of money with arrays in the place of what varies."""
        own = self.of.cell.money
        figures = {key: value for key, value in self.values.items() if key.split(".")[0] in ("ownership", "sites")}
        changed: dict[str, Any] = {"catalog": Varied(own.catalog, figures)} if figures else {}
        for key in _MONEY_KEYS:
            value = self.of.situation_key(key, self.values)
            if value is not None:
                changed[key] = value
        drawn = self.values.get(f"ownership.{self.of.owner}.occupancy")
        if drawn is not None:
            changed["occupancy"] = drawn
        if own.hour is not None and (rent := self.values.get(f"offers.{own.hour.id}.price")) is not None:
            changed["hour"] = own.hour.model_copy(update={"price": rent})
        return dataclasses.replace(own, **changed)

    @functools.cached_property
    def installed(self) -> Replica:
        """The replica as money sees it."""
        of = self.of.cell.replica
        power = self.values.get(f"accelerators.{of.accelerator.name}{_IT_POWER}")
        lib = self.of.context.catalog if power is None else Varied(self.of.context.catalog, {f"accelerators.{of.accelerator.name}{_IT_POWER}": power})
        accelerator = lib.accelerator(of.accelerator.name)
        if np.ndim(self.served["tdp_w"]):
            lib = Varied(
                lib, {f"accelerators.{of.accelerator.name}.tdp": self.served["tdp_w"] / of.accelerator.need("tdp").si * of.accelerator.need("tdp").value}
            )
            accelerator = lib.accelerator(of.accelerator.name)
        return cast(Replica, _Installed(of.accelerators, of.system, accelerator, {"power_idle_fraction": self.served["idle_fraction"]}))

    @functools.cached_property
    def point(self) -> Point:
        """The operating point, its columns arrays or numbers."""
        return Point(self.served)

    @functools.cached_property
    def price_factor(self) -> Any:
        """Price of tokens in the year asked about over that of the first day."""
        asked = self.of.asked
        change = self.of.number_of(self.of.study, "price_change_fraction_per_year", self.values, asked.price_change_fraction_per_year)
        return compounded(change, asked.years)

    @functools.cached_property
    def money(self) -> dict[str, Any]:
        """Cost, revenue and margin of the replica."""
        terms, served = self.terms, self.served
        cost = self._cost(terms)
        tokens = (served["input_tokens_per_s"] + served["output_tokens_per_s"]) * terms.occupancy
        found: dict[str, Any] = {"replica_cost_usd_per_h": cost, "cost_usd_per_mtok": cost_per_mtok_usd(cost, tokens)}
        revenue = terms.revenue_usd_per_h(self.installed, goodput_of(self.point))
        if revenue is None:
            return found
        revenue = revenue * (self.price_factor if terms.token is not None else 1.0)
        overhead = self.of.asked.overhead_fraction
        if overhead is None:
            overhead = terms.catalog.ownership(terms.owner).figures.overhead_share.si
        return found | {
            "revenue_usd_per_h": revenue,
            "margin_fraction": margin_fraction(revenue, cost),
            "operating_margin_fraction": operating_margin_fraction(revenue, cost, overhead),
        }

    def _cost(self, terms: Money) -> Any:
        """Cost of the replica per hour on some terms; NaN where it does not run."""
        power_w = np.asarray(self.served["power_w"])
        if terms.rents and terms.hour is not None and np.ndim(np.asarray(terms.hour.price)):
            power_w = np.broadcast_to(power_w, self.count)
        cost = terms.replica_cost_usd_per_h(self.installed, power_w)
        return np.where(np.isnan(power_w), math.nan, cost)

    # A fleet

    @functools.cached_property
    def fleet(self) -> dict[str, Array]:
        """The fleet for the demand study's demand, sized anew under each draw."""
        plans = [self._plan(place) for place in range(self.count)]
        return {
            name: np.array([math.nan if plan is None else getattr(plan, "accelerators" if name == "fleet_accelerators" else name) for plan in plans], float)
            for name in OF_FLEET
        }

    def _plan(self, place: int) -> FleetPlan | None:
        """The fleet of one draw; None where the case does not run."""
        one = {key: float(value[place]) for key, value in self.values.items()}
        served = {name: float(np.asarray(value)[place]) if np.ndim(value) else float(value) for name, value in self.served.items()}
        if math.isnan(served["output_tokens_per_s"]):
            return None
        asked = self._demand_study(one)
        own, of = self.of.cell.money, self.of.cell.replica
        figures = {key: value for key, value in one.items() if key.split(".")[0] in ("ownership", "sites", "accelerators")}
        lib = Varied(own.catalog, figures)
        changed = {name: _at(getattr(self.terms, name), place) for name in _MONEY_KEYS}
        hour = own.hour if self.terms.hour is None else self.terms.hour.model_copy(update={"price": _at(self.terms.hour.price, place)})
        installed = _Installed(of.accelerators, of.system, lib.accelerator(of.accelerator.name), {"power_idle_fraction": served["idle_fraction"]})
        cell = Cell(self.of.case, self.of.cell.situation, cast(Replica, installed), dataclasses.replace(own, catalog=lib, hour=hour, **changed))
        point = Point(served)
        return sized(cell, point, demand_of(asked, point, self._peak_to_mean(asked, one)), asked)

    def _peak_to_mean(self, asked: DemandStudy, one: Mapping[str, float]) -> float:
        """Peak over mean as the study gives it, or that of its shape's hours, which its figure's uncertainty scales."""
        if asked.peak_to_mean is not None:
            return asked.peak_to_mean
        assert asked.shape is not None
        figure = self.of.context.catalog.shape(asked.shape).figures.peak_to_mean
        drawn = one.get(f"shapes.{self.of.context.catalog.shape(asked.shape).name}.peak_to_mean", figure.value)
        return max(self.of.shape_peak_to_mean_ratio * drawn / figure.value, 1.0)

    def _demand_study(self, one: Mapping[str, float]) -> DemandStudy:
        """The demand study with what varies of it at one draw's values."""
        name = self.of.asked.fleet
        asked = self.of.context.scenario.studies[name] if name is not None else None
        assert isinstance(asked, DemandStudy)
        prefix = f"studies.{name}."
        changed: dict[str, Any] = {key.removeprefix(prefix): value for key, value in one.items() if key.startswith(prefix)}
        changed |= {key: (changed[key],) for key in ("tokens_per_day", "requests_per_day") if key in changed}
        return asked.model_copy(update=changed)

    # An investment

    @functools.cached_property
    def net_present_value_usd(self) -> Array:
        """Net present value of the cash-flow study's fleet; draws whose equipment lives equally many quarters go together."""
        name = self.of.asked.investment
        asked = self.of.context.scenario.studies[name] if name is not None else None
        assert isinstance(asked, CashFlowStudy)
        prefix = f"studies.{name}."
        changed = {key.removeprefix(prefix): value for key, value in self.values.items() if key.startswith(prefix)}
        terms = self.terms
        owner = ownership_terms(terms.catalog.ownership(terms.owner).figures)
        life = changed.pop("equipment_life_years", owner.server_life_years if asked.equipment_life_years is None else asked.equipment_life_years)
        quarters = np.broadcast_to(np.round(np.asarray(life, float) * QUARTERS), self.count)
        whole = _Whole(asked.model_copy(update=changed), self._of_money(), quarters)
        return whole.net_present_value_usd()

    def _of_money(self) -> Served:
        """The case as the studies of capital take it."""
        terms, served = self.terms, self.served
        at_load, idle = (self._cost(dataclasses.replace(terms, occupancy=share)) for share in (1.0, 0.0))
        mtok_per_h = (served["input_tokens_per_s"] + served["output_tokens_per_s"]) * SECONDS_PER_HOUR / TOKENS_PER_MTOK
        prices = terms.token_prices
        if prices is not None:
            full: Any = token_revenue_usd_per_h(goodput_of(self.point), prices)
        else:
            full = dataclasses.replace(terms, occupancy=1.0).hours_usd_per_h(self.installed)
        return Served(Cell(self.of.case, self.of.cell.situation, self.installed, terms), self.point, mtok_per_h, idle, at_load - idle, full)


@dataclass(frozen=True)
class _Whole:
    """A cash-flow study of one case under draws, with the quarters that its equipment lives."""

    asked: CashFlowStudy
    one: Served
    quarters: Array

    def net_present_value_usd(self) -> Array:
        """Present value of the flows, shape of `quarters`."""
        if self.asked.refresh is not None:
            raise InputError("a refresh is not drawn: name a cash-flow study without one", key="investment")
        found = np.empty(self.quarters.shape)
        fleet, rate = fleet_of(self.one, self.asked.fleet_accelerators), cost_of_capital(self.asked, self.one)
        for quarters in np.unique(self.quarters):
            chosen = self.quarters == quarters
            periods = int(quarters) if self.asked.years is None else round(self.asked.years * QUARTERS)
            course = dataclasses.replace(course_of(self.asked, self.one, periods), equipment_life_years=float(quarters) / QUARTERS)
            flow = cash_flow(_chosen(fleet, chosen), _chosen(course, chosen))
            per_quarter = compounded(_at(rate, chosen), 1.0 / QUARTERS) - 1.0
            found[chosen] = present_values_usd(flow.net_usd, per_quarter)
        return found


def demand_of(asked: DemandStudy, point: Point, peak_to_mean_ratio: float) -> Demand:
    """The demand of a study for the point's lengths; InputError where it is none of tokens or requests, or bursts are to be found by simulation."""
    given = asked.tokens_per_day or asked.requests_per_day or ()
    if asked.trace is not None or asked.users is not None or len(given) != 1:
        raise InputError("a fleet that is sized draw by draw needs one demand, in tokens_per_day or requests_per_day, and no trace", key="fleet")
    if asked.headroom_fraction is None:
        raise InputError("a fleet that is sized draw by draw is not simulated: give its demand study a headroom_fraction for bursts", key="fleet")
    return demands_of(asked, point, peak_to_mean_ratio)[0].demand


def _largest(of: Replica, shape: tuple[Any, Any, Any], ttft_s: Any, tpot_s: Any) -> Any:
    """The largest concurrency within each draw's own latency targets; 0 where there is none."""
    from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
    from accelmodel.serving.targets import LARGEST_CONCURRENCY

    if all(np.ndim(value) == 0 for value in shape):
        return _largest_of_one_shape(of, shape, ttft_s, tpot_s)
    input_tokens, output_tokens, hit, ttft, tpot = _flat(*shape, ttft_s, tpot_s)
    rows = [OUTPUTS.index(name) for name in ("time_to_first_token_s", "time_per_output_token_s", "waiting_requests", "fits")]
    low, high = np.zeros(ttft.shape), np.full(ttft.shape, LARGEST_CONCURRENCY + 1.0)
    for _ in range(_HALVINGS):
        middle = np.maximum((low + high) // 2.0, 1.0)
        out = closed_loop(of.constants, Grid.of(input_tokens, output_tokens, middle, hit), 1, of.capped_constants)
        first, per_token, waiting, fits = (out[row] for row in rows)
        within = (fits == 1.0) & (waiting == 0.0) & (first <= ttft) & (per_token <= tpot)
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return low


def _largest_of_one_shape(of: Replica, shape: tuple[float, float, float], ttft_s: Any, tpot_s: Any) -> Any:
    """The same where all requests are of one shape: latencies at every concurrency once, and each draw's targets looked up in them."""
    from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
    from accelmodel.serving.targets import largest_concurrency

    one = [np.array([value], float) for value in shape]
    loosest = [float(np.max(target)) for target in (ttft_s, tpot_s)]
    most = int(largest_concurrency(of.constants, *one, ttft_s=loosest[0], tpot_s=loosest[1], capped=of.capped_constants)[0, 0])
    grid = Grid.of(one[0], one[1], np.arange(1.0, most + 1.0), one[2])
    out = closed_loop(of.constants, grid, 1, of.capped_constants)
    found: Any = most
    for name, target in (("time_to_first_token_s", ttft_s), ("time_per_output_token_s", tpot_s)):
        found = np.minimum(found, np.searchsorted(out[OUTPUTS.index(name)], target, side="right"))
    return np.asarray(found, float)


def _flat(*values: Any) -> list[Array]:
    """Values as contiguous arrays of their common shape, at least one long."""
    return [np.ascontiguousarray(value, dtype=float) for value in np.broadcast_arrays(*(np.atleast_1d(value) for value in values))]


def _at(value: Any, chosen: Any) -> Any:
    """One draw, or the chosen ones, of what may be an array; a number as it is."""
    return value[chosen] if np.ndim(value) else value


def _chosen(of: Any, chosen: Any) -> Any:
    """A record with the chosen draws of its arrays."""
    return dataclasses.replace(of, **{name: value[chosen] for name, value in vars(of).items() if isinstance(value, np.ndarray) and value.ndim})
