"""The data streamer: who follows which query, and what they share.

Floor 4. The writer does two things for streams: it notes each transaction in a bounded log, and, for queries through
joins, finds the rows that a commit touches while the indexes are its own. Everything else happens on the threads of
the registrations. Attaching takes no lock that a commit holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Commit, Version
from gpu_engine.database.database import Database
from gpu_engine.database.version_name import epoch_named
from gpu_engine.errors import InvalidModelError, InvalidQueryError, SessionClosedError
from gpu_engine.expression.join import Join
from gpu_engine.query.prepared import PreparedListQuery
from gpu_engine.query.row_query import ListQuery
from gpu_engine.storage.table_store import TableStore
from gpu_engine.stream.listener import StreamOptions, calls_of
from gpu_engine.stream.registration import Registration, RegistrationStatistics
from gpu_engine.stream.transaction_log import LogStatistics, TransactionLog
from gpu_engine.stream.view import StreamView, ViewStatistics

__all__ = ["Streamer", "StreamerStatistics"]

_CLOSING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class StreamerStatistics:
    """Figures of all streams of a session."""

    registrations: tuple[RegistrationStatistics, ...]
    """Those that go on."""
    views: tuple[ViewStatistics, ...]
    log: LogStatistics
    registered_total: int
    """Registrations that were ever made."""
    failures_total: int
    """Registrations that a listener or a full log has ended."""


class Streamer:
    """Observes a database on behalf of listeners. Any thread may call any method."""

    def __init__(self, database: Database, report: Callable[[str, BaseException], None]) -> None:
        self._database, self._report = database, report
        self._lock = threading.Lock()
        self._views: dict[object, StreamView] = {}
        self._paths: frozenset[tuple[TableStore, frozenset[Join]]] = frozenset()
        """Root and joins of views that read through joins."""
        self._registrations: tuple[Registration, ...] = ()
        self._registered = self._failures = 0
        self._closed = False
        with database.writing():
            self._log = TransactionLog(database.last_epoch)
            database.observe(self)

    # -- for users --------------------------------------------------------------------------------------------------

    def register(
        self,
        query: PreparedListQuery,
        listener: object,
        options: StreamOptions | None = None,
        from_epoch: int | None = None,
    ) -> Registration:
        """Let a listener follow the rows of a prepared list query.

        Returns at once, whatever the writer does. The listener hears of every commit that readers cannot see yet.

        Parameters
        ----------
        query : what `session.database.prepare.list` gives; one with parameters after `assign`
        listener : an object with any of the methods of `StreamListener`; they are called on a thread of its own
        options : by default all branches, with an initial view
        from_epoch : int
            Resume: tell what changed after this epoch, and send no initial view.

        Raises
        ------
        InvalidQueryError
            If the query is no prepared list query of this session, or has a limit; if the listener has no method to
            call, the options are none, or `from_epoch` is no whole number.
        InvalidParameterError
            If it has parameters without a value.
        EpochNotRetainedError
            If changes after `from_epoch` are no longer kept, or it lies ahead. Register anew, with an initial view.
        UnknownBranchError
            If there is no branch of the name in the options.
        SessionClosedError
            If the session is closed.
        """
        options = options or StreamOptions()
        if not isinstance(options, StreamOptions):
            raise InvalidQueryError([f"options {options!r}: give gpu_engine.StreamOptions(...)."])
        calls, from_epoch = calls_of(listener), None if from_epoch is None else epoch_named(from_epoch)
        fresh = StreamView(self._checked(query), dictionarized=options.dictionarized)
        with self._lock:
            if self._closed:
                raise SessionClosedError
            place, epoch, versions = self._log.end(lambda: self._heads(options.branch))
            if from_epoch is not None:
                place, epoch, versions = self._log.place_after(from_epoch, epoch), from_epoch, []
            view = self._views.setdefault(fresh.identity, fresh)
            view.listeners += 1
            self._registered += 1
            name = f"stream {self._registered} of table {view.root.name!r}"
            registration = Registration(name, view, calls, options, self._log, self._release, self._failed)
            self._registrations = (*self._registrations, registration)
            self._note_paths()
            registration.start(place, epoch, versions)
        return registration

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """Registrations that go on."""
        return self._registrations

    def retain(self, transactions: int, nbytes: int) -> None:
        """Keep so many transactions and so many bytes of them at most, for listeners that are behind or come back.

        Raises
        ------
        InvalidModelError
            If either is no whole number greater than 0.
        """
        given: tuple[object, ...] = (transactions, nbytes)
        if not all(isinstance(one, int) and one >= 1 for one in given):
            raise InvalidModelError(f"retain({transactions!r}, {nbytes!r}): give two whole numbers greater than 0.")
        self._log.limit(transactions, nbytes)

    def statistics(self) -> StreamerStatistics:
        """Return figures for operators and tests."""
        with self._lock:
            registrations, views = self._registrations, tuple(self._views.values())
        return StreamerStatistics(
            tuple(registration.statistics() for registration in registrations),
            tuple(view.statistics() for view in views),
            self._log.statistics(),
            self._registered,
            self._failures,
        )

    def close(self) -> None:
        """End all registrations and wait for their threads."""
        with self._lock:
            self._closed = True
        registrations = self._registrations
        for registration in registrations:
            registration.request_end()
        deadline = time.monotonic() + _CLOSING_SECONDS
        for registration in registrations:
            registration.join(max(0.0, deadline - time.monotonic()))

    # -- for the database -------------------------------------------------------------------------------------------

    def prepare(self, commit: Commit) -> None:
        """Find the rows that views see changed through joins; see `Observer`, here and below."""
        for root, joins in self._paths:
            commit.moves(root, joins)

    def committed(self, commit: Commit) -> None:
        """Note a commit that readers can see."""
        self._log.committed(commit)

    def rolled_back(self, branch: str, tables: Iterable[str]) -> None:
        """Note a transaction that has left nothing."""
        self._log.rolled_back(branch, tables)

    def oldest_wanted(self) -> int:
        """Return the oldest epoch that a listener has reached, or the log, if that does not go back so far."""
        log = self._log.statistics()
        return max(log.since, min([log.epoch, *(one.wanted for one in self._registrations)]))

    def forget_before(self, epoch: int) -> None:
        """Forget the transactions up to an epoch, and those of deleted branches."""
        self._log.forget(epoch, {branch.number for branch in self._database.branches.values()})

    def renumber(self, store: TableStore, new_of: Array) -> None:
        """Go by new row numbers of a table."""
        self._log.renumber(store, new_of, lambda old: self._database.hold(Version(old.branch, old.lineage)))

    def listeners_of(self, branch: str) -> int:
        """Return how many listeners follow a branch by its name."""
        return sum(registration.options.branch == branch for registration in self._registrations)

    # -- how --------------------------------------------------------------------------------------------------------

    def _checked(self, prepared: PreparedListQuery) -> ListQuery:
        """Return the query of a prepared one that can be streamed."""
        if not isinstance(prepared, PreparedListQuery):
            raise InvalidQueryError([f"{prepared!r} cannot be streamed. Give session.database.prepare.list(...)."])
        query = prepared.query.assign(prepared.checked({}))
        if query.limit is not None or query.offset:
            raise InvalidQueryError(["a query with limit or offset cannot be streamed. Leave them out."])
        if query.root is not self._database.stores.get(query.root.name):
            raise InvalidQueryError([f"table {query.root.name!r} of the query is not one of this session."])
        return query

    def _heads(self, branch: str | None) -> list[Version]:
        """Return the newest version of a branch, or of all of them in the order of their epochs."""
        lines = self._database.branches.values() if branch is None else [self._database.branch(branch)]
        return sorted((line.head for line in lines), key=lambda version: version.epoch)

    def _release(self, registration: Registration) -> None:
        with self._lock:
            if registration not in self._registrations:
                return
            self._registrations = tuple(other for other in self._registrations if other is not registration)
            view = registration.view
            view.listeners -= 1
            if not view.listeners:
                del self._views[view.identity]
            self._note_paths()

    def _failed(self, component: str, error: BaseException) -> None:
        with self._lock:
            self._failures += 1
        self._report(component, error)

    def _note_paths(self) -> None:
        self._paths = frozenset((view.root, view.joins) for view in self._views.values() if view.joins)
