"""What the GPU's index does beyond what every index does: refusals that leave nothing, bulks in parts."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_engine.backend import cuda_index
from gpu_engine.backend.cuda_index import CudaIndex
from tests.cuda_on_cpu import CudaOnCpu

MOST = 3000


@pytest.fixture
def backend() -> CudaOnCpu:
    return CudaOnCpu()


@pytest.fixture
def index(backend: CudaOnCpu, monkeypatch: pytest.MonkeyPatch) -> CudaIndex:
    """An index of at most 3,000 keys that holds 2,000, filled by parts of 256 rows and more."""
    monkeypatch.setattr(cuda_index, "MAX_KEYS", MOST)
    monkeypatch.setattr(cuda_index, "FIRST_PART", 256)
    index = CudaIndex(backend.xp, backend._kernels, backend.scalar)
    index.insert(keys(backend, range(2000)))
    return index


def keys(backend: CudaOnCpu, values: range) -> Any:
    return backend.from_host([value * 10**9 for value in values], "int64")


def listed(backend: CudaOnCpu, array: Any) -> list[int]:
    return backend.to_host(array).tolist()


@pytest.mark.parametrize("count", [1001, 1024, 5000])
def test_too_many_keys_change_nothing(backend: CudaOnCpu, index: CudaIndex, count: int) -> None:
    fresh = keys(backend, range(2000, 2000 + count))
    with pytest.raises(OverflowError, match="at most 3000 keys"):
        index.insert(fresh)
    assert len(index) == 2000
    assert listed(backend, index.lookup(fresh)) == [-1] * count
    assert listed(backend, index.lookup(keys(backend, range(2000)))) == list(range(2000))
    assert listed(backend, index.insert(keys(backend, range(2000, MOST)))) == list(range(2000, MOST))


def test_rows_that_repeat_keys_do_not_count(backend: CudaOnCpu, index: CudaIndex) -> None:
    repeated = backend.from_host([7 * 10**9, -1] * 2500, "int64")
    assert listed(backend, index.insert(repeated)) == [7, 2000] * 2500
    assert len(index) == 2001


def test_a_shortage_within_an_insert_takes_its_claims_back(
    backend: CudaOnCpu, index: CudaIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = keys(backend, range(2000, 2600))
    scalar = index._scalar

    def no_room(_: Any) -> int:
        raise MemoryError

    monkeypatch.setattr(cuda_index, "BLOCK_ROWS", 0)
    monkeypatch.setattr(index, "_scalar", no_room)
    with pytest.raises(MemoryError):
        index.insert(fresh)
    monkeypatch.setattr(index, "_scalar", scalar)
    assert listed(backend, index.lookup(fresh)) == [-1] * 600
    assert listed(backend, index.insert(fresh)) == list(range(2000, 2600))
    assert listed(backend, index.keys[2000:]) == listed(backend, fresh)


def test_a_bulk_of_few_keys_takes_little_room(backend: CudaOnCpu) -> None:
    index = CudaIndex(backend.xp, backend._kernels, backend.scalar)
    index.insert(backend.from_host([i % 12 for i in range(300_000)], "int64"))
    assert len(index) == 12
    assert index.nbytes < 300_000 * 8


def test_readers_of_an_outgrown_table_never_meet_an_id_beyond_its_keys(backend: CudaOnCpu) -> None:
    index, tables = CudaIndex(backend.xp, backend._kernels, backend.scalar), []
    for start in range(0, 3000, 100):
        tables.append(index._table)
        index.insert(keys(backend, range(start, start + 100)))
    assert index._table is not tables[0]
    for table in tables:
        assert max(listed(backend, table.slots)) < len(table.keys)
