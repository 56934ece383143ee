"""Diffs: which rows differ between two versions of one table.

Floor 3. Rows alive in the one version and not in the other are paired by key; what a row held in between does not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.database import Database
from gpu_engine.database.version_name import version_named
from gpu_engine.storage.table_store import TableStore
from gpu_engine.storage.table_version import Lineage, TableVersion

__all__ = ["TableDiff", "diff"]


@dataclass(frozen=True, slots=True)
class TableDiff:
    """What one table has differently in the later version. All tables have the table's columns."""

    added: pa.Table
    """Rows whose key was not there."""
    removed: pa.Table
    """Rows whose key is gone."""
    updated_old: pa.Table
    """Rows that hold other values now, as they were."""
    updated_new: pa.Table
    """The same rows, in the same order, as they are."""

    def __bool__(self) -> bool:
        return bool(self.added.num_rows or self.removed.num_rows or self.updated_old.num_rows)


def diff(database: Database, since: tuple[str, int], until: tuple[str, int]) -> Mapping[str, TableDiff]:
    """Return what differs between two versions, each a branch and an epoch, for each table that has a difference.

    Raises
    ------
    UnknownBranchError, EpochNotRetainedError
        If a version cannot be read.
    InvalidQueryError
        If one is no branch and epoch.
    """
    old, new = (database.version(*version_named(*one)) for one in ((since, "since"), (until, "until")))
    found = {}
    for store in database.stores.values():
        difference = _table_diff(store, *_same_numbers(store, old.lineage, new.lineage))
        if difference:
            found[store.name] = difference
    return found


def _same_numbers(store: TableStore, old: Lineage, new: Lineage) -> tuple[TableVersion, TableVersion]:
    """Return both versions in terms of one row store: a compaction may come in between."""
    while True:
        before, after = store.version(old), store.version(new)
        if before.rows is after.rows:
            return before, after


def _table_diff(store: TableStore, old: TableVersion, new: TableVersion) -> TableDiff:
    xp = store.backend.xp
    size = max(old.row_count, new.row_count)
    was, now = _alive(old, size), _alive(new, size)
    removed, added = xp.flatnonzero(was & ~now), xp.flatnonzero(now & ~was)
    updated_old = updated_new = removed[:0]
    if store.entities is not None:
        of_removed, of_added = old.entities_of(removed), old.entities_of(added)
        paired_removed, paired_added = xp.isin(of_removed, of_added), xp.isin(of_added, of_removed)
        updated_old = removed[paired_removed][xp.argsort(of_removed[paired_removed])]
        updated_new = added[paired_added][xp.argsort(of_added[paired_added])]
        removed, added = removed[~paired_removed], added[~paired_added]
        other = ~_same(store, old, updated_old, updated_new)
        updated_old, updated_new = updated_old[other], updated_new[other]
    tables = (pa.Table.from_batches([old.to_arrow(rows)]) for rows in (added, removed, updated_old, updated_new))
    return TableDiff(*tables)


def _alive(version: TableVersion, size: int) -> Array:
    """Return (size,) bool: which rows are alive; none beyond the version's own."""
    xp = version.rows.backend.xp
    alive = xp.zeros(size, dtype="bool")
    alive[: version.row_count] = version.alive(slice(0, version.row_count))
    return alive


def _same(store: TableStore, version: TableVersion, left: Array, right: Array) -> Array:
    """Return (n,) bool: which pairs of rows hold equal values."""
    same = store.backend.xp.ones(len(left), dtype="bool")
    for column in store.columns.values():
        same &= column.same(version.read(column, left), version.read(column, right))
    return same
