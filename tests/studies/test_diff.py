"""Two runs compared: changes whose parts are known by hand, exact sums, symmetry, rows, catalogue figures, prices, versions, refusals."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import accelmodel as am
from accelmodel.catalog.library import shipped_root
from accelmodel.studies.diff import Difference, NumberChange

RENTED = """
title = "A rented replica"
[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1
input_tokens = 512
output_tokens = 128
concurrency = 8
offer = "{offer}"
books = "tenant"
occupancy = {occupancy}
[studies.points]
kind = "points"
"""

OFFERS = """
name = "{name}"
title = "Prices of a test"
date = "{date}"
currency = "USD"
unit = "USD/hour"
source = "a-test"
kind = "published"
accessed = "2026-11-22"
provider = "aws"
hour = [
  {{ system = "p5.48xlarge", term = "on-demand", region = "us-east-1", price = {price} }},
  {{ system = "p5e.48xlarge", term = "on-demand", region = "us-east-1", price = 60.0 }},
]
[sources.a-test]
title = "A test"
publisher = "nobody"
locator = "here"
accessed = "2026-11-22"
confidence = "own"
"""


def run(folder: Path, name: str = "rented", catalog: Path | None = None, set: dict[str, Any] | None = None, **keys: Any) -> am.Run:  # noqa: A002
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(RENTED.format(**{"offer": "on-demand", "occupancy": 0.5} | keys))
    return am.run(path, set=set, catalog=None if catalog is None else am.Library(catalog))


def number(found: Difference, column: str, study: str = "points", **row: Any) -> NumberChange:
    (one,) = [one for one in found.studies[study].numbers if one.column == column and row.items() <= one.row.items()]
    return one


def parts(one: NumberChange) -> dict[tuple[str, ...], float]:
    return {part.inputs: part.change for part in one.parts}


def exact(found: Difference) -> None:
    """Every number's parts and the version's sum to its change."""
    for study in found.studies.values():
        for one in study.numbers:
            if one.change is not None:
                total = sum(part.change for part in one.parts) + one.program_version
                assert total == pytest.approx(one.change, abs=1e-9 * max(abs(one.a), abs(one.b)))


# Changes known by hand


def test_equal_runs_do_not_differ(tmp_path: Path):
    found = am.diff(run(tmp_path / "a"), run(tmp_path / "b"))
    assert found.is_empty
    assert found.reruns == 0
    assert found.to_dict()["equal"] is True


def test_a_doubled_price_doubles_the_cost_and_explains_all_of_it(tmp_path: Path):
    for side, price in (("a", 40.0), ("b", 80.0)):
        (tmp_path / side / "offers").mkdir(parents=True)
        (tmp_path / side / "offers" / "mine.toml").write_text(OFFERS.format(name="mine", date="2026-11-20", price=price))
    found = am.diff(run(tmp_path / "s", catalog=tmp_path / "a"), run(tmp_path / "s", catalog=tmp_path / "b"), method="shapley")
    cost = number(found, "cost_usd_per_mtok")
    assert cost.b == pytest.approx(2 * cost.a)
    ((name, part),) = parts(cost).items()
    assert name == ("offers/mine: hour.p5.48xlarge:on-demand:us-east-1.price",)
    assert part == pytest.approx(cost.a)
    (change,) = found.inputs[0].changes
    assert (change.before, change.after) == (40.0, 80.0)
    assert {one.column for one in found.studies["points"].numbers} == {"cost_usd_per_mtok"}  # a price alone moves no latency
    assert (cost.program_version, cost.interaction) == (0.0, 0.0)


def test_two_factors_of_a_cost_in_both_orders_by_hand(tmp_path: Path):
    # Cost per token goes like price / occupancy: x (1 - 0.25) and x 0.5 / 0.25. With c the first cost: 0.75 c, 2 c, both 1.5 c.
    a, b = run(tmp_path), run(tmp_path, offer="on-demand less 25%", occupancy=0.25)
    found = am.diff(a, b, columns=["cost_usd_per_mtok"])
    cost = number(found, "cost_usd_per_mtok")
    assert [one.name for one in found.inputs] == ["base.occupancy", "base.offer"] or [one.name for one in found.inputs] == ["base.offer", "base.occupancy"]
    c = cost.a
    in_order = {"base.offer": -0.25 * c, "base.occupancy": 0.75 * c} if found.inputs[0].name == "base.offer" else {"base.occupancy": c, "base.offer": -0.5 * c}
    assert {name: change for (name,), change in parts(cost).items()} == pytest.approx(in_order)
    shapley = parts(number(am.diff(a, b, method="shapley"), "cost_usd_per_mtok"))
    assert {name: change for (name,), change in shapley.items()} == pytest.approx({"base.offer": -0.375 * c, "base.occupancy": 0.875 * c})
    assert cost.interaction == pytest.approx(0.5 * c - (-0.25 * c + c))


def test_shapley_parts_backwards_are_the_negatives(tmp_path: Path):
    a = run(tmp_path)
    b = run(tmp_path, set={"base.occupancy": 0.3, "base.input_tokens": 2048, "base.weights": "fp8"})
    there, back = am.diff(a, b, method="shapley"), am.diff(b, a, method="shapley")
    for one in there.studies["points"].numbers:
        if one.change is not None:
            other = number(back, one.column)
            assert {name: -change for name, change in parts(other).items()} == pytest.approx(parts(one), rel=1e-9, abs=1e-12)


def test_only_set_keys_are_told_as_set(tmp_path: Path):
    found = am.diff(run(tmp_path), run(tmp_path, occupancy=0.25, set={"base.concurrency": 16}))
    told = {change.key: (change.before, change.after, change.set_before, change.set_after) for one in found.inputs for change in one.changes}
    assert told == {"base.concurrency": (8.0, 16.0, False, True), "base.occupancy": (0.5, 0.25, False, False)}


_OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "base.occupancy": st.floats(0.05, 1.0),
        "base.input_tokens": st.sampled_from([64, 1024, 8192]),
        "base.concurrency": st.sampled_from([1, 32, 4096]),
        "base.weights": st.sampled_from(["bf16", "fp8"]),
        "base.model": st.sampled_from(["llama-3.1-70b", "qwen3-8b"]),  # the first does not fit on one accelerator
        "base.system": st.sampled_from(["p5en.48xlarge", "trn2.48xlarge"]),
        "base.tensor_parallel": st.sampled_from([1, 4, 8]),  # may not run at all without another system
    },
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_OVERRIDES, _OVERRIDES, st.sampled_from(["sequential", "shapley"]))
def test_parts_sum_to_the_change_whatever_is_overridden(tmp_path: Path, first: dict[str, Any], second: dict[str, Any], method: str):
    try:
        a, b = run(tmp_path, set=first), run(tmp_path, set=second)
    except am.InputError:
        return  # not a run
    found = am.diff(a, b, method=method)
    exact(found)
    for one in found.studies["points"].numbers:
        assert one.change is None or (one.program_version == 0.0 and one.parts)


# Inputs that hang together


def test_inputs_that_run_only_together_have_one_part(tmp_path: Path):
    small = {"base.system": "trn2.48xlarge", "base.offer": "capacity-block"}  # no offer by this term for the first system is frozen, nor the other way round
    found = am.diff(run(tmp_path), run(tmp_path, set=small), method="shapley", columns=["cost_usd_per_mtok"])
    assert [part.inputs for part in number(found, "cost_usd_per_mtok").parts] == [("base.system", "base.offer")]
    exact(found)
    assert {change.where.split("/")[0] for change in found.idle} >= {"systems", "accelerators", "offers"}


def test_concurrency_in_place_of_a_rate_is_one_input(tmp_path: Path):
    a, b = run(tmp_path), am.run(_with_rate(tmp_path))
    found = am.diff(a, b)
    assert [one.name for one in found.inputs] == ["base.requests_per_s and base.concurrency"] or [one.name for one in found.inputs] == [
        "base.concurrency and base.requests_per_s"
    ]
    exact(found)


def _with_rate(folder: Path) -> Path:
    path = folder / "rate.toml"
    path.write_text(RENTED.format(offer="on-demand", occupancy=0.5).replace("concurrency = 8", "requests_per_s = 2.0"))
    return path


# Catalogue and prices


def changed_figure(folder: Path, kind: str, name: str, *changes: tuple[str, str]) -> Path:
    """A user's catalogue folder with a copy of a shipped file, some text of it replaced."""
    side = "scenarios" if kind in ("models", "sites", "workloads") else "hardware_profiles"
    text = (shipped_root() / side / kind / f"{name}.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / kind).mkdir(parents=True)
    (folder / kind / f"{name}.toml").write_text(text)
    return folder


def test_a_changed_figure_of_a_users_catalogue_is_told_with_unit_and_source(tmp_path: Path):
    mine = changed_figure(tmp_path / "mine", "accelerators", "h100-sxm", ("value = 3.35", "value = 3.0"))
    found = am.diff(run(tmp_path), run(tmp_path, catalog=mine))
    (one,) = found.inputs
    (change,) = one.changes
    assert (change.where, change.key) == ("accelerators/h100-sxm.toml", "figures.hbm_bandwidth")
    assert (change.before["value"], change.after["value"], change.before["unit"]) == (3.35, 3.0, "TB/s")
    assert change.before["source"]
    slower = number(found, "time_per_output_token_s")
    assert slower.b > slower.a
    assert parts(slower) == {(one.name,): pytest.approx(slower.change)}


def test_words_of_a_file_change_no_number(tmp_path: Path):
    mine = changed_figure(tmp_path / "mine", "accelerators", "h100-sxm", ('title = "', 'title = "My '))
    found = am.diff(run(tmp_path), run(tmp_path, catalog=mine))
    assert not found.inputs
    assert [(change.where, change.key) for change in found.idle] == [("accelerators/h100-sxm.toml", "title")]
    assert not found.is_empty
    assert not found.studies["points"].numbers


def test_many_figures_of_a_file_are_one_input_unless_each_is_asked_for(tmp_path: Path):
    names = ("weight_bandwidth_efficiency", "kv_bandwidth_efficiency", "compute_efficiency_bf16", "layer_overhead")
    path = shipped_root() / "hardware_profiles" / "calibrations" / "gpu-fit-2026-11.toml"
    lines = [next(line for line in path.read_text().splitlines() if line.startswith(name)) for name in names]
    mine = changed_figure(tmp_path / "mine", "calibrations", path.stem, *((line, _halfway_down(line)) for line in lines))
    a, b = run(tmp_path), run(tmp_path, catalog=mine)
    whole, each = am.diff(a, b), am.diff(a, b, detail=True)
    assert [(one.name, len(one.changes)) for one in whole.inputs] == [("calibrations/gpu-fit-2026-11.toml", 4)]
    assert [one.name.split(".")[-1] for one in each.inputs] == list(names)
    assert number(whole, "time_per_output_token_s").parts[0].change == pytest.approx(sum(parts(number(each, "time_per_output_token_s")).values()))
    exact(each)


def _halfway_down(line: str) -> str:
    """A figure's line with its value halfway to its low end."""
    ((_, figure),) = tomllib.loads(line).items()
    return line.replace(f"value = {figure['value']}", f"value = {(figure['value'] + figure['low']) / 2}")


def test_a_new_snapshot_of_prices_is_one_input_with_the_changed_prices(tmp_path: Path):
    old, new = tmp_path / "old" / "offers", tmp_path / "new" / "offers"
    old.mkdir(parents=True)
    (old / "first.toml").write_text(OFFERS.format(name="first", date="2026-11-20", price=50.0))
    shutil.copytree(old, new)
    (new / "second.toml").write_text(OFFERS.format(name="second", date="2026-11-21", price=60.0))
    a, b = run(tmp_path, catalog=tmp_path / "old"), run(tmp_path, catalog=tmp_path / "new")
    assert not {"offers/first.toml"} & b.files.keys()  # the run froze only the price that it took
    found = am.diff(a, b)
    (one,) = found.inputs
    assert one.name == "offers"
    prices = {change.key: (change.before["value"], change.after["value"]) for change in one.changes if change.key != "file"}
    assert prices == {"p5.48xlarge:on-demand:us-east-1 price": (50.0, 60.0)}
    cost = number(found, "cost_usd_per_mtok")
    assert cost.b == pytest.approx(1.2 * cost.a)
    assert parts(cost) == {("offers",): pytest.approx(0.2 * cost.a)}


# Rows


def test_added_and_removed_rows_are_said_and_the_others_matched(tmp_path: Path):
    a = run(tmp_path, set={"axes.concurrency": [1, 4, 16]})
    b = run(tmp_path, set={"axes.concurrency": [4, 8, 16], "base.occupancy": 0.25})
    found = am.diff(a, b)
    study = found.studies["points"]
    assert (study.added, study.removed, study.matched) == ([{"concurrency": 8}], [{"concurrency": 1}], 2)
    for place, concurrency in ((1, 4), (2, 16)):
        cost = number(found, "cost_usd_per_mtok", concurrency=concurrency)
        assert cost.a == a.tables["points"].column("cost_usd_per_mtok")[place].as_py()
        assert cost.b == pytest.approx(2 * cost.a)
        assert parts(cost)["axes.concurrency",] == 0.0


def test_an_axis_of_one_value_is_a_setting(tmp_path: Path):
    found = am.diff(run(tmp_path, set={"axes.concurrency": [4]}), run(tmp_path, set={"axes.concurrency": [8]}))
    assert found.studies["points"].matched == 1
    assert set(parts(number(found, "cost_usd_per_mtok"))) == {("axes.concurrency",)}


def test_rows_of_an_axis_that_is_no_column_are_matched(tmp_path: Path):
    a = run(tmp_path, set={"axes.offer": ["on-demand", "on-demand less 10%"], "axes.concurrency": [1, 2]})
    b = run(tmp_path, set={"axes.offer": ["on-demand less 10%", "on-demand"], "axes.concurrency": [2, 1]})
    found = am.diff(a, b)
    assert found.studies["points"].matched == 4
    assert not found.studies["points"].numbers  # the same four points in another order


def test_a_study_that_finds_nothing_has_its_rows_gone():
    a = am.run("rainier", studies=["fleet"])
    nothing = dataclasses.replace(a, studies={"fleet": dataclasses.replace(a.studies["fleet"], table=a.tables["fleet"].slice(0, 0).select([]))})
    found = am.diff(a, nothing).studies["fleet"]
    assert [row["fleet_accelerators"] for row in found.removed] == [500_000, 1_000_000] * 2
    assert (found.matched, found.numbers) == (0, [])


def test_a_number_that_only_one_run_has_is_told_without_parts(tmp_path: Path):
    found = am.diff(run(tmp_path), run(tmp_path, set={"base.model": "llama-3.1-405b"}))
    cost, binding = number(found, "cost_usd_per_mtok"), number(found, "binding")
    assert (cost.b, cost.change, cost.parts) == (None, None, ())
    assert binding.b == "capacity"


@pytest.mark.parametrize("scenario", ["rainier", "thirty-percent", "trainium3-price", "fleet-capital", "keep-or-refresh", "margin-shield", "traffic-mix"])
def test_shipped_scenarios_split_exactly(scenario: str):
    studies = ["replica", "fleet"] if scenario == "rainier" else None
    changed = {"base.occupancy": 0.37, "base.prefix_hit_fraction": 0.1}
    found = am.diff(am.run(scenario, studies=studies), am.run(scenario, set=changed, studies=studies), method="shapley")
    exact(found)
    numbers = [one for study in found.studies.values() for one in study.numbers]
    assert any(one.parts for one in numbers)
    assert all(one.program_version == 0.0 for one in numbers if one.change is not None)
    assert not any(study.added or study.removed for study in found.studies.values())


def test_studies_and_columns_can_be_picked():
    picked = ["replica", "fleet"]
    a, b = am.run("rainier", studies=picked), am.run("rainier", studies=picked, set={"base.occupancy": 0.5})
    found = am.diff(a, b, studies=["replica"], columns=["replica_cost_usd_per_h"])
    assert list(found.studies) == ["replica"]
    assert {one.column for one in found.studies["replica"].numbers} == {"replica_cost_usd_per_h"}


# Versions


def saved(of: am.Run, folder: Path) -> Path:
    of.save(folder)
    return folder


def test_what_does_not_come_out_again_is_the_program_versions(tmp_path: Path):
    a, b = saved(run(tmp_path), tmp_path / "a"), saved(run(tmp_path, occupancy=0.25), tmp_path / "b")
    table = pq.read_table(a / "points.parquet")
    column = table.column_names.index("cost_usd_per_mtok")
    true = table.column(column)[0].as_py()
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array([true * 0.9])), a / "points.parquet")
    document = json.loads((a / "run.json").read_text())
    (a / "run.json").write_text(json.dumps(document | {"version": "0.0.9"}))
    found = am.diff(a, b)
    cost = number(found, "cost_usd_per_mtok")
    assert cost.change == pytest.approx(2 * true - 0.9 * true)
    assert cost.program_version == pytest.approx(0.1 * true)
    assert parts(cost) == {("base.occupancy",): pytest.approx(true)}
    exact(found)
    assert found.to_dict()["a"]["version"] == "0.0.9"


def test_equal_inputs_and_other_numbers_are_all_the_versions(tmp_path: Path):
    a, b = saved(run(tmp_path), tmp_path / "a"), saved(run(tmp_path), tmp_path / "b")
    table = pq.read_table(b / "points.parquet")
    column = table.column_names.index("power_w")
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array([table.column(column)[0].as_py() + 7.0])), b / "points.parquet")
    found = am.diff(a, b, columns=["power_w"])
    power = number(found, "power_w")
    assert (power.parts, power.program_version) == ((), pytest.approx(7.0))


def test_another_version_with_the_same_numbers_is_told(tmp_path: Path):
    a, b = saved(run(tmp_path), tmp_path / "a"), saved(run(tmp_path), tmp_path / "b")
    document = json.loads((a / "run.json").read_text())
    (a / "run.json").write_text(json.dumps(document | {"version": "0.0.9"}))
    found = am.diff(a, b)
    assert not found.is_empty
    assert not found.studies["points"].numbers


def test_a_frozen_file_that_was_edited_is_noted(tmp_path: Path):
    a, b = saved(run(tmp_path), tmp_path / "a"), saved(run(tmp_path), tmp_path / "b")
    profile = b / "inputs" / "hardware_profiles" / "accelerators" / "h100-sxm.toml"
    profile.write_text(profile.read_text().replace("value = 3.35", "value = 3.0"))
    found = am.diff(a, b)
    assert "h100-sxm.toml" in found.notes[0]
    assert len(found.inputs) == 1


def test_a_saved_run_and_the_run_in_memory_are_equal(tmp_path: Path):
    one = run(tmp_path, set={"axes.concurrency": [1, 2]})
    assert am.diff(saved(one, tmp_path / "a"), one).is_empty


def test_a_run_whose_inputs_run_no_more_is_all_the_versions(tmp_path: Path):
    a, b = saved(run(tmp_path), tmp_path / "a"), saved(run(tmp_path, occupancy=0.25), tmp_path / "b")
    (a / "inputs" / "hardware_profiles" / "systems" / "p5.48xlarge.toml").write_text("name = 1")
    found = am.diff(a, b, columns=["cost_usd_per_mtok"])
    cost = number(found, "cost_usd_per_mtok")
    assert (cost.parts, cost.program_version) == ((), pytest.approx(cost.change))
    assert any("does not run again" in note for note in found.notes)


# Refusals


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path):
    with pytest.raises(am.InputError, match="have nothing in common: the studies of one are points"):
        am.diff(run(tmp_path), am.run("deepseek-day"))
    with pytest.raises(am.InputError, match="no row of one is about"):
        am.diff(run(tmp_path, set={"axes.concurrency": [1, 2]}), run(tmp_path, name="other", set={"axes.concurrency": [3, 4]}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"studies": ["pionts"]}, "did you mean 'points'"),
        ({"columns": ["cost_usd_per_mtk"]}, "did you mean 'cost_usd_per_mtok"),
        ({"method": "shapely"}, "did you mean 'shapley'"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, options: dict[str, Any], words: str):
    one = run(tmp_path)
    with pytest.raises(am.InputError, match=words):
        am.diff(one, one, **options)


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path):
    a = saved(run(tmp_path), tmp_path / "a")
    (a / "points.parquet").unlink()
    with pytest.raises(am.InputError, match="not whole"):
        am.diff(a, a)
    b = saved(run(tmp_path), tmp_path / "b")
    shutil.rmtree(b / "inputs")
    with pytest.raises(am.InputError, match="not whole"):
        am.diff(b, b)
