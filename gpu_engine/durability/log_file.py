"""Log files: bytes added to the end of a file, all of them or none, and made durable on request.

Floor 4. The only place that writes the log. To make durable what was written over zeros that are on the disk already
takes one write; what makes the file longer takes a second one, of the file system's own journal.
Source: PostgreSQL's `wal_init_zero`, https://www.postgresql.org/docs/current/runtime-config-wal.html
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["ROOM_BYTES", "LogFile", "sync_folder"]

ROOM_BYTES = 256 << 10
"""No more zeros than this ever follow the last record."""
_ZEROS = memoryview(bytes(ROOM_BYTES))
_LARGE = 64 << 10
"""Records from here on are not worth writing twice."""
_MOST_BUFFERS = 256
_WRITE = 2
"""SYNC_FILE_RANGE_WRITE of Linux."""


class LogFile:
    """One file that only grows. One writer; `sync` may be called by another thread meanwhile."""

    def __init__(self, path: Path, size: int | None = None, room: int = 0) -> None:
        """Open a file to go on after its first `size` bytes, which `room` zeros may follow, or create it."""
        self.path = path
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if size is None else 0)
        self._descriptor = os.open(path, flags, 0o640)
        self.size = 0 if size is None else size
        """Bytes written."""
        self._end = self.size + room
        if os.fstat(self._descriptor).st_size != self._end:
            os.ftruncate(self._descriptor, self.size)
            self._end = self.size

    def make_room(self, length: int) -> None:
        """Lay zeros for the next `length` bytes and for others after them, unless there are some.

        Promises nothing: without room the file grows as it is written.
        """
        if self.size + length <= self._end or length >= _LARGE:
            return
        start = max(self.size, self._end)
        with suppress(OSError):
            self._end = start + os.pwrite(self._descriptor, _ZEROS[: self.size + ROOM_BYTES - start], start)

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
            self.size = self._end = start
            raise

    def start_sync(self, start: int) -> None:
        """Let the disk begin with what was written from an offset on; a `sync` soon after has less to wait for.

        Promises nothing, and reports nothing: what goes wrong is what the next `sync` says.
        """
        if _sync_file_range is not None:
            _sync_file_range(self._descriptor, start, self.size - start, _WRITE)

    def sync(self) -> None:
        """Return once all that was written before is on the disk; OSError if it may never be."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file; nothing is synced."""
        os.close(self._descriptor)

    def _write(self, views: list[memoryview]) -> None:
        while views:
            written = os.pwritev(self._descriptor, views, self.size)
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


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Return the system call that starts writing pages and waits for none; None where there is none."""
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_sync_file_range = _find_sync_file_range()
