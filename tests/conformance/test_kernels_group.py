"""The kernels for sums, counts and extremes of groups, run on the CPU, against plain Python."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.cuda_shim.cpu_module import CpuModule, TrappedError

FIRST, LAST = -(2**63), 2**63 - 1
FORMS = ("atomic", "private")
GEOMETRIES = [(1, 1), (1, 32), (3, 32), (2, 64)]
SIZE = 5
GROUPS = st.integers(0, SIZE - 1)
INT64 = st.one_of(st.integers(FIRST, LAST), st.integers(-3, 3))
EIGHTHS = st.integers(-(2**40), 2**40).map(lambda value: value / 8)
ANY_FLOAT = st.floats()


def launch(kernels: CpuModule, name: str, geometry: tuple[int, int], cells: int, *arguments: Any) -> None:
    grid, block = geometry
    shared = block * cells * 8 if name.endswith("private") else 0
    kernels.get_function(name)((grid,), (block,), arguments, shared_mem=shared)


def sums(
    kernels: CpuModule, form: str, rows: list[list[Any]], groups: list[int], width: int, dtype: str, **given: Any
) -> Any:
    size = given.get("size", SIZE)
    out = np.full((size, width), given.get("initial", 0), dtype)
    values = np.array(rows, dtype).reshape(len(rows), width)
    arguments = (values, np.array(groups, np.int64), len(rows), width, size, out)
    launch(kernels, f"group_sum_{dtype}_{form}", given.get("geometry", (2, 32)), size * width, *arguments)
    return out


def counts(kernels: CpuModule, form: str, groups: list[int], size: int, geometry: tuple[int, int] = (2, 32)) -> Any:
    out = np.zeros(size, np.int64)
    arguments = (np.array(groups, np.int64), len(groups), size, out)
    launch(kernels, f"group_count_{form}", geometry, size, *arguments)
    return out


def extremes(kernels: CpuModule, function: str, values: list[Any], groups: list[int], dtype: str, initial: Any) -> Any:
    out = np.full(SIZE, initial, dtype)
    arguments = (np.array(values, dtype), np.array(groups, np.int64), len(values), SIZE, out)
    launch(kernels, f"group_{function}_{dtype}", (3, 32), SIZE, *arguments)
    return out.tolist()


def wrapped(value: int) -> int:
    return (value - FIRST) % 2**64 + FIRST


def columns(rows: list[list[Any]], groups: list[int], width: int, size: int = SIZE) -> list[list[Any]]:
    """Return the sum of each group and column, by plain Python."""
    members = [[row for row, of in zip(rows, groups, strict=True) if of == group] for group in range(size)]
    return [[sum(row[column] for row in rows) for column in range(width)] for rows in members]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["int64", "float64"])
@pytest.mark.parametrize(("count", "width"), [(0, 1), (0, 3), (1, 1), (1, 6), (500, 1), (500, 2), (333, 6), (70, 38)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_sums_of_all_columns_at_once(
    kernels: CpuModule, form: str, dtype: str, count: int, width: int, geometry: tuple[int, int]
) -> None:
    rows = [[(row * 31 + column * 7) % 1000 - 500 for column in range(width)] for row in range(count)]
    groups = [row * row % SIZE for row in range(count)]
    assert sums(kernels, form, rows, groups, width, dtype, geometry=geometry).tolist() == columns(rows, groups, width)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(rows=st.lists(st.tuples(GROUPS, INT64, INT64), max_size=60))
def test_integer_sums_are_exact_modulo_2_to_the_64(kernels: CpuModule, form: str, rows: list[Any]) -> None:
    values, groups = [list(row[1:]) for row in rows], [row[0] for row in rows]
    expected = [[wrapped(total) for total in row] for row in columns(values, groups, 2)]
    assert sums(kernels, form, values, groups, 2, "int64").tolist() == expected


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(rows=st.lists(st.tuples(GROUPS, EIGHTHS, EIGHTHS, EIGHTHS), max_size=60))
def test_float_sums(kernels: CpuModule, form: str, rows: list[Any]) -> None:
    values, groups = [list(row[1:]) for row in rows], [row[0] for row in rows]
    assert sums(kernels, form, values, groups, 3, "float64").tolist() == columns(values, groups, 3)


@pytest.mark.parametrize("form", FORMS)
def test_float_sums_pass_nan_and_infinity_on_to_their_cell_only(kernels: CpuModule, form: str) -> None:
    rows = [[math.nan, 1.0], [1.0, 2.0], [math.inf, 4.0], [math.inf, 8.0], [-math.inf, math.inf]]
    result = sums(kernels, form, rows, [0, 0, 1, 2, 2], 2, "float64")
    expected = [[math.nan, 3.0], [math.inf, 4.0], [math.nan, math.inf], [0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_equal(result, expected)


@pytest.mark.parametrize("form", FORMS)
def test_sums_are_added_to_what_is_there(kernels: CpuModule, form: str) -> None:
    assert sums(kernels, form, [[1], [2], [3]], [0, 4, 0], 1, "int64", initial=10).ravel().tolist() == [
        14,
        10,
        10,
        10,
        12,
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 24, 25, 192])
def test_sums_of_any_number_of_cells(kernels: CpuModule, form: str, size: int) -> None:
    rows, groups = [[row] for row in range(400)], [row * 7 % size for row in range(400)]
    result = sums(kernels, form, rows, groups, 1, "int64", size=size, geometry=(2, 32))
    assert result.tolist() == columns(rows, groups, 1, size)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("groups", [[], [4], [0] * 200, [row * row % 3 for row in range(333)]])
def test_counts(kernels: CpuModule, form: str, geometry: tuple[int, int], groups: list[int]) -> None:
    assert counts(kernels, form, groups, SIZE, geometry).tolist() == [groups.count(group) for group in range(SIZE)]


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(GROUPS, INT64), max_size=60), initial=INT64)
def test_integer_extremes(kernels: CpuModule, rows: list[tuple[int, int]], initial: int) -> None:
    groups, values = [group for group, _ in rows], [value for _, value in rows]
    members = [[initial] + [value for of, value in rows if of == group] for group in range(SIZE)]
    assert extremes(kernels, "min", values, groups, "int64", initial) == [min(some) for some in members]
    assert extremes(kernels, "max", values, groups, "int64", initial) == [max(some) for some in members]


def by_python(choose: Any, values: list[float]) -> float:
    return math.nan if any(math.isnan(value) for value in values) else choose(values)


@settings(max_examples=150)
@given(rows=st.lists(st.tuples(GROUPS, ANY_FLOAT), max_size=60), initial=st.floats(allow_nan=False))
def test_float_extremes(kernels: CpuModule, rows: list[tuple[int, float]], initial: float) -> None:
    groups, values = [group for group, _ in rows], [value for _, value in rows]
    members = [[initial] + [value for of, value in rows if of == group] for group in range(SIZE)]
    for function, choose in (("min", min), ("max", max)):
        result = extremes(kernels, function, values, groups, "float64", initial)
        np.testing.assert_equal([r + 0.0 for r in result], [by_python(choose, some) + 0.0 for some in members])


CORNERS = [math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324, 1.5, -1.5]


@pytest.mark.parametrize("values", list(itertools.combinations(CORNERS, 3)), ids=str)
def test_extremes_of_corner_values_in_every_order(kernels: CpuModule, values: tuple[float, ...]) -> None:
    orders = list(itertools.permutations(values))[:SIZE]
    flat = [value for order in orders for value in order]
    groups = [group for group in range(len(orders)) for _ in values]
    for function, choose, initial in (("min", min, math.inf), ("max", max, -math.inf)):
        result = extremes(kernels, function, flat, groups, "float64", initial)
        np.testing.assert_equal([r + 0.0 for r in result], [by_python(choose, [*values, initial]) + 0.0] * SIZE)


@pytest.mark.parametrize("group", [-1, SIZE, FIRST, LAST])
def test_groups_out_of_range_are_refused_and_touch_nothing(kernels: CpuModule, group: int) -> None:
    groups = np.array([1, group, 2], np.int64)
    for name in sorted(kernels.parameters):
        if not name.startswith("group_"):
            continue
        dtype = "float64" if "float64" in name else "int64"
        guarded = np.full(SIZE + 2, 7, dtype)
        out = guarded[1:-1]
        tail = (groups, 3, 1, SIZE, out) if "sum" in name else (groups, 3, SIZE, out)
        head = () if "count" in name else (np.full(3, 5, dtype),)
        with pytest.raises(TrappedError, match="1 threads trapped"):
            launch(kernels, name, (1, 32), SIZE, *head, *tail)
        assert guarded[[0, 1, 4, 5, 6]].tolist() == [7] * 5, name
