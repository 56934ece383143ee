"""Commits: one step of all tables from an epoch to the next, as row numbers.

Floor 3. A commit copies no rows: it says which rows began and ended, and finds through joins which rows of other tables
see something new although they themselves stayed. Whoever keeps totals derives its own change from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.draft import TableDraft
from gpu_engine.database.operation import Clearing
from gpu_engine.expression.flat_rows import Snapshot, TableView
from gpu_engine.expression.join import Join
from gpu_engine.storage.pointers import Pointers
from gpu_engine.storage.table_store import TableChange, TableStore
from gpu_engine.storage.table_version import Lineage, TableVersion

__all__ = ["Commit", "Moves", "StagedVersion", "Version"]


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

    @property
    def nbytes(self) -> int:
        """Bytes of the row numbers."""
        return int(self.old.nbytes + self.new.nbytes)

    def __bool__(self) -> bool:
        return bool(len(self.old) or len(self.new))


class Version:
    """All tables at one epoch of one branch. Readable by any thread while commits go on."""

    __slots__ = ("__weakref__", "_tables", "branch", "lineage")

    def __init__(self, branch: str, lineage: Lineage) -> None:
        self.branch, self.lineage = branch, lineage
        self._tables: dict[TableStore, TableVersion] = {}

    @property
    def epoch(self) -> int:
        """The epoch."""
        return self.lineage[0][1]

    @property
    def number(self) -> int:
        """Number of the branch: two branches of one name, one after the other, have different ones."""
        return self.lineage[0][0]

    def table(self, store: TableStore) -> TableVersion:
        """Return the rows of one table."""
        version = self._tables.get(store)
        if version is None:
            version = self._tables[store] = store.version(self.lineage)
        return version


class StagedVersion:
    """All tables as they will be once a commit is published. The writer's own view, while it prepares."""

    def __init__(self, before: Version, epoch: int, drafts: Mapping[TableStore, TableDraft]) -> None:
        self._before, self._drafts, self.epoch = before, drafts, epoch

    def table(self, store: TableStore) -> TableView:
        """Return the rows of one table."""
        return self._drafts.get(store) or self._before.table(store)


_Find = Callable[[Pointers, Array, int, int], Array]
"""How the rows that point to some entities are found."""


class Commit:
    """One commit: what it does to each table, and the snapshots before and after it."""

    def __init__(
        self,
        before: Version,
        after: Snapshot,
        changes: Mapping[TableStore, TableChange],
        joins: Mapping[TableStore, list[Join]],
        clearings: Mapping[TableStore, tuple[Clearing, ...]],
    ) -> None:
        self.before = before
        self.after = after
        """The staged state while the commit is prepared; the published version from then on."""
        self.changes = changes
        self.clearings = clearings
        """What the transaction cleared of each table before it did anything else to it."""
        self._joins = joins
        self._moves: dict[tuple[TableStore, frozenset[Join]], Moves] = {}

    @property
    def epoch(self) -> int:
        """The first epoch that shows the commit."""
        return self.after.epoch

    @property
    def branch(self) -> str:
        """Name of the branch that it is on."""
        return self.before.branch

    def publish(self, after: Version) -> None:
        """Let `after` be the published version; it takes hold of every row number that the commit speaks of."""
        for store in self._spoken_of():
            self.before.table(store)
            after.table(store)
        self.after = after

    def renumbered(self, store: TableStore, new_of: Array, fresh: Callable[[Version], Version]) -> Commit:
        """Return the published commit in new row numbers of a table.

        Parameters
        ----------
        new_of : (rows,) int64 new number of each row of the table; rows that the commit's versions show are there
        fresh : returns the same version in new row numbers
        """
        assert isinstance(self.after, Version)
        change = self.changes.get(store)
        if change is not None:
            change = replace(
                change,
                updated_old=new_of[change.updated_old],
                updated_new=new_of[change.updated_new],
                added=new_of[change.added],
                removed=new_of[change.removed],
                stillborn=change.stillborn[:0],
            )
        changes = self.changes if change is None else {**self.changes, store: change}
        commit = Commit(fresh(self.before), self.after, changes, self._joins, self.clearings)
        for (root, joins), moves in dict(self._moves).items():
            if root is store:
                moves = replace(moves, old=new_of[moves.old], new=new_of[moves.new])
            commit._moves[root, joins] = moves
        commit.publish(fresh(self.after))
        return commit

    def _spoken_of(self) -> set[TableStore]:
        """Return the tables whose rows it moves, and those that point, through any joins, to a table it changes."""
        found = {*self.changes, *(root for root, _ in self._moves)}
        reached = set(self.changes)
        while reached:
            pointing = {store for store, joins in self._joins.items() if any(join.target in reached for join in joins)}
            reached = pointing - found
            found |= pointing
        return found

    def moves(self, root: TableStore, joins: frozenset[Join]) -> Moves:
        """Return the rows of `root` that change, themselves or in what they see through any of `joins`.

        Parameters
        ----------
        joins : every join on the paths that the caller reads, those that lead to others included
        """
        moves = self._moves.get((root, joins))
        if moves is None:
            moves = self._moves[root, joins] = self._find_moves(root, joins, Pointers.rows_pointing_to)
        return moves

    def read_moves(self, root: TableStore, joins: frozenset[Join]) -> Moves:
        """Return the same as `moves` once the commit is published, to any thread.

        What the writer did not ask for is found by reading where all rows point to: its indexes are its own.
        """
        moves = self._moves.get((root, joins))
        if moves is None:
            moves = self._moves[root, joins] = self._find_moves(root, joins, Pointers.scan_rows_pointing_to)
        return moves

    @property
    def nbytes(self) -> int:
        """Bytes of the row numbers that it keeps."""
        total = sum(change.nbytes for change in self.changes.values())
        return total + sum(moves.nbytes for moves in list(self._moves.values()))

    def _find_moves(self, root: TableStore, joins: frozenset[Join], find: _Find) -> Moves:
        change, touched = self.changes.get(root), self._touched(root, joins, find)
        xp = root.backend.xp
        if change is None:
            return Moves(touched, touched, len(touched))
        old = [change.updated_old, touched, change.removed]
        new = [change.updated_new, touched, change.added]
        return Moves(xp.concatenate(old), xp.concatenate(new), len(change.updated_old) + len(touched))

    def _touched(self, root: TableStore, joins: frozenset[Join], find: _Find) -> Array:
        """Return the rows of `root` that stay but point, through one of `joins`, to something that changes."""
        xp = root.backend.xp
        if not any(join.target in self.changes for join in joins):
            return xp.zeros(0, dtype="int64")
        found = [self._pointing(join, joins, find) for join in joins if join.source is root]
        found = [rows for rows in found if len(rows)]
        if not found:
            return xp.zeros(0, dtype="int64")
        rows = root.backend.group(xp.concatenate(found)).keys
        rows = rows[self.before.table(root).alive(rows)]
        change = self.changes.get(root)
        if change is not None:
            rows = rows[~xp.isin(rows, xp.concatenate([change.updated_old, change.removed]))]
        return rows

    def _pointing(self, join: Join, joins: frozenset[Join], find: _Find) -> Array:
        """Return rows of the join's source that point to an entity of the target that changes."""
        target, xp = join.target, join.target.backend.xp
        change = self.changes.get(target)
        rows = [self._touched(target, joins, find)]
        if change is not None:
            rows += [change.updated_old, change.added, change.removed]
        moved = xp.concatenate(rows)
        if not len(moved):
            return moved
        entities = target.backend.group(self.before.table(target).entities_of(moved).astype("int64")).keys
        source = self.before.table(join.source)
        return find(source.rows.pointers[join], entities, target.rows.current.length, source.row_count)
