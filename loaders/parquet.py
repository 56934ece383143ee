"""Parquet files as Arrow batches, row group by row group.

Floor 0: imports loaders.errors, files and source. The types are those of the file, brought down to few kinds: small
and unsigned integers become int32 or int64, timestamps of any unit and zone timestamp[us] in UTC, date64 date32,
dictionaries what they stand for, times of day and columns of nulls text. A type that is given wins; a value that would
lose something on the way (a fraction, a time of day, digits) is an error.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loaders.errors import SourceError
from loaders.files import PathLike, regular_file
from loaders.source import OnBytes, SourceBatch, number_rows

__all__ = ["infer_schema", "read_parquet"]

ROWS_AT_ONCE = 1 << 17
"""A batch has at most so many rows."""


def read_parquet(
    path: PathLike,
    types: Mapping[str, pa.DataType] | None = None,
    limit: int | None = None,
    *,
    resume: int | None = None,
    on_bytes: OnBytes | None = None,
) -> Generator[SourceBatch, None, None]:
    """Yield the rows of a Parquet file; there is at least one batch, an empty one if there are no rows.

    Parameters
    ----------
    path
        The file.
    types
        Arrow types by column name; they win over the file's. Columns that the file does not have are passed over.
    limit
        Give at most so many rows.
    resume
        A position given before: go on after that many rows. Row groups before it are not read.
    on_bytes
        Told the compressed bytes of each row group once its rows have been given.

    Raises
    ------
    SourceError
        While iterating: the file is missing, not Parquet or damaged, or a value does not fit the type given. Batches
        given before stand.
    """
    file = regular_file(path)
    with _explained(file), pq.ParquetFile(file) as parquet:
        schema = _schema(file, parquet, types or {})
        group, first = _start(parquet, resume or 0)
        rows = _rows(file, parquet, schema, group, first, on_bytes)
        yield from number_rows(rows, schema, first=first, resume=resume or 0, limit=limit)


def infer_schema(path: PathLike, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Return the columns and types that `read_parquet` gives with the same arguments; reads no rows.

    Raises
    ------
    SourceError
        If the file is missing or not Parquet.
    """
    file = regular_file(path)
    with _explained(file), pq.ParquetFile(file) as parquet:
        return _schema(file, parquet, types or {})


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except (pa.ArrowException, OSError) as error:
        reason = f"this cannot be read as Parquet: {error}. Write the file anew, or read it as what it is."
        raise SourceError(str(file), reason) from error


def _schema(file: Path, parquet: pq.ParquetFile, types: Mapping[str, pa.DataType]) -> pa.Schema:
    names = parquet.schema_arrow.names
    for index, name in enumerate(names):
        if name in names[:index]:
            raise SourceError(str(file), "two columns have this name. Give each its own.", column=name)
    return pa.schema([(field.name, types.get(field.name, _kind(field.type))) for field in parquet.schema_arrow])


def _kind(type_: pa.DataType) -> pa.DataType:
    """Return the type that stands for all of its kind."""
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    if pa.types.is_timestamp(type_):
        return pa.timestamp("us")
    if pa.types.is_date(type_):
        return pa.date32()
    if pa.types.is_null(type_) or pa.types.is_time(type_) or _is_text(type_):
        return pa.string()
    if pa.types.is_integer(type_):
        return pa.int32() if type_.bit_width < 32 or type_ == pa.int32() else pa.int64()
    return pa.float32() if pa.types.is_float16(type_) else type_


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _start(parquet: pq.ParquetFile, resume: int) -> tuple[int, int]:
    """Return the row group that holds the row number `resume`, and the number of its first row."""
    first = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if first + rows > resume:
            return group, first
        first += rows
    return parquet.num_row_groups, first


def _rows(
    file: Path, parquet: pq.ParquetFile, schema: pa.Schema, group: int, first: int, on_bytes: OnBytes | None
) -> Iterator[pa.RecordBatch]:
    for index in range(group, parquet.num_row_groups):
        for batch in parquet.iter_batches(ROWS_AT_ONCE, row_groups=[index]):
            columns = [_cast(file, column, field, first) for column, field in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            first += batch.num_rows
        if on_bytes is not None:
            read = parquet.metadata.row_group(index)
            on_bytes(sum(read.column(column).total_compressed_size for column in range(read.num_columns)))


def _cast(file: Path, column: pa.Array, field: pa.Field, first: int) -> pa.Array:
    if column.type == field.type:
        return column
    try:
        return _exact_cast(column, field.type)
    except pa.ArrowNotImplementedError as error:
        reason = f"the file has {column.type}, which cannot become {field.type}. Give the column another type."
        raise SourceError(str(file), reason, column=field.name) from error
    except pa.ArrowInvalid as error:
        row = bisect_left(range(1, len(column)), True, key=lambda n: not _fits(column[:n], field.type))
        reason = (
            f"row {first + row + 1} of the file does not fit the type {field.type} ({error}). "
            "Correct the value, or give the column another type."
        )
        raise SourceError(str(file), reason, column=field.name, value=str(column[row])) from error


def _fits(column: pa.Array, type_: pa.DataType) -> bool:
    try:
        _exact_cast(column, type_)
    except pa.ArrowInvalid:
        return False
    return True


def _exact_cast(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return the column in another type; raise ArrowInvalid where a value would lose something."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type) and pa.types.is_decimal(type_):
        column = column.cast(pa.decimal128(20, 0))
    cast = column.cast(type_)
    if pa.types.is_timestamp(column.type) and pa.types.is_date(type_) and not _same(cast.cast(column.type), column):
        raise pa.ArrowInvalid("the time of day would be lost")
    return cast


def _same(left: pa.Array, right: pa.Array) -> bool:
    return pc.all(pc.equal(left, right)).as_py() is not False
