"""genz-llm: python3 -m venv /tmp/genz && /tmp/genz/bin/pip install genz-llm==0.0.16 && /tmp/genz/bin/python genz_llm_point.py"""

from __future__ import annotations

from GenZ import decode_moddeling, prefill_moddeling
from point import ACCELERATORS, INPUT_TOKENS, OUTPUT_TOKENS, ask

COMMON = {"model": "meta-llama/meta-llama-3.1-70b", "system_name": "H100_GPU", "bits": "int8", "tensor_parallel": ACCELERATORS}


def call(concurrency: int) -> tuple[float, float]:
    prefill = prefill_moddeling(batch_size=1, input_tokens=INPUT_TOKENS, **COMMON)
    decode = decode_moddeling(batch_size=concurrency, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS, Bb=1, **COMMON)
    return prefill["Latency"] / 1e3, decode["Latency"] / 1e3


if __name__ == "__main__":
    ask("genz-llm", call, "a lone prefill and a decode step at full length, not a served point; at full efficiency")
