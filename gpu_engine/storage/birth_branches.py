"""Birth branches: on which branch each row of a table was born.

Floor 2. The root's rows need no mark until another branch writes for the first time: rows below that first write are
the root's and take no place. So a branch's first write costs nothing for the rows that were there.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.storage.growable import GrowableArray

__all__ = ["ROOT", "BirthBranches"]

ROOT = 0
"""Number of the branch that all others come from."""


class BirthBranches:
    """row -> number of a branch. One writer; readers need no lock: what they do not see yet is the root's for them."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._marks = GrowableArray(backend, "int32")
        self.first = 0
        """The first row with a mark, where there is one; those before it are the root's."""

    def __bool__(self) -> bool:
        """Whether any row has a mark."""
        return self._marks.length > 0

    @property
    def nbytes(self) -> int:
        """Bytes of the marks, unused capacity included."""
        return self._marks.nbytes

    @property
    def marks(self) -> Array:
        """(capacity,) int32: the branch of row `first`, of the next one, ...; then places not in use yet."""
        return self._marks.buffer

    def of(self, rows: Array) -> Array:
        """Return (n,) int32: the branch that each of (n,) rows was born on."""
        xp = self._backend.xp
        if not self:
            return xp.zeros(len(rows), dtype="int32")
        return xp.where(rows >= self.first, self._marks.buffer[xp.maximum(rows - self.first, 0)], ROOT)

    def write(self, start: int, count: int, branch: int) -> None:
        """Let rows start to start + count be born on a branch; rows from there on are written over."""
        if not self and branch == ROOT:
            return
        self._append(start, self._backend.xp.full(count, branch, dtype="int32"))

    def take(self, start: int, other: BirthBranches, rows: Array) -> None:
        """Let rows from `start` on, after all others, be born where (n,) rows of another table were."""
        branches = other.of(rows)
        if not self:
            marked = self._backend.xp.flatnonzero(branches != ROOT)
            if not len(marked):
                return
            skipped = int(self._backend.scalar(marked[0]))
            start, branches = start + skipped, branches[skipped:]
        self._append(start, branches)

    def _append(self, start: int, branches: Array) -> None:
        if not self:
            self.first = start  # before there are marks that a reader could take for those of other rows
        self._marks.write(start - self.first, branches)
