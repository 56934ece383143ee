"""File intake: a table takes in each file once, and notes it in the same commit as its rows.

Floor 5. A file that is written to while it is read is left alone: its rows are rolled back, and it is not noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gpu_engine.database.table import Table
from gpu_engine.errors import EngineError, InvalidModelError
from gpu_engine.file_ledger import FileLedger, LoadedFile
from loaders.files import FileStamp, stamp

__all__ = ["FileIntake", "Noting"]

Noting = Callable[[Mapping[str, Any]], AbstractContextManager[object]]
"""Makes what is loaded in a block, and positions, one commit."""


class _Changing(Exception):
    """A file is being written, or has gone, while it is read."""


class FileIntake:
    """The files of one table. One caller at a time.

    Parameters
    ----------
    positions
        Positions of the session's sources, to begin with.
    on_error
        As `Table.load_csv`.
    """

    def __init__(
        self, table: Table, file_format: str, on_error: str, noting: Noting, positions: Mapping[str, Any]
    ) -> None:
        self._table, self._format, self._on_error, self._noting = table, file_format, on_error, noting
        self._ledger = FileLedger(table.name, positions)

    def missing(self, present: Mapping[Path, FileStamp]) -> list[Path]:
        """Return the files that are new or have changed; those that were only renamed or touched are noted as such."""
        recognised = self._ledger.recognise(present)
        if recognised:
            with self._noting(self._ledger.notes(recognised)):
                pass
            self._ledger.take(recognised)
        return [file for file, looks in present.items() if not self._ledger.has(file, looks)]

    def knows(self, file: Path) -> bool:
        """Return whether a file of this name has been loaded."""
        return file in self._ledger

    def check(self, file: Path) -> None:
        """Raise InvalidModelError if a file that is missing must not be loaded."""
        if not self._table.keys and file in self._ledger:
            raise changed_without_key(self._table, file)

    def load(self, files: Iterable[Path]) -> list[Path]:
        """Load files as one commit; return those that were left out, because they changed or went meanwhile.

        Raises
        ------
        BadFileError
            If a file cannot be read, or does not fit the table. Nothing is loaded then.
        """
        loaded: dict[Path, LoadedFile] = {}
        left_out: list[Path] = []
        with self._noting({}):
            for file in files:
                try:
                    loaded[file] = self._load(file)
                except _Changing:
                    left_out.append(file)
        self._ledger.take(loaded)
        return left_out

    def _load(self, file: Path) -> LoadedFile:
        try:
            entry = LoadedFile.of(file)
        except FileNotFoundError:
            raise _Changing from None
        try:
            with self._noting(self._ledger.notes({file: entry})):
                self._table.load_files(file, self._format, on_error=self._on_error)
                if not entry.looks_like(stamp(file)):
                    raise _Changing
        except EngineError:
            if not entry.looks_like(stamp(file)):
                raise _Changing from None
            raise
        return entry


def changed_without_key(table: Table, file: Path) -> InvalidModelError:
    """Return the error for a changed file of a table without a key."""
    return InvalidModelError(
        f"{file} has changed, but table {table.name!r} has no key, so loading it again would double its rows. Create "
        "the table with keys=[...], or write new rows to new files."
    )
