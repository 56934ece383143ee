"""Table versions: the rows of one table at one epoch of one branch.

Floor 2. A version says up to which epoch it sees what was done on each branch of its lineage: its own branch up to its
epoch, the branch it came from up to where it forked, and so on to the root. A row is visible if it was born within
that, and alive unless it was removed within that. A reader that meets a row too new for it follows `previous` back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.storage.column import Column, RowSelection, Values
from gpu_engine.storage.row_store import RowStore

if TYPE_CHECKING:
    from gpu_engine.storage.table_store import TableStore

__all__ = ["Lineage", "TableVersion"]

Lineage = tuple[tuple[int, int], ...]
"""(branch number, last epoch seen of it), the own branch first, the root last."""


@dataclass(frozen=True, slots=True, eq=False)
class TableVersion:
    """Readable by any thread, for as long as it is held, while the writer goes on."""

    store: TableStore
    rows: RowStore
    """The row store whose numbers the version speaks of."""
    lineage: Lineage
    row_count: int
    """Rows born up to the epoch on any branch, dead ones included."""
    alive_count: int
    """Rows alive."""

    @property
    def epoch(self) -> int:
        """The epoch."""
        return self.lineage[0][1]

    @property
    def branch(self) -> int:
        """Number of the branch."""
        return self.lineage[0][0]

    # -- values -----------------------------------------------------------------------------------------------------

    def read(self, column: Column, rows: RowSelection) -> Values:
        """Return the values of a column; a slice gives views."""
        return self.rows.read(column, rows)

    def pointers(self, join: object, rows: RowSelection) -> Array:
        """Return (n,) int32 entities that rows point to by a join, -1 for none."""
        return self.rows.pointers[join].read(rows)

    def entities_of(self, rows: Array) -> Array:
        """Return (n,) int32 entities of rows."""
        return self.rows.entity_of.buffer[rows]

    def to_arrow(self, rows: RowSelection) -> pa.RecordBatch:
        """Return whole rows as an Arrow batch on the host."""
        columns = [column.to_arrow(self.read(column, rows)) for column in self.store.columns.values()]
        return pa.RecordBatch.from_arrays(columns, schema=self.store.arrow_schema)

    # -- visibility -------------------------------------------------------------------------------------------------

    def alive(self, rows: RowSelection) -> Array:
        """Return (n,) bool: which of `rows`, all of them below `row_count`, are alive."""
        alive = self._alive_at_birth(rows) if self.rows.births else self._alive_on_root(rows)
        for branch, epoch in self.lineage[:-1]:
            difference = self.rows.branches.get(branch)
            if difference is None:
                continue
            if isinstance(rows, slice):
                alive[difference.removed_between(rows.start, rows.stop, epoch) - rows.start] = False
            else:
                alive &= ~difference.removed(rows, epoch)
        return alive

    def alive_rows(self) -> Array:
        """Return (n,) int64: all rows alive, ascending."""
        return self.rows.backend.xp.flatnonzero(self.alive(slice(0, self.row_count)))

    def rows_of(self, entities: Array) -> Array:
        """Return (n,) int64: the row that each of (n,) `entities` has here, -1 for none or for entity -1."""
        return self.alive_or_none(self.newest(entities))

    def alive_or_none(self, rows: Array) -> Array:
        """Return (n,) int64: the rows, -1 in place of those that are not alive."""
        xp = self.rows.backend.xp
        found = rows >= 0
        found &= self.alive(xp.maximum(rows, 0))
        return xp.where(found, rows, -1)

    def newest(self, entities: Array) -> Array:
        """Return (n,) int64: the newest visible row of each entity, dead or alive, -1 for none or for entity -1."""
        xp = self.rows.backend.xp
        # An entity that came after compaction has replaced this row store has no place in it. The length first: the
        # buffer may grow meanwhile.
        known = self.rows.current.length
        rows = self.rows.backend.join_gather(entities, self.rows.current.buffer, known)
        for branch, _ in reversed(self.lineage[:-1]):
            difference = self.rows.branches.get(branch)
            if difference is not None:
                own = difference.newest(xp.where(entities < known, entities, -1))
                rows = xp.where(own >= 0, own, rows)
        if len(self.lineage) == 1 and self.rows.row_count == self.row_count:
            return rows
        return self._chase(rows)

    def _chase(self, rows: Array) -> Array:
        """Follow each row back to the newest one of its entity that is visible here."""
        xp, previous = self.rows.backend.xp, self.rows.previous.buffer
        while True:
            newer = (rows >= 0) & ~self._born(xp.maximum(rows, 0))
            if not self.rows.backend.scalar(newer.any()):
                return rows
            rows = xp.where(newer, previous[xp.maximum(rows, 0)], rows)

    def _born(self, rows: Array) -> Array:
        """Return (n,) bool: which rows were born within the lineage."""
        births = self.rows.births
        if not births:
            return rows < self._rows_at(self.lineage[-1][1])
        return rows < self._row_limits()[births.of(rows)]

    def _alive_at_birth(self, rows: RowSelection) -> Array:
        """Return (n,) bool: which rows are visible and were not removed on the branch that they were born on."""
        births = self.rows.births
        if isinstance(rows, slice) and rows.stop <= births.first:
            return self._alive_on_root(rows)
        return self.rows.backend.alive_on_branches(
            self.rows.removed.buffer, rows, births.marks, births.first, self._epoch_limits(), self._row_limits()
        )

    def _alive_on_root(self, rows: RowSelection) -> Array:
        """Return `_alive_at_birth` of rows that were all born on the root."""
        last = self.lineage[-1][1]
        row_limit = self._rows_at(last) if len(self.lineage) > 1 else None
        return self.rows.backend.alive(self.rows.removed.buffer, rows, last, row_limit)

    def _rows_at(self, epoch: int) -> int:
        return self.rows.row_counts.at(epoch)

    def _row_limits(self) -> Array:
        """Return (branches,) int64: the row after the last one visible, for rows born on each branch."""
        return self._by_branch({branch: self._rows_at(epoch) for branch, epoch in self.lineage}, 0)

    def _epoch_limits(self) -> Array:
        """Return (branches,) int64: the last epoch visible of each branch."""
        return self._by_branch(dict(self.lineage), -1)

    def _by_branch(self, values: dict[int, int], default: int) -> Array:
        size = max(self.rows.branch_numbers, *values) + 1
        return self.rows.backend.from_host([values.get(branch, default) for branch in range(size)], "int64")
