"""Arrow files of rows: written in pieces with a checksum, read back as they lie.

Floor 4.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.errors import DataDirectoryDamagedError
from gpu_engine.storage.column import Column, decode
from gpu_engine.storage.dictionary import StringDictionary
from gpu_engine.storage.table_version import TableVersion

__all__ = ["StoredRows", "check_rows", "read_rows", "row_batches", "write_batches"]

_BATCH_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredRows:
    """One Arrow file of a checkpoint."""

    file: str
    rows: int
    nbytes: int
    checksum: int
    """CRC-32 of the whole file."""


class _ChecksummedFile(io.RawIOBase):
    """A file being written, with the checksum of what it holds so far."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self.checksum = self.nbytes = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes written."""
        return self.nbytes

    def write(self, data: Any) -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        self.checksum = zlib.crc32(view, self.checksum)
        self.nbytes += len(view)
        rest = view
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(view)

    def close(self) -> None:
        """Make it durable."""
        if not self.closed:
            os.fsync(self._file.fileno())
            self._file.close()
        super().close()


def row_batches(version: TableVersion, rows: Array, *, encoded: bool) -> Iterator[pa.RecordBatch]:
    """Yield (n,) rows of a version in pieces, at least one.

    Parameters
    ----------
    encoded : whether text comes as codes of its column's whole dictionary, where that is the smaller way
    """
    columns = list(version.store.columns.values())
    known = {
        column: column.dictionary.values(len(column.dictionary))
        for column in columns
        if encoded and isinstance(column.dictionary, StringDictionary) and len(column.dictionary) <= len(rows)
    }
    for start in range(0, max(len(rows), 1), _BATCH_ROWS):
        piece = rows[start : start + _BATCH_ROWS]
        arrays = [_values(version, column, piece, known.get(column)) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _values(version: TableVersion, column: Column, rows: Array, known: pa.Array | None) -> pa.Array:
    values = version.read(column, rows)
    if not column.coded:
        return column.to_arrow(values)
    if known is None:
        return decode(column.backend, column.dictionary, values.data)
    codes = column.backend.to_arrow(values.data, values.data >= 0, pa.int32())
    return pa.DictionaryArray.from_arrays(codes, known)


def write_batches(folder: Path, name: str, batches: Iterator[pa.RecordBatch]) -> StoredRows:
    """Write record batches of one schema, at least one, as an Arrow file that is durable once this returns."""
    file = _ChecksummedFile(folder / name)
    rows = 0
    with file:
        first = next(batches)
        with pa.ipc.new_file(pa.PythonFile(file, "w"), first.schema) as writer:
            batch: pa.RecordBatch | None = first
            while batch is not None:
                writer.write_batch(batch)
                rows += batch.num_rows
                batch = next(batches, None)
    return StoredRows(name, rows, file.nbytes, file.checksum)


def check_rows(folder: Path, stored: StoredRows) -> None:
    """Read an Arrow file without using it.

    Raises
    ------
    DataDirectoryDamagedError
        If the file is not what was written.
    """
    path = folder / stored.file
    if not path.is_file() or path.stat().st_size != stored.nbytes:
        raise DataDirectoryDamagedError(str(path), f"a file of {stored.nbytes} bytes should be here")
    data = pa.memory_map(str(path)).read_buffer()
    if zlib.crc32(data) != stored.checksum:
        raise DataDirectoryDamagedError(str(path), "its checksum is not that of what was written")


def read_rows(folder: Path, stored: StoredRows) -> Mapping[str, pa.Array]:
    """Return column -> values of an Arrow file that has been checked, views of it where it is one batch."""
    table = pa.ipc.open_file(pa.memory_map(str(folder / stored.file))).read_all()
    return {name: _combined(column) for name, column in zip(table.column_names, table.columns, strict=True)}


def _combined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined
