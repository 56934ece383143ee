"""First loads: tables that are made for rows which are already somewhere, in files, in Arrow or in pandas.

Floor 5. A table and its first rows come together: if they cannot be loaded, there is no table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.database.arrow_rows import arrow_table, pandas_table
from gpu_engine.database.filling import check_on_error
from gpu_engine.database.table import Table
from gpu_engine.errors import BadFileError, InvalidModelError
from gpu_engine.file_intake import FileIntake
from gpu_engine.file_ledger import FIRST_ROWS, FileLedger
from gpu_engine.loading import FileFormat, Files, Watch, infer_types, present_files
from gpu_engine.schema import DataType, given_types, type_of_arrow
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
        given = given_types(table.types or {})
        path, file_format = source.path, source.file_format
        name = table.name or default_name(path)
        stored = self._tables.stored(name)
        known = {} if stored is None else dict(stored.types)
        types = {**known, **infer_types(path, file_format, {**known, **given})}
        with self._new(name, types, table) as made:
            if stored is None:
                self._forget_files(name)
            intake = FileIntake(made, file_format, source.on_error, self._tables.noting, self._tables.positions)
            if not source.watch:
                self._load(made, source, intake, found=stored is not None)
                return made
            watch = Watch(intake, made, path, file_format, self._supervisor, source.polling)
            if source.sample is None:
                watch.load_present()
            else:
                watch.skip(present_files(path, file_format))
                if stored is None:
                    self._files.load_sample(made, path, file_format, source.sample)
            watch.start()
            self.watches.append(watch)
        return made

    def _load(self, table: Table, source: FileRequest, intake: FileIntake, *, found: bool) -> None:
        """Load files once; of a table that was found in the data directory, what has come or changed since."""
        if source.sample is not None:
            if not found:
                self._files.load_sample(table, source.path, source.file_format, source.sample)
            return  # a sample that was found is complete
        if not self._tables.durable:
            table.load_files(source.path, source.file_format, on_error=source.on_error)
            return
        present = present_files(source.path, source.file_format)
        if not found and not present:
            raise BadFileError(source.path, f"no {source.file_format} file is there. Check the folder or the pattern.")
        wanted = []
        for file in intake.missing(present):
            try:
                intake.check(file)
            except InvalidModelError as error:
                self._supervisor.report(f"files of table {table.name!r}: {file.name}", error)
            else:
                wanted.append(file)
        for file in intake.load(wanted):
            raise BadFileError(str(file), "it has changed while it was read. Load it again once it is written.")

    def _forget_files(self, name: str) -> None:
        """Take out what the ledger has of a table of this name that is gone, because its first load failed."""
        forgotten = FileLedger(name, self._tables.positions).forgotten()
        if forgotten:
            with self._tables.noting(forgotten):
                pass

    def from_arrow(self, table: TableRequest, rows: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch]) -> Table:
        """Return a table with Arrow rows; errors as `Session.read_arrow`."""
        if not isinstance(rows, pa.Table | pa.RecordBatch):
            rows = arrow_table(rows, f"table {table.name!r}")
        given = given_types(table.types or {})
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
        types = given_types(table.types or {})
        return self.from_arrow(table, pandas_table(frame, types, f"table {table.name!r}"))

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
