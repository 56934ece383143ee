"""The ways that the GPU backend takes for bulks and for few cells: whichever it takes, the result is plain Python's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import gpu_engine as ge
from gpu_engine.backend import cuda_backend
from gpu_engine.backend.choice import choose_backend
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


def test_cells_and_rows_take_one_launch_each(backend: CudaOnCpu) -> None:
    cells = backend.from_host([[0.5], [1.5], [2.5]]), backend.from_host([[1, 2], [3, 4], [5, 6]], "int64")
    places, removed = backend.from_host([2, 0], "int64"), backend.from_host([9, 1, 9], "int64")
    marks, limits = backend.from_host([0, 0, 0], "int32"), backend.from_host([3], "int64")
    with launches(backend) as launched:
        before, after = backend.sum_cells(cells, places, backend.take_cells(cells, places))
        backend.put_cells(cells, places, after)
        for rows in (slice(0, 3), places):
            backend.alive(removed, rows, 3, None)
            backend.alive_on_branches(removed, rows, marks, 0, limits, limits)
        backend.join_gather(places, marks, 3)
    assert launched == [
        *("cells_take", "cells_sum", "cells_put"),
        *("alive_range", "alive_range_on_branches", "alive_rows", "alive_rows_on_branches", "join_gather"),
    ]
    assert backend.to_host(before[1]).tolist() == [[5, 6], [1, 2]]
    assert backend.to_host(cells[1]).tolist() == [[2, 4], [3, 4], [10, 12]]


def test_nothing_to_do_is_no_launch(backend: CudaOnCpu) -> None:
    cells = backend.xp.zeros((3, 0), dtype="float64"), backend.xp.zeros((3, 1), dtype="int64")
    none, removed = backend.xp.zeros(0, dtype="int64"), backend.xp.zeros(3, dtype="int64")
    with launches(backend) as launched:
        backend.put_cells(cells, none, backend.take_cells(cells, none))
        backend.alive(removed, none, 0, None)
        backend.alive(removed, slice(3, 3), 0, None)
        backend.join_gather(none, backend.xp.zeros(1, dtype="int32"), 0)
    assert launched == []


def test_cells_are_put_without_any_memory(backend: CudaOnCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = backend.xp.zeros((3, 2), dtype="float64"), backend.xp.zeros((3, 1), dtype="int64")
    new = backend.from_host([[0.5, 1.5]]), backend.from_host([[7]], "int64")
    place = backend.from_host([1], "int64")
    # Of contiguous arrays this one makes no copy, here and on a GPU.
    monkeypatch.setattr(backend, "xp", SimpleNamespace(ascontiguousarray=backend.xp.ascontiguousarray))
    backend.put_cells(cells, place, new)
    assert backend.to_host(cells[0]).tolist() == [[0.0, 0.0], [0.5, 1.5], [0.0, 0.0]]
    assert backend.to_host(cells[1]).tolist() == [[0], [7], [0]]


def test_commits_and_scans_launch_them(backend: CudaOnCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_engine.session.choose_backend", lambda _: (backend, choose_backend("cpu")[1]))
    with ge.Session(backend="cpu") as session:
        shops = session.create_table("shops", types={"Id": ge.LONG, "City": ge.STRING}, keys=["Id"])
        sales = session.create_table("sales", types={"Id": ge.LONG, "Shop": ge.LONG, "Price": ge.DOUBLE}, keys=["Id"])
        sales.join(shops, on={"Shop": "Id"})
        shops.append((1, "Paris"), (2, "Rome"))
        sales.append(*((i, 1 + i % 2, 1.0) for i in range(10)))
        cube = session.create_cube(sales)
        cube.measures["top"], cube.measures["low"] = ge.agg.max(sales["Price"]), ge.agg.min(sales["Price"])
        measures = ["Price.SUM", "Price.MEAN", "top", "low", "Shop.SUM", "contributors.COUNT"]
        live = cube.live(*measures, levels=["City"])
        with launches(backend) as launched:
            sales.append((3, 1, 5.0))
        assert [launched.count(name) for name in ("cells_sum", "cells_put")] == [1, 1]  # for all measures at once
        cube.create_provider(levels=[("sales", "Id")], measures=measures)
        with launches(backend) as launched:
            sales.append((3, 1, 6.0))
        assert [launched.count(name) for name in ("cells_sum", "cells_put")] == [2, 2]  # once for each provider
        assert live.result()["top"].to_dict() == {"Paris": 6.0, "Rome": 1.0}
        assert {"alive_rows", "join_gather"} <= set(launched)
        with launches(backend) as launched:
            assert session.reprocess().different_cells == 0
        assert "alive_range" in launched
        live.close()
