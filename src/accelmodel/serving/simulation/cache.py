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

# Links of a list of blocks by their last use; `later` -1: not held. The last row is the list's end: the one `later` than it is the oldest.
LINK = np.dtype([("earlier", "i4"), ("later", "i4")])


@jit
def clear(lru: Any) -> None:
    """Empty lists of blocks (replicas, blocks + 1)."""
    for r in range(lru.shape[0]):
        end = lru.shape[1] - 1
        for block in range(end):
            lru[r, block]["later"] = -1
        lru[r, end]["earlier"] = lru[r, end]["later"] = end


@jit
def _unlink(lru: Any, block: int) -> None:
    earlier, later = lru[block]["earlier"], lru[block]["later"]
    lru[earlier]["later"], lru[later]["earlier"] = later, earlier


@jit
def _touch(lru: Any, block: int) -> int:
    """Make a block the most recently used; 1 where it was not held."""
    added = 1
    if lru[block]["later"] >= 0:
        _unlink(lru, block)
        added = 0
    end = lru.shape[0] - 1
    newest = lru[end]["earlier"]
    lru[newest]["later"] = block
    lru[block]["earlier"], lru[block]["later"] = newest, end
    lru[end]["earlier"] = block
    return added


@jit
def matched(lru: Any, blocks: Integers, first: int, count: int) -> int:
    """How many leading ones of a request's blocks are held."""
    found = 0
    while found < count and lru[blocks[first + found]]["later"] >= 0:
        found += 1
    return found


@jit
def hold(lru: Any, held: int, blocks: Integers, first: int, count: int) -> int:
    """Touch blocks from the last to the first; how many are held now, of `held` before."""
    for place in range(count - 1, -1, -1):
        held += _touch(lru, blocks[first + place])
    return held


@jit
def shrink(lru: Any, held: int, most: float) -> int:
    """Evict the least recently used until at most `most` blocks are held; how many then are."""
    end = lru.shape[0] - 1
    while held > 0 and float(held) > most:
        oldest = lru[end]["later"]
        _unlink(lru, oldest)
        lru[oldest]["later"] = -1
        held -= 1
    return held


@jit
def room(w: Any, used_bytes: float) -> float:
    """Blocks that a cache may hold beside reservations of `used_bytes`; `w` is one record of `batching.RULES`."""
    spared: float = max(w["pool_bytes"] - used_bytes, 0.0) / w["block_bytes"]
    fixed: float = w["cache_tokens"] / w["block_tokens"]
    return spared if math.isnan(fixed) else fixed
