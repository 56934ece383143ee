"""Rows by cell: how a provider finds the rows of one cell, to read its extreme again when a removal took it.

Floor 4. Entries (cell, row) are only ever added; a row that has died stays behind as a stale entry. A row itself never
changes its cell. Only a change of what it is joined to moves it; then its entry in the old cell is stale too, and from
then on whoever looks entries up has to check each row's present cell. When stale entries are many, all are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.addressing import Addressing, readdressed
from gpu_engine.cube.cells import place_rows
from gpu_engine.cube.scan import live_rows
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Reference
from gpu_engine.storage.postings import Postings

__all__ = ["RowsByCell"]

Part = tuple[int, Array, Array | None]
"""Where a part of a table starts, and of rows there (n,) cells and (n,) numbers, None if they are all n from there."""


class RowsByCell:
    """Entries (cell, row) with an index by cell. One thread at a time."""

    def __init__(self, backend: ArrayBackend, postings: Postings, settled: bool = True) -> None:
        self._backend, self._postings = backend, postings
        self.settled = settled
        """Whether each row has one entry, and lies in its cell if it is alive: no row has moved."""

    @staticmethod
    def of(backend: ArrayBackend, parts: Sequence[Part], size: int) -> RowsByCell:
        """Return the entries of parts of a table, with cells below `size`."""
        ordered, share = sorted(parts, key=lambda part: part[0]), -(-len(parts) // backend.workers) or 1
        shares = [ordered[first : first + share] for first in range(0, len(ordered), share)]
        return RowsByCell(backend, Postings.of(backend, [_joined(backend, one) for one in shares], size))

    @staticmethod
    def scanned(
        view: FlatView, levels: Sequence[Reference], condition: Condition | None, addressing: Addressing
    ) -> RowsByCell:
        """Return an entry for each row alive in the view that satisfies the condition."""
        backend, row_count = view.root.backend, view.snapshot.table(view.root).row_count
        parts: list[Part] = []
        for start in range(0, row_count, backend.chunk_rows):
            rows, numbers = live_rows(view, start, min(start + backend.chunk_rows, row_count), condition)
            parts.append((start, place_rows(addressing, rows, levels).astype("int32"), numbers))
        return RowsByCell.of(backend, parts, addressing.size)

    def __len__(self) -> int:
        return len(self._postings)

    @property
    def nbytes(self) -> int:
        """Bytes of the entries and their index."""
        return self._postings.nbytes

    def reserve(self, count: int) -> None:
        """Make room for so many entries more, so that `add` cannot fail."""
        self._postings.reserve(count)

    def add(self, cells: Array, rows: Array) -> None:
        """Take in that (n,) rows lie in (n,) cells."""
        self._postings.add(cells, rows)

    def find(self, cells: Array, size: int) -> tuple[Array, Array]:
        """Return which of (k,) distinct ascending cells below `size` rows are entered in, and the rows, dead ones too.

        Unless `settled`, a row may have moved elsewhere, and may come twice.
        """
        return self._postings.find(cells, size)

    def renumbered(self, new_of: Array) -> RowsByCell:
        """Return the entries with new row numbers; `new_of` gives that of each old row, -1 where it is gone."""
        return RowsByCell(self._backend, self._postings.renumbered(new_of), self.settled)

    def readdressed(self, old: Addressing, new: Addressing) -> RowsByCell:
        """Return the same entries with the cells' new places."""
        cells, rows = self._postings.pairs()
        places = readdressed(cells, old, new)
        return RowsByCell(self._backend, Postings.of(self._backend, [(places, rows)], new.size), self.settled)


def _joined(backend: ArrayBackend, parts: Sequence[Part]) -> tuple[Array, Array | int]:
    """Return the cells of parts that follow each other, and the rows, or the first of them if none is left out."""
    xp = backend.xp
    cells = xp.concatenate([cells for _, cells, _ in parts])
    if all(numbers is None for _, _, numbers in parts):
        return cells, parts[0][0]
    rows = [
        xp.arange(start, start + len(cells), dtype="int32") if numbers is None else numbers.astype("int32")
        for start, cells, numbers in parts
    ]
    return cells, xp.concatenate(rows)
