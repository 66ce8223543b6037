"""Benchmarks of the engine, by phase; each body is its subject, what it is set beside comes with `measure`."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.serving.simulation.replay import replay
from accelmodel.studies.money import library
from accelmodel.studies.optimize import choices, cuts
from baselines import THREADS, ceilings, write
from naive_simulator import Physics, Request, simulate
from reference import Reference
from registry import FOUR, SLICE, Case, load, of, slices

HERE = Path(__file__).parent
POINT = {"input_tokens": 1024.0, "output_tokens": 1024.0, "concurrency": 32.0}
LENGTHS = {"input_tokens": np.linspace(128, 8192, 100)[:, None], "output_tokens": np.linspace(16, 2048, 100)[None, :]}
TTFT_S, TPOT_S = 2.0, 0.05
STRETCH = 1.3  # puts the thickened trace at a work share of 0.6
NAIVE_REQUESTS = 200  # of the trace that the naive simulator serves; its time goes with the requests

Measure = Callable[..., None]


def cases(phase: Any) -> Any:
    """One benchmark per case of a phase."""
    return pytest.mark.parametrize("case", of(phase), ids=lambda case: case.name)


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """The best of a few rounds."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def reference_point(replica: am.Replica) -> float:
    """Seconds of one point by the plain reference, latencies and power without money."""
    plain = Reference(replica)
    return seconds(lambda: plain.closed_loop(*POINT.values(), 0.0), rounds=20)


def evaluated(case: Case, replica: am.Replica, loads: Mapping[str, Any]) -> Any:
    return am.evaluate(replica, **loads, columns=case.columns)


@cases("arrays")
def test_arrays(measure: Measure, case: Case) -> None:
    replica, loads = am.replica(**case.replica), load(case.points)
    columns = evaluated(case, replica, load(10_000)).num_columns
    rounds = 30 if case.columns else 10
    reference_s = reference_point(replica) * case.points
    measure(
        lambda: evaluated(case, replica, loads),
        rounds=rounds,
        points=case.points,
        columns=columns,
        write=lambda: write(columns, case.points),
        reference_s=reference_s,
    )


@cases("growth")
def test_growth(measure: Measure, benchmark: Any, case: Case) -> None:
    replica, loads = am.replica(**case.replica), slices(case.points)
    columns = len(case.columns or ())

    def subject() -> None:
        for one in loads:
            evaluated(case, replica, one)

    def written() -> None:
        for one in loads:
            write(columns, one["input_tokens"].size * 10_000)

    measure(subject, rounds=max(3, min(30, 10**9 // case.points // 10)), points=case.points, columns=columns, write=written)
    child = subprocess.run([sys.executable, HERE / "memory.py", str(case.points)], capture_output=True, text=True, check=True)
    benchmark.extra_info |= json.loads(child.stdout)


@cases("scalar")
def test_scalar(measure: Measure, case: Case) -> None:
    replica = am.replica(**case.replica)
    columns = len(evaluated(case, replica, POINT).to_dict())
    measure(lambda: evaluated(case, replica, POINT), rounds=3000, columns=columns, write=lambda: write(columns, 1), reference_s=reference_point(replica))


@cases("build")
def test_build(measure: Measure, case: Case) -> None:
    replica = am.replica(**case.replica)
    measure(lambda: am.replica(**case.replica).constants, rounds=200, reference_s=seconds(lambda: Reference(replica)))


@cases("targets")
def test_targets(measure: Measure, case: Case) -> None:
    replica = am.replica(**case.replica)
    found = am.evaluate(replica, **LENGTHS, ttft_s=TTFT_S, tpot_s=TPOT_S, columns=case.columns)["concurrency"].to_numpy()
    plain = Reference(replica)
    lengths = [array.reshape(-1) for array in np.broadcast_arrays(*LENGTHS.values())]
    assert largest_by_reference(plain, *(array[5050] for array in lengths)) == found[5050]
    measure(
        lambda: am.evaluate(replica, **LENGTHS, ttft_s=TTFT_S, tpot_s=TPOT_S, columns=case.columns),
        rounds=5,
        points=case.points,
        columns=1,
        write=lambda: write(1, case.points),
        reference_s=seconds(lambda: largest_by_reference(plain, lengths[0][5050], lengths[1][5050]), rounds=2) * case.points,
    )


@cases("optimize")
def test_optimize(measure: Measure, case: Case) -> None:
    books, found = library(), []
    options = {key: value for key, value in case.replica.items() if key not in ("model", "system")}
    for system, chosen in itertools.product(case.replica["system"], choices(options)):
        found += cuts(books, books.model(case.replica["model"]), system, **chosen)
    lengths = {"input_tokens": POINT["input_tokens"], "output_tokens": POINT["output_tokens"]}
    some = found[:: len(found) // 10]
    reference_s = seconds(lambda: [largest_by_reference(Reference(one), *lengths.values()) for one in some], rounds=2) / len(some)
    measure(lambda: am.optimize(**case.replica, **lengths, ttft_s=TTFT_S, tpot_s=TPOT_S), rounds=3, points=len(found), reference_s=reference_s * len(found))


@cases("simulate")
def test_simulate(measure: Measure, benchmark: Any, case: Case) -> None:
    replica, trace = am.replica(**case.replica), am.Trace.of("azure_llm_2023_conv").thickened(10).stretched(STRETCH)
    assert trace.requests == case.points
    columns = [trace.arrival_s, trace.input_tokens, trace.output_tokens]
    few = [Request(*row) for row in zip(*(values[:NAIVE_REQUESTS].tolist() for values in columns), strict=True)]
    physics = Physics(replica)
    reference_s = seconds(lambda: simulate(physics, few, replicas=4, routing="least-loaded"), rounds=1) / NAIVE_REQUESTS
    benchmark.extra_info["requests_per_s"] = case.points / seconds(lambda: replay(replica.constants, *columns, replicas=4, routing="least-loaded"))
    measure(lambda: am.simulate(replica, trace, replicas=4, routing="least-loaded"), rounds=5, points=case.points, reference_s=reference_s * case.points)


def largest_by_reference(plain: Reference, input_tokens: float, output_tokens: float) -> int:
    """The largest number of clients within the targets, all of them running, by bisection on whole numbers; 0 where there is none."""
    low, high = 0, 65_536
    while high - low > 1:
        middle = (low + high) // 2
        point = plain.closed_loop(input_tokens, output_tokens, float(middle), 0.0)
        within = point["fits"] == 1.0 and point["running_requests"] >= middle
        within = within and point["time_to_first_token_s"] <= TTFT_S and point["time_per_output_token_s"] <= TPOT_S
        low, high = (middle, high) if within else (low, middle)
    return low


def test_roofline(benchmark: Any) -> None:
    """What the same threads reach in plain loops, and how many operations a point takes: report.py sets the arrays' speed beside both."""
    counted = subprocess.run([sys.executable, HERE / "operations.py"], capture_output=True, text=True, check=True)
    benchmark.extra_info |= {"operations": json.loads(counted.stdout), "threads": THREADS, **dict(ceilings())}
    benchmark.pedantic(lambda: write(len(FOUR), SLICE), rounds=20)
