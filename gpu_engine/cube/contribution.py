"""Contributions: what the rows that a commit moves take from their old cells and bring to their new ones.

Floor 4. A row that stays in its cell brings the difference of its values, so a value that did not change brings exactly
nothing, whatever rounding would have made of taking it away and bringing it back.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_engine.backend.array_backend import Array, ArrayBackend, Groups
from gpu_engine.cube.addressing import Addressing
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.cube.cells import place_rows
from gpu_engine.database.commit import Commit, Moves
from gpu_engine.database.condition import Condition
from gpu_engine.database.flat_rows import FlatRows, FlatView
from gpu_engine.database.join import Reference
from gpu_engine.storage.table_store import TableStore

__all__ = ["Contribution", "MovedRows"]


class MovedRows:
    """The rows of one commit as one provider sees them: leaving and entering, those that its condition lets through."""

    def __init__(
        self, commit: Commit, moves: Moves, root: TableStore, levels: Sequence[Reference], condition: Condition | None
    ) -> None:
        self.old: FlatRows = FlatView(commit.before, root).rows(moves.old)
        self.new: FlatRows = FlatView(commit.after, root).rows(moves.new)
        self.moves, self.levels = moves, levels
        self.backend: ArrayBackend = root.backend
        xp = root.backend.xp
        self.old_held: Array = xp.ones(len(self.old), dtype="bool") if condition is None else condition.mask(self.old)
        self.new_held: Array = xp.ones(len(self.new), dtype="bool") if condition is None else condition.mask(self.new)
        for level in levels:
            # The dictionaries must know all codes before an addressing is chosen.
            self.old.codes(level)
            self.new.codes(level)

    def contribution(self, addressing: Addressing) -> Contribution:
        """Return the change of the cells that the rows leave and enter, in the places of `addressing`."""
        return Contribution(
            self, place_rows(addressing, self.old, self.levels), place_rows(addressing, self.new, self.levels)
        )


class Contribution:
    """Signed values of moved rows, grouped by the cells that they touch."""

    def __init__(self, rows: MovedRows, old_places: Array, new_places: Array) -> None:
        self._rows, self._backend = rows, rows.backend
        xp, paired = rows.backend.xp, rows.moves.paired
        self.old_places, self.new_places = old_places, new_places
        self._stays: Array = old_places[:paired] == new_places[:paired]
        self._stays &= rows.old_held[:paired] & rows.new_held[:paired]
        leaves = rows.old_held.copy()
        leaves[:paired] &= ~self._stays
        self._entering: Array = xp.flatnonzero(rows.new_held)
        self._leaving: Array = xp.flatnonzero(leaves)
        touched = xp.concatenate([new_places[self._entering], old_places[self._leaving]])
        self._rows_change: Array | None = None
        self._groups: Groups = rows.backend.group(touched)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def places(self) -> Array:
        """(k,) int64: the touched cells, ascending."""
        return self._groups.keys

    def change(self, primitive: Primitive) -> Array:
        """Return (k,) what is to be added to a linear primitive in each touched cell."""
        if primitive.function == "count" and self._never_null(primitive):
            return self.change(ROWS)
        if primitive == ROWS and self._rows_change is not None:
            return self._rows_change
        new = primitive.values(self._rows.new)
        paired = self._rows.moves.paired
        old = primitive.values(self._rows.old)
        difference = new.copy()
        with self._backend.ignore_float_errors():
            difference[:paired] -= self._backend.xp.where(self._stays, old[:paired], 0)
        signed = self._backend.xp.concatenate([difference[self._entering], -old[self._leaving]])
        change = self._backend.group_sum(signed, self._groups.group_of, len(self))
        if primitive == ROWS:
            self._rows_change = change
        return change

    def _never_null(self, primitive: Primitive) -> bool:
        """Return whether the expression has a value for every moved row, so that its count is the rows'."""
        assert primitive.expression is not None
        sides = (self._rows.old, self._rows.new)
        return all(side.evaluated(primitive.expression, primitive.identity).valid is None for side in sides)

    def entering(self, primitive: Primitive) -> Array:
        """Return (k,) the extreme of what enters, or stays in, each touched cell."""
        values = primitive.values(self._rows.new)[self._entering]
        return primitive.merge(self._backend, values, self._groups.group_of[: len(self._entering)], len(self))

    def leaving(self, primitive: Primitive) -> Array:
        """Return (k,) the extreme of what leaves each touched cell, or was in it and may have changed."""
        xp = self._backend.xp
        held = xp.flatnonzero(self._rows.old_held)
        values = primitive.values(self._rows.old)[held]
        groups = xp.searchsorted(self.places, self.old_places[held])
        return primitive.merge(self._backend, values, groups, len(self))

    def entries(self) -> tuple[Array, Array]:
        """Return the (m,) places and rows of what is in a cell that it was not in before."""
        xp, moves = self._backend.xp, self._rows.moves
        fresh = self._rows.new_held.copy()
        same_row = moves.old[: moves.paired] == moves.new[: moves.paired]
        fresh[: moves.paired] &= ~(self._stays & same_row)
        chosen = xp.flatnonzero(fresh)
        return self.new_places[chosen], moves.new[chosen]
