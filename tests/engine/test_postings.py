"""Postings against a dictionary of lists: whatever runs the entries lie in, a look-up finds all and no other."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.storage.postings import Postings
from tests.backends import BACKENDS

CODES = 40


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    """Each backend of this machine."""
    return BACKENDS[request.param]()


def found(postings: Postings, backend: ArrayBackend, wanted: list[int], size: int) -> dict[int, list[int]]:
    owners, entries = postings.find(backend.from_host(wanted, "int64"), size)
    by_code: dict[int, list[int]] = defaultdict(list)
    for owner, entry in zip(backend.to_host(owners).tolist(), backend.to_host(entries).tolist(), strict=True):
        by_code[wanted[owner]].append(entry)
    return {code: sorted(entries) for code, entries in by_code.items()}


@pytest.mark.parametrize("size", [CODES, 100_000], ids=["few codes", "codes that are far apart"])
@pytest.mark.parametrize("tail", [0, 7, 1 << 16])
def test_a_look_up_finds_what_was_added(
    backend: ArrayBackend, monkeypatch: pytest.MonkeyPatch, tail: int, size: int
) -> None:
    monkeypatch.setattr("gpu_engine.storage.postings._TAIL", max(tail, 1))
    monkeypatch.setattr("gpu_engine.storage.postings._RUNS", 3)
    chance = random.Random(tail)
    codes = sorted(chance.sample(range(size), CODES))
    expected: dict[int, list[int]] = defaultdict(list)

    def some(count: int) -> tuple[list[int], list[int]]:
        first = sum(map(len, expected.values()))
        chosen = chance.choices(codes, k=count)
        for entry, code in enumerate(chosen, first):
            expected[code].append(entry)
        return chosen, list(range(first, first + count))

    def arrays(count: int) -> tuple[object, object]:
        chosen, entries = some(count)
        return backend.from_host(chosen, "int32"), backend.from_host(entries, "int64")

    postings = Postings.of(backend, [arrays(0), arrays(50), arrays(31)], size)
    for _ in range(60):
        postings.add(*arrays(chance.randrange(6)))
        wanted = sorted(chance.sample(codes, chance.randint(1, 5)))
        assert found(postings, backend, wanted, size) == {code: expected[code] for code in wanted if expected[code]}
        assert len(postings) == sum(map(len, expected.values()))
    assert found(postings, backend, codes, size) == expected
    pairs = [backend.to_host(array).tolist() for array in postings.pairs()]
    assert sorted(zip(*pairs, strict=True)) == sorted(
        (code, entry) for code, entries in expected.items() for entry in entries
    )


@pytest.mark.parametrize("size", [5, 1000])
def test_consecutive_entries_are_told_by_the_first(backend: ArrayBackend, size: int) -> None:
    codes = [4, 0, 3, 0, 4, 4]
    parts = [(backend.from_host(codes[:4], "int32"), 7), (backend.from_host(codes[4:], "int32"), 11)]
    assert found(Postings.of(backend, parts, size), backend, [0, 1, 3, 4], size) == {0: [8, 10], 3: [9], 4: [7, 11, 12]}


def test_entries_take_new_numbers_or_go(backend: ArrayBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_engine.storage.postings._TAIL", 4)
    postings = Postings.of(
        backend, [(backend.from_host([3, 1, 3, 2], "int32"), backend.from_host(range(4), "int64"))], 9
    )
    for code in (5, 5, 5, 5, 5, 1):
        postings.add(backend.from_host([code], "int32"), backend.from_host([len(postings)], "int64"))
        postings.find(backend.from_host([0], "int64"), 9)
    postings.add(backend.from_host([1, 2], "int32"), backend.from_host([10, 11], "int64"))
    new_of = backend.from_host([-1, 0, 1, -1, -1, -1, -1, -1, -1, 2, -1, 3], "int64")
    renumbered = postings.renumbered(new_of)
    assert found(renumbered, backend, list(range(9)), 9) == {1: [0, 2], 2: [3], 3: [1]}
    assert len(renumbered) == 4
    renumbered.add(backend.from_host([8], "int32"), backend.from_host([4], "int64"))
    assert found(renumbered, backend, [3, 8], 9) == {3: [1], 8: [4]}
    nothing = renumbered.renumbered(backend.from_host([-1] * 5, "int64"))
    assert (len(nothing), found(nothing, backend, list(range(9)), 9)) == (0, {})


def test_a_run_that_finds_no_memory_leaves_everything_as_it_was(
    backend: ArrayBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_engine.storage.postings._TAIL", 4)
    monkeypatch.setattr("gpu_engine.storage.postings._RUNS", 2)
    postings, bounds, calls = Postings(backend), Postings._bounds, list[int]()

    def short(self: Postings, codes, order, size: int):
        calls.append(len(codes))
        if len(calls) in (1, 3, 4):  # of the first run, of the second, and of the one that both become
            raise MemoryError
        return bounds(self, codes, order, size)

    monkeypatch.setattr(Postings, "_bounds", short)
    expected: dict[int, list[int]] = defaultdict(list)
    for entry in range(40):
        code = (7 * entry) % 5
        expected[code].append(entry)
        postings.add(backend.from_host([code], "int32"), backend.from_host([entry], "int64"))
        for _ in range(4):
            try:
                assert found(postings, backend, list(range(5)), 5) == expected
                break
            except MemoryError:
                continue
        else:
            pytest.fail("it did not come right again")
    assert len(calls) > 8


def test_an_entry_is_sorted_a_few_times_only(backend: ArrayBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_engine.storage.postings._TAIL", 16)
    sort, lengths = Postings._sorted, list[int]()

    def counting(self: Postings, start: int, codes, entries, size: int):
        lengths.append(len(codes))
        return sort(self, start, codes, entries, size)

    monkeypatch.setattr(Postings, "_sorted", counting)
    postings, total = Postings(backend), 20_000
    for entry in range(0, total, 10):
        postings.add(backend.from_host([entry % 7] * 10, "int32"), backend.from_host(range(entry, entry + 10), "int64"))
        postings.find(backend.from_host([3], "int64"), 7)
    assert total <= sum(lengths) <= 4 * total, "once for each eightfold of size"
    assert len(postings._runs) <= 4 * 8
