"""The table store: one table's columns, keys and rows, on all branches and at all epochs that are kept.

Floor 2. An update is a removal and an addition in the same epoch, so a version is little more than an epoch, and
nothing is copied. The writer prepares rows behind the visible ones (`RowStore.stage`), where nobody looks, and later
makes all of a commit take effect (`publish`).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.schema import Schema
from gpu_engine.storage.branch_rows import BranchRows
from gpu_engine.storage.column import Column
from gpu_engine.storage.entity_index import EntityIndex
from gpu_engine.storage.epoch_counts import EpochCounts
from gpu_engine.storage.row_store import ROOT, RowStore
from gpu_engine.storage.table_version import Lineage, TableVersion

__all__ = ["TableChange", "TableStore"]


@dataclass(frozen=True, slots=True)
class TableChange:
    """What one commit does to one table, as row numbers. All arrays are int64; no row occurs twice in an array."""

    updated_old: Array
    """(u,) rows that end because the row of their key changes."""
    updated_new: Array
    """(u,) rows that take their place, pair by pair."""
    added: Array
    """(a,) rows whose key had no row."""
    removed: Array
    """(r,) rows that end with nothing in their place."""
    stillborn: Array
    """(s,) rows that were staged and given up within the commit; nobody ever sees them."""
    row_count: int
    """Rows of the table, dead ones included, after the commit."""

    def __bool__(self) -> bool:
        return bool(len(self.updated_old) or len(self.added) or len(self.removed))

    @property
    def nbytes(self) -> int:
        """Bytes of the row numbers."""
        parts = (self.updated_old, self.updated_new, self.added, self.removed, self.stillborn)
        return sum([int(rows.nbytes) for rows in parts])


_BYTES = {"bool": 1, "int32": 4, "float32": 4, "int64": 8, "float64": 8}
_LIFE_SPAN = 8
_KEYED = 4 + 4


class TableStore:
    """One table. One writer at a time; readers hold a `TableVersion`."""

    def __init__(self, backend: ArrayBackend, name: str, schema: Schema) -> None:
        self.backend, self.name, self.schema = backend, name, schema
        self.arrow_schema = schema.arrow
        """Columns of whole rows in Arrow."""
        self.columns = {column: Column(backend, column, kind) for column, kind in schema.types.items()}
        keys = [self.columns[key] for key in schema.keys]
        others = [column for name, column in self.columns.items() if name not in schema.keys]
        self.compared = tuple(sorted(others, key=lambda one: (not one.type.numeric, one.coded)))
        """Columns apart from the key, those first that change most: numbers, then dates, then text."""
        self.entities = EntityIndex(backend, keys) if keys else None
        """Index of the key; None for a table without one, whose rows are never updated, only added and removed."""
        values = sum(_BYTES[kind.storage] * (kind.width or 1) for kind in schema.types.values())
        self.row_bytes = values + _LIFE_SPAN + (_KEYED if keys else 0)
        """Bytes that a row takes, without indexes."""
        self.rows = RowStore(backend, list(self.columns.values()))
        """The rows. Compaction puts another row store here."""
        self._alive: dict[int, EpochCounts] = {ROOT: EpochCounts()}
        self._recorded: list[tuple[TableChange, int, int]] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, the key index and the dictionaries."""
        dictionaries = sum(column.dictionary.nbytes for column in self.columns.values())
        return self.rows.nbytes + dictionaries + (self.entities.nbytes if self.entities else 0)

    def version(self, lineage: Lineage) -> TableVersion:
        """Return the rows as a lineage sees them; its epochs must not be after the newest."""
        rows, (branch, epoch) = self.rows, lineage[0]
        alive = self._alive.get(branch)  # none: the table is younger than a branch that is gone by now
        return TableVersion(self, rows, lineage, rows.row_counts.at(epoch), 0 if alive is None else alive.at(epoch))

    def create_branch(self, branch: int, alive_count: int) -> None:
        """Make room for a branch that starts with so many rows alive."""
        self.rows.branches = {**self.rows.branches, branch: BranchRows(self.backend)}
        self.rows.branch_numbers = branch + 1
        self._alive = {**self._alive, branch: EpochCounts(alive_count)}

    def keep_branches(self, numbers: Container[int]) -> None:
        """Forget what all other branches did to rows that they share: nobody reads those branches any more."""
        self.rows.branches = {branch: rows for branch, rows in self.rows.branches.items() if branch in numbers}
        self._alive = {branch: counts for branch, counts in self._alive.items() if branch in numbers}

    def ensure_entities(self) -> None:
        """Let `current` cover every entity of the index; new ones have no row."""
        assert self.entities is not None
        if len(self.entities) > self.rows.current.length:
            self.rows.current.resize(len(self.entities))

    def record_changes(self) -> None:
        """Remember every change from now on, for a compaction that is under way."""
        self._recorded = []

    def recorded_changes(self) -> list[tuple[TableChange, int, int]]:
        """Return (change, epoch, branch) of each commit since `record_changes`, and remember no more."""
        recorded, self._recorded = self._recorded, None
        return recorded or []

    def publish(self, change: TableChange, epoch: int, branch: int) -> None:
        """Let a commit take effect for readers at `epoch` and later; those before see no difference."""
        if self._recorded is not None:
            self._recorded.append((change, epoch, branch))
        rows, alive = self.rows, self._alive[branch]
        ended = len(change.updated_old) + len(change.removed)
        born = len(change.updated_new) + len(change.added)
        alive.append(epoch, alive.at(epoch) + born - ended)
        rows.row_counts.append(epoch, change.row_count)
        rows.row_count = change.row_count
        for ending in (change.updated_old, change.removed, change.stillborn):
            if len(ending):
                rows.end(ending, epoch, branch)
        if self.entities is not None:
            for beginning in (change.updated_new, change.added):
                if len(beginning):
                    rows.set_newest(beginning, branch)
