"""Memory of large results, used again: a fresh page costs several times what writing it does, and a sweep drops one table after the other."""

from __future__ import annotations

import collections
import mmap

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_POOLED_FROM = 1 << 22  # bytes; below, the C library keeps pages itself
_KEPT = 2  # blocks; one is written while another may still be read
_PAGE = 1 << 21  # bytes of a huge page

_free: collections.deque[mmap.mmap] = collections.deque()


class _Block:
    """Memory of one array. NumPy and Arrow hold it through all views; when the last is gone, the memory may be used again.

    Until then the system may take back what is in it (MADV_FREE), so that idle memory is not missed elsewhere.
    """

    def __init__(self, memory: mmap.mmap, size: int) -> None:
        self.memory = memory
        address = np.frombuffer(memory, dtype=np.uint8).ctypes.data
        self.__array_interface__ = {"shape": (size,), "typestr": "<f8", "data": (address, False), "version": 3}

    def __del__(self) -> None:
        if len(_free) < _KEPT:
            self.memory.madvise(mmap.MADV_FREE)
            _free.append(self.memory)


def empty(rows: int, columns: int) -> Array:
    """An array of `rows` x `columns` numbers, not initialised, in memory of earlier results where there is some that fits and is no more used."""
    needed = rows * columns * 8
    if needed < _POOLED_FROM or not hasattr(mmap, "MADV_FREE"):
        return np.empty((rows, columns))
    return np.asarray(_Block(_memory(needed), rows * columns)).reshape(rows, columns)


def _memory(needed: int) -> mmap.mmap:
    """A free block of at least the size that is not twice too large, or a new one; blocks that do not suit go back to the system."""
    for _ in range(len(_free)):
        try:
            found = _free.popleft()
        except IndexError:
            break
        if needed <= len(found) <= 2 * needed:
            return found
    made = mmap.mmap(-1, -(-needed // _PAGE) * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        made.madvise(mmap.MADV_HUGEPAGE)
    return made
