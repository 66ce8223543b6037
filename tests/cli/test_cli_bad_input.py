"""Bad input: each kind gives one clear message on standard error and exit code 2; nothing on standard output, no traceback, nothing written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from accelmodel.cli.main import execute

EVALUATE = ["evaluate", "--model", "llama-3.1-70b", "--system", "p5.48xlarge", "--input-tokens", "1024", "--output-tokens", "1024"]
LOADED = [*EVALUATE, "--concurrency", "32"]


def replaced(option: str, value: str) -> list[str]:
    """The good command line with one option's value replaced."""
    place = LOADED.index(option)
    return [*LOADED[: place + 1], value, *LOADED[place + 2 :]]


GOOD = """
title = "t"
[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1
input_tokens = 100
output_tokens = 10
concurrency = 4
[studies.points]
kind = "points"
"""

CHIP = """
name = "mychip"
title = "My chip"
vendor = "Me"
stack = "cuda"
generation = "hopper"
[figures]
peak_bf16 = { value = 100, unit = "UNIT", kind = "estimated", low = 90, high = 110 }
hbm_capacity = { value = 96, unit = "GB", kind = "estimated", low = 90, high = 100 }
"""

BOX = """
name = "mybox"
title = "My box"
provider = "me"
accelerator = "mychip"
accelerators = 1
source = "mine"
[[scale_up]]
topology = "single"
accelerators = 1
"""


def with_chip(*changes: tuple[str, str]) -> dict[str, str]:
    """The catalogue of one's own with some of the chip's text replaced."""
    chip = CHIP.replace("UNIT", "TFLOP/s")
    for before, after in changes:
        assert before in chip
        chip = chip.replace(before, after)
    return {"own/accelerators/mychip.toml": chip, "own/systems/mybox.toml": BOX}


def with_change(before: str, after: str, more: str = "") -> dict[str, str]:
    """The good scenario with some text replaced and some added."""
    assert before in GOOD
    return {"mine.toml": GOOD.replace(before, after) + more}


LOAD = ["--input-tokens", "100", "--output-tokens", "10", "--concurrency", "1"]
OWN_BOX = ["evaluate", "--catalog", "own", "--model", "llama-3.1-8b", "--system", "mybox", *LOAD]
RUN = ["run", "mine.toml"]
SHOCK = """kind = "price-shock"
in_house = "a"
vendor = "b"
in_house_fraction = [0]
vendor_price_shock_fraction = [0]
"""
TWICE = """
[cases.a]
concurrency = 2
[axes]
concurrency = [1, 2]
"""
CASES_OF_SHOCK = """
[cases.a]
offer = "bedrock"
[cases.b]
model = "llama-3.1-405b"
offer = "bedrock:meta.llama3-1-8b-instruct-v1:0"
"""


@dataclass(frozen=True)
class Case:
    """A command line, the files it meets, and what the message must say."""

    name: str
    arguments: list[str]
    words: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)


CASES = [
    # Names
    Case("unknown model", replaced("--model", "llama-3.1-70x"), ("model", "'llama-3.1-70x'", "did you mean 'llama-3.1-70b'")),
    Case("unknown system", replaced("--system", "p5.48xlrage"), ("system", "'p5.48xlrage'", "did you mean 'p5.48xlarge'")),
    Case("unknown engine", [*LOADED, "--engine", "vlm"], ("engine", "'vlm'", "vllm")),
    Case("unknown dtype", [*LOADED, "--weights", "fp9"], ("weights", "'fp9'", "fp8")),
    Case("unknown offer", [*LOADED, "--offer", "on-demnad"], ("offer", "'on-demnad'", "did you mean 'on-demand'")),
    Case("unknown books", [*LOADED, "--books", "tennant"], ("books", "'tennant'", "did you mean 'tenant'")),
    Case("unknown site", [*LOADED, "--site", "new-carlyle"], ("site", "'new-carlyle'", "did you mean 'new-carlisle'")),
    Case("unknown owner", [*LOADED, "--owner", "defualt"], ("ownership", "'defualt'", "did you mean 'default'")),
    Case("unknown tier", [*LOADED, "--offer", "bedrock", "--tier", "bach"], ("tier", "'bach'", "batch")),
    Case("unknown column", [*LOADED, "--columns", "cost_usd_per_mtk"], ("columns", "'cost_usd_per_mtk'", "did you mean 'cost_usd_per_mtok'")),
    Case("unknown scenario", ["run", "quickstrat"], ("scenario", "'quickstrat'", "did you mean 'quickstart'")),
    Case("unknown study", ["run", "quickstart", "--study", "pionts"], ("studies", "'pionts'", "did you mean 'points'")),
    Case("unknown catalogue kind", ["catalog", "list", "acelerators"], ("kind", "'acelerators'", "did you mean 'accelerators'")),
    Case("unknown entry", ["catalog", "show", "trainum2"], ("'trainum2'", "did you mean 'trainium2'")),
    Case("entries of two kinds", ["catalog", "diff", "trainium2", "trn2-ultraserver"], ("'trainium2' (accelerators)", "(systems)", "not of one kind")),
    Case("name of several entries", ["catalog", "show", "rainier"], ("rainier", "kind", "reference", "scenarios")),
    # The command line
    Case("typo in an option", ["evaluate", "--concurency", "3"], ("--concurency", "did you mean --concurrency")),
    Case("typo in a verb", ["evalute"], ("'evalute'", "evaluate")),
    Case("missing option", ["evaluate", "--model", "llama-3.1-8b"], ("--system",)),
    Case("not a number", replaced("--concurrency", "many"), ("--concurrency", "valid number")),
    Case("unknown format", [*LOADED, "--format", "jsno"], ("--format", "'jsno'", "did you mean 'json'")),
    Case("catalogue that does not exist", [*LOADED, "--catalog", "nowhere"], ("nowhere", "--catalog", "not a folder")),
    Case("setting without a value", ["run", "quickstart", "--set", "base.occupancy"], ("--set", "base.occupancy", "KEY=VALUE")),
    Case("setting of an unknown key", ["run", "quickstart", "--set", "base.ocupancy=0.5"], ("base.ocupancy", "did you mean 'occupancy'")),
    Case("setting of an unknown table", ["run", "quickstart", "--set", "bse.occupancy=0.5"], ("--set bse.occupancy", "did you mean 'base'")),
    Case("setting of a wrong value", ["run", "quickstart", "--set", "base.occupancy=1.5"], ("base.occupancy", "1.5")),
    Case("setting of NaN", ["run", "quickstart", "--set", "base.occupancy=nan"], ("base.occupancy", "nan")),
    Case("name of a scenario that is a path", ["new", "../mine"], ("NAME", "letters")),
    Case("scenario that exists", ["new", "mine"], ("mine.toml", "exists already"), {"mine.toml": "kept"}),
    # Numbers
    Case("negative tokens", replaced("--input-tokens", "-5"), ("input_tokens", "-5")),
    Case("NaN concurrency", replaced("--concurrency", "nan"), ("concurrency", "finite", "nan")),
    Case("zero concurrency", replaced("--concurrency", "0"), ("concurrency", "above 0")),
    Case("zero occupancy", [*LOADED, "--occupancy", "0"], ("occupancy", "above 0")),
    Case("hit fraction above one", [*LOADED, "--prefix-hit-fraction", "1.5"], ("prefix_hit_fraction", "from 0 to 1")),
    Case("context too long", replaced("--input-tokens", "200000"), ("input_tokens", "201,024", "131,072", "llama-3.1-70b")),
    Case("two loads", [*LOADED, "--requests-per-s", "2"], ("concurrency or requests_per_s, not both",)),
    Case("no load", EVALUATE, ("concurrency", "requests_per_s", "ttft_s")),
    Case("tenant without an offer", [*LOADED, "--books", "tenant"], ("offer", "on-demand")),
    Case("no public price", [*replaced("--system", "trn2.48xlarge"), "--offer", "on-demand"], ("trn2.48xlarge", "no public", "price")),
    # What cannot be combined
    Case("tp that does not divide heads", [*LOADED, "--accelerators", "7"], ("tensor_parallel", "7", "64 attention heads", "1, 2, 4, 8")),
    Case("ranks that do not come out", [*LOADED, "--tensor-parallel", "4"], ("tensor_parallel", "4 ranks", "8 accelerators")),
    Case("no accelerators", [*LOADED, "--accelerators", "0"], ("accelerators", "at least 1")),
    Case("negative chunk", [*LOADED, "--chunk-tokens", "-1"], ("chunk_tokens", "above 0")),
    Case("unknown mode", [*LOADED, "--mode", "contiuous"], ("mode", "did you mean 'continuous'")),
    Case("experts of a dense model", [*LOADED, "--expert-parallel", "2"], ("expert_parallel", "no routed experts")),
    Case("missing figure", OWN_BOX, ("mychip", "hbm_bandwidth"), with_chip()),
    # Files
    Case("wrong dimension", OWN_BOX, ("mychip.toml", "figures.peak_bf16", "TB/s", "bandwidth", "compute"), with_chip(("TFLOP/s", "TB/s"))),
    Case("unknown unit", OWN_BOX, ("mychip.toml", "figures.peak_bf16", "TFLOOP/s"), with_chip(("TFLOP/s", "TFLOOP/s"))),
    Case("negative figure", OWN_BOX, ("mychip.toml", "peak_bf16", "-100"), with_chip(("value = 100", "value = -100"), ("low = 90, high", "low = -110, high"))),
    Case("figure outside its range", OWN_BOX, ("mychip.toml", "peak_bf16", "does not hold"), with_chip(("value = 100", "value = 1000"))),
    Case("typo in a profile's key", OWN_BOX, ("mychip.toml", "peak_bf61", "did you mean 'peak_bf16'"), with_chip(("peak_bf16", "peak_bf61"))),
    Case("typo in a scenario's key", RUN, ("mine.toml", "base.concurency", "did you mean 'concurrency'"), with_change("concurrency", "concurency")),
    Case("duplicate key", RUN, ("mine.toml", "overwrite", "line 6"), with_change("accelerators = 1", 'model = "x"')),
    Case("unreadable TOML", RUN, ("mine.toml", "not valid TOML"), {"mine.toml": "title = ["}),
    Case("word for a number", RUN, ("mine.toml", "base.concurrency", "many"), with_change("concurrency = 4", 'concurrency = "many"')),
    Case("unknown kind of study", RUN, ("mine.toml", "studies.points", "pionts"), with_change('kind = "points"', 'kind = "pionts"')),
    Case("unknown case", RUN, ("mine.toml", "studies.points", "'b'"), with_change("title", "title", 'cases = ["b"]\n')),
    Case("two overrides of one key", RUN, ("'concurrency'", "case 'a'", "axis"), with_change("t", "t", TWICE)),
    Case("scenario without a model", RUN, ("mine.toml", "base.model", "missing"), with_change('model = "llama-3.1-8b"\n', "")),
    Case("scenario that does not exist", ["run", "other.toml"], ("other.toml", "no such file")),
    Case("unreadable config.json", replaced("--model", "config.json"), ("config.json", "JSON"), {"config.json": "{"}),
    Case("unknown architecture", replaced("--model", "config.json"), ("config.json", "model_type", "griffin"), {"config.json": '{"model_type": "griffin"}'}),
    Case("config.json that does not exist", replaced("--model", "config.json"), ("config.json", "no such file")),
    Case("output that is a file", ["run", "quickstart", "--output", "taken"], ("taken", "--output"), {"taken": "kept"}),
    Case("output that takes no files", ["run", "quickstart", "--output", "/proc/mine"], ("/proc/mine", "--output", "cannot be written")),
    Case("price shock of what does not fit", RUN, ("mine.toml", "cases.b", "do not fit", "GB"), with_change('kind = "points"\n', SHOCK, CASES_OF_SHOCK)),
]


def files_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_in_one_message(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in case.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    before = files_in(tmp_path)
    code = execute(case.arguments)
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert captured.out == ""
    messages = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1, captured.err
    assert captured.err.strip().endswith(messages[0]), "the message stands last"
    assert "Traceback" not in captured.err
    for word in case.words:
        assert word in messages[0]
    assert files_in(tmp_path) == before


def test_there_are_at_least_twenty_kinds() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 20
