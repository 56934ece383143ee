"""The branches of a session as users hold them: create, list, delete.

Floor 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_engine.database.branch import MASTER, Branch
from gpu_engine.database.database import Database
from gpu_engine.errors import BranchInUseError, InvalidModelError

__all__ = ["BranchInfo", "Branches"]

MOST_CHARACTERS = 200
"""Of a name: each answer of the service carries it in a header."""


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """What one branch is, at one moment."""

    name: str
    epoch: int
    """Its newest epoch."""
    parent: str | None
    """The branch that it came from; None for master."""
    fork_epoch: int
    """The epoch of the parent that it came from."""


class Branches(Mapping[str, BranchInfo]):
    """Branches by name."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keepers: tuple[Callable[[str], None], ...] = ()

    def __getitem__(self, name: str) -> BranchInfo:
        """Return a branch; UnknownBranchError if there is none of that name."""
        return _info(self._database.branch(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._database.branches)

    def __len__(self) -> int:
        return len(self._database.branches)

    def list(self) -> list[BranchInfo]:
        """Return all branches, in order of creation."""
        return [_info(branch) for branch in self._database.branches.values()]

    def create(self, name: Any, from_branch: str = MASTER, epoch: int | None = None) -> BranchInfo:
        """Start a branch from another one, at its head or at a past epoch. No row is copied.

        Raises
        ------
        DuplicateNameError
            If a branch has the name.
        InvalidModelError
            If the name is no text, empty or too long.
        UnknownBranchError, EpochNotRetainedError
            If the version to start from cannot be read.
        """
        if not isinstance(name, str) or not 0 < len(name) <= MOST_CHARACTERS:
            shown = name[:40] if isinstance(name, str) else name
            raise InvalidModelError(f"branch name {shown!r}: give a text of 1 to {MOST_CHARACTERS} characters.")
        return _info(self._database.create_branch(name, from_branch, epoch))

    def delete(self, name: str) -> None:
        """Remove a branch; its rows go with the next compaction.

        Raises
        ------
        UnknownBranchError
            If there is none of that name.
        BranchInUseError
            If it is master, another branch started from it, an epoch of it is pinned, or a live query or a stream
            follows it. Providers are no reason: they go with it.
        """
        if self._database.branch(name).parent is not None:
            for let_go in self._keepers:
                let_go(name)
        with self._database.writing():
            branch = self._database.branch(name)
            users = self._users(branch)
            if users:
                raise BranchInUseError(name, users)
            self._database.forget_branch(branch)

    def before_delete(self, let_go: Callable[[str], None]) -> Callable[[], None]:
        """Have a function called with the name of each branch that is to be deleted, until what is returned is called.

        It is for whoever keeps live queries or streams that nobody uses any more, and can close those.
        """
        with self._database.writing():
            self._keepers = (*self._keepers, let_go)

        def end() -> None:
            self._keepers = tuple(one for one in self._keepers if one is not let_go)

        return end

    def _users(self, branch: Branch) -> Sequence[str]:
        database = self._database
        if branch.parent is None:
            return ["the session: master is always there"]
        counts = {
            "live queries": sum(follower.listeners() for follower in database.followers(branch.name)),
            "streams": sum(observer.listeners_of(branch.name) for observer in database.observers),
            "pins": sum(1 for pinned, _ in database.retention.pins if pinned == branch.name),
        }
        children = [f"branch {other.name!r}" for other in database.branches.values() if other.parent is branch]
        return children + [f"{count} {what}" for what, count in counts.items() if count]


def _info(branch: Branch) -> BranchInfo:
    parent = None if branch.parent is None else branch.parent.name
    return BranchInfo(branch.name, branch.head.epoch, parent, branch.fork_epoch)
