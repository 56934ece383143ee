"""Load progress: how far the reading of files has come, told to whoever watches.

Floor 5. Whoever calls `watching_loads` hears of every load that its own thread starts within the block, however deep
inside a user's function that is, and whatever session it fills. Nobody pays for it while nobody watches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

__all__ = ["LoadMeter", "LoadProgress", "watching_loads"]


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far one load of files has come."""

    source: str
    """The path, folder or glob as it was given."""
    file_format: str
    """csv or parquet."""
    files: int
    """Files that it means."""
    rows: int
    """Rows decoded so far."""
    nbytes: int
    """Bytes of the files read so far; of Parquet those of the row groups that are decoded."""
    total_bytes: int
    """Bytes of all the files."""
    seconds: float
    """Since the load began. With `done` that is reading, decoding and staging, not the commit."""
    done: bool
    """Whether nothing more will be read; also true once a sample has its rows."""


_listener: ContextVar[Callable[[LoadProgress], None] | None] = ContextVar("load_progress", default=None)


@contextmanager
def watching_loads(listener: Callable[[LoadProgress], None]) -> Iterator[None]:
    """Tell `listener` of the loads of this thread within the block: after every batch and at the end of each load.

    It is called by the thread that loads; what it raises ends the load.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class LoadMeter:
    """Counts what one load reads, and tells the listener of the thread that started it."""

    def __init__(self, source: str, file_format: str, files: Sequence[Path]) -> None:
        self._source, self._format, self._files = source, file_format, len(files)
        self._listener = _listener.get()
        self._started = time.perf_counter()
        self._rows = self._nbytes = 0
        self._total = sum(file.stat().st_size for file in files if file.is_file()) if self._listener else 0

    def read_bytes(self, count: int) -> None:
        """Count bytes of a file that have been read."""
        self._nbytes += count

    def took(self, rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
        """Count rows that have been decoded, and return them."""
        self._rows += rows.num_rows
        self._tell(done=False)
        return rows

    def within_file(self, rows: int, nbytes: int) -> None:
        """Tell how far a file has come that may still be given up and read anew: nothing of it counts yet."""
        self._tell(done=False, rows=rows, nbytes=nbytes)

    def finish(self) -> None:
        """Tell that all has been read."""
        self._nbytes = self._total
        self.stop()

    def stop(self) -> None:
        """Tell that nothing more will be read."""
        self._tell(done=True)

    def _tell(self, *, done: bool, rows: int = 0, nbytes: int = 0) -> None:
        if self._listener is None:
            return
        seconds = time.perf_counter() - self._started
        rows, nbytes = self._rows + rows, min(self._nbytes + nbytes, self._total)
        self._listener(LoadProgress(self._source, self._format, self._files, rows, nbytes, self._total, seconds, done))
