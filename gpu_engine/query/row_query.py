"""Row queries: what to read of one table and of the columns that its joins reach, with every name found.

Floor 3. A row query is immutable and knows no version: it can be run at any, any number of times, by any thread. Rows
are read a chunk at a time, and no further than the query needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Version
from gpu_engine.expression.connective import Condition
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Reference
from gpu_engine.expression.parameter import ParameterType
from gpu_engine.query.distinct_rows import distinct_places, sorted_places
from gpu_engine.query.key_lookup import rows_of_keys
from gpu_engine.storage.table_store import TableStore

__all__ = ["DistinctQuery", "KeyQuery", "ListQuery", "read", "rows_where", "stamped"]


@dataclass(frozen=True, eq=False)
class RowQuery:
    """Fields of some rows of a table."""

    root: TableStore
    """The table."""
    fields: Mapping[str, Reference]
    """Name in the answer -> column, of the table or through its joins."""
    condition: Condition | None = None
    """Bound; None for all rows."""

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the answer's columns."""
        return pa.schema([(name, reference.column.type.arrow) for name, reference in self.fields.items()])

    @cached_property
    def parameters(self) -> Mapping[str, ParameterType]:
        """Values that the query leaves open."""
        return {} if self.condition is None else self.condition.parameters()

    def _with(self, values: Mapping[str, Any]) -> Condition | None:
        return self.condition if self.condition is None or not self.parameters else self.condition.assign(values)


@dataclass(frozen=True, eq=False)
class ListQuery(RowQuery):
    """The rows that satisfy a condition."""

    limit: int | None = None
    offset: int = 0

    def assign(self, values: Mapping[str, Any]) -> ListQuery:
        """Return the query with values, fitted to their types, in the place of its parameters."""
        return replace(self, condition=self._with(values))

    def run(self, version: Version, values: Mapping[str, Any]) -> pa.Table:
        """Return the rows at a version, those written earlier first."""
        view = FlatView(version, self.root)
        end = None if self.limit is None else self.offset + self.limit
        parts = list(rows_where(view, self._with(values), end))
        rows = view.root.backend.xp.concatenate(parts)[self.offset : end]
        return stamped(read(view, self.fields, self.schema, rows), version)


@dataclass(frozen=True, eq=False)
class DistinctQuery(RowQuery):
    """The combinations of values that rows have, each once."""

    def run(self, version: Version, values: Mapping[str, Any]) -> pa.Table:
        """Return the combinations at a version, ascending field by field, null last."""
        view = FlatView(version, self.root)
        xp, references = self.root.backend.xp, tuple(self.fields.values())
        # Chunk by chunk first, so that what is kept is about as much as the answer.
        parts = [
            rows[distinct_places(view.rows(rows), references)] for rows in rows_where(view, self._with(values), None)
        ]
        rows = xp.concatenate(parts)
        if len(parts) > 1:
            rows = rows[distinct_places(view.rows(rows), references)]
        found = read(view, self.fields, self.schema, rows)
        return stamped(found.take(sorted_places(found)), version)


@dataclass(frozen=True, eq=False)
class KeyQuery(RowQuery):
    """The rows with given keys."""

    @cached_property
    def parameters(self) -> Mapping[str, ParameterType]:
        """The key columns."""
        return {name: self.root.schema.types[name] for name in self.root.schema.keys}

    def run(self, version: Version, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the row whose key columns have these values."""
        return self.one(version, values)

    def one(self, version: Version, key: Any) -> dict[str, Any] | None:
        """Return the fields of the row with a key, None if there is none; errors as `rows_of_keys`."""
        rows = rows_of_keys(version, self.root, [key])
        found = read(FlatView(version, self.root), self.fields, self.schema, rows[rows >= 0]).to_pylist()
        return found[0] if found else None

    def many(self, version: Version, keys: Sequence[Any]) -> pa.Table:
        """Return a row for each key, in order, all null where no row has the key; errors as `rows_of_keys`."""
        backend, rows = self.root.backend, rows_of_keys(version, self.root, keys)
        there = rows >= 0
        found = read(FlatView(version, self.root), self.fields, self.schema, rows[there])
        if found.num_rows < len(rows):
            places = backend.xp.cumsum(there) - 1
            found = found.take(backend.to_arrow(places.astype("int64"), there, pa.int64()))
        return stamped(found, version)


def rows_where(view: FlatView, condition: Condition | None, enough: int | None) -> Iterator[Array]:
    """Yield (k,) row numbers of the view's root that are alive and satisfy the condition, ascending, in parts.

    Parameters
    ----------
    enough : stop after the part in which so many rows have been found; None for all
    """
    table, backend = view.snapshot.table(view.root), view.root.backend
    xp = backend.xp
    found = 0
    yield xp.zeros(0, dtype="int64")
    for start in range(0, table.row_count, backend.chunk_rows):
        if enough is not None and found >= enough:
            return
        stop = min(table.row_count, start + backend.chunk_rows)
        rows = start + xp.flatnonzero(table.alive(slice(start, stop)))
        if condition is not None and len(rows):
            whole = len(rows) == stop - start
            with backend.ignore_float_errors():
                rows = rows[condition.mask(view.rows(slice(start, stop) if whole else rows))]
        if len(rows):
            found += len(rows)
            yield rows


def read(view: FlatView, fields: Mapping[str, Reference], schema: pa.Schema, rows: Array) -> pa.Table:
    """Return fields of (n,) rows of the view's root, as values."""
    content = view.rows(rows)
    columns = [reference.column.to_arrow(content.values(reference)) for reference in fields.values()]
    return pa.Table.from_arrays(columns, schema=schema)


def stamped(answer: pa.Table, version: Version) -> pa.Table:
    """Return an answer whose schema says which branch and epoch it shows."""
    return answer.replace_schema_metadata({"branch": version.branch, "epoch": str(version.epoch)})
