"""Cells: the numbers of a provider or of a scan.

Floor 4. `CellTable` is state that one writer moves; `CellSet` is a finished answer, cells with their codes, that can be
filtered and added up to coarser levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.addressing import Addressing, addressing_for, readdressed
from gpu_engine.cube.numbers import Layout, Numbers
from gpu_engine.expression.flat_rows import FlatRows
from gpu_engine.expression.join import Reference
from gpu_engine.storage.column import Values

__all__ = ["CellReader", "CellSet", "CellTable", "common_places", "paired_cells", "place_rows"]


class CellTable:
    """Numbers by place. Places without rows hold what is empty. One writer at a time."""

    def __init__(self, backend: ArrayBackend, addressing: Addressing, layout: Layout) -> None:
        self.backend = backend
        self.addressing = addressing
        self.numbers = layout.empty(backend, max(addressing.size, _SMALLEST))
        """Numbers of all places that have room. Growing makes new arrays and leaves the old ones to their readers."""

    @property
    def size(self) -> int:
        """Number of places that have room."""
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self.numbers.nbytes

    def cover(self) -> None:
        """Make room for every place of the addressing, at least doubling when it must grow."""
        if self.addressing.size > self.size:
            layout, held = self.numbers.layout, self.numbers
            fresh = max(self.addressing.size, 2 * self.size) - self.size
            self.numbers = Numbers.concatenated(self.backend, [held, layout.empty(self.backend, fresh)])

    def readdressed(self, addressing: Addressing) -> CellTable:
        """Return a table with the same cells in other places."""
        filled = self.backend.xp.flatnonzero(self.numbers.rows)
        places = readdressed(filled, self.addressing, addressing) if len(filled) else filled
        other = CellTable(self.backend, addressing, self.numbers.layout)
        other.numbers.put(self.backend, places, self.numbers.take(self.backend, filled))
        return other


_SMALLEST = 64


@dataclass(frozen=True, slots=True)
class CellSet:
    """Cells of some levels with their numbers; no two have the same codes."""

    backend: ArrayBackend
    codes: Mapping[Reference, Array]
    """Level -> (n,) int32 dictionary codes, -1 for N/A."""
    numbers: Numbers
    """The n cells' numbers."""

    def __len__(self) -> int:
        return len(self.numbers)

    @staticmethod
    def filled(table: CellTable, numbers: Numbers, levels: Sequence[Reference]) -> CellSet:
        """Return the cells that have rows, from the numbers of all places of a table."""
        places = table.backend.xp.flatnonzero(numbers.rows)
        codes = table.addressing.decode(places) if levels else []
        return CellSet(table.backend, dict(zip(levels, codes, strict=True)), numbers.take(table.backend, places))

    def take(self, places: Array) -> CellSet:
        """Return the cells at (k,) places."""
        codes = {level: codes[places] for level, codes in self.codes.items()}
        return CellSet(self.backend, codes, self.numbers.take(self.backend, places))

    def at(self, levels: Sequence[Reference]) -> CellSet:
        """Return the cells with the codes of some levels only, which must tell them apart."""
        return CellSet(self.backend, {level: self.codes[level] for level in levels}, self.numbers)

    def roll_up(self, levels: Sequence[Reference]) -> CellSet:
        """Return the cells of some of the levels, each the union of those it covers."""
        xp = self.backend.xp
        if not len(self):
            return self.at(levels)
        if not levels:
            group_of, first = xp.zeros(len(self), dtype="int64"), xp.zeros(1, dtype="int64")
        else:
            groups = self.backend.group(common_places(self.backend, levels, [self.codes[level] for level in levels]))
            group_of = groups.group_of
            first = self.backend.group_max(xp.arange(len(self)), group_of, len(groups.keys), -1)
        codes = {level: self.codes[level][first] for level in levels}
        return CellSet(self.backend, codes, self.numbers.merged(self.backend, group_of, len(first)))

    def replaced(self, before: CellSet) -> CellSet:
        """Return the cells with those of `before` as they are there; those without rows there are gone."""
        xp, levels = self.backend.xp, list(self.codes)
        if levels:
            ours = [self.codes[level] for level in levels]
            theirs = [before.codes[level] for level in levels]
            both = [xp.concatenate(pair) for pair in zip(ours, theirs, strict=True)]
            places = common_places(self.backend, levels, both)
            kept = xp.flatnonzero(~xp.isin(places[: len(self)], places[len(self) :]))
        else:
            kept = xp.zeros(0, dtype="int64")
        old, new = before.take(xp.flatnonzero(before.numbers.rows)), self.take(kept)
        codes = {level: xp.concatenate([new.codes[level], old.codes[level]]) for level in levels}
        return CellSet(self.backend, codes, Numbers.concatenated(self.backend, [new.numbers, old.numbers]))

    def reader(self) -> CellReader:
        """Return the cells as conditions read them."""
        return CellReader(self)


class CellReader:
    """Cells as conditions read them: by code."""

    holds_values = False

    def __init__(self, cells: CellSet) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def backend(self) -> ArrayBackend:
        """Where the arrays live."""
        return self._cells.backend

    def values(self, reference: Reference) -> Values:
        """Refuse: cells know codes only."""
        raise NotImplementedError

    def codes(self, reference: Reference) -> Array:
        """Return the codes of a level."""
        return self._cells.codes[reference]


def common_places(backend: ArrayBackend, levels: Sequence[Reference], codes: Sequence[Array]) -> Array:
    """Return (n,) int64 that are equal exactly for cells with the same codes of one or more levels."""
    return addressing_for(backend, [len(level.column.dictionary) for level in levels]).encode(codes)


def paired_cells(before: CellSet, after: CellSet) -> tuple[CellSet, CellSet]:
    """Return both sets over the cells of either, in the same order; a cell that one lacks has no rows there."""
    backend, xp, levels = before.backend, before.backend.xp, list(before.codes)
    codes = [xp.concatenate([before.codes[level], after.codes[level]]) for level in levels]
    total = len(before) + len(after)
    places = common_places(backend, levels, codes) if levels else xp.zeros(total, dtype="int64")
    groups = backend.group(places)
    first = backend.group_max(xp.arange(total), groups.group_of, len(groups.keys), -1)
    shared = {level: part[first] for level, part in zip(levels, codes, strict=True)}

    def spread(cells: CellSet, group_of: Array) -> CellSet:
        numbers = cells.numbers.layout.empty(backend, len(first))
        numbers.put(backend, group_of, cells.numbers)
        return CellSet(backend, shared, numbers)

    return spread(before, groups.group_of[: len(before)]), spread(after, groups.group_of[len(before) :])


def place_rows(addressing: Addressing, rows: FlatRows, levels: Sequence[Reference]) -> Array:
    """Return (n,) int64: the place of the cell that each row belongs to."""
    if not levels:
        return rows.backend.xp.zeros(len(rows), dtype="int64")
    return addressing.encode([rows.codes(level) for level in levels])
