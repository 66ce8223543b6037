"""A number walked down: every column of every kind of study, values that agree with their equations, and what is refused."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.studies.terms import Term

SCENARIOS = ("quickstart", "rainier", "margin-shield", "deepseek-day", "thirty-percent")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name in SCENARIOS:
        am.run(name).save(folder / name)
    return {name: folder / name for name in SCENARIOS}


def tables(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.glob("*.parquet")):
        yield path.stem, pq.read_table(path)


def every(term: Term) -> Iterator[Term]:
    yield term
    for part in term.parts:
        yield from every(part)


def part(term: Term, name: str) -> Term:
    return next(one for one in every(term) if one.name == name)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_column_of_first_and_last_row_is_found_again(runs: dict[str, Path], scenario: str):
    for study, table in tables(runs[scenario]):
        for row in {0, table.num_rows - 1}:
            values = table.slice(row, 1).to_pylist()[0]
            for column in table.column_names:
                found = am.explain(runs[scenario], study=study, row=row, column=column)
                same = found.term.value == values[column] or math.isclose(float(found.term.value), values[column], rel_tol=1e-9)
                assert same, (study, row, column)


def test_a_margin_goes_down_to_the_offers_and_their_dates(runs: dict[str, Path]):
    found = am.explain(runs["quickstart"], study="points", row=1, column="margin_fraction")
    cost, revenue = found.term.parts
    assert found.term.value == pytest.approx(1 - cost.value / revenue.value)
    prices = [term for term in every(found.term) if term.name.startswith("price")]
    assert {term.source for term in prices} <= found.sources.keys()
    assert all(term.date for term in prices)
    assert {"USD/hour", "USD/Mtok"} == {term.unit for term in prices}


def test_revenue_is_what_its_parts_say(runs: dict[str, Path]):
    revenue = am.explain(runs["quickstart"], study="points", row=1, column="revenue_usd_per_h").term
    value = {term.name: term.value for term in revenue.parts}
    price = {term.name.split(" (")[0]: term.value for term in revenue.parts if term.name.startswith("price")}
    sold = value["input_tokens_per_s"] * price["price of input"] + value["output_tokens_per_s"] * price["price of output"]
    assert revenue.value == pytest.approx(value["owner default: occupancy"] * 3600 / 1e6 * sold)


def test_a_cost_of_ownership_is_the_sum_of_its_lines_with_their_figures(runs: dict[str, Path]):
    found = am.explain(runs["rainier"], study="replica", row=0, column="replica_cost_usd_per_h")
    lines = part(found.term, "cost per accelerator-hour")
    assert lines.value == pytest.approx(sum(line.value for line in lines.parts))
    chips, availability = part(found.term, "accelerators").value, part(found.term, "owner default: availability").value
    assert found.term.value == pytest.approx(chips * lines.value / availability)
    energy = part(lines, "energy_usd_per_h")
    assert {"tariff", "pue"} <= {term.name.split(": ")[-1] for term in energy.parts}
    purchase, *terms = part(lines, "server_capital_usd_per_h").parts
    assert (purchase.name, purchase.unit, purchase.kind) == ("purchase price of trainium2", "USD/accelerator", "estimated")
    assert purchase.low < purchase.value < purchase.high
    assert any(term.source for term in terms)


def test_a_step_is_the_sum_of_its_operators_and_theirs_of_bandwidth_and_efficiency(runs: dict[str, Path]):
    found = am.explain(runs["quickstart"], study="points", row=1, column="time_per_output_token_s")
    step = part(found.term, "decode step")
    assert step.value == pytest.approx(sum(one.value for one in step.parts))
    memory = part(part(step, "ffn"), "memory")
    read, bandwidth = part(memory, "bytes read by a rank").value, part(memory, "h100-sxm: hbm_bandwidth").value * 1e12
    efficiency = next(term for term in every(memory) if term.name.endswith("weight_bandwidth_efficiency")).value
    assert memory.value == pytest.approx(read / (bandwidth * efficiency))


def test_every_leaf_has_a_source_a_range_or_somebody_who_decided_it(runs: dict[str, Path]):
    found = am.explain(runs["rainier"], study="fleet", row=0, column="margin_fraction")
    for term in every(found.term):
        if not term.parts:
            assert term.source or term.kind in ("given", "estimated", "solved") or term.note or term.unit in ("byte", "s"), term


def test_a_row_of_a_margin_study_goes_down_to_price_discount_and_figures(runs: dict[str, Path]):
    for row in (0, 4, 23):
        found = am.explain(runs["thirty-percent"], study="thirty", row=row, column="operating_margin_fraction")
        margin, overhead = found.term.parts
        assert found.term.value == pytest.approx(margin.value - overhead.value)
        cost, revenue = margin.parts
        assert margin.value == pytest.approx(1 - cost.value / revenue.value)
        at_list, discount = revenue.parts
        assert revenue.value == pytest.approx(at_list.value * (1 - discount.value))
        assert part(cost, "replica_cost_usd_per_h").value == pytest.approx(cost.value)
        assert any(term.name.startswith("price of input (bedrock:") and term.date for term in every(found.term))


def test_a_changed_input_is_noticed(runs: dict[str, Path], tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(runs["quickstart"], folder)
    site = next((folder / "inputs").rglob("workloads/chat.toml"))
    site.write_text(site.read_text().replace("value = 211", "value = 311"))
    with pytest.raises(am.InputError, match="does not come out again"):
        am.explain(folder, study="points", row=0, column="request_latency_s")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--study", "pionts", "--column", "power_w"), "did you mean 'points'"),
        (("--study", "points", "--column", "powr_w"), "did you mean 'power_w'"),
        (("--study", "points", "--column", "power_w", "--row", "99"), "rows 0 to"),
        (("--study", "points", "--column", "power_w", "--row", "-1"), "rows 0 to"),
    ],
)
def test_what_is_not_there_is_refused(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], asked: tuple[str, ...], words: str):
    assert execute(["explain", str(runs["quickstart"]), *asked]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert execute(["explain", str(tmp_path), "--study", "points", "--column", "power_w"]) == 2
    assert "no run lies here" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("[]")
    assert execute(["explain", str(tmp_path), "--study", "points", "--column", "power_w"]) == 2


def test_the_command_prints_a_tree_or_one_document(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    asked = ["explain", str(runs["quickstart"]), "--study", "points", "--column", "margin_fraction", "--quiet"]
    assert execute(asked) == 0
    text = capsys.readouterr().out
    assert "= 1 - replica cost / revenue" in text
    assert re.search(r"= 1 - [\d.]+ / [\d.]+", text)
    assert "aws-price-list-2026-07-20" in text
    assert "as above" in text
    assert execute([*asked, "--depth", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < len(text.splitlines()) / 3
    assert execute([*asked, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["column"]) == ("accelmodel.explanation/1", "margin_fraction")
    assert document["term"]["parts"][0]["name"] == "replica_cost_usd_per_h"


def test_a_proven_fleet_goes_down_to_its_trace_and_targets(tmp_path: Path):
    am.run("trace-sizing", studies=["with-cache"], set={"studies.with-cache.cases": ["h200"], "studies.with-cache.trace_rate_factor": 1}).save(tmp_path / "run")
    found = am.explain(tmp_path / "run", study="with-cache", row=0, column="replicas")
    names = [term.name for term in every(found.term)]
    assert names.index("replicas_proven") < names.index("replicas_planned") < names.index("lower_bound_replicas")
    assert part(found.term, "trace").value == "mooncake_conversation"
    assert part(found.term, "ttft_s").value == 30.0
    assert part(found.term, "input_tokens").value == pytest.approx(12_035, abs=1)
    assert any("host failures per year" in term.name.replace("_", " ") for term in every(found.term))
