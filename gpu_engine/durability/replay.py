"""Replay: what the log or a checkpoint tells, done again to a database that nobody uses yet.

Floor 4. Rows go through the same drafts as any commit. The epochs are those that they had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from gpu_engine.database.branch import Branch
from gpu_engine.database.commit_log import Notes
from gpu_engine.database.database import Database
from gpu_engine.database.operation import Operation
from gpu_engine.durability.arrow_file import read_rows
from gpu_engine.durability.event_message import outcomes_in
from gpu_engine.durability.manifest import Manifest, StoredChange
from gpu_engine.durability.message import Message
from gpu_engine.durability.outcome import Outcome
from gpu_engine.durability.progress import Progress
from gpu_engine.durability.schema_json import schema_from_json
from gpu_engine.errors import DataDirectoryDamagedError

__all__ = ["Replay"]


class Replay:
    """Builds a database up, first from a checkpoint, if there is one, then from the log after it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._oldest = 0
        self._pins: Counter[tuple[str, int]] = Counter()
        self._points: frozenset[tuple[str, int]] = frozenset()

    def checkpoint(self, folder: Path, manifest: Manifest, progress: Progress) -> None:
        """Do what a checkpoint tells, whose files have been checked, to an empty database."""
        database = self._database
        for name, schema in manifest.tables:
            database.create_table(name, schema_from_json(schema))
        waiting = list(manifest.branches)
        for point in manifest.points:
            while point.branch not in database.branches:
                self._create_branch(waiting.pop(0))
            operations: list[Operation] = []
            for change in point.changes:
                store = database.table(change.table)
                operations += _outcome(folder, change).operations(store)
                progress.advance(sum(rows.nbytes for rows in (change.ended, change.begun) if rows is not None))
            self._advance(point.branch, point.epoch, operations)
        for branch in waiting:
            self._create_branch(branch)
        for name, epoch in manifest.heads.items():
            self._set_head(database.branch(name), epoch)
        database.last_epoch = self._oldest = manifest.last_epoch
        self._points = frozenset((point.branch, point.epoch) for point in manifest.points)
        self._pins.update(manifest.pins)
        database.notes.take(Notes(manifest.positions, manifest.dead_letters))

    def message(self, message: Message) -> None:
        """Do what one record of the log tells."""
        head, database = message.head, self._database
        match head["kind"]:
            case "commit":
                self._commit(message)
            case "table":
                database.create_table(head["name"], schema_from_json(head["schema"]))
            case "forget table":
                database.forget_table(database.table(head["name"]))
            case "branch":
                if not self._known(head["parent"], head["fork"]):
                    where = f"epoch {head['fork']} of branch {head['parent']!r}"
                    raise DataDirectoryDamagedError(
                        "log", f"branch {head['name']!r} starts at {where}, which only a newer checkpoint held"
                    )
                self._create_branch(head)
            case "delete branch":
                database.forget_branch(database.branch(head["name"]))
            case "pin":
                self._pins[head["branch"], head["epoch"]] += 1
            case "unpin":
                self._pins[head["branch"], head["epoch"]] -= 1
            case kind:
                raise DataDirectoryDamagedError("log", f"a record of kind {kind!r} is not one this release reads")

    def finish(self) -> list[tuple[str, int]]:
        """Let epochs be readable that all is there for, and return the pins of those that only a lost file held."""
        pins = list(self._pins.elements())
        self._database.retention.restore(self._oldest, [pin for pin in pins if self._known(*pin)])
        return [pin for pin in pins if not self._known(*pin)]

    def _known(self, name: str, epoch: int) -> bool:
        """Return whether a version is what it was: in the log that was replayed, or in the checkpoint before."""
        branch = self._database.branch(name)
        while branch.parent is not None and epoch < branch.fork_epoch:
            branch = branch.parent
        return epoch >= self._oldest or (branch.name, epoch) in self._points

    def _commit(self, message: Message) -> None:
        head = message.head
        notes = Notes(head.get("positions", {}), head.get("dead_letters", ()))
        if head["tables"]:
            found = outcomes_in(message, self._database.stores)
            operations = [one for store, outcome in found.items() for one in outcome.operations(store)]
            self._advance(head["branch"], head["epoch"], operations)
        self._database.notes.take(notes)

    def _advance(self, name: str, epoch: int, operations: list[Operation]) -> None:
        """Let a commit have the epoch that it had, also if nothing is left of it."""
        database = self._database
        database.last_epoch = epoch - 1
        database.commit(operations, name)
        self._set_head(database.branch(name), epoch)
        database.last_epoch = epoch

    def _set_head(self, branch: Branch, epoch: int) -> None:
        if branch.head.epoch != epoch:
            branch.head = self._database.hold(branch.version(epoch))

    def _create_branch(self, given: Mapping[str, object]) -> None:
        database, fork = self._database, int(str(given["fork"]))
        database.last_epoch = max(database.last_epoch, fork)
        database.create_branch(str(given["name"]), str(given["parent"]), fork)


def _outcome(folder: Path, change: StoredChange) -> Outcome:
    begun = None if change.begun is None else read_rows(folder, change.begun)
    if change.ended is None:
        return Outcome(begun, None)
    ended = read_rows(folder, change.ended)
    return Outcome(begun, pa.RecordBatch.from_arrays(list(ended.values()), names=list(ended)))
