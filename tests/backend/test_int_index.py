"""The integer index of every backend behaves like a dict that numbers its keys, for one writer and many readers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.int_index import IntIndex
from tests.backends import BACKENDS

FIRST, LAST = -(2**63), 2**63 - 1


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    return BACKENDS[request.param]()


class Numbered:
    """An index under test beside the dict that it must agree with."""

    def __init__(self, backend: ArrayBackend) -> None:
        self.backend = backend
        self.index: IntIndex = backend.int_index()
        self.ids: dict[int, int] = {}

    def array(self, keys: list[int]) -> Any:
        return self.backend.from_host(keys, self.backend.xp.int64)

    def listed(self, array: Any) -> list[int]:
        return self.backend.to_host(array).tolist()

    def insert(self, keys: list[int]) -> None:
        ids = self.index.insert(self.array(keys))
        assert ids.dtype == self.backend.xp.int32
        assert self.listed(ids) == [self.ids.setdefault(key, len(self.ids)) for key in keys]
        assert len(self.index) == len(self.ids)

    def check(self, others: list[int]) -> None:
        """Look up all known keys and some others, and compare the key of each id."""
        known = list(self.ids)
        ids = self.index.lookup(self.array(known + others))
        assert ids.dtype == self.backend.xp.int32
        assert self.listed(ids) == [self.ids.get(key, -1) for key in known + others]
        assert self.listed(self.index.keys) == known


SHAPES: dict[str, Callable[[int], int]] = {
    "ascending": lambda i: i,
    "descending": lambda i: -i,
    "around zero": lambda i: (i + 1) // 2 * (1 if i % 2 else -1),
    "with gaps": lambda i: i * 3 + 10**15,
    "spread": lambda i: i * 86_400_000_000,
    "high bits": lambda i: (i << 44) + FIRST,
    "two parts": lambda i: (i // 100 << 32) + i % 100,
    "from the first int64": lambda i: FIRST + i,
    "from the last int64": lambda i: LAST - i,
    "both ends": lambda i: FIRST + i if i % 2 else LAST - i,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 7, 100, 600, 5000])
def test_ids_follow_the_order_of_insertion(backend: ArrayBackend, shape: str, batch: int) -> None:
    numbered = Numbered(backend)
    keys = [SHAPES[shape](i) for i in range(min(10_000, 300 * batch))]
    for start in range(0, len(keys), batch):
        numbered.insert(keys[start : start + batch])
    numbered.check([FIRST, -1, 0, 1, 12345, LAST, *(key ^ (1 << 40) for key in keys[:100])])


@pytest.mark.parametrize("shape", SHAPES)
def test_duplicates_in_a_batch_share_the_id_of_the_first(backend: ArrayBackend, shape: str) -> None:
    numbered = Numbered(backend)
    for count, distinct in ((3, 1), (400, 90), (2000, 333), (20_000, 7000)):
        numbered.insert([SHAPES[shape](i * 7919 % distinct) for i in range(count)])
        numbered.check([LAST - 10**6])


def test_an_empty_index_knows_nothing(backend: ArrayBackend) -> None:
    numbered = Numbered(backend)
    numbered.check([FIRST, -1, 0, LAST])
    numbered.insert([])
    numbered.check([FIRST, -1, 0, LAST])


@pytest.mark.parametrize("key", [FIRST, -1, 0, 1, LAST])
def test_every_integer_is_a_key(backend: ArrayBackend, key: int) -> None:
    numbered = Numbered(backend)
    numbered.insert([key, key])
    numbered.check([k for k in (FIRST, -1, 0, 1, LAST) if k != key])


def test_growth_at_every_size(backend: ArrayBackend) -> None:
    compact, spread = Numbered(backend), Numbered(backend)
    for i in range(1500):
        compact.insert([i])
        spread.insert([i * 10**9 + 1])
    compact.check([1500, -1])
    spread.check([0, 2])


def test_one_far_key_after_many_near_ones(backend: ArrayBackend) -> None:
    numbered = Numbered(backend)
    numbered.insert(list(range(20_000)))
    for far in (LAST, FIRST, 2**40):
        numbered.insert([far, 5, 20_000 + far % 7])
        numbered.check([-1, 40_000, far // 2])


def test_gaps_that_fill_up(backend: ArrayBackend) -> None:
    numbered = Numbered(backend)
    for part in range(8):
        numbered.insert(list(range(part, 80_000, 8)))
        numbered.check([part + 1, 80_000, -1])


def test_a_bulk_of_a_million_keys_with_duplicates(backend: ArrayBackend) -> None:
    numbered = Numbered(backend)
    keys = [i % 1_050_000 * 2654435761 % 2**61 for i in range(1_100_000)]
    numbered.insert(keys)
    numbered.check([-5])


def test_keys_seen_earlier_do_not_change_when_more_come(backend: ArrayBackend) -> None:
    numbered = Numbered(backend)
    numbered.insert([30, 10, 20])
    seen = numbered.index.keys
    numbered.insert(list(range(100_000)))
    assert numbered.listed(seen) == [30, 10, 20]


def test_keys_of_another_type_are_refused(backend: ArrayBackend) -> None:
    index = backend.int_index()
    for verb in (index.lookup, index.insert):
        with pytest.raises(TypeError, match="int64 keys, not int32"):
            verb(backend.from_host([1], backend.xp.int32))


@pytest.mark.parametrize(("step", "limit"), [(1, 40), (10**9 + 7, 48)])
def test_memory_per_key_is_bounded(backend: ArrayBackend, step: int, limit: int) -> None:
    index = backend.int_index()
    for part in range(40):
        index.insert(backend.from_host([(part * 5000 + i) * step for i in range(5000)], backend.xp.int64))
        if part:
            assert index.nbytes <= limit * len(index)


KEYS = st.one_of(
    st.integers(-5, 300),
    st.integers(0, 2**20),
    st.integers(FIRST, LAST),
    st.sampled_from([FIRST, FIRST + 1, -1, 0, LAST - 1, LAST]),
)


class IndexEqualsDict(RuleBasedStateMachine):
    """Any order of small, bulk, repeated, near and far insertions."""

    backend: ArrayBackend

    def __init__(self) -> None:
        super().__init__()
        self.numbered = Numbered(self.backend)

    @rule(keys=st.lists(KEYS, max_size=20))
    def insert(self, keys: list[int]) -> None:
        self.numbered.insert(keys)

    @rule(start=st.integers(FIRST, LAST - 3000 * 3), count=st.integers(1, 3000), step=st.sampled_from([1, 2, 3, -1]))
    def insert_range(self, start: int, count: int, step: int) -> None:
        low = start if step > 0 else start + count
        self.numbered.insert([low + i * step for i in range(count)])

    @rule(count=st.integers(1, 3000), step=st.integers(1, 2**50))
    def insert_spread(self, count: int, step: int) -> None:
        self.numbered.insert([i * step for i in range(count)])

    @precondition(lambda self: self.numbered.ids)
    @rule(data=st.data())
    def insert_again(self, data: st.DataObject) -> None:
        known = st.sampled_from(list(self.numbered.ids))
        self.numbered.insert(data.draw(st.lists(st.one_of(known, KEYS), max_size=20)))

    @rule(keys=st.lists(KEYS, max_size=20))
    def look_up(self, keys: list[int]) -> None:
        self.numbered.check(keys)

    @invariant()
    def has_as_many_keys(self) -> None:
        assert len(self.numbered.index) == len(self.numbered.ids)

    def teardown(self) -> None:
        self.numbered.check([0, FIRST, LAST])


def test_any_history_equals_a_dict(backend: ArrayBackend) -> None:
    machine = type("Machine", (IndexEqualsDict,), {"backend": backend})
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
    machine.TestCase("runTest").runTest()


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("step", [1, 10**9 + 7])
def test_readers_find_what_was_there_and_never_a_wrong_id(backend: ArrayBackend, step: int) -> None:
    """The writer goes from a compact range over a far key to scattered keys, growing on the way."""
    keys = [i * step for i in range(6000)] + [LAST] + [i * 2654435761 + 10**5 for i in range(6000)]
    assert len(set(keys)) == len(keys)
    index, array = backend.int_index(), backend.from_host(keys, backend.xp.int64)
    inserted, wrong, rounds = [0], list[str](), [0, 0]

    def read(reader: int) -> None:
        while not wrong:
            before = inserted[0]
            ids = backend.to_host(index.lookup(array)).tolist()
            seen = backend.to_host(index.keys).tolist()
            if ids[:before] != list(range(before)):
                wrong.append(f"a key inserted before is missing, {before} were there")
            if any(found not in (-1, i) for i, found in enumerate(ids)):
                wrong.append("a key has a wrong id")
            if len(seen) < before or seen != keys[: len(seen)]:
                wrong.append("the keys are not those inserted so far")
            rounds[reader] += 1
            if before == len(keys):
                return

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(2)]
    for reader in readers:
        reader.start()
    try:
        for start in range(0, len(keys), 60):
            index.insert(array[start : start + 60])
            inserted[0] = min(start + 60, len(keys))
    except BaseException:
        wrong.append("the writer failed")
        raise
    finally:
        for reader in readers:
            reader.join(timeout=60)
    assert wrong == []
    assert not any(reader.is_alive() for reader in readers)
    assert min(rounds) >= 1
