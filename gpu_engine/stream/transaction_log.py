"""The transaction log: what the last transactions did, in order, for whoever follows them at their own pace.

Floor 4. Nothing is queued for anybody: a follower knows its place in the log and reads from there. The log is bounded
by number and bytes; a follower that falls behind its beginning has lost the thread, and is told so.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from itertools import islice

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Commit, Version
from gpu_engine.errors import EpochNotRetainedError
from gpu_engine.storage.row_store import ROOT
from gpu_engine.storage.table_store import TableStore

__all__ = ["LogEntry", "LogStatistics", "TransactionLog"]

MOST_TRANSACTIONS = 10_000
MOST_BYTES = 64 << 20

_ENTRY_BYTES = 2_000
"""Bytes of the objects of one entry, its arrays apart, estimated."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One transaction that has ended."""

    branch: str
    epoch: int
    """The epoch that it made; of one rolled back the epoch that it would have made, which another one takes."""
    tables: tuple[str, ...]
    """Tables that it changed; of one rolled back those that it was to write to."""
    commit: Commit | None
    """None if it was rolled back, or is gone."""
    opens_branch: bool = False
    """Whether it is the first commit on its branch."""
    gone: bool = False
    """Whether it is no longer kept, because its branch was deleted."""

    @property
    def nbytes(self) -> int:
        """Bytes that the entry keeps, estimated."""
        return _ENTRY_BYTES + (0 if self.commit is None else self.commit.nbytes)


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Figures of the log."""

    transactions: int
    """Transactions that it holds, those rolled back included."""
    nbytes: int
    """Bytes that it keeps, estimated."""
    since: int
    """Changes after this epoch are there."""
    epoch: int
    """Epoch of the newest commit."""


class TransactionLog:
    """The last transactions. Appending never waits for readers; any thread may read."""

    def __init__(self, epoch: int, transactions: int = MOST_TRANSACTIONS, nbytes: int = MOST_BYTES) -> None:
        self._changed = threading.Condition()
        self._entries: deque[tuple[LogEntry, int]] = deque()
        self._start = 0
        """Place of the first entry that is there."""
        self._since = self._epoch = epoch
        self._branches = {ROOT}
        """Numbers of branches that have commits, and of master."""
        self._bytes = 0
        self._most, self._most_bytes = transactions, nbytes

    # -- writing ----------------------------------------------------------------------------------------------------

    def limit(self, transactions: int, nbytes: int) -> None:
        """Keep at most so many transactions and bytes from now on; the newest transaction is always kept."""
        with self._changed:
            self._most, self._most_bytes = transactions, nbytes
            self._trim()

    def committed(self, commit: Commit) -> None:
        """Take in a commit that readers can see. Commits come in the order of their epochs."""
        tables = tuple(store.name for store in commit.changes)
        number = commit.before.number
        with self._changed:
            self._epoch = commit.epoch
            self._append(LogEntry(commit.branch, commit.epoch, tables, commit, number not in self._branches))
            self._branches.add(number)

    def rolled_back(self, branch: str, tables: Iterable[str]) -> None:
        """Take in that a transaction has left nothing."""
        with self._changed:
            self._append(LogEntry(branch, self._epoch + 1, tuple(sorted(set(tables))), None))

    def forget(self, epoch: int, branches: Set[int]) -> None:
        """Forget all transactions up to an epoch, and those on other branches than the given ones, by number."""
        with self._changed:
            while self._entries and self._entries[0][0].epoch <= epoch:
                self._drop()
            self._since = max(self._since, min(epoch, self._epoch))
            self._entries = deque((_on(branches, entry), size) for entry, size in self._entries)

    def renumber(self, store: TableStore, new_of: Array, fresh: Callable[[Version], Version]) -> None:
        """Speak of a table's rows by new numbers from now on; see `Commit.renumbered`.

        Whoever is reading a transaction goes on by the old ones.
        """
        renewed: dict[Version, Version] = {}

        def once(version: Version) -> Version:
            if version not in renewed:
                renewed[version] = fresh(version)
            return renewed[version]

        with self._changed:
            self._entries = deque((_renumbered(entry, store, new_of, once), size) for entry, size in self._entries)

    def wake(self) -> None:
        """Let everybody who waits for an entry ask its `until` again."""
        with self._changed:
            self._changed.notify_all()

    def _append(self, entry: LogEntry) -> None:
        nbytes = entry.nbytes
        self._entries.append((entry, nbytes))
        self._bytes += nbytes
        self._trim()
        self._changed.notify_all()

    def _trim(self) -> None:
        while len(self._entries) > 1 and (len(self._entries) > self._most or self._bytes > self._most_bytes):
            self._drop()

    def _drop(self) -> None:
        entry, nbytes = self._entries.popleft()
        self._bytes -= nbytes
        self._start += 1
        if entry.commit is not None or entry.gone:
            self._since = entry.epoch

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Epoch of the newest commit."""
        return self._epoch

    def end(self, versions: Callable[[], list[Version]]) -> tuple[int, int, list[Version]]:
        """Return the place of the next transaction, the epoch before it, and what `versions` gives just then.

        A version may be one commit ahead of the log: that commit has taken effect and comes into the log next.
        """
        with self._changed:
            found = versions()
            epoch = max([self._epoch, *(version.epoch for version in found)])
            return self._start + len(self._entries), epoch, found

    def place_after(self, epoch: int, head: int) -> int:
        """Return the place of the first transaction after an epoch.

        Parameters
        ----------
        head : newest epoch that readers can see; its commit may be about to come into the log

        Raises
        ------
        EpochNotRetainedError
            If the log does not hold all transactions after the epoch, or the epoch lies ahead.
        """
        with self._changed:
            head = max(head, self._epoch)
            if not self._since <= epoch <= head:
                raise EpochNotRetainedError(epoch, self._since, head)
            later = sum(1 for entry, _ in self._entries if entry.epoch > epoch)
            return self._start + len(self._entries) - later

    def at_ease(self, place: int) -> bool:
        """Return whether a follower who has come to a place is far from being left behind by the log."""
        with self._changed:
            kept = max(1, len(self._entries))
            room = min(self._most, kept * self._most_bytes // max(1, self._bytes))
            return 2 * (self._start + kept - place) < room

    def read(self, place: int, most: int, epoch: int, until: Callable[[], bool]) -> list[LogEntry]:
        """Return the transactions from a place on, once there are any; none if `until` became true before.

        Parameters
        ----------
        most : how many at most
        epoch : what the reader has read up to, for the error
        until : asked at every change and at `wake`

        Raises
        ------
        EpochNotRetainedError
            If the log has forgotten the first of them.
        """
        with self._changed:
            self._changed.wait_for(lambda: until() or place < self._start + len(self._entries))
            if until():
                return []
            if place < self._start:
                raise EpochNotRetainedError(epoch, self._since, self._epoch)
            first = place - self._start
            return [entry for entry, _ in islice(self._entries, first, first + most)]

    def statistics(self) -> LogStatistics:
        """Return figures for operators and tests."""
        with self._changed:
            return LogStatistics(len(self._entries), self._bytes, self._since, self._epoch)


def _renumbered(entry: LogEntry, store: TableStore, new_of: Array, fresh: Callable[[Version], Version]) -> LogEntry:
    if entry.commit is None:
        return entry
    return replace(entry, commit=entry.commit.renumbered(store, new_of, fresh))


def _on(branches: Set[int], entry: LogEntry) -> LogEntry:
    if entry.commit is None or entry.commit.before.number in branches:
        return entry
    return replace(entry, commit=None, gone=True)
