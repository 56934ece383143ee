"""Columns of a table: growable arrays of fixed width, with a dictionary for text.

Floor 2. A column is told where to write; which rows exist and which are alive is the table store's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.schema import DataType
from gpu_engine.storage.dictionary import Dictionary, StringDictionary, ValueDictionary, create_dictionary
from gpu_engine.storage.growable import GrowableArray

__all__ = ["Column", "RowSelection", "Values"]

RowSelection = Array | slice
"""Rows of a table: (n,) integer row numbers, or a slice of consecutive ones (which costs no copy)."""


@dataclass(frozen=True, slots=True)
class Values:
    """Values of n rows as they rest in arrays."""

    data: Array
    """(n,) of the column's storage dtype, (n, width) float64 for vectors; codes for text. Undefined where invalid."""
    valid: Array | None
    """(n,) bool, False where null; None when nothing is null."""

    def __len__(self) -> int:
        return len(self.data)

    def take(self, places: Array) -> Values:
        """Return the values at (k,) `places`."""
        return Values(self.data[places], None if self.valid is None else self.valid[places])


class Column:
    """One column: its values for all rows that ever were, dead ones included."""

    def __init__(self, backend: ArrayBackend, name: str, data_type: DataType) -> None:
        self.backend = backend
        self.name = name
        self.type = data_type
        self.dictionary: StringDictionary | ValueDictionary = create_dictionary(backend, data_type)
        """Codes of the values. Text always rests as codes; other types take codes when a level asks for them."""
        self._data = GrowableArray(backend, data_type.storage, width=data_type.width)
        self._valid: GrowableArray | None = None

    @property
    def coded(self) -> bool:
        """Whether the column rests as codes of its dictionary."""
        return self.type.coded

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, unused capacity included; the dictionary is counted apart."""
        return self._data.nbytes + (0 if self._valid is None else self._valid.nbytes)

    def ingest(self, values: pa.Array) -> Values:
        """Return Arrow values of the column's type as they will rest, without writing them.

        Text takes its codes here: codes of rows that are never written do no harm.
        """
        if self.coded:
            return Values(self.dictionary.encode(values), None)
        data, valid = self.backend.from_arrow(values)
        return Values(data, valid)

    def write(self, start: int, values: Values) -> None:
        """Write values at rows start to start + n, which no reader can see yet."""
        if values.valid is not None and self._valid is None:
            self._valid = GrowableArray(self.backend, "bool", fill=True)
            self._valid.resize(start)
        if self._valid is not None:
            valid = values.valid
            self._valid.write(start, self.backend.xp.ones(len(values), dtype="bool") if valid is None else valid)
        self._data.write(start, values.data)

    def read(self, rows: RowSelection) -> Values:
        """Return the values of `rows`; a slice gives views."""
        valid = self._valid
        return Values(self._data.buffer[rows], None if valid is None else valid.buffer[rows])

    def read_or_null(self, rows: Array) -> Values:
        """Return the values of (n,) `rows`, null where a row is -1."""
        present = rows >= 0
        safe = self.backend.xp.maximum(rows, 0)
        found = self.read(safe)
        if self.coded:
            return Values(self.backend.xp.where(present, found.data, -1), None)
        return Values(found.data, present if found.valid is None else present & found.valid)

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

    def to_arrow(self, values: Values) -> pa.Array:
        """Return `values` of this column as an Arrow array of its type on the host."""
        if self.coded:
            return decode(self.backend, self.dictionary, values.data)
        return self.backend.to_arrow(values.data, values.valid, self.type.arrow)


def decode(backend: ArrayBackend, dictionary: Dictionary, codes: Array) -> pa.Array:
    """Return the values of (n,) `codes` as an Arrow array on the host; -1 gives null."""
    places = backend.to_arrow(codes.astype("int32", copy=False), codes >= 0, pa.int32())
    return dictionary.values(len(dictionary)).take(places)
