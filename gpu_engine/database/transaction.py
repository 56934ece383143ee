"""Transactions: operations on any tables that become one epoch, or none.

Floor 3. A block collects operations and holds no lock; the commit at its end applies them in the order written. Blocks
inside a block of the same thread join the outer one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gpu_engine.database.branch import MASTER
from gpu_engine.database.commit_log import Notes
from gpu_engine.database.database import Database
from gpu_engine.database.operation import Operation
from gpu_engine.database.report import CommitReport
from gpu_engine.errors import BranchMismatchError

__all__ = ["Transaction", "Transactions"]


class Transaction:
    """Operations collected so far; after the block, what they did."""

    def __init__(self, branch: str) -> None:
        self.branch = branch
        self.operations: list[Operation] = []
        self.positions: dict[str, Any] = {}
        """Source -> its position after the rows of the transaction, any JSON value; kept with the rows."""
        self.dead_letters: list[Mapping[str, Any]] = []
        """Records that could not become rows, as JSON objects; kept with the rows."""
        self.report: CommitReport | None = None
        """What the commit did; None until the outermost block has ended, and for ever if it was rolled back."""


class Transactions:
    """The transaction that each thread is in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open = threading.local()

    def submit(
        self, *operations: Operation, branch: str = MASTER, dead_letters: Sequence[Mapping[str, Any]] = ()
    ) -> CommitReport | None:
        """Add operations to the thread's open transaction, or commit them as one of their own on a branch.

        Returns
        -------
        CommitReport or None
            None inside a transaction: its own report comes when the block ends.
        """
        transaction: Transaction | None = getattr(self._open, "transaction", None)
        if transaction is None:
            return self._database.commit(operations, branch, Notes(dead_letters=tuple(dead_letters)))
        transaction.operations += operations
        transaction.dead_letters += dead_letters
        return None

    @contextmanager
    def start(self, branch: str | None = None) -> Iterator[Transaction]:
        """Open a transaction, or join the one that this thread is in.

        Parameters
        ----------
        branch : by default that of the outer block, or master

        Raises
        ------
        UnknownBranchError
            If the branch does not exist.
        BranchMismatchError
            If the outer block is on another branch.
        EngineError
            At the end of the outermost block, what the commit raises; nothing has changed then. An exception inside
            the block also leaves nothing, and goes on as it is.
        """
        outer: Transaction | None = getattr(self._open, "transaction", None)
        branch = (MASTER if outer is None else outer.branch) if branch is None else branch
        self._database.branch(branch)
        if outer is not None:
            if outer.branch != branch:
                raise BranchMismatchError(outer.branch, branch)
            written, buried, positions = len(outer.operations), len(outer.dead_letters), dict(outer.positions)
            try:
                yield outer
            except BaseException:
                del outer.operations[written:], outer.dead_letters[buried:]
                outer.positions = positions
                raise
            return
        transaction = self._open.transaction = Transaction(branch)
        try:
            yield transaction
        except BaseException:
            self._database.rolled_back(transaction.branch, transaction.operations)
            raise
        finally:
            self._open.transaction = None
        notes = Notes(transaction.positions, tuple(transaction.dead_letters))
        transaction.report = self._database.commit(transaction.operations, transaction.branch, notes)
