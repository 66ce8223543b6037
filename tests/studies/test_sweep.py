"""Sweeps: every point once, the same reductions as a naive reference finds in all of the points, whatever the chunks and whoever computes them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import accelmodel as am
from accelmodel.studies import sweep_chunk

SCENARIO = """
title = "A sweep"
exclude = {exclude}

[base]
model = "llama-3.1-8b"
books = "cloud"
offer = "bedrock"

[axes]
system = ["trn2.48xlarge", "p5.48xlarge"]
accelerators = [2, 1]
input_tokens = {{ from = 100, to = 4100, steps = 5 }}
output_tokens = [300, 20]
concurrency = {{ from = 1, to = 400, steps = 17, scale = "log" }}

[studies.all]
kind = "sweep"
points = {points}
{more}
"""
REDUCTIONS = """
[studies.all.reductions.frontier]
kind = "frontier"
minimise = ["cost_usd_per_mtok", "power_w"]
maximise = ["output_tokens_per_s_per_user"]

[studies.all.reductions.two]
kind = "frontier"
minimise = ["cost_usd_per_mtok", "time_to_first_token_s"]
by = ["system", "output_tokens"]

[studies.all.reductions.best]
kind = "top"
column = "margin_fraction"
order = "highest"
count = 3
by = ["input_tokens", "system"]

[studies.all.reductions.quantiles]
kind = "quantiles"
columns = ["time_to_first_token_s", "margin_fraction"]
quantiles = [0, 0.1, 0.5, 0.99, 1]
by = ["system"]

[studies.all.reductions.histogram]
kind = "histogram"
column = "cost_usd_per_mtok"
from = 0.05
to = 1.0
bins = 7
scale = "log"
by = ["output_tokens"]
"""
COLUMNS = ["cost_usd_per_mtok", "power_w", "output_tokens_per_s_per_user", "time_to_first_token_s", "margin_fraction"]


def write(tmp_path: Path, text: str = SCENARIO, *, points: str = "true", exclude: str = "[]", more: str = REDUCTIONS, name: str = "mine.toml") -> Path:
    path = tmp_path / name
    path.write_text(text.format(points=points, exclude=exclude, more=more), encoding="utf-8")
    return path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables([pq.read_table(path) for path in sorted((folder / "all").glob("part-*.parquet"))], promote_options="permissive").to_pylist()


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> list[dict[str, Any]]:
    """All points of the scenario by the points study: another way through the engine, in the order of the file."""
    path = write(tmp_path_factory.mktemp("every"))
    path.write_text(path.read_text(encoding="utf-8").split("[studies.all]")[0] + '[studies.points]\nkind = "points"\n', encoding="utf-8")
    return am.run(path).tables["points"].to_pylist()


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[am.Run, Path]:
    folder = tmp_path_factory.mktemp("swept")
    more = f"columns = {[*COLUMNS, 'accelerator', 'fits', 'binding', 'cost_basis']}\n" + REDUCTIONS
    return am.run(write(folder, more=more), output=folder / "out"), folder / "out"


KEYS = ("system", "accelerators", "input_tokens", "output_tokens", "concurrency")


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS)


def naive_frontier(rows: list[dict[str, Any]], minimise: list[str], maximise: list[str]) -> set[tuple[Any, ...]]:
    """The points that no other dominates, by comparing each with each; of equal ones the first in order."""
    worth = [tuple([row[name] for name in minimise] + [-row[name] for name in maximise]) for row in rows]
    found = set()
    for one, mine in enumerate(worth):
        others = (other for place, other in enumerate(worth) if place != one and (other != mine or place < one))
        beaten = any(all(a <= b for a, b in zip(other, mine, strict=True)) for other in others)
        if not beaten:
            found.add(key(rows[one]))
    return found


# --- the points --------------------------------------------------------------------------------------------------------------------------------


def test_every_point_is_written_once_in_order_and_is_what_the_points_study_finds(swept, every):
    rows = rows_of(swept[1])
    assert [key(row) for row in rows] == sorted(key(row) for row in every)
    expected = {key(row): row for row in every}
    for row in rows:
        assert {name: row[name] for name in COLUMNS} == {name: expected[key(row)][name] for name in COLUMNS}
        assert {name: row[name] for name in ("accelerator", "fits", "binding", "cost_basis", "case")} == {
            name: expected[key(row)][name] for name in ("accelerator", "fits", "binding", "cost_basis", "case")
        }


def test_parts_are_sorted_encoded_and_described(swept):
    [path] = (swept[1] / "all").glob("part-*.parquet")
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups == 1
    names = file.schema_arrow.names
    assert names[:6] == ["case", "system", "accelerators", "input_tokens", "output_tokens", "concurrency"]
    group = file.metadata.row_group(0)
    assert [(names[one.column_index], one.descending) for one in group.sorting_columns] == [(name, False) for name in names[:6]]
    for place, name in enumerate(names):
        chunk = group.column(place)
        assert chunk.compression == "ZSTD"
        assert chunk.is_stats_set
        assert ("RLE_DICTIONARY" in chunk.encodings) == (name in (*names[:6], "accelerator", "binding", "cost_basis")), name
        assert file.schema_arrow.field(name).metadata[b"unit"]
    assert group.column(names.index("concurrency")).statistics.max == pytest.approx(400)


def test_a_table_of_the_parts_says_where_the_rows_are(swept, every):
    parts = swept[0].tables["all.parts"].to_pylist()
    assert parts == [{"part": "all/part-000000.parquet", "rows": len(every)}]
    assert swept[0].summary["all"]["ran"] == len(every) == 2 * 2 * 5 * 2 * 17


# --- the reductions against a naive reference --------------------------------------------------------------------------------------------------


def test_a_frontier_holds_what_none_beats(swept, every):
    ordered = sorted(every, key=key)
    found = swept[0].tables["all"].to_pylist()
    assert {key(row) for row in found} == naive_frontier(ordered, ["cost_usd_per_mtok", "power_w"], ["output_tokens_per_s_per_user"])
    assert len(found) == len({key(row) for row in found})
    expected = {key(row): row for row in every}
    assert all(row[name] == expected[key(row)][name] for row in found for name in COLUMNS)


def test_a_frontier_by_group_is_that_of_each_group(swept, every):
    found = swept[0].tables["all.two"].to_pylist()
    for system, output in itertools.product(("p5.48xlarge", "trn2.48xlarge"), (20, 300)):
        ordered = sorted((row for row in every if row["system"] == system and row["output_tokens"] == output), key=key)
        own = [row for row in found if row["system"] == system and row["output_tokens"] == output]
        assert {key(row) for row in own} == naive_frontier(ordered, ["cost_usd_per_mtok", "time_to_first_token_s"], [])
        costs = [row["cost_usd_per_mtok"] for row in own]
        assert costs == sorted(costs)


def test_the_top_of_each_group_is_what_sorting_finds(swept, every):
    found = swept[0].tables["all.best"].to_pylist()
    lengths = sorted({row["input_tokens"] for row in every})
    assert len(found) == 3 * 2 * len(lengths)
    for system, length in itertools.product(("p5.48xlarge", "trn2.48xlarge"), lengths):
        own = [key(row) for row in found if row["system"] == system and row["input_tokens"] == length]
        of_group = [row for row in every if row["system"] == system and row["input_tokens"] == length]
        assert own == [key(row) for row in sorted(of_group, key=lambda row: (-row["margin_fraction"], key(row)))[:3]]


def test_quantiles_lie_within_a_thousandth_of_those_of_all_values_and_the_ends_are_exact(swept, every):
    found = swept[0].tables["all.quantiles"].to_pylist()
    assert len(found) == 2 * 2 * 5
    for row in found:
        values = np.sort([one[row["column"]] for one in every if one["system"] == row["system"]])
        exact = values[max(math.ceil(round(row["quantile"] * len(values), 9)), 1) - 1]
        assert row["points"] == len(values)
        assert row["value"] == (exact if row["quantile"] in (0, 1) else pytest.approx(exact, rel=1e-3))


def test_a_histogram_counts_every_point_once(swept, every):
    found = swept[0].tables["all.histogram"].to_pylist()
    edges = np.geomspace(0.05, 1.0, 8)
    for output in (20, 300):
        own = [row for row in found if row["output_tokens"] == output]
        values = np.array([row["cost_usd_per_mtok"] for row in every if row["output_tokens"] == output])
        inside, _ = np.histogram(values[values < 1.0], edges)
        assert [row["points"] for row in own] == [int((values < 0.05).sum()), *inside.tolist(), int((values >= 1.0).sum())]
        assert [row["from_value"] for row in own] == [None, *edges]
        assert [row["to_value"] for row in own] == [*edges, None]


# --- the same, however it is cut ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk", "span"), [(17, 16), (37, 1 << 14), (100, 3), (339, 64), (340, 1 << 14)])
def test_nothing_depends_on_how_a_sweep_is_cut(tmp_path, monkeypatch, swept, chunk, span):
    monkeypatch.setattr(sweep_chunk, "SPAN", span)
    path = write(tmp_path, more=f"chunk_points = {chunk}\ncolumns = {[*COLUMNS, 'accelerator', 'fits', 'binding', 'cost_basis']}\n" + REDUCTIONS)
    run = am.run(path, output=tmp_path / "out")
    assert rows_of(tmp_path / "out") == rows_of(swept[1])
    for name, table in run.tables.items():
        if name != "all.parts":
            assert table.equals(swept[0].tables[name]), name
    assert len(list((tmp_path / "out" / "all").glob("part-*"))) == run.summary["all"]["chunks"] == -(-680 // chunk)


def test_a_sweep_that_writes_no_points_needs_no_folder_and_finds_the_same(tmp_path, swept):
    run = am.run(write(tmp_path, points="false", more=f"columns = {[*COLUMNS, 'accelerator', 'fits', 'binding', 'cost_basis']}\n" + REDUCTIONS))
    assert run.tables == {name: table for name, table in swept[0].tables.items() if name != "all.parts"}


# --- axes, conditions, what cannot be ----------------------------------------------------------------------------------------------------------


def test_conditions_leave_out_cells_and_loads(tmp_path, every):
    exclude = '["accelerators == 1 and system == trn2.48xlarge", "input_tokens + 2 * output_tokens > 3000", "concurrency * output_tokens > 1e5"]'
    run = am.run(write(tmp_path, exclude=exclude), output=tmp_path / "out")
    expected = [
        row
        for row in every
        if not (row["accelerators"] == 1 and row["system"] == "trn2.48xlarge")
        and row["input_tokens"] + 2 * row["output_tokens"] <= 3000
        and row["concurrency"] * row["output_tokens"] <= 1e5
    ]
    assert 0 < len(expected) < len(every)
    assert [key(row) for row in rows_of(tmp_path / "out")] == sorted(key(row) for row in expected)
    summary = run.summary["all"]
    assert (summary["ran"], summary["excluded"], summary["points"]) == (len(expected), len(every) - len(expected), len(every))
    ordered = sorted(expected, key=key)
    assert {key(row) for row in run.tables["all"].to_pylist()} == naive_frontier(ordered, ["cost_usd_per_mtok", "power_w"], ["output_tokens_per_s_per_user"])


def test_limits_keep_points_beyond_them_from_everything(tmp_path, every):
    run = am.run(write(tmp_path, points="false", more="limits = { time_per_output_token_s = 0.012, power_w = 900.0 }\n" + REDUCTIONS))
    within = sorted((row for row in every if row["time_per_output_token_s"] <= 0.012 and row["power_w"] <= 900.0), key=key)
    assert 0 < len(within) < len(every)
    assert run.summary["all"]["beyond_limits"] == len(every) - len(within)
    assert {key(row) for row in run.tables["all"].to_pylist()} == naive_frontier(within, ["cost_usd_per_mtok", "power_w"], ["output_tokens_per_s_per_user"])
    assert sum(run.tables["all.histogram"]["points"].to_pylist()) == len(within)


ZIPPED = """
title = "Zipped"
[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1
[axes]
lengths = { zip = { input_tokens = [4000, 1000], output_tokens = [100, 500] } }
cut = { zip = { kv = ["fp8", "bf16"], chunk_tokens = { from = 2048, to = 4096, steps = 2 } } }
concurrency = [8, 1]
[studies.all]
kind = "sweep"
points = true
[studies.points]
kind = "points"
"""


def test_zipped_axes_go_together_in_sweeps_and_in_points(tmp_path):
    path = tmp_path / "zipped.toml"
    path.write_text(ZIPPED, encoding="utf-8")
    run = am.run(path, output=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    pairs = [(row["kv"], row["chunk_tokens"], row["input_tokens"], row["output_tokens"], row["concurrency"]) for row in rows]
    expected = {(kv, chunk, isl, osl, load) for (kv, chunk) in (("fp8", 2048), ("bf16", 4096)) for (isl, osl) in ((4000, 100), (1000, 500)) for load in (8, 1)}
    assert pairs == sorted(expected)
    costs = {pair: row["cost_usd_per_mtok"] for pair, row in zip(pairs, rows, strict=True)}
    for row in run.tables["points"].to_pylist():
        chunk = 2048 if row["kv"] == "fp8" else 4096
        assert costs[row["kv"], chunk, row["input_tokens"], row["output_tokens"], row["concurrency"]] == row["cost_usd_per_mtok"]


SETS = """
title = "Sets"
[base]
model = "llama-3.1-70b"
accelerators = 1
input_tokens = 1000
output_tokens = 100
concurrency = 1
[sets]
mine = ["p5.48xlarge", "trn2.48xlarge", "p6-b200.48xlarge"]
[axes]
system = {{ set = "{name}" }}
[studies.all]
kind = "sweep"
[studies.all.reductions.best]
kind = "top"
column = "power_w"
count = 100
"""


def test_a_named_set_is_its_values_and_fitting_is_every_system_that_holds_the_model(tmp_path):
    def systems(name: str) -> tuple[set[str], am.Run]:
        path = tmp_path / f"{name}.toml"
        path.write_text(SETS.format(name=name), encoding="utf-8")
        run = am.run(path)
        return set(run.tables["all"]["system"].to_pylist()), run

    every, of_every = systems("every")
    fitting, of_fitting = systems("fitting")
    # 141 GB of weights in BF16 on one accelerator: not on an H100's 80 GB, on a B200's 180 GB.
    assert "p6-b200.48xlarge" in fitting
    assert not {"p5.48xlarge", "trn2.48xlarge"} & fitting
    assert fitting == every  # what does not fit has no power
    assert of_every.summary["all"]["not_fitting"] > 0
    assert of_fitting.summary["all"]["not_fitting"] == 0
    assert "does not fit" in " ".join(of_fitting.studies["all"].notes)
    assert systems("mine")[0] == {"p6-b200.48xlarge"}


def test_loads_that_are_rates_are_solved_for_as_in_the_points_study(tmp_path):
    text = ZIPPED.replace("concurrency = [8, 1]", "requests_per_s = [0.5, 200.0, 2.0]")
    path = tmp_path / "rates.toml"
    path.write_text(text.replace("points = true", 'points = true\ncolumns = ["concurrency", "time_to_first_token_s", "fits"]'), encoding="utf-8")
    run = am.run(path, output=tmp_path / "out")
    names = ("kv", "input_tokens", "output_tokens", "requests_per_s", "concurrency", "time_to_first_token_s", "fits")
    points = {(row["kv"], row["input_tokens"], row["concurrency"]): row for row in run.tables["points"].to_pylist()}
    rows = rows_of(tmp_path / "out")
    assert [row["requests_per_s"] for row in rows] == [0.5, 2.0, 200.0] * 4
    for row in rows:
        if row["fits"]:
            assert points[row["kv"], row["input_tokens"], row["concurrency"]]["time_to_first_token_s"] == row["time_to_first_token_s"]
        else:
            assert [row[name] for name in names[3:6]] == [200.0, None, None]
    assert 0 < sum(not row["fits"] for row in rows) == run.summary["all"]["not_fitting"] < len(rows)


def test_targets_alone_give_the_largest_load_within_them(tmp_path):
    text = ZIPPED.replace("concurrency = [8, 1]", "tpot_s = [0.02, 0.01]").replace("accelerators = 1", "accelerators = 1\nttft_s = 1.0")
    path = tmp_path / "targets.toml"
    path.write_text(text.replace("points = true", 'points = true\ncolumns = ["concurrency"]'), encoding="utf-8")
    run = am.run(path, output=tmp_path / "out")
    found = sorted((row["kv"], row["tpot_s"], row["input_tokens"], row["concurrency"]) for row in rows_of(tmp_path / "out"))
    points = run.tables["points"].to_pylist()
    steps = itertools.product(("fp8", "bf16"), (0.02, 0.01), (4000, 1000))  # the points study's order: its loads inside
    assert found == sorted((kv, tpot, isl, row["concurrency"]) for (kv, tpot, isl), row in zip(steps, points, strict=True))


def test_what_cannot_be_is_left_out_with_its_reason_or_refused(tmp_path):
    text = SCENARIO.replace("accelerators = [2, 1]", "accelerators = [2, 1]\ntensor_parallel = [3, 2]")
    run = am.run(write(tmp_path, text, points="false"))
    summary = run.summary["all"]
    assert (summary["cells"], summary["cells_illegal"]) == (8, 7)
    assert summary["illegal"] + summary["ran"] == summary["points"]
    assert {(row["system"], row["tensor_parallel"]) for row in run.tables["all"].to_pylist()} == {("p5.48xlarge", 2)}
    assert any("7 of 8 cells" in note and "tensor_parallel" in note for note in run.studies["all"].notes)
    with pytest.raises(am.InputError, match="tensor_parallel"):
        am.run(write(tmp_path, text, points="false", more='illegal = "refuse"\n' + REDUCTIONS))


def test_lengths_beyond_a_models_context_are_left_out(tmp_path):
    run = am.run(write(tmp_path, SCENARIO.replace("to = 4100", "to = 130_800"), points="false"))
    # 131,072 tokens of context: 130,800 and 300 exceed it, 130,800 and 20 do not.
    assert run.summary["all"]["excluded"] == 4 * 17
    assert run.summary["all"]["ran"] == 4 * (10 - 1) * 17


# --- what is wrong -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exclude": '["tensor_paralel > accelerators"]'}, "did you mean 'tensor_parallel'?"),
        ({"exclude": '["accelerators ~ 2"]'}, "is no comparison"),
        ({"exclude": '["accelerators > trn2"]'}, "'trn2' is none"),
        ({"exclude": '["prefix_hit_fraction > 0.5"]'}, "neither the base, the case nor an axis sets"),
        ({"exclude": '["concurrency > 0"]'}, "leaves no point"),
        ({"more": ""}, "points, or reductions, or both"),
        ({"more": REDUCTIONS.replace('"power_w"', '"powr_w"')}, "did you mean 'power_w'?"),
        ({"more": REDUCTIONS.replace('by = ["system"]', 'by = ["sytem"]')}, "did you mean 'system'?"),
        ({"more": REDUCTIONS.replace('kind = "top"', 'kind = "tip"')}, "did you mean 'top'?"),
        ({"more": REDUCTIONS.replace('minimise = ["cost_usd_per_mtok", "time_to_first_token_s"]', 'minimise = ["power_w"]')}, "two or three different columns"),
        ({"more": REDUCTIONS.replace("from = 0.05", "from = 5")}, "from a number to a larger one"),
        ({"more": REDUCTIONS.replace("count = 3", "count = 0")}, "greater than or equal to 1"),
        ({"text": SCENARIO.replace("accelerators = [2, 1]", 'accelerators = [2, 1]\nkv = ["fp8", "fp9"]')}, "'fp9' is not a dtype"),
        ({"text": SCENARIO.replace("p5.48xlarge", "p5.48xlage")}, "did you mean 'p5.48xlarge'?"),
        (
            {
                "text": SCENARIO.replace(
                    '"trn2.48xlarge", "p5.48xlarge"]', '"trn2.48xlarge"]\ncut = {{ zip = {{ kv = ["fp8"], mode = ["static", "continuous"] }} }}'
                )
            },
            "as many",
        ),
        ({"text": SCENARIO.replace('system = ["trn2.48xlarge", "p5.48xlarge"]', 'system = {{ set = "fiting" }}')}, "did you mean 'fitting'?"),
        ({"text": SCENARIO.replace("accelerators = [2, 1]", 'accelerators = [2, 1]\nkv = {{ zip = {{ weights = ["fp8"] }} }}')}, "a name of their own"),
        ({"text": SCENARIO.replace("accelerators = [2, 1]", "accelerators = [2, 1]\nother = {{ zip = {{ accelerators = [1] }} }}")}, "two axes"),
        ({"text": SCENARIO.replace("[axes]", "requests_per_s = 1.0\n[axes]").replace("concurrency", "prefix_hit_fraction").replace("to = 400", "to = 4")}, "1"),
    ],
)
def test_a_fault_of_a_sweep_is_one_message(tmp_path, change, words):
    text = change.pop("text", SCENARIO)
    if "more" in change and not change["more"]:
        change["points"] = "false"
    path = write(tmp_path, text, **{"points": "false"} | change)
    with pytest.raises(am.InputError) as caught:
        am.run(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conditions_are_for_studies_that_leave_points_out(tmp_path):
    path = write(tmp_path, exclude='["accelerators == 1"]', points="false")
    text = path.read_text(encoding="utf-8")
    path.write_text(text + '\n[studies.margin]\nkind = "margin"\n', encoding="utf-8")
    with pytest.raises(am.InputError, match="a study of kind 'margin' leaves nothing out"):
        am.run(path)
    path.write_text(text.split("[studies.all]")[0] + '[studies.points]\nkind = "points"\n', encoding="utf-8")
    assert set(am.run(path).tables["points"]["accelerators"].to_pylist()) == {2}
    with pytest.raises(am.InputError, match="leaves no point of this study"):
        am.run(path, set={"exclude": ["accelerators > 0"]})


def test_points_without_a_folder_are_refused(tmp_path):
    with pytest.raises(am.InputError, match="give `output`"):
        am.run(write(tmp_path))


def test_groups_that_take_too_much_memory_are_refused(tmp_path):
    text = SCENARIO.replace("steps = 5", "steps = 5000")
    with pytest.raises(am.InputError, match=r"take [\d,]+ MB a chunk") as caught:
        am.run(write(tmp_path, text, points="false", more=REDUCTIONS.replace('by = ["system", "output_tokens"]', 'by = ["input_tokens"]')))
    assert caught.value.key == "reductions.two.by"


def test_a_frontiers_boxes_hold_a_point_each_and_every_point_of_the_frontier(tmp_path, swept):
    more = REDUCTIONS.replace("maximise", "resolution_fraction = 0.3\nmaximise", 1)
    coarse = am.run(write(tmp_path, points="false", more=more)).tables["all"].to_pylist()
    fine = swept[0].tables["all"].to_pylist()

    def box(row: dict[str, Any]) -> tuple[int, ...]:
        return tuple(math.floor(math.log(row[name]) / math.log(1.3)) for name in ("cost_usd_per_mtok", "power_w", "output_tokens_per_s_per_user"))

    assert len(coarse) < len(fine)
    assert {key(row) for row in coarse} <= {key(row) for row in fine}
    assert sorted(box(row) for row in coarse) == sorted({box(row) for row in fine})


# --- the shipped scenario ----------------------------------------------------------------------------------------------------------------------


def test_the_billion_points_at_small_size():
    run = am.run("billion-point-frontier", set={"axes.input_tokens.steps": 3, "axes.output_tokens.steps": 2, "axes.concurrency.steps": 10})
    summary = run.summary["frontier"]
    assert (summary["points"], summary["ran"], summary["illegal"]) == (20 * 60, 20 * 60, 0)
    rows = run.tables["frontier"].to_pylist()
    assert rows
    assert all(row["time_to_first_token_s"] <= 2.0 and row["time_per_output_token_s"] <= 0.05 for row in rows)
    whole = am.run("billion-point-frontier", set={"axes.input_tokens": [128], "axes.output_tokens": [16], "axes.concurrency.steps": 10})
    assert whole.summary["frontier"]["points"] == 20 * 10


def test_a_billion_points_are_a_billion_points():
    from accelmodel.studies.money import library
    from accelmodel.studies.run import Context
    from accelmodel.studies.scenario import load
    from accelmodel.studies.sweep_grid import Sweep

    path, scenario = load("billion-point-frontier", library())
    assert Sweep(Context(scenario, library(), path.parent), scenario.studies["frontier"]).points == 10**9
