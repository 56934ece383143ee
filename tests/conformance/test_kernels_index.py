"""The kernels of the entity index, run on the CPU in random orders of threads: ids as a plain dictionary gives them."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.cuda_shim.cpu_module import CpuModule, TrappedError

FIRST, LAST = -(2**63), 2**63 - 1
INT64 = st.integers(FIRST, LAST)
KEY_SETS = {
    "none": [],
    "one": [7],
    "one many times": [7] * 700,
    "extremes": [LAST, FIRST, 0, -1, -2, FIRST, LAST, 2**32, -(2**32), FIRST + 1],
    "rising": list(range(-300, 300)),
    "falling, each twice": [key for key in range(400, 0, -1) for _ in range(2)],
    "a stride that a plain modulus would send to one slot": [key << 40 for key in range(512)],
}


def ints(values: Any) -> Any:
    return np.array(values, np.int64)


class Index:
    """The host's part, as small as can be: an index in the memory that kernels work on."""

    def __init__(self, kernels: CpuModule, bits: int = 4) -> None:
        self.kernels = kernels
        self.table = (np.full(1 << bits, -1, np.int32), np.full(1 << bits >> 1, -12345, np.int64))
        self.count = 0

    def run(self, name: str, rows: int, *arguments: Any, block: int = 32) -> None:
        self.kernels.get_function(name)((max(1, min(3, -(-rows // block))),), (block,), arguments)

    def lookup(self, wanted: list[int]) -> list[int]:
        slots, keys = self.table
        ids = np.full(len(wanted), 99, np.int32)
        self.run("index_lookup", len(wanted), ints(wanted), len(wanted), slots, len(slots) - 1, keys, ids)
        return ids.tolist()

    def grow(self, total: int) -> None:
        """Make room for so many keys in a table that no reader has yet."""
        slots, keys = self.table
        if 2 * total <= len(slots):
            return
        capacity = 1 << (2 * total - 1).bit_length()
        larger = np.full(capacity, -1, np.int32), np.full(capacity // 2, -12345, np.int64)
        larger[1][: self.count] = keys[: self.count]
        self.run("index_rehash", self.count, larger[1], self.count, larger[0], capacity - 1)
        self.table = larger

    def claim(self, wanted: list[int]) -> Any:
        slots, keys = self.table
        slot_of = np.full(len(wanted), -1, np.int64)
        self.run("index_claim", len(wanted), ints(wanted), len(wanted), slots, len(slots) - 1, keys, slot_of)
        return slot_of

    def insert(self, wanted: list[int]) -> list[int]:
        self.grow(self.count + len(wanted))
        (slots, keys), n = self.table, len(wanted)
        slot_of = self.claim(wanted)
        first, ids = np.full(n, 9, np.int32), np.full(n, 99, np.int32)
        self.run("index_first", n, slots, slot_of, n, first)
        rank = np.cumsum(first, dtype=np.int64)
        self.run("index_publish", n, ints(wanted), slot_of, first, rank, n, self.count, slots, keys)
        self.run("index_gather", n, slots, slot_of, n, ids)
        self.count += int(first.sum())
        return ids.tolist()

    def insert_block(self, wanted: list[int], threads: int) -> list[int]:
        self.grow(self.count + len(wanted))
        (slots, keys), n = self.table, len(wanted)
        ids, count = np.full(n, 99, np.int32), np.full(1, -1, np.int64)
        arguments = (ints(wanted), n, slots, len(slots) - 1, keys, self.count, ids, count)
        self.run("index_insert_block", 1, *arguments, block=threads)
        self.count = int(count[0])
        return ids.tolist()


@pytest.fixture
def index(kernels: CpuModule) -> Index:
    return Index(kernels)


def expected(known: dict[int, int], wanted: list[int]) -> list[int]:
    return [known.setdefault(key, len(known)) for key in wanted]


def check(index: Index, known: dict[int, int]) -> None:
    assert index.count == len(known)
    assert index.table[1][: index.count].tolist() == list(known)
    absent = [key for key in (FIRST, LAST, -1, 0, 7, 12345, -12345) if key not in known]
    assert index.lookup([*known, *absent]) == [*known.values(), *[-1] * len(absent)]


@pytest.mark.parametrize("wanted", KEY_SETS.values(), ids=KEY_SETS)
def test_ids_follow_the_first_occurrence(index: Index, wanted: list[int]) -> None:
    known: dict[int, int] = {}
    assert index.lookup(wanted) == [-1] * len(wanted)
    assert index.insert(wanted) == expected(known, wanted)
    assert index.insert(wanted[::-1]) == expected(known, wanted[::-1])
    check(index, known)


@pytest.mark.parametrize("wanted", KEY_SETS.values(), ids=KEY_SETS)
def test_one_block_gives_the_same_ids(index: Index, wanted: list[int]) -> None:
    known: dict[int, int] = {}
    for part in (wanted[:1], wanted, wanted[::-1]):
        threads = max(32, 1 << max(len(part) - 1, 0).bit_length())
        assert index.insert_block(part, threads) == expected(known, part)
    check(index, known)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 1000, 1023, 1024])
def test_one_block_of_any_size(index: Index, rows: int) -> None:
    known: dict[int, int] = {}
    wanted = [key * key % 601 - 300 for key in range(rows)]
    assert index.insert_block(wanted, 1024) == expected(known, wanted)
    check(index, known)


def test_bulk_with_repeated_keys(index: Index) -> None:
    chance, known = random.Random(3), {}
    for spread in (2**63, 5000):
        wanted = [chance.randrange(-spread, spread) for _ in range(10_000)]
        assert index.insert(wanted) == expected(known, wanted)
    check(index, known)


@settings(max_examples=60)
@given(batches=st.lists(st.lists(st.one_of(INT64, st.integers(-4, 4)), max_size=40), max_size=6), block=st.booleans())
def test_any_batches_give_the_ids_of_a_dictionary(kernels: CpuModule, batches: list[list[int]], block: bool) -> None:
    index, known = Index(kernels, bits=1), {}
    for batch in batches:
        got = index.insert_block(batch, 64) if block else index.insert(batch)
        assert got == expected(known, batch)
    check(index, known)


def test_same_batch_gives_the_same_ids_in_every_order_of_threads(kernels: CpuModule) -> None:
    chance = random.Random(5)
    wanted = [chance.randrange(40) for _ in range(400)]
    for _ in range(20):
        assert Index(kernels, bits=10).insert(wanted) == expected({}, wanted)


@pytest.mark.parametrize("held", [7, 8])
def test_growth_at_the_boundary_keeps_all_ids(index: Index, held: int) -> None:
    known: dict[int, int] = {}
    for key in range(held):  # room for 8
        index.insert([key * 1000])
        expected(known, [key * 1000])
    slots = index.table[0]
    assert index.insert([-1]) == expected(known, [-1])
    assert (index.table[0] is slots) == (held == 7)
    check(index, known)


def test_keys_are_found_past_the_end_of_the_table(kernels: CpuModule) -> None:
    for keys in ([i * 7 + shift for i in range(8)] for shift in range(200)):  # 8 of 16 slots, wrapped around in some
        index = Index(kernels)
        assert index.insert(keys) == list(range(8))
        assert index.lookup(keys) == list(range(8))


def test_withdrawn_claims_leave_nothing(index: Index) -> None:
    known: dict[int, int] = {}
    index.insert([5, 6])
    expected(known, [5, 6])
    index.grow(20)
    before = index.table[0].copy()
    slot_of = index.claim([9, 5, 9, FIRST])
    assert (index.table[0] < -1).sum() == 2
    assert index.lookup([5, 6, 9, FIRST]) == [0, 1, -1, -1], "a claim is not an id"
    index.run("index_withdraw", 4, index.table[0], slot_of, 4)
    assert (index.table[0] == before).all()
    assert index.insert([FIRST, 9]) == expected(known, [FIRST, 9])
    check(index, known)


def test_full_table_is_refused_instead_of_searched_for_ever(kernels: CpuModule) -> None:
    with pytest.raises(TrappedError, match="1 threads trapped"):
        Index(kernels, bits=2).claim([1, 2, 3, 4, 5])


def test_claims_left_behind_are_refused(index: Index) -> None:
    index.claim([1, 2])
    with pytest.raises(TrappedError, match="1 threads trapped"):
        index.claim([2])


def test_more_rows_than_threads_are_refused_by_one_block(index: Index) -> None:
    with pytest.raises(TrappedError):
        index.insert_block(list(range(65)), 64)


def test_id_is_not_seen_before_its_key(kernels: CpuModule) -> None:
    """What lies in the memory of a key before it is written is here the worst that can be: another key."""
    chance, n = random.Random(7), 8
    for _ in range(400):
        keys = chance.sample(range(1000), n)
        index, asked, ids = Index(kernels), keys[1:] + keys[:1], np.full(n, 99, np.int32)
        slots, memory = index.table
        memory[:] = asked
        slot_of, first, rank = index.claim(keys), np.ones(n, np.int32), np.arange(1, n + 1)
        insert = (ints(keys), slot_of, first, rank, n, 0, slots, len(slots) - 1, memory)
        index.run("index_lookup_beside_publish", 1, *insert, ints(asked), ids)
        assert all(found in (-1, keys.index(key)) for key, found in zip(asked, ids.tolist(), strict=True))


@pytest.mark.parametrize("whole_blocks", [True, False])
def test_readers_beside_the_writer_get_no_wrong_id_and_miss_no_older_key(
    kernels: CpuModule, whole_blocks: bool
) -> None:
    chance = random.Random(11)
    keys = list({chance.choice([chance.randrange(FIRST, LAST), chance.randrange(500)]) for _ in range(3000)})
    id_of = {key: i for i, key in enumerate(keys)}
    index, done, problems = Index(kernels), threading.Event(), []

    def read() -> None:
        own = random.Random(threading.get_ident())
        while not done.is_set():
            inserted = index.count  # before the table is read
            wanted = own.sample(keys, 60) + keys[max(0, inserted - 40) : inserted + 40]
            for key, found in zip(wanted, index.lookup(wanted), strict=True):
                if found != id_of[key] and (found != -1 or id_of[key] < inserted):
                    problems.append((key, found, id_of[key], inserted))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        start = 0
        while start < len(keys):
            batch = keys[start : start + chance.randrange(1, 128)]
            ids = index.insert_block(batch, 128) if whole_blocks else index.insert(batch)
            assert ids == list(range(start, start + len(batch)))
            start += len(batch)
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert not any(reader.is_alive() for reader in readers)
    assert not problems[:5]
