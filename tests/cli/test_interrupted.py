"""Ctrl-C at the command line: one line, exit code 130, nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SIMULATE = ["simulate", "--model", "llama-3.1-70b", "--system", "p5.48xlarge", "--weights", "fp8", "--trace", "azure_llm_2023_conv", "--thicken", "150"]

# The command as its script runs it; says when it has begun, so that the test need not guess.
BEGUN = """
import sys
from accelmodel.cli import {module} as verb
from accelmodel.cli.main import main
inner = verb.open_catalog
verb.open_catalog = lambda *given: (print("begun", flush=True), inner(*given))[1]
sys.argv[1:] = {arguments!r}
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize(
    ("module", "arguments", "after_s"),
    [("simulate", [*SIMULATE, "--requests", "out/r.parquet"], 0.3), ("simulate", SIMULATE, 1.5), ("run", ["run", "rainier", "--output", "out/run"], 0.1)],
)
def test_an_interruption_ends_at_once_and_leaves_nothing(module: str, arguments: list[str], after_s: float, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", BEGUN.format(module=module, arguments=arguments)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if "interrupted" in line] == [err.splitlines()[-1]]
    assert "Traceback" not in err
    assert list((tmp_path / "out").iterdir()) == []
