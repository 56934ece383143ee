"""Rows and keys in JSON, as lists of values or as objects.

Floor 6. `api.wire` spells the values.
"""

from __future__ import annotations

from typing import Any

import gpu_engine as ge
from api.errors import RequestError
from api.expect import expect_members, kind_of
from api.wire import value_of

__all__ = ["key_of", "row_of"]


def row_of(table: ge.Table, given: Any, place: str) -> tuple[Any, ...] | dict[str, Any]:
    """Return one row as the engine takes it, from a list of values in column order or an object."""
    if isinstance(given, dict):
        return {name: value_of(value, _type(table, name, place), f"{place}.{name}") for name, value in given.items()}
    if not isinstance(given, list):
        raise RequestError("invalid_row", f"expected a list of values or an object, got {kind_of(given)}.", place=place)
    return _values(table, table.columns, given, place)


def _values(table: ge.Table, columns: tuple[str, ...], values: list[Any], place: str) -> tuple[Any, ...]:
    if len(values) != len(columns):
        raise RequestError(
            "invalid_row", f"expected {len(columns)} values ({', '.join(columns)}), got {len(values)}.", place=place
        )
    types = table.types
    return tuple(
        value_of(value, types[name], f"{place}[{i}] (column {name!r})")
        for i, (name, value) in enumerate(zip(columns, values, strict=True))
    )


def _type(table: ge.Table, column: str, place: str) -> ge.DataType:
    if column not in table.types:
        error = ge.errors.UnknownColumnError(column, table.columns, f"table {table.name!r}")
        raise RequestError(error.code, str(error), place=place, known=error.known)
    return table.types[column]


def key_of(table: ge.Table, given: Any, place: str) -> tuple[Any, ...]:
    """Return one key as the engine takes it, from a list of values in key order, an object, or its one value."""
    if isinstance(given, dict):
        expect_members(given, table.keys, place)
        given = [given.get(name) for name in table.keys]
    elif not isinstance(given, list) and len(table.keys) == 1:
        given = [given]
    if not isinstance(given, list):
        raise RequestError("invalid_row", f"expected a list of key values, got {kind_of(given)}.", place=place)
    return _values(table, table.keys, given, place)
