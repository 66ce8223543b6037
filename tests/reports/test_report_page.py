"""The page: self-contained, safe, said in words, and drawn from what the run found."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import openpyxl
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_report_equality import Page

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.reports.content import content

EVIL = "=cmd|' /C calc'!A0</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def text(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return am.report(folder, tmp_path_factory.mktemp("page") / "page.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(text: str):
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "img", "object", "embed", "base"}
    assert not [given for tag, given in page.tags if tag == "script" and "src" in given]
    assert all(given["href"].startswith("#") for tag, given in page.tags if tag == "a")
    assert any("default-src 'none'" in (given.get("content") or "") for tag, given in page.tags if tag == "meta")


def test_every_link_and_chart_has_its_place(text: str):
    page = Page(text)
    places = {given["id"] for _, given in page.tags if "id" in given}
    assert {given["href"][1:] for tag, given in page.tags if tag == "a"} <= places
    figures = json.loads(page.scripts["figures"])
    drawn = [given for _, given in page.tags if given.get("class") == "chart"]
    assert [given["data-figure"] for given in drawn] == list(figures)
    for given in drawn:
        assert given["role"] == "img"
        assert re.search(r" from .* to .*: ", given["aria-label"])
    for one in figures.values():
        assert go.Figure(one).data  # Plotly's own check of every property


def test_regions_that_scroll_take_the_keyboard(text: str):
    regions = [given for _, given in Page(text).tags if given.get("class") == "scroll"]
    assert regions
    assert all(given["tabindex"] == "0" and given["role"] == "region" and given["aria-label"] for given in regions)


def test_text_from_files_stays_text(text: str, folder: Path, tmp_path: Path):
    assert "<script>alert('title')</script>" not in text
    assert "&lt;script&gt;alert(&#x27;title&#x27;)&lt;/script&gt;" in text
    home = tmp_path / "edited"
    shutil.copytree(folder, home)
    document = json.loads((home / "run.json").read_text())
    document["assumptions"][0]["text"] = EVIL
    document["studies"]["margins"]["notes"] = [EVIL]
    (home / "run.json").write_text(json.dumps(document))
    for name in ("margins", "frontier", "steps"):
        table = pq.read_table(home / f"{name}.parquet")
        at = table.column_names.index("case")
        pq.write_table(table.set_column(at, table.schema.field(at).with_type(pa.string()), pa.array([EVIL] * table.num_rows)), home / f"{name}.parquet")
    page = am.report(home, tmp_path / "evil.html").read_text(encoding="utf-8")
    assert "<img" not in page
    tags = [tag for tag, _ in Page(page).tags]
    assert tags.count("script") == [tag for tag, _ in Page(text).tags].count("script")
    found = Page(page)
    assert json.loads(found.scripts["data"])["margins"]["rows"][0]["case"] == EVIL
    assert "<img" not in json.dumps(json.loads(found.scripts["figures"]))


def test_charts_draw_the_table_s_numbers(folder: Path):
    found = {study.name: study for study in content(folder).studies}
    frontier = found["frontier"]
    assert [chart.title.split(",")[0] for chart in frontier.charts] == ["Cost against speed", "Throughput against speed"]
    for series in frontier.charts[0].series:
        rows = sorted((row for row in frontier.rows() if row["case"] == series.name), key=lambda row: row["output_tokens_per_s_per_user"])
        assert list(series.x) == [row["output_tokens_per_s_per_user"] for row in rows]
        assert list(series.y) == [row["cost_usd_per_mtok"] for row in rows]
    fall = found["steps"].charts[0].series[0]
    rows = [row for row in found["steps"].rows() if row["case"] == "own"]
    assert (list(fall.x), list(fall.y)) == ([row["step"] for row in rows], [row["step_usd_per_mtok"] for row in rows])
    assert {chart.kind for study in found.values() for chart in study.charts} == {"line", "waterfall", "bar"}


def test_the_page_names_the_run(folder: Path, text: str):
    document = json.loads((folder / "run.json").read_text())
    said = dict(content(folder).identity.rows)
    assert said["catalogue hash (SHA-256)"] == document["catalog_sha256"]
    assert said["program version"] == document["version"]
    assert re.fullmatch(r"[0-9a-f]{64}", said["run hash (SHA-256 of run.json's content)"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", said["catalogue date"])
    assert all(str(value) in text for value in said.values())


def test_another_seed_or_input_is_another_run(folder: Path, tmp_path: Path):
    home = tmp_path / "other"
    shutil.copytree(folder, home)
    document = json.loads((home / "run.json").read_text()) | {"seed": 1}
    (home / "run.json").write_text(json.dumps(document))
    assert dict(content(home).identity.rows)["seed"] == 1
    hashes = {dict(content(one).identity.rows)["run hash (SHA-256 of run.json's content)"] for one in (folder, home)}
    assert len(hashes) == 2


def test_an_edited_input_is_told(folder: Path, tmp_path: Path):
    home = tmp_path / "edited"
    shutil.copytree(folder, home)
    file = next((home / "inputs").rglob("trainium2.toml"))
    file.write_text(file.read_text() + "\n# seen\n")
    assert any("trainium2.toml" in words for words in content(home).missing)
    assert not any("Changed" in words for words in content(folder).missing)


def test_inputs_have_units_kinds_and_sources(folder: Path):
    rows = {(row[0], row[1]): row for row in content(folder).inputs.rows}
    assert rows["scenario", "base.model"][2] == "llama-3.1-8b"
    assert rows["scenario", "axes.concurrency"][2] == "1, 8, 32, 96"
    purchase = rows["ownership/default", "purchase.trainium2"]
    assert purchase[3:7] == ("USD/accelerator", 5500.0, 14000.0, "estimated")
    assert {row[0].split("/")[0] for row in rows.values()} >= {"scenario", "accelerators", "ownership", "sites", "calibrations", "offers"}
    known = set(am.Library().sources)
    assert {row[7] for row in rows.values() if row[7]} <= known


@pytest.mark.parametrize(("name", "word"), [("x.pdf", "ending"), ("x", "ending"), ("x.csv", ".csv.zip"), ("x.zip", ".csv.zip")])
def test_another_format_is_refused_before_anything_is_read(name: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert execute(["report", str(tmp_path / "nothing"), "--output", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "--output" in said
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_run_is_refused_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for ending in ("html", "xlsx", "csv.zip"):
        assert execute(["report", str(tmp_path), "--output", str(tmp_path / f"x.{ending}"), "--quiet"]) == 2
    assert capsys.readouterr().err.count("no run lies here") == 3
    assert not list(tmp_path.iterdir())


def test_the_command_writes_what_it_says(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a.html", "a.xlsx", "a.csv.zip"):
        assert execute(["report", str(folder), "--output", str(tmp_path / name)]) == 0
        printed = capsys.readouterr()
        assert printed.out == ""
        assert f"wrote {tmp_path / name}" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv.zip", "a.html", "a.xlsx"]


def test_a_kind_of_study_that_nobody_knows_still_has_its_table(folder: Path, tmp_path: Path):
    home = tmp_path / "future"
    shutil.copytree(folder, home)
    document = json.loads((home / "run.json").read_text())
    document["studies"]["shock"] |= {"kind": "from-the-future", "columns_to_show": []}
    (home / "run.json").write_text(json.dumps(document))
    table = pq.read_table(home / "shock.parquet")
    table = table.append_column(pa.field("novel_width", pa.float64(), metadata={"unit": "m", "description": "of a future"}), pa.array([1.5] * table.num_rows))
    pq.write_table(table, home / "shock.parquet")
    page = Page(am.report(home, tmp_path / "future.html").read_text(encoding="utf-8"))
    found = page.study(table.column_names)
    assert found["units"][-1] == "m"
    assert [row[-1][1] for row in found["rows"] if row] == [1.5] * table.num_rows
    study = next(study for study in content(home).studies if study.name == "shock")
    assert (study.answer, study.charts) == ((), ())


def test_a_long_table_is_cut_in_print_and_says_so(folder: Path, tmp_path: Path):
    home = tmp_path / "long"
    shutil.copytree(folder, home)
    table = pq.read_table(home / "margins.parquet")
    pq.write_table(pa.concat_tables([table] * 20), home / "margins.parquet")
    text = am.report(home, tmp_path / "long.html").read_text(encoding="utf-8")
    assert "The first 200 of 320 rows; workbook and CSV have all." in text
    assert len(json.loads(Page(text).scripts["data"])["margins"]["rows"]) == 320


def test_a_sweep_s_further_tables_are_in_every_format(tmp_path: Path):
    scenario = """
title = "Sweep"
[base]
model = "llama-3.1-8b"
input_tokens = 1000
output_tokens = 250
[axes]
system = ["trn2.48xlarge", "p5.48xlarge"]
accelerators = [1, 2]
concurrency = { from = 1, to = 64, steps = 12, scale = "log" }
[studies.grid]
kind = "sweep"
[studies.grid.reductions.frontier]
kind = "frontier"
minimise = ["cost_usd_per_mtok"]
maximise = ["output_tokens_per_s_per_user"]
[studies.grid.reductions.costs]
kind = "histogram"
column = "cost_usd_per_mtok"
from = 0.01
to = 10.0
bins = 4
scale = "log"
"""
    (tmp_path / "sweep.toml").write_text(scenario)
    run = am.run(tmp_path / "sweep.toml")
    run.save(tmp_path / "run")
    found = content(tmp_path / "run")
    assert [study.name for study in found.studies] == ["grid", "grid.costs"] == [study.name for study in content(run).studies]
    (cloud,) = found.studies[0].charts
    assert sum(len(one.x) for one in cloud.series) == run.tables["grid"].num_rows
    assert {row[0] for row in found.inputs.rows} >= {
        "accelerators/trainium2",
        "accelerators/h100-sxm",
        "calibrations/gpu-fit-2026-11",
        "calibrations/neuron-fit-2026-11",
    }
    costs = run.tables["grid.costs"].to_pylist()
    data = json.loads(Page(am.report(tmp_path / "run", tmp_path / "x.html").read_text()).scripts["data"])
    assert data["grid.costs"]["rows"] == costs
    sheet = openpyxl.load_workbook(am.report(run, tmp_path / "x.xlsx"))["grid.costs"]
    assert sheet.max_row >= len(costs) + 2
    with zipfile.ZipFile(am.report(run, tmp_path / "x.csv.zip")) as archive:
        assert len(archive.read("grid.costs.csv").decode().splitlines()) == len(costs) + 1


def test_an_infinite_number_stops_no_report(folder: Path, tmp_path: Path):
    home = tmp_path / "infinite"
    shutil.copytree(folder, home)
    table = pq.read_table(home / "shock.parquet")
    at = table.column_names.index("price_usd_per_mtok")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array([float("inf")] * table.num_rows)), home / "shock.parquet")
    for ending in ("html", "xlsx", "csv.zip"):
        am.report(home, tmp_path / f"x.{ending}")
    rows = json.loads(Page((tmp_path / "x.html").read_text()).scripts["data"])["shock"]["rows"]
    assert {row["price_usd_per_mtok"] for row in rows} == {"infinite"}
    sheet = openpyxl.load_workbook(tmp_path / "x.xlsx")["shock"]
    assert "inf" in {cell.value for cell in sheet[3]}
