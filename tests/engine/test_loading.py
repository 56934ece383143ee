"""T2, T10: tables from CSV, Parquet, pandas and Arrow, whole or by sample; a load is one commit or nothing."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpu_engine as ge
from tests.engine.answers import cells, rows

SALES = Path(__file__).parents[1] / "data" / "sales" / "current"
FIRST = SALES / "sales_2021_05_01.csv"
SECOND = SALES / "sales_2021_05_02.csv"


class TestReadCsv:
    def test_infers_types_and_takes_the_files_name(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST)
        assert table.name == "sales_2021_05_01"
        assert {name: str(kind) for name, kind in table.types.items()} == {
            "ID": "STRING",
            "Date": "LOCAL_DATE",
            "Shop": "STRING",
            "Product": "STRING",
            "Quantity": "LONG",
            "UnitPrice": "DOUBLE",
        }
        assert rows(table)[0] == {
            "ID": "S001",
            "Date": datetime.date(2021, 5, 1),
            "Shop": "Paris",
            "Product": "Chair",
            "Quantity": 2,
            "UnitPrice": 60.0,
        }

    def test_takes_types_keys_and_a_name(self, session: ge.Session) -> None:
        table = session.read_csv(
            str(FIRST), "sales", keys=["ID"], types={"UnitPrice": ge.DECIMAL(9, 2), "Quantity": ge.INT}
        )
        assert session.tables["sales"] is table
        assert table.keys == ("ID",)
        assert str(table.types["UnitPrice"]) == "DECIMAL(9,2)"
        assert str(table.types["Quantity"]) == "INT"

    @pytest.mark.parametrize("path", [SALES, f"{SALES}/*.csv", f"{SALES}/sales_2021_*.csv"], ids=str)
    def test_takes_a_folder_or_a_glob_as_one_commit(self, session: ge.Session, path: Any) -> None:
        table = session.read_csv(path, keys=["ID"])
        assert table.name == "current"
        assert len(table) == 7
        assert session.epoch == 1

    def test_adds_columns_that_only_types_name(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST, "sales", types={"Note": ge.STRING, "Rank": ge.LONG}, defaults={"Rank": 3})
        assert {(row["Note"], row["Rank"]) for row in rows(table)} == {(None, 3)}

    def test_is_visible_to_queries_at_once(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"])
        cube = session.create_cube(table)
        cube.create_provider(["Date"], ["Quantity.SUM"])
        table.load_csv(SECOND)
        assert {day.day: total for day, total in cells(cube, "Quantity.SUM", levels=["Date"]).items()} == {1: 10, 2: 7}


class TestLoadCsv:
    def test_adds_to_a_table(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"])
        report = table.load_csv(SECOND)
        assert report is not None
        assert report.tables["sales"].added == len(table) - 4
        assert table.load_csv(SECOND) == ge.CommitReport(2, {"sales": ge.TableReport(unchanged=3)})

    def test_joins_an_open_transaction(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"])
        with session.start_transaction():
            table.truncate()
            assert table.load_csv(SALES) is None
        assert session.epoch == 2
        assert len(table) == 7

    def test_takes_columns_by_name_in_any_order(self, session: ge.Session, tmp_path: Path) -> None:
        table = session.create_table("t", types={"a": ge.LONG, "b": ge.STRING, "c": ge.LONG}, defaults={"c": 9})
        (tmp_path / "1.csv").write_text("b,a\nx,1\n")
        (tmp_path / "2.csv").write_text("a,c,b\n2,5,y\n")
        table.load_csv(tmp_path)
        assert [tuple(row.values()) for row in rows(table)] == [(1, "x", 9), (2, "y", 5)]

    def test_of_no_rows_changes_nothing(self, session: ge.Session, tmp_path: Path) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"])
        (tmp_path / "empty.csv").write_text("ID,Quantity\n")
        report = table.load_csv(tmp_path / "empty.csv")
        assert report is not None
        assert report.epoch == session.epoch == 1


BROKEN: list[tuple[str, str, str]] = [
    ("nothing.csv", "", r"nothing\.csv"),
    ("short.csv", "ID,Quantity\nS1,1\nS2\n", r"short\.csv, line 3"),
    ("long.csv", "ID,Quantity\nS1,1,2\n", r"long\.csv, line 2"),
    ("word.csv", "ID,Quantity\nS1,1\nS2,two\n", r"word\.csv, line 3, column 'Quantity', value 'two'"),
    ("strange.csv", "ID,Amount\nS1,1\n", r"strange\.csv.*'Amount'"),
    ("keyless.csv", "Quantity\n1\n", r"keyless\.csv.*'ID'"),
]


class TestBrokenFiles:
    @pytest.mark.parametrize(("name", "content", "message"), BROKEN, ids=[case[0] for case in BROKEN])
    def test_are_named_and_leave_nothing(
        self, session: ge.Session, tmp_path: Path, name: str, content: str, message: str
    ) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"])
        before = rows(table)
        (tmp_path / "a good one.csv").write_text("ID,Quantity\nS9,9\n")
        (tmp_path / name).write_text(content)
        for path in (tmp_path / name, tmp_path):
            with pytest.raises(ge.errors.BadFileError, match=message) as caught:
                table.load_csv(path)
            assert caught.value.code == "bad_file"
        assert rows(table) == before
        assert session.epoch == 1

    def test_make_no_table(self, session: ge.Session, tmp_path: Path) -> None:
        (tmp_path / "bad.csv").write_text("ID,Quantity\nS1,1\nS2\n")
        with pytest.raises(ge.errors.BadFileError):
            session.read_csv(tmp_path / "bad.csv", keys=["ID"])
        assert dict(session.tables) == {}
        (tmp_path / "bad.csv").write_text("ID,Quantity\nS1,1\n")
        assert len(session.read_csv(tmp_path / "bad.csv", keys=["ID"])) == 1

    def test_that_are_missing_are_named(self, session: ge.Session, tmp_path: Path) -> None:
        with pytest.raises(ge.errors.BadFileError, match=r"gone\.csv"):
            session.read_csv(tmp_path / "gone.csv")
        with pytest.raises(ge.errors.BadFileError, match=r"types="):
            session.read_csv(tmp_path / "*.csv", "t")
        table = session.read_csv(FIRST, "sales")
        with pytest.raises(ge.errors.BadFileError, match=r"gone\.csv"):
            table.load_csv(tmp_path / "gone.csv")
        with pytest.raises(ge.errors.BadFileError, match=r"no csv file"):
            table.load_csv(tmp_path)

    def test_of_a_key_that_is_no_column_make_no_table(self, session: ge.Session) -> None:
        with pytest.raises(ge.errors.UnknownColumnError, match="'Id'"):
            session.read_csv(FIRST, keys=["Id"])
        assert dict(session.tables) == {}

    def test_for_a_name_that_is_taken_are_not_even_read(self, session: ge.Session) -> None:
        session.read_csv(FIRST, "sales")
        with pytest.raises(ge.errors.DuplicateNameError, match="'sales'"):
            session.read_csv(SECOND, "sales")
        assert len(session.tables["sales"]) == 4


class TestParquet:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        table = pa.table(
            {
                "k": pa.array([1, 2, 3], pa.int32()),
                "s": pa.array(["a", None, "a"]).dictionary_encode(),
                "d": pa.array(["1.10", None, "2.25"]).cast(pa.decimal128(9, 2)),
                "t": pa.array([0, 1000, None], pa.timestamp("ns")),
                "v": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64(), 2)),
            }
        )
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
        return tmp_path / "rows.parquet"

    def test_makes_a_table(self, session: ge.Session, path: Path) -> None:
        table = session.read_parquet(path, keys=["k"])
        assert [str(kind) for kind in table.types.values()] == [
            "INT",
            "STRING",
            "DECIMAL(9,2)",
            "TIMESTAMP",
            "VECTOR(2)",
        ]
        assert [row["s"] for row in rows(table)] == ["a", None, "a"]
        assert [row["v"] for row in rows(table)] == [[1.0, 2.0], None, [3.0, 4.0]]

    def test_adds_to_a_table(self, session: ge.Session, path: Path) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "s": ge.STRING, "more": ge.LONG}, keys=["k"])
        with pytest.raises(ge.errors.BadFileError, match=r"rows\.parquet.*'d'"):
            table.load_parquet(path)
        pq.write_table(pq.read_table(path, columns=["s", "k"]), path)
        table.load(path)
        assert [tuple(row.values()) for row in rows(table)] == [(1, "a", None), (2, None, None), (3, "a", None)]

    def test_that_is_none_is_refused(self, session: ge.Session, tmp_path: Path) -> None:
        (tmp_path / "text.parquet").write_text("no parquet")
        with pytest.raises(ge.errors.BadFileError, match=r"text\.parquet"):
            session.read_parquet(tmp_path / "text.parquet")
        assert dict(session.tables) == {}


class TestPandas:
    def test_makes_a_table_of_columns_and_a_named_index(self, session: ge.Session) -> None:
        frame = pd.DataFrame({"x": [1.5, float("nan")], "when": pd.to_datetime(["2024-01-01 10:00", None])})
        frame.index = pd.Index(["a", "b"], name="id")
        table = session.read_pandas(frame, "t", keys=["id"])
        assert {name: str(kind) for name, kind in table.types.items()} == {
            "id": "STRING",
            "x": "DOUBLE",
            "when": "TIMESTAMP",
        }
        assert rows(table)[1] == {"id": "b", "x": None, "when": None}

    def test_adds_to_a_table(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"id": ge.STRING, "n": ge.LONG}, keys=["id"])
        table.load_pandas(pd.DataFrame({"n": [1, 2], "id": ["a", "b"]}))
        table.load_pandas(pd.DataFrame({"n": [3.0, float("nan")]}, index=pd.Index(["a", "c"], name="id")))
        assert {row["id"]: row["n"] for row in rows(table)} == {"a": 3, "b": 2, "c": None}

    def test_goes_round(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"])
        again = session.read_pandas(table.head(10), "again", keys=["ID"])
        assert rows(again) == rows(table)


class TestArrow:
    def test_makes_a_table(self, session: ge.Session) -> None:
        batch = pa.record_batch({"a": [1, 2], "b": ["x", None]})
        assert len(session.read_arrow(batch, "one", keys=["a"])) == 2
        chunked = pa.concat_tables([pa.table(batch), pa.table(batch).slice(1)])
        table = session.read_arrow(chunked, "two")
        assert [row["a"] for row in rows(table)] == [1, 2, 2]

    def test_adds_batches_as_one_commit(self, session: ge.Session) -> None:
        batch = pa.record_batch({"a": [1, 2]})
        table = session.read_arrow(batch, "t")
        table.load_arrow([batch, batch])
        assert session.epoch == 2
        assert len(table) == 6

    def test_of_a_type_that_no_table_holds_is_refused(self, session: ge.Session) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match=r"'s'.*struct"):
            session.read_arrow(pa.table({"s": [{"x": 1}]}), "t")
        assert dict(session.tables) == {}


class TestLoadAnything:
    def test_finds_out_what_it_is_given(self, session: ge.Session, tmp_path: Path) -> None:
        table = session.create_table("t", types={"a": ge.LONG})
        arrow = pa.table({"a": [1]})
        pq.write_table(arrow, tmp_path / "a.parquet")
        (tmp_path / "a.csv").write_text("a\n1\n")
        given: list[Any] = [
            arrow,
            arrow.to_batches()[0],
            arrow.to_batches(),
            arrow.to_pandas(),
            tmp_path / "a.csv",
            str(tmp_path / "a.parquet"),
            [(1,)],
            [{"a": 1}],
            ((1,) for _ in range(1)),
        ]
        for count, source in enumerate(given, start=1):
            table.load(source)
            assert len(table) == count
        assert {row["a"] for row in rows(table)} == {1}

    def test_of_what_holds_no_rows_is_refused(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"a": ge.LONG})
        with pytest.raises(
            ge.errors.InvalidModelError, match=r"cannot load a int.*Give Arrow, pandas, a path, or rows"
        ):
            table.load(5)

    def test_of_an_empty_list_changes_nothing(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"a": ge.LONG})
        table.load([])
        assert session.epoch == 0


class TestSamples:
    def test_read_that_many_rows_at_most(self, session: ge.Session) -> None:
        table = session.read_csv(FIRST, "sales", keys=["ID"], sample=2)
        assert [row["ID"] for row in rows(table)] == ["S001", "S002"]

    def test_go_over_files(self, session: ge.Session) -> None:
        table = session.read_csv(SALES, keys=["ID"], sample=5)
        assert [row["ID"] for row in rows(table)] == ["S001", "S002", "S003", "S004", "S005"]

    @pytest.mark.parametrize("keys", [[], ["ID"]])
    @pytest.mark.parametrize("sample", [1, 4, 5, 7, 100])
    def test_are_completed_by_loading_all_data(self, session: ge.Session, keys: list[str], sample: int) -> None:
        table = session.read_csv(SALES, keys=keys, sample=sample)
        assert len(table) == min(sample, 7)
        session.load_all_data()
        assert len(table) == 7
        assert {row["ID"] for row in rows(table)} == {f"S00{number}" for number in range(1, 8)}

    def test_are_completed_once(self, session: ge.Session) -> None:
        table = session.read_csv(SALES, sample=2)
        session.load_all_data()
        session.load_all_data()
        assert len(table) == 7

    def test_of_several_tables_are_completed_together(self, session: ge.Session) -> None:
        one, two = session.read_csv(FIRST, "one", sample=1), session.read_csv(SECOND, "two", sample=1)
        session.load_all_data()
        assert (len(one), len(two)) == (4, 3)

    def test_are_completed_over_files_of_differing_columns(self, session: ge.Session, tmp_path: Path) -> None:
        (tmp_path / "1.csv").write_text("a,b\n1,x\n2,y\n")
        (tmp_path / "2.csv").write_text("b,a\nz,3\n")
        (tmp_path / "3.csv").write_text("a\n4\n")
        table = session.read_csv(tmp_path, "t", sample=1)
        session.load_all_data()
        assert [tuple(row.values()) for row in rows(table)] == [(1, "x"), (2, "y"), (3, "z"), (4, None)]

    def test_that_cannot_be_completed_can_be_tried_again(self, session: ge.Session, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_text("a,b\n1,x\n2,y\n")
        table = session.read_csv(path, sample=1)
        path.write_text("a,b\n1,x\n2\n")
        with pytest.raises(ge.errors.BadFileError, match="line 3"):
            session.load_all_data()
        assert len(table) == 1
        path.write_text("a,b\n1,x\n2,y\n")
        session.load_all_data()
        assert len(table) == 2

    def test_of_parquet_too(self, session: ge.Session, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": range(10)}), tmp_path / "t.parquet", row_group_size=3)
        table = session.read_parquet(tmp_path / "t.parquet", sample=4)
        assert len(table) == 4
        session.load_all_data()
        assert [row["a"] for row in rows(table)] == list(range(10))

    @pytest.mark.parametrize("sample", [0, -1, "x", 1.5])
    def test_of_no_rows_are_refused(self, session: ge.Session, sample: Any) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match=f"sample={sample!r}"):
            session.read_csv(FIRST, "sales", sample=sample)
        assert dict(session.tables) == {}
