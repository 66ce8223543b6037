"""The unfolded step equals the kernels' folded one, part by part and in sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.core.breakdown import decode_step
from accelmodel.serving.pieces import pieces

REPLICAS: dict[str, dict[str, Any]] = {
    "dense": {"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8", "kv": "fp8"},
    "experts": {"model": "deepseek-v3", "system": "p6-b200.48xlarge", "attention_data_parallel": 8, "expert_parallel": 8},
    "windows": {"model": "gpt-oss-120b", "system": "p5.48xlarge", "accelerators": 4},
    "states": {"model": "nemotron-h-56b", "system": "p5.48xlarge"},
    "stages": {"model": "llama-3.1-405b", "system": "p5.48xlarge", "tensor_parallel": 4, "pipeline_parallel": 2, "weights": "fp8"},
    "compiled": {"model": "llama-3.1-70b", "system": "trn2.48xlarge", "mode": "static", "compiled_batch": 32, "sequence_bucket": 8192},
    "drafting": {"model": "deepseek-v3", "system": "p6-b200.48xlarge", "speculative_tokens": 2, "acceptance_fraction": 0.7},
    "scale-out": {"model": "deepseek-v3", "system": "p5.48xlarge", "accelerators": 16, "expert_parallel": 16},
}


@pytest.mark.parametrize("options", REPLICAS.values(), ids=REPLICAS.keys())
@pytest.mark.parametrize(("concurrency", "input_tokens", "output_tokens"), [(1, 100, 10), (16, 1000, 500), (32, 6000, 1000)])
def test_the_parts_add_up_to_the_step(options: dict[str, Any], concurrency: float, input_tokens: float, output_tokens: float):
    replica = am.replica(**options)
    folded = pieces(replica.constants, *(np.array([float(value)]) for value in (input_tokens, output_tokens, concurrency)))
    parts = decode_step(replica, float(folded.batch[0]), input_tokens + output_tokens / 2)
    assert sum(part.seconds for part in parts) == pytest.approx(float(folded.step_s[0]), rel=1e-12)


def test_a_part_is_never_shorter_than_what_it_waits_for():
    for options in REPLICAS.values():
        for part in decode_step(am.replica(**options), 8.0, 2000.0):
            alone = max(part.memory_s, part.compute_s) if part.weight_bytes else 0.0
            assert part.seconds * (1 + 1e-12) >= alone + part.link_s + part.overhead_s


def test_weights_read_in_a_step_of_a_dense_model_are_all_but_the_input_embedding():
    replica = am.replica(**REPLICAS["dense"])
    read = sum(part.weight_bytes for part in decode_step(replica, 1.0, 1.0))
    architecture = replica.model.architecture
    layers = architecture.parameters - 2 * architecture.embedding_parameters
    assert read * 8 == pytest.approx(layers * 1.0 + architecture.embedding_parameters * 2.0)
