"""Bad input: versions that are none, branches and epochs that are not there, listeners that cannot be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpu_engine as ge
from tests.engine.streams import Recorder

NO_EPOCHS = ["7", 7.5, 7.0, True, [7], float("nan"), np.float64(7), object]
READS: dict[str, Callable[[ge.Session, Any], Any]] = {
    "a runner": lambda session, epoch: session.database.version(epoch=epoch),
    "a pin": lambda session, epoch: session.pin(epoch),
    "a branch": lambda session, epoch: session.branches.create("b", epoch=epoch),
    "a cube query": lambda session, epoch: session.cubes["t"].query("v.SUM", epoch=epoch),
    "members": lambda session, epoch: session.cubes["t"].hierarchies["city"].members(epoch=epoch),
    "a diff's begin": lambda session, epoch: session.diff(("master", epoch), ("master", 7)),
    "a diff's end": lambda session, epoch: session.diff(("master", 7), ("master", epoch)),
    "a diff of cells": lambda session, epoch: session.cubes["t"].diff(
        "v.SUM", since=("master", epoch), until=("master", 7)
    ),
    "a stream": lambda session, epoch: session.database.streamer.register(
        session.database.prepare.list("t"), Recorder(), from_epoch=epoch
    ),
}


@pytest.fixture
def table(session: ge.Session) -> ge.Table:
    table = session.create_table("t", {"k": ge.LONG, "city": ge.STRING, "v": ge.LONG}, keys=["k"])
    session.create_cube(table)
    for number in range(9):
        table.append((number % 3, "Paris", number))
    return table


def state(session: ge.Session) -> tuple[Any, ...]:
    statistics = session.statistics()
    return list(session.branches), statistics.pins, statistics.epoch, statistics.streams.registered_total


@pytest.mark.parametrize("epoch", NO_EPOCHS, ids=repr)
@pytest.mark.parametrize("read", READS)
def test_an_epoch_that_is_no_whole_number_is_refused(
    session: ge.Session, table: ge.Table, read: str, epoch: Any
) -> None:
    before = state(session)
    with pytest.raises(ge.errors.InvalidQueryError, match="give a whole number"):
        READS[read](session, epoch)
    assert state(session) == before


@pytest.mark.parametrize("read", READS)
def test_an_epoch_may_be_a_whole_number_of_any_kind(session: ge.Session, table: ge.Table, read: str) -> None:
    READS[read](session, np.int64(6))


@pytest.mark.parametrize("read", [name for name in READS if name != "a stream"])
def test_an_epoch_that_is_gone_is_refused_with_those_there_are(read: str) -> None:
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=2)) as session:
        table = session.create_table("t", {"k": ge.LONG, "city": ge.STRING, "v": ge.LONG}, keys=["k"])
        session.create_cube(table)
        pins = []
        for number in range(9):
            table.append((1, "Paris", number))
            if number in (1, 3):
                pins.append(session.pin())
        session.compact()
        before = state(session)
        with pytest.raises(ge.errors.EpochNotRetainedError) as caught:
            READS[read](session, 3)
        assert state(session) == before
        assert str(caught.value) == "epoch 3 is not readable. Readable epochs: 7 to 9, and pinned 2, 4."
        assert caught.value.pinned == (2, 4)
        pins[0].release()
        with pytest.raises(ge.errors.EpochNotRetainedError, match="and pinned 4"):
            READS[read](session, 2)
        READS[read](session, 4)


@pytest.mark.parametrize("pair", [7, "master", ("master",), ("master", 7, 7), None, {"master": 7}], ids=repr)
def test_a_version_to_compare_is_a_branch_and_an_epoch(session: ge.Session, table: ge.Table, pair: Any) -> None:
    good = ("master", 7)
    for since, until, what in (pair, good, "since"), (good, pair, "until"):
        with pytest.raises(ge.errors.InvalidQueryError, match=f"{what} .* give a branch and an epoch"):
            session.diff(since, until)
        with pytest.raises(ge.errors.InvalidQueryError, match=f"{what} .* give a branch and an epoch"):
            session.cubes["t"].diff("v.SUM", since=since, until=until)


@pytest.mark.parametrize("name", ["x" * 201, "é" * 500])
def test_a_name_of_a_branch_is_not_too_long(session: ge.Session, name: str) -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="1 to 200 characters") as caught:
        session.branches.create(name)
    assert len(str(caught.value)) < 200
    assert session.branches.create(name[:200]).name == name[:200]


@pytest.mark.parametrize(
    "figures",
    [{"epochs": "9"}, {"epochs": 1.5}, {"epochs": None}, {"epochs": True}, {"seconds": "9"}, {"seconds": float("nan")}],
    ids=repr,
)
def test_a_policy_is_of_numbers(figures: dict[str, Any]) -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="the number of epochs and seconds"):
        ge.RetentionPolicy(**figures)


class NoMethod:
    records_added = 5


@pytest.mark.parametrize(
    ("listener", "hint"),
    [
        (None, "None is no listener. .* transaction_started"),
        (print, "is no listener"),
        (NoMethod(), "records_added of .* is no method"),
    ],
)
def test_a_listener_has_something_to_call(session: ge.Session, table: ge.Table, listener: object, hint: str) -> None:
    query = session.database.prepare.list("t")
    with pytest.raises(ge.errors.InvalidQueryError, match=hint):
        session.database.streamer.register(query, listener)
    with pytest.raises(ge.errors.InvalidQueryError, match="StreamOptions"):
        session.database.streamer.register(query, Recorder(), {"branch": "master"})  # type: ignore[arg-type]
    assert session.database.streamer.registrations == ()


@pytest.mark.parametrize("limits", [("9", 9), (9, None), (1.5, 9)], ids=repr)
def test_limits_of_the_log_are_whole_numbers(session: ge.Session, limits: tuple[Any, Any]) -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="two whole numbers"):
        session.database.streamer.retain(*limits)


def test_what_is_no_list_is_refused_where_one_is_wanted(session: ge.Session, table: ge.Table) -> None:
    runner = session.database.version()
    with pytest.raises(ge.errors.InvalidQueryError, match="5 is no field"):
        runner.list("t", 5)  # type: ignore[arg-type]
    with pytest.raises(ge.errors.InvalidQueryError, match="keys 5: give a list of keys"):
        runner.get_many("t", 5)  # type: ignore[arg-type]
    with pytest.raises(ge.errors.InvalidQueryError, match="limit True"):
        runner.list("t", limit=True)
