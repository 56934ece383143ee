"""Rereading: cells of a provider computed from their own rows, because a commit has taken what they cannot do without.

Floor 4. Rows that the commit does not move are read as they were before it, those that enter as they are after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.addressing import Addressing
from gpu_engine.cube.aggregate import Primitive
from gpu_engine.cube.cells import CellTable, place_rows
from gpu_engine.cube.contribution import Contribution
from gpu_engine.cube.rows_by_cell import RowsByCell
from gpu_engine.database.commit import Commit
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatRows, FlatView
from gpu_engine.expression.join import Reference
from gpu_engine.storage.table_store import TableStore

__all__ = ["CellRows", "Rereading"]


@dataclass(frozen=True, slots=True)
class CellRows:
    """Rows of some cells."""

    rows: FlatRows
    numbers: Array
    """(n,) int64 row numbers."""
    group_of: Array
    """(n,) which of the cells each row lies in."""
    size: int
    """Number of cells."""

    def merged(self, primitive: Primitive) -> Array:
        """Return (size,) what the rows of each cell make together."""
        return primitive.merge(self.rows.backend, primitive.values(self.rows), self.group_of, self.size)


class Rereading:
    """What one commit leaves in the cells of one provider."""

    def __init__(
        self,
        root: TableStore,
        levels: Sequence[Reference],
        condition: Condition | None,
        commit: Commit,
        contribution: Contribution,
    ) -> None:
        self._root, self._levels, self._condition = root, levels, condition
        self._commit, self._contribution = commit, contribution
        self._before = commit.before.table(root)

    def remain(self, rows: Array, cells: Array) -> Array:
        """Return (n,) bool: which rows of touched cells at (k,) positions were alive before and do not move."""
        xp = self._root.backend.xp
        alive = self._before.alive(rows)
        moving = xp.sort(self._contribution.rows_leaving(cells))
        if len(moving):
            alive &= moving[xp.minimum(xp.searchsorted(moving, rows), len(moving) - 1)] != rows
        return alive

    def rows_of(self, cells: Array, table: CellTable, by_cell: RowsByCell) -> tuple[CellRows, CellRows]:
        """Return the rows that remain in touched cells at (k,) ascending positions, and those that enter them."""
        wanted, before = self._contribution.places[cells], FlatView(self._commit.before, self._root)
        owners, rows = by_cell.find(wanted, table.size)
        kept = self.remain(rows, cells).nonzero()[0]
        rows = rows[kept]
        if by_cell.settled:
            lying = CellRows(before.rows(rows), rows, owners[kept], len(cells))
        else:
            lying = self._inside(before, rows, table.addressing, wanted)
        entering, owners = self._contribution.rows_entering(cells)
        after = FlatView(self._commit.after, self._root)
        return lying, CellRows(after.rows(entering), entering, owners, len(cells))

    def _inside(self, view: FlatView, numbers: Array, addressing: Addressing, wanted: Array) -> CellRows:
        """Return those of (n,) rows that lie in cells at (k,) ascending places, and count; each once."""
        numbers = self._root.backend.group(numbers).keys
        xp, rows = self._root.backend.xp, view.rows(numbers)
        places = place_rows(addressing, rows, self._levels)
        group_of = xp.minimum(xp.searchsorted(wanted, places), len(wanted) - 1)
        here = wanted[group_of] == places
        if self._condition is not None:
            here &= self._condition.mask(rows)
        kept = here.nonzero()[0]
        return CellRows(view.rows(numbers[kept]), numbers[kept], group_of[kept], len(wanted))
