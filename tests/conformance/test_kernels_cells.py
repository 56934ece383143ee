"""The kernels for cells of providers and for rows of tables, run on the CPU, against plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.cuda_shim.cpu_module import CpuModule, TrappedError

FIRST, LAST = -(2**63), 2**63 - 1
SIZE = 7
GEOMETRIES = [(1, 1), (1, 32), (3, 32)]
WIDTHS = [(0, 1), (1, 0), (3, 2), (38, 5)]
PLACES = [[], [6], [5, 0, 2], list(range(SIZE))]


def ints(values: Any) -> Any:
    return np.array(values, np.int64)


def run(kernels: CpuModule, name: str, geometry: tuple[int, int], *arguments: Any) -> None:
    kernels.get_function(name)((geometry[0],), (geometry[1],), arguments)


def cells(fw: int, iw: int, count: int = SIZE, start: int = 0) -> tuple[Any, Any]:
    floats = np.arange(start, start + count * fw, dtype=np.float64).reshape(count, fw) / 4
    return floats, np.arange(start, start + count * iw, dtype=np.int64).reshape(count, iw) + LAST - 20


# --- cells of a provider ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("fw", "iw"), WIDTHS)
@pytest.mark.parametrize("places", PLACES)
def test_cells_are_taken_and_put(
    kernels: CpuModule, geometry: tuple[int, int], fw: int, iw: int, places: list[int]
) -> None:
    k, (floats, integers) = len(places), cells(fw, iw)
    f_out, i_out = np.full((k, fw), -1.0), np.full((k, iw), -1)
    run(kernels, "cells_take", geometry, ints(places), k, SIZE, floats, fw, f_out, integers, iw, i_out)
    assert f_out.tolist() == [floats[place].tolist() for place in places]
    assert i_out.tolist() == [integers[place].tolist() for place in places]

    f_new, i_new = cells(fw, iw, k, 1000)
    expected = [row.tolist() for row in floats], [row.tolist() for row in integers]
    for row, place in enumerate(places):
        expected[0][place], expected[1][place] = f_new[row].tolist(), i_new[row].tolist()
    run(kernels, "cells_put", geometry, ints(places), k, SIZE, floats, fw, f_new, integers, iw, i_new)
    assert (floats.tolist(), integers.tolist()) == expected


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("fw", "fdw", "iw", "idw"), [(3, 3, 2, 2), (3, 1, 2, 1), (4, 0, 1, 0), (0, 0, 2, 2), (2, 2, 0, 0)]
)
@pytest.mark.parametrize("places", PLACES)
def test_deltas_give_the_numbers_before_and_after(
    kernels: CpuModule, geometry: tuple[int, int], fw: int, fdw: int, iw: int, idw: int, places: list[int]
) -> None:
    k, (floats, integers) = len(places), cells(fw, iw)
    f_delta, i_delta = cells(fdw, idw, k, 3)
    f_before, f_after = np.full((k, fw), -1.0), np.full((k, fw), -1.0)
    i_before, i_after = np.full((k, iw), -1), np.full((k, iw), -1)
    held = floats.tolist(), integers.tolist()
    block = (floats, fw, f_delta, fdw, f_before, f_after, integers, iw, i_delta, idw, i_before, i_after)
    run(kernels, "cells_sum", geometry, ints(places), k, SIZE, *block)
    moved_floats = [row[:] for row in held[0]]
    moved_integers = [row[:] for row in held[1]]
    for row, place in enumerate(places):
        for column in range(fdw):
            moved_floats[place][column] += float(f_delta[row, column])
        for column in range(idw):
            total = moved_integers[place][column] + int(i_delta[row, column])
            moved_integers[place][column] = (total - FIRST) % 2**64 + FIRST
    assert f_before.tolist() == [held[0][place] for place in places]
    assert i_before.tolist() == [held[1][place] for place in places]
    assert f_after.tolist() == [moved_floats[place] for place in places]
    assert i_after.tolist() == [moved_integers[place] for place in places]
    assert (floats.tolist(), integers.tolist()) == held


def test_nan_in_one_cell_stays_there(kernels: CpuModule) -> None:
    floats, none = np.array([[math.nan, 1.0], [2.0, math.inf]]), np.zeros((2, 0), np.int64)
    delta, before, after = np.array([[1.0, 1.0], [1.0, -math.inf]]), np.zeros((2, 2)), np.zeros((2, 2))
    block = (floats, 2, delta, 2, before, after, none, 0, none, 0, none, none)
    run(kernels, "cells_sum", (1, 32), ints([0, 1]), 2, 2, *block)
    np.testing.assert_equal(after, [[math.nan, 2.0], [3.0, math.nan]])


@pytest.mark.parametrize("place", [-1, SIZE, FIRST, LAST])
def test_places_out_of_range_are_refused_and_touch_nothing(kernels: CpuModule, place: int) -> None:
    for name in ("cells_take", "cells_put", "cells_sum"):
        floats, integers = cells(1, 1)
        before = floats.tolist(), integers.tolist()
        (f_new, i_new), (f_out, i_out) = cells(1, 1, 2, 50), (np.full((2, 1), -1.0), np.full((2, 1), -1))
        if name in ("cells_take", "cells_put"):
            block = (floats, 1, f_out, integers, 1, i_out)
        else:
            block = (floats, 1, f_new, 1, f_out.copy(), f_out, integers, 1, i_new, 1, i_out.copy(), i_out)
        with pytest.raises(TrappedError, match="1 threads trapped"):
            run(kernels, name, (1, 32), ints([place, 3]), 2, SIZE, *block)
        before[0][3], before[1][3] = floats[3].tolist(), integers[3].tolist()
        assert (floats.tolist(), integers.tolist()) == before, name
        if name != "cells_put":
            assert (f_out[0, 0], i_out[0, 0]) == (-1.0, -1), name


# --- rows of a table --------------------------------------------------------------------------------------------------

EPOCHS = st.one_of(st.integers(0, 6), st.sampled_from([LAST, FIRST, -1]))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@settings(max_examples=40)
@given(removed=st.lists(EPOCHS, max_size=80), epoch=EPOCHS, row_limit=st.one_of(st.integers(0, 80), st.just(LAST)))
def test_rows_alive_at_an_epoch(
    kernels: CpuModule, geometry: tuple[int, int], removed: list[int], epoch: int, row_limit: int
) -> None:
    size = len(removed)
    expected = [ends > epoch and row < row_limit for row, ends in enumerate(removed)]
    for first in (0, size // 3):
        alive = np.zeros(size - first, np.bool_)
        run(kernels, "alive_range", geometry, ints(removed), first, size - first, epoch, row_limit, alive)
        assert alive.tolist() == expected[first:]
    rows = [row * 7 % size for row in range(size)]
    alive = np.zeros(size, np.bool_)
    run(kernels, "alive_rows", geometry, ints(removed), ints(rows), size, size, epoch, row_limit, alive)
    assert alive.tolist() == [expected[row] for row in rows]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@settings(max_examples=40)
@given(
    rows_given=st.lists(st.tuples(EPOCHS, st.integers(0, 2)), max_size=60),
    epoch_limits=st.tuples(EPOCHS, EPOCHS, EPOCHS),
    row_limits=st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)),
    unmarked=st.integers(0, 60),
)
def test_rows_alive_by_the_branch_they_were_born_on(
    kernels: CpuModule,
    geometry: tuple[int, int],
    rows_given: list[tuple[int, int]],
    epoch_limits: tuple[int, int, int],
    row_limits: tuple[int, int, int],
    unmarked: int,
) -> None:
    size, unmarked = len(rows_given), min(unmarked, len(rows_given))
    removed, branches = [ends for ends, _ in rows_given], [branch for _, branch in rows_given]
    branches[:unmarked] = [0] * unmarked
    expected = [
        ends > epoch_limits[branch] and row < row_limits[branch]
        for row, (ends, branch) in enumerate(zip(removed, branches, strict=True))
    ]
    marks = np.array(branches[unmarked:], np.int32)
    limits = (marks, unmarked, ints(epoch_limits), ints(row_limits), 3)
    first = size // 3
    alive = np.zeros(size - first, np.bool_)
    run(kernels, "alive_range_on_branches", geometry, ints(removed), first, size - first, *limits, alive)
    assert alive.tolist() == expected[first:]
    rows = [row * 7 % size for row in range(size)]
    alive = np.zeros(size, np.bool_)
    run(kernels, "alive_rows_on_branches", geometry, ints(removed), ints(rows), size, size, *limits, alive)
    assert alive.tolist() == [expected[row] for row in rows]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@settings(max_examples=40)
@given(
    pointers=st.lists(st.integers(-1, 9), max_size=60),
    row_of_entity=st.lists(st.one_of(st.just(-1), st.integers(0, 2**31 - 1)), max_size=10),
)
def test_joins_lead_to_rows_or_nowhere(
    kernels: CpuModule, geometry: tuple[int, int], pointers: list[int], row_of_entity: list[int]
) -> None:
    size, entities = len(pointers), len(row_of_entity)
    held = (np.array(row_of_entity, np.int32), entities)
    expected = [row_of_entity[entity] if 0 <= entity < entities else -1 for entity in pointers]
    out = np.full(size, 99)
    run(kernels, "join_gather", geometry, np.array(pointers, np.int32), size, *held, out)
    assert out.tolist() == expected


@pytest.mark.parametrize("row", [-2, 4, FIRST, LAST])
def test_rows_out_of_range_are_refused(kernels: CpuModule, row: int) -> None:
    rows, alive = ints([0, row]), np.zeros(2, np.bool_)
    marks = (np.zeros(4, np.int32), 0, ints([1]), ints([9]), 1)
    with pytest.raises(TrappedError, match="1 threads trapped"):
        run(kernels, "alive_rows", (1, 32), ints([5] * 4), rows, 2, 4, 1, 9, alive)
    with pytest.raises(TrappedError, match="1 threads trapped"):
        run(kernels, "alive_rows_on_branches", (1, 32), ints([5] * 4), rows, 2, 4, *marks, alive)
    assert alive.tolist() == [True, False]


@pytest.mark.parametrize("branch", [-1, 1])
def test_unknown_branches_are_refused(kernels: CpuModule, branch: int) -> None:
    marks = (np.array([branch], np.int32), 0, ints([1]), ints([9]), 1)
    with pytest.raises(TrappedError, match="1 threads trapped"):
        run(kernels, "alive_range_on_branches", (1, 32), ints([5]), 0, 1, *marks, np.zeros(1, np.bool_))


# --- the CPU double itself --------------------------------------------------------------------------------------------


def test_every_kernel_can_be_launched(kernels: CpuModule) -> None:
    assert len(kernels.parameters) == 34 + 1
    for name in kernels.parameters:
        kernels.get_function(name)


def test_what_cuda_would_take_in_silence_is_refused(kernels: CpuModule) -> None:
    lookup, slots, keys = kernels.get_function("index_lookup"), np.full(2, -1, np.int32), np.zeros(1, np.int64)
    good = (ints([1]), 1, slots, 1, keys, np.zeros(1, np.int32))
    lookup((1,), (32,), good)
    for position, value, complaint in [
        (0, np.zeros(1, np.float64), "an array of float64"),
        (0, np.zeros(4, np.int64)[::2], "not contiguous"),
        (0, np.zeros((4, 4), np.int64).T, "not contiguous"),
        (1, 1.0, "not a 64-bit integer"),
        (5, [0], "list is not an array"),
    ]:
        arguments = (*good[:position], value, *good[position + 1 :])
        with pytest.raises(AssertionError, match=complaint):
            lookup((1,), (32,), arguments)
    with pytest.raises(AssertionError, match="takes 6 arguments, not 5"):
        lookup((1,), (32,), good[:5])
    with pytest.raises(AssertionError, match="a grid of 0 blocks"):
        lookup((0,), (32,), good)
