"""Changes of cells: which cells of a query were added, changed and removed from one version to another.

Floor 4. A cell is told of only if a value of it differs, whatever happened below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.answer import Answer, no_cells, paired_answer
from gpu_engine.cube.cells import CellSet
from gpu_engine.cube.query import Query
from gpu_engine.storage.column import Values

__all__ = ["CellChange", "difference", "snapshot"]


@dataclass(frozen=True, slots=True)
class CellChange:
    """What a live query has to tell: a snapshot, or the cells that changed. Tables are immutable and safe to keep.

    All tables have the same columns: levels, measures, and `__depth__` if the query has totals.
    """

    epoch: int
    """The cells are as of this epoch."""
    from_epoch: int | None
    """The change is relative to this epoch; None for a snapshot."""
    branch: str
    snapshot: bool
    """True if `added` holds all cells and what was known before is void."""
    added: pa.Table
    """Cells that were not there."""
    changed: pa.Table
    """Cells with another value in some measure, new values."""
    changed_from: pa.Table
    """The same cells in the same order, old values."""
    removed: pa.Table
    """Cells that are gone, old values."""


def snapshot(answer: Answer, epoch: int, branch: str) -> CellChange:
    """Return all cells of an answer as a change that makes what was known before void."""
    nothing = no_cells(answer.query)
    return CellChange(epoch, None, branch, True, answer.sorted().to_arrow(), nothing, nothing, nothing)


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
    differs = _different(cells.values[0], size)
    for values in cells.values[1:]:
        differs |= _different(values, size)
    begin, end = epochs
    added, removed = (now & ~was).nonzero()[0], (was & ~now).nonzero()[0]
    changed = (was & now & differs).nonzero()[0]
    if not (len(added) or len(removed) or len(changed)):
        return None
    new, old = _changed(cells, changed, size)
    return CellChange(end, begin, branch, False, _table(cells, added + size), new, old, _table(cells, removed))


def _present(query: Query, parts: Sequence[CellSet]) -> Array:
    """Return which cells exist: those with rows, and always the one cell of a query without levels."""
    rows = parts[0].numbers.rows
    if len(parts) > 1:
        rows = parts[0].backend.xp.concatenate([cells.numbers.rows for cells in parts])
    return rows >= 0 if not query.levels else rows > 0


def _different(values: Values, size: int) -> Array:
    """Return (size,) bool: where the first half of a list of numbers differs from the second; NaN is NaN, null null."""
    old, new = values.data[:size], values.data[size:]
    data = (old != new) & ~((old != old) & (new != new))
    if values.valid is None:
        return data
    was, now = values.valid[:size], values.valid[size:]
    return (data & was & now) | (was != now)


def _changed(cells: Answer, places: Array, size: int) -> tuple[pa.Table, pa.Table]:
    """Return the cells at (k,) places as they are and as they were, both in the order of the levels."""
    if not len(places):
        return no_cells(cells.query), no_cells(cells.query)
    places = cells.in_order(places)
    both = cells.take(cells.backend.xp.concatenate([places + size, places])).to_arrow()
    return both.slice(0, len(places)), both.slice(len(places))


def _table(answer: Answer, places: Array) -> pa.Table:
    return answer.take(answer.in_order(places)).to_arrow() if len(places) else no_cells(answer.query)
