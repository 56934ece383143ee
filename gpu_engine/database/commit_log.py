"""The commit log: where a database tells what it is about to make visible, so that it can be had again.

Floor 3. The seam between the database and what makes it durable. An event is appended with the writer held, before it
takes effect; whoever asked for it is answered once the log acknowledges it, and by then nobody is held up any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpu_engine.database.branch import Branch
from gpu_engine.database.commit import Commit, Version
from gpu_engine.database.draft import TableDraft
from gpu_engine.database.operation import Operation
from gpu_engine.storage.table_store import TableStore

__all__ = [
    "NOTHING_NOTED",
    "Acknowledgement",
    "BranchCreated",
    "BranchDeleted",
    "CommitLog",
    "Committed",
    "Event",
    "MemoryOnly",
    "Notes",
    "Pinned",
    "TableCreated",
    "TableForgotten",
    "Unpinned",
    "at_once",
]

Acknowledgement = Callable[[], None]
"""Waits until an event is durable; raises LogFailedError if it will never be."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What a source leaves with a transaction, to be found again with its rows. All values are JSON."""

    positions: Mapping[str, Any] = field(default_factory=dict)
    """Source -> its position after the rows of the transaction."""
    dead_letters: Sequence[Mapping[str, Any]] = ()
    """Records that could not become rows."""

    def __bool__(self) -> bool:
        return bool(self.positions or self.dead_letters)


NOTHING_NOTED = Notes()


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction, resolved and derived."""

    epoch: int
    """Its epoch; that of the branch's head if it only leaves notes."""
    branch: str
    commit: Commit
    operations: Sequence[Operation]
    """As they were applied."""
    drafts: Mapping[TableStore, TableDraft]
    notes: Notes


@dataclass(frozen=True, slots=True)
class TableCreated:
    """A new, empty table."""

    store: TableStore


@dataclass(frozen=True, slots=True)
class TableForgotten:
    """A table that is gone, whose first rows could not be loaded."""

    name: str


@dataclass(frozen=True, slots=True)
class BranchCreated:
    """A new branch."""

    branch: Branch


@dataclass(frozen=True, slots=True)
class BranchDeleted:
    """A branch that is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Pinned:
    """An epoch that somebody wants to stay readable."""

    branch: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Unpinned:
    """One pin taken back."""

    branch: str
    epoch: int


Event = Committed | TableCreated | TableForgotten | BranchCreated | BranchDeleted | Pinned | Unpinned


class CommitLog(Protocol):
    """What a database needs of its log."""

    def append(self, event: Event) -> Acknowledgement:
        """Write an event. The writer is held, and readers see nothing of the event yet.

        Raises
        ------
        LogWriteError
            If it could not be written. The log is as it was before.
        LogFailedError
            If the log takes no more events.
        """
        ...

    def keep(self, version: Version) -> None:
        """See to it that a past version can be had again, before something durable refers to it."""
        ...


class MemoryOnly:
    """The log of a database that is gone when its process ends."""

    def append(self, event: Event) -> Acknowledgement:
        """Acknowledge at once."""
        return at_once

    def keep(self, version: Version) -> None:
        """Nothing is kept."""


def at_once() -> None:
    """Acknowledge what need not, or cannot, become any more durable."""
