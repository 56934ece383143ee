"""Compaction: a new row store without the rows that nobody can see.

Floor 2. Most of the work is done while the writer goes on (`Compaction.build`); what happened meanwhile is added with
the writer held (`Compaction.finish`). Kept rows get new numbers in the same order. Readers of the old row store keep
it.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array
from gpu_engine.storage.pointers import Pointers
from gpu_engine.storage.row_store import ROOT, RowStore
from gpu_engine.storage.table_store import TableStore
from gpu_engine.storage.table_version import TableVersion

__all__ = ["Compaction"]


class Compaction:
    """One table's compaction, from `begin` to `finish`. The writer must be held for making it and for `finish`."""

    def __init__(self, store: TableStore) -> None:
        self._store, self._old = store, store.rows
        self._backend, self._xp = store.backend, store.backend.xp
        self._row_count, self._epochs = self._old.row_count, len(self._old.row_counts)
        self._new = RowStore(store.backend, list(store.columns.values()))
        self._new_of: Array = self._xp.zeros(0, dtype="int64")
        self._nearest: Array = self._xp.zeros(0, dtype="int64")
        store.record_changes()

    def build(self, keep: Array, newest: TableVersion) -> None:
        """Copy the rows to keep, of those that existed at the beginning.

        Parameters
        ----------
        keep : (rows at the beginning,) bool
        newest : the root's rows at the beginning
        """
        xp, old, new = self._xp, self._old, self._new
        kept = xp.flatnonzero(keep)
        self._new_of = xp.full(self._row_count, -1, dtype="int64")
        self._new_of[kept] = xp.arange(len(kept))
        new.take_rows(old, kept)
        self._nearest = xp.arange(self._row_count)
        if self._store.entities is not None:
            self._nearest = self._nearest_kept(keep)
            new.previous.write(0, self._renamed(old.previous.buffer[kept].astype("int64")))
            current = newest.newest(xp.arange(old.current.length))
            new.current.write(0, self._renamed(current))
        before = self._backend.to_host(xp.concatenate([xp.zeros(1, dtype="int64"), xp.cumsum(keep)]))
        new.row_counts = old.row_counts.mapped(lambda count: int(before[count]), self._epochs)
        new.row_count = len(kept)

    def finish(self) -> Array:
        """Add what happened since the beginning and let the table have the new row store.

        Returns
        -------
        (rows,) int64
            The new number of each old row, -1 where it is dropped.
        """
        xp, old, new = self._xp, self._old, self._new
        changes = self._store.recorded_changes()
        fresh = xp.arange(self._row_count, old.row_count)
        start = new.row_count
        self._new_of = xp.concatenate([self._new_of, xp.arange(start, start + len(fresh))])
        self._nearest = xp.concatenate([self._nearest, fresh])
        for join in old.pointers.keys() - new.pointers.keys():  # created meanwhile
            new.pointers[join] = Pointers(self._backend)
            new.pointers[join].write(0, old.pointers[join].read(xp.flatnonzero(self._new_of[: self._row_count] >= 0)))
        new.take_rows(old, fresh)
        new.row_count = start + len(fresh)
        new.branch_numbers = old.branch_numbers
        if self._store.entities is not None:
            new.previous.write(start, self._renamed(old.previous.buffer[fresh].astype("int64")))
            new.current.resize(old.current.length)
        for change, epoch, branch in changes:
            new.row_counts.append(epoch, start + change.row_count - self._row_count)
            for rows in (change.updated_old, change.removed, change.stillborn):
                numbers = self._new_of[rows]
                new.removed.buffer[numbers[numbers >= 0]] = old.removed.buffer[rows[numbers >= 0]]
            if self._store.entities is not None and branch == ROOT:
                for rows in (change.updated_new, change.added):
                    new.current.buffer[old.entity_of.buffer[rows]] = self._new_of[rows]
        new.branches = {branch: rows.renumbered(self._new_of, self._nearest) for branch, rows in old.branches.items()}
        self._store.rows = new
        return self._new_of

    def abandon(self) -> None:
        """Leave everything as it was."""
        self._store.recorded_changes()

    def _nearest_kept(self, keep: Array) -> Array:
        """Return (rows,) int64: each row, or the newest one before it of its entity that is kept, or -1.

        Pointers are doubled: each round looks twice as far back.
        """
        xp = self._xp
        nearest = xp.where(keep, xp.arange(self._row_count), self._old.previous.buffer[: self._row_count])
        while True:
            lost = (nearest >= 0) & ~keep[xp.maximum(nearest, 0)]
            if not self._backend.scalar(lost.any()):
                return nearest.astype("int64")
            nearest = xp.where(lost, nearest[xp.maximum(nearest, 0)], nearest)

    def _renamed(self, rows: Array) -> Array:
        """Return the new numbers of (n,) rows, or of the nearest kept ones before them; -1 where there is none."""
        xp = self._xp
        if not len(self._nearest):
            return rows
        found = xp.where(rows >= 0, self._nearest[xp.maximum(rows, 0)], -1)
        return xp.where(found >= 0, self._new_of[xp.maximum(found, 0)], -1)
