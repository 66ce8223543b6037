"""What is installed: the wheel holds the program, its types and its data, and the source distribution makes the same wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ("hardware_profiles", "scenarios", "schemas")


def build(tree: Path, target: str, folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder], cwd=tree, check=True, capture_output=True)
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_program_its_types_and_every_file_of_data(wheel):
    names = set(contents(wheel))
    assert "accelmodel/py.typed" in names
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    data = {
        f"accelmodel/_data/{path.relative_to(ROOT).as_posix()}"
        for side in DATA
        for path in (ROOT / side).rglob("*.*")
        if path.suffix in (".toml", ".json", ".parquet")
    }
    assert modules | data <= names
    assert all(name.startswith(("accelmodel/", "accelmodel-")) for name in names)


def test_the_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "tree", filter="data")
    (tree,) = (tmp_path / "tree").iterdir()
    again, first = contents(build(tree, "wheel", tmp_path / "wheel")), contents(wheel)
    assert again == first
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "mkdocs.yml", "docs", "tests", "benchmarks"} <= {path.name for path in tree.iterdir()}


def test_the_extras_that_are_documented_exist(wheel):
    metadata = next(text for name, text in contents(wheel).items() if name.endswith(".dist-info/METADATA")).decode()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {"aws", "dask", "docs", "plots", "report", "test"} <= set(declared)
    assert {line.removeprefix("Provides-Extra: ") for line in metadata.split("\n") if line.startswith("Provides-Extra: ")} == set(declared)
    assert "Typing :: Typed" in metadata
