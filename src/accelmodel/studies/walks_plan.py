"""The identities of a plan and its parts: systems, capital, running cost, revenue and replicas by system, site and workload, down to prices and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from accelmodel.fleet.plan_model import HOURS_PER_QUARTER, QUARTERS_PER_YEAR, SECONDS_PER_QUARTER
from accelmodel.studies.equations import Term, Walk, figure, given, made, summed, total
from accelmodel.studies.plan import cohorts, planned
from accelmodel.studies.run import Context
from accelmodel.studies.scenario import PlanPart, PlanStudy
from accelmodel.studies.terms import PointTerms
from accelmodel.studies.walks_money import Rows, asked_for, of_point, symbol

_LEAST = 1e-9  # of a system or a share, below which the solver has left none
_DRAWN = "round({} * each * 1000000000) / 1000000000"  # a share of a system that the solver has left is no power
_INPUTS = ("input_tokens", "output_tokens", "prefix_hit_fraction", "concurrency")


def of_plan(context: Context, asked: PlanStudy, rows: Rows, number: int) -> Walk:
    """A quarter."""
    return _Quarter(context, asked, number).walk(rows[number])


def of_plan_part(context: Context, asked: PlanPart, rows: Rows, number: int) -> Walk:
    """A row of one of the closer looks."""
    row, of = rows[number], context.scenario.studies[asked.of]
    assert isinstance(of, PlanStudy)
    if asked.part == "bound":
        before = given("before_usd", rows[number - 1]["present_cost_usd"] if number else row["present_cost_usd"], "the step before", "USD")
        return Walk(row, {"added_usd": "present_cost_usd - before_usd"}, {"before_usd": lambda: before})
    if asked.part == "single-systems":
        first = given("plan_usd", rows[0]["present_cost_usd"], "the plan's present cost", "USD")
        return Walk(row, {"saving_fraction": "1 - plan_usd / present_cost_usd"}, {"plan_usd": lambda: first})
    if asked.part not in ("sites", "workloads"):
        return Walk(row, {}, {})  # what the solver and the simulator find has no parts
    quarter = _Quarter(context, of, planned(context, of)[0].problem.quarters.index(row["quarter"]))
    return quarter.at_site(row) if asked.part == "sites" else quarter.of_workload(row)


class _Quarter:
    """Terms of one quarter of a plan."""

    def __init__(self, context: Context, asked: PlanStudy, t: int) -> None:
        self.context, self.asked, self.t = context, asked, t
        self.made, proven = planned(context, asked)
        self.plan, self.problem = proven.plan, proven.plan.problem
        self.points: dict[tuple[int, int], PointTerms] = {}
        self.years = given("years", t / QUARTERS_PER_YEAR, "from the first quarter to this one", "year")

    def walk(self, row: Mapping[str, Any]) -> Walk:
        """The quarter's row."""
        plan, t = self.plan, self.t
        equations = {
            "cost_usd": "running_cost_usd + capital_charge_usd",
            "cost_usd_per_mtok": "cost_usd / served_mtok",
            "margin_fraction": "1 - cost_usd / revenue_usd",
        }
        in_place, delivered, retired = (getattr(plan, name)[:, :, t] for name in ("in_place", "delivered", "retired"))
        makers: dict[str, Callable[[], Term]] = {
            "systems": lambda: self._sum("systems", self._counts(in_place, "in place"), "round({})"),
            "delivered_systems": lambda: self._sum("delivered_systems", self._counts(delivered, "delivered"), "round({})"),
            "retired_systems": lambda: self._sum("retired_systems", self._counts(retired, "retired"), "round({})"),
            "fleet_accelerators": lambda: self._sum("fleet_accelerators", self._each(in_place, "in place", self.accelerators), "round({})"),
            "it_power_mw": lambda: self._sum("it_power_mw", self._each(in_place, "in place", self.it_mw)),
            "capital_usd": lambda: self._sum("capital_usd", self._each(delivered, "delivered", partial(self.capital, t=t))),
            "running_cost_usd": lambda: self._sum("running_cost_usd", [*self._holdings(in_place), *self._loads()]),
            "capital_charge_usd": lambda: self._sum("capital_charge_usd", self._charges()),
            "served_fraction": self._served_fraction,
            "served_mtok": lambda: self._sum("served_mtok", (self._served_mtok(w) for w in range(len(self.made.demanded)))),
            "revenue_usd": lambda: self._sum("revenue_usd", (self._revenue(w) for w in range(len(self.made.demanded)))),
        }
        return Walk(row, equations, makers)

    def _sum(self, name: str, terms: Any, text: str = "{}", of_unit: str | None = None) -> Term:
        """The sum of terms, each by its name as a symbol; what is nowhere is none."""
        parts = {symbol(term.name): term for term in terms}
        return summed(name, parts, text, of_unit)

    # Systems

    def _where(self, count: Any) -> Iterator[tuple[int, int, str]]:
        for s, k in np.argwhere(np.abs(count) > _LEAST):
            yield int(s), int(k), f"{self.problem.systems[s]} at {self.problem.sites[k]}"

    def _counts(self, count: Any, what: str) -> Iterator[Term]:
        for s, k, where in self._where(count):
            yield given(where, float(count[s, k]), f"systems {what}, of the plan")

    def _each(self, count: Any, what: str, each: Callable[[int], Term], text: str = "systems * each") -> Iterator[Term]:
        """Systems at each site times what each is or costs."""
        for (s, _, where), systems in zip(self._where(count), self._counts(count, what), strict=True):
            of = each(s)
            yield made(where, text, {"systems": systems, "each": of}, of_unit=of.unit)

    def accelerators(self, s: int) -> Term:
        """In a system."""
        system = self.context.catalog.system(self.problem.systems[s])
        return given(f"accelerators of {system.name}", system.accelerators, system.title, "accelerator")

    def it_mw(self, s: int) -> Term:
        """All-in IT power of a system."""
        accelerator = self.context.catalog.accelerator(self.context.catalog.system(self.problem.systems[s]).accelerator)
        parts = {"accelerators": self.accelerators(s), "it_power": figure(f"{accelerator.name}: it_power", accelerator.need("it_power"))}
        parts["power_diversity_fraction"] = asked_for(self.asked, "power_diversity_fraction")()
        text = "accelerators * it_power * power_diversity_fraction / 1000000"
        return made(f"IT power of {self.problem.systems[s]}", text, parts, float(self.problem.it_mw_per_system[s]), "MW")

    def point(self, w: int, s: int) -> PointTerms:
        """The operating point at which a workload's replica on a system stands."""
        if (w, s) not in self.points:
            cell, point = self.made.demanded[w].served[s]
            inputs = {name: given(name, getattr(point, name), f"workload '{self.made.demanded[w].name}' of the plan") for name in _INPUTS[:3]}
            inputs["concurrency"] = Term("concurrency", point.concurrency, "request", "the load that the latency targets allow", kind="solved")
            self.points[w, s] = PointTerms(cell.replica, cell.money, point, inputs)
        return self.points[w, s]

    def _some(self, s: int) -> PointTerms:
        """A replica on a system: what it costs to own or to rent is the same for all; as the plan has it, the last one's."""
        return self.point(max(w for w, one in enumerate(self.made.demanded) if s in one.served), s)

    def _at_site(self, point: PointTerms, k: int) -> PointTerms:
        return PointTerms(point.replica, dataclasses.replace(point.money, site=self.problem.sites[k]), point.point, point.inputs)

    def _price_factor(self, s: int, t: int) -> Term:
        system = list(self.asked.systems.values())[s]
        parts = {"change": given("price_change_fraction_per_year", system.price_change_fraction_per_year, "[studies.*.systems.*]", "1")}
        parts["years"] = dataclasses.replace(self.years, value=t / QUARTERS_PER_YEAR)
        return made("price over that of the first quarter", "(1 + change) ** years", parts)

    def capital(self, s: int, t: int) -> Term:
        """A system delivered in a quarter, with its share of the spares."""
        value = float(self.problem.capital_usd[s, t])
        name = f"a system and its spares in {self.problem.quarters[t]}"
        if self._some(s).money.rents:
            return given(name, value, "rented: nothing is bought", "USD")
        hour = self._some(s).owned_hour()
        names = ("purchase_usd", "network_usd", *(("integration_share",) if "integration_share" in hour.makers else ()))
        parts = {one: hour.term(one) for one in names} | {"accelerators": self.accelerators(s), "price_factor": self._price_factor(s, t)}
        parts["spares_fraction"] = given("spares beside each system", float(self.problem.spare_fraction[s]), "stock for failed ones, see docs/plan.md", "1")
        racks = " + purchase_usd * integration_share" if "integration_share" in parts else ""
        text = f"accelerators * price_factor * (purchase_usd + network_usd{racks} + spares_fraction * purchase_usd)"
        return made(name, text, parts, value, "USD")

    # A quarter's cost

    def _holdings(self, in_place: Any) -> Iterator[Term]:
        for (s, k, where), systems in zip(self._where(in_place), self._counts(in_place, "in place"), strict=True):
            yield made(f"{where} without load", "systems * each", {"systems": systems, "each": self._holding(s, k)}, of_unit="USD")

    def _holding(self, s: int, k: int) -> Term:
        """A system in place for a quarter: rent, or idle energy, upkeep and building."""
        some, value = self._some(s), float(self.problem.holding_usd[s, k, self.t])
        hours = {"hours": given("hours of a quarter", HOURS_PER_QUARTER, "a fourth of 8,760", "h"), "accelerators": self.accelerators(s)}
        if some.money.rents:
            assert some.money.hour is not None
            parts = hours | {"price": some.hour_price(some.money.hour), "price_factor": self._price_factor(s, self.t)}
            text = "price * price_factor * hours" + ("" if some.money.hour.system else " * accelerators")
            return made("rent of a system", text, parts, value, "USD")
        hour = self._at_site(some, k).owned_hour(0.0)
        parts = hours | {name: hour.term(name) for name in ("running_usd_per_h", "facility_capital_usd_per_h")}
        return made("a system without load", "(running_usd_per_h + facility_capital_usd_per_h) * accelerators * hours", parts, value, "USD")

    def _loads(self) -> Iterator[Term]:
        """What load adds to the energy, by system and site."""
        share, usd = self.plan.share[..., self.t], self.problem.load_usd[..., self.t]
        for s, k, where in self._where((share * usd).sum(0)):
            loads = (self._load(int(w), s, k) for w in np.flatnonzero(share[:, s, k] * usd[:, s, k]))
            yield self._sum(f"energy of load on {where}", loads, of_unit="USD")

    def _load(self, w: int, s: int, k: int) -> Term:
        point, name = self.point(w, s), self.problem.workloads[w]
        loaded, idle = (self._at_site(point, k).owned_hour(occupancy).term("energy_usd_per_h") for occupancy in (1.0, 0.0))
        parts = {"loaded": loaded, "idle": idle, "accelerators": point.accelerators(), "busy_replicas": self._busy(w, s, k)}
        parts["hours"] = given("hours of a quarter", HOURS_PER_QUARTER, "a fourth of 8,760", "h")
        value = float(self.plan.share[w, s, k, self.t] * self.problem.load_usd[w, s, k, self.t])
        return made(name, "busy_replicas * accelerators * (loaded - idle) * hours", parts, value, "USD")

    def _busy(self, w: int, s: int, k: int) -> Term:
        parts = {"share": given("share of the workload", float(self.plan.share[w, s, k, self.t]), "of the plan", "1")}
        parts |= {"mean_requests_per_s": self._mean_rate(w), "goodput": self.goodput(w, s)}
        return made("replicas busy in the mean", "share * mean_requests_per_s / goodput", parts)

    def goodput(self, w: int, s: int) -> Term:
        """Requests a second that a replica carries."""
        point = self.point(w, s)
        parts = {name: point.term(name) for name in ("output_tokens_per_s", "output_tokens")}
        text = "output_tokens_per_s / output_tokens"
        return made("replica_goodput_requests_per_s", text, parts, float(self.problem.goodput_requests_per_s[w, s]))

    def _charges(self) -> Iterator[Term]:
        """Annuities of what is in place, by system and the quarter whose price it bears."""
        for number, (c, kept) in enumerate(cohorts(self.plan, self.t)):
            since = f"delivered in {self.problem.quarters[c]}" if number <= self.t else "there at the beginning"
            for s in np.flatnonzero(kept.sum(1) * self.made.worth.charge):
                systems = given("systems", float(kept[s].sum()), f"of the plan, {since}")
                parts = {"systems": systems, "each": self._annuity(int(s), c)}
                yield made(f"{self.problem.systems[s]} {since}", "systems * each", parts, of_unit="USD")

    def _annuity(self, s: int, c: int) -> Term:
        rate = self.problem.discount_fraction_per_quarter
        whole = float(self.problem.capital_usd[s, c])
        value = whole * float(self.made.worth.charge[s])
        parts = {"capital_usd": self.capital(s, c), "rate": self._rate(), "life": given("life", float(self.problem.life_quarters[s]), "of a system", "quarter")}
        salvage = float(self.problem.resale_usd[s, c] / self.problem.price_usd[s, c])
        parts["salvage"] = given("salvage", salvage, "residual value less removal, of the price; the owner's", "1")
        paid = "(1 - salvage * (1 + rate) ** -life) * rate / (1 - (1 + rate) ** -life)" if rate else "(1 - salvage) / life"
        return made("annuity of a quarter", f"capital_usd * {paid}", parts, value if whole else None, "USD")

    def _rate(self) -> Term:
        owner = self.made.demanded[0].some[0].money.owner
        own = figure(f"owner {owner}: cost_of_capital", self.context.catalog.ownership(owner).figures.cost_of_capital)
        asked = self.asked.cost_of_capital_fraction
        part = own if asked is None else asked_for(self.asked, "cost_of_capital_fraction")()
        value = self.problem.discount_fraction_per_quarter
        return made("rate a quarter", "(1 + cost_of_capital) ** (1 / 4) - 1", {"cost_of_capital": part}, value)

    # Demand

    def _mean_rate(self, w: int) -> Term:
        """Requests a second in the mean."""
        one = self.made.demanded[w]
        demanded = one.asked.tokens_per_day
        tokens = demanded[self.t] if isinstance(demanded, tuple) else demanded
        asked = given("tokens_per_day", tokens, f"workload '{one.of}'")
        parts = (asked, given("growth_fraction_per_year", one.asked.growth_fraction_per_year, "the same", "1"), self.years)
        words = "tokens a day, grown, / tokens of a request / 86400" + ("" if one.name == one.of else ", the slice's share of the requests")
        return Term("requests a second in the mean", float(one.mean_requests_per_s[self.t]), "request/s", words, parts)

    def _served(self, w: int) -> dict[str, Term]:
        unserved = given("share that is not served", float(self.plan.unserved[w, self.t]), "of the plan", "1")
        return {
            "unserved": unserved,
            "mean_requests_per_s": self._mean_rate(w),
            "seconds": given("seconds of a quarter", SECONDS_PER_QUARTER, "of 2,190 h", "s"),
        }

    def _served_mtok(self, w: int) -> Term:
        point = self.point(w, next(iter(self.made.demanded[w].served)))
        parts = self._served(w) | {name: point.term(name) for name in _INPUTS[:2]}
        text = "(1 - unserved) * mean_requests_per_s * seconds * (input_tokens + output_tokens) / 1000000"
        return made(self.problem.workloads[w], text, parts, of_unit="Mtok")

    def _revenue(self, w: int) -> Term:
        point = self.point(w, next(iter(self.made.demanded[w].served)))
        of = of_point(point)
        parts = (
            self._served(w)
            | {name: of[name]() for name in ("revenue_usd_per_h", "occupancy", "output_tokens_per_s")}
            | {
                "output_tokens": point.term("output_tokens"),
                "change": asked_for(self.asked, "price_change_fraction_per_year")(),
                "years": self.years,
            }
        )
        text = "revenue_usd_per_h / occupancy / 3600 / (output_tokens_per_s / output_tokens) * (1 + change) ** years"
        usd = made("revenue of a request", text, parts, float(self.problem.revenue_usd_per_request[w, self.t]), "USD/request")
        return made(self.problem.workloads[w], "(1 - unserved) * mean_requests_per_s * seconds * each", parts | {"each": usd}, of_unit="USD")

    def _served_fraction(self) -> Term:
        """Requests served over those demanded, of all workloads."""
        demanded, served = {}, {}
        for w, name in enumerate(self.problem.workloads):
            of = self._served(w)
            demanded[symbol(name)] = of["mean_requests_per_s"]
            served[f"{symbol(name)}_served"] = made(f"{name} served", "(1 - unserved) * mean_requests_per_s", of, of_unit="request/s")
        return made("served_fraction", f"({total(served)}) / ({total(demanded)})", served | demanded)

    # Parts

    def at_site(self, row: Mapping[str, Any]) -> Walk:
        """A system at a site."""
        s, k = self.problem.systems.index(row["system"]), self.problem.sites.index(row["site"])
        here = self.plan.in_place[:, :, self.t].copy()
        here[:, [other for other in range(len(self.problem.sites)) if other != k]] = 0.0
        systems = given("systems in place", float(here[s, k]), "of the plan")
        equations = {"fleet_accelerators": "round(systems_in_place * accelerators)", "it_power_mw": _DRAWN.format("systems_in_place")}
        return Walk(
            row,
            equations,
            {
                "systems_in_place": lambda: systems,
                "accelerators": lambda: self.accelerators(s),
                "each": lambda: self.it_mw(s),
                "site_it_power_mw": lambda: self._sum("site_it_power_mw", self._each(here, "in place", self.it_mw, _DRAWN.format("systems"))),
                "site_it_power_limit_mw": lambda: given(
                    "site_it_power_limit_mw", row["site_it_power_limit_mw"], "[studies.*.sites.*] power, facility_mw / PUE"
                ),
            },
        )

    def of_workload(self, row: Mapping[str, Any]) -> Walk:
        """A workload on a system."""
        w, s = self.problem.workloads.index(row["workload"]), self.problem.systems.index(row["system"])
        reserves = self.problem.reserves
        factors = [field.name for field in dataclasses.fields(reserves)]
        terms = {
            name: given(
                name,
                float(getattr(reserves, name)[w, s] if name == "proof" else getattr(reserves, name)[w, s, self.t]),
                "replicas installed for each, see docs/plan.md",
            )
            for name in factors
        }
        peak = given("peak_of_workload", float(self.problem.peak_requests_per_s[w, self.t]), "its mean x peak over mean", "request/s")
        equations = {
            "peak_requests_per_s": "share_fraction * peak_of_workload",
            "lower_bound_replicas": "ceil(peak_requests_per_s / replica_goodput_requests_per_s)",
            "replicas_with_reserves": "peak_requests_per_s / replica_goodput_requests_per_s * reserve_factor",
            "reserve_factor": " * ".join(factors),
            "proof_factor": "proof",
        }
        makers: dict[str, Callable[[], Term]] = {name: partial(terms.__getitem__, name) for name in factors}
        goodput = {"replica_goodput_requests_per_s": lambda: self.goodput(w, s), "peak_of_workload": lambda: peak}
        return Walk(row, equations, makers | goodput)
