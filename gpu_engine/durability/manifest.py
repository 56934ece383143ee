"""Manifests: what a checkpoint consists of, written last, so that a checkpoint is whole or is none.

Floor 4.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_engine.durability.arrow_file import StoredRows
from gpu_engine.errors import DataDirectoryDamagedError

__all__ = ["Manifest", "StoredChange", "StoredPoint", "read_manifest", "write_manifest"]

_NAME = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredChange:
    """What a point changes in one table."""

    table: str
    ended: StoredRows | None
    begun: StoredRows | None


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """One version that a checkpoint holds."""

    branch: str
    epoch: int
    changes: Sequence[StoredChange]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of a checkpoint but the rows themselves."""

    sequence: int
    """The last record of the log that is in it."""
    last_epoch: int
    tables: Sequence[tuple[str, dict[str, Any]]]
    """Name and schema of each table, in order of creation."""
    branches: Sequence[dict[str, Any]]
    """name, parent and fork of each branch but master, in order of creation."""
    heads: dict[str, int]
    """Branch -> its newest epoch."""
    pins: Sequence[tuple[str, int]]
    positions: dict[str, Any]
    dead_letters: Sequence[dict[str, Any]]
    points: Sequence[StoredPoint]
    """In the order in which they are to be told."""

    @property
    def files(self) -> list[StoredRows]:
        """All files of rows."""
        stored = [rows for point in self.points for one in point.changes for rows in (one.ended, one.begun)]
        return [rows for rows in stored if rows is not None]

    @property
    def nbytes(self) -> int:
        """Bytes of all files of rows."""
        return sum(rows.nbytes for rows in self.files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest; it is durable once this returns."""
    content = json.dumps(asdict(manifest))
    wrapped = json.dumps({"format": _FORMAT, "checksum": zlib.crc32(content.encode()), "content": content})
    with (folder / _NAME).open("x", encoding="utf-8") as file:
        file.write(wrapped)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint.

    Raises
    ------
    DataDirectoryDamagedError
        If it is missing, is not what was written, or comes from a later release.
    """
    path = folder / _NAME
    try:
        wrapped = json.loads(path.read_text(encoding="utf-8"))
        if wrapped["format"] != _FORMAT:
            raise DataDirectoryDamagedError(str(path), f"its format {wrapped['format']} is not one this release reads")
        content = wrapped["content"]
        if zlib.crc32(content.encode()) != wrapped["checksum"]:
            raise DataDirectoryDamagedError(str(path), "its checksum is not that of what was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataDirectoryDamagedError):
            raise
        raise DataDirectoryDamagedError(str(path), f"it cannot be read ({type(error).__name__}: {error})") from error
    return _manifest(json.loads(content))


def _manifest(given: dict[str, Any]) -> Manifest:
    points = [
        StoredPoint(
            point["branch"],
            point["epoch"],
            [StoredChange(one["table"], _rows(one["ended"]), _rows(one["begun"])) for one in point["changes"]],
        )
        for point in given.pop("points")
    ]
    tables = [(name, schema) for name, schema in given.pop("tables")]
    pins = [(branch, epoch) for branch, epoch in given.pop("pins")]
    return Manifest(points=points, tables=tables, pins=pins, **given)


def _rows(given: dict[str, Any] | None) -> StoredRows | None:
    return None if given is None else StoredRows(**given)
