"""Compaction: rows that nobody can see go, and nothing else changes, whatever happens meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge
from gpu_engine.storage.compaction import Compaction

DEADLINE = 20.0


@pytest.fixture
def session() -> Iterator[ge.Session]:
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
        yield session


@pytest.fixture
def orders(session: ge.Session) -> ge.Table:
    """Orders joined to items, each written many times over."""
    items = session.create_table("items", {"code": ge.STRING, "color": ge.STRING}, keys=["code"])
    orders = session.create_table("orders", {"id": ge.LONG, "item": ge.STRING, "pieces": ge.LONG}, keys=["id"])
    orders.join(items, on={"item": "code"})
    cube = session.create_cube(orders)
    cube.measures["Largest"] = ge.agg.max(orders["pieces"])
    items.append(("A", "red"), ("B", "blue"))
    for number in range(20):
        orders.append(*((key, "AB"[key % 2], key + number) for key in range(100)))
    return orders


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """Let something happen while a table is compacted, once its rows have been copied."""
    build = Compaction.build

    def let(table: str, happen: Callable[[], Any]) -> None:
        def build_then(self: Compaction, *arguments: Any) -> None:
            build(self, *arguments)
            if self._store.name == table:
                monkeypatch.setattr(Compaction, "build", build)
                happen()

        monkeypatch.setattr(Compaction, "build", build_then)

    return let


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def answer(session: ge.Session, branch: str = "master") -> list[dict[str, Any]]:
    names = ("pieces.SUM", "Largest", "contributors.COUNT")
    table = session.cubes["orders"].query(*names, levels=["color"], branch=branch, mode="arrow")
    scanned = session.database.version(branch).list("orders", ["items.color", "pieces"]).to_pylist()
    colors = sorted({row["items.color"] for row in scanned}, key=lambda color: (color is None, color))
    by_color = {one: [row["pieces"] for row in scanned if row["items.color"] == one] for one in colors}
    expected = [
        {"color": one, "pieces.SUM": sum(values), "Largest": max(values), "contributors.COUNT": len(values)}
        for one, values in by_color.items()
    ]
    assert table.to_pylist() == expected
    return expected


class TestReport:
    def test_figures_say_what_was_reclaimed(self, session: ge.Session, orders: ge.Table) -> None:
        before = session.statistics().tables["orders"]
        assert (before.rows, before.dead_rows) == (100, 1900)
        report = session.compact()
        table = report.tables["orders"]
        assert (table.rows_before, table.rows_after, list(report.tables)) == (2000, 100, ["orders"])
        assert table.nbytes_after < table.nbytes_before == before.nbytes
        assert session.statistics().last_compaction == report
        after = session.statistics().tables["orders"]
        assert (after.rows, after.dead_rows, after.nbytes) == (100, 0, table.nbytes_after)

    def test_memory_is_given_back_and_the_figures_say_so(self) -> None:
        rows, columns = 400_000, [f"c{number}" for number in range(8)]
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
            table = session.create_table("t", {"k": ge.LONG, **dict.fromkeys(columns, ge.LONG)}, keys=["k"])
            for value in range(2):
                values = pa.array([value] * rows, pa.int64())
                table.load_arrow(pa.table({"k": pa.array(range(rows), pa.int64()), **dict.fromkeys(columns, values)}))
            report = session.compact()
            assert session.statistics().last_compaction == report
            reclaimed = 8 * rows * len(columns)
            assert report.tables["t"].nbytes_before - report.tables["t"].nbytes_after > reclaimed
            assert report.memory_before - report.memory_after > reclaimed / 2
            assert abs(report.memory_after - resident_bytes()) < reclaimed / 4

    def test_nothing_to_reclaim_is_no_work(self, session: ge.Session, orders: ge.Table) -> None:
        session.compact()
        assert session.compact().tables == {}

    def test_an_empty_session_can_be_compacted(self, session: ge.Session) -> None:
        session.create_table("t", {"k": ge.LONG}, keys=["k"])
        session.create_table("log", {"k": ge.LONG})
        assert session.compact().tables == {}

    def test_a_table_of_dead_rows_only_becomes_empty(self, session: ge.Session, orders: ge.Table) -> None:
        orders.truncate()
        assert session.compact().tables["orders"].rows_after == 0
        orders.append((1, "A", 1))
        assert answer(session) == [{"color": "red", "pieces.SUM": 1, "Largest": 1, "contributors.COUNT": 1}]

    def test_rows_on_a_branch_are_not_dead(self, session: ge.Session, orders: ge.Table) -> None:
        session.branches.create("x")
        expected = answer(session)
        orders.truncate()
        orders.append((1000, "A", 1))
        session.compact()
        assert answer(session, "x") == expected


class TestAfterwards:
    def test_everything_goes_on_as_before(self, session: ge.Session, orders: ge.Table) -> None:
        cube = session.cubes["orders"]
        live = cube.live("pieces.SUM", "Largest", levels=["color"])
        session.branches.create("x")
        for round_ in range(3):
            expected = answer(session)
            session.compact()
            assert answer(session) == expected
            orders.append((7, "A", round_), (99, "B", 500 + round_), (200 + round_, "C", 1))
            orders.drop(keys=[98])
            session.tables["items"].append(("A", ["red", "pink"][round_ % 2]), ("B", "blue"))
            with session.start_transaction("x"):
                orders.append((7, "B", 1000 + round_))
                orders.drop(keys=[99 - 2 * round_])
            answer(session)
            answer(session, "x")
            seen = {row["color"]: (row["pieces.SUM"], row["Largest"]) for row in live.result("arrow").to_pylist()}
            assert seen == {row["color"]: (row["pieces.SUM"], row["Largest"]) for row in answer(session)}

    def test_the_largest_is_found_again_among_renumbered_rows(self, session: ge.Session, orders: ge.Table) -> None:
        provider = session.cubes["orders"].create_provider(["color"], ["Largest"])
        orders.append((0, "A", 10_000))
        session.compact()
        orders.append((0, "A", 0))
        assert answer(session)[1]["Largest"] == 98 + 19
        assert provider.statistics().cells_reread == 1
        assert provider.statistics().full_refresh_total == 0

    def test_changes_before_it_can_still_be_had(self, session: ge.Session, orders: ge.Table) -> None:
        live = session.cubes["orders"].live("pieces.SUM", levels=["color"])
        begin = session.epoch
        orders.append((0, "A", 1000))
        session.compact()
        orders.append((0, "A", 2000))
        changes, _ = live.changes_since(begin)
        assert [(change.from_epoch, change.epoch, change.snapshot) for change in changes] == [
            (begin, begin + 1, False),
            (begin + 1, begin + 2, False),
        ]

    def test_nulls_vectors_and_tables_without_keys_survive(self, session: ge.Session) -> None:
        log = session.create_table("log", {"line": ge.STRING, "size": ge.INT, "curve": ge.VECTOR(2)})
        for number in range(50):
            log.append((f"{number}", None if number % 2 else number, [number, 1.0]), (None, None, None))
            log.drop(log["size"] == number - 2)
        expected = log.to_arrow()
        assert session.compact().tables["log"].rows_after == len(expected)
        assert log.to_arrow().equals(expected)
        log.append(("new", 1, None))
        log.drop(log["line"] == "1")
        assert len(log) == len(expected)


class TestMeanwhile:
    """What is done between the copying of rows and the end of a compaction."""

    def test_rows_written_and_removed(
        self, session: ge.Session, orders: ge.Table, meanwhile: Callable[..., None]
    ) -> None:
        session.branches.create("x")
        session.cubes["orders"].create_provider(["color"], ["pieces.SUM", "Largest"])

        def write() -> None:
            orders.append((1, "A", 777), (500, "C", 5))
            orders.append((1, "A", 778))
            orders.drop(keys=[2, 500])
            orders.append((500, "B", 6))
            with session.start_transaction("x"):
                orders.append((1, "B", 1), (600, "A", 1))
                orders.drop(keys=[3])
            session.branches.create("y", "x")
            with session.start_transaction("y"):
                orders.drop(orders["id"] > 10)
            with pytest.raises(ZeroDivisionError), session.start_transaction():
                orders.truncate()
                orders.append((1, "A", 1))
                raise ZeroDivisionError

        meanwhile("orders", write)
        report = session.compact()
        assert report.tables["orders"].rows_before == 2000
        names = ("master", "x", "y")
        expected = {name: answer(session, name) for name in names}
        rows = {name: session.database.version(name).list("orders").sort_by("id") for name in names}
        assert [rows[name].num_rows for name in names] == [100, 100, 10]
        session.compact()
        assert {name: answer(session, name) for name in names} == expected
        for name in names:
            assert session.database.version(name).list("orders").sort_by("id").equals(rows[name])
            assert (
                session.database.version(name).get("orders", 1)
                == {
                    "master": {"id": 1, "item": "A", "pieces": 778},
                    "x": {"id": 1, "item": "B", "pieces": 1},
                    "y": {"id": 1, "item": "B", "pieces": 1},
                }[name]
            )

    def test_a_join_is_made(self, session: ge.Session, orders: ge.Table, meanwhile: Callable[..., None]) -> None:
        stock = session.create_table("stock", {"item": ge.STRING, "place": ge.STRING}, keys=["item"])
        stock.append(("A", "Paris"))

        def join() -> None:
            orders.join(stock, on={"item": "item"})
            orders.append((100, "A", 0))

        meanwhile("orders", join)
        session.compact()
        places = session.database.version().distinct("orders", ["item", "stock.place"]).to_pylist()
        assert places == [{"item": "A", "stock.place": "Paris"}, {"item": "B", "stock.place": None}]
        cube = session.cubes["orders"]
        live = cube.live("contributors.COUNT", levels=["place"])
        stock.append(("B", "Rome"))
        assert live.result("arrow").to_pylist() == [
            {"place": "Paris", "contributors.COUNT": 51},
            {"place": "Rome", "contributors.COUNT": 50},
        ]

    def test_the_first_null_of_a_column_is_written(self, session: ge.Session, meanwhile: Callable[..., None]) -> None:
        table = session.create_table("t", {"k": ge.LONG, "v": ge.LONG}, keys=["k"])
        for value in range(5):
            table.append((1, value), (2, value))
        meanwhile("t", lambda: table.append((1, None)))
        session.compact()
        assert table.to_arrow().to_pylist() == [{"k": 2, "v": 4}, {"k": 1, "v": None}]

    def test_a_provider_attaches(self, session: ge.Session, orders: ge.Table, meanwhile: Callable[..., None]) -> None:
        meanwhile("orders", lambda: session.cubes["orders"].create_provider(["color"], ["pieces.SUM", "Largest"]))
        session.compact()
        orders.append((0, "A", 5), (1, "A", 900), (2, "B", 3))
        orders.append((1, "A", 1))
        answer(session)

    def test_a_branch_goes(self, session: ge.Session, orders: ge.Table, meanwhile: Callable[..., None]) -> None:
        session.branches.create("x")
        with session.start_transaction("x"):
            orders.truncate()
        meanwhile("orders", lambda: session.branches.delete("x"))
        session.compact()
        session.branches.create("y")
        assert answer(session, "y") == answer(session)
        session.compact()
        assert answer(session, "y") == answer(session)

    def test_a_failure_leaves_everything_as_it_was(
        self, session: ge.Session, orders: ge.Table, meanwhile: Callable[..., None]
    ) -> None:
        def fail() -> None:
            orders.append((1, "A", 777))
            raise MemoryError

        meanwhile("orders", fail)
        with pytest.raises(MemoryError):
            session.compact()
        expected = answer(session)
        assert session.compact().tables["orders"].rows_after == 100
        assert answer(session) == expected


class TestAutomatic:
    def test_many_dead_rows_are_reclaimed_in_the_background(self, session: ge.Session) -> None:
        table = session.create_table("t", {"k": ge.LONG, "v": ge.LONG}, keys=["k"])
        for number in range(3):
            table.append(*((key, number) for key in range(60_000)))
        wait_until(lambda: session.statistics().tables["t"].dead_rows == 0)
        assert len(table) == 60_000
        assert session.health().status == "ok"

    def test_rows_that_must_stay_cause_no_work_again_and_again(self, session: ge.Session) -> None:
        table = session.create_table("t", {"k": ge.LONG, "v": ge.LONG}, keys=["k"])
        table.append(*((key, 0) for key in range(210_000)))
        pin = session.pin()
        table.truncate()
        table.append((1, 1))
        wait_until(lambda: session.statistics().last_compaction is not None)
        wait_until(lambda: not session._database.retention.due())
        table.append((2, 2))
        assert not session._database.retention.due()
        pin.release()
        assert session._database.retention.due() or session.statistics().tables["t"].dead_rows == 0
        wait_until(lambda: session.statistics().tables["t"].dead_rows == 0)


def wait_until(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the condition did not come to hold"
        pause.wait(0.02)
