"""What only the NumPy index can get wrong: spilt buckets, equal tags, the choice of its form."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest

from gpu_engine.backend import numpy_index
from gpu_engine.backend.numpy_index import NumpyIndex

INVERSE_1 = pow(int(numpy_index.MULTIPLIER_1), -1, 2**64)
INVERSE_2 = pow(int(numpy_index.MULTIPLIER_2), -1, 2**64)


def keys_of_hashes(hashes: np.ndarray) -> np.ndarray:
    """Return the keys that have these hashes: the hash function backwards."""
    mixed = hashes * np.uint64(INVERSE_2)
    return ((mixed ^ (mixed >> np.uint64(32))) * np.uint64(INVERSE_1)).view(np.int64)


def tags_of_hashes(hashes: np.ndarray) -> np.ndarray:
    return (hashes * np.uint64(INVERSE_2)) >> np.uint64(48)


def form_of(index: NumpyIndex) -> str:
    return type(index._slots).__name__


@pytest.mark.parametrize("top", [0, 0x7FFF, 0xFFFF])
def test_keys_that_all_hash_to_one_bucket_spill_and_are_found(top: int) -> None:
    hashes = (np.uint64(top) << np.uint64(48)) + np.arange(1000, dtype=np.uint64) * np.uint64(1 << 20)
    keys = keys_of_hashes(hashes)
    index = NumpyIndex()
    for start in range(0, 900, 90):
        assert index.insert(keys[start : start + 90]).tolist() == list(range(start, start + 90))
    assert index.lookup(keys).tolist() == [*range(900), *[-1] * 100]
    assert index.insert(keys).tolist() == list(range(1000))


def test_keys_with_one_bucket_and_one_tag_are_told_apart() -> None:
    hashes = (np.uint64(9) << np.uint64(56)) + np.arange(2_000_000, dtype=np.uint64) * np.uint64(0x9E3779B1)
    hashes = hashes[tags_of_hashes(hashes) == tags_of_hashes(hashes[:1])]
    assert len(hashes) > 10
    keys = keys_of_hashes(hashes)
    index = NumpyIndex()
    assert index.insert(keys[::2]).tolist() == list(range(len(keys[::2])))
    assert index.lookup(keys[1::2]).tolist() == [-1] * len(keys[1::2])
    assert index.lookup(keys[::-2] if len(keys) % 2 else keys[-2::-2]).tolist() == list(range(len(keys[::2])))[::-1]


def test_a_free_slot_is_never_taken_for_the_first_key() -> None:
    """Free slots have tag 0 and id 0: a key of tag 0 finds them, and must not get the id 0 for it."""
    hashes = np.arange(1, 2_000_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys = keys_of_hashes(hashes[tags_of_hashes(hashes) <= 1])
    assert len(keys) > 20
    index = NumpyIndex()
    for known in range(len(keys)):
        assert index.lookup(keys).tolist() == [*range(known), *[-1] * (len(keys) - known)]
        index.insert(keys[known : known + 1])


def test_a_bucket_that_ends_with_the_lowest_tag_is_full() -> None:
    hashes = (np.uint64(9) << np.uint64(56)) + np.arange(2_000_000, dtype=np.uint64) * np.uint64(0x9E3779B1)
    lowest = tags_of_hashes(hashes) == 0
    assert lowest.any()
    slots = numpy_index.SLOTS
    others = hashes[~lowest][: slots + 1]
    keys = keys_of_hashes(np.concatenate([others[: slots - 1], hashes[lowest][:1], others[slots - 1 :]]))
    index = NumpyIndex()
    for key in keys:
        index.insert(key[None])
    assert index.lookup(keys).tolist() == list(range(len(keys)))


@pytest.mark.parametrize("step", [1, -1, 10**10])
def test_one_by_one_the_table_is_seldom_rebuilt(step: int) -> None:
    index = NumpyIndex()
    rebuilt, slots = 0, index._slots
    for i in range(12_000):
        index.insert(np.array([i * step]))
        rebuilt += index._slots is not slots
        slots = index._slots
    assert rebuilt <= 12


def test_a_reader_between_any_two_lines_of_the_writer_sees_whole_keys() -> None:
    """Every line of the writer, traced: a reader comes in there. Deterministic where threads are not."""
    batches = [
        *(np.arange(start, start + 700) for start in range(0, 4200, 700)),
        np.arange(-50, 10),
        np.array([2**62, 5, 2**62, -7]),
        *(np.arange(start, start + 90) * 10**10 for start in range(1, 400, 90)),
        np.arange(500, 900) * 10**10,
    ]
    index = NumpyIndex()
    known: list[int] = []
    coming: list[int] = []
    visits = 0

    def visit() -> None:
        nonlocal visits
        visits += 1
        keys = known + coming
        ids = index.lookup(np.array(keys, np.int64)).tolist()
        assert ids[: len(known)] == list(range(len(known)))
        assert all(found in (-1, i) for i, found in enumerate(ids))
        seen = index.keys.tolist()
        assert len(seen) >= len(known)
        assert seen == keys[: len(seen)]

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != numpy_index.__file__:
            return None
        if event == "line":
            visit()
        return trace

    before = sys.gettrace()
    for batch in batches:
        coming = [key for key in dict.fromkeys(batch.tolist()) if key not in set(known)]
        sys.settrace(trace)
        try:
            index.insert(batch)
        finally:
            sys.settrace(before)
        known, coming = known + coming, []
    visit()
    assert form_of(index) == "_HashSlots"
    assert visits > 300


def test_compact_keys_are_in_a_range_table_and_scattered_ones_in_a_hash_table() -> None:
    index = NumpyIndex()
    index.insert(np.arange(50_000))
    assert form_of(index) == "_RangeSlots"
    index.insert(np.array([10**9]))
    assert form_of(index) == "_HashSlots"
    assert index.lookup(np.array([49_999, 10**9, 50_000, -1])).tolist() == [49_999, 50_000, -1, -1]


def test_scattered_keys_that_become_compact_go_back_to_a_range_table() -> None:
    index = NumpyIndex()
    index.insert(np.arange(0, 100_000, 25))
    assert form_of(index) == "_HashSlots"
    expected = {key: i for i, key in enumerate(range(0, 100_000, 25))}
    for part in range(1, 25):
        keys = list(range(part, 100_000, 25))
        ids = [expected.setdefault(key, len(expected)) for key in keys]
        assert index.insert(np.array(keys)).tolist() == ids
    assert form_of(index) == "_RangeSlots"
    assert index.lookup(np.arange(-1, 100_001)).tolist() == [-1, *(expected[key] for key in range(100_000)), -1]


def test_a_range_table_grows_downwards_to_the_first_integer() -> None:
    first = np.iinfo(np.int64).min
    index = NumpyIndex()
    index.insert(np.arange(first + 1000, first + 2000))
    index.insert(np.arange(first, first + 1000))
    assert form_of(index) == "_RangeSlots"
    assert index.lookup(np.array([first, first + 1999, first + 2000, -1])).tolist() == [1000, 999, -1, -1]


def test_more_keys_than_ids_are_refused_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_index, "MAX_KEYS", 5)
    index = NumpyIndex()
    index.insert(np.array([1, 2, 3, 3]))
    with pytest.raises(OverflowError, match="at most 5 keys; 6 are asked for"):
        index.insert(np.array([1, 7, 8, 9]))
    assert len(index) == 3
    assert index.lookup(np.array([1, 7])).tolist() == [0, -1]
    assert index.insert(np.array([8, 9])).tolist() == [3, 4]


def test_rows_of_any_stride_can_be_keys() -> None:
    table = np.arange(3000).reshape(-1, 3) * 10**10
    index = NumpyIndex()
    assert index.insert(table[:, 1]).tolist() == list(range(1000))
    assert index.lookup(table[::-1, 1]).tolist() == list(range(1000))[::-1]
