"""Attaching in the moment between a commit's publication and its place in the log: it is told once, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.stream.transaction_log import TransactionLog
from tests.engine.streams import Recorder, caught_up, follow

Attach = Callable[[], tuple[ge.Registration, Recorder]]
NEW = (None, 3, 30)


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "qty": ge.LONG}, keys=["id"])
    table.append((1, 10), (2, 20))
    session.branches.create("b")
    return table


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Attach], list[tuple[ge.Registration, Recorder]]]:
    """Let a listener attach once readers can see the next commit and the log does not have it yet."""
    committed = TransactionLog.committed

    def let(attach: Attach) -> list[tuple[ge.Registration, Recorder]]:
        found = []

        def attach_first(self: TransactionLog, commit: Any) -> None:
            monkeypatch.setattr(TransactionLog, "committed", committed)
            found.append(attach())
            committed(self, commit)

        monkeypatch.setattr(TransactionLog, "committed", attach_first)
        return found

    return let


def write(session: ge.Session, branch: str, *rows: tuple[int, int]) -> int:
    with session.start_transaction(branch) as transaction:
        session.tables["trades"].append(*rows)
    return transaction.report.epoch


def told(recorder: Recorder) -> list[tuple[str, int, bool, list[str]]]:
    return [(one.branch, one.epoch, one.info.initial, one.names()) for one in recorder.told]


@pytest.mark.parametrize("written", ["master", "b"])
@pytest.mark.parametrize("followed", [None, "master", "b"])
@pytest.mark.parametrize("initial", [True, False])
def test_a_commit_that_is_in_the_initial_view_is_not_told_again(
    session: ge.Session, trades: ge.Table, between: Any, written: str, followed: str | None, initial: bool
) -> None:
    found = between(lambda: follow(session, branch=followed, send_initial_view=initial))
    epoch = write(session, written, (3, 30))
    [(registration, recorder)] = found
    assert registration.attached.result() == (epoch if followed in (None, written) else epoch - 1)
    for branch in ("master", "b"):
        write(session, branch, (4, 40))
    caught_up(session, registration)
    later = [("master", epoch + 1, False, ["records_added"]), ("b", epoch + 2, False, ["records_added"])]
    wanted = [one for one in later if followed in (None, one[0])]
    views = [one for one in told(recorder) if one[2]]
    assert told(recorder)[len(views) :] == wanted
    assert sorted(one[0] for one in views) == (sorted({"master", "b"} if followed is None else {followed}) * initial)
    if initial:
        for branch in {one[0] for one in views}:
            rows = session.database.version(branch).list("trades").to_pylist()
            assert recorder.lines(branch) == sorted((None, *row.values()) for row in rows)
            assert (NEW in recorder.lines(branch)) == (branch == written)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_resuming_tells_it_to_those_who_have_not_got_it(
    session: ge.Session, trades: ge.Table, between: Any, known: int
) -> None:
    rows = [[], [(None, 1, 10), (None, 2, 20)], [(None, 1, 10), (None, 2, 20), NEW]][known]
    found = between(lambda: follow(session, listener=Recorder({"master": rows}), branch="master", from_epoch=known))
    assert write(session, "master", (3, 30)) == 2
    write(session, "master", (4, 40))
    [(registration, recorder)] = found
    caught_up(session, registration)
    assert [(one.epoch, one.end) for one in recorder.told] == [
        (epoch, "transaction_committed") for epoch in range(known + 1, 4)
    ]
    assert recorder.lines() == [(None, 1, 10), (None, 2, 20), NEW, (None, 4, 40)]


def test_an_epoch_that_is_yet_to_come_is_refused_there_too(session: ge.Session, trades: ge.Table, between: Any) -> None:
    def attach() -> tuple[ge.Registration, Recorder]:
        with pytest.raises(ge.errors.EpochNotRetainedError, match=r"epoch 3 .* 0 to 2"):
            follow(session, from_epoch=3)
        return follow(session)

    found = between(attach)
    assert write(session, "master", (3, 30)) == 2
    assert len(found) == 1
