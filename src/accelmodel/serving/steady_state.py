"""Continuous batching with chunked prefill at steady state: a closed loop of `concurrency` clients, in closed form.

Time is conserved: a replica's second goes to decode steps or to prefill, and every prefill is charged once, at its marginal cost in a full chunk. With N clients of
which b run (the KV pool admits no more; a step has at least one), decode step D(b), marginal prefill P, lone-prompt prefill L, I input and O output tokens:

    wait = burst_fraction (b - 1) P                                     requests of a burst queue for prefill before they are admitted
    TPOT = D + [prefill_stall_fraction P (b - 1) - wait]+ / O           the prefills of the others during one lifetime stall it, once
    TTFT = first_token_overhead + L + first_step_wait_steps D + wait + (N - b) / b (L + O TPOT + wait)
    requests/s = N / (TTFT + (O - 1) TPOT)                              Little's law

Beyond the pool, requests wait: concurrency above capacity raises TTFT, not TPOT. Two properties are the calibration's: `wait` takes at most nine tenths of the stall,
and `serial_prefill` engines pay the lone prompt's time for every prefill.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Constants, add_context, add_gemms, add_pairs

Array = npt.NDArray[np.float64]

# Rows of the kernel's output, in order. `prefill_time_fraction` and `cached_time_fraction` are shares of the replica's time.
OUTPUTS = (
    "time_to_first_token_s",
    "time_per_output_token_s",
    "request_latency_s",
    "output_tokens_per_s",
    "input_tokens_per_s",
    "running_requests",
    "waiting_requests",
    "kv_capacity_tokens",
    "fits",
    "binding",
    "power_w",
    "energy_j_per_output_token",
    "prefill_time_fraction",
    "cached_time_fraction",
)
BINDINGS = ("compute", "memory", "network", "overhead", "capacity")

_LARGEST_WAIT = 0.9  # share of the others' prefill time that can be waited for before admission; the rest must stall decode
_THREADS_PAY_FROM = 100_000  # points; below, starting threads costs more than they save


@jit
def _admit(c, input_tokens, output_tokens, concurrency, running, capacity_tokens, fits):  # type: ignore[no-untyped-def]
    """Requests that run: at most the clients, and at most what the pool holds of requests at their mean length (times the admission factor)."""
    n = running.shape[0]
    for i in range(n):
        mean_length = input_tokens[i] + 0.5 * output_tokens[i]
        whole_length = input_tokens[i] + output_tokens[i]
        mean_bytes = c["stored_state_bytes"] + c["stored_token_bytes"] * mean_length
        whole_bytes = c["stored_state_bytes"] + c["stored_token_bytes"] * whole_length
        for g in range(c["stored_caps"]):
            mean_bytes += c["stored_cap_bytes"][g] * min(mean_length, c["stored_cap_tokens"][g])
            whole_bytes += c["stored_cap_bytes"][g] * min(whole_length, c["stored_cap_tokens"][g])
        held = c["pool_bytes"] / mean_bytes
        capacity_tokens[i] = max(held, 0.0) * mean_length
        fits[i] = 1.0 if c["pool_bytes"] >= whole_bytes * c["attention_groups"] else 0.0
        running[i] = min(concurrency[i], max(held * c["kv_admission_factor"], 1.0))


@jit
def _prefill(c, fresh, cached, ones, lone, marginal, cached_s):  # type: ignore[no-untyped-def]
    """Seconds of one prompt alone (`lone`), of one prompt in full chunks (`marginal`), and of the part of it that attends to cached tokens."""
    n = fresh.shape[0]
    groups = c["attention_groups"]
    tokens = fresh * groups
    for i in range(n):
        lone[i] = c["prefill_lone_token_s"] * tokens[i]
        marginal[i] = 0.0
        cached_s[i] = 0.0
    add_gemms(c, tokens, ones, lone)
    add_pairs(c["pair_s"], c["caps"], c["cap_tokens"], c["cap_pair_s"], fresh, cached, marginal)
    add_pairs(c["pair_s"], c["caps"], c["cap_tokens"], c["cap_pair_s"], fresh, np.zeros(n), cached_s)
    for i in range(n):
        pairs_s = marginal[i]
        passes = max(fresh[i] / c["chunk_tokens"], 1.0)
        overhead = passes * c["pass_overhead_s"]
        lone[i] = c["prefill_latency_factor"] * (lone[i] + pairs_s) + overhead
        shared = fresh[i] * c["prefill_token_s"] + (pairs_s + overhead) / groups
        marginal[i] = c["serial_prefill"] * lone[i] + (1.0 - c["serial_prefill"]) * shared
        cached_s[i] = (pairs_s - cached_s[i]) / groups


@jit
def _read_ideal(c, tokens, out):  # type: ignore[no-untyped-def]
    """Seconds at full bandwidth to read a step's weights, of the experts the distinct ones."""
    for i in range(out.shape[0]):
        out[i] = c["ideal_weight_s"]
        for g in range(c["expert_groups"]):
            out[i] += c["ideal_expert_s"][g] * (1.0 - math.exp(c["expert_log_miss"][g] * tokens[i] ** c["expert_skew"]))


@jit
def _load_shares(c, batch, context, fresh, cached, memory_s, flop_s):  # type: ignore[no-untyped-def]
    """Ideal seconds of a request beside the weights: per output token over context (`memory_s`, `flop_s`), and the prefill's FLOP (returned)."""
    n = batch.shape[0]
    prefill = np.zeros(n)
    add_pairs(c["ideal_pair_s"], c["caps"], c["cap_tokens"], c["ideal_cap_pair_s"], fresh, cached, prefill)
    for i in range(n):
        memory_s[i] = c["ideal_sequence_s"] + c["ideal_context_s"] * context[i]
        flop_s[i] = c["ideal_token_s"] + c["ideal_sampled_s"] + c["ideal_context_flop_s"] * context[i]
        for g in range(c["caps"]):
            seen = min(context[i], c["cap_tokens"][g])
            memory_s[i] += c["ideal_cap_context_s"][g] * seen
            flop_s[i] += c["ideal_cap_flop_s"][g] * seen
        prefill[i] = prefill[i] / c["attention_groups"] + fresh[i] * c["ideal_token_s"] + c["ideal_sampled_s"]
    return prefill


@jit
def _binding(c, waiting, running, context, output_tokens, prefill_s):  # type: ignore[no-untyped-def]
    """Index into BINDINGS of the largest share of a request's time; capacity where requests wait. KV reads count as memory, prefill as compute."""
    memory, compute = 0.0, 0.0
    for g in range(c["gemms"]):
        memory += c["gemm_memory_s"][g]
        compute += c["gemm_compute_s"][g] * running + c["gemm_floor_s"][g]
    for g in range(c["expert_groups"]):
        distinct = 1.0 - math.exp(c["expert_log_miss"][g] * running ** c["expert_skew"])
        memory += c["expert_memory_s"][g] * distinct
        compute += c["expert_compute_s"][g] * running + c["expert_floor_s"][g] * distinct
    per_context = c["context_s"] * context
    for g in range(c["caps"]):
        per_context += c["cap_context_s"][g] * min(context, c["cap_tokens"][g])
    steps = output_tokens / running
    memory = steps * (memory + running * per_context)
    compute = steps * compute + prefill_s
    network = output_tokens * c["token_link_s"]
    overhead = steps * (c["overhead_s"] + running * c["sequence_s"])
    if waiting > 0.0:
        return 4.0
    largest = max(max(compute, memory), max(network, overhead))
    return 0.0 if compute == largest else 1.0 if memory == largest else 2.0 if network == largest else 3.0


@jit
def _closed_loop_block(c, input_tokens, output_tokens, concurrency, prefix_hit_fraction, out):  # type: ignore[no-untyped-def]
    """All OUTPUTS of one block of points into `out` (len(OUTPUTS), n)."""
    n = input_tokens.shape[0]
    running, fits = out[5], out[8]
    _admit(c, input_tokens, output_tokens, concurrency, running, out[7], fits)
    context = input_tokens + 0.5 * output_tokens
    cached = input_tokens * prefix_hit_fraction
    fresh = np.maximum(input_tokens - cached, 1.0)
    lone, marginal, cached_s, step, memory_s, flop_s = np.empty(n), np.empty(n), np.empty(n), np.zeros(n), np.empty(n), np.empty(n)
    _prefill(c, fresh, cached, np.ones(n), lone, marginal, cached_s)
    batch = np.maximum(running, 1.0)
    add_gemms(c, batch, batch, step)
    add_context(c, batch, context, step)
    weights_s = np.empty(n)
    _read_ideal(c, batch, weights_s)
    prefill_flop_s = _load_shares(c, batch, context, fresh, cached, memory_s, flop_s)
    full_pass_s = c["ideal_weight_s"] + c["ideal_expert_s"].sum()
    for i in range(n):
        b, o = batch[i], output_tokens[i]
        stall = c["prefill_stall_fraction"] * marginal[i] * (b - 1.0)
        wait = c["burst_fraction"] * marginal[i] * (b - 1.0)
        tpot = step[i] + (stall - min(wait, _LARGEST_WAIT * stall)) / o
        lifetime = lone[i] + o * tpot + wait
        first = c["first_token_overhead_s"] + lone[i] + c["first_step_wait_steps"] * step[i] + wait
        waiting = concurrency[i] - running[i]
        ttft = first + waiting / b * lifetime
        latency = ttft + (o - 1.0) * tpot
        requests = concurrency[i] / latency
        memory = (o / b) * weights_s[i] + o * memory_s[i] + fresh[i] / (c["chunk_tokens"] * c["attention_groups"]) * full_pass_s
        compute = o * flop_s[i] + prefill_flop_s[i]
        share = c["power_floor_fraction"] + requests * (c["power_memory_fraction"] * memory + c["power_compute_fraction"] * compute)
        power = c["accelerators"] * c["tdp_w"] * min(share, 1.0)
        known = 1.0 if fits[i] == 1.0 else math.nan
        out[0, i] = ttft * known
        out[1, i] = tpot * known
        out[2, i] = latency * known
        out[3, i] = requests * o * known
        out[4, i] = requests * input_tokens[i] * known
        out[6, i] = waiting * known
        out[9, i] = _binding(c, out[6, i], b, context[i], o, marginal[i]) if fits[i] == 1.0 else 4.0
        out[10, i] = power * known
        out[11, i] = power / (requests * o) * known
        out[12, i] = min(requests * marginal[i], 1.0) * known
        out[13, i] = min(requests * cached_s[i], 1.0) * known
        out[5, i] = running[i] * known


@jit
def _closed_loop(constants, input_tokens, output_tokens, concurrency, prefix_hit_fraction, out, begin, end):  # type: ignore[no-untyped-def]
    """`_closed_loop_block` over the points from `begin` to `end`; constants (1,), inputs (n,), out (len(OUTPUTS), n)."""
    c = constants[0]
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        _closed_loop_block(
            c, input_tokens[start:stop], output_tokens[start:stop], concurrency[start:stop], prefix_hit_fraction[start:stop], out[:, start:stop]
        )


def closed_loop(
    constants: Constants, input_tokens: Array, output_tokens: Array, concurrency: Array, prefix_hit_fraction: Array, threads: int = 2
) -> Array:
    """Operating points of a closed loop: shape (len(OUTPUTS), n), float64, rows as in OUTPUTS, in SI.

    Inputs are (n,) float64, C-contiguous, positive and finite (checked where they enter). A point that does not fit has NaN everywhere but in `fits` (0),
    `kv_capacity_tokens` and `binding` (capacity). Results do not depend on `threads`.
    """
    n = input_tokens.shape[0]
    out = np.empty((len(OUTPUTS), n))
    inputs = (input_tokens, output_tokens, concurrency, prefix_hit_fraction)
    if threads == 1 or n < _THREADS_PAY_FROM:
        _closed_loop(constants, *inputs, out, 0, n)
        return out
    # Chunks are multiples of the block, so that no point changes its place in a block.
    size = -(-n // (threads * BLOCK)) * BLOCK
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda begin: _closed_loop(constants, *inputs, out, begin, min(begin + size, n)), range(0, n, size)))
    return out


def concurrency_at_rate(constants: Constants, input_tokens: Array, output_tokens: Array, requests_per_s: Array, prefix_hit_fraction: Array) -> Array:
    """Mean number of requests in the system at which the closed form passes `requests_per_s`, shape (n,); NaN where the replica never carries the rate.

    Throughput rises with concurrency until the KV pool binds, and not beyond; bisection in the logarithm of the concurrency to 1e-12.
    """
    low, high = np.full(requests_per_s.shape, math.log(1e-6)), np.full(requests_per_s.shape, math.log(1e7))
    for _ in range(64):
        middle = 0.5 * (low + high)
        out = closed_loop(constants, input_tokens, output_tokens, np.exp(middle), prefix_hit_fraction)
        enough = out[OUTPUTS.index("output_tokens_per_s")] / output_tokens >= requests_per_s
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    found = np.exp(high)
    return np.where(found < 0.999e7, found, math.nan)
