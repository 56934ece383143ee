"""Bad input: Arrow and pandas rows that are none, that name a column twice, or hold what does not fit."""

from __future__ import annotations

import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import rows

E = ge.errors


@pytest.fixture
def table(session: ge.Session) -> ge.Table:
    types = {"id": ge.LONG, "name": ge.STRING, "day": ge.LOCAL_DATE, "price": ge.DECIMAL(9, 2)}
    made = session.create_table("t", types=types, keys=["id"])
    made.append((1, "one", "2024-01-01", "1.10"))
    return made


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


class TestObjectColumns:
    """Columns of a DataFrame that hold Python objects of several kinds."""

    @pytest.mark.parametrize(
        ("columns", "column", "row", "value"),
        [
            ({"id": [2, "three"]}, "id", 1, "three"),
            ({"id": [2, 3], "name": ["two", 3]}, "name", 1, 3),
            ({"id": [2, 3], "day": ["2024-01-02", datetime.time(1)]}, "day", 1, datetime.time(1)),
            ({"id": [2, 3, 4], "price": ["2.20", None, "much"]}, "price", 2, "much"),
            ({"id": [2, object()]}, "id", 1, None),
        ],
        ids=["a number", "a text", "a date", "a decimal", "no value at all"],
    )
    def test_that_do_not_fit_are_named(
        self, table: ge.Table, columns: dict[str, Any], column: str, row: int, value: Any
    ) -> None:
        with pytest.raises(E.TypeMismatchError) as caught:
            table.load_pandas(frame(**columns))
        assert caught.value.code == "type_mismatch"
        assert f"table 't', column {column!r}, row {row}" in str(caught.value)
        if value is not None:
            assert repr(value) in str(caught.value)
        assert len(table) == 1

    def test_of_a_kind_that_never_fits_are_named_as_a_whole(self, table: ge.Table) -> None:
        with pytest.raises(E.TypeMismatchError, match=r"column 'day': .*a column of time64.*LOCAL_DATE"):
            table.load_pandas(frame(id=[2, 3], day=[None, datetime.time(1)]))

    def test_that_fit_one_by_one_are_loaded(self, table: ge.Table) -> None:
        table.load_pandas(
            frame(
                id=[2, 3.0],
                name=["two", float("nan")],
                day=[datetime.date(2024, 1, 2), "2024-01-03"],
                price=[2, "3.30"],
            )
        )
        assert [tuple(map(str, row.values())) for row in rows(table)[1:]] == [
            ("2", "two", "2024-01-02", "2.00"),
            ("3", "None", "2024-01-03", "3.30"),
        ]

    def test_whose_type_nobody_gave_are_refused_and_make_no_table(self, session: ge.Session) -> None:
        with pytest.raises(E.InvalidModelError, match=r"table 'new', column 'a'.*several kinds.*types="):
            session.read_pandas(frame(a=[1, "x"]), "new")
        assert dict(session.tables) == {}
        made = session.read_pandas(frame(b=[1, "2"], c=["x", "y"]), "new", types={"b": ge.DECIMAL(9, 0)})
        assert [row["b"] for row in rows(made)] == [1, 2]


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame([[1, 2]], columns=["id", "id"]),
        pd.DataFrame({"id": [1]}, index=pd.Index([1], name="id")),
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"]),
        pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"]),
    ],
    ids=["pandas", "index", "table", "batch"],
)
def test_a_column_that_comes_twice_is_refused(session: ge.Session, table: ge.Table, given: Any) -> None:
    """Which of the two is meant, nobody can know."""
    with pytest.raises(E.InvalidModelError, match=r"table 't': column 'id' comes twice"):
        table.load(given)
    read = session.read_pandas if isinstance(given, pd.DataFrame) else session.read_arrow
    with pytest.raises(E.InvalidModelError, match=r"table 'new': column 'id' comes twice"):
        read(given, "new")
    assert list(session.tables) == ["t"]
    assert session.epoch == 1


@pytest.mark.parametrize("given", [None, 5, "rows", {"id": [1]}, [1, 2]], ids=repr)
def test_what_holds_no_rows_is_refused(session: ge.Session, table: ge.Table, given: Any) -> None:
    with pytest.raises(E.InvalidModelError, match=r"table 't': this cannot be taken as Arrow.*Give a pyarrow\.Table"):
        table.load_arrow(given)
    with pytest.raises(E.InvalidModelError, match=rf"table 't': a {type(given).__name__} is no DataFrame"):
        table.load_pandas(given)
    with pytest.raises(E.InvalidModelError, match="table 'new'"):
        session.read_arrow(given, "new")
    with pytest.raises(E.InvalidModelError, match="table 'new'"):
        session.read_pandas(given, "new")
    assert list(session.tables) == ["t"]


def test_batches_of_several_schemas_are_refused(table: ge.Table) -> None:
    batches = [pa.record_batch({"id": [2]}), pa.record_batch({"id": [3], "name": ["three"]})]
    with pytest.raises(E.InvalidModelError, match=r"(?s)table 't'.*one schema"):
        table.load_arrow(batches)
    assert len(table) == 1


def test_no_batches_are_no_rows(session: ge.Session, table: ge.Table) -> None:
    report = table.load_arrow([])
    assert report is not None
    assert report.epoch == session.epoch == 1


def test_batches_make_a_table(session: ge.Session) -> None:
    batch = pa.record_batch({"a": [1, 2]})
    assert [row["a"] for row in rows(session.read_arrow([batch, batch], "new"))] == [1, 2, 1, 2]
