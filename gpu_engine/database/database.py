"""The database: all tables, one writer at a time, and the head that readers take.

Floor 3. A commit is resolved and derived where nobody looks; only then does it take effect, by steps that cannot fail,
the last of which moves the head. So readers never wait, and a commit that fails leaves nothing behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from weakref import WeakSet

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.backend.shortage import named_shortage
from gpu_engine.database.admission import admit
from gpu_engine.database.branch import MASTER, Branch
from gpu_engine.database.commit import Commit, StagedVersion, Version
from gpu_engine.database.commit_log import (
    NOTHING_NOTED,
    Acknowledgement,
    BranchCreated,
    BranchDeleted,
    CommitLog,
    Committed,
    MemoryOnly,
    Notes,
    TableCreated,
    TableForgotten,
    at_once,
)
from gpu_engine.database.draft import TableDraft
from gpu_engine.database.follower import Follower, Observer
from gpu_engine.database.integrity import check_commit
from gpu_engine.database.operation import Operation, clearings, merged
from gpu_engine.database.report import CommitReport
from gpu_engine.database.retention import Retention, RetentionPolicy
from gpu_engine.database.source_notes import SourceNotes
from gpu_engine.database.version_name import epoch_named
from gpu_engine.errors import (
    DuplicateNameError,
    SessionClosedError,
    UnknownBranchError,
    UnknownTableError,
)
from gpu_engine.expression.join import Join
from gpu_engine.schema import Schema
from gpu_engine.storage.table_store import TableStore

__all__ = ["Database"]


_DEFAULT_RETENTION = RetentionPolicy()


class Database:
    """Tables, joins and epochs of one session."""

    def __init__(self, backend: ArrayBackend, retention: RetentionPolicy = _DEFAULT_RETENTION) -> None:
        self.backend = backend
        self.stores: dict[str, TableStore] = {}
        self.joins: dict[TableStore, list[Join]] = {}
        """Joins that go out from each table, in order of creation."""
        self.join_count = 0
        """Joins created so far: tells whoever walks them that there are new ones."""
        self.branches = {MASTER: Branch(MASTER)}
        """Branches by name."""
        self.last_epoch = 0
        """The newest epoch of any branch: epochs are counted once for all."""
        self.log: CommitLog = MemoryOnly()
        """Where commits are written before they take effect."""
        self.notes = SourceNotes()
        """What sources have left with their transactions."""
        self.rolled_back_total = 0
        """Commits that failed and left nothing."""
        self._writer = threading.RLock()
        self._committed = threading.Condition()
        self.retention = Retention(self, retention)
        """Pins, the oldest readable epoch, and compaction."""
        self._held: WeakSet[Version] = WeakSet()
        self._holding = threading.Lock()
        self._followers: dict[str, tuple[Follower, ...]] = {}
        self.observers: tuple[Observer, ...] = ()
        """Whoever is told of every transaction."""
        self._branch_numbers = 0
        self.closed = False
        """Whether no more work is taken."""

    @property
    def head(self) -> Version:
        """The newest version of master."""
        return self.branches[MASTER].head

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
            for branch in self.branches.values():
                if branch.parent is not None:
                    store.create_branch(branch.number, 0)
            acknowledge = self.log.append(TableCreated(store))
            self.joins[store] = []
            self.stores = {**self.stores, name: store}
        acknowledge()
        return store

    def forget_table(self, store: TableStore) -> None:
        """Remove a table that no join and no cube refers to yet."""
        with self.writing():
            acknowledge = self.log.append(TableForgotten(store.name))
            self.stores = {name: other for name, other in self.stores.items() if other is not store}
            del self.joins[store]
        acknowledge()

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

    # -- reading ----------------------------------------------------------------------------------------------------

    def version(self, branch: str = MASTER, epoch: int | None = None) -> Version:
        """Return all tables at an epoch, by default the head.

        Raises
        ------
        SessionClosedError, UnknownBranchError
            If the database is closed, or has no such branch.
        EpochNotRetainedError
            If the epoch lies ahead, or its rows are no longer kept; InvalidQueryError if it is no whole number.
        """
        self.refuse_if_closed()
        found = self.branch(branch)
        head = found.head
        if epoch is None or (epoch := epoch_named(epoch)) == head.epoch:
            return head
        # Held before it is known to be readable: a compaction that begins in between keeps its rows.
        version = self.hold(found.version(epoch)) if epoch < head.epoch else head
        if not 0 <= epoch <= self.last_epoch or not self.retention.readable(branch, epoch):
            raise self.retention.not_readable(branch, epoch)
        return version

    def branch(self, name: str) -> Branch:
        """Return a branch by name; UnknownBranchError if there is none."""
        try:
            return self.branches[name]
        except (KeyError, TypeError):
            raise UnknownBranchError(str(name), self.branches) from None

    def hold(self, version: Version) -> Version:
        """Return a version whose rows stay for as long as somebody has the object."""
        with self._holding:
            self._held.add(version)
        return version

    def held_versions(self) -> list[Version]:
        """Return the versions that somebody still holds, heads included."""
        with self._holding:
            return list(self._held)

    def wait_for_commit(
        self,
        after: int,
        timeout: float | None = None,
        until: Callable[[], bool] = lambda: False,
        branch: str | None = MASTER,
    ) -> int:
        """Wait until an epoch past `after`, at most `timeout` seconds or until the database is closed.

        Parameters
        ----------
        until : callable
            Ends the wait too once it returns True; it is asked whenever something happens, see `wake`.
        branch : str or None
            Whose epoch it is to be; None for any branch's.

        Returns
        -------
        int
            The newest epoch, <= `after` only if the wait ended for another reason.
        """
        line = None if branch is None else self.branch(branch)

        def newest() -> int:
            return self.last_epoch if line is None else line.head.epoch

        with self._committed:
            self._committed.wait_for(lambda: newest() > after or self.closed or until(), timeout)
            return newest()  # under the lock: a commit moves both, the newest epoch and its branch's head

    def wake(self) -> None:
        """Let everybody who waits for a commit ask its `until` again."""
        with self._committed:
            self._committed.notify_all()

    def refuse_if_closed(self) -> None:
        """Raise SessionClosedError if the database is closed."""
        if self.closed:
            raise SessionClosedError

    # -- writing ----------------------------------------------------------------------------------------------------

    def writing(self) -> AbstractContextManager[object]:
        """Return the writer's lock, to change structure or attach a follower; errors as `refuse_if_closed`."""
        self.refuse_if_closed()
        return self._writer

    def create_branch(self, name: str, parent: str = MASTER, epoch: int | None = None) -> Branch:
        """Start a branch from another one at an epoch, by default its head. No row is copied.

        Raises
        ------
        DuplicateNameError
            If a branch has the name.
        UnknownBranchError, EpochNotRetainedError
            As `version`.
        """
        if epoch is not None:
            self.log.keep(self.version(parent, epoch))
        with self.writing():
            if name in self.branches:
                raise DuplicateNameError("branch", name)
            start = self.version(parent, epoch)
            self._branch_numbers += 1
            branch = Branch(name, self._branch_numbers, self.branches[parent], start.epoch)
            for store in self.stores.values():
                store.create_branch(branch.number, start.table(store).alive_count)
            self.hold(branch.head)
            acknowledge = self.log.append(BranchCreated(branch))
            self.branches = {**self.branches, name: branch}
        acknowledge()
        return branch

    def forget_branch(self, branch: Branch) -> None:
        """Remove a branch that nobody uses; what follows it ends, and its rows go with the next compaction."""
        with self.writing():
            acknowledge = self.log.append(BranchDeleted(branch.name))
            self.branches = {name: line for name, line in self.branches.items() if line is not branch}
            for follower in self._followers.pop(branch.name, ()):
                follower.end()
            self.retention.reconsider()
        acknowledge()

    def followers(self, branch: str) -> tuple[Follower, ...]:
        """Return who follows a branch."""
        return self._followers.get(branch, ())

    def follow(self, follower: Follower, branch: str = MASTER) -> None:
        """Let `follower` see every commit of a branch from now on. Hold `writing()` to know which one is the first."""
        with self._writer:
            self._followers[self.branch(branch).name] = (*self._followers.get(branch, ()), follower)

    def unfollow(self, follower: Follower) -> None:
        """Let `follower` see no further commit."""
        with self._writer:
            self._followers = {
                branch: tuple(other for other in followers if other is not follower)
                for branch, followers in self._followers.items()
            }

    def observe(self, observer: Observer) -> None:
        """Let `observer` be told of every transaction from now on."""
        with self._writer:
            self.observers = (*self.observers, observer)

    def rolled_back(self, branch: str, operations: Iterable[Operation]) -> None:
        """Tell observers that a transaction has left nothing."""
        tables = [operation.store.name for operation in operations]
        for observer in self.observers:
            observer.rolled_back(branch, tables)

    def attaching(self, store: TableStore) -> bool:
        """Return whether a follower is still reading rows of the table by their numbers to get started."""
        return any(one.attaching(store) for followers in self._followers.values() for one in followers)

    def renumber(self, store: TableStore, new_of: Array) -> None:
        """Let heads and followers go by new row numbers. The writer is held."""
        for followers in self._followers.values():
            for follower in followers:
                follower.renumber(store, new_of)
        for branch in self.branches.values():
            branch.head = self.hold(branch.version(branch.head.epoch))
        for observer in self.observers:
            observer.renumber(store, new_of)

    def commit(
        self, operations: Sequence[Operation], branch: str = MASTER, notes: Notes = NOTHING_NOTED
    ) -> CommitReport:
        """Apply operations to the head of a branch, all of them or none, and return once the log acknowledges it.

        Raises
        ------
        UnknownBranchError
            If the branch does not exist.
        LogFailedError
            If the log fails while it makes the commit durable. Readers see the commit, a restart may not have it.
        EngineError
            What an operation, a mandatory join, a follower or the log raises; nothing has changed then.
        """
        with self.writing():
            line = self.branch(branch)
            before = line.head if line.head.epoch == self.last_epoch else self.hold(line.version(self.last_epoch))
            try:
                with named_shortage(self.backend, "the commit"), self.backend.ignore_float_errors():
                    admit(self.backend, operations)
                    applied = merged(list(operations))
                    drafts, commit, derived = self._prepare(before, applied)
                    acknowledge = self._log(line, Committed(commit.epoch, branch, commit, applied, drafts, notes))
            except BaseException:
                self.rolled_back_total += 1
                self.rolled_back(before.branch, operations)
                raise
            report = self._publish(line, drafts, commit, derived)
            self.notes.take(notes)
        acknowledge()
        return report

    def _log(self, line: Branch, event: Committed) -> Acknowledgement:
        """Write a prepared commit to the log; one that changes nothing only for the notes that come with it."""
        if not event.commit.changes:
            event = replace(event, epoch=line.head.epoch)
        return self.log.append(event) if event.commit.changes or event.notes else at_once

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
        commit = Commit(before, staged, changes, self.joins, clearings(operations))
        if not changes:
            return drafts, commit, []
        check_commit(commit, self.joins)
        for observer in self.observers:
            observer.prepare(commit)
        derived = [follower.derive(commit) for follower in self._followers.get(before.branch, ())]
        return drafts, commit, [publish for publish in derived if publish is not None]

    def _publish(
        self,
        branch: Branch,
        drafts: Mapping[TableStore, TableDraft],
        commit: Commit,
        derived: Sequence[Callable[[], None]],
    ) -> CommitReport:
        """Let a prepared commit take effect; the last step moves the head."""
        reports = {store.name: draft.report(commit.changes.get(store)) for store, draft in drafts.items()}
        if not commit.changes:
            return CommitReport(branch.head.epoch, reports, branch.name)
        epoch = commit.epoch
        for store, change in commit.changes.items():
            store.publish(change, epoch, branch.number)
        for publish in derived:
            publish()
        head = self.hold(branch.version(epoch))
        commit.publish(head)
        self.retention.note(epoch)
        self.backend.synchronize()
        with self._committed:
            self.last_epoch = epoch
            branch.head = head
            self._committed.notify_all()
        for observer in self.observers:
            observer.committed(commit)
        return CommitReport(epoch, reports, branch.name)

    def close(self) -> None:
        """Refuse further work and wake whoever waits for a commit."""
        with self._writer:
            self.closed = True
        self.wake()
