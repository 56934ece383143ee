"""First loads: tables that are made for rows which are already somewhere, in files, in Arrow or in pandas.

Floor 5. A table and its first rows come together: if they cannot be loaded, there is no table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.database.table import Table
from gpu_engine.errors import DuplicateNameError
from gpu_engine.loading import FileFormat, Files, Watch, infer_types
from gpu_engine.schema import DataType, type_of_arrow
from gpu_engine.supervisor import Supervisor
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


class FirstLoads:
    """Makes tables for rows, and keeps the watches of those that go on following their files."""

    def __init__(
        self,
        tables: Mapping[str, Table],
        create: Callable[[Any, Mapping[str, DataType], Sequence[str], Mapping[str, Any] | None, str | None], Table],
        forget: Callable[[Table], None],
        files: Files,
        supervisor: Supervisor,
    ) -> None:
        self._tables, self._create, self._forget = tables, create, forget
        self._files, self._supervisor = files, supervisor
        self.watches: list[Watch] = []
        """Watches that have started."""

    def from_files(self, table: TableRequest, source: FileRequest) -> Table:
        """Return a table with the rows of files, loaded as one commit; errors as `Session.read_csv`."""
        path, file_format = source.path, source.file_format
        name = table.name or default_name(path)
        if name in self._tables:
            raise DuplicateNameError("table", name)
        types = infer_types(path, file_format, table.types or {})
        with self._new(name, types, table) as made:
            watch = Watch(made, path, file_format, self._supervisor, polling=source.polling) if source.watch else None
            if source.sample is not None:
                self._files.load_sample(made, path, file_format, source.sample)
            elif watch is None or watch.has_files:
                made.load_csv(path) if file_format == "csv" else made.load_parquet(path)
            if watch is not None:
                watch.start()
                self.watches.append(watch)
        return made

    def from_arrow(self, table: TableRequest, rows: pa.Table | pa.RecordBatch) -> Table:
        """Return a table with Arrow rows; errors as `Session.read_arrow`."""
        rows = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        given = table.types or {}
        inferred = {
            column.name: given.get(column.name) or type_of_arrow(column.type, f"column {column.name!r}")
            for column in rows.schema
        }
        with self._new(table.name, {**inferred, **given}, table) as made:
            made.load_arrow(rows)
        return made

    def from_pandas(self, table: TableRequest, frame: pd.DataFrame) -> Table:
        """Return a table with the rows of a DataFrame; errors as `Session.read_pandas`."""
        named = [name for name in frame.index.names if name is not None]
        rows = pa.Table.from_pandas(frame.reset_index() if named else frame, preserve_index=False)
        return self.from_arrow(table, rows)

    @contextmanager
    def _new(self, name: Any, types: Mapping[str, DataType], request: TableRequest) -> Iterator[Table]:
        """Create a table for a first load; if the load fails, nothing of the table remains."""
        table = self._create(name, types, request.keys, request.defaults, request.partition_by)
        try:
            yield table
        except BaseException:
            self._forget(table)
            raise
