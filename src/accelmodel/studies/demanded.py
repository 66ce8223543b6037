"""A scenario's demand, however it is worded, as the `Demand` that a fleet is sized for; and the shape of its days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accelmodel.fleet.demand import Demand, Session, Shape, Users, demand_of_requests, demand_of_users
from accelmodel.studies.assumptions import Assumption
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import Demanded, PlanWorkload
from accelmodel.units import SECONDS_PER_DAY


@dataclass(frozen=True)
class Asked:
    """One demand of a scenario: what was asked for (`quantity` of it a day, or users), as tokens, and requests a day at the first day's size."""

    quantity: str
    value: float
    demand: Demand
    requests_per_day: float

    def tokens_per_day(self, years: float) -> float:
        """Tokens of an average day, input and output, `years` from now."""
        return float(self.demand.mean_rates(years).tokens_per_s * SECONDS_PER_DAY)

    def mean_requests_per_s(self, years: float) -> float:
        """Requests per second in the mean, `years` from now."""
        return float(self.requests_per_day / SECONDS_PER_DAY * (1.0 + self.demand.growth_fraction_per_year) ** years)


def cell_of(context: Context, case: str | None, situation: dict[str, Any]) -> Cell:
    """The situation's cell; the share of loaded hours that its money would assume is the demand's to say, and no assumption of a study that has one."""
    before = set(context.assumptions)
    cell = context.cell(case, situation)
    for key in [key for key in context.assumptions if key not in before and key[0] == "occupancy"]:
        del context.assumptions[key]
    return cell


def shape_named(context: Context, name: str) -> Shape:
    """A shape of the catalogue; the run rests on its source, and on the figure of its peak where that is an estimate or has a range."""
    profile = context.catalog.shape(name)
    peak = profile.figures.peak_to_mean
    spread = "" if peak.low is None and peak.high is None else f" [{peak.si_text(peak.low)}, {peak.si_text(peak.high)}]"
    text = f"{profile.title}: the highest hour is {peak.value:g}{spread} times the mean ({profile.hours.kind})"
    sources = {source for source in (profile.hours.source, peak.source) if source}
    context.rest_on([Assumption(2, "shape", text, profile.hours.source)], sources)
    return Shape.of(profile.hours.values)


def shape_of(context: Context, asked: Demanded | PlanWorkload) -> Shape | None:
    """The shape that a study or a workload names; None where it gives the peak alone."""
    return None if asked.shape is None else shape_named(context, asked.shape)


def peak_to_mean_of(context: Context, asked: Demanded | PlanWorkload) -> float:
    """The peak over the mean: the shape's, or as given."""
    shape = shape_of(context, asked)
    if shape is not None:
        return shape.peak_to_mean_ratio
    assert asked.peak_to_mean is not None
    return asked.peak_to_mean


def lengths_of(asked: Demanded) -> dict[str, Any]:
    """Keys of a situation that a demand of users decides: the lengths of the mean request and its prefix hits. Put them over the case's own."""
    if asked.users is None:
        return {}
    session = _session(asked)
    return {"input_tokens": session.input_tokens, "output_tokens": session.output_tokens, "prefix_hit_fraction": session.prefix_hit_fraction}


def demands_of(asked: Demanded, point: Point, peak_to_mean_ratio: float) -> list[Asked]:
    """The demands of a study for a cell's operating point, whose lengths and prefix hits those of tokens and of requests have."""
    terms = {"peak_to_mean_ratio": peak_to_mean_ratio, "growth_fraction_per_year": asked.growth_fraction_per_year}
    per_request = point.input_tokens + point.output_tokens

    def of_requests(quantity: str, value: float, requests: float) -> Asked:
        demand = demand_of_requests(requests, point.input_tokens, point.output_tokens, cached_input_fraction=point.prefix_hit_fraction, **terms)
        return Asked(quantity, value, demand, requests)

    if asked.tokens_per_day is not None:
        return [of_requests("tokens_per_day", tokens, tokens / per_request) for tokens in asked.tokens_per_day]
    if asked.requests_per_day is not None:
        return [of_requests("requests_per_day", requests, requests) for requests in asked.requests_per_day]
    assert asked.users is not None
    assert asked.sessions_per_user_day is not None
    session = _session(asked)
    groups = [Users(count, asked.sessions_per_user_day, session) for count in asked.users]
    return [Asked("users", group.users, demand_of_users(group, **terms), group.requests_per_day) for group in groups]


def _session(asked: Demanded) -> Session:
    assert asked.turns_per_session is not None
    assert asked.input_tokens_per_turn is not None
    assert asked.output_tokens_per_turn is not None
    return Session(
        turns=asked.turns_per_session,
        input_tokens_per_turn=asked.input_tokens_per_turn,
        output_tokens_per_turn=asked.output_tokens_per_turn,
        system_prompt_tokens=asked.system_prompt_tokens or 0.0,
        context_hit_fraction=1.0 if asked.context_hit_fraction is None else asked.context_hit_fraction,
    )
