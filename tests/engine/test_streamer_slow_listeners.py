"""Listeners that are slow or stand still: how much they can do to writers, to memory and to each other (nothing)."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from itertools import count as counting

import pyarrow as pa
import pytest

import gpu_engine as ge
from gpu_engine.database.commit import Commit
from gpu_engine.stream import registration as registration_module
from gpu_engine.stream.transaction_log import TransactionLog
from gpu_engine.stream.view import SHARED_ROWS
from tests.engine.streams import TIMEOUT, Blocking, Recorder, caught_up, commit, ended, follow

NUMBERS = counting(1_000)


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG}, keys=["id"])
    table.append((1, "Paris", 10), (2, "Rome", 20))
    return table


def _upsert(table: ge.Table, times: int) -> None:
    for _ in range(times):
        table.append((1, "Paris", next(NUMBERS)))


def _commits_kept() -> int:
    gc.collect()
    return sum(isinstance(one, Commit) for one in gc.get_objects())


@pytest.fixture
def blocked() -> Iterator[list[Blocking]]:
    """Listeners to let go when the test ends, however it ends."""
    listeners: list[Blocking] = []
    yield listeners
    for listener in listeners:
        listener.let_go.set()


@pytest.mark.parametrize("branch", [None, "master"])
def test_one_that_stands_still_delays_no_commit_and_memory_stays_bounded(
    session: ge.Session, trades: ge.Table, blocked: list[Blocking], branch: str | None
) -> None:
    """Another listener of the same query goes on, so that the view has changes to keep for the one that stands."""
    most, nbytes = 2_000, 1 << 20
    session.database.streamer.retain(most, nbytes)
    listener = Blocking("transaction_committed")
    blocked.append(listener)
    query, options = session.database.prepare.list("trades"), ge.StreamOptions(branch=branch)
    registration = session.database.streamer.register(query, listener, options)
    other, recorder = follow(session, listener=Recorder(keep_states=False), branch=branch)
    assert listener.entered.wait(TIMEOUT)
    before = _commits_kept()
    for _ in range(6):
        _upsert(trades, 500)
        streams = session.database.streamer.statistics()
        assert streams.log.transactions <= most
        assert streams.log.nbytes <= nbytes
        assert streams.views[0].shared_rows <= SHARED_ROWS
        caught_up(session, other)
    assert (streams.log.since, streams.log.epoch) == (session.epoch - streams.log.transactions, session.epoch)
    standing, going = session.database.streamer.statistics().registrations
    assert (standing.epoch, standing.lag, standing.active) == (0, session.epoch, True)
    assert (going.epoch, going.lag, going.transactions) == (session.epoch, 0, 3_001)
    assert _commits_kept() - before <= streams.log.transactions
    assert len(recorder.told) == 3_001
    listener.let_go.set()
    assert ended(registration)
    assert isinstance(registration.error, ge.errors.EpochNotRetainedError)
    assert isinstance(listener.failure, ge.errors.EpochNotRetainedError)
    assert (registration.error.epoch, registration.error.oldest) == (1, streams.log.since)
    assert other.active


def test_what_a_view_keeps_for_the_slow_is_bounded(session: ge.Session, trades: ge.Table) -> None:
    entered, let_go = threading.Event(), threading.Event()

    class Counting(ge.StreamListener):
        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []

        def records_updated(self, partition: object, old: pa.RecordBatch, new: pa.RecordBatch) -> None:
            self.told.append((new.num_rows, new["qty"][0].as_py()))

    class Standing(Counting):
        def transaction_committed(self, epoch: int) -> None:
            entered.set()
            assert let_go.wait(TIMEOUT)

    try:
        query = session.database.prepare.list("trades", where=ge.field("id") >= 10)
        slow, quick = Standing(), Counting()
        behind = session.database.streamer.register(query, slow)
        assert entered.wait(TIMEOUT)
        registration = session.database.streamer.register(query, quick)
        ids, kept = pa.array(range(10, 15_010), pa.int64()), []
        for number in range(22):
            quantity = pa.array([number] * len(ids), pa.int64())
            trades.load_arrow(pa.table({"id": ids, "qty": quantity}))
            caught_up(session, registration)
            kept.append(session.database.streamer.statistics().views[0].shared_rows)
    finally:
        let_go.set()
    assert SHARED_ROWS - 2 * len(ids) < max(kept) <= SHARED_ROWS, "it comes near its bound and no further"
    caught_up(session, behind)
    assert slow.told == quick.told == [(len(ids), number) for number in range(1, 22)]


@pytest.mark.parametrize(("kept", "rests"), [(10_000, True), (100, False)])
def test_an_initial_view_rests_while_somebody_writes_but_not_so_long_that_the_log_leaves_it_behind(
    session: ge.Session, monkeypatch: pytest.MonkeyPatch, kept: int, rests: bool
) -> None:
    monkeypatch.setattr(registration_module, "_SPELL", 0.0)
    monkeypatch.setattr(registration_module, "_REST", 1e9)
    monkeypatch.setattr(registration_module, "_LONGEST_REST_OF_VIEW", 0.01)
    at_ease, asked = TransactionLog.at_ease, list[bool]()

    def asking(self: TransactionLog, place: int) -> bool:
        asked.append(at_ease(self, place))
        return asked[-1]

    monkeypatch.setattr(TransactionLog, "at_ease", asking)
    table = session.create_table("trades", {"id": ge.LONG, "qty": ge.LONG}, keys=["id"])
    ids = pa.array(range(350_000), pa.int64())
    table.load_arrow(pa.table({"id": ids, "qty": ids}))
    session.database.streamer.retain(kept, 64 << 20)
    told: list[int] = []
    rested: list[bool] = []

    class Writing(ge.StreamListener):
        """Commits sixty times at the first batch, and once at each further one."""

        def records_added(self, partition: object, rows: pa.RecordBatch) -> None:
            for _ in range(1 if told else 60):
                table.append((0, session.epoch))
            told.append(rows.num_rows)
            rested[:] = asked

    registration = session.database.streamer.register(session.database.prepare.list("trades"), Writing())
    assert registration.attached.result(TIMEOUT) == 1
    assert sum(told) == len(ids)
    assert len(rested) >= len(told) - 1 > 1
    assert set(rested) == {rests}, "before each batch but the first it asks, and rests if the log allows it"
    caught_up(session, registration)
    assert registration.statistics().rows["records_updated"] == session.epoch - 1


def test_in_the_middle_of_a_large_transaction_reads_the_rows_of_that_moment(
    session: ge.Session, trades: ge.Table, blocked: list[Blocking]
) -> None:
    cities = session.create_table("cities", {"name": ge.STRING, "land": ge.STRING}, keys=["name"])
    trades.join(cities, on={"city": "name"})
    cities.append(("Paris", "France"))
    count = 70_000
    trades.append(*((number, "Paris", number) for number in range(count)))
    listener = Blocking("records_added")
    blocked.append(listener)
    query = session.database.prepare.list("trades", ["id", "cities.land"])
    registration = session.database.streamer.register(query, listener)
    assert listener.entered.wait(TIMEOUT)
    cities.append(("Paris", "elsewhere"))
    trades.truncate()
    cities.truncate()
    session.compact()
    listener.let_go.set()
    caught_up(session, registration)
    assert len(listener.told) == 4
    assert {line[2] for line in listener.told[0].rows("records_added")} == {"France"}
    assert len(listener.told[0].rows("records_added")) == count
    assert listener.lines() == []


@pytest.mark.parametrize("listeners", [1, 2])
def test_one_that_stands_still_between_transactions_reads_the_rows_of_that_moment(listeners: int) -> None:
    entered, waiting, let_go = threading.Event(), threading.Event(), threading.Event()

    class Twice(Recorder):
        def transaction_committed(self, epoch: int) -> None:
            super().transaction_committed(epoch)
            if len(self.told) == 1:
                entered.set()
                assert waiting.wait(TIMEOUT)
            elif len(self.told) == 2:
                entered.set()
                assert let_go.wait(TIMEOUT)

    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
        cities = session.create_table("cities", {"name": ge.STRING, "land": ge.STRING}, keys=["name"])
        trades = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING}, keys=["id"])
        trades.join(cities, on={"city": "name"})
        cities.append(("Paris", "France"), ("Rome", "Italy"))
        query = session.database.prepare.list("trades", ["id", "cities.land"])
        if listeners > 1:
            follow(session, ["id", "cities.land"])
        listener = Twice()
        registration = session.database.streamer.register(query, listener)
        try:
            assert entered.wait(TIMEOUT)
            entered.clear()
            trades.append((1, "Paris"))
            cities.append(("Rome", "Latium"))
            trades.append((2, "Paris"), (3, "Rome"))
            waiting.set()
            assert entered.wait(TIMEOUT)
            cities.append(("Paris", "elsewhere"), ("Rome", "elsewhere"))
            session.database.streamer.retain(1, 1)
            trades.append((4, "Paris"))
            session.compact()
        finally:
            waiting.set()
            let_go.set()
        assert ended(registration)
        assert isinstance(registration.error, ge.errors.EpochNotRetainedError)
        assert [told.rows("records_added") for told in listener.told[1:]] == [
            [(None, 1, "France")],
            [],
            [(None, 2, "France"), (None, 3, "Latium")],
        ]


def test_does_not_hold_up_other_listeners(session: ge.Session, trades: ge.Table, blocked: list[Blocking]) -> None:
    listener = Blocking("records_updated")
    blocked.append(listener)
    follow(session, listener=listener)
    registration, recorder = follow(session)
    commit(trades, 20)
    caught_up(session, registration)
    assert len(recorder.told) == 21
    assert listener.entered.wait(TIMEOUT)
