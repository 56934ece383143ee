"""Listeners that live long keep no rows from compaction, of their initial view or of what they were told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import gpu_engine as ge
from tests.engine.answers import eventually
from tests.engine.streams import TIMEOUT, Boom, Failing, Recorder, caught_up, ended, follow

ROWS, KEPT = 100, 3


@pytest.fixture
def session() -> Iterator[ge.Session]:
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=KEPT)) as session:
        yield session


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "qty": ge.LONG}, keys=["id"])
    table.append(*((number, number) for number in range(ROWS)))
    return table


def rewrite(table: ge.Table, times: int) -> None:
    """Write every row anew, so many times, each time in one transaction."""
    start = table.head(1)["qty"][0] + 1_000
    for number in range(times):
        table.append(*((key, start + number * ROWS + key) for key in range(ROWS)))


def assert_reclaimed(session: ge.Session) -> None:
    """Rows of the epochs that retention keeps are there after a compaction, and no others."""

    def reclaimed() -> bool:
        session.compact()
        return session.statistics().tables["trades"].dead_rows == KEPT * ROWS

    eventually(reclaimed, "the listener lets go of what it has been told")


@pytest.mark.parametrize("branch", [None, "master"])
def test_one_that_has_told_everything_keeps_nothing(session: ge.Session, trades: ge.Table, branch: str | None) -> None:
    registration, recorder = follow(session, listener=Recorder(keep_states=False), branch=branch)
    rewrite(trades, 20)
    caught_up(session, registration)
    assert_reclaimed(session)
    rewrite(trades, 20)
    caught_up(session, registration)
    assert_reclaimed(session)
    assert len(recorder.lines()) == ROWS


def test_many_that_came_at_different_epochs_keep_nothing(session: ge.Session, trades: ge.Table) -> None:
    found = []
    for _ in range(8):
        found.append(follow(session, listener=Recorder(keep_states=False)))
        rewrite(trades, 5)
    for registration, _ in found:
        caught_up(session, registration)
    assert_reclaimed(session)


@pytest.mark.parametrize("method", ["records_added", "records_updated", "transaction_committed"])
def test_one_that_has_failed_keeps_nothing_though_its_error_is_kept(
    session: ge.Session, trades: ge.Table, method: str
) -> None:
    query = session.database.prepare.list("trades")
    registration = session.database.streamer.register(query, Failing(method))
    rewrite(trades, 20)
    assert ended(registration)
    error = registration.error
    assert isinstance(error, Boom)
    assert error.__traceback__ is not None
    assert_reclaimed(session)


def test_one_that_was_unregistered_in_its_initial_view_keeps_nothing(session: ge.Session, trades: ge.Table) -> None:
    registrations: list[ge.Registration] = []
    registered = threading.Event()

    class Leaving(Recorder):
        def records_added(self, partition: object, rows: object) -> None:
            assert registered.wait(TIMEOUT)
            registrations[0].unregister()

    session.branches.create("b")
    query = session.database.prepare.list("trades")
    registrations.append(session.database.streamer.register(query, Leaving()))
    registered.set()
    assert ended(registrations[0])
    session.branches.delete("b")
    rewrite(trades, 20)
    assert registrations[0].attached.cancelled()
    assert not registrations[0].wait_for(session.epoch, TIMEOUT)
    assert_reclaimed(session)
