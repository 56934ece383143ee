"""Flat rows: rows of a table with the columns that its joins reach, at one snapshot.

Floor 3. Nothing is joined ahead of time: a value is gathered when it is asked for, through the entity that the row
points to and the row which that entity has in the snapshot. Each path is followed once, whatever is read behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.expression.join import Join, Reference
from gpu_engine.storage.column import Column, RowSelection, Values
from gpu_engine.storage.table_store import TableStore

if TYPE_CHECKING:
    from gpu_engine.expression.condition import Operand

__all__ = ["ConsecutiveRows", "FlatRows", "FlatView", "Identity", "RowReader", "Snapshot", "TableView"]

_MANY = 1 << 16
"""Rows beside which a wait for the device does not count."""


class TableView(Protocol):
    """Rows of one table as a snapshot shows them."""

    @property
    def row_count(self) -> int:
        """Rows that exist, dead ones included."""
        ...

    def alive(self, rows: RowSelection) -> Array:
        """Return (n,) bool: which of the rows are alive."""
        ...

    def rows_of(self, entities: Array) -> Array:
        """Return (n,) int64: the row of each of (n,) entities, -1 for none."""
        ...

    def alive_rows(self) -> Array:
        """Return (n,) int64: all rows alive, ascending."""
        ...

    def read(self, column: Column, rows: RowSelection) -> Values:
        """Return the values of a column; a slice gives views."""
        ...

    def pointers(self, join: object, rows: RowSelection) -> Array:
        """Return (n,) int32 entities that rows point to by a join, -1 for none."""
        ...

    def entities_of(self, rows: Array) -> Array:
        """Return (n,) int32 entities of rows."""
        ...


class Snapshot(Protocol):
    """All tables at one moment."""

    @property
    def epoch(self) -> int:
        """The epoch it shows."""
        ...

    def table(self, store: TableStore) -> TableView:
        """Return the rows of one table."""
        ...


class RowReader(Protocol):
    """Where expressions and conditions read: some rows, or some cells, of a snapshot."""

    @property
    def holds_values(self) -> bool:
        """Whether `values` can be called; cells know codes only."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    @property
    def backend(self) -> ArrayBackend:
        """Where the arrays live."""
        ...

    def values(self, reference: Reference) -> Values:
        """Return the values of a column."""
        ...

    def codes(self, reference: Reference) -> Array:
        """Return (n,) int32 dictionary codes of a column, -1 for null."""
        ...


class Identity:
    """What is equal for operands that yield the same; its hash is worked out once."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: tuple[object, ...]) -> None:
        self.value = value
        self._hash = hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Identity) and self.value == other.value)


class FlatView:
    """A root table and what its joins reach, at one snapshot."""

    def __init__(self, snapshot: Snapshot, root: TableStore) -> None:
        self.snapshot, self.root = snapshot, root
        self._row_of_entity: dict[Join, Array] = {}

    def rows(self, selection: RowSelection) -> FlatRows:
        """Return the given rows of the root, all of them below its row count."""
        return FlatRows(self, selection)

    def follow(self, join: Join, entities: Array) -> Array:
        """Return (n,) int64 rows of the join's target for (n,) entities, -1 for none."""
        view = self.snapshot.table(join.target)
        existing = join.target.rows.current.length
        if len(entities) < existing or len(entities) < 1024:
            return view.rows_of(entities)
        # Many rows, few entities: resolve each entity once; index -1 finds the extra last place, which holds -1.
        row_of = self._row_of_entity.get(join)
        if row_of is None or len(row_of) <= existing:
            xp = self.root.backend.xp
            everyone = xp.arange(existing + 1)
            everyone[existing] = -1
            row_of = self._row_of_entity[join] = view.rows_of(everyone)
        return row_of.take(entities)


class FlatRows:
    """Some rows of a flat view. Values are gathered on demand and kept while the object lives."""

    holds_values = True

    def __init__(self, view: FlatView, selection: RowSelection) -> None:
        self._view, self._selection = view, selection
        self._targets: dict[tuple[Join, ...], tuple[Array, Array | None]] = {}
        self._values: dict[Reference, Values] = {}
        self._codes: dict[Reference, Array] = {}
        self._evaluated: dict[Identity, Values] = {}

    def __len__(self) -> int:
        if isinstance(self._selection, slice):
            return int(self._selection.stop - self._selection.start)
        return len(self._selection)

    @property
    def backend(self) -> ArrayBackend:
        """Where the arrays live."""
        return self._view.root.backend

    def values(self, reference: Reference) -> Values:
        """Return the values of a column; null where a join finds no row."""
        values = self._values.get(reference)
        if values is None:
            values = self._values[reference] = self._read(reference)
        return values

    def codes(self, reference: Reference) -> Array:
        """Return (n,) int32 dictionary codes of a column, -1 for null and where a join finds no row."""
        codes = self._codes.get(reference)
        if codes is None:
            codes = self._codes[reference] = reference.column.codes(self.values(reference))
        return codes

    def evaluated(self, operand: Operand, identity: Identity) -> Values:
        """Return what a bound operand yields, computed once for operands of equal identity."""
        values = self._evaluated.get(identity)
        if values is None:
            values = self._evaluated[identity] = operand.evaluate(self)
        return values

    def narrowed(self, places: Array, numbers: Array) -> FlatRows:
        """Return the rows at (k,) places, which have these numbers; paths that were followed need not be again."""
        other = FlatRows(self._view, numbers)
        other._targets = {
            joins: (rows[places], None if present is None else present[places])
            for joins, (rows, present) in self._targets.items()
        }
        return other

    def _read(self, reference: Reference) -> Values:
        column = reference.column
        if not reference.joins:
            return self._table(self._view.root).read(column, self._selection)
        rows, present = self._follow(reference.joins)
        values = self._table(reference.joins[-1].target).read(column, rows)
        return values if present is None else column.or_null(values, present)

    def _table(self, store: TableStore) -> TableView:
        return self._view.snapshot.table(store)

    def _follow(self, joins: tuple[Join, ...]) -> tuple[Array, Array | None]:
        """Return (n,) int64 rows that a path leads to, 0 for none, and where there is one.

        Of many rows it is found out whether all lead somewhere, None then: what is read there needs no look at nulls.
        Of few it is not, because a device would have to be waited for.
        """
        found = self._targets.get(joins)
        if found is None:
            rows = self._view.follow(joins[-1], self._entities(joins))
            present = rows >= 0
            if len(rows) >= _MANY and self.backend.scalar(present.all()):
                found = rows, None
            else:
                found = self.backend.xp.maximum(rows, 0), present
            self._targets[joins] = found
        return found

    def _entities(self, joins: tuple[Join, ...]) -> Array:
        """Return (n,) int32 entities to which the last join of a path points, -1 for none."""
        *before, last = joins
        source = self._table(last.source)
        if not before:
            return source.pointers(last, self._selection)
        rows, present = self._follow(tuple(before))
        entities = source.pointers(last, rows)
        return entities if present is None else self.backend.xp.where(present, entities, -1)


class ConsecutiveRows(FlatRows):
    """Some rows of one snapshot and then some of another, read as if they were of one."""

    def __init__(self, first: FlatRows, then: FlatRows) -> None:
        super().__init__(first._view, slice(0, len(first) + len(then)))
        self._parts = (first, then)

    def _read(self, reference: Reference) -> Values:
        return Values.concatenated(self.backend, [part.values(reference) for part in self._parts])
