"""Data directories without a session: backup and restore, repair, checkpoint, export.

Floor 4. Backups and exports are taken also while a session works on the directory; they show what it had written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar

from gpu_engine.backend.choice import choose_backend
from gpu_engine.database.branch import MASTER
from gpu_engine.database.database import Database
from gpu_engine.durability import backup as backups
from gpu_engine.durability.data_directory import DataDirectory
from gpu_engine.durability.export import export_version
from gpu_engine.durability.layout import Layout
from gpu_engine.durability.recovery import recover
from gpu_engine.durability.repair import RepairReport
from gpu_engine.durability.repair import repair as repair_directory
from gpu_engine.errors import DataDirectoryDamagedError, InvalidModelError

__all__ = ["backup", "checkpoint", "export", "repair", "restore"]

_ATTEMPTS = 3
_AnyPath = str | PathLike[str]
T = TypeVar("T")


def backup(path: _AnyPath, target: _AnyPath) -> Path:
    """Copy a data directory to a new folder, verified; a session may go on working on it.

    Raises
    ------
    InvalidModelError
        If there is no data directory, or the target exists.
    DataDirectoryDamagedError
        If it is damaged; there is no copy then.
    """
    return _patiently(lambda: backups.back_up(Layout(Path(path).absolute()), Path(target).absolute()))


def restore(path: _AnyPath, target: _AnyPath) -> Path:
    """Make a data directory in a new folder of a backup, which stays. Errors as `backup`."""
    return backups.back_up(Layout(Path(path).absolute()), Path(target).absolute())


def repair(path: _AnyPath) -> RepairReport:
    """Make a damaged data directory readable by giving up what comes after the damage.

    Raises
    ------
    InvalidModelError, DataDirectoryInUseError
        If there is no data directory, or a session works on it.
    DataDirectoryDamagedError
        If nothing can be kept.
    """
    return repair_directory(Path(path))


def checkpoint(path: _AnyPath) -> Path:
    """Write a checkpoint of a data directory that no session works on, so that the next one starts quickly.

    Raises
    ------
    InvalidModelError, DataDirectoryInUseError, DataDirectoryDamagedError
        If there is no data directory, a session works on it, or it cannot be read.
    """
    _refuse_none(path)
    directory = DataDirectory(_database(), path, "os", lambda component, error: None, lambda component: None)
    try:
        return directory.checkpoint()
    finally:
        directory.close()


def export(
    path: _AnyPath,
    target: _AnyPath,
    branch: str = MASTER,
    epoch: int | None = None,
    tables: Sequence[str] | None = None,
) -> Mapping[str, int]:
    """Write each table of a version as TABLE.parquet into a new folder, and return the rows of each.

    Raises
    ------
    InvalidModelError
        If there is no data directory, the target exists, or a table's name cannot be that of a file.
    DataDirectoryDamagedError
        If it cannot be read.
    UnknownBranchError, EpochNotRetainedError, UnknownTableError
        If there is no such version or table.
    """
    _refuse_none(path)

    def read() -> Database:
        database = _database()
        recover(database, Layout(Path(path).absolute()))
        return database

    return export_version(_patiently(read), Path(target), branch, epoch, tables)


def _database() -> Database:
    backend, _ = choose_backend("cpu")
    return Database(backend)


def _refuse_none(path: _AnyPath) -> None:
    if not Layout(Path(path)).exists:
        raise InvalidModelError(f"{path} is no data directory. Give one that a session has worked on.")


def _patiently(read: Callable[[], T]) -> T:
    """Read files of a directory that a session may be replacing just now."""
    for attempt in range(_ATTEMPTS):
        try:
            return read()
        except (FileNotFoundError, shutil.Error, DataDirectoryDamagedError):
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")
