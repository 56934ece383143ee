"""The session: where tables, cubes, loaders and the service come together.

Floor 5, the composition root. It owns everything that has to be ended: watches, background threads, live queries and
the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_engine.backend.choice import BackendReport, choose_backend
from gpu_engine.catalog import Catalog
from gpu_engine.cube.cube import Cube
from gpu_engine.database.branch import MASTER
from gpu_engine.database.branches import Branches
from gpu_engine.database.database import Database
from gpu_engine.database.diff import TableDiff, diff
from gpu_engine.database.retention import CompactionReport, Pin, RetentionPolicy
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transaction, Transactions
from gpu_engine.database_interface import DatabaseInterface
from gpu_engine.dead_letters import DeadLetters
from gpu_engine.durability.data_directory import DataDirectory, open_data_directory
from gpu_engine.errors import (
    DuplicateNameError,
    InvalidModelError,
    SessionClosedError,
    UnknownCubeError,
)
from gpu_engine.first_load import FirstLoads
from gpu_engine.kafka_loading import KafkaLoads
from gpu_engine.loading import Files
from gpu_engine.reprocess import AuditReport, reprocess
from gpu_engine.statistics import SessionStatistics, session_statistics
from gpu_engine.supervisor import BackgroundTask, Health, Supervisor
from gpu_engine.table_catalog import TableCatalog
from gpu_engine.table_loading import TableLoading

if TYPE_CHECKING:
    from api.server import Server

__all__ = ["Session"]


_RETENTION = RetentionPolicy()


class Session(TableLoading):
    """A set of tables and cubes, in memory; with a data directory also on disk (docs/reliability.md).

    Parameters
    ----------
    backend : "auto", "cpu" or "gpu"
        Where arrays live. "auto" takes a GPU that works, and says in `backend` and in the log what it chose and why.
    data_dir : folder of this session alone, made if it is not there; None keeps everything in memory only
    retention : RetentionPolicy
        Which epochs stay readable although nobody pins or holds them.
    durability : "fsync", "group" or "os"
        When a commit counts as written: synced alone, synced with others (at once if there are none), or handed over.

    Raises
    ------
    BackendUnavailableError
        If "gpu" is asked for and none can be used.
    InvalidModelError
        If the backend or the durability is none of the three.
    DataDirectoryInUseError, DataDirectoryDamagedError, OSError
        If the data directory cannot be worked on.
    """

    def __init__(
        self,
        backend: str = "auto",
        data_dir: str | PathLike[str] | None = None,
        retention: RetentionPolicy = _RETENTION,
        durability: str = "group",
    ) -> None:
        self._backend, self._report = choose_backend(backend)
        self._database = Database(self._backend, retention)
        self._branches = Branches(self._database)
        self._transactions = Transactions(self._database)
        self._files = Files(self._backend)
        self._supervisor = Supervisor()
        self._tables = TableCatalog(self._database, self._transactions, self._files)
        self._directory = open_data_directory(self._database, data_dir, durability, self._supervisor)
        self._tables.restore()
        self._cubes: Catalog[Cube] = Catalog(UnknownCubeError)
        self._loads = FirstLoads(self._tables, self._files, self._supervisor)
        self._kafka = KafkaLoads(self._database, self._tables, self._transactions, self._supervisor)
        self._files.start_kafka = self._kafka.start
        self._letters = DeadLetters(self._database, self._tables, self._transactions, self._kafka.deserializer)
        self._interface = DatabaseInterface(self._database, self._cubes.__getitem__, self._supervisor.report)
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._closed = False
        self._supervisor.start("compaction", self._database.retention.compact_when_due)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- what is there ----------------------------------------------------------------------------------------------

    @property
    def tables(self) -> Mapping[str, Table]:
        """Tables by name; UnknownTableError for a name that is not there."""
        return self._tables

    @property
    def cubes(self) -> Mapping[str, Cube]:
        """Cubes by name; UnknownCubeError for a name that is not there."""
        return self._cubes

    @property
    def database(self) -> DatabaseInterface:
        """The tables read directly: queries of rows at any version, and prepared queries."""
        return self._interface

    @property
    def branches(self) -> Branches:
        """Branches by name: create them from any readable version, list and delete them."""
        return self._branches

    @property
    def data_directory(self) -> DataDirectory | None:
        """What keeps the session on disk: recovery, checkpoints, backups; None without one."""
        return self._directory

    @property
    def positions(self) -> Mapping[str, Any]:
        """Source -> its position, as the last transaction that named one left it."""
        return self._tables.positions

    @property
    def epoch(self) -> int:
        """The newest epoch of master; 0 before the first commit."""
        return self._database.head.epoch

    @property
    def backend(self) -> BackendReport:
        """Which backend was chosen, and why."""
        return self._report

    @property
    def url(self) -> str | None:
        """Address of the service, None while it does not run."""
        return None if self._server is None else self._server.url

    def health(self) -> Health:
        """Return what has failed and not been cleared: watches, background threads, callbacks, the service."""
        return self._supervisor.health()

    def statistics(self) -> SessionStatistics:
        """Return figures for operators."""
        return session_statistics(
            self._database,
            self._tables,
            self._cubes,
            self._loads.watches,
            self._kafka.started,
            self._supervisor,
            self._interface.streamer,
            self._directory,
        )

    def reprocess(self) -> AuditReport:
        """Compute every provider anew from the rows, while commits go on, and report what differs: nothing should."""
        return reprocess(self._cubes, self._supervisor)

    # -- transactions and cubes -------------------------------------------------------------------------------------

    def start_transaction(self, branch: str | None = None) -> AbstractContextManager[Transaction]:
        """Return a block whose operations, on any tables, become one epoch; an exception in it leaves nothing.

        A block inside a block of the same thread joins the outer one. `report` of the transaction is there afterwards.
        """
        return self._transactions.start(branch)

    def pin(self, epoch: int | None = None, branch: str = MASTER) -> Pin:
        """Keep an epoch readable, by default the newest, until the pin is released (a context manager).

        Raises
        ------
        UnknownBranchError, EpochNotRetainedError
            If the epoch cannot be read now.
        """
        return self._database.retention.pin(branch, epoch)

    def compact(self) -> CompactionReport:
        """Reclaim the rows that no readable epoch shows. It also happens by itself when there are many."""
        return self._database.retention.compact()

    def checkpoint(self) -> Path:
        """Write a checkpoint of the data directory now, while commits go on; see `DataDirectory.checkpoint`.

        Raises
        ------
        InvalidModelError
            If the session has no data directory.
        LogFailedError, SessionClosedError, OSError
            If it cannot be written; the ones before it stay.
        """
        if self._directory is None:
            raise InvalidModelError("the session is in memory only. Create it with gpu_engine.Session(data_dir=...).")
        return self._directory.checkpoint()

    def diff(self, since: tuple[str, int], until: tuple[str, int]) -> Mapping[str, TableDiff]:
        """Return what differs between two versions, each a branch and an epoch, for each table that has a difference.

        Raises
        ------
        UnknownBranchError, EpochNotRetainedError
            If a version cannot be read.
        """
        return diff(self._database, since, until)

    def wait_for_commit(self, after: int, timeout: float | None = None) -> int:
        """Wait until the head is past epoch `after`, the seconds are over or the session ends; return its epoch."""
        return self._database.wait_for_commit(after, timeout)

    def create_cube(self, fact_table: Table | str, name: str | None = None, mode: str = "auto") -> Cube:
        """Create a cube over a fact table and all that its joins reach.

        Parameters
        ----------
        name : by default the fact table's
        mode : "auto" makes a hierarchy of every column that is not numeric or is part of a key, and X.SUM and X.MEAN
            of every numeric column of the fact that is not; "manual" makes only contributors.COUNT

        Raises
        ------
        DuplicateNameError
            If a cube has the name.
        UnknownTableError, InvalidModelError
            If the table or the mode does not exist.
        """
        fact = self._tables[fact_table] if isinstance(fact_table, str) else fact_table
        with self._lock:
            self._refuse_if_closed()
            if not isinstance(fact, Table):
                raise InvalidModelError(f"{fact!r} is no table. Give one of session.tables, or its name.")
            name = name or fact.name
            if not isinstance(name, str):
                raise InvalidModelError(f"cube name {name!r}: give a text with at least one character.")
            if name in self._cubes:
                raise DuplicateNameError("cube", name)
            cube = Cube(name, fact, self._database, mode, self.report_failure)
            self._cubes.add(name, cube)
        return cube

    # -- supervision ------------------------------------------------------------------------------------------------

    def run_in_background(self, name: str, function: Callable[[threading.Event], None]) -> BackgroundTask:
        """Run a function on a thread that the session owns.

        The function gets an event that is set when the session closes; it should then return soon. What it raises goes
        to `health` and the log.
        """
        with self._lock:
            self._refuse_if_closed()
            return self._supervisor.start(name, function)

    def report_failure(self, component: str, error: BaseException) -> None:
        """Let a failure show in `health` and in the log."""
        self._supervisor.report(component, error)

    def clear_failure(self, component: str) -> None:
        """Take a failure back once its component works again."""
        self._supervisor.clear(component)

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Start the HTTP service and return its address; port 0 takes a free one. A second call returns the same.

        Raises
        ------
        OSError
            If the address cannot be listened on.
        """
        from api.server import serve

        with self._lock:
            self._refuse_if_closed()
            if self._server is None:
                self._server = serve(self, host, port)
            return self._server.url

    def close(self) -> None:
        """Stop the service, the watches and all threads. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._supervisor.request_stop()
        if self._server is not None:
            self._server.close()
            self._server = None
        for watch in self._loads.watches:
            watch.stop()
        self._kafka.stop()
        for cube in self._cubes.values():
            cube.close()
        self._interface.streamer.close()
        self._database.close()
        self._supervisor.stop()
        if self._directory is not None:
            self._directory.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosedError
