"""`catalog check` finds each planted fault, and nothing in what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelmodel.catalog.checks import Finding, check
from accelmodel.catalog.entries import kind_of
from accelmodel.catalog.library import FOLDERS, Library
from accelmodel.errors import InputError

ROOT = Path(__file__).parents[2]


def test_the_shipped_catalogue_has_no_error() -> None:
    assert [finding for finding in check(Library()) if finding.severity == "error"] == []


def planted(folder: Path, kind: str, name: str, *changes: tuple[str, str], as_name: str | None = None) -> Path:
    """A shipped file with some text replaced, in a catalogue of its own."""
    text = (ROOT / FOLDERS[kind] / kind / f"{name}.toml").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    path = folder / kind / f"{as_name or name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


OVERRIDE = '[figures]\npeak_fp8 = { value = 3000, unit = "TFLOP/s", kind = "published", source = "aws-trainium3" }'
GENERATION = "generations.neuroncore-v5"

FAULTS = [
    # file, what is changed in it, the finding's key, words of its message
    ("accelerators", "trainium2", ('source = "aws-trainium2"', 'source = "aws-trainum2"'), "figures.peak_bf16.source", "did you mean 'aws-trainium2'"),
    ("accelerators", "trainium2", ('name = "trainium2"', 'name = "trainium-2"'), "name", "another name"),
    ("accelerators", "trainium2", ("value = 667", "value = 0.667"), "figures.peak_bf16", "plausible"),
    ("accelerators", "trainium2", ("value = 98_304", "value = 983_040"), "figures.hbm_usable", "more than the printed capacity"),
    ("accelerators", "trainium2", ("value = 2563", "value = 256.3"), "figures.sparse_bf16", "below the dense rate"),
    ("accelerators", "trainium2", ("title =", "titel ="), "titel", "did you mean 'title'"),
    ("accelerators", "trainium3-announced", ('base = "trainium2"', 'base = "trainium3-announced"'), "base", "derived from itself"),
    ("accelerators", "trainium3-announced", ("[figures]", OVERRIDE), "figures.peak_fp8", "4.4"),
    ("systems", "trn2-ultraserver", ("value = 185.6", "value = 205.6"), "figures.total_hbm_bandwidth", "64 x 2.9 TB/s"),
    ("systems", "trn2-ultraserver", ("value = 48, unit", "value = 480, unit"), "figures.it_power", "64 x 750 W"),
    ("systems", "trn2-ultraserver", ('accelerator = "trainium2"', 'accelerator = "trainum2"'), "accelerator", "did you mean 'trainium2'"),
    ("models", "llama-3.1-8b", ("value = 8.0", "value = 8.3"), "parameters", "more than 1% apart"),
    ("models", "llama-3.1-70b", ('config_source = "hf-llama-3-1-70b"\n', ""), "config_source", "missing"),
    ("offers", "aws_ec2_2026-07-20", ('"trn1.2xlarge"', '"trn1.2xlarg"'), "hour.1.system", "did you mean 'trn1.2xlarge'"),
    ("ownership", "default", ("\nl40s = ", "\nl40x = "), "purchase.l40x", "did you mean 'l40s'"),
    ("calibrations", "neuron-prior-2026-11", ('"neuroncore-v3"]', '"neuroncore-v5"]'), GENERATION, "no accelerator"),
    ("sites", "new-carlisle", ("value = 2.2, unit", "value = 0.5, unit"), "phases.phase 2", "more than the whole"),
]


@pytest.mark.parametrize(("kind", "name", "change", "key", "words"), FAULTS, ids=[f"{fault[1]}-{fault[3]}" for fault in FAULTS])
def test_a_planted_fault_is_found(kind: str, name: str, change: tuple[str, str], key: str, words: str, tmp_path: Path) -> None:
    path = planted(tmp_path, kind, name, change)
    found = check(Library(tmp_path), [path])
    assert any(finding.key == key and words in finding.message and finding.severity == "error" for finding in found), found


def test_an_alias_of_two_entries_is_found(tmp_path: Path) -> None:
    path = planted(tmp_path, "accelerators", "trainium2", ('name = "trainium2"', 'name = "mychip"'), as_name="mychip")
    assert Finding("error", str(ROOT / "hardware_profiles/accelerators/trainium2.toml"), "aliases", "'Trn2' also means 'mychip'") in check(Library(tmp_path))
    assert path.exists()


def test_sources_that_stand_twice_or_for_nothing_are_found(tmp_path: Path) -> None:
    entry = 'title = "t"\npublisher = "p"\nlocator = "l"\naccessed = "2026-11-22"\nconfidence = "own"\n'
    (tmp_path / "sources.toml").write_text(f"[mine]\n{entry}\n[aws-trainium2]\n{entry}")
    found = {(finding.severity, finding.key, finding.message) for finding in check(Library(tmp_path))}
    assert ("warning", "mine", "no figure names this source") in found
    assert any(severity == "error" and key == "aws-trainium2" and "also stands" in message for severity, key, message in found)


def test_a_source_without_a_place_is_found(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text('[mine]\ntitle = "t"\npublisher = "p"\naccessed = "2026-11-22"\nconfidence = "own"\n')
    found = check(Library(), [tmp_path / "sources.toml"])
    assert any("'url' or a 'locator'" in finding.message for finding in found)
    assert [finding.severity for finding in check(Library(tmp_path))] == ["error"]


def test_prices_of_one_chip_too_far_apart_are_doubted(tmp_path: Path) -> None:
    planted(tmp_path, "offers", "aws_ec2_2026-07-20", ("price = 55.04 ", "price = 550.4 "))
    found = check(Library(tmp_path))
    (doubt,) = [finding for finding in found if finding.key == "p5.48xlarge:on-demand:us-east-1"]
    assert doubt.severity == "warning"
    assert "68.8 USD per accelerator-hour against 6.88" in doubt.message


def test_an_offer_that_stands_twice_is_found(tmp_path: Path) -> None:
    planted(tmp_path, "offers", "aws_ec2_2026-07-20", ('name = "aws_ec2_2026-07-20"', 'name = "mine"'), as_name="mine")
    assert any(finding.severity == "error" and "is also in" in finding.message for finding in check(Library(tmp_path)))


def test_what_the_engine_would_miss_is_a_warning(tmp_path: Path) -> None:
    line = 'peak_bf16    = { value = 667, unit = "TFLOP/s", kind = "published", source = "aws-trainium2" }\n'
    path = planted(tmp_path, "accelerators", "trainium2", (line, ""))
    (finding,) = check(Library(tmp_path), [path])
    assert (finding.severity, finding.key) == ("warning", "figures.peak_bf16")


def test_unreadable_files_are_told_each(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/broken.toml").write_text("name = [")
    (tmp_path / "models/config.json").write_text("{")
    (tmp_path / "what.toml").write_text("x = 1")
    found = check(None, [tmp_path, tmp_path / "models/config.json"])
    assert ["is not valid TOML" in finding.message or "JSON" in finding.message or "cannot tell" in finding.message for finding in found] == [True] * 3
    whole = check(Library(tmp_path))
    assert [finding.file for finding in whole if finding.severity == "error"] == [str(tmp_path / "models/broken.toml")]


def test_a_path_that_does_not_exist_is_wrong_input() -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        check(None, ["nowhere"])


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_kind_of_a_file_shows_in_its_keys(kind: str) -> None:
    import tomllib

    for path in sorted((ROOT / FOLDERS[kind] / kind).glob("*.toml")):
        if kind != "reference":  # a reference is told by its folder alone
            assert kind_of(Path("elsewhere") / path.name, tomllib.loads(path.read_text())) == kind


def test_faults_of_published_measurements_are_found(tmp_path: Path) -> None:
    (tmp_path / "measurements").mkdir()
    (tmp_path / "measurements/own.csv").write_text(
        "source,source_path_or_url,model,accelerator,metric,value\n"
        "lab,https://lab.example,llama-3.1-8b,h100-sxm,tpot_ms,10\n"
        "lab,,llama-9-9b,h100-sxm,tpot_s,-1\n"
    )
    found = [finding for finding in check(Library(tmp_path)) if finding.file.endswith("own.csv")]
    assert {(finding.severity, finding.key, finding.message) for finding in found} == {
        ("error", "source_path_or_url", "1 rows do not say it"),
        ("error", "source_commit_or_date", "no such column"),
        ("error", "model", "no entry of the catalogue is called 'llama-9-9b'"),
        ("error", "metric", "'tpot_s' does not end in a unit of a latency (ms) or a throughput (tok_s)"),
        ("error", "value", "1 values are no positive numbers"),
    }
