"""`python memory.py POINTS`: the most memory that evaluating so many points takes, in a process of its own.

Prints a JSON document: `peak_bytes` by which the process grew beyond a first small call, and `output_bytes` of the largest slice, which is alive at a time.
"""

from __future__ import annotations

import json
import resource
import sys

from registry import CASES, FOUR, SLICE, load, slices

import accelmodel as am

KIB = 1024  # getrusage counts in these on Linux


def peak() -> int:
    """The largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


if __name__ == "__main__":
    points = int(sys.argv[1])
    replica = am.replica(**CASES[0].replica)
    am.evaluate(replica, **load(100_000), columns=FOUR)  # compiles, starts threads
    before = peak()
    for one in slices(points):
        am.evaluate(replica, **one, columns=FOUR)
    print(json.dumps({"peak_bytes": peak() - before, "output_bytes": min(points, SLICE) * len(FOUR) * 8}))
