"""Commits: one step of all tables from an epoch to the next, as row numbers.

Floor 3. A commit copies no rows: it says which rows began and ended, and finds through joins which rows of other tables
see something new although they themselves stayed. Whoever keeps totals derives its own change from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.draft import TableDraft
from gpu_engine.database.flat_rows import Snapshot, TableView
from gpu_engine.database.join import Join
from gpu_engine.storage.table_store import TableChange, TableStore, TableVersion

__all__ = ["Commit", "CommitReport", "Moves", "StagedVersion", "TableReport", "Version"]


@dataclass(frozen=True, slots=True)
class TableReport:
    """What one commit did to one table, in rows."""

    added: int = 0
    """Rows whose key was new."""
    updated: int = 0
    """Rows that replaced one of the same key."""
    removed: int = 0
    """Rows that ended with nothing in their place."""
    unchanged: int = 0
    """Rows given that were equal to what was there."""
    duplicates: int = 0
    """Rows given whose key came again later in the same batch."""


@dataclass(frozen=True, slots=True)
class CommitReport:
    """What a transaction did. A transaction that changes nothing makes no epoch."""

    epoch: int
    """First epoch that shows the transaction: the new head, or the old one when nothing changed."""
    tables: Mapping[str, TableReport] = field(default_factory=dict)
    """Tables that the transaction wrote to."""
    branch: str = "master"


@dataclass(frozen=True, slots=True)
class Moves:
    """Rows of a table that leave the state before a commit and rows that enter the state after it.

    The first `paired` of both are pairs: the same key, or the same row seen with other joined values.
    """

    old: Array
    """(p + r,) int64 row numbers, to be read in the snapshot before."""
    new: Array
    """(p + a,) int64 row numbers, to be read in the snapshot after."""
    paired: int

    def __bool__(self) -> bool:
        return bool(len(self.old) or len(self.new))


class Version:
    """All tables at one epoch. Readable by any thread while commits go on."""

    __slots__ = ("_tables", "branch", "epoch")

    def __init__(self, epoch: int, branch: str = "master") -> None:
        self.epoch, self.branch = epoch, branch
        self._tables: dict[TableStore, TableVersion] = {}

    def table(self, store: TableStore) -> TableVersion:
        """Return the rows of one table."""
        version = self._tables.get(store)
        if version is None:
            version = self._tables[store] = store.version(self.epoch)
        return version


class StagedVersion:
    """All tables as they will be once a commit is published. The writer's own view, while it prepares."""

    def __init__(self, before: Version, epoch: int, drafts: Mapping[TableStore, TableDraft]) -> None:
        self._before, self._drafts, self.epoch = before, drafts, epoch

    def table(self, store: TableStore) -> TableView:
        """Return the rows of one table."""
        return self._drafts.get(store) or self._before.table(store)


class Commit:
    """One commit: what it does to each table, and the snapshots before and after it."""

    def __init__(
        self,
        before: Version,
        after: Snapshot,
        changes: Mapping[TableStore, TableChange],
        joins: Mapping[TableStore, list[Join]],
    ) -> None:
        self.before = before
        self.after = after
        """The staged state while the commit is prepared; the published version from then on."""
        self.changes = changes
        self._joins = joins
        self._moves: dict[tuple[TableStore, frozenset[Join]], Moves] = {}

    @property
    def epoch(self) -> int:
        """The first epoch that shows the commit."""
        return self.after.epoch

    def moves(self, root: TableStore, joins: frozenset[Join]) -> Moves:
        """Return the rows of `root` that change, themselves or in what they see through any of `joins`.

        Parameters
        ----------
        joins : every join on the paths that the caller reads, those that lead to others included
        """
        moves = self._moves.get((root, joins))
        if moves is None:
            moves = self._moves[root, joins] = self._find_moves(root, joins)
        return moves

    def _find_moves(self, root: TableStore, joins: frozenset[Join]) -> Moves:
        change, touched = self.changes.get(root), self._touched(root, joins)
        xp = root.backend.xp
        if change is None:
            return Moves(touched, touched, len(touched))
        old = [change.updated_old, touched, change.removed]
        new = [change.updated_new, touched, change.added]
        return Moves(xp.concatenate(old), xp.concatenate(new), len(change.updated_old) + len(touched))

    def _touched(self, root: TableStore, joins: frozenset[Join]) -> Array:
        """Return the rows of `root` that stay but point, through one of `joins`, to something that changes."""
        xp = root.backend.xp
        if not any(join.target in self.changes for join in joins):
            return xp.zeros(0, dtype="int64")
        found = [self._pointing(join, joins) for join in joins if join.source is root]
        found = [rows for rows in found if len(rows)]
        if not found:
            return xp.zeros(0, dtype="int64")
        rows = root.backend.group(xp.concatenate(found)).keys
        rows = rows[self.before.table(root).alive(rows)]
        change = self.changes.get(root)
        if change is not None:
            rows = rows[~xp.isin(rows, xp.concatenate([change.updated_old, change.removed]))]
        return rows

    def _pointing(self, join: Join, joins: frozenset[Join]) -> Array:
        """Return rows of the join's source that point to an entity of the target that changes."""
        target, xp = join.target, join.target.backend.xp
        change = self.changes.get(target)
        rows = [self._touched(target, joins)]
        if change is not None:
            rows += [change.updated_old, change.added, change.removed]
        moved = xp.concatenate(rows)
        if not len(moved):
            return moved
        entities = target.backend.group(target.entity_of.buffer[moved].astype("int64")).keys
        return join.rows_pointing_to(entities, self.before.table(join.source).row_count)
