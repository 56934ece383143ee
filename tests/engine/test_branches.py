"""Branches: what is written on one shows on no other, and all that works on master works on them."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge


@pytest.fixture
def orders(session: ge.Session) -> ge.Table:
    """Orders of items, on master; branch `x` forks from there."""
    items = session.create_table("items", {"code": ge.STRING, "color": ge.STRING}, keys=["code"])
    orders = session.create_table("orders", {"id": ge.LONG, "item": ge.STRING, "pieces": ge.LONG}, keys=["id"])
    orders.join(items, on={"item": "code"})
    session.create_cube(orders)
    with session.start_transaction():
        items.append(("A", "red"), ("B", "blue"))
        orders.append((1, "A", 10), (2, "B", 20))
    session.branches.create("x")
    return orders


def cells(session: ge.Session, branch: str = "master", measure: str = "pieces.SUM") -> dict[str, int]:
    frame = session.cubes["orders"].query(measure, levels=["color"], branch=branch)
    return {str(color): int(value) for color, value in frame[measure].items()}


def rows(session: ge.Session, table: str, branch: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in session.database.version(branch).list(table).to_pylist()]


class TestWriting:
    def test_writes_on_a_branch_show_there_only(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x") as transaction:
            orders.append((1, "B", 11), (3, "A", 5))
            orders.drop(keys=[2])
        assert transaction.report == ge.CommitReport(2, {"orders": ge.TableReport(1, 1, 1)}, "x")
        assert cells(session, "x") == {"blue": 11, "red": 5}
        assert cells(session) == {"blue": 20, "red": 10}
        assert (session.epoch, session.branches["x"].epoch) == (1, 2)

    def test_writes_on_master_do_not_show_on_a_branch(self, session: ge.Session, orders: ge.Table) -> None:
        orders.append((1, "A", 99), (3, "C", 1))
        session.tables["items"].append(("A", "green"))
        assert cells(session, "x") == {"blue": 20, "red": 10}

    def test_branches_of_branches_see_what_was_there_at_the_fork(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"):
            orders.append((1, "A", 11))
        session.branches.create("y", "x")
        for branch, value in (("x", 12), ("y", 13)):
            with session.start_transaction(branch):
                orders.append((1, "A", value))
        session.branches.create("z", "x", epoch=2)
        assert [cells(session, branch)["red"] for branch in ("master", "x", "y", "z")] == [10, 12, 13, 11]

    def test_an_unchanged_row_makes_no_epoch(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x") as transaction:
            orders.append((1, "A", 10))
        assert transaction.report == ge.CommitReport(1, {"orders": ge.TableReport(unchanged=1)}, "x")

    def test_conditions_are_evaluated_on_the_branch(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"):
            session.tables["items"].append(("B", "red"))
        with session.start_transaction("x"):
            orders.drop(ge.field("items.color") == "red")
        assert cells(session, "x") == {}
        orders.drop(ge.field("items.color") == "red")
        assert cells(session) == {"blue": 20}

    def test_update_reads_the_rest_of_the_row_from_the_branch(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"):
            orders.append((1, "B", 10))
        with session.start_transaction("x"):
            orders.update([{"id": 1, "pieces": 11}])
        assert (1, "B", 11) in rows(session, "orders", "x")
        with pytest.raises(ge.errors.InvalidRowError), session.start_transaction("x"):
            orders.update([{"id": 9, "pieces": 1}])

    def test_a_dimension_row_changes_the_facts_of_its_branch(self, session: ge.Session, orders: ge.Table) -> None:
        live = {
            name: session.cubes["orders"].live("pieces.SUM", levels=["color"], branch=name) for name in ("master", "x")
        }
        with session.start_transaction("x"):
            session.tables["items"].append(("A", "green"))
        (change,), epoch = live["x"].changes_since(1)
        assert (epoch, change.branch, change.added.to_pylist(), change.removed.to_pylist()) == (
            2,
            "x",
            [{"color": "green", "pieces.SUM": 10}],
            [{"color": "red", "pieces.SUM": 10}],
        )
        assert live["master"].changes_since(1) == ([], 1)

    def test_tables_without_a_key_branch_too(self, session: ge.Session, orders: ge.Table) -> None:
        log = session.create_table("log", {"line": ge.STRING})
        log.append(("one",), ("two",))
        session.branches.create("y")
        with session.start_transaction("y"):
            log.drop(log["line"] == "one")
            log.append(("three",))
        log.append(("four",))
        assert rows(session, "log", "y") == [("two",), ("three",)]
        assert rows(session, "log", "master") == [("one",), ("two",), ("four",)]
        with session.start_transaction("y"):
            log.truncate()
        assert rows(session, "log", "y") == []
        assert len(log) == 3

    def test_a_failed_transaction_on_a_branch_leaves_nothing(self, session: ge.Session, orders: ge.Table) -> None:
        with pytest.raises(ZeroDivisionError), session.start_transaction("x"):
            orders.truncate()
            raise ZeroDivisionError
        assert cells(session, "x") == {"blue": 20, "red": 10}

    def test_one_transaction_is_on_one_branch(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"), session.start_transaction("x"):
            orders.append((5, "A", 5))
        with (
            pytest.raises(ge.errors.BranchMismatchError, match=r"'master' .* 'x'"),
            session.start_transaction("x"),
            session.start_transaction("master"),
        ):
            pass
        assert cells(session, "x") == {"blue": 20, "red": 15}


class TestModel:
    def test_a_table_made_after_a_branch_is_there_and_empty(self, session: ge.Session, orders: ge.Table) -> None:
        late = session.create_table("late", {"k": ge.LONG}, keys=["k"])
        late.append((1,))
        with session.start_transaction("x"):
            late.append((2,))
        assert (rows(session, "late", "x"), rows(session, "late", "master")) == ([(2,)], [(1,)])

    def test_a_join_made_after_a_branch_points_the_rows_of_all(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"):
            orders.append((3, "A", 3))
        stock = session.create_table("stock", {"item": ge.STRING, "place": ge.STRING}, keys=["item"])
        orders.join(stock, on={"item": "item"})
        stock.append(("A", "Paris"))
        with session.start_transaction("x"):
            stock.append(("A", "Rome"))
        found = [
            session.database.version(branch).list("orders", ["id", "stock.place"]).to_pylist()
            for branch in ("master", "x")
        ]
        assert [[row["stock.place"] for row in one] for one in found] == [["Paris", None], ["Rome", None, "Rome"]]

    def test_a_mandatory_join_must_hold_on_every_branch(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"):
            orders.append((3, "Z", 3))
        items = session.tables["items"]
        with pytest.raises(ge.errors.MissingMatchError, match="'Z'"):
            orders.join(items, on={"item": "code"}, name="must", optional=False)
        assert list(orders.joins) == ["items"]
        for number in range(200):
            orders.append((1, "A", number))
        session.compact()
        with session.start_transaction("x"):
            orders.drop(keys=[3])
        orders.join(items, on={"item": "code"}, name="must", optional=False)
        with pytest.raises(ge.errors.MissingMatchError), session.start_transaction("x"):
            items.drop(keys=["B"])
        with session.start_transaction("x"):
            orders.drop(keys=[2])
            items.drop(keys=["B"])
        assert rows(session, "items", "x") == [("A", "red")]
        with pytest.raises(ge.errors.MissingMatchError):
            items.drop(keys=["B"])

    def test_members_are_counted_per_branch(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction("x"):
            orders.append((3, "A", 3))
        colors = session.cubes["orders"].hierarchies["color"]
        assert colors.members() == {("red",): 1, ("blue",): 1} or colors.members() == {("blue",): 1, ("red",): 1}
        assert colors.members(branch="x") == {("blue",): 1, ("red",): 2}
        with pytest.raises(ge.errors.UnknownBranchError):
            colors.members(branch="nowhere")

    def test_a_slicing_hierarchy_takes_the_first_member_of_the_branch(
        self, session: ge.Session, orders: ge.Table
    ) -> None:
        session.cubes["orders"].hierarchies["id"].slicing = True
        with session.start_transaction("x"):
            orders.drop(keys=[1])
        assert cells(session) == {"red": 10}
        assert cells(session, "x") == {"blue": 20}

    def test_a_provider_answers_for_its_own_branch(self, session: ge.Session, orders: ge.Table) -> None:
        cube = session.cubes["orders"]
        cube.create_provider(["color"], ["pieces.SUM"], branch="x")
        with session.start_transaction("x"):
            orders.append((1, "A", 11))
        assert cells(session, "x") == {"blue": 20, "red": 11}
        assert cube.query("pieces.SUM", levels=["color"], branch="x", explain=True).source == "provider"
        assert cube.query("pieces.SUM", levels=["color"], explain=True).source == "scan"
        assert cells(session) == {"blue": 20, "red": 10}


class TestNames:
    @pytest.mark.parametrize("name", ["", None, 7])
    def test_a_name_is_a_text(self, session: ge.Session, name: Any) -> None:
        with pytest.raises(ge.errors.InvalidModelError):
            session.branches.create(name)

    @pytest.mark.parametrize("name", ["master", "x"])
    def test_a_name_is_taken_once(self, session: ge.Session, orders: ge.Table, name: str) -> None:
        with pytest.raises(ge.errors.DuplicateNameError):
            session.branches.create(name)

    def test_an_unknown_branch_is_named_with_those_there_are(self, session: ge.Session, orders: ge.Table) -> None:
        cube = session.cubes["orders"]
        for ask in (
            lambda: session.database.version("xx"),
            lambda: session.start_transaction("xx").__enter__(),
            lambda: session.branches.create("y", "xx"),
            lambda: session.branches.delete("xx"),
            lambda: session.branches["xx"],
            lambda: session.pin(branch="xx"),
            lambda: session.diff(("xx", 1), ("master", 1)),
            lambda: cube.query("pieces.SUM", branch="xx"),
            lambda: cube.live("pieces.SUM", branch="xx"),
            lambda: cube.create_provider(["color"], ["pieces.SUM"], branch="xx"),
        ):
            with pytest.raises(ge.errors.UnknownBranchError, match="Did you mean 'x'"):
                ask()
        assert "xx" not in session.branches

    def test_branches_are_listed_in_order_of_creation(self, session: ge.Session, orders: ge.Table) -> None:
        session.branches.create("a", "x")
        assert session.branches.list() == [
            ge.BranchInfo("master", 1, None, 0),
            ge.BranchInfo("x", 1, "master", 1),
            ge.BranchInfo("a", 1, "x", 1),
        ]
        assert (list(session.branches), len(session.branches)) == (["master", "x", "a"], 3)

    def test_a_branch_of_a_dropped_epoch_is_refused(self) -> None:
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=1)) as session:
            table = session.create_table("t", {"k": ge.LONG}, keys=["k"])
            for key in range(5):
                table.append((key,))
            session.compact()
            with pytest.raises(ge.errors.EpochNotRetainedError):
                session.branches.create("x", epoch=1)
            assert list(session.branches) == ["master"]

    def test_a_closed_session_has_no_new_branches(self) -> None:
        with ge.Session(backend="cpu") as session:
            pass
        with pytest.raises(ge.errors.SessionClosedError):
            session.branches.create("x")


class TestDeleting:
    def test_master_stays(self, session: ge.Session) -> None:
        with pytest.raises(ge.errors.BranchInUseError, match="master is always there"):
            session.branches.delete("master")

    def test_who_uses_a_branch_is_named(self, session: ge.Session, orders: ge.Table) -> None:
        session.branches.create("y", "x")
        live = session.cubes["orders"].live("pieces.SUM", levels=["color"], branch="x")
        pin = session.pin(branch="x")
        with pytest.raises(ge.errors.BranchInUseError, match=r"branch 'y', 1 live queries, 1 pins"):
            session.branches.delete("x")
        live.close()
        pin.release()
        session.branches.delete("y")
        session.branches.delete("x")
        assert list(session.branches) == ["master"]

    def test_providers_go_with_their_branch(self, session: ge.Session, orders: ge.Table) -> None:
        cube = session.cubes["orders"]
        cube.hierarchies["id"].slicing = True
        cube.create_provider(["color", "id"], ["pieces.SUM"], branch="x")
        assert cells(session, "x") == {"red": 10}
        kept = [weakref.ref(provider) for provider in cube.providers if provider.branch == "x"]
        assert len(kept) >= 2
        session.branches.delete("x")
        assert {provider.branch for provider in cube.providers} == {"master"}
        gc.collect()
        assert [one() for one in kept] == [None] * len(kept)

    def test_a_new_branch_of_an_old_name_starts_afresh(self, session: ge.Session, orders: ge.Table) -> None:
        cube = session.cubes["orders"]
        cube.create_provider(["color"], ["pieces.SUM"], branch="x")
        with session.start_transaction("x"):
            orders.append((1, "A", 1000))
        old = session.database.version("x")
        session.branches.delete("x")
        session.branches.create("x")
        cube.create_provider(["color"], ["pieces.SUM"], branch="x")
        prepared = session.database.prepare.cube(cube, ["pieces.SUM"], ["color"], mode="arrow")
        assert cells(session, "x") == {"blue": 20, "red": 10}
        assert prepared.run(old).column("pieces.SUM").to_pylist() == [20, 1000]
        with session.start_transaction("x"):
            orders.append((1, "A", 7))
        assert cells(session, "x") == {"blue": 20, "red": 7}

    def test_a_transaction_on_a_branch_that_goes_meanwhile_is_refused(
        self, session: ge.Session, orders: ge.Table
    ) -> None:
        with pytest.raises(ge.errors.UnknownBranchError), session.start_transaction("x"):
            orders.append((1, "A", 1))
            session.branches.delete("x")
        assert cells(session) == {"blue": 20, "red": 10}

    def test_what_a_deleted_branch_held_is_reclaimed(self) -> None:
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
            table = session.create_table("t", {"k": ge.LONG}, keys=["k"])
            table.append(*((key,) for key in range(5000)))
            session.compact()
            nbytes = session.statistics().tables["t"].nbytes
            for _ in range(3):
                session.branches.create("x")
                with session.start_transaction("x"):
                    table.truncate()
                    table.append(*((key,) for key in range(-1000, 0)))
                session.branches.delete("x")
            table.append((5000,))
            session.compact()
            after = session.statistics().tables["t"]
            assert (after.rows, after.dead_rows) == (5001, 0)
            assert after.nbytes < 1.5 * nbytes


class TestFirstWrite:
    def test_takes_no_memory_for_the_rows_that_are_there(self) -> None:
        rows = 100_000

        def growth(branch: str) -> int:
            with ge.Session(backend="cpu") as session:
                table = session.create_table("t", {"k": ge.LONG, "v": ge.LONG}, keys=["k"])
                table.load_arrow(pa.table({"k": range(rows), "v": range(rows)}))
                session.branches.create("x")
                before = session.statistics().tables["t"].nbytes
                with session.start_transaction(branch):
                    table.append((0, -1))
                return session.statistics().tables["t"].nbytes - before

        assert growth("x") - growth("master") < rows

    def test_leaves_every_version_as_it_was(self) -> None:
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=100)) as session:
            table = session.create_table("t", {"k": ge.LONG, "v": ge.LONG}, keys=["k"])
            table.append(*((key, 0) for key in range(200)))
            table.drop(table["k"] < 50)
            session.branches.create("old", epoch=1)
            session.branches.create("new")
            expected = {("master", 1): 200, ("master", 2): 150, ("old", 1): 200, ("new", 2): 150}

            def check() -> None:
                for (branch, epoch), count in expected.items():
                    runner = session.database.version(branch, epoch)
                    assert runner.list("t").num_rows == count
                    assert (runner.get("t", 20) is not None) == (count >= 200), (branch, epoch)

            for step, branch in enumerate(["old", "new", "master", "old"]):
                with session.start_transaction(branch) as transaction:
                    table.append((1_000 + step, 1), (199, step + 1))
                before = max(epoch for line, epoch in expected if line == branch)
                expected[branch, transaction.report.epoch] = expected[branch, before] + 1
                check()
            session.compact()
            check()

    def test_leaves_no_marks_behind_once_the_branch_is_gone(self) -> None:
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
            table = session.create_table("t", {"k": ge.LONG}, keys=["k"])
            table.append((0,))
            session.branches.create("x")
            with session.start_transaction("x"):
                table.append((1,))
            table.append(*((key,) for key in range(2, 9_000)))
            assert table.store.rows.births
            session.branches.delete("x")
            session.compact()
            assert not table.store.rows.births
            assert session.statistics().tables["t"].rows == 8_999


def test_statistics_count_the_rows_of_each_branch(session: ge.Session, orders: ge.Table) -> None:
    with session.start_transaction("x"):
        orders.append((3, "A", 1), (4, "A", 1), (1, "A", 11))
    orders.drop(keys=[1])
    session.branches.create("y", "x")
    found = session.statistics().tables
    assert found["orders"].branch_rows == {"master": 1, "x": 4, "y": 4}
    assert found["items"].branch_rows == {"master": 2, "x": 2, "y": 2}
    assert (found["orders"].rows, found["orders"].dead_rows) == (1, 4)
    session.branches.delete("y")
    assert list(session.statistics().tables["orders"].branch_rows) == ["master", "x"]


def test_a_wait_ends_with_a_commit_on_any_branch(session: ge.Session, orders: ge.Table) -> None:
    database, heard = session.database, list[int]()
    assert database.wait_for_commit(1, timeout=0) == 1
    waiting = threading.Thread(target=lambda: heard.append(database.wait_for_commit(1, timeout=20)))
    waiting.start()
    with session.start_transaction("x"):
        orders.append((3, "A", 1))
    waiting.join(20)
    assert heard == [2]
    assert database.wait_for_commit(1, timeout=0, branch="master") == 1
    assert database.wait_for_commit(1, timeout=20, branch="x") == 2
    with pytest.raises(ge.errors.UnknownBranchError):
        database.wait_for_commit(1, branch="y")


def test_a_wait_ends_when_it_is_woken_for_a_reason(session: ge.Session) -> None:
    done, heard = threading.Event(), list[int]()
    waiting = threading.Thread(
        target=lambda: heard.append(session.database.wait_for_commit(session.epoch, 60, until=done.is_set))
    )
    waiting.start()
    session.database.wake()
    done.set()
    session.database.wake()
    waiting.join(20)
    assert heard == [session.epoch], "it did not end for its reason"
