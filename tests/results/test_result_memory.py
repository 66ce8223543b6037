"""Memory of large results: used again when nobody looks at it any more, never before."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pyarrow as pa
import pytest

import accelmodel as am
from accelmodel.results import memory

ROWS, COLUMNS = 3, 1 << 20


def address(array: np.ndarray) -> int:
    return array.ctypes.data


@pytest.fixture(autouse=True)
def _nothing_kept():
    gc.collect()
    memory._free.clear()


def test_memory_of_a_dropped_array_is_used_again():
    first = memory.empty(ROWS, COLUMNS)
    place = address(first)
    del first
    assert address(memory.empty(ROWS, COLUMNS)) == place


def test_memory_that_a_view_or_arrow_still_reads_is_not_used_again():
    first = memory.empty(ROWS, COLUMNS)
    first[:] = 7.0
    row, column = first[1, 10:], pa.array(first[2])
    place = address(first)
    del first
    second = memory.empty(ROWS, COLUMNS)
    second[:] = 9.0
    assert address(second) != place
    assert (row == 7.0).all()
    assert set(column[:1000].to_pylist()) == {7.0}
    del row, column
    assert address(memory.empty(ROWS, COLUMNS)) == place


def test_small_and_much_smaller_arrays_do_not_take_large_memory():
    large = memory.empty(ROWS, COLUMNS)
    del large
    assert memory.empty(2, 10).base is None
    memory.empty(1, COLUMNS)
    assert all(len(block) < ROWS * COLUMNS * 8 for block in memory._free), "what is more than twice too large goes back to the system"


def test_no_more_than_two_blocks_wait():
    arrays = [memory.empty(ROWS, COLUMNS) for _ in range(5)]
    del arrays
    assert len(memory._free) <= 2


def test_threads_never_share_memory():
    wrong = []

    def work(number: float) -> None:
        for _ in range(50):
            mine = memory.empty(1, 1 << 19)
            mine[:] = number
            if not (mine == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(float(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_earlier_table_keeps_its_numbers_while_later_ones_come_and_go():
    replica = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
    load = {"input_tokens": np.linspace(100, 4000, 800)[:, None], "concurrency": np.linspace(1, 64, 1000)[None, :]}
    kept = am.evaluate(replica, **load, output_tokens=100)["time_per_output_token_s"]
    before = kept.to_numpy().copy()
    for output_tokens in (200, 300, 400):
        am.evaluate(replica, **load, output_tokens=output_tokens)
    assert np.array_equal(kept.to_numpy(), before)
