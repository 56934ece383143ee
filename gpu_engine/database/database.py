"""The database: all tables, one writer at a time, and the head that readers take.

Floor 3. A commit is resolved and derived where nobody looks; only then does it take effect, by steps that cannot fail,
the last of which moves the head. So readers never wait, and a commit that fails leaves nothing behind.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.database.commit import Commit, CommitReport, StagedVersion, TableReport, Version
from gpu_engine.database.draft import TableDraft
from gpu_engine.database.flat_rows import Snapshot
from gpu_engine.database.join import Join, check_join
from gpu_engine.database.operation import Operation, merged
from gpu_engine.errors import (
    DuplicateNameError,
    EpochNotRetainedError,
    InvalidJoinError,
    MissingMatchError,
    SessionClosedError,
    UnknownBranchError,
    UnknownTableError,
)
from gpu_engine.schema import Schema
from gpu_engine.storage.table_store import TableChange, TableStore

__all__ = ["MASTER", "Database", "Follower"]

MASTER = "master"
"""Name of the branch that every session has."""

_log = logging.getLogger(__name__)


class Follower(Protocol):
    """Something that moves with every commit: an aggregate provider."""

    def derive(self, commit: Commit) -> Callable[[], None] | None:
        """Work out what the commit changes, without changing anything that a reader sees.

        Returns
        -------
        callable or None
            Makes the change; must not fail. Called once the commit is certain, before the head moves.
        """
        ...


class Database:
    """Tables, joins and epochs of one session."""

    def __init__(self, backend: ArrayBackend) -> None:
        self.backend = backend
        self.stores: dict[str, TableStore] = {}
        self.joins: dict[TableStore, list[Join]] = {}
        """Joins that go out from each table, in order of creation."""
        self.join_count = 0
        """Joins created so far: tells whoever walks them that there are new ones."""
        self.head = Version(0)
        """The newest epoch of master."""
        self.rolled_back_total = 0
        """Commits that failed and left nothing."""
        self._writer = threading.RLock()
        self._committed = threading.Condition()
        self._followers: tuple[Follower, ...] = ()
        self._closed = False

    # -- structure --------------------------------------------------------------------------------------------------

    def create_table(self, name: str, schema: Schema) -> TableStore:
        """Create an empty table.

        Raises
        ------
        DuplicateNameError
            If a table has the name.
        """
        with self.writing():
            if name in self.stores:
                raise DuplicateNameError("table", name)
            store = TableStore(self.backend, name, schema)
            self.joins[store] = []
            self.stores = {**self.stores, name: store}
        return store

    def forget_table(self, store: TableStore) -> None:
        """Remove a table that no join and no cube refers to yet."""
        with self.writing():
            self.stores = {name: other for name, other in self.stores.items() if other is not store}
            del self.joins[store]

    def table(self, name: str) -> TableStore:
        """Return a table by name.

        Raises
        ------
        UnknownTableError
            If there is none.
        """
        try:
            return self.stores[name]
        except KeyError:
            raise UnknownTableError(name, self.stores) from None

    def create_join(
        self, name: str, source: TableStore, target: TableStore, on: Mapping[str, str], *, optional: bool
    ) -> Join:
        """Let rows of `source` point to rows of `target`; rows that exist are pointed at once.

        Raises
        ------
        InvalidJoinError
            See `check_join`; also if the join would close a circle.
        DuplicateNameError
            If the source has a join or a column of that name.
        MissingMatchError
            If the join is mandatory and a row of the source has no match.
        """
        with self.writing():
            check_join(source, target, on)
            if name in source.columns or any(join.name == name for join in self.joins[source]):
                raise DuplicateNameError(f"column or join of table {source.name!r}", name)
            if source in self.reachable(target):
                raise InvalidJoinError(f"join {name!r} would lead from {target.name!r} back to {source.name!r}.")
            join = Join(name, source, target, on, optional=optional)
            rows = slice(0, source.row_count)
            join.point(0, {column: source.columns[column].read(rows) for column in on})
            if not optional:
                _check_matches(join, self.head, self.head.table(source).alive_rows())
            self.joins[source] = [*self.joins[source], join]
            self.join_count += 1
        return join

    def reachable(self, store: TableStore) -> set[TableStore]:
        """Return the table and all tables that its joins lead to."""
        found = {store}
        for join in self.joins[store]:
            found |= self.reachable(join.target)
        return found

    # -- reading ----------------------------------------------------------------------------------------------------

    def version(self, branch: str = MASTER, epoch: int | None = None) -> Version:
        """Return all tables at an epoch, by default the head.

        Raises
        ------
        UnknownBranchError
            If the branch does not exist.
        EpochNotRetainedError
            If the epoch is not between 0 and the head.
        """
        if branch != MASTER:
            raise UnknownBranchError(branch, [MASTER])
        head = self.head
        if epoch is None or epoch == head.epoch:
            return head
        if not 0 <= epoch < head.epoch:
            raise EpochNotRetainedError(epoch, 0, head.epoch)
        return Version(epoch, branch)

    def wait_for_commit(
        self, after: int, timeout: float | None = None, until: Callable[[], bool] = lambda: False
    ) -> int:
        """Wait until the head is past epoch `after`, at most `timeout` seconds or until the database is closed.

        Parameters
        ----------
        until : callable
            Ends the wait too once it returns True; it is asked whenever something happens, see `wake`.

        Returns
        -------
        int
            The head's epoch, <= `after` only if the wait ended for another reason.
        """
        with self._committed:
            self._committed.wait_for(lambda: self.head.epoch > after or self._closed or until(), timeout)
        return self.head.epoch

    def wake(self) -> None:
        """Let everybody who waits for a commit ask its `until` again."""
        with self._committed:
            self._committed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the database takes no more work."""
        return self._closed

    # -- writing ----------------------------------------------------------------------------------------------------

    def writing(self) -> AbstractContextManager[object]:
        """Return the writer's lock, to be held by whoever changes structure or attaches a follower.

        Raises
        ------
        SessionClosedError
            If the database is closed.
        """
        if self._closed:
            raise SessionClosedError
        return self._writer

    def follow(self, follower: Follower) -> None:
        """Let `follower` see every commit from the next one on. Hold `writing()` to know which one that is."""
        with self._writer:
            self._followers = (*self._followers, follower)

    def unfollow(self, follower: Follower) -> None:
        """Let `follower` see no further commit."""
        with self._writer:
            self._followers = tuple(other for other in self._followers if other is not follower)

    def commit(self, operations: Sequence[Operation]) -> CommitReport:
        """Apply operations to the head, all of them or none.

        Raises
        ------
        EngineError
            What an operation, a mandatory join or a follower raises; nothing has changed then.
        """
        with self.writing():
            before = self.head
            try:
                with self.backend.ignore_float_errors():
                    prepared = self._prepare(before, merged(list(operations)))
            except BaseException:
                self.rolled_back_total += 1
                raise
            return self._publish(before, *prepared)

    def _prepare(
        self, before: Version, operations: list[Operation]
    ) -> tuple[dict[TableStore, TableDraft], Commit, list[Callable[[], None]]]:
        """Resolve and derive a commit where nobody looks."""
        drafts: dict[TableStore, TableDraft] = {}
        staged = StagedVersion(before, before.epoch + 1, drafts)
        for operation in operations:
            store = operation.store
            if store not in drafts:
                drafts[store] = TableDraft(before.table(store), self.joins[store])
            operation.apply(drafts[store], staged)
        outcomes = {store: draft.change() for store, draft in drafts.items()}
        changes = {store: change for store, change in outcomes.items() if change}
        commit = Commit(before, staged, changes, self.joins)
        if not changes:
            return drafts, commit, []
        self._check_mandatory(commit)
        derived = [follower.derive(commit) for follower in self._followers]
        return drafts, commit, [publish for publish in derived if publish is not None]

    def _check_mandatory(self, commit: Commit) -> None:
        for store, joins in self.joins.items():
            for join in joins:
                if not join.optional and (store in commit.changes or join.target in commit.changes):
                    _check_matches(join, commit.after, commit.moves(store, frozenset([join])).new)

    def _publish(
        self,
        before: Version,
        drafts: Mapping[TableStore, TableDraft],
        commit: Commit,
        derived: Sequence[Callable[[], None]],
    ) -> CommitReport:
        """Let a prepared commit take effect; the last step moves the head."""
        reports = {store.name: _report(draft, commit.changes.get(store)) for store, draft in drafts.items()}
        if not commit.changes:
            return CommitReport(before.epoch, reports)
        epoch = commit.epoch
        for store, change in commit.changes.items():
            store.publish(change, epoch)
        for publish in derived:
            publish()
        commit.after = head = Version(epoch)
        for store in commit.changes:
            head.table(store)
        self.backend.synchronize()
        with self._committed:
            self.head = head
            self._committed.notify_all()
        return CommitReport(epoch, reports)

    def close(self) -> None:
        """Refuse further work and wake whoever waits for a commit."""
        with self._writer:
            self._closed = True
        self.wake()


def _report(draft: TableDraft, change: TableChange | None) -> TableReport:
    counts = draft.counts
    if change is None:
        return TableReport(unchanged=counts.unchanged, duplicates=counts.duplicates)
    return TableReport(
        len(change.added), len(change.updated_new), len(change.removed), counts.unchanged, counts.duplicates
    )


def _check_matches(join: Join, snapshot: Snapshot, rows: Array) -> None:
    """Refuse rows of the join's source, alive in the snapshot, that find no row of the target."""
    found = snapshot.table(join.target).rows_of(join.entities(rows))
    lonely = join.source.backend.xp.flatnonzero(found < 0)
    if not len(lonely):
        return
    columns = [join.source.columns[name] for name in join.on]
    examples = rows[lonely[:3]]
    shown = zip(*(column.to_arrow(column.read(examples)).to_pylist() for column in columns), strict=True)
    raise MissingMatchError(join.name, [key[0] if len(key) == 1 else key for key in shown], len(lonely))
