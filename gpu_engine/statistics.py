"""Statistics: figures of a session for operators and tests, immutable and of one moment.

Floor 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_engine.cube.provider import ProviderStatistics
from loaders.watch import WatchStatistics

__all__ = ["SessionStatistics", "TableStatistics"]


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Figures of one table."""

    rows: int
    """Rows alive at the head."""
    dead_rows: int
    """Rows that earlier epochs can see and the head cannot."""
    nbytes: int
    """Bytes of columns, keys and dictionaries."""


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Figures of a session at one moment."""

    epoch: int
    tables: Mapping[str, TableStatistics]
    providers: Mapping[str, tuple[ProviderStatistics, ...]]
    """Cube -> its providers."""
    watches: tuple[WatchStatistics, ...]
    background_tasks: Mapping[str, bool]
    """Name -> whether it runs."""
    rolled_back_total: int
    """Commits that failed and left nothing."""
    memory_used: int
    """Bytes: of the process on the CPU, of the device on a GPU."""
