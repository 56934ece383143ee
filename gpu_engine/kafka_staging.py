"""Kafka staging: what messages gave to a table becomes operations, or dead letters where it does not fit.

Floor 5. A message counts as a whole for a table: if one of its rows is bad, all of them are set aside, so that trying
it again brings each row once.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from gpu_engine.database.dead_letter import KAFKA, DeadLetter
from gpu_engine.database.operation import DropKeys, Operation, Upsert
from gpu_engine.database.salvage import salvage
from gpu_engine.database.staging import keys_to_columns, rows_to_columns
from gpu_engine.errors import EngineError
from gpu_engine.storage.table_store import TableStore
from loaders.kafka_decoding import DecodedBatch, Routed
from loaders.kafka_record import Content, KafkaRecord, Tombstone

__all__ = ["letter_of", "operations_of", "record_in", "stage", "stage_batch"]


def stage_batch(batch: DecodedBatch, stores: Mapping[str, TableStore]) -> tuple[list[Operation], list[DeadLetter]]:
    """Return what a batch does to all its tables, and what of it could become no row."""
    operations: list[Operation] = []
    letters = [letter_of(poison.route, poison.record, poison.error) for poison in batch.poison]
    for name, routed in batch.routes.items():
        staged, refused = stage(stores[name], routed)
        operations += staged
        letters += refused
    return operations, letters


def stage(store: TableStore, routed: Routed) -> tuple[list[Operation], list[DeadLetter]]:
    """Return what the contents of messages do to a table, and a dead letter for each message that does not fit."""
    contents = routed.contents
    try:
        return operations_of(store, contents), []
    except EngineError:
        found = salvage(len(contents), lambda part: operations_of(store, contents[part]))
    bad = {id(routed.sources[place]): (routed.sources[place], error) for place, error in reversed(found.faults)}
    good = [content for content, source in zip(contents, routed.sources, strict=True) if id(source) not in bad]
    return operations_of(store, good), [letter_of(store.name, *fault) for fault in reversed(bad.values())]


def operations_of(store: TableStore, contents: Sequence[Content]) -> list[Operation]:
    """Return what contents do to a table; of those with one key the last counts.

    Raises
    ------
    InvalidRowError, UnknownColumnError, TypeMismatchError
        If one does not fit the table, or ends a row of a table that has no key.
    """
    rows = [content for content in contents if not isinstance(content, Tombstone)]
    ends = [content for content in contents if isinstance(content, Tombstone)]
    columns = rows_to_columns(store.name, store.schema, rows) if rows else {}
    if not ends:
        return [Upsert(store, columns)] if rows else []
    keys = keys_to_columns(store.name, store.schema, [_key(store, end) for end in ends])
    upserts, drops = _last_of_each(store, contents, columns, keys)
    operations: list[Operation] = []
    if drops:
        operations.append(DropKeys(store, _taken(keys, drops)))
    if upserts:
        operations.append(Upsert(store, _taken(columns, upserts)))
    return operations


def letter_of(table: str, record: KafkaRecord, error: BaseException) -> DeadLetter:
    """Return the dead letter of a message that a table could not take."""
    position = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    context = {
        "key": _text(record.key),
        "timestamp": record.timestamp,
        "headers": [[name, _text(value)] for name, value in record.headers],
    }
    return DeadLetter.of(table, f"kafka topic {record.topic}", position, error, record.value, KAFKA, context)


def record_in(letter: DeadLetter) -> KafkaRecord:
    """Return the message of a dead letter."""
    context, position = letter.context, letter.position
    headers = tuple((name, _bytes(value)) for name, value in context["headers"])
    key = _bytes(context["key"])
    return KafkaRecord(
        position["topic"], position["partition"], position["offset"], key, letter.raw, context["timestamp"], headers
    )


def _key(store: TableStore, end: Tombstone) -> Any:
    """Return the key of a row that ends, as `keys_to_columns` takes it."""
    keys = store.schema.keys
    if isinstance(end.key, Mapping):
        return {name: end.key.get(name) for name in keys}
    if len(keys) == 1 and store.schema.types[keys[0]].coded and not isinstance(end.key, str) and end.text is not None:
        return end.text  # the number 42 in a message is the text 42 where keys are text
    return end.key


def _last_of_each(
    store: TableStore, contents: Sequence[Content], columns: Mapping[str, pa.Array], keys: Mapping[str, pa.Array]
) -> tuple[list[int], list[int]]:
    """Return which rows and which ends are the last of their key."""
    row_keys = zip(*(columns[name].to_pylist() for name in store.schema.keys), strict=True) if columns else iter(())
    end_keys = zip(*(keys[name].to_pylist() for name in store.schema.keys), strict=True)
    last: dict[tuple[Any, ...], tuple[bool, int]] = {}
    count = {True: 0, False: 0}
    for content in contents:
        ends = isinstance(content, Tombstone)
        last[next(end_keys if ends else row_keys)] = (ends, count[ends])
        count[ends] += 1
    found = last.values()
    return sorted(i for ends, i in found if not ends), sorted(i for ends, i in found if ends)


def _taken(columns: Mapping[str, pa.Array], rows: list[int]) -> dict[str, pa.Array]:
    places = pa.array(rows, pa.int64())
    return {name: column.take(places) for name, column in columns.items()}


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
