"""The row store: columns and life spans of all rows of a table, for as long as their numbers hold.

Floor 2. Rows are only ever added. A row is born at an epoch (row numbers grow with epochs, so a short list epoch ->
row count says it for all rows) and removed at an epoch (one int64 per row, NEVER at first). Compaction makes a new row
store in which the rows that nobody can see are gone and the others have new numbers; who reads the old one keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.storage.birth_branches import ROOT, BirthBranches
from gpu_engine.storage.branch_rows import NEVER, BranchRows
from gpu_engine.storage.column import Column, RowSelection, Values
from gpu_engine.storage.epoch_counts import EpochCounts
from gpu_engine.storage.growable import GrowableArray
from gpu_engine.storage.pointers import Pointers

__all__ = ["NEVER", "ROOT", "RowStore"]


class RowStore:
    """Rows of one table, dead ones included. One writer at a time; readers go by a version and need no lock."""

    def __init__(self, backend: ArrayBackend, columns: Sequence[Column]) -> None:
        self.backend = backend
        self._data = {
            column: GrowableArray(backend, column.type.storage, width=column.type.width) for column in columns
        }
        self._valid: dict[Column, GrowableArray] = {}
        self.removed = GrowableArray(backend, "int64")
        """row -> the first epoch that no longer has it, on the branch that it was born on."""
        self.entity_of = GrowableArray(backend, "int32")
        """row -> entity of its key. Empty without a key."""
        self.previous = GrowableArray(backend, "int32")
        """row -> the row that its entity had before on its branch, -1 for none. Empty without a key."""
        self.current = GrowableArray(backend, "int32", fill=-1)
        """entity -> its newest row on the root branch, dead or alive, -1 for none."""
        self.births = BirthBranches(backend)
        """row -> number of the branch that it was born on."""
        self.branches: dict[int, BranchRows] = {}
        """What each other branch changes in rows that it shares."""
        self.branch_numbers = ROOT + 1
        """More than the number of any branch that rows were born on, those of branches that are gone included."""
        self.pointers: dict[object, Pointers] = {}
        """Join -> where rows point."""
        self.row_count = 0
        """Rows published, dead ones included. Moves before `current` does: see `TableVersion.newest`."""
        self.row_counts = EpochCounts()
        """Rows that exist by epoch, all branches together."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, unused capacity included."""
        arrays = [self.removed, self.entity_of, self.previous, self.current]
        arrays += [*self._data.values(), *self._valid.values()]
        others: list[BranchRows | Pointers] = [*self.branches.values(), *self.pointers.values()]
        return sum(part.nbytes for part in arrays) + sum(part.nbytes for part in others) + self.births.nbytes

    # -- reading ----------------------------------------------------------------------------------------------------

    def read(self, column: Column, rows: RowSelection) -> Values:
        """Return the values of a column; a slice gives views."""
        valid = self._valid.get(column)
        return Values(self._data[column].buffer[rows], None if valid is None else valid.buffer[rows])

    # -- writing ----------------------------------------------------------------------------------------------------

    def stage(
        self,
        start: int,
        columns: Mapping[Column, Values],
        entities: Array | None,
        previous: Array | None,
        branch: int,
    ) -> int:
        """Write rows start, start + 1, ... where no reader looks, and return the row after the last.

        Parameters
        ----------
        start : first row to write, >= row_count; rows from there on are overwritten
        entities : (n,) int32 entity of each row, None for a table without a key
        previous : (n,) the row that each entity had before, dead or alive, -1 for none
        branch : number of the branch that the rows are born on
        """
        count = len(next(iter(columns.values())).data)
        for column, values in columns.items():
            if values.valid is not None or column in self._valid:
                self._write_valid(column, start, values)
            self._data[column].write(start, values.data)
        self.removed.write(start, self.backend.xp.full(count, NEVER, dtype="int64"))
        if entities is not None and previous is not None:
            self.entity_of.write(start, entities)
            self.previous.write(start, previous)
        self.births.write(start, count, branch)
        return start + count

    def end(self, rows: Array, epoch: int, branch: int) -> None:
        """Let (n,) distinct rows end on a branch."""
        if branch == ROOT:
            self.removed.buffer[rows] = epoch
            return
        own = self.births.of(rows) == branch
        self.removed.buffer[rows[own]] = epoch
        self.branches[branch].set_removed(rows[~own], epoch)

    def set_newest(self, rows: Array, branch: int) -> None:
        """Let (n,) rows be the newest of their entities on a branch."""
        entities = self.entity_of.buffer[rows]
        if branch == ROOT:
            self.current.buffer[entities] = rows
        else:
            self.branches[branch].set_newest(entities, rows)

    def _write_valid(self, column: Column, start: int, values: Values) -> None:
        valid = self._valid.get(column)
        if valid is None:
            valid = GrowableArray(self.backend, "bool", fill=True)
            valid.resize(start)
        marks = self.backend.xp.ones(len(values), dtype="bool") if values.valid is None else values.valid
        valid.write(start, marks)
        self._valid[column] = valid

    def take_rows(self, other: RowStore, rows: Array) -> None:
        """Append (n,) rows of another row store of the same table, but for what names rows by number."""
        start = self.removed.length
        for column, data in other._data.items():
            self._data[column].write(start, data.buffer[rows])
        for column, valid in dict(other._valid).items():  # the writer may add to it meanwhile
            if column not in self._valid:
                marks = self._valid[column] = GrowableArray(self.backend, "bool", fill=True)
                marks.resize(start)
            self._valid[column].write(start, valid.buffer[rows])
        self.removed.write(start, other.removed.buffer[rows])
        if other.entity_of.length:
            self.entity_of.write(start, other.entity_of.buffer[rows])
        self.births.take(start, other.births, rows)
        for join, pointers in dict(other.pointers).items():
            self.pointers.setdefault(join, Pointers(self.backend)).write(start, pointers.read(rows))
