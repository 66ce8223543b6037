"""`python memory.py POINTS`: the most memory that evaluating so many points takes, in a process of its own.

Prints a JSON document: `peak_bytes` by which the process grew beyond a first small call, and `output_bytes` of the largest slice, which is alive at a time.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import accelmodel as am
from registry import CASES, FOUR, SLICE, load, slices


def peak_bytes() -> int:
    """The largest resident size so far: Linux's VmHWM. `getrusage` would say that of the parent, where that was larger: its maximum outlives an exec."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    points = int(sys.argv[1])
    replica = am.replica(**CASES[0].replica)
    am.evaluate(replica, **load(100_000), columns=FOUR)  # compiles, starts threads
    before = peak_bytes()
    for one in slices(points):
        am.evaluate(replica, **one, columns=FOUR)
    print(json.dumps({"peak_bytes": peak_bytes() - before, "output_bytes": min(points, SLICE) * len(FOUR) * 8}))
