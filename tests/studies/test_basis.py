"""What a run's accuracy rests on: the region that its cases lie in, or, where nobody measured there, the nearest, which is said."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import accelmodel as am
from accelmodel.catalog.calibrations import FitError, Region
from accelmodel.reports.content import _accuracy
from accelmodel.studies.basis import Accuracy, _near, _overall, _Place
from accelmodel.studies.calibrate import regions_of


def region(generation: str, engine: str, load: str, rows: int, *, experts: bool = False) -> Region:
    error = FitError(rows=rows, median=0.1, mean=0.2, p90=0.3)
    return Region(generation=generation, experts=experts, engine=engine, load=load, errors={"tpot_ms": error})


MEASURED = (
    region("new", "swift", "closed", 7),
    region("new", "swift", "pools", 9),
    region("new", "sound", "closed", 5),
    region("old", "sound", "closed", 99),
    region("old", "sound", "closed", 4, experts=True),
)


def near(generation: str, engine: str, mode: str = "continuous", *, experts: bool = False) -> list[Accuracy]:
    calibration = am.Library().calibration("gpu-fit-2026-11").model_copy(update={"regions": MEASURED})
    return _near(calibration, _Place(generation, experts, engine, mode))


@pytest.mark.parametrize(
    ("place", "rows", "is_own"),
    [
        (("new", "swift"), 7, True),
        (("new", "swift", "disaggregated"), 9, True),
        (("new", "other"), 7, False),  # of the same generation the most measured
        (("new", "swift", "static"), 16, False),  # no fixed batch was measured there
        (("none", "sound"), 99, False),
    ],
)
def test_accuracy_is_that_of_the_region_or_of_the_nearest(place: tuple[str, ...], rows: int, is_own: bool) -> None:
    found = near(*place)
    assert sum(one.rows for one in found) == rows
    assert all((one.region == one.measured) == is_own for one in found)


def test_experts_are_set_beside_experts() -> None:
    (found,) = near("old", "sound", experts=True)
    assert (found.rows, found.measured) == (4, found.region)
    assert "mixture of experts" in found.region


def test_the_report_says_where_nobody_measured() -> None:
    own, nearest = _accuracy(near("new", "sound")), _accuracy(near("newer", "sound"))
    assert "No published measurement" not in own.note
    assert "fewer than 12 measurements" in own.note
    assert "fewer than 12 measurements" not in nearest.note
    assert "No published measurement is of this run's newer, dense, sound, continuous; the nearest are of old, dense, sound." in nearest.note
    assert nearest.rows[0][1:5] == ("old, dense, sound", "a closed loop", "time per output token", 99)


def test_without_regions_the_errors_are_those_of_all() -> None:
    fit = am.Library().calibration("gpu-fit-2026-11")
    assert _near(fit.model_copy(update={"regions": ()}), _Place("hopper", False, "vllm", "continuous")) == []
    found = _overall(fit)
    assert {one.quantity: one.rows for one in found} == {name: error.rows for name, error in fit.errors.items()}
    assert all(row[1] == "wherever it was measured" for row in _accuracy(found).rows)


def test_regions_are_of_rows_alike_and_in_no_doubt() -> None:
    columns = ["generation", "has_experts", "engine", "load", "quantity", "residual", "is_doubtful"]
    told = [("a", False, "e", "closed", "tpot_ms", math.log(1 / factor), False) for factor in (1.1, 0.8, 1.5)]
    told += [("a", False, "e", "closed", "tpot_ms", 5.0, True), ("a", False, "e", "wave", "ttft_ms", 0.0, False)]
    first, second = regions_of(pd.DataFrame(told, columns=columns))
    assert (first.load, second.load) == ("closed", "wave")
    error = first.errors["tpot_ms"]
    assert (error.rows, error.median, error.mean) == (3, pytest.approx(0.2), pytest.approx((0.1 + 0.2 + 0.5) / 3, abs=1e-4))
    assert second.errors["ttft_ms"].median == 0.0


@pytest.mark.parametrize("name", ["gpu-fit-2026-11", "neuron-fit-2026-11"])
def test_shipped_regions_are_parts_of_what_the_fit_was_judged_on(name: str) -> None:
    """Of quantities that are measured under plain loads alone the regions' rows are all of the fit's."""
    fit = am.Library().calibration(name)
    assert len({(one.generation, one.experts, one.engine, one.load) for one in fit.regions}) == len(fit.regions)
    for quantity, error in fit.errors.items():
        assert sum(one.errors[quantity].rows for one in fit.regions if quantity in one.errors) >= error.rows
