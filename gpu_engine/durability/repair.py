"""Repair: a damaged data directory made readable again, by giving up what comes after the damage.

Floor 4. Nothing is deleted: what is taken away is put into the folder `damaged` of the data directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_engine.durability.checkpoint import check_checkpoint, checkpoints
from gpu_engine.durability.directory_lock import DirectoryLock
from gpu_engine.durability.layout import Layout
from gpu_engine.durability.log_file import sync_folder
from gpu_engine.durability.message import Message
from gpu_engine.durability.record import Record
from gpu_engine.durability.segment import Segment, first_sequence, segments_after
from gpu_engine.errors import DataDirectoryDamagedError, InvalidModelError

__all__ = ["RepairReport", "repair"]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair has done."""

    epoch: int
    """The last epoch that is left."""
    checkpoint: str | None
    """The checkpoint that a restart will read; None for none."""
    taken_away: tuple[str, ...]
    """Files and folders that are in `damaged` now, whole or from the damage on."""
    lost_records: int
    """Sound records after the damage, which cannot be used without what is missing; damaged ones are not counted."""


def repair(path: Path) -> RepairReport:
    """Keep all that comes before the first damage. A directory without damage stays as it is.

    Raises
    ------
    InvalidModelError
        If there is no data directory.
    DataDirectoryInUseError
        If a session works on it.
    DataDirectoryDamagedError
        If nothing can be kept: no checkpoint is sound, and the log does not reach back to the beginning.
    """
    layout = Layout(path.absolute())
    if not layout.exists:
        raise InvalidModelError(f"{layout.root} is no data directory. Give one that a session has worked on.")
    lock = DirectoryLock(layout.lock)
    try:
        return _Repair(layout).run()
    finally:
        lock.release()


class _Repair:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._taken: list[str] = []
        self._lost = self._epoch = 0

    def run(self) -> RepairReport:
        sound, unsound = self._checkpoints()
        sequence = self._sequence_of(sound)
        log = segments_after(self._layout.log, sequence)
        if not sound and (not log or first_sequence(log[0]) > 1):
            raise DataDirectoryDamagedError(str(self._layout.checkpoints), "no checkpoint is sound, nor is all the log")
        for folder in unsound:
            self._take_away(folder)
        self._cut(log, sequence)
        for folder in (self._layout.log, self._layout.checkpoints):
            if folder.is_dir():
                sync_folder(folder)
        return RepairReport(self._epoch, sound[0].name if sound else None, tuple(self._taken), self._lost)

    def _checkpoints(self) -> tuple[list[Path], list[Path]]:
        """Return the sound checkpoints, newest first, and the others."""
        sound: list[Path] = []
        unsound: list[Path] = []
        for folder in checkpoints(self._layout.checkpoints):
            try:
                check_checkpoint(folder)
                sound.append(folder)
            except DataDirectoryDamagedError:
                unsound.append(folder)
        return sound, unsound

    def _sequence_of(self, sound: Sequence[Path]) -> int:
        if not sound:
            return 0
        manifest = check_checkpoint(sound[0])
        self._epoch = manifest.last_epoch
        return manifest.sequence

    def _cut(self, log: Sequence[Path], sequence: int) -> None:
        """Find the first record that is missing, and take away the log from there."""
        for place, path in enumerate(log):
            segment = Segment(path)
            if segment.first > sequence + 1:
                self._give_up(log[place:])
                return
            for record in segment:
                if record.sequence > sequence:
                    sequence = record.sequence
                    self._note(record)
            if segment.fault is not None:
                self._lost += len(segment.fault.lost)
                end = segment.end
                del segment
                self._take_away(path, copy=True)
                os.truncate(path, end)
                self._give_up(log[place + 1 :])
                return

    def _note(self, record: Record) -> None:
        head = Message.decode(record.payload).head
        self._epoch = max(self._epoch, head["epoch"] if head["kind"] == "commit" else 0)

    def _give_up(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._lost += sum(1 for _ in Segment(path))
            self._take_away(path)

    def _take_away(self, path: Path, *, copy: bool = False) -> None:
        if copy:
            target = self._layout.place_for_damage(path.name)
            shutil.copyfile(path, target)
        else:
            target = self._layout.take_away(path)
        self._taken.append(target.relative_to(self._layout.root).as_posix())
