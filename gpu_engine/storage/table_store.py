"""The table store: rows are only ever added; a row's death is an epoch.

Floor 2. A row is born at an epoch (row numbers grow with epochs, so a short list epoch -> row count says it for all
rows) and removed at an epoch (one int64 per row, NEVER at first); it is alive at epoch e if born <= e < removed. An
update is a removal and an addition in the same epoch. So a version is a row count and an epoch, and nothing is copied.

The writer prepares rows behind the visible ones (`stage`), where nobody looks, and later makes all of a commit take
effect (`publish`). A reader that meets a row newer than its version follows `previous` back to the one it may see.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.schema import Schema
from gpu_engine.storage.column import Column, RowSelection, Values
from gpu_engine.storage.entity_index import EntityIndex
from gpu_engine.storage.growable import GrowableArray

__all__ = ["NEVER", "TableChange", "TableStore", "TableVersion"]

NEVER = 2**63 - 1
"""Removal epoch of a row that is alive."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """What one commit does to one table, as row numbers. All arrays are int64; no row occurs twice in an array."""

    updated_old: Array
    """(u,) rows that end because the row of their key changes."""
    updated_new: Array
    """(u,) rows that take their place, pair by pair."""
    added: Array
    """(a,) rows whose key had no row."""
    removed: Array
    """(r,) rows that end with nothing in their place."""
    stillborn: Array
    """(s,) rows that were staged and given up within the commit; nobody ever sees them."""
    row_count: int
    """Rows of the table, dead ones included, after the commit."""

    def __bool__(self) -> bool:
        return bool(len(self.updated_old) or len(self.added) or len(self.removed))


class TableStore:
    """Columns, keys and life spans of the rows of one table. One writer at a time; readers hold a `TableVersion`."""

    def __init__(self, backend: ArrayBackend, name: str, schema: Schema) -> None:
        self.backend, self.name, self.schema = backend, name, schema
        self.columns = {column: Column(backend, column, kind) for column, kind in schema.types.items()}
        keys = [self.columns[key] for key in schema.keys]
        self.entities = EntityIndex(backend, keys) if keys else None
        """Index of the key; None for a table without one, whose rows are never updated, only added and removed."""
        self.entity_of = GrowableArray(backend, "int32")
        """row -> entity of its key. Empty without a key."""
        self.previous = GrowableArray(backend, "int32", fill=-1)
        """row -> the row that its entity had before, -1 for none. Empty without a key."""
        self.current = GrowableArray(backend, "int32", fill=-1)
        """entity -> its newest row, dead or alive, -1 for none."""
        self.removed = GrowableArray(backend, "int64", fill=NEVER)
        """row -> the first epoch that no longer has it."""
        self.row_count = 0
        """Rows published, dead ones included. Moves before `current` does: see TableVersion.rows_of."""
        self.dead_count = 0
        """Published rows that are not alive at the newest epoch."""
        self._epochs = array("q", [0])
        self._row_counts = array("q", [0])
        self._alive_counts = array("q", [0])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, the key index and the dictionaries."""
        growable = (self.entity_of, self.previous, self.current, self.removed)
        columns = sum(column.nbytes + column.dictionary.nbytes for column in self.columns.values())
        return columns + sum(part.nbytes for part in growable) + (self.entities.nbytes if self.entities else 0)

    def version(self, epoch: int) -> TableVersion:
        """Return the rows that are alive at `epoch`, an epoch not after the head."""
        place = bisect_right(self._epochs, epoch) - 1
        return TableVersion(self, epoch, self._row_counts[place], self._alive_counts[place])

    def ensure_entities(self) -> None:
        """Make `current` cover every entity of the index; new ones have no row."""
        assert self.entities is not None
        if len(self.entities) > self.current.length:
            self.current.resize(len(self.entities))

    def stage(self, start: int, columns: Mapping[str, Values], entities: Array | None) -> int:
        """Write rows start, start + 1, ... where no reader looks, and return the row after the last.

        Parameters
        ----------
        start : int
            First row to write, >= row_count; rows from there on are overwritten.
        columns : mapping of every column to its values
        entities : (n,) int32 or None
            Entity of each row, None for a table without a key.
        """
        count = len(next(iter(columns.values())))
        for name, values in columns.items():
            self.columns[name].write(start, values)
        self.removed.write(start, self.backend.xp.full(count, NEVER, dtype="int64"))
        if entities is not None:
            self.ensure_entities()
            self.entity_of.write(start, entities)
            self.previous.write(start, self.current.buffer[entities])
        return start + count

    def publish(self, change: TableChange, epoch: int) -> None:
        """Let a commit take effect for readers at `epoch` and later; those before see no difference."""
        self.dead_count += len(change.updated_old) + len(change.removed) + len(change.stillborn)
        self._row_counts.append(change.row_count)
        self._alive_counts.append(change.row_count - self.dead_count)
        self._epochs.append(epoch)
        self.row_count = change.row_count
        removed = self.removed.buffer
        for rows in (change.updated_old, change.removed, change.stillborn):
            if len(rows):
                removed[rows] = epoch
        if self.entities is not None:
            for rows in (change.updated_new, change.added):
                if len(rows):
                    self.current.buffer[self.entity_of.buffer[rows]] = rows


@dataclass(frozen=True, slots=True, eq=False)
class TableVersion:
    """The rows of one table at one epoch. Readable for ever, by any thread, while the writer goes on."""

    store: TableStore
    epoch: int
    row_count: int
    """Rows born up to the epoch, dead ones included."""
    alive_count: int
    """Rows alive at the epoch."""

    def alive(self, rows: RowSelection) -> Array:
        """Return (n,) bool: which of `rows`, all of them below `row_count`, are alive."""
        return self.store.removed.buffer[rows] > self.epoch

    def rows_of(self, entities: Array) -> Array:
        """Return (n,) int64: the row that each of (n,) `entities` has at this epoch, -1 for none or for entity -1."""
        store, xp = self.store, self.store.backend.xp
        rows = store.current.buffer[xp.maximum(entities, 0)].astype("int64")
        if store.row_count != self.row_count:
            rows = self._chase(rows)
        found = (entities >= 0) & (rows >= 0)
        found &= self.alive(xp.maximum(rows, 0))
        return xp.where(found, rows, -1)

    def alive_rows(self) -> Array:
        """Return (n,) int64: all rows alive, ascending."""
        return self.store.backend.xp.flatnonzero(self.alive(slice(0, self.row_count)))

    def _chase(self, rows: Array) -> Array:
        """Follow each row back to the newest one of its entity that was born by this epoch."""
        xp, previous = self.store.backend.xp, self.store.previous.buffer
        while True:
            newer = rows >= self.row_count
            if not self.store.backend.scalar(newer.any()):
                return rows
            rows = xp.where(newer, previous[xp.maximum(rows, 0)], rows)

    def to_arrow(self, rows: RowSelection) -> pa.RecordBatch:
        """Return whole rows as an Arrow batch on the host."""
        columns = [column.to_arrow(column.read(rows)) for column in self.store.columns.values()]
        return pa.RecordBatch.from_arrays(columns, schema=self.store.schema.arrow())
