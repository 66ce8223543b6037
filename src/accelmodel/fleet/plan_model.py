"""The fleet plan as a mixed-integer linear program: workloads x systems x sites x quarters.

Indices: w workload, p pool (workloads that share replicas), s system, l site, k region, t quarter, c quarter of delivery. Decisions:

    x[w,s,l,t]    share of the workload's demand that is served by this system at this site                  0 <= x <= 1
    u[p,s,l,t]    replicas that a pool has there, reserves and all                                           whole in a small fleet
    d[s,l,t]      systems delivered for the quarter, in place and paid for at its start                      whole
    n[s,l,t]      systems in place during the quarter                                                        whole in a small fleet
    y[k,w,s,l,t]  x in the state in which region k is lost
    z[w,t]        share of the demand that is not served; 0 where all must be
    h[s,l,c]      of the systems delivered in c, those in place when the plan ends

Rows, with R[w,s,t] = reserve[w,s,t] peak[w,t] / goodput[w,s] the replicas that the whole of a workload would take:

    served        sum_sl x + z = 1                                          every workload is served, or is said not to be
    pools         sum_{w in p} R x <= u                                     replicas carry their share of the peak, with their reserves
    capacity      sum_p u / replicas_per_system <= n                        replicas stand in systems
    lost          sum_{s, l not in k} y + z = 1, sum_w R y / replicas_per_system <= n    the other regions carry the whole peak (N-1)
    stock         n[t] <= n[t-1] + d[t]                                     what is in place was there or comes; the rest is retired
    life          n[t] <= sum of d[c] not older than the life               the oldest leave first
    power         sum_s (MW per system) n <= MW of the site's IT power
    supply        sum_l (1 + spares) d <= systems deliverable in the quarter (none before the lead time)
    budget        sum_sl price d <= budget, by quarter and in all
    horizon       sum_c h <= n at the end, h[c] <= d[c]

Least discounted cost: capital at the start of the quarter of delivery; holding (idle energy, upkeep, building or rent) and the energy that load adds at the
quarter's end, as in `economics.cash_flow`; less what retired systems fetch, and less the horizon's value of what stays. What stands already is charged at its
worth. With the annuity's value for both, a system costs its annuity for every quarter that it is kept, wherever the horizon cuts. Where demand may stay
unserved, revenue is counted and the greatest margin is sought. In a fleet of thousands of systems only deliveries are whole: a fraction of a replica, or of
a system that is retired, is nothing there, and the program solves ten times as fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.errors import InputError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

QUARTERS_PER_YEAR = 4
HOURS_PER_QUARTER = 2190.0
SECONDS_PER_QUARTER = HOURS_PER_QUARTER * 3600.0
_MILLION = 1e6  # the solver sees millions of USD


@dataclass(frozen=True, eq=False)
class Reserves:
    """What is installed for each replica that the peak needs, as factors of at least 1.

    `headroom` is for queueing, `maintenance` for drained replicas, `availability` for failed ones, arrays (workloads, systems, quarters): their steps are the
    whole replicas of `fleet.sizing.Held` where a system serves all of a workload. `proof`, (workloads, systems), is what the simulator found to be short.
    """

    headroom: Array
    maintenance: Array
    availability: Array
    proof: Array

    @property
    def factor(self) -> Array:
        """Replicas installed for each replica at peak."""
        return self.headroom * self.maintenance * self.availability * self.proof[:, :, None]

    @property
    def away(self) -> Array:
        """Replicas installed for each that is up and not drained."""
        return self.maintenance * self.availability


@dataclass(frozen=True, eq=False)
class PlanProblem:
    """What a plan must do and may do. Shapes by the letters W workloads, S systems, L sites, T quarters; money in USD of each quarter, before discounting.

    regions                    (L,) region of each site
    pools                      (W,) workloads of one number share replicas
    peak_requests_per_s        (W, T) rate that must be carried
    mean_fraction              (W,) mean rate over the peak: what energy and revenue go by
    goodput_requests_per_s     (W, S) of one replica within its latency targets; NaN where the workload cannot run there
    replicas_per_system        (W, S) below 1 where a replica spans systems
    survives                   (W,) whether the workload is carried when a region is lost
    revenue_usd_per_request    (W, T)
    load_usd_per_replica_h     (W, S, L) what full load adds to a replica's hour: energy
    holding_usd                (S, L, T) what a system in place costs in a quarter, loaded or not
    price_usd, spare_usd       (S, T) of a system delivered, and of a spare beside it
    resale_usd                 (S, T) net, of a system retired at the quarter's start
    horizon_usd                (S, T) worth at the plan's end of a system delivered in a quarter
    in_place                   (S, L) systems that stand when the plan begins, with the quarters they have left to live, and what each is worth then (which the
                               plan is charged with, whatever becomes of it) and at the plan's end: in_place_quarters_left, in_place_usd, in_place_horizon_usd
    life_quarters              (S,) infinite for what is rented
    spare_fraction             (S,) spares bought beside each system
    accelerators               (S,) in a system
    it_mw_per_system           (S,) NaN where unknown: then no site at which it may stand has a limit
    allowed                    (S, L) whether a system may stand at a site
    supply_systems             (S, T) deliverable, infinite without limit, 0 before the lead time
    it_mw                      (L, T) infinite without limit
    budget_usd                 (T,) and budget_in_all_usd: capital, infinite without limit
    must_serve                 all demand is served at least cost; else only what pays
    """

    workloads: tuple[str, ...]
    systems: tuple[str, ...]
    sites: tuple[str, ...]
    quarters: tuple[str, ...]
    regions: tuple[str, ...]
    pools: Integers
    peak_requests_per_s: Array
    mean_fraction: Array
    goodput_requests_per_s: Array
    replicas_per_system: Array
    reserves: Reserves
    survives: Flags
    revenue_usd_per_request: Array
    load_usd_per_replica_h: Array
    holding_usd: Array
    price_usd: Array
    spare_usd: Array
    resale_usd: Array
    horizon_usd: Array
    in_place: Array
    in_place_usd: Array
    in_place_horizon_usd: Array
    in_place_quarters_left: Array
    life_quarters: Array
    spare_fraction: Array
    accelerators: Integers
    it_mw_per_system: Array
    allowed: Flags
    supply_systems: Array
    it_mw: Array
    budget_usd: Array
    budget_in_all_usd: float
    discount_fraction_per_quarter: float
    must_serve: bool = True

    def __post_init__(self) -> None:
        runs = np.isfinite(self.goodput_requests_per_s)
        for w, name in enumerate(self.workloads):
            if not (runs[w][:, None] & self.allowed).any():
                raise InputError("runs on no system at no site of the plan", key=f"workloads.{name}")
        limited = np.isfinite(self.it_mw).any(1)
        for s, name in enumerate(self.systems):
            if math.isnan(self.it_mw_per_system[s]) and (self.allowed[s] & limited).any():
                raise InputError("has no figure of its IT power, and may stand where power has a limit: name its sites", key=f"systems.{name}.sites")
        alone = [name for w, name in enumerate(self.workloads) if self.survives[w] and not all(self._elsewhere(w, region) for region in self.regions)]
        if alone:
            raise InputError(f"cannot survive the loss of a region: no other region has a system that it runs on ({', '.join(alone)})", key="survives")

    def _elsewhere(self, w: int, region: str) -> bool:
        sites = np.array([other != region for other in self.regions])
        return bool((np.isfinite(self.goodput_requests_per_s[w])[:, None] & self.allowed & sites).any())

    @property
    def runs(self) -> Flags:
        """(W, S, L): where a workload may be served."""
        return np.isfinite(self.goodput_requests_per_s)[:, :, None] & self.allowed[None]

    @property
    def bare_replicas(self) -> Array:
        """(W, S, T): replicas, not rounded, that carry the whole peak of a workload, without reserves; 0 where it cannot run."""
        goodput = np.where(np.isfinite(self.goodput_requests_per_s), self.goodput_requests_per_s, math.inf)
        found: Array = self.peak_requests_per_s[:, None, :] / goodput[:, :, None]
        return found

    @property
    def capital_usd(self) -> Array:
        """(S, T): capital of a system delivered, its share of the spares with it."""
        found: Array = self.price_usd + self.spare_fraction[:, None] * self.spare_usd
        return found

    @property
    def start(self) -> Array:
        """(T,) discount of what is paid at the start of a quarter."""
        found: Array = (1.0 + self.discount_fraction_per_quarter) ** -np.arange(len(self.quarters), dtype=float)
        return found

    @property
    def end(self) -> Array:
        """(T,) discount of what is paid at the end of a quarter."""
        found: Array = self.start / (1.0 + self.discount_fraction_per_quarter)
        return found

    @property
    def load_usd(self) -> Array:
        """(W, S, L, T): what load adds to a quarter's energy bill if all of a workload is served there."""
        busy = self.bare_replicas * self.mean_fraction[:, None, None] * HOURS_PER_QUARTER
        found: Array = busy[:, :, None, :] * self.load_usd_per_replica_h[:, :, :, None]
        return found

    @property
    def revenue_usd(self) -> Array:
        """(W, T): what a quarter earns if all of a workload is served."""
        found: Array = self.peak_requests_per_s * self.mean_fraction[:, None] * SECONDS_PER_QUARTER * self.revenue_usd_per_request
        return found


@dataclass(eq=False)
class Program:
    """min cost v + constant, rows `a v <= right` or `= right`, 0 <= v <= upper. Names of variables and rows lead to arrays of numbers, -1 where absent."""

    columns: dict[str, Integers] = field(default_factory=dict)
    rows: dict[str, Integers] = field(default_factory=dict)
    constant: float = 0.0
    _cost: list[Array] = field(default_factory=list)
    _upper: list[Array] = field(default_factory=list)
    _whole: list[Flags] = field(default_factory=list)
    _right: list[Array] = field(default_factory=list)
    _equal: list[Flags] = field(default_factory=list)
    _entries: list[tuple[Integers, Integers, Array]] = field(default_factory=list)

    def variables(self, name: str, there: Flags, cost: Array | float = 0.0, upper: Array | float = math.inf, whole: bool = False) -> Integers:
        """Numbers of new variables, shape of `there`, -1 where it is false. `cost` is in USD."""
        ids = _numbered(there, sum(part.size for part in self._cost))
        self._cost.append(np.broadcast_to(np.asarray(cost, float) / _MILLION, there.shape)[there])
        self._upper.append(np.broadcast_to(np.asarray(upper, float), there.shape)[there])
        self._whole.append(np.full(int(there.sum()), whole))
        self.columns[name] = ids
        return ids

    def constraints(self, name: str, there: Any, right: Array | float, equal: bool = False) -> Integers:
        """Numbers of new rows, shape of `there`, -1 where it is false."""
        ids = _numbered(there, sum(part.size for part in self._right))
        self._right.append(np.broadcast_to(np.asarray(right, float), there.shape)[there])
        self._equal.append(np.full(int(there.sum()), equal))
        self.rows[name] = ids
        return ids

    def put(self, rows: Integers, columns: Integers, values: Array | float) -> None:
        """Add entries of the matrix; the three broadcast, and absent rows and columns are left out."""
        r, c, v = np.broadcast_arrays(rows, columns, np.asarray(values, float))
        kept = (r >= 0) & (c >= 0) & (v != 0.0)
        self._entries.append((r[kept], c[kept], v[kept]))

    def solve(self, *, gap_fraction: float = 0.0, time_limit_s: float = math.inf, relaxed: bool = False) -> Solved:
        """Solve with HiGHS by branch and cut; `relaxed` leaves out that anything is whole."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        matrix, right, equal = self._matrix()
        whole = np.concatenate(self._whole) & (not relaxed)
        options: dict[str, Any] = {"mip_rel_gap": gap_fraction}
        if math.isfinite(time_limit_s):
            options["time_limit"] = time_limit_s
        found = milp(
            np.concatenate(self._cost),
            constraints=LinearConstraint(matrix, np.where(equal, right, -np.inf), right),
            bounds=Bounds(0.0, np.concatenate(self._upper)),
            integrality=whole.astype(np.uint8),
            options=options,
        )
        if found.x is None:
            return Solved(None, math.inf, math.inf, out_of_time=found.status == 1)
        values = np.where(whole, np.rint(found.x), found.x)
        bound = found.mip_dual_bound if whole.any() and found.mip_dual_bound is not None else found.fun
        return Solved(values, self.constant + found.fun * _MILLION, self.constant + bound * _MILLION, out_of_time=found.status == 1)

    def prices(self) -> dict[str, Array]:
        """Of the relaxation, by name of rows: by how many USD one more of the right side lowers the least cost (0 for absent rows)."""
        from scipy.optimize import linprog

        matrix, right, equal = self._matrix()
        found = linprog(
            np.concatenate(self._cost),
            A_ub=matrix[~equal],
            b_ub=right[~equal],
            A_eq=matrix[equal],
            b_eq=right[equal],
            bounds=np.column_stack([np.zeros(matrix.shape[1]), np.concatenate(self._upper)]),
            method="highs",
        )
        if found.x is None:
            return {}
        marginal = np.zeros(right.size)
        marginal[~equal], marginal[equal] = found.ineqlin.marginals, found.eqlin.marginals
        return {name: np.where(ids >= 0, -marginal[ids] * _MILLION, 0.0) for name, ids in self.rows.items()}

    def _matrix(self) -> tuple[Any, Array, Flags]:
        from scipy.sparse import csr_array

        r, c, v = (np.concatenate([entry[part] for entry in self._entries]) for part in range(3))
        right, equal = np.concatenate(self._right), np.concatenate(self._equal)
        # A row without a limit says nothing.
        limited = np.isfinite(right)
        matrix = csr_array((v, (r, c)), shape=(right.size, sum(part.size for part in self._cost)))
        right = np.where(limited, right, 0.0)
        if not limited.all():
            from scipy.sparse import diags_array

            matrix = csr_array(diags_array(limited.astype(float)) @ matrix)
        return matrix, right, equal


@dataclass(frozen=True, eq=False)
class Solved:
    """Values of a program's variables (None where there are none), the cost in USD that they reach, and the least that any could."""

    values: Array | None
    cost_usd: float
    bound_usd: float
    out_of_time: bool = False

    def of(self, ids: Integers) -> Array:
        """Values of some variables, 0 where they are absent."""
        if self.values is None:
            raise ValueError("there is no solution")
        found: Array = np.where(ids >= 0, self.values[ids], 0.0)
        return found


def program_of(problem: PlanProblem, *, small: bool) -> Program:
    """The equations of this module's head for a problem; in a `small` fleet replicas and systems in place are whole too."""
    program = Program()
    shape = (len(problem.systems), len(problem.sites), len(problem.quarters))
    _variables(program, problem, shape, small)
    _serving(program, problem, shape)
    _lost_regions(program, problem, shape)
    _stock(program, problem, shape)
    _limits(program, problem)
    return program


def replicas_in_all(problem: PlanProblem) -> Array:
    """R[w,s,t]: replicas, with reserves, for the whole of each workload."""
    found: Array = np.nan_to_num(problem.reserves.factor, nan=1.0) * problem.bare_replicas
    return found


def _variables(program: Program, problem: PlanProblem, shape: tuple[int, int, int], small: bool) -> None:
    t = shape[2]
    runs = np.broadcast_to(problem.runs[..., None], (len(problem.workloads), *shape))
    cost = problem.load_usd * problem.end
    if not problem.must_serve:
        cost = cost - (problem.revenue_usd * problem.end)[:, None, None, :]
    program.variables("x", runs, cost, upper=1.0)
    pools = np.zeros((int(problem.pools.max()) + 1, *shape), bool)
    np.logical_or.at(pools, problem.pools, runs)
    program.variables("u", pools, whole=small)
    used = np.broadcast_to((problem.allowed & runs.any((0, 3)))[:, :, None] | (problem.in_place > 0)[:, :, None], shape)
    # What a system fetches when it goes is earned at the start of the quarter in which it is no longer in place.
    fetched = problem.resale_usd * problem.start
    fetched_later = np.concatenate([fetched[:, 1:], np.zeros((shape[0], 1))], 1)
    program.variables("d", used & np.broadcast_to(problem.allowed[:, :, None], shape), (problem.capital_usd * problem.start - fetched)[:, None, :], whole=True)
    program.variables("n", used, problem.holding_usd * problem.end + (fetched - fetched_later)[:, None, :], whole=small)
    program.constant += float((problem.in_place_usd * problem.in_place).sum())
    program.constant -= float((fetched[:, 0] * problem.in_place.sum(1)).sum())
    worth = problem.horizon_usd[:, None, :] * problem.end[-1]
    alive = t - 1 - np.arange(t) < problem.life_quarters[:, None, None]
    program.variables("h", used & np.broadcast_to((worth > 0) & alive, shape), -worth)
    standing = np.where(problem.in_place_quarters_left >= t, problem.in_place, 0.0)
    program.variables("h0", (standing > 0) & (problem.in_place_horizon_usd > 0), -problem.in_place_horizon_usd * problem.end[-1], upper=standing)
    program.variables("z", np.full((len(problem.workloads), t), not problem.must_serve), upper=1.0)


def _serving(program: Program, problem: PlanProblem, shape: tuple[int, int, int]) -> None:
    x, u, n, z = (program.columns[name] for name in "xunz")
    served = program.constraints("served", np.full(z.shape, True), 1.0, equal=True)
    program.put(served[:, None, None, :], x, 1.0)
    program.put(served, z, 1.0)
    pools = program.constraints("pools", u >= 0, 0.0)
    program.put(pools[problem.pools], x, replicas_in_all(problem)[:, :, None, :])
    program.put(pools, u, -1.0)
    capacity = program.constraints("capacity", np.broadcast_to((u >= 0).any(0), shape), 0.0)
    program.put(capacity, u, _per_pool(problem, 1.0 / problem.replicas_per_system)[:, :, None, None])
    program.put(capacity, n, -1.0)


def _per_pool(problem: PlanProblem, values: Array) -> Array:
    """(W, S) values that workloads of a pool have in common, as (pools, S)."""
    found = np.zeros((int(problem.pools.max()) + 1, values.shape[1]))
    np.maximum.at(found, problem.pools, np.nan_to_num(values))
    return found


def _lost_regions(program: Program, problem: PlanProblem, shape: tuple[int, int, int]) -> None:
    names = list(dict.fromkeys(problem.regions))
    if not problem.survives.any() or len(names) < 2:
        return
    left = np.array([[region != name for region in problem.regions] for name in names])  # (K, L)
    runs = problem.runs[None] & left[:, None, None, :] & problem.survives[None, :, None, None]
    y = program.variables("y", np.broadcast_to(runs[..., None], (*runs.shape, shape[2])), upper=1.0)
    kwt = (len(names), len(problem.workloads), shape[2])
    carried = program.constraints("regions", np.broadcast_to(problem.survives[None, :, None], kwt), 1.0, equal=True)
    program.put(carried[:, :, None, None, :], y, 1.0)
    program.put(carried, program.columns["z"][None], 1.0)
    capacity = program.constraints("capacity without a region", (y >= 0).any(1), 0.0)
    systems = replicas_in_all(problem) / np.nan_to_num(problem.replicas_per_system, nan=1.0)[:, :, None]
    program.put(capacity[:, None], y, systems[None, :, :, None, :])
    program.put(capacity, program.columns["n"][None], -1.0)


def _stock(program: Program, problem: PlanProblem, shape: tuple[int, int, int]) -> None:
    d, n, h, h0 = (program.columns[name] for name in ("d", "n", "h", "h0"))
    quarters = np.arange(shape[2])
    before = np.concatenate([np.full((*shape[:2], 1), -1), n[:, :, :-1]], 2)
    right = np.zeros(shape)
    right[:, :, 0] = problem.in_place
    stock = program.constraints("stock", n >= 0, right)
    for column, sign in ((n, 1.0), (before, -1.0), (d, -1.0)):
        program.put(stock, column, sign)
    left = np.where(problem.in_place_quarters_left[:, :, None] > quarters, problem.in_place[:, :, None], 0.0)
    life = program.constraints("life", n >= 0, left)
    program.put(life, n, 1.0)
    age = quarters[:, None] - quarters[None, :]  # (t, c)
    young = (age >= 0) & (age < problem.life_quarters[:, None, None])
    program.put(life[:, :, :, None], d[:, :, None, :], -young[:, None].astype(float))
    horizon = program.constraints("horizon", np.asarray(np.concatenate([h, h0[:, :, None]], 2).max(2) >= 0), 0.0)
    program.put(horizon[:, :, None], h, 1.0)
    program.put(horizon, h0, 1.0)
    program.put(horizon, n[:, :, -1], -1.0)
    kept = program.constraints("kept", h >= 0, 0.0)
    program.put(kept, h, 1.0)
    program.put(kept, d, -1.0)


def _limits(program: Program, problem: PlanProblem) -> None:
    d, n = program.columns["d"], program.columns["n"]
    power = program.constraints("power", np.full(problem.it_mw.shape, True), problem.it_mw)
    program.put(power[None], n, np.nan_to_num(problem.it_mw_per_system)[:, None, None])
    supply = program.constraints("supply", np.full(problem.supply_systems.shape, True), problem.supply_systems)
    program.put(supply[:, None, :], d, (1.0 + problem.spare_fraction)[:, None, None])
    budget = program.constraints("budget", np.full(problem.budget_usd.shape, True), problem.budget_usd / _MILLION)
    program.put(budget[None, None], d, problem.capital_usd[:, None, :] / _MILLION)
    in_all = program.constraints("budget in all", np.full((1,), True), problem.budget_in_all_usd / _MILLION)
    program.put(in_all[None, None], d, problem.capital_usd[:, None, :] / _MILLION)


def elastic_of(problem: PlanProblem, kinds: tuple[str, ...], *, small: bool) -> Program:
    """The program in which rows of some kinds may be missed, and the sum of what they are missed by is all that costs.

    To add up, systems count by their megawatts, money by the megawatts that it buys, a workload's demand by the megawatts that it takes, all at their least.
    `served` missed is demand unserved, which then need not be carried without a region either.
    """
    program = program_of(problem, small=small)
    program._cost[:] = [np.zeros(part.size) for part in program._cost]
    program.constant = 0.0
    for kind in kinds:
        rows = program.rows.get(kind)
        if rows is None:
            continue
        missed = program.variables(f"{kind} missed", rows >= 0, _MILLION * _weight(problem, kind))
        program.put(rows, missed, 1.0 if kind in ("served", "regions") else -1.0)
        if kind == "served" and "regions" in program.rows:
            program.put(program.rows["regions"], missed[None], 1.0)
    return program


def _weight(problem: PlanProblem, kind: str) -> Array | float:
    """Megawatts in one unit of what a row of a kind is missed by; a system of unknown power counts as one."""
    mw_per_system = np.nan_to_num(problem.it_mw_per_system, nan=1.0)
    if kind == "supply":
        return mw_per_system[:, None]
    if kind.startswith("budget"):
        bought = problem.capital_usd > 0
        per_mw = np.where(bought, problem.capital_usd / mw_per_system[:, None], math.inf)
        return _MILLION / float(per_mw.min()) if bought.any() else 1.0
    if kind in ("served", "regions"):
        mw = replicas_in_all(problem) / np.nan_to_num(problem.replicas_per_system, nan=1.0)[:, :, None] * mw_per_system[:, None]
        least: Array = np.where(np.isfinite(problem.goodput_requests_per_s)[:, :, None], mw, math.inf).min(1) + 1e-9
        return least
    return 1.0


def _numbered(there: Flags, first: int) -> Integers:
    ids = np.full(there.shape, -1, np.int64)
    ids[there] = first + np.arange(int(there.sum()))
    return ids
