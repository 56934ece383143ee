"""Statistics: figures of a session for operators and tests, immutable and of one moment.

Floor 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_engine.cube.cube import Cube
from gpu_engine.cube.live import LiveQueryStatistics
from gpu_engine.cube.provider import ProviderStatistics
from gpu_engine.database.branch import MASTER
from gpu_engine.database.database import Database
from gpu_engine.database.retention import CompactionReport
from gpu_engine.database.table import Table
from gpu_engine.durability.data_directory import DataDirectory, DataDirectoryStatistics
from gpu_engine.kafka_loading import KafkaLoad, KafkaLoadStatistics
from gpu_engine.loading import Watch
from gpu_engine.storage.table_store import TableStore
from gpu_engine.stream.streamer import Streamer, StreamerStatistics
from gpu_engine.supervisor import Supervisor
from loaders.watch import WatchStatistics

__all__ = ["SessionStatistics", "TableStatistics", "session_statistics"]


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Figures of one table."""

    rows: int
    """Rows alive at the head of master."""
    dead_rows: int
    """Rows that are kept and not alive there: earlier epochs or other branches may see them."""
    nbytes: int
    """Bytes of columns, keys and dictionaries, of all branches together: they share rows."""
    branch_rows: Mapping[str, int]
    """Branch -> rows alive at its head, master included."""


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Figures of a session at one moment."""

    epoch: int
    tables: Mapping[str, TableStatistics]
    providers: Mapping[str, tuple[ProviderStatistics, ...]]
    """Cube -> its providers."""
    live_queries: Mapping[str, tuple[LiveQueryStatistics, ...]]
    """Cube -> its live queries, those of the service included."""
    watches: tuple[WatchStatistics, ...]
    kafka: tuple[KafkaLoadStatistics, ...]
    """Loads from Kafka."""
    background_tasks: Mapping[str, bool]
    """Name -> whether it runs."""
    rolled_back_total: int
    """Commits that failed and left nothing."""
    oldest_epoch: int
    """Epochs before this are readable only if pinned or held."""
    pins: tuple[tuple[str, int], ...]
    """(branch, epoch) of every pin."""
    streams: StreamerStatistics
    data_directory: DataDirectoryStatistics | None
    """The log and its checkpoints; None for a session in memory only."""
    last_compaction: CompactionReport | None
    """What the latest compaction did, with memory figures before and after; None before the first."""
    memory_used: int
    """Bytes: of the process on the CPU, of the device on a GPU."""


def session_statistics(
    database: Database,
    tables: Mapping[str, Table],
    cubes: Mapping[str, Cube],
    watches: Sequence[Watch],
    kafka: Sequence[KafkaLoad],
    supervisor: Supervisor,
    streamer: Streamer,
    directory: DataDirectory | None,
) -> SessionStatistics:
    """Return the figures of now."""
    return SessionStatistics(
        epoch=database.head.epoch,
        tables={name: _table_statistics(database, table.store) for name, table in tables.items()},
        providers={name: tuple(one.statistics() for one in cube.providers) for name, cube in cubes.items()},
        live_queries={name: tuple(one.statistics() for one in cube.live_queries) for name, cube in cubes.items()},
        watches=tuple(watch.statistics() for watch in watches),
        kafka=tuple(load.statistics() for load in kafka),
        background_tasks={task.name: task.alive for task in supervisor.tasks},
        rolled_back_total=database.rolled_back_total,
        oldest_epoch=database.retention.oldest_epoch,
        pins=tuple(database.retention.pins),
        streams=streamer.statistics(),
        data_directory=None if directory is None else directory.statistics(),
        last_compaction=database.retention.last_report,
        memory_used=database.backend.memory().used,
    )


def _table_statistics(database: Database, store: TableStore) -> TableStatistics:
    rows = {name: branch.head.table(store).alive_count for name, branch in database.branches.items()}
    alive = rows[MASTER]
    return TableStatistics(alive, store.rows.row_count - alive, store.nbytes, rows)
