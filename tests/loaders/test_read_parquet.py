"""Reading Parquet files: what was written comes back, in few kinds of types, from any row on."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from loaders.errors import SourceError
from loaders.parquet import infer_schema, read_parquet
from loaders.testing import check_source


def table_of(path: Path, types: dict[str, pa.DataType] | None = None, **options: Any) -> pa.Table:
    return pa.Table.from_batches([batch.rows for batch in read_parquet(path, types, **options)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trades.parquet"


def write(path: Path, row_group_size: int | None = None, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "key": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "small": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "text": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    "number": (pa.float64(), st.floats(allow_nan=False)),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates()),
    "at": (pa.timestamp("us"), st.datetimes()),
    "money": (pa.decimal128(18, 4), st.decimals(-(10**10), 10**10, places=4)),
    "curve": (pa.list_(pa.float64(), 3), st.lists(st.floats(allow_nan=False), min_size=3, max_size=3)),
}
SCHEMA = pa.schema([(name, type_) for name, (type_, _) in COLUMNS.items()])
# Before version 26 pyarrow does not read back null vectors that it has written itself.
NEVER_NULL = {"curve"} if int(pa.__version__.partition(".")[0]) < 26 else set()
ROW = st.fixed_dictionaries(
    {name: values if name in NEVER_NULL else st.none() | values for name, (_, values) in COLUMNS.items()}
)


@given(rows=st.lists(ROW, max_size=20), group=st.integers(1, 7))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_comes_back(tmp_path: Path, rows: list[dict[str, Any]], group: int) -> None:
    path = tmp_path / "round_trip.parquet"
    written = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(written, path, row_group_size=group)
    assert infer_schema(path) == SCHEMA
    assert table_of(path).equals(written)
    check_source(lambda resume: read_parquet(path, resume=resume))


class TestTypes:
    @pytest.mark.parametrize(
        ("column", "kind"),
        [
            (pa.array([1], pa.int8()), pa.int32()),
            (pa.array([1], pa.uint16()), pa.int32()),
            (pa.array([1], pa.uint32()), pa.int64()),
            (pa.array([2**63 - 1], pa.uint64()), pa.int64()),
            (pa.array(["x"]).dictionary_encode(), pa.string()),
            (pa.array(["x"], pa.large_string()), pa.string()),
            (pa.array([None], pa.null()), pa.string()),
            (pa.array([10**9], pa.timestamp("ns")), pa.timestamp("us")),
            (pa.array([10**9], pa.timestamp("ms", "Europe/Paris")), pa.timestamp("us")),
            (pa.array([datetime.time(12, 30)]), pa.string()),
        ],
        ids=lambda value: str(getattr(value, "type", "")),
    )
    def test_are_brought_down_to_few_kinds(self, file: Path, column: pa.Array, kind: pa.DataType) -> None:
        write(file, v=column)
        assert infer_schema(file).types == table_of(file).schema.types == [kind]

    def test_given_win(self, file: Path) -> None:
        write(
            file, i=[1, None], s=["1.50", "2"], at=[datetime.datetime(2021, 5, 1), None], v=[[1.0, 2.0], None], x=[1, 2]
        )
        types = {
            "i": pa.decimal128(6, 2),
            "s": pa.decimal128(6, 2),
            "at": pa.date32(),
            "v": pa.list_(pa.float64(), 2),
            "absent": pa.int64(),
        }
        table = table_of(file, types)
        assert table.to_pylist() == [
            {"i": Decimal(1), "s": Decimal("1.5"), "at": datetime.date(2021, 5, 1), "v": [1.0, 2.0], "x": 1},
            {"i": None, "s": Decimal(2), "at": None, "v": None, "x": 2},
        ]
        assert infer_schema(file, types) == table.schema


class TestPositions:
    def test_go_across_row_groups(self, file: Path) -> None:
        write(file, row_group_size=10, n=list(range(95)))
        for position in (0, 1, 9, 10, 11, 94, 95):
            rows = [row["n"] for row in table_of(file, resume=position).to_pylist()]
            assert rows == list(range(position, 95))

    def test_with_a_limit_lead_to_the_rest(self, file: Path) -> None:
        write(file, row_group_size=10, n=list(range(95)))
        sample = list(read_parquet(file, limit=33))
        assert sample[-1].position == 33
        assert sum(batch.rows.num_rows for batch in sample) == 33

    def test_of_no_rows_come_with_the_schema(self, file: Path) -> None:
        write(file, n=pa.array([], pa.int64()))
        (batch,) = read_parquet(file)
        assert (batch.rows.num_rows, batch.rows.schema.types, batch.position) == (0, [pa.int64()], 0)


class TestFaults:
    @pytest.mark.parametrize("content", [b"", b"ID,Name\n1,x\n" * 20, b"PAR1" + b"\0" * 50 + b"PAR1"])
    def test_not_a_parquet_file(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        for read in (lambda: list(read_parquet(file)), lambda: infer_schema(file)):
            with pytest.raises(SourceError, match="cannot be read as Parquet") as caught:
                read()
            assert caught.value.path == str(file)

    def test_cut_off(self, file: Path) -> None:
        write(file, n=list(range(1000)))
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(SourceError, match="Parquet"):
            list(read_parquet(file))

    def test_damaged_inside(self, file: Path) -> None:
        write(file, n=[f"text {n}" for n in range(1000)])
        content = bytearray(file.read_bytes())
        content[20:2000] = b"\xff" * 1980
        file.write_bytes(content)
        with pytest.raises(SourceError, match="Parquet"):
            list(read_parquet(file))

    def test_missing(self, file: Path) -> None:
        with pytest.raises(SourceError, match="no such file"):
            list(read_parquet(file))

    @pytest.mark.parametrize(
        ("values", "type_", "value"),
        [
            ([1, 2, 3_000_000_000], pa.int32(), "3000000000"),
            ([1.0, 2.0, 2.5], pa.int64(), "2.5"),
            (["1", "2", "x"], pa.int64(), "x"),
            ([[1.0, 2.0], [1.0, 2.0], [1.0]], pa.list_(pa.float64(), 2), "[1.0]"),
            ([datetime.datetime(2021, 5, 1)] * 2 + [datetime.datetime(2021, 5, 1, 10)], pa.date32(), None),
            ([1, 2, 100_000], pa.decimal128(6, 2), "100000"),
        ],
    )
    def test_a_value_that_does_not_fit(
        self, file: Path, values: list[Any], type_: pa.DataType, value: str | None
    ) -> None:
        write(file, row_group_size=2, k=[1, 2, 3], v=values)
        with pytest.raises(SourceError) as caught:
            list(read_parquet(file, {"v": type_}))
        assert (caught.value.path, caught.value.column) == (str(file), "v")
        assert "row 3 of the file" in caught.value.reason
        if value is not None:
            assert caught.value.value == value

    def test_a_type_that_cannot_become_the_one_given(self, file: Path) -> None:
        write(file, v=[{"x": 1}])
        with pytest.raises(SourceError, match="cannot become int64") as caught:
            list(read_parquet(file, {"v": pa.int64()}))
        assert caught.value.column == "v"

    def test_two_columns_of_one_name(self, file: Path) -> None:
        pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), file)
        with pytest.raises(SourceError, match="two columns"):
            infer_schema(file)
