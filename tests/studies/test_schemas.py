"""Editors and the program read a file alike: what the program takes, the schema takes; a slip that the one refuses, the other underlines."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

import accelmodel as am
from accelmodel import units
from accelmodel.catalog.entries import RECORDS, kind_of
from accelmodel.catalog.figures import parse, read_toml
from accelmodel.catalog.library import schema_file, schema_lines
from accelmodel.cli.main import execute
from accelmodel.studies import schemas
from accelmodel.studies.scenario import load, template

ROOT = Path(__file__).parents[2]
SHIPPED = [path for side in ("hardware_profiles", "scenarios") for path in sorted((ROOT / side).rglob("*.toml"))]


def validator(kind: str) -> Draft7Validator:
    return Draft7Validator(json.loads((ROOT / "schemas" / schema_file(kind)).read_text(encoding="utf-8")))


def faults(kind: str, toml: str | dict[str, Any]) -> list[str]:
    data = tomllib.loads(toml) if isinstance(toml, str) else toml
    return [error.message for error in validator(kind).iter_errors(data)]


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_schemas_in_the_repository_are_those_of_the_records(kind):
    path = ROOT / "schemas" / schema_file(kind)
    assert path.read_text(encoding="utf-8") == schemas.text(kind), "run: accelmodel catalog schema --output schemas"
    Draft7Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_every_shipped_file_names_its_schema_in_the_first_line_and_holds_to_it():
    assert len(SHIPPED) > 150
    for path in SHIPPED:
        data = read_toml(path)
        kind = kind_of(path, data)
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert (first,) == schema_lines(kind, path.parent), path
        assert (path.parent / first.removeprefix("#:schema ")).resolve() == ROOT / "schemas" / schema_file(kind)
        assert faults(kind, data) == [], path


def test_the_template_and_a_copied_shipped_scenario_hold_too():
    assert faults("scenarios", template("mine")) == []
    assert faults("scenarios", template("mine").replace("concurrency = [8, 32, 128]", 'concurrency = { from = 1, to = 64, steps = 7, scale = "log" }')) == []
    zipped = "lengths = { zip = { input_tokens = [512, 1024], output_tokens = { from = 64, to = 128, steps = 2 } } }"
    assert faults("scenarios", template("mine").replace("concurrency = [8, 32, 128]", zipped)) == []
    assert faults("scenarios", template("mine").replace("concurrency = [8, 32, 128]", 'workload = { set = "every" }')) == []
    assert faults("scenarios", template("mine").replace('"llama-3.1-70b"', '"models/my-model/config.json"')) == []


# What is put in place of what, and how the schema tells of it. The program refuses each of these too.
SLIPS = [
    ("tensor_parallel = 8", "tensor_paralel = 8", "'tensor_paralel' was unexpected"),
    ('model = "llama-3.1-70b"', 'model = "llama-3.1-7b"', "'llama-3.1-7b' is not valid under any"),
    ('weights = "fp8"', 'weights = "fp9"', "'fp9' is not one of"),
    ("occupancy = 0.6", "occupancy = 60", "60 is greater than the maximum of 1"),
    ("input_tokens = 1024", 'input_tokens = "1024"', "'1024' is not of type 'number'"),
    ("concurrency = [8, 32, 128]", "concurency = [8, 32, 128]", "[8, 32, 128] is not of type 'object'"),  # under another name only keys that go together
    ("concurrency = [8, 32, 128]", "lengths = { zip = { input_token = [1, 2] } }", "'input_token' was unexpected"),
    ("concurrency = [8, 32, 128]", 'concurrency = { sett = "few" }', "'sett' was unexpected"),
    ("concurrency = [8, 32, 128]", "concurrency = { from = 1, to = 64, step = 7 }", "'step' was unexpected"),
    ("concurrency = [8, 32, 128]", "concurrency = []", "[] "),
    ('kind = "points"', 'kind = "point"', "'point' is not one of"),
    ('kind = "points"', 'kind = "points"\ncollumns = ["power_w"]', "'collumns' was unexpected"),
    ('kind = "points"', 'kind = "fleet"', "'fleet_accelerators' is a required property"),
]


@pytest.mark.parametrize(("old", "new", "told"), SLIPS)
def test_a_slip_in_a_scenario_is_told_of_by_schema_and_program(tmp_path, old, new, told):
    text = template("mine").replace(old, new)
    assert text != template("mine")
    assert any(told in message for message in faults("scenarios", text)), faults("scenarios", text)
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(am.InputError):
        am.run(load(path, am.Library())[0])


FIGURE = 'peak_fp8 = { value = 1299, unit = "TFLOP/s", kind = "published", source = "aws-trainium2" }'
PROFILE = 'name = "a"\ntitle = "A"\nvendor = "V"\nstack = "cuda"\ngeneration = "g"\n[figures]\n'


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        (FIGURE.replace("TFLOP/s", "TB/s"), "'TB/s' is not one of"),
        (FIGURE.replace("published", "publishd"), "'publishd' is not one of"),
        (FIGURE.replace("published", "estimated"), "'low' is a required property"),
        (FIGURE.replace("published", "derived"), "'formula' is a required property"),
        (FIGURE.replace(', source = "aws-trainium2"', ""), "'source' is a required property"),
        (FIGURE.replace("peak_fp8", "peak_f8"), "'peak_f8' was unexpected"),
        (FIGURE.replace("unit =", "units ="), "'units' was unexpected"),
    ],
)
def test_a_slip_in_a_figure_is_told_of_by_schema_and_program(figure, told):
    assert faults("accelerators", PROFILE + FIGURE) == []
    assert any(told in message for message in faults("accelerators", PROFILE + figure)), faults("accelerators", PROFILE + figure)
    with pytest.raises(am.InputError):
        parse(RECORDS["accelerators"], tomllib.loads(PROFILE + figure), "a.toml")


@pytest.mark.parametrize("dimension", units.CUSTOMARY)
def test_the_units_that_editors_offer_are_of_their_dimension(dimension):
    assert {units.unit(text).dimension for text in units.CUSTOMARY[dimension]} == {dimension}


def test_keys_are_described():
    situation = schemas.schema("scenarios")["definitions"]["Situation"]["properties"]
    assert situation["concurrency"]["description"] == "requests in the system: clients of a closed loop [request]"
    assert "dtype" in situation["weights"]["description"]
    figures = schemas.schema("accelerators")["definitions"]["AcceleratorFigures"]["properties"]
    assert figures["tdp"]["description"].startswith("`tdp` is the design power of the chip or board")
    assert figures["tdp"]["description"].endswith("a figure: power, 10 to 10000 W")
    figure = schemas.schema("accelerators")["definitions"]["Figure"]["properties"]
    assert figure["unit"]["description"] == "`value` and `unit` are as printed"  # not what a column of this name says


def tables(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table of properties in a schema with its place, but those of a condition: a condition describes nothing."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield where, part["properties"]
        for key, value in part.items():
            yield from () if key == "if" else tables(value, f"{where}/{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from tables(value, f"{where}/{number}")


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_every_key_of_every_table_is_described(kind):
    bare = [f"{where}/{key}" for where, table in tables(schemas.schema(kind)) for key, value in table.items() if not value.get("description", "").strip()]
    assert bare == []


def test_what_holds_without_a_key_and_its_unit_are_told():
    tables = schemas.schema("scenarios")["definitions"]
    assert tables["Situation"]["properties"]["kv"]["description"].endswith("; bf16 where absent")
    assert tables["Situation"]["properties"]["power_cap_w"]["description"].startswith("power limit of one accelerator [W]")
    assert tables["PlanStudy"]["properties"]["budget_usd"]["description"].endswith("[USD]")
    assert tables["DemandStudy"]["properties"]["window_s"]["default"] == 300.0


def test_an_option_says_what_the_key_of_a_scenario_says(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "4000")
    assert execute(["evaluate", "--help"]) == 0
    shown = capsys.readouterr().out.casefold()
    for key, value in schemas.schema("scenarios")["definitions"]["Situation"]["properties"].items():
        if key != "workload":  # an option gives the lengths themselves
            assert value["description"].casefold() in shown, key


def test_names_are_those_of_ones_own_catalogue_too(tmp_path):
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "nova1-8.toml").write_text('name = "nova1-8"\n', encoding="utf-8")
    assert execute(["catalog", "schema", "scenarios", "--catalog", str(tmp_path), "--output", str(tmp_path)]) == 0
    own = Draft7Validator(json.loads((tmp_path / "scenario.json").read_text(encoding="utf-8")))
    mine = tomllib.loads(template("mine").replace("p5.48xlarge", "nova1-8"))
    assert list(own.iter_errors(mine)) == []
    assert faults("scenarios", mine) != []


def test_the_command_prints_one_schema_and_refuses_what_is_none(capsys):
    assert execute(["catalog", "schema", "sites"]) == 0
    assert json.loads(capsys.readouterr().out) == schemas.schema("sites")
    assert execute(["catalog", "schema", "cites"]) == 2
    assert "did you mean 'sites'" in capsys.readouterr().err
    assert execute(["catalog", "schema"]) == 2


def test_a_new_scenario_names_a_schema_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert execute(["new", "mine"]) == 0
    first = (tmp_path / "mine.toml").read_text(encoding="utf-8").partition("\n")[0]
    assert first == f"#:schema {(ROOT / 'schemas' / 'scenario.json').as_uri()}"


def test_what_the_program_writes_into_the_catalogue_names_its_schema():
    assert schemas.line(ROOT / "scenarios") == "#:schema ../schemas/scenario.json"
    assert schema_lines("calibrations", ROOT / "hardware_profiles" / "calibrations") == ("#:schema ../../schemas/calibration.json",)
    assert schema_lines("calibrations", Path("/")) == ()


def test_an_editors_own_checker_underlines_a_typo(tmp_path):
    """Taplo is what Even Better TOML and other editors check TOML with."""
    taplo = Path(sys.executable).with_name("taplo")
    good = tmp_path / "good.toml"
    good.write_text(f"{schemas.line(tmp_path)}\n{template('mine')}", encoding="utf-8")
    assert subprocess.run([taplo, "lint", good], capture_output=True, check=False).returncode == 0
    bad = tmp_path / "bad.toml"
    bad.write_text(good.read_text(encoding="utf-8").replace("tensor_parallel", "tensor_paralel"), encoding="utf-8")
    told = subprocess.run([taplo, "lint", "--colors", "never", bad], capture_output=True, text=True, check=False)
    line = bad.read_text(encoding="utf-8").split("\n").index("tensor_paralel = 8") + 1
    assert told.returncode != 0
    assert f"bad.toml:{line}:1" in told.stderr
    assert "'tensor_paralel' was unexpected" in told.stderr
