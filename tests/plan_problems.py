"""Small plans to reason about: one workload, one system, one site, one quarter unless more is asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accelmodel.fleet.plan_model import PlanProblem, Reserves


def plan_problem(
    *,
    peak: Any = 10.0,
    goodput: Any = 1.0,
    per_system: Any = 1.0,
    reserve: float = 1.0,
    price: Any = 100.0,
    holding: Any = 10.0,
    load: Any = 0.0,
    revenue: Any = 0.0,
    supply: Any = math.inf,
    it_mw: Any = math.inf,
    mw_per_system: Any = 1.0,
    in_place: Any = 0.0,
    in_place_left: Any = 1000.0,
    in_place_worth: Any = 0.0,
    in_place_usd: Any = 0.0,
    life: Any = 1000.0,
    horizon: Any = 0.0,
    resale: Any = 0.0,
    budget: Any = math.inf,
    budget_in_all: float = math.inf,
    discount: float = 0.0,
    regions: tuple[str, ...] | None = None,
    survives: bool = False,
    pools: Any = None,
    spares: Any = 0.0,
    must_serve: bool = True,
    mean_fraction: float = 1.0,
    shape: tuple[int, int, int, int] = (1, 1, 1, 1),
) -> PlanProblem:
    """Figures broadcast to their shapes: workloads, systems, sites, quarters. A supply or a power is by (system, quarter) or (site, quarter)."""
    w, s, sites, t = shape

    def full(value: Any, *size: int) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, float), size).copy()

    runs = np.isfinite(full(goodput, w, s))
    one = np.where(runs, 1.0, np.nan)
    return PlanProblem(
        workloads=tuple(f"w{i}" for i in range(w)),
        systems=tuple(f"s{i}" for i in range(s)),
        sites=tuple(f"l{i}" for i in range(sites)),
        quarters=tuple(f"q{i}" for i in range(t)),
        regions=regions or tuple(f"r{i}" for i in range(sites)),
        pools=np.arange(w) if pools is None else np.asarray(pools),
        peak_requests_per_s=full(peak, w, t),
        mean_fraction=full(mean_fraction, w),
        goodput_requests_per_s=full(goodput, w, s),
        replicas_per_system=full(per_system, w, s),
        reserves=Reserves(*(full(factor * one[:, :, None], w, s, t) for factor in (reserve, 1.0, 1.0)), one),
        survives=np.full(w, survives),
        revenue_usd_per_request=full(revenue, w, t),
        load_usd_per_replica_h=full(load, w, s, sites),
        holding_usd=full(holding, s, sites, t),
        price_usd=full(price, s, t),
        spare_usd=full(price, s, t),
        resale_usd=full(resale, s, t),
        horizon_usd=full(horizon, s, t),
        in_place=full(in_place, s, sites),
        in_place_usd=full(in_place_usd, s, sites),
        in_place_horizon_usd=full(in_place_worth, s, sites),
        in_place_quarters_left=full(in_place_left, s, sites),
        life_quarters=full(life, s),
        spare_fraction=full(spares, s),
        accelerators=np.full(s, 8),
        it_mw_per_system=full(mw_per_system, s),
        allowed=np.ones((s, sites), bool),
        supply_systems=full(supply, s, t),
        it_mw=full(it_mw, sites, t),
        budget_usd=full(budget, t),
        budget_in_all_usd=budget_in_all,
        discount_fraction_per_quarter=discount,
        must_serve=must_serve,
    )
