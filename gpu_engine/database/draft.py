"""Drafts: what a commit will do to one table, worked out where no reader looks.

Floor 3. Operations apply to a draft one after the other, each seeing what the ones before did. New rows are written
behind the visible ones; nothing else of the table is touched, so a draft is abandoned by forgetting it. `change` says
in the end which rows begin and which end. A draft is itself a view of the table as it will be after the commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.report import TableReport
from gpu_engine.expression.join import Join
from gpu_engine.storage.column import Column, RowSelection, Values
from gpu_engine.storage.table_store import TableChange, TableStore
from gpu_engine.storage.table_version import TableVersion

__all__ = ["TableDraft"]

_BULK_ROWS = 1 << 15
"""Rows from which on it pays to take on threads."""


@dataclass(slots=True)
class _Counts:
    """What happened to the rows of a transaction, besides beginning and ending."""

    duplicates: int = 0
    unchanged: int = 0


class TableDraft:
    """One table in one commit. Used by the writer only, and thrown away with the commit."""

    def __init__(self, base: TableVersion, joins: Sequence[Join]) -> None:
        self.store: TableStore = base.store
        self.base = base
        self.counts = _Counts()
        self._joins = joins
        self._xp = base.store.backend.xp
        self._scalar = base.store.backend.scalar
        # Other branches may have added rows since the base: new ones go behind all of them.
        self._first = self._end = base.rows.row_count
        self._dropped: Array = self._xp.zeros(0, dtype="int64")
        """Rows of the base that operations ended, ascending; updated ones are not among them."""
        self._revised = False
        """Whether an operation undid an earlier one or dropped rows: a row may then end up as it was."""
        self._staged_alive: Array = self._xp.zeros(0, dtype="bool")
        self._replaced: Array | None = None
        """(n,) int64: the row of the base that each staged row takes the place of, -1 for none, where one operation
        has staged all; None if that has to be looked up."""

    # -- operations -------------------------------------------------------------------------------------------------

    def upsert(self, columns: Mapping[str, pa.Array]) -> None:
        """Add rows, or update those whose key exists. Of several rows with one key the last counts.

        Parameters
        ----------
        columns : every column of the table -> (n,) Arrow array of its type; key columns without nulls
        """
        self._upsert(self._ingested(columns))

    def update(self, columns: Mapping[str, pa.Array]) -> Array:
        """Change the given columns of the rows with the given keys.

        Returns
        -------
        (n,) bool, on the host
            Which of the keys exist. Nothing is changed unless all do.
        """
        given = self._ingested(columns)
        rows = self.rows_of(self._lookup({name: given[name] for name in self.store.schema.keys}))
        found = self.store.backend.to_host(rows >= 0)
        if found.all():
            self._upsert({**self._read(rows), **given})
        return found

    def drop_keys(self, columns: Mapping[str, pa.Array]) -> None:
        """End the rows with the given keys; keys that have no row are passed over."""
        keys = self._ingested(columns)
        rows = self.rows_of(self._lookup(keys))
        self.drop(self._xp.unique(rows[rows >= 0]))

    def drop(self, rows: Array) -> None:
        """End (n,) distinct rows that are alive in the draft."""
        self._revised = True
        is_staged = rows >= self._first
        staged, ended = rows[is_staged], rows[~is_staged]
        self._staged_alive[staged - self._first] = False
        if self.store.entities is not None and len(staged):
            before = self._previous(staged)
            before = before[before >= 0]
            ended = self._xp.concatenate([ended, before[self.base.alive(before)]])
        self._dropped = self._xp.union1d(self._dropped, ended)

    # -- the draft as a view ----------------------------------------------------------------------------------------

    @property
    def row_count(self) -> int:
        """Rows that exist, dead and staged ones included."""
        return self._end

    def alive(self, rows: RowSelection) -> Array:
        """Return (n,) bool: which of the rows are alive after the operations so far."""
        if isinstance(rows, slice):
            rows = self._xp.arange(rows.start, rows.stop)
        staged = rows >= self._first
        alive = self.base.alive(rows) & ~staged & ~self._xp.isin(rows, self._ended())
        if len(self._staged_alive):
            alive |= staged & self._staged_alive[self._xp.maximum(rows - self._first, 0)]
        return alive

    def read(self, column: Column, rows: RowSelection) -> Values:
        """Return the values of a column, staged rows included."""
        return self.base.read(column, rows)

    def pointers(self, join: object, rows: RowSelection) -> Array:
        """Return (n,) int32 entities that rows point to by a join, -1 for none."""
        return self.base.pointers(join, rows)

    def entities_of(self, rows: Array) -> Array:
        """Return (n,) int32 entities of rows."""
        return self.base.entities_of(rows)

    def alive_rows(self) -> Array:
        """Return (n,) int64: all rows alive after the operations so far, ascending."""
        return self._xp.flatnonzero(self.alive(slice(0, self._end)))

    def rows_of(self, entities: Array) -> Array:
        """Return (n,) int64: the row of each of (n,) entities after the operations so far, -1 for none."""
        return self._existing(entities, self.base.newest(entities))

    # -- the outcome ------------------------------------------------------------------------------------------------

    def change(self) -> TableChange:
        """Return which rows begin and end. Rows that end up as they were neither begin nor end."""
        xp = self._xp
        alive = self._staged()
        nothing = stillborn = alive[:0]
        if self._revised:
            stillborn = self._first + xp.flatnonzero(~self._staged_alive)
        if self.store.entities is None or not len(alive):
            return TableChange(nothing, nothing, alive, self._dropped, stillborn, self._end)
        if self._replaced is None or self._revised:
            before = self.base.alive_or_none(self._previous(alive))
        else:
            before = self._replaced
        paired = before >= 0
        places = paired.nonzero()[0]
        old, new = before[places], alive[places]
        added = nothing if len(new) == len(alive) else alive[~paired]
        removed = self._dropped
        if self._revised:
            same = self._same(self._read(old), self._read(new))
            self.counts.unchanged += int(self._scalar(same.sum()))
            stillborn = xp.concatenate([stillborn, new[same]])
            removed = xp.setdiff1d(removed, old)
            old, new = old[~same], new[~same]
        return TableChange(old, new, added, removed, stillborn, self._end)

    def report(self, change: TableChange | None) -> TableReport:
        """Return what happened to the rows given; `change` is the outcome, None if there is none."""
        counts = self.counts
        if change is None:
            return TableReport(unchanged=counts.unchanged, duplicates=counts.duplicates)
        return TableReport(
            len(change.added), len(change.updated_new), len(change.removed), counts.unchanged, counts.duplicates
        )

    # -- how --------------------------------------------------------------------------------------------------------

    def _ingested(self, columns: Mapping[str, pa.Array]) -> dict[str, Values]:
        """Return Arrow columns as they will rest. The texts of a bulk take their codes on all cores."""
        backend, ours = self.store.backend, self.store.columns
        texts = [name for name in columns if ours[name].coded]
        if len(texts) < 2 or len(columns[texts[0]]) < _BULK_ROWS or backend.workers < 2:
            return {name: ours[name].ingest(column) for name, column in columns.items()}

        def coded(share: Sequence[str]) -> dict[str, Values]:
            return {name: ours[name].ingest(columns[name]) for name in share}

        shares = [texts[part :: backend.workers] for part in range(min(backend.workers, len(texts)))]
        parts = backend.in_parallel([partial(coded, share) for share in shares])
        found = {name: values for part in parts for name, values in part.items()}
        return {name: found[name] if name in found else ours[name].ingest(column) for name, column in columns.items()}

    def _upsert(self, values: dict[str, Values]) -> None:
        if self.store.entities is None:
            self._stage(values, None, None)
            return
        parts = self.store.entities.parts([values[name] for name in self.store.schema.keys])
        entities = self.store.entities.insert(parts)
        self.store.ensure_entities()
        places = self._last_of_each(entities)
        if places is not None:
            entities = entities[places]
            values = {name: column.take(places) for name, column in values.items()}
        previous = self.base.newest(entities)
        old = self._existing(entities, previous)
        known = (old >= 0).nonzero()[0]
        if len(known):
            unchanged = self._unchanged(old[known], known, values)
            if len(unchanged):
                self.counts.unchanged += len(unchanged)
                changed = self._xp.ones(len(entities), dtype="bool")
                changed[unchanged] = False
                places = self._xp.flatnonzero(changed)
                entities, previous, old = entities[places], previous[places], old[places]
                values = {name: column.take(places) for name, column in values.items()}
            if len(self._staged_alive):
                superseded = old[old >= self._first]
                self._revised |= bool(len(superseded))
                self._staged_alive[superseded - self._first] = False
        self._replaced = old if self._end == self._first else None
        self._stage(values, entities, previous)

    def _unchanged(self, old: Array, places: Array, values: Mapping[str, Values]) -> Array:
        """Return those of (n,) places whose values are equal to those of the (n,) old rows.

        Numbers are compared first: they change most, and once nothing is equal the other columns need no look.
        """
        for column in self.store.compared:
            same = column.same(self.base.read(column, old), values[column.name].take(places))
            kept = same.nonzero()[0]
            if len(kept) < len(old):
                old, places = old[kept], places[kept]
            if not len(places):
                break
        return places

    def _stage(self, values: Mapping[str, Values], entities: Array | None, previous: Array | None) -> None:
        start = self._end
        columns = {self.store.columns[name]: column for name, column in values.items()}
        self._end = self.base.rows.stage(start, columns, entities, previous, self.base.branch)
        for join in self._joins:
            join.point(start, values)
        fresh = self._xp.ones(self._end - start, dtype="bool")
        self._staged_alive = fresh if start == self._first else self._xp.concatenate([self._staged_alive, fresh])

    def _last_of_each(self, entities: Array) -> Array | None:
        """Return the last place of each distinct entity, ascending; None if no entity comes twice."""
        if len(entities) < 2:
            return None
        if len(entities) >= _BULK_ROWS and self._scalar((entities[1:] > entities[:-1]).all()):
            return None
        ordered = self._xp.sort(entities)
        if not self._scalar((ordered[1:] == ordered[:-1]).any()):
            return None
        groups = self.store.backend.group(entities.astype("int64"))
        self.counts.duplicates += len(entities) - len(groups.keys)
        places = self._xp.arange(len(entities))
        return self._xp.sort(self.store.backend.group_max(places, groups.group_of, len(groups.keys), -1))

    def _lookup(self, keys: Mapping[str, Values]) -> Array:
        assert self.store.entities is not None
        entities = self.store.entities.lookup(
            self.store.entities.parts([keys[name] for name in self.store.schema.keys])
        )
        self.store.ensure_entities()
        return entities

    def _existing(self, entities: Array, newest: Array) -> Array:
        """Return (n,) int64: the row alive in the draft for each entity, -1 for none; `newest` is the base's."""
        rows = self.base.alive_or_none(newest)
        if len(self._dropped):
            rows[self._xp.isin(rows, self._dropped)] = -1
        staged = self._staged()
        if not len(staged):
            return rows
        owners = self.base.entities_of(staged)
        order = self._xp.argsort(owners)
        owners, staged = owners[order], staged[order]
        places = self._xp.minimum(self._xp.searchsorted(owners, entities), len(owners) - 1)
        return self._xp.where(owners[places] == entities, staged[places], rows)

    def _ended(self) -> Array:
        """Return the rows of the base that the operations so far have ended or replaced."""
        if self.store.entities is None or not len(self._staged_alive):
            return self._dropped
        return self._xp.union1d(self._dropped, self._previous(self._staged()))

    def _staged(self) -> Array:
        """Return (n,) int64: the rows added by operations that are still alive, ascending."""
        if self._revised:
            return self._first + self._xp.flatnonzero(self._staged_alive)
        return self._xp.arange(self._first, self._end)

    def _read(self, rows: Array) -> dict[str, Values]:
        return {name: self.base.read(column, rows) for name, column in self.store.columns.items()}

    def _previous(self, staged: Array) -> Array:
        """Return (n,) int64: the row that the entity of each staged row had in the base, dead or alive, or -1."""
        return self.base.rows.previous.buffer[staged].astype("int64")

    def _same(self, left: Mapping[str, Values], right: Mapping[str, Values]) -> Array:
        """Return (n,) bool: where all columns agree."""
        result = self._xp.ones(len(next(iter(left.values()))), dtype="bool")
        for column in self.store.compared:
            result &= column.same(left[column.name], right[column.name])
        return result
