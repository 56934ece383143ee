"""Columns between Arrow, cuDF and the device: what libcudf does for bulk loads and for users of frames.

Floor 1: imports cudf, cupy, numpy, pyarrow and pylibcudf. Commits of a few rows never come here: a call of libcudf
costs more than all their kernels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_engine.backend.array_backend import Array, DeviceColumn, HowFar

__all__ = ["dictionary_array", "encode_strings", "frame", "read_parquet"]

PARQUET_ROWS = 1 << 20
"""Files with fewer rows are decoded on the host, which is done before libcudf has started."""
PARQUET_ROWS_AT_ONCE = 1 << 24
"""Row groups are decoded so many rows at a time: what bounds the memory that decoding takes."""

DECODED = (pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), pa.timestamp("us"))
"""Types of columns that come out of libcudf as they went in; text comes as a dictionary."""
_TEXT = (pa.string(), pa.large_string())

_log = logging.getLogger(__name__)


def encode_strings(texts: pa.Array) -> tuple[pa.Array, Array]:
    """Return the distinct ones of at least one text, a null among them if there is one, and (n,) int32 places."""
    import pylibcudf as plc

    plain = texts.cast(pa.large_string()) if texts.type == pa.string_view() else texts
    return _encoded(plc.Column.from_arrow(plain))


def read_parquet(path: str, types: Mapping[str, pa.DataType], heard: HowFar) -> pa.Table | None:
    """Return the rows of a file, its texts as a dictionary; None where the host is to read it."""
    try:
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
        if metadata.num_rows < PARQUET_ROWS or not all(_is_plain(field, types) for field in schema):
            return None
        parts: list[pa.Table] = []
        rows = nbytes = 0
        for groups in _runs_of_row_groups(metadata):
            parts.append(_read_row_groups(path, groups))
            rows += parts[-1].num_rows
            nbytes += sum(_stored_bytes(metadata, group) for group in groups)
            heard(rows, nbytes)
    except (pa.ArrowException, OSError, RuntimeError, MemoryError) as error:
        _log.info("%s is decoded on the host: %s", path, error)
        return None
    return pa.concat_tables(parts).unify_dictionaries()


def frame(columns: Mapping[str, DeviceColumn]) -> Any:
    """Return a cudf.DataFrame over the same memory; texts are made from their codes, dates are widened."""
    import cudf
    import pylibcudf as plc

    table = plc.Table([_column(column) for column in columns.values()])
    return cudf.DataFrame.from_pylibcudf(table, {"columns": list(columns)})


def _is_plain(field: pa.Field, types: Mapping[str, pa.DataType]) -> bool:
    wanted = types.get(field.name)
    return (field.type == wanted and wanted in DECODED) or (field.type in _TEXT and wanted == pa.string())


def _runs_of_row_groups(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    run: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        run.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= PARQUET_ROWS_AT_ONCE:
            yield run
            run, rows = [], 0
    if run:
        yield run


def _stored_bytes(metadata: pq.FileMetaData, group: int) -> int:
    found = metadata.row_group(group)
    return sum(found.column(column).total_compressed_size for column in range(found.num_columns))


def _read_row_groups(path: str, groups: list[int]) -> pa.Table:
    import pylibcudf as plc

    source = plc.io.SourceInfo([path])
    options = plc.io.parquet.ParquetReaderOptions.builder(source).build()
    options.set_row_groups([groups])
    read = plc.io.parquet.read_parquet(options)
    names = read.column_names(include_children=False)
    columns = [_to_arrow(column) for column in read.tbl.columns()]
    return pa.table(columns, names=names)


def _to_arrow(column: Any) -> pa.Array:
    import cupy
    import pylibcudf as plc

    if column.type().id() != plc.TypeId.STRING:
        return column.to_arrow()
    if not column.size():
        return pa.array([], pa.string()).dictionary_encode()
    distinct, places = _encoded(column)
    return dictionary_array(distinct, cupy.asnumpy(places))


def dictionary_array(distinct: pa.Array, places: npt.NDArray[np.int32]) -> pa.DictionaryArray:
    """Return rows by their places among distinct texts; a null among these becomes null rows.

    It leaves the dictionary: checks look for nulls at the rows, and Arrow unifies no dictionaries with nulls in them.
    """
    texts = distinct.cast(pa.string())
    if not texts.null_count:
        return pa.DictionaryArray.from_arrays(pa.array(places), texts)
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    moved = (np.cumsum(there) - 1).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(moved[places], mask=~there[places]), texts.drop_null())


def _encoded(texts: Any) -> tuple[pa.Array, Array]:
    import cupy
    import pylibcudf as plc

    keys, places = plc.transform.encode(plc.Table([texts]))
    buffer = places.data()
    memory = cupy.cuda.UnownedMemory(buffer.ptr, buffer.size, places)
    return keys.columns()[0].to_arrow(), cupy.ndarray(texts.size(), "int32", cupy.cuda.MemoryPointer(memory, 0))


def _column(column: DeviceColumn) -> Any:
    import cupy
    import pylibcudf as plc

    if column.texts is not None:
        return _texts(column.data, column.texts)
    if not len(column):
        return plc.Column.from_arrow(pa.array([], column.type))
    data = cupy.ascontiguousarray(column.data)
    mask, nulls = None, 0
    if column.valid is not None:
        marks = plc.Column.from_cuda_array_interface(cupy.ascontiguousarray(column.valid))
        mask, nulls = plc.transform.bools_to_mask(marks)
    if data.ndim == 2:
        return plc.Column.from_cuda_array_interface(data).with_mask(mask, nulls)
    return plc.Column(_cudf_type(column.type), len(data), plc.gpumemoryview(data), mask, nulls, 0, [])


def _texts(codes: Array, texts: pa.Array) -> Any:
    import cupy
    import pylibcudf as plc

    # A place behind the last text gives null; -1 would read the last text.
    places = cupy.where(codes < 0, len(texts), codes).astype("int32", copy=False)
    chosen = plc.Column.from_cuda_array_interface(cupy.ascontiguousarray(places))
    source = plc.Table([plc.Column.from_arrow(texts)])
    return plc.copying.gather(source, chosen, plc.copying.OutOfBoundsPolicy.NULLIFY).columns()[0]


def _cudf_type(type: pa.DataType) -> Any:
    """Return libcudf's type for values as we hold them: dates in days, decimals as int64."""
    import pylibcudf as plc

    if pa.types.is_decimal(type):
        return plc.DataType(plc.TypeId.DECIMAL64, -type.scale)
    return plc.DataType.from_arrow(type)
