"""aiconfigurator: python3 -m venv /tmp/aic && /tmp/aic/bin/pip install aiconfigurator==0.12.0 && /tmp/aic/bin/python aiconfigurator_point.py"""

from __future__ import annotations

from aiconfigurator.cli.api import cli_estimate
from point import ACCELERATORS, INPUT_TOKENS, OUTPUT_TOKENS, ask


def call(concurrency: int) -> tuple[float, float]:
    found = cli_estimate(
        "meta-llama/Meta-Llama-3.1-70B",
        "h100_sxm",
        backend_name="vllm",
        isl=INPUT_TOKENS,
        osl=OUTPUT_TOKENS,
        batch_size=concurrency,
        tp_size=ACCELERATORS,
        gemm_quant_mode="fp8",
        kvcache_quant_mode="fp8",
    )
    return found.ttft / 1e3, found.tpot / 1e3


if __name__ == "__main__":
    ask("aiconfigurator", call)
