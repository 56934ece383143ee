"""Changes of cells: which cells of a query were added, changed and removed from one version to another.

Floor 4. A cell is told of only if a value of it differs, whatever happened below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.answer import Answer, no_cells, paired_answer
from gpu_engine.cube.cells import CellSet
from gpu_engine.cube.query import Query

__all__ = ["CellChange", "difference", "snapshot"]


@dataclass(frozen=True, eq=False)
class CellChange:
    """What a live query has to tell: a snapshot, or the cells that changed. Immutable and safe to keep.

    Which cells changed is known; a table of them is made when it is asked for, once. All tables have the same columns:
    levels, measures, and `__depth__` if the query has totals.
    """

    epoch: int
    """The cells are as of this epoch."""
    from_epoch: int | None
    """The change is relative to this epoch; None for a snapshot."""
    branch: str
    snapshot: bool
    """True if `added` holds all cells and what was known before is void."""
    _cells: Answer
    """Cells as they were, then as they are; for a snapshot only those that are."""
    _places: _Places

    @cached_property
    def added(self) -> pa.Table:
        """Cells that were not there."""
        return _table(self._cells, self._places.added)

    @cached_property
    def changed(self) -> pa.Table:
        """Cells with another value in some measure, new values."""
        return self._both[0]

    @cached_property
    def changed_from(self) -> pa.Table:
        """The same cells in the same order, old values."""
        return self._both[1]

    @cached_property
    def removed(self) -> pa.Table:
        """Cells that are gone, old values."""
        return _table(self._cells, self._places.removed)

    @cached_property
    def _both(self) -> tuple[pa.Table, pa.Table]:
        """The changed cells as they are and as they were, both in the order of the levels."""
        cells, places = self._cells, self._places
        if not len(places.changed_from):
            return no_cells(cells.query), no_cells(cells.query)
        old = cells.in_order(places.changed_from)
        new = cells.take(old + places.half).to_arrow()
        members = new.columns[: len(cells.codes)]
        return new, cells.take(old).to_arrow(members=members)


@dataclass(frozen=True, slots=True)
class _Places:
    """Which cells of an answer changed, and how."""

    half: int
    """Cell i as it was is cell i + half as it is."""
    added: Array
    """(a,) int64."""
    changed_from: Array
    """(c,) int64: as they were."""
    removed: Array
    """(r,) int64."""


def snapshot(answer: Answer, epoch: int, branch: str) -> CellChange:
    """Return all cells of an answer as a change that makes what was known before void."""
    everything = answer.backend.xp.arange(len(answer))
    return CellChange(epoch, None, branch, True, answer, _Places(0, everything, everything[:0], everything[:0]))


def difference(
    query: Query, before: Sequence[CellSet], after: Sequence[CellSet], epochs: tuple[int, int], branch: str
) -> CellChange | None:
    """Return the cells whose values differ between two versions; None if there is none.

    Parameters
    ----------
    before, after : cells of each depth of the query, pair by pair; a cell without rows does not exist
    epochs : the epochs of the two versions
    """
    size = sum(map(len, before))
    if not size:
        return None
    cells = paired_answer(query, before, after)
    was, now = _present(query, before), _present(query, after)
    stays = was & now
    begin, end = epochs
    changed = (stays & _different(cells, size)).nonzero()[0]
    # Comparing with `stays` makes no difference where all cells do.
    added, removed = (now ^ stays).nonzero()[0], (was ^ stays).nonzero()[0]
    if not (len(added) or len(removed) or len(changed)):
        return None
    return CellChange(end, begin, branch, False, cells, _Places(size, added + size, changed, removed))


def _present(query: Query, parts: Sequence[CellSet]) -> Array:
    """Return which cells exist: those with rows, and always the one cell of a query without levels."""
    rows = parts[0].numbers.rows
    if len(parts) > 1:
        rows = parts[0].backend.xp.concatenate([cells.numbers.rows for cells in parts])
    return rows >= 0 if not query.levels else rows > 0


def _different(cells: Answer, size: int) -> Array:
    """Return (size,) bool: where a number of the first half of the cells differs from its second half.

    NaN is NaN, and null is null.
    """
    xp = cells.backend.xp
    floats: list[Array] = []
    others: list[Array] = []
    for values in cells.values:
        data = values.data
        if values.valid is not None:
            others.append(values.valid)
            data = xp.where(values.valid, data, 0)
        (floats if data.dtype.kind == "f" else others).append(data)
    differs = []
    if floats:
        old, new = _halves(xp.stack(floats), size)
        differs.append(((old != new) & ((old == old) | (new == new))).any(axis=0))
    if others:
        old, new = _halves(xp.stack(others), size)
        differs.append((old != new).any(axis=0))
    return differs[0] if len(differs) == 1 else differs[0] | differs[1]


def _halves(block: Array, size: int) -> tuple[Array, Array]:
    return block[:, :size], block[:, size:]


def _table(answer: Answer, places: Array) -> pa.Table:
    return answer.take(answer.in_order(places)).to_arrow() if len(places) else no_cells(answer.query)
