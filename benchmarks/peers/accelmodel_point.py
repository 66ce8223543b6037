"""accelmodel itself, asked as its peers are: one point a call. `python accelmodel_point.py` in its own environment."""

from __future__ import annotations

from point import ACCELERATORS, INPUT_TOKENS, OUTPUT_TOKENS, ask

import accelmodel as am

REPLICA = am.replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=ACCELERATORS, weights="fp8", kv="fp8", engine="vllm")


def call(concurrency: int) -> tuple[float, float]:
    point = am.evaluate(
        REPLICA,
        input_tokens=INPUT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
        concurrency=concurrency,
        columns=("time_to_first_token_s", "time_per_output_token_s"),
    )
    return point.time_to_first_token_s, point.time_per_output_token_s


if __name__ == "__main__":
    ask("accelmodel", call)
