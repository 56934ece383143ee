"""The lock of a data directory: one session works on it, and the next one is refused.

Floor 4. The operating system takes the lock back when the process ends, however it ends. A network drive must support
flock.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from gpu_engine.errors import DataDirectoryInUseError

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """The right to write to a data directory, from when it is made until it is released."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises
        ------
        DataDirectoryInUseError
            If another session has it.
        OSError
            If the file system gives no locks, or the file cannot be made.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 64, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise DataDirectoryInUseError(str(path.parent), owner or "another process") from None
        except OSError:
            os.close(self._descriptor)
            raise
        with suppress(OSError):  # who has the lock is for people to read; on a full disk they do without
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another session have it."""
        os.close(self._descriptor)
