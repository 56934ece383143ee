"""Followers and observers: who moves with a commit, and who is told of it afterwards.

Floor 3. A follower takes part in the commits of one branch: what it derives takes effect with the commit. An observer
hears of every transaction on every branch once it has ended, and reads at its own pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Commit
from gpu_engine.storage.table_store import TableStore

__all__ = ["Follower", "Observer"]


class Follower(Protocol):
    """Something that moves with every commit of a branch: an aggregate provider."""

    def derive(self, commit: Commit) -> Callable[[], None] | None:
        """Work out what the commit changes, without changing anything that a reader sees.

        Returns
        -------
        callable or None
            Makes the change; must not fail. Called once the commit is certain, before the head moves.
        """
        ...

    def listeners(self) -> int:
        """Return how many live queries need it, and with it the branch."""
        ...

    def end(self) -> None:
        """Take notice that its branch is gone. Must not fail."""
        ...

    def attaching(self, store: TableStore) -> bool:
        """Return whether it is reading rows of a table without the writer's lock, so that their numbers must stay."""
        ...

    def renumber(self, store: TableStore, new_of: Array) -> None:
        """Go by new row numbers: `new_of` gives the number of each old row, -1 where it is gone. Must not fail."""
        ...


class Observer(Protocol):
    """Something that reads what transactions did, after they did it: the data streamer. Its methods must not fail."""

    def prepare(self, commit: Commit) -> None:
        """Ask a commit that is being prepared for what only the writer can find."""
        ...

    def committed(self, commit: Commit) -> None:
        """Take notice of a commit that readers can see. Called by the writer, in the order of epochs."""
        ...

    def rolled_back(self, branch: str, tables: Iterable[str]) -> None:
        """Take notice that a transaction on some tables has left nothing. Called by any thread."""
        ...

    def oldest_wanted(self) -> int:
        """Return the epoch after which it still has to read what changed."""
        ...

    def forget_before(self, epoch: int) -> None:
        """Give up what changed in epochs before this one and in this one: their rows may go."""
        ...

    def renumber(self, store: TableStore, new_of: Array) -> None:
        """Go by new row numbers, as a follower does."""
        ...

    def listeners_of(self, branch: str) -> int:
        """Return how many of its listeners need the branch to exist."""
        ...
