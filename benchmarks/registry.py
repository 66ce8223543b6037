"""The cases: what is measured, how big it is, and where in the way of a number it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Phase = Literal["arrays", "growth", "scalar", "build", "targets", "optimize", "simulate"]

DENSE = {"model": "llama-3.1-70b", "system": "p5.48xlarge", "accelerators": 8, "tensor_parallel": 8, "weights": "fp8", "kv": "fp8", "engine": "vllm"}
EXPERTS = DENSE | {"model": "deepseek-v3", "system": "p6-b200.48xlarge"}
SYSTEMS = ("p5.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge", "trn2.48xlarge", "trn2-ultraserver", "u-p6e-gb200x72", "tpu-v7-64", "mi355x-8")
SEARCHED = {"model": "deepseek-v3", "system": SYSTEMS, "kv": ["bf16", "fp8"], "chunk_tokens": [2048, 8192, 16384], "pipeline_parallel": [1, 2, 4]}
FOUR = ("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "cost_usd_per_mtok")


@dataclass(frozen=True)
class Case:
    """One subject: a replica by its options, a number of points (loads, in a search), the columns asked for (None: all)."""

    name: str
    phase: Phase
    replica: Mapping[str, Any]
    points: int = 1
    columns: tuple[str, ...] | None = FOUR


CASES = (
    Case("4 columns, Llama 3.1 70B on 8 H100", "arrays", DENSE, 4_000_000),
    Case("4 columns, DeepSeek-V3 on 8 B200", "arrays", EXPERTS, 4_000_000),
    Case("all columns, Llama 3.1 70B on 8 H100", "arrays", DENSE, 4_000_000, None),
    Case("all columns, DeepSeek-V3 on 8 B200", "arrays", EXPERTS, 4_000_000, None),
    *(Case(f"10^{power} points, 4 columns, Llama 3.1 70B on 8 H100", "growth", DENSE, 10**power) for power in range(4, 9)),
    Case("one point, 4 columns, Llama 3.1 70B on 8 H100", "scalar", DENSE),
    Case("one point, all columns, Llama 3.1 70B on 8 H100", "scalar", DENSE, 1, None),
    Case("one point, all columns, DeepSeek-V3 on 8 B200", "scalar", EXPERTS, 1, None),
    Case("a replica of Llama 3.1 70B on 8 H100", "build", DENSE),
    Case("a replica of DeepSeek-V3 on 8 B200", "build", EXPERTS),
    Case("10,000 searches, Llama 3.1 70B on 8 H100", "targets", DENSE, 10_000, ("concurrency",)),
    Case("10,000 searches, DeepSeek-V3 on 8 B200", "targets", EXPERTS, 10_000, ("concurrency",)),
    Case("every cut of DeepSeek-V3 on eight systems", "optimize", SEARCHED),
    Case("Azure conversations tenfold over four replicas, Llama 3.1 70B on 8 H100", "simulate", DENSE, 193_660),
)
SLICE = 4_000_000  # points of one call where a grid is longer than that: a multiple of 10^4, and 128 MB of four columns


def of(phase: Phase) -> list[Case]:
    """The cases of a phase."""
    return [case for case in CASES if case.phase == phase]


def load(points: int) -> dict[str, Any]:
    """Input x output x concurrency as three short arrays that broadcast to (points / 10^4, 100, 100): a planner's grid, of which nothing is copied out."""
    return {
        "input_tokens": np.linspace(128, 8192, points // 10_000)[:, None, None],
        "output_tokens": np.linspace(16, 2048, 100)[None, :, None],
        "concurrency": np.linspace(1, 400, 100)[None, None, :],
    }


def slices(points: int) -> list[dict[str, Any]]:
    """The same grid cut along its first axis into calls of at most SLICE points."""
    whole, step = load(points), SLICE // 10_000
    return [whole | {"input_tokens": whole["input_tokens"][start : start + step]} for start in range(0, points // 10_000, step)]
