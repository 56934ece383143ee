"""Avro and Protobuf messages with a schema registry, by confluent-kafka's own deserializers.

Floor 0: imports loaders.kafka_record. The packages that these need come with the extra `kafka`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from loaders.kafka_record import Content, DecodingError, KafkaRecord, Tombstone, UnavailableError, key_of

__all__ = ["RegistryDeserializer", "avro", "protobuf"]

_HTTP_CLIENTS = ("httpx", "httpx2")
"""What confluent-kafka asks a registry with: the one or the other, by its version."""
Read = Callable[[bytes | None, Any], Any]


class RegistryDeserializer:
    """Gives the record of a message as a dict.

    Parameters
    ----------
    value : confluent-kafka's deserializer of values
    key : that of keys, for tombstones; without one a key is JSON or text
    to_dict : what makes a dict of what `value` gives
    """

    def __init__(self, value: Read, key: Read | None, to_dict: Callable[[Any], Any] = lambda found: found) -> None:
        self._value, self._key, self._to_dict = value, key, to_dict
        serialization = _module("confluent_kafka.serialization")
        self._context, self._field = serialization.SerializationContext, serialization.MessageField

    def __call__(self, record: KafkaRecord) -> Mapping[str, Any]:
        """Return the record.

        Raises
        ------
        DecodingError
            If it is no record.
        UnavailableError
            If the registry does not answer, or refuses to.
        """
        found = self._to_dict(self._read(self._value, record, record.value, self._field.VALUE))
        if not isinstance(found, Mapping):
            raise DecodingError(f"the value is of type {type(found).__name__}; only records can be rows.")
        return found

    def tombstone(self, record: KafkaRecord) -> Content | None:
        """Return the end of the row that the key names."""
        if self._key is None or record.key is None:
            return key_of(record)
        return Tombstone(self._to_dict(self._read(self._key, record, record.key, self._field.KEY)))

    def _read(self, read: Read, record: KafkaRecord, data: bytes | None, member: str) -> Any:
        headers = list(record.headers)
        try:
            return read(data, self._context(record.topic, member, headers))
        except Exception as error:
            if _is_of_the_registry(error):
                raise UnavailableError(f"the schema registry does not answer: {error}") from error
            raise


def avro(
    registry: str, schema: str | None = None, *, keys: bool = False, settings: Mapping[str, Any] | None = None
) -> RegistryDeserializer:
    """Return a deserializer of Avro records written with a schema registry.

    Parameters
    ----------
    registry : address of the registry, for example http://localhost:8081
    schema : the reader's schema as JSON; by default each message is read with the schema it was written with
    keys : whether keys are Avro too, which tombstones need to know
    settings : further settings of confluent-kafka's SchemaRegistryClient, for example basic.auth.user.info

    Raises
    ------
    ModuleNotFoundError
        If a package is missing: the extra 'kafka' of this project brings it.
    """
    client = _client(registry, settings)
    deserializer = _module("confluent_kafka.schema_registry.avro").AvroDeserializer
    return RegistryDeserializer(deserializer(client, schema), deserializer(client) if keys else None)


def protobuf(
    registry: str | None, message: type, *, key: type | None = None, settings: Mapping[str, Any] | None = None
) -> RegistryDeserializer:
    """Return a deserializer of Protobuf messages written with a schema registry.

    Parameters
    ----------
    registry : address of the registry; None where schemas refer to no others, since messages bring their own class
    message : generated class of the values
    key : generated class of the keys, for tombstones

    Raises
    ------
    ModuleNotFoundError
        As `avro`.
    """
    client = None if registry is None else _client(registry, settings)
    deserializer = _module("confluent_kafka.schema_registry.protobuf").ProtobufDeserializer
    options = {"use.deprecated.format": False}
    return RegistryDeserializer(
        deserializer(message, options, client),
        None if key is None else deserializer(key, options, client),
        _fields_of,
    )


def _fields_of(message: Any) -> dict[str, Any]:
    """Return the fields of a message; those that have presence and are not set are left out."""
    return {
        field.name: getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _is_of_the_registry(error: Exception) -> bool:
    """Return whether an error says nothing of the message: no answer, no access, too many requests, a fault there."""
    status = getattr(error, "http_status_code", None)
    if status is not None:
        return status >= 500 or status in (401, 403, 407, 408, 429)
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _HTTP_CLIENTS


def _client(registry: str, settings: Mapping[str, Any] | None) -> Any:
    return _module("confluent_kafka.schema_registry").SchemaRegistryClient({"url": registry, **(settings or {})})


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Avro and Protobuf need the package {error.name!r}. Install what they need: pip install '.[kafka]' in the "
            "project's folder.",
            name=error.name,
        ) from error
