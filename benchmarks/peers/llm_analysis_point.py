"""llm-analysis: python3 -m venv /tmp/la && /tmp/la/bin/pip install llm-analysis==0.2.2 && /tmp/la/bin/python llm_analysis_point.py"""

from __future__ import annotations

from llm_analysis.analysis import infer
from point import ACCELERATORS, INPUT_TOKENS, OUTPUT_TOKENS, ask

MODEL = "upstage_Llama-2-70b-instruct-v2"  # the 70B that it ships: same layers and heads, a smaller vocabulary


def call(concurrency: int) -> tuple[float, float]:
    found = infer(
        model_name=MODEL,
        gpu_name="h100-sxm-80gb",
        dtype_name="w8a8e16",
        log_level="ERROR",
        batch_size_per_gpu=concurrency,
        tp_size=ACCELERATORS,
        seq_len=INPUT_TOKENS,
        num_tokens_to_generate=OUTPUT_TOKENS,
        kv_cache_dtype_bytes=1,
    )
    return found["prefill_latency"], found["decode_latency"]


if __name__ == "__main__":
    ask("llm-analysis", call, "Llama 2 70B, the 70B that it knows; the whole batch is prefilled at once")
