"""Staging: rows as users give them -> Arrow columns of a table's types.

Floor 3. Everything that can be wrong with the data is found here, named by table, column and row, before anything is
changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from gpu_engine.database.arrow_rows import refuse_twins
from gpu_engine.errors import InvalidRowError, UnknownColumnError
from gpu_engine.schema import Schema, arrow_column, arrow_scalar, conform

__all__ = ["arrow_to_columns", "keys_to_columns", "partial_rows_to_columns", "rows_to_columns"]


def rows_to_columns(table: str, schema: Schema, rows: Sequence[Any]) -> dict[str, pa.Array]:
    """Return whole rows, tuples in column order or mappings, as one Arrow array per column.

    A mapping that lacks a column takes its default there.

    Raises
    ------
    InvalidRowError
        If a row is neither, has too few or too many values, or has no value for a key column.
    UnknownColumnError
        If a mapping names a column that the table does not have.
    TypeMismatchError
        If a value does not fit its column.
    """
    tuples = (
        rows
        if all(type(row) is tuple for row in rows)
        else [_as_tuple(table, schema, i, row) for i, row in enumerate(rows)]
    )
    width = len(schema.types)
    for place, row in enumerate(tuples):
        if len(row) != width:
            raise InvalidRowError(table, place, f"{len(row)} values for {width} columns {list(schema.types)}.")
    by_column = list(zip(*tuples, strict=True)) if tuples else [()] * width
    columns = {
        name: arrow_column(values, data_type, _where(table, name))
        for (name, data_type), values in zip(schema.types.items(), by_column, strict=True)
    }
    _refuse_null_keys(table, schema, columns)
    return columns


def partial_rows_to_columns(table: str, schema: Schema, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, pa.Array]]:
    """Return rows that name their keys and the columns to change, one set of columns per run of equal names.

    Raises
    ------
    InvalidRowError
        If a row is no mapping, or does not name all keys and at least one other column.
    UnknownColumnError, TypeMismatchError
        As `rows_to_columns`.
    """
    batches: list[dict[str, pa.Array]] = []
    run: list[Mapping[str, Any]] = []
    for place, row in enumerate(rows):
        _check_partial(table, schema, place, row)
        if run and row.keys() != run[0].keys():
            batches.append(_partial_batch(table, schema, run))
            run = []
        run.append(row)
    return [*batches, _partial_batch(table, schema, run)] if run else batches


def keys_to_columns(table: str, schema: Schema, keys: Iterable[Any]) -> dict[str, pa.Array]:
    """Return keys, single values or tuples in key order or mappings, as one Arrow array per key column.

    Raises
    ------
    InvalidRowError
        If the table has no key, or a key has the wrong number of parts.
    TypeMismatchError
        As `rows_to_columns`.
    """
    if not schema.keys:
        raise InvalidRowError(table, 0, "the table has no key. Drop rows by a condition instead.")
    if isinstance(keys, str | Mapping) or not isinstance(keys, Iterable):
        keys = [keys]
    parts: list[tuple[Any, ...]] = []
    for place, key in enumerate(keys):
        if isinstance(key, Mapping):
            key = tuple(key.get(name) for name in schema.keys)
        elif not isinstance(key, tuple | list):
            key = (key,)
        if len(key) != len(schema.keys):
            raise InvalidRowError(table, place, f"key {key!r} must have the parts {list(schema.keys)}.")
        parts.append(tuple(key))
    by_column = list(zip(*parts, strict=True)) if parts else [()] * len(schema.keys)
    columns = {
        name: arrow_column(values, schema.types[name], _where(table, name))
        for name, values in zip(schema.keys, by_column, strict=True)
    }
    _refuse_null_keys(table, schema, columns)
    return columns


def arrow_to_columns(table: str, schema: Schema, rows: pa.Table | pa.RecordBatch) -> dict[str, pa.Array]:
    """Return the columns of Arrow rows, by name, as one array of the right type each; a missing one is all default.

    Raises
    ------
    UnknownColumnError
        If it has a column that the table does not have.
    InvalidModelError
        If two columns have one name.
    InvalidRowError, TypeMismatchError
        As `rows_to_columns`.
    """
    if isinstance(rows, pa.Table):
        batches = rows.to_batches()
        parts = batches[0].columns if len(batches) == 1 else map(_combined, rows.columns)
    else:
        parts = rows.columns
    given = dict(zip(rows.schema.names, parts, strict=True))
    if rows.schema.equals(schema.arrow) and not schema.has_vectors:
        _refuse_null_keys(table, schema, given)
        return given
    refuse_twins(rows.schema.names, f"table {table!r}")
    for name in given:
        if name not in schema.types:
            raise UnknownColumnError(name, schema.types, f"table {table!r}")
    columns = {}
    for name, data_type in schema.types.items():
        array = given.get(name)
        if array is None:
            default = arrow_scalar(schema.default(name), data_type, _where(table, name))
            columns[name] = pa.repeat(default, rows.num_rows)
            continue
        fits = array.type == data_type.arrow and data_type.width is None
        columns[name] = array if fits else conform(array, data_type, _where(table, name))
    _refuse_null_keys(table, schema, columns)
    return columns


def _combined(chunks: pa.ChunkedArray) -> pa.Array:
    combined = chunks.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined


def _as_tuple(table: str, schema: Schema, place: int, row: Any) -> tuple[Any, ...]:
    if isinstance(row, Mapping):
        for name in row:
            if name not in schema.types:
                raise UnknownColumnError(str(name), schema.types, f"table {table!r}")
        return tuple(row[name] if name in row else schema.default(name) for name in schema.types)
    if isinstance(row, Sequence) and not isinstance(row, str | bytes):
        return tuple(row)
    raise InvalidRowError(table, place, f"{row!r} is no row. Give tuples in column order, or mappings by column name.")


def _check_partial(table: str, schema: Schema, place: int, row: Any) -> None:
    if not isinstance(row, Mapping):
        raise InvalidRowError(table, place, f"{row!r} must be a mapping of the keys and the columns to change.")
    for name in row:
        if name not in schema.types:
            raise UnknownColumnError(str(name), schema.types, f"table {table!r}")
    if not schema.keys:
        raise InvalidRowError(table, place, "the table has no key, so no row can be found. Use append().")
    missing = [name for name in schema.keys if name not in row]
    if missing or len(row) == len(schema.keys):
        raise InvalidRowError(table, place, f"give all keys {list(schema.keys)} and at least one other column.")


def _partial_batch(table: str, schema: Schema, run: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    columns = {
        name: arrow_column([row[name] for row in run], schema.types[name], _where(table, name)) for name in run[0]
    }
    _refuse_null_keys(table, schema, columns)
    return columns


def _refuse_null_keys(table: str, schema: Schema, columns: Mapping[str, pa.Array]) -> None:
    for name in schema.keys:
        if columns[name].null_count:
            row = columns[name].is_null().index(True).as_py()
            raise InvalidRowError(table, row, f"key column {name!r} is null. Every row needs a value there.")


def _where(table: str, column: str) -> str:
    return f"table {table!r}, column {column!r}"
