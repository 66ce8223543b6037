"""The verbs: what they print where, what they write, how they exit."""

from __future__ import annotations

import csv
import inspect
import io
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer

import accelmodel as am
from accelmodel.catalog.library import FOLDERS
from accelmodel.cli import main, options
from accelmodel.cli.main import app, execute
from accelmodel.cli.run import _setting

ROOT = Path(__file__).parents[2]
HEAVY = ("numba", "numpy", "pandas", "pyarrow", "plotly", "pydantic", "pint", "scipy")
EVALUATE = ["evaluate", "--model", "llama-3.1-70b", "--system", "p5.48xlarge", "--input-tokens", "1024", "--output-tokens", "1024", "--concurrency", "32"]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def json_of(arguments: list[str], capsys: Captured) -> dict:  # type: ignore[type-arg]
    assert execute([*arguments, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


# Importing


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import accelmodel; accelmodel.__version__; dir(accelmodel)", []),
        ("import accelmodel.cli.main", []),
        ("from accelmodel.cli.main import execute; assert execute(['--help']) == 0", []),
        # Typer itself reads numbers and lists by pydantic.
        ("from accelmodel.cli.main import execute; assert execute(['evaluate', '--help']) == 0", ["pydantic"]),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str, allowed: list[str]) -> None:
    done = python(f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules and name not in {allowed}], file=sys.stderr)")
    assert done.stderr.strip() == "[]"


def test_the_public_names() -> None:
    from accelmodel import errors
    from accelmodel.catalog import checks, compare, entries

    assert {"replica", "evaluate", "run", "Run", "Point", "InputError", "catalog"} <= set(dir(am))
    assert am.InputError is errors.InputError
    assert (am.catalog.list, am.catalog.show, am.catalog.check, am.catalog.diff) == (entries.list_entries, entries.show, checks.check, compare.diff)
    for name in am.__all__:
        assert getattr(am, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = am.evalute
    with pytest.raises(AttributeError, match="no attribute 'lst'"):
        _ = am.catalog.lst


def test_every_command_takes_a_catalog() -> None:
    def commands(of: Any, name: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(of, "commands"):
            yield name, of
        else:
            for inner, command in of.commands.items():
                yield from commands(command, f"{name} {inner}")

    found = dict(commands(typer.main.get_command(app), "accelmodel"))
    assert len(found) > 15
    assert [name for name, command in found.items() if not any("--catalog" in parameter.opts for parameter in command.params)] == []


def test_version_names_the_catalogues_date(capsys: Captured) -> None:
    assert execute(["--version"]) == 0
    sources = (tomllib.loads(path.read_text()) for path in (ROOT / "hardware_profiles").glob("sources*.toml"))
    newest = max(source["accessed"] for file in sources for source in file.values())
    literal = re.search(r'^__version__ = "(.+)"$', (ROOT / "src/accelmodel/__init__.py").read_text(), re.MULTILINE)
    assert literal is not None
    assert capsys.readouterr().out == f"accelmodel {literal[1]}, catalogue of {newest}\n"


def test_help_without_a_verb(capsys: Captured) -> None:
    assert execute([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("run", "evaluate", "catalog", "new"))


# evaluate


def test_options_are_named_as_in_python() -> None:
    from accelmodel.studies.points import evaluate, money, replica

    def names(function: Callable[..., object]) -> set[str]:
        return set(inspect.signature(function).parameters) - {"catalog", "replica", "columns"}

    assert set(options.REPLICA) == names(replica)
    assert set(options.MONEY) == names(money)
    assert set(options.LOAD) | set(options.DRAWN) | set(options.MONEY) == names(evaluate)


def test_evaluate_prints_the_point_that_python_gets(capsys: Captured) -> None:
    document = json_of([*EVALUATE, "--weights", "fp8", "--offer", "on-demand", "--offer", "bedrock"], capsys)
    replica = am.replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8")
    point = am.evaluate(replica, input_tokens=1024, output_tokens=1024, concurrency=32, offer=["on-demand", "bedrock"]).to_dict()
    assert {name: document[name] for name in point} == point
    assert (document["model"], document["tensor_parallel"], document["weights"], document["kv"]) == ("llama-3.1-70b", 8, "fp8", "bf16")
    assert document["cost_basis"] == "p5.48xlarge:on-demand:us-east-1"
    assert document["assumptions"]
    assert document["sources"]["aws-price-list-2026-07-20"]["confidence"] == "official"


def test_evaluate_picks_columns_in_order(capsys: Captured) -> None:
    document = json_of([*EVALUATE, "--columns", "power_w,fits", "--columns", "time_per_output_token_s"], capsys)
    asked = ["power_w", "fits", "time_per_output_token_s"]
    assert [name for name in document if name in (*asked, "cost_usd_per_mtok")] == asked


def test_evaluate_prints_assumptions_and_sources_below_the_answer(capsys: Captured) -> None:
    assert execute(EVALUATE) == 0
    captured = capsys.readouterr()
    answer, assumptions, sources = (captured.out.index(words) for words in ("time per output token", "Assumptions that matter most", "Sources"))
    assert answer < assumptions < sources
    assert [line[:3] for line in captured.out[assumptions:sources].splitlines() if re.match(r"\d\.", line)] == ["1. ", "2. ", "3. "]
    assert re.search(r"\((official|press|analyst)\)", captured.out[sources:])


def test_what_does_not_fit_is_an_answer(capsys: Captured) -> None:
    # Kimi K2: 1.03 T parameters at one byte; eight H100 of 85.9 GB hold 0.69 TB at most.
    misfit = ["evaluate", "--model", "kimi-k2", "--system", "p5.48xlarge", "--input-tokens", "1024", "--output-tokens", "1024", "--concurrency", "1"]
    document = json_of(misfit, capsys)
    assert (document["fits"], document["binding"], document["time_per_output_token_s"], document["cost_usd_per_mtok"]) == (False, "capacity", None, None)
    assert execute(misfit) == 2
    words = r"error: It does not fit: weights 1\.0\d TB; 8 accelerators hold 6\d\d GB less [\d.]+ GB for activations and the runtime\."
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert re.search(words, captured.err)


def test_targets_that_no_load_meets_are_an_answer(capsys: Captured) -> None:
    arguments = [*EVALUATE[:-2], "--ttft-s", "0.000001"]
    assert execute(arguments) == 2
    assert "no concurrency carries this rate or meets these latency targets" in capsys.readouterr().err


def test_an_estimate_and_an_extrapolation_say_so(capsys: Captured) -> None:
    loads = ["--input-tokens", "1024", "--output-tokens", "128", "--concurrency", "4"]
    assert execute(["evaluate", "--model", "claude-class-moe", "--system", "trn3-ultraserver-gen2", "--accelerators", "16", *loads]) == 0
    out = capsys.readouterr().out
    assert "The model is an estimate" in out
    assert "The engine is extrapolated" in out
    assert execute(EVALUATE) == 0
    assert "estimate:" not in capsys.readouterr().out


def test_a_hugging_face_config_is_a_model(capsys: Captured, tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "hidden_act": "silu",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    document = json_of([*EVALUATE[:1], "--model", "config.json", *EVALUATE[3:]], capsys)
    named = json_of([*EVALUATE[:1], "--model", "llama-3.1-8b", *EVALUATE[3:]], capsys)
    assert document["time_per_output_token_s"] == pytest.approx(named["time_per_output_token_s"], rel=1e-12)


# run and new


def test_run_prints_the_answer_and_writes_its_tables(capsys: Captured) -> None:
    assert execute(["run", "quickstart"]) == 0
    captured = capsys.readouterr()
    assert "Assumptions that matter most" in captured.out
    assert "results/quickstart" in captured.err
    written = {str(path.relative_to("results/quickstart")) for path in Path("results/quickstart").rglob("*") if path.is_file()}
    assert written >= {"points.parquet", "run.json", "inputs/quickstart.toml", "inputs/hardware_profiles/accelerators/trainium2.toml"}
    assert execute(["run", "results/quickstart/inputs/quickstart.toml", "--catalog", "results/quickstart/inputs", "--output", "again"]) == 0
    capsys.readouterr()
    frozen = [json.loads(Path(folder, "run.json").read_text(encoding="utf-8"))["files"] for folder in ("results/quickstart", "again")]
    assert frozen[0] == frozen[1]
    assert pq.read_table("again/points.parquet").equals(pq.read_table("results/quickstart/points.parquet"))


def test_run_as_json_is_one_document_and_nothing_beside_it(capsys: Captured) -> None:
    assert execute(["run", "quickstart", "--format", "json", "--seed", "7", "--output", "out"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"schema", "scenario", "version", "catalog_sha256", "seed", "studies"} <= document.keys()
    assert (document["scenario"], document["seed"], document["version"]) == ("quickstart", 7, am.__version__)
    study = document["studies"]["points"]
    table = pq.read_table(Path("out") / study["table"])
    assert (study["kind"], study["rows"]) == ("points", table.num_rows)
    assert table.schema.field("time_per_output_token_s").metadata[b"unit"] == b"s"
    assert json.loads(Path("out/run.json").read_text()) == document


def test_run_as_csv_is_the_table(capsys: Captured) -> None:
    assert execute(["run", "quickstart", "--format", "csv", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    table = pq.read_table("results/quickstart/points.parquet").to_pylist()
    assert [float(row["cost_usd_per_mtok"]) for row in rows] == [row["cost_usd_per_mtok"] for row in table]
    assert [row["case"] for row in rows] == [row["case"] for row in table]


def test_csv_of_several_studies_asks_for_one(capsys: Captured) -> None:
    assert execute(["run", "rainier", "--format", "csv"]) == 2
    assert "--study" in capsys.readouterr().err
    assert not Path("results").exists()


def test_settings_reach_the_scenario(capsys: Captured) -> None:
    assert execute(["run", "quickstart", "--set", "base.occupancy=0.5", "--set", "axes.concurrency=[4]", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["inputs"]["base"]["occupancy"] == 0.5
    table = pq.read_table("results/quickstart/points.parquet")
    assert set(table["concurrency"].to_pylist()) == {4.0}
    assert set(table["occupancy"].to_pylist()) == {0.5}


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("base.occupancy=0.6", "base.occupancy", 0.6),
        ("base.model=llama-3.1-8b", "base.model", "llama-3.1-8b"),
        ('base.model="llama-3.1-8b"', "base.model", "llama-3.1-8b"),
        ("axes.concurrency=[1, 2]", "axes.concurrency", [1, 2]),
        ("base.offer=bedrock:a=b", "base.offer", "bedrock:a=b"),
        ("base.model=1\nother = 2", "base.model", "1\nother = 2"),
    ],
)
def test_a_setting_is_toml_or_else_text(text: str, key: str, value: object) -> None:
    assert _setting(text) == (key, value)


def test_a_new_scenario_runs_as_it_is(capsys: Captured) -> None:
    assert execute(["new", "mine"]) == 0
    assert capsys.readouterr().out == ""
    text = Path("mine.toml").read_text()
    assert tomllib.loads(text)["base"]["model"]
    assert sum("#" in line for line in text.splitlines()) >= 8
    assert execute(["run", "mine.toml", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "mine" in captured.out
    assert {path.name for path in Path().iterdir()} == {"mine.toml", "results"}


def test_a_catalogue_of_ones_own_comes_first(capsys: Captured, tmp_path: Path) -> None:
    own = tmp_path / "own" / "accelerators"
    own.mkdir(parents=True)
    text = (ROOT / "hardware_profiles/accelerators/h100-sxm.toml").read_text()
    assert 'title = "NVIDIA H100 SXM"' in text
    (own / "h100-sxm.toml").write_text(text.replace('title = "NVIDIA H100 SXM"', 'title = "A chip of my own"'))
    assert execute(["catalog", "show", "h100-sxm", "--catalog", "own"]) == 0
    assert "A chip of my own" in capsys.readouterr().out
    assert execute([*EVALUATE, "--catalog", "own"]) == 0
    assert "A chip of my own" in capsys.readouterr().out


# The engine's first compilation


@pytest.mark.parametrize("quiet", [False, True])
def test_a_first_run_says_what_it_waits_for(capsys: Captured, monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    from accelmodel.core import jit

    monkeypatch.setattr(jit, "is_compiled", lambda: False)
    assert execute([*EVALUATE, *(["--quiet"] if quiet else [])]) == 0
    assert ("compiling the engine once" in capsys.readouterr().err) is not quiet


# Faults


def test_a_fault_of_ours_is_one_line_and_exit_code_1(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a step\nthat took no time")

    monkeypatch.setattr("accelmodel.catalog.entries.show", broken)
    assert execute(["catalog", "show", "trainium2"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "a fault of ours: ZeroDivisionError: a step that took no time" in captured.err
    monkeypatch.setenv("ACCELMODEL_DEBUG", "1")
    assert execute(["catalog", "show", "trainium2"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_exit_code_130(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("accelmodel.catalog.entries.show", interrupted)
    assert execute(["catalog", "show", "trainium2"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_that_goes_away_is_no_fault(form: str) -> None:
    """`head` closes the pipe long before the list is through it."""
    command = f"'{sys.executable}' -m accelmodel catalog list sources --format {form} | head -c 10; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].endswith(("141", "0"))


def test_the_console_script_passes_the_exit_code_on(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys, "argv", ["accelmodel", "catalog", "show", "nothing-like-it"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


# catalog


def test_list_of_one_kind_and_of_all(capsys: Captured) -> None:
    models = json_of(["catalog", "list", "models"], capsys)["entries"]
    assert {row["kind"] for row in models} == {"models"}
    (estimate,) = [row["name"] for row in models if row["basis"] == "estimate"]
    assert estimate == "claude-class-moe"
    every = json_of(["catalog", "list"], capsys)["entries"]
    assert {row["kind"] for row in every} == {*FOLDERS, "scenarios"}
    trainium2 = next(row for row in every if row["name"] == "trainium2" and row["kind"] == "accelerators")
    assert (trainium2["peak_fp8_flop_per_s"], trainium2["memory_bytes"]) == (1299e12, 96 * 2**30)
    offers = {row["name"]: row for row in every if row["kind"] == "offers"}
    assert offers["trn2.48xlarge:on-demand:us-east-2"]["price_usd_per_h"] is None
    assert offers["p5.48xlarge:on-demand:us-east-1"]["price_usd_per_h"] == 55.04


def test_list_for_people(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert execute(["catalog", "list", "accelerators"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("trainium2 "))
    assert line.split() == ["trainium2", "667", "1,299", "–", "103", "2.90", "500"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "trainium2",
            ["AWS Trainium2 (accelerators)", "1,299 TFLOP/s", "[2.9 .. 3]", "published", "aws-trainium2", "(official)", "https://github.com/aws-neuron"],
        ),
        ("Trn2", ["AWS Trainium2 (accelerators)"]),
        ("trn2-ultraserver", ["Trn2 UltraServer (systems)", "torus-3d of 64", "48 kW", "12,800 Gbit/s", "(analyst)"]),
        ("trainium3-announced", ["4.4 x trainium2.peak_fp8 (1299 TFLOP/s)", "derived", "derivation.factors.power"]),
        ("claude-class-moe", ["(models)", "estimated", "[2e+11 .. 1e+12]", "64 layers"]),
        ("new-carlisle", ["(sites)", "2.2 GW", "phases.phase 1.it_power", "455 MW"]),
        ("p5.48xlarge:on-demand:us-east-1", ["price: 55.04", "2026-07-20"]),
        ("bedrock:anthropic.claude-3-5-haiku-20241022-v1:0", ["input: 0.8", "output: 4"]),
        ("aws_ec2_2026-07-20", ["17 by the hour"]),
        ("neuron-prior-2026-11", ["(calibrations)", "parameters.layer_overhead", "142 us", "[100 .. 175]"]),
        ("default", ["(ownership)", "cost_of_capital", "purchase.h100-sxm"]),
        ("chat", ["(workloads)", "1,155 token"]),
        ("deepseek_day", ["(reference)", "562,027 USD"]),
        ("quickstart", ["(scenarios)"]),
        ("aws-trainium2", ["Trainium2 architecture (sources)", "confidence: official"]),
    ],
)
def test_show_finds_the_kind_by_itself(name: str, words: list[str], capsys: Captured) -> None:
    assert execute(["catalog", "show", name]) == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out
    document = json_of(["catalog", "show", name], capsys)
    assert set(document) == {"kind", "name", "title", "file", "entry", "figures", "sources"}


def test_show_as_json_has_every_figure_in_si_and_its_source(capsys: Captured) -> None:
    document = json_of(["catalog", "show", "trainium2"], capsys)
    assert document["figures"]["hbm_capacity"]["si"] == 96 * 2**30
    assert document["figures"]["scale_out_bandwidth"]["si"] == 25e9
    for figure in document["figures"].values():
        assert figure["source"] in document["sources"]


def test_show_of_an_ambiguous_name_takes_a_kind(capsys: Captured) -> None:
    assert execute(["catalog", "show", "rainier", "--kind", "sites"]) == 0
    assert "New Carlisle" in capsys.readouterr().out


def test_diff_of_the_ultraservers_prints_the_published_ratios(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert execute(["catalog", "diff", "trn2-ultraserver", "trn3-ultraserver-gen2"]) == 0
    lines = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()}
    expected = {"peak FP8": ("4.36", "1.94"), "peak BF16": ("2.26", "1.006"), "HBM bandwidth": ("3.80", "1.69"), "HBM capacity": ("3.375", "1.5")}
    for figure, (total, each) in expected.items():
        assert total in lines[figure]
        assert each in lines[figure]


def test_diff_as_json(capsys: Captured) -> None:
    rows = {row["figure"]: row for row in json_of(["catalog", "diff", "trainium2", "trainium3-announced"], capsys)["rows"]}
    assert [rows[name]["ratio"] for name in ("peak_bf16", "peak_fp8", "hbm_bandwidth", "scale_up_bandwidth")] == pytest.approx([4.4] * 4)
    assert [rows[name]["ratio"] for name in ("tdp", "it_power")] == pytest.approx([0.6] * 2)


def test_check_of_the_shipped_catalogue_is_clean(capsys: Captured) -> None:
    assert execute(["catalog", "check"]) == 0
    assert re.search(r"\d+ files checked: 0 errors", capsys.readouterr().out)


def test_check_of_a_faulty_file_is_exit_code_2(capsys: Captured, tmp_path: Path) -> None:
    text = (ROOT / "hardware_profiles/systems/trn2-ultraserver.toml").read_text()
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems/trn2-ultraserver.toml").write_text(text.replace("value = 83.2", "value = 38.2"))
    assert execute(["catalog", "check", "systems/trn2-ultraserver.toml"]) == 2
    out = capsys.readouterr().out
    assert "error: systems/trn2-ultraserver.toml: figures.total_peak_fp8: 38.2 PFLOP/s is not 64 x 1299 TFLOP/s" in " ".join(out.split())
    assert execute(["catalog", "check", "systems/trn2-ultraserver.toml", "--format", "json"]) == 2
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["severity"], finding["key"]) == ("error", "figures.total_peak_fp8")


def test_check_reads_scenarios_too(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('title = "t"\n[base]\nmodle = "x"\n[studies.points]\nkind = "points"\n')
    assert execute(["catalog", "check", "mine.toml"]) == 2
    assert "base.modle: unknown key" in capsys.readouterr().out
