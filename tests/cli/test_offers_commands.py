"""`accelmodel offers import`: what it prints where, what it writes, how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accelmodel.cli.main import execute

LISTS = Path(__file__).parents[1] / "catalog" / "price_lists"
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_result_is_on_standard_output_and_what_was_left_out_beside_it(capsys: Captured) -> None:
    arguments = ["offers", "import", "skypilot", str(LISTS / "skypilot_aws_vms.csv"), "--date", "2026-11-15", "--output", "mine/offers/aws.toml"]
    assert execute(arguments) == 0
    out, err = capsys.readouterr()
    assert out == "mine/offers/aws.toml: 5 prices by the hour, of 2026-11-15\n"
    assert err.splitlines() == [
        "left out: 1 instance type that is no system of the catalogue",
        "left out: 1 stated twice, at different prices",
        "left out: 1 without a price, or at 0",
        "left out: 1 without an accelerator",
    ]
    assert execute(arguments) == 0
    assert capsys.readouterr().out.endswith("(was there already, unchanged)\n")
    assert execute(["catalog", "check", "mine"]) == 0


def test_one_json_document(capsys: Captured) -> None:
    assert execute(["offers", "import", "litellm", str(LISTS / "litellm.json"), "--output", "tokens.toml", "--date", "2026-11", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "snapshot": "tokens",
        "file": "tokens.toml",
        "date": "2026-11",
        "hour": 0,
        "token": 5,
        "already_there": False,
        "skipped": {
            "not a model of text": 2,
            "tier 'batch' with a price of one side only": 1,
            "without a service": 1,
            "without prices by the token, or at 0": 1,
        },
    }


def test_a_rate_is_given_on_the_command_line(capsys: Captured) -> None:
    rate = ["--rate", "0.14", "--rate-date", "2026-11-20", "--rate-source", "litellm-price-list-2026-11"]
    assert execute(["offers", "import", "aws", str(LISTS / "aws_ec2_cny.json"), *rate, "--output", "offers/cn.toml"]) == 0
    capsys.readouterr()
    assert execute(["catalog", "show", "p4d.24xlarge:on-demand:cn-north-1", "--catalog", ".", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["entry"]["price"] == pytest.approx(28.0)  # 200 CNY x 0.14


def test_an_import_serves_an_evaluation(capsys: Captured) -> None:
    assert execute(["offers", "import", "aws", str(LISTS / "aws_ec2_get_products.json"), "--output", "offers/today.toml"]) == 0
    capsys.readouterr()
    replica = ["--model", "llama-3.1-70b", "--system", "p5.48xlarge", "--input-tokens", "1024", "--output-tokens", "256", "--concurrency", "16"]
    money = ["--offer", "p5.48xlarge:on-demand:us-west-1 less 25%", "--occupancy", "1", "--catalog", "."]
    assert execute(["evaluate", *replica, *money, "--format", "json"]) == 0
    point = json.loads(capsys.readouterr().out)
    assert point["replica_cost_usd_per_h"] == pytest.approx(51.6)  # 68.8 x 0.75
    assert point["cost_basis"] == "p5.48xlarge:on-demand:us-west-1 less 25%"


EC2, CNY, CSV = "aws_ec2_bulk.json", "aws_ec2_cny.json", "skypilot_aws_vms.csv"


@pytest.mark.parametrize(
    ("form", "name", "options", "words"),
    [
        ("asw", EC2, [], "error: FORM: 'asw' is not one of its values; did you mean 'aws'?"),
        ("aws", "aws_ec2_bulk.jsn", [], "aws_ec2_bulk.jsn: no such file"),
        ("aws", CSV, [], "is not JSON: Expecting value in line 1, column 1"),
        ("skypilot", EC2, [], "InstanceType: is not a column of this file, so that it is no catalogue of SkyPilot's"),
        ("litellm", EC2, [], "is no price list of LiteLLM's: no entry has a 'litellm_provider'"),
        ("aws", CNY, [], "--rate, --rate-date, --rate-source: its prices are in CNY: give the rate, its day and its source"),
        ("aws", CNY, ["--rate", "0.14"], "error: --rate-date: is missing: a rate has a value, a day and a source"),
        ("aws", CNY, ["--rate", "-1", "--rate-date", "2026", "--rate-source", "aws-trainium2"], "--rate.value: Input should be greater than 0"),
        ("aws", CNY, ["--rate", "1", "--rate-date", "today", "--rate-source", "aws-trainium2"], "--rate.date: String should match pattern"),
        (
            "aws",
            CNY,
            ["--rate", "1", "--rate-date", "2026", "--rate-source", "aws-trainium"],
            "error: --rate-source: no source is called 'aws-trainium'; did you mean",
        ),
        ("aws", EC2, ["--payment", "none"], "error: --payment: 'none' is not one of its values"),
        ("aws", EC2, ["--provider", "lambda"], "error: --provider: is an option of 'skypilot' lists"),
        ("aws", EC2, ["--date", "yesterday"], "date: String should match pattern"),
        ("aws", EC2, ["--source", "aws-trainium"], "error: --source: no source is called 'aws-trainium'; did you mean"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(form: str, name: str, options: list[str], words: str, capsys: Captured) -> None:
    assert execute(["offers", "import", form, str(LISTS / name), "--output", "offers/x.toml", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert not list(Path.cwd().rglob("*.toml"))
