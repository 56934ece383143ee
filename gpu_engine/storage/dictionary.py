"""Dictionaries: every distinct value of a column has a small integer, its code, for ever.

Floor 2. Codes count from 0 in order of first appearance; -1 stands for null (N/A). A dictionary only grows, so a code
read at any time decodes the same at every later time, and readers need no lock.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.schema import DataType

__all__ = ["Dictionary", "StringDictionary", "ValueDictionary", "create_dictionary"]


_FEW = 512


class Dictionary(Protocol):
    """Values of one column <-> int32 codes."""

    def __len__(self) -> int:
        """Number of distinct values; codes are below it."""
        ...

    def encode(self, values: pa.Array) -> Array:
        """Return (n,) int32 codes of `values` on the device, taking new values in; null is -1."""
        ...

    def values(self, size: int) -> pa.Array:
        """Return the values of codes 0 to size - 1 on the host."""
        ...

    def ranks(self) -> Array:
        """Return (len,) int64: the place of each code when values are sorted ascending."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held, estimated."""
        ...


class _Ranked:
    """Sort order of a dictionary's values, computed anew only when it has grown."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._ranks: Array = backend.xp.zeros(0, dtype="int64")

    def of(self, values: pa.Array) -> Array:
        """Return (n,) int64 ranks of `values`, which extend those of the call before."""
        ranks = self._ranks
        if len(ranks) != len(values):
            ranks = self._backend.from_host(pc.rank(values, tiebreaker="first").to_numpy()).astype("int64") - 1
            self._ranks = ranks
        return ranks


class StringDictionary:
    """Text <-> codes. The values live on the host; the device sees codes only."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._code_of: dict[str, int] = {}
        self._text: list[str] = []
        self._arrow = pa.array([], pa.string())
        self._bytes = 0
        self._ranked = _Ranked(backend)

    def __len__(self) -> int:
        return len(self._text)

    @property
    def nbytes(self) -> int:
        """Bytes of the texts, of their Python objects and of the map, estimated."""
        return self._bytes + 170 * len(self._text)

    def encode(self, values: pa.Array) -> Array:
        """Return (n,) int32 codes of `values`, taking new values in; null is -1. One look-up per distinct value.

        Up to a few hundred values each is looked up as it is: finding the distinct ones would cost more.
        """
        if len(values) <= _FEW and not pa.types.is_dictionary(values.type):
            return self._backend.from_host(self._codes(values.to_pylist()), "int32")
        distinct, places = self._backend.encode_strings(values)
        # Place -1 reads the last code.
        return self._backend.from_host([*self._codes(distinct.to_pylist()), -1], "int32").take(places)

    def lookup(self, values: pa.Array) -> Array:
        """Return (n,) int32 codes of `values`, without taking any in; -1 for null and for texts it does not have."""
        return self._backend.from_host([self._code_of.get(text, -1) for text in values.to_pylist()], "int32")

    def _codes(self, texts: list[str | None]) -> list[int]:
        known: list[Any] = list(map(self._code_of.get, texts))  # type: ignore[arg-type]
        return self._take_in(texts) if None in known else known

    def _take_in(self, distinct: list[str | None]) -> list[int]:
        with self._lock:
            for text in distinct:
                if text is not None and text not in self._code_of:
                    self._text.append(text)
                    self._bytes += len(text)
                    self._code_of[text] = len(self._text) - 1
        return [-1 if text is None else self._code_of[text] for text in distinct]

    def values(self, size: int) -> pa.Array:
        """Return the values of codes 0 to size - 1 as an Arrow string array."""
        arrow = self._arrow
        if len(arrow) < size:
            fresh = pa.array(self._text[len(arrow) : len(self._text)], pa.string())
            arrow = self._arrow = pa.concat_arrays([arrow, fresh])
        return arrow.slice(0, size)

    def ranks(self) -> Array:
        """Return (len,) int64: the place of each code when values are sorted ascending by code point."""
        return self._ranked.of(self.values(len(self)))


class ValueDictionary:
    """Fixed-width values (integers, floats, dates, timestamps, decimals, booleans) <-> codes.

    All NaN are one value, and -0.0 is 0.0.
    """

    def __init__(self, backend: ArrayBackend, data_type: DataType) -> None:
        self._backend, self._type = backend, data_type
        self._lock = threading.Lock()
        self._index = backend.int_index()
        self._ranked = _Ranked(backend)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        """Bytes of the index and its keys."""
        return int(self._index.nbytes)

    def encode(self, values: pa.Array) -> Array:
        """Return (n,) int32 codes of `values`, taking new values in; null is -1."""
        data, valid = self._backend.from_arrow(values)
        return self.encode_data(data, valid)

    def encode_data(self, data: Array, valid: Array | None) -> Array:
        """Return (n,) int32 codes of values as columns hold them; `valid` None means that no value is null."""
        xp = self._backend.xp
        keys = self.bits(data)
        codes = self._index.lookup(keys)
        known = codes >= 0
        if valid is not None:
            known |= ~valid
        if not self._backend.scalar(known.all()):
            with self._lock:
                self._index.insert(keys[~known])
            codes = self._index.lookup(keys)
        return codes if valid is None else xp.where(valid, codes, -1)

    def bits(self, data: Array) -> Array:
        """Return (n,) int64 that are equal exactly where the values are."""
        xp = self._backend.xp
        if data.dtype.kind != "f":
            return data.astype("int64", copy=False)
        plain = xp.where(data == data, data.astype("float64") + 0.0, xp.nan)
        return plain.view("int64")

    def values(self, size: int) -> pa.Array:
        """Return the values of codes 0 to size - 1 as an Arrow array of the column's type."""
        keys = self._index.keys[:size]
        if self._type.storage.startswith("float"):
            keys = keys.view("float64")
        return self._backend.to_arrow(keys.astype(self._type.storage), None, self._type.arrow)

    def ranks(self) -> Array:
        """Return (len,) int64: the place of each code when values are sorted ascending, NaN last."""
        return self._ranked.of(self.values(len(self)))


def create_dictionary(backend: ArrayBackend, data_type: DataType) -> StringDictionary | ValueDictionary:
    """Return an empty dictionary for values of `data_type`."""
    return StringDictionary(backend) if data_type.coded else ValueDictionary(backend, data_type)
