"""The write-ahead log: every event on disk before it is acknowledged.

Floor 4. Events are appended with the writer held; making them durable is left to whoever waits for them, without the
writer. The first who waits syncs for all that were appended by then, so that many commits share one sync.
Source: DeWitt et al., Implementation Techniques for Main Memory Database Systems, SIGMOD 1984 (group commit).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_engine.database.commit import Version
from gpu_engine.database.commit_log import Acknowledgement, Committed, Event, at_once
from gpu_engine.durability.event_message import message_of
from gpu_engine.durability.log_file import LogFile, sync_folder
from gpu_engine.durability.record import frame
from gpu_engine.durability.segment import SEGMENT_HEADER_BYTES, segment_header, segment_path
from gpu_engine.errors import InvalidModelError, LogFailedError, LogWriteError, SessionClosedError

__all__ = ["DURABILITIES", "LogEnd", "LogStatistics", "WriteAheadLog", "check_durability"]

DURABILITIES = ("fsync", "group", "os")
SEGMENT_BYTES = 64 << 20
"""A segment that has so many bytes is the last one's predecessor."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where a log goes on."""

    sequence: int
    """Its last record; 0 for a new log."""
    epoch: int
    """The last epoch in it or before it."""
    segment: Path | None
    """The segment to go on with; None to begin one."""
    size: int
    """Sound bytes in that segment."""
    room: int = 0
    """Zeros after them, to be written over."""


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Figures of a log at one moment."""

    durability: str
    appended: int
    """The last record written."""
    acknowledged: int
    """The last record that is as durable as was asked for."""
    syncs_total: int
    nbytes_total: int
    """Bytes written since the session started."""
    failed: bool
    """Whether it takes no more events."""


def check_durability(durability: str) -> None:
    """Refuse a durability that does not exist with InvalidModelError."""
    if durability not in DURABILITIES:
        raise InvalidModelError(f"durability={durability!r}: choose one of {', '.join(map(repr, DURABILITIES))}.")


class WriteAheadLog:
    """The log of one data directory.

    Parameters
    ----------
    durability : "fsync", "group" or "os"
        Synced before readers see a commit, one commit at a time; synced before it is acknowledged, many at a time; or
        left to the operating system, which survives the end of the process but not that of the machine.
    keep : called with a past version that something durable is about to refer to
    failed : called once with what made the log fail
    """

    def __init__(
        self,
        folder: Path,
        durability: str,
        end: LogEnd,
        keep: Callable[[Version], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._folder, self.durability, self.keep, self._report = folder, durability, keep, failed
        self._appended = self._acknowledged = end.sequence
        self._epoch = end.epoch
        self._syncing = threading.Lock()
        self._failure: LogFailedError | None = None
        self._closed = False
        self._syncs_total = self._nbytes_total = 0
        self._last_start = 0
        self._file = self._begin_segment() if end.segment is None else self._go_on(end.segment, end.size, end.room)

    @property
    def appended(self) -> int:
        """The last record written."""
        return self._appended

    @property
    def nbytes_total(self) -> int:
        """Bytes written since the session started."""
        return self._nbytes_total

    def statistics(self) -> LogStatistics:
        """Return the figures of now."""
        return LogStatistics(
            self.durability,
            self._appended,
            self._acknowledged,
            self._syncs_total,
            self._nbytes_total,
            self._failure is not None,
        )

    def append(self, event: Event) -> Acknowledgement:
        """Write an event; see `CommitLog`. The writer is held."""
        self._refuse_if_failed()
        if isinstance(event, Committed) and event.commit.changes and event.epoch <= self._epoch:
            # A commit that was written but never became visible: the two can no longer be told apart.
            self._fail(RuntimeError(f"epoch {event.epoch} is in the log already"))
        message = message_of(event)
        try:
            payload = message.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidModelError(f"positions and dead letters must be JSON, to be kept: {error}.") from error
        sequence = self._appended + 1
        acknowledged = self._appended if self.durability == "os" else self._acknowledged
        self._write(frame(sequence, acknowledged, payload))
        self._appended = sequence
        if isinstance(event, Committed):
            self._epoch = event.epoch
        if self.durability == "os":
            self._acknowledged = sequence
            return at_once
        if self.durability == "fsync":
            self._sync(sequence)
            return at_once
        self._file.start_sync(self._last_start)  # the disk works while the commit is published
        return lambda: self._sync(sequence)

    def begin_segment(self) -> int:
        """Go on in a new segment, the writer held, and return the last record before it."""
        self._refuse_if_failed()
        if self._file.size > SEGMENT_HEADER_BYTES:
            self._roll()
        return self._appended

    def close(self) -> None:
        """Make durable what was written, whatever the durability, and take no more."""
        if self._closed:
            return
        if self._failure is None:
            self._sync(self._appended, always=True)
        self._closed = True
        self._file.close()

    # -- how --------------------------------------------------------------------------------------------------------

    def _write(self, buffers: list[Any]) -> None:
        try:
            if self._file.size >= SEGMENT_BYTES:
                self._roll()
        except OSError as error:
            raise LogWriteError(str(self._folder), _reason(error)) from error
        before = self._file.size
        if self.durability != "os":
            self._file.make_room(sum([len(part) for part in buffers]))
        try:
            self._file.append(buffers)
        except OSError as error:
            if self._file.size != before:  # half of the record could not be taken back
                self._fail(error)
            raise LogWriteError(str(self._file.path), _reason(error)) from error
        self._last_start = before
        self._nbytes_total += self._file.size - before

    def _sync(self, sequence: int, *, always: bool = False) -> None:
        """Return once a record is durable; whoever comes first syncs for all."""
        while always or self._acknowledged < sequence:
            with self._syncing:
                if self._acknowledged >= sequence and not always:
                    return
                self._refuse_if_failed()
                last = self._appended
                try:
                    self._file.sync()
                except OSError as error:
                    self._fail(error)
                self._syncs_total += 1
                self._acknowledged = max(self._acknowledged, last)
                always = False

    def _roll(self) -> None:
        """Make the segment durable and begin the next one. An OSError before that leaves everything as it was."""
        with self._syncing:
            fresh = self._begin_segment()
            try:
                self._file.sync()
            except OSError as error:
                fresh.close()
                self._fail(error)
            self._acknowledged = self._appended
            self._file.close()
            self._file = fresh

    def _go_on(self, path: Path, size: int, room: int) -> LogFile:
        """Open the last segment and cut off its unfinished end; what a restart has found there is durable from now."""
        if size < SEGMENT_HEADER_BYTES:
            path.unlink()
            return self._begin_segment()
        file = LogFile(path, size, room)
        file.sync()
        return file

    def _begin_segment(self) -> LogFile:
        path = segment_path(self._folder, self._appended + 1)
        file = LogFile(path)
        try:
            file.append([segment_header(self._appended + 1)])
            file.sync()
            sync_folder(self._folder)
        except BaseException:
            file.close()
            path.unlink()
            raise
        return file

    def _fail(self, error: BaseException) -> None:
        """Take no more events.

        After a failed sync the system may call its pages clean although they never reached the disk: a second sync
        that succeeds proves nothing, so none is tried.
        """
        self._failure = LogFailedError(str(self._file.path), _reason(error))
        self._report(self._failure)
        raise self._failure from error

    def _refuse_if_failed(self) -> None:
        if self._failure is not None:
            raise LogFailedError(self._failure.path, self._failure.reason)
        if self._closed:
            raise SessionClosedError


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
