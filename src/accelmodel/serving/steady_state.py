"""Steady state in closed form: a closed loop of `concurrency` clients on continuous batching with chunked prefill, or waves of a static batch.

Time is conserved: a replica's second goes to decode steps or to prefill, and every prefill is charged once, at its marginal cost in a full chunk.
With N clients of which b run (the KV pool, or the compiled batch, admits no more; a step has at least one), decode step D(b) yielding E tokens,
marginal prefill P, lone-prompt prefill L, O output tokens of which the first comes from the prefill:

    stall = prefill_stall_fraction P (b - 1)                      the prefills of the others during one lifetime
    wait  = min(burst_fraction P (b - 1), 0.9 stall)              of which a burst's requests spend a share queueing before they are admitted
    TPOT  = D / E + (stall - wait) / (O - 1)                      and the rest stalls decode
    first = first_token_overhead + L + first_step_wait_steps D + wait
    X     = b / [first + (O - 1) TPOT]                            requests per second, Little's law; a pipeline of p stages runs p micro-batches of b / p
    TTFT  = first + N / X - b / X                                 beyond the pool requests wait: concurrency above capacity raises TTFT, not TPOT

Disaggregated pools: this replica decodes, like ones prefill. No prefill stalls a step; with T the transfer of the prompt's KV cache over the
accelerators' network, and a wait as in `accelmodel.serving.pools`: a burst's share of the queue of N / p clients at each of p prefilling replicas,

    TTFT  = first_token_overhead + L + first_step_wait_steps D + wait + T
    wait  = burst_fraction P (N / p - 1)

A decoding replica needs r = X P / u prefilling ones, busy a share u of their time: N / p = u S / P with S the time of a request, of which the wait is
a part, so that wait = burst_fraction (u S0 - P) / (1 - burst_fraction u), S0 without it, where that is above 0. Rates and power are those of one
replica of the mix, 1 / (1 + r) of what the decoding one carries; r / (1 + r) is the share of time in prefill.

A static engine prefills its whole batch, then decodes it: TPOT = D / E, and the first token waits for the batch's other prefills (half of them on
average where prompts run one by one). Where O is below 2, what of the stall has no step to fall on is waited for. `serial_prefill` engines pay the
lone prompt's time for every prefill (each attention group prefills one prompt in that time). Compiled shapes execute in full.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.core.fold import CONSTANTS, Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import (
    BLOCK,
    Array,
    Integers,
    add_experts,
    add_gemms,
    add_links,
    broadcast,
    context_cost,
    distinct_experts,
    pairs_cost,
)

INPUTS = ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction")

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
_THREADS_PAY_FROM = 50_000  # points; below, starting threads costs more than they save

# A block lies in one flat buffer, row after row, STRIDE apart, so that the compiler sees that rows do not overlap; a name is its row's first place.
_NAMES = (
    *INPUTS,
    *OUTPUTS,
    *("context", "fresh", "cached", "running", "batch", "micro", "grouped", "tokens", "step", "lone", "marginal", "cached_s"),
    *("kv", "memory", "compute", "network", "distinct", "weights", "a", "b"),
)
STRIDE = BLOCK + 8  # a cache line more than a row: rows that lie a power of two apart crowd into the same sets of the first-level cache
PLACE = {name: row * STRIDE for row, name in enumerate(_NAMES)}
ROWS = len(_NAMES)

_ISL, _OSL, _CLIENTS, _HIT = (PLACE[name] for name in INPUTS)
_TTFT, _TPOT, _LATENCY, _OUT, _IN, _RUN, _WAITING, _KV_CAPACITY, _FITS, _BINDING, _POWER, _ENERGY, _PREFILL, _CACHED_SHARE = (PLACE[name] for name in OUTPUTS)
_CONTEXT, _FRESH, _CACHED, _RUNNING, _BATCH, _MICRO, _GROUPED, _TOKENS, _STEP, _LONE, _MARGINAL, _CACHED_S = (PLACE[name] for name in _NAMES[18:30])
_KV, _MEMORY, _COMPUTE, _NETWORK, _DISTINCT, _WEIGHTS, _A, _B = (PLACE[name] for name in _NAMES[30:])

# The prompt whose prefill fills the whole of its rows lies behind two of them, where a row has room to the next.
_LAST_ISL, _LAST_HIT = _LONE + BLOCK, _MARGINAL + BLOCK


@jit
def forget(f: Array) -> None:
    """Say that the rows of prefill in a buffer are of no known prompt: it was another replica's, or is new."""
    f[_LAST_ISL] = math.nan


@jit
def scratch(rows: int) -> Array:
    """A new buffer of blocks' rows."""
    f = np.empty(rows * STRIDE)
    forget(f)
    return f


@jit
def admit(c: Any, f: Array, n: int) -> None:
    """Requests that run: at most the clients, what the pool holds of requests at their mean length (times the admission factor), and the compiled batch."""
    state, per_token = c["stored_state_bytes"], c["stored_token_bytes"]
    for i in range(n):
        mean = f[_ISL + i] + 0.5 * f[_OSL + i]
        f[_CONTEXT + i] = mean
        f[_A + i] = state + per_token * mean
        f[_B + i] = state + per_token * (f[_ISL + i] + f[_OSL + i])
    for g in range(c["stored_caps"]):
        cap, cost = c["stored_cap_tokens"][g], c["stored_cap_bytes"][g]
        for i in range(n):
            f[_A + i] += cost * min(f[_CONTEXT + i], cap)
            f[_B + i] += cost * min(f[_ISL + i] + f[_OSL + i], cap)
    pool, one_group = c["pool_bytes"], c["pool_bytes"] / c["attention_data"]
    slots = c["compiled_batch"] if c["compiled_batch"] > 0.0 else math.inf
    reserved = c["kv_reserved_fraction"]
    for i in range(n):
        # Of two quotients one division: pool / mean bytes is how many requests of mean length fit, pool / kept bytes how many are let in.
        mean_bytes = f[_A + i]
        kept_bytes = mean_bytes + reserved * (f[_B + i] - mean_bytes)
        inverse = pool / (mean_bytes * kept_bytes)
        requests = mean_bytes * inverse
        f[_KV_CAPACITY + i] = max(kept_bytes * inverse, 0.0) * f[_CONTEXT + i]
        f[_FITS + i] = 1.0 if one_group >= f[_B + i] else 0.0
        running = min(f[_CLIENTS + i], min(max(requests, 1.0), slots))
        f[_RUNNING + i] = running
        f[_BATCH + i] = max(running, 1.0)
        f[_CACHED + i] = f[_ISL + i] * f[_HIT + i]
        f[_FRESH + i] = max(f[_ISL + i] - f[_CACHED + i], 1.0)


@jit
def apply_shapes(c: Any, f: Array, n: int) -> None:
    """Micro-batch, context and prompt as they execute: compiled shapes in full; an attention group holds at least one sequence."""
    per_stage, groups = 1.0 / c["stages"], c["attention_data"]
    compiled, bucket, prompt = c["compiled_batch"], c["sequence_bucket"], c["prompt_bucket"]
    for i in range(n):
        # Without a compiled batch the running requests are the batch: they are at most the compiled one.
        f[_MICRO + i] = max(max(f[_BATCH + i], compiled) * per_stage, 1.0)
        f[_GROUPED + i] = max(f[_MICRO + i], groups)
        f[_CONTEXT + i] = max(f[_CONTEXT + i], bucket)
    if prompt > 0.0:
        for i in range(n):
            f[_FRESH + i] = math.ceil(f[_FRESH + i] / prompt) * prompt


@jit
def decode_step(c: Any, f: Array, bits: Integers, n: int, with_parts: int) -> None:
    """Seconds of one decode step of a micro-batch through all stages, and its parts by what they wait for where these are wanted."""
    micro, grouped, step = f[_MICRO : _MICRO + n], f[_GROUPED : _GROUPED + n], f[_STEP : _STEP + n]
    context_cost(c["caps"], c["cap_tokens"], c["context_s"], c["cap_context_s"], f[_CONTEXT : _CONTEXT + n], f[_KV : _KV + n])
    overhead, state, per_sequence, per_link, weights = c["overhead_s"], c["state_s"], c["sequence_s"], c["link_s"], c["ideal_weight_s"]
    for i in range(n):
        kv = f[_GROUPED + i] * (state + f[_KV + i])
        f[_STEP + i] = overhead + kv + f[_GROUPED + i] * per_sequence + f[_MICRO + i] * per_link
        f[_WEIGHTS + i] = weights
    if with_parts == 1:
        _begin_parts(c, f, n)
    add_gemms(c["gemms"], c["step_memory_s"], c["step_compute_s"], c["step_floor_s"], c["of_all"], micro, step)
    add_gemms(c["gemms"], c["step_memory_s"], c["step_compute_s"], c["step_floor_s"], c["of_group"], grouped, step)
    _pass_experts(c, f, bits, n, with_parts)
    if c["links"] > 0:
        _pass_links(c, f, n, with_parts)
    if c["stages"] > 1.0:
        balance = c["stage_balance"]
        for i in range(n):
            f[_STEP + i] *= balance


@jit
def _begin_parts(c: Any, f: Array, n: int) -> None:
    """Memory, compute and network of a step, experts and collectives with latency left out."""
    state, per_link, memory_sum = c["state_s"], c["link_s"], c["step_memory_sum_s"]
    all_sum, group_sum, floor_sum = c["all_compute_sum_s"], c["group_compute_sum_s"], c["floor_sum_s"]
    for i in range(n):
        f[_NETWORK + i] = f[_MICRO + i] * per_link
        f[_MEMORY + i] = f[_GROUPED + i] * (state + f[_KV + i]) + memory_sum
        f[_COMPUTE + i] = f[_MICRO + i] * all_sum + f[_GROUPED + i] * group_sum + floor_sum


@jit
def _pass_experts(c: Any, f: Array, bits: Integers, n: int, with_parts: int) -> None:
    """Add the routed experts to a step, and to its parts where these are wanted."""
    step, tokens, distinct = f[_STEP : _STEP + n], f[_TOKENS : _TOKENS + n], f[_DISTINCT : _DISTINCT + n]
    for g in range(c["expert_groups"]):
        repeats, per_step = c["expert_repeats"][g], c["expert_step_tokens"][g]
        memory, compute, floor, ideal = (
            repeats * c["expert_memory_s"][g],
            repeats * c["expert_compute_s"][g],
            repeats * c["expert_floor_s"][g],
            repeats * c["ideal_expert_s"][g],
        )
        for i in range(n):
            f[_TOKENS + i] = f[_MICRO + i] * per_step
        distinct_experts(tokens, c["expert_log2_miss"][g], c["expert_skew"], c["expert_unread_fraction"], distinct, bits)
        add_experts(memory, compute, floor, distinct, tokens, step)
        for i in range(n):
            f[_WEIGHTS + i] += ideal * f[_DISTINCT + i]
        if with_parts == 1:
            for i in range(n):
                f[_MEMORY + i] += memory * f[_DISTINCT + i]
                f[_COMPUTE + i] += compute * f[_TOKENS + i] + floor * f[_DISTINCT + i]


@jit
def _pass_links(c: Any, f: Array, n: int, with_parts: int) -> None:
    """Add the collectives with latency to a step, and to its network where parts are wanted."""
    for i in range(n):
        f[_A + i] = 0.0
    add_links(c, f[_MICRO : _MICRO + n], f[_A : _A + n])
    for i in range(n):
        f[_STEP + i] += f[_A + i]
    if with_parts == 1:
        for i in range(n):
            f[_NETWORK + i] += f[_A + i]


@jit
def prefill(c: Any, f: Array, bits: Integers, n: int) -> None:
    """Seconds of one prompt alone, of one prompt in full chunks, and of the part of that which attends to cached tokens."""
    lone, tokens, distinct = f[_LONE : _LONE + n], f[_TOKENS : _TOKENS + n], f[_DISTINCT : _DISTINCT + n]
    fresh, cached, pairs, none = f[_FRESH : _FRESH + n], f[_CACHED : _CACHED + n], f[_B : _B + n], f[_A : _A + n]
    groups, per_token, sampled, slower = c["attention_data"], c["prefill_lone_token_s"], c["prefill_sampled_s"], c["expert_prefill_factor"]
    for i in range(n):
        f[_TOKENS + i] = f[_FRESH + i] * groups
        f[_LONE + i] = per_token * f[_TOKENS + i] + sampled
        f[_A + i] = 0.0
    add_gemms(c["gemms"], c["prefill_memory_s"], c["prefill_compute_s"], c["prefill_floor_s"], c["prefill_all"], tokens, lone)
    for g in range(c["expert_groups"]):
        distinct_experts(tokens, c["expert_log2_miss"][g], c["expert_skew"], c["expert_unread_fraction"], distinct, bits)
        add_experts(slower * c["expert_memory_s"][g], slower * c["expert_compute_s"][g], slower * c["expert_floor_s"][g], distinct, tokens, lone)
    pairs_cost(c["caps"], c["cap_tokens"], c["pair_s"], c["cap_pair_s"], c["square_factor"], fresh, cached, pairs)
    pairs_cost(c["caps"], c["cap_tokens"], c["pair_s"], c["cap_pair_s"], c["square_factor"], fresh, none, f[_CACHED_S : _CACHED_S + n])
    balance, per_context, per_stage = c["stage_balance"], 1.0 / c["context_ranks"], 1.0 / c["stages"]
    by_group, pass_latency = per_stage / groups, c["pass_latency_s"]
    per_chunk, pass_overhead, serial = 1.0 / c["chunk_tokens"], c["pass_overhead_s"], c["serial_prefill"]
    latency, chunk_token, lone_share = c["prefill_latency_factor"], c["prefill_token_s"] * per_stage, serial * per_stage / groups
    for i in range(n):
        passes = max(f[_FRESH + i] * per_chunk, 1.0)
        pairs = f[_B + i] * per_context
        alone = latency * (f[_LONE + i] + pairs + passes * pass_latency) + passes * pass_overhead
        shared = f[_FRESH + i] * chunk_token + (pairs + f[_FRESH + i] * per_chunk * pass_overhead) * by_group
        f[_LONE + i] = alone
        f[_MARGINAL + i] = balance * (lone_share * alone + (1.0 - serial) * shared)
        f[_CACHED_S + i] = balance * (f[_B + i] - f[_CACHED_S + i]) * per_context * by_group


@jit
def _prefill_once(c: Any, f: Array, bits: Integers, n: int) -> None:
    """`prefill`, worked once where the whole block has one prompt, and not at all where that is the last block's: the same numbers, to the last bit."""
    tokens, hit, others = f[_ISL], f[_HIT], 0
    for i in range(n):
        others += 1 if f[_ISL + i] != tokens or f[_HIT + i] != hit else 0
    if others > 0:
        prefill(c, f, bits, n)
        forget(f)
    elif tokens != f[_LAST_ISL] or hit != f[_LAST_HIT]:
        prefill(c, f, bits[:1], 1)
        lone, marginal, cached_s = f[_LONE], f[_MARGINAL], f[_CACHED_S]
        for i in range(BLOCK):
            f[_LONE + i] = lone
            f[_MARGINAL + i] = marginal
            f[_CACHED_S + i] = cached_s
        f[_LAST_ISL], f[_LAST_HIT] = tokens, hit


@jit
def _prompt_bytes(c: Any, f: Array, n: int) -> None:
    """Bytes of a prompt's KV cache on one rank, into the scratch row `a`, where it is sent from pool to pool."""
    if c["disaggregated"] == 1.0:
        state, per_token = c["stored_state_bytes"], c["stored_token_bytes"]
        for i in range(n):
            f[_A + i] = state + per_token * f[_ISL + i]
        for g in range(c["stored_caps"]):
            cap, cost = c["stored_cap_tokens"][g], c["stored_cap_bytes"][g]
            for i in range(n):
                f[_A + i] += cost * min(f[_ISL + i], cap)


@jit
def _serve(c: Any, f: Array, n: int) -> None:
    """Latencies and rates from step and prefill; the scratch row `a` holds the bytes of a prompt's KV cache on one rank where pools are apart."""
    per_step, static, first_overhead, step_wait = 1.0 / c["tokens_per_step"], c["static"], c["first_token_overhead_s"], c["first_step_wait_steps"]
    stall_fraction, burst, serial = c["prefill_stall_fraction"], c["burst_fraction"], c["serial_prefill"]
    apart, use, transfer = c["disaggregated"], c["prefill_pool_utilisation"], c["transfer_s_per_byte"]
    queued_share = min(burst, 1.0)
    shared = apart * queued_share / (1.0 - queued_share * use)
    continuous, half_serial, held = (1.0 - static) * (1.0 - apart), 0.5 * static * serial, 0
    for i in range(n):
        b, decoded, step = f[_BATCH + i], f[_OSL + i] - 1.0, f[_STEP + i]
        others = f[_MARGINAL + i] * (b - 1.0)
        stall = stall_fraction * others
        wait = min(burst * others, _LARGEST_WAIT * stall)
        steps = max(decoded, 1.0)
        spread = continuous * (stall - wait) / steps
        tpot = step * per_step + spread
        queued = static * others + continuous * wait + (steps - decoded) * spread
        first = first_overhead + f[_LONE + i] + step_wait * step + queued + transfer * f[_A + i]
        first += shared * max(use * (first + decoded * tpot) - f[_MARGINAL + i], 0.0)
        service = first + decoded * tpot
        requests = f[_RUNNING + i] / service
        waiting = f[_CLIENTS + i] - f[_RUNNING + i]
        held += 1 if waiting > 0.0 else 0
        f[_TTFT + i] = first - half_serial * others
        f[_TPOT + i] = tpot
        f[_LATENCY + i] = service
        f[_OUT + i] = requests * f[_OSL + i]
        f[_IN + i] = requests * f[_ISL + i]
        f[_RUN + i] = f[_RUNNING + i]
        f[_WAITING + i] = waiting
        f[_PREFILL + i] = min(requests * f[_MARGINAL + i], 1.0)
        f[_CACHED_SHARE + i] = min(requests * f[_CACHED_S + i], 1.0)
    if apart == 1.0:
        for i in range(n):
            requests = f[_RUNNING + i] / f[_LATENCY + i]
            pool = requests / use * f[_MARGINAL + i]
            requests /= 1.0 + pool
            f[_OUT + i] = requests * f[_OSL + i]
            f[_IN + i] = requests * f[_ISL + i]
            # In a pool that prefills, its idle time is prefill's too.
            f[_PREFILL + i] = min(requests / use * f[_MARGINAL + i], 1.0)
            f[_CACHED_SHARE + i] = min(requests / use * f[_CACHED_S + i], 1.0)
    if held > 0:
        for i in range(n):
            late = f[_WAITING + i] / f[_BATCH + i] * f[_LATENCY + i]
            f[_TTFT + i] += late
            f[_LATENCY + i] += late


@jit
def _draw(c: Any, f: Array, n: int) -> None:
    """Power by the shares of bandwidth, FLOP and links that the requests use, and energy per output token."""
    fresh, cached, context = f[_FRESH : _FRESH + n], f[_CACHED : _CACHED + n], f[_CONTEXT : _CONTEXT + n]
    context_cost(c["caps"], c["cap_tokens"], c["ideal_context_s"], c["ideal_cap_context_s"], context, f[_KV : _KV + n])
    context_cost(c["caps"], c["cap_tokens"], c["ideal_context_flop_s"], c["ideal_cap_flop_s"], context, f[_TOKENS : _TOKENS + n])
    pairs_cost(c["caps"], c["cap_tokens"], c["ideal_pair_s"], c["ideal_cap_pair_s"], c["square_factor"], fresh, cached, f[_B : _B + n])
    groups, per_stage, per_yield = c["attention_data"] * c["context_ranks"], 1.0 / c["stages"], 1.0 / c["tokens_per_step"]
    pass_s = c["ideal_pass_s"] / (c["chunk_tokens"] * c["attention_data"])
    per_group, sequence, step_flop = 1.0 / groups, c["ideal_sequence_s"], c["ideal_step_flop_s"]
    token_flop, sampled_flop, link_step, link_prefill = c["ideal_token_flop_s"], c["ideal_sampled_flop_s"], c["link_busy_s"], c["prefill_link_busy_s"]
    by_memory, by_flop, by_link = c["power_memory_fraction"], c["power_compute_fraction"] * per_stage, c["power_link_fraction"] * per_stage
    whole_w, floor = c["accelerators"] * c["tdp_w"], c["power_floor_fraction"]
    for i in range(n):
        steps = f[_OSL + i] * per_yield
        # A step's weights are read for the requests that run in its micro-batch, by every stage in turn.
        memory = (steps / max(f[_BATCH + i] * per_stage, 1.0) * f[_WEIGHTS + i] + steps * (sequence + f[_KV + i]) + f[_FRESH + i] * pass_s) * per_stage
        flop = steps * (step_flop + f[_TOKENS + i]) + f[_FRESH + i] * token_flop + sampled_flop + f[_B + i] * per_group
        link = steps * link_step + f[_FRESH + i] * link_prefill
        busy = f[_OUT + i] / f[_OSL + i] * (by_memory * memory + by_flop * flop + by_link * link)
        f[_POWER + i] = whole_w * (floor + (1.0 - floor) * busy / math.sqrt(1.0 + busy * busy))
        f[_ENERGY + i] = f[_POWER + i] / f[_OUT + i]


@jit
def _name_bound(c: Any, f: Array, n: int) -> None:
    """Index into BINDINGS of the largest part of a request's time; capacity where requests wait. Reads of weights, KV and states are memory, prefill is
    compute.
    """
    stages, fixed, per_sequence = c["stages"], c["overhead_s"], c["sequence_s"]
    per_yield, per_stage = c["stage_balance"] / c["tokens_per_step"], 1.0 / c["stages"]
    for i in range(n):
        steps = f[_OSL + i] * per_yield / max(f[_BATCH + i] * per_stage, 1.0)
        memory, compute, network = steps * f[_MEMORY + i], steps * f[_COMPUTE + i] + f[_MARGINAL + i] * stages, steps * f[_NETWORK + i]
        overhead = steps * (fixed + f[_GROUPED + i] * per_sequence)
        largest = max(max(compute, memory), max(network, overhead))
        code = 0.0 if compute == largest else 1.0 if memory == largest else 2.0 if network == largest else 3.0
        f[_BINDING + i] = 4.0 if f[_WAITING + i] > 0.0 else code


@jit
def _blank_misfits(f: Array, n: int) -> None:
    """NaN in every output of a point that does not fit, but for `fits`, `kv_capacity_tokens` and `binding` (capacity)."""
    missing = 0
    for i in range(n):
        missing += 1 if f[_FITS + i] == 0.0 else 0
    if missing == 0:
        return
    for i in range(n):
        if f[_FITS + i] == 0.0:
            for row in range(_TTFT, _CACHED_SHARE + 1, STRIDE):
                if row not in (_KV_CAPACITY, _FITS, _BINDING):
                    f[row + i] = math.nan
            f[_BINDING + i] = 4.0


@jit
def closed_loop_block(c: Any, f: Array, bits: Integers, n: int, with_power: int, with_binding: int) -> None:
    """All OUTPUTS of a block of n points whose INPUTS lie in the flat buffer `f` (ROWS x STRIDE numbers at least); `bits` (BLOCK,) is scratch.

    Power and energy, and what binds, are left out (their rows untouched) where nobody wants them.
    """
    admit(c, f, n)
    apply_shapes(c, f, n)
    decode_step(c, f, bits[:n], n, with_binding)
    _prefill_once(c, f, bits[:n], n)
    _prompt_bytes(c, f, n)
    _serve(c, f, n)
    if with_binding == 1:
        _name_bound(c, f, n)
    if with_power == 1:
        _draw(c, f, n)
    _blank_misfits(f, n)


@jit
def served_block(constants: Constants, capped: Constants, r: int, f: Array, spare: Array, bits: Integers, n: int, with_power: int, with_binding: int) -> None:
    """`closed_loop_block` of the replica in record `r`, under its power cap where `capped` holds records too; `spare` is a second buffer for that.

    Where the full clock would draw more than the cap, the clock is as low as the load needs: latencies lie between those of the full clock and those of
    the clock at which the accelerator's largest draw is its cap, in proportion to the excess of the draw, and rates follow from them (Little's law).
    """
    if capped.shape[0] == 0:
        closed_loop_block(constants[r], f, bits, n, with_power, with_binding)
        return
    for row in range(_ISL, _HIT + 1, STRIDE):
        for i in range(n):
            spare[row + i] = f[row + i]
    closed_loop_block(constants[r], f, bits, n, 1, with_binding)
    closed_loop_block(capped[r], spare, bits, n, 1, 0)
    cap_w = capped[r]["accelerators"] * capped[r]["power_cap_w"]
    for i in range(n):
        excess_w = f[_POWER + i] - cap_w
        if excess_w > 0.0:
            slow = min(excess_w / max(f[_POWER + i] - spare[_POWER + i], excess_w), 1.0)
            latency = f[_LATENCY + i]
            for row in (_TTFT, _TPOT, _LATENCY, _PREFILL, _CACHED_SHARE):
                f[row + i] += slow * (spare[row + i] - f[row + i])
            f[_OUT + i] *= latency / f[_LATENCY + i]
            f[_IN + i] *= latency / f[_LATENCY + i]
            f[_POWER + i] = cap_w
            f[_ENERGY + i] = cap_w / f[_OUT + i]


_ONE = np.ones(1, dtype=np.int64)
_STILL = np.zeros((len(INPUTS), 1), dtype=np.int64)


@dataclass(frozen=True)
class Grid:
    """Loads to be broadcast lazily: four flat arrays in the order of INPUTS, the common shape, and each array's strides in elements (0 where broadcast)."""

    values: tuple[Array, Array, Array, Array]
    shape: Integers
    strides: Integers

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape.tolist())

    @classmethod
    def point(cls, *values: float) -> Grid:
        """The grid of one point."""
        return cls(tuple(np.array([value], dtype=np.float64) for value in values), _ONE, _STILL)  # type: ignore[arg-type]

    @classmethod
    def of(cls, *arrays: Array) -> Grid:
        """A grid from arrays that broadcast, without copying them out."""
        shape = np.broadcast_shapes(*(array.shape for array in arrays)) or (1,)
        strides = np.zeros((len(arrays), len(shape)), dtype=np.int64)
        for row, array in enumerate(arrays):
            step = 1
            for axis in range(1, array.ndim + 1):
                if array.shape[-axis] > 1:
                    strides[row, len(shape) - axis] = step
                step *= array.shape[-axis]
        flat = tuple(np.ascontiguousarray(array, dtype=np.float64).reshape(-1) for array in arrays)
        return cls(flat, np.array(shape, dtype=np.int64), strides)  # type: ignore[arg-type]


def spread(grid: Grid, row: int) -> Array:
    """One input of a grid copied out to every point, shape (grid.size,)."""
    steps = 8 * grid.strides[row]
    whole: Array = np.lib.stride_tricks.as_strided(grid.values[row], grid.shape.tolist(), steps.tolist(), writeable=False).reshape(-1)
    return whole.copy()


@jit
def _closed_loop(
    constants: Constants,
    capped: Constants,
    input_tokens: Array,
    output_tokens: Array,
    concurrency: Array,
    prefix_hit_fraction: Array,
    shape: Integers,
    strides: Integers,
    out: Array,
    begin: int,
    end: int,
) -> None:
    """`served_block` over the points from `begin` to `end`."""
    f, spare, bits = scratch(ROWS), scratch(ROWS), np.empty(BLOCK, np.int64)
    for start in range(begin, end, BLOCK):
        n = min(BLOCK, end - start)
        broadcast(input_tokens, output_tokens, concurrency, prefix_hit_fraction, shape, strides, start, n, f, STRIDE)
        served_block(constants, capped, 0, f, spare, bits, n, 1, 1)
        for row in range(14):
            for i in range(n):
                out[row, start + i] = f[_TTFT + row * STRIDE + i]


def in_threads(work: Any, size: int, threads: int) -> None:
    """Call work(begin, end) over `size` points in up to `threads` threads, cut at multiples of the block so that no point changes its place in one."""
    if threads == 1 or size < _THREADS_PAY_FROM:
        work(0, size)
        return
    step = -(-size // (threads * BLOCK)) * BLOCK
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda begin: work(begin, min(begin + step, size)), range(0, size, step)))


NO_CAP = np.zeros(0, dtype=CONSTANTS)


def closed_loop(constants: Constants, grid: Grid, threads: int = 2, capped: Constants = NO_CAP) -> Array:
    """Operating points of a closed loop: shape (len(OUTPUTS), grid.size), float64, rows as in OUTPUTS, in SI; `capped` under a power cap.

    Inputs are positive and finite (checked where they enter). A point that does not fit has NaN everywhere but in `fits` (0), `kv_capacity_tokens`
    and `binding` (capacity). Results do not depend on `threads`.
    """
    out = np.empty((len(OUTPUTS), grid.size))
    in_threads(lambda begin, end: _closed_loop(constants, capped, *grid.values, grid.shape, grid.strides, out, begin, end), grid.size, threads)
    return out


def concurrency_at_rate(
    constants: Constants, input_tokens: Array, output_tokens: Array, requests_per_s: Array, prefix_hit_fraction: Array, capped: Constants = NO_CAP
) -> Array:
    """Mean number of requests in the system at which the closed form passes `requests_per_s`, shape (n,); NaN where the replica never carries the rate.

    Throughput rises with concurrency until the KV pool binds, and stays there; bisection in the logarithm of the concurrency to 1e-12.
    """
    row = OUTPUTS.index("output_tokens_per_s")

    def carries(logarithm: Array) -> Array:
        out = closed_loop(constants, Grid.of(input_tokens, output_tokens, np.exp(logarithm), prefix_hit_fraction), capped=capped)
        enough: Array = out[row] / output_tokens >= requests_per_s * (1.0 - 1e-12)
        return enough

    low, high = np.full(requests_per_s.shape, math.log(1e-9)), np.full(requests_per_s.shape, math.log(1e7))
    ever = carries(high)
    for _ in range(60):
        middle = 0.5 * (low + high)
        enough = carries(middle)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(ever, np.exp(high), math.nan)
