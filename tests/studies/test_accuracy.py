"""What the accuracy page says beside its tables: drawings, other tools, what labels allow, and what is found about bad rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import accelmodel as am
from accelmodel.catalog.library import Library
from accelmodel.cli.main import execute
from accelmodel.reports.scatter import scatter
from accelmodel.studies import floors
from accelmodel.studies.causes import cause

PLACE = {"model_name": "m", "accelerator_name": "a", "engine": "e 1.0", "load": "closed", "precision_weights": "fp8", "precision_kv": None}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    """Predicted rows of one sweep: 100 in, 1,000 out, 16 clients, one run each, unless said otherwise."""
    plain = PLACE | {"isl": 100.0, "osl": 1000.0, "concurrency": 16.0, "quantity": "ttft_ms", "metric": "ttft_ms", "predicted": 100.0}
    return pd.DataFrame([plain | {"run": number} | row for number, row in enumerate(rows)])


def found(rows: pd.DataFrame, number: int = 0) -> str:
    return cause(rows.iloc[number].to_dict(), rows)


def test_a_drawing_is_the_same_bytes_every_time_and_small(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    measured = 10 ** chance.uniform(0, 5, 3000)
    rows = pd.DataFrame({"value": measured, "predicted": measured * np.exp(chance.normal(0, 0.5, 3000)), "load": chance.choice(list("abcdefg"), 3000)})
    first, second = (scatter(tmp_path / name, rows, "load", "ms").read_bytes() for name in ("one.svg", "two.svg"))
    assert first == second
    assert len(first) < 200_000
    assert b"measured, ms" in first
    assert not list(tmp_path.glob("*.part"))


def test_without_the_library_that_draws_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("accelmodel.reports.scatter.find_spec", lambda _: None)
    with pytest.raises(am.InputError, match=r"accelmodel\[plots\]"):
        scatter(tmp_path / "no.svg", table({"value": 1.0}), "load", "ms")
    command = ["calibrate", str(tmp_path / "no.csv"), "--output", str(tmp_path / "out"), "--report", str(tmp_path / "page.md"), "--quiet"]
    assert execute(command) == 2
    assert "accelmodel[plots]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_oracle_of_the_offset_leaves_the_shape() -> None:
    """Two sweeps off by 2 and by 1/3 throughout: knowing model and accelerator does not help, knowing the release does so wholly."""
    rows = table(*({"engine": release, "value": 100.0 * factor} for release, factor in (("1", 2.0), ("2", 1 / 3)) for _ in range(4)))
    by_place, by_release = (floors.errors_after_offset(rows, by) for by in list(floors.ORACLES.values())[:2])
    assert by_release == pytest.approx(np.zeros(8), abs=1e-12)
    assert by_place.min() > 0.3


def test_an_offset_is_not_taken_from_the_row_itself() -> None:
    """The first row is alone with its factor of two; each of the others sees one row like itself and one off by two: half of that, as a root."""
    error = floors.errors_after_offset(table({"value": 50.0}, {"value": 100.0}, {"value": 100.0}), ("model_name",))
    assert error == pytest.approx([1.0, 1 - 0.5**0.5, 1 - 0.5**0.5])


def test_repeats_bound_what_labels_can_say() -> None:
    rows = table({"value": 100.0}, {"value": 400.0}, {"value": 100.0}, {"value": 100.0, "isl": 7.0}, {"value": 900.0, "engine": "e 2.0"})
    assert sorted(floors.errors_of_repeats(rows)) == pytest.approx([0.5, 1.0])  # the middle of 100 and 400 is 200
    assert sorted(floors.errors_of_repeats(rows, any_release=True)) == pytest.approx([0.0, 1 - 4 / 9, 3.0])  # of 100, 400 and 900 it is 400


def test_a_rate_that_its_latencies_deny_is_told() -> None:
    """One request per second that lives 2 s keeps two in flight, not 16."""
    rows = table({"value": 1000.0}, {"value": 1.0, "quantity": "tpot_ms", "run": 0}, {"value": 1.0, "quantity": "req_s", "run": 0})
    assert "is 2 requests in flight, not 16" in found(rows)


def test_a_repetition_that_differs_is_told_before_anything_else_about_the_load() -> None:
    assert "5 times apart" in found(table({"value": 100.0}, {"value": 500.0}))
    assert found(table({"value": 100.0}, {"value": 150.0})) == ""


def test_first_tokens_that_come_sooner_under_more_load_are_a_cold_start() -> None:
    assert found(table({"value": 900.0}, {"value": 300.0, "concurrency": 32.0})).startswith("32 clients waited 3 times less")
    assert found(table({"value": 900.0}, {"value": 300.0, "concurrency": 8.0})) == ""


def test_clients_that_wait_for_a_place_are_counted() -> None:
    """A request of 30 s until its first token and 10 s of decoding spends a quarter of its life decoding: 4 of 16."""
    rows = table({"value": 30_000.0}, {"value": 10.0, "quantity": "tpot_ms", "run": 0})
    assert found(rows).startswith("4 of 16 clients' requests decoded at a time")
    assert found(rows.assign(predicted=29_000.0)) == ""


def test_other_tools_errors_have_a_source_and_their_size() -> None:
    group = Library().reference("published_accuracy").groups["kernel-tables"]
    assert [group[name].si for name in ("tpot_ms_median", "tpot_ms_mean", "ttft_ms_median", "ttft_ms_mean")] == [0.19, 0.23, 0.36, 0.38]
    assert {figure.source for figure in group.values()} == {"study-peers-2026-11"}


def test_both_kinds_of_width_cover_nine_tenths_of_what_they_are_made_for() -> None:
    """Forty calm groups and ten whose parameters are unknown: over all rows both cover as much, the own width where it is wide too."""
    chance = np.random.default_rng(5)
    sigma = np.repeat([0.1] * 40 + [0.5] * 10, 20)
    error, groups = np.abs(chance.normal(0.0, sigma)), np.repeat(np.arange(50).astype(str), 20)
    one = floors.coverage_of_unseen(error, 0.0 * sigma, groups)
    grown = floors.coverage_of_unseen(error, sigma**2 - 0.01, groups)
    assert one == pytest.approx(0.9, abs=0.02)
    assert grown == pytest.approx(0.9, abs=0.02)
    by_group = floors.coverage_of_unseen(error[sigma < 0.3], 0.0 * error[sigma < 0.3], groups[sigma < 0.3])
    assert by_group == pytest.approx(0.9, abs=0.02)
