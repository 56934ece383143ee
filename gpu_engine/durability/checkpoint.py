"""Checkpoints: all that the log has led to, in files that a restart reads instead.

Floor 4. A checkpoint is written beside the others under a name that nobody reads, and renamed once all of it is on the
disk. The two newest stay, with the log since the older one, so that damage to the newest costs nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from gpu_engine.durability.arrow_file import check_rows, row_batches, write_batches
from gpu_engine.durability.checkpoint_plan import CheckpointPlan, Point
from gpu_engine.durability.log_file import sync_folder
from gpu_engine.durability.manifest import Manifest, StoredChange, StoredPoint, read_manifest, write_manifest
from gpu_engine.durability.outcome import ended_rows
from gpu_engine.durability.schema_json import schema_to_json
from gpu_engine.durability.segment import segments, segments_after
from gpu_engine.storage.table_store import TableStore

__all__ = ["check_checkpoint", "checkpoint_sequence", "checkpoints", "drop_superfluous", "write_checkpoint"]

_PREFIX, _UNFINISHED = "checkpoint-", ".unfinished"
_KEPT = 2


def checkpoints(folder: Path) -> list[Path]:
    """Return the finished checkpoints, newest first."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, reverse=True)


def checkpoint_sequence(path: Path) -> int:
    """Return the last record of the log that a checkpoint holds, by its name."""
    return int(path.name.removeprefix(_PREFIX))


def check_checkpoint(folder: Path) -> Manifest:
    """Read a checkpoint without using it, and return its manifest.

    Raises
    ------
    DataDirectoryDamagedError
        If any of it is not what was written.
    """
    manifest = read_manifest(folder)
    for rows in manifest.files:
        check_rows(folder, rows)
    return manifest


def write_checkpoint(folder: Path, plan: CheckpointPlan) -> Path:
    """Write a checkpoint; it is there, whole and durable, once this returns.

    Raises
    ------
    OSError
        If it cannot be written; the checkpoints before it stay as they are.
    """
    target = folder / f"{_PREFIX}{plan.sequence:020}"
    beside = folder / (target.name + _UNFINISHED)
    _remove_unfinished(folder)
    beside.mkdir()
    try:
        write_manifest(beside, _write_rows(beside, plan))
        sync_folder(beside)
        if target.exists():
            target.rename(folder / f"{target.name}.old{_UNFINISHED}")
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_folder(folder)
    return target


def drop_superfluous(folder: Path, log: Path) -> None:
    """Remove what no restart needs: checkpoints but the two newest, the log before them, and unfinished ones."""
    found = checkpoints(folder)
    for path in found[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    _remove_unfinished(folder)
    if len(found) < _KEPT:
        return
    oldest = checkpoint_sequence(found[_KEPT - 1])
    for path in set(segments(log)) - set(segments_after(log, oldest)):
        path.unlink()


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*{_UNFINISHED}"):
        shutil.rmtree(path, ignore_errors=True)


def _write_rows(folder: Path, plan: CheckpointPlan) -> Manifest:
    points = []
    for number, point in enumerate(plan.points):
        changes = [
            _write_change(folder, f"{number}-{place}", plan, point, store) for place, store in enumerate(plan.versions)
        ]
        points.append(StoredPoint(point.branch, point.epoch, [change for change in changes if change is not None]))
    return Manifest(
        sequence=plan.sequence,
        last_epoch=plan.last_epoch,
        tables=[(store.name, schema_to_json(store.schema)) for store in plan.versions],
        branches=[dict(branch) for branch in plan.branches],
        heads=dict(plan.heads),
        pins=list(plan.pins),
        positions=dict(plan.positions),
        dead_letters=[dict(letter) for letter in plan.dead_letters],
        points=points,
    )


def _write_change(
    folder: Path, name: str, plan: CheckpointPlan, point: Point, store: TableStore
) -> StoredChange | None:
    before, ended, begun = plan.change(store, point)
    stored_ended = stored_begun = None
    if before is not None and len(ended):
        stored_ended = write_batches(folder, f"{name}-ended.arrow", iter([ended_rows(before, ended)]))
    if len(begun):
        batches = row_batches(plan.versions[store][point.lineage], begun, encoded=True)
        stored_begun = write_batches(folder, f"{name}-begun.arrow", batches)
    return StoredChange(store.name, stored_ended, stored_begun) if stored_ended or stored_begun else None
