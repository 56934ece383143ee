"""Outcomes: what a commit did to one table, as rows and not as row numbers, so that it can be done again.

Floor 4. An outcome says which rows ended and which began. Rows that ended go by their key, or, in a table without one,
by their place among the rows that were alive before. Doing it again gives the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit_log import Committed
from gpu_engine.database.draft import TableDraft
from gpu_engine.database.operation import DropKeys, Operation, Truncate, Upsert
from gpu_engine.expression.flat_rows import Snapshot
from gpu_engine.storage.table_store import TableChange, TableStore
from gpu_engine.storage.table_version import TableVersion

__all__ = ["PLACES", "Outcome", "ended_rows", "ended_schema", "outcome_of"]

PLACES = pa.schema([("place", pa.int64())])
"""Rows of a table without a key, by their place among those alive before, from 0."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one commit did to one table. Rows end before rows begin."""

    begun: Mapping[str, pa.Array] | None
    """Column -> values of the rows that began, in the table's order; text may be dictionary-encoded."""
    ended: pa.RecordBatch | None
    """Keys or `PLACES` of rows that ended and that no begun row replaces."""
    all_ended: bool = False
    """Whether every row there was ended."""

    def operations(self, store: TableStore) -> list[Operation]:
        """Return what does the same to the table as it was before."""
        found: list[Operation] = [Truncate(store)] if self.all_ended else []
        if self.ended is not None:
            columns = dict(zip(self.ended.schema.names, self.ended.columns, strict=True))
            found.append(DropKeys(store, columns) if store.schema.keys else _DropPlaces(store, columns["place"]))
        if self.begun is not None:
            found.append(Upsert(store, self.begun))
        return found


@dataclass(frozen=True, slots=True)
class _DropPlaces:
    """End rows by their place among those alive before the transaction."""

    store: TableStore
    places: pa.Array

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """End the rows."""
        places, _ = self.store.backend.from_arrow(self.places)
        draft.drop(draft.base.alive_rows()[places])


def ended_schema(store: TableStore) -> pa.Schema:
    """Return the columns by which rows of a table end."""
    return pa.schema([store.arrow_schema.field(key) for key in store.schema.keys]) if store.schema.keys else PLACES


def outcome_of(event: Committed, store: TableStore, change: TableChange) -> Outcome:
    """Return what a commit did to one table.

    Where it was one upsert of which nothing dropped out, that is what was given, as it was given; else the rows that
    begin are gathered, which costs as much as there are of them.
    """
    base, xp = event.drafts[store].base, store.backend.xp
    all_ended = base.alive_count > 0 and len(change.updated_old) + len(change.removed) == base.alive_count
    ended = None if all_ended or not len(change.removed) else ended_rows(base, change.removed)
    begun: Mapping[str, pa.Array] | None = _as_given(event, store, change)
    if begun is None and len(change.updated_new) + len(change.added):
        rows = xp.sort(xp.concatenate([change.updated_new, change.added]))
        batch = base.to_arrow(rows)
        begun = dict(zip(batch.schema.names, batch.columns, strict=True))
    return Outcome(begun, ended, all_ended)


def ended_rows(before: TableVersion, rows: Array) -> pa.RecordBatch:
    """Return (n,) rows, ascending and alive in a version, by their keys or places."""
    store, xp = before.store, before.store.backend.xp
    if store.schema.keys:
        keys = [store.columns[key] for key in store.schema.keys]
        return pa.RecordBatch.from_arrays(
            [key.to_arrow(before.read(key, rows)) for key in keys], schema=ended_schema(store)
        )
    places = xp.searchsorted(before.alive_rows(), rows).astype("int64")
    return pa.RecordBatch.from_arrays([store.backend.to_arrow(places, None, pa.int64())], schema=PLACES)


def _as_given(event: Committed, store: TableStore, change: TableChange) -> Mapping[str, pa.Array] | None:
    """Return the columns of the only operation on the table, if it is an upsert and all its rows begin."""
    operations: Sequence[Operation] = [one for one in event.operations if one.store is store]
    if len(operations) != 1 or not isinstance(operations[0], Upsert):
        return None
    columns = operations[0].columns
    given = len(next(iter(columns.values())))
    return columns if given == len(change.updated_new) + len(change.added) else None
