"""vllm-sr-sim: python3 -m venv /tmp/srsim && /tmp/srsim/bin/pip install vllm-sr-sim && /tmp/srsim/bin/python vllm_sr_sim_point.py"""

from __future__ import annotations

from fleet_sim import H100_SXM, LLAMA_3_1_70B, ProfileBuilder, ServingConfig
from point import ACCELERATORS, INPUT_TOKENS, OUTPUT_TOKENS, ask

PROFILE = ProfileBuilder().build(H100_SXM, LLAMA_3_1_70B, ServingConfig(tp=ACCELERATORS, dtype_bytes=1.0))
CONTEXT = INPUT_TOKENS + OUTPUT_TOKENS / 2


def call(concurrency: int) -> tuple[float, float]:
    chunk = PROFILE.cfg.chunk
    prefill_s = -(-INPUT_TOKENS // chunk) * PROFILE.prefill_iter_latency(chunk, INPUT_TOKENS / 2, concurrency, CONTEXT)
    return prefill_s, PROFILE.iter_latency(concurrency, CONTEXT)


if __name__ == "__main__":
    ask("vllm-sr-sim", call, "its closed form of an iteration: no queue, prefill does not slow decode; its simulation has both")
