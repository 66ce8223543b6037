"""Benchmarks run when this folder is asked for (the test suite skips them), and every figure is recorded as a ratio of its own run too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import accelmodel as am
from baselines import Baseline

# The plain reference of the tests is one of the two things that the engine is set beside.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def pytest_configure(config: pytest.Config) -> None:
    """Undo the suite's `--benchmark-skip`, and leave the garbage collector to the plugin."""
    config.option.benchmark_skip = False
    config.option.benchmark_disable_gc = True


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:  # noqa: ARG001  the hook's names
    """What the figures depend on beside the machine."""
    machine_info["numba"] = numba.__version__
    machine_info["numpy"] = np.__version__
    machine_info["accelmodel"] = am.__version__


@pytest.fixture
def measure(benchmark: Any) -> Iterator[Callable[..., None]]:
    """measure(subject, rounds=, points=, columns=, write=, reference_s=): time `subject`, with a round of the `write` baseline before each of its own.

    `reference_s` is what the plain reference takes for all the points. What is recorded beside the subject's times: best seconds of the baseline, and of the
    reference.
    """

    def run(
        subject: Callable[[], object], *, rounds: int, points: int = 1, columns: int = 0, write: Callable[[], object] | None = None, reference_s: float = 0.0
    ) -> None:
        baseline = None if write is None else Baseline(write)
        benchmark.extra_info |= {"points": points, "columns": columns}
        benchmark.pedantic(subject, setup=None if baseline is None else baseline.sample, rounds=rounds, warmup_rounds=1)
        if baseline is not None:
            benchmark.extra_info["write_s"] = baseline.seconds
        if reference_s:
            benchmark.extra_info["reference_s"] = reference_s

    yield run  # noqa: PT022  the fixture of pytest-benchmark must outlive the test's body
