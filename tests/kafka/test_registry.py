"""Avro and Protobuf messages with a schema registry: a double of one, over HTTP, and confluent-kafka's own clients."""

from __future__ import annotations

import datetime
import decimal
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker

pytest.importorskip("fastavro", reason="needs the extra kafka: pip install '.[kafka]'")
pytest.importorskip("httpx2", reason="needs the extra kafka: pip install '.[kafka]'")
pytest.importorskip("google.protobuf", reason="needs the extra kafka: pip install '.[kafka]'")

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Trade",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "desk", "type": ["null", "string"], "default": None},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        ],
    }
)
HANG_UP = 0
KEY_SCHEMA = json.dumps({"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]})


class RegistryDouble(ThreadingHTTPServer):
    """Keeps schemas by id and by subject, as far as serializers ask for them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: list[dict[str, Any]] = []
        self.refuses_with: int | None = None
        """Status of all answers, or HANG_UP; None while it works."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: RegistryDouble

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        subject = self.path.split("/")[2].partition("?")[0]
        kept = {"schema": body["schema"], "schemaType": body.get("schemaType", "AVRO"), "subject": subject}
        if kept not in self.server.schemas:
            self.server.schemas.append(kept)
        number = self.server.schemas.index(kept) + 1
        self._answer({"id": number, "version": 1, "guid": str(uuid.UUID(int=number)), **kept})

    def do_GET(self) -> None:
        if self.server.refuses_with == HANG_UP:
            self.close_connection = True
            return
        if self.server.refuses_with is not None:
            self._answer({"error_code": 50001, "message": "not now"}, self.server.refuses_with)
            return
        parts = self.path.partition("?")[0].split("/")
        if parts[1:3] == ["schemas", "ids"] and int(parts[3]) <= len(self.server.schemas):
            self._answer(self.server.schemas[int(parts[3]) - 1])
        else:
            self._answer({"error_code": 40403, "message": "not found"}, 404)

    def _answer(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[RegistryDouble]:
    with RegistryDouble() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(20)


def test_avro_records_become_rows_and_avro_keys_end_them(
    broker: Broker, session: ge.Session, registry: RegistryDouble
) -> None:
    types = {"id": ge.LONG, "desk": ge.STRING, "price": ge.DECIMAL(10, 2), "day": ge.LOCAL_DATE}
    table = session.create_table("trades", types=types, keys=["id"])
    topic = broker.topic()
    client = SchemaRegistryClient({"url": registry.url})
    write, write_key = AvroSerializer(client, SCHEMA), AvroSerializer(client, KEY_SCHEMA)
    value, key = SerializationContext(topic, MessageField.VALUE), SerializationContext(topic, MessageField.KEY)
    day = datetime.date(2024, 2, 29)
    trades = [{"id": n, "desk": None if n else "A", "price": decimal.Decimal(n) / 4, "day": day} for n in range(4)]
    broker.send(topic, [write(trade, value) for trade in trades])
    broker.send(topic, [None], key=write_key({"id": 2}, key))
    broker.send(topic, [b"not avro"])
    load = table.load_kafka(**broker.load(topic, deserializer=ge.kafka.avro(registry.url, keys=True)))
    assert load.wait(60)
    found = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert found == [trades[0], trades[1], trades[3]]
    [letter] = session.dead_letters
    assert letter.raw == b"not avro"


@pytest.mark.parametrize("status", [503, 401, HANG_UP], ids=["error", "no access", "no answer"])
def test_messages_wait_for_a_registry_that_does_not_answer(
    broker: Broker,
    session: ge.Session,
    registry: RegistryDouble,
    eventually: Callable[[Callable[[], object]], None],
    status: int,
) -> None:
    table = session.create_table("trades", types={"id": ge.LONG})  # without a key: what counts twice shows
    topic = broker.topic()
    schema = json.dumps({"type": "record", "name": "Trade", "fields": [{"name": "id", "type": "long"}]})
    write = AvroSerializer(SchemaRegistryClient({"url": registry.url}), schema)
    context = SerializationContext(topic, MessageField.VALUE)
    messages = [write({"id": n}, context) for n in range(5)]
    broker.send(topic, [*messages[:2], b"not avro", *messages[2:]])
    registry.refuses_with = status
    read = ge.kafka.avro(registry.url, settings={"max.retries": 0})
    load = table.load_kafka(**broker.load(topic, deserializer=read))
    eventually(lambda: load.error is not None)
    assert isinstance(load.error, ge.errors.KafkaError) and "does not answer" in str(load.error)
    assert load.state == "running" and session.health().status == "degraded"
    assert (len(table), len(session.dead_letters), session.positions) == (0, 0, {})
    registry.refuses_with = None
    assert load.wait(60)
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(5))
    assert [letter.raw for letter in session.dead_letters] == [b"not avro"]
    assert load.error is None and session.health().status == "ok"


def test_protobuf_messages_become_rows(broker: Broker, session: ge.Session, registry: RegistryDouble) -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="quote.proto", package="test", syntax="proto3")
    message = file.message_type.add(name="Quote")
    message.field.add(name="id", number=1, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    message.field.add(name="desk", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    quote = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Quote"))
    table = session.create_table("quotes", types={"id": ge.LONG, "desk": ge.STRING}, keys=["id"])
    topic = broker.topic()
    write = ProtobufSerializer(quote, SchemaRegistryClient({"url": registry.url}), {"use.deprecated.format": False})
    context = SerializationContext(topic, MessageField.VALUE)
    broker.send(topic, [write(quote(id=n, desk=f"D{n}"), context) for n in range(3)])
    assert table.load_kafka(**broker.load(topic, deserializer=ge.kafka.protobuf(None, quote))).wait(60)
    found = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert found == [{"id": n, "desk": f"D{n}"} for n in range(3)]
