"""Backups: a data directory copied, whether or not a session works on it, and put back.

Floor 4. What lies in a data directory never changes once it is written, but for the end of the log: so a copy of the
newest checkpoint and of the log after it is the state of some moment, and is read before it is called a backup.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gpu_engine.durability.checkpoint import check_checkpoint, checkpoint_sequence, checkpoints
from gpu_engine.durability.layout import Layout
from gpu_engine.durability.log_file import sync_folder
from gpu_engine.durability.recovery import log_after
from gpu_engine.durability.segment import segments_after
from gpu_engine.errors import DataDirectoryDamagedError, InvalidModelError

__all__ = ["back_up"]


def back_up(source: Layout, target: Path) -> Path:
    """Copy a data directory to a new folder and return it.

    Raises
    ------
    InvalidModelError
        If there is no data directory, or the target exists.
    DataDirectoryDamagedError
        If it is damaged; there is no copy then.
    OSError
        If something cannot be read or written; there is no copy then.
    """
    if not source.exists:
        raise InvalidModelError(f"{source.root} is no data directory. Give one that a session has worked on.")
    if target.exists():
        raise InvalidModelError(f"{target} exists already. Give a folder that does not exist.")
    return _copy(source, target)


def _copy(source: Layout, target: Path) -> Path:
    unfinished = Layout(target.parent.absolute() / f".{target.name}.unfinished")
    shutil.rmtree(unfinished.root, ignore_errors=True)
    unfinished.create()
    try:
        found = checkpoints(source.checkpoints)[:1]
        sequence = checkpoint_sequence(found[0]) if found else 0
        for folder in found:
            shutil.copytree(folder, unfinished.checkpoints / folder.name)
        for path in segments_after(source.log, sequence):
            shutil.copyfile(path, unfinished.log / path.name)
        _verify(unfinished)
        for path in unfinished.root.rglob("*"):
            _sync(path)
        unfinished.root.rename(target)
        sync_folder(target.parent)
    except DataDirectoryDamagedError as error:
        shutil.rmtree(unfinished.root, ignore_errors=True)
        damaged = source.root / Path(error.path).relative_to(unfinished.root)  # the copy of it is gone by now
        raise DataDirectoryDamagedError(str(damaged), error.reason) from error
    except BaseException:
        shutil.rmtree(unfinished.root, ignore_errors=True)
        raise
    return target


def _verify(copied: Layout) -> None:
    """Read a copy as a restart would, and cut off the unfinished end of its log."""
    sequence = 0
    for folder in checkpoints(copied.checkpoints):
        sequence = check_checkpoint(folder).sequence
    tail = log_after(copied.log, sequence)
    for _ in tail:
        continue
    if tail.segment is not None and tail.cut:
        os.truncate(tail.segment, tail.end)


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
