"""berth-placement: python3 -m venv /tmp/berth && /tmp/berth/bin/pip install berth-placement==0.8.0 && /tmp/berth/bin/python berth_placement_point.py"""

from __future__ import annotations

from berth.estimate import estimate
from berth.silicon import FLEET
from berth.workload import ModelSpec, WorkloadSpec, profile
from point import INPUT_TOKENS, OUTPUT_TOKENS, ask

MODEL = ModelSpec("llama-3.1-70b", 70.6, 70.6, n_layers=80, n_kv_heads=8, head_dim=128, n_heads=64, bytes_per_param=1.0, bytes_per_kv=1.0)


def call(concurrency: int) -> tuple[float, float]:
    signature = profile(WorkloadSpec(MODEL, avg_prompt_tokens=INPUT_TOKENS, avg_output_tokens=OUTPUT_TOKENS, target_batch=concurrency))
    found = estimate(signature, FLEET["h100-sxm"], 3.2)
    return found.ttft_ms / 1e3, found.tpot_ms / 1e3


if __name__ == "__main__":
    ask("berth-placement", call, "it takes as many accelerators as the memory needs: 2, not 8")
