"""Changes of cells: which cells of a query were added, changed and removed from one version to another.

Floor 4. A cell is told of only if a value of it differs, whatever happened below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.answer import Answer, answer_of, no_cells
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
    old, new = answer_of(query, before), answer_of(query, after)
    xp = old.backend.xp
    was, now = _present(query, before), _present(query, after)
    if len(was) != len(old):
        return None
    differs = xp.zeros(len(old), dtype="bool")
    for left, right in zip(old.values, new.values, strict=True):
        differs |= _different(left, right)
    come, gone, places = xp.flatnonzero(now & ~was), xp.flatnonzero(was & ~now), xp.flatnonzero(was & now & differs)
    if not (len(come) or len(gone) or len(places)):
        return None
    places = new.in_order(places)
    changed, changed_from = new.take(places), old.take(places)
    members = changed.level_columns()
    begin, end = epochs
    return CellChange(
        end,
        begin,
        branch,
        False,
        _table(new, come),
        changed.to_arrow_with(members),
        changed_from.to_arrow_with(members),
        _table(old, gone),
    )


def _present(query: Query, parts: Sequence[CellSet]) -> Array:
    """Return which cells exist: those with rows, and always the one cell of a query without levels."""
    xp = parts[0].backend.xp
    rows = xp.concatenate([cells.numbers.rows for cells in parts])
    return rows >= 0 if not query.levels else rows > 0


def _different(old: Values, new: Values) -> Array:
    """Return (n,) bool: where two lists of numbers differ; NaN is NaN and null is null."""
    data = (old.data != new.data) & ~((old.data != old.data) & (new.data != new.data))
    if old.valid is None and new.valid is None:
        return data
    was = data == data if old.valid is None else old.valid
    now = data == data if new.valid is None else new.valid
    return (data & was & now) | (was != now)


def _table(answer: Answer, places: Array) -> pa.Table:
    return answer.take(answer.in_order(places)).to_arrow() if len(places) else no_cells(answer.query)
