"""Plans: what to have delivered, kept and retired where and when, what serves what; what is short where there is none; what one more would be worth.

The equations are those of `accelmodel.fleet.plan_model`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accelmodel.economics import check_range
from accelmodel.fleet.plan_model import Array, PlanProblem, Program, Reserves, Solved, elastic_of, program_of, replicas_in_all

SMALL_REPLICAS = 300  # up to so many replicas at the peak, each is counted whole
_MISSED = 1e-6
_REMEDIES = (("power",), ("supply",), ("budget", "budget in all"), ("regions",))


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan: shares (W, S, L, T) of each workload's demand, unserved shares (W, T), systems (S, L, T).

    `cost_usd` is the discounted cost less, where demand may stay unserved, the discounted revenue; no plan can be below `bound_usd`.
    """

    problem: PlanProblem
    share: Array
    unserved: Array
    delivered: Array
    in_place: Array
    cost_usd: float
    bound_usd: float
    solve_s: float
    small: bool
    out_of_time: bool

    @property
    def gap_fraction(self) -> float:
        """How much lower the best plan could be, of what this one costs."""
        return max(self.cost_usd - self.bound_usd, 0.0) / max(abs(self.cost_usd), 1.0)

    @property
    def retired(self) -> Array:
        """(S, L, T) systems retired at the start of a quarter."""
        before = np.concatenate([self.problem.in_place[:, :, None], self.in_place[:, :, :-1]], 2)
        found: Array = before + self.delivered - self.in_place
        return found

    @property
    def replicas(self) -> Array:
        """(W, S, L, T) replicas with their reserves, not rounded."""
        found: Array = self.share * replicas_in_all(self.problem)[:, :, None, :]
        return found

    @property
    def capital_usd(self) -> Array:
        """(T,) paid for equipment at the start of each quarter."""
        found: Array = np.einsum("slt,st->t", self.delivered, self.problem.capital_usd)
        return found

    @property
    def running_usd(self) -> Array:
        """(T,) paid at the end of each quarter: energy, upkeep, building, rent."""
        found: Array = (self.in_place * self.problem.holding_usd).sum((0, 1)) + (self.share * self.problem.load_usd).sum((0, 1, 2))
        return found

    @property
    def resale_usd(self) -> Array:
        """(T,) fetched by retired systems."""
        found: Array = np.einsum("slt,st->t", self.retired, self.problem.resale_usd)
        return found

    @property
    def revenue_usd(self) -> Array:
        """(T,) earned by the served demand."""
        found: Array = ((1.0 - self.unserved) * self.problem.revenue_usd).sum(0)
        return found

    @property
    def horizon_usd(self) -> float:
        """What the systems in place at the end are then worth, the youngest being those that stayed."""
        problem = self.problem
        left, worth = self.in_place[:, :, -1].copy(), 0.0
        for c in range(len(problem.quarters) - 1, -1, -1):
            young = len(problem.quarters) - 1 - c < problem.life_quarters
            kept = np.where(young[:, None], np.minimum(left, self.delivered[:, :, c]), 0.0)
            worth += float((kept * problem.horizon_usd[:, None, c]).sum())
            left -= kept
        standing = np.where(problem.in_place_quarters_left >= len(problem.quarters), np.minimum(left, problem.in_place), 0.0)
        return worth + float((standing * problem.in_place_horizon_usd).sum())


@dataclass(frozen=True)
class Shortage:
    """By how much one constraint is short in one quarter: `amount` of `unit` at or of `where`; `of` is what there is."""

    kind: str
    where: str
    quarter: str
    amount: float
    unit: str
    of: float


@dataclass(frozen=True)
class Infeasible:
    """Why there is no plan: remedies, each of which alone would make one possible, by the constraints that it loosens and by how much."""

    remedies: tuple[tuple[Shortage, ...], ...]


def is_small(problem: PlanProblem) -> bool:
    """Whether replicas are so few that rounding each up to a whole one matters."""
    least = np.where(np.isfinite(problem.goodput_requests_per_s)[:, :, None], replicas_in_all(problem), math.inf).min(1)
    return bool(least.sum(0).max() <= SMALL_REPLICAS)


def solve_plan(problem: PlanProblem, *, gap_fraction: float = 1e-3, time_limit_s: float = math.inf, small: bool | None = None) -> Plan | Infeasible:
    """The plan of least cost (or greatest margin), to within `gap_fraction`; or what is short.

    In a small fleet replicas are whole, `small` says whether it is one; in a fleet of thousands rounding one up is nothing, and deliveries are whole
    in any case. Where the time is over, the best plan so far comes with its gap. InputError for settings out of their bounds.
    """
    check_range("gap_fraction", gap_fraction, at_least=0, below=1)
    small = is_small(problem) if small is None else small
    program = program_of(problem, small=small)
    began = time.perf_counter()
    solved = program.solve(gap_fraction=gap_fraction, time_limit_s=time_limit_s)
    if solved.values is None:
        return Infeasible(tuple(_remedies(problem, small)))
    return _plan(problem, program, solved, time.perf_counter() - began, small)


def _plan(problem: PlanProblem, program: Program, solved: Solved, solve_s: float, small: bool) -> Plan:
    found = {name: solved.of(program.columns[name]) for name in "xzdn"}
    # What costs nothing to have delivered (rented systems) is delivered when it is first kept, not before.
    added = np.maximum(np.diff(found["n"], axis=2, prepend=problem.in_place[:, :, None]), 0.0)
    free = ~problem.capital_usd.any(1) & np.isinf(problem.life_quarters)
    found["d"] = np.where(free[:, None, None], added, found["d"])
    return Plan(problem, found["x"], found["z"], found["d"], found["n"], solved.cost_usd, solved.bound_usd, solve_s, small, solved.out_of_time)


# --- what is short -----------------------------------------------------------------------------------------------------------------------------


def _remedies(problem: PlanProblem, small: bool) -> Iterator[tuple[Shortage, ...]]:
    """The kinds of constraint that alone would do if loosened, by how much; several at once where none does alone; and the demand, which always does."""
    found = [one for kinds in _REMEDIES if (one := _loosened(problem, kinds, small))]
    if not found:
        pairs = (left + right for left, right in itertools.combinations(_REMEDIES[:3], 2))
        found = [one for kinds in pairs if (one := _loosened(problem, kinds, small))][:1] or [_loosened(problem, sum(_REMEDIES, ()), small)]
    yield from (one for one in found if one)
    unserved = _loosened(problem, ("served",), small)
    if unserved:
        yield unserved


def _loosened(problem: PlanProblem, kinds: tuple[str, ...], small: bool) -> tuple[Shortage, ...]:
    """The least by which constraints of some kinds must be loosened so that there is a plan; nothing where that does not help.

    Of a large fleet the relaxation says it, unless it is whole systems that are wanting.
    """
    program = elastic_of(problem, kinds, small=small)
    for relaxed in (True, False) if not small else (False,):
        solved = program.solve(gap_fraction=1e-6, relaxed=relaxed)
        if solved.values is None:
            return ()
        found = tuple(one for kind in kinds for one in _shortages(problem, program, solved, kind))
        if found:
            return found
    return ()


def _shortages(problem: PlanProblem, program: Program, solved: Solved, kind: str) -> Iterator[Shortage]:
    ids = program.columns.get(f"{kind} missed")
    if ids is None:
        return
    missed = solved.of(ids)
    regions = list(dict.fromkeys(problem.regions))
    for place in np.argwhere(missed > _MISSED):
        amount, quarter = float(missed[tuple(place)]), problem.quarters[place[-1]]
        if kind == "power":
            yield Shortage(kind, problem.sites[place[0]], quarter, amount, "MW", float(problem.it_mw[tuple(place)]))
        elif kind == "supply":
            yield Shortage(kind, problem.systems[place[0]], quarter, amount, "systems", float(problem.supply_systems[tuple(place)]))
        elif kind == "budget":
            yield Shortage(kind, "capital", quarter, amount * 1e6, "USD", float(problem.budget_usd[place[0]]))
        elif kind == "budget in all":
            yield Shortage(kind, "capital in all", "", amount * 1e6, "USD", problem.budget_in_all_usd)
        elif kind == "served":
            yield Shortage(kind, problem.workloads[place[0]], quarter, amount, "of its demand", 1.0)
        else:
            yield Shortage(kind, f"{problem.workloads[place[1]]} without {regions[place[0]]}", quarter, amount, "of its demand", 1.0)


def in_words(remedy: tuple[Shortage, ...]) -> str:
    """What is short, for a planner: each place once, with the quarters in which it is and the worst of them."""
    places: dict[tuple[str, str], list[Shortage]] = {}
    for one in remedy:
        places.setdefault((one.kind, one.where), []).append(one)
    return "; ".join(_place_in_words(kind, where, short) for (kind, where), short in places.items())


def _place_in_words(kind: str, where: str, short: list[Shortage]) -> str:
    worst = max(short, key=lambda one: one.amount)
    quarters = worst.quarter if len(short) == 1 else f"{len(short)} quarters from {short[0].quarter} to {short[-1].quarter}, most in {worst.quarter}:"
    if kind == "power":
        return f"power at {where} in {quarters} is short by {_rounded(worst.amount)} MW of IT power (of {_rounded(worst.of)})"
    if kind == "supply":
        there = f"{_rounded(worst.of)} can be delivered" if worst.of > 0 else "none can be delivered by then"
        return f"supply of {where} in {quarters} is short by {_rounded(worst.amount)} systems ({there})"
    if kind == "budget":
        return f"capital in {quarters} is short by {_rounded(worst.amount / 1e6)} M USD (of {_rounded(worst.of / 1e6)})"
    if kind == "budget in all":
        return f"capital in all is short by {_rounded(worst.amount / 1e6)} M USD (of {_rounded(worst.of / 1e6)})"
    if kind == "served":
        return f"{_rounded(100 * worst.amount)} % of the peak of {where} in {quarters} cannot be carried"
    return f"of {where} in {quarters} {_rounded(100 * worst.amount)} % of the peak is not carried"


def _rounded(value: float) -> str:
    """Three significant figures, whole numbers whole."""
    return f"{value:,.0f}" if value >= 100 or abs(value - round(value)) < 1e-6 else f"{value:.3g}"


# --- what one more would be worth ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ShadowPrices:
    """By how much the least discounted cost falls, in USD of the first day, for one more; of the relaxation, in which nothing need be whole.

    usd_per_mw             (L, T) one megawatt more of a site's IT power in that quarter alone
    usd_per_accelerator    (S, T) one more accelerator deliverable in that quarter
    usd_per_quarter_earlier  (S, T) an accelerator deliverable in the quarter before instead (0 for the first)
    usd_per_usd            (T,) one USD more of that quarter's budget; `usd_per_usd_in_all` of the budget in all
    usd_per_served         (W, T) what the whole of a workload in that quarter costs at the margin
    """

    usd_per_mw: Array
    usd_per_accelerator: Array
    usd_per_quarter_earlier: Array
    usd_per_usd: Array
    usd_per_usd_in_all: float
    usd_per_served: Array


def shadow_prices(problem: PlanProblem) -> ShadowPrices | None:
    """What one more of each scarce thing is worth; None where even the relaxation has no plan."""
    prices = program_of(problem, small=False).prices()
    if not prices:
        return None
    supply = prices["supply"] / problem.accelerators[:, None]
    earlier = np.zeros_like(supply)
    earlier[:, 1:] = supply[:, :-1] - supply[:, 1:]
    return ShadowPrices(prices["power"], supply, earlier, prices["budget"] / 1e6, float(prices["budget in all"][0]) / 1e6, -prices["served"])


# --- the lower bound and what stands between it and the plan -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A step from the lower bound to the plan: the least discounted cost with everything up to it, in USD."""

    name: str
    cost_usd: float


def ladder(plan: Plan) -> list[Step]:
    """From demand at bare goodput, nothing scarce and nothing whole, to the plan: the least cost as each reserve and limit comes in, in this order.

    Each step but the last two is a linear program; steps that change nothing are left out. What the solver could not rule out is the last.
    """
    target = plan.problem
    nothing = Reserves(*(np.ones_like(getattr(target.reserves, field.name)) for field in dataclasses.fields(Reserves)))
    bare = dataclasses.replace(
        target,
        reserves=nothing,
        spare_fraction=np.zeros_like(target.spare_fraction),
        survives=np.zeros_like(target.survives),
        supply_systems=np.full_like(target.supply_systems, math.inf),
        it_mw=np.full_like(target.it_mw, math.inf),
        budget_usd=np.full_like(target.budget_usd, math.inf),
        budget_in_all_usd=math.inf,
    )
    steps = [Step("demand at goodput", _relaxed_usd(bare))]
    for name in (field.name for field in dataclasses.fields(Reserves)):
        wanted = getattr(target.reserves, name)
        if np.nanmax(wanted) > 1.0:
            bare = dataclasses.replace(bare, reserves=dataclasses.replace(bare.reserves, **{name: wanted}))
            steps.append(Step(name, _relaxed_usd(bare)))
    limits = {"spares": "spare_fraction", "loss of a region": "survives", "supply and lead time": "supply_systems", "power": "it_mw"}
    for step, name in (*limits.items(), ("budget by quarter", "budget_usd"), ("budget in all", "budget_in_all_usd")):
        if not np.array_equal(getattr(bare, name), getattr(target, name)):
            bare = dataclasses.replace(bare, **{name: getattr(target, name)})
            steps.append(Step(step, _relaxed_usd(bare)))
    return [*steps, Step("whole systems and replicas", max(plan.bound_usd, steps[-1].cost_usd)), Step("left open by the solver", plan.cost_usd)]


def _relaxed_usd(problem: PlanProblem) -> float:
    solved = program_of(problem, small=False).solve(relaxed=True)
    return solved.cost_usd if solved.values is not None else math.nan


def lower_bound_replicas(plan: Plan) -> Array:
    """(W, S, T): whole replicas that the plan's share of each workload on each system takes at its peak with no reserve at all, ceil(rate / goodput)."""
    bare = plan.share.sum(2) * plan.problem.bare_replicas
    found: Array = np.ceil(bare * (1.0 - 1e-9) - 1e-9)
    return found
