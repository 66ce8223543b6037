"""Legal replicas and loads drawn at random over the whole catalogue, profiles altered one figure at a time, and measurements made up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accelmodel.catalog.calibrations import Calibration, Parameters
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.serving.steady_state import Grid, closed_loop
from accelmodel.studies.calibrate import shaken_constants
from accelmodel.studies.measured import measurements
from accelmodel.studies.points import library, replica
from accelmodel.studies.validate import quantities

WEIGHTS = (None, "bf16", "fp16", "fp8", "fp4", "nvfp4", "mxfp4", "int8", "int4")
SIZES = (1, 2, 4, 8, 12, 16, 32, 64, 72, 128, 144)
DRAFTS = ("llama-3.1-8b", "gpt-oss-20b", "qwen3-8b")


def close(expected: Any, rel: float = 1e-12) -> Any:
    """Equal to so many digits, however small the number (`pytest.approx` alone lets 1e-12 pass as zero); NaN equals NaN."""
    return pytest.approx(expected, rel=rel, abs=0.0, nan_ok=True)


def with_figures(accelerator: Accelerator, **factors: float) -> Accelerator:
    """An accelerator with some figures multiplied."""
    figures = {name: figure(getattr(accelerator.figures, name), factor) for name, factor in factors.items()}
    return accelerator.model_copy(update={"figures": accelerator.figures.model_copy(update=figures)})


def figure(original: Figure, factor: float) -> Figure:
    """A figure times a factor, without its range."""
    return Figure(value=original.value * factor, unit=original.unit, kind="estimated", low=original.value * factor, high=original.value * factor)


def with_parameters(calibration: Calibration, **values: float) -> Calibration:
    """A calibration with some parameters set (in their own unit)."""
    old = calibration.parameters
    new = {name: Figure(value=value, unit=getattr(old, name).unit, kind="estimated", low=value, high=value) for name, value in values.items()}
    return calibration.model_copy(update={"parameters": old.model_copy(update=new)})


def shaken(calibration: Calibration, rng: np.random.Generator) -> Calibration:
    """A calibration with every parameter anywhere in its range."""
    figures = {name: getattr(calibration.parameters, name) for name in Parameters.model_fields}
    return with_parameters(calibration, **{name: rng.uniform(one.low, one.high) for name, one in figures.items()})


def copy_of(base: Replica, **changes: Any) -> Replica:
    """A replica with some fields replaced."""
    names = ("model", "system", "accelerator", "accelerators", "parallelism", "precision", "engine", "calibration", "serving", "draft")
    return Replica(**{name: getattr(base, name) for name in names} | changes)


def points(one: Replica, *loads: Any, threads: int = 2) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """OUTPUTS of loads that broadcast (input tokens, output tokens, concurrency, prefix hits), under the replica's cap on power if it has one."""
    return closed_loop(one.constants, Grid.of(*(np.asarray(load, dtype=np.float64) for load in loads)), threads, one.capped_constants)


def random_serving(rng: np.random.Generator, one: Accelerator) -> dict[str, Any]:
    """How a replica is run, mostly plainly; a cap on power for some accelerators that state their design power."""
    tdp = one.figures.tdp
    drafted = int(rng.choice([0, 0, 1, 2, 5]))
    return {
        "mode": str(rng.choice(["continuous", "continuous", "static", "disaggregated"])),
        "chunk_tokens": (None, 2048.0, 300.0)[rng.integers(3)],
        "compiled_batch": (None, None, 1, 32, 256)[rng.integers(5)],
        "sequence_bucket": (None, None, 4096, 100_000)[rng.integers(4)],
        "prompt_bucket": (None, None, 128, 2048)[rng.integers(4)],
        "speculative_tokens": drafted,
        "acceptance_fraction": float(rng.choice([0.0, rng.random(), 1.0])) if drafted else None,
        "draft_model": (None, *DRAFTS)[rng.integers(len(DRAFTS) + 1)] if drafted else None,
        "power_cap_w": float(rng.uniform(0.7, 1.1) * tdp.si) if tdp is not None and rng.random() < 0.3 else None,
    }


def random_parallelism(rng: np.random.Generator, accelerators: int, ranks: int) -> dict[str, int]:
    """Degrees that may or may not be legal; half of them plain."""
    if rng.random() < 0.3:
        return {}
    return {
        "pipeline_parallel": int(rng.choice([1, 1, 2, 4, 3])),
        "expert_parallel": int(rng.choice([1, 1, ranks, max(ranks // 4, 1), max(ranks // 2, 1)])),
        "attention_data_parallel": int(rng.choice([1, 1, 2, accelerators, max(accelerators // 2, 1)])),
        "context_parallel": int(rng.choice([1, 1, 1, 2, 4])),
    }


def random_replicas(rng: np.random.Generator, count: int) -> Iterator[Replica]:
    """`count` legal replicas, every second one with its calibration shaken; what the engine refuses is drawn again."""
    books = library()
    models, systems = sorted(books.files("models")), sorted(books.files("systems"))
    made = 0
    while made < count:
        system = books.system(str(rng.choice(systems)))
        accelerator = books.accelerator(system.accelerator)
        sizes = [size for size in SIZES if size <= system.accelerators or (size <= 16 and accelerator.figures.scale_out_bandwidth)]
        accelerators = int(rng.choice(sizes))
        engines = sorted(books.calibration_of(accelerator).engines)
        try:
            one = replica(
                model=str(rng.choice(models)),
                system=system,
                accelerators=accelerators,
                weights=WEIGHTS[rng.integers(len(WEIGHTS))],
                kv=(None, "bf16", "fp8", "int8")[rng.integers(4)],
                compute=(None, None, None, "bf16", "fp8", "int8")[rng.integers(6)],
                engine=str(rng.choice(engines)),
                **random_parallelism(rng, accelerators, accelerators * accelerator.ranks),
                **(random_serving(rng, accelerator) if rng.random() < 0.6 else {}),
            )
            one = copy_of(one, calibration=shaken(one.calibration, rng)) if made % 2 else one
            assert one.constants is not None  # the figures that it needs are looked up here
            assert one.capped_constants.size == (one.serving.power_cap_w is not None)
        except InputError:
            continue
        made += 1
        yield one


def random_loads(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Input tokens, output tokens, concurrency and prefix-hit fraction, shape (4, count).

    From a trickle to far beyond any KV pool, some with lengths that do not fit.
    """
    hit = np.where(rng.random(count) < 0.5, rng.uniform(0.01, 1.0, count), rng.integers(0, 2, count))
    return np.array(
        [
            np.round(np.exp(rng.uniform(0.0, np.log(5e5), count))),
            np.round(np.exp(rng.uniform(0.0, np.log(2e4), count))),
            np.exp(rng.uniform(np.log(0.01), np.log(1e5), count)),
            hit,
        ]
    )


MEASURED = {
    "source": "own bench",
    "engine": "NxD Inference",
    "scenario": "static",
    "serving_mode": "static",
    "trust": "A",
    "precision_weights": "bf16",
    "note": "",
}
PLACES = (
    ("Llama-3.1-8B", "Trainium2", 1, 4),
    ("Llama-3.1-8B", "Inferentia2", 4, 8),
    ("Llama-3.3-70B", "Trainium2", 16, 64),
    ("Llama-2-13b", "Trainium1", 16, 32),
)


def made_up(overhead: float) -> pd.DataFrame:
    """Static waves on Neuron whose steps are those of the engine with another overhead per layer."""
    table = []
    for model, accelerator, chips, ranks in PLACES:
        for batch in (1, 4, 16):
            place = {"model": model, "accelerator": accelerator, "num_accelerators": chips, "tp": float(ranks)}
            table.append(MEASURED | place | {"isl": 1024.0, "osl": 1024.0, "concurrency": float(batch), "metric": "tpot_ms", "value": 1.0})
    rows = pd.DataFrame(table)
    runs = measurements(rows).runs
    rows["value"] = quantities(runs, shaken_constants({("base", ""): {"layer_overhead": overhead}}))["tpot_ms"]
    return rows
