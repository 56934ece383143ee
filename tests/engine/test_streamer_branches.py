"""Streams of several branches: each transaction names its own, and a new branch is introduced by its rows."""

from __future__ import annotations

import threading

import pytest

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Recorder, caught_up, follow


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "qty": ge.LONG}, keys=["id"])
    table.append((1, 10), (2, 20))
    return table


def write(session: ge.Session, branch: str, *rows: tuple[int, int]) -> None:
    with session.start_transaction(branch):
        session.tables["trades"].append(*rows)


def test_all_branches_are_followed_and_named(session: ge.Session, trades: ge.Table) -> None:
    session.branches.create("up")
    registration, recorder = follow(session)
    write(session, "up", (1, 11))
    write(session, "master", (3, 30))
    write(session, "up", (3, 33))
    caught_up(session, registration)
    assert [(told.branch, told.epoch, told.info.initial) for told in recorder.told] == [
        ("master", 1, True),
        ("up", 1, True),
        ("up", 2, False),
        ("master", 3, False),
        ("up", 4, False),
    ]
    assert recorder.lines("master") == [(None, 1, 10), (None, 2, 20), (None, 3, 30)]
    assert recorder.lines("up") == [(None, 1, 11), (None, 2, 20), (None, 3, 33)]


def test_one_branch_is_followed_alone(session: ge.Session, trades: ge.Table) -> None:
    session.branches.create("up")
    registration, recorder = follow(session, branch="up")
    write(session, "master", (3, 30))
    write(session, "up", (1, 11))
    with pytest.raises(RuntimeError), session.start_transaction():
        raise RuntimeError
    caught_up(session, registration)
    assert [(told.branch, told.epoch) for told in recorder.told] == [("up", 1), ("up", 3)]
    assert list(recorder.rows) == ["up"]
    assert registration.statistics().lag == 0


def test_a_branch_made_later_is_introduced_by_its_rows_before_its_first_commit(
    session: ge.Session, trades: ge.Table
) -> None:
    registration, recorder = follow(session)
    write(session, "master", (1, 12))
    session.branches.create("past", epoch=1)
    write(session, "past", (2, 22))
    write(session, "past", (2, 23))
    caught_up(session, registration)
    assert [(told.branch, told.info.initial) for told in recorder.told[2:]] == [
        ("past", True),
        ("past", False),
        ("past", False),
    ]
    assert recorder.lines("past") == [(None, 1, 10), (None, 2, 23)]
    assert recorder.lines("master") == [(None, 1, 12), (None, 2, 20)]


def test_a_branch_of_the_name_of_a_deleted_one_is_introduced_again(session: ge.Session, trades: ge.Table) -> None:
    session.branches.create("up")
    registration, recorder = follow(session)
    write(session, "up", (1, 11), (9, 90))
    session.branches.delete("up")
    session.branches.create("up")
    write(session, "up", (1, 13))
    caught_up(session, registration)
    assert [told.info.initial for told in recorder.told] == [True, True, False, True, False]
    assert recorder.lines("up") == [(None, 1, 13), (None, 2, 20)]


def test_without_an_initial_view_no_branch_is_introduced(session: ge.Session, trades: ge.Table) -> None:
    registration, recorder = follow(session, listener=Recorder({"up": []}), send_initial_view=False)
    session.branches.create("up")
    write(session, "up", (3, 30))
    caught_up(session, registration)
    assert [(told.branch, told.info.initial) for told in recorder.told] == [("up", False)]


def test_a_rollback_names_its_branch(session: ge.Session, trades: ge.Table) -> None:
    session.branches.create("up")
    registration, recorder = follow(session)
    with pytest.raises(RuntimeError), session.start_transaction("up"):
        trades.append((3, 30))
        raise RuntimeError
    write(session, "master", (3, 30))
    caught_up(session, registration)
    assert [(told.branch, told.end) for told in recorder.told[2:]] == [
        ("up", "transaction_rolled_back"),
        ("master", "transaction_committed"),
    ]


def test_resuming_takes_up_all_branches(session: ge.Session, trades: ge.Table) -> None:
    session.branches.create("up")
    first, told_first = follow(session)
    for number in range(6):
        write(session, "up" if number % 2 else "master", (1, 100 + number))
    caught_up(session, first)
    first.unregister()
    write(session, "up", (2, 7))
    registration, recorder = follow(session, listener=Recorder(told_first.rows), from_epoch=first.epoch)
    caught_up(session, registration)
    assert [(told.branch, told.epoch) for told in recorder.told] == [("up", 8)]
    assert recorder.lines("up") == [(None, 1, 105), (None, 2, 7)]


def test_a_followed_branch_cannot_be_deleted(session: ge.Session, trades: ge.Table) -> None:
    session.branches.create("up")
    registration, _ = follow(session, branch="up")
    with pytest.raises(ge.errors.BranchInUseError, match="1 streams"):
        session.branches.delete("up")
    registration.unregister()
    session.branches.delete("up")
    assert list(session.branches) == ["master"]


def test_commits_of_a_deleted_branch_are_passed_over_once_their_rows_are_gone() -> None:
    entered, let_go = threading.Event(), threading.Event()

    class Slow(Recorder):
        def transaction_committed(self, epoch: int) -> None:
            super().transaction_committed(epoch)
            if epoch == 3:
                entered.set()
                assert let_go.wait(TIMEOUT)

    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
        session.create_table("trades", {"id": ge.LONG, "qty": ge.LONG}, keys=["id"])
        write(session, "master", (1, 10), (2, 20))
        session.branches.create("up")
        registration, recorder = follow(session, listener=Slow())
        write(session, "up", *((number, number) for number in range(10, 50)))
        assert registration.wait_for(2, TIMEOUT)
        write(session, "master", (3, 30))
        assert entered.wait(TIMEOUT)
        write(session, "up", *((number, -number) for number in range(10, 50)))
        write(session, "master", (4, 40))
        session.branches.delete("up")
        report = session.compact().tables["trades"]
        assert report.rows_before - report.rows_after == 40
        let_go.set()
        caught_up(session, registration)
        assert [(told.branch, told.epoch) for told in recorder.told[2:]] == [("up", 2), ("master", 3), ("master", 5)]
        assert recorder.lines() == [(None, 1, 10), (None, 2, 20), (None, 3, 30), (None, 4, 40)]


def test_a_dimension_changed_on_one_branch_moves_facts_there_only(session: ge.Session, trades: ge.Table) -> None:
    names = session.create_table("names", {"id": ge.LONG, "name": ge.STRING}, keys=["id"])
    trades.join(names, on={"id": "id"})
    names.append((1, "one"), (2, "two"))
    session.branches.create("up")
    registration, recorder = follow(session, ["id", "names.name"])
    with session.start_transaction("up"):
        names.append((1, "uno"))
    write(session, "master", (3, 30))
    write(session, "up", (3, 30))
    with session.start_transaction("master"):
        names.append((3, "three"))
    caught_up(session, registration)
    assert recorder.lines("up") == [(None, 1, "uno"), (None, 2, "two"), (None, 3, None)]
    assert recorder.lines("master") == [(None, 1, "one"), (None, 2, "two"), (None, 3, "three")]
