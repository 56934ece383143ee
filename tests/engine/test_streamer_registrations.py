"""Registrations: attaching, ending and sharing, and the figures that tell of them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Blocking, Recorder, caught_up, commit, ended, follow


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG}, keys=["id"])
    table.append((1, "Paris", 10), (2, "Rome", 20))
    return table


@pytest.fixture
def blocked() -> Iterator[list[Blocking]]:
    """Listeners to let go when the test ends, however it ends."""
    listeners: list[Blocking] = []
    yield listeners
    for listener in listeners:
        listener.let_go.set()


class TestAttaching:
    def test_gives_the_epoch_of_the_initial_view(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session)
        assert registration.attached.result(TIMEOUT) == session.epoch == recorder.last().epoch == registration.epoch

    def test_asks_for_all_branches_as_text_with_an_initial_view_by_default(self) -> None:
        assert ge.StreamOptions() == ge.StreamOptions(send_initial_view=True, branch=None, dictionarized=False)

    def test_is_done_only_after_the_initial_view(
        self, session: ge.Session, trades: ge.Table, blocked: list[Blocking]
    ) -> None:
        listener = Blocking("transaction_committed")
        blocked.append(listener)
        query = session.database.prepare.list("trades")
        registration = session.database.streamer.register(query, listener)
        assert listener.entered.wait(TIMEOUT)
        assert not registration.attached.done()
        assert registration.epoch == 0
        assert not registration.wait_for(session.epoch, 0.01)
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
