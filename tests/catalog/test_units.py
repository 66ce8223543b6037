"""Units on a machine that has never read one: what Pint keeps on disk changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SAID = "from accelmodel.units import unit; print([unit(text).dimension for text in ('1', 'byte', 'GB/s', 'USD/token')])"


def test_units_are_the_same_at_the_first_run_and_at_later_ones(tmp_path: Path):
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    told = [subprocess.run([sys.executable, "-c", SAID], env=environment, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]
    assert told == ["['ratio', 'memory', 'bandwidth', 'money per token']"] * 2
