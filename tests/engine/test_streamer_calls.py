"""What a listener is told of one transaction: which rows, in which calls, in which order."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.streams import Recorder, Told, caught_up, follow

ID, CITY, QTY = "id", "city", "qty"


class Desk:
    """Trades of three cities, joined to cities, countries behind them."""

    def __init__(self, session: ge.Session) -> None:
        self.session = session
        self.trades = session.create_table(
            "trades", {"id": ge.LONG, "city": ge.STRING, "qty": ge.LONG, "note": ge.STRING}, keys=["id"]
        )
        self.cities = session.create_table("cities", {"name": ge.STRING, "land": ge.STRING}, keys=["name"])
        self.lands = session.create_table("lands", {"land": ge.STRING, "zone": ge.STRING}, keys=["land"])
        self.trades.join(self.cities, on={"city": "name"}, name="place")
        self.cities.join(self.lands, on={"land": "land"}, name="country")
        with session.start_transaction():
            self.lands.append(("France", "west"), ("Italy", "south"))
            self.cities.append(("Paris", "France"), ("Rome", "Italy"))
            self.trades.append((1, "Paris", 10, "a"), (2, "Rome", 20, "b"), (3, "Oslo", 30, "c"))

    def told(self, recorder: Recorder, registration: ge.Registration) -> Told:
        caught_up(self.session, registration)
        return recorder.last()


@pytest.fixture
def desk(session: ge.Session) -> Desk:
    return Desk(session)


class TestInitialView:
    def test_is_one_transaction_with_all_rows_as_added(self, session: ge.Session, desk: Desk) -> None:
        _, recorder = follow(session, [ID, QTY])
        (told,) = recorder.told
        assert told.info == ge.TransactionInfo("master", 1, (), initial=True)
        assert told.calls == [("records_added", None, [(1, 10), (2, 20), (3, 30)])]
        assert told.end == "transaction_committed"

    def test_holds_only_rows_of_the_condition(self, session: ge.Session, desk: Desk) -> None:
        _, recorder = follow(session, [ID], ge.field("place.country.zone") == "south")
        assert recorder.lines() == [(None, 2)]

    def test_of_no_rows_is_an_empty_transaction(self, session: ge.Session, desk: Desk) -> None:
        _, recorder = follow(session, [ID], ge.field("qty") > 1000)
        assert [(told.calls, told.end) for told in recorder.told] == [([], "transaction_committed")]

    def test_is_left_out_on_request(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID], send_initial_view=False)
        assert recorder.told == []
        desk.trades.append((4, "Rome", 40, "d"))
        assert desk.told(recorder, registration).calls == [("records_added", None, [(4,)])]

    def test_comes_in_batches(self, session: ge.Session, desk: Desk) -> None:
        count = 70_000
        ids = pa.array(range(10, 10 + count), pa.int64())
        desk.trades.load_arrow(pa.table({"id": ids, "qty": ids}))
        _, recorder = follow(session, [ID])
        assert len(recorder.last().calls) > 1
        assert len(recorder.lines()) == count + 3


class TestOneTransaction:
    def test_tells_deleted_then_updated_then_added(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, CITY, QTY])
        with session.start_transaction() as transaction:
            desk.trades.append((4, "Rome", 40, "d"))
            desk.trades.update([{"id": 1, "qty": 11}])
            desk.trades.drop(keys=[2])
        told = desk.told(recorder, registration)
        assert told.calls == [
            ("records_deleted", None, [(2, "Rome", 20)]),
            ("records_updated", None, [(1, "Paris", 10)], [(1, "Paris", 11)]),
            ("records_added", None, [(4, "Rome", 40)]),
        ]
        assert told.info == ge.TransactionInfo("master", transaction.report.epoch, ("trades",))

    def test_says_nothing_of_rows_whose_fields_do_not_change(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, QTY])
        desk.trades.append((1, "Rome", 10, "moved"), (2, "Rome", 21, "b"))
        assert desk.told(recorder, registration).calls == [("records_updated", None, [(2, 20)], [(2, 21)])]

    def test_that_touches_no_row_of_the_query_is_told_empty(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, QTY])
        desk.lands.append(("Norway", "north"))
        told = desk.told(recorder, registration)
        assert (told.info.tables, told.calls, told.end) == (("lands",), [], "transaction_committed")

    def test_that_changes_nothing_is_not_told(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, QTY])
        desk.trades.append((1, "Paris", 10, "a"))
        desk.trades.append((1, "Paris", 12, "a"))
        desk.told(recorder, registration)
        assert [told.epoch for told in recorder.told] == [1, 2]

    def test_the_last_of_several_operations_on_a_row_counts(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, QTY])
        with session.start_transaction():
            desk.trades.append((4, "Rome", 40, "d"))
            desk.trades.drop(keys=[1, 4])
            desk.trades.append((1, "Paris", 10, "a"), (2, "Rome", 1, "b"), (2, "Rome", 2, "b"))
        assert desk.told(recorder, registration).calls == [("records_updated", None, [(2, 20)], [(2, 2)])]

    def test_of_very_many_rows_is_told_in_several_calls(self, session: ge.Session, desk: Desk) -> None:
        count = 70_000
        registration, recorder = follow(session, [ID, QTY])
        ids = pa.array(range(10, 10 + count), pa.int64())
        desk.trades.load_arrow(pa.table({"id": ids, "qty": ids}))
        desk.trades.load_arrow(pa.table({"id": ids, "qty": pa.array(range(count), pa.int64())}))
        desk.trades.drop(ge.field("id") > 9)
        caught_up(session, registration)
        added, updated, deleted = recorder.told[1:]
        assert added.rows("records_added") == [(None, number, number) for number in range(10, 10 + count)]
        assert updated.rows("records_updated", 3) == [(None, number + 10, number) for number in range(count)]
        assert len(deleted.rows("records_deleted")) == count
        assert all(len(told.calls) > 1 for told in (added, updated, deleted))
        assert len(recorder.lines()) == 3


class TestCondition:
    def test_a_row_that_enters_is_added_and_one_that_leaves_is_deleted(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID], ge.field("qty") >= 20)
        desk.trades.update([{"id": 1, "qty": 25}, {"id": 2, "qty": 5}])
        assert desk.told(recorder, registration).calls == [
            ("records_deleted", None, [(2,)]),
            ("records_added", None, [(1,)]),
        ]

    def test_a_row_that_stays_and_changes_only_in_the_condition_is_not_told(
        self, session: ge.Session, desk: Desk
    ) -> None:
        registration, recorder = follow(session, [ID], ge.field("qty") >= 20)
        desk.trades.update([{"id": 2, "qty": 99}])
        assert desk.told(recorder, registration).calls == []

    def test_a_changed_dimension_row_moves_its_facts(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, "place.land"], ge.field("place.country.zone") == "south")
        desk.lands.append(("France", "south"))
        assert desk.told(recorder, registration).calls == [("records_added", None, [(1, "France")])]
        desk.cities.append(("Paris", "Italy"))
        assert desk.told(recorder, registration).calls == [("records_updated", None, [(1, "France")], [(1, "Italy")])]
        desk.cities.drop(keys=["Rome"])
        assert desk.told(recorder, registration).calls == [("records_deleted", None, [(2, "Italy")])]

    def test_a_dimension_row_that_arrives_late_updates_its_facts(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, "place.land", "place.country.zone"])
        desk.cities.append(("Oslo", "Norway"))
        assert desk.told(recorder, registration).calls == [
            ("records_updated", None, [(3, None, None)], [(3, "Norway", None)])
        ]

    def test_fact_and_dimension_in_one_transaction_are_seen_together(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, QTY, "place.land"])
        with session.start_transaction():
            desk.trades.append((3, "Bern", 31, "c"), (4, "Bern", 40, "d"))
            desk.cities.append(("Bern", "Swiss"), ("Rome", "Latium"))
        assert desk.told(recorder, registration).calls == [
            (
                "records_updated",
                None,
                [(3, 30, None), (2, 20, "Italy")],
                [(3, 31, "Swiss"), (2, 20, "Latium")],
            ),
            ("records_added", None, [(4, 40, "Swiss")]),
        ]

    def test_a_prepared_parameter_is_assigned_first(self, session: ge.Session, desk: Desk) -> None:
        query = session.database.prepare.list("trades", [ID], ge.field("city") == ge.param("city"))
        recorder = Recorder()
        registration = session.database.streamer.register(query.assign(city="Rome"), recorder)
        desk.trades.append((4, "Rome", 40, "d"), (5, "Paris", 50, "e"))
        caught_up(session, registration)
        assert recorder.lines() == [(None, 2), (None, 4)]


class TestTruncate:
    def test_is_one_call(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID])
        desk.trades.truncate()
        assert desk.told(recorder, registration).calls == [("truncate", None)]
        assert recorder.lines() == []

    def test_with_a_reload_tells_all_rows_that_are_there_now_as_added(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, QTY], ge.field("qty") < 50)
        with session.start_transaction():
            desk.trades.truncate()
            desk.trades.append((1, "Paris", 10, "a"), (2, "Rome", 21, "b"), (9, "Rome", 90, "z"))
        told = desk.told(recorder, registration)
        assert told.names() == ["truncate", "records_added"]
        assert sorted(told.rows("records_added")) == [(None, 1, 10), (None, 2, 21)]

    def test_after_another_operation_tells_the_rows(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID])
        with session.start_transaction():
            desk.trades.append((4, "Rome", 40, "d"))
            desk.trades.truncate()
        assert desk.told(recorder, registration).calls == [("records_deleted", None, [(1,), (2,), (3,)])]

    def test_of_an_empty_table_before_a_load_is_not_told(self, session: ge.Session, desk: Desk) -> None:
        desk.trades.truncate()
        registration, recorder = follow(session, [ID])
        with session.start_transaction():
            desk.trades.truncate()
            desk.trades.append((4, "Rome", 40, "d"))
        assert desk.told(recorder, registration).calls == [("records_added", None, [(4,)])]

    def test_of_a_dimension_updates_the_facts(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, "place.land"])
        desk.cities.truncate()
        assert desk.told(recorder, registration).calls == [
            ("records_updated", None, [(1, "France"), (2, "Italy")], [(1, None), (2, None)])
        ]


class TestRollback:
    def test_of_a_block_tells_started_and_rolled_back(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID])
        with pytest.raises(RuntimeError, match="changed my mind"), session.start_transaction():
            desk.trades.append((4, "Rome", 40, "d"))
            desk.cities.append(("Bern", "Swiss"))
            raise RuntimeError("changed my mind")
        desk.trades.drop(keys=[3])
        caught_up(session, registration)
        rolled_back, after = recorder.told[1:]
        assert (rolled_back.end, rolled_back.calls) == ("transaction_rolled_back", [])
        assert rolled_back.info == ge.TransactionInfo("master", 2, ("cities", "trades"))
        assert (after.epoch, after.calls) == (2, [("records_deleted", None, [(3,)])])

    def test_of_a_commit_tells_the_same(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID])
        with pytest.raises(ge.errors.InvalidRowError), session.start_transaction():
            desk.trades.append((4, "Rome", 40, "d"))
            desk.trades.update([{"id": 99, "qty": 1}])
        desk.trades.drop(keys=[3])
        caught_up(session, registration)
        assert [told.end for told in recorder.told[1:]] == ["transaction_rolled_back", "transaction_committed"]
        assert recorder.lines() == [(None, 1), (None, 2)]


class TestBatches:
    def test_have_the_fields_of_the_query_in_order(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, ["qty", "place.land", "id"])
        desk.trades.append((4, "Rome", None, "d"))
        caught_up(session, registration)
        types = [("qty", pa.int64()), ("place.land", pa.string()), ("id", pa.int64())]
        assert recorder.schemas == {pa.schema(types)}
        assert recorder.last().calls == [("records_added", None, [(None, "Italy", 4)])]

    def test_stay_as_they_were_when_rows_change_later(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, CITY, QTY])
        for number in range(50):
            desk.trades.append((1, f"city {number}", number, "a"))
        caught_up(session, registration)
        first = recorder.batches[0].to_pylist()
        desk.trades.truncate()
        session.compact()
        for number in range(1500):
            desk.trades.append((number, "again", number, "a"))
        caught_up(session, registration)
        assert (
            recorder.batches[0].to_pylist()
            == first
            == [
                {"id": 1, "city": "Paris", "qty": 10},
                {"id": 2, "city": "Rome", "qty": 20},
                {"id": 3, "city": "Oslo", "qty": 30},
            ]
        )

    def test_carry_codes_and_the_dictionary_on_request(self, session: ge.Session, desk: Desk) -> None:
        registration, recorder = follow(session, [ID, CITY, "place.land"], dictionarized=True)
        desk.trades.append((4, "Bern", 40, "d"), (5, None, 50, "e"))
        caught_up(session, registration)
        codes = pa.dictionary(pa.int32(), pa.string())
        assert {tuple(schema.types) for schema in recorder.schemas} == {(pa.int64(), codes, codes)}
        assert recorder.lines()[3:] == [(None, 4, "Bern", None), (None, 5, None, None)]
        first, last = recorder.batches[0]["city"], recorder.batches[-1]["city"]
        assert last.dictionary.to_pylist() == ["Paris", "Rome", "Oslo", "Bern"], "the table's own dictionary"
        assert last.dictionary[: len(first.dictionary)].equals(first.dictionary), "codes stay as they are"

    def test_hold_values_of_every_type(self, session: ge.Session) -> None:
        types = {
            "id": ge.INT,
            "flag": ge.BOOLEAN,
            "real": ge.DOUBLE,
            "price": ge.DECIMAL(10, 2),
            "day": ge.LOCAL_DATE,
            "at": ge.TIMESTAMP,
            "pair": ge.VECTOR(2),
        }
        table = session.create_table("trades", types, keys=["id"])
        registration, recorder = follow(session)
        full = {"id": 1, "flag": True, "real": 0.5, "price": "1.25", "day": "2024-05-01", "at": "2024-05-01T10:00:00"}
        table.append({**full, "pair": [1.0, 2.0]}, {"id": 2})
        table.append({**full, "pair": [1.0, 2.0]}, {"id": 2, "real": float("nan")})
        table.append({**full, "pair": [1.0, 3.0]}, {"id": 2, "real": float("nan")})
        caught_up(session, registration)
        assert recorder.told[1].rows("records_added")[1] == (None, 2, *[None] * 6)
        assert len(recorder.told[2].rows("records_updated")) == 1
        assert recorder.told[3].rows("records_updated", 3) == [
            (None, 1, True, 0.5, *recorder.told[1].rows("records_added")[0][4:7], (1.0, 3.0))
        ]
        assert recorder.told[1].rows("records_added")[0][5] == dt.date(2024, 5, 1)


def test_a_listener_may_lack_methods(session: ge.Session, desk: Desk) -> None:
    class OnlyAdded:
        def __init__(self) -> None:
            self.ids: list[int] = []

        def records_added(self, partition: object, rows: pa.RecordBatch) -> None:
            self.ids += rows["id"].to_pylist()

    registration, listener = follow(session, [ID], listener=OnlyAdded())
    desk.trades.drop(keys=[1])
    desk.trades.append((4, "Rome", 40, "d"))
    caught_up(session, registration)
    assert listener.ids == [1, 2, 3, 4]


def test_the_base_listener_does_nothing(session: ge.Session, desk: Desk) -> None:
    registration, _ = follow(session, [ID], listener=ge.StreamListener())
    with session.start_transaction():
        desk.trades.append((1, "Rome", 40, "d"), (4, "Rome", 40, "d"))
        desk.trades.drop(keys=[2])
    desk.trades.truncate()
    caught_up(session, registration)
    assert registration.statistics().rows["records_added"] == 4


def test_a_table_without_a_key_is_followed_too(session: ge.Session) -> None:
    table = session.create_table("trades", {"city": ge.STRING})
    registration, recorder = follow(session)
    table.append(("Rome",), ("Rome",))
    table.append(("Rome",), ("Paris",))
    table.drop(ge.field("city") == "Paris")
    caught_up(session, registration)
    assert recorder.lines() == [(None, "Rome")] * 3
    assert recorder.last().calls == [("records_deleted", None, [("Paris",)])]
