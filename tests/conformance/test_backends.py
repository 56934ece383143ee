"""Every backend gives the results that plain Python gives: one suite over all backends of this release."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_engine.backend.array_backend import ArrayBackend
from tests.backends import BACKENDS

FIRST, LAST = -(2**63), 2**63 - 1
INT64 = st.integers(FIRST, LAST)


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    return BACKENDS[request.param]()


def ints(backend: ArrayBackend, values: list[int]) -> Any:
    return backend.from_host(values, backend.xp.int64)


def floats(backend: ArrayBackend, values: list[float]) -> Any:
    return backend.from_host(values, backend.xp.float64)


def listed(backend: ArrayBackend, array: Any) -> list[Any]:
    return backend.to_host(array).tolist()


def scattered(count: int, modulus: int, step: int = 7919) -> list[int]:
    """Return integers below `modulus` in an order that is no order."""
    return [(i * step + i * i % 31) % modulus for i in range(count)]


def same(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a, b, strict=True))


# --- to the device and back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [7], [FIRST, -1, 0, LAST]])
def test_integers_come_back_from_the_device(backend: ArrayBackend, values: list[int]) -> None:
    assert listed(backend, ints(backend, values)) == values


def test_scalar_gives_python_values(backend: ArrayBackend) -> None:
    array = ints(backend, [3, LAST])
    assert backend.scalar(array.max()) == LAST
    assert backend.scalar(array[:1]) == 3
    assert backend.scalar((array == 3).any()) is True
    assert type(backend.scalar(floats(backend, [0.5]).sum())) is float


def test_memory_figures_are_plausible(backend: ArrayBackend) -> None:
    use = backend.memory()
    assert 0 < use.used < use.total
    assert 0 < use.available <= use.total


def test_synchronize_returns(backend: ArrayBackend) -> None:
    backend.synchronize()


# --- Arrow ------------------------------------------------------------------------------------------------------------

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
COLUMNS: list[tuple[pa.DataType, list[Any], list[Any]]] = [
    (pa.bool_(), [True, False, True, True], [True, False, True, True]),
    (pa.int32(), [-(2**31), 0, 2**31 - 1], [-(2**31), 0, 2**31 - 1]),
    (pa.int64(), [FIRST, -1, 0, LAST], [FIRST, -1, 0, LAST]),
    (pa.float32(), [0.5, -math.inf, 1.25], [0.5, -math.inf, 1.25]),
    (pa.float64(), [0.1, math.inf, -0.0, 5e-324], [0.1, math.inf, -0.0, 5e-324]),
    (pa.date32(), [date(1970, 1, 2), date(1969, 12, 31), date(9999, 12, 31)], [1, -1, 2932896]),
    (pa.timestamp("us"), [datetime(1970, 1, 1, 0, 0, 1), datetime(1969, 12, 31)], [1_000_000, -86_400_000_000]),
    (UTC_MICROSECONDS, [datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)], [2_000_000]),
    (
        pa.decimal128(18, 2),
        [Decimal("-0.01"), Decimal("9999999999999999.99"), Decimal("-9999999999999999.99"), Decimal("0.00")],
        [-1, 10**18 - 1, 1 - 10**18, 0],
    ),
    (pa.decimal128(4, 0), [Decimal("-9999"), Decimal("12")], [-9999, 12]),
    (pa.list_(pa.float64(), 3), [[1.0, 2.0, 3.0], [-1.0, 0.5, math.inf]], [[1.0, 2.0, 3.0], [-1.0, 0.5, math.inf]]),
]
BY_TYPE = pytest.mark.parametrize(("type", "objects", "expected"), COLUMNS, ids=[str(c[0]) for c in COLUMNS])
DTYPES = {
    "bool": "bool",
    "int32": "int32",
    "date32[day]": "int32",
    "float": "float32",
    "double": "float64",
    "fixed_size_list<item: double>[3]": "float64",
}


@BY_TYPE
def test_arrow_column_without_nulls(
    backend: ArrayBackend, type: pa.DataType, objects: list[Any], expected: list[Any]
) -> None:
    values, valid = backend.from_arrow(pa.array(objects, type))
    assert valid is None
    assert listed(backend, values) == expected
    assert str(values.dtype) == DTYPES.get(str(type), "int64")


@BY_TYPE
def test_arrow_column_with_nulls_has_zeros_there(
    backend: ArrayBackend, type: pa.DataType, objects: list[Any], expected: list[Any]
) -> None:
    values, valid = backend.from_arrow(pa.array([None, *objects, None], type))
    zero: Any = [0.0] * 3 if pa.types.is_fixed_size_list(type) else 0
    assert listed(backend, valid) == [False] + [True] * len(objects) + [False]
    assert listed(backend, values) == [zero, *expected, zero]


@BY_TYPE
@pytest.mark.parametrize("start", [0, 1, 7, 8, 9, 16, 21])
@pytest.mark.parametrize("length", [0, 1, 8, 19])
def test_arrow_slices_begin_where_they_say(
    backend: ArrayBackend, type: pa.DataType, objects: list[Any], expected: list[Any], start: int, length: int
) -> None:
    rows = [None if i % 5 == 3 else i % len(objects) for i in range(50)]
    column = pa.array([None if row is None else objects[row] for row in rows], type)
    values, valid = backend.from_arrow(column.slice(start, length))
    wanted = rows[start : start + length]
    present = [True] * length if valid is None else listed(backend, valid)
    got = listed(backend, values)
    assert present == [row is not None for row in wanted]
    assert [got[i] for i in range(length) if present[i]] == [expected[row] for row in wanted if row is not None]


@BY_TYPE
@pytest.mark.parametrize("start", [0, 3])
def test_to_arrow_is_the_inverse(
    backend: ArrayBackend, type: pa.DataType, objects: list[Any], expected: list[Any], start: int
) -> None:
    for content in ([], objects, [*objects, None, *objects, None, *objects], [None, None, None, None]):
        column = pa.array(content, type).slice(start)
        back = backend.to_arrow(*backend.from_arrow(column), type)
        back.validate(full=True)
        assert back.type == type
        assert back.to_pylist() == column.to_pylist()


def test_null_in_every_row_but_a_validity_bitmap_full_of_ones_is_no_null(backend: ArrayBackend) -> None:
    column = pa.array([None, 1, 2], pa.int64()).slice(1)
    values, valid = backend.from_arrow(column)
    assert valid is None
    assert listed(backend, values) == [1, 2]


def test_garbage_under_nulls_reads_as_zero(backend: ArrayBackend) -> None:
    hidden = pa.array([1.5, math.nan, 2.5]).buffers()[1]
    column = pa.Array.from_buffers(pa.float64(), 3, [pa.py_buffer(b"\x05"), hidden])
    values, valid = backend.from_arrow(column)
    assert listed(backend, values) == [1.5, 0.0, 2.5]
    assert listed(backend, valid) == [True, False, True]


def test_vector_with_a_null_element_is_refused(backend: ArrayBackend) -> None:
    column = pa.array([None, [1.0, 2.0], [3.0, None]], pa.list_(pa.float64(), 2))
    with pytest.raises(ValueError, match=r"row 2: \[3.0, None\] has a null element"):
        backend.from_arrow(column)
    values, _ = backend.from_arrow(column.slice(0, 2))
    assert listed(backend, values) == [[0.0, 0.0], [1.0, 2.0]]


def test_wide_decimals_can_be_written(backend: ArrayBackend) -> None:
    column = backend.to_arrow(ints(backend, [FIRST, -1, LAST]), None, pa.decimal128(38, 2))
    assert column.to_pylist() == [Decimal(value).scaleb(-2) for value in (FIRST, -1, LAST)]


@pytest.mark.parametrize("type", [pa.string(), pa.int8(), pa.timestamp("ns"), pa.decimal128(19, 2), pa.null()])
def test_other_arrow_types_are_refused(backend: ArrayBackend, type: pa.DataType) -> None:
    with pytest.raises(TypeError, match=r"Arrow type .* is not one of"):
        backend.from_arrow(pa.array([None], type))


def test_chunked_arrays_are_refused(backend: ArrayBackend) -> None:
    with pytest.raises(TypeError, match="Combine the chunks"):
        backend.from_arrow(pa.chunked_array([[1], [2]]))


def test_to_arrow_refuses_values_of_another_type(backend: ArrayBackend) -> None:
    with pytest.raises(TypeError, match="int32 is made from int32 values, not from int64"):
        backend.to_arrow(ints(backend, [1]), None, pa.int32())
    with pytest.raises(TypeError, match=r"\(n, 2\) values"):
        backend.to_arrow(floats(backend, [1.0]), None, pa.list_(pa.float64(), 2))


# --- group ------------------------------------------------------------------------------------------------------------


def key_sets() -> Iterator[Any]:
    for count in (0, 1, 2, 100, 512, 513, 3000):
        yield pytest.param(scattered(count, 40), id=f"{count} compact")
        yield pytest.param([v - 10**12 for v in scattered(count, 2 * count + 1)], id=f"{count} negative compact")
        yield pytest.param([v * 10**9 for v in scattered(count, 1000)], id=f"{count} spread")
        yield pytest.param([(FIRST, -1, 0, LAST)[v % 4] for v in scattered(count, 97)], id=f"{count} extreme")
        yield pytest.param([v * 2**53 + FIRST for v in scattered(count, 1023)], id=f"{count} wide")
        yield pytest.param(list(range(count)), id=f"{count} ascending")
        yield pytest.param(list(range(count, 0, -1)), id=f"{count} descending")


@pytest.mark.parametrize("keys", list(key_sets()))
def test_group_gives_distinct_keys_and_each_rows_group(backend: ArrayBackend, keys: list[int]) -> None:
    groups = backend.group(ints(backend, keys))
    distinct = sorted(set(keys))
    position = {key: i for i, key in enumerate(distinct)}
    assert listed(backend, groups.keys) == distinct
    assert listed(backend, groups.group_of) == [position[key] for key in keys]
    assert groups.group_of.dtype == backend.xp.intp


@pytest.mark.parametrize("bits", range(40, 65))
@pytest.mark.parametrize("low", [FIRST, -1, 0])
def test_group_of_keys_in_a_range_of_any_width(backend: ArrayBackend, bits: int, low: int) -> None:
    width = min(2**bits, LAST + 1 - low)
    keys = [low + v * (width // 600) for v in scattered(900, 600)] + [low + width - 1, low]
    groups = backend.group(ints(backend, keys))
    assert listed(backend, groups.keys) == sorted(set(keys))
    assert listed(backend, groups.keys[groups.group_of]) == keys


@given(keys=st.lists(st.one_of(INT64, st.integers(-3, 3)), max_size=30))
def test_group_of_any_keys(backend: ArrayBackend, keys: list[int]) -> None:
    groups = backend.group(ints(backend, keys))
    assert listed(backend, groups.keys) == sorted(set(keys))
    assert listed(backend, groups.keys[groups.group_of]) == keys


def test_verbs_leave_their_arguments_alone(backend: ArrayBackend) -> None:
    keys = [v * 10**9 for v in scattered(2000, 1000)]
    codes = scattered(2000, 50)
    array, groups = ints(backend, keys), ints(backend, codes)
    backend.group(array)
    backend.order_by_code(groups, 50)
    backend.group_sum(array, groups, 50)
    backend.group_max(array, groups, 50, 0)
    backend.int_index().insert(array)
    assert listed(backend, array) == keys
    assert listed(backend, groups) == codes


# --- sums, counts, extremes per group ---------------------------------------------------------------------------------

GROUPS = 5
ROWS = st.lists(st.tuples(st.integers(0, GROUPS - 1), INT64), max_size=40)
FLOAT_ROWS = st.lists(st.tuples(st.integers(0, GROUPS - 1), st.floats(width=32)), max_size=40)


def wrapped(value: int) -> int:
    return (value - FIRST) % 2**64 + FIRST


@given(rows=ROWS)
def test_integer_sums_are_exact(backend: ArrayBackend, rows: list[tuple[int, int]]) -> None:
    group_of, values = ints(backend, [g for g, _ in rows]), ints(backend, [v for _, v in rows])
    sums = backend.group_sum(values, group_of, GROUPS)
    assert listed(backend, sums) == [wrapped(sum(v for g, v in rows if g == group)) for group in range(GROUPS)]
    assert sums.dtype == backend.xp.int64


@given(rows=st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(-(2**40), 2**40)), max_size=40))
def test_float_sums(backend: ArrayBackend, rows: list[tuple[int, int]]) -> None:
    group_of, values = ints(backend, [g for g, _ in rows]), floats(backend, [v / 8 for _, v in rows])
    sums = backend.group_sum(values, group_of, GROUPS)
    assert listed(backend, sums) == [sum(v for g, v in rows if g == group) / 8 for group in range(GROUPS)]
    assert sums.dtype == backend.xp.float64


def test_sums_keep_what_a_float_would_round(backend: ArrayBackend) -> None:
    sums = backend.group_sum(ints(backend, [2**53, 1, -(2**53)]), ints(backend, [0, 0, 1]), 3)
    assert listed(backend, sums) == [2**53 + 1, -(2**53), 0]


@pytest.mark.parametrize(
    ("values", "dtype", "sums", "result"),
    [
        ([True, False, True], "bool", [2, 0], "int64"),
        ([2**31 - 1, 5, 2**31 - 1], "int32", [2**32 - 2, 5], "int64"),
        ([0.5, 2.0, 0.25], "float32", [0.75, 2.0], "float64"),
    ],
)
def test_sums_of_narrow_types_are_wide(
    backend: ArrayBackend, values: list[Any], dtype: str, sums: list[Any], result: str
) -> None:
    summed = backend.group_sum(backend.from_host(values, dtype), ints(backend, [0, 1, 0]), 2)
    assert listed(backend, summed) == sums
    assert str(summed.dtype) == result


def test_sums_pass_nan_and_infinity_on(backend: ArrayBackend) -> None:
    values = floats(backend, [math.nan, 1.0, math.inf, 1.0, math.inf, -math.inf])
    sums = backend.group_sum(values, ints(backend, [0, 0, 1, 1, 2, 2]), 4)
    assert same(listed(backend, sums), [math.nan, math.inf, math.nan, 0.0])


@pytest.mark.parametrize("group_of", [[], [0], [4, 4, 0, 2, 4], scattered(1000, GROUPS)])
def test_counts(backend: ArrayBackend, group_of: list[int]) -> None:
    counts = backend.group_count(ints(backend, group_of), GROUPS)
    assert listed(backend, counts) == [group_of.count(group) for group in range(GROUPS)]
    assert counts.dtype == backend.xp.int64


@given(rows=ROWS, initial=INT64)
def test_integer_extremes(backend: ArrayBackend, rows: list[tuple[int, int]], initial: int) -> None:
    group_of, values = ints(backend, [g for g, _ in rows]), ints(backend, [v for _, v in rows])
    least = backend.group_min(values, group_of, GROUPS, initial)
    greatest = backend.group_max(values, group_of, GROUPS, initial)
    by_group = [[initial] + [v for g, v in rows if g == group] for group in range(GROUPS)]
    assert listed(backend, least) == [min(values) for values in by_group]
    assert listed(backend, greatest) == [max(values) for values in by_group]
    assert least.dtype == greatest.dtype == backend.xp.int64


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(rows=FLOAT_ROWS)
def test_float_extremes(backend: ArrayBackend, rows: list[tuple[int, float]], dtype: str) -> None:
    group_of, values = ints(backend, [g for g, _ in rows]), backend.from_host([v for _, v in rows], dtype)
    least = backend.group_min(values, group_of, GROUPS, math.inf)
    greatest = backend.group_max(values, group_of, GROUPS, -math.inf)
    by_group = [[v for g, v in rows if g == group] for group in range(GROUPS)]
    spoilt = [any(math.isnan(v) for v in values) for values in by_group]
    lows = [math.nan if bad else min(v, default=math.inf) for v, bad in zip(by_group, spoilt, strict=True)]
    highs = [math.nan if bad else max(v, default=-math.inf) for v, bad in zip(by_group, spoilt, strict=True)]
    assert same(listed(backend, least), lows)
    assert same(listed(backend, greatest), highs)
    assert least.dtype == greatest.dtype == backend.xp.float64


def test_no_groups_at_all(backend: ArrayBackend) -> None:
    none = ints(backend, [])
    for result in (
        backend.group_count(none, 0),
        backend.group_sum(none, none, 0),
        backend.group_sum(floats(backend, []), none, 0),
        backend.group_min(none, none, 0, LAST),
        backend.order_by_code(none, 0),
    ):
        assert listed(backend, result) == []


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("count", [0, 1, 100, 512, 513, 5000])
@pytest.mark.parametrize("size", [1, 2, 256, 65536, 65537, 10**6, 2**31 - 1])
def test_order_by_code_is_the_stable_order(backend: ArrayBackend, dtype: str, count: int, size: int) -> None:
    codes = scattered(count, size, step=max(1, size // 37))
    order = backend.order_by_code(backend.from_host(codes, dtype), size)
    assert listed(backend, order) == sorted(range(count), key=codes.__getitem__)
    assert order.dtype == backend.xp.int64
