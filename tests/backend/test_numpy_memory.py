"""Reservations of address space: arrays that stay where they are, and what happens where none can be had."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from gpu_engine.backend.numpy_index import NumpyIndex
from gpu_engine.backend.numpy_memory import RESERVED_FROM, enlarged, growth, held, roomy

LARGE = RESERVED_FROM // 8


def place(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_a_large_array_grows_without_moving_and_its_readers_see_the_same_rows() -> None:
    array = enlarged(np.zeros(0, np.int64), 0, LARGE)
    array[:] = np.arange(LARGE)
    grown = enlarged(array, LARGE, 3 * LARGE)
    assert place(grown) == place(array)
    grown[LARGE:] = -1
    assert (array == np.arange(LARGE)).all()
    assert (grown[:LARGE] == array).all()


def test_a_small_array_moves_into_a_reservation_once() -> None:
    array = enlarged(np.arange(100), 100, LARGE)
    assert array[:100].tolist() == list(range(100))
    assert place(enlarged(array, 100, 4 * LARGE)) == place(array)


def test_memory_is_taken_by_what_is_written_only() -> None:
    array = roomy(LARGE, np.int64)
    assert len(array) >= LARGE
    assert held(array, 10) == 80
    small = roomy(10, np.int64)
    assert held(small, 3) == small.nbytes == 80


def test_growth_in_place_takes_memory_for_the_new_rows_only() -> None:
    array = enlarged(np.zeros(0, np.int64), 0, 8 * LARGE)
    assert growth(array, len(array), len(array) + 1) == LARGE
    assert growth(array, len(array), 10 * LARGE) == 2 * LARGE
    assert growth(np.zeros(100), 100, 101) == 200


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import numpy as np
from gpu_engine.backend.numpy_index import NumpyIndex
from gpu_engine.backend.numpy_memory import RESERVED_FROM, enlarged
rows = RESERVED_FROM // 8
array = enlarged(np.arange(rows), rows, rows + 1)
assert len(array) == 2 * rows, "it was to be copied into twice the room"
assert (array[:rows] == np.arange(rows)).all()
index = NumpyIndex()
assert (index.insert(np.arange(4 * rows)) == np.arange(4 * rows)).all()
assert index.lookup(np.array([4 * rows, 0, 4 * rows - 1])).tolist() == [-1, 0, 4 * rows - 1]
"""


def test_where_address_space_is_limited_arrays_are_copied() -> None:
    run = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_an_index_of_many_keys_finds_those_of_before_through_every_growth() -> None:
    index = NumpyIndex()
    for start in range(0, 2_000_000, 125_000):
        slots = index._slots
        index.insert(np.arange(start, start + 125_000))
        assert (slots.lookup(np.array([2**62, -5, start + 500_000])) == -1).all(), "an old table gives no wrong id"
    keys = np.arange(-10, 2_000_010)
    expected = np.where((keys >= 0) & (keys < 2_000_000), keys, -1)
    assert (index.lookup(keys) == expected).all()
    assert index.nbytes < 20 * 2_000_000
