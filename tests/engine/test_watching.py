"""T7, T8: tables that follow files: new ones are loaded, changed ones loaded again, bad ones reported."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

import gpu_engine as ge
from tests.engine.answers import DEADLINE, Heard, cells, eventually, rows, told

DATA = Path(__file__).parents[1] / "data" / "sales"
NEXT = DATA / "next" / "sales_2021_05_03.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of daily sales."""
    path = tmp_path / "current"
    shutil.copytree(DATA / "current", path)
    return path


def by_day(cube: ge.Cube) -> dict[int, int]:
    return {day.day: total for day, total in cells(cube, "Quantity.SUM", levels=["Date"]).items()}


def arrive(content: str, path: Path) -> None:
    """Put a file in its place whole, as careful writers do."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(content)
    os.replace(aside, path)


class TestTheExample:
    """T8 with its numbers: 10 and 7, then 10, 7 and 8."""

    @pytest.mark.parametrize("polling", [False, True], ids=["native", "polling"])
    def test_a_file_that_comes_is_one_added_cell(self, session: ge.Session, folder: Path, polling: bool) -> None:
        table = session.read_csv(folder / "*.csv", "sales", keys=["ID"], watch=True, polling=polling)
        assert len(table) == 7
        cube = session.create_cube(table)
        assert by_day(cube) == {1: 10, 2: 7}
        heard = Heard()
        live = cube.live("Quantity.SUM", levels=["Date"], on_change=heard)
        assert live.wait_for(1, DEADLINE)
        shutil.copy(NEXT, folder)
        assert live.wait_for(2, DEADLINE)
        assert by_day(cube) == {1: 10, 2: 7, 3: 8}
        assert len(heard.changes) == 2
        added, changed, before, removed = told(heard.changes[1], 1)
        assert {day.day: total for day, total in added.items()} == {3: 8}
        assert (changed, before, removed) == ({}, {}, {})
        assert session.health().status == "ok"


class TestAWatchedFolder:
    @pytest.fixture
    def table(self, session: ge.Session, folder: Path) -> ge.Table:
        return session.read_csv(folder, "sales", keys=["ID"], watch=True)

    def test_upserts_a_changed_file(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        path = folder / "sales_2021_05_01.csv"
        arrive(path.read_text().replace("S001,2021-05-01,Paris,Chair,2", "S001,2021-05-01,Paris,Chair,5"), path)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert len(table) == 7
        assert {row["ID"]: row["Quantity"] for row in rows(table)}["S001"] == 5

    def test_raises_no_event_for_a_file_that_says_the_same(
        self, session: ge.Session, folder: Path, table: ge.Table
    ) -> None:
        path = folder / "sales_2021_05_01.csv"
        arrive(path.read_text(), path)
        os.utime(path, ns=(0, 0))
        eventually(lambda: session.statistics().watches[0].reported == 1, "the file is read again")
        assert session.epoch == 1

    def test_reports_a_bad_file_and_goes_on(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        arrive("ID,Date,Shop,Product,Quantity,UnitPrice\nS100,2021-05-04,Paris,Chair,many,60.0\n", folder / "bad.csv")
        eventually(lambda: session.health().status == "degraded", "the bad file is reported")
        (failure,) = session.health().failures
        assert failure.code == "bad_file"
        assert "sales" in failure.component
        for part in ("bad.csv", "line 2", "'Quantity'", "'many'"):
            assert part in failure.message
        assert len(table) == 7
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert sum(row["Quantity"] for row in rows(table)) == 25

    def test_is_well_again_once_the_bad_file_is_mended(
        self, session: ge.Session, folder: Path, table: ge.Table
    ) -> None:
        arrive("ID,Quantity\nS100\n", folder / "bad.csv")
        eventually(lambda: session.health().status == "degraded", "the bad file is reported")
        arrive("ID,Quantity\nS100,1\n", folder / "bad.csv")
        eventually(lambda: session.health().status == "ok", "the mended file clears the failure")
        assert len(table) == 8

    def test_is_well_again_once_the_bad_file_is_gone(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        arrive("ID,Quantity\nS100\n", folder / "bad.csv")
        eventually(lambda: session.health().status == "degraded", "the bad file is reported")
        (folder / "bad.csv").unlink()
        eventually(lambda: session.health().status == "ok", "what is no longer there is no failure")
        assert len(table) == 7

    def test_tells_that_its_folder_is_gone_until_it_is_back(
        self, session: ge.Session, folder: Path, table: ge.Table
    ) -> None:
        kept = folder.rename(folder.with_name("elsewhere"))
        eventually(lambda: session.health().status == "degraded", "the folder is missed")
        (failure,) = session.health().failures
        assert (failure.code, "is gone" in failure.message) == ("bad_file", True)
        kept.rename(folder)
        eventually(lambda: session.health().status == "ok", "the folder is watched again")
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert len(table) == 9

    def test_loads_a_file_of_nothing_but_a_header(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        arrive("ID,Quantity\n", folder / "header.csv")
        eventually(lambda: session.statistics().watches[0].reported == 1, "the file is read")
        assert session.health().status == "ok"
        assert session.epoch == 1

    def test_leaves_other_files_alone(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        arrive("not a table", folder / "readme.txt")
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert session.statistics().watches[0].reported == 1
        assert session.health().status == "ok"

    def test_keeps_rows_of_a_file_that_goes(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        (folder / "sales_2021_05_02.csv").unlink()
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert len(table) == 9

    def test_stops_with_the_session(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        assert session.statistics().watches[0].alive
        session.close()
        assert not session.statistics().watches[0].alive


class TestWithoutAKey:
    @pytest.fixture
    def table(self, session: ge.Session, folder: Path) -> ge.Table:
        return session.read_csv(folder, "sales", watch=True)

    def test_new_files_are_loaded(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert len(table) == 9

    def test_a_changed_file_is_refused(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        path = folder / "sales_2021_05_01.csv"
        arrive(path.read_text() + "S099,2021-05-01,Paris,Chair,1,60.0\n", path)
        eventually(lambda: session.health().status == "degraded", "the changed file is refused")
        (failure,) = session.health().failures
        assert failure.code == "invalid_model"
        for part in ("sales_2021_05_01.csv", "'sales' has no key", "keys=[...]"):
            assert part in failure.message
        assert len(table) == 7

    def test_a_new_file_that_changes_is_refused_too(self, session: ge.Session, folder: Path, table: ge.Table) -> None:
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        path = folder / NEXT.name
        arrive(path.read_text() + "S099,2021-05-03,Paris,Chair,1,60.0\n", path)
        eventually(lambda: session.health().status == "degraded", "the changed file is refused")
        assert len(table) == 9


class TestOtherPaths:
    def test_one_file_is_watched(self, session: ge.Session, folder: Path) -> None:
        path = folder / "sales_2021_05_01.csv"
        table = session.read_csv(path, "sales", keys=["ID"], watch=True)
        shutil.copy(NEXT, folder)
        arrive(path.read_text() + "S099,2021-05-01,Paris,Chair,1,60.0\n", path)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert {row["ID"] for row in rows(table)} == {"S001", "S002", "S003", "S004", "S099"}

    def test_a_glob_is_watched_for_what_it_matches(self, session: ge.Session, folder: Path) -> None:
        table = session.read_csv(folder / "sales_*.csv", keys=["ID"], watch=True)
        arrive((DATA / "next" / NEXT.name).read_text().replace("S0", "T0"), folder / "other.csv")
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert len(table) == 9
        assert not any(row["ID"].startswith("T") for row in rows(table))

    def test_a_glob_may_match_nothing_yet_where_types_are_given(self, session: ge.Session, tmp_path: Path) -> None:
        types = {"ID": ge.STRING, "n": ge.LONG}
        table = session.read_csv(tmp_path / "*.csv", "later", keys=["ID"], types=types, watch=True)
        assert (len(table), session.epoch) == (0, 0)
        arrive("ID,n\na,1\n", tmp_path / "1.csv")
        assert session.wait_for_commit(0, DEADLINE) == 1
        assert rows(table) == [{"ID": "a", "n": 1}]

    def test_parquet_is_watched(self, session: ge.Session, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"k": [1], "v": [10]}), tmp_path / "1.parquet")
        table = session.read_parquet(tmp_path, "t", keys=["k"], watch=True)
        pq.write_table(pa.table({"k": [1, 2], "v": [11, 20]}), tmp_path / "part")
        os.replace(tmp_path / "part", tmp_path / "2.parquet")
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert {row["k"]: row["v"] for row in rows(table)} == {1: 11, 2: 20}

    def test_a_folder_that_is_not_there_makes_no_table(self, session: ge.Session, tmp_path: Path) -> None:
        with pytest.raises(ge.errors.BadFileError, match="nowhere"):
            session.read_csv(tmp_path / "nowhere" / "*.csv", "t", types={"a": ge.LONG}, watch=True)
        assert dict(session.tables) == {}
        assert session.statistics().watches == ()


class TestTheUsersOwnObserver:
    """The handler from the watchdog documentation, as it is."""

    @pytest.fixture
    def observer(self, folder: Path) -> Iterator[Any]:
        watching = Observer()
        yield watching
        watching.stop()
        watching.join(DEADLINE)

    def test_may_load_files_from_its_handler(self, session: ge.Session, folder: Path, observer: Any) -> None:
        table = session.read_csv(folder, "sales", keys=["ID"])
        cube = session.create_cube(table)
        live = cube.live("Quantity.SUM", levels=["Date"])

        class Handler(FileSystemEventHandler):
            def on_closed(self, event: FileSystemEvent) -> None:
                table.load_csv(event.src_path)

        observer.schedule(Handler(), str(folder), recursive=False)
        observer.start()
        shutil.copy(NEXT, folder)
        assert session.wait_for_commit(1, DEADLINE) == 2
        assert by_day(cube) == {1: 10, 2: 7, 3: 8}
        (change,), _ = live.changes_since(1)
        assert [row["Quantity.SUM"] for row in change.added.to_pylist()] == [8]
