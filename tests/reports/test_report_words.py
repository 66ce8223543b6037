"""Sentences and charts from rows made by hand: what they say is what the rows hold."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pytest

from accelmodel.columns import COLUMNS, Column
from accelmodel.reports.charts import Chart, charts
from accelmodel.reports.content import Content, Listing, Study
from accelmodel.reports.plotly_figures import figure
from accelmodel.reports.words import answer, cheapest_at


def _point(case: str, speed: float, cost: float) -> dict[str, Any]:
    return {
        "case": case,
        "model": "m",
        "concurrency": 4,
        "fits": True,
        "output_tokens_per_s_per_user": speed,
        "output_tokens_per_s_per_accelerator": 10 * speed,
        "cost_usd_per_mtok": cost,
    }


POINTS = [_point("slow", 10.0, 0.1), _point("slow", 30.0, 0.2), _point("fast", 50.0, 0.5), _point("fast", 80.0, 0.4), _point("fast", 120.0, 2.0)]


def test_the_cheapest_at_a_speed_is_among_those_that_reach_it():
    assert cheapest_at(POINTS, 50.0) is POINTS[3]
    assert cheapest_at(POINTS, 100.0) is POINTS[4]
    assert cheapest_at(POINTS, 121.0) is None


def test_a_frontier_answers_which_is_cheapest_at_fifty():
    (said,) = answer("points", POINTS, {"points": 5, "fitting": 5})
    assert said == (
        "'slow' with 4 requests at a time has the cheapest tokens: 0.100 USD/Mtok, 10 tokens/s per user. Of the computed points that give 50 tokens/s per "
        "user or more, 'fast' with 4 requests at a time is the cheapest: 0.400 USD/Mtok."
    )
    slow = [_point("slow", speed, 1.0 / speed) for speed in (10.0, 20.0, 40.0)]
    (said,) = answer("points", slow, {"points": 4, "fitting": 3})[:1]
    assert said.endswith("No computed point gives 50 tokens/s per user; the fastest gives 40.")
    assert answer("points", slow, {"points": 4, "fitting": 3})[-1] == "1 of 4 points cannot run."


def test_a_plan_says_where_it_ends_and_how_good_it_is():
    rows = [{"quarter": "2027Q1", "systems": 10, "fleet_accelerators": 640, "it_power_mw": 0.5, "served_fraction": 1.0, "cost_usd": 1e6}]
    rows.append({"quarter": "2027Q2", "systems": 30, "fleet_accelerators": 1920, "it_power_mw": 1.5, "served_fraction": 0.98, "cost_usd": 3e6})
    said = answer("plan", rows, {"present_cost_usd": 3.5e6, "gap_fraction": 0.001})
    assert said[0] == "The plan from 2027Q1 to 2027Q2 has at last 30 systems of 1,920 accelerators and 1.50 MW of IT power."
    assert said[1] == "Its present cost is 3.50 M USD, at most 0.100 % above the best possible with these reserves."
    assert said[2] == "At least 98 % of the requests are served in every quarter."
    drawn = {chart.title: chart for chart in charts("plan", rows, {})}
    assert list(drawn["Power by quarter"].series[0].y) == [0.5, 1.5]
    assert list(drawn["Fleet by quarter"].series[0].x) == ["2027Q1", "2027Q2"]


def test_a_site_that_starts_late_has_no_bar_before():
    rows = [
        {"quarter": quarter, "site": site, "system": "s", "systems": 1, "fleet_accelerators": 64, "it_power_mw": 1.0}
        for quarter, site in (("2027Q1", "a"), ("2027Q2", "a"), ("2027Q2", "b"))
    ]
    power = next(chart for chart in charts("plan-part", rows, {}) if chart.title == "Power by quarter")
    assert [(one.name, list(one.y)) for one in power.series] == [("a, s", [1.0, 1.0]), ("b, s", [None, 1.0])]


@pytest.fixture
def of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of studies of uncertainty, as their rows name them."""
    for end in ("p10", "p50", "p90", "at_low", "at_high"):
        monkeypatch.setitem(COLUMNS, f"cost_usd_per_mtok_{end}", Column(f"cost_usd_per_mtok_{end}", "USD/Mtok", "of draws"))


@pytest.mark.usefixtures("of_draws")
def test_fans_and_tornados():
    row = {"case": "a", "cost_usd_per_mtok_p10": 0.1, "cost_usd_per_mtok_p50": 0.2, "cost_usd_per_mtok_p90": 0.7}
    (fan,) = charts("uncertainty", [row], {})
    (series,) = fan.series
    assert (list(series.low or ()), list(series.x), list(series.high or ())) == ([0.1], [0.2], [0.7])
    span, dot = figure(fan)["data"]
    assert span["x"] == [0.1, 0.7, None]
    assert dot["x"] == [0.2]
    inputs = [("small", 0.29, 0.31), ("half", None, 0.9), ("large", 0.1, 0.6)]
    rows = [{"input_name": name, "cost_usd_per_mtok_at_low": low, "cost_usd_per_mtok_at_high": high} for name, low, high in inputs]
    (tornado,) = charts("sensitivity", rows, {"central": 0.3})
    assert [list(one.y) for one in tornado.series] == [["half", "large", "small"]] * 2  # by reach: 0.6, 0.5, 0.02; one end that does not run hides nothing
    assert "No bar: nothing runs there." in tornado.caption
    low, high = figure(tornado)["data"]
    assert low["base"] == high["base"] == 0.3
    assert high["x"] == pytest.approx([0.6, 0.3, 0.01])
    assert low["x"][0] is None
    for chart in (fan, tornado):
        assert go.Figure(figure(chart)).data


def test_hours_of_a_schedule():
    summary = {"hours": [{"case": "a", "tokens_per_day": 1e9, "load": [1.0, 2.5, 2.0], "needed": [2, 3, 3], "words": ["x"]}]}
    (chart,) = charts("schedule", [{"case": "a"}], summary)
    assert [(one.name, list(one.y)) for one in chart.series] == [("load", [1.0, 2.5, 2.0]), ("needed", [2, 3, 3])]
    assert list(chart.series[0].x) == [0, 1, 2]


def test_a_chart_in_words_has_its_ends():
    (chart, _) = charts("points", POINTS, {})
    assert chart.alternative == "Cost against speed, at each load. cost from 0.100 USD/Mtok to 2 USD/Mtok: slow, fast. The numbers stand in the table."


def test_an_empty_study_draws_nothing():
    assert charts("points", [], {}) == []
    assert answer("points", [], {}) == []


MEASURED = """source,engine,model,accelerator,num_accelerators,tp,isl,osl,concurrency,load_as_published,precision_weights,metric,value
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,1000,250,16,concurrency=16,fp8,tpot_ms,10
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,1000,250,16,concurrency=16,fp8,output_tok_s,1500
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,8000,250,16,concurrency=16,fp8,tpot_ms,12
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,8000,250,16,concurrency=16,fp8,output_tok_s,900
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H200-SXM-141GB,1,1,1000,250,16,concurrency=16,fp8,tpot_ms,9
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H200-SXM-141GB,1,1,1000,250,16,concurrency=16,fp8,output_tok_s,1700
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,1000,250,32,concurrency=32,fp8,tpot_ms,14
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,1000,250,8,concurrency=8,bf16,tpot_ms,8
lab,TensorRT-LLM,Llama-3.1-8B-Instruct,H100-SXM-80GB,1,1,1000,250,8,concurrency=8,bf16,output_tok_s,800
"""


def test_measurements_of_the_region_lie_over_the_frontier(folder: Path, tmp_path: Path):
    """In place of the shipped ones: one of the five measured runs is of the same accelerator, dtype and lengths, and has speed and throughput both."""
    from accelmodel.reports.content import content

    (tmp_path / "measured.csv").write_text(MEASURED)
    found = content(folder, tmp_path / "measured.csv")
    study = next(one for one in found.studies if one.name == "frontier")
    cost, throughput = ([one for one in chart.series if one.dots] for chart in study.charts)
    assert [(one.name, list(one.x), list(one.y)) for one in throughput] == [("gpu: measured", [100.0], [1500.0])]
    row = min((row for row in study.rows() if row["case"] == "gpu"), key=lambda row: row["cost_usd_per_mtok"])
    # 1,500 output tokens/s with four input tokens each: 27 million tokens in an hour, half of the hours loaded.
    assert list(cost[0].y) == pytest.approx([row["replica_cost_usd_per_h"] / (1500 * 5 * 3600 / 1e6 * 0.5)])
    assert any(words.startswith("Measured runs of measured.csv") and words.endswith(": 1. By source: lab: 1.") for words in found.missing)
    assert go.Figure(figure(study.charts[0])).data


def test_no_line_joins_measurements_in_a_workbook(folder: Path, tmp_path: Path):
    import accelmodel as am

    (tmp_path / "measured.csv").write_text(MEASURED)
    with zipfile.ZipFile(am.report(folder, tmp_path / "book.xlsx", measured=tmp_path / "measured.csv")) as archive:
        series = re.findall("<c:ser>.*?</c:ser>", archive.read("xl/charts/chart1.xml").decode())
    joined = {re.findall("<c:v>(.*?)</c:v>", one)[0]: "<c:spPr><a:ln><a:noFill/></a:ln></c:spPr>" not in one for one in series}
    assert joined == {"own": True, "gpu": True, "gpu: measured": False}


OF_TPU = """
title = "Rented"
[base]
model = "llama-3.3-70b"
weights = "bf16"
input_tokens = 1000
output_tokens = 1000
accelerators = 8
tensor_parallel = 8

[cases.tpu]
system = "tpu-v6e-8"
offer = "rental"

[axes]
concurrency = [8, 32, 64]

[studies.frontier]
kind = "points"
"""


def _content(tmp_path: Path, text: str, **changes: Any) -> Content:
    import accelmodel as am
    from accelmodel.reports.content import content

    (tmp_path / "own.toml").write_text(text)
    return content(am.run(tmp_path / "own.toml", set=changes))


def test_the_shipped_measurements_lie_over_a_frontier_by_default(tmp_path: Path):
    """AI-Hypercomputer/tpu-recipes at c8cfe2f689: Llama 3.3 70B on eight chips, 64 at a time: 25.35 ms a token, 2,494.8 output tokens/s."""
    found = _content(tmp_path, OF_TPU)
    cost, throughput = found.studies[0].charts
    line, dots = throughput.series
    assert (line.name, dots.name, dots.dots, dots.of) == ("tpu", "tpu: measured", True, 0)
    assert (dots.x[0], dots.y[0]) == pytest.approx((1000 / 25.35, 2494.8 / 8))
    assert "AI-Hypercomputer/tpu-recipes at c8cfe2f689" in dots.words[0]
    assert cost.caption.endswith("Open symbols: published measurements, whatever engine and cut. They are priced at the case's own hourly cost and occupancy.")
    assert (
        "Measured runs of published-2026-11.parquet in the region of a frontier (same model, accelerator and dtype of the weights, lengths within a factor of "
        "1.5): 2. By source: Google tpu-recipes: 2."
    ) in found.missing
    of_line, of_dots = figure(throughput)["data"]
    assert (of_dots["mode"], of_dots["marker"]["symbol"], of_dots["marker"]["color"]) == ("markers", "circle-open", of_line["marker"]["color"])


def test_where_nobody_measured_the_page_says_so(tmp_path: Path):
    found = _content(tmp_path, OF_TPU, **{"base.model": "llama-3.1-8b"})
    assert [one.name for chart in found.studies[0].charts for one in chart.series] == ["tpu", "tpu"]
    assert any(words.startswith("No published measurement in published-2026-11.parquet lies in the region of a frontier") for words in found.missing)


def test_a_frontier_whose_table_hides_its_region_says_so(tmp_path: Path):
    text = f'{OF_TPU}columns = ["output_tokens_per_s_per_user", "cost_usd_per_mtok", "model"]\n'
    found = _content(tmp_path, text)
    assert any(words.startswith("frontier: the table leaves out accelerator, ") for words in found.missing)


def test_without_a_frontier_nothing_is_said_of_measurements(tmp_path: Path):
    found = _content(tmp_path, OF_TPU.replace("[8, 32, 64]", "[8, 32]"))
    assert not any("easure" in words for words in found.missing)


def test_a_chart_shows_so_many_measurements_the_nearest_in_lengths_first():
    """Shares of two cases are equal; what is left out is told."""
    from accelmodel.reports.overlay import over
    from accelmodel.studies.measured_frontier import Published

    region = {"model": "gpt-oss-120b", "accelerator": "h200-sxm", "weights": "mxfp4", "input_tokens": 1000.0, "output_tokens": 1000.0}
    rows = [{**row, **region, "replica_cost_usd_per_h": 10.0, "accelerators": 1, "occupancy": 1.0} for row in POINTS]
    published = Published()
    (cost, throughput), found = over(charts("points", rows, {}), rows, published, most=10)
    assert [(one.name, len(one.x)) for one in throughput.series if one.dots] == [("slow: measured", 5), ("fast: measured", 5)]
    assert f"Open symbols: published measurements, of {len(found):,} in the region the 10 nearest in lengths, whatever engine and cut." in cost.caption
    distances = [one.distance for one in published.frontier(rows) if one.case == "slow"]
    assert len(distances) > 5
    assert distances == sorted(distances)


def test_the_roofline_is_of_the_cheapest_replica_and_its_parts_make_the_step(folder: Path):
    from accelmodel.studies.roofline import roofline
    from accelmodel.studies.saved import SavedRun

    saved = SavedRun.of(folder)
    with saved.context() as context:
        found = roofline(context)
    rows = saved.tables["frontier"].to_pylist()
    best = min(rows, key=lambda row: row["cost_usd_per_mtok"])
    assert (found.case, found.point.concurrency) == (best["case"], best["concurrency"])
    assert sum(one.seconds for one in found.operators) == pytest.approx(found.step_s)
    assert sum(one.share_fraction for one in found.operators) == pytest.approx(1.0)
    # A token takes a step and its share of others' prefills.
    assert 0.0 < found.step_s <= best["time_per_output_token_s"]
    for one in found.operators:
        if one.flop_per_byte is not None and one.flop_per_s is not None:
            assert one.flop_per_s <= min(max(found.compute_peak_flop_per_s.values()), one.flop_per_byte * found.memory_peak_byte_per_s)


def test_series_that_share_categories_are_one_bar_each():
    from accelmodel.reports.charts import Axis, Series

    bars = Chart("t", "", "bar", Axis("x"), Axis(""), (Series("a", [1.0], ["one"], [""]), Series("b", [2.0], ["two"], [""])))
    assert bars.is_split
    assert figure(bars)["layout"]["yaxis"]["categoryarray"] == ["two", "one"]
    both = Chart("t", "", "bar", Axis("x"), Axis(""), (Series("a", [1.0], ["one"], [""]), Series("b", [2.0], ["one"], [""])))
    assert not both.is_split
    assert figure(both)["layout"]["barmode"] == "group"


def test_a_break_even_with_a_target_says_where_it_is_met():
    row = {"subject": "a", "baseline": "target 30 %", "input": "base.occupancy", "input_name": "occupancy", "unit": "1", "break_even_value": 0.4}
    sides = {"better_below": "target 30 %", "better_above": "a"}
    assert answer("break-even", [row | sides], {}) == ["'a' reaches the target 30 % at an occupancy of 40 %; above it the target is met."]
    both = {"better_below": "a", "better_above": "a"}
    assert answer("break-even", [row | both], {}) == ["'a' reaches the target 30 % at an occupancy of 40 %."]


def test_where_studies_of_a_kind_are_several_each_sentence_names_its_own():
    def study(name: str, kind: str) -> Study:
        return Study(name, kind, pa.table({}), (), {}, (), ("It is so.",), ())

    nothing = Listing("nothing", (), ())
    of = Content("t", "", (study("one", "demand"), study("two", "demand"), study("three", "plan")), *[nothing] * 5, assumption_count=0)
    assert of.told == ["one: It is so.", "two: It is so.", "It is so."]


def test_a_column_of_a_listing_is_numeric_where_all_of_it_is():
    listing = Listing("t", ("a", "b", "c", "d"), ((1, "x", None, True), (2.5, 3, None, False)))
    assert [listing.is_numeric(place) for place in range(4)] == [True, False, False, False]
