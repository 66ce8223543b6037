"""Scenario files: what they may say, what is made of it, and one clear message for everything that is wrong in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import accelmodel as am
from accelmodel.catalog.library import Library
from accelmodel.studies.scenario import Range

HEAD = 'title = "A test"\n'
BASE = """
[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1
input_tokens = 512
output_tokens = 128
concurrency = 8
"""
POINTS = """
[studies.points]
kind = "points"
"""
GOOD = HEAD + BASE + POINTS
SHOCK = """
[studies.shock]
kind = "price-shock"
in_house = "a"
vendor = "b"
in_house_fraction = [0.0, 1.0]
vendor_price_shock_fraction = [0.0, 0.5]
"""


def run(folder: Path, text: str, **options: Any) -> am.Run:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return am.run(path, **options)


def rows(folder: Path, text: str, **options: Any) -> list[dict[str, Any]]:
    [table] = run(folder, text, **options).tables.values()
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def fault(folder: Path, text: str, **options: Any) -> am.InputError:
    with pytest.raises(am.InputError) as caught:
        run(folder, text, **options)
    return caught.value


# --- what a file says ------------------------------------------------------------------------------------------------------------------------


def test_a_base_alone_is_one_row_named_after_its_system(tmp_path):
    [row] = rows(tmp_path, GOOD)
    assert (row["case"], row["model"], row["accelerator"], row["concurrency"]) == ("p5.48xlarge", "llama-3.1-8b", "h100-sxm", 8)
    assert (row["accelerators"], row["tensor_parallel"], row["engine"], row["weights"], row["kv"]) == (1, 1, "vllm", "bf16", "bf16")


def test_cases_override_the_base_and_run_in_their_order(tmp_path):
    text = GOOD + '[cases.b]\nconcurrency = 2\n[cases.a]\nsystem = "p5en.48xlarge"\nweights = "fp8"\n'
    found = [(row["case"], row["system"], row["weights"], row["concurrency"]) for row in rows(tmp_path, text)]
    assert found == [("b", "p5.48xlarge", "bf16", 2), ("a", "p5en.48xlarge", "fp8", 8)]
    assert [row["case"] for row in rows(tmp_path, text.replace('kind = "points"', 'kind = "points"\ncases = ["a"]'))] == ["a"]


def test_every_combination_of_the_axes_is_a_point_the_last_axis_fastest(tmp_path):
    text = GOOD + '[axes]\nweights = ["bf16", "fp8"]\nconcurrency = {from = 1, to = 16, steps = 3, scale = "log"}\n'
    found = rows(tmp_path, text)
    assert [row["weights"] for row in found] == ["bf16"] * 3 + ["fp8"] * 3
    assert [row["concurrency"] for row in found] == pytest.approx([1, 4, 16] * 2)


def test_an_axis_of_another_kind_of_load_replaces_that_of_the_base(tmp_path):
    found = rows(tmp_path, GOOD + "[axes]\nrequests_per_s = [1.0, 2.0]\n")
    assert [row["output_tokens_per_s"] for row in found] == pytest.approx([128, 256])


def test_ranges_hold_both_ends():
    assert Range(**{"from": 0, "to": 1, "steps": 5}).values == [0, 0.25, 0.5, 0.75, 1]
    assert Range(**{"from": 1000, "to": 1, "steps": 4, "scale": "log"}).values == pytest.approx([1000, 100, 10, 1])


def test_an_axis_may_hold_lists_of_offers(tmp_path):
    text = GOOD + '[axes]\noffer = [["on-demand", "bedrock"], ["spot", "bedrock"]]\n'
    found = rows(tmp_path, text)
    assert [row["cost_basis"] for row in found] == ["p5.48xlarge:on-demand:us-east-1", "p5.48xlarge:spot:us-east-1"]
    assert all(row["margin_fraction"] is not None for row in found)


def test_a_range_of_whole_numbers_serves_a_key_that_counts(tmp_path):
    assert [row["accelerators"] for row in rows(tmp_path, GOOD + "[axes]\naccelerators = {from = 1, to = 2, steps = 2}\n")] == [1, 2]


def test_a_workload_gives_the_lengths_and_keys_of_its_own_case_win(tmp_path):
    text = (HEAD + BASE + POINTS).replace("input_tokens = 512\noutput_tokens = 128\n", 'workload = "chat"\n') + "[cases.a]\n[cases.b]\noutput_tokens = 50\n"
    # 'chat' is 1,155 tokens in and 211 out.
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows(tmp_path, text)] == [(1155, 211), (1155, 50)]


def test_the_workload_of_a_case_wins_over_the_lengths_of_the_base(tmp_path):
    [row] = rows(tmp_path, GOOD + '[cases.a]\nworkload = "chat"\n')
    assert (row["input_tokens"], row["output_tokens"]) == (1155, 211)


def test_columns_are_picked_beside_the_case_and_the_axes(tmp_path):
    text = GOOD.replace('kind = "points"', 'kind = "points"\ncolumns = ["cost_usd_per_mtok", "fits"]') + "[axes]\nconcurrency = [1, 2]\n"
    assert list(rows(tmp_path, text)[0]) == ["case", "concurrency", "cost_usd_per_mtok", "fits"]


# --- overrides, picks, seeds -----------------------------------------------------------------------------------------------------------------


def test_overrides_reach_base_cases_axes_and_studies(tmp_path):
    text = GOOD + "[cases.a]\n[cases.b]\n[axes]\nprefix_hit_fraction = [0.0]\n"
    changed = {
        "base.output_tokens": 64,
        "cases.a.concurrency": 3,
        "axes.prefix_hit_fraction": [0.1, 0.2],
        "studies.points.columns": ["output_tokens", "concurrency"],
    }
    assert rows(tmp_path, text, set=changed) == [
        {"case": case, "prefix_hit_fraction": hit, "output_tokens": 64, "concurrency": load} for case, load in (("a", 3), ("b", 8)) for hit in (0.1, 0.2)
    ]


@pytest.mark.parametrize(
    ("key", "value", "where", "words"),
    [
        ("base.ocupancy", 0.5, "--set base.ocupancy", "did you mean 'occupancy'?"),
        ("bas.occupancy", 0.5, "--set bas.occupancy", "did you mean 'base'?"),
        ("occupancy", 0.5, "--set occupancy", "allowed: axes, base, cases"),
        ("base.model.name", "x", "--set base.model.name", "'model' is a value, not a table"),
        ("base.concurrency", "many", "--set base.concurrency", "valid number"),
        ("base.occupancy", 1.5, "--set base.occupancy", "less than or equal to 1"),
        ("studies.points.colums", ["fits"], "--set studies.points.colums", "did you mean 'columns'?"),
    ],
)
def test_an_override_that_names_nothing_or_cannot_be_is_refused(tmp_path, key, value, where, words):
    error = fault(tmp_path, GOOD, set={key: value})
    assert error.key == where
    assert words in str(error)


def test_an_override_of_a_case_that_does_not_exist_is_refused_with_the_nearest(tmp_path):
    error = fault(tmp_path, GOOD + "[cases.trainium2]\n", set={"cases.trainuim2.concurrency": 4})
    assert "did you mean 'trainium2'?" in str(error)


def test_an_override_reaches_a_case_whose_name_has_dots():
    found = am.run("bedrock-margin", set={"cases.llama-3.1-8b-h100.occupancy": 0.5, "studies.margin.cases": ["llama-3.1-8b-h100"]})
    assert found.document()["inputs"]["cases"]["llama-3.1-8b-h100"]["occupancy"] == 0.5


def test_studies_are_picked_and_an_unknown_one_is_refused(tmp_path):
    text = GOOD + '[studies.again]\nkind = "points"\n'
    assert list(run(tmp_path, text).tables) == ["points", "again"]
    assert list(run(tmp_path, text, studies=["again"]).tables) == ["again"]
    error = fault(tmp_path, text, studies=["agian"])
    assert (error.key, error.nearest) == ("studies", "again")
    with pytest.raises(am.InputError, match="did you mean 'points'"):
        run(tmp_path, text).to_pandas("point")


def test_the_seed_stands_in_the_document_and_in_every_table(tmp_path):
    found = run(tmp_path, GOOD, seed=17)
    assert found.document()["seed"] == 17
    found.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["seed"] == 17
    assert run(tmp_path, GOOD).document()["seed"] == 0


def test_progress_says_which_study_runs(tmp_path):
    said: list[str] = []
    run(tmp_path, GOOD + '[studies.again]\nkind = "points"\n', progress=said.append)
    assert said == ["study 'points'", "study 'again'"]


def test_a_scenario_in_a_folder_of_ones_own_is_found_first_and_changes_the_catalogues_hash(tmp_path):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "quickstart.toml").write_text(GOOD, encoding="utf-8")
    mine, shipped = am.run("quickstart", catalog=Library(tmp_path)), am.run("quickstart")
    assert (mine.title, mine.scenario) == ("A test", "quickstart")
    assert mine.document()["catalog_sha256"] != shipped.document()["catalog_sha256"]


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(am.InputError, match="cannot be written to"):
        run(tmp_path, GOOD).save(tmp_path / "file" / "out")


# --- what is wrong ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        # Keys
        (GOOD.replace("concurrency", "concurency"), "base.concurency", "unknown key; did you mean 'concurrency'?"),
        (GOOD + "[cases.a]\ntensor_paralel = 2\n", "cases.a.tensor_paralel", "did you mean 'tensor_parallel'?"),
        (GOOD.replace("[base]", "[bse]"), "bse", "did you mean 'base'?"),
        (GOOD + 'colums = ["fits"]\n', "studies.points.colums", "did you mean 'columns'?"),
        (GOOD.replace(HEAD, ""), "title", "is missing"),
        (HEAD + BASE, "studies", "is missing"),
        (GOOD + "[cases.A]\n", "cases.A", "'A' is no name: small letters"),
        # Values
        (GOOD.replace("concurrency = 8", "concurrency = -8"), "base.concurrency", "greater than 0"),
        (GOOD.replace("concurrency = 8", "concurrency = nan"), "base.concurrency", "finite number"),
        (GOOD.replace("accelerators = 1", "accelerators = 1.5"), "base.accelerators", "valid integer"),
        (GOOD.replace("concurrency = 8", 'concurrency = 8\nbooks = "clouds"'), "base.books", "did you mean 'cloud'?"),
        (GOOD.replace("concurrency = 8", "concurrency = 8\nprefix_hit_fraction = 1.5"), "base.prefix_hit_fraction", "less than or equal to 1"),
        # Names
        (GOOD.replace("llama-3.1-8b", "llama-3.1-8bb"), "model", "did you mean 'llama-3.1-8b'?"),
        (GOOD.replace("p5.48xlarge", "p5.48xlage"), "system", "did you mean 'p5.48xlarge'?"),
        (GOOD.replace("concurrency = 8", 'concurrency = 8\nworkload = "chta"'), "workload", "did you mean 'chat'?"),
        (GOOD.replace("concurrency = 8", 'concurrency = 8\noffer = "bedrok"'), "offer", "did you mean 'bedrock'?"),
        (GOOD.replace("concurrency = 8", 'concurrency = 8\nsite = "ohio-central"'), "site", "no site is called 'ohio-central'"),
        # What is missing
        (GOOD.replace('model = "llama-3.1-8b"\n', ""), "base.model", "is missing"),
        (GOOD.replace('system = "p5.48xlarge"\n', "") + "[cases.a]\n", "cases.a.system", "is missing"),
        (GOOD.replace("input_tokens = 512\n", ""), "base.input_tokens", "or a workload"),
        (GOOD.replace("output_tokens = 128\n", ""), "base.output_tokens", "or a workload"),
        (GOOD.replace("concurrency = 8\n", ""), "concurrency", "give a load"),
        (GOOD + "[cases.a]\nrequests_per_s = 2.0\n", "requests_per_s", "not both"),
        # Studies
        (GOOD.replace('"points"', '"poinst"'), "studies.points.kind", "did you mean 'points'?"),
        (GOOD.replace('kind = "points"', 'kind = "points"\ncases = ["gpu"]') + "[cases.gpus]\n", None, "no case is called 'gpu'; did you mean 'gpus'?"),
        (GOOD.replace('kind = "points"', 'kind = "points"\ncolumns = ["cost_usd_per_mtk"]'), "columns", "did you mean 'cost_usd_per_mtok'?"),
        (GOOD.replace('kind = "points"', 'kind = "points"\ncolumns = ["margin_fraction"]'), "columns", "no point has the column 'margin_fraction'"),
        (HEAD + BASE + '[studies.f]\nkind = "fleet"\nfleet_accelerators = []\n', None, "at least 1 item"),
        (HEAD + BASE + '[studies.f]\nkind = "fleet"\nfleet_accelerators = [0]\n', None, "greater than or equal to 1"),
        (HEAD + BASE + '[studies.f]\nkind = "fleet"\nfleet_accelerators = [8]\nreference = "ranier"\n', "reference", "did you mean 'rainier'?"),
        (HEAD + '[studies.d]\nkind = "day"\nreference = "deepseek-dya"\n', "reference", "did you mean 'deepseek_day'?"),
        (HEAD + BASE + SHOCK + "[cases.a]\n[cases.bb]\n", None, "no case is called 'b'"),
        (HEAD + BASE + SHOCK + "[cases.a]\n[cases.b]\n", "cases.a.offer", "sells nothing"),
        (HEAD + BASE + SHOCK.replace("0.5]", "-1.0]") + "[cases.a]\n[cases.b]\n", None, "greater than -1"),
        (HEAD + BASE + SHOCK + '[cases.a]\noffer = "bedrock"\n[cases.b]\noffer = "bedrock"\ntier = "batch"\n', "studies.shock", "at 0.22 and 0.11 USD/Mtok"),
        # Axes
        (GOOD + "[axes]\nconcurency = [1, 2]\n", None, "did you mean 'concurrency'?"),
        (GOOD + "[cases.a]\nconcurrency = 4\n[axes]\nconcurrency = [1, 2]\n", None, "'concurrency' is set by the case 'a' and by an axis"),
        (GOOD + "[axes]\nconcurrency = [1, -2]\n", "axes.concurrency", "greater than 0 (got -2)"),
        (GOOD + "[axes]\noccupancy = [0.5, 2.0]\n", "axes.occupancy", "less than or equal to 1 (got 2.0)"),
        # TOML itself
        (GOOD + 'kind = "fleet"\n', None, "is not valid TOML: Cannot overwrite a value"),
        (GOOD + "[base]\n", None, "is not valid TOML: Cannot declare"),
        (GOOD + "[axes\n", None, "is not valid TOML"),
    ],
)
def test_a_fault_is_one_message_with_file_key_and_the_nearest_name(tmp_path, text, key, words):
    error = fault(tmp_path, text)
    assert words in str(error)
    assert key is None or error.key == key
    assert error.file == str(tmp_path / "mine.toml")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("{from = 1, to = 8, steps = 1}", "greater than or equal to 2"),
        ("{from = 0, to = 8, steps = 3, scale = 'log'}", "a log range needs both ends above 0"),
        ("{from = 1, too = 8, steps = 3}", "did you mean 'to'?"),
        ("{from = 1, steps = 3}", "is missing"),
        ("{from = 1, to = 8, steps = 3, scale = 'cubic'}", "'cubic' is not known"),
        ("[]", "axes.concurrency"),
        ("['many']", "concurrency"),
        ("3", "axes.concurrency"),
    ],
)
def test_a_bad_axis_says_what_is_wrong_with_it_in_the_files_own_words(tmp_path, axis, words):
    error = fault(tmp_path, GOOD + f"[axes]\nconcurrency = {axis}\n")
    assert words in str(error)
    assert error.key is not None
    assert error.key.startswith("axes.concurrency")
    assert "tuple" not in str(error)
    assert "_log_of_positive" not in str(error)


@pytest.mark.parametrize(
    "axis",
    ["occupancy = ['half']", "model = [5]", "engine = [1]", "books = ['nobodys']", "site = [1]", "weights = [8]", "accelerators = [1.5]", "tpot_s = [0.0]"],
)
def test_values_of_an_axis_are_checked_as_those_of_the_base(tmp_path, axis):
    assert axis.split()[0] in str(fault(tmp_path, GOOD + f"[axes]\n{axis}\n"))


def test_a_key_that_resembles_none_is_not_given_a_nearest(tmp_path):
    error = fault(tmp_path, GOOD + "[axes]\nzzz = [1]\n")
    assert "axes.zzz: unknown key" in str(error)
    assert "None" not in str(error)


def test_what_cannot_be_read_names_the_file(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    for name, words in ((str(path), "cannot be read"), (str(tmp_path / "none.toml"), "no such file"), (str(tmp_path), "no such file")):
        with pytest.raises(am.InputError, match=words) as caught:
            am.run(name)
        assert caught.value.file == name
    with pytest.raises(am.InputError, match=re.escape("no scenario is called 'rainer'; did you mean 'rainier'?")):
        am.run("rainer")


def test_a_fault_in_a_file_that_the_scenario_names_is_told_of_that_file(tmp_path):
    config = tmp_path / "config.json"
    config.write_text("{", encoding="utf-8")
    assert fault(tmp_path, GOOD.replace("llama-3.1-8b", str(config))).file == str(config)


# --- what an answer rests on -----------------------------------------------------------------------------------------------------------------


def test_an_estimated_model_comes_first_among_the_assumptions(tmp_path):
    text = GOOD.replace("llama-3.1-8b", "claude-class-moe").replace("accelerators = 1", "accelerators = 8").replace("p5.48xlarge", "p6-b200.48xlarge")
    first, *others = run(tmp_path, text).assumptions
    assert (first.rank, first.name) == (0, "model")
    assert "'claude-class-moe' is an estimate in every figure" in first.text
    assert not any(one.name == "model" for one in others)
    assert not any(one.name == "model" for one in run(tmp_path, GOOD).assumptions)


def test_a_trainium3_is_said_to_be_extrapolated_and_a_trainium2_is_not(tmp_path):
    def said(system: str) -> list[str]:
        found = run(tmp_path, GOOD.replace("p5.48xlarge", system)).assumptions
        return [one.text for one in found if one.name == "extrapolated"]

    [text] = said("trn3-ultraserver-gen2")
    assert "nothing measured on 'trainium3'" in text
    assert said("trn2-ultraserver") == []


def test_the_order_of_assumptions_is_estimates_purchase_load_prices_site(tmp_path):
    text = GOOD.replace("p5.48xlarge", "trn3-announced-ultraserver").replace("concurrency = 8", 'concurrency = 8\noffer = "bedrock"')
    names = [one.name for one in run(tmp_path, text).assumptions]
    assert names == ["extrapolated", "derived profile", "purchase", "occupancy", "accuracy", "price", "site"]
    found = run(tmp_path, text.replace("trn3-announced-ultraserver", "p5.48xlarge").replace('"bedrock"', '["on-demand", "bedrock"]'))
    assert [one.name for one in found.assumptions] == ["occupancy", "offer", "accuracy", "price"]
    assert "55.04 USD/hour a system (p5.48xlarge:on-demand:us-east-1, 2026-07-20)" in found.assumptions[1].text


def test_an_assumption_that_several_cases_share_is_said_once(tmp_path):
    found = run(tmp_path, GOOD + "[cases.a]\n[cases.b]\nconcurrency = 2\n").assumptions
    assert len({(one.name, one.text) for one in found}) == len(found)
    assert [one.name for one in found].count("purchase") == 1
