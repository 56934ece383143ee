"""First loads: tables that are made for rows which are already somewhere, in files, in Arrow or in pandas.

Floor 5. A table and its first rows come together: if they cannot be loaded, there is no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.database.filling import check_on_error
from gpu_engine.database.table import Table
from gpu_engine.errors import InvalidModelError
from gpu_engine.file_ledger import FIRST_ROWS, loaded_as, stamps
from gpu_engine.loading import FileFormat, Files, Watch, find_files, infer_types
from gpu_engine.schema import DataType, type_of_arrow
from gpu_engine.supervisor import Supervisor
from gpu_engine.table_catalog import TableCatalog
from loaders.files import default_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FileRequest", "FirstLoads", "TableRequest"]


@dataclass(frozen=True, slots=True)
class TableRequest:
    """What a user says of a table to be made."""

    name: str | None
    keys: Sequence[str]
    types: Mapping[str, DataType] | None
    defaults: Mapping[str, Any] | None
    partition_by: str | None


@dataclass(frozen=True, slots=True)
class FileRequest:
    """What a user says of the files that it is made for."""

    path: str
    file_format: FileFormat
    watch: bool
    polling: bool
    sample: int | None
    on_error: str = "fail"


class FirstLoads:
    """Makes tables for rows, and keeps the watches of those that go on following their files."""

    def __init__(self, tables: TableCatalog, files: Files, supervisor: Supervisor) -> None:
        self._tables, self._files, self._supervisor = tables, files, supervisor
        self.watches: list[Watch] = []
        """Watches that have started."""

    def from_files(self, table: TableRequest, source: FileRequest) -> Table:
        """Return a table with the rows of files, loaded as one commit; errors as `Session.read_csv`."""
        check_on_error(source.on_error)
        path, file_format = source.path, source.file_format
        name = table.name or default_name(path)
        stored = self._tables.stored(name)
        known = {} if stored is None else dict(stored.types)
        types = {**known, **infer_types(path, file_format, {**known, **(table.types or {})})}
        with self._new(name, types, table) as made:
            watch = (
                Watch(
                    made,
                    path,
                    file_format,
                    self._supervisor,
                    self._tables.noting,
                    polling=source.polling,
                    on_error=source.on_error,
                )
                if source.watch
                else None
            )
            if stored is not None:
                self._load_missing(made, source)
            elif source.sample is not None:
                self._files.load_sample(made, path, file_format, source.sample)
            elif watch is None or watch.has_files:
                with self._tables.noting(stamps(name, find_files(path, file_format))):
                    made.load_files(path, file_format, on_error=source.on_error)
            if watch is not None:
                watch.start()
                self.watches.append(watch)
        return made

    def _load_missing(self, table: Table, source: FileRequest) -> None:
        """Load what has come or changed since the table of the data directory was written; a sample is complete."""
        component = f"files of table {table.name!r}"
        for file in [] if source.sample is not None else find_files(source.path, source.file_format):
            state = loaded_as(self._tables.positions, table.name, file)
            if state is False and not table.keys:
                changed = f"{file} has changed since it was loaded, and the table has no key to update rows by."
                self._supervisor.report(component, InvalidModelError(f"{changed} It is not loaded again."))
            elif not state:
                with self._tables.noting(stamps(table.name, [file])):
                    table.load_files(file, source.file_format, on_error=source.on_error)

    def from_arrow(self, table: TableRequest, rows: pa.Table | pa.RecordBatch) -> Table:
        """Return a table with Arrow rows; errors as `Session.read_arrow`."""
        rows = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        given = table.types or {}
        inferred = {
            column.name: given.get(column.name) or type_of_arrow(column.type, f"column {column.name!r}")
            for column in rows.schema
        }
        with self._new(table.name, {**inferred, **given}, table) as made:
            if FIRST_ROWS.format(made.name) not in self._tables.positions:
                with self._tables.noting({FIRST_ROWS.format(made.name): rows.num_rows}):
                    made.load_arrow(rows)
        return made

    def from_pandas(self, table: TableRequest, frame: pd.DataFrame) -> Table:
        """Return a table with the rows of a DataFrame; errors as `Session.read_pandas`."""
        named = [name for name in frame.index.names if name is not None]
        rows = pa.Table.from_pandas(frame.reset_index() if named else frame, preserve_index=False)
        return self.from_arrow(table, rows)

    @contextmanager
    def _new(self, name: Any, types: Mapping[str, DataType], request: TableRequest) -> Iterator[Table]:
        """Create a table for a first load; if the load fails, nothing of it remains but what a data directory had."""
        stored = name in self._tables
        table = self._tables.create(name, types, request.keys, request.defaults, request.partition_by)
        try:
            yield table
        except BaseException:
            self._tables.undeclare(table) if stored else self._tables.forget(table)
            raise
