"""The engine and the world: published measurements, typed by hand, and the factor within which the engine meets them.

They document accuracy; nothing is fitted on them here. The factor is the central 90 % that the calibration states for an accelerator seen or unseen.
Load generators that draw lengths from 80 to 100 % of the nominal length are run at 0.9 of it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest

from accelmodel.studies.points import evaluate, replica

Metric = Literal["time_to_first_token_s", "time_per_output_token_s", "request_latency_s", "output_tokens_per_s"]


class Measured(NamedTuple):
    """One published number."""

    name: str
    replica: dict[str, Any]
    load: tuple[float, float, float | None]  # input tokens, output tokens, concurrency (None: as much as the KV pool holds)
    metric: Metric
    value: float
    within: float


INFERENCEX = 0.9 * 1024  # nominal 1,024

MEASURED = [
    # InferenceX sweeps, as republished by NVIDIA aiconfigurator 095f58a5, silicon samples.
    Measured(
        "gpt-oss-120b, 4 H100, vLLM 0.18, 16 clients",
        {"model": "gpt-oss-120b", "system": "p5.48xlarge", "accelerators": 4, "engine": "vllm"},
        (INFERENCEX, INFERENCEX, 16),
        "time_per_output_token_s",
        5.827489e-3,
        1.47,
    ),
    Measured(
        "the same, first token",
        {"model": "gpt-oss-120b", "system": "p5.48xlarge", "accelerators": 4, "engine": "vllm"},
        (INFERENCEX, INFERENCEX, 16),
        "time_to_first_token_s",
        62.214316e-3,
        2.5,
    ),
    Measured(
        "MiniMax-M2.5, 8 H200, vLLM 0.18, 32 clients",
        {"model": "minimax-m2.5", "system": "p5en.48xlarge", "weights": "fp8", "engine": "vllm"},
        (INFERENCEX, INFERENCEX, 32),
        "time_per_output_token_s",
        13.688375e-3,
        1.47,
    ),
    Measured(
        "Qwen3.5-397B, 8 B200, bf16, SGLang, 16 clients",
        {"model": "qwen3.5-397b-a17b", "system": "p6-b200.48xlarge", "weights": "bf16", "engine": "sglang"},
        (INFERENCEX, INFERENCEX, 16),
        "time_per_output_token_s",
        12.009865e-3,
        1.47,
    ),
    Measured(
        "DeepSeek-V3, 8 B200, fp4, TensorRT-LLM 1.2.0rc6, 4 clients",
        {"model": "deepseek-v3", "system": "p6-b200.48xlarge", "weights": "nvfp4", "engine": "tensorrt-llm"},
        (INFERENCEX, INFERENCEX, 4),
        "time_per_output_token_s",
        7.188679e-3,
        1.47,
    ),
    # TensorRT-LLM v1.0 performance overview (00f37686): peak throughput, requests queued, fp8 weights and KV.
    Measured(
        "Llama-3.1-405B, 8 H200, 1000 in, 1000 out",
        {"model": "llama-3.1-405b", "system": "p5en.48xlarge", "weights": "fp8", "kv": "fp8", "engine": "tensorrt-llm"},
        (1000, 1000, None),
        "output_tokens_per_s",
        3330.0,
        1.74,
    ),
    Measured(
        "Llama-3.1-8B, 1 H100, 2048 in, 2048 out",
        {"model": "llama-3.1-8b", "system": "p5.48xlarge", "accelerators": 1, "weights": "fp8", "kv": "fp8", "engine": "tensorrt-llm"},
        (2048, 2048, None),
        "output_tokens_per_s",
        9305.0,
        1.74,
    ),
    # ROCm vLLM dev-docker README (f8c9a385), vLLM 0.9.1: one static batch of 32, whole latency.
    Measured(
        "Llama-3.1-405B, 8 MI300X, fp8, batch 32",
        {"model": "llama-3.1-405b", "system": "mi300x-8", "weights": "fp8", "kv": "fp8", "engine": "vllm", "mode": "static"},
        (128, 2048, 32),
        "request_latency_s",
        68.901,
        1.63,
    ),
    # AWS Neuron SDK, Trn2 tutorial of Llama-3.3-70B (81ce03ae): tp 64 on 16 chips, one client, medians; compiled for one sequence of 12,800 tokens,
    # prompts padded to 2,048, 4,096, 8,192 or 12,288.
    Measured(
        "Llama-3.3-70B, 16 Trainium2, NxD Inference, 1 client",
        {"model": "llama-3.3-70b", "system": "trn2.48xlarge", "engine": "nxdi", "compiled_batch": 1, "sequence_bucket": 12_800, "prompt_bucket": 12_288},
        (10_000, 1501, 1),
        "time_per_output_token_s",
        19.66e-3,
        1.5,
    ),
    Measured(
        "the same on Trainium2, first token",
        {"model": "llama-3.3-70b", "system": "trn2.48xlarge", "engine": "nxdi", "compiled_batch": 1, "sequence_bucket": 12_800, "prompt_bucket": 12_288},
        (10_000, 1501, 1),
        "time_to_first_token_s",
        814.28e-3,
        1.6,
    ),
    # AWS Neuron benchmark CSV (060aef30), Transformers NeuronX 2.18: tp 32 on 16 chips, static batch of 4, median.
    Measured(
        "Llama-2-70B, 16 Trainium1, batch 4",
        {"model": "llama-2-70b", "system": "trn1.32xlarge", "engine": "transformers-neuronx", "mode": "static", "compiled_batch": 4},
        (128, 1024, 4),
        "time_per_output_token_s",
        27.21453e-3,
        1.5,
    ),
]


def predicted(row: Measured) -> float:
    """The engine's number for a measured row."""
    one = replica(**row.replica)
    isl, osl, concurrency = row.load
    load = {"tpot_s": 1e3} if concurrency is None else {"concurrency": concurrency}
    point = evaluate(one, input_tokens=isl, output_tokens=osl, columns=[row.metric], **load)
    return float(getattr(point, row.metric))


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row.name)
def test_the_engine_is_within_its_stated_spread_of(row: Measured):
    assert 1 / row.within <= predicted(row) / row.value <= row.within
