"""The shipped scenarios: each runs, is written and read back, and answers what can be worked by hand."""

from __future__ import annotations

import functools
import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import accelmodel as am
from accelmodel.core.replica import Replica
from accelmodel.studies.points import library
from accelmodel.studies.scenario import template
from situations import copy_of, with_parameters

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "scenarios").glob("*.toml"))

# Quantities that can be read nowhere else: 64 chips to an UltraServer, 1,299 TFLOP/s of dense FP8 and 750 W a chip, PUE 1.15.
CHIPS, FLOP_PER_S, CHIP_W, PUE = 500_000, 1299e12, 750.0, 1.15
AVAILABILITY, OCCUPANCY, UPKEEP = 0.98, 0.6, 0.008 + 0.01  # a year: operations and maintenance, of servers and network


# At full size these take long; their studies are the same at a small one.
SMALL = {"billion-point-frontier": {"axes.input_tokens.steps": 3, "axes.output_tokens.steps": 3, "axes.concurrency.steps": 20}}


@functools.cache
def ran(name: str) -> am.Run:
    return am.run(name, set=SMALL.get(name))


def rows(name: str, study: str) -> list[dict[str, Any]]:
    return ran(name).tables[study].to_pylist()


def of_case(name: str, study: str, case: str) -> dict[str, Any]:
    [row] = [row for row in rows(name, study) if row["case"] == case]
    return row


# --- every scenario ----------------------------------------------------------------------------------------------------------------------------


def test_the_promised_scenarios_are_shipped():
    assert {"quickstart", "trainium2-vs-trainium3", "rainier", "bedrock-margin", "deepseek-day", "margin-shield"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_runs_to_tables_with_units_and_without_nan(name):
    run = ran(name)
    assert run.title
    assert run.sources
    assert list(run.tables) == list(tomllib.loads((ROOT / f"scenarios/{name}.toml").read_text(encoding="utf-8"))["studies"])
    for study, table in run.tables.items():
        assert table.num_rows > 0
        assert set(run.studies[study].columns_to_show) <= set(table.column_names)
        for field, column in zip(table.schema, table.columns, strict=True):
            assert field.metadata[b"unit"]
            assert field.metadata[b"description"]
            if str(field.type) == "double":
                assert not pc.any(pc.is_nan(column)).as_py()


@pytest.mark.parametrize("name", NAMES)
def test_a_scenarios_document_is_strict_json(name):
    document = ran(name).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert {"schema", "scenario", "version", "catalog_sha256", "seed", "studies"} <= document.keys()
    assert (document["scenario"], document["version"], document["seed"]) == (name, am.__version__, 0)
    for study, entry in document["studies"].items():
        assert {"kind", "rows", "table", "summary"} <= entry.keys()
        assert (entry["rows"], entry["table"]) == (ran(name).tables[study].num_rows, f"{study}.parquet")
    for source in document["sources"].values():
        assert {"title", "publisher", "accessed", "confidence"} <= source.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_run_reads_back_equal(name, tmp_path):
    run = ran(name)
    folder = tmp_path / "new" / "folder"
    written = run.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["inputs", "run.json", *(f"{study}.parquet" for study in run.tables)])
    assert all(path.is_file() for path in written)
    assert json.loads((folder / "run.json").read_text(encoding="utf-8")) == run.document()
    assert (folder / "inputs" / f"{name}.toml").read_bytes() == (ROOT / f"scenarios/{name}.toml").read_bytes()
    for study, table in run.tables.items():
        back = pq.read_table(folder / f"{study}.parquet")
        assert back.equals(table)
        for field in table.schema:
            assert back.schema.field(field.name).metadata == field.metadata
        of_run = {key: back.schema.metadata[key].decode() for key in (b"catalog_sha256", b"scenario", b"accelmodel_version", b"seed")}
        assert of_run == {b"catalog_sha256": library().sha256, b"scenario": name, b"accelmodel_version": am.__version__, b"seed": "0"}


@pytest.mark.parametrize("name", NAMES)
def test_assumptions_come_weightiest_first_and_their_sources_are_listed(name):
    run = ran(name)
    ranks = [assumption.rank for assumption in run.assumptions]
    assert ranks == sorted(ranks)
    for assumption in run.assumptions:
        for source in (assumption.source or "").split(", "):
            assert source in {"", *run.sources, *library().files("calibrations")}


def test_the_same_scenario_gives_the_same_numbers_again():
    again = am.run("rainier")
    assert again.document() == ran("rainier").document()
    assert all(again.tables[study].equals(table) for study, table in ran("rainier").tables.items())


def test_the_template_runs_as_it_is(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(template("mine"), encoding="utf-8")
    run = am.run(path)
    assert (run.scenario, run.title) == ("mine", "mine")
    assert [(row["case"], row["concurrency"]) for row in run.tables["points"].to_pylist()] == [
        (case, load) for case in ("gpu", "in-house") for load in (8, 32, 128)
    ]
    assert run.tables["points"]["fits"].to_pylist() == [True] * 6
    assert run.tables["points"]["margin_fraction"].null_count == 0


# --- quickstart --------------------------------------------------------------------------------------------------------------------------------


def test_quickstart_compares_two_rented_replicas_at_four_loads():
    found = rows("quickstart", "points")
    assert [(row["case"], row["concurrency"]) for row in found] == [(case, load) for case in ("h100", "trainium2") for load in (1, 8, 32, 128)]
    # Eight H100 at the list price; four of sixteen Trainium2 of a Capacity Block at 35.7608 USD/h, 2.235 a chip.
    assert {row["replica_cost_usd_per_h"] for row in found if row["case"] == "h100"} == {55.04}
    [rent] = {row["replica_cost_usd_per_h"] for row in found if row["case"] == "trainium2"}
    assert rent == pytest.approx(4 * 2.23505)
    summary = ran("quickstart").summary["points"]
    assert (summary["points"], summary["fitting"]) == (8, 8)
    best = summary["models"]["llama-3.3-70b"]
    cheapest = min(found, key=lambda row: row["cost_usd_per_mtok"])
    assert best["cheapest"] == {name: cheapest[name] for name in ("case", "cost_usd_per_mtok", "concurrency")}
    fastest = min(found, key=lambda row: row["time_per_output_token_s"])
    assert (best["fastest"]["case"], best["fastest"]["concurrency"]) == (fastest["case"], fastest["concurrency"])
    lowest = {case: min(row["cost_usd_per_mtok"] for row in found if row["case"] == case) for case in ("h100", "trainium2")}
    assert best["lowest_cost_over_first_case"] == {"h100": 1.0, "trainium2": pytest.approx(lowest["trainium2"] / lowest["h100"])}


def test_a_study_goes_along_the_axes_that_it_names():
    loads = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert [row["concurrency"] for row in rows("explorer", "frontier")] == loads * 3
    assert [(row["case"], row["concurrency"]) for row in rows("explorer", "load")] == [("h100", 32), ("b200", 32), ("trainium2", 32)]
    same = [row for row in rows("explorer", "frontier") if row["concurrency"] == 32]
    for own, along in zip(rows("explorer", "load"), same, strict=True):
        assert own["cost_usd_per_mtok"] == pytest.approx(along["cost_usd_per_mtok"], rel=1e-12)


def test_an_axis_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(am.InputError, match=r"studies.load: no axis is called 'concurency'; did you mean 'concurrency'"):
        am.run("explorer", set={"studies.load.axes": ["concurency"]})


def test_a_scenarios_row_is_the_point_that_evaluate_gives():
    one = am.replica(model="llama-3.3-70b", system="p5.48xlarge", accelerators=8, tensor_parallel=8, weights="fp8", kv="fp8")
    # The workload 'chat': 1,155 tokens in, 211 out.
    point = am.evaluate(one, input_tokens=1155, output_tokens=211, concurrency=32, offer=["on-demand", "bedrock"], books="tenant").to_dict()
    [row] = [row for row in rows("quickstart", "points") if row["case"] == "h100" and row["concurrency"] == 32]
    assert {name: row[name] for name in point} == point


# --- rainier -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["sonnet-price", "haiku-price"])
def test_half_a_million_trainium2_are_the_published_fleet(case):
    [fleet, _] = [row for row in rows("rainier", "fleet") if row["case"] == case]
    assert fleet["fleet_accelerators"] == CHIPS
    assert fleet["systems"] == 7813  # 500,000 / 64 = 7,812.5
    assert fleet["replicas"] == 31_250  # of 16 chips, four to an UltraServer
    assert fleet["stranded_accelerators"] == 0
    assert fleet["peak_fp8_eflop_per_s"] == pytest.approx(649.5, rel=1e-12)
    assert fleet["it_power_mw"] == pytest.approx(375, rel=1e-12)
    assert fleet["facility_power_mw"] == pytest.approx(431.25, rel=1e-12)
    assert fleet["it_power_of_phase_fraction"] == pytest.approx(375 / 455, rel=1e-12)
    assert fleet["facility_power_of_site_fraction"] == pytest.approx(431.25 / 2200, rel=1e-12)


def test_published_figures_of_the_project_stand_beside_the_computed_ones():
    found = {row["quantity"]: (row["computed"], row["published"]) for row in ran("rainier").summary["fleet"]["reproduced"]}
    expected = {"ultraservers": 7813, "compute_fp8": 649.5, "it_power": 375, "facility_power": 431.25}
    assert found == {name: (pytest.approx(value), pytest.approx(value)) for name, value in expected.items()}


def test_a_fleets_tokens_cost_what_its_replicas_tokens_cost():
    # One number everywhere: spares are 3 % of 500,000, a whole number, and nothing is stranded.
    [replica] = rows("rainier", "replica")
    for fleet in rows("rainier", "fleet"):
        assert fleet["cost_usd_per_mtok"] == pytest.approx(replica["cost_usd_per_mtok"], rel=1e-9)
        if fleet["case"] == "sonnet-price":
            assert fleet["margin_fraction"] == pytest.approx(replica["margin_fraction"], rel=1e-9)


def test_a_fleets_tokens_and_revenue_by_hand():
    [replica] = rows("rainier", "replica")
    served_s = 31_250 * AVAILABILITY * OCCUPANCY  # replica-seconds of each second
    into, out = replica["input_tokens_per_s"], replica["output_tokens_per_s"]
    # Claude Sonnet 5: 2 USD/Mtok in, 0.2 cached, 10 out; Haiku 4.5: half of each. 60 % of the input is cached.
    for case, factor in (("sonnet-price", 1.0), ("haiku-price", 0.5)):
        [fleet, _] = [row for row in rows("rainier", "fleet") if row["case"] == case]
        assert fleet["tokens_per_day"] == pytest.approx((into + out) * served_s * 86_400, rel=1e-12)
        assert fleet["output_tokens_per_day"] == pytest.approx(out * served_s * 86_400, rel=1e-12)
        revenue = factor * (into * (0.4 * 2 + 0.6 * 0.2) + out * 10) / 1e6 * served_s * 3600 * 8760
        assert fleet["annual_revenue_usd"] == pytest.approx(revenue, rel=1e-12)
        assert fleet["revenue_of_segment_fraction"] == pytest.approx(revenue / 4 / 33.0e9, rel=1e-12)
        assert fleet["margin_fraction"] == pytest.approx(1 - fleet["annual_cost_usd"] / revenue, rel=1e-12)


def test_a_fleets_capital_by_hand():
    # Per chip: server 8,000; network 8,000 x 0.115 / 0.885; facility 750 W x 11.7 USD/W; and 3 % spare servers.
    [fleet, _] = [row for row in rows("rainier", "fleet") if row["case"] == "sonnet-price"]
    per_chip = 8000 * (1 + 0.03) + 8000 * 0.115 / 0.885 + CHIP_W * 11.7
    assert fleet["capital_usd"] == pytest.approx(CHIPS * per_chip, rel=1e-12)


def test_twice_the_accelerators_are_twice_everything():
    for case in ("sonnet-price", "haiku-price"):
        small, large = (row for row in rows("rainier", "fleet") if row["case"] == case)
        same = {"case", "system"} | {name for name in small if name.startswith(("cost_usd_per_mtok", "margin_fraction"))}
        for name in small.keys() - same - {"systems"}:
            assert large[name] == pytest.approx(2 * small[name], rel=1e-12), name
        assert all(large[name] == pytest.approx(small[name], rel=1e-12) for name in same - {"case", "system"})
        assert large["systems"] == 15_625  # exactly, where half of them needed half an UltraServer more


def test_the_estimated_model_is_the_first_assumption_and_the_estimated_traffic_is_named():
    first, *others = ran("rainier").assumptions
    assert first.name == "model"
    assert "'claude-class-moe' is an estimate in every figure" in first.text
    assert sum(one.name == "workload" and "(estimated)" in one.text for one in others) == 3
    assert ran("rainier").document()["assumptions"][0]["text"] == first.text


def test_an_override_reaches_the_numbers():
    half = am.run("rainier", set={"base.occupancy": 0.3}, studies=["fleet"])
    assert list(half.tables) == ["fleet"]
    for row, before in zip(half.tables["fleet"].to_pylist(), rows("rainier", "fleet"), strict=True):
        assert row["tokens_per_day"] == pytest.approx(before["tokens_per_day"] / 2, rel=1e-12)
        assert row["annual_revenue_usd"] == pytest.approx(before["annual_revenue_usd"] / 2, rel=1e-12)
        assert row["it_power_mw"] == before["it_power_mw"]
        assert row["annual_cost_usd"] < before["annual_cost_usd"]  # idle chips draw less
    assert half.document()["inputs"]["base"]["occupancy"] == 0.3
    assert half.document()["catalog_sha256"] == ran("rainier").document()["catalog_sha256"]


FLEET = """
title = "A fleet"
[base]
model = "llama-3.1-8b"
system = "{system}"
accelerators = {accelerators}
input_tokens = 512
output_tokens = 128
concurrency = 8
offer = {offer}
[studies.replica]
kind = "points"
[studies.fleet]
kind = "fleet"
fleet_accelerators = [{count}]
"""


def fleet_of(folder: Path, system: str = "p5.48xlarge", accelerators: int = 8, offer: str = '["on-demand", "bedrock"]', count: int = 800) -> am.Run:
    path = folder / "fleet.toml"
    path.write_text(FLEET.format(system=system, accelerators=accelerators, offer=offer, count=count), encoding="utf-8")
    return am.run(path)


def test_a_rented_fleet_pays_its_rent_and_its_tokens_cost_what_its_replicas_tokens_cost(tmp_path):
    run = fleet_of(tmp_path)
    [fleet], [replica] = (run.tables[study].to_pylist() for study in ("fleet", "replica"))
    assert fleet["annual_cost_usd"] == pytest.approx(100 * 55.04 * 8760, rel=1e-12)
    assert fleet["capital_usd"] == 0
    assert fleet["cost_usd_per_mtok"] == pytest.approx(replica["cost_usd_per_mtok"], rel=1e-9)
    assert fleet["margin_fraction"] == pytest.approx(replica["margin_fraction"], rel=1e-9)


def test_a_fleet_of_accelerators_without_fp8_has_no_fp8_peak_and_is_written(tmp_path):
    run = fleet_of(tmp_path, "p4d.24xlarge", 1, '"bedrock"', 64)
    assert run.tables["fleet"]["peak_fp8_eflop_per_s"].to_pylist() == [None]
    run.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8")) == run.document()
    assert "nan" not in " ".join(run.studies["fleet"].notes)


def test_a_fleet_too_small_for_one_replica_is_refused(tmp_path):
    with pytest.raises(am.InputError, match="4 accelerators hold no replica of 8"):
        fleet_of(tmp_path, count=4)


def test_a_fleet_whose_model_does_not_fit_has_no_row_and_says_so(tmp_path):
    path = tmp_path / "fleet.toml"
    text = FLEET.format(system="p5.48xlarge", accelerators=1, offer='"bedrock"', count=64).replace("llama-3.1-8b", "llama-3.3-70b")
    path.write_text(text, encoding="utf-8")
    fleet = am.run(path, studies=["fleet"]).studies["fleet"]
    assert fleet.table.num_rows == 0
    # 70.6 B parameters of two bytes; 0.92 or less of 80 GiB.
    [note] = fleet.notes
    assert re.match(r"p5.48xlarge: 1 of 1 points do not fit: weights 141 GB; 1 accelerators hold \d\d GB less \d+ GB for the runtime", note)


# --- deepseek-day ------------------------------------------------------------------------------------------------------------------------------


def test_the_published_day_comes_out_as_published():
    found = {row["quantity"]: row for row in rows("deepseek-day", "day")}
    assert found["cost"]["value"] == pytest.approx(87_072)  # 226.75 x 24 x 8 x 2
    # 266 G x 0.55 + 342 G x 0.14 + 168 G x 2.19 USD per million; published from unrounded totals as 562,027.
    assert found["revenue from the rounded token totals"]["value"] == pytest.approx(562_100)
    assert found["revenue from the rounded token totals"]["published"] == 562_027
    assert round(100 * found["mark-up on cost, from the published revenue"]["value"]) == 545
    assert round(100 * found["margin of revenue, from the published revenue"]["value"], 1) == 84.5
    assert round(100 * found["share of node-hours in prefill"]["value"]) == 42
    assert round(100 * found["share of node-hours in decode"]["value"]) == 58
    assert round(found["node-hours that the stated rates account for"]["value"], 1) == 5444.7
    assert found["node-hours that the stated rates account for"]["published"] == pytest.approx(5442)
    for row in found.values():
        assert row["published"] is None or abs(row["difference_fraction"]) < 1e-3
        assert (row["source"] is None) == (row["published"] is None)
    summary = ran("deepseek-day").summary["day"]
    assert (round(summary["cost_usd"]), round(summary["revenue_usd"]), summary["published_revenue_usd"]) == (87_072, 562_100, 562_027)


# --- trainium2-vs-trainium3 --------------------------------------------------------------------------------------------------------------------

CASES = ["trainium2", "trainium3", "trainium3-announced", "h100", "h200", "b200", "gb200"]
TRAINIUM = {"trainium2": "trn2-ultraserver", "trainium3": "trn3-ultraserver-gen2", "trainium3-announced": "trn3-announced-ultraserver"}


@functools.cache
def trainium(name: str) -> Replica:
    return am.replica(model="llama-3.3-70b", system=TRAINIUM[name], accelerators=2, tensor_parallel=8, weights="fp8", kv="fp8")


def ideal(name: str, constant: str) -> float:
    return float(trainium(name).constants[constant][0])


def test_all_seven_systems_carry_the_load_within_the_targets():
    found = rows("trainium2-vs-trainium3", "at-targets")
    assert [row["case"] for row in found] == CASES
    for row in found:
        assert row["concurrency"] >= 1
        assert row["time_to_first_token_s"] <= 2.0
        assert row["time_per_output_token_s"] <= 0.05
        assert 0 < row["cost_usd_per_mtok_low90"] < row["cost_usd_per_mtok"] < row["cost_usd_per_mtok_high90"]
        assert row["calibrated"] == ("extrapolated" if row["case"].startswith("trainium3") else "measured")
    assert ran("trainium2-vs-trainium3").summary["at-targets"]["fitting"] == 7


@pytest.mark.parametrize("name", ["weight", "context", "token_flop", "sampled_flop", "context_flop", "pair"])
def test_every_roofline_of_the_announced_trainium3_is_exactly_4_4_times_as_fast(name):
    # Vendor peaks alone; capacity, efficiencies and overheads do not enter these.
    assert ideal("trainium2", f"ideal_{name}_s") / ideal("trainium3-announced", f"ideal_{name}_s") == pytest.approx(4.4, rel=1e-12)


def test_without_overheads_and_at_equal_efficiency_the_announced_trainium3_serves_exactly_4_4_times_as_fast():
    # The calibration expects a lower share of the peak of a generation that nobody measured, and overheads that do not shrink: both are taken away here.
    base = trainium("trainium2").calibration
    overheads = [name for name in type(base.parameters).model_fields if name.endswith("_overhead")]
    bare = with_parameters(base, **dict.fromkeys(overheads, 0.0)).model_copy(update={"generations": {}})
    old, new = (
        am.evaluate(copy_of(trainium(name), calibration=bare), input_tokens=1155, output_tokens=211, concurrency=8)
        for name in ("trainium2", "trainium3-announced")
    )
    for name in ("output_tokens_per_s", "input_tokens_per_s"):
        assert getattr(new, name) / getattr(old, name) == pytest.approx(4.4, rel=1e-12)
    for name in ("time_to_first_token_s", "time_per_output_token_s"):
        assert getattr(old, name) / getattr(new, name) == pytest.approx(4.4, rel=1e-12)
    # With them, the factor is out of reach.
    old, new = (am.evaluate(trainium(name), input_tokens=1155, output_tokens=211, concurrency=8) for name in ("trainium2", "trainium3-announced"))
    assert 1 < new.output_tokens_per_s / old.output_tokens_per_s < 4.4


def test_the_published_trainium3_is_as_much_faster_as_its_specification():
    # HBM 4.9 against 2.9 TB/s, FP8 2,517 against 1,299 TFLOP/s, BF16 (attention scores, and the head that samples) 671 against 667.
    assert ideal("trainium2", "ideal_weight_s") / ideal("trainium3", "ideal_weight_s") == pytest.approx(4.9 / 2.9, rel=1e-12)
    assert ideal("trainium2", "ideal_token_flop_s") / ideal("trainium3", "ideal_token_flop_s") == pytest.approx(2517 / 1299, rel=1e-12)
    assert ideal("trainium2", "ideal_pair_s") / ideal("trainium3", "ideal_pair_s") == pytest.approx(671 / 667, rel=1e-12)


def test_the_announced_trainium3_draws_six_tenths():
    assert ideal("trainium3-announced", "tdp_w") == pytest.approx(0.6 * ideal("trainium2", "tdp_w"))
    assert ideal("trainium3-announced", "tdp_w") == pytest.approx(300)


def test_both_trainium3_are_said_to_be_extrapolated_and_one_to_be_derived():
    found = ran("trainium2-vs-trainium3").assumptions
    said = [one.text for one in found if one.name == "extrapolated"]
    assert [f"'{name}'" in text for name, text in zip(("trainium3", "trainium3-announced"), said, strict=True)] == [True, True]
    [derived] = [one.text for one in found if one.name == "derived profile"]
    assert "'trainium3-announced' is 'trainium2' with throughput x 4.4, power x 0.6" in derived


# --- margin-shield -----------------------------------------------------------------------------------------------------------------------------

SHARES, SHOCKS = [0.0, 0.25, 0.5, 0.75, 1.0], [-0.3, -0.15, 0.0, 0.25, 0.5]


def margins() -> dict[tuple[float, float], float]:
    return {(row["in_house_fraction"], row["vendor_price_shock_fraction"]): row["margin_fraction"] for row in rows("margin-shield", "margin")}


def test_every_share_meets_every_shock():
    assert list(margins()) == [(share, shock) for share in SHARES for shock in SHOCKS]
    # Bedrock sells Llama 3.3 70B at 0.72 USD/Mtok, in and out.
    [price] = {row["price_usd_per_mtok"] for row in rows("margin-shield", "margin")}
    assert price == pytest.approx(0.72)


def test_without_a_shock_the_margins_are_those_of_the_two_replicas():
    for share, case in ((1.0, "trainium2"), (0.0, "h200")):
        assert margins()[share, 0.0] == pytest.approx(of_case("margin-shield", "replicas", case)["margin_fraction"], rel=1e-9)


def test_what_is_served_in_house_is_out_of_the_shocks_reach():
    assert len({margins()[1.0, shock] for shock in SHOCKS}) == 1


def test_without_silicon_of_its_own_the_margin_falls_with_the_vendors_price_by_the_share_of_it_in_the_cost():
    # What goes with the purchase of 46,250 USD, per available hour of two chips: servers and spares (3 %) and the network (11.5 % of servers and network) at
    # CRF(9 %, 5 y), operations and maintenance of servers and network; over 8760 h and 0.98.
    growth, network = 1.09**5, 46_250 * 0.115 / 0.885
    recovered = (46_250 * 1.03 + network) * 0.09 * growth / (growth - 1)
    purchase_usd_per_h = 2 * (recovered + UPKEEP * (46_250 + network)) / 8760 / AVAILABILITY
    h200 = of_case("margin-shield", "replicas", "h200")
    v, c_v = purchase_usd_per_h / h200["replica_cost_usd_per_h"], h200["cost_usd_per_mtok"]
    for low, high in itertools.pairwise(SHOCKS):
        slope = (margins()[0.0, high] - margins()[0.0, low]) / (high - low)
        assert slope == pytest.approx(-c_v * v / 0.72, rel=1e-9)
    assert ran("margin-shield").summary["margin"]["vendor_price_share_of_cost"] == pytest.approx(v, rel=1e-9)


def test_the_spread_of_the_margin_falls_in_a_straight_line_with_the_share_in_house():
    widest = margins()[0.0, -0.3] - margins()[0.0, 0.5]
    assert widest > 0.1
    found = ran("margin-shield").summary["margin"]["margin_by_in_house_fraction"]
    assert [float(share) for share in found] == SHARES
    for share, span in found.items():
        assert span["spread"] == pytest.approx((1 - float(share)) * widest, abs=1e-12)
        assert span["lowest_margin_fraction"] == pytest.approx(margins()[float(share), 0.5])


def test_a_tenants_rent_moves_with_the_vendors_price_as_a_whole():
    rented = am.run("margin-shield", set={"base.books": "tenant", "base.offer": ["capacity-block", "bedrock"], "cases.trainium2.system": "trn2.48xlarge"})
    [cost] = {row["vendor_cost_usd_per_mtok"] for row in rented.tables["margin"].to_pylist()}
    found = {row["vendor_price_shock_fraction"]: row["margin_fraction"] for row in rented.tables["margin"].to_pylist() if row["in_house_fraction"] == 0}
    assert found[0.5] - found[0.0] == pytest.approx(-0.5 * cost / 0.72)


# --- bedrock-margin ----------------------------------------------------------------------------------------------------------------------------


def test_one_model_does_not_fit_and_is_said_not_to():
    [missing] = [row for row in rows("bedrock-margin", "margin") if row["margin_fraction"] is None]
    assert missing["case"] == "deepseek-v3.2-h100"
    assert {name for name, value in missing.items() if value is not None} == {"case", "model", "system", "accelerators"}
    [note] = ran("bedrock-margin").studies["margin"].notes
    assert note.startswith("deepseek-v3.2-h100: 1 of 1 points do not fit: weights ")
    assert " GB; 8 accelerators hold " in note
    # More than the 671 B parameters of a byte, and 0.92 or less of 8 x 80 GiB.
    weights_gb, held_gb = (float(note.split(before)[1].split(" GB")[0].replace(",", "")) for before in ("weights ", "hold "))
    assert weights_gb > 671
    assert held_gb < 8 * 80 * 1.073741824


def test_every_other_model_has_a_margin_from_its_own_cost_and_revenue():
    found = [row for row in rows("bedrock-margin", "margin") if row["case"] != "deepseek-v3.2-h100"]
    assert len(found) == 19
    assert {row["model"] for row in found} == {"llama-3.1-8b", "llama-3.3-70b", "gpt-oss-120b", "qwen3-235b-a22b", "deepseek-v3.2"}
    for row in found:
        assert row["margin_fraction"] == pytest.approx(1 - row["replica_cost_usd_per_h"] / row["revenue_usd_per_h"], rel=1e-12)
        assert row["margin_fraction_low90"] < row["margin_fraction"] < row["margin_fraction_high90"]
        assert row["time_per_output_token_s"] <= 0.05
    assert list(found[0])[:2] == ["case", "model"]
