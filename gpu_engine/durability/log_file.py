"""Log files: bytes added to the end of a file, all of them or none, and made durable on request.

Floor 4. The only place that writes the log.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["LogFile", "sync_folder"]

_MOST_BUFFERS = 256


class LogFile:
    """One file that only grows. One writer; `sync` may be called by another thread meanwhile."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open a file to go on after its first `size` bytes, or create it."""
        self.path = path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if size is None else 0)
        self._descriptor = os.open(path, flags, 0o640)
        self.size = 0 if size is None else size
        """Bytes written."""
        if size is not None and os.fstat(self._descriptor).st_size != size:
            os.ftruncate(self._descriptor, size)

    def append(self, buffers: Sequence[Any]) -> None:
        """Write buffers one after the other.

        Raises
        ------
        OSError
            If they could not all be written. The file is then as it was before, unless its `size` says otherwise.
        """
        start = self.size
        try:
            for place in range(0, len(buffers), _MOST_BUFFERS):
                self._write([memoryview(part).cast("B") for part in buffers[place : place + _MOST_BUFFERS]])
        except BaseException:
            os.ftruncate(self._descriptor, start)
            self.size = start
            raise

    def sync(self) -> None:
        """Return once all that was written before is on the disk; OSError if it may never be."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file; nothing is synced."""
        os.close(self._descriptor)

    def _write(self, views: list[memoryview]) -> None:
        while views:
            written = os.writev(self._descriptor, views)
            self.size += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if views and written:
                views[0] = views[0][written:]


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
