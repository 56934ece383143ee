"""The model runs again at each start: tables are found as they were, and files are not loaded twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import eventually

Start = Callable[[], ge.Session]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the one session of a data directory, ending the one before."""
    with ExitStack() as stack:
        sessions: list[ge.Session] = []

        def again() -> ge.Session:
            for session in sessions:
                session.close()
            session = ge.Session("cpu", tmp_path / "data")
            stack.callback(session.close)
            sessions.append(session)
            return session

        yield again


def ids(table: ge.Table) -> list[int]:
    return table.to_arrow()["Id"].to_pylist()


def write(folder: Path, name: str, *rows: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("Id,City\n" + "".join(f"{row}\n" for row in rows))


def test_tables_are_there_before_the_model_declares_them(start: Start) -> None:
    start().create_table("sales", {"Id": ge.LONG}).append((1,))
    session = start()
    assert ids(session.tables["sales"]) == [1]
    assert session.create_table("sales", {"Id": ge.LONG}) is session.tables["sales"]
    with pytest.raises(ge.errors.DuplicateNameError):
        session.create_table("sales", {"Id": ge.LONG})


@pytest.mark.parametrize(
    ("types", "keys"),
    [({"Id": ge.INT, "City": ge.STRING}, ["Id"]), ({"Id": ge.LONG, "City": ge.STRING}, []), ({"Id": ge.LONG}, ["Id"])],
    ids=["type", "key", "columns"],
)
def test_a_table_declared_in_another_way_is_refused(
    start: Start, types: dict[str, ge.DataType], keys: list[str]
) -> None:
    start().create_table("sales", {"Id": ge.LONG, "City": ge.STRING}, keys=["Id"]).append((1, "Paris"))
    session = start()
    with pytest.raises(ge.errors.TableChangedError, match="export"):
        session.create_table("sales", types, keys=keys)
    assert ids(session.tables["sales"]) == [1]
    session.create_table("sales", {"Id": ge.LONG, "City": ge.STRING}, keys=["Id"])


def test_defaults_and_partitions_may_change(start: Start) -> None:
    types = {"Id": ge.LONG, "City": ge.STRING}
    start().create_table("sales", types, defaults={"City": "Paris"}).append({"Id": 1})
    table = start().create_table("sales", types, defaults={"City": "Rome"}, partition_by="City")
    table.append({"Id": 2})
    table.drop_partition("Paris")
    assert table.to_arrow().to_pylist() == [{"Id": 2, "City": "Rome"}]


def test_every_type_of_column_comes_back(start: Start) -> None:
    types = {
        "b": ge.BOOLEAN,
        "i": ge.INT,
        "l": ge.LONG,
        "f": ge.FLOAT,
        "d": ge.DOUBLE,
        "m": ge.DECIMAL(9, 2),
        "s": ge.STRING,
        "day": ge.LOCAL_DATE,
        "at": ge.TIMESTAMP,
        "v": ge.VECTOR(2),
    }
    defaults = {"m": Decimal("1.50"), "day": date(2024, 2, 29), "at": "2024-02-29T12:00:00", "v": [1.0, 2.0]}
    table = start().create_table("all", types, keys=["i"], defaults=defaults)
    row = (True, 1, 2, 0.5, 0.25, Decimal("-3.25"), "text", "2024-01-01", "2024-01-01T00:00:01", [3.0, 4.0])
    table.append(row, {"i": 2}, (None, 3, *[None] * 8))
    expected = table.to_arrow()
    for _ in range(2):
        session = start()
        again = session.create_table("all", types, keys=["i"], defaults=defaults)
        assert again.to_arrow().equals(expected)
        assert session.data_directory is not None
        session.data_directory.checkpoint()


@pytest.mark.parametrize("keys", [["Id"], []], ids=["keyed", "keyless"])
def test_files_are_loaded_once(start: Start, tmp_path: Path, keys: list[str]) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "1,Paris", "2,Rome")
    start().read_csv(folder, "sales", keys=keys)
    table = start().read_csv(folder, "sales", keys=keys)
    assert ids(table) == [1, 2]
    write(folder, "two.csv", "3,Oslo")
    assert ids(start().read_csv(folder, "sales", keys=keys)) == [1, 2, 3]
    assert ids(start().read_csv(folder, "sales", keys=keys)) == [1, 2, 3]


def test_what_was_changed_since_a_file_was_loaded_stays(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "1,Paris", "2,Rome")
    table = start().read_csv(folder, "sales", keys=["Id"])
    table.append((1, "Oslo"))
    table.drop(keys=[2])
    session = start()
    assert session.read_csv(folder, "sales", keys=["Id"]).to_arrow().to_pylist() == [{"Id": 1, "City": "Oslo"}]
    write(folder, "one.csv", "1,Paris", "2,Rome", "3,Bonn")
    assert sorted(ids(start().read_csv(folder, "sales", keys=["Id"]))) == [1, 2, 3]


def test_a_changed_file_of_a_table_without_a_key_is_reported(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "1,Paris")
    start().read_csv(folder, "sales")
    write(folder, "one.csv", "1,Paris", "2,Rome")
    session = start()
    assert ids(session.read_csv(folder, "sales")) == [1]
    [failure] = session.health().failures
    assert "has changed" in failure.message


def test_files_that_a_watch_has_loaded_are_not_loaded_again(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "1,Paris")
    table = start().read_csv(folder, "sales", watch=True, polling=True)
    write(folder, "two.csv", "2,Rome")
    eventually(lambda: len(table) == 2, "the new file is loaded")
    assert ids(start().read_csv(folder, "sales", watch=True, polling=True)) == [1, 2]


def test_files_may_be_gone_at_the_next_start(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "1,Paris")
    start().read_csv(folder, "sales")
    (folder / "one.csv").unlink()
    assert ids(start().read_csv(folder, "sales")) == [1]


def test_first_rows_from_memory_are_loaded_once(start: Start) -> None:
    for rows in ([1, 2], [7, 8, 9]):
        session = start()
        assert ids(session.read_arrow(pa.table({"Id": rows}), "arrow")) == [1, 2]
        assert ids(session.read_pandas(pd.DataFrame({"Id": rows}), "pandas")) == [1, 2]


def test_a_table_whose_first_load_fails_is_not_there_at_the_next_start(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "x,Paris")
    with pytest.raises(ge.errors.BadFileError):
        start().read_csv(folder, "sales", types={"Id": ge.LONG})
    assert "sales" not in start().tables


def test_a_failed_load_takes_nothing_from_a_table_that_was_there(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "one.csv", "1,Paris")
    start().read_csv(folder, "sales", types={"Id": ge.LONG})
    write(folder, "two.csv", "x,Rome")
    session = start()
    with pytest.raises(ge.errors.BadFileError):
        session.read_csv(folder, "sales", types={"Id": ge.LONG})
    assert ids(session.tables["sales"]) == [1]
    write(folder, "two.csv", "2,Rome")
    assert ids(session.read_csv(folder, "sales", types={"Id": ge.LONG})) == [1, 2]


def test_positions_and_dead_letters_come_back(start: Start) -> None:
    session = start()
    table = session.create_table("sales", {"Id": ge.LONG}, keys=["Id"])
    with session.start_transaction() as transaction:
        table.append((1,))
        transaction.positions["kafka trades/0"] = {"offset": 17}
        transaction.dead_letters.append({"id": "17", "raw": "{", "reason": "no JSON"})
    with session.start_transaction() as transaction:
        table.append((1,))  # changes nothing: no epoch, but the source has moved on
        transaction.positions["kafka trades/0"] = {"offset": 18}
    assert session.epoch == 1
    for _ in range(2):
        session = start()
        assert session.positions == {"kafka trades/0": {"offset": 18}}
        assert [letter["reason"] for letter in session._database.notes.dead_letters.values()] == ["no JSON"]
        assert session.data_directory is not None
        session.data_directory.checkpoint()


def _endless() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["itself"] = found
    return found


@pytest.mark.parametrize("position", [object(), _endless(), {(1, 2): 3}], ids=["object", "endless", "key"])
def test_a_position_that_cannot_be_kept_fails_its_transaction(start: Start, position: Any) -> None:
    session = start()
    table = session.create_table("sales", {"Id": ge.LONG}, keys=["Id"])
    with pytest.raises(ge.errors.InvalidModelError, match="JSON"), session.start_transaction() as transaction:
        table.append((1,))
        transaction.positions["source"] = position
    assert (session.epoch, session.positions) == (0, {})
    table.append((2,))
    assert ids(start().tables["sales"]) == [2]


def test_what_a_rolled_back_transaction_notes_is_forgotten(start: Start) -> None:
    session = start()
    table = session.create_table("sales", {"Id": ge.LONG}, keys=["Id"])
    with session.start_transaction() as transaction:
        transaction.positions["a"] = 1
        with pytest.raises(ZeroDivisionError), session.start_transaction() as inner:
            inner.positions["a"] = 2
            table.append((2,))
            raise ZeroDivisionError
        table.append((1,))
    assert session.positions == {"a": 1}
    assert ids(start().tables["sales"]) == [1]
