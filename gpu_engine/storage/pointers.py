"""Pointers: the entity of another table that each row points to, and the rows that point to an entity.

Floor 2.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.storage.growable import GrowableArray
from gpu_engine.storage.postings import Postings

__all__ = ["Pointers"]


class Pointers:
    """row -> entity, with an index from entity to rows. Written as rows are; looked up backwards by the writer only."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._entities = GrowableArray(backend, "int32")
        self._postings = Postings(backend)
        self._indexed = 0
        """Rows that the index knows. It is told of the others when it is asked."""

    @property
    def nbytes(self) -> int:
        """Bytes of the pointers and of their index."""
        return self._entities.nbytes + self._postings.nbytes

    def write(self, start: int, entities: Array) -> None:
        """Write where rows start, start + 1, ... point to, -1 for nowhere."""
        self._entities.write(start, entities)

    def read(self, rows: Array | slice) -> Array:
        """Return (n,) int32 entities that rows point to, -1 for none."""
        return self._entities.buffer[rows]

    def rows_pointing_to(self, entities: Array, size: int, row_count: int) -> Array:
        """Return the rows, dead ones included, that point to (k,) distinct entities below `size`.

        `row_count` is the number of rows that are published: where they point to no longer changes.
        """
        if self._indexed < row_count:
            self._index(row_count, size)
        wanted = self._backend.xp.sort(entities.astype("int64"))
        _, rows = self._postings.find(wanted, size)
        return rows

    def _index(self, row_count: int, size: int) -> None:
        fresh = self._entities.buffer[self._indexed : row_count]
        pointing = self._backend.xp.flatnonzero(fresh >= 0)
        if self._indexed:
            self._postings.add(fresh[pointing], pointing + self._indexed)
        elif len(pointing) == row_count:
            self._postings = Postings.of(self._backend, [(fresh, 0)], size)
        else:
            self._postings = Postings.of(self._backend, [(fresh[pointing], pointing)], size)
        self._indexed = row_count

    def scan_rows_pointing_to(self, entities: Array, size: int, row_count: int) -> Array:
        """Return the same rows as `rows_pointing_to`, to any thread: it reads all pointers, and no index."""
        xp = self._backend.xp
        # Index -1 finds the last place, which no entity has.
        wanted = xp.zeros(size + 1, dtype="bool")
        wanted[entities] = True
        return xp.flatnonzero(wanted.take(self._entities.buffer[:row_count]))
