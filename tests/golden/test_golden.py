"""A few operating points over distinct replicas, kept: tests/golden/points.json.

Its numbers are the reference's (tests/reference.py), never the kernels'. Where equations, calibrations or profiles change on purpose, write it anew with

    python tests/golden/test_golden.py

and read the difference: its diff is the review.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).with_name("points.json")
KEPT = ("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s")
POINTS = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("golden", POINTS, ids=lambda golden: golden["name"])
def test_the_engine_says_what_it_said(golden: dict[str, Any]):
    from accelmodel.serving.steady_state import OUTPUTS, Grid, closed_loop
    from accelmodel.studies.points import replica

    load = Grid.of(*(np.array([float(value)]) for value in golden["load"].values()))
    one = replica(**golden["replica"])
    out = dict(zip(OUTPUTS, closed_loop(one.constants, load, capped=one.capped_constants)[:, 0], strict=True))
    assert {name: out[name] for name in KEPT} == pytest.approx({name: golden[name] for name in KEPT}, rel=1e-9, abs=0.0)


def renewed(golden: dict[str, Any]) -> dict[str, Any]:
    """A point with its numbers from the reference, to twelve digits."""
    from accelmodel.studies.points import replica
    from reference import served

    point = served(replica(**golden["replica"]), *golden["load"].values())
    return golden | {name: float(f"{point[name]:.12g}") for name in KEPT}


if __name__ == "__main__":
    sys.path.insert(0, str(FILE.parents[1]))
    lines = (json.dumps(renewed(golden)) for golden in POINTS)
    FILE.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")
