"""Registrations: attaching, sharing, failing, resuming, ending; and how much a listener can do to others (nothing)."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Recorder, caught_up, ended, follow


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG}, keys=["id"])
    table.append((1, "Paris", 10), (2, "Rome", 20))
    return table


class Blocking(Recorder):
    """Stands still in a call until it is let go."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.entered, self.let_go = threading.Event(), threading.Event()
        self._method, self._before = method, getattr(self, method)
        setattr(self, method, self._stand)

    def _stand(self, *arguments: Any) -> None:
        self._before(*arguments)
        self.entered.set()
        assert self.let_go.wait(TIMEOUT)


class Boom(Exception):
    code = "boom"


class Failing(Recorder):
    """Raises at the n-th call of a method."""

    def __init__(self, method: str, at: int = 1) -> None:
        super().__init__()
        self._left, self._before = at, getattr(self, method)
        setattr(self, method, self._raise)

    def _raise(self, *arguments: Any) -> None:
        self._left -= 1
        if not self._left:
            raise Boom("no more")
        self._before(*arguments)


@pytest.fixture
def blocked() -> Iterator[list[Blocking]]:
    """Listeners to let go when the test ends, however it ends."""
    listeners: list[Blocking] = []
    yield listeners
    for listener in listeners:
        listener.let_go.set()


def commit(table: ge.Table, times: int) -> None:
    for number in range(times):
        table.append((1, "Paris", 1000 + len(table) + number))


class TestAttaching:
    def test_gives_the_epoch_of_the_initial_view(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session)
        assert registration.attached.result(TIMEOUT) == session.epoch == recorder.last().epoch == registration.epoch

    def test_is_done_only_after_the_initial_view(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
    ) -> None:
        listener = Blocking("transaction_committed")
        blocked.append(listener)
        query = session.database.prepare.list("trades")
        registration = session.database.streamer.register(query, listener)
        assert listener.entered.wait(TIMEOUT)
        assert not registration.attached.done()
        listener.let_go.set()
        assert registration.attached.result(TIMEOUT) == session.epoch

    def test_returns_while_a_writer_is_in_the_middle_of_a_commit(self, session: ge.Session, trades: ge.Table) -> None:
        with session._database.writing():
            registration, recorder = _in_another_thread(lambda: follow(session))
            assert len(recorder.lines()) == 2
        commit(trades, 1)
        caught_up(session, registration)
        assert len(recorder.told) == 2

    def test_by_several_threads_at_once_works(self, session: ge.Session, trades: ge.Table) -> None:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(follow(session))) for _ in range(8)]
        for thread in threads:
            thread.start()
        commit(trades, 20)
        for thread in threads:
            thread.join(TIMEOUT)
        for registration, recorder in found:
            caught_up(session, registration)
            assert recorder.lines() == found[0][1].lines()
        assert len(session.database.streamer.registrations) == 8

    @pytest.mark.parametrize("limits", [{"limit": 5}, {"offset": 1}])
    def test_refuses_a_query_with_a_limit(self, session: ge.Session, trades: ge.Table, limits: dict[str, int]) -> None:
        query = session.database.prepare.list("trades", **limits)
        with pytest.raises(ge.errors.InvalidQueryError, match="limit or offset"):
            session.database.streamer.register(query, Recorder())

    def test_refuses_what_is_no_prepared_list(self, session: ge.Session, trades: ge.Table) -> None:
        for query in ("trades", session.database.prepare.get("trades"), None):
            with pytest.raises(ge.errors.InvalidQueryError, match=r"prepare\.list"):
                session.database.streamer.register(query, Recorder())  # type: ignore[arg-type]

    def test_refuses_a_query_of_another_session(self, session: ge.Session, trades: ge.Table) -> None:
        with ge.Session(backend="cpu") as other:
            other.create_table("trades", {"id": ge.LONG})
            query = other.database.prepare.list("trades")
            with pytest.raises(ge.errors.InvalidQueryError, match="not one of this session"):
                session.database.streamer.register(query, Recorder())

    def test_names_a_parameter_without_a_value(self, session: ge.Session, trades: ge.Table) -> None:
        query = session.database.prepare.list("trades", where=ge.field("city") == ge.param("town"))
        with pytest.raises(ge.errors.InvalidParameterError, match="'town' has no value"):
            session.database.streamer.register(query, Recorder())

    def test_refuses_an_unknown_branch(self, session: ge.Session, trades: ge.Table) -> None:
        query = session.database.prepare.list("trades")
        with pytest.raises(ge.errors.UnknownBranchError, match="nowhere"):
            session.database.streamer.register(query, Recorder(), ge.StreamOptions(branch="nowhere"))

    def test_leaves_nothing_behind_when_refused(self, session: ge.Session, trades: ge.Table) -> None:
        query = session.database.prepare.list("trades")
        with pytest.raises(ge.errors.EpochNotRetainedError):
            session.database.streamer.register(query, Recorder(), from_epoch=99)
        statistics = session.database.streamer.statistics()
        assert (statistics.registrations, statistics.views, statistics.registered_total) == ((), (), 0)


class TestEnding:
    def test_calls_the_listener_no_more(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session)
        registration.unregister()
        commit(trades, 3)
        registration.unregister()
        assert len(recorder.told) == 1
        assert not registration.active
        assert registration.error is None
        assert session.health().status == "ok"

    def test_may_be_asked_for_by_the_listener(self, session: ge.Session, trades: ge.Table) -> None:
        class Once(Recorder):
            def transaction_committed(self, epoch: int) -> None:
                super().transaction_committed(epoch)
                if len(self.told) == 2:
                    registration.unregister()

        registration, recorder = follow(session, listener=Once())
        commit(trades, 5)
        assert ended(registration)
        assert len(recorder.told) == 2

    def test_before_the_view_is_there_cancels_attaching(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
    ) -> None:
        listener = Blocking("records_added")
        blocked.append(listener)
        registration = session.database.streamer.register(session.database.prepare.list("trades"), listener)
        assert listener.entered.wait(TIMEOUT)
        threading.Timer(0.05, listener.let_go.set).start()
        registration.unregister()
        with pytest.raises(CancelledError):
            registration.attached.result(TIMEOUT)
        assert listener.told == []

    def test_comes_with_the_session(self, trades: ge.Table, session: ge.Session) -> None:
        registration, _ = follow(session)
        session.close()
        assert not registration.active
        assert registration.error is None
        assert not [thread for thread in threading.enumerate() if thread.name == registration.name]
        with pytest.raises(ge.errors.SessionClosedError):
            session.database.streamer.register(session.database.prepare.list("trades"), Recorder())


class TestSharing:
    def test_equal_queries_have_one_view_evaluated_once_per_commit(self, session: ge.Session, trades: ge.Table) -> None:
        where = ge.field("city").isin(["Paris", "Rome"])
        found = [follow(session, ["id", "qty"], where) for _ in range(5)]
        commit(trades, 40)
        for registration, recorder in found:
            caught_up(session, registration)
            assert recorder.lines() == found[0][1].lines()
        (view,) = session.database.streamer.statistics().views
        assert (view.listeners, view.evaluations, view.fields) == (5, 40, ("id", "qty"))

    def test_different_queries_have_different_views(self, session: ge.Session, trades: ge.Table) -> None:
        condition = ge.field("qty") > 5
        for where, fields, options in [
            (None, ["id"], {}),
            (condition, ["id"], {}),
            (ge.field("qty") > 6, ["id"], {}),
            (condition, ["id", "qty"], {}),
            (condition, ["id"], {"dictionarized": True}),
            (condition, ["id"], {"branch": "master"}),
        ]:
            follow(session, fields, where, **options)
        assert [view.listeners for view in session.database.streamer.statistics().views] == [1, 2, 1, 1, 1]

    def test_a_view_goes_with_its_last_listener(self, session: ge.Session, trades: ge.Table) -> None:
        first, _ = follow(session)
        second, _ = follow(session)
        view = weakref.ref(first.view)
        first.unregister()
        assert [view.listeners for view in session.database.streamer.statistics().views] == [1]
        second.unregister()
        assert session.database.streamer.statistics().views == ()
        del first, second
        gc.collect()
        assert view() is None

    def test_listeners_far_apart_hear_the_same(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
    ) -> None:
        slow = Blocking("transaction_committed")
        blocked.append(slow)
        behind = session.database.streamer.register(session.database.prepare.list("trades"), slow)
        assert slow.entered.wait(TIMEOUT)
        registration, recorder = follow(session)
        commit(trades, 300)
        caught_up(session, registration)
        slow.let_go.set()
        caught_up(session, behind)
        assert [told.calls for told in slow.told[1:]] == [told.calls for told in recorder.told[1:]]


class TestFailing:
    @pytest.mark.parametrize(
        "method", ["transaction_started", "records_added", "records_updated", "transaction_committed"]
    )
    def test_ends_that_registration_and_nothing_else(self, session: ge.Session, trades: ge.Table, method: str) -> None:
        other, recorder = follow(session)
        failing = Failing(method, at=1 if method == "records_updated" else 2)
        registration, _ = follow(session, listener=failing)
        with session.start_transaction() as transaction:
            trades.append((3, "Oslo", 30), (1, "Paris", 11))
        assert transaction.report.epoch == 2
        assert ended(registration)
        assert isinstance(registration.error, Boom)
        assert failing.failure is registration.error
        commit(trades, 2)
        caught_up(session, other)
        assert len(recorder.told) == 4
        assert len(session.database.streamer.registrations) == 1

    def test_shows_in_health_and_statistics(self, session: ge.Session, trades: ge.Table) -> None:
        registration, _ = follow(session, listener=Failing("records_updated"))
        commit(trades, 1)
        assert ended(registration)
        (failure,) = session.health().failures
        assert (failure.component, failure.code, failure.message) == (registration.name, "boom", "no more")
        statistics = registration.statistics()
        assert (statistics.active, statistics.error, statistics.epoch) == (False, "no more", 1)
        assert session.statistics().streams.failures_total == 1
        session.clear_failure(registration.name)
        assert session.health().status == "ok"

    def test_in_the_initial_view_fails_attaching(self, session: ge.Session, trades: ge.Table) -> None:
        query = session.database.prepare.list("trades")
        registration = session.database.streamer.register(query, Failing("records_added"))
        with pytest.raises(Boom):
            registration.attached.result(TIMEOUT)

    def test_in_on_self_failure_shows_both(self, session: ge.Session, trades: ge.Table) -> None:
        class Hopeless(Failing):
            def on_self_failure(self, error: BaseException) -> None:
                raise Boom("not even this")

        registration, _ = follow(session, listener=Hopeless("records_updated"))
        commit(trades, 1)
        assert ended(registration)
        assert [failure.message for failure in session.health().failures] == ["no more", "not even this"]

    def test_can_be_made_good_by_resuming(self, session: ge.Session, trades: ge.Table) -> None:
        registration, failing = follow(session, listener=Failing("records_updated", at=3))
        commit(trades, 6)
        assert ended(registration)
        assert registration.epoch == 3
        again, recorder = follow(
            session, listener=Recorder(_states(failing, registration.epoch)), from_epoch=registration.epoch
        )
        caught_up(session, again)
        assert [told.epoch for told in recorder.told] == [4, 5, 6, 7]
        assert recorder.lines() == follow(session)[1].lines()


class TestResuming:
    def test_tells_what_came_after_the_epoch_and_no_initial_view(self, session: ge.Session, trades: ge.Table) -> None:
        _, first = follow(session)
        commit(trades, 5)
        trades.drop(keys=[2])
        for epoch in range(session.epoch + 1):
            known = _states(first, epoch) if epoch else {}
            registration, recorder = follow(session, listener=Recorder(known), from_epoch=epoch)
            caught_up(session, registration)
            assert [told.epoch for told in recorder.told] == list(range(epoch + 1, session.epoch + 1))
            assert not any(told.info.initial for told in recorder.told)
            assert len(recorder.lines()) == 1

    def test_goes_on_with_new_commits(self, session: ge.Session, trades: ge.Table) -> None:
        _, first = follow(session)
        registration, recorder = follow(session, listener=Recorder(_states(first, 1)), from_epoch=1)
        commit(trades, 2)
        caught_up(session, registration)
        assert [told.epoch for told in recorder.told] == [2, 3]

    def test_finds_changes_through_joins_that_nobody_followed(self, session: ge.Session, trades: ge.Table) -> None:
        cities = session.create_table("cities", {"name": ge.STRING, "land": ge.STRING}, keys=["name"])
        trades.join(cities, on={"city": "name"})
        epoch = session.epoch
        cities.append(("Paris", "France"))
        cities.append(("Rome", "Italy"), ("Oslo", "Norway"))
        trades.append((3, "Oslo", 30))
        known = {"master": [(None, 1, None), (None, 2, None)]}
        registration, recorder = follow(session, ["id", "cities.land"], listener=Recorder(known), from_epoch=epoch)
        caught_up(session, registration)
        assert recorder.lines() == [(None, 1, "France"), (None, 2, "Italy"), (None, 3, "Norway")]

    @pytest.mark.parametrize("epoch", [-1, 2, 10**9])
    def test_from_an_epoch_that_is_not_there_names_those_that_are(
        self, session: ge.Session, trades: ge.Table, epoch: int
    ) -> None:
        query = session.database.prepare.list("trades")
        with pytest.raises(ge.errors.EpochNotRetainedError, match="Readable epochs: 0 to 1"):
            session.database.streamer.register(query, Recorder(), from_epoch=epoch)

    def test_from_an_epoch_that_the_log_has_dropped_is_refused(self, session: ge.Session, trades: ge.Table) -> None:
        session.database.streamer.retain(10, 1 << 20)
        commit(trades, 30)
        query = session.database.prepare.list("trades")
        with pytest.raises(ge.errors.EpochNotRetainedError, match="Readable epochs: 21 to 31"):
            session.database.streamer.register(query, Recorder(), from_epoch=20)
        registration, recorder = follow(
            session, listener=Recorder({"master": [(None, 1, "Paris", 1021), (None, 2, "Rome", 20)]}), from_epoch=21
        )
        caught_up(session, registration)
        assert len(recorder.told) == 10

    def test_follows_what_retention_keeps(self, trades: ge.Table) -> None:
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=5)) as session:
            table = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG}, keys=["id"])
            commit(table, 50)
            oldest = session.compact().oldest_epoch
            assert oldest == 45
            query = session.database.prepare.list("trades")
            with pytest.raises(ge.errors.EpochNotRetainedError):
                session.database.streamer.register(query, Recorder(), from_epoch=oldest - 1)
            known = {
                "master": [
                    (None, *row.values()) for row in query.run(session.database.version(epoch=oldest)).to_pylist()
                ]
            }
            registration, recorder = follow(session, listener=Recorder(known), from_epoch=oldest)
            caught_up(session, registration)
            assert [told.epoch for told in recorder.told] == [46, 47, 48, 49, 50]


class TestBlocking:
    def test_never_delays_the_writer_and_keeps_memory_bounded(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
    ) -> None:
        listener = Blocking("transaction_committed")
        blocked.append(listener)
        session.database.streamer.retain(50, 1 << 20)
        registration = session.database.streamer.register(session.database.prepare.list("trades"), listener)
        assert listener.entered.wait(TIMEOUT)
        commit(trades, 400)
        statistics = session.database.streamer.statistics()
        assert statistics.log.transactions == 50
        assert statistics.registrations[0].lag == 400
        listener.let_go.set()
        assert ended(registration)
        assert isinstance(registration.error, ge.errors.EpochNotRetainedError)
        assert isinstance(listener.failure, ge.errors.EpochNotRetainedError)
        assert registration.error.epoch == 1

    def test_in_the_middle_of_a_large_transaction_reads_the_rows_of_that_moment(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
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

    def test_does_not_hold_up_other_listeners(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
    ) -> None:
        listener = Blocking("records_updated")
        blocked.append(listener)
        follow(session, listener=listener)
        registration, recorder = follow(session)
        commit(trades, 20)
        caught_up(session, registration)
        assert len(recorder.told) == 21
        assert listener.entered.is_set()


class TestStatistics:
    def test_count_what_was_told(self, session: ge.Session, trades: ge.Table) -> None:
        registration, _ = follow(session)
        with session.start_transaction():
            trades.append((3, "Oslo", 30), (1, "Paris", 11))
            trades.drop(keys=[2])
        caught_up(session, registration)
        statistics = registration.statistics()
        assert statistics.rows == {
            "truncate": 0,
            "partition_dropped": 0,
            "records_deleted": 1,
            "records_updated": 1,
            "records_added": 3,
        }
        assert (statistics.epoch, statistics.lag, statistics.transactions) == (2, 0, 2)
        assert (statistics.attached, statistics.active, statistics.error) == (True, True, None)

    def test_of_the_streamer_are_part_of_the_sessions(self, session: ge.Session, trades: ge.Table) -> None:
        registration, _ = follow(session)
        streams = session.statistics().streams
        assert [one.name for one in streams.registrations] == [registration.name]
        assert (streams.log.since, streams.log.epoch, streams.registered_total) == (0, 1, 1)

    @pytest.mark.parametrize("limits", [(0, 1), (1, 0), (-1, 5)])
    def test_limits_of_the_log_must_be_positive(self, session: ge.Session, limits: tuple[int, int]) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match="greater than 0"):
            session.database.streamer.retain(*limits)


def _in_another_thread(work: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(TIMEOUT)
    assert found, "it waits for the writer"
    return found[0]


def _states(recorder: Recorder, epoch: int) -> dict[str, list[Any]]:
    return {branch: list(lines.elements()) for (branch, at), lines in recorder.states.items() if at == epoch}
