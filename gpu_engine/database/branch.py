"""Branches: lines of epochs that start from another one and go their own way.

Floor 3. Epochs are counted once for the whole database, so an epoch belongs to one branch. A branch sees what its
parent had at the fork, and what was done on itself; it copies no rows.
"""

from __future__ import annotations

from gpu_engine.database.commit import Version
from gpu_engine.storage.row_store import ROOT
from gpu_engine.storage.table_version import Lineage

__all__ = ["MASTER", "Branch"]

MASTER = "master"
"""Name of the branch that every session has."""


class Branch:
    """One line of epochs."""

    def __init__(self, name: str, number: int = ROOT, parent: Branch | None = None, fork_epoch: int = 0) -> None:
        self.name, self.number, self.parent = name, number, parent
        self.fork_epoch = fork_epoch
        """The epoch of the parent that it starts from; 0 for master."""
        self.head = self.version(fork_epoch)
        """Its newest version."""

    def __repr__(self) -> str:
        return f"Branch({self.name!r}, epoch {self.head.epoch})"

    def lineage(self, epoch: int) -> Lineage:
        """Return up to which epoch each branch, from this one to master, is seen at an epoch.

        Before the fork a branch is what its parent was.
        """
        if self.parent is None:
            return ((self.number, epoch),)
        if epoch < self.fork_epoch:
            return self.parent.lineage(epoch)
        return ((self.number, epoch), *self.parent.lineage(self.fork_epoch))

    def version(self, epoch: int) -> Version:
        """Return all tables at an epoch of this branch."""
        return Version(self.name, self.lineage(epoch))
