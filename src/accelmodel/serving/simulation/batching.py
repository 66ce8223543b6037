"""One replica on continuous batching or in static waves, advanced in time: passes one by one, runs of equal decode steps in one jump.

Between two events (a sequence finishes, its context reaches a bucket or a bound, a request arrives that may be admitted) a step's time grows by the same
amount from step to step, so that a run of n steps takes n s + n (n - 1) / 2 ds seconds. Events lie in a binary heap, by the replica's count of steps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accelmodel.core.jit import jit
from accelmodel.core.kernels import Array, Integers
from accelmodel.serving.simulation.cache import hold, matched, room, shrink
from accelmodel.serving.simulation.step import PER_CONTEXT, SUMS, WEIGHTS_S, context_s, ideal_pairs_s, padded, pairs_s, pass_s, prompt_s, step_s

PRIORITIES = 4  # classes of requests, 0 served first

# One request: what is known of it, and what becomes of it (NaN until then). `kv_bytes` is what it reserves, or what it needs to be admitted where memory is
# taken as needed; `beside_s` its delay beside the engine; `since_s` when it was last admitted, `joined_s` when it then began to decode, `sent_tokens` what it
# had sent when last evicted; `next` the one behind it in its queue; its prompt is `blocks` blocks from `first_block` on.
REQUEST = np.dtype(
    [
        *((name, "f8") for name in ("arrival_s", "input_tokens", "output_tokens", "kv_bytes", "sent_tokens", "admitted_s", "first_token_s", "finish_s")),
        ("next", "i8"),
        ("priority", "i4"),
        ("preemptions", "i4"),
        ("replica", "i4"),
        ("blocks", "i4"),
        ("first_block", "i8"),
        *((name, "f8") for name in ("cached_tokens", "beside_s", "since_s", "joined_s")),
    ]
)  # two lines of the cache, what is used most in the first

# One replica between two iterations, or in the pass that ends at `pass_end_s` (inf: none). `sums` are of the decoding sequences' contexts, `growing` how many
# of them grow. `partial` is the prompt begun (-1: none) and `partial_tokens` what of it is done; `passed` prompts are or will be through when the pass ends,
# `prefilled` of them are; `ended` sequences of a static wave have all their tokens; `held` blocks are cached; `done` is
# the last request that left (-1: none), the `next` of each the one before. `used_bytes` of the KV pool are reserved, or at
# most in use; the prompt begun is `behind_tokens` of a cache; the iteration `evicts`, if it does. What counts for power: seconds in which anything runs and in
# which weights would be read at full bandwidth, steps by sequence, and by what they attend to, and what was prefilled `again`.
STATE = np.dtype(
    [
        *((name, "f8") for name in ("clock_s", "pass_end_s", "used_bytes", "partial_tokens", "behind_tokens", "busy_s", "weights_s", "sequence_steps")),
        *((name, "f8") for name in ("again_tokens", "again_pairs_s", "again")),
        *((name, "f8", (SUMS,)) for name in ("sums", "growing", "sum_steps")),
        *((name, "i8") for name in ("steps", "decoding", "events", "load", "running", "partial", "passed", "prefilled", "ended", "held", "evicts", "done")),
        *((name, "i8", (PRIORITIES,)) for name in ("head", "tail")),
    ]
)

# A place in the batch: its request, the step at which it joined, and its context then. `free` lists all places, the free ones first; `place` is where a
# place stands there, where requests preempt.
SLOT = np.dtype([("request", "i8"), ("joined", "i8"), ("context", "f8"), ("free", "i8"), ("place", "i8"), ("passing", "i8")])

# What holds of every replica: bytes of its KV pool; blocks of a prefix in tokens and bytes (0: no cache), and the cache's tokens (NaN: what the pool spares);
# whether prompts come prefilled (1); whether memory is taken as needed (1), and the bytes that a sequence then takes more in a step, at most.
# Behind the requests, from `stays_from` on, their records are kept as they were when evicted (`next` says whose, `finish_s` when,
# `sent_tokens` with how many): `stays` of them, if there is
# room.
RULES = np.dtype(
    [
        *((name, "f8") for name in ("pool_bytes", "block_tokens", "block_bytes", "cache_tokens", "prefilled", "preempts", "growth_bytes")),
        *((name, "i8") for name in ("stays_from", "stays")),
    ]
)

_FINISH = 0  # kinds of events: a finish; that a context starts, and stops, to count for the k-th sum: 1 + 2 k and 2 + 2 k
_KIND_BITS, _SLOT_BITS = 4, 16
EVENTS_PER_SLOT = 1 + 2 * SUMS
_NEVER = 1 << 40


@jit
def start(states: Any, slots: Any) -> None:
    """Empty replicas at time 0: states (replicas,), slots (replicas, slots)."""
    for r in range(states.shape[0]):
        s = states[r]
        s["pass_end_s"], s["partial"], s["done"] = math.inf, -1, -1
        for k in range(PRIORITIES):
            s["head"][k] = s["tail"][k] = -1
        for slot in range(slots.shape[1]):
            slots[r, slot]["free"] = slots[r, slot]["place"] = slot


@jit
def enqueue(s: Any, requests: Any, i: int) -> None:
    """Put request i behind the others of its priority."""
    k = requests[i]["priority"]
    requests[i]["next"] = -1
    if s["head"][k] < 0:
        s["head"][k] = i
    else:
        requests[s["tail"][k]]["next"] = i
    s["tail"][k] = i
    s["load"] += 1


@jit
def _first_waiting(s: Any, requests: Any) -> int:
    """The request that is next to be admitted, or -1 where none has arrived."""
    for k in range(PRIORITIES):
        i: int = s["head"][k]
        if i >= 0 and requests[i]["arrival_s"] <= s["clock_s"]:
            return i
    return -1


@jit
def _next_arrival_s(s: Any, requests: Any) -> float:
    """When a queued request arrives that is not held up by one that waits already; inf where there is none."""
    soonest = math.inf
    for k in range(PRIORITIES):
        i = s["head"][k]
        if i >= 0:
            if requests[i]["arrival_s"] <= s["clock_s"]:
                return soonest
            soonest = min(soonest, requests[i]["arrival_s"])
    return soonest


@jit
def _push(heap: Integers, size: int, key: int) -> None:
    """Add a key to a binary heap of `size` keys, the least first."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= key:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = key


@jit
def _pop(heap: Integers, size: int) -> None:
    """Take the least key of a binary heap of `size` keys away."""
    key, last, place = heap[size - 1], size - 1, 0
    while True:
        child = 2 * place + 1
        if child >= last:
            break
        if child + 1 < last and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = key


@jit
def _bounds(c: Any, k: int) -> tuple[float, float]:
    """Between which contexts the k-th sum counts token by token: from the bucket to the bound."""
    high = math.inf if k == 0 else c["cap_tokens"][k - 1]
    return min(c["sequence_bucket"], high), high


@jit
def _crossings(c: Any, k: int, context: float) -> tuple[int, int]:
    """Steps after which a sequence of this context starts, and stops, to count token by token in the k-th sum."""
    low, high = _bounds(c, k)
    yielded = c["tokens_per_step"]
    first = 0 if context >= low or low == high else math.ceil((low - context) / yielded)
    last = _NEVER if high == math.inf else 0 if context >= high or low == high else math.ceil((high - context) / yielded)
    return first, last


@jit
def decode_steps(c: Any, output_tokens: float) -> int:
    """Steps that yield the tokens after the first."""
    steps: int = math.ceil((output_tokens - 1.0) / c["tokens_per_step"] - 1e-9)
    return steps


@jit
def _event(s: Any, heap: Integers, steps: int, slot: int, kind: int) -> None:
    _push(heap, s["events"], ((s["steps"] + steps) << (_SLOT_BITS + _KIND_BITS)) | (slot << _KIND_BITS) | kind)
    s["events"] += 1


@jit
def _finish(s: Any, requests: Any, i: int) -> None:
    """Request i leaves, and is the first in the chain of those that did."""
    requests[i]["finish_s"] = s["clock_s"]
    requests[i]["next"], s["done"] = s["done"], i
    s["used_bytes"] -= requests[i]["kv_bytes"]
    s["running"] -= 1
    s["load"] -= 1
    if s["running"] == 0:
        s["used_bytes"] = 0.0


@jit
def _join(c: Any, s: Any, slots: Any, heap: Integers, requests: Any, i: int) -> None:
    """Request i decodes from now on."""
    slot = slots[slots.shape[0] - 1 - s["decoding"]]["free"]
    s["decoding"] += 1
    sent = requests[i]["sent_tokens"]
    context, needed = requests[i]["input_tokens"] + sent + 1.0, decode_steps(c, requests[i]["output_tokens"] - sent)
    counted = _NEVER - 1 if c["static"] == 1.0 else needed  # a static wave computes a sequence to the wave's end
    slots[slot]["request"], slots[slot]["joined"], slots[slot]["context"] = i, s["steps"], context
    for k in range(c["caps"] + 1):
        low, high = _bounds(c, k)
        first, last = _crossings(c, k, context)
        s["sums"][k] += min(max(context, low), high)
        if first == 0 and last > 0:
            s["growing"][k] += 1.0
        if 0 < first < counted:
            _event(s, heap, first, slot, 1 + 2 * k)
        if 0 < last < counted:
            _event(s, heap, last, slot, 2 + 2 * k)
    _event(s, heap, needed, slot, _FINISH)


@jit
def _vacate(c: Any, s: Any, w: Any, slots: Any, slot: int, settled: int) -> None:
    """A place in the batch is free from now on; `settled` is 1 where what happens at the present step has happened to its sequence."""
    steps, context = s["steps"] - slots[slot]["joined"], slots[slot]["context"]
    for k in range(c["caps"] + 1):
        low, high = _bounds(c, k)
        first, last = _crossings(c, k, context)
        grows = first < steps + settled <= last
        s["sums"][k] -= context + c["tokens_per_step"] * float(steps) if grows else high if last < steps + settled else low
        s["growing"][k] -= 1.0 if grows else 0.0
    s["decoding"] -= 1
    if s["decoding"] == 0:
        s["sums"][:] = 0.0
        s["growing"][:] = 0.0
    edge = slots.shape[0] - 1 - s["decoding"]
    if w["preempts"] == 1.0:  # only then are the places taken looked through
        place, other = slots[slot]["place"], slots[edge]["free"]
        slots[place]["free"], slots[other]["place"], slots[slot]["place"] = other, place, edge
    slots[edge]["free"] = slot


@jit
def _leave(c: Any, s: Any, w: Any, slots: Any, requests: Any, slot: int) -> None:
    """The sequence in a slot has all its tokens."""
    if w["preempts"] == 1.0:
        requests[slots[slot]["request"]]["kv_bytes"] = held_bytes(c, s, slots, slot)
    _vacate(c, s, w, slots, slot, 0)
    _finish(s, requests, slots[slot]["request"])


@jit
def _end_in_wave(s: Any, slots: Any, requests: Any, slot: int) -> None:
    """The sequence in a slot of a static wave has all its tokens, and keeps its place until all others do."""
    _finish(s, requests, slots[slot]["request"])
    s["ended"] += 1
    if s["ended"] == s["decoding"]:
        s["ended"] = s["decoding"] = s["events"] = 0
        s["sums"][:] = 0.0
        s["growing"][:] = 0.0
        for place in range(slots.shape[0]):
            slots[place]["free"] = slots[place]["place"] = place


@jit
def _settle(c: Any, s: Any, w: Any, slots: Any, heap: Integers, requests: Any) -> None:
    """What happens at the replica's present step."""
    while s["events"] > 0 and heap[0] >> (_SLOT_BITS + _KIND_BITS) <= s["steps"]:
        slot, kind = (heap[0] >> _KIND_BITS) & ((1 << _SLOT_BITS) - 1), heap[0] & ((1 << _KIND_BITS) - 1)
        _pop(heap, s["events"])
        s["events"] -= 1
        if kind == _FINISH:
            if c["static"] == 1.0:
                _end_in_wave(s, slots, requests, slot)
            else:
                _leave(c, s, w, slots, requests, slot)
            continue
        k = (kind - 1) >> 1
        low, high = _bounds(c, k)
        context = slots[slot]["context"] + c["tokens_per_step"] * float(s["steps"] - slots[slot]["joined"])
        starts = kind == 1 + 2 * k
        s["sums"][k] += context - low if starts else high - context
        s["growing"][k] += 1.0 if starts else -1.0


@jit
def _pass_steps(c: Any, s: Any, w: Any, steps: Array, n: int) -> None:
    """Every decoding sequence passes n steps."""
    many, pairs, yielded = float(n), 0.5 * float(n) * float(n - 1), c["tokens_per_step"]
    s["weights_s"] += many * steps[s["decoding"], WEIGHTS_S]
    s["sequence_steps"] += many * float(s["decoding"])
    s["used_bytes"] += many * float(s["decoding"]) * w["growth_bytes"]
    for k in range(c["caps"] + 1):
        grows = yielded * s["growing"][k]
        s["sum_steps"][k] += many * s["sums"][k] + pairs * grows
        s["sums"][k] += many * grows
    s["steps"] += n


@jit
def stored_bytes(c: Any, tokens: float) -> float:
    """Bytes that a sequence of so many tokens keeps in the KV pool."""
    whole: float = c["stored_state_bytes"] + c["stored_token_bytes"] * tokens
    for k in range(c["stored_caps"]):
        whole += c["stored_cap_bytes"][k] * min(tokens, c["stored_cap_tokens"][k])
    return whole


@jit
def held_bytes(c: Any, s: Any, slots: Any, slot: int) -> float:
    """Bytes that the sequence in a slot needs for the present step."""
    return stored_bytes(c, slots[slot]["context"] + c["tokens_per_step"] * float(s["steps"] - slots[slot]["joined"]))


@jit
def recount(c: Any, s: Any, w: Any, slots: Any, requests: Any) -> None:
    """Count `used_bytes` anew where it is only an upper bound: where memory is taken as needed, and a sequence takes less from some length on."""
    if w["preempts"] == 0.0 or c["stored_caps"] == 0:
        return
    used = requests[s["partial"]]["kv_bytes"] if s["partial"] >= 0 else 0.0
    for place in range(s["passed"]):
        used += requests[slots[place]["passing"]]["kv_bytes"]
    for place in range(slots.shape[0] - s["decoding"], slots.shape[0]):
        used += held_bytes(c, s, slots, slots[place]["free"])
    s["used_bytes"] = used


@jit
def fits(c: Any, s: Any, w: Any, slots: Any, requests: Any, i: int) -> bool:
    """Whether the pool holds request i beside all that run."""
    if w["preempts"] == 1.0 and (w["block_tokens"] > 0.0 or s["used_bytes"] + requests[i]["kv_bytes"] > w["pool_bytes"]):
        recount(c, s, w, slots, requests)
    return bool(s["used_bytes"] + requests[i]["kv_bytes"] <= w["pool_bytes"])


@jit
def steps_in_room(s: Any, w: Any) -> int:
    """Steps until the pool may be too small for the next one; one where the iteration evicts."""
    if s["evicts"] == 1:
        return 1
    taken = float(s["decoding"]) * w["growth_bytes"]
    spare = w["pool_bytes"] - s["used_bytes"]
    return _NEVER if spare >= taken * float(_NEVER) else max(math.floor(spare / taken) + 1, 1)


@jit
def count_again(c: Any, s: Any, f: Array, tokens: float) -> None:
    """So many tokens of the prompt begun were prefilled for an eviction's sake."""
    s["again"] += 1.0
    s["again_tokens"] += tokens
    s["again_pairs_s"] += ideal_pairs_s(c, f, tokens, s["behind_tokens"])


@jit
def _forget_events(s: Any, heap: Integers, slot: int) -> None:
    """No event of a slot's sequence will happen."""
    kept = 0
    for place in range(s["events"]):
        key = heap[place]
        if (key >> _KIND_BITS) & ((1 << _SLOT_BITS) - 1) != slot:
            _push(heap, kept, key)
            kept += 1
    s["events"] = kept


@jit
def _last(s: Any, slots: Any, requests: Any) -> int:
    """The place in `free` of whom an eviction takes: the largest priority, of equals the latest; -1: the prompt begun."""
    last, found = s["partial"], -1
    for place in range(slots.shape[0] - s["decoding"], slots.shape[0]):
        i = slots[slots[place]["free"]]["request"]
        if last < 0 or requests[i]["priority"] > requests[last]["priority"] or (requests[i]["priority"] == requests[last]["priority"] and i > last):
            last, found = i, place
    return found


@jit
def make_room(c: Any, s: Any, w: Any, slots: Any, heap: Integers, requests: Any, f: Array) -> None:
    """Evict until the pool holds what all that run need for the present step (rule 6)."""
    if s["used_bytes"] > w["pool_bytes"]:
        recount(c, s, w, slots, requests)
    while s["used_bytes"] > w["pool_bytes"]:
        place = _last(s, slots, requests)
        if place < 0:
            i = s["partial"]
            count_again(c, s, f, s["partial_tokens"])
            s["used_bytes"] -= requests[i]["kv_bytes"]
            s["partial"], sent = -1, requests[i]["sent_tokens"]
        else:
            slot = slots[place]["free"]
            i = slots[slot]["request"]
            s["used_bytes"] -= held_bytes(c, s, slots, slot)
            sent = requests[i]["sent_tokens"] + math.floor(1.0 + c["tokens_per_step"] * float(s["steps"] - slots[slot]["joined"]) + 1e-9)
            _forget_events(s, heap, slot)
            _vacate(c, s, w, slots, slot, 1)
        _evict(c, s, w, requests, i, sent)


@jit
def _evict(c: Any, s: Any, w: Any, requests: Any, i: int, sent: float) -> None:
    """Request i, which runs no more, waits at the front of its queue, to be prefilled with the tokens that it has sent."""
    stay = w["stays_from"] + w["stays"]
    if stay < requests.shape[0]:
        requests[stay] = requests[i]
        requests[stay]["next"], requests[stay]["finish_s"], requests[stay]["sent_tokens"] = i, s["clock_s"], sent
    w["stays"] += 1
    requests[i]["sent_tokens"] = sent
    requests[i]["kv_bytes"] = stored_bytes(c, requests[i]["input_tokens"] + sent)
    requests[i]["preemptions"] += 1
    k = requests[i]["priority"]
    requests[i]["next"] = s["head"][k]
    if s["head"][k] < 0:
        s["tail"][k] = i
    s["head"][k] = i
    s["running"] -= 1
    s["evicts"] = 1


@jit
def _admit(s: Any, w: Any, requests: Any, i: int, blocks: Integers, lru: Any, holders: Integers, r: int) -> None:
    """Request i, the first of its queue, runs from now on, behind what the cache holds of its prompt."""
    k = requests[i]["priority"]
    s["head"][k] = requests[i]["next"]
    s["running"] += 1
    s["used_bytes"] += requests[i]["kv_bytes"]
    if w["preempts"] == 1.0:
        requests[i]["since_s"] = s["clock_s"]
    if requests[i]["preemptions"] == 0:
        requests[i]["admitted_s"] = s["clock_s"]
    s["partial_tokens"], s["behind_tokens"] = 0.0, requests[i]["cached_tokens"]
    if w["block_tokens"] > 0.0:
        first = requests[i]["first_block"]
        found = matched(blocks, holders, r, first, requests[i]["blocks"])
        s["behind_tokens"] = min(float(found) * w["block_tokens"], requests[i]["input_tokens"] + requests[i]["sent_tokens"] - 1.0)
        if requests[i]["sent_tokens"] == 0.0:
            requests[i]["cached_tokens"] = s["behind_tokens"]
        s["held"] = shrink(lru, holders, r, hold(blocks, lru, holders, r, s["held"], first, found), room(w, s["used_bytes"]))


@jit
def _take_over(c: Any, s: Any, w: Any, slots: Any, heap: Integers, requests: Any, blocks: Integers, lru: Any, holders: Integers, r: int) -> None:
    """Requests that were prefilled elsewhere decode from now on, as far as rule 1 admits them."""
    while True:
        i = _first_waiting(s, requests)
        if i < 0 or s["running"] >= slots.shape[0] or s["used_bytes"] + requests[i]["kv_bytes"] > w["pool_bytes"]:
            return
        _admit(s, w, requests, i, blocks, lru, holders, r)
        _join(c, s, slots, heap, requests, i)


@jit
def _start_pass(
    c: Any, s: Any, w: Any, steps: Array, slots: Any, requests: Any, blocks: Integers, lru: Any, holders: Integers, r: int, f: Array, bits: Integers
) -> bool:
    """Fill an iteration with prompt tokens (rules 1 and 2); whether there are any."""
    if c["static"] == 1.0 and s["decoding"] > 0:
        return False
    serial = c["serial_prefill"] > 0.0
    budget = max(c["chunk_tokens"] * c["attention_data"] - float(s["decoding"]), 1.0)
    tokens, pairs, seconds, prompts = 0.0, 0.0, 0.0, 0
    while budget > 0.0:
        i = s["partial"]
        if i < 0:
            i = _first_waiting(s, requests)
            if i < 0 or s["running"] >= slots.shape[0] or s["evicts"] == 1 or not fits(c, s, w, slots, requests, i):
                break
            _admit(s, w, requests, i, blocks, lru, holders, r)
        cached = s["behind_tokens"]
        fresh = padded(c, requests[i]["input_tokens"] + requests[i]["sent_tokens"] - cached)
        prompts += 1
        if serial:
            _, seconds = prompt_s(c, f, bits, fresh, cached)
            taken = fresh
            budget = 0.0
        else:
            taken = min(fresh - s["partial_tokens"], budget)
            pairs += pairs_s(c, f, taken, cached + s["partial_tokens"])
            budget -= taken
        tokens += taken
        s["partial_tokens"] += taken
        if s["partial_tokens"] >= fresh:
            if requests[i]["sent_tokens"] > 0.0:
                count_again(c, s, f, fresh)
            slots[s["passed"]]["passing"] = i
            s["passed"] += 1
            s["partial"] = -1
        else:
            s["partial"] = i
    if prompts == 0:
        return False
    s["evicts"] = 0
    added = seconds if serial else pass_s(c, tokens, pairs)
    s["pass_end_s"] = s["clock_s"] + (step_s(c, steps, s["decoding"], s["sums"]) + added)
    return True


@jit
def _decode_passed(c: Any, s: Any, w: Any, slots: Any, heap: Integers, requests: Any) -> None:
    """Requests that are prefilled decode from now on; in a static wave all together, and but for serial prefill none has its first token before."""
    for place in range(s["passed"]):
        i = slots[place]["passing"]
        if c["static"] == 1.0 and c["serial_prefill"] == 0.0:
            requests[i]["first_token_s"] = s["clock_s"]
        if requests[i]["output_tokens"] - requests[i]["sent_tokens"] > 1.0:
            if w["preempts"] == 1.0:
                requests[i]["joined_s"] = s["clock_s"]
                s["used_bytes"] += stored_bytes(c, requests[i]["input_tokens"] + requests[i]["sent_tokens"] + 1.0) - requests[i]["kv_bytes"]
            _join(c, s, slots, heap, requests, i)
        else:
            _finish(s, requests, i)
    s["passed"] = s["prefilled"] = 0


@jit
def _end_pass(c: Any, s: Any, w: Any, steps: Array, slots: Any, heap: Integers, requests: Any, blocks: Integers, lru: Any, holders: Integers, r: int) -> None:
    """The iteration with prompt tokens is over (rule 4)."""
    s["busy_s"] += s["pass_end_s"] - s["clock_s"]
    s["clock_s"], s["pass_end_s"] = s["pass_end_s"], math.inf
    if s["decoding"] > 0:
        _pass_steps(c, s, w, steps, 1)
        _settle(c, s, w, slots, heap, requests)
    for place in range(s["prefilled"], s["passed"]):
        i = slots[place]["passing"]
        if requests[i]["sent_tokens"] == 0.0:
            requests[i]["first_token_s"] = s["clock_s"]
        if w["block_tokens"] > 0.0:
            recount(c, s, w, slots, requests)
            held = hold(blocks, lru, holders, r, s["held"], requests[i]["first_block"], requests[i]["blocks"])
            s["held"] = shrink(lru, holders, r, held, room(w, s["used_bytes"]))
    s["prefilled"] = s["passed"]
    if c["static"] == 0.0:
        _decode_passed(c, s, w, slots, heap, requests)


@jit
def run_s(first_s: float, growth_s: float, n: int) -> float:
    """Seconds of n steps, the first of `first_s`, each `growth_s` longer than the one before."""
    return float(n) * first_s + 0.5 * float(n) * float(n - 1) * growth_s


@jit
def _steps_until(clock_s: float, first_s: float, growth_s: float, until_s: float) -> int:
    """The fewest steps, at least 1, after which the clock shows `until_s` or later; the root of run_s, put right to the last digit."""
    b = first_s - 0.5 * growth_s
    seconds = until_s - clock_s
    n = max(math.ceil(2.0 * seconds / (b + math.sqrt(b * b + 2.0 * growth_s * seconds))), 1)
    while clock_s + run_s(first_s, growth_s, n) < until_s:
        n += 1
    while n > 1 and clock_s + run_s(first_s, growth_s, n - 1) >= until_s:
        n -= 1
    return n


@jit
def _planned(c: Any, s: Any, w: Any, heap: Integers, requests: Any, first_s: float, growth_s: float) -> int:
    """Steps to pass in one jump: until a sequence finishes or passes a bound, a request arrives that may be admitted, or the pool may be full."""
    n = (heap[0] >> (_SLOT_BITS + _KIND_BITS)) - s["steps"]
    arrival_s = _next_arrival_s(s, requests)
    if arrival_s < math.inf and c["static"] == 0.0:
        n = min(n, _steps_until(s["clock_s"], first_s, growth_s, arrival_s))
    if w["preempts"] == 1.0:
        n = min(n, steps_in_room(s, w))
    return int(n)


@jit
def advance(
    c: Any,
    s: Any,
    w: Any,
    steps: Array,
    slots: Any,
    heap: Integers,
    requests: Any,
    blocks: Integers,
    lru: Any,
    holders: Integers,
    r: int,
    f: Array,
    bits: Integers,
    limit_s: float,
) -> float:
    """Advance replica r to `limit_s`, up to which all arrivals are known; when it next has something to do (a lower bound), inf where it is empty.

    A run that would end later is not begun: it is planned anew when more is known. No iteration starts at `limit_s` itself, where a request may still arrive.
    """
    while True:
        if s["pass_end_s"] < math.inf:
            if s["pass_end_s"] > limit_s:
                return float(s["pass_end_s"])
            _end_pass(c, s, w, steps, slots, heap, requests, blocks, lru, holders, r)
        if s["load"] == 0:
            return math.inf
        if s["running"] == 0 and _first_waiting(s, requests) < 0:
            s["clock_s"] = _next_arrival_s(s, requests)
        if s["clock_s"] >= limit_s:
            return float(s["clock_s"])
        if w["preempts"] == 1.0:
            make_room(c, s, w, slots, heap, requests, f)
        if w["prefilled"] == 1.0:
            _take_over(c, s, w, slots, heap, requests, blocks, lru, holders, r)
        elif _start_pass(c, s, w, steps, slots, requests, blocks, lru, holders, r, f, bits):
            continue
        if s["passed"] > 0:
            _decode_passed(c, s, w, slots, heap, requests)
            continue
        first_s = step_s(c, steps, s["decoding"], s["sums"])
        growth_s = steps[s["decoding"], PER_CONTEXT] * c["tokens_per_step"] * context_s(c, s["growing"])
        n = _planned(c, s, w, heap, requests, first_s, growth_s)
        end_s = s["clock_s"] + run_s(first_s, growth_s, n)
        if end_s > limit_s:
            return float(end_s)
        s["busy_s"] += end_s - s["clock_s"]
        s["clock_s"], s["evicts"] = end_s, 0
        _pass_steps(c, s, w, steps, n)
        _settle(c, s, w, slots, heap, requests)
