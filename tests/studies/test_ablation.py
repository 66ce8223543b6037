"""What parameters earn, and what kernels say of operators."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import accelmodel as am
from accelmodel.catalog.calibrations import moved
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import Library
from accelmodel.cli.main import execute
from accelmodel.studies.ablation import additions, other_priors, outcome, variants
from accelmodel.studies.calibrate import cross_validated
from accelmodel.studies.kernel_priors import Estimate, estimates, joined
from situations import made_up

BANDWIDTH, PEAK, LINK = 3.35e12, 989.4e12, 450e9  # H100 SXM as its datasheet prints it: bytes/s, dense BF16 FLOP/s, one-way NVLink bytes/s


def gemms(memory: float, compute: float, launch_s: float = 4e-6, hardware: str = "H100-SXM-80GB") -> pd.DataFrame:
    """Matrix multiplications as fast as two efficiencies, a floor of 30 tokens and a launch make them."""
    m, n = (grid.ravel() for grid in np.meshgrid([1.0, 16.0, 64.0, 256.0, 1024.0, 4096.0], [8192.0, 16384.0, 32768.0]))
    bytes_s, flop_s = 2 * n * 16384 / (BANDWIDTH * memory), 2 * (m + 30) * n * 16384 / (PEAK * compute)
    latency_us = 1e6 * (launch_s + (bytes_s**4 + flop_s**4) ** 0.25)
    none = dict.fromkeys(("kv_dtype", "batch", "seq", "heads", "kv_heads", "head_dim", "num_gpus", "bytes"), math.nan)
    return pd.DataFrame(
        {"op": "gemm", "hardware": hardware, "framework": "f", "dtype": "bfloat16", "m": m, "n": n, "k": 16384.0, "latency_us": latency_us} | none
    )


def test_kernels_give_back_the_efficiencies_that_made_them() -> None:
    found = estimates(gemms(0.8, 0.7), Library())
    assert found["weight_bandwidth_efficiency"].value == pytest.approx(0.8, rel=0.03)
    assert found["compute_efficiency_bf16"].value == pytest.approx(0.7, rel=0.03)
    assert found["compute_efficiency_bf16"].stacks == {"cuda"}


def test_an_all_reduce_tells_of_the_links() -> None:
    size, members = (grid.ravel() for grid in np.meshgrid([1e6, 1e7, 1e8, 5e8], [2.0, 4.0, 8.0]))
    latency_us = 1e6 * (10e-6 + 2 * (members - 1) / members * size / (LINK * 0.6))
    rows = gemms(0.8, 0.7).iloc[: len(size)].assign(op="nccl_all_reduce", num_gpus=members, bytes=size, latency_us=latency_us, n=math.nan)
    assert estimates(rows, Library())["link_efficiency"].value == pytest.approx(0.6, rel=0.05)


def test_tables_faster_than_the_peak_or_unknown_tell_nothing() -> None:
    assert estimates(gemms(1.5, 0.7), Library()) == {}
    assert estimates(gemms(0.8, 0.7, hardware="no such chip"), Library()) == {}


def test_tables_apart_widen_what_kernels_say() -> None:
    two = estimates(pd.concat([gemms(0.7, 0.7), gemms(0.9, 0.7).assign(framework="g")]), Library())["weight_bandwidth_efficiency"]
    assert two.tables == 2
    assert two.value == pytest.approx(math.sqrt(0.7 * 0.9), rel=0.03)
    assert two.deviation > 0.05


def test_prior_and_kernels_meet_by_their_precisions() -> None:
    """Alike in deviation they meet in the middle, at a root of a half of it; a kernel far from what is served hardly moves the prior."""
    width = math.exp(1.645 * 0.2)
    prior = Figure(value=0.5, low=0.5 / width, high=0.5 * width, unit="1", kind="estimated")
    centre, deviation = joined(prior, Estimate(0.8, 0.12, 9, frozenset()), 0.16)
    assert centre == pytest.approx(math.sqrt(0.4))
    assert deviation == pytest.approx(0.2 * math.sqrt(0.5))
    assert joined(prior, Estimate(0.8, 0.12, 9, frozenset()), 9.0)[0] == pytest.approx(0.5, rel=1e-3)


def test_what_made_the_data_is_missed_when_it_is_taken_away() -> None:
    """Steps with an overhead per layer: without it the left-out loss rises beyond its error; parameters of other matters change nothing."""
    result = cross_validated(made_up(1.3))
    (problem, judged) = result.fits[0]
    found = {
        (one.name, one.instead[:9]): outcome(problem, judged, one) for one in variants(problem) if one.name in ("layer_overhead", "compute_efficiency_fp8")
    }
    without = found["layer_overhead", "no effect"]
    assert without.change > 2 * without.standard_error > 0
    assert without.errors["tpot_ms"].median > 3 * result.calibrations[0].errors["tpot_ms"].median
    assert found["compute_efficiency_fp8", "its prior"].change == pytest.approx(0.0, abs=1e-3)
    # What is not fitted is tried again: a prefill's overhead, of which no step tells, changes nothing.
    more = {one.name: one for one in additions(problem)}
    prefill = outcome(problem, judged, more["(nothing, and with prefill_layer_overhead)"])
    assert prefill.deviations == len(problem.slots) + 1
    assert prefill.change == pytest.approx(0.0, abs=1e-2)


def test_the_command_writes_the_study(tmp_path: Path) -> None:
    measured, kernels, page = tmp_path / "measured.csv", tmp_path / "kernels.csv", tmp_path / "ablation.md"
    made_up(1.3).to_csv(measured, index=False)
    gemms(0.8, 0.7).to_csv(kernels, index=False)
    assert execute(["calibrate", str(measured), "--output", str(tmp_path), "--ablation", str(page), "--kernels", str(kernels), "--quiet"]) == 0
    assert "| (nothing: the full model) |" in page.read_text()
    assert "| layer_overhead | no effect (0) |" in page.read_text()


def test_kernels_without_latencies_are_refused() -> None:
    with pytest.raises(am.InputError, match="latency_us"):
        estimates(gemms(0.8, 0.7).drop(columns="latency_us"), Library())


def test_other_priors_are_tried_as_if_the_fit_had_started_from_them() -> None:
    """Overheads cost 1.3 of the prior: a problem told so by its prior leaves nothing to be found, whatever it was made with."""
    result = cross_validated(made_up(1.3))
    (problem, judged) = result.fits[0]
    prior = problem.calibration
    figure = prior.parameters.layer_overhead
    better = prior.model_copy(update={"parameters": prior.parameters.model_copy(update={"layer_overhead": moved(figure, 1.3 * figure.value, 130.0, 230.0)})})
    found = outcome(problem, judged, other_priors(problem, better, "better", "its own"))
    assert found.errors["tpot_ms"].median < 0.01
    assert found.change < 0
