"""Streams while writers run: nothing is lost, nothing is told twice, whenever and however often listeners attach."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Recorder, caught_up, follow

COMMITS = 2_000
START_ROWS = 30_000


def tables(session: ge.Session) -> tuple[ge.Table, ge.Table]:
    cities = session.create_table("cities", {"name": ge.STRING, "land": ge.STRING}, keys=["name"])
    trades = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG}, keys=["id"])
    trades.join(cities, on={"city": "name"})
    cities.append(*((f"city {number}", f"land {number % 3}") for number in range(10)))
    ids = list(range(START_ROWS))
    trades.load_arrow(pa.table({"id": ids, "city": [f"city {number % 12}" for number in ids], "qty": ids}))
    return trades, cities


@contextmanager
def writing(session: ge.Session, transactions: int, seed: int) -> Iterator[dict[int, int]]:
    """Commit on another thread; yields epoch -> rows of trades there must be, complete when the block has ended."""
    random_, trades, cities = random.Random(seed), session.tables["trades"], session.tables["cities"]
    counts = {session.epoch: len(trades)}
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(transactions):
                with session.start_transaction() as transaction:
                    step(random_, number)
                counts[transaction.report.epoch] = len(trades)
        except BaseException as error:
            failures.append(error)

    def step(random_: random.Random, number: int) -> None:
        keys = [random_.randrange(START_ROWS + 500) for _ in range(random_.randint(1, 5))]
        if number % 50 == 25:
            cities.append((f"city {random_.randrange(12)}", f"land {number}"))
        elif random_.random() < 0.3:
            trades.drop(keys=keys)
        trades.append(*((key, f"city {random_.randrange(13)}", number) for key in set(keys[1:] or keys)))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield counts
    finally:
        thread.join(4 * TIMEOUT)
    assert not thread.is_alive()
    assert not failures, failures


def rows(session: ge.Session, fields: list[str], where: ge.Condition | None = None) -> list[tuple[Any, ...]]:
    found = session.database.version().list("trades", fields, where)
    return sorted((None, *row.values()) for row in found.to_pylist())


def test_attaching_while_thousands_of_transactions_commit_loses_and_doubles_nothing(session: ge.Session) -> None:
    tables(session)
    fields, where = ["id", "qty", "cities.land"], ge.field("cities.land").isnull() | (ge.field("qty") > 100)
    attached: list[tuple[ge.Registration, Recorder]] = []
    with writing(session, COMMITS, seed=1):
        for number in range(4):
            recorder = Recorder(keep_states=False)
            attached.append(follow(session, fields, where if number % 2 else None, listener=recorder))
    for registration, recorder in attached:
        caught_up(session, registration)
        first, *later = recorder.told
        assert [told.epoch for told in later] == list(range(first.epoch + 1, session.epoch + 1))
    for number, (_, recorder) in enumerate(attached):
        assert sorted(recorder.rows["master"].elements(), key=repr) == sorted(
            rows(session, fields, where if number % 2 else None), key=repr
        )
    assert attached[0][1].told[0].epoch < session.epoch - 500, "it attached while the writer was at work"
    shared = session.database.streamer.statistics().views
    assert [view.listeners for view in shared] == [2, 2]


def test_every_epoch_is_told_as_it_was(session: ge.Session) -> None:
    tables(session)
    told: dict[int, int] = {}

    class Counting(Recorder):
        def transaction_committed(self, epoch: int) -> None:
            super().transaction_committed(epoch)
            told[epoch] = self.rows["master"].total()

    with writing(session, 500, seed=2) as counts:
        registration, _ = follow(session, ["id"], listener=Counting(keep_states=False))
    caught_up(session, registration)
    assert told == {epoch: count for epoch, count in counts.items() if epoch in told}
    assert max(told) == session.epoch


def test_coming_and_going_listeners_resume_without_a_gap(session: ge.Session) -> None:
    tables(session)
    known: dict[str, Any] = {}
    epoch: int | None = None
    told: list[int] = []
    with writing(session, 1_500, seed=3):
        for _ in range(20):
            recorder = Recorder(known, keep_states=False)
            registration, _ = follow(session, ["id", "cities.land"], listener=recorder, from_epoch=epoch)
            registration.wait_for(registration.epoch + 20, 0.5)
            registration.unregister()
            known, epoch = {"master": recorder.rows["master"].elements()}, registration.epoch
            told += [one.epoch for one in recorder.told if not one.info.initial]
    recorder = Recorder(known, keep_states=False)
    registration, last = follow(session, ["id", "cities.land"], listener=recorder, from_epoch=epoch)
    caught_up(session, registration)
    told += [one.epoch for one in last.told]
    assert told == list(range(told[0], session.epoch + 1))
    assert sorted(last.lines(), key=repr) == sorted(rows(session, ["id", "cities.land"]), key=repr)


def test_compaction_renumbers_what_streams_have_not_read_yet() -> None:
    """Rows that die and are reclaimed while listeners of all kinds are at work."""
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=20)) as session:
        tables(session)
        stopping = threading.Event()
        compacting = threading.Thread(target=_repeat, args=(session.compact, stopping))
        slow_entered, let_go = threading.Event(), threading.Event()

        class Slow(Recorder):
            def transaction_committed(self, epoch: int) -> None:
                super().transaction_committed(epoch)
                if len(self.told) == 5:
                    slow_entered.set()
                    assert let_go.wait(TIMEOUT)

        slow, listener = follow(session, ["id", "qty", "cities.land"], listener=Slow(keep_states=False))
        compacting.start()
        try:
            with writing(session, 800, seed=4):
                quick = Recorder(keep_states=False)
                registration, recorder = follow(session, ["id", "qty", "cities.land"], listener=quick)
                assert slow_entered.wait(TIMEOUT)
        finally:
            stopping.set()
            let_go.set()
            compacting.join(TIMEOUT)
        for one, heard in ((registration, recorder), (slow, listener)):
            caught_up(session, one)
            assert sorted(heard.lines(), key=repr) == sorted(rows(session, ["id", "qty", "cities.land"]), key=repr)
        assert session.statistics().last_compaction is not None


def _repeat(work: Callable[[], object], stopping: threading.Event) -> None:
    while not stopping.wait(0.02):
        work()
