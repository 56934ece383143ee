"""Listeners that fail, and those that take up the thread where it was lost."""

from __future__ import annotations

import pytest

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Boom, Failing, Recorder, caught_up, commit, ended, follow, known_at


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG}, keys=["id"])
    table.append((1, "Paris", 10), (2, "Rome", 20))
    return table


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
            session, listener=Recorder(known_at(failing, registration.epoch)), from_epoch=registration.epoch
        )
        caught_up(session, again)
        assert [told.epoch for told in recorder.told] == [4, 5, 6, 7]
        assert recorder.lines() == follow(session)[1].lines()


class TestResuming:
    def test_tells_what_came_after_the_epoch_and_no_initial_view(self, session: ge.Session, trades: ge.Table) -> None:
        following, first = follow(session)
        commit(trades, 5)
        trades.drop(keys=[2])
        caught_up(session, following)
        for epoch in range(session.epoch + 1):
            known = known_at(first, epoch) if epoch else {}
            registration, recorder = follow(session, listener=Recorder(known), from_epoch=epoch)
            caught_up(session, registration)
            assert [told.epoch for told in recorder.told] == list(range(epoch + 1, session.epoch + 1))
            assert not any(told.info.initial for told in recorder.told)
            assert len(recorder.lines()) == 1

    def test_goes_on_with_new_commits(self, session: ge.Session, trades: ge.Table) -> None:
        _, first = follow(session)
        registration, recorder = follow(session, listener=Recorder(known_at(first, 1)), from_epoch=1)
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

    def test_after_a_break_in_the_initial_view_begins_before_it(self, session: ge.Session, trades: ge.Table) -> None:
        listener = Failing("transaction_committed")
        registration = session.database.streamer.register(session.database.prepare.list("trades"), listener)
        assert ended(registration)
        assert registration.epoch == 0
        again, recorder = follow(session, from_epoch=registration.epoch)
        caught_up(session, again)
        assert recorder.lines() == [(None, 1, "Paris", 10), (None, 2, "Rome", 20)]

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
        with pytest.raises(ge.errors.EpochNotRetainedError, match="Readable epochs: 21 to 31") as refused:
            session.database.streamer.register(query, Recorder(), from_epoch=20)
        error = refused.value
        assert (error.code, error.epoch, error.oldest, error.head) == ("epoch_not_retained", 20, 21, 31)
        assert session.database.streamer.registrations == ()
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
