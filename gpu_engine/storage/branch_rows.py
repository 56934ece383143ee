"""Branch rows: what a branch changes in rows that it shares with the branch it came from.

Floor 2. A branch copies nothing. Rows that it adds stand among all others, marked as its own. Only two facts need a
place apart: which shared rows it has removed, and which row is the newest of an entity that it has touched. Both are as
large as what the branch has changed.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.storage.growable import GrowableArray

__all__ = ["BranchRows"]

NEVER = 2**63 - 1


class BranchRows:
    """Differences of one branch in one table. One writer; readers need no lock."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._entities = backend.int_index()
        self._newest = GrowableArray(backend, "int32", fill=-1)
        self._rows = backend.int_index()
        self._removed = GrowableArray(backend, "int64", fill=NEVER)

    @property
    def nbytes(self) -> int:
        """Bytes of both maps."""
        return int(self._entities.nbytes + self._newest.nbytes + self._rows.nbytes + self._removed.nbytes)

    def newest(self, entities: Array) -> Array:
        """Return (n,) int64: the newest row that the branch gave each entity, -1 for none."""
        xp = self._backend.xp
        known = len(self._entities)
        if not known:
            return xp.full(len(entities), -1, dtype="int64")
        ids = self._entities.lookup(entities.astype("int64"))
        rows = self._newest.buffer[xp.maximum(ids, 0)].astype("int64")
        return xp.where(ids >= 0, rows, -1)

    def set_newest(self, entities: Array, rows: Array) -> None:
        """Let (n,) distinct entities have new rows."""
        # Room first: a reader may find a new id at once.
        self._newest.reserve(len(self._entities) + len(entities))
        ids = self._entities.insert(entities.astype("int64"))
        self._newest.resize(len(self._entities))
        self._newest.buffer[ids] = rows

    def removed(self, rows: Array, epoch: int) -> Array:
        """Return (n,) bool: which rows the branch has removed by an epoch."""
        xp = self._backend.xp
        if not len(self._rows):
            return xp.zeros(len(rows), dtype="bool")
        ids = self._rows.lookup(rows.astype("int64"))
        return (ids >= 0) & (self._removed.buffer[xp.maximum(ids, 0)] <= epoch)

    def removed_between(self, start: int, stop: int, epoch: int) -> Array:
        """Return the rows from start to stop that the branch has removed by an epoch, in no particular order."""
        known = self._removed.length
        rows, epochs = self._rows.keys[:known], self._removed.buffer[:known]
        return rows[(rows >= start) & (rows < stop) & (epochs <= epoch)]

    def set_removed(self, rows: Array, epoch: int) -> None:
        """Let (n,) distinct shared rows end for the branch."""
        self._removed.reserve(len(self._rows) + len(rows))
        ids = self._rows.insert(rows.astype("int64"))
        self._removed.resize(len(self._rows))
        self._removed.buffer[ids] = epoch

    def renumbered(self, new_of: Array, nearest: Array) -> BranchRows:
        """Return the same differences with rows renumbered.

        Parameters
        ----------
        new_of : (old rows,) int64 new number of each row, -1 if it is dropped
        nearest : (old rows,) int64 the row itself, or the newest one before it of its entity that is kept, or -1
        """
        xp, other = self._backend.xp, BranchRows(self._backend)
        known = self._newest.length
        rows = self._newest.buffer[:known].astype("int64")
        kept = xp.where(rows >= 0, nearest[xp.maximum(rows, 0)], -1)
        present = xp.flatnonzero(kept >= 0)
        if len(present):
            other.set_newest(self._entities.keys[:known][present], new_of[kept[present]])
        removed = self._rows.keys[: self._removed.length]
        present = xp.flatnonzero(new_of[removed] >= 0) if len(removed) else removed
        if len(present):
            ids = other._rows.insert(new_of[removed[present]])
            other._removed.resize(len(other._rows))
            other._removed.buffer[ids] = self._removed.buffer[present]
        return other
