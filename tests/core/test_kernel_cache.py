"""The kernel cache: an edited callee in another file is seen, an unedited package is not compiled again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from accelmodel.core.jit import cache_folder, kernel_sources
from accelmodel.studies.points import replica
from reference import Reference
from situations import close

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "accelmodel"

# One decode step of one replica, as the closed loop of one client has it; TPOT is the step itself.
EVALUATE = """
import numpy
from accelmodel.studies.points import replica
from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
one = replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
out = closed_loop(one.constants, Grid.of(*(numpy.array([value]) for value in (1000.0, 100.0, 1.0, 0.0))))
print(repr(float(out[OUTPUTS.index("time_per_output_token_s"), 0])))
"""

CALLEE = "from tiny.core.jit import jit\nFACTOR = {factor}\n@jit\ndef scaled(x):\n    return {body}\n"
CALLER = "from tiny.core.jit import jit\nfrom tiny.core.callee import scaled\n@jit\ndef twice(x):\n    return 2.0 * scaled(x)\nprint(twice(5.0))\n"


def run(code: str, folder: Path, cache: Path) -> str:
    """Standard output of a fresh interpreter that finds packages in `folder` first and keeps kernels in `cache`."""
    environment = os.environ | {"PYTHONPATH": str(folder), "ACCELMODEL_KERNEL_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files_of(folder: Path) -> dict[str, int]:
    """Every file below a folder, with the time it was last written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A package of the same plan, with the real `jit`: a kernel in one room, its callee in a file of another."""
    package = tmp_path / "tiny"
    for room in ("core", "serving"):
        (package / room).mkdir(parents=True)
    shutil.copy(SOURCES / "core" / "jit.py", package / "core" / "jit.py")
    (package / "columns.py").write_text("")
    (package / "core" / "callee.py").write_text(CALLEE.format(factor=3.0, body="FACTOR * x"))
    (package / "serving" / "caller.py").write_text(CALLER)
    return package


def test_an_edited_callee_or_constant_in_another_file_is_seen(tiny: Path):
    def result() -> str:
        return run("import tiny.serving.caller", tiny.parent, tiny.parent / "cache")

    callee = tiny / "core" / "callee.py"
    assert result() == "30.0"
    first = files_of(tiny.parent / "cache")
    assert any(name.endswith(".nbi") for name in first)
    assert result() == "30.0"
    assert files_of(tiny.parent / "cache") == first  # nothing compiled, nothing written
    callee.write_text(CALLEE.format(factor=4.0, body="FACTOR * x"))
    assert result() == "40.0"
    callee.write_text(CALLEE.format(factor=4.0, body="FACTOR - x"))
    assert result() == "-2.0"
    callee.write_text(CALLEE.format(factor=3.0, body="FACTOR * x"))
    before = files_of(tiny.parent / "cache")
    assert result() == "30.0"
    assert set(files_of(tiny.parent / "cache")) == set(before)  # back to known sources, back to their folder


def test_an_edited_callee_of_the_engine_changes_its_result(tmp_path: Path):
    shutil.copytree(SOURCES, tmp_path / "src" / "accelmodel", ignore=shutil.ignore_patterns("__pycache__"))
    for side in ("hardware_profiles", "scenarios"):
        (tmp_path / side).symlink_to(ROOT / side)
    kernels = tmp_path / "src" / "accelmodel" / "core" / "kernels.py"
    whole = "out[i] = per_token * context[i]"
    assert kernels.read_text().count(whole) == 1, "the line that this test edits is gone: choose another"
    one = replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
    step_s = Reference(one).step_s(1.0, 1050.0)
    # 32 layers, 1,050 tokens: keys and values of 8 heads of 128 in bf16 at their share of the bandwidth, 32 query heads at theirs of the peak.
    memory_s = 32 * 1050 * 2 * 8 * 128 * 2 / (one.accelerator.need("hbm_bandwidth").si * one.parameters["kv_bandwidth_efficiency"])
    compute_s = 32 * 1050 * 4 * 32 * 128 / (one.accelerator.need("peak_bf16").si * one.parameters["attention_compute_efficiency"])
    attention_s = (memory_s**4 + compute_s**4) ** 0.25
    cache = tmp_path / "cache"
    assert float(run(EVALUATE, tmp_path / "src", cache)) == close(step_s)
    kernels.write_text(kernels.read_text().replace(whole, "out[i] = 3.0 * per_token * context[i]"))
    assert float(run(EVALUATE, tmp_path / "src", cache)) == close(step_s + 2 * attention_s)
    assert len(list(cache.iterdir())) == 2


def test_the_key_hashes_every_file_that_a_kernel_can_be_made_of(tmp_path: Path):
    package = tmp_path / "accelmodel"
    shutil.copytree(SOURCES, package, ignore=shutil.ignore_patterns("__pycache__"))
    key = cache_folder.__wrapped__
    assert key(package).name == key(SOURCES).name
    sources = {path.relative_to(package).as_posix() for path in kernel_sources(package)}
    jitted = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if "@jit" in path.read_text()}
    assert jitted <= sources
    for name in sorted(sources):
        before, text = key(package), (package / name).read_text()
        (package / name).write_text(text + "\n# edited\n")
        assert key(package) != before, name
        (package / name).write_text(text)
    before = key(package)
    (package / "errors.py").write_text("# not a kernel's\n")
    assert key(package) == before
