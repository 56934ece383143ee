"""Stream clearings: a table, or a partition of it, that a transaction emptied before it did anything else to it.

Floor 4. It is told as one call. Rows that the same transaction loads there anew are told as added, all of them: the
listener has just forgotten them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Commit, Version
from gpu_engine.database.operation import DropPartition, Truncate
from gpu_engine.expression.flat_rows import FlatRows, FlatView
from gpu_engine.query.row_query import rows_where
from gpu_engine.storage.table_store import TableStore
from gpu_engine.stream.listener import Event
from gpu_engine.stream.outcome import Rules

__all__ = ["MOST_ROWS", "Cleared", "cleared_by", "rows_of"]

MOST_ROWS = 65_536
"""Rows that are looked at together."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What a transaction has cleared of one table: everything, or some partitions."""

    partitions: tuple[DropPartition, ...] = ()
    """Empty if everything was cleared."""

    def holds(self, rows: FlatRows) -> Array:
        """Return (n,) bool: which rows lie in what was cleared."""
        xp = rows.backend.xp
        if not self.partitions:
            return xp.ones(len(rows), dtype="bool")
        held = xp.zeros(len(rows), dtype="bool")
        for dropped in self.partitions:
            held |= dropped.condition.mask(rows)
        return held

    def events(self, before: Version, root: TableStore, rules: Rules) -> Iterator[Event]:
        """Yield what listeners are told of the clearing itself."""
        if not self.partitions:
            yield Event("truncate")
        for dropped in self.partitions:
            gone = [event.arguments[1] for event in rows_of(before, root, rules, Cleared((dropped,)))]
            if gone:
                batch = pa.concat_batches(gone)
                conditions = MappingProxyType({dropped.column: dropped.value})
                yield Event("partition_dropped", (dropped.value, conditions, batch), batch.num_rows)


def cleared_by(commit: Commit, root: TableStore) -> Cleared | None:
    """Return what a commit cleared of a table; None if nothing, or nothing that was there."""
    operations = commit.clearings.get(root, ())
    if not operations:
        return None
    if any(isinstance(operation, Truncate) for operation in operations):
        return Cleared() if len(commit.before.table(root).alive_rows()) else None
    dropped = {operation.value: operation for operation in operations if isinstance(operation, DropPartition)}
    return Cleared(tuple(dropped.values()))


def rows_of(version: Version, root: TableStore, rules: Rules, within: Cleared | None = None) -> Iterator[Event]:
    """Yield the rows that a query lists at one version, as added, some at a time; only those `within` what is given."""
    view = FlatView(version, root)
    for found in rows_where(view, rules.condition, None):
        for start in range(0, len(found), MOST_ROWS):
            numbers = found[start : start + MOST_ROWS]
            if within is not None:
                numbers = numbers[within.holds(view.rows(numbers))]
            for _, event in rules.told("records_added", view.rows(numbers), None):
                yield event
