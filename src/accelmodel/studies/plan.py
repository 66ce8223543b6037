"""The plan study: systems to have delivered, kept and retired, where and when; every plan goes through the simulator, and is repaired where it is short."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from accelmodel.errors import InputError
from accelmodel.fleet.plan import Infeasible, Plan, Step, in_words, is_small, ladder, lower_bound_replicas, shadow_prices, solve_plan
from accelmodel.fleet.plan_model import SECONDS_PER_QUARTER, Array, Integers, PlanProblem
from accelmodel.numbers import text
from accelmodel.results.table import table
from accelmodel.studies.plan_problem import Built, Demanded, built
from accelmodel.studies.proof import Proof, prove
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import PlanPart, PlanStudy
from accelmodel.studies.traces import Trace
from accelmodel.units import TOKENS_PER_MTOK

_WHOLE = 1e-6
_MIX = "a mix"
_REMNANT_REPLICAS = 32
_MW_DIGITS = 9  # what the solver leaves of a system that it does not want is no power
_CALIBRATED_REPLICAS, _CALIBRATED_S = 32, 30.0  # of the cell and the window by which the first plan's factors are found
_PLANS: WeakKeyDictionary[Context, dict[int, tuple[Built, Proven]]] = WeakKeyDictionary()  # a plan and its parts solve and prove it once


@dataclass(frozen=True)
class Proved:
    """One proof: a pool of replicas on a system in its busiest quarter, `replicas` installed of which so many were simulated as up."""

    pool: str
    system: str
    quarter: str
    requests_per_s: float
    installed: int
    proof: Proof


@dataclass(frozen=True, eq=False)
class Proven:
    """A plan that holds in the simulator; `rounds` counts the plans it took, `unfit` says what could not be served where, `tried` holds, of a small fleet,
    the plans with each system alone and with a mix of them, or why there is none."""

    plan: Plan
    proofs: tuple[Proved, ...]
    rounds: int
    unfit: tuple[str, ...] = ()
    tried: dict[str, Proven | str] = field(default_factory=dict)

    @functools.cached_property
    def steps(self) -> list[Step]:
        """From the lower bound to the plan."""
        return ladder(self.plan)

    @property
    def short_fraction(self) -> float:
        """By how much the analytic size was short at most: the factor that proofs put on the replicas of a workload that is served on a system, less 1."""
        used = self.plan.share.sum((2, 3)) > _WHOLE
        return float(np.where(used, np.nan_to_num(self.plan.problem.reserves.proof, nan=1.0), 1.0).max()) - 1.0


def study(context: Context, asked: PlanStudy) -> StudyResult:
    """A row per quarter."""
    made, proven = planned(context, asked)
    rows = _quarters(made, proven.plan)
    summary = _summary(made, proven)
    return _result("plan", rows, summary, [*made.notes, *_notes(made, proven)])


def part(context: Context, asked: PlanPart) -> StudyResult:
    """One of the closer looks at a plan."""
    of = context.scenario.studies[asked.of]
    assert isinstance(of, PlanStudy)
    made, proven = planned(context, of)
    if asked.part == "single-systems":
        rows, notes = _single_systems(made, proven)
    else:
        found = {"sites": _sites, "workloads": _workloads, "shadow-prices": _prices, "bound": _bound, "proofs": _proofs}[asked.part]
        rows, notes = found(made, proven), []
    return _result("plan-part", rows, {"rows": rows}, notes)


def _result(kind: str, rows: list[dict[str, Any]], summary: dict[str, Any], notes: list[str]) -> StudyResult:
    names = list(rows[0])
    return StudyResult(kind, table({name: [row[name] for row in rows] for name in names}), summary, notes, names)


def planned(context: Context, asked: PlanStudy) -> tuple[Built, Proven]:
    """What a plan study was built of, and its plan, which is solved and proven once."""
    known = _PLANS.setdefault(context, {})
    if id(asked) not in known:
        made = built(context, asked)
        known[id(asked)] = made, best_proven(made)
    return known[id(asked)]


# --- solve, prove, repair ------------------------------------------------------------------------------------------------------------------------


def best_proven(made: Built) -> Proven:
    """The cheapest plan that the simulator confirms.

    First the simulator says, workload by workload and system by system, how much of the analytic goodput a pool really carries; then a plan is solved, proven
    and repaired. In a small fleet, whose pools are small, the plans with each system alone are proven first: they set the level of the factors of a pool's
    slices on each system, and where no mix is confirmed that costs less, the cheapest of them is the plan.
    """
    problem, unfit = _calibrated(made)
    if not is_small(problem) or len(problem.systems) < 2:
        return solved_and_proven(made, problem, unfit)
    tried = _alone(made, problem, unfit)
    try:
        tried[_MIX] = solved_and_proven(made, _levelled(made, problem, tried), unfit)
    except InputError as error:
        tried[_MIX] = str(error)
    found = [one for one in tried.values() if isinstance(one, Proven)]
    if not found:
        raise InputError(str(tried[_MIX]))
    return dataclasses.replace(min(found, key=lambda one: one.plan.cost_usd), tried=tried)


def _levelled(made: Built, problem: PlanProblem, alone: dict[str, Proven | str]) -> PlanProblem:
    """The factors of each pool on each system, brought to the level at which the whole pool was proven on that system alone."""
    factor = problem.reserves.proof.copy()
    bare = problem.bare_replicas.max(2)
    for s, name in enumerate(problem.systems):
        proven = alone[name]
        if isinstance(proven, Proven):
            for pool in range(int(problem.pools.max()) + 1):
                members = problem.pools == pool
                level = proven.plan.problem.reserves.proof[members, s] @ bare[members, s] / (factor[members, s] @ bare[members, s])
                factor[members, s] = np.maximum(factor[members, s] * level, 1.0)
    return made.with_proof(problem, problem.goodput_requests_per_s, factor)


def _alone(made: Built, problem: PlanProblem, unfit: tuple[str, ...]) -> dict[str, Proven | str]:
    """The plan with each of its systems alone, or why there is none; in a small fleet from the analytic size up, as a pool's slices ask for less together."""
    proof = problem.reserves.proof
    if is_small(problem):
        proof = np.where(np.isfinite(problem.goodput_requests_per_s), 1.0, math.nan)
    found: dict[str, Proven | str] = {}
    for s, name in enumerate(problem.systems):
        goodput = np.full_like(problem.goodput_requests_per_s, math.nan)
        goodput[:, s] = problem.goodput_requests_per_s[:, s]
        try:
            found[name] = solved_and_proven(made, made.with_proof(problem, goodput, proof), unfit)
        except InputError as error:
            found[name] = str(error)
    return found


def _calibrated(made: Built) -> tuple[PlanProblem, tuple[str, ...]]:
    """The problem with what the simulator asks for on top of the analytic size, each workload alone in a cell of each system; unfit for what it never carries.

    A cell of n replicas gets n / headroom times the goodput; it takes m replicas, so that m / n is the factor.
    """
    problem, cell_replicas = made.problem, min(made.asked.proof.cell_replicas, _CALIBRATED_REPLICAS)
    factor, goodput, unfit = problem.reserves.proof.copy(), problem.goodput_requests_per_s.copy(), []
    for w, one in enumerate(made.demanded):
        for s, (cell, _) in one.served.items():
            rate = float(cell_replicas * goodput[w, s] * (1.0 - made.asked.headroom_fraction))
            how: dict[str, Any] = {"cell_replicas": cell_replicas, "window_s": _CALIBRATED_S, "seed": made.seed}
            traffic = _hastened(one.traffic, rate).within(cell.replica.model.architecture.max_context_tokens)
            found = prove(cell.replica, traffic, rate, cell_replicas, one.targets, **how)
            if found.replicas_proven is None:
                goodput[w, s] = math.nan
                unfit.append(f"{one.name} on {problem.systems[s]}: {found.why_not}")
            else:
                factor[w, s] = found.replicas_proven / cell_replicas
        if not np.isfinite(goodput[w]).any():
            raise InputError("no number of replicas would do: " + "; ".join(unfit[-len(one.served) :]), key=f"workloads.{one.of}")
    return _confirmed(made, goodput, factor, unfit), tuple(unfit)


def _hastened(traffic: Trace, requests_per_s: float) -> Trace:
    """The requests closer together, at a rate, but for a minute at least: as many different ones as there are, where copies of a long trace would take long."""
    nearer = traffic.requests / traffic.duration_s / requests_per_s
    return traffic.stretched(min(max(nearer, 2.0 * _CALIBRATED_S / traffic.duration_s), 1.0))


def _confirmed(made: Built, goodput: Array, factor: Array, unfit: list[str]) -> PlanProblem:
    """The problem with what the simulator says; where that leaves a workload nowhere to go, its words."""
    try:
        return made.with_proof(made.problem, goodput, factor)
    except InputError as error:
        raise InputError(f"{error.message}: " + "; ".join(unfit), key=error.key) from None


def solved_and_proven(made: Built, problem: PlanProblem, unfit: tuple[str, ...] = ()) -> Proven:
    """Solve; put what serves each pool on each system through the simulator; where that is short, ask for more of it and solve again.

    InputError where there is no plan (what is short), or none that the simulator confirms in the rounds allowed.
    """
    known: dict[tuple[Any, ...], Proof] = {}
    short: list[Proved] = []
    for round_ in range(1, made.asked.proof.rounds + 1):
        plan = solve_plan(problem, gap_fraction=made.asked.gap_fraction, time_limit_s=made.asked.time_limit_s)
        if isinstance(plan, Infeasible):
            raise InputError(_no_plan(plan, round_, unfit))
        proofs = _put_through(made, plan, known)
        short = [one for one in proofs if not one.proof.held]
        if not short:
            return Proven(plan, tuple(proofs), round_, unfit)
        goodput, factor = problem.goodput_requests_per_s.copy(), problem.reserves.proof.copy()
        for one in short:
            unfit = (*unfit, *_repaired(made, plan, goodput, factor, one))
        problem = made.with_proof(problem, goodput, factor)
    words = "; ".join(f"{one.pool} on {one.system}: {one.proof.words}" for one in short)
    raise InputError(f"no plan was confirmed by the simulator in {made.asked.proof.rounds} rounds ({words})", key="proof.rounds", value=made.asked.proof.rounds)


def _no_plan(found: Infeasible, round_: int, unfit: tuple[str, ...]) -> str:
    after = "" if round_ == 1 else f" that holds in the simulator (plan {round_}; the ones before were too short)"
    if not found.remedies:
        return f"no plan{after} was found in the time allowed: give time_limit_s more"
    words = "; or ".join(in_words(remedy) for remedy in found.remedies)
    return f"there is no plan{after}: {words}" + "".join(f". {one}" for one in unfit)


def _put_through(made: Built, plan: Plan, known: dict[tuple[Any, ...], Proof]) -> list[Proved]:
    """Every pool on every system that serves it, at its greatest rate."""
    problem = plan.problem
    found = []
    for pool in range(int(problem.pools.max()) + 1):
        members = np.flatnonzero(problem.pools == pool)
        rates = plan.share[members].sum(2) * problem.peak_requests_per_s[members][:, None, :]  # (members, S, T)
        for s in np.flatnonzero(rates.sum((0, 2)) > 0):
            t = int(rates[:, s].sum(0).argmax())
            if rates[:, s, t].sum() > _WHOLE:
                found.append(_proved(made, plan, members, int(s), t, rates[:, s, t], known))
    return found


def _proved(made: Built, plan: Plan, members: Integers, s: int, t: int, rates: Array, known: dict[tuple[Any, ...], Proof]) -> Proved:
    """One pool on one system: what is up of its replicas, drained and failed ones being away, under its share of the requests.

    In a fleet of thousands a program may leave a remnant of few replicas somewhere; it is proven as the part of a cell that it is, at the cell's rate.
    """
    installed = _installed(plan, members, s, t)
    first = int(members[rates.argmax()])
    away = float(plan.problem.reserves.away[first, s, t])
    up = max(math.floor(installed / away + _WHOLE), 1)
    if not plan.small and up < _REMNANT_REPLICAS:
        up, rates = _REMNANT_REPLICAS, rates * (_REMNANT_REPLICAS * away / float(plan.replicas[members, s, :, t].sum()))
    key = (int(plan.problem.pools[first]), s, up, *(float(f"{rate:.6g}") for rate in rates))
    if key not in known:
        how, of = made.asked.proof, made.cell(first, s).replica
        traffic = _mixed([made.demanded[w] for w in members], rates).within(of.model.architecture.max_context_tokens)
        options: dict[str, Any] = {"cell_replicas": how.cell_replicas, "window_s": how.window_s, "seed": made.seed}
        known[key] = prove(of, traffic, float(rates.sum()), up, made.demanded[first].targets, **options)
    return Proved(made.demanded[first].of, plan.problem.systems[s], plan.problem.quarters[t], float(rates.sum()), installed, known[key])


def _installed(plan: Plan, members: Integers, s: int, t: int) -> int:
    """Replicas of a pool on a system: at each site whole, rounded up in a small fleet, where they are counted so, and down over all sites in a large one."""
    by_site = plan.replicas[members, s, :, t].sum(0)
    if plan.small:
        return max(int(np.ceil(by_site - _WHOLE).sum()), 1)
    return max(math.floor(float(by_site.sum()) + _WHOLE), 1)


def _mixed(demanded: list[Demanded], rates: Array) -> Trace:
    """Requests of a pool's workloads in the order in which they arrive, of each such a part that their rates are in proportion."""
    if len(demanded) == 1:
        return demanded[0].traffic
    own = np.array([one.traffic.requests for one in demanded])
    kept_fraction = rates / own / (rates / own).max()
    rows = []
    for w, (one, share) in enumerate(zip(demanded, kept_fraction, strict=True)):
        kept = np.random.default_rng(w).uniform(size=one.traffic.requests) < share
        of = one.traffic
        cached_tokens = np.zeros(of.requests) if of.cached_tokens is None else of.cached_tokens
        rows.append(np.array([part[kept] for part in (of.arrival_s, of.input_tokens, of.output_tokens, cached_tokens)]))
    whole = np.concatenate(rows, 1)
    arrival_s, input_tokens, output_tokens, cached_tokens = np.ascontiguousarray(whole[:, np.argsort(whole[0], kind="stable")])
    return Trace(demanded[0].of, arrival_s, input_tokens, output_tokens, cached_tokens=cached_tokens if cached_tokens.any() else None)


def _repaired(made: Built, plan: Plan, goodput: Array, factor: Array, short: Proved) -> list[str]:
    """Raise the factors of a pool on a system by what the simulator found short; or take its goodput away there, where no number would do, and say so."""
    problem = plan.problem
    s, t = problem.systems.index(short.system), problem.quarters.index(short.quarter)
    members = np.array([w for w, one in enumerate(made.demanded) if one.of == short.pool])
    if short.proof.replicas_proven is None:
        goodput[members, s] = math.nan
        words = f"{short.pool} on {short.system}: {short.proof.why_not}"
        if not np.isfinite(goodput[members]).any(1).all():
            raise InputError(f"no number of replicas would do. {words}", key=f"workloads.{short.pool}")
        return [words]
    more = 1.0 + short.proof.short_fraction
    if plan.small:
        carrying = np.nan_to_num(factor[members, s] * problem.bare_replicas[members, s, t])
        serving = float(plan.share[members, s, :, t].sum(1) @ carrying) / (1.0 - made.asked.headroom_fraction)
        more = short.proof.replicas_proven / serving
    factor[members, s] *= max(more, 1.0 + 1e-3)
    return []


# --- what it tells -------------------------------------------------------------------------------------------------------------------------------


def _quarters(made: Built, plan: Plan) -> list[dict[str, Any]]:
    """The plan by quarter."""
    problem = plan.problem
    mtok = _mtok(made, plan).sum(0)
    chips = np.einsum("slt,s->t", plan.in_place, problem.accelerators)
    it_mw = _it_mw(plan)
    charge = _charge_usd(made, plan)
    cost, sold = plan.running_usd + charge, plan.revenue_usd
    has_price = bool(problem.revenue_usd_per_request.any())
    demanded = (problem.peak_requests_per_s * problem.mean_fraction[:, None]).sum(0)
    served = ((1.0 - plan.unserved) * problem.peak_requests_per_s * problem.mean_fraction[:, None]).sum(0)
    rows = []
    for t, quarter in enumerate(problem.quarters):
        row = {
            "quarter": quarter,
            "systems": round(float(plan.in_place[:, :, t].sum())),
            "fleet_accelerators": round(float(chips[t])),
            "delivered_systems": round(float(plan.delivered[:, :, t].sum())),
            "retired_systems": round(float(plan.retired[:, :, t].sum())),
            "it_power_mw": _known(it_mw[:, :, t].sum()),
            "capital_usd": float(plan.capital_usd[t]),
            "running_cost_usd": float(plan.running_usd[t]),
            "capital_charge_usd": float(charge[t]),
            "cost_usd": float(cost[t]),
            "served_fraction": float(served[t] / demanded[t]) if demanded[t] else None,
            "served_mtok": float(mtok[t]),
            "cost_usd_per_mtok": float(cost[t] / mtok[t]) if mtok[t] else None,
        }
        if has_price:
            row |= {"revenue_usd": float(sold[t]), "margin_fraction": float(1.0 - cost[t] / sold[t]) if sold[t] else None}
        rows.append(row)
    return rows


def _it_mw(plan: Plan) -> Array:
    """(S, L, T) IT power of what is in place; NaN where it is unknown."""
    found: Array = np.where(plan.in_place > 0, plan.in_place * plan.problem.it_mw_per_system[:, None, None], 0.0)
    return found


def _known(value: float) -> float | None:
    """The value as a plain number; None where it is unknown or without limit."""
    return float(value) if math.isfinite(value) else None


def _mtok(made: Built, plan: Plan) -> Array:
    """(W, T) million tokens served in a quarter."""
    tokens = np.array([one.tokens for one in made.demanded])
    problem = plan.problem
    mean = problem.peak_requests_per_s * problem.mean_fraction[:, None] * (1.0 - plan.unserved)
    found: Array = mean * tokens[:, None] * SECONDS_PER_QUARTER / TOKENS_PER_MTOK
    return found


def _charge_usd(made: Built, plan: Plan) -> Array:
    """(T,) annuities of the systems in place, the youngest being those that stayed; what stood at the beginning at the first quarter's price."""
    charge = plan.problem.capital_usd * made.worth.charge[:, None]
    by_quarter = [sum(float((kept.sum(1) * charge[:, c]).sum()) for c, kept in cohorts(plan, t)) for t in range(len(plan.problem.quarters))]
    return np.array(by_quarter)


def cohorts(plan: Plan, t: int) -> Iterator[tuple[int, Array]]:
    """Systems in place in a quarter, (S, L), by the quarter whose price they bear, the youngest first; what stood at the beginning comes last."""
    left = plan.in_place[:, :, t].copy()
    for c in range(t, -1, -1):
        kept = np.minimum(left, plan.delivered[:, :, c]) * (t - c < plan.problem.life_quarters)[:, None]
        yield c, kept
        left -= kept
    yield 0, np.minimum(left, plan.problem.in_place)


def _summary(made: Built, proven: Proven) -> dict[str, Any]:
    plan, problem = proven.plan, proven.plan.problem
    bound = lower_bound_replicas(plan)
    busiest = int(bound.sum((0, 1)).argmax())
    return {
        "present_cost_usd": plan.cost_usd,
        "bound_usd": plan.bound_usd,
        "gap_fraction": plan.gap_fraction,
        "objective": made.asked.objective,
        "lower_bound": [{"step": step.name, "present_cost_usd": step.cost_usd} for step in proven.steps],
        "busiest_quarter": problem.quarters[busiest],
        "lower_bound_replicas": int(bound[:, :, busiest].sum()),
        "replicas": float(plan.replicas[..., busiest].sum()),
        "proofs": [_proof_row(one) for one in proven.proofs],
        "rounds": proven.rounds,
        "short_fraction": proven.short_fraction,
        "not_served": list(proven.unfit),
    }


def _notes(made: Built, proven: Proven) -> list[str]:
    plan = proven.plan
    ended = "; the time allowed was over" if plan.out_of_time else ""
    what = "cost less revenue" if made.asked.objective == "margin" else "cost"
    found = [
        f"Discounted {what} {text(plan.cost_usd, 'USD')}; with these reserves no plan is below {text(plan.bound_usd, 'USD')} "
        f"(gap {plan.gap_fraction:.3%}{ended})",
        f"{len(proven.proofs)} proofs by simulation, all held in plan {proven.rounds}"
        + (f"; the analytic size was short by up to {proven.short_fraction:.1%}, which is repaired" if proven.short_fraction > 0 else ""),
    ]
    found += [f"Not served there: {one}" for one in proven.unfit]
    found.append("From the bare demand to the plan: " + ", ".join(f"{step.name} {text(step.cost_usd, 'USD')}" for step in proven.steps))
    return [*found, *_paid_by_the_quarter(made, plan), *_beyond_terms(made, plan)]


def _paid_by_the_quarter(made: Built, plan: Plan) -> list[str]:
    """Why equipment costs less a year here than in studies that pay by the year: a year's four payments come sooner."""
    rate = plan.problem.discount_fraction_per_quarter
    if rate == 0.0 or not _charge_usd(made, plan).any():
        return []
    sooner = 4.0 * rate / ((1.0 + rate) ** 4 - 1.0)
    return [f"Equipment is paid for by the quarter: four payments are {1.0 - sooner:.1%} less than one at the year's end, by which other studies count"]


def _beyond_terms(made: Built, plan: Plan) -> list[str]:
    """What is asked beyond the terms of the offers by which systems are rented."""
    found = []
    for s, name in enumerate(plan.problem.systems):
        cell = next((one.served[s][0] for one in made.demanded if s in one.served), None)
        most = float(plan.in_place[s].sum(0).max())
        words = None if cell is None or most < 1 else cell.money.outlived(round(most), float((plan.in_place[s].sum(0) > 0.5).sum()) / 4)
        found += [] if words is None else [f"{name}: {words}"]
    return found


def _sites(made: Built, proven: Proven) -> list[dict[str, Any]]:
    """A row per quarter, site and system that stands or is ordered there."""
    plan, problem = proven.plan, proven.plan.problem
    ordered = np.zeros_like(plan.delivered)
    for s, lead in enumerate(made.lead_quarters):
        ordered[s, :, : plan.delivered.shape[2] - lead] = plan.delivered[s, :, lead:]
    it_mw = _it_mw(plan)
    there = plan.in_place + plan.delivered + plan.retired + ordered > 0.5
    rows = []
    for t, site, s in np.argwhere(there.transpose(2, 1, 0)):
        drawn = it_mw[:, site, t].round(_MW_DIGITS)
        rows.append(
            {
                "quarter": problem.quarters[t],
                "site": problem.sites[site],
                "region": problem.regions[site],
                "system": problem.systems[s],
                "systems": round(float(plan.in_place[s, site, t])),
                "fleet_accelerators": round(float(plan.in_place[s, site, t] * problem.accelerators[s])),
                "ordered_systems": round(float(ordered[s, site, t])),
                "delivered_systems": round(float(plan.delivered[s, site, t])),
                "retired_systems": round(float(plan.retired[s, site, t])),
                "it_power_mw": _known(drawn[s]),
                "site_it_power_mw": _known(drawn.sum()),
                "site_it_power_limit_mw": _known(problem.it_mw[site, t]),
            }
        )
    return rows


def _workloads(_: Built, proven: Proven) -> list[dict[str, Any]]:
    """A row per quarter, workload and system that serves it."""
    plan, problem = proven.plan, proven.plan.problem
    share, bound, replicas = plan.share.sum(2), lower_bound_replicas(plan), plan.replicas.sum(2)
    rows = []
    for t, w, s in np.argwhere(share.transpose(2, 0, 1) > 1e-9):
        rows.append(
            {
                "quarter": problem.quarters[t],
                "workload": problem.workloads[w],
                "system": problem.systems[s],
                "share_fraction": float(share[w, s, t]),
                "peak_requests_per_s": float(share[w, s, t] * problem.peak_requests_per_s[w, t]),
                "replica_goodput_requests_per_s": float(problem.goodput_requests_per_s[w, s]),
                "lower_bound_replicas": int(bound[w, s, t]),
                "replicas_with_reserves": float(replicas[w, s, t]),
                "reserve_factor": float(problem.reserves.factor[w, s, t]),
                "proof_factor": float(problem.reserves.proof[w, s]),
            }
        )
    return rows


def _prices(_: Built, proven: Proven) -> list[dict[str, Any]]:
    """A row per quarter and scarce thing: what one more of it is worth."""
    problem = proven.plan.problem
    prices = shadow_prices(problem)
    if prices is None:
        raise InputError("the relaxation has no plan")
    rows = []
    for t, quarter in enumerate(problem.quarters):
        limited = [k for k in range(len(problem.sites)) if np.isfinite(problem.it_mw[k]).any()]
        found = [("a megawatt of IT power", problem.sites[k], prices.usd_per_mw[k, t], "USD/MW") for k in limited]
        for s, system in enumerate(problem.systems):
            if np.isfinite(problem.supply_systems[s]).any():
                found.append(("a deliverable accelerator", system, prices.usd_per_accelerator[s, t], "USD/accelerator"))
                found.append(("an accelerator a quarter earlier", system, prices.usd_per_quarter_earlier[s, t], "USD/accelerator"))
        if math.isfinite(problem.budget_usd[t]):
            found.append(("a dollar of the quarter's budget", "capital", prices.usd_per_usd[t], "USD/USD"))
        if math.isfinite(problem.budget_in_all_usd) and t == 0:
            found.append(("a dollar of the budget in all", "capital", prices.usd_per_usd_in_all, "USD/USD"))
        rows += [{"quarter": quarter, "quantity": what, "place": where, "value": float(value), "unit": unit} for what, where, value, unit in found]
    if not rows:
        raise InputError("nothing has a limit: no site's power, no supply, no budget, so that nothing more is worth anything", key="part")
    return rows


def _bound(_: Built, proven: Proven) -> list[dict[str, Any]]:
    """A row per step from the lower bound to the plan."""
    steps = proven.steps
    before = [steps[0].cost_usd, *(step.cost_usd for step in steps)]
    return [
        {"plan_step": step.name, "added_usd": step.cost_usd - last if place else 0.0, "present_cost_usd": step.cost_usd}
        for place, (step, last) in enumerate(zip(steps, before, strict=False))
    ]


def _proofs(_: Built, proven: Proven) -> list[dict[str, Any]]:
    """A row per pool and system."""
    return [_proof_row(one) for one in proven.proofs]


def _proof_row(one: Proved) -> dict[str, Any]:
    targets = one.proof.targets
    return {
        "workload": one.pool,
        "system": one.system,
        "quarter": one.quarter,
        "requests_per_s": one.requests_per_s,
        "replicas": one.installed,
        "replicas_up": one.proof.replicas,
        "requests": one.proof.requests,
        "percentile": targets.percentile,
        "percentile_ttft_s": one.proof.ttft_s,
        "ttft_s": targets.ttft_s,
        "percentile_tpot_s": one.proof.tpot_s,
        "tpot_s": targets.tpot_s,
        "goodput_fraction": one.proof.goodput_fraction,
    }


def _single_systems(made: Built, proven: Proven) -> tuple[list[dict[str, Any]], list[str]]:
    """The plan beside what it would be with each of its systems alone, each proven too."""
    rows, notes = [_single_row("the plan", proven)], []
    for name, one in (proven.tried or _alone(made, *_calibrated(made))).items():
        label = name if name == _MIX else f"{name} alone"
        if isinstance(one, str):
            notes.append(f"{label}: {one}")
        else:
            rows.append(_single_row(label, one))
    for row in rows:
        row["saving_fraction"] = 1.0 - rows[0]["present_cost_usd"] / row["present_cost_usd"]
    return rows, notes


def _single_row(name: str, proven: Proven) -> dict[str, Any]:
    plan = proven.plan
    return {
        "system": name,
        "systems": round(float(plan.in_place.sum((0, 1)).max())),
        "present_cost_usd": plan.cost_usd,
        "gap_fraction": plan.gap_fraction,
        "largest_short_fraction": proven.short_fraction,
    }
