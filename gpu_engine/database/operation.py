"""Operations: what a transaction asks of one table, checked when it is asked and applied when it commits.

Floor 3. Values are Arrow arrays of the table's types by the time an operation exists, so that errors in the data
surface at the call which brought them. Conditions are evaluated at the commit, on the state that the operations before
have made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from gpu_engine.database.draft import TableDraft
from gpu_engine.errors import InvalidRowError
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatView, Snapshot
from gpu_engine.storage.table_store import TableStore

__all__ = [
    "Clearing",
    "DropKeys",
    "DropPartition",
    "DropWhere",
    "Operation",
    "Truncate",
    "Update",
    "Upsert",
    "clearings",
    "merged",
]


class Operation(Protocol):
    """One step of a transaction on one table."""

    @property
    def store(self) -> TableStore:
        """The table."""
        ...

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """Do it to the draft of its table; `snapshot` shows all tables as the operations before left them."""
        ...


@dataclass(frozen=True, slots=True)
class Upsert:
    """Add rows, or update those whose key exists."""

    store: TableStore
    columns: Mapping[str, pa.Array]
    """Every column of the table."""

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """Add or update the rows."""
        draft.upsert(self.columns)


@dataclass(frozen=True, slots=True)
class Update:
    """Change some columns of the rows with the given keys."""

    store: TableStore
    columns: Mapping[str, pa.Array]
    """The key columns and those to change."""

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """Change the rows, or refuse with InvalidRowError if a key has none."""
        found = draft.update(self.columns)
        if not found.all():
            row = int((~found).argmax())
            key = {name: self.columns[name][row].as_py() for name in self.store.schema.keys}
            raise InvalidRowError(self.store.name, row, f"no row has the key {key!r}. Use append() to add rows.")


@dataclass(frozen=True, slots=True)
class DropKeys:
    """End the rows with the given keys."""

    store: TableStore
    columns: Mapping[str, pa.Array]
    """The key columns."""

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """End the rows that are there."""
        draft.drop_keys(self.columns)


@dataclass(frozen=True, slots=True)
class DropWhere:
    """End the rows for which a bound condition holds."""

    store: TableStore
    condition: Condition

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """Evaluate the condition on the draft and end the rows it holds for."""
        rows = draft.alive_rows()
        draft.drop(rows[self.condition.mask(FlatView(snapshot, self.store).rows(rows))])


@dataclass(frozen=True, slots=True)
class Truncate:
    """End all rows."""

    store: TableStore

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """End every row."""
        draft.drop(draft.alive_rows())


@dataclass(frozen=True, slots=True)
class DropPartition:
    """End all rows that have one value in the column that partitions the table."""

    store: TableStore
    column: str
    value: Any
    condition: Condition
    """Bound: that the column has the value."""

    def apply(self, draft: TableDraft, snapshot: Snapshot) -> None:
        """End the rows of the partition."""
        DropWhere(self.store, self.condition).apply(draft, snapshot)


Clearing = Truncate | DropPartition
"""An operation that ends all rows, or all of a partition."""


def clearings(operations: Sequence[Operation]) -> dict[TableStore, tuple[Clearing, ...]]:
    """Return for each table what a transaction clears before it does anything else to the table."""
    found: dict[TableStore, tuple[Clearing, ...]] = {}
    others: set[TableStore] = set()
    for operation in operations:
        if isinstance(operation, Clearing) and operation.store not in others:
            found[operation.store] = (*found.get(operation.store, ()), operation)
        else:
            others.add(operation.store)
    return found


def merged(operations: list[Operation]) -> list[Operation]:
    """Return the operations with upserts into one table made one, as far as nothing in between could tell."""
    result: list[Operation] = []
    runs: dict[TableStore, list[Upsert]] = {}
    for operation in operations:
        if isinstance(operation, Upsert):
            runs.setdefault(operation.store, []).append(operation)
        else:
            result += [*map(_concatenated, runs.values()), operation]
            runs = {}
    return [*result, *map(_concatenated, runs.values())]


def _concatenated(run: list[Upsert]) -> Upsert:
    if len(run) == 1:
        return run[0]
    columns = {name: _one_array([upsert.columns[name] for upsert in run]) for name in run[0].columns}
    return Upsert(run[0].store, columns)


def _one_array(arrays: list[pa.Array]) -> pa.Array:
    coded = [pa.types.is_dictionary(array.type) for array in arrays]
    if all(coded) and len({array.type for array in arrays}) == 1:
        return pa.chunked_array(arrays).unify_dictionaries().combine_chunks()
    if any(coded):
        arrays = [array.cast(pa.string()) for array in arrays]
    return pa.concat_arrays(arrays)
