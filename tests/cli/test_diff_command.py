"""`accelmodel diff`: what it prints, one JSON document, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.numbers import digits


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("runs")
    am.run("quickstart").save(home / "a")
    am.run("quickstart", set={"base.occupancy": 0.3, "base.kv": "bf16", "axes.concurrency": [8, 32, 64]}).save(home / "b")
    am.run("deepseek-day").save(home / "day")
    return {name: str(home / name) for name in ("a", "b", "day")} | {"home": str(home)}


def test_a_table_tells_inputs_rows_and_parts(folders: dict[str, str], capsys: pytest.CaptureFixture[str]):
    assert execute(["diff", folders["a"], folders["b"], "--column", "cost_usd_per_mtok"]) == 0
    printed = capsys.readouterr()
    lines = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert "1. base.kv: fp8 to bf16 (set)" in lines
    assert "2. base.occupancy: not given to 0.3 (set)" in lines
    assert any(line.startswith("4 rows gone from A: case h100, concurrency 1;") for line in lines)
    assert any(line.startswith("2 rows new in B") for line in lines)
    assert "case concurrency number A B change by 1 by 2 interaction" in lines
    # Another dtype of the KV cache takes no time from Trainium2 at this load; cost goes like 1 / occupancy, from 0.6 to 0.3.
    cost = next(row["cost_usd_per_mtok"] for row in am.run("quickstart").tables["points"].to_pylist() if (row["case"], row["concurrency"]) == ("trainium2", 8))
    assert f"trainium2 8 cost, USD/Mtok {digits(cost)} {digits(2 * cost)} +{digits(cost)} 0 +{digits(cost)} 0" in lines
    assert any("in the order of their numbers" in line for line in lines)
    assert "No number shown follows from input 3." in lines
    assert "run 3 of up to" in printed.err


def test_json_is_one_document_whose_parts_sum(folders: dict[str, str], capsys: pytest.CaptureFixture[str]):
    assert execute(["diff", folders["a"], folders["b"], "--method", "shapley", "--format", "json", "--quiet"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert printed.err == ""
    assert (document["schema"], document["method"], document["equal"]) == ("accelmodel.difference/1", "shapley", False)
    numbers = document["studies"]["points"]["numbers"]
    split = [one for one in numbers if one["change"] is not None]
    assert split
    for one in split:
        total = sum(part["change"] for part in one["parts"]) + one["program_version"]
        assert total == pytest.approx(one["b"] - one["a"], abs=1e-9 * max(abs(one["a"]), abs(one["b"])))


def test_equal_runs_say_so(folders: dict[str, str], capsys: pytest.CaptureFixture[str]):
    assert execute(["diff", folders["a"], folders["a"]]) == 0
    assert "Nothing differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("home", "a"), "no run lies here"),
        (("a", "day"), "have nothing in common"),
        (("a", "b", "--study", "pionts"), "did you mean 'points'"),
        (("a", "b", "--column", "margn_fraction"), "did you mean 'margin_fraction'"),
        (("a", "b", "--method", "shapely"), "did you mean 'shapley'"),
        (("a", "b", "--format", "csv"), "--format"),
        (("a",), "RUN_DIR_B"),
    ],
)
def test_wrong_input_is_exit_2_with_one_message(folders: dict[str, str], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str):
    assert execute(["diff", *(folders.get(word, word) for word in arguments), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""


def test_a_narrow_terminal_keeps_rows_and_names_what_it_leaves_out(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "60")
    assert execute(["diff", folders["a"], folders["b"], "--quiet"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 60 + len(str(Path(folders["b"])))
    assert "Not shown at this width" in out
