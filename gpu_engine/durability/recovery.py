"""Recovery: from what lies in a data directory to the database that it was, and the place where its log goes on.

Floor 4. The newest sound checkpoint is read, then the log after it. An unfinished end of the log is what a crash leaves
and nobody was told of; damage anywhere else is refused. Nothing is written here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_engine.database.database import Database
from gpu_engine.durability.checkpoint import check_checkpoint, checkpoints
from gpu_engine.durability.layout import Layout
from gpu_engine.durability.manifest import Manifest
from gpu_engine.durability.message import Message
from gpu_engine.durability.progress import Progress
from gpu_engine.durability.record import Record
from gpu_engine.durability.replay import Replay
from gpu_engine.durability.segment import Fault, Segment, first_sequence, segments, segments_after
from gpu_engine.durability.write_ahead_log import LogEnd
from gpu_engine.errors import DataDirectoryDamagedError

__all__ = ["Recovery", "RecoveryReport", "log_after", "recover"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What a restart found."""

    epoch: int
    """The newest epoch of any branch."""
    checkpoint: str | None
    """Name of the checkpoint that was read; None if the whole log was."""
    records: int
    """Records of the log that were replayed."""
    cut_bytes: int
    """Bytes of the log's unfinished end, which nobody was told of; they are cut off."""
    damaged_checkpoints: tuple[str, ...]
    """Newer checkpoints that were passed over, and why."""
    lost_pins: tuple[tuple[str, int], ...]
    """(branch, epoch) of pins on versions that only those held."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found, and where to go on."""

    report: RecoveryReport
    end: LogEnd
    checkpoint_epoch: int
    """The newest epoch of the checkpoint; 0 without one."""
    checkpoint_bytes: int
    log_bytes: int
    """Bytes of log that were read after it."""
    retained: frozenset[tuple[str, int]]
    """Versions before the checkpoint's own that it holds."""
    unsound: tuple[Path, ...]
    """Newer checkpoints that were passed over."""


class _Tail:
    """The log after a record, segment by segment."""

    def __init__(self, folder: Path, after: int) -> None:
        self._folder, self._after = folder, after
        self.sequence = after
        """The last record read, or the one after which reading begins."""
        self.segment: Path | None = None
        """The segment to go on with; None if none reaches so far."""
        self.end = 0
        """The offset after the last sound record in it."""
        self.room = 0
        """Zeros after that, where later records would be."""
        self.cut = 0
        """Bytes after that which are neither."""
        self.fault: Fault | None = None

    def __iter__(self) -> Iterator[Record]:
        """Yield its records.

        Raises
        ------
        DataDirectoryDamagedError
            If one is missing or damaged that had been acknowledged, or may have been.
        """
        needed = segments_after(self._folder, self._after)
        if needed and first_sequence(needed[0]) > self._after + 1:
            raise _damaged(needed[0], f"records {self._after + 1} to {first_sequence(needed[0]) - 1} are missing")
        for path in needed:
            segment = Segment(path)
            if segment.first > self.sequence + 1:
                raise _damaged(path, f"records {self.sequence + 1} to {segment.first - 1} before it are missing")
            last = segment.first - 1
            for record in segment:
                if record.sequence > self._after:
                    yield record
                    self.sequence = record.sequence
                last = record.sequence
            self.fault = segment.fault
            if last >= self._after:
                self.segment, self.end, self.room = path, segment.end, segment.room
                self.cut = segment.data.size - segment.end - segment.room
            if segment.fault is not None and (path is not needed[-1] or not segment.fault.unfinished):
                lost = len(segment.fault.lost)
                raise _damaged(path, f"record {segment.fault.sequence} is damaged, {lost} sound ones follow it here")


def log_after(folder: Path, sequence: int) -> _Tail:
    """Return the log after a record, to be read once."""
    return _Tail(folder, sequence)


def recover(database: Database, layout: Layout) -> Recovery:
    """Let an empty database become what a data directory says it was.

    Raises
    ------
    DataDirectoryDamagedError
        If no way leads to all that was acknowledged.
    """
    started = time.perf_counter()
    manifest, folder, passed_over = _newest_checkpoint(layout)
    replay = Replay(database)
    tail = log_after(layout.log, 0 if manifest is None else manifest.sequence)
    log_bytes = sum(path.stat().st_size for path in segments(layout.log))
    total = log_bytes + (0 if manifest is None else manifest.nbytes)
    with Progress(f"loading {layout.root}", total) as progress:
        if manifest is not None and folder is not None:
            replay.checkpoint(folder, manifest, progress)
        records = read_bytes = 0
        for record in tail:
            replay.message(Message.decode(record.payload))
            progress.advance(record.end - record.start)
            read_bytes += record.end - record.start
            records += 1
    lost_pins = replay.finish()
    report = RecoveryReport(
        database.last_epoch,
        None if folder is None else folder.name,
        records,
        tail.cut,
        tuple(passed_over.values()),
        tuple(lost_pins),
        time.perf_counter() - started,
    )
    _log.info("%s: epoch %d after %.2f s, %d records replayed", layout.root, report.epoch, report.seconds, records)
    for branch, epoch in lost_pins:
        _log.error("%s: the pin of epoch %d of branch %s is lost with a checkpoint", layout.root, epoch, branch)
    if tail.cut:
        _log.warning("%s ends in %d bytes that were never acknowledged; they are cut off", tail.segment, tail.cut)
    return Recovery(
        report,
        LogEnd(tail.sequence, database.last_epoch, tail.segment, tail.end, tail.room),
        0 if manifest is None else manifest.last_epoch,
        0 if manifest is None else manifest.nbytes,
        read_bytes,
        frozenset() if manifest is None else frozenset((point.branch, point.epoch) for point in manifest.points),
        tuple(passed_over),
    )


def _newest_checkpoint(layout: Layout) -> tuple[Manifest | None, Path | None, Mapping[Path, str]]:
    """Return the newest sound checkpoint, and what is wrong with those that are newer."""
    passed_over: dict[Path, str] = {}
    found = checkpoints(layout.checkpoints)
    for folder in found:
        try:
            return check_checkpoint(folder), folder, passed_over
        except DataDirectoryDamagedError as error:
            passed_over[folder] = f"{error.path}: {error.reason}"
            _log.error("%s", passed_over[folder])
    first = segments(layout.log)
    if found and (not first or first_sequence(first[0]) > 1):
        raise DataDirectoryDamagedError(
            str(layout.checkpoints), "no checkpoint is sound: " + "; ".join(passed_over.values())
        )
    return None, None, passed_over


def _damaged(path: Path, reason: str) -> DataDirectoryDamagedError:
    return DataDirectoryDamagedError(str(path), reason)
