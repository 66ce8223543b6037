"""The schedule study: a fleet through the hours of a day or a week, static and autoscaled, owned and rented, its busiest hour proven by simulation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.economics.margin import margin_fraction, token_revenue_usd_per_h
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.fleet.demand import Shape
from accelmodel.fleet.schedule import (
    Autoscaling,
    Draw,
    Schedule,
    autoscaled_schedule,
    idle_replica_hours_per_day,
    needed_replicas,
    static_schedule,
)
from accelmodel.fleet.sizing import Held, fleet_money, replicas_to_carry
from accelmodel.results.table import table
from accelmodel.studies.assumptions import Assumption
from accelmodel.studies.demanded import Asked, cell_of, demands_of, lengths_of, shape_named
from accelmodel.studies.fleet import goodput_of, unit_at
from accelmodel.studies.grid import misfit
from accelmodel.studies.points import Point
from accelmodel.studies.reserves import held_for
from accelmodel.studies.run import Cell, Context, StudyResult
from accelmodel.studies.scenario import MONEY_KEYS, ScheduleStudy, TroughWork
from accelmodel.studies.staffing import Staffed, staffed
from accelmodel.studies.traces import Trace
from accelmodel.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, TOKENS_PER_MTOK

_SHOWN = [
    *("case", "policy", "of_static_fraction", "cost_usd_per_day", "saved_fraction", "margin_fraction", "cost_usd_per_mtok", "mean_occupancy_fraction"),
    *("energy_mwh_per_day", "replica_starts_per_day", "replicas", "lower_bound_replicas", "short_fraction"),
]
_HOURS_PER_DAY, _DAYS_PER_YEAR = 24, 365
_W_PER_MW = 1e6
BY_THE_HOUR = ("on-demand", "rental", "spot")  # terms on which an hour that is not used is not paid for

STATIC, AUTOSCALED, TROUGHS = "static", "autoscaled", "troughs used"


@dataclass(frozen=True)
class _Troughs:
    """What other work makes in an hour of a replica."""

    tokens_per_replica_h: float
    usd_per_replica_h: float


@dataclass(frozen=True)
class _Fleet:
    """A case with a demand: its load by the hour in replicas, those that serve its busiest hour, and the share of them left over."""

    cell: Cell
    point: Point
    asked: Asked
    study: ScheduleStudy
    load: npt.NDArray[np.float64]
    staffed: Staffed
    headroom_fraction: float

    @property
    def name(self) -> str:
        """What its case is called."""
        return self.cell.case or self.cell.replica.system.name

    @property
    def lower_bound(self) -> npt.NDArray[np.int64]:
        """Replicas that carry each hour, no reserve at all."""
        return needed_replicas(self.load, 0.0)

    @functools.cached_property
    def held(self) -> Held:
        """What is installed: what the busiest hour takes."""
        return held_for(self.cell, self.point, self.study, self.staffed.serving)

    def installed(self, serving: int) -> int:
        """Replicas that are on so that so many serve: an hour's fleet is what a demand of that hour would have installed."""
        return held_for(self.cell, self.point, self.study, serving).replicas

    def systems(self, replicas: Any) -> Any:
        """Whole systems that hold so many replicas, a number or an array."""
        block = self.held.replica.block
        return -(-replicas // block.replicas) * block.systems

    @property
    def accelerators_share(self) -> float:
        """Accelerators of whole systems a replica, stranded ones included."""
        return self.held.accelerators / self.held.replicas


def study(context: Context, asked: ScheduleStudy) -> StudyResult:
    """A row per case, demand and policy."""
    assert asked.shape is not None
    shape = shape_named(context, asked.shape)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    by_hour: list[dict[str, Any]] = []
    trace = _trace(context, asked)
    lengths = lengths_of(asked) if trace is None else trace.means
    planner = _Planner(context, asked, shape, trace)
    for case in context.scenario.chosen(asked.cases):
        cell = cell_of(context, case, context.scenario.situation(case) | lengths)
        point = context.point(cell)
        if not point.fits:
            notes.append(misfit(cell, 1, 1, point.kv_capacity_tokens > 0))
            continue
        troughs = None if asked.troughs is None else _troughs(context, cell, asked.troughs)
        for demand in demands_of(asked, point, shape.peak_to_mean_ratio):
            fleet = planner.fleet(cell, point, demand)
            if not fleet.staffed.feasible:
                notes.append(fleet.staffed.words_of_proof(fleet.name))
            else:
                notes += fleet.staffed.words(fleet.name, int(fleet.lower_bound.max()), fleet.held)
                both = schedules(fleet.load, fleet.headroom_fraction, asked, fleet.installed)
                found = _rows(fleet, both, asked, troughs)
                notes += _said(fleet, found)
                rows += found
                by_hour.append(_by_hour(fleet, both))
    _rest_on_policy(context, asked)
    if not rows:
        raise InputError("; ".join(notes) or "no case runs", key="cases")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    summary = {"fleets": rows, "hours": by_hour}
    return StudyResult("schedule", table(columns), summary, notes, [name for name in _SHOWN if name in columns])


@dataclass
class _Planner:
    """What the fleets of one study have in common, and the plans and proofs of them so far: by all that is not money, so that none is simulated twice."""

    context: Context
    asked: ScheduleStudy
    shape: Shape
    trace: Trace | None
    proven: dict[tuple[Any, ...], Staffed] = field(default_factory=dict)

    def fleet(self, cell: Cell, point: Point, demand: Asked) -> _Fleet:
        """The load by the hour, and the headroom that its busiest hour needs: for bursts or as asked, and for what the simulation found short."""
        load = replicas_to_carry(demand.demand.mean_rates(self.asked.years), goodput_of(point)) * np.array(self.shape.weights)
        rate = demand.mean_requests_per_s(self.asked.years) * self.shape.peak_to_mean_ratio
        key = (rate, *sorted((name, value) for name, value in cell.situation.items() if name not in MONEY_KEYS))
        if key not in self.proven:
            self.proven[key] = staffed(self.context, cell, point, self.asked, self.trace, rate, float(load.max()))
        found = self.proven[key]
        headroom = self.asked.headroom_fraction
        if headroom is None or found.serving > found.planned:
            headroom = 1.0 - float(load.max()) / found.serving
        return _Fleet(cell, point, demand, self.asked, load, found, headroom)


def _trace(context: Context, asked: ScheduleStudy) -> Trace | None:
    """The trace of a study; InputError for one with prefixes, whose hits are the caches' to find and no figure of a situation."""
    if asked.trace is None:
        return None
    trace = context.trace(asked.trace)
    if trace.hash_ids is not None:
        raise InputError("has prefixes, which a schedule does not simulate: size it by a study of kind 'demand'", key="trace", value=asked.trace)
    return trace


def schedules(load: npt.NDArray[np.float64], headroom_fraction: float, asked: ScheduleStudy, installed: Callable[[int], int]) -> tuple[Schedule, Schedule]:
    """The static fleet of a load by the hour, in replicas, and the autoscaled one that has no more replicas than it; `installed` so that so many serve."""
    static = static_schedule(load, headroom_fraction, installed=installed)
    policy = Autoscaling(
        startup_s=asked.startup_s,
        reaction_s=asked.reaction_s,
        minimum_on_h=asked.minimum_on_h,
        forecast_error_fraction=asked.forecast_error_fraction,
        minimum_replicas=min(asked.minimum_replicas, static.peak_replicas),
        maximum_replicas=static.peak_replicas,
    )
    return static, autoscaled_schedule(load, headroom_fraction, policy, installed=installed)


# What each policy costs and earns


def _rows(fleet: _Fleet, both: tuple[Schedule, Schedule], asked: ScheduleStudy, troughs: _Troughs | None) -> list[dict[str, Any]]:
    """A row per policy."""
    static, scaled = both
    installed = static.peak_replicas
    draw, rates = _draw(fleet, asked.off_power_fraction), fleet.asked.demand.mean_rates(asked.years)
    rows = [_row(fleet, STATIC, static, static, draw, rates, 0.0, None), _row(fleet, AUTOSCALED, scaled, static, draw, rates, 0.0, None)]
    if troughs is not None and asked.troughs is not None:
        idle_h = idle_replica_hours_per_day(scaled, installed, minimum_h=asked.troughs.minimum_h, startup_s=asked.startup_s)
        rows.append(_row(fleet, TROUGHS, scaled, static, draw, rates, idle_h * asked.troughs.usable_fraction, troughs))
    for row in rows:
        static_cost = rows[0].get("cost_usd_per_day")
        if static_cost is not None:
            row["saved_fraction"] = 1.0 - (row["cost_usd_per_day"] - row.get("troughs_revenue_usd_per_day", 0.0)) / static_cost
    return rows


def _row(fleet: _Fleet, policy: str, on: Schedule, static: Schedule, draw: Draw, rates: TokenRates, other_h: float, troughs: _Troughs | None) -> dict[str, Any]:
    """One policy: replicas, energy, cost, revenue and margin of a day."""
    cell, of = fleet.cell, fleet.cell.replica
    installed = static.peak_replicas
    hours = fleet.load.size
    bound = float(fleet.lower_bound.mean())
    others = other_h / _HOURS_PER_DAY
    mean_w = draw.mean_w(on, on.mean_replicas + others if cell.money.rents else installed, others)
    held = static if troughs is not None else on
    cost = _cost_usd_per_day(fleet, held, mean_w)
    idle_h = (installed - on.mean_replicas) * _HOURS_PER_DAY
    tokens = float(rates.tokens_per_s) * SECONDS_PER_DAY
    row: dict[str, Any] = {
        "case": fleet.name,
        "system": of.system.name,
        "policy": policy,
        "cost_basis": cell.money.basis,
        fleet.asked.quantity: fleet.asked.value,
        "replicas_planned": fleet.staffed.planned,
        "replicas": installed,
        "replicas_on": on.mean_replicas,
        "lower_bound_replicas": int(fleet.lower_bound.max()),
        "lower_bound_mean_replicas": bound,
        "lower_bound_accelerator_h_per_day": bound * of.accelerators * _HOURS_PER_DAY,
        "replicas_at_peak": fleet.held.with_maintenance,
        "systems": fleet.held.systems,
        "fleet_accelerators": fleet.held.accelerators,
        "spare_accelerators": fleet.held.spares.accelerators,
        "replica_hours_per_day": on.replica_hours_per_day,
        "of_static_fraction": on.replica_hours_per_day / static.replica_hours_per_day,
        "mean_occupancy_fraction": (float(fleet.load.sum()) / hours + others) / (on.mean_replicas + others),
        "replica_starts_per_day": on.starts_per_day,
        "energy_mwh_per_day": mean_w * _pue(cell) / _W_PER_MW * _HOURS_PER_DAY,
        "cost_usd_per_day": cost,
    }
    if troughs is not None:
        row |= {
            "troughs_used_fraction": other_h / idle_h if idle_h > 0 else 0.0,
            "troughs_tokens_per_day": other_h * troughs.tokens_per_replica_h,
            "troughs_revenue_usd_per_day": other_h * troughs.usd_per_replica_h,
        }
        tokens += row["troughs_tokens_per_day"]
    row["cost_usd_per_mtok"] = cost / tokens * TOKENS_PER_MTOK
    row |= _revenue(cell, rates, cost, row.get("troughs_revenue_usd_per_day", 0.0))
    if (proof := fleet.staffed.proof) is not None:
        row |= {"replicas_proven": proof.replicas_proven, "short_fraction": proof.short_fraction}
    return row


def _pue(cell: Cell) -> float:
    return cell.money.catalog.site(cell.money.site).figures.pue.si


def _draw(fleet: _Fleet, off_power_fraction: float) -> Draw:
    """What a replica draws with its share of hosts and network, and of accelerators that no replica of its systems uses."""
    of, accelerator = fleet.cell.replica, fleet.cell.replica.accelerator
    share = fleet.accelerators_share
    idle_w = of.parameters["power_idle_fraction"] * accelerator.need("tdp").si
    beside_w = accelerator.need("it_power").si - accelerator.need("tdp").si
    loaded_w = fleet.point.power_w + (share - of.accelerators) * idle_w + share * beside_w
    whole_idle_w = share * (idle_w + beside_w)
    return Draw(max(loaded_w, whole_idle_w), whole_idle_w, off_power_fraction * whole_idle_w)


def _cost_usd_per_day(fleet: _Fleet, held: Schedule, mean_w: float) -> float:
    """What a day costs: a tenant pays for the systems that `held` has on, or for all where the offer is for a term; an owner for all with their spares, and for
    energy.
    """
    cell, accelerator, per_system = fleet.cell, fleet.cell.replica.accelerator, fleet.cell.replica.system.accelerators
    if cell.money.rents:
        assert cell.money.hour is not None
        systems = float(fleet.systems(held.on).mean()) if cell.money.hour.term in BY_THE_HOUR else fleet.held.systems
        return fleet_money(unit_at(cell, math.nan), systems * per_system, 0)[1] / _DAYS_PER_YEAR
    beside_w = accelerator.need("it_power").si - accelerator.need("tdp").si
    unit = unit_at(cell, mean_w / fleet.held.accelerators - beside_w)
    return fleet_money(unit, fleet.held.accelerators, fleet.held.spares.systems * per_system)[1] / _DAYS_PER_YEAR


def _revenue(cell: Cell, rates: TokenRates, cost_usd_per_day: float, troughs_usd_per_day: float) -> dict[str, Any]:
    """Revenue of the demand's tokens and of the troughs, and the margin; nothing where tokens are not sold."""
    if cell.money.token_prices is None or cell.money.books == "self":
        return {}
    revenue = float(token_revenue_usd_per_h(rates, cell.money.token_prices)) * _HOURS_PER_DAY + troughs_usd_per_day
    return {"revenue_usd_per_day": revenue, "margin_fraction": float(margin_fraction(revenue, cost_usd_per_day))}


def _troughs(context: Context, cell: Cell, asked: TroughWork) -> _Troughs:
    """What an hour of a replica makes with other work: hours sold, or tokens at another tier, workload or load."""
    if asked.price_usd_per_accelerator_h is not None:
        return _Troughs(0.0, asked.price_usd_per_accelerator_h * cell.replica.accelerators)
    own = {"ttft_s", "tpot_s", "concurrency", "requests_per_s"} if {"ttft_s", "tpot_s", "concurrency"} & asked.load.keys() else set()
    if asked.workload is not None:
        own |= {"input_tokens", "output_tokens", "prefix_hit_fraction"}
    situation = {key: value for key, value in cell.situation.items() if key not in own} | asked.load
    other = cell_of(context, cell.case, situation)
    point = context.point(other)
    if not point.fits:
        raise InputError(misfit(other, 1, 1, point.kv_capacity_tokens > 0), key="troughs")
    prices = other.money.token_prices
    if prices is None:
        raise InputError("work in tokens needs an offer by the token: give one, or price_usd_per_accelerator_h", key="troughs")
    rates = goodput_of(point)
    return _Troughs(float(rates.tokens_per_s) * SECONDS_PER_HOUR, float(token_revenue_usd_per_h(rates, prices)))


# In words


def _rest_on_policy(context: Context, asked: ScheduleStudy) -> None:
    found = [
        Assumption(
            3,
            "autoscaling",
            f"a replica serves {asked.startup_s:g} s after its start, is started {asked.reaction_s:g} s before that, and the fleet is scaled for "
            f"{asked.forecast_error_fraction:.0%} above the load, which an hour's shape foretells; as given",
        ),
        Assumption(4, "draw", "a replica's draw goes with its load from idle to that at full goodput; an engine may draw more than that at part load"),
    ]
    if asked.troughs is not None:
        text = f"{asked.troughs.usable_fraction:.0%} of the troughs of {asked.troughs.minimum_h:g} h and longer is used, and all of that work is sold; as given"
        found.append(Assumption(2, "troughs", text))
    context.rest_on(found, [])


def _said(fleet: _Fleet, rows: list[dict[str, Any]]) -> list[str]:
    """What autoscaling and the troughs bring a case, in a sentence."""
    cell, (_, scaled, *others) = fleet.cell, rows
    saved, rest = f"{scaled['saved_fraction']:.1%} of the cost", f"{scaled['of_static_fraction']:.1%} of the static fleet's replica-hours"
    if not cell.money.rents:
        why = "an owner pays for capital all the same and saves energy alone"
    elif cell.money.hour is not None and cell.money.hour.term in BY_THE_HOUR:
        why = "a tenant hands systems back by the hour"
    else:
        why = "the offer is for a term: hours that are not used are paid for"
    words = f"{rows[0]['case']}: autoscaled, {rest} save {saved} ({why})"
    for row in others:
        words += f"; with {row['troughs_used_fraction']:.0%} of the troughs sold, {row['saved_fraction']:.1%} net"
    outlived = cell.money.outlived(rows[0]["systems"], 1.0)
    return [words, *([f"{rows[0]['case']}: {outlived}"] if outlived else [])]


def _by_hour(fleet: _Fleet, both: tuple[Schedule, Schedule]) -> dict[str, Any]:
    """The schedule hour by hour, and the proof, for whoever draws it."""
    _, scaled = both
    found: dict[str, Any] = {
        "case": fleet.name,
        fleet.asked.quantity: fleet.asked.value,
        "load": fleet.load.tolist(),
        "lower_bound": fleet.lower_bound.tolist(),
        "needed": needed_replicas(fleet.load, fleet.headroom_fraction).tolist(),
        "on": scaled.on.reshape(fleet.load.size, -1).mean(axis=1).tolist(),
    }
    if (proof := fleet.staffed.proof) is not None:
        found["proof"] = {"held": proof.held, "planned": fleet.staffed.planned, "proven": proof.replicas_proven, "words": proof.words}
    return found
