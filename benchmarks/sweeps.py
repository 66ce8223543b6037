"""`python benchmarks/sweeps.py [--points-written N] [--points-reduced N]`: sweeps at full size, each in a process of its own.

Prints a table: points, seconds by the clock and of processor time, the most memory. A frontier of 10^9 points (the shipped scenario as it is), and 10^8 points
of eight columns to Parquet, beside pyarrow writing the same columns ready-made: the parts that the sweep wrote, read back and written with the same options.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import accelmodel as am
from memory import peak_bytes

COLUMNS = ("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "power_w", "cost_usd_per_mtok")
SCENARIO = f"""
title = "Eight columns: three axes and five that are computed (and the case, which is one value)"
[base]
model = "llama-3.1-70b"
system = "p5.48xlarge"
weights = "fp8"
kv = "fp8"
[axes]
input_tokens = {{ from = 128, to = 8192, steps = STEPS }}
output_tokens = {{ from = 16, to = 2048, steps = 100 }}
concurrency = {{ from = 1, to = 400, steps = 100 }}
[studies.rows]
kind = "sweep"
points = true
columns = {json.dumps(COLUMNS)}
"""
WARM = {"axes.input_tokens.steps": 10, "axes.output_tokens.steps": 10, "axes.concurrency.steps": 100}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock and of processor time, all threads together."""
    clock, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return {"seconds": time.perf_counter() - clock, "cpu_s": after.user - before.user + after.system - before.system}


def frontier(points: int, _folder: Path) -> dict[str, Any]:
    """The shipped scenario, or the same with fewer prompts."""
    am.run("billion-point-frontier", set=WARM)
    steps = max(points // 2_000_000, 2)
    return {"points": steps * 2_000_000, **timed(lambda: am.run("billion-point-frontier", set={"axes.input_tokens.steps": steps}))}


def written(points: int, folder: Path) -> dict[str, Any]:
    """Rows to Parquet parts."""
    path = folder / "rows.toml"
    path.write_text(SCENARIO.replace("STEPS", str(points // 10_000)), encoding="utf-8")
    am.run(path, output=folder / "warm", set=WARM)
    return {"points": points, **timed(lambda: am.run(path, output=folder / "out")), "bytes": sum(part.stat().st_size for part in _parts(folder))}


def ready_made(points: int, folder: Path) -> dict[str, Any]:
    """The same columns, read back part by part and written by as many threads; only the writing is timed."""
    import pyarrow.parquet as pq

    labels = ["case", "input_tokens", "output_tokens", "concurrency"]
    threads, total = os.cpu_count() or 1, {"seconds": 0.0, "cpu_s": 0.0}
    parts = _parts(folder)
    with ThreadPoolExecutor(threads) as pool:
        for at in range(0, len(parts), threads):
            tables = [(place, pq.ParquetFile(part).read()) for place, part in enumerate(parts[at : at + threads])]

            def write(one: tuple[int, Any]) -> None:
                pq.write_table(one[1], folder / f"ready-{one[0]}.parquet", compression="zstd", use_dictionary=labels)

            found = timed(lambda tables=tables, write=write: list(pool.map(write, tables)))
            total = {name: total[name] + found[name] for name in total}
    return {"points": points, **total}


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / "out" / "rows").glob("part-*.parquet"))


SUBJECTS = {"a frontier": frontier, "rows of 8 columns": written, "pyarrow, ready-made": ready_made}


def main() -> None:
    """Each subject in a child; their figures as a table of Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points-reduced", type=int, default=10**9)
    parser.add_argument("--points-written", type=int, default=10**8)
    asked = parser.parse_args()
    print("| sweep | points | s | processor s | million points/s | most memory, MB |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for name in SUBJECTS:
            points = asked.points_reduced if name == "a frontier" else asked.points_written
            child = subprocess.run([sys.executable, __file__, "child", name, str(points), folder], capture_output=True, text=True, check=True)
            found = json.loads(child.stdout)
            rate = found["points"] / found["seconds"] / 1e6
            print(f"| {name} | {found['points']:,} | {found['seconds']:.1f} | {found['cpu_s']:.1f} | {rate:.1f} | {found['peak_bytes'] / 1e6:,.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        name, points, folder = sys.argv[2:]
        print(json.dumps({**SUBJECTS[name](int(points), Path(folder)), "peak_bytes": peak_bytes()}))
    else:
        main()
