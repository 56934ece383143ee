"""The entity index: every key that was ever seen has an entity, a small integer, for ever.

Floor 2. The index never forgets and never moves a key, so updates and deletes leave it alone and readers need no lock.
An entity may have no row: a fact can point to the key of a dimension row that has not arrived.

A key of several columns is folded pairwise: (a, b) has an id, (that id, c) has an id, ... Each step is exact, so two
keys never share an entity, whatever their hash values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.backend.int_index import IntIndex
from gpu_engine.storage.column import Column, Values
from gpu_engine.storage.dictionary import StringDictionary, ValueDictionary

__all__ = ["EntityIndex", "key_part"]


class EntityIndex:
    """Key -> entity, for keys of one or more columns.

    Key parts are (n,) int64, one per key column: the dictionary code of text, the bits of any other value.
    """

    def __init__(self, backend: ArrayBackend, key_columns: Sequence[Column]) -> None:
        self._columns = tuple(key_columns)
        single = len(self._columns) == 1
        self._parts = [None if single or column.coded else backend.int_index() for column in self._columns]
        self._folds = [backend.int_index() for _ in (self._columns if single else self._columns[1:])]

    def __len__(self) -> int:
        return len(self._folds[-1])

    @property
    def columns(self) -> tuple[Column, ...]:
        """The key columns, in the order of the parts."""
        return self._columns

    @property
    def nbytes(self) -> int:
        """Bytes of all steps of the index."""
        return sum(int(index.nbytes) for index in (*self._parts, *self._folds) if index is not None)

    def parts(self, values: Sequence[Values]) -> list[Array]:
        """Return the key parts of values of the key columns, none of them null."""
        return [key_part(column, part) for column, part in zip(self._columns, values, strict=True)]

    def insert(self, parts: Sequence[Array]) -> Array:
        """Return (n,) int32 entities of the keys, giving new keys the next ones. One writer at a time."""
        return self._fold(parts, lambda index, keys: index.insert(keys))

    def lookup(self, parts: Sequence[Array]) -> Array:
        """Return (n,) int32 entities of the keys, -1 for keys that were never seen."""
        return self._fold(parts, lambda index, keys: index.lookup(keys))

    def _fold(self, parts: Sequence[Array], find: Callable[[IntIndex, Array], Array]) -> Array:
        dense = [
            part if index is None else find(index, part).astype("int64")
            for index, part in zip(self._parts, parts, strict=True)
        ]
        if len(dense) == 1:
            return find(self._folds[0], dense[0])
        ids = dense[0]
        for index, part in zip(self._folds, dense[1:], strict=True):
            unknown = (ids < 0) | (part < 0)
            ids = find(index, (ids << 32) | (part & 0xFFFFFFFF)).astype("int64")
            ids[unknown] = -1
        return ids.astype("int32")


def key_part(column: Column, values: Values) -> Array:
    """Return (n,) int64 that are equal exactly where values of `column` are."""
    if isinstance(column.dictionary, ValueDictionary):
        return column.dictionary.bits(values.data)
    assert isinstance(column.dictionary, StringDictionary)
    return values.data.astype("int64")
