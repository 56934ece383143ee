"""From Kafka messages to rows for several tables: each route decodes on its own, what fails is set aside.

Floor 0: imports loaders.kafka_record. A message that one route cannot decode may still give rows to the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka as ck

from loaders.kafka_record import Content, DecodingError, Deserializer, KafkaRecord, UnavailableError, decode

__all__ = ["DecodedBatch", "Poison", "Routed", "decode_json", "decode_records", "record_of"]


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that a route could not decode."""

    route: str
    record: KafkaRecord
    error: Exception


@dataclass(frozen=True, slots=True)
class Routed:
    """What the messages of a batch give to one route, in their order."""

    contents: list[Content] = field(default_factory=list)
    sources: list[KafkaRecord] = field(default_factory=list)
    """The message that each of the contents is of."""


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The messages of a batch, decoded for every route."""

    routes: Mapping[str, Routed]
    poison: Sequence[Poison]


def decode_json(record: KafkaRecord) -> Mapping[str, Any]:
    """Return the message's JSON object; DecodingError if it is anything else. What is used unless told otherwise."""
    found = record.json()
    if not isinstance(found, dict):
        raise DecodingError(f"the value is JSON but no object: it is a {type(found).__name__}.")
    return found


def decode_records(records: Sequence[KafkaRecord], routes: Mapping[str, Deserializer]) -> DecodedBatch:
    """Return what every route makes of the messages. A route that raises for a message gets nothing of it.

    Raises
    ------
    UnavailableError
        If a deserializer cannot say yet what becomes of a message.
    """
    found: dict[str, Routed] = {route: Routed() for route in routes}
    poison: list[Poison] = []
    for record in records:
        for route, deserializer in routes.items():
            try:
                contents = decode(record, deserializer)
            except UnavailableError:
                raise
            except Exception as error:
                poison.append(Poison(route, record, error))
                continue
            found[route].contents.extend(contents)
            found[route].sources.extend([record] * len(contents))
    return DecodedBatch(found, poison)


def record_of(message: ck.Message) -> KafkaRecord:
    """Return a message of librdkafka as deserializers see it."""
    kind, moment = message.timestamp()
    given = message.headers() or []
    headers = given.items() if isinstance(given, dict) else given
    return KafkaRecord(
        str(message.topic()),
        int(message.partition() or 0),
        int(message.offset() or 0),
        message.key(),
        message.value(),
        None if kind == ck.TIMESTAMP_NOT_AVAILABLE else moment,
        tuple((name, value.encode() if isinstance(value, str) else value) for name, value in headers),
    )
