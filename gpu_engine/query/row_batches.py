"""Row batches: rows of a query as Arrow batches, each of one partition.

Floor 3. A batch shares no memory with the tables, so it never changes and may be kept. Text is decoded, or sent as
codes over the dictionary that the table keeps, which only grows: codes of an older batch mean the same in a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.expression.flat_rows import FlatRows
from gpu_engine.expression.join import Reference
from gpu_engine.storage.column import Column, Values

__all__ = ["Group", "RowBatches"]

Group = tuple[int, Any, int, int]
"""Owner, value of the partition, first place, place after the last."""


class RowBatches:
    """Makes the batches of one list of fields."""

    def __init__(self, fields: Mapping[str, Reference], partition: Column | None, *, dictionarized: bool) -> None:
        self.references = tuple(fields.values())
        self.partition = None if partition is None else Reference((), partition)
        """The column that partitions the root table; None if nothing does."""
        self._dictionarized = dictionarized
        self.schema = pa.schema([(name, self._type(reference.column)) for name, reference in fields.items()])

    def batch(self, rows: FlatRows, places: Array | None) -> pa.RecordBatch:
        """Return the fields of the rows at (k,) `places` of `rows`; None for all of them, picked by their numbers."""
        found = (rows.values(one) if places is None else rows.values(one).take(places) for one in self.references)
        columns = [self._column(one.column, values) for one, values in zip(self.references, found, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def grouped(self, rows: FlatRows, places: Array | None, owner_of: Array | None) -> tuple[Array | None, list[Group]]:
        """Return (k,) `places` of `rows` ordered by owner, then by partition, and where each group lies in them.

        Parameters
        ----------
        places : None for all of them; returned as None if their order may stay as it is
        owner_of : (n,) int64 owner of each of `rows`; None if all have the one owner 0
        """
        if self.partition is None and owner_of is None:
            return places, [(0, None, 0, len(rows) if places is None else len(places))]
        backend, xp = rows.backend, rows.backend.xp
        if places is None:
            places = xp.arange(len(rows))
        keys = xp.zeros(len(places), dtype="int64") if owner_of is None else owner_of[places]
        size = 1
        if self.partition is not None:
            codes = rows.codes(self.partition)[places]
            size = 1 + len(self.partition.column.dictionary)
            keys = keys * size + codes + 1
        groups = backend.group(keys)
        order = backend.order_by_code(groups.group_of, len(groups.keys))
        ends = backend.to_host(xp.cumsum(backend.group_count(groups.group_of, len(groups.keys)))).tolist()
        found, begin = [], 0
        for key, end in zip(backend.to_host(groups.keys).tolist(), ends, strict=True):
            found.append((key // size, self._partition_of(key % size - 1), begin, end))
            begin = end
        return places[order], found

    def differs(self, old: FlatRows, new: FlatRows, paired: int) -> Array:
        """Return (paired,) bool: where the first `paired` rows of both differ in some field."""
        xp = old.backend.xp
        differs = xp.zeros(paired, dtype="bool")
        for one in self.references:
            differs |= ~one.column.same(_first(old.values(one), paired), _first(new.values(one), paired))
        return differs

    def _partition_of(self, code: int) -> Any:
        if code < 0 or self.partition is None:
            return None
        return self.partition.column.dictionary.values(code + 1)[code].as_py()

    def _type(self, column: Column) -> pa.DataType:
        return pa.dictionary(pa.int32(), pa.string()) if self._as_codes(column) else column.type.arrow

    def _as_codes(self, column: Column) -> bool:
        return self._dictionarized and column.coded

    def _column(self, column: Column, values: Values) -> pa.Array:
        if not self._as_codes(column):
            return column.to_arrow(values)
        codes = column.backend.to_arrow(values.data.astype("int32", copy=False), values.data >= 0, pa.int32())
        return pa.DictionaryArray.from_arrays(codes, column.dictionary.values(len(column.dictionary)))


def _first(values: Values, count: int) -> Values:
    return Values(values.data[:count], None if values.valid is None else values.valid[:count])
