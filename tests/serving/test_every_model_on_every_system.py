"""Every model evaluates on every system that can hold it: finite, sensible latencies at the smallest legal replica that fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.models import Model, Moe
from accelmodel.core.replica import BYTES_PER_WEIGHT, Replica
from accelmodel.errors import InputError
from accelmodel.serving.steady_state import OUTPUTS
from accelmodel.studies.points import library, replica
from situations import points

CONFIGS = Path(__file__).parents[3] / "shared" / "facts" / "model_configs"
SYSTEMS = sorted(library().files("systems"))
INPUT_TOKENS, OUTPUT_TOKENS, CLIENTS = 1000.0, 200.0, 4.0

needs_configs = pytest.mark.skipif(not CONFIGS.is_dir(), reason="the facts folder lies beside the checkout only in development")


def widest(model: Model, system: System, accelerator: Accelerator, accelerators: int) -> Replica | None:
    """The legal replica of so many accelerators with the most tensor-parallelism; what is left over are attention groups, or else stages."""
    ranks = accelerators * accelerator.ranks
    for rest in (rest for rest in range(1, ranks + 1) if ranks % rest == 0):
        for key in ("attention_data_parallel", "pipeline_parallel"):
            try:
                return replica(model=model, system=system, accelerators=accelerators, **{key: rest})
            except InputError:
                continue
    return None


def replicas(model: Model, system: System, accelerator: Accelerator) -> Iterator[Replica]:
    """Replicas of growing size up to the whole system."""
    sizes = {2**power for power in range(12) if 2**power <= system.accelerators} | {system.accelerators}
    yield from (one for size in sorted(sizes) if (one := widest(model, system, accelerator, size)) is not None)


def least_weight_bytes(model: Model) -> float:
    """Bytes of a model's weights as published, each once."""
    architecture = model.architecture
    dense, expert = architecture.native_dtype, architecture.expert_dtype or architecture.native_dtype
    mixtures = [(group.count, group.ffn) for group in architecture.groups if isinstance(group.ffn, Moe)]
    routed = sum(count * part.experts * part.expert_parameters(architecture.hidden_size) for count, part in mixtures)
    return routed * BYTES_PER_WEIGHT[expert] + (architecture.parameters - routed) * BYTES_PER_WEIGHT[dense]


def check(model: Model, system: System) -> str:
    """`held`, or `too large` where the whole system has no room; fails on anything that is not sensible."""
    accelerator = library().accelerator(system.accelerator)
    for one in replicas(model, system, accelerator):
        out = dict(zip(OUTPUTS, points(one, INPUT_TOKENS, OUTPUT_TOKENS, CLIENTS, 0.0)[:, 0].tolist(), strict=True))
        if out["fits"] == 1.0:
            where = (model.name, system.name, one.parallelism)
            # Where no design power is published, there is no power either.
            unknown = set() if accelerator.figures.tdp else {"power_w", "energy_j_per_output_token"}
            assert {name for name, value in out.items() if not math.isfinite(value)} == unknown, where
            assert 0.0 < out["time_to_first_token_s"] < 1000.0, where
            assert 1e-5 < out["time_per_output_token_s"] < 10.0, where
            assert out["output_tokens_per_s"] > 0.1, where
            return "held"
    return "too large"


@pytest.mark.parametrize("name", sorted(library().files("models")))
def test_a_model_of_the_catalogue(name: str):
    model = library().model(name)
    for system in map(library().system, SYSTEMS):
        memory = system.accelerators * library().accelerator(system.accelerator).memory.si
        if check(model, system) == "too large":
            # Weights are on every rank as often as its tensor group cannot cut them; then there are activations, and the request itself.
            assert least_weight_bytes(model) > 0.65 * memory, (name, system.name)
        else:
            assert least_weight_bytes(model) < 0.96 * memory, (name, system.name)


@needs_configs
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_a_published_config(path: Path):
    model = library().model(str(path))
    held = {system: check(model, library().system(system)) for system in SYSTEMS}
    assert "held" in held.values(), held


def test_the_catalogue_is_as_large_as_it_is_said_to_be():
    assert len(SYSTEMS) >= 41
    assert len(library().files("models")) >= 48
    assert np.unique([library().system(name).accelerator for name in SYSTEMS]).size >= 26
