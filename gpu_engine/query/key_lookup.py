"""Key lookup: from the values of keys to the rows that have them at a version.

Floor 3. Looking takes nothing in: a key that was never seen leaves no trace in dictionaries and indexes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Version
from gpu_engine.database.staging import keys_to_columns
from gpu_engine.errors import InvalidRowError
from gpu_engine.storage.dictionary import StringDictionary
from gpu_engine.storage.table_store import TableStore

__all__ = ["rows_of_keys"]


def rows_of_keys(version: Version, store: TableStore, keys: Sequence[Any]) -> Array:
    """Return (n,) int64: the row that has each key, -1 for a key without a row.

    Parameters
    ----------
    keys : single values, or tuples in key order, or mappings by key column

    Raises
    ------
    InvalidRowError
        If the table has no key, or a key lacks a part, has one too many or a null.
    TypeMismatchError
        If a part does not fit its column.
    """
    _check_names(store, keys)
    columns = keys_to_columns(store.name, store.schema, keys)
    index, backend = store.entities, store.backend
    assert index is not None
    parts = []
    for column in index.columns:
        dictionary, given = column.dictionary, columns[column.name]
        if isinstance(dictionary, StringDictionary):
            parts.append(dictionary.lookup(given).astype("int64"))
        else:
            parts.append(dictionary.bits(backend.from_arrow(given)[0]))
    return version.table(store).rows_of(index.lookup(parts))


def _check_names(store: TableStore, keys: Sequence[Any]) -> None:
    """Refuse keys given as mappings that do not name the key columns, all of them and no others."""
    names = store.schema.keys
    for place, key in enumerate(keys):
        if isinstance(key, Mapping) and set(key) != set(names):
            raise InvalidRowError(store.name, place, f"key {dict(key)!r} must have the parts {list(names)}.")
