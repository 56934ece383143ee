"""Statistics: figures of a session for operators and tests, immutable and of one moment.

Floor 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_engine.cube.cube import Cube
from gpu_engine.cube.provider import ProviderStatistics
from gpu_engine.database.database import Database
from gpu_engine.database.retention import CompactionReport
from gpu_engine.database.table import Table
from gpu_engine.loading import Watch
from gpu_engine.stream.streamer import Streamer, StreamerStatistics
from gpu_engine.supervisor import Supervisor
from loaders.watch import WatchStatistics

__all__ = ["SessionStatistics", "TableStatistics", "session_statistics"]


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
    oldest_epoch: int
    """Epochs before this are readable only if pinned or held."""
    pins: tuple[tuple[str, int], ...]
    """(branch, epoch) of every pin."""
    streams: StreamerStatistics
    last_compaction: CompactionReport | None
    """What the latest compaction did, with memory figures before and after; None before the first."""
    memory_used: int
    """Bytes: of the process on the CPU, of the device on a GPU."""


def session_statistics(
    database: Database,
    tables: Mapping[str, Table],
    cubes: Mapping[str, Cube],
    watches: Sequence[Watch],
    supervisor: Supervisor,
    streamer: Streamer,
) -> SessionStatistics:
    """Return the figures of now."""
    return SessionStatistics(
        epoch=database.head.epoch,
        tables={name: _table_statistics(table) for name, table in tables.items()},
        providers={name: tuple(one.statistics() for one in cube.providers) for name, cube in cubes.items()},
        watches=tuple(watch.statistics() for watch in watches),
        background_tasks={task.name: task.alive for task in supervisor.tasks},
        rolled_back_total=database.rolled_back_total,
        oldest_epoch=database.retention.oldest_epoch,
        pins=tuple(database.retention.pins),
        streams=streamer.statistics(),
        last_compaction=database.retention.last_report,
        memory_used=database.backend.memory().used,
    )


def _table_statistics(table: Table) -> TableStatistics:
    alive = len(table)
    return TableStatistics(alive, table.store.rows.row_count - alive, table.store.nbytes)
