"""Debezium envelopes become rows and ends of rows, with and without their schema."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from typing import Any

import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker

TYPES = {"id": ge.LONG, "name": ge.STRING, "price": ge.DECIMAL(10, 2), "day": ge.LOCAL_DATE, "at": ge.TIMESTAMP}


def event(operation: str, before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after, "op": operation, "ts_ms": 1, "source": {"table": "orders"}}


def row(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "name": name}


def test_inserts_updates_snapshot_reads_and_deletes(broker: Broker, session: ge.Session) -> None:
    table = session.create_table("orders", types={"id": ge.LONG, "name": ge.STRING}, keys=["id"])
    topic = broker.topic()
    broker.send(topic, [event("r", None, row(1, "a")), event("c", None, row(2, "b")), event("c", None, row(3, "c"))])
    broker.send(topic, [event("u", row(2, "b"), row(2, "B")), event("d", row(1, "a"), None)], key='{"id": 1}')
    broker.send(topic, [None], key='{"id": 1}')
    broker.send(topic, [event("m", None, None)])
    assert table.load_kafka(**broker.load(topic, deserializer=ge.kafka.debezium())).wait(60)
    assert sorted((one["id"], one["name"]) for one in table.to_arrow().to_pylist()) == [(2, "B"), (3, "c")]
    assert len(session.dead_letters) == 0


def record(value: Any, key: Any = None) -> ge.kafka.Record:
    data = None if value is None else json.dumps(value).encode()
    return ge.kafka.Record("t", 0, 0, None if key is None else json.dumps(key).encode(), data)


def test_a_delete_without_before_goes_by_the_key_of_the_message() -> None:
    found = ge.kafka.debezium()(record(event("d", None, None), {"schema": {}, "payload": {"id": 7}}))
    assert isinstance(found, ge.kafka.Tombstone) and found.key == {"id": 7}


def test_the_schema_of_the_envelope_says_what_dates_times_and_decimals_are(session: ge.Session) -> None:
    fields = [
        {"field": "id", "type": "int64"},
        {"field": "name", "type": "string"},
        {"field": "price", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}},
        {"field": "day", "name": "io.debezium.time.Date"},
        {"field": "at", "name": "io.debezium.time.MicroTimestamp"},
    ]
    moment = datetime.datetime(2024, 2, 29, 12, 30, 0, 125)
    after = {
        "id": 1,
        "name": "x",
        "price": base64.b64encode((-12345).to_bytes(2, "big", signed=True)).decode(),
        "day": (datetime.date(2024, 2, 29) - datetime.date(1970, 1, 1)).days,
        "at": (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1),
    }
    envelope = {"schema": {"fields": [{"field": "after", "fields": fields}]}, "payload": event("c", None, after)}
    found = ge.kafka.debezium()(record(envelope))
    assert found == {
        "id": 1,
        "name": "x",
        "price": decimal.Decimal("-123.45"),
        "day": datetime.date(2024, 2, 29),
        "at": moment,
    }
    table = session.create_table("orders", types=TYPES, keys=["id"])
    table.append(found)
    assert table.to_arrow().to_pylist() == [found]


@pytest.mark.parametrize(
    "value",
    [
        event("t", None, None),
        event("c", None, None),
        {"payload": 5},
        [1],
        {"op": "u", "after": 3},
        event("d", None, None),
    ],
)
def test_what_is_no_change_of_a_row_is_refused(value: Any) -> None:
    with pytest.raises(ge.kafka.DecodingError):
        ge.kafka.debezium()(record(value))
