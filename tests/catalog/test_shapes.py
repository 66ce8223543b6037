"""Shapes of load in the catalogue: they are what was published, and what is wrong with one is told by key."""

from __future__ import annotations

from pathlib import Path

import pytest

import accelmodel as am
from accelmodel.catalog.checks import check
from accelmodel.catalog.entries import list_entries, show
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError
from accelmodel.fleet.demand import Shape

GOOD = """name = "mine"
title = "A day"
starts = "midnight"
[figures]
peak_to_mean = { value = 2.0, unit = "1", kind = "estimated", low = 1.5, high = 2.5 }
[hours]
unit = "request/s"
kind = "estimated"
values = [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0]
"""


def with_shape(folder: Path, text: str = GOOD) -> Library:
    (folder / "shapes").mkdir()
    (folder / "shapes" / "mine.toml").write_text(text, encoding="utf-8")
    return Library(folder)


def test_a_shape_of_ones_own(tmp_path):
    library = with_shape(tmp_path)
    assert Shape.of(library.shape("mine").hours.values).peak_to_mean_ratio == 2.0
    assert check(library, [tmp_path / "shapes"]) == []
    assert show("mine", library).kind == "shapes"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[0, 0, 0,", "[0, 0,", "hours"),
        ('kind = "estimated"\nvalues', 'kind = "published"\nvalues', "hours"),
        ("[0, 0", "[-1, 0", "hours.values"),
        ("value = 2.0", "value = 2.4", "figures.peak_to_mean"),
        ('starts = "midnight"', 'start = "midnight"', "start"),
    ],
)
def test_what_is_wrong_is_told_by_key(tmp_path, old, new, key):
    assert old in GOOD
    findings = check(with_shape(tmp_path, GOOD.replace(old, new)), [tmp_path / "shapes"])
    assert any(finding.severity == "error" and finding.key.startswith(key) for finding in findings)


def test_a_mistyped_name_gets_the_nearest():
    with pytest.raises(InputError, match="azure-conversation-2024"):
        Library().shape("azure-conversation-2023")


def test_deepseeks_day_as_published():
    # Published: 278 nodes at the peak, 226.75 in the mean of the day.
    hours = Library().shape("deepseek-nodes-2025-02").hours.values
    assert max(hours) == 278
    assert sum(hours) / 24 == 226.75


def test_azures_week_as_published():
    # 27,303,999 requests in the week; each hour is rounded to whole requests.
    hours = Library().shape("azure-conversation-2024").hours.values
    assert sum(hours) == pytest.approx(27_303_999, abs=84)
    assert len(hours) == 168


def test_every_shape_is_listed_with_its_peak():
    listed = {row["name"]: row for row in list_entries("shapes")}
    assert set(listed) == set(am.Library().files("shapes"))
    for row in listed.values():
        assert row["hours"] in (24, 168)
        assert 1 < row["peak_to_mean"] < 3
