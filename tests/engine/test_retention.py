"""Retention: how many epochs, and for how long, stay readable without anybody's doing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.database import retention


def session_with(policy: ge.RetentionPolicy, epochs: int) -> ge.Session:
    session = ge.Session(backend="cpu", retention=policy)
    table = session.create_table("t", {"k": ge.LONG, "v": ge.LONG}, keys=["k"])
    for epoch in range(1, epochs + 1):
        table.append((1, epoch))
    return session


def readable(session: ge.Session) -> list[int]:
    found = []
    for epoch in range(session.epoch + 1):
        try:
            row = session.database.version(epoch=epoch).get("t", 1)
        except ge.errors.EpochNotRetainedError as error:
            assert (error.epoch, error.oldest, error.head) == (
                epoch,
                session.statistics().oldest_epoch,
                session.epoch,
            )
        else:
            assert (0 if row is None else row["v"]) == epoch
            found.append(epoch)
    return found


@pytest.mark.parametrize(("kept", "expected"), [(0, [9]), (1, [8, 9]), (3, [6, 7, 8, 9]), (100, list(range(10)))])
def test_so_many_epochs_before_the_head_stay(kept: int, expected: list[int]) -> None:
    with session_with(ge.RetentionPolicy(epochs=kept), 9) as session:
        assert readable(session) == list(range(10)), "nothing goes before a compaction"
        assert session.compact().oldest_epoch == session.statistics().oldest_epoch == expected[0]
        assert readable(session) == expected


def test_young_epochs_stay_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 10**9)
    monkeypatch.setattr(retention.time, "monotonic_ns", lambda: next(clock))
    with session_with(ge.RetentionPolicy(epochs=1, seconds=5), 9) as session:
        session.compact()
        assert readable(session) == [5, 6, 7, 8, 9]
        for _ in range(10):
            next(clock)
        session.compact()
        assert readable(session) == [8, 9]


def test_an_epoch_that_has_gone_does_not_come_back() -> None:
    with session_with(ge.RetentionPolicy(epochs=1), 9) as session:
        session.compact()
        assert readable(session) == [8, 9]
        session.compact()
        assert readable(session) == [8, 9]


def test_branches_are_kept_by_the_same_count_of_epochs() -> None:
    with session_with(ge.RetentionPolicy(epochs=2), 3) as session:
        session.branches.create("x")
        for value in range(4, 9):
            with session.start_transaction("x"):
                session.tables["t"].append((1, value))
        session.compact()
        assert session.database.version("x", 6).get("t", 1) == {"k": 1, "v": 6}
        with pytest.raises(ge.errors.EpochNotRetainedError):
            session.database.version("x", 5)
        assert session.database.version().get("t", 1) == {"k": 1, "v": 3}
        assert session.database.version(epoch=7).get("t", 1) == {"k": 1, "v": 3}


@pytest.mark.parametrize("figures", [{"epochs": -1}, {"seconds": -0.1}])
def test_negative_figures_are_refused(figures: dict[str, Any]) -> None:
    with pytest.raises(ge.errors.InvalidModelError):
        ge.RetentionPolicy(**figures)
