"""The point that every peer is asked: Llama 3.1 70B on eight H100, tensor parallel 8, FP8 weights and KV cache, 1,024 tokens in and out, 32 requests.

A script says where its peer cannot be asked exactly that, and prints one line of JSON. Standard library only: it runs in the peer's own environment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version

INPUT_TOKENS, OUTPUT_TOKENS, CONCURRENCY, ACCELERATORS = 1024, 1024, 32, 8
_SECONDS = 3.0


def ask(peer: str, call: Callable[[int], tuple[float | None, float]], differs: str = "") -> None:
    """Call call(concurrency), which gives TTFT (None: the peer has none) and TPOT in s, first at the point, then with a new concurrency each time for 3 s."""
    ttft_s, tpot_s = call(CONCURRENCY)
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < _SECONDS:
        call(1 + calls % 64)
        calls += 1
    print(json.dumps({"peer": peer, "version": version(peer), "ttft_s": ttft_s, "tpot_s": tpot_s, "calls_per_s": calls / spent, "differs": differs}))
