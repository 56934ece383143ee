"""T3: every type holds its values to the last bit, nulls too, in rows, as levels and in measures."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import cells, rows

NOON = datetime.datetime(2024, 5, 1, 12, 30, 15, 123456)
ISTANBUL = datetime.timezone(datetime.timedelta(hours=3))

VALUES: dict[str, tuple[ge.DataType, list[Any]]] = {
    "BOOLEAN": (ge.BOOLEAN, [True, False]),
    "INT": (ge.INT, [-(2**31), 0, 2**31 - 1]),
    "LONG": (ge.LONG, [-(2**63), 2**53 + 1, 2**63 - 1]),
    "FLOAT": (ge.FLOAT, [0.5, -1.25, 3.0e38 // 1 * 0 + 2.0**127]),
    "DOUBLE": (ge.DOUBLE, [0.1, -1e308, 5e-324, math.inf]),
    "DECIMAL(18,2)": (ge.DECIMAL(18, 2), [Decimal("0.01"), Decimal("-9999999999999999.99")]),
    "DECIMAL(5,0)": (ge.DECIMAL(5, 0), [Decimal("99999"), Decimal("-1")]),
    "STRING": (ge.STRING, ["", "N/A", "日本語 and 🎲", "a" * 10_000]),
    "LOCAL_DATE": (ge.LOCAL_DATE, [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    "TIMESTAMP": (
        ge.TIMESTAMP,
        [NOON, datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)],
    ),
    "VECTOR(2)": (ge.VECTOR(2), [[0.1, -2.0], [math.inf, 1e300]]),
}
SCALARS = [name for name in VALUES if not name.startswith("VECTOR")]


def one_column(session: ge.Session, name: str) -> tuple[ge.Table, list[Any]]:
    """Create a table with a column of the type, filled with its values and a null in the middle."""
    data_type, values = VALUES[name]
    table = session.create_table("t", types={"k": ge.LONG, "v": data_type}, keys=["k"])
    values = [*values[:1], None, *values[1:]]
    table.append(*enumerate(values))
    return table, values


@pytest.mark.parametrize("name", VALUES)
class TestEveryType:
    def test_is_called_what_users_write(self, name: str) -> None:
        assert str(VALUES[name][0]) == name

    def test_keeps_its_values_and_nulls(self, session: ge.Session, name: str) -> None:
        table, values = one_column(session, name)
        assert [row["v"] for row in rows(table)] == values

    def test_keeps_its_values_through_an_update_of_another_row(self, session: ge.Session, name: str) -> None:
        table, values = one_column(session, name)
        table.append((1, values[0]), (len(values), None))
        assert {row["k"]: row["v"] for row in rows(table)} == {
            **dict(enumerate(values)),
            1: values[0],
            len(values): None,
        }

    def test_tells_an_equal_row_from_a_changed_one(self, session: ge.Session, name: str) -> None:
        table, values = one_column(session, name)
        report = table.append(*enumerate(values))
        assert report is not None
        assert report.tables["t"] == ge.TableReport(unchanged=len(values))
        report = table.append((0, None))
        assert report is not None
        assert report.tables["t"] == ge.TableReport(updated=1)

    def test_starts_with_nulls_alone(self, session: ge.Session, name: str) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "v": VALUES[name][0]}, keys=["k"])
        table.append((1, None), (2, None))
        table.append((2, VALUES[name][1][0]))
        assert [row["v"] for row in rows(table)] == [None, VALUES[name][1][0]]

    def test_comes_in_as_arrow(self, session: ge.Session, name: str) -> None:
        data_type, values = VALUES[name]
        table = session.create_table("t", types={"k": ge.LONG, "v": data_type}, keys=["k"])
        column = pa.array([None, *values, None], data_type.arrow)
        table.load_arrow(pa.table({"k": range(len(column)), "v": column}).slice(1))
        assert [row["v"] for row in rows(table)] == [*values, None]

    def test_is_counted_where_not_null(self, session: ge.Session, name: str) -> None:
        table, values = one_column(session, name)
        cube = session.create_cube(table)
        cube.measures["n"] = ge.agg.count(table["v"])
        assert cells(cube, "n", "contributors.COUNT") == {(): (len(values) - 1, len(values))}
        cube.create_provider(measures=["n"])
        table.append((1, values[0]), (2, None))
        assert cells(cube, "n") == {(): len(values) - 1}


@pytest.mark.parametrize("name", SCALARS)
class TestEveryScalarType:
    def test_can_be_a_level(self, session: ge.Session, name: str) -> None:
        table, values = one_column(session, name)
        cube = session.create_cube(table)
        cube.hierarchies["v"] = [table["v"]]
        expected = {value: 1 for value in sorted(value for value in values if value is not None)}
        assert cells(cube, "contributors.COUNT", levels=["v"]) == {**expected, None: 1}
        frame = cube.query("contributors.COUNT", levels=["v"])
        assert list(frame["contributors.COUNT"]) == [1] * len(values)
        assert cube.hierarchies["v"].members() == {**{(value,): 1 for value in expected}, (None,): 1}

    def test_can_be_filtered_by(self, session: ge.Session, name: str) -> None:
        table, values = one_column(session, name)
        cube = session.create_cube(table)
        cube.hierarchies["v"] = [table["v"]]
        level, present = cube.levels["v"], [value for value in values if value is not None]
        for value in present:
            assert cells(cube, "contributors.COUNT", levels=["v"], filter=level == value) == {value: 1}
            assert cells(cube, "contributors.COUNT", filter=level <= value) == {(): sum(v <= value for v in present)}
            assert cells(cube, "contributors.COUNT", filter=level != value) == {(): len(values) - 1}
            assert rows(table)[values.index(value)] in table.where(table["v"] == value).to_pylist()
        assert cells(cube, "contributors.COUNT", filter=level.isin([None, present[0]])) == {(): 2}
        assert cells(cube, "contributors.COUNT", filter=level.isnull()) == {(): 1}


class TestDecimals:
    def test_add_up_exactly(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"g": ge.STRING, "x": ge.DECIMAL(18, 2)})
        table.append(*[("a", "0.10")] * 1000, ("b", "9007199254740993.01"), ("b", "0.01"))
        cube = session.create_cube(table)
        assert cells(cube, "x.SUM", levels=["g"]) == {"a": Decimal("100.00"), "b": Decimal("9007199254740993.02")}

    def test_multiply_exactly(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"n": ge.LONG, "x": ge.DECIMAL(9, 2), "y": ge.DECIMAL(9, 3)})
        table.append((3, "0.07", "0.011"), (-1, "1.00", "5.000"))
        cube = session.create_cube(table)
        cube.measures["nx"] = ge.agg.sum(table["n"] * table["x"])
        cube.measures["xy"] = ge.agg.max(table["x"] * table["y"])
        cube.measures["x+y"] = ge.agg.sum(table["x"] + table["y"] - 1)
        assert cells(cube, "nx", "xy", "x+y") == {(): (Decimal("-0.79"), Decimal("5.00000"), Decimal("4.081"))}

    def test_have_float_means(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.DECIMAL(9, 2)})
        table.append(("0.10",), ("0.15",), (None,))
        assert cells(session.create_cube(table), "x.MEAN") == {(): 0.125}

    def test_take_integers_floats_and_text(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.DECIMAL(9, 2)})
        table.append((3,), (0.29,), ("1.5",), (Decimal("-7.25"),))
        assert [row["x"] for row in rows(table)] == [Decimal("3"), Decimal("0.29"), Decimal("1.5"), Decimal("-7.25")]

    @pytest.mark.parametrize("value", [0.29, Decimal("0.29"), "0.29"])
    def test_equal_the_number_that_was_written(self, session: ge.Session, value: Any) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "x": ge.DECIMAL(9, 2)}, keys=["k"])
        table.append((1, 0.29), (2, 0.28))
        assert table.where(table["x"] == value)["k"].to_pylist() == [1]
        assert table.where(table["x"] >= value)["k"].to_pylist() == [1]
        assert table.where(table["x"] < value)["k"].to_pylist() == [2]
        cube = session.create_cube(table)
        cube.hierarchies["x"] = [table["x"]]
        assert cells(cube, "contributors.COUNT", levels=["k"], filter=cube.levels["x"] == value) == {1: 1}


class TestDatesAndTimes:
    def test_take_iso_text(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"d": ge.LOCAL_DATE, "t": ge.TIMESTAMP})
        table.append(("2024-02-29", "2024-02-29T23:59:59.5"))
        assert rows(table) == [
            {"d": datetime.date(2024, 2, 29), "t": datetime.datetime(2024, 2, 29, 23, 59, 59, 500_000)}
        ]

    def test_with_a_zone_are_kept_in_utc(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"t": ge.TIMESTAMP})
        zoned = NOON.replace(tzinfo=ISTANBUL)
        table.append((zoned,), (zoned.isoformat(),))
        table.load_arrow(pa.table({"t": pa.array([zoned], pa.timestamp("ms", "Europe/Istanbul"))}))
        utc = NOON - datetime.timedelta(hours=3)
        assert [row["t"] for row in rows(table)] == [utc, utc, utc.replace(microsecond=123_000)]

    def test_a_moment_at_midnight_is_a_date(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"d": ge.LOCAL_DATE})
        table.append((datetime.datetime(2024, 5, 1),))
        assert rows(table) == [{"d": datetime.date(2024, 5, 1)}]


MISFITS: list[tuple[str, ge.DataType, Any]] = [
    ("a text for a number", ge.LONG, "5"),
    ("a fraction for an integer", ge.LONG, 1.5),
    ("not a number for an integer", ge.LONG, math.nan),
    ("too large an integer", ge.INT, 2**31),
    ("an integer beyond 64 bits", ge.LONG, 2**63),
    ("a boolean for an integer", ge.LONG, True),
    ("a boolean for a float", ge.DOUBLE, True),
    ("a text for a float", ge.DOUBLE, "0.5"),
    ("an integer for a boolean", ge.BOOLEAN, 1),
    ("a number for a text", ge.STRING, 5),
    ("a moment for a date", ge.LOCAL_DATE, NOON),
    ("a text that is no date", ge.LOCAL_DATE, "2024-02-30"),
    ("a number for a date", ge.LOCAL_DATE, 5),
    ("a text that is no time", ge.TIMESTAMP, "noon"),
    ("a number for a time", ge.TIMESTAMP, 5),
    ("too many digits", ge.DECIMAL(5, 2), 1000),
    ("a text that is no decimal", ge.DECIMAL(5, 2), "1,5"),
    ("not a number for a decimal", ge.DECIMAL(5, 2), math.nan),
    ("infinity for a decimal", ge.DECIMAL(5, 2), math.inf),
    ("a vector of another length", ge.VECTOR(2), [1.0]),
    ("a vector with a hole", ge.VECTOR(2), [1.0, None]),
    ("a number for a vector", ge.VECTOR(2), 1.0),
    ("a list for a text", ge.STRING, ["a"]),
]


@pytest.mark.parametrize(("data_type", "value"), [case[1:] for case in MISFITS], ids=[case[0] for case in MISFITS])
def test_a_value_that_does_not_fit_is_refused_by_name(session: ge.Session, data_type: ge.DataType, value: Any) -> None:
    table = session.create_table("t", types={"k": ge.LONG, "v": data_type}, keys=["k"])
    with pytest.raises(ge.errors.TypeMismatchError) as caught:
        table.append((1, None), (2, value))
    assert caught.value.code == "type_mismatch"
    assert "'v'" in str(caught.value)
    assert str(data_type) in str(caught.value)
    assert caught.value.row == 1
    assert len(table) == 0
    assert session.epoch == 0


ARROW_MISFITS: list[tuple[str, ge.DataType, pa.Array]] = [
    ("a fraction for an integer", ge.LONG, pa.array([1.0, 1.5])),
    ("too large an integer", ge.INT, pa.array([1, 2**31])),
    ("a text for a number", ge.LONG, pa.array(["1", "x"])),
    ("a vector with a hole", ge.VECTOR(2), pa.array([[1.0, 2.0], [1.0, None]], pa.list_(pa.float64(), 2))),
    ("structs", ge.STRING, pa.array([{"a": 1}, {"a": 2}])),
]


@pytest.mark.parametrize(
    ("data_type", "column"), [case[1:] for case in ARROW_MISFITS], ids=[case[0] for case in ARROW_MISFITS]
)
def test_an_arrow_column_that_does_not_fit_is_refused_by_name(
    session: ge.Session, data_type: ge.DataType, column: pa.Array
) -> None:
    table = session.create_table("t", types={"v": data_type})
    with pytest.raises(ge.errors.TypeMismatchError, match="'v'"):
        table.load_arrow(pa.table({"v": column}))
    assert len(table) == 0


class TestDictionaryColumns:
    def test_of_text_are_taken_as_they_are(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"s": ge.STRING})
        column = pa.array(["b", "a", None, "b"]).dictionary_encode()
        table.load_arrow(pa.table({"s": column}))
        table.load_arrow(pa.table({"s": pa.DictionaryArray.from_arrays([1, 0], ["c", None])}))
        assert [row["s"] for row in rows(table)] == ["b", "a", None, "b", None, "c"]

    def test_of_numbers_do_not_spoil_a_text_column(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"s": ge.STRING})
        column = pa.array([7, 8, 7]).dictionary_encode()
        try:
            table.load_arrow(pa.table({"s": column}))
        except ge.errors.TypeMismatchError:
            loaded: list[str] = []
        else:
            loaded = ["7", "8", "7"]
        table.append(("x",))
        assert [row["s"] for row in rows(table)] == [*loaded, "x"]

    def test_of_numbers_become_numbers(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"n": ge.LONG})
        table.load_arrow(pa.table({"n": pa.array([7, None, 7]).dictionary_encode()}))
        assert [row["n"] for row in rows(table)] == [7, None, 7]

    def test_come_from_pandas_categories(self, session: ge.Session) -> None:
        table = session.read_pandas(pd.DataFrame({"s": pd.Categorical(["b", "a", "b"])}), "t")
        assert dict(table.types) == {"s": ge.STRING}
        assert [row["s"] for row in rows(table)] == ["b", "a", "b"]


class TestVectors:
    def test_cannot_be_keys(self, session: ge.Session) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match="'v': a VECTOR cannot be part of the key"):
            session.create_table("t", types={"v": ge.VECTOR(2)}, keys=["v"])

    def test_cannot_be_levels(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"v": ge.VECTOR(2)})
        cube = session.create_cube(table)
        assert list(cube.levels) == []
        with pytest.raises(ge.errors.InvalidModelError, match="'v' holds vectors"):
            cube.hierarchies["v"] = [table["v"]]

    def test_are_updated_with_other_columns(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "v": ge.VECTOR(3), "n": ge.LONG}, keys=["k"])
        table.append((1, [1.0, 2.0, 3.0], 1), (2, None, 2))
        table.update([{"k": 1, "n": 5}, {"k": 2, "v": [0.0, 0.0, 1.0]}])
        assert {row["k"]: (row["v"], row["n"]) for row in rows(table)} == {
            1: ([1.0, 2.0, 3.0], 5),
            2: ([0.0, 0.0, 1.0], 2),
        }


@pytest.mark.parametrize(("precision", "scale"), [(0, 0), (19, 2), (5, 6), (5, -1)])
def test_decimals_of_impossible_digits_are_refused(precision: int, scale: int) -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="precision must be 1 to 18"):
        ge.DECIMAL(precision, scale)


def test_vectors_of_no_length_are_refused() -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="at least 1"):
        ge.VECTOR(0)
