"""What the engine is set beside: NumPy that only writes, and what the same cores reach in plain loops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

THREADS = 2  # as many as the engine's own calls use

Array = np.ndarray[tuple[int], np.dtype[np.float64]]


class Baseline:
    """Something that is timed before every round of a benchmark, so that both see the same machine; `seconds` is its best round."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.rounds: list[float] = []

    def sample(self) -> None:
        """One round."""
        start = time.perf_counter()
        made = self.work()
        self.rounds.append(time.perf_counter() - start)
        del made

    @property
    def seconds(self) -> float:
        """The best round."""
        return min(self.rounds)


def write(columns: int, points: int) -> list[Array]:
    """The same columns with nothing computed: a fresh array each, filled with a number, each thread its half, as the engine fills its own."""
    arrays = [np.empty(points) for _ in range(columns)]
    if points < 50_000:
        for array in arrays:
            array.fill(1.0)
        return arrays
    step = -(-points // THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda start: [array[start : start + step].fill(1.0) for array in arrays], range(0, points, step)))
    return arrays


_TERMS = 32  # multiply-adds on each number while it is in a register


@numba.njit(nogil=True, fastmath={"contract"})
def _multiply_adds(values: Array, passes: int) -> None:
    for _ in range(passes):
        for i in range(values.shape[0]):
            y = values[i]
            for _ in range(_TERMS):
                y = y * 0.999 + 0.001
            values[i] = y


@numba.njit(nogil=True, error_model="numpy")
def _roots_of_quotients(values: Array, passes: int) -> None:
    for _ in range(passes):
        for i in range(values.shape[0]):
            values[i] = math.sqrt(2.0 / values[i])


@numba.njit(nogil=True)
def _copy(source: Array, target: Array) -> None:
    for i in range(source.shape[0]):
        target[i] = source[i]


def _rate(work: Callable[[int], None], amount: float, rounds: int = 20) -> float:
    """The best of some rounds of work(thread) in all threads at once: `amount` of all threads a second."""
    with ThreadPoolExecutor(THREADS) as pool:
        best = math.inf
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(work, range(THREADS)))
            best = min(best, time.perf_counter() - start)
    return amount / best


def ceilings() -> Iterator[tuple[str, float]]:
    """What two threads reach in plain loops: FLOP/s of multiply-adds and operations/s of divisions and roots in the first-level cache, bytes/s of a copy."""
    small = [np.full(1024, 1.5) for _ in range(THREADS)]
    large = [(np.ones(16_000_000), np.ones(16_000_000)) for _ in range(THREADS)]
    for array in small:
        _multiply_adds(array, 1)
        _roots_of_quotients(array, 1)
    _copy(*small)
    yield "multiply_add_flop_per_s", _rate(lambda thread: _multiply_adds(small[thread], 3000), THREADS * 3000 * 1024 * _TERMS * 2)
    yield "divide_root_op_per_s", _rate(lambda thread: _roots_of_quotients(small[thread], 3000), THREADS * 3000 * 1024 * 2)
    yield "copy_byte_per_s", _rate(lambda thread: _copy(*large[thread]), THREADS * 16_000_000 * 16)
