"""Table statistics: exact figures of a table's columns at one version.

Floor 3. They are counted when asked for, from the rows alive at the version; nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpu_engine.database.commit import Version
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Reference
from gpu_engine.query.row_query import DistinctQuery, rows_where
from gpu_engine.storage.column import Column
from gpu_engine.storage.table_store import TableStore

__all__ = ["ColumnStatistics", "TableStatistics", "table_statistics"]


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """Exact figures of one column."""

    type: str
    cardinality: int
    """Distinct values, null not among them; all NaN are one value."""
    nulls: int
    """Rows that are null there."""
    min: Any
    """The least value, NaN passed over; None if there is none, and for a VECTOR."""
    max: Any
    """The greatest value, as `min`."""


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Exact figures of one table at one epoch of a branch."""

    table: str
    branch: str
    epoch: int
    row_count: int
    columns: Mapping[str, ColumnStatistics]


def table_statistics(version: Version, store: TableStore) -> TableStatistics:
    """Return the figures of the rows of `store` alive at a version."""
    columns = {name: _column_statistics(version, store, column) for name, column in store.columns.items()}
    row_count = int(sum(len(rows) for rows in rows_where(FlatView(version, store), None, None)))
    return TableStatistics(store.name, version.branch, version.epoch, row_count, columns)


def _column_statistics(version: Version, store: TableStore, column: Column) -> ColumnStatistics:
    distinct = DistinctQuery(store, {column.name: Reference((), column)}).run(version, {}).column(0)
    present = distinct.drop_null()
    least, greatest = _extremes(present)
    nulls = _null_count(version, store, column) if distinct.null_count else 0
    return ColumnStatistics(str(column.type), len(present), nulls, least, greatest)


def _null_count(version: Version, store: TableStore, column: Column) -> int:
    backend, total = store.backend, 0
    view = FlatView(version, store)
    for rows in rows_where(view, None, None):
        values = view.rows(rows).values(Reference((), column))
        if column.coded:
            total += int(backend.scalar((values.data < 0).sum()))
        elif values.valid is not None:
            total += int(backend.scalar((~values.valid).sum()))
    return total


def _extremes(values: pa.ChunkedArray) -> tuple[Any, Any]:
    """Return the first and the last of values that are sorted, NaN last."""
    if pa.types.is_fixed_size_list(values.type):
        return None, None
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    return (values[0].as_py(), values[-1].as_py()) if len(values) else (None, None)
