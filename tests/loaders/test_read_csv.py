"""Reading CSV files: real files, compared with what the csv module was given to write."""

from __future__ import annotations

import csv
import datetime
import threading
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

import loaders.csv
from loaders.csv import infer_schema, read_csv
from loaders.testing import check_source

Types = Mapping[str, pa.DataType]
Quoting = Literal[0, 1]


def rows_of(path: Path, types: Types | None = None, **options: Any) -> list[dict[str, Any]]:
    return list(table_of(path, types, **options).to_pylist())


def table_of(path: Path, types: Types | None = None, **options: Any) -> pa.Table:
    return pa.Table.from_batches([batch.rows for batch in read_csv(path, types, **options)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trades.csv"


class TestInferredTypes:
    @pytest.mark.parametrize(
        ("texts", "type_", "values"),
        [
            (["1", "-2", ""], pa.int64(), [1, -2, None]),
            (["1", "2.5"], pa.float64(), [1.0, 2.5]),
            (["true", "False", ""], pa.bool_(), [True, False, None]),
            (["2021-05-01"], pa.date32(), [datetime.date(2021, 5, 1)]),
            (["2021-05-01T12:30:01.5"], pa.timestamp("us"), [datetime.datetime(2021, 5, 1, 12, 30, 1, 500_000)]),
            (["2021-05-01", "2021-05-01 12:30"], pa.timestamp("us"), None),
            (["2021-05-01T12:00:00Z"], pa.timestamp("us"), [datetime.datetime(2021, 5, 1, 12)]),
            (["2021-05-01T12:00:00+02:00"], pa.timestamp("us"), [datetime.datetime(2021, 5, 1, 10)]),
            (["2021-05-01T12:00:00.123456789"], pa.string(), ["2021-05-01T12:00:00.123456789"]),
            (["9999-12-31T23:59:59.999"], pa.timestamp("us"), [datetime.datetime(9999, 12, 31, 23, 59, 59, 999_000)]),
            (["9999-12-31T23:59:59.999Z", ""], pa.timestamp("us"), None),
            (["2021-05-01T12:00:00Z", "2021-05-01T12:00:00"], pa.string(), None),
            (["12:30"], pa.string(), ["12:30"]),
            (["99999999999999999998", "1"], pa.string(), ["99999999999999999998", "1"]),
            (["1e300", "1"], pa.float64(), [1e300, 1.0]),
            (["inf", "nan"], pa.float64(), None),
            (["1", "x"], pa.string(), ["1", "x"]),
            (["1", "2021-05-01"], pa.string(), ["1", "2021-05-01"]),
            (["NA", "null", ""], pa.string(), ["NA", "null", None]),
            (["", ""], pa.string(), [None, None]),
            (["1.0;2.0"], pa.string(), ["1.0;2.0"]),
        ],
    )
    def test_follow_from_all_values(self, file: Path, texts: list[str], type_: pa.DataType, values: Any) -> None:
        file.write_text("k,v\n" + "".join(f"a,{text}\n" for text in texts))
        table = table_of(file)
        assert table.schema.field("v").type == type_ == infer_schema(file).field("v").type
        if values is not None:
            assert table["v"].to_pylist() == values

    def test_do_not_stop_at_the_first_block(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 256)
        file.write_text("a,b,c\n" + "1,2021-05-01,\n" * 500 + "2.5,2021-05-01T10:00:00,x\n")
        assert infer_schema(file).types == [pa.float64(), pa.timestamp("us"), pa.string()]
        batches = list(read_csv(file))
        assert len(batches) > 5
        assert batches[-1].rows.to_pylist()[-1] == {"a": 2.5, "b": datetime.datetime(2021, 5, 1, 10), "c": "x"}

    def test_of_a_very_large_file_follow_from_its_first_part(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 256)
        monkeypatch.setattr(loaders.csv, "INFERENCE_BYTES", 2048)
        lines = [f"{number},2021-05-01T10:00:00Z,12:30,{2**63 + number},\n" for number in range(150)]
        file.write_text("a,at,day,id,none\n" + "".join(lines))
        types = [pa.int64(), pa.timestamp("us"), pa.string(), pa.string(), pa.string()]
        assert infer_schema(file).types == types
        assert table_of(file).schema.types == types
        assert rows_of(file)[149] == {
            "a": 149,
            "at": datetime.datetime(2021, 5, 1, 10),
            "day": "12:30",
            "id": str(2**63 + 149),
            "none": None,
        }
        check_source(lambda resume: read_csv(file, resume=resume))


class TestGivenTypes:
    def test_win_over_inferred_ones(self, file: Path) -> None:
        file.write_text("code,n,extra\n007,1,x\n")
        assert rows_of(file, {"code": pa.string(), "n": pa.float64(), "absent": pa.int64()}) == [
            {"code": "007", "n": 1.0, "extra": "x"}
        ]

    def test_may_be_vectors_decimals_and_small_numbers(self, file: Path) -> None:
        vector = pa.list_(pa.float64(), 3)
        types = {"v": vector, "d": pa.decimal128(12, 4), "i": pa.int32(), "f": pa.float32(), "b": pa.bool_()}
        file.write_text("v,d,i,f,b\n1.0;2.5; -3e2,12345678.0001,7,0.5,1\n,,,,\n")
        table = table_of(file, types)
        assert table.schema.types == list(types.values())
        assert table.to_pylist() == [
            {"v": [1.0, 2.5, -300.0], "d": Decimal("12345678.0001"), "i": 7, "f": 0.5, "b": True},
            {"v": None, "d": None, "i": None, "f": None, "b": None},
        ]

    @pytest.mark.parametrize("text", ["2021-05-01T12:00:00Z", "2021-05-01 14:00:00+02:00", "2021-05-01T12:00"])
    def test_a_time_without_zone_takes_zoned_texts_as_utc(self, file: Path, text: str) -> None:
        file.write_text(f"at\n{text}\n")
        assert rows_of(file, {"at": pa.timestamp("us")}) == [{"at": datetime.datetime(2021, 5, 1, 12)}]

    def test_give_every_batch_the_same_schema(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 128)
        types = {"a": pa.int64(), "v": pa.list_(pa.float64(), 2)}
        file.write_text("a,v\n" + "1,1;2\n" * 200)
        batches = list(read_csv(file, types))
        assert len(batches) > 3
        assert {batch.rows.schema for batch in batches} == {pa.schema(list(types.items()))}


class TestHeader:
    def test_may_have_a_byte_order_mark(self, file: Path) -> None:
        file.write_bytes('\ufeff"ID",Größe\n1,2\n'.encode())
        assert rows_of(file) == [{"ID": 1, "Größe": 2}]

    @pytest.mark.parametrize("text", ["a,b\n", "a,b", "\r\na,b\r\n\r\n"])
    @pytest.mark.parametrize("types", [{}, {"a": pa.int64(), "b": pa.string()}])
    def test_alone_gives_one_empty_batch(self, file: Path, text: str, types: Types) -> None:
        file.write_text(text, newline="")
        (batch,) = read_csv(file, types)
        assert batch.rows.num_rows == batch.position == 0
        assert batch.rows.schema.types == ([pa.int64(), pa.string()] if types else [pa.string(), pa.string()])

    def test_names_stay_as_written(self, file: Path) -> None:
        file.write_text('"a ""b""","x,y", z\n1,2,3\n')
        assert infer_schema(file).names == ['a "b"', "x,y", " z"]


class TestText:
    def test_keeps_quotes_commas_line_breaks_and_unicode(self, file: Path) -> None:
        file.write_text('k,v\n1,"x\ny, ""z"""\r\n2,naïve 中 😀\n\n3,a"b\n', newline="")
        assert [row["v"] for row in rows_of(file)] == ['x\ny, "z"', "naïve 中 😀", 'a"b']

    def test_empty_is_null_quoted_or_not(self, file: Path) -> None:
        file.write_text('a,b\n"",""\n,\n1,x\n')
        assert rows_of(file) == [{"a": None, "b": None}] * 2 + [{"a": 1, "b": "x"}]

    def test_an_odd_number_of_quotes_is_no_fault_by_itself(self, file: Path) -> None:
        file.write_text('a,b\n1,5" pipe\n2,y\n')
        assert [row["b"] for row in rows_of(file)] == ['5" pipe', "y"]

    def test_the_last_line_needs_no_end(self, file: Path) -> None:
        file.write_text("a,b\n1,2\n3,4")
        assert rows_of(file)[-1] == {"a": 3, "b": 4}


class TestPositions:
    def test_keep_the_contract_of_sources(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 256)
        file.write_text("a,b\n" + "".join(f'{n},"x\n{n}"\n\n' for n in range(200)) + "nan,\n")
        types = {"a": pa.float64(), "b": pa.string()}
        assert len(list(read_csv(file, types))) > 5
        check_source(lambda resume: read_csv(file, types, resume=resume))
        check_source(lambda resume: read_csv(file, resume=resume))

    @pytest.mark.parametrize("types", [{}, {"a": pa.int64()}])
    def test_a_limit_gives_a_part_and_the_position_to_go_on(
        self, file: Path, types: Types, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 64)
        file.write_text("a\n" + "".join(f"{n}\n" for n in range(100)))
        sample = list(read_csv(file, types, limit=33))
        rest = list(read_csv(file, types, resume=33))
        assert sample[-1].position == 33
        numbers = [row["a"] for batch in sample + rest for row in batch.rows.to_pylist()]
        assert numbers == list(range(100))

    def test_no_rows_left_gives_one_empty_batch(self, file: Path) -> None:
        file.write_text("a\n1\n2\n")
        for batches in (list(read_csv(file, limit=0)), list(read_csv(file, resume=2))):
            assert [(batch.rows.num_rows, batch.rows.schema.names) for batch in batches] == [(0, ["a"])]

    def test_a_reader_closed_early_leaves_nothing_open(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 128)
        file.write_text("a\n" + "1\n" * 10_000)
        for _ in range(50):
            reader = read_csv(file, {"a": pa.int64()})
            next(reader)
            reader.close()
        file.unlink()

    def test_files_are_read_by_several_threads_at_once(self, file: Path) -> None:
        file.write_text("a,b\n" + "".join(f"{n},x{n}\n" for n in range(5000)))
        sums: list[int] = []
        threads = [
            threading.Thread(target=lambda: sums.append(sum(row["a"] for row in rows_of(file)))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sums == [sum(range(5000))] * 4


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "key": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "text": (pa.string(), TEXT),
    "number": (pa.float64(), st.floats(allow_nan=False)),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates(datetime.date(1000, 1, 1))),
    "at": (pa.timestamp("us"), st.datetimes(datetime.datetime(1000, 1, 1))),
    "money": (pa.decimal128(18, 4), st.decimals(-(10**10), 10**10, places=4)),
    "curve": (pa.list_(pa.float64(), 3), st.lists(st.floats(allow_nan=False), min_size=3, max_size=3)),
}
ROW = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in COLUMNS.items()})


def as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ";".join(map(repr, value))
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case _:
            return str(value)


def write_csv(path: Path, rows: list[dict[str, Any]], quoting: Quoting) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=quoting)
        writer.writerow(COLUMNS)
        writer.writerows([as_text(row[name]) for name in COLUMNS] for row in rows)


@given(rows=st.lists(ROW, max_size=30), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_csv_module_writes_is_what_we_read(
    tmp_path: Path, rows: list[dict[str, Any]], quoting: Quoting
) -> None:
    path = tmp_path / "round_trip.csv"
    write_csv(path, rows, quoting)
    types = {name: type_ for name, (type_, _) in COLUMNS.items()}
    assert rows_of(path, types) == rows
    inferred = table_of(path)
    for name in ("key", "flag", "day", "text"):
        values = [row[name] for row in rows]
        if name == "text" and inferred.schema.field("text").type != pa.string():
            continue
        assert inferred[name].to_pylist() == values


LIKE_NUMBERS_AND_TIMES = st.text("0123456789-:.T Zx+e", max_size=12)


@given(texts=st.lists(TEXT | LIKE_NUMBERS_AND_TIMES, min_size=1, max_size=20))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_inference_never_fails_and_never_changes_text(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "inferred.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["k", "v"], *enumerate(texts)])
    column = table_of(path)["v"]
    if column.type == pa.string():
        assert column.to_pylist() == [text or None for text in texts]
    else:
        assert column.type in {pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us")}
        assert [value is None for value in column.to_pylist()] == [text == "" for text in texts]
