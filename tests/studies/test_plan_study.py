"""The plan study: from a scenario to arrays, a plan that the simulator confirms, its parts; and what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom, poisson

import accelmodel as am
from accelmodel.economics.annuities import capital_recovery_factor
from accelmodel.fleet.availability import replicas_for_availability
from accelmodel.studies.money import library
from accelmodel.studies.plan import _mixed, solved_and_proven
from accelmodel.studies.plan_problem import built, quarter_names
from accelmodel.studies.reserves import failure_domains
from accelmodel.studies.run import Context
from accelmodel.studies.scenario import load

SCENARIO = """
title = "Two generations on two sites"
[base]
model = "llama-3.1-8b"
input_tokens = 1000
output_tokens = 200
ttft_s = 3.0
tpot_s = 0.05
books = "cloud"
offer = "bedrock"
[cases.old]
system = "trn2.48xlarge"
accelerators = 1
weights = "fp8"
[cases.new]
system = "p5.48xlarge"
accelerators = 1
[studies.plan]
kind = "plan"
first_quarter = "2025Q4"
quarters = 3
horizon_value = "annuity"
proof = { cell_replicas = 8, window_s = 20 }
[studies.plan.workloads.chat]
replicas = ["old", "new"]
tokens_per_day = [60e9, 90e9, 120e9]
peak_to_mean = 1.5
input_variation = 0.5
output_variation = 0.5
[studies.plan.systems]
"trn2.48xlarge" = { in_place = { new-carlisle = 1 }, in_place_age_quarters = 4 }
"p5.48xlarge" = { lead_quarters = 1 }
[studies.plan.sites]
new-carlisle = { power = [{ quarter = "2025Q4", it_mw = 0.05 }, { quarter = "2026Q2", facility_mw = 0.115 }] }
pennsylvania = {}
[studies.sites]
kind = "plan-part"
of = "plan"
part = "sites"
[studies.workloads]
kind = "plan-part"
of = "plan"
part = "workloads"
[studies.prices]
kind = "plan-part"
of = "plan"
part = "shadow-prices"
[studies.bound]
kind = "plan-part"
of = "plan"
part = "bound"
[studies.proofs]
kind = "plan-part"
of = "plan"
part = "proofs"
[studies.alone]
kind = "plan-part"
of = "plan"
part = "single-systems"
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("plan") / "mine.toml"
    file.write_text(SCENARIO, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run(path):
    return am.run(path)


@functools.cache
def made(path):
    _, scenario = load(path, library())
    return built(Context(scenario, library(), path.parent), scenario.studies["plan"])


def rows(run, study: str):
    return run.tables[study].to_pylist()


def test_the_arrays_are_the_scenarios(path):
    problem = made(path).problem
    assert problem.quarters == quarter_names("2025Q4", 3) == ("2025Q4", "2026Q1", "2026Q2")
    # 60e9 tokens a day of 1,200 a request: 578.7 requests/s, 1.5 times at the peak.
    assert problem.peak_requests_per_s[0] == pytest.approx(np.array([6, 9, 12]) * 1e10 / 1200 / 86_400 * 1.5, rel=1e-3)
    assert problem.replicas_per_system.tolist() == [[16, 8]]
    assert problem.it_mw[0] == pytest.approx([0.05, 0.05, 0.115 / 1.15])
    assert np.isinf(problem.it_mw[1]).all()
    assert problem.supply_systems[1].tolist() == [0, math.inf, math.inf]
    assert problem.it_mw_per_system[0] == pytest.approx(16 * 750e-6)
    assert problem.in_place.tolist() == [[1, 0], [0, 0]]
    assert problem.in_place_quarters_left[0, 0] == 16
    point = am.evaluate(am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1), input_tokens=1000, output_tokens=200, ttft_s=3.0, tpot_s=0.05)
    assert problem.goodput_requests_per_s[0, 1] == pytest.approx(point.output_tokens_per_s / 200, rel=1e-2)


def test_money_is_the_owners(path):
    problem = made(path).problem
    charge = problem.capital_usd * made(path).worth.charge[:, None]
    owner = library().ownership("default")
    server = owner.purchase_price("h100-sxm").si * 8
    assert problem.price_usd[1, 0] == pytest.approx(server / (1 - owner.figures.network_share.si))
    quarterly = 1.09**0.25 - 1
    assert charge[1, 0] / problem.capital_usd[1, 0] == pytest.approx(capital_recovery_factor(quarterly, 20))
    # What is left at the end is what the payments to come are worth: 17 of 20 for what came first.
    left = (1 - (1 + quarterly) ** -17) / quarterly * charge[1, 0]
    assert problem.horizon_usd[1, 0] == pytest.approx(left)


def test_the_table_adds_up(run):
    quarters, sites = rows(run, "plan"), rows(run, "sites")
    for row in quarters:
        of = [one for one in sites if one["quarter"] == row["quarter"]]
        assert row["systems"] == sum(one["systems"] for one in of)
        assert row["fleet_accelerators"] == sum(one["fleet_accelerators"] for one in of)
        assert row["it_power_mw"] == pytest.approx(sum(one["it_power_mw"] for one in of))
        assert row["cost_usd"] == pytest.approx(row["running_cost_usd"] + row["capital_charge_usd"])
        assert row["margin_fraction"] == pytest.approx(1 - row["cost_usd"] / row["revenue_usd"])
        assert row["served_fraction"] == 1
        assert row["cost_usd_per_mtok"] == pytest.approx(row["cost_usd"] / row["served_mtok"])
    assert [row["served_mtok"] for row in quarters] == pytest.approx([tokens * 91.25 / 1e6 for tokens in (60e9, 90e9, 120e9)], rel=1e-3)
    for row in sites:
        assert row["site_it_power_limit_mw"] is None or row["site_it_power_mw"] <= row["site_it_power_limit_mw"] + 1e-9
    before = {}
    for row in sorted(sites, key=lambda one: (one["site"], one["system"], one["quarter"])):
        standing = before.get((row["site"], row["system"]), 1 if (row["site"], row["system"]) == ("new-carlisle", "trn2.48xlarge") else 0)
        assert row["systems"] == standing + row["delivered_systems"] - row["retired_systems"]
        before[row["site"], row["system"]] = row["systems"]


def test_everything_is_carried_with_its_reserves_and_no_replica_is_below_the_bound(run):
    workloads = rows(run, "workloads")
    for quarter in {row["quarter"] for row in workloads}:
        assert sum(row["share_fraction"] for row in workloads if row["quarter"] == quarter) == pytest.approx(1)
    for row in workloads:
        needed = row["peak_requests_per_s"] / row["replica_goodput_requests_per_s"]
        assert row["replicas_with_reserves"] == pytest.approx(needed * row["reserve_factor"])
        assert row["lower_bound_replicas"] == math.ceil(needed)
        assert row["reserve_factor"] > row["proof_factor"] >= 1


def test_the_plan_holds_in_the_simulator(run):
    for row in rows(run, "proofs"):
        assert row["percentile_ttft_s"] <= row["ttft_s"]
        assert row["percentile_tpot_s"] <= row["tpot_s"]
        assert row["replicas_up"] <= row["replicas"]
    assert any("all held" in note for note in run.studies["plan"].notes)


def test_the_ladder_leads_from_the_bare_demand_to_the_plan(run):
    steps = rows(run, "bound")
    assert steps[0]["plan_step"] == "demand at goodput"
    assert sum(step["added_usd"] for step in steps) == pytest.approx(steps[-1]["present_cost_usd"] - steps[0]["present_cost_usd"])
    assert all(step["added_usd"] >= -1e-3 for step in steps)
    assert steps[-1]["present_cost_usd"] == pytest.approx(run.summary["plan"]["present_cost_usd"])


def test_no_system_alone_is_cheaper(run):
    first, *alone = rows(run, "alone")
    assert first["system"] == "the plan"
    assert alone
    assert all(row["present_cost_usd"] >= first["present_cost_usd"] * (1 - 1e-3) for row in alone)


def test_more_demand_costs_more_and_a_plan_too_small_is_repaired(path):
    one = made(path)
    once = solved_and_proven(one, one.problem)
    twice = solved_and_proven(one, dataclasses.replace(one.problem, peak_requests_per_s=one.problem.peak_requests_per_s * 2))
    assert twice.plan.cost_usd > once.plan.cost_usd
    # A goodput that no replica has: the simulator finds it out, and the plan comes to what the true one needs.
    boasted = solved_and_proven(one, dataclasses.replace(one.problem, goodput_requests_per_s=one.problem.goodput_requests_per_s * 3))
    assert boasted.rounds > 1
    assert boasted.short_fraction > 1
    assert all(proof.proof.held for proof in boasted.proofs)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"studies.plan.workloads.chat.tokens_per_day": [1e9, 1e9]}, "has 2 quarters, the plan 3"),
        (
            {"studies.plan.sites.pennsylvania.power": [{"quarter": "2025Q4", "it_mw": 0.0}], "studies.plan.workloads.chat.tokens_per_day": 4e11},
            "power at .* is short by .* MW of IT power",
        ),
        ({"studies.plan.systems": {"p5.48xlarge": {}}}, "case 'old' is on no system of the plan"),
        ({"studies.plan.workloads.chat.survives_region_loss": True, "studies.plan.sites.pennsylvania.region": "new-carlisle"}, "cannot survive the loss"),
        ({"studies.plan.objective": "margin", "base.offer": ()}, "has no price"),
        ({"studies.sites.of": "sites"}, "no study of kind 'plan'"),
        ({"studies.plan.budget_usd": 1e5}, "capital in all is short by"),
        ({"base.ttft_s": 0.004}, "no|cannot"),
    ],
)
def test_what_cannot_be_is_said(path, overrides, message):
    with pytest.raises(am.InputError, match=message):
        am.run(path, set=overrides, studies=["plan"])


def test_slices_are_all_of_the_trace(path):
    scenario = path.read_text(encoding="utf-8").replace(
        "input_variation = 0.5\noutput_variation = 0.5", 'trace = "azure_llm_2023_conv"\nslices = { input_tokens = [500, 2000], output_tokens = [200] }'
    )
    sliced = path.with_name("sliced.toml")
    sliced.write_text(scenario.replace("input_tokens = 1000\noutput_tokens = 200\n", ""), encoding="utf-8")
    one = made(sliced)
    assert len(one.demanded) == 6
    assert set(one.problem.pools) == {0}
    assert sum(part.traffic.requests for part in one.demanded) == 19_366
    tokens = sum(part.mean_requests_per_s[0] * part.tokens for part in one.demanded) * 86_400
    assert tokens == pytest.approx(60e9, rel=1e-6)
    short = one.demanded[0]
    assert short.name == "chat in below 500 out below 200"
    assert short.traffic.input_tokens.max() < 500


def test_prefixes_repeat_as_often_as_the_workload_says(path):
    problem = path.with_name("prefix.toml")
    problem.write_text(SCENARIO.replace("output_tokens = 200", "output_tokens = 200\nprefix_hit_fraction = 0.5"), encoding="utf-8")
    trace = made(problem).demanded[0].traffic
    sim = am.simulate(am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1), trace.between(0.0, 60.0), replicas=8, samples=2)
    hit = np.sum(sim.requests["cached_tokens"].to_numpy()) / np.sum(sim.requests["input_tokens"].to_numpy())
    assert hit == pytest.approx(0.5, abs=0.05)


def built_of(folder, scenario, seed=0):
    file = folder / "other.toml"
    file.write_text(scenario, encoding="utf-8")
    _, parsed = load(file, library())
    return built(Context(parsed, library(), folder, seed), parsed.studies["plan"])


def test_traces_lie_beside_the_scenario_and_keep_what_they_know_of_prefixes(tmp_path):
    """Slices have their own requests' cached tokens, and the hits of their closed form are those."""
    long = [i % 2 == 1 for i in range(400)]
    columns = {"arrival_s": [i / 10 for i in range(400)], "input_tokens": [2000 if one else 500 for one in long], "output_tokens": [100] * 400}
    table = pa.table(columns | {"cached_tokens": [1500 if one else 0 for one in long]})
    pq.write_table(table, tmp_path / "mine.parquet")
    drawn = "input_variation = 0.5\noutput_variation = 0.5\n"
    lengths = "input_tokens = 1000\noutput_tokens = 200\n"
    assert SCENARIO.count(drawn) == SCENARIO.count(lengths) == 1
    sliced = SCENARIO.replace(drawn, 'trace = "mine.parquet"\nslices = { input_tokens = [1000] }\n').replace(lengths, "")
    made_ = built_of(tmp_path, sliced)
    short, longer = made_.demanded
    assert not short.traffic.cached_tokens.any()
    assert (longer.traffic.cached_tokens == 1500).all()
    assert [one.some[1].prefix_hit_fraction for one in (short, longer)] == [0.0, 0.75]
    mixed = _mixed([short, longer], np.array([1.0, 1.0]))
    assert sorted(zip(mixed.input_tokens, mixed.cached_tokens, strict=True)) == sorted([(500.0, 0.0)] * 200 + [(2000.0, 1500.0)] * 200)
    scaled = built_of(tmp_path, SCENARIO.replace(drawn, 'trace = "mine.parquet"\n')).demanded[0]
    assert scaled.traffic.input_tokens.mean() == 1000
    assert (scaled.traffic.cached_tokens <= scaled.traffic.input_tokens).all()
    assert scaled.some[1].prefix_hit_fraction == pytest.approx(1500 * 200 / (2500 * 200), abs=1e-3)


def test_the_seed_of_the_run_draws_the_requests(tmp_path):
    first, again, other = (built_of(tmp_path, SCENARIO, seed).demanded[0].traffic.input_tokens for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.size != other.size or not np.array_equal(first, other)


def test_a_workload_may_begin_in_a_later_quarter(tmp_path):
    file = tmp_path / "later.toml"
    file.write_text(SCENARIO.replace("[60e9, 90e9, 120e9]", "[0.0, 0.0, 60e9]").split("[studies.sites]")[0], encoding="utf-8")
    before, _, begun = rows(am.run(file), "plan")
    assert before["served_mtok"] == 0.0
    assert before["served_fraction"] is None
    assert begun["served_fraction"] == 1.0
    assert begun["systems"] > 0
    file.write_text(SCENARIO.replace("[60e9, 90e9, 120e9]", "[0.0, 0.0, 0.0]"), encoding="utf-8")
    with pytest.raises(am.InputError, match="0 in every quarter"):
        am.run(file)


def test_drawn_requests_are_no_longer_than_the_context(tmp_path):
    """The longest of 20,000 lognormal prompts of 40,000 tokens in the mean are far beyond the 131,072 tokens of the model."""
    file = tmp_path / "long.toml"
    text = SCENARIO.split("[studies.sites]")[0].replace("[60e9, 90e9, 120e9]", "[2e9, 2e9, 2e9]").replace("input_tokens = 1000", "input_tokens = 40_000")
    file.write_text(text.replace("input_variation = 0.5", "input_variation = 1.0").replace("ttft_s = 3.0", "ttft_s = 60.0"), encoding="utf-8")
    assert all(row["served_fraction"] == 1.0 for row in rows(am.run(file), "plan"))


def test_slices_hold_replicas_for_failures_together(tmp_path):
    """Four slices of a few replicas each need one or two beyond them all, not one or two each: the fewest of which enough are up, by the binomial."""
    drawn = "input_variation = 0.5\noutput_variation = 0.5\n"
    sliced = SCENARIO.replace(drawn, 'trace = "azure_llm_2023_conv"\nslices = { input_tokens = [1000], output_tokens = [200] }\n')
    found = built_of(tmp_path, sliced.replace("[60e9, 90e9, 120e9]", "[4e9, 6e9, 8e9]"))
    problem, s = found.problem, 1
    assert len(found.demanded) == 4
    up = math.prod(domain.availability_fraction for domain in failure_domains(found.cell(0, s)))  # one accelerator, one host
    for quarter in range(3):
        peak = sum(one.mean_requests_per_s[quarter] * 1.5 / problem.goodput_requests_per_s[w, s] for w, one in enumerate(found.demanded))
        needed = math.ceil(math.ceil(peak / 0.9) / 0.98)
        installed = next(count for count in range(needed, 4 * needed) if binom.sf(needed - 1, count, up) >= 0.999)
        assert needed > 3
        assert problem.reserves.availability[:, s, quarter] == pytest.approx([installed / needed] * 4)
        # All slices on this system take the whole replicas, by their shares.
        assert (problem.reserves.factor[:, s, quarter] * problem.bare_replicas[:, s, quarter]).sum() == pytest.approx(installed)


def test_spares_are_one_stock_of_a_system(tmp_path):
    """Two workloads that both run on H100 draw on one stock: whole systems for all that would stand there, by the Poisson tail."""
    second = '[studies.plan.workloads.more]\nreplicas = ["new"]\ntokens_per_day = [60e9, 60e9, 60e9]\npeak_to_mean = 1.5\n'
    found = built_of(tmp_path, SCENARIO.replace("[studies.plan.systems]", second + "[studies.plan.systems]"))
    problem, s = found.problem, 1
    systems = math.ceil(((problem.reserves.factor * problem.bare_replicas)[:, s].sum(0) / 8).max() - 1e-9)
    owner = library().ownership("default").figures
    in_repair = systems * 8 * owner.failures_per_year.si * owner.repair_time.si
    stock = next(count for count in range(1000) if poisson.cdf(count, in_repair) >= 0.99)
    assert problem.spare_fraction[s] == pytest.approx(math.ceil(stock / 8) / systems)
    assert 0 < problem.spare_fraction[s] < 0.1


def test_what_the_simulator_asks_for_has_reserves_and_spares_too(tmp_path):
    """A factor of 1.5 on a fleet of a few replicas: reserves and spares are those of so many more, not 1.5 times those of the few."""
    made = built_of(tmp_path, SCENARIO.replace("[60e9, 90e9, 120e9]", "[4e9, 6e9, 8e9]"))
    before, s = made.problem, 1
    after = made.with_proof(before, before.goodput_requests_per_s, before.reserves.proof * 1.5)
    domains = failure_domains(made.cell(0, s))
    for quarter in range(3):
        needed = math.ceil(math.ceil(1.5 * before.bare_replicas[0, s, quarter] / 0.9) / 0.98)
        installed = replicas_for_availability(needed, 8, 1, domains, 0.999)
        assert after.reserves.factor[0, s, quarter] * before.bare_replicas[0, s, quarter] == pytest.approx(installed)
    owner = library().ownership("default").figures
    systems = math.ceil(installed / 8)
    stock = next(count for count in range(100) if poisson.cdf(count, systems * 8 * owner.failures_per_year.si * owner.repair_time.si) >= 0.99)
    assert after.spare_fraction[s] == pytest.approx(math.ceil(stock / 8) / systems)
    assert after.horizon_usd[s] / after.capital_usd[s] == pytest.approx(before.horizon_usd[s] / before.capital_usd[s])
