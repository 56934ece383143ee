"""Cells: the numbers of a provider or of a scan, one array per primitive.

Floor 4. `CellTable` is state that one writer moves; `CellSet` is a finished answer, cells with their codes, that can be
filtered and added up to coarser levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.addressing import Addressing, addressing_for
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.database.flat_rows import FlatRows
from gpu_engine.database.join import Reference
from gpu_engine.storage.column import Values
from gpu_engine.storage.growable import GrowableArray

if TYPE_CHECKING:
    from gpu_engine.cube.history import MergedMoves

__all__ = ["CellSet", "CellTable", "paired_cells", "place_rows"]


class CellTable:
    """Places of cells, and one growable array per primitive. Cells without rows hold what is empty."""

    def __init__(self, backend: ArrayBackend, addressing: Addressing, primitives: Sequence[Primitive]) -> None:
        self.backend = backend
        self.addressing = addressing
        self.slots = {
            primitive: GrowableArray(backend, primitive.dtype, fill=primitive.empty) for primitive in primitives
        }
        self.cover()

    @property
    def size(self) -> int:
        """Number of places that have room."""
        return self.slots[ROWS].length

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(slot.nbytes for slot in self.slots.values())

    def cover(self) -> None:
        """Make room for every place of the addressing; ROWS last, since readers go by its length."""
        size = self.addressing.size
        for primitive in [*(one for one in self.slots if one != ROWS), ROWS]:
            if self.slots[primitive].length < size:
                self.slots[primitive].resize(size)

    def readdressed(self, addressing: Addressing) -> CellTable:
        """Return a table with the same cells in other places."""
        other = CellTable(self.backend, addressing, list(self.slots))
        filled = self.backend.xp.flatnonzero(self.slots[ROWS].array)
        places = addressing.encode(self.addressing.decode(filled)) if len(filled) else filled
        other.cover()
        for primitive, slot in self.slots.items():
            other.slots[primitive].buffer[places] = slot.buffer[filled]
        return other


@dataclass(frozen=True, slots=True)
class CellSet:
    """Cells of some levels with their numbers; every cell has rows, and no two have the same codes."""

    backend: ArrayBackend
    codes: Mapping[Reference, Array]
    """Level -> (n,) int32 dictionary codes, -1 for N/A."""
    values: Mapping[Primitive, Array]
    """Primitive -> (n,) numbers."""

    def __len__(self) -> int:
        return len(self.values[ROWS])

    def take(self, places: Array) -> CellSet:
        """Return the cells at (k,) places, or where a (n,) mask is true."""
        return CellSet(
            self.backend,
            {level: codes[places] for level, codes in self.codes.items()},
            {primitive: values[places] for primitive, values in self.values.items()},
        )

    def replaced(self, moves: MergedMoves, levels: Sequence[Reference]) -> CellSet:
        """Return the cells with those that `moves` touched as they were before it."""
        xp = self.backend.xp
        codes = [self.codes[level] for level in levels]
        addressing = addressing_for(self.backend, [len(level.column.dictionary) for level in levels])
        if levels:
            kept = xp.flatnonzero(~xp.isin(addressing.encode(codes), addressing.encode(moves.codes)))
        else:
            kept = xp.zeros(0, dtype="int64")
        had_rows = xp.flatnonzero(moves.before[ROWS])
        return CellSet(
            self.backend,
            {
                level: xp.concatenate([ours[kept], theirs[had_rows]])
                for level, ours, theirs in zip(levels, codes, moves.codes, strict=True)
            },
            {one: xp.concatenate([values[kept], moves.before[one][had_rows]]) for one, values in self.values.items()},
        )

    def reader(self) -> CellReader:
        """Return the cells as conditions read them."""
        return CellReader(self)

    def roll_up(self, levels: Sequence[Reference], primitives: Sequence[Primitive]) -> CellSet:
        """Return the cells of some of the levels, each the union of those it covers."""
        xp = self.backend.xp
        if not levels and not len(self):
            return CellSet(self.backend, {}, {one: xp.zeros(0, dtype=one.dtype) for one in primitives})
        if not levels:
            group_of, first = xp.zeros(len(self), dtype="int64"), xp.zeros(1, dtype="int64")
        else:
            codes = [self.codes[level] for level in levels]
            addressing = addressing_for(self.backend, [len(level.column.dictionary) for level in levels])
            groups = self.backend.group(addressing.encode(codes))
            group_of = groups.group_of
            first = self.backend.group_max(xp.arange(len(self)), group_of, len(groups.keys), -1)
        return CellSet(
            self.backend,
            {level: self.codes[level][first] for level in levels},
            {one: one.merge(self.backend, self.values[one], group_of, len(first)) for one in primitives},
        )


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


def paired_cells(before: CellSet, after: CellSet) -> tuple[CellSet, CellSet]:
    """Return both sets over the cells of either, in the same order; a cell that one lacks has no rows there."""
    backend, xp = before.backend, before.backend.xp
    levels = list(before.codes)
    if not levels:
        keys = [xp.zeros(len(cells), dtype="int64") for cells in (before, after)]
    else:
        addressing = addressing_for(backend, [len(level.column.dictionary) for level in levels])
        keys = [addressing.encode([cells.codes[level] for level in levels]) for cells in (before, after)]
    groups = backend.group(xp.concatenate(keys))
    count, both = len(groups.keys), xp.arange(len(before) + len(after))
    first = backend.group_max(both, groups.group_of, count, -1)
    codes = {level: xp.concatenate([before.codes[level], after.codes[level]])[first] for level in levels}

    def spread(cells: CellSet, group_of: Array) -> CellSet:
        values = {}
        for primitive, numbers in cells.values.items():
            values[primitive] = xp.full(count, primitive.empty, dtype=primitive.dtype)
            values[primitive][group_of] = numbers
        return CellSet(backend, codes, values)

    return spread(before, groups.group_of[: len(before)]), spread(after, groups.group_of[len(before) :])


def place_rows(addressing: Addressing, rows: FlatRows, levels: Sequence[Reference]) -> Array:
    """Return (n,) int64: the place of the cell that each row belongs to."""
    if not levels:
        return rows.backend.xp.zeros(len(rows), dtype="int64")
    return addressing.encode([rows.codes(level) for level in levels])
