"""Diffs: what one version has that another has not, of rows and of cells."""

from __future__ import annotations

import pyarrow as pa
import pytest

import gpu_engine as ge


@pytest.fixture
def orders(session: ge.Session) -> ge.Table:
    items = session.create_table("items", {"code": ge.STRING, "color": ge.STRING}, keys=["code"])
    orders = session.create_table("orders", {"id": ge.LONG, "item": ge.STRING, "pieces": ge.DOUBLE}, keys=["id"])
    orders.join(items, on={"item": "code"})
    session.create_cube(orders)
    with session.start_transaction():
        items.append(("A", "red"), ("B", "blue"))
        orders.append((1, "A", 10), (2, "B", 20), (3, "B", None))
    return orders


def lists(diff: ge.TableDiff) -> tuple[list[tuple[object, ...]], ...]:
    parts = (diff.added, diff.removed, diff.updated_old, diff.updated_new)
    return tuple([tuple(row.values()) for row in part.to_pylist()] for part in parts)


def test_rows_are_added_removed_and_updated_with_both_values(session: ge.Session, orders: ge.Table) -> None:
    with session.start_transaction():
        orders.append((1, "A", 11), (4, "B", 4))
        orders.drop(keys=[2])
    assert {name: lists(diff) for name, diff in session.diff(("master", 1), ("master", 2)).items()} == {
        "orders": ([(4, "B", 4.0)], [(2, "B", 20.0)], [(1, "A", 10.0)], [(1, "A", 11.0)])
    }
    assert lists(session.diff(("master", 2), ("master", 1))["orders"]) == (
        [(2, "B", 20.0)],
        [(4, "B", 4.0)],
        [(1, "A", 11.0)],
        [(1, "A", 10.0)],
    )


def test_only_the_ends_count(session: ge.Session, orders: ge.Table) -> None:
    orders.append((1, "B", 99.0))
    orders.drop(keys=[1, 3])
    orders.append((1, "A", 10.0), (3, "B", None))
    orders.append((9, "A", float("nan")))
    orders.drop(keys=[9])
    assert session.diff(("master", 1), ("master", session.epoch)) == {}
    assert session.diff(("master", 2), ("master", 2)) == {}


def test_branches_differ_from_each_other_and_from_where_they_came(session: ge.Session, orders: ge.Table) -> None:
    session.branches.create("x")
    session.branches.create("y")
    for name, value in (("x", 5.0), ("y", 6.0)):
        with session.start_transaction(name):
            orders.append((1, "A", value), (7, "A", 7.0))
    found = session.diff(("x", session.branches["x"].epoch), ("y", session.branches["y"].epoch))
    assert lists(found["orders"]) == ([], [], [(1, "A", 5.0)], [(1, "A", 6.0)])
    found = session.diff(("master", 1), ("x", session.branches["x"].epoch))
    assert lists(found["orders"]) == ([(7, "A", 7.0)], [], [(1, "A", 10.0)], [(1, "A", 5.0)])


def test_rows_without_a_key_come_and_go(session: ge.Session) -> None:
    log = session.create_table("log", {"line": ge.STRING})
    log.append(("a",), ("a",))
    log.append(("a",))
    log.drop(log["line"] == "a")
    assert lists(session.diff(("master", 1), ("master", 2))["log"]) == ([("a",)], [], [], [])
    assert lists(session.diff(("master", 1), ("master", 3))["log"]) == ([], [("a",), ("a",)], [], [])


def test_tables_have_the_columns_and_types_of_the_table(session: ge.Session, orders: ge.Table) -> None:
    orders.append((8, "A", 1.0))
    diff = session.diff(("master", 1), ("master", 2))["orders"]
    expected = pa.schema([("id", pa.int64()), ("item", pa.string()), ("pieces", pa.float64())])
    for part in (diff.added, diff.removed, diff.updated_old, diff.updated_new):
        assert part.schema.types == expected.types
        assert part.column_names == expected.names


def test_a_diff_across_a_compaction(session: ge.Session, orders: ge.Table) -> None:
    with session.pin():
        for value in range(2000):
            orders.append((1, "A", float(value)))
        session.compact()
        assert lists(session.diff(("master", 1), ("master", session.epoch))["orders"]) == (
            [],
            [],
            [(1, "A", 10.0)],
            [(1, "A", 1999.0)],
        )
        with pytest.raises(ge.errors.EpochNotRetainedError):
            session.diff(("master", 2), ("master", session.epoch))


class TestCells:
    def diff(self, session: ge.Session, until: tuple[str, int], **more: object) -> ge.CellChange | None:
        return session.cubes["orders"].diff("pieces.SUM", levels=["color"], since=("master", 1), until=until, **more)

    def test_cells_come_go_and_change(self, session: ge.Session, orders: ge.Table) -> None:
        with session.start_transaction():
            session.tables["items"].append(("B", "green"))
            orders.append((1, "A", 11.0))
        change = self.diff(session, ("master", 2))
        assert change is not None
        assert (change.epoch, change.from_epoch, change.branch, change.snapshot) == (2, 1, "master", False)
        assert change.added.to_pylist() == [{"color": "green", "pieces.SUM": 20.0}]
        assert change.removed.to_pylist() == [{"color": "blue", "pieces.SUM": 20.0}]
        assert change.changed_from.to_pylist() == [{"color": "red", "pieces.SUM": 10.0}]
        assert change.changed.to_pylist() == [{"color": "red", "pieces.SUM": 11.0}]

    def test_cells_of_equal_value_are_no_difference(self, session: ge.Session, orders: ge.Table) -> None:
        orders.append((4, "A", 4.0), (1, "A", 6.0))
        assert self.diff(session, ("master", 2)) is None

    def test_a_branch_against_master_with_totals(self, session: ge.Session, orders: ge.Table) -> None:
        session.branches.create("x")
        with session.start_transaction("x"):
            orders.append((1, "A", 11.0))
        change = self.diff(session, ("x", 2), totals=True)
        assert change is not None
        assert change.branch == "x"
        assert change.changed.to_pylist() == [
            {"color": None, "pieces.SUM": 31.0, "__depth__": 0},
            {"color": "red", "pieces.SUM": 11.0, "__depth__": 1},
        ]

    def test_what_a_diff_asks_for_must_exist(self, session: ge.Session, orders: ge.Table) -> None:
        with pytest.raises(ge.errors.UnknownBranchError):
            self.diff(session, ("x", 1))
        with pytest.raises(ge.errors.EpochNotRetainedError):
            self.diff(session, ("master", 9))
