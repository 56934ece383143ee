"""The plan of a checkpoint: which versions it has to hold, and what each adds to the one before it.

Floor 4. A checkpoint is the history of the database with most of its epochs left out: the newest version of every
branch stays, the versions where branches start, and those that are pinned. Each is told as what ended and what began
since the version before it on its branch, just as a commit is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.branch import Branch
from gpu_engine.database.commit import Version
from gpu_engine.database.database import Database
from gpu_engine.storage.table_store import TableStore
from gpu_engine.storage.table_version import Lineage, TableVersion

__all__ = ["CheckpointPlan", "Point", "plan_checkpoint"]


@dataclass(frozen=True, slots=True)
class Point:
    """One version to hold."""

    branch: str
    """The branch that the epoch belongs to."""
    epoch: int
    before: Lineage | None
    """The version that it is told from; None for one that is told from nothing."""
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """All that a checkpoint holds, of one moment. Its versions stay readable while somebody has the plan."""

    sequence: int
    """The last record of the log that it makes superfluous."""
    last_epoch: int
    points: Sequence[Point]
    """In the order of their epochs."""
    versions: Mapping[TableStore, Mapping[Lineage, TableVersion]]
    """Table -> its rows at each point, all in the same row numbers."""
    branches: Sequence[Mapping[str, Any]]
    """Branches other than master, in order of creation: name, parent, fork; and every branch's head."""
    heads: Mapping[str, int]
    pins: Sequence[tuple[str, int]]
    positions: Mapping[str, Any]
    dead_letters: Sequence[Mapping[str, Any]]
    held: Sequence[Version]
    """Keeps what branches did to shared rows from being forgotten meanwhile."""

    def change(self, store: TableStore, point: Point) -> tuple[TableVersion | None, Array, Array]:
        """Return what a point changes in a table: the version before, the rows that end and the rows that begin."""
        versions, xp = self.versions[store], store.backend.xp
        now = versions[point.lineage]
        if point.before is None:
            rows = now.alive_rows()
            return None, rows[:0], rows
        before = versions[point.before]
        size = max(before.row_count, now.row_count)
        was, stays = _alive(before, size), _alive(now, size)
        return before, xp.flatnonzero(was & ~stays), xp.flatnonzero(stays & ~was)


def plan_checkpoint(database: Database, sequence: int, wanted: Iterable[Lineage]) -> CheckpointPlan:
    """Return the plan for what is there now; the writer is held.

    Parameters
    ----------
    sequence : the last record of the log
    wanted : versions to hold besides those that have to be held anyway
    """
    branches = database.branches
    lineages = {branch.lineage(branch.head.epoch) for branch in branches.values()}
    lineages |= {one.parent.lineage(one.fork_epoch) for one in branches.values() if one.parent is not None}
    lineages |= {branches[name].lineage(epoch) for name, epoch in database.retention.pins}
    numbers = {branch.number: branch for branch in branches.values()}
    lineages |= {lineage for lineage in wanted if lineage[0][0] in numbers}
    points: list[Point] = []
    latest: dict[int, Lineage] = {}
    for lineage in sorted(lineages, key=lambda one: (one[0][1], one[0][0])):
        branch = numbers[lineage[0][0]]
        points.append(Point(branch.name, lineage[0][1], latest.get(branch.number, _start(branch)), lineage))
        latest[branch.number] = lineage
    return CheckpointPlan(
        sequence,
        database.last_epoch,
        points,
        {store: {lineage: store.version(lineage) for lineage in lineages} for store in database.stores.values()},
        [_branch(branch) for branch in branches.values() if branch.parent is not None],
        {name: branch.head.epoch for name, branch in branches.items()},
        database.retention.pins,
        database.notes.positions,
        tuple(database.notes.dead_letters.values()),
        [database.hold(Version(numbers[lineage[0][0]].name, lineage)) for lineage in lineages],
    )


def _start(branch: Branch) -> Lineage | None:
    return None if branch.parent is None else branch.parent.lineage(branch.fork_epoch)


def _branch(branch: Branch) -> dict[str, Any]:
    assert branch.parent is not None
    return {"name": branch.name, "parent": branch.parent.name, "fork": branch.fork_epoch}


def _alive(version: TableVersion, size: int) -> Array:
    """Return (size,) bool: which rows are alive; none beyond the version's own."""
    alive = version.rows.backend.xp.zeros(size, dtype="bool")
    alive[: version.row_count] = version.alive(slice(0, version.row_count))
    return alive
