"""Loading: files into tables, once, by sample, or whenever they change.

Floor 5. The one place where loaders meet tables: a loader's faults become engine errors, its batches become operations,
and a watch becomes loads.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.database.dead_letter import CSV, DeadLetter
from gpu_engine.database.reader import FittingRows, TopicLoad
from gpu_engine.database.table import Table
from gpu_engine.errors import BadFileError, InvalidModelError
from gpu_engine.file_intake import FileIntake, changed_without_key
from gpu_engine.load_progress import LoadMeter
from gpu_engine.schema import DataType, type_of_arrow
from gpu_engine.supervisor import Supervisor
from loaders import csv, files, parquet
from loaders.errors import SourceError
from loaders.watch import FileWatcher, NotAtRest, WatchStatistics, at_rest

__all__ = ["FileFormat", "Files", "Watch", "csv_rows", "find_files", "infer_types", "present_files"]

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
    found = find_files(path, file_format)
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


def find_files(path: str, file_format: FileFormat) -> list[Path]:
    """Return the files that a path means; BadFileError if it means none that can be."""
    try:
        return files.expand(path, SUFFIXES[file_format])
    except SourceError as error:
        raise _bad_file(error) from error


def present_files(path: str, file_format: FileFormat) -> dict[Path, files.FileStamp]:
    """Return the files that a path means and how they look, by absolute path; errors as `find_files`."""
    found = ((file.absolute(), files.stamp(file)) for file in find_files(path, file_format))
    return {file: looks for file, looks in found if looks is not None}


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

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._samples: list[_Sample] = []
        self.start_kafka: Callable[[Mapping[str, Any], Mapping[str, Any]], TopicLoad] = _no_kafka
        """Starts a load from Kafka; the session says how."""

    def read(self, types: Mapping[str, DataType], path: str, file_format: FileFormat) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows of each file that `path` means, with the file's name; see `Reader`.

        Raises
        ------
        BadFileError
            If there is no such file, or one does not fit `types`.
        """
        found = find_files(path, file_format)
        if not found:
            raise BadFileError(path, f"no {file_format} file is there. Check the folder or the pattern.")
        arrow_types = {name: data_type.arrow for name, data_type in types.items()}
        meter = LoadMeter(path, file_format, found)
        for file in found:
            rows = self._rows(file, file_format, arrow_types, meter)
            if rows is not None:
                try:
                    yield str(file), rows
                except GeneratorExit:
                    meter.stop()
                    raise
        meter.finish()

    def _rows(
        self, file: Path, file_format: FileFormat, types: Mapping[str, pa.DataType], meter: LoadMeter
    ) -> pa.Table | None:
        """Return the rows of a file, decoded on the device if it takes the file; None if there is nothing in it."""
        decoded = self._backend.read_file(str(file), file_format, types, meter.within_file)
        if decoded is not None:
            meter.read_bytes(file.stat().st_size)
            return meter.took(decoded)
        try:
            read = _READ[file_format](file, types, on_bytes=meter.read_bytes)
            batches = [meter.took(batch.rows) for batch in read]
        except SourceError as error:
            raise _bad_file(error) from error
        return pa.Table.from_batches(batches) if batches else None

    def read_fitting(
        self, table: str, types: Mapping[str, DataType], path: str, file_format: FileFormat
    ) -> Iterator[FittingRows]:
        """Yield what can be read of each file, and the rest as dead letters; see `Reader`.

        Raises
        ------
        BadFileError
            If there is no such file, or one cannot be read at all.
        """
        found = find_files(path, file_format)
        if not found:
            raise BadFileError(path, f"no {file_format} file is there. Check the folder or the pattern.")
        for file in found:
            yield from _fitting_csv(table, file, types) if file_format == "csv" else _fitting_parquet(file)

    def load_kafka(self, routes: Mapping[str, Any], settings: Mapping[str, Any]) -> TopicLoad:
        """Start a load from Kafka; see `Reader`."""
        return self.start_kafka(routes, settings)

    def load_sample(self, table: Table, path: str, file_format: FileFormat, rows: int) -> None:
        """Load the first rows of what `path` means, and remember that the rest is missing.

        Raises
        ------
        BadFileError
            As `read`.
        InvalidModelError
            If `rows` is no positive whole number.
        """
        try:
            positive = operator.index(rows) > 0
        except TypeError:
            positive = False
        if not positive:
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


def _fitting_csv(table: str, file: Path, types: Mapping[str, DataType]) -> Iterator[FittingRows]:
    try:
        header, parts = csv.salvage_csv(file, {name: data_type.arrow for name, data_type in types.items()})
        for part in parts:
            letters = [
                DeadLetter.of(
                    table,
                    str(file),
                    {"line": bad.error.line},
                    _bad_file(bad.error),
                    bad.raw.encode(),
                    CSV,
                    {"header": header},
                )
                for bad in part.bad
            ]
            yield FittingRows(str(file), pa.Table.from_batches([part.rows]), part.lines, "line", letters)
    except SourceError as error:
        raise _bad_file(error) from error


def csv_rows(source: str, header: Sequence[str], raw: str, types: Mapping[str, DataType]) -> list[Mapping[str, Any]]:
    """Return the rows of some lines of a CSV file; BadFileError if one does not fit."""
    arrow_types = {name: data_type.arrow for name, data_type in types.items()}
    rows: list[Mapping[str, Any]] = []
    for part in csv.salvage_lines(source, header, raw, arrow_types):
        if part.bad:
            raise _bad_file(part.bad[0].error)
        rows += part.rows.to_pylist()
    return rows


def _fitting_parquet(file: Path) -> Iterator[FittingRows]:
    """Yield the rows in the types of the file: which of them do not fit the table is found when they are staged."""
    first = 0
    try:
        for batch in parquet.read_parquet(file):
            count = batch.rows.num_rows
            rows = pa.Table.from_batches([batch.rows])
            yield FittingRows(str(file), rows, range(first, first + count), "row", ())
            first += count
    except SourceError as error:
        raise _bad_file(error) from error


def _no_kafka(routes: Mapping[str, Any], settings: Mapping[str, Any]) -> TopicLoad:
    raise InvalidModelError("tables outside of a session cannot load from Kafka.")


class Watch:
    """A table that follows its files: new ones are loaded, changed ones loaded again."""

    def __init__(
        self,
        intake: FileIntake,
        table: Table,
        path: str,
        file_format: FileFormat,
        supervisor: Supervisor,
        polling: bool,
    ) -> None:
        self._intake, self.table, self._path, self._supervisor = intake, table, path, supervisor
        self._selection = files.Selection.of(path, SUFFIXES[file_format])
        self._sampled = set[Path]()
        self._known: dict[Path, files.FileStamp] = {}
        self._watcher = FileWatcher(
            path, self._load, self._failed, on_over=self._over, polling=polling, suffix=SUFFIXES[file_format]
        )

    def skip(self, present: Mapping[Path, files.FileStamp]) -> None:
        """Take files that a sample was read from for loaded, as long as they stay as they look."""
        self._known = dict(present)
        self._sampled = set(present)

    def load_present(self) -> None:
        """Load what is missing of the files that are there, as one commit; what is still being written, once it rests.

        Raises
        ------
        BadFileError
            If a file does not fit the table. Nothing is loaded then.
        """
        present = self._present()
        missing = self._intake.missing(present)
        resting = at_rest(missing)
        self._known = {file: looks for file, looks in present.items() if file not in missing} | resting
        wanted = []
        for file in resting:
            try:
                self._intake.check(file)
            except InvalidModelError as error:
                self._failed(file, error)
            else:
                wanted.append(file)
        for file in self._intake.load(wanted):
            del self._known[file]

    def _present(self) -> dict[Path, files.FileStamp]:
        return {file.absolute(): looks for file, looks in self._selection.scan().items()}

    def start(self) -> None:
        """Load from now on what has changed since the files were first loaded.

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
        looks = files.stamp(file)
        if looks is None:
            raise NotAtRest
        # A known name may have been given to another file: only the whole folder tells.
        seen = self._present() if self._intake.knows(file) else {file: looks}
        if file in self._intake.missing(seen):
            if file in self._sampled and not self.table.keys:
                raise changed_without_key(self.table, file)
            self._intake.check(file)
            if self._intake.load([file]):
                raise NotAtRest
        self._supervisor.clear(self._component(file))

    def _failed(self, file: Path | None, error: BaseException) -> None:
        self._supervisor.report(self._component(file), _bad_file(error) if isinstance(error, SourceError) else error)

    def _over(self, file: Path | None) -> None:
        self._supervisor.clear(self._component(file))

    def _component(self, file: Path | None) -> str:
        return f"watch of table {self.table.name!r}: {self._path if file is None else file.name}"
