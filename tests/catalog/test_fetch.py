"""Asking AWS: recorded answers through botocore's own stub, which checks the request against the service's model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from accelmodel.catalog.imports import fetch
from accelmodel.catalog.imports.snapshot import import_offers
from accelmodel.catalog.library import Library
from accelmodel.cli.main import execute
from accelmodel.errors import InputError

boto3 = pytest.importorskip("boto3")
stub = pytest.importorskip("botocore.stub")

LISTS = Path(__file__).parent / "price_lists"
FILTERS = [
    {"Type": "TERM_MATCH", "Field": field, "Value": value}
    for field, value in {
        "regionCode": "us-west-1",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "preInstalledSw": "NA",
        "marketoption": "OnDemand",
    }.items()
]


@pytest.fixture
def pricing() -> Any:
    return boto3.client("pricing", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def pages() -> list[dict[str, Any]]:
    decoder, text, found, place = json.JSONDecoder(), (LISTS / "aws_ec2_get_products.json").read_text(), [], 0
    while text[place:].strip():
        page, place = decoder.raw_decode(text, place)
        place += len(text[place:]) - len(text[place:].lstrip())
        found.append(page)
    return found


def test_all_pages_are_kept_as_answered_and_can_be_imported(pricing: Any, tmp_path: Path) -> None:
    first, second = pages()
    asked = {"ServiceCode": "AmazonEC2", "Filters": FILTERS}
    with stub.Stubber(pricing) as answers:
        answers.add_response("get_products", first, asked)
        answers.add_response("get_products", second, {**asked, "NextToken": "page2"})
        assert fetch.fetch(pricing, "ec2", "us-west-1", tmp_path / "answers.json") == 3
        answers.assert_no_pending_responses()
    assert json.loads((tmp_path / "answers.json").read_text())["PriceList"] == [*first["PriceList"], *second["PriceList"]]
    found = import_offers("aws", tmp_path / "answers.json", tmp_path / "today.toml", Library())
    assert {offer.id: offer.price for offer in found.snapshot.hour}["p5.48xlarge:on-demand:us-west-1"] == 68.8


def test_a_refusal_and_an_empty_answer_leave_nothing(pricing: Any, tmp_path: Path) -> None:
    with stub.Stubber(pricing) as answers:
        answers.add_client_error("get_products", "AccessDeniedException", "not authorized to perform: pricing:GetProducts")
        with pytest.raises(InputError, match=r"AmazonEC2: AWS gave no prices: .*not authorized"):
            fetch.fetch(pricing, "ec2", "us-west-1", tmp_path / "answers.json")
        answers.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": []})
        with pytest.raises(InputError, match="AWS lists no prices of AmazonBedrock in 'us-wset-1'"):
            fetch.fetch(pricing, "bedrock", "us-wset-1", tmp_path / "answers.json")
    assert not list(tmp_path.iterdir())


def test_answers_are_not_overwritten(pricing: Any, tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text("{}")
    with pytest.raises(InputError, match="is there already"):
        fetch.fetch(pricing, "ec2", "us-west-1", tmp_path / "answers.json")


def test_what_cannot_be_asked_for_is_refused(pricing: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'bedrok' is nothing that can be asked for; did you mean 'bedrock'\?"):
        fetch.fetch(pricing, "bedrok", "us-east-1", tmp_path / "answers.json")


def test_without_boto3_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert execute(["offers", "fetch", "aws", "ec2", "--output", str(tmp_path / "answers.json")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install 'accelmodel[aws]'" in err
