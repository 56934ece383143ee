"""Pulling the changes of a live query: one by one, as one, and up to an epoch."""

from __future__ import annotations

from typing import Any

import pytest

import gpu_engine as ge


@pytest.fixture
def sales(session: ge.Session) -> ge.Table:
    table = session.create_table("Sales", types={"Id": ge.LONG, "Shop": ge.STRING, "Q": ge.LONG}, keys=["Id"])
    session.create_cube(table)
    table.append((1, "Paris", 1), (2, "Rome", 2))
    return table


@pytest.fixture
def live(session: ge.Session, sales: ge.Table) -> ge.LiveQuery:
    return session.cubes["Sales"].live("Q.SUM", levels=["Shop"])


def cells(table: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


def test_merged_changes_are_one_from_the_first_epoch_to_the_last(sales, live):
    sales.append((1, "Paris", 5))
    sales.append((3, "Oslo", 7))
    sales.append((1, "Paris", 6))
    sales.drop(keys=[(2,)])
    assert len(live.changes_since(1)[0]) == 4
    [change], reached = live.changes_since(1, merge=True)
    assert (change.from_epoch, change.epoch, reached, change.snapshot) == (1, 5, 5, False)
    assert cells(change.added) == [("Oslo", 7)]
    assert cells(change.changed_from) == [("Paris", 1)]
    assert cells(change.changed) == [("Paris", 6)]
    assert cells(change.removed) == [("Rome", 2)]


def test_merging_what_cancels_out_is_no_change(sales, live):
    sales.append((1, "Paris", 5))
    sales.append((1, "Paris", 1))
    assert live.changes_since(1, merge=True) == ([], 3)


def test_changes_until_an_epoch_leave_out_later_ones(sales, live):
    for quantity in (5, 6, 7):
        sales.append((1, "Paris", quantity))
    [first, second], reached = live.changes_since(1, until=3)
    assert (first.epoch, second.epoch, reached) == (2, 3, 3)
    assert cells(second.changed) == [("Paris", 6)]
    [merged], _ = live.changes_since(1, merge=True, until=3)
    assert (cells(merged.changed_from), cells(merged.changed)) == ([("Paris", 1)], [("Paris", 6)])
    assert live.changes_since(3, until=3) == ([], 3)
    assert live.changes_since(3, until=2) == ([], 3), "who is further on stays there"


def test_a_snapshot_until_an_epoch_is_of_that_epoch(sales, live):
    for quantity in (5, 6):
        sales.append((1, "Paris", quantity))
    [snapshot], reached = live.changes_since(None, until=2)
    assert (snapshot.snapshot, snapshot.epoch, reached) == (True, 2, 2)
    assert cells(snapshot.added) == [("Paris", 5), ("Rome", 2)]


def test_a_snapshot_until_an_epoch_that_is_not_kept_is_of_the_head(session, sales, monkeypatch):
    monkeypatch.setattr("gpu_engine.cube.provider.HISTORY_BYTES", 1)
    live = session.cubes["Sales"].live("Q.SUM", levels=["Shop"])
    for quantity in (5, 6, 7):
        sales.append((1, "Paris", quantity))
    [snapshot], reached = live.changes_since(1, merge=True, until=2)
    assert (snapshot.snapshot, snapshot.epoch, reached) == (True, 4, 4)
