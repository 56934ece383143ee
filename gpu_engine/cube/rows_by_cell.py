"""Rows by cell: how a provider finds the rows of one cell, to read its extreme again when a removal took it.

Floor 4. Entries (cell, row) are only ever added. A row that has died or moved to another cell stays behind as a stale
entry; whoever looks entries up checks each row's present cell. When stale entries are many, all are made anew.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.addressing import Addressing
from gpu_engine.storage.growable import GrowableArray
from gpu_engine.storage.postings import Postings

__all__ = ["RowsByCell"]


class RowsByCell:
    """Append-only entries (cell, row) with an index by cell. One thread at a time."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._cells = GrowableArray(backend, "int32")
        self._rows = GrowableArray(backend, "int32")
        self._postings = Postings(backend)

    def __len__(self) -> int:
        return self._cells.length

    @property
    def nbytes(self) -> int:
        """Bytes of the entries and their index."""
        return self._cells.nbytes + self._rows.nbytes + self._postings.nbytes

    def add(self, cells: Array, rows: Array) -> None:
        """Take in that (n,) rows lie in (n,) cells."""
        self._cells.write(self._cells.length, cells)
        self._rows.write(self._rows.length, rows)

    def reserve(self, count: int) -> None:
        """Make room for so many entries more, so that `add` cannot fail."""
        capacity = self._cells.length + count
        if capacity > len(self._cells.buffer):
            self._cells.reserve(capacity)
        if capacity > len(self._rows.buffer):
            self._rows.reserve(capacity)

    def find(self, cells: Array, size: int) -> Array:
        """Return the distinct rows, stale ones included, of (k,) distinct ascending cells below `size`."""
        _, entries = self._postings.find(self._cells.array, cells, size)
        rows = self._backend.xp.sort(self._rows.buffer[entries])
        first = self._backend.xp.ones(len(rows), dtype="bool")
        first[1:] = rows[1:] != rows[:-1]
        return rows[first].astype("int64")

    def prepare(self, size: int) -> None:
        """Sort what has been added, so that the next look-up need not."""
        self._postings.prepare(self._cells.array, size)

    def compacted(self, alive: Array) -> RowsByCell:
        """Return the newest entry of each of (n,) rows alive, and nothing else."""
        xp, rows = self._backend.xp, self._rows.array
        entries = xp.arange(len(rows))
        newest = self._backend.group_max(entries, rows.astype("int64"), int(self._backend.scalar(rows.max())) + 1, -1)
        kept = newest[alive[alive < len(newest)]]
        kept = kept[kept >= 0]
        other = RowsByCell(self._backend)
        other.add(self._cells.array[kept], rows[kept])
        return other

    def renumbered(self, new_of: Array) -> RowsByCell:
        """Return the entries with new row numbers; `new_of` gives that of each old row, -1 where it is gone."""
        rows = new_of[self._rows.array]
        kept = self._backend.xp.flatnonzero(rows >= 0)
        other = RowsByCell(self._backend)
        other.add(self._cells.array[kept], rows[kept])
        return other

    def readdressed(self, old: Addressing, new: Addressing) -> RowsByCell:
        """Return the same entries with the cells' new places."""
        other = RowsByCell(self._backend)
        other.add(new.encode(old.decode(self._cells.array.astype("int64"))), self._rows.array)
        return other
