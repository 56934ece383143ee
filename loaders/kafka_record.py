"""What a Kafka message is to whoever decodes it, and what it may become: rows, the end of a row, or nothing.

Floor 0: imports nothing of the project.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Content",
    "Decoded",
    "DecodingError",
    "Deserializer",
    "KafkaRecord",
    "Tombstone",
    "UnavailableError",
    "decode",
    "key_of",
]


class DecodingError(ValueError):
    """A message is not what its deserializer expects."""


class UnavailableError(Exception):
    """What a deserializer needs does not answer at the moment. The message is not to blame: it is read again later."""


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """One message as the broker has it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    """None is a tombstone: the row of the key is gone."""
    timestamp: int | None = None
    """Milliseconds since 1970 in UTC; None if the broker has none."""
    headers: tuple[tuple[str, bytes | None], ...] = ()
    _parsed: list[Any] = field(default_factory=list, repr=False, compare=False)

    def json(self) -> Any:
        """Return the value read as JSON; it is read once, however many tables ask.

        Raises
        ------
        DecodingError
            If it is none.
        """
        if not self._parsed:
            if self.value is None:
                raise DecodingError("the message has no value: it is a tombstone.")
            self._parsed.append(_json(self.value, "value"))
        return self._parsed[0]

    def text(self) -> str:
        """Return the value read as UTF-8 text; DecodingError if it is none."""
        try:
            return (self.value or b"").decode()
        except UnicodeDecodeError as error:
            raise DecodingError(f"the value is not UTF-8 text: {error}") from error


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What a deserializer gives for a row that ends."""

    key: Any
    """Mapping from key columns to values, a tuple in key order, or the value of the only key column."""
    text: str | None = None
    """The key as the message has it, for a key column of text."""


Content = Mapping[str, Any] | Tombstone
"""What is to happen to one row of a table: its columns by name, or its end."""
Decoded = Content | Iterable[Content] | None
"""What a deserializer may return: one, several, or None to skip the message."""
Deserializer = Callable[[KafkaRecord], Decoded]
"""A function of the user's. One that has a method `tombstone` is asked there about messages without a value."""


def key_of(record: KafkaRecord) -> Tombstone | None:
    """Return the end of the row that the message's key names: a JSON value, else text; None without a key."""
    if record.key is None:
        return None
    try:
        text = record.key.decode()
    except UnicodeDecodeError as error:
        raise DecodingError("the key of the tombstone is neither JSON nor UTF-8 text.") from error
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    return Tombstone(tuple(found) if isinstance(found, list) else found, text)


def decode(record: KafkaRecord, deserializer: Deserializer) -> list[Content]:
    """Return what becomes of a message.

    Raises
    ------
    UnavailableError
        If the deserializer cannot say yet.
    Exception
        Whatever else the deserializer raises; DecodingError if it returns something else than it may.
    """
    bury = getattr(deserializer, "tombstone", key_of)
    found: Any = bury(record) if record.value is None else deserializer(record)
    if found is None:
        return []
    if isinstance(found, Mapping | Tombstone):
        return [found]
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise DecodingError(f"the deserializer returned a {type(found).__name__}. {_EXPECTED}")
    contents = list(found)
    for content in contents:
        if not isinstance(content, Mapping | Tombstone):
            raise DecodingError(f"the deserializer returned a list that holds a {type(content).__name__}. {_EXPECTED}")
    return contents


_EXPECTED = "Return a dict, several of them, ge.kafka.Tombstone(key), or None to skip the message."


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise DecodingError(f"the {what} is not JSON: {error}") from error
