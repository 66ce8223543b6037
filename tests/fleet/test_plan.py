"""The plan is the best there is (worked by hand, and by trying every plan of small ones), obeys its limits, and says what is short by how much."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelmodel.errors import InputError
from accelmodel.fleet.plan import Infeasible, Plan, in_words, ladder, lower_bound_replicas, shadow_prices, solve_plan
from plan_problems import plan_problem


def solved(problem, **settings) -> Plan:
    plan = solve_plan(problem, gap_fraction=0.0, **settings)
    assert isinstance(plan, Plan), [in_words(remedy) for remedy in plan.remedies]
    assert plan.gap_fraction < 1e-6
    return plan


def refused(problem) -> list[str]:
    found = solve_plan(problem, gap_fraction=0.0)
    assert isinstance(found, Infeasible)
    return [in_words(remedy) for remedy in found.remedies]


# --- by hand -----------------------------------------------------------------------------------------------------------------------------------


def test_one_system_for_one_quarter():
    # 10 requests/s, a replica carries 1.5, reserves 1.2, two replicas to a system: 8 replicas, 4 systems at 100 + 10.
    plan = solved(plan_problem(peak=10, goodput=1.5, reserve=1.2, per_system=2))
    assert plan.in_place.sum() == plan.delivered.sum() == 4
    assert plan.cost_usd == pytest.approx(440)
    assert plan.replicas.sum() == pytest.approx(8)
    assert lower_bound_replicas(plan).sum() == 7  # 10 / 1.5


def test_a_replica_over_two_systems_takes_both():
    assert solved(plan_problem(peak=2.5, per_system=0.5)).in_place.sum() == 6


def test_pools_share_replicas_and_others_do_not():
    apart = plan_problem(peak=0.5, shape=(2, 1, 1, 1))
    assert solved(apart).in_place.sum() == 2
    assert solved(dataclasses.replace(apart, pools=np.array([0, 0]))).in_place.sum() == 1


def test_money_of_the_plan_adds_up():
    problem = plan_problem(
        peak=[[3, 5, 2]], load=0.01, revenue=0.001, resale=20, horizon=30, discount=0.1, in_place=2, in_place_left=2, spares=0.5, shape=(1, 1, 1, 3)
    )
    plan = solved(problem)
    start = 1.1 ** -np.arange(3)
    paid = plan.capital_usd @ start + plan.running_usd @ start / 1.1 - plan.resale_usd @ start - plan.horizon_usd * 1.1**-3
    assert plan.cost_usd == pytest.approx(paid)
    # Two stand for two quarters; the third comes at the first, spares at half: 150 USD each.
    assert plan.delivered.sum((0, 1)).tolist() == [1, 2, 0] or plan.delivered.sum((0, 1)).tolist() == [1, 2, 2]
    assert plan.capital_usd[0] == pytest.approx(150)
    assert plan.revenue_usd == pytest.approx(np.array([3, 5, 2]) * 7_884_000 * 0.001)


def test_the_annuity_at_the_horizon_charges_the_quarters_of_use_alone():
    # Life 8 quarters, 5 % a quarter, 1,000 USD: 154.72 a quarter. Kept for three quarters and cut off, it costs three payments.
    rate, life, quarters = 0.05, 8, 3
    payment = 1000 * rate / (1 - (1 + rate) ** -life)
    left = payment * (1 - (1 + rate) ** -(life - quarters + np.arange(quarters))) / rate
    plan = solved(plan_problem(peak=1, price=1000, holding=0, horizon=left, life=life, discount=rate, shape=(1, 1, 1, quarters)))
    assert plan.cost_usd == pytest.approx(sum(payment / (1 + rate) ** (t + 1) for t in range(quarters)))
    assert plan.horizon_usd == pytest.approx(left[0])


def test_what_stands_already_costs_its_annuity_while_it_is_kept():
    # Two of eight payments made: it is charged with the six to come, credited with the four left after two quarters, and costs two.
    rate, payment = 0.05, 150.0
    left = [payment * (1 - (1 + rate) ** -count) / rate for count in (6, 4)]
    standing = {"in_place": 1, "in_place_left": 6, "in_place_usd": left[0], "in_place_worth": left[1]}
    plan = solved(plan_problem(peak=1, price=1e6, holding=0, discount=rate, shape=(1, 1, 1, 2), **standing))
    assert plan.cost_usd == pytest.approx(payment / 1.05 + payment / 1.05**2)


def test_life_ends():
    plan = solved(plan_problem(peak=1, life=2, discount=0.01, shape=(1, 1, 1, 5)))
    assert plan.delivered.sum((0, 1)).tolist() == [1, 0, 1, 0, 1]
    standing = solved(plan_problem(peak=1, in_place=1, in_place_left=3, discount=0.01, shape=(1, 1, 1, 5)))
    assert standing.delivered.sum((0, 1)).tolist() == [0, 0, 0, 1, 0]


def test_supply_and_lead_time_make_it_buy_early_or_dear():
    # The dear system alone can be had in the first quarter; the cheap one, two a quarter, from the second on.
    supply = [[0, 2, 2], [9, 9, 9]]
    problem = plan_problem(peak=[[2, 4, 6]], price=[[100] * 3, [300] * 3], supply=supply, shape=(1, 2, 1, 3))
    plan = solved(problem)
    assert plan.delivered[:, 0].tolist() == [[0, 2, 2], [2, 0, 0]]
    assert plan.cost_usd == pytest.approx(4 * 100 + 2 * 300 + 12 * 10)


def test_where_power_binds_the_old_generation_makes_room():
    # 4 MW full of old systems at 1 request/s a MW; the new one gives 2. The peak doubles: half of the old must go.
    new = {"goodput": [[1, 2]], "in_place": [[4], [0]], "price": [[100, 100], [150, 100]]}
    plan = solved(plan_problem(peak=[[4, 6]], it_mw=4, shape=(1, 2, 1, 2), **new))
    assert plan.in_place[:, 0].tolist() == [[4, 2], [0, 2]]
    assert plan.retired[:, 0].tolist() == [[0, 2], [0, 0]]
    free = solved(plan_problem(peak=[[4, 6]], shape=(1, 2, 1, 2), **new))
    assert free.retired.sum() == 0


def test_the_old_is_retired_where_running_it_costs_more_than_the_new():
    cheap_to_run = plan_problem(peak=2, holding=np.array([50, 5])[:, None, None], in_place=[[2], [0]], price=[[0] * 4, [40] * 4], shape=(1, 2, 1, 4))
    plan = solved(cheap_to_run)
    assert plan.in_place[:, 0, 0].tolist() == [0, 2]
    dear = plan_problem(peak=2, holding=np.array([50, 5])[:, None, None], in_place=[[2], [0]], price=[[0] * 4, [400] * 4], shape=(1, 2, 1, 4))
    assert solved(dear).in_place[:, 0, -1].tolist() == [2, 0]


@pytest.mark.parametrize(("regions", "systems"), [(3, 6), (2, 8), (5, 5)])
def test_the_other_regions_carry_the_whole_peak(regions, systems):
    # 4 requests/s over k regions of which any one is lost: each region but one carries 4 / (k - 1).
    problem = plan_problem(peak=4, survives=True, shape=(1, 1, regions, 1))
    plan = solved(problem)
    assert plan.in_place.sum() == systems
    assert all(plan.in_place.sum() - plan.in_place[:, site].sum() >= 4 for site in range(regions))


def test_sites_of_one_region_are_lost_together():
    problem = plan_problem(peak=4, survives=True, regions=("east", "east", "west"), shape=(1, 1, 3, 1))
    plan = solved(problem)
    assert plan.in_place[0, :2].sum() == plan.in_place[0, 2].sum() == 4


def test_only_what_pays_is_served():
    # A served request/s earns 7,884,000 s x 1e-5 USD = 78.84 in the quarter; a system of two costs 110: one workload pays, the other does not.
    problem = plan_problem(peak=2, per_system=2, revenue=[[1e-4], [1e-5]], goodput=[[1], [0.5]], must_serve=False, pools=[0, 1], shape=(2, 1, 1, 1))
    plan = solved(problem)
    assert plan.unserved[:, 0].tolist() == [0, 1]
    assert plan.cost_usd == pytest.approx(110 - 2 * 7_884_000 * 1e-4)


def test_budget_moves_purchases_earlier():
    plan = solved(plan_problem(peak=[[1, 4]], budget=[300, 200], discount=0.01, shape=(1, 1, 1, 2)))
    assert plan.delivered.sum((0, 1)).tolist() == [2, 2]


# --- by trying every plan ------------------------------------------------------------------------------------------------------------------------


@st.composite
def tiny(draw):
    """Two systems at one site, or one system at two, over two quarters: everything small enough to try."""
    systems, sites = draw(st.sampled_from([(2, 1), (1, 2)]))
    price = np.array(draw(st.lists(st.integers(20, 90), min_size=2 * systems, max_size=2 * systems))).reshape(systems, 2)

    def small(rows: int, most: int = 3) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(0, most), min_size=2 * rows, max_size=2 * rows))).reshape(rows, 2)

    return plan_problem(
        peak=[[draw(st.floats(0.2, 3.0)), draw(st.floats(0.2, 3.0))]],
        goodput=[[1.0, draw(st.sampled_from([0.5, 1.5, 2.0]))][:systems]],
        price=price,
        holding=np.array(draw(st.lists(st.integers(1, 30), min_size=4, max_size=4))).reshape(systems, sites, 2),
        horizon=price * draw(st.sampled_from([0.0, 0.5])),
        resale=draw(st.sampled_from([0.0, 7.0])),
        supply=small(systems),
        it_mw=small(sites, 4),
        mw_per_system=[1.0, draw(st.sampled_from([0.7, 1.5]))][:systems],
        in_place=[[draw(st.integers(0, 2))] + [0] * (sites - 1)] + [[0] * sites] * (systems - 1),
        in_place_left=draw(st.integers(1, 3)),
        budget_in_all=draw(st.sampled_from([math.inf, 150.0])),
        life=draw(st.sampled_from([1, 5])),
        discount=0.02,
        survives=sites == 2 and draw(st.booleans()),
        shape=(1, systems, sites, 2),
    )


def best_by_trying(problem) -> float:
    """Least cost over every course of the two kinds of system (two systems, or one at two sites); the load goes anywhere, as its energy costs nothing here."""
    systems, sites = problem.allowed.shape
    places = [(s, site) for s in range(systems) for site in range(sites)]
    (d1, n1, c1), (d2, n2, c2) = (_courses(problem, *place) for place in places)
    d1, n1, c1, d2, n2, c2 = d1[:, None], n1[:, None], c1[:, None], d2[None], n2[None], c2[None]
    goodput, mw = problem.goodput_requests_per_s[0], problem.it_mw_per_system
    (s1, l1), (s2, l2) = places
    allowed = np.full((n1.shape[0], n2.shape[1]), True)
    for s, amount in ((s1, d1 + d2 * (s1 == s2)), (s2, d2 + d1 * (s1 == s2))):
        allowed &= (amount <= problem.supply_systems[s]).all(-1)
    for site in range(sites):
        drawn = mw[s1] * n1 * (l1 == site) + mw[s2] * n2 * (l2 == site)
        allowed &= (drawn <= problem.it_mw[site] + 1e-9).all(-1)
    allowed &= (d1 * problem.price_usd[s1] + d2 * problem.price_usd[s2]).sum(-1) <= problem.budget_in_all_usd
    left, right = goodput[s1] * n1, goodput[s2] * n2
    carried = np.minimum(left + 0 * right, right + 0 * left) if problem.survives[0] else left + right
    allowed &= (carried >= problem.peak_requests_per_s[0] - 1e-9).all(-1)
    return float(np.where(allowed, c1 + c2, math.inf).min())


def _courses(problem, s: int, site: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every course of one system at one site, systems told apart by their age: deliveries (N, 2), kept (N, 2), cost (N,)."""
    start, best = 1.02 ** -np.arange(2), {}
    for delivered in itertools.product(*(range(int(most) + 1) for most in problem.supply_systems[s])):
        standing = int(problem.in_place[s, site])
        groups = [(standing, 0, int(problem.in_place_quarters_left[s, site]), None)]
        groups += [(count, t, int(problem.life_quarters[s]), t) for t, count in enumerate(delivered)]
        # How many of each group leave at the start of each quarter, and how many stay.
        for leaving in itertools.product(*(_leaving(*group) for group in groups)):
            kept, cost = np.zeros(2), sum(delivered[t] * problem.price_usd[s, t] * start[t] for t in range(2))
            for (count, came, _, cohort), (first, second) in zip(groups, leaving, strict=True):
                kept += [count - first if came == 0 else 0, count - first - second]
                cost -= problem.resale_usd[s, 0] * (first * start[0] + second * start[1])
                if cohort is not None and 2 - cohort - 1 < problem.life_quarters[s]:
                    cost -= problem.horizon_usd[s, cohort] * (count - first - second) * 1.02**-2
            cost += float((kept * problem.holding_usd[s, site] * start / 1.02).sum())
            key = (delivered, tuple(kept))
            best[key] = min(best.get(key, math.inf), cost)
    return np.array([key[0] for key in best], float), np.array([key[1] for key in best]), np.array(list(best.values()))


def _leaving(count: int, came: int, life: int, _: object) -> list[tuple[int, int]]:
    """(at the first quarter's start, at the second's): all that are too old must have gone."""
    last_first, last_second = life >= 1 - came, came + life >= 2
    found = [(a, b) for a in range(count + 1) for b in range(count + 1 - a) if (came == 0 or a == 0)]
    found = found if last_first else [(a, b) for a, b in found if a == count]
    return found if last_second else [(a, b) for a, b in found if a + b == count]


@settings(max_examples=25, deadline=None)
@given(tiny())
def test_no_plan_is_cheaper(problem):
    best = best_by_trying(problem)
    found = solve_plan(problem, gap_fraction=0.0)
    if isinstance(found, Infeasible):
        assert best == math.inf
        assert found.remedies
    else:
        assert found.cost_usd == pytest.approx(best, rel=1e-6, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(tiny(), st.sampled_from(["supply_systems", "it_mw", "budget_in_all_usd"]))
def test_more_of_anything_never_costs_more(problem, what):
    before, after = solve_plan(problem, gap_fraction=0.0), solve_plan(dataclasses.replace(problem, **{what: getattr(problem, what) + 1.0}), gap_fraction=0.0)
    if isinstance(before, Plan):
        assert isinstance(after, Plan)
        assert after.cost_usd <= before.cost_usd + 1e-6


@settings(max_examples=25, deadline=None)
@given(tiny())
def test_the_bound_is_below_and_the_ladder_leads_up_to_the_plan(problem):
    plan = solve_plan(problem, gap_fraction=0.0)
    if isinstance(plan, Plan):
        costs = [step.cost_usd for step in ladder(plan)]
        assert costs == sorted(costs) or np.all(np.diff(costs) > -1e-6)
        assert costs[-1] == plan.cost_usd


# --- what is short -------------------------------------------------------------------------------------------------------------------------------


def test_power_is_short_by_the_systems_that_do_not_fit():
    # 10 systems of 0.048 MW and room for 0.3 MW: 6 stand, 4 do not.
    words = refused(plan_problem(peak=10, it_mw=0.3, mw_per_system=0.048))
    assert words[0] == "power at l0 in q0 is short by 0.18 MW of IT power (of 0.3)"
    assert "40 % of the peak of w0 in q0 cannot be carried" in words[-1]
    assert len(words) == 2


def test_power_is_short_where_it_is_least():
    # In the first quarter both sites have room; in the second, demand outgrows 9 + 3 MW by 4.
    words = refused(plan_problem(peak=[[5, 16]], it_mw=[[9, 9], [3, 3]], shape=(1, 1, 2, 2)))
    short = [float(part.split("short by ")[1].split(" MW")[0]) for part in words[0].split("; ")]
    assert sum(short) == pytest.approx(4)
    assert "q1" in words[0]
    assert "q0" not in words[0]


def test_supply_is_short_before_the_lead_time():
    words = refused(plan_problem(peak=[[3, 3]], supply=[[0, 5]], shape=(1, 1, 1, 2)))
    assert words[0] == "supply of s0 in q0 is short by 3 systems (none can be delivered by then)"


def test_money_is_short():
    words = refused(plan_problem(peak=[[3, 5]], price=2e6, budget_in_all=7e6, shape=(1, 1, 1, 2)))
    assert words[0] == "capital in all is short by 3 M USD (of 7)"
    by_quarter = refused(plan_problem(peak=[[3, 5]], price=2e6, budget=[4e6, 9e6], shape=(1, 1, 1, 2)))
    assert by_quarter[0] == "capital in q0 is short by 2 M USD (of 4)"


def test_a_region_is_wanting():
    words = refused(plan_problem(peak=4, survives=True, it_mw=[[4], [3]], regions=("east", "west"), shape=(1, 1, 2, 1)))
    assert words[0] == "power at l1 in q0 is short by 1 MW of IT power (of 3)"
    assert "of w0 without r" not in words[1]
    assert words[1] == "of w0 without east in q0 25 % of the peak is not carried"


def test_two_things_are_short_at_once():
    words = refused(plan_problem(peak=4, supply=2, it_mw=3, shape=(1, 1, 1, 1)))
    assert words[0] == "power at l0 in q0 is short by 1 MW of IT power (of 3); supply of s0 in q0 is short by 2 systems (2 can be delivered)"


def test_a_workload_that_runs_nowhere_or_in_one_region_is_refused():
    with pytest.raises(InputError, match="w1: runs on no system"):
        plan_problem(goodput=[[1.0], [np.nan]], shape=(2, 1, 1, 1))
    with pytest.raises(InputError, match="cannot survive the loss of a region"):
        plan_problem(survives=True)


# --- what one more is worth ----------------------------------------------------------------------------------------------------------------------


def relaxed_cost(problem) -> float:
    """Least cost where nothing is whole: a fleet a million times as large, at whose size a system is nothing."""
    from accelmodel.fleet.plan_model import program_of

    return program_of(problem, small=False).solve(relaxed=True).cost_usd


def test_shadow_prices_are_the_differences_that_one_more_makes():
    # Two generations: the cheap one short of supply, the site short of power in the second quarter, all else slack.
    problem = plan_problem(
        peak=[[40, 90]],
        goodput=[[1.0, 1.7]],
        price=[[100, 90], [400, 370]],
        holding=np.array([11, 13])[:, None, None],
        supply=[[30, 20], [50, 50]],
        it_mw=[[100, 70]],
        discount=0.03,
        shape=(1, 2, 1, 2),
    )
    prices, base, small = shadow_prices(problem), relaxed_cost(problem), 1e-3
    assert prices is not None
    for name, found in {"it_mw": prices.usd_per_mw, "supply_systems": prices.usd_per_accelerator * 8}.items():
        for place in np.ndindex(found.shape):
            more = getattr(problem, name).copy()
            more[place] += small
            assert found[place] == pytest.approx((base - relaxed_cost(dataclasses.replace(problem, **{name: more}))) / small, abs=1e-3), (name, place)
    assert prices.usd_per_mw[0, 1] > 0
    assert prices.usd_per_accelerator[0, 0] > 0
    earlier = problem.supply_systems + small * np.array([[1, -1], [0, 0]])
    moved = (base - relaxed_cost(dataclasses.replace(problem, supply_systems=earlier))) / small / 8
    assert prices.usd_per_quarter_earlier[0, 1] == pytest.approx(moved, abs=1e-3)
    assert prices.usd_per_served.sum() > 0


def test_a_dollar_of_budget_is_worth_what_it_saves():
    # Renting (no capital) costs 300 a quarter, buying 100 once: each dollar of capital saves (300 - 10 - 100) / 100.
    problem = plan_problem(peak=10, price=[[100], [0]], holding=np.array([10, 300])[:, None, None], budget=500, shape=(1, 2, 1, 1))
    prices = shadow_prices(problem)
    assert prices is not None
    assert prices.usd_per_usd[0] == pytest.approx(1.9)
    assert prices.usd_per_usd_in_all == 0


def test_a_large_fleet_is_solved_to_its_gap():
    plan = solve_plan(plan_problem(peak=np.linspace(5e3, 2e4, 12)[None] * np.ones((2, 1)), shape=(2, 1, 1, 12)), gap_fraction=1e-3)
    assert isinstance(plan, Plan)
    assert not plan.small
    assert plan.gap_fraction <= 1e-3
    assert np.allclose(plan.delivered, np.rint(plan.delivered))
