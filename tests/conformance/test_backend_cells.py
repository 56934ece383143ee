"""Cells of providers and rows of tables: every backend gives the results that plain Python gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_engine.backend.array_backend import ArrayBackend, Cells
from tests.backends import BACKENDS
from tests.cuda_on_cpu import CudaOnCpu
from tests.strict.strict_array import DeviceRefusal
from tests.strict.strict_backend import StrictBackend

FIRST, LAST = -(2**63), 2**63 - 1
SIZE = 70
PLACES = [[], [6], [5, 0, 69, 2], list(range(SIZE)), list(range(SIZE))[::-1]]
WIDTHS = [(0, 1), (3, 2), (20, 5)]


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    return BACKENDS[request.param]()


def ints(backend: ArrayBackend, values: list[int], dtype: str = "int64") -> Any:
    return backend.from_host(values, dtype)


def listed(backend: ArrayBackend, array: Any) -> list[Any]:
    return backend.to_host(array).tolist()


# --- cells ------------------------------------------------------------------------------------------------------------

Rows = tuple[list[list[float]], list[list[int]]]
EXTREMES = (math.inf, -math.inf, 5e-324, -0.0)


def numbers(count: int, floats: int, integers: int, start: int = 0) -> Rows:
    """Return rows of both blocks, with infinite and the largest ones among them."""
    of_floats = [
        [EXTREMES[(r + c) % 4] if r % 5 == 4 else (start + r * 7 + c) / 4 for c in range(floats)] for r in range(count)
    ]
    edges = ((LAST, -1), (FIRST, 1), (0, 1))
    of_integers = [[edges[r % 3][0] + edges[r % 3][1] * (start + c) for c in range(integers)] for r in range(count)]
    return of_floats, of_integers


def cells(backend: ArrayBackend, rows: Rows, floats: int, integers: int) -> Cells:
    made = (
        backend.xp.zeros((len(rows[0]), floats), dtype="float64"),
        backend.xp.zeros((len(rows[1]), integers), "int64"),
    )
    if rows[1]:
        made[1][:] = backend.from_host(rows[1], "int64")
        made[0][:] = backend.from_host(rows[0], "float64") if floats else made[0]
    return made


def rows_of(backend: ArrayBackend, held: Cells) -> Rows:
    return listed(backend, held[0]), listed(backend, held[1])


def written(rows: Rows) -> str:
    """Return rows as text, which tells -0.0 from 0.0 and takes NaN for itself."""
    return repr(rows)


def wrapped(value: int) -> int:
    return (value - FIRST) % 2**64 + FIRST


@pytest.mark.parametrize(("floats", "integers"), WIDTHS)
@pytest.mark.parametrize("places", PLACES)
def test_cells_are_taken_and_put(backend: ArrayBackend, floats: int, integers: int, places: list[int]) -> None:
    held = numbers(SIZE, floats, integers)
    table, at = cells(backend, held, floats, integers), ints(backend, places)
    taken = backend.take_cells(table, at)
    assert written(rows_of(backend, taken)) == written(([held[0][p] for p in places], [held[1][p] for p in places]))
    assert (taken[0].shape, taken[1].shape) == ((len(places), floats), (len(places), integers))

    new = numbers(len(places), floats, integers, 1000)
    for row, place in enumerate(places):
        held[0][place], held[1][place] = new[0][row], new[1][row]
    backend.put_cells(table, at, cells(backend, new, floats, integers))
    assert written(rows_of(backend, table)) == written(held)
    assert written(rows_of(backend, taken)) != written(rows_of(backend, backend.take_cells(table, at))) or not places


def test_one_cell_may_be_taken_often(backend: ArrayBackend) -> None:
    held = numbers(SIZE, 1, 1)
    taken = backend.take_cells(cells(backend, held, 1, 1), ints(backend, [3, 3, 0, 3]))
    assert rows_of(backend, taken) == ([held[0][p] for p in (3, 3, 0, 3)], [held[1][p] for p in (3, 3, 0, 3)])


@pytest.mark.parametrize(("widths", "added"), [((3, 2), (3, 2)), ((3, 2), (1, 1)), ((4, 1), (0, 1)), ((0, 2), (0, 2))])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("spare", [0, 2])
def test_cells_before_and_after(
    backend: ArrayBackend, widths: tuple[int, int], added: tuple[int, int], places: list[int], spare: int
) -> None:
    held, more = numbers(SIZE, *widths), numbers(len(places), *added, 3)
    table, at = cells(backend, held, *widths), ints(backend, places)
    wide_floats = backend.xp.zeros((len(places), added[0] + spare), dtype="float64")
    wide_integers = backend.xp.zeros((len(places), added[1] + spare), dtype="int64")
    deltas = wide_floats[:, : added[0]], wide_integers[:, : added[1]]
    for delta, part in zip(deltas, cells(backend, more, *added), strict=True):
        delta[:] = part
    with backend.ignore_float_errors():
        before, after = backend.sum_cells(table, at, deltas)
    was = [held[0][p] for p in places], [held[1][p] for p in places]
    now = [row[:] for row in was[0]], [row[:] for row in was[1]]
    for row in range(len(places)):
        for column in range(added[0]):
            now[0][row][column] += more[0][row][column]
        for column in range(added[1]):
            now[1][row][column] = wrapped(now[1][row][column] + more[1][row][column])
    assert written(rows_of(backend, before)) == written(was)
    assert written(rows_of(backend, after)) == written(now)
    assert written(rows_of(backend, table)) == written(held)
    after[1][:] = 0  # arrays of their own
    assert written(rows_of(backend, before)) == written(was)
    assert written(rows_of(backend, table)) == written(held)


def test_cells_taken_before_growth_stay(backend: ArrayBackend) -> None:
    held = numbers(SIZE, 2, 2)
    table = cells(backend, held, 2, 2)
    grown = tuple(backend.xp.concatenate([block, block]) for block in table)
    new = cells(backend, numbers(1, 2, 2, 50), 2, 2)
    backend.put_cells((grown[0], grown[1]), ints(backend, [SIZE]), new)
    assert written(rows_of(backend, table)) == written(held)
    both = rows_of(backend, (grown[0], grown[1]))
    assert written((both[0][SIZE:][:1], both[1][SIZE:][:1])) == written(rows_of(backend, new))
    assert written((both[0][:SIZE], both[1][:SIZE])) == written(held)


# --- rows -------------------------------------------------------------------------------------------------------------

ENDS = st.lists(st.one_of(st.integers(0, 6), st.just(LAST)), min_size=1, max_size=40)
EPOCHS = st.one_of(st.integers(-1, 7), st.just(LAST - 1))


@given(removed=ENDS, epoch=EPOCHS, data=st.data())
def test_rows_alive(backend: ArrayBackend, removed: list[int], epoch: int, data: st.DataObject) -> None:
    size = len(removed)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    limit = data.draw(st.one_of(st.none(), st.integers(0, size + 2)))
    rows = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    ends = ints(backend, removed)

    def alive(row: int) -> bool:
        return removed[row] > epoch and (limit is None or row < limit)

    for dtype in ("int32", "int64"):
        found = backend.alive(ends, ints(backend, rows, dtype), epoch, limit)
        assert listed(backend, found) == [alive(row) for row in rows]
    found = backend.alive(ends, slice(start, stop), epoch, limit)
    assert listed(backend, found) == [alive(row) for row in range(start, stop)]
    assert found.dtype == backend.xp.bool_


@given(removed=ENDS, data=st.data())
def test_rows_alive_on_branches(backend: ArrayBackend, removed: list[int], data: st.DataObject) -> None:
    size = len(removed)
    first = data.draw(st.integers(0, size))
    marks = data.draw(st.lists(st.integers(0, 3), min_size=size - first + 1, max_size=size - first + 1))
    epochs = data.draw(st.lists(EPOCHS, min_size=4, max_size=4))
    limits = data.draw(st.lists(st.integers(0, size + 1), min_size=4, max_size=4))
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    rows = data.draw(st.lists(st.integers(0, size - 1), max_size=20))

    def alive(row: int) -> bool:
        branch = 0 if row < first else marks[row - first]
        return removed[row] > epochs[branch] and row < limits[branch]

    given = ints(backend, marks, "int32"), first, ints(backend, epochs), ints(backend, limits)
    ends = ints(backend, removed)
    for selection in (ints(backend, rows), ints(backend, rows, "int32")):
        found = backend.alive_on_branches(ends, selection, *given)
        assert listed(backend, found) == [alive(row) for row in rows]
    found = backend.alive_on_branches(ends, slice(start, stop), *given)
    assert listed(backend, found) == [alive(row) for row in range(start, stop)]
    assert found.dtype == backend.xp.bool_


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (6, 6), (-1, 3), (4, 2)])
def test_ranges_outside_the_buffer_are_refused(backend: ArrayBackend, start: int, stop: int) -> None:
    ends, marks, limits = ints(backend, [LAST] * 5), ints(backend, [0] * 9, "int32"), ints(backend, [1])
    with pytest.raises(IndexError, match=f"rows {start} to {stop} of 5"):
        backend.alive(ends, slice(start, stop), 1, None)
    with pytest.raises(IndexError, match=f"rows {start} to {stop} of 5"):
        backend.alive_on_branches(ends, slice(start, stop), marks, 0, limits, limits)


def test_rows_without_a_mark_are_refused(backend: ArrayBackend) -> None:
    limits = ints(backend, [1])
    with pytest.raises(IndexError, match="rows 0 to 5 of 4"):
        backend.alive_on_branches(
            ints(backend, [LAST] * 5), slice(0, 5), ints(backend, [0], "int32"), 3, limits, limits
        )


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@given(
    row_of=st.lists(st.one_of(st.integers(-1, 9), st.just(2**31 - 1)), min_size=1, max_size=20),
    pointers=st.lists(st.one_of(st.integers(-1, 25), st.just(2**31 - 1)), max_size=30),
    data=st.data(),
)
def test_pointers_lead_to_rows(
    backend: ArrayBackend, dtype: str, row_of: list[int], pointers: list[int], data: st.DataObject
) -> None:
    entities = data.draw(st.integers(0, len(row_of)))
    found = backend.join_gather(ints(backend, pointers, dtype), ints(backend, row_of, "int32"), entities)
    assert listed(backend, found) == [row_of[e] if 0 <= e < entities else -1 for e in pointers]
    assert found.dtype == backend.xp.int64


def test_a_longer_table_of_entities_changes_no_answer_found(backend: ArrayBackend) -> None:
    pointers, row_of = ints(backend, [0, 2, -1, 3], "int32"), ints(backend, [5, 6, 7], "int32")
    found = backend.join_gather(pointers, row_of, 3)
    grown = backend.xp.concatenate([row_of, ints(backend, [8, -1], "int32")])
    assert listed(backend, found) == [5, 7, -1, -1]
    assert listed(backend, backend.join_gather(pointers, grown, 4)) == [5, 7, -1, 8]


# --- what cannot be told without a wait is told by the doubles --------------------------------------------------------


@pytest.mark.parametrize("double", [StrictBackend, CudaOnCpu])
@pytest.mark.parametrize("place", [-1, SIZE, LAST])
def test_places_and_rows_out_of_range_are_told(double: type[ArrayBackend], place: int) -> None:
    backend = double()
    table, one, at = cells(backend, numbers(SIZE, 1, 1), 1, 1), cells(backend, numbers(1, 1, 1), 1, 1), [place]
    for verb in (
        lambda: backend.take_cells(table, ints(backend, at)),
        lambda: backend.put_cells(table, ints(backend, at), one),
        lambda: backend.sum_cells(table, ints(backend, at), one),
        lambda: backend.alive(table[1][:, 0] * 1, ints(backend, at), 1, None),
    ):
        with pytest.raises((DeviceRefusal, AssertionError), match=r"0\.\.69|trapped"):
            verb()


def test_one_place_twice_is_told() -> None:
    backend = StrictBackend()
    table, two = cells(backend, numbers(SIZE, 1, 1), 1, 1), cells(backend, numbers(2, 1, 1), 1, 1)
    with pytest.raises(DeviceRefusal, match="one place twice"):
        backend.put_cells(table, ints(backend, [4, 4]), two)
