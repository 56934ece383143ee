"""Answers as plain Python, and the little waiting that tests need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

import gpu_engine as ge

DEADLINE = 20.0
"""Seconds after which something that should have happened has not."""


def cells(cube: ge.Cube, *measures: str, levels: Any = (), **more: Any) -> dict[Any, Any]:
    """Return the cells of a query, see `plain`."""
    return plain(cube.query(*measures, levels=levels, mode="arrow", **more), len(levels))


def plain(answer: pa.Table, width: int) -> dict[Any, Any]:
    """Return cells in order: level values -> measures; one value stands alone instead of in a tuple."""
    rows = zip(*(column.to_pylist() for column in answer.columns), strict=True)
    return {_single(row[:width]): _single(row[width:]) for row in rows}


def _single(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else values


def told(change: ge.CellChange, width: int) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """Return the cells that a change added, changed, changed from and removed."""
    added, changed, before, removed = (
        plain(part, width) for part in (change.added, change.changed, change.changed_from, change.removed)
    )
    return added, changed, before, removed


def rows(table: ge.Table) -> list[dict[str, Any]]:
    """Return all rows in their order."""
    listed: list[dict[str, Any]] = table.to_arrow().to_pylist()
    return listed


def eventually(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE
    pause = 0.001
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


class Heard:
    """What a live query's callback was told, in order."""

    def __init__(self) -> None:
        self.changes: list[ge.CellChange] = []

    def __call__(self, change: ge.CellChange) -> None:
        self.changes.append(change)

    @property
    def epochs(self) -> list[int]:
        return [change.epoch for change in self.changes]
