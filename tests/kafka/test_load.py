"""From a topic into tables: what becomes of messages, in which portions, from where."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker

GOLDEN = {
    "AsOfDate": "2020-07-09",
    "TradeId": "New_Trd_Test",
    "Ticker": "OXY",
    "Book": "EQ_VOL_HED",
    "Product": "EQ_Option",
    "Quantity": 45,
    "Strike": -31.41,
    "Maturity": "2022-10-01",
    "OptionType": "put",
    "MarketValue": 89.43,
}
Eventually = Callable[[Callable[[], object]], None]


def rows(table: ge.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_arrow().to_pylist()
    return sorted(found, key=str)


def trade(number: int, desk: str = "A") -> dict[str, Any]:
    return {"id": number, "desk": desk, "price": number / 2}


def test_json_objects_become_rows(broker: Broker, trades: ge.Table) -> None:
    topic = broker.topic()
    broker.send(topic, map(trade, range(1000)))
    load = trades.load_kafka(**broker.load(topic))
    assert load.wait(60)
    assert sorted(rows(trades), key=lambda row: row["id"]) == [trade(number) for number in range(1000)]
    assert load.error is None and load.state == "running"


def test_the_golden_message_feeds_trades_and_sensitivities(broker: Broker, session: ge.Session) -> None:
    trades = session.create_table(
        "Trades",
        types={
            "AsOfDate": ge.LOCAL_DATE,
            "TradeId": ge.STRING,
            "Book": ge.STRING,
            "Product": ge.STRING,
            "Quantity": ge.DOUBLE,
            "Strike": ge.DOUBLE,
            "Maturity": ge.LOCAL_DATE,
            "OptionType": ge.STRING,
        },
        keys=["AsOfDate", "TradeId"],
    )
    sensitivities = session.create_table(
        "Sensitivities",
        types={
            "AsOfDate": ge.LOCAL_DATE,
            "TradeId": ge.STRING,
            "RiskFactor": ge.STRING,
            "MarketValue": ge.DOUBLE,
            "Delta": ge.DOUBLE,
        },
        keys=["AsOfDate", "TradeId", "RiskFactor"],
        defaults={"Delta": 0.0},
    )

    def trade_of(record: ge.kafka.Record) -> Mapping[str, Any]:
        found = record.json()
        return {name: found[name] for name in trades.columns}

    def sensitivity_of(record: ge.kafka.Record) -> Mapping[str, Any]:
        found = record.json()
        kept = {name: found[name] for name in ("AsOfDate", "TradeId", "MarketValue")}
        return {**kept, "RiskFactor": found["Ticker"]}

    topic = broker.topic()
    broker.send(topic, [GOLDEN])
    load = session.load_kafka(routes={trades: trade_of, "Sensitivities": sensitivity_of}, **broker.load(topic))
    assert load.wait(60)
    [trade_row] = trades.to_arrow().to_pylist()
    assert {**trade_row, "AsOfDate": str(trade_row["AsOfDate"]), "Maturity": str(trade_row["Maturity"])} == {
        name: GOLDEN[name] for name in trades.columns
    }
    [row] = sensitivities.to_arrow().to_pylist()
    assert {**row, "AsOfDate": str(row["AsOfDate"])} == {
        "AsOfDate": "2020-07-09",
        "TradeId": "New_Trd_Test",
        "RiskFactor": "OXY",
        "MarketValue": 89.43,
        "Delta": 0.0,
    }


def test_a_batch_is_one_transaction_over_all_its_tables(broker: Broker, session: ge.Session) -> None:
    left = session.create_table("left", types={"n": ge.LONG})
    right = session.create_table("right", types={"n": ge.LONG})
    topic = broker.topic()
    broker.send(topic, [{"n": number} for number in range(500)])
    load = session.load_kafka(routes={left: None, right: None}, **broker.load(topic, batch_size=50))
    assert load.wait(60)
    assert session.epoch == load.statistics().batches_total >= 10
    for epoch in range(1, session.epoch + 1):
        version = session.database.version(epoch=epoch)
        assert version.statistics("left").row_count == version.statistics("right").row_count


def test_a_deserializer_may_skip_and_may_give_several_rows(broker: Broker, trades: ge.Table) -> None:
    def legs(record: ge.kafka.Record) -> Iterator[dict[str, Any]] | None:
        found = record.json()
        if found["price"] > 3:
            return None
        return ({**found, "id": 10 * found["id"] + leg} for leg in range(2))

    topic = broker.topic()
    broker.send(topic, map(trade, range(10)))
    assert trades.load_kafka(**broker.load(topic, deserializer=legs)).wait(60)
    assert sorted(row["id"] for row in rows(trades)) == [10 * number + leg for number in range(7) for leg in range(2)]


def test_a_deserializer_sees_key_headers_and_place(broker: Broker, session: ge.Session) -> None:
    table = session.create_table("places", types={"key": ge.STRING, "partition": ge.LONG, "offset": ge.LONG})
    topic = broker.topic(partitions=2)
    broker.send(topic, [b"x", b"y"], partition=1, key="k")

    def place(record: ge.kafka.Record) -> dict[str, Any]:
        assert record.topic == topic and record.timestamp and record.text() in "xy"
        return {"key": (record.key or b"").decode(), "partition": record.partition, "offset": record.offset}

    assert table.load_kafka(**broker.load(topic, deserializer=place)).wait(60)
    assert rows(table) == [{"key": "k", "partition": 1, "offset": offset} for offset in range(2)]


def test_a_tombstone_ends_the_row_of_its_key(broker: Broker, trades: ge.Table) -> None:
    topic = broker.topic()
    broker.send(topic, map(trade, range(4)))
    broker.send(topic, [None], key="1")
    broker.send(topic, [None], key=json.dumps({"id": 2}))
    broker.send(topic, [None], key="3")
    broker.send(topic, [trade(3, "again")])
    broker.send(topic, [None], key="77")
    assert trades.load_kafka(**broker.load(topic)).wait(60)
    assert rows(trades) == [trade(0), trade(3, "again")]


def test_a_tombstone_with_a_number_ends_the_row_of_a_text_key(broker: Broker, session: ge.Session) -> None:
    table = session.create_table("texts", types={"id": ge.STRING, "n": ge.LONG}, keys=["id"])
    topic = broker.topic()
    broker.send(topic, [{"id": "42", "n": 1}, {"id": "43", "n": 2}])
    broker.send(topic, [None], key="42")
    assert table.load_kafka(**broker.load(topic)).wait(60)
    assert rows(table) == [{"id": "43", "n": 2}]


def test_a_deserializer_may_treat_tombstones_itself(broker: Broker, trades: ge.Table) -> None:
    class Marking:
        def __call__(self, record: ge.kafka.Record) -> dict[str, Any]:
            return dict(record.json())

        def tombstone(self, record: ge.kafka.Record) -> dict[str, Any]:
            return {"id": int(record.key or b"0"), "desk": "gone"}

    topic = broker.topic()
    broker.send(topic, [trade(1)])
    broker.send(topic, [None], key="1")
    assert trades.load_kafka(**broker.load(topic, deserializer=Marking())).wait(60)
    assert rows(trades) == [{"id": 1, "desk": "gone", "price": None}]


def test_a_batch_has_at_most_its_size(broker: Broker, trades: ge.Table) -> None:
    topic = broker.topic()
    broker.send(topic, map(trade, range(98)))
    load = trades.load_kafka(**broker.load(topic, batch_size=7, batch_duration=50))
    assert load.wait(60)
    assert load.statistics().batches_total == 98 // 7 and len(trades) == 98


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    sleep = staticmethod(time.sleep)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("loaders.kafka.time", found)
    return found


def test_a_batch_is_given_when_its_time_is_over(
    broker: Broker, trades: ge.Table, clock: Clock, eventually: Eventually
) -> None:
    topic = broker.topic()
    load = trades.load_kafka(**broker.load(topic, batch_duration=2))
    for number in range(3):
        broker.send(topic, [trade(number)])
        eventually(lambda count=number + 1: load.statistics().waiting == count)
        clock.now += 0.9  # two seconds count from the first message: 1.8 have passed when the third comes
        if number < 2:
            assert (len(trades), load.statistics().batches_total) == (0, 0)
    eventually(lambda: len(trades) == 3)
    assert load.statistics().batches_total == 1


def test_a_batch_is_given_when_it_is_large(
    broker: Broker, trades: ge.Table, clock: Clock, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loaders.kafka.BATCH_BYTES", 5000)
    topic = broker.topic()
    load = trades.load_kafka(**broker.load(topic, batch_duration=2))
    broker.send(topic, [trade(0, desk="A" * 3000)])
    eventually(lambda: load.statistics().waiting == 1)
    assert len(trades) == 0
    broker.send(topic, [trade(1, desk="A" * 3000)])
    eventually(lambda: len(trades) == 2)
    assert load.statistics().batches_total == 1


def test_start_latest_takes_only_what_comes_later(broker: Broker, trades: ge.Table, eventually: Eventually) -> None:
    topic = broker.topic()
    broker.send(topic, map(trade, range(5)))
    load = trades.load_kafka(**broker.load(topic, start="latest"))
    eventually(lambda: load.lag() == 0)
    broker.send(topic, [trade(5)])
    eventually(lambda: len(trades))
    assert rows(trades) == [trade(5)]


def test_start_at_offsets(broker: Broker, trades: ge.Table) -> None:
    topic = broker.topic(partitions=2)
    broker.send(topic, map(trade, range(5)), partition=0)
    broker.send(topic, map(trade, range(10, 15)), partition=1)
    assert trades.load_kafka(**broker.load(topic, start={0: 3})).wait(60)
    assert sorted(row["id"] for row in rows(trades)) == [3, 4, 10, 11, 12, 13, 14]


def test_a_second_load_of_the_group_goes_on_where_the_first_stopped(broker: Broker, session: ge.Session) -> None:
    table = session.create_table("events", types={"n": ge.LONG})
    topic, group = broker.topic(), broker.group()
    for part in range(2):
        broker.send(topic, [{"n": number} for number in range(10 * part, 10 * part + 10)])
        load = table.load_kafka(**broker.load(topic, group))
        assert load.wait(60)
        load.stop()
        assert load.state == "stopped"
    assert [row["n"] for row in table.to_arrow().to_pylist()] == list(range(20))


def test_without_a_data_directory_the_group_remembers(broker: Broker) -> None:
    topic, group = broker.topic(), broker.group()
    seen = []
    for part in range(2):
        broker.send(topic, [{"n": part}])
        with ge.Session(backend="cpu") as session:
            table = session.create_table("events", types={"n": ge.LONG})
            load = table.load_kafka(**broker.load(topic, group))
            assert load.wait(60)
            load.stop()
            seen += [row["n"] for row in table.to_arrow().to_pylist()]
        assert broker.committed(topic, group) == part + 1
    assert seen == [0, 1]


def test_nothing_is_committed_while_paused(broker: Broker, trades: ge.Table, eventually: Eventually) -> None:
    topic = broker.topic()
    broker.send(topic, [trade(0)])
    load = trades.load_kafka(**broker.load(topic))
    assert load.wait(60)
    load.pause()
    broker.send(topic, map(trade, range(1, 50)))
    eventually(lambda: load.lag() == 49)
    before = load.statistics().batches_total
    assert load.state == "paused" and not load.wait(0.5)
    assert len(trades) == 1 and load.statistics().batches_total == before
    load.resume()
    assert load.wait(60)
    assert len(trades) == 50


def test_lag_is_none_before_partitions_are_known(mock: Any, broker: Broker, trades: ge.Table) -> None:
    mock.set_down()
    load = trades.load_kafka(**broker.load(broker.topic()))
    assert load.lag() is None


def test_closing_the_session_ends_the_load(broker: Broker) -> None:
    topic = broker.topic()
    with ge.Session(backend="cpu") as session:
        table = session.create_table("events", types={"n": ge.LONG})
        load = table.load_kafka(**broker.load(topic))
    assert load.state == "stopped"
    with pytest.raises(ge.errors.KafkaError, match="ended"):
        load.lag()
    with pytest.raises(ge.errors.SessionClosedError):
        table.load_kafka(**broker.load(topic))


def test_statistics_are_those_of_the_session_too(broker: Broker, session: ge.Session, trades: ge.Table) -> None:
    topic = broker.topic(partitions=2)
    broker.send(topic, map(trade, range(3)), partition=1)
    load = trades.load_kafka(**broker.load(topic))
    assert load.wait(60)
    [found] = session.statistics().kafka
    assert found == load.statistics()
    assert (found.topic, found.state, found.assigned, found.messages_total) == (topic, "running", (0, 1), 3)
    assert found.positions[1] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "middle"}, "start='middle'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_duration": -1}, "batch_duration=-1"),
        ({"topic": ""}, "topic=''"),
        ({"settings": {"enable.auto.commit": True}}, "enable.auto.commit"),
        ({"settings": {"no.such.setting": 1}}, "no.such.setting"),
        ({"deserializer": 5}, "no function but 5"),
    ],
)
def test_what_cannot_work_is_refused_at_once(trades: ge.Table, given: dict[str, Any], message: str) -> None:
    arguments = {"bootstrap_server": "127.0.0.1:1", "topic": "t", "group_id": "g", **given}
    with pytest.raises(ge.errors.InvalidModelError, match=message):
        trades.load_kafka(**arguments)


def test_a_route_to_no_table_is_refused(session: ge.Session) -> None:
    with pytest.raises(ge.errors.UnknownTableError):
        session.load_kafka("127.0.0.1:1", "t", "g", routes={"nowhere": None})
    with pytest.raises(ge.errors.InvalidModelError, match="routes"):
        session.load_kafka("127.0.0.1:1", "t", "g", routes={})
