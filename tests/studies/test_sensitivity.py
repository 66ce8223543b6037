"""Tornado, value of knowing and break-even of scenarios: against loops, hand-solved cases and the parity study."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.economics.cash_flow import Course, Fleet, cash_flow, net_present_value_usd, present_values_usd

BASE = """
title = "x"
[base]
model = "llama-3.3-70b"
weights = "fp8"
kv = "fp8"
workload = "chat"
ttft_s = 2.0
tpot_s = 0.05
books = "cloud"
accelerators = 2
offer = "bedrock"
occupancy = 0.6
[cases.trainium3]
system = "trn3-ultraserver-gen2"
[cases.trainium2]
system = "trn2-ultraserver"
[cases.h200]
system = "p5en.48xlarge"
"""


def scenario(folder: Path, more: str) -> Path:
    path = folder / "which.toml"
    path.write_text(BASE + more)
    return path


def evaluated(system: str, **changed: float | None) -> am.studies.points.Point:
    replica = am.replica(model="llama-3.3-70b", system=system, accelerators=2, weights="fp8", kv="fp8")
    named = {"input_tokens": 1155, "output_tokens": 211, "ttft_s": 2.0, "tpot_s": 0.05, "books": "cloud", "offer": "bedrock", "occupancy": 0.6}
    return am.evaluate(replica, **(named | changed))


def test_a_tornado_is_each_input_at_its_ends(tmp_path):
    more = """
[studies.what]
kind = "sensitivity"
case = "h200"
outcome = "margin_fraction"
engine = "none"
draws = 256
[studies.what.inputs]
"base.occupancy" = { low = 0.35, high = 0.85 }
"base.tpot_s" = { low = 0.03, high = 0.08 }
"base.input_tokens" = { low = 600, high = 2000 }
"""
    path = scenario(tmp_path, more.replace('"base.input_tokens" = { low = 600, high = 2000 }\n', ""))
    ran = am.run(path)
    rows = {row["input"]: row for row in ran.tables["what"].to_pylist()}
    for key, name in (("base.occupancy", "occupancy"), ("base.tpot_s", "tpot_s")):
        for end in ("low", "high"):
            point = evaluated("p5en.48xlarge", **{name: rows[key][f"input_{end}"]})
            assert rows[key][f"margin_fraction_at_{end}"] == pytest.approx(point.margin_fraction, rel=1e-12)
    purchase = rows["ownership.default.purchase.h200-sxm"]
    assert purchase["margin_fraction_at_low"] == pytest.approx(evaluated("p5en.48xlarge", purchase_usd=40_000).margin_fraction, rel=1e-12)
    assert ran.summary["what"]["central"] == pytest.approx(evaluated("p5en.48xlarge").margin_fraction, rel=1e-12)
    swings = [abs(row["margin_fraction_swing"]) for row in ran.tables["what"].to_pylist()]
    assert swings == sorted(swings, reverse=True)
    with pytest.raises(am.InputError, match="no number of the scenario"):
        am.run(scenario(tmp_path, more))  # the lengths are a workload's: its own keys name them


def test_knowing_of_alternatives(tmp_path):
    more = """
[studies.what]
kind = "sensitivity"
case = "trainium3"
against = ["trainium2", "h200"]
draws = 4096
indices = true
index_draws = 64
[studies.what.inputs]
"ownership.default.purchase.trainium3" = { group = "" }
"""
    path = scenario(tmp_path, more)
    with pytest.raises(am.InputError, match="does not run in some draws"):  # an engine at its slowest meets no target at all
        am.run(path)
    path.write_text(path.read_text().replace("ttft_s = 2.0\ntpot_s = 0.05\n", "concurrency = 16\n"))
    ran = am.run(path)
    rows = {row["input"]: row for row in ran.tables["what"].to_pylist()}
    price = rows["ownership.default.purchase.trainium3"]
    # The outcome is the difference: dearer Trainium3 chips raise it, dearer ones of the others lower it.
    assert price["cost_usd_per_mtok_swing"] > 0.0
    assert rows["ownership.default.purchase.h200-sxm"]["cost_usd_per_mtok_swing"] <= 0.0
    whole = ran.summary["what"]
    assert all(0.0 <= row["cost_usd_per_mtok_worth_knowing"] <= whole["worth_knowing_all"] for row in rows.values())
    assert 0.0 < whole["best_chance_fraction"] < 1.0
    load = {"ttft_s": None, "tpot_s": None, "concurrency": 16}
    costs = {system: evaluated(system, **load).cost_usd_per_mtok for system in ("trn3-ultraserver-gen2", "trn2-ultraserver", "p5en.48xlarge")}
    first, *others = costs.values()
    assert whole["central"] == pytest.approx(first - min(others), rel=1e-12)
    assert all(row["total_order_index"] is not None for row in rows.values())
    together = [row for row in rows.values() if row["group"] == "accelerator prices"]
    assert len({row["total_order_index"] for row in together}) == 1  # one dimension, one index


def test_break_even_of_a_linear_case_solved_by_hand(tmp_path):
    # Cost is a + b x purchase: two evaluations give a and b, and the purchase at which it is what Trainium2 costs.
    at_0, at_1 = (evaluated("p5en.48xlarge", purchase_usd=usd).cost_usd_per_mtok for usd in (10_000.0, 20_000.0))
    slope = (at_1 - at_0) / 10_000.0
    wanted = 10_000.0 + (evaluated("trn2-ultraserver").cost_usd_per_mtok - at_0) / slope
    more = '[studies.even]\nkind = "break-even"\ncase = "h200"\nagainst = ["trainium2"]\ninput = "ownership.default.purchase.h200-sxm"\n'
    row = am.run(scenario(tmp_path, more)).tables["even"].to_pylist()[0]
    assert row["break_even_value"] == pytest.approx(wanted, rel=1e-9)
    assert (row["better_below"], row["better_above"], row["crossings"]) == ("h200", "trainium2", 1)


def test_break_even_prices_are_those_of_the_parity_study(tmp_path):
    more = """
[studies.parity]
kind = "parity"
subjects = ["trainium3"]
baselines = ["trainium2", "h200"]
[studies.even]
kind = "break-even"
case = "trainium3"
against = ["trainium2", "h200"]
input = "ownership.default.purchase.trainium3"
"""
    ran = am.run(scenario(tmp_path, more))
    parity = [row["purchase_at_parity_usd"] for row in ran.tables["parity"].to_pylist()]
    assert ran.to_pandas("even")["break_even_value"].tolist() == pytest.approx(parity, rel=1e-9)


def test_break_even_by_a_key_of_the_scenario_and_to_a_target(tmp_path):
    more = """
[studies.even]
kind = "break-even"
case = "h200"
outcome = "margin_fraction"
target = 0.30
input = "base.occupancy"
low = 0.05
high = 1.0
[studies.thirty]
kind = "margin"
cases = ["h200"]
"""
    ran = am.run(scenario(tmp_path, more))
    occupancy = ran.tables["thirty"].to_pylist()[0]["target_occupancy_fraction"]
    row = ran.tables["even"].to_pylist()[0]
    assert row["break_even_value"] == pytest.approx(occupancy, rel=1e-9)
    assert row["better_above"] == "h200"


def test_where_there_is_no_break_even_it_is_said(tmp_path):
    more = """
[studies.even]
kind = "break-even"
case = "trainium2"
against = ["h200"]
input = "ownership.default.purchase.trainium2"
low = 1_000
high = 2_000
"""
    ran = am.run(scenario(tmp_path, more))
    row = ran.tables["even"].to_pylist()[0]
    assert row["break_even_value"] is None
    assert (row["better_below"], row["better_above"], row["crossings"]) == ("trainium2", "trainium2", 0)
    assert "'trainium2' is better throughout" in ran.studies["even"].notes[0]


def test_break_even_over_physics(tmp_path):
    # The HBM bandwidth down to which an H200 writes tokens as fast as Trainium2 does; the replica is built anew for each value.
    more = """
[studies.even]
kind = "break-even"
case = "h200"
against = ["trainium2"]
outcome = "time_per_output_token_s"
input = "accelerators.h200-sxm.hbm_bandwidth"
low = 0.5
high = 10
"""
    path = scenario(tmp_path, more)
    path.write_text(path.read_text().replace("ttft_s = 2.0\ntpot_s = 0.05\n", "concurrency = 16\n"))
    ran = am.run(path)
    row = ran.tables["even"].to_pylist()[0]
    assert (row["better_below"], row["better_above"], row["unit"]) == ("trainium2", "h200", "TB/s")
    # A profile written by hand a thousandth below and above
    shipped = Path(am.Library().path("accelerators", "h200-sxm")).read_text()
    times = []
    for bandwidth in (row["break_even_value"] * 0.999, row["break_even_value"] * 1.001):
        folder = tmp_path / f"{bandwidth:.6f}" / "accelerators"
        folder.mkdir(parents=True)
        (folder / "h200-sxm.toml").write_text(re.sub(r"(hbm_bandwidth\s*= { value = )[\d.]+", rf"\g<1>{bandwidth!r}", shipped))
        lib = am.Library(folder.parent)
        replica = am.replica(model="llama-3.3-70b", system="p5en.48xlarge", accelerators=2, weights="fp8", kv="fp8", catalog=lib)
        assert replica.accelerator.figures.hbm_bandwidth.value == pytest.approx(bandwidth)
        times.append(am.evaluate(replica, input_tokens=1155, output_tokens=211, concurrency=16, catalog=lib).time_per_output_token_s)
    wanted = evaluated("trn2-ultraserver", ttft_s=None, tpot_s=None, concurrency=16).time_per_output_token_s
    assert times[1] < wanted < times[0]


def test_where_the_outcome_jumps_it_is_said(tmp_path):
    # Within latency targets a replica runs whole requests: its cost is a staircase in the target.
    more = '[studies.even]\nkind = "break-even"\ncase = "h200"\noutcome = "concurrency"\ntarget = 20.5\ninput = "base.tpot_s"\nlow = 0.01\nhigh = 0.05\n'
    ran = am.run(scenario(tmp_path, more))
    row = ran.tables["even"].to_pylist()[0]
    below, above = (evaluated("p5en.48xlarge", tpot_s=row["break_even_value"] * factor).concurrency for factor in (1 - 1e-6, 1 + 1e-6))
    assert (below, above) == (20, 21)
    assert "jumps" in ran.studies["even"].notes[0]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('against = ["h200"]\ninput = "cases.trainium2.purchase_usd"', "no number of the scenario"),
        ('against = ["h200"]\ninput = "ownership.default.purchase.b200-sxm"', "changes none"),
        ('against = ["h200"]\ninput = "sites.texas.tariff"', "changes none"),
        ('against = ["h200"]\ninput = "ownership.default.occupancy"', "changes none"),  # the scenario gives it
        ('against = ["h200"]\nyears = 2\ninput = "price_change_fraction_per_year"\nlow = -0.9\nhigh = 0.0', None),
        ('against = ["h200"]\ntarget = 1.0\ninput = "base.occupancy"', "one of the two"),
        ('input = "base.occupancy"', "one of the two"),
        ('against = ["h200"]\noutcome = "replicas"\nfleet = "nothing"\ninput = "base.occupancy"', "names no demand study"),
        ('against = ["h200"]\nlow = 0.9\nhigh = 0.2\ninput = "base.occupancy"', "low end below"),
        ('against = ["nobody"]\ninput = "base.occupancy"', "no case is called"),
    ],
)
def test_break_evens_that_cannot_be_are_refused_or_found_nowhere(tmp_path, told, message):
    path = scenario(tmp_path, f'[studies.even]\nkind = "break-even"\ncase = "trainium2"\n{told}\n')
    if message is None:  # the price of tokens moves the cost of neither: no root, and no false one
        assert am.run(path).tables["even"].to_pylist()[0]["break_even_value"] is None
    else:
        with pytest.raises(am.InputError, match=message):
            am.run(path)


# Cash flows as arrays


def test_cash_flows_of_many_draws_are_each_draws_own():
    rng = np.random.default_rng(0)
    count = 7
    amounts = {"equipment_usd": rng.uniform(50, 150, count), "facility_usd": rng.uniform(10, 30, count), "revenue_usd_per_year": rng.uniform(20, 90, count)}
    amounts |= {"load_energy_usd_per_year": rng.uniform(1, 4, count), "upkeep_usd_per_year": rng.uniform(1, 4, count)}
    rates = {"price_change_fraction_per_year": rng.uniform(-0.6, 0.1, count), "residual_fraction": rng.uniform(0, 0.3, count)}
    rates |= {"facility_life_years": rng.uniform(4, 20, count), "tax_fraction": rng.uniform(0, 0.4, count), "ramp_years": rng.uniform(0, 1, count)}
    fixed = {"periods": 22, "purchase_fractions": (0.5, 0.5), "equipment_life_years": 3.0, "progress_fraction": 0.9}
    discount = rng.uniform(0.0, 0.05, count)
    whole = cash_flow(Fleet(**amounts, mtok_per_year=3.0), Course(**fixed, **rates))
    values = present_values_usd(whole.net_usd, discount)
    for i in range(count):
        one = cash_flow(
            Fleet(**{name: float(value[i]) for name, value in amounts.items()}, mtok_per_year=3.0),
            Course(**fixed, **{name: float(value[i]) for name, value in rates.items()}),
        )
        for name, flow in vars(one).items():
            assert np.broadcast_to(getattr(whole, name), (23, count))[:, i] == pytest.approx(flow, rel=1e-12, abs=1e-12), name
        assert values[i] == pytest.approx(net_present_value_usd(one.net_usd, float(discount[i])), rel=1e-10)


# The shipped scenarios, at small size

SMALL = {
    "trainium3-price-unknown": {"studies.choice.draws": 512, "studies.knowing.draws": 512},
    "margin-risk": {"studies.risk.draws": 256, "studies.own-silicon.draws": 256, "studies.vendor.draws": 256},
}


@pytest.mark.parametrize("name", SMALL)
def test_shipped_scenarios_fit_eighty_columns(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    told = [part for key, value in SMALL[name].items() for part in ("--set", f"{key}={value}")]
    assert execute(["run", name, *told, "--output", str(tmp_path), "--quiet"]) == 0
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80
    assert execute(["run", name, *told, "--output", str(tmp_path), "--quiet", "--format", "json"]) == 0
    assert "NaN" not in capsys.readouterr().out


def test_trainium3_price_unknown_answers_its_questions():
    ran = am.run("trainium3-price-unknown", set=SMALL["trainium3-price-unknown"])
    prices = {row["baseline"]: row["break_even_value"] for row in ran.tables["price"].to_pylist()}
    parity = am.run("trainium3-price", studies=["owned"]).tables["owned"].to_pylist()
    for row in parity:
        if row["subject"] == "trainium3" and row["baseline"] in prices:
            assert prices[row["baseline"]] == pytest.approx(row["purchase_at_parity_usd"], rel=1e-9)
    chances = {row["case"]: row["best_chance_fraction"] for row in ran.tables["choice"].to_pylist()}
    assert sum(chances.values()) == pytest.approx(1.0)
    assert 0.0 < chances["trainium3"] < 1.0  # nobody can be sure yet
    assert ran.summary["knowing"]["worth_knowing_all"] > 0.0


def test_margin_risk_answers_its_questions():
    ran = am.run("margin-risk", set=SMALL["margin-risk"])
    for row in ran.tables["risk"].to_pylist():
        assert 0.0 < row["target_chance_fraction"] < 1.0
        assert row["margin_fraction_p10"] < row["margin_fraction_central"] < row["margin_fraction_p90"]
    erosion = ran.tables["erosion"].to_pylist()[0]
    # Revenue goes with 1 + change: the margin m without erosion is 30 % where (1 - m) / (1 + change) = 0.7
    replica = am.replica(
        model="claude-class-moe",
        system="trn2-ultraserver",
        accelerators=16,
        tensor_parallel=8,
        attention_data_parallel=8,
        expert_parallel=16,
        weights="fp8",
        kv="fp8",
    )
    load = {"input_tokens": 12_000, "output_tokens": 600, "prefix_hit_fraction": 0.6, "ttft_s": 5.0, "tpot_s": 0.05}
    point = am.evaluate(replica, **load, books="cloud", offer="bedrock:anthropic.claude-haiku-4-5")
    assert erosion["break_even_value"] == pytest.approx((1.0 - point.margin_fraction) / 0.7 - 1.0, rel=1e-9)
