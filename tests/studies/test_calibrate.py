"""The fit finds parameters that made the data, writes what it can read, and an anchor hits what was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import accelmodel as am
from accelmodel.catalog.calibrations import Anchoring
from accelmodel.catalog.figures import Figure
from accelmodel.cli.main import execute
from accelmodel.studies.anchor import half_width
from accelmodel.studies.calibrate import anchoring_of, folds, rows_of, shaken
from accelmodel.studies.calibration_files import write
from accelmodel.studies.measured import measurements
from situations import made_up


def test_the_fit_moves_towards_what_made_the_data(tmp_path: Path) -> None:
    """A layer costs twice what the prior says: the fit goes there as far as its shrinkage lets it, and left-out groups are foreseen better than before."""
    rows = made_up(2.0)
    before = am.validate(rows).summary()["by_metric"]["tpot_ms"]["median_ape"]
    (fit,) = am.calibrate(rows, tmp_path)
    prior = am.Library().calibration("neuron-prior-2026-11")
    assert 1.2 < fit.parameters.layer_overhead.si / prior.parameters.layer_overhead.si < 2.0
    assert fit.prior == prior.name
    assert fit.errors["tpot_ms"].rows == 12
    assert fit.errors["tpot_ms"].median < 0.7 * before
    assert am.Library().calibration(str(tmp_path / f"{fit.name}.toml")) == fit
    assert not list(tmp_path.glob("*.part"))


def test_factors_multiply_what_the_files_say() -> None:
    replica = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, engine="vllm")
    levels = {("base", ""): {"layer_overhead": 2.0}, ("engine", "vllm"): {"layer_overhead": 1.5}, ("engine", "sglang"): {"layer_overhead": 9.0}}
    assert shaken(replica, levels).parameters["layer_overhead"] == pytest.approx(3.0 * replica.parameters["layer_overhead"])


def test_groups_stay_whole_in_the_folds() -> None:
    groups = np.array(["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"])
    dealt = folds(groups, 3)
    assert [len(set(dealt[groups == name])) for name in "abcd"] == [1, 1, 1, 1]
    assert sorted(np.bincount(dealt).tolist()) == [3, 3, 5]


def test_rows_in_doubt_are_not_fitted_on() -> None:
    rows = made_up(1.0)
    odd = rows.assign(engine="trtllm 1.3.0rc1", accelerator="H100-SXM-80GB", tp=1.0, num_accelerators=1, model="Llama-3.1-8B", scenario="online")
    prior = am.Library().calibration("gpu-prior-2026-11")
    assert rows_of(measurements(odd), prior) == []
    assert len(rows_of(measurements(odd.assign(engine="trtllm 1.2")), prior)) == len(odd)


def test_the_command_refuses_too_few_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "few.csv"
    made_up(1.0).head(2).to_csv(path, index=False)
    assert execute(["calibrate", str(path), "--output", str(tmp_path / "out"), "--quiet"]) == 2
    assert "too few rows" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_shipped_calibration_survives_writing(tmp_path: Path) -> None:
    library = am.Library()
    for name in library.files("calibrations"):
        calibration = library.calibration(name)
        assert library.calibration(str(write(calibration, tmp_path))) == calibration


def own(**changes: float) -> pd.DataFrame:
    """Two rows of one's own: 12 ms a token and 300 ms to the first at 32 clients."""
    load = {"isl": 1024.0, "osl": 1024.0, "concurrency": 32.0}
    return pd.DataFrame([load | {"metric": name, "value": value} for name, value in ({"tpot_ms": 12.0, "ttft_ms": 300.0} | changes).items()])


REPLICA = {"model": "llama-3.1-70b", "system": "p5.48xlarge", "tensor_parallel": 8, "weights": "fp8", "kv": "fp8", "engine": "vllm"}


def test_an_anchored_replica_gives_back_what_was_measured() -> None:
    replica = am.replica(**REPLICA)
    anchored = am.anchor(replica, own())
    point = am.evaluate(anchored, input_tokens=1024, output_tokens=1024, concurrency=32)
    assert 1e3 * point.time_per_output_token_s == pytest.approx(12.0, rel=1e-4)
    assert 1e3 * point.time_to_first_token_s == pytest.approx(300.0, rel=1e-4)


def test_an_anchor_narrows_intervals_and_leaves_the_replica_as_it_was() -> None:
    replica = am.replica(**REPLICA)
    before = am.evaluate(replica, input_tokens=1024, output_tokens=1024, concurrency=32)
    after = am.evaluate(am.anchor(replica, own()), input_tokens=1024, output_tokens=1024, concurrency=32)
    for name in ("time_per_output_token_s", "time_to_first_token_s", "cost_usd_per_mtok"):
        width = [math.log(getattr(point, name + "_high90") / getattr(point, name + "_low90")) for point in (before, after)]
        assert width[1] < width[0]
    assert am.evaluate(replica, input_tokens=1024, output_tokens=1024, concurrency=32).to_dict() == before.to_dict()


def test_an_anchor_on_throughput_alone_corrects_the_step() -> None:
    replica = am.replica(**REPLICA)
    rate = am.evaluate(replica, input_tokens=1024, output_tokens=1024, concurrency=32).output_tokens_per_s
    rows = pd.DataFrame([{"isl": 1024.0, "osl": 1024.0, "concurrency": 32.0, "metric": "output_tok_s", "value": 0.8 * rate}])
    slower = am.evaluate(am.anchor(replica, rows), input_tokens=1024, output_tokens=1024, concurrency=32)
    assert slower.output_tokens_per_s == pytest.approx(0.8 * rate, rel=1e-4)


@pytest.mark.parametrize("rows", [own().drop(columns="isl"), own().assign(metric="tpot_ms_p99"), own().assign(value=0.0)])
def test_an_anchor_refuses_rows_that_say_nothing(rows: pd.DataFrame) -> None:
    with pytest.raises(am.InputError):
        am.anchor(am.replica(**REPLICA), rows)


def test_the_command_anchors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.csv"
    own().to_csv(path, index=False)
    replica = [part for name, value in REPLICA.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    load = ["--input-tokens", "1024", "--output-tokens", "1024", "--concurrency", "32"]
    assert execute(["evaluate", *replica, *load, "--anchor", str(path), "--format", "json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["time_per_output_token_s"] == pytest.approx(0.012, rel=1e-4)


def test_the_page_tells_of_left_out_groups_by_everything_that_matters(tmp_path: Path) -> None:
    path, page = tmp_path / "measured.csv", tmp_path / "accuracy.md"
    made_up(1.5).to_csv(path, index=False)
    assert execute(["calibrate", str(path), "--output", str(tmp_path / "out"), "--report", str(page), "--quiet"]) == 0
    text = page.read_text()
    for heading in (
        "By what is measured",
        "By accelerator",
        "By model",
        "By serving engine",
        "The worst rows",
        "Left out, and assumed",
        "What is extrapolation",
    ):
        assert f"## {heading}" in text
    assert "| time per output token, wave | 12 |" in text


def test_fits_start_from_priors_whatever_is_shipped() -> None:
    prior = am.Library().calibration("neuron-prior-2026-11")
    found = measurements(made_up(1.0), priors={prior.name: prior})
    assert {run.replica.calibration.name for run in found.runs} == {"neuron-prior-2026-11"}


def test_the_width_after_an_anchor_is_students_of_the_rows_and_of_other_replicas() -> None:
    """Scatter 0.1 worth 4 rows: after one row t(4) at 95 % is 2.132, times 0.1 sqrt 2; five more rows that agree with one another narrow it."""
    scatter = Anchoring(
        within=Figure(value=0.1, low=0.1, high=0.1, unit="1", kind="estimated"), rows=Figure(value=4.0, low=4.0, high=4.0, unit="1", kind="estimated")
    )
    assert half_width(scatter, 0.0, 1) == pytest.approx(2.131847 * 0.1 * math.sqrt(2.0), rel=1e-6)
    # t(9) at 95 % is 1.833113; variance (4 x 0.01 + 5 x 0.01) / 9
    assert half_width(scatter, 0.1, 6) == pytest.approx(1.833113 * 0.1 * math.sqrt(7 / 6), rel=1e-6)
    assert half_width(scatter, 0.0, 6) < half_width(scatter, 0.1, 6) < half_width(scatter, 0.4, 6)


def test_an_anchor_widens_again_where_its_rows_disagree() -> None:
    replica = am.replica(**REPLICA)
    point = am.evaluate(replica, input_tokens=1024, output_tokens=1024, concurrency=32)

    def width(*factors: float) -> float:
        rows = [own(tpot_ms=1e3 * point.time_per_output_token_s * factor).iloc[:1] for factor in factors]
        after = am.evaluate(am.anchor(replica, pd.concat(rows)), input_tokens=1024, output_tokens=1024, concurrency=32)
        return math.log(after.time_per_output_token_s_high90 / after.time_per_output_token_s_low90)

    before = math.log(point.time_per_output_token_s_high90 / point.time_per_output_token_s_low90)
    assert width(1.0, 1.0) < width(1.0) < before < width(0.5, 2.0)
    assert width(1.0, 1.0) < width(0.95, 1.05) < width(0.8, 1.25)


def test_scatter_within_sweeps_is_found_again() -> None:
    """Sweeps of six rows: variances a scaled inverse chi-squared of 6 degrees about 0.1 squared, and offsets that must not count."""
    chance = np.random.default_rng(3)
    deviation = 0.1 * np.sqrt(6 / chance.chisquare(6, 400))
    rows = [
        {"sweep": str(number), "load": "closed", "measure": "time_per_output_token", "residual": residual}
        for number, sigma in enumerate(deviation)
        for residual in chance.normal(0.0, 0.5) + chance.normal(0.0, sigma, 6)
    ]
    found = anchoring_of(pd.DataFrame(rows))
    assert list(found) == ["time_per_output_token"]
    assert found["time_per_output_token"].within.value == pytest.approx(0.1, rel=0.1)
    assert found["time_per_output_token"].rows.value == pytest.approx(6.0, rel=0.4)
