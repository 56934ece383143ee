"""Distinct rows: the first row of each combination of values.

Floor 3. Values become integers that are equal exactly where they are (null is a value of its own, all NaN are one, -0.0
is 0.0), and columns are folded pairwise into ids, so no two combinations are ever mistaken for each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from gpu_engine.backend.array_backend import Array
from gpu_engine.expression.flat_rows import FlatRows
from gpu_engine.expression.join import Reference
from gpu_engine.storage.column import Column, Values
from gpu_engine.storage.entity_index import key_part

__all__ = ["distinct_places", "sorted_places"]


def distinct_places(rows: FlatRows, references: Sequence[Reference]) -> Array:
    """Return (d,) int64, ascending: the place in `rows` of the first row of each combination of values."""
    backend, xp = rows.backend, rows.backend.xp
    ids = xp.zeros(len(rows), dtype="int64")
    for reference in references:
        for part in _parts(reference.column, rows.values(reference)):
            groups = backend.group(part)
            folded = backend.group(ids * max(1, len(groups.keys)) + groups.group_of)
            ids = folded.group_of
    size = int(backend.scalar(ids.max())) + 1 if len(ids) else 0
    return xp.sort(backend.group_min(xp.arange(len(ids)), ids, size, len(ids)))


def sorted_places(rows: pa.Table) -> pa.Array:
    """Return the order that sorts rows ascending, column by column; NaN after numbers and null last."""
    columns: list[pa.ChunkedArray] = []
    for column in rows.columns:
        if pa.types.is_fixed_size_list(column.type):
            columns += [pc.list_element(column, place) for place in range(column.type.list_size)]
        else:
            columns.append(column)
    keys = pa.table({str(place): column for place, column in enumerate(columns)})
    return pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])


def _parts(column: Column, values: Values) -> list[Array]:
    """Return one or more (n,) int64 that together are equal exactly where the values are, null included."""
    keys = key_part(column, values)
    if values.valid is None:
        return [keys[:, place] for place in range(column.type.width)] if column.type.width is not None else [keys]
    present, xp = values.valid, column.backend.xp
    if column.type.width is None:
        return [present.astype("int64"), xp.where(present, keys, 0)]
    return [present.astype("int64"), *(xp.where(present, keys[:, place], 0) for place in range(column.type.width))]
