"""Prefix caches: blocks of prompts by their hash, the least recently used evicted first.

A request's prompt is a list of blocks, each named by everything up to its end. Its leading blocks that a replica holds are not prefilled again, but for the
last token; they are touched when it is admitted, and all its blocks are held from the end of its prefill on. Of one request the first block is the most
recently used, so that a prefix outlives what builds on it. A cache of `cache_tokens` holds as many; one of NaN holds what the running requests' reservations
leave of the KV pool. Blocks that are shared count in full in each reservation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accelmodel.core.jit import jit
from accelmodel.core.kernels import Integers

# Links of a list of blocks by their last use. The last row is the list's end: the one `later` than it is the oldest. Only those of held blocks are read.
LINK = np.dtype([("earlier", "i4"), ("later", "i4")])

_WORD = 64  # replicas to a word of `holders`


def empty(kinds: int, replicas: int) -> tuple[Any, Integers]:
    """Empty caches of blocks 0 to `kinds` - 1: lists by last use (replicas, kinds + 1), of which only the ends are touched, so that memory is taken by what is
    held; and `holders` (kinds, words), where bit r of row k says whether replica r holds block k.
    """
    lru = np.zeros((replicas, kinds + 1), LINK)
    lru[:, kinds] = (kinds, kinds)
    return lru, np.zeros((kinds, -(-replicas // _WORD)), np.int64)


@jit
def _holds(holders: Integers, r: int, block: int) -> bool:
    return bool((holders[block, r // _WORD] >> (r % _WORD)) & 1)


@jit
def _flip(holders: Integers, r: int, block: int) -> None:
    """Replica r holds a block from now on, or no more."""
    holders[block, r // _WORD] ^= np.int64(1) << np.int64(r % _WORD)


@jit
def _unlink(lru: Any, block: int) -> None:
    earlier, later = lru[block]["earlier"], lru[block]["later"]
    lru[earlier]["later"], lru[later]["earlier"] = later, earlier


@jit
def matched(blocks: Integers, holders: Integers, r: int, first: int, count: int) -> int:
    """How many leading ones of a request's blocks replica r holds."""
    found = 0
    while found < count and _holds(holders, r, blocks[first + found]):
        found += 1
    return found


@jit
def hold(blocks: Integers, lru: Any, holders: Integers, r: int, held: int, first: int, count: int) -> int:
    """Touch blocks from the last to the first; how many replica r holds now, of `held` before."""
    end = lru.shape[0] - 1
    for place in range(count - 1, -1, -1):
        block = blocks[first + place]
        if _holds(holders, r, block):
            _unlink(lru, block)
        else:
            _flip(holders, r, block)
            held += 1
        newest = lru[end]["earlier"]
        lru[newest]["later"] = block
        lru[block]["earlier"], lru[block]["later"] = newest, end
        lru[end]["earlier"] = block
    return held


@jit
def shrink(lru: Any, holders: Integers, r: int, held: int, most: float) -> int:
    """Evict replica r's least recently used until it holds at most `most` blocks; how many then are."""
    end = lru.shape[0] - 1
    while held > 0 and float(held) > most:
        oldest = lru[end]["later"]
        _unlink(lru, oldest)
        _flip(holders, r, oldest)
        held -= 1
    return held


@jit
def room(w: Any, used_bytes: float) -> float:
    """Blocks that a cache may hold beside reservations of `used_bytes`; `w` is one record of `batching.RULES`."""
    spared: float = max(w["pool_bytes"] - used_bytes, 0.0) / w["block_bytes"]
    fixed: float = w["cache_tokens"] / w["block_tokens"]
    return spared if math.isnan(fixed) else fixed


@jit
def _shifted(bits: int) -> int:
    """One bit to the right, none coming in at the left."""
    return int((bits >> 1) & np.int64(0x7FFFFFFFFFFFFFFF))


@jit
def _spared(bits: int, word: int, rank: Integers, bound: int) -> int:
    """Those replicas of a word of bits whose rank is at most `bound`."""
    kept, left, r = bits, bits, word * _WORD
    while left != 0:
        if left & 1 and rank[r] > bound:
            kept = int(kept ^ (np.int64(1) << np.int64(r % _WORD)))
        left, r = _shifted(left), r + 1
    return kept


@jit
def holder(blocks: Integers, holders: Integers, rank: Integers, bound: int, least: int, first: int, count: int) -> int:
    """The replica that holds most of a prompt, that of least rank of equals, among those whose rank is at most `bound`; `least` where none holds anything.

    Walks down the prompt with the replicas that hold all of it so far, 64 of them at a time.
    """
    words, some = holders.shape[1], np.int64(0)
    alive = np.zeros(words, np.int64)
    for word in range(words if count > 0 else 0):
        alive[word] = _spared(holders[blocks[first], word], word, rank, bound)
        some |= alive[word]
    if some == 0:
        return least
    for depth in range(1, count):
        block, some = blocks[first + depth], np.int64(0)
        for word in range(words):
            some |= alive[word] & holders[block, word]
        if some == 0:
            break
        for word in range(words):
            alive[word] &= holders[block, word]
    best = -1
    for word in range(words):
        left, r = alive[word], word * _WORD
        while left != 0:
            if left & 1 and (best < 0 or rank[r] < rank[best]):
                best = r
            left, r = _shifted(left), r + 1
    return best
