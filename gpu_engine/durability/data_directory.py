"""The data directory of a session: its lock, its log, and checkpoints of it.

Floor 4. Opening one lets the database become what it was. From then on the log is written with every commit, and a
checkpoint is made whenever reading the log would cost more than reading a checkpoint.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Protocol

from gpu_engine.database.commit import Version
from gpu_engine.database.database import Database
from gpu_engine.database.retention import Pin
from gpu_engine.durability.backup import back_up
from gpu_engine.durability.checkpoint import drop_superfluous, write_checkpoint
from gpu_engine.durability.checkpoint_plan import plan_checkpoint
from gpu_engine.durability.directory_lock import DirectoryLock
from gpu_engine.durability.layout import Layout
from gpu_engine.durability.manifest import read_manifest
from gpu_engine.durability.recovery import RecoveryReport, recover
from gpu_engine.durability.write_ahead_log import LogStatistics, WriteAheadLog, check_durability
from gpu_engine.errors import EngineError

__all__ = ["Background", "DataDirectory", "DataDirectoryStatistics", "open_data_directory"]

_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
"""After a checkpoint that failed the next one waits so long."""
CHECKPOINT_BYTES = 64 << 20
"""A log shorter than this is not worth a checkpoint, unless it has very many records."""
CHECKPOINT_RECORDS = 10_000
"""To replay so many takes seconds, however small they are."""
_REST = 20.0
"""For the sake of many small records, checkpoints take no more than a twentieth of the time."""


@dataclass(frozen=True, slots=True)
class DataDirectoryStatistics:
    """Figures of a data directory at one moment."""

    log: LogStatistics
    checkpoint_epoch: int
    """The newest epoch that the newest checkpoint holds; 0 without one."""
    checkpoint_nbytes: int
    log_nbytes: int
    """Bytes of log that a restart would read besides."""
    checkpoints_total: int
    """Checkpoints made since the session started."""


class Background(Protocol):
    """Where failures show and threads run."""

    def report(self, component: str, error: BaseException) -> None:
        """Let a failure show."""
        ...

    def clear(self, component: str) -> None:
        """Take it back."""
        ...

    def start(self, name: str, function: Callable[[threading.Event], None]) -> object:
        """Run a function on a thread until it is asked to end."""
        ...


def open_data_directory(
    database: Database, path: str | PathLike[str] | None, durability: str, background: Background
) -> DataDirectory | None:
    """Return the data directory at a path, checkpointed in the background; None without a path. Errors as its own."""
    if path is None:
        check_durability(durability)
        return None
    directory = DataDirectory(database, path, durability, background.report, background.clear)
    background.start("checkpoint", directory.checkpoint_when_due)
    return directory


class DataDirectory:
    """What keeps the tables of one session beyond its process.

    Parameters
    ----------
    database : an empty database
    report : called with a component and what made it fail
    clear : called with a component that works again

    Raises
    ------
    DataDirectoryInUseError
        If another session works on it.
    DataDirectoryDamagedError
        If it cannot be read. Nothing is changed then.
    InvalidModelError
        If `durability` is unknown.
    OSError
        If the folder cannot be made or read.
    """

    def __init__(
        self,
        database: Database,
        path: str | PathLike[str],
        durability: str,
        report: Callable[[str, BaseException], None],
        clear: Callable[[str], None],
    ) -> None:
        self._database, self._report_failure, self._clear = database, report, clear
        check_durability(durability)
        self._layout = Layout(Path(path).absolute())
        self._layout.create()
        self._lock = DirectoryLock(self._layout.lock)
        try:
            found = recover(database, self._layout)
            self._log = WriteAheadLog(
                self._layout.log, durability, found.end, self._keep, lambda error: report("log", error)
            )
        except BaseException:
            self._lock.release()
            raise
        self.recovery: RecoveryReport = found.report
        """What was found at the start."""
        self._epoch, self._nbytes = found.checkpoint_epoch, found.checkpoint_bytes
        self._planned = (found.checkpoint_epoch, found.retained)
        self._log_nbytes, self._log_records = found.log_bytes, found.report.records
        self._marked, self._marked_record = 0, found.end.sequence
        self._rested_at = 0.0
        self._checkpoints_total = 0
        self._checkpointing = threading.RLock()
        self._keeping = threading.Lock()
        self._kept: dict[Version, int] = {}
        database.log = self._log
        for folder in found.unsound:
            self._layout.take_away(folder)
        for problem in found.report.damaged_checkpoints:
            report("checkpoint", RuntimeError(f"a newer checkpoint is damaged and was passed over: {problem}"))
        for branch, epoch in found.report.lost_pins:
            report("pins", RuntimeError(f"the pin of epoch {epoch} of branch {branch!r} went with a checkpoint"))

    @property
    def path(self) -> Path:
        """The folder."""
        return self._layout.root

    @property
    def pins(self) -> list[Pin]:
        """The pins of all epochs, those of earlier sessions included, so that they can be released."""
        retention = self._database.retention
        return [retention.restored_pin(branch, epoch) for branch, epoch in retention.pins]

    def statistics(self) -> DataDirectoryStatistics:
        """Return the figures of now."""
        return DataDirectoryStatistics(
            self._log.statistics(), self._epoch, self._nbytes, self._log_bytes(), self._checkpoints_total
        )

    def checkpoint(self) -> Path:
        """Write all that is there now as a checkpoint, while commits go on, and return its folder.

        Raises
        ------
        LogFailedError, SessionClosedError
            If the log takes no more events.
        OSError
            If the checkpoint cannot be written; the ones before it stay.
        """
        with self._checkpointing:
            begin = monotonic()
            with self._database.writing():
                sequence = self._log.begin_segment()
                with self._keeping:
                    plan = plan_checkpoint(self._database, sequence, [version.lineage for version in self._kept])
                    self._planned = plan.last_epoch, frozenset((point.branch, point.epoch) for point in plan.points)
                marked = self._log.nbytes_total
            folder = write_checkpoint(self._layout.checkpoints, plan)
            self._epoch, self._nbytes = plan.last_epoch, read_manifest(folder).nbytes
            self._log_nbytes = self._log_records = 0
            self._marked, self._marked_record = marked, sequence
            end = monotonic()
            self._rested_at = end + _REST * (end - begin)
            self._checkpoints_total += 1
            # Whoever asked for a version may not have referred to it yet: it stays for another checkpoint.
            with self._keeping:
                self._kept = {version: turns - 1 for version, turns in self._kept.items() if turns > 1}
            drop_superfluous(self._layout.checkpoints, self._layout.log)
        return folder

    def checkpoint_when_due(self, stopping: threading.Event) -> None:
        """Make a checkpoint whenever it is worth it, until asked to stop."""
        pause = _SECONDS
        while not stopping.wait(pause):
            if not self._is_due():
                continue
            try:
                self.checkpoint()
            except (EngineError, OSError) as error:
                pause = _PATIENCE_SECONDS
                if not self._database.closed:
                    self._report_failure("checkpoint", error)
            else:
                pause = _SECONDS
                self._clear("checkpoint")

    def backup(self, target: str | PathLike[str]) -> Path:
        """Copy the newest checkpoint and the log after it to a new folder, while commits go on; see `back_up`."""
        with self._checkpointing:
            return back_up(self._layout, Path(target))

    def close(self) -> None:
        """Make durable what was written, and let another session have the directory."""
        with self._checkpointing:  # one that is being made belongs to this session
            try:
                self._log.close()
            finally:
                self._lock.release()

    def _is_due(self) -> bool:
        if self._log_bytes() >= max(CHECKPOINT_BYTES, self._nbytes):
            return True
        records = self._log_records + self._log.appended - self._marked_record
        return records >= CHECKPOINT_RECORDS and monotonic() >= self._rested_at

    def _log_bytes(self) -> int:
        return self._log_nbytes + self._log.nbytes_total - self._marked

    def _keep(self, version: Version) -> None:
        """Let the next checkpoints hold a past version; make one unless the newest, or the log after it, has it.

        The newest is the one that was planned last: it may be being written.
        """
        with self._keeping:
            self._kept[version] = 2
            epoch, retained = self._planned
        numbers = {branch.number: branch.name for branch in self._database.branches.values()}
        if version.epoch < epoch and (numbers.get(version.number), version.epoch) not in retained:
            self.checkpoint()
