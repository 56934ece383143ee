"""Columns of a table: their type and dictionary, and how values turn into what rests in arrays and back.

Floor 2. The arrays themselves belong to the row store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array, ArrayBackend, DeviceColumn
from gpu_engine.schema import DataType
from gpu_engine.storage.dictionary import Dictionary, StringDictionary, ValueDictionary, create_dictionary

__all__ = ["Column", "RowSelection", "Values"]

RowSelection = Array | slice
"""Rows of a table: (n,) integer row numbers, or a slice of consecutive ones (which costs no copy)."""


@dataclass(slots=True)
class Values:
    """Values of n rows as they rest in arrays. Never changed; not frozen, because small commits make dozens of them."""

    data: Array
    """(n,) of the column's storage dtype, (n, width) float64 for vectors; codes for text. Undefined where invalid."""
    valid: Array | None
    """(n,) bool, False where null; None when nothing is null."""

    def __len__(self) -> int:
        return len(self.data)

    def take(self, places: RowSelection) -> Values:
        """Return the values at (k,) `places`; a slice gives views."""
        return Values(self.data[places], None if self.valid is None else self.valid[places])

    @staticmethod
    def concatenated(backend: ArrayBackend, parts: Sequence[Values]) -> Values:
        """Return the values of several, one after the other."""
        xp = backend.xp
        data = xp.concatenate([part.data for part in parts])
        if all(part.valid is None for part in parts):
            return Values(data, None)
        valid = [xp.ones(len(part), dtype="bool") if part.valid is None else part.valid for part in parts]
        return Values(data, xp.concatenate(valid))


class Column:
    """One column of a table, for ever the same object."""

    def __init__(self, backend: ArrayBackend, name: str, data_type: DataType) -> None:
        self.backend = backend
        self.name = name
        self.type = data_type
        self.dictionary: StringDictionary | ValueDictionary = create_dictionary(backend, data_type)
        """Codes of the values. Text always rests as codes; other types take codes when a level asks for them."""
        self.coded = data_type.coded
        """Whether the column rests as codes of its dictionary."""

    def ingest(self, values: pa.Array) -> Values:
        """Return Arrow values of the column's type as they will rest, without writing them.

        Text takes its codes here: codes of rows that are never written do no harm.
        """
        if self.coded:
            return Values(self.dictionary.encode(values), None)
        data, valid = self.backend.from_arrow(values)
        return Values(data, valid)

    def or_null(self, values: Values, present: Array) -> Values:
        """Return (n,) values with null where `present` is False."""
        if self.coded:
            return Values(self.backend.xp.where(present, values.data, -1), None)
        return Values(values.data, present if values.valid is None else present & values.valid)

    def codes(self, values: Values) -> Array:
        """Return (n,) int32 dictionary codes of `values` of this column; -1 is null."""
        if isinstance(self.dictionary, StringDictionary):
            return values.data
        return self.dictionary.encode_data(values.data, values.valid)

    def same(self, left: Values, right: Values) -> Array:
        """Return (n,) bool: whether the two hold the same value row by row; null equals null, NaN equals NaN."""
        xp = self.backend.xp
        equal = left.data == right.data
        if self.type.storage.startswith("float"):
            equal |= (left.data != left.data) & (right.data != right.data)
        if self.type.width is not None:
            equal = equal.all(axis=1)
        if left.valid is None and right.valid is None:
            return equal
        left_valid = xp.ones(len(left), dtype="bool") if left.valid is None else left.valid
        right_valid = xp.ones(len(right), dtype="bool") if right.valid is None else right.valid
        return (equal & left_valid & right_valid) | ~(left_valid | right_valid)

    def where_it_lies(self, values: Values) -> DeviceColumn:
        """Return `values` of this column for libraries that work on the device."""
        dictionary = self.dictionary
        texts = dictionary.values(len(dictionary)) if self.coded else None
        return DeviceColumn(values.data, values.valid, self.type.arrow, texts)

    def to_arrow(self, values: Values) -> pa.Array:
        """Return `values` of this column as an Arrow array of its type on the host."""
        if self.coded:
            return decode(self.backend, self.dictionary, values.data)
        return self.backend.to_arrow(values.data, values.valid, self.type.arrow)


def decode(backend: ArrayBackend, dictionary: Dictionary, codes: Array) -> pa.Array:
    """Return the values of (n,) `codes` as an Arrow array on the host; -1 gives null."""
    places = backend.to_arrow(codes.astype("int32", copy=False), codes >= 0, pa.int32())
    return dictionary.values(len(dictionary)).take(places)
