"""Legal replicas and loads drawn at random over the whole catalogue, and profiles altered one figure at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from accelmodel.catalog.calibrations import Calibration, Parameters
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.points import library, replica

WEIGHTS = (None, "bf16", "fp16", "fp8", "fp4", "nvfp4", "mxfp4", "int8", "int4")
SIZES = (1, 2, 4, 8, 16, 32, 64, 72, 128, 144)


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
    names = ("model", "system", "accelerator", "accelerators", "parallelism", "precision", "engine", "calibration", "chunk_tokens")
    return Replica(**{name: getattr(base, name) for name in names} | changes)


def random_replicas(rng: np.random.Generator, count: int) -> Iterator[Replica]:
    """`count` legal replicas, every second one with its calibration shaken; what the engine refuses is drawn again."""
    books = library()
    models, systems = sorted(books.files("models")), sorted(books.files("systems"))
    made = 0
    while made < count:
        system = books.system(str(rng.choice(systems)))
        accelerator = books.accelerator(system.accelerator)
        accelerators = int(rng.choice([size for size in SIZES if size <= system.accelerators]))
        ranks = accelerators * accelerator.ranks
        engines = sorted(books.calibration_of(accelerator).engines)
        try:
            one = replica(
                model=str(rng.choice(models)),
                system=system,
                accelerators=accelerators,
                expert_parallel=int(rng.choice([1, 1, ranks, max(ranks // 4, 1)])),
                attention_data_parallel=int(rng.choice([1, 1, 2, accelerators])),
                weights=WEIGHTS[rng.integers(len(WEIGHTS))],
                kv=(None, "bf16", "fp8", "int8")[rng.integers(4)],
                compute=(None, None, None, "bf16", "fp8", "int8")[rng.integers(6)],
                engine=str(rng.choice(engines)),
                chunk_tokens=(None, 2048.0)[rng.integers(2)],
            )
            assert one.constants is not None  # the figures that it needs are looked up here
        except InputError:
            continue
        made += 1
        yield copy_of(one, calibration=shaken(one.calibration, rng)) if made % 2 else one


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
