"""Events as messages: what the log writes of each, and how a restart reads it.

Floor 4. Rows are Arrow IPC record batches of the table's columns; nothing depends on cubes, joins or row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from gpu_engine.database.commit_log import (
    BranchCreated,
    BranchDeleted,
    Committed,
    Event,
    Pinned,
    TableCreated,
    TableForgotten,
    Unpinned,
)
from gpu_engine.durability.message import Message
from gpu_engine.durability.outcome import Outcome, ended_schema, outcome_of
from gpu_engine.durability.schema_json import schema_to_json
from gpu_engine.storage.table_store import TableStore

__all__ = ["message_of", "outcomes_in"]


def message_of(event: Event) -> Message:
    """Return what the log writes of an event."""
    return _WRITERS[type(event)](event)


def outcomes_in(message: Message, stores: Mapping[str, TableStore]) -> dict[TableStore, Outcome]:
    """Return what a commit did to each table."""
    found = {}
    for entry in message.head["tables"]:
        store = stores[entry["name"]]
        begun = _batch(message, entry.get("begun"), store.arrow_schema)
        columns = None if begun is None else dict(zip(begun.schema.names, begun.columns, strict=True))
        ended = _batch(message, entry.get("ended"), ended_schema(store))
        found[store] = Outcome(columns, ended, entry.get("all_ended", False))
    return found


def _batch(message: Message, part: int | None, schema: pa.Schema) -> pa.RecordBatch | None:
    return None if part is None else pa.ipc.read_record_batch(message.parts[part], schema)


def _committed(event: Committed) -> Message:
    tables: list[dict[str, Any]] = []
    parts: list[pa.Buffer] = []
    for store, change in event.commit.changes.items():
        outcome = outcome_of(event, store, change)
        entry: dict[str, Any] = {"name": store.name}
        if outcome.all_ended:
            entry["all_ended"] = True
        if outcome.ended is not None:
            entry["ended"] = len(parts)
            parts.append(outcome.ended.serialize())
        if outcome.begun is not None:
            entry["begun"] = len(parts)
            columns = [_plain(outcome.begun[name]) for name in store.columns]
            parts.append(pa.RecordBatch.from_arrays(columns, schema=store.arrow_schema).serialize())
        tables.append(entry)
    head = {"kind": "commit", "epoch": event.epoch, "branch": event.branch, "tables": tables}
    if event.notes:
        head |= {"positions": dict(event.notes.positions), "dead_letters": list(event.notes.dead_letters)}
    return Message(head, parts)


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _table_created(event: TableCreated) -> Message:
    return Message({"kind": "table", "name": event.store.name, "schema": schema_to_json(event.store.schema)})


def _branch_created(event: BranchCreated) -> Message:
    branch = event.branch
    assert branch.parent is not None
    return Message({"kind": "branch", "name": branch.name, "parent": branch.parent.name, "fork": branch.fork_epoch})


_WRITERS: Mapping[type[Event], Callable[[Any], Message]] = {
    Committed: _committed,
    TableCreated: _table_created,
    TableForgotten: lambda event: Message({"kind": "forget table", "name": event.name}),
    BranchCreated: _branch_created,
    BranchDeleted: lambda event: Message({"kind": "delete branch", "name": event.name}),
    Pinned: lambda event: Message({"kind": "pin", "branch": event.branch, "epoch": event.epoch}),
    Unpinned: lambda event: Message({"kind": "unpin", "branch": event.branch, "epoch": event.epoch}),
}
