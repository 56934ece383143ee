"""Contributions: what the rows that a commit moves take from their old cells and bring to their new ones.

Floor 4. A row that stays in its cell brings the difference of its values, so a value that did not change brings exactly
nothing, whatever rounding would have made of taking it away and bringing it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from gpu_engine.backend.array_backend import Array, ArrayBackend, Groups
from gpu_engine.cube.addressing import Addressing
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.cube.cells import place_rows
from gpu_engine.database.commit import Commit, Moves
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import ConsecutiveRows, FlatRows, FlatView
from gpu_engine.expression.join import Join, Reference
from gpu_engine.storage.table_store import TableStore

__all__ = ["Contribution", "MovedRows"]


class MovedRows:
    """The rows of one commit as one provider sees them: first those that leave, then those that enter."""

    def __init__(
        self,
        commit: Commit,
        moves: Moves,
        root: TableStore,
        joins: Iterable[Join],
        levels: Sequence[Reference],
        condition: Condition | None,
    ) -> None:
        self.moves, self.levels = moves, levels
        self.backend: ArrayBackend = root.backend
        self.leaving = len(moves.old)
        """How many leave; the others enter."""
        self.rows = _flat_rows(commit, moves, root, joins)
        self.held: Array | None = None if condition is None else condition.mask(self.rows)
        """(n,) bool: the rows that count; None if all do."""
        for level in levels:
            # The dictionaries must know all codes before an addressing is chosen.
            self.rows.codes(level)


def _flat_rows(commit: Commit, moves: Moves, root: TableStore, joins: Iterable[Join]) -> FlatRows:
    """Return the leaving rows as they were and the entering ones as they are.

    A row itself never changes: unless a table that it is joined to does, both are read in one go.
    """
    after = FlatView(commit.after, root)
    if not any(join.target in commit.changes for join in joins):
        return after.rows(root.backend.xp.concatenate([moves.old, moves.new]))
    return ConsecutiveRows(FlatView(commit.before, root).rows(moves.old), after.rows(moves.new))


class Contribution:
    """Signed values of moved rows, grouped by the cells that they touch, in the places of an addressing."""

    def __init__(self, moved: MovedRows, addressing: Addressing) -> None:
        self._moved, self._rows, self._backend = moved, moved.rows, moved.backend
        xp, paired, self._split = moved.backend.xp, moved.moves.paired, moved.leaving
        places = place_rows(addressing, moved.rows, moved.levels)
        self._old_places, self._new_places = self._halves(places)
        stays = self._old_places[:paired] == self._new_places[:paired]
        if moved.held is None:
            self._old_held = self._new_held = None
            leaves = xp.ones(self._split, dtype="bool")
        else:
            self._old_held, self._new_held = self._halves(moved.held)
            stays &= self._old_held[:paired] & self._new_held[:paired]
            leaves = self._old_held.copy()
        leaves[:paired] &= ~stays
        self._stays: Array = stays
        """(p,) bool: pairs that count and keep their cell."""
        self._entering: Array | slice = slice(None) if self._new_held is None else self._new_held.nonzero()[0]
        self._leaving: Array = leaves.nonzero()[0]
        touched = xp.concatenate([self._new_places[self._entering], self._old_places[self._leaving]])
        self._groups: Groups = moved.backend.group(touched)

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
        counts = [one for one in integers if one.function == "count" and not one.counts_all(self._rows)]
        exact = [one for one in integers if one.function == "sum"]
        added = self._added_up([*floats, ROWS, *counts], "float64")
        whole = xp.empty((len(self), len(integers)), dtype="int64")
        whole[:] = added[:, width, None]
        for offset, one in enumerate(counts):
            whole[:, integers.index(one)] = added[:, width + 1 + offset]
        if exact:
            sums = self._added_up(exact, "int64")
            for offset, one in enumerate(exact):
                whole[:, integers.index(one)] = sums[:, offset]
        return added[:, :width], whole

    def _added_up(self, primitives: Sequence[Primitive], dtype: str) -> Array:
        """Return (k, m) the signed sums of m primitives over the moved rows of each touched cell."""
        paired = self.moves.paired
        leaving, entering = self._halves(self._values(primitives, dtype))
        entering[:paired] -= self._backend.xp.where(self._stays[:, None], leaving[:paired], 0)
        signed = self._backend.xp.concatenate([entering[self._entering], -leaving[self._leaving]])
        return self._backend.group_sum(signed, self._groups.group_of, len(self))

    def _values(self, primitives: Sequence[Primitive], dtype: str) -> Array:
        values = self._backend.xp.empty((len(self._rows), len(primitives)), dtype=dtype)
        for column, primitive in enumerate(primitives):
            values[:, column] = 1 if primitive == ROWS else primitive.values(self._rows)
        return values

    def _halves(self, values: Array) -> tuple[Array, Array]:
        """Return what belongs to the leaving rows, and what to the entering ones."""
        return values[: self._split], values[self._split :]

    def entering(self, primitive: Primitive) -> Array:
        """Return (k,) the extreme of what enters, or stays in, each touched cell."""
        values = self._halves(primitive.values(self._rows))[1][self._entering]
        return primitive.merge(self._backend, values, self._groups.group_of[: len(values)], len(self))

    def leaving(self, primitive: Primitive) -> Array:
        """Return (k,) the extreme of what leaves each touched cell, or was in it and may have changed."""
        values, _ = self._halves(primitive.values(self._rows))
        rows, groups = self._old_groups
        return primitive.merge(self._backend, values[rows], groups, len(self))

    @cached_property
    def _old_groups(self) -> tuple[Array | slice, Array]:
        """Which of the leaving rows counted, and the touched cell of each: its pair's if it keeps its cell."""
        if self._old_held is not None:
            held = self._old_held.nonzero()[0]
            return held, self._backend.xp.searchsorted(self.places, self._old_places[held])
        groups = self._backend.xp.empty(self._split, dtype=self._groups.group_of.dtype)
        entering = len(self.moves.new)
        groups[: self.moves.paired] = self._groups.group_of[: self.moves.paired]
        groups[self._leaving] = self._groups.group_of[entering:]
        return slice(None), groups

    @property
    def moves(self) -> Moves:
        """The rows that leave and enter."""
        return self._moved.moves

    def rows_leaving(self, cells: Array) -> Array:
        """Return (m,) the rows that leave, or were in, the touched cells at (k,) ascending positions."""
        rows, groups = self._old_groups
        return self._those_of(self.moves.old[rows], groups, cells)[0]

    def rows_entering(self, cells: Array) -> tuple[Array, Array]:
        """Return (m,) the rows that enter, or stay in, the touched cells at (k,) positions, and which each is in."""
        rows = self.moves.new[self._entering]
        return self._those_of(rows, self._groups.group_of[: len(rows)], cells)

    def _those_of(self, rows: Array, groups: Array, cells: Array) -> tuple[Array, Array]:
        """Return those of (n,) rows of touched cells that are of the (k,) cells meant, and of which of these."""
        xp = self._backend.xp
        number = xp.full(len(self), -1, dtype="int64")
        number[cells] = xp.arange(len(cells))
        numbers = number[groups]
        found = (numbers >= 0).nonzero()[0]
        return rows[found], numbers[found]

    def entries(self) -> tuple[Array, Array]:
        """Return the (m,) places and rows of what is in a cell that it was not in before."""
        xp, moves = self._backend.xp, self.moves
        paired = moves.paired
        fresh = xp.ones(len(moves.new), dtype="bool") if self._new_held is None else self._new_held.copy()
        fresh[:paired] &= ~(self._stays & (moves.old[:paired] == moves.new[:paired]))
        chosen = fresh.nonzero()[0]
        return self._new_places[chosen], moves.new[chosen]
