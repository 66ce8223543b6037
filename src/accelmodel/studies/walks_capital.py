"""The identities of the studies of capital over time: a fleet's first day, its cash by quarter, what it is worth, and whether a refresh pays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from accelmodel.economics.curves import ramp_fraction
from accelmodel.economics.depreciation import macrs_fractions
from accelmodel.economics.offers import block
from accelmodel.fleet.sizing import ReplicaSupply, replicas_in
from accelmodel.studies import capital, cash_flow, refresh
from accelmodel.studies.capital import QUARTERS, Leg, OverTime, running
from accelmodel.studies.equations import Maker, Term, Walk, figure, given, made, summed, total
from accelmodel.studies.fleet import goodput_of
from accelmodel.studies.run import Context
from accelmodel.studies.scenario import CapitalStudy, CashFlowStudy, RefreshStudy
from accelmodel.studies.terms import PointTerms, terms_at
from accelmodel.studies.walks_money import CAPACITY, PURCHASE_AT, Rows, asked_for, bound, case_named, hour_of, of_point

_FLOWS = ("revenue", "proceeds", "investment", "energy", "upkeep", "tax")
_NET = "revenue_usd + proceeds_usd - investment_usd - energy_usd - upkeep_usd - tax_usd"
_MACRS = macrs_fractions(5)


def of_cash_flow(context: Context, asked: CashFlowStudy, rows: Rows, number: int) -> Walk:
    """A case's quarter."""
    row, before = rows[number], rows[number - 1]
    flows = _Flows(context, asked, cash_flow.legs(context, asked, running(context, case_named(context, row["case"]))))
    equations = {
        "time_years": "period / 4",
        "cash_flow_usd": _NET,
        "discounted_cash_flow_usd": "cash_flow_usd / (1 + cost_of_capital) ** time_years",
        "cumulative_cash_flow_usd": "cumulative_before_usd + cash_flow_usd" if row["period"] else "cash_flow_usd",
    }
    makers: dict[str, Maker] = {f"{name}_usd": partial(flows.flow, f"{name}_usd", row["period"]) for name in _FLOWS}
    makers |= {"served_mtok": partial(flows.flow, "served_mtok", row["period"]), "cost_of_capital": flows.cost_of_capital}
    makers["cumulative_before_usd"] = lambda: given("cumulative cash flow", before["cumulative_cash_flow_usd"], "of the quarter before", "USD")
    return Walk(row, equations, makers)


def of_capital(context: Context, asked: CapitalStudy, rows: Rows, number: int) -> Walk:
    """A case's fleet with equipment of one life."""
    row = rows[number]
    flows = _Flows(context, asked, [capital.leg(asked, running(context, case_named(context, row["case"])), row["life_years"])])
    equations = flows.equations | {
        "profitability_index": "1 + net_present_value_usd / present_investment_usd",
        "present_cost_usd": "present_investment_usd + present_energy_usd + present_upkeep_usd + present_tax_usd - present_proceeds_usd",
        "levelised_cost_usd_per_accelerator_h": "present_cost_usd / present_accelerator_h",
        "levelised_cost_usd_per_mtok": "present_cost_usd / present_served_mtok",
    }
    makers = flows.makers | {
        "investment_usd": lambda: flows.summed("investment_usd", "{}", False),
        "fleet_accelerators": asked_for(asked, "fleet_accelerators"),
    }
    words = {
        "internal_rate_of_return_fraction": "the yearly rate at which the present value of the quarters' cash flows is 0",
        "payback_years": "years until the quarters' cash flows have paid back",
        "discounted_payback_years": "years until the quarters' cash flows, discounted, have paid back",
    }
    makers |= {name: partial(flows.in_words, name, row[name], text) for name, text in words.items()}
    return Walk(row, equations, makers)


def of_refresh(context: Context, asked: RefreshStudy, rows: Rows, number: int) -> Walk:
    """An option over a horizon: what is kept, or what takes its place on the same power."""
    row = rows[number]
    kept = next(one for one in rows if one["horizon_years"] == row["horizon_years"])
    one, is_kept = running(context, case_named(context, row["case"])), row is kept
    flows = _Flows(context, asked, [refresh.leg(asked, one, row["horizon_years"], row["fleet_accelerators"], is_kept=is_kept)])
    [first_day] = flows.first_days
    sold = "capacity_mtok_per_h * occupancy / accelerators"
    equations = {**flows.equations, **first_day.walk.equations}
    equations |= {
        "it_power_mw": "fleet_accelerators * it_power / 1000000",
        "fleet_accelerators": "floor(kept_accelerators * kept_it_power / it_power)",
        "served_mtok_per_mwh": "mtok_per_year / (it_power_mw * 8760)",
        "running_cost_usd_per_mtok": f"running_usd_per_h / ({sold} * availability)",
        "capital_cost_usd_per_mtok": f"equipment_usd_per_h / ({sold} * availability)",
        "cost_usd_per_mtok": "running_cost_usd_per_mtok + capital_cost_usd_per_mtok",
        "margin_usd_per_mw_year": "(revenue_usd_per_year / mtok_per_year - cost_usd_per_mtok) * mtok_per_year / it_power_mw",
        "purchase_at_parity_usd": f"max({PURCHASE_AT.format(f'kept_cost_usd_per_mtok * {sold} * availability + facility_capital_usd_per_h')}, 0)",
        "refresh_pays_per_token": "cost_usd_per_mtok < kept_cost_usd_per_mtok",
        "refresh_pays": "net_present_value_usd > kept_present_value_usd",
    }
    makers = {**first_day.walk.makers, **flows.makers}
    makers |= {
        "kept_accelerators": asked_for(asked, "fleet_accelerators"),
        "kept_it_power": lambda: terms_at(context, running(context, asked.keep).cell, {}).owned_hour().term("it_power"),
        "kept_cost_usd_per_mtok": lambda: given("cost of what is kept", kept["cost_usd_per_mtok"], "cost_usd_per_mtok of its row", "USD/Mtok"),
        "kept_present_value_usd": lambda: given("present value of what is kept", kept["net_present_value_usd"], "net_present_value_usd of its row", "USD"),
    }
    if is_kept:
        del equations["fleet_accelerators"], equations["capital_cost_usd_per_mtok"]
        makers["fleet_accelerators"] = makers["kept_accelerators"]
        makers["capital_cost_usd_per_mtok"] = lambda: given("capital_cost_usd_per_mtok", 0.0, "what is kept has been paid for")
    return Walk(row, equations, makers)


class _FirstDay:
    """Terms of a fleet on its first day: what it costs to buy, and what it earns, takes and makes in a year at full ramp."""

    def __init__(self, context: Context, leg: Leg) -> None:
        self.leg = leg
        self.point: PointTerms = terms_at(context, leg.served.cell, {})
        rents = self.point.money.rents
        up = "" if rents else " * availability"
        equations = CAPACITY | {
            "revenue_usd_per_year": f"revenue_usd_per_h * 8760{up} * replicas",
            "mtok_per_year": f"capacity_mtok_per_h * occupancy * 8760{up} * replicas",
            "accelerator_h_per_year": f"fleet_accelerators * 8760{up}",
            "unloaded_energy_usd_per_year": "fleet_accelerators * (idle_energy_usd_per_h + demand_usd_per_h) * 8760",
            "load_energy_usd_per_year": "fleet_accelerators * (energy_usd_per_h - idle_energy_usd_per_h) * 8760",
            "upkeep_usd_per_year": "fleet_accelerators * (running_usd_per_h - energy_usd_per_h - demand_usd_per_h) * 8760",
            "facility_usd": "fleet_accelerators * it_power * facility_cost",
        }
        makers = of_point(self.point) | {"replicas": self._replicas, "fleet_accelerators": lambda: given("fleet_accelerators", leg.accelerators, self._whose)}
        if rents:
            equations["upkeep_usd_per_year"] = "replica_cost_usd_per_h * 8760 * fleet_accelerators / accelerators"
            self.walk = Walk(self._values, equations, makers)
            return
        hour = self.point.owned_hour()
        racks = " + purchase_usd * integration_share" if "integration_share" in hour.makers else ""
        equations["equipment_usd"] = f"fleet_accelerators * (purchase_usd + network_usd{racks} + purchase_usd * spare_fraction)"
        names = ("energy_usd_per_h", "demand_usd_per_h", "network_usd", "integration_share", "spare_fraction", "facility_cost", "residual_fraction")
        makers |= hour_of(self.point) | {name: bound(hour.term, name) for name in (*names, "decommissioning_share", "facility_life", "server_life", "tax_rate")}
        makers["idle_energy_usd_per_h"] = lambda: self.point.owned_hour(0.0).term("energy_usd_per_h")
        self.walk = Walk(self._values, equations, makers)

    @property
    def _whose(self) -> str:
        return f"[studies.*]; case '{self.leg.served.cell.case}'"

    @property
    def _values(self) -> dict[str, float]:
        return {name: float(value) for name, value in vars(self.leg.fleet).items() if value}

    def _replicas(self) -> Term:
        of = self.point.replica
        supply = ReplicaSupply(of.accelerators, of.system.accelerators, goodput_of(self.leg.served.point))
        parts = (self.walk.term("fleet_accelerators"), self.point.accelerators())
        least = block(of.accelerators, of.system.accelerators)
        words = f"replicas that so many accelerators hold, {least.replicas} in {least.systems} systems of {of.system.accelerators}"
        return Term("replicas", replicas_in(self.leg.accelerators, supply), "1", words, parts)


@dataclass(frozen=True)
class _Batch:
    """Equipment bought at one time of a leg: the share of purchase `number`, or what takes its place at the end of its life."""

    number: int
    first: int
    end: int
    life: int

    @property
    def age(self) -> int:
        """Quarters until it goes."""
        return self.end - self.first

    def written_off(self, t: int) -> float:
        """Share of its price that is written off for tax at a time: by MACRS in equal quarters, what is left when it goes."""
        shares = [_MACRS[min(k // QUARTERS, 5)] / QUARTERS for k in range(min(self.age, 6 * QUARTERS))]
        now = shares[t - self.first - 1] if 0 < t - self.first <= len(shares) else 0.0
        return float(now + (1.0 - sum(shares) if t == self.end else 0.0))


class _Flows:
    """Terms of a cash flow by quarter, over those of its legs' first days."""

    def __init__(self, context: Context, asked: OverTime, legs: list[Leg]) -> None:
        self.context, self.asked, self.legs = context, asked, legs
        self._made: dict[tuple[str, int], Term] = {}
        self.first_days = [_FirstDay(context, leg) for leg in legs]
        self.periods = max(leg.course.periods for leg in legs)
        present = (*(f"{name}_usd" for name in _FLOWS), "served_mtok", "accelerator_h")
        self.equations = {"net_present_value_usd": " ".join(f"present_{word}" if word.endswith("_usd") else word for word in _NET.split())}
        self.makers: dict[str, Maker] = {f"present_{name}": partial(self.summed, name, "{} / (1 + cost_of_capital) ** years", True) for name in present}
        self.makers["cost_of_capital"] = self.cost_of_capital

    def cost_of_capital(self) -> Term:
        """As asked, else the owner's."""
        if self.asked.cost_of_capital_fraction is not None:
            return asked_for(self.asked, "cost_of_capital_fraction")()
        owner = self.context.catalog.ownership(self.legs[0].served.cell.money.owner)
        return figure(f"owner {owner.name}: cost_of_capital", owner.figures.cost_of_capital)

    def summed(self, name: str, text: str, is_discounted: bool) -> Term:
        """A flow summed over the quarters, discounted to the first day where asked for."""
        found = {}
        for t in range(self.periods + 1):
            flow = self.flow(name, t)
            if flow.value:
                parts = {name: flow} | ({"cost_of_capital": self.cost_of_capital(), "years": _years(t / QUARTERS)} if is_discounted else {})
                found[f"quarter_{t}"] = made(f"quarter {t}", text.format(name), parts, of_unit=flow.unit) if is_discounted else flow
        return summed(f"present {name}" if is_discounted else name, found, of_unit=_unit(name))

    def in_words(self, name: str, value: float | None, words: str) -> Term:
        """What follows from all cash flows and is no sum of them."""
        quarters = [{f"{flow}_usd": self.flow(f"{flow}_usd", t) for flow in _FLOWS} for t in range(self.periods + 1)]
        parts = tuple(made(f"cash flow of quarter {t}", _NET, flows, of_unit="USD") for t, flows in enumerate(quarters))
        return Term(name, value, "1" if name.endswith("fraction") else "year", words, (*parts, self.cost_of_capital()))

    def flow(self, name: str, t: int) -> Term:
        """A flow at one time: of the one leg that has it, or the sum over legs."""
        if (name, t) not in self._made:
            self._made[name, t] = self._flow(name, t)
        return self._made[name, t]

    def _flow(self, name: str, t: int) -> Term:
        maker: Callable[[_FirstDay, int], Term | None] = getattr(self, f"_{name}")
        found = [term for day in self.first_days if t <= day.leg.course.periods and (term := maker(day, t)) is not None]
        if len(found) == 1:
            return dataclasses.replace(found[0], name=name)
        parts = {f"{name}_{number}": term for number, term in enumerate(found, 1)}
        return summed(name, parts, of_unit=_unit(name))

    # What a quarter earns and takes; it comes at the quarter's end

    def _working(self, day: _FirstDay, t: int) -> Term:
        """Years of the fleet in the quarter."""
        shares = {f"share_{k + 1}": _share(k, share) for k, share, start in _purchases(day.leg) if start < t}
        return made("fleet in place for the quarter", f"({total(shares) or '0'}) / 4", shares, of_unit="year")

    def _loaded(self, day: _FirstDay, t: int) -> Term:
        """The same, of what is ramped."""
        parts: dict[str, Term] = {}
        ramped = []
        for k, share, start in _purchases(day.leg):
            if start < t:
                risen = float(ramp_fraction((t - 1 - start + 0.5) / QUARTERS, day.leg.course.ramp_years))
                ramp = given("ramp", risen, f"middle of the quarter over ramp_years {day.leg.course.ramp_years}")
                parts |= {f"share_{k + 1}": _share(k, share), f"ramp_{k + 1}": ramp}
                ramped.append(f"share_{k + 1} * ramp_{k + 1}")
        return made("fleet in place and ramped", f"({total(ramped) or '0'}) / 4", parts, of_unit="year")

    def _of_load(self, day: _FirstDay, t: int, per_year: str, name: str, *, priced: bool) -> Term | None:
        if not t or not day.walk.values.get(per_year) or not self._loaded(day, t).value:
            return None
        parts = {per_year: day.walk.term(per_year), "loaded_years": self._loaded(day, t), "years": _years((t - 1) / QUARTERS)}
        parts["speedup"] = asked_for(self.asked, "speedup_fraction_per_year")()
        text = f"{per_year} * loaded_years * (1 + speedup) ** years"
        if priced:
            parts["price_factor"] = self._price_factor(day, t)
        return made(name, text + (" * price_factor" if priced else ""), parts, of_unit=_unit(name))

    def _price_factor(self, day: _FirstDay, t: int) -> Term:
        years = (t - 1) / QUARTERS
        cuts = {f"cut_{n}": given("price cut", fraction, f"in year {year:g}") for n, (year, fraction) in enumerate(day.leg.course.price_cuts) if years >= year}
        parts = {"change": asked_for(self.asked, "price_change_fraction_per_year")(), "years": _years(years)} | cuts
        return made("price over that of the first day", "(1 + change) ** years" + "".join(f" * (1 - {cut})" for cut in cuts), parts)

    def _revenue_usd(self, day: _FirstDay, t: int) -> Term | None:
        return self._of_load(day, t, "revenue_usd_per_year", "revenue_usd", priced=True)

    def _served_mtok(self, day: _FirstDay, t: int) -> Term | None:
        return self._of_load(day, t, "mtok_per_year", "served_mtok", priced=False)

    def _energy_usd(self, day: _FirstDay, t: int) -> Term | None:
        if not t or not day.walk.values.get("unloaded_energy_usd_per_year") or not self._working(day, t).value:
            return None
        names = ("unloaded_energy_usd_per_year", "load_energy_usd_per_year")
        parts = {name: day.walk.term(name) for name in names} | {"working_years": self._working(day, t), "loaded_years": self._loaded(day, t)}
        return made("energy_usd", "unloaded_energy_usd_per_year * working_years + load_energy_usd_per_year * loaded_years", parts)

    def _of_work(self, day: _FirstDay, t: int, per_year: str, name: str) -> Term | None:
        if not t or not day.walk.values.get(per_year) or not self._working(day, t).value:
            return None
        parts = {per_year: day.walk.term(per_year), "working_years": self._working(day, t)}
        return made(name, f"{per_year} * working_years", parts, of_unit=_unit(name))

    def _upkeep_usd(self, day: _FirstDay, t: int) -> Term | None:
        return self._of_work(day, t, "upkeep_usd_per_year", "upkeep_usd")

    def _accelerator_h(self, day: _FirstDay, t: int) -> Term | None:
        return self._of_work(day, t, "accelerator_h_per_year", "accelerator_h")

    # What is bought, sold and written off

    def _price(self, day: _FirstDay, batch: _Batch) -> Term:
        course = day.leg.course
        parts = {"equipment_usd": day.walk.term("equipment_usd"), "share": _share(batch.number, course.purchase_fractions[batch.number])}
        parts |= {"change": asked_for(self.asked, "equipment_price_change_fraction_per_year")(), "years": _years(batch.first / QUARTERS)}
        parts["learning"] = given("learning", course.equipment_price_factor(batch.number), f"progress_fraction {course.progress_fraction}, per doubling")
        return made(f"equipment bought in quarter {batch.first}", "equipment_usd * share * learning * (1 + change) ** years", parts, of_unit="USD")

    def _of_facility(self, day: _FirstDay, share: float, k: int) -> dict[str, Term]:
        return {"facility_usd": day.walk.term("facility_usd"), "share": _share(k, share)}

    def _investment_usd(self, day: _FirstDay, t: int) -> Term | None:
        found = {f"equipment_{n}": self._price(day, batch) for n, batch in enumerate(_batches(day.leg), 1) if batch.first == t}
        if day.leg.fleet.facility_usd:
            building = [self._of_facility(day, share, k) for k, share, start in _purchases(day.leg) if start == t]
            found |= {f"facility_{n}": made("facility", "facility_usd * share", parts, of_unit="USD") for n, parts in enumerate(building, 1)}
        return made("investment_usd", total(found), found) if found else None

    def _proceeds_usd(self, day: _FirstDay, t: int) -> Term | None:
        found = {f"equipment_{n}": self._sold(day, batch) for n, batch in enumerate(_batches(day.leg), 1) if batch.end == t}
        if day.leg.fleet.facility_usd and t == day.leg.course.periods:
            for k, share, start in _purchases(day.leg):
                parts = self._of_facility(day, share, k) | self._age(day, start)
                found[f"facility_{k + 1}"] = made(
                    "facility at its book value", "facility_usd * share * (1 - min(age_years / facility_life, 1))", parts, of_unit="USD"
                )
        return made("proceeds_usd", total(found), found) if found else None

    def _age(self, day: _FirstDay, start: int) -> dict[str, Term]:
        return {"age_years": _years((day.leg.course.periods - start) / QUARTERS), "facility_life": day.walk.term("facility_life")}

    def _sold(self, day: _FirstDay, batch: _Batch) -> Term:
        course = day.leg.course
        parts = {"price_usd": self._price(day, batch), "residual_fraction": day.walk.term("residual_fraction")}
        if batch.age < batch.life and course.sold_at_book:
            parts |= {"age": given("age", batch.age, "when the horizon cuts it off", "quarter"), "life": given("life", batch.life, "of equipment", "quarter")}
            return made("equipment at its book value", "price_usd * (1 - (1 - residual_fraction) * age / life)", parts, of_unit="USD")
        removal = " - decommissioning_share" if course.decommissioning_fraction else ""
        parts |= {"decommissioning_share": day.walk.term("decommissioning_share")} if removal else {}
        return made("equipment that goes, less its removal", f"price_usd * (residual_fraction{removal})", parts, of_unit="USD")

    def _tax_usd(self, day: _FirstDay, t: int) -> Term | None:
        course = day.leg.course
        if not course.tax_fraction:
            return None
        names = ("revenue_usd", "energy_usd", "upkeep_usd", "proceeds_usd")
        parts = {name: term for name in names if (term := getattr(self, f"_{name}")(day, t)) is not None}
        parts |= self._written_off(day, t)
        if not parts:
            return None
        signs = "".join(f" {'+' if name in ('revenue_usd', 'proceeds_usd') else '-'} {name}" for name in parts)
        rate = day.walk.term("tax_rate") if self.asked.tax_fraction is None else asked_for(self.asked, "tax_fraction")()
        return made("tax_usd", f"tax_rate * (0{signs})", parts | {"tax_rate": rate})

    def _written_off(self, day: _FirstDay, t: int) -> dict[str, Term]:
        found = {}
        for n, batch in enumerate(_batches(day.leg), 1):
            if share := batch.written_off(t):
                parts = {"price_usd": self._price(day, batch), "share": given("share written off", share, "MACRS over 5 years, the rest when it goes")}
                found[f"written_off_{n}"] = made("equipment written off", "price_usd * share", parts, of_unit="USD")
        if day.leg.fleet.facility_usd:
            for k, share, start in _purchases(day.leg):
                worn = "min(age_years / facility_life, 1) / (age_years * 4)"
                text = worn if t < day.leg.course.periods else f"({worn} + 1 - min(age_years / facility_life, 1))"
                if t > start:
                    parts = self._of_facility(day, share, k) | self._age(day, start)
                    found[f"facility_{k + 1}"] = made("facility written off", f"facility_usd * share * {text}", parts, of_unit="USD")
        return found


def _purchases(leg: Leg) -> Iterator[tuple[int, float, int]]:
    """Number, share and time of each purchase."""
    for number, share in enumerate(leg.course.purchase_fractions):
        if share:
            yield number, share, leg.course.first_period + number


def _batches(leg: Leg) -> Iterator[_Batch]:
    """Equipment by the time at which it is bought, renewals included; none where it has been paid for or is rented."""
    life = round(float(leg.course.equipment_life_years) * QUARTERS)
    for number, _, start in _purchases(leg) if leg.fleet.equipment_usd else ():
        for first in range(start, leg.course.periods, life):
            yield _Batch(number, first, min(first + life, leg.course.periods), life)


def _share(number: int, share: float) -> Term:
    return given("share of the fleet", share, f"purchase_fractions, number {number + 1}")


def _years(years: float) -> Term:
    return given("years", years, "from the first day", "year")


def _unit(name: str) -> str:
    return {"served_mtok": "Mtok", "accelerator_h": "accelerator h"}.get(name, "USD")
