"""`catalog diff` of two snapshots: what is new, gone, dearer or cheaper, and by how much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accelmodel.catalog.compare import diff
from accelmodel.catalog.library import Library
from accelmodel.cli.main import execute
from accelmodel.errors import InputError

HEADER = """
name = "NAME"
title = "Prices"
date = "2026-11-01"
currency = "USD"
unit = "USD/hour"
source = "aws-price-list-2026-07-20"
kind = "published"
accessed = "2026-11-22"
provider = "aws"
"""


def snapshot(folder: Path, name: str, **prices: float) -> str:
    """A snapshot of on-demand prices of p5.48xlarge by region, as a file; its path."""
    rows = "".join(
        f'[[hour]]\nsystem = "p5.48xlarge"\nterm = "on-demand"\nregion = "{region.replace("_", "-")}"\nprice = {price}\n' for region, price in prices.items()
    )
    path = folder / "offers" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER.replace("NAME", name) + rows)
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    before = snapshot(tmp_path, "before", us_east_1=98.32, us_west_2=98.32, eu_west_1=80.0, ap_south_1=50.0, sa_east_1=70.0, ca_central_1=60.0)
    after = snapshot(tmp_path, "after", us_east_1=55.04, us_west_2=98.32, eu_west_1=88.0, ap_south_1=40.0, ca_central_1=75.0, me_central_1=99.0)
    return before, after


def test_changes_come_by_kind_and_size(pair: tuple[str, str]) -> None:
    found = diff(*pair, Library())
    rows = [(row.name.rpartition(":")[2], row.change, row.ratio) for row in found.rows]
    assert rows == [
        ("ca-central-1", "dearer", 1.25),
        ("eu-west-1", "dearer", 1.1),
        ("us-east-1", "cheaper", 55.04 / 98.32),  # the cut of June 2025: -44 %
        ("ap-south-1", "cheaper", 0.8),
        ("me-central-1", "new", None),
        ("sa-east-1", "gone", None),
    ]
    assert found.unchanged == 1


def test_snapshots_are_compared_by_name_or_path(tmp_path: Path, pair: tuple[str, str]) -> None:
    by_name = diff("before", "after", Library(tmp_path))
    assert by_name.to_dict() == diff(*pair, Library()).to_dict()
    assert not diff("before", "before", Library(tmp_path)).rows


def test_the_documents_rows_say_the_change(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["catalog", "diff", *pair, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unchanged"] == 1
    cut = next(row for row in document["rows"] if row["figure"] == "p5.48xlarge:on-demand:us-east-1")
    assert (cut["a"], cut["b"], cut["dimension"], cut["change"]) == (98.32, 55.04, "USD/hour", "cheaper")
    assert cut["change_fraction"] == pytest.approx(-0.4402, abs=5e-5)


def test_the_table_is_read_at_a_glance(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["catalog", "diff", *pair]) == 0
    out = capsys.readouterr().out
    assert "2 dearer, 2 cheaper, 1 new, 1 gone, 1 unchanged" in out
    line = next(line for line in out.splitlines() if "us-east-1" in line)
    assert line.split() == ["p5.48xlarge:on-demand:us-east-1", "cheaper", "-44.0", "%", "98.32", "55.04", "USD/hour"]


def test_prices_of_two_kinds_do_not_compare() -> None:
    with pytest.raises(InputError, match="'aws_ec2_2026-07-20' is in USD/hour, 'aws_bedrock_2026-11' in USD/Mtok: they do not compare"):
        diff("aws_ec2_2026-07-20", "aws_bedrock_2026-11", Library())
    with pytest.raises(InputError, match="one is a snapshot of prices, the other one price"):
        diff("aws_ec2_2026-07-20", "p5.48xlarge:on-demand:us-east-1", Library())
