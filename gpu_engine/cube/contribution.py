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
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatRows, FlatView
from gpu_engine.expression.join import Reference
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
        self.old_held: Array | None = None if condition is None else condition.mask(self.old)
        """(n,) bool: the leaving rows that count; None if all do."""
        self.new_held: Array | None = None if condition is None else condition.mask(self.new)
        """(n,) bool: the entering rows that count; None if all do."""
        for level in levels:
            # The dictionaries must know all codes before an addressing is chosen.
            self.old.codes(level)
            self.new.codes(level)


class Contribution:
    """Signed values of moved rows, grouped by the cells that they touch, in the places of an addressing."""

    def __init__(self, rows: MovedRows, addressing: Addressing) -> None:
        self._rows, self._backend = rows, rows.backend
        xp, paired = rows.backend.xp, rows.moves.paired
        self._old_places = place_rows(addressing, rows.old, rows.levels)
        self._new_places = place_rows(addressing, rows.new, rows.levels)
        stays = self._old_places[:paired] == self._new_places[:paired]
        leaves = xp.ones(len(rows.old), dtype="bool")
        if rows.old_held is not None and rows.new_held is not None:
            stays &= rows.old_held[:paired] & rows.new_held[:paired]
            leaves = rows.old_held.copy()
        leaves[:paired] &= ~stays
        self._stays: Array = stays
        """(p,) bool: pairs that count and keep their cell."""
        self._entering: Array | slice = slice(None) if rows.new_held is None else xp.flatnonzero(rows.new_held)
        self._leaving: Array = xp.flatnonzero(leaves)
        touched = xp.concatenate([self._new_places[self._entering], self._old_places[self._leaving]])
        self._groups: Groups = rows.backend.group(touched)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def places(self) -> Array:
        """(k,) int64: the touched cells, ascending."""
        return self._groups.keys

    def sums(self, floats: Sequence[Primitive], integers: Sequence[Primitive]) -> tuple[Array, Array]:
        """Return (k, m) float64 and (k, n) int64: what to add to m and n linear primitives in each touched cell."""
        xp, width = self._backend.xp, len(floats)
        # Numbers of rows are exact as floats, so one verb adds them up together with the float sums; the count of what
        # is never null is that of the rows.
        counts = [one for one in integers if one.function == "count" and not self._never_null(one)]
        exact = [one for one in integers if one.function == "sum"]
        added = self._added_up([*floats, ROWS, *counts], "float64")
        whole = xp.empty((len(self), len(integers)), dtype="int64")
        whole[:] = added[:, width, None]
        for offset, one in enumerate(counts):
            whole[:, integers.index(one)] = added[:, width + 1 + offset]
        if exact:
            whole[:, [integers.index(one) for one in exact]] = self._added_up(exact, "int64")
        return added[:, :width], whole

    def _added_up(self, primitives: Sequence[Primitive], dtype: str) -> Array:
        """Return (k, m) the signed sums of m primitives over the moved rows of each touched cell."""
        paired, (old, new) = self._rows.moves.paired, (self._rows.old, self._rows.new)
        entering, leaving = self._values(primitives, new, dtype), self._values(primitives, old, dtype)
        entering[:paired] -= self._backend.xp.where(self._stays[:, None], leaving[:paired], 0)
        signed = self._backend.xp.concatenate([entering[self._entering], -leaving[self._leaving]])
        return self._backend.group_sum(signed, self._groups.group_of, len(self))

    def _values(self, primitives: Sequence[Primitive], rows: FlatRows, dtype: str) -> Array:
        values = self._backend.xp.empty((len(rows), len(primitives)), dtype=dtype)
        for column, primitive in enumerate(primitives):
            values[:, column] = 1 if primitive == ROWS else primitive.values(rows)
        return values

    def entering(self, primitive: Primitive) -> Array:
        """Return (k,) the extreme of what enters, or stays in, each touched cell."""
        values = primitive.values(self._rows.new)[self._entering]
        return primitive.merge(self._backend, values, self._groups.group_of[: len(values)], len(self))

    def leaving(self, primitive: Primitive) -> Array:
        """Return (k,) the extreme of what leaves each touched cell, or was in it and may have changed."""
        values = primitive.values(self._rows.old)
        if self._rows.old_held is not None:
            held = self._backend.xp.flatnonzero(self._rows.old_held)
            groups = self._backend.xp.searchsorted(self.places, self._old_places[held])
            return primitive.merge(self._backend, values[held], groups, len(self))
        return primitive.merge(self._backend, values, self._old_groups(), len(self))

    def _old_groups(self) -> Array:
        """Return (n,) the touched cell of each leaving row, where all rows count: its pair's if it keeps its cell."""
        groups = self._backend.xp.empty(len(self._rows.old), dtype=self._groups.group_of.dtype)
        entering = len(self._rows.new)
        groups[: self.moves.paired] = self._groups.group_of[: self.moves.paired]
        groups[self._leaving] = self._groups.group_of[entering:]
        return groups

    @property
    def moves(self) -> Moves:
        """The rows that leave and enter."""
        return self._rows.moves

    def rows_entering(self, wanted: Array) -> Array:
        """Return (m,) the rows that enter, or stay in, any of (k,) ascending places."""
        xp, places = self._backend.xp, self._new_places
        found = wanted[xp.minimum(xp.searchsorted(wanted, places), len(wanted) - 1)] == places
        if self._rows.new_held is not None:
            found &= self._rows.new_held
        return self.moves.new[xp.flatnonzero(found)]

    def entries(self) -> tuple[Array, Array]:
        """Return the (m,) places and rows of what is in a cell that it was not in before."""
        xp, moves = self._backend.xp, self._rows.moves
        paired = moves.paired
        fresh = xp.ones(len(moves.new), dtype="bool") if self._rows.new_held is None else self._rows.new_held.copy()
        fresh[:paired] &= ~(self._stays & (moves.old[:paired] == moves.new[:paired]))
        chosen = xp.flatnonzero(fresh)
        return self._new_places[chosen], moves.new[chosen]

    def _never_null(self, primitive: Primitive) -> bool:
        """Return whether the expression has a value for every moved row."""
        assert primitive.expression is not None
        sides = (self._rows.old, self._rows.new)
        return all(side.evaluated(primitive.expression, primitive.identity).valid is None for side in sides)
