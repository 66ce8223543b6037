"""The identities of the schedule study: a day's energy, cost, revenue and margin from the demand, the operating point and the replicas that are on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from accelmodel.fleet.demand import Shape
from accelmodel.fleet.schedule import Schedule
from accelmodel.fleet.sizing import Held
from accelmodel.studies.demanded import lengths_of
from accelmodel.studies.equations import Maker, Term, Walk, given
from accelmodel.studies.owned import owned_hour
from accelmodel.studies.reserves import held_for
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import ScheduleStudy
from accelmodel.studies.schedule import BY_THE_HOUR, STATIC, TROUGHS, schedules
from accelmodel.studies.terms import PointTerms, of_systems, terms_at
from accelmodel.studies.walks_money import Rows, asked_for, case_named, of_point

_DEMANDED = {
    "tokens_per_day": "tokens_per_day",
    "requests_per_day": "requests_per_day * (input_tokens + output_tokens)",
    "users": "users * sessions_per_user_day * turns_per_session * (input_tokens + output_tokens)",
}
_EQUATIONS = {
    "mean_load": "demand_tokens_per_s / (input_tokens_per_s + output_tokens_per_s)",
    "busiest_load": "mean_load * peak_to_mean",
    "lower_bound_replicas": "ceil(busiest_load)",
    "replicas_at_peak": "ceil(serving / (1 - maintenance_fraction))",
    "fleet_accelerators": "systems * system_accelerators",
    "systems": "ceil(replicas / block_replicas) * block_systems",
    "replica_hours_per_day": "replicas_on * 24",
    "of_static_fraction": "replica_hours_per_day / (replicas * 24)",
    "short_fraction": "replicas_proven / replicas_planned - 1",
    "lower_bound_accelerator_h_per_day": "lower_bound_mean_replicas * accelerators * 24",
    "energy_mwh_per_day": "mean_draw_w * pue / 1000000 * 24",
    "share_accelerators": "block_systems * system_accelerators / block_replicas",
    "idle_w": "share_accelerators * (power_idle_fraction * tdp + it_power - tdp)",
    "loaded_w": "max(power_w + (share_accelerators - accelerators) * power_idle_fraction * tdp + share_accelerators * (it_power - tdp), idle_w)",
    "off_w": "off_power_fraction * idle_w",
    "mean_it_power_w": "mean_draw_w / fleet_accelerators",
    "demand_revenue_usd_per_day": "mean_load * revenue_usd_per_h / occupancy * 24",
    "margin_fraction": "1 - cost_usd_per_day / revenue_usd_per_day",
}
_RESERVES = ("maintenance_fraction", "availability_target_fraction", "correlated_accelerators", "spares_service_fraction")
_KEYS = (*_RESERVES, "headroom_fraction", "off_power_fraction", "growth_fraction_per_year", "years", "sessions_per_user_day", "turns_per_session")
_POLICY = ("startup_s", "reaction_s", "minimum_on_h", "forecast_error_fraction", "minimum_replicas")


def of_schedule(context: Context, asked: ScheduleStudy, rows: Rows, number: int) -> Walk:
    """A policy of a case and a demand."""
    row, demanded = rows[number], next(name for name in _DEMANDED if name in rows[number])
    point = _point(context, asked, row)
    hours = _Hours(context, asked, row, point)
    makers = of_point(point) | {key: asked_for(asked, key) for key in _KEYS} | of_systems(point.replica) | hours.makers
    makers["power_idle_fraction"] = lambda: point.parameter("power_idle_fraction")
    if (hour := point.money.hour) is not None:
        makers["offer_price"] = partial(point.hour_price, hour)
    makers |= {demanded: lambda: given(demanded, row[demanded], "[studies.*] of kind schedule")}
    same = next(one for one in rows if (one["case"], one[demanded], one["policy"]) == (row["case"], row[demanded], STATIC))
    makers["static_cost_usd_per_day"] = lambda: Term(
        "static_cost_usd_per_day", same["cost_usd_per_day"], "USD/day", note="cost_usd_per_day of the static fleet"
    )
    growth = " * (1 + growth_fraction_per_year) ** years" if asked.growth_fraction_per_year and asked.years else ""
    equations = _EQUATIONS | _of_policy(row, asked, point) | {"demand_tokens_per_s": f"({_DEMANDED[demanded]}) / 86400{growth}"}
    walk = owned_hour(context.catalog, point.money.owner, point.money.site, point.replica.accelerator, equations, makers, row)
    hours.walk = walk
    return walk


def _point(context: Context, asked: ScheduleStudy, row: Mapping[str, Any]) -> PointTerms:
    lengths = lengths_of(asked) if asked.trace is None else context.trace(asked.trace).means
    case = case_named(context, row["case"])
    giver = "the demand's sessions" if asked.trace is None else f"trace {asked.trace}"
    return terms_at(context, context.cell(case, context.scenario.situation(case) | lengths), lengths, giver)


def _of_policy(row: Mapping[str, Any], asked: ScheduleStudy, point: PointTerms) -> dict[str, str]:
    """What depends on who pays, on when replicas are on and on what runs in the troughs."""
    found = {"serving": "replicas_planned" if row.get("replicas_proven") is None else "replicas_proven"}
    if asked.headroom_fraction is not None:
        found["replicas_planned"] = "max(ceil(busiest_load / (1 - headroom_fraction)), 1)"
    if row["policy"] == STATIC:
        found["replicas_on"] = "replicas"
    others, earned, made = ("", "", "") if row["policy"] != TROUGHS else (" + other_replicas", " + troughs_revenue_usd_per_day", " + troughs_tokens_per_day")
    found["other_replicas"] = "troughs_used_fraction * (replicas - replicas_on)"
    found["mean_occupancy_fraction"] = f"(mean_load{others}) / (replicas_on{others})"
    off = "" if point.money.rents else f" + (replicas - replicas_on{others.replace('+', '-')}) * off_w"
    found["mean_draw_w"] = f"(mean_load{others}) * loaded_w + (replicas_on - mean_load) * idle_w{off}"
    hour = point.money.hour
    if point.money.rents and hour is not None:
        by_the_hour = hour.term in BY_THE_HOUR and row["policy"] == "autoscaled"
        found["cost_usd_per_day"] = f"price_usd_per_h * {'systems_on' if by_the_hour else 'systems'} * 24"
        found["price_usd_per_h"] = "offer_price" if hour.system else "offer_price * system_accelerators"
    else:
        spares = "spare_systems * system_accelerators * server_capital_usd_per_h"  # on the shelf, in place of the terms' share of spares
        found["cost_usd_per_day"] = f"(fleet_accelerators * (cost_usd_per_h - spares_usd_per_h) + {spares}) * 24"
    found["cost_usd_per_mtok"] = f"cost_usd_per_day / (demand_tokens_per_s * 86400{made}) * 1000000"
    found["revenue_usd_per_day"] = f"demand_revenue_usd_per_day{earned}"
    return found | {"saved_fraction": f"1 - (cost_usd_per_day{earned.replace('+', '-')}) / static_cost_usd_per_day"}


class _Hours:
    """The replicas that are on, worked out to the minute again from the load by the hour of the walk."""

    walk: Walk

    def __init__(self, context: Context, asked: ScheduleStudy, row: Mapping[str, Any], point: PointTerms) -> None:
        assert asked.shape is not None
        self.asked, self.row, self.profile = asked, row, context.catalog.shape(asked.shape)
        self.point, self.cell = point, Cell(row["case"], {}, point.replica, point.money)
        self.makers: dict[str, Maker] = {name: getattr(self, name) for name in ("peak_to_mean", "replicas_on", "systems_on", "lower_bound_mean_replicas")}
        self.makers |= {name: partial(self.reserved, name) for name in ("replicas", "spare_accelerators", "spare_systems")}
        self.makers |= {"replica_starts_per_day": self.starts, "replicas_planned": self.planned}

    def peak_to_mean(self) -> Term:
        """The highest hour of the shape over the mean."""
        hours = self.profile.hours
        return Term("peak to mean", hours.peak_to_mean_ratio, kind=hours.kind, source=hours.source, note=self.profile.title)

    @functools.cached_property
    def scheduled(self) -> tuple[Schedule, Schedule]:
        """The static and the autoscaled schedule."""
        load = self.walk.number("mean_load") * np.array(Shape.of(self.profile.hours.values).weights)
        asked, serving = self.asked.headroom_fraction, self.walk.number("serving")
        headroom = 1.0 - float(load.max()) / serving if asked is None or serving > self.row["replicas_planned"] else asked
        return schedules(load, headroom, self.asked, lambda count: self.held(count).replicas)

    def held(self, serving: float) -> Held:
        """What is installed so that so many serve."""
        return held_for(self.cell, self.point.point, self.asked, round(serving))

    def reserved(self, name: str) -> Term:
        """What is installed beyond the replicas that serve."""
        held = self.held(self.walk.number("serving"))
        values = {"replicas": held.replicas, "spare_accelerators": held.spares.accelerators, "spare_systems": held.spares.systems}
        whole = "whole systems, the fewest of which enough replicas are up with the target's probability, and those that fail together"
        words = whole if name == "replicas" else "the stock that covers the failed ones away for repair with the target's probability, in whole systems"
        owner = self.point.money.catalog.ownership(self.point.money.owner).figures
        failures = ("failures_per_year", "repair_time", "host_failures_per_year", "host_repair_time")
        figures = [self.point.owner(one) for one in failures if getattr(owner, one) is not None]
        parts = (self.walk.term("replicas_at_peak"), *(asked_for(self.asked, key)() for key in _RESERVES), *figures)
        return Term(name, values[name], equation=words, parts=parts)

    @property
    def on(self) -> Schedule:
        """The row's own."""
        return self.scheduled[self.row["policy"] != STATIC]

    def _by_minute(self, name: str, value: float, words: str) -> Term:
        parts = (self.walk.term("mean_load"), self.walk.term("replicas"), self.peak_to_mean(), *(asked_for(self.asked, key)() for key in _POLICY))
        return Term(name, value, equation=words, parts=parts)

    def replicas_on(self) -> Term:
        """In the mean."""
        return self._by_minute("replicas_on", self.on.mean_replicas, "mean over the minutes of the replicas that the policy has on (docs/fleet.md)")

    def systems_on(self) -> Term:
        """Whole systems that hold them, in the mean."""
        replicas, systems = (round(self.walk.number(name)) for name in ("block_replicas", "block_systems"))
        value = float(np.mean(-(-self.on.on // replicas) * systems))
        return self._by_minute("systems on", value, "mean over the minutes of the whole systems that hold the replicas that are on")

    def starts(self) -> Term:
        """Replicas switched on a day."""
        return self._by_minute("replica_starts_per_day", self.on.starts_per_day, "replicas switched on over the minutes of the period, a day")

    def lower_bound_mean_replicas(self) -> Term:
        """With no reserve at all."""
        parts = (self.walk.term("mean_load"), self.peak_to_mean())
        return Term("lower_bound_mean_replicas", float(self.on.lower_bound.mean()), equation="mean over the hours of ceil(load of the hour)", parts=parts)

    def planned(self) -> Term:
        """By the bursts of the traffic."""
        keys = ("percentile", "trace") if self.asked.trace else ("percentile", "burstiness", "input_variation", "output_variation")
        words = "busiest load x the percentile of the work in windows as long as the TTFT target (10 s at most) / its mean, rounded up"
        parts = (self.walk.term("busiest_load"), *(asked_for(self.asked, key)() for key in keys))
        return Term("replicas_planned", self.row["replicas_planned"], equation=words, parts=parts)
