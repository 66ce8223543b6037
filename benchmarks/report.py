"""`python report.py RUN.json... [--against EARLIER.json...]`: the tables of README.md from what `pytest benchmarks --benchmark-json RUN.json` wrote.

Speeds are those of the best round, medians beside them; of several runs each case is taken whole from the one in which it was fastest, and
the plain loops at their best. `--against` compares with earlier runs on the same machine, also relative to what writing alone took in each, which
cancels most of how busy the machine was.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Run = dict[str, dict[str, dict[str, Any]]]  # phase -> case -> figures


def read(paths: list[str]) -> tuple[dict[str, Any], Run]:
    """The machine, and the figures of one or more runs: `best_s`, `median_s` and whatever the benchmark recorded beside."""
    run: Run = {}
    for path in paths:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        for found in document["benchmarks"]:
            phase, _, case = found["name"].removeprefix("test_").removesuffix("]").partition("[")
            best = run.setdefault(phase, {}).get(case, {"best_s": math.inf})
            limits = {name: max(value, best.get(name, 0.0)) for name, value in found["extra_info"].items() if name.endswith("_per_s")}
            if found["stats"]["min"] < best["best_s"]:
                best = {"best_s": found["stats"]["min"], "median_s": found["stats"]["median"], **found["extra_info"]}
            run[phase][case] = best | limits
    return document | document["machine_info"], run


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---", *["---:"] * (len(heads) - 1)], *rows))


def machine(about: dict[str, Any]) -> str:
    """What the figures were measured on."""
    cpu = about["cpu"]
    family = f"family {cpu['family']}, model {cpu['model']}" if "family" in cpu else cpu["arch"]
    versions = f"Python {about['python_version']}, Numba {about['numba']}, NumPy {about['numpy']}, accelmodel {about['accelmodel']}"
    return f"{cpu['brand_raw']} ({family}), {cpu['count']} cores, {about['system']}; {versions}; {about['datetime'][:16].replace('T', ' ')} UTC."


def arrays(run: Run) -> str:
    """Points a second of large grids."""
    heads = ["4 million points, two threads", "million points/s", "median", "share of writing alone", "times the plain reference"]
    return table(heads, [[case, *_speeds(one), _share(one), _times(one)] for case, one in run["arrays"].items()])


def _speeds(one: dict[str, Any]) -> list[str]:
    return [f"{one['points'] / one[key] / 1e6:.1f}" for key in ("best_s", "median_s")]


def _share(one: dict[str, Any]) -> str:
    return f"{one['write_s'] / one['best_s']:.0%}"


def _times(one: dict[str, Any]) -> str:
    times = one["reference_s"] / one["best_s"]
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def growth(run: Run) -> str:
    """Time and memory against the number of points."""
    heads = ["points", "ns per point", "share of writing alone", "output at a time, MB", "memory beyond it, MB"]
    rows = []
    for one in run["growth"].values():
        output, beyond = one["output_bytes"] / 1e6, (one["peak_bytes"] - one["output_bytes"]) / 1e6
        rows.append([f"{one['points']:,}", f"{one['best_s'] / one['points'] * 1e9:.1f}", _share(one), f"{output:.1f}", f"{max(beyond, 0.0):.1f}"])
    return table(heads, rows)


def single(run: Run) -> str:
    """What one call takes."""
    rows = []
    for phase in ("scalar", "build", "targets", "optimize", "simulate"):
        for name, one in run.get(phase, {}).items():
            case = f"{name}, {one['points']:,} in all" if phase in ("optimize", "simulate") else name
            written = f"{one['best_s'] / one['write_s']:,.1f}" if "write_s" in one else ""
            rows.append([case, _duration(one["best_s"]), _duration(one["median_s"]), written, _times(one)])
    return table(["one call", "best", "median", "over writing alone", "times the plain reference"], rows)


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def roofline(run: Run) -> str:
    """Operations and bytes a point, and what share of the plain loops' rates the arrays reach."""
    (limit,) = run["roofline"].values()
    heads = ["per point", "FLOP", "of which / and root", "bytes", "of multiply-adds", "of divisions and roots", "of a copy"]
    rows = []
    for case, one in run["arrays"].items():
        kinds, rate = limit["operations"][case], one["points"] / one["best_s"]
        flop, slow, size = sum(kinds.values()), kinds["divide"] + kinds["root"], 8.0 * one["columns"]
        shares = (flop * rate / limit["multiply_add_flop_per_s"], slow * rate / limit["divide_root_op_per_s"], size * rate / limit["copy_byte_per_s"])
        rows.append([case, f"{flop:.0f}", f"{slow:.0f}", f"{size:.0f}", *(f"{share:.0%}" for share in shares)])
    flop, slow, copied = (limit[name] / 1e9 for name in ("multiply_add_flop_per_s", "divide_root_op_per_s", "copy_byte_per_s"))
    ceilings = f"{flop:.0f} GFLOP/s of multiply-adds, {slow:.1f} billion divisions and roots a second, {copied:.0f} GB/s of a copy (read and written)"
    return f"{table(heads, rows)}\n\nPlain loops on the same two threads: {ceilings}."


def against(now: Run, before: Run) -> Iterator[str]:
    """How much faster each case is than it was: by the clock, and relative to writing alone in each run."""
    rows = []
    for phase, cases in now.items():
        for case, one in cases.items():
            old = before.get(phase, {}).get(case)
            if old is not None:
                speedup = old["best_s"] / one["best_s"]
                relative = f"{speedup * one['write_s'] / old['write_s']:.2f}" if "write_s" in one and "write_s" in old else ""
                rows.append([f"{phase}: {case}", f"{speedup:.2f}", relative])
    yield table(["times as fast as before", "by the clock", "relative to writing"], rows)


def main(arguments: list[str]) -> None:
    """Print the tables."""
    cut = arguments.index("--against") if "--against" in arguments else len(arguments)
    about, run = read(arguments[:cut])
    print(machine(about), *(part(run) for part in (arrays, single, growth, roofline)), sep="\n\n")
    if arguments[cut + 1 :]:
        print("", *against(run, read(arguments[cut + 1 :])[1]), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
