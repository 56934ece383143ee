"""The ways that the GPU backend takes for bulks and for few cells: whichever it takes, the result is plain Python's."""

from __future__ import annotations

import pytest

from gpu_engine.backend import cuda_backend
from gpu_engine.backend.cuda_backend import PRIVATE_CELLS, PRIVATE_ROWS, PRIVATE_THREADS
from tests.cuda_on_cpu import CudaOnCpu, launches


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> CudaOnCpu:
    monkeypatch.setattr(cuda_backend, "BULK_ROWS", 16)
    return CudaOnCpu()


@pytest.mark.parametrize("low", [-(2**63), -50, 0, 2**62])
@pytest.mark.parametrize("spread", [1, 3, 100])
def test_a_bulk_of_keys_is_grouped(backend: CudaOnCpu, low: int, spread: int) -> None:
    keys = [low + i * 7 % 40 * spread for i in range(100)]
    groups = backend.group(backend.from_host(keys, "int64"))
    distinct = backend.to_host(groups.keys).tolist()
    assert distinct == sorted(set(keys))
    assert [distinct[place] for place in backend.to_host(groups.group_of).tolist()] == keys
    assert (groups.keys.dtype, groups.group_of.dtype) == ("int64", "int64")


@pytest.mark.parametrize("size", [1, 40, 2**31 - 1, 2**62])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_bulk_of_codes_keeps_its_order(backend: CudaOnCpu, size: int, dtype: str) -> None:
    codes = [i * 7919 % min(size, 37) for i in range(100)]
    order = backend.to_host(backend.order_by_code(backend.from_host(codes, dtype), size)).tolist()
    assert order == sorted(range(100), key=codes.__getitem__)


@pytest.mark.parametrize("groups", [1, 4, 8, 16, 32, 33])
@pytest.mark.parametrize("rows", [PRIVATE_ROWS - 1, PRIVATE_ROWS])
def test_many_rows_into_few_cells(backend: CudaOnCpu, groups: int, rows: int) -> None:
    group_of = [i * 7 % groups for i in range(rows)]
    values = [[i % 64 / 64, i % 5, -1.0, 1.0, 0.0, i] for i in range(rows)]
    with launches(backend) as launched:
        sums = backend.group_sum(backend.from_host(values), backend.from_host(group_of, "int64"), groups)
        counts = backend.group_count(backend.from_host(group_of, "int64"), groups)
    expected = [[0.0] * 6 for _ in range(groups)]
    for group, row in zip(group_of, values, strict=True):
        for column, value in enumerate(row):
            expected[group][column] += value
    assert backend.to_host(sums).tolist() == expected
    assert backend.to_host(counts).tolist() == [group_of.count(group) for group in range(groups)]
    many = rows >= PRIVATE_ROWS
    forms = [many and 6 * groups <= PRIVATE_CELLS, many]
    assert launched == [
        f"{name}_{'private' if private else 'atomic'}"
        for name, private in zip(("group_sum_float64", "group_count"), forms, strict=True)
    ]


def test_private_cells_fit_into_the_memory_of_a_block() -> None:
    assert all(threads * cells * 8 <= 48 * 1024 for threads, cells in PRIVATE_THREADS)
