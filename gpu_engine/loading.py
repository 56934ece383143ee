"""Loading: files into tables, once, by sample, or whenever they change.

Floor 5. The one place where loaders meet tables: a loader's faults become engine errors, its batches become operations,
and a watch becomes loads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gpu_engine.database.table import Table
from gpu_engine.errors import BadFileError, InvalidModelError
from gpu_engine.schema import DataType, type_of_arrow
from gpu_engine.supervisor import Supervisor
from loaders import csv, files, parquet
from loaders.errors import SourceError
from loaders.watch import FileWatcher, WatchStatistics

__all__ = ["FileFormat", "Files", "Watch", "infer_types"]

_INFER = {"csv": csv.infer_schema, "parquet": parquet.infer_schema}
_READ = {"csv": csv.read_csv, "parquet": parquet.read_parquet}
SUFFIXES: Mapping[str, str] = {"csv": ".csv", "parquet": ".parquet"}

FileFormat = str
"""csv or parquet."""


def infer_types(path: str, file_format: FileFormat, given: Mapping[str, DataType]) -> dict[str, DataType]:
    """Return the types of the columns of the first file that a path means; those given win over those inferred.

    Raises
    ------
    BadFileError
        If there is no file, or it cannot be read.
    InvalidModelError
        If a column has a type that no table can hold.
    """
    found = _expand(path, file_format)
    if not found:
        if given:
            return dict(given)
        raise BadFileError(path, "there is no file yet to infer column types from. Give types={column: type}.")
    known = {name: data_type.arrow for name, data_type in given.items()}
    try:
        schema = _INFER[file_format](found[0], known)
    except SourceError as error:
        raise _bad_file(error) from error
    inferred = {column.name: type_of_arrow(column.type, f"{found[0]}, column {column.name!r}") for column in schema}
    return {**inferred, **given}


def _expand(path: str, file_format: FileFormat) -> list[Path]:
    try:
        return files.expand(path, SUFFIXES[file_format])
    except SourceError as error:
        raise _bad_file(error) from error


def _bad_file(error: SourceError) -> BadFileError:
    return BadFileError(error.path, error.reason, error.line, error.column, error.value)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A load that left rows unread."""

    table: Table
    path: str
    file_format: FileFormat
    rows: int


class Files:
    """Reads files for the tables of a session; remembers what a sample left out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: list[_Sample] = []

    def read(self, types: Mapping[str, DataType], path: str, file_format: FileFormat) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows of each file that `path` means, with the file's name; see `FileReader`.

        Raises
        ------
        BadFileError
            If there is no such file, or one does not fit `types`.
        """
        found = _expand(path, file_format)
        if not found:
            raise BadFileError(path, f"no {file_format} file is there. Check the folder or the pattern.")
        arrow_types = {name: data_type.arrow for name, data_type in types.items()}
        for file in found:
            try:
                batches = [batch.rows for batch in _READ[file_format](file, arrow_types)]
            except SourceError as error:
                raise _bad_file(error) from error
            if batches:
                yield str(file), pa.Table.from_batches(batches)

    def load_sample(self, table: Table, path: str, file_format: FileFormat, rows: int) -> None:
        """Load the first rows of what `path` means, and remember that the rest is missing.

        Raises
        ------
        BadFileError
            As `read`.
        InvalidModelError
            If `rows` is not positive.
        """
        if rows < 1:
            raise InvalidModelError(f"sample={rows!r}: give the number of rows to read, at least 1.")
        loaded = 0
        for _, part in self.read(table.types, path, file_format):
            taken = part.slice(0, rows - loaded)
            table.load_arrow(taken)
            loaded += taken.num_rows
            if loaded == rows:
                break
        with self._lock:
            self._samples.append(_Sample(table, path, file_format, loaded))

    def load_rest(self) -> None:
        """Load what samples have left out. A sample whose rest cannot be loaded is kept for another try."""
        with self._lock:
            samples, self._samples = self._samples, []
        while samples:
            sample = samples[0]
            try:
                sample.table.load_files(sample.path, sample.file_format, skip=sample.rows)
            except BaseException:
                with self._lock:
                    self._samples += samples
                raise
            samples.pop(0)


class Watch:
    """A table that follows its files: new ones are loaded, changed ones loaded again."""

    def __init__(
        self, table: Table, path: str, file_format: FileFormat, supervisor: Supervisor, *, polling: bool
    ) -> None:
        self.table, self._path, self._format, self._supervisor = table, path, file_format, supervisor
        suffix = SUFFIXES[file_format]
        self._known = files.snapshot(path, suffix)
        self._loaded = {file.absolute() for file in self._known}
        self._watcher = FileWatcher(path, self._load, self._failed, polling=polling, suffix=suffix)

    @property
    def has_files(self) -> bool:
        """Whether there were files when the watch was made."""
        return bool(self._known)

    def start(self) -> None:
        """Load from now on what has changed since the watch was made.

        Raises
        ------
        BadFileError
            If the folder is not there or cannot be watched.
        """
        try:
            self._watcher.start(self._known)
        except SourceError as error:
            raise _bad_file(error) from error

    def stop(self) -> None:
        """Load nothing more; a load under way is finished first."""
        self._watcher.stop()

    def statistics(self) -> WatchStatistics:
        """Return the watcher's figures."""
        return self._watcher.statistics()

    def _load(self, file: Path) -> None:
        file = file.absolute()
        if file in self._loaded and not self.table.keys:
            raise InvalidModelError(
                f"{file} has changed, but table {self.table.name!r} has no key, so loading it again would double its "
                "rows. Create the table with keys=[...], or write new rows to new files."
            )
        if self._format == "csv":
            self.table.load_csv(file)
        else:
            self.table.load_parquet(file)
        self._loaded.add(file)
        self._supervisor.clear(self._component(file))

    def _failed(self, file: Path | None, error: BaseException) -> None:
        self._supervisor.report(self._component(file), _bad_file(error) if isinstance(error, SourceError) else error)

    def _component(self, file: Path | None) -> str:
        return f"watch of table {self.table.name!r}: {self._path if file is None else file.name}"
