"""Debezium envelopes: change events of a database as rows, with or without their schema.

Floor 0: imports loaders.kafka_record. Source: https://debezium.io/documentation/reference/stable/connectors/
"""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Callable, Mapping
from typing import Any

from loaders.kafka_record import Content, DecodingError, Deserializer, KafkaRecord, Tombstone, key_of

__all__ = ["DebeziumDeserializer", "debezium"]

_EPOCH = datetime.datetime(1970, 1, 1)
_WRITES = frozenset({"c", "r", "u"})

_LOGICAL: Mapping[str, Callable[[Any], Any]] = {
    "io.debezium.time.Date": lambda days: (_EPOCH + datetime.timedelta(days=days)).date(),
    "io.debezium.time.Timestamp": lambda ms: _EPOCH + datetime.timedelta(milliseconds=ms),
    "io.debezium.time.MicroTimestamp": lambda us: _EPOCH + datetime.timedelta(microseconds=us),
    "io.debezium.time.NanoTimestamp": lambda ns: _EPOCH + datetime.timedelta(microseconds=ns // 1000),
    "io.debezium.time.ZonedTimestamp": lambda text: datetime.datetime.fromisoformat(text),
    "org.apache.kafka.connect.data.Date": lambda days: (_EPOCH + datetime.timedelta(days=days)).date(),
    "org.apache.kafka.connect.data.Timestamp": lambda ms: _EPOCH + datetime.timedelta(milliseconds=ms),
}
_DECIMAL = "org.apache.kafka.connect.data.Decimal"


class DebeziumDeserializer:
    """Gives the row after an insert, an update or a snapshot read, and the end of the row before a delete.

    Parameters
    ----------
    payload : how to read a message that is not JSON, for example `avro(...)`; it gives the envelope
    key : columns that identify a row, for deletes whose message has no key; all columns of `before` otherwise
    """

    def __init__(self, payload: Deserializer | None = None, key: tuple[str, ...] = ()) -> None:
        self._payload, self._key = payload, key

    def __call__(self, record: KafkaRecord) -> Content | None:
        """Return the row, its end, or None for an event that is about no row (a truncate is refused)."""
        envelope, fields = self._envelope(record)
        operation = envelope.get("op")
        if operation in _WRITES:
            return _written(envelope, fields)
        if operation == "d":
            return self._ended(_row(envelope, "before", fields), record)
        if operation == "m":
            return None
        raise DecodingError(f"the Debezium operation {operation!r} is not one of c, r, u, d, m.")

    def tombstone(self, record: KafkaRecord) -> None:
        """Skip a tombstone: the delete before it has ended the row."""

    def _ended(self, before: Mapping[str, Any] | None, record: KafkaRecord) -> Tombstone:
        if before is not None:
            return Tombstone({name: before[name] for name in self._key} if self._key else before)
        found = key_of(record) if self._payload is None else None
        if found is None:
            raise DecodingError("a Debezium delete has neither a row 'before' nor a JSON key.")
        key = found.key
        if isinstance(key, Mapping) and "payload" in key:
            key = key["payload"]
        return Tombstone(key, found.text)

    def _envelope(self, record: KafkaRecord) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the envelope and the schemas of its fields, by before and after."""
        found = record.json() if self._payload is None else self._payload(record)
        if not isinstance(found, Mapping):
            raise DecodingError("a Debezium event is an object with the members op, before and after.")
        schema: Any = {}
        if "payload" in found and "op" not in found:
            schema, found = found.get("schema") or {}, found["payload"]
            if not isinstance(found, Mapping):
                raise DecodingError("the payload of a Debezium event is an object.")
        fields = schema.get("fields") if isinstance(schema, Mapping) else None
        return found, {part.get("field"): part.get("fields") or () for part in fields or ()}


def debezium(payload: Deserializer | None = None, key: tuple[str, ...] = ()) -> DebeziumDeserializer:
    """Return a deserializer of Debezium envelopes; see `DebeziumDeserializer`."""
    return DebeziumDeserializer(payload, key)


def _written(envelope: Mapping[str, Any], fields: Mapping[str, Any]) -> Content:
    row = _row(envelope, "after", fields)
    if row is None:
        raise DecodingError(f"a Debezium event of operation {envelope['op']!r} has no row 'after'.")
    return row


def _row(envelope: Mapping[str, Any], member: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row of an envelope with dates, times and decimals read as its schema says."""
    row = envelope.get(member)
    if row is None:
        return None
    if not isinstance(row, Mapping):
        raise DecodingError(f"the member {member!r} of a Debezium event is an object or null.")
    schemas = {part.get("field"): part for part in fields.get(member, ())}
    return {name: _value(value, schemas.get(name, {}), name) for name, value in row.items()}


def _value(value: Any, schema: Mapping[str, Any], name: str) -> Any:
    kind = schema.get("name")
    if value is None or kind is None:
        return value
    try:
        if kind == _DECIMAL and isinstance(value, str):
            unscaled = int.from_bytes(base64.b64decode(value), "big", signed=True)
            return decimal.Decimal(unscaled).scaleb(-int(schema.get("parameters", {}).get("scale", 0)))
        return _LOGICAL[kind](value) if kind in _LOGICAL else value
    except (TypeError, ValueError, OverflowError) as error:
        raise DecodingError(f"column {name!r}: {value!r} is no {kind}.") from error
