"""The session: where tables, cubes, loaders and the service come together.

Floor 5, the composition root. It owns everything that has to be ended: watches, background threads, live queries and
the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

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
from gpu_engine.errors import (
    DuplicateNameError,
    InvalidModelError,
    SessionClosedError,
    UnknownCubeError,
    UnknownTableError,
)
from gpu_engine.first_load import FileRequest, FirstLoads, TableRequest
from gpu_engine.loading import Files
from gpu_engine.schema import DataType, Schema
from gpu_engine.statistics import SessionStatistics, session_statistics
from gpu_engine.supervisor import BackgroundTask, Health, Supervisor

if TYPE_CHECKING:
    import pandas as pd

    from api.server import Server

__all__ = ["Session"]


_RETENTION = RetentionPolicy()


class Session:
    """A set of tables and cubes, in memory.

    Parameters
    ----------
    backend : "auto", "cpu" or "gpu"
        Where arrays live. "auto" takes a GPU that works, and says in `backend` and in the log what it chose and why.
    data_dir : None
        Reserved for the durable log, which this release does not have.
    retention : RetentionPolicy
        Which epochs stay readable although nobody pins or holds them.

    Raises
    ------
    BackendUnavailableError
        If "gpu" is asked for and none can be used.
    InvalidModelError
        If the backend is none of the three, or a data directory is given.
    """

    def __init__(
        self, backend: str = "auto", data_dir: str | None = None, retention: RetentionPolicy = _RETENTION
    ) -> None:
        if data_dir is not None:
            raise InvalidModelError(f"data_dir={data_dir!r}: this release keeps tables in memory only. Leave it out.")
        self._backend, self._report = choose_backend(backend)
        self._database = Database(self._backend, retention)
        self._branches = Branches(self._database)
        self._transactions = Transactions(self._database)
        self._files = Files()
        self._supervisor = Supervisor()
        self._tables: Catalog[Table] = Catalog(UnknownTableError)
        self._cubes: Catalog[Cube] = Catalog(UnknownCubeError)
        self._loads = FirstLoads(self._tables, self.create_table, self._forget, self._files, self._supervisor)
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
            self._database, self._tables, self._cubes, self._loads.watches, self._supervisor, self._interface.streamer
        )

    # -- tables -----------------------------------------------------------------------------------------------------

    def create_table(
        self,
        name: Any,
        types: Mapping[str, DataType],
        keys: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create an empty table.

        Parameters
        ----------
        types : column -> type, in column order
        keys : columns that identify a row; without them rows are only ever added
        defaults : what a row that does not mention a column holds there; null unless given
        partition_by : a column, no floating point or VECTOR one; `Table.drop_partition` drops all rows of a value

        Raises
        ------
        DuplicateNameError
            If a table has the name.
        InvalidModelError, UnknownColumnError, TypeMismatchError
            If the columns, keys or defaults do not fit together.
        """
        if not isinstance(name, str) or not name:
            raise InvalidModelError(f"table name {name!r}: give a text with at least one character.")
        schema = Schema(dict(types), tuple([keys] if isinstance(keys, str) else keys), defaults, partition_by)
        with self._lock:
            store = self._database.create_table(name, schema)
            table = Table(store, self._database, self._transactions, self._files)
            self._tables.add(name, table)
        return table

    def read_csv(
        self,
        path: Any,
        table_name: str | None = None,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        *,
        watch: bool = False,
        polling: bool = False,
        sample: int | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create a table from a CSV file, a folder of them or a glob, and load it as one commit.

        Parameters
        ----------
        table_name : by default the name of the file without its ending, or of the folder
        types : types of columns; those left out are inferred from the first file (see `loaders.csv`)
        watch : also load new files and, if the table has a key, changed ones, as they come
        polling : watch by comparing listings, for drives where the system tells of no events
        sample : load that many rows only; `load_all_data` loads the rest

        Raises
        ------
        BadFileError
            If a file is missing, empty or broken, or a value does not fit. There is no table then.
        DuplicateNameError, InvalidModelError, UnknownColumnError, TypeMismatchError
            As `create_table`.
        """
        table = TableRequest(table_name, keys, types, defaults, partition_by)
        return self._loads.from_files(table, FileRequest(str(path), "csv", watch, polling, sample))

    def read_parquet(
        self,
        path: Any,
        table_name: str | None = None,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        *,
        watch: bool = False,
        polling: bool = False,
        sample: int | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create a table from a Parquet file, a folder of them or a glob, and load it; see `read_csv`."""
        table = TableRequest(table_name, keys, types, defaults, partition_by)
        return self._loads.from_files(table, FileRequest(str(path), "parquet", watch, polling, sample))

    def read_arrow(
        self,
        rows: pa.Table | pa.RecordBatch,
        table_name: str,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create a table from Arrow rows and load them; errors as `create_table`, and `Table.load_arrow`."""
        return self._loads.from_arrow(TableRequest(table_name, keys, types, defaults, partition_by), rows)

    def read_pandas(
        self,
        frame: pd.DataFrame,
        table_name: str,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create a table from a DataFrame and load it; a named index gives columns too. Errors as `read_arrow`."""
        return self._loads.from_pandas(TableRequest(table_name, keys, types, defaults, partition_by), frame)

    def load_all_data(self) -> None:
        """Load the rows that `sample=` has left out, table by table.

        Raises
        ------
        BadFileError
            If a file is gone or has changed for the worse; tables loaded before stay so, the others can be tried again.
        """
        self._files.load_rest()

    def _forget(self, table: Table) -> None:
        with self._lock:
            self._database.forget_table(table.store)
            self._tables.remove(table.name)

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

    def diff(self, since: tuple[str, int], until: tuple[str, int]) -> Mapping[str, TableDiff]:
        """Return what differs between two versions, each a branch and an epoch, for each table that has a difference.

        Raises
        ------
        UnknownBranchError, EpochNotRetainedError
            If a version cannot be read.
        """
        return diff(self._database, since, until)

    def wait_for_commit(self, after: int, timeout: float | None = None) -> int:
        """Wait until the head is past epoch `after`, at most `timeout` seconds or until the session is closed.

        Returns
        -------
        int
            The head's epoch, <= `after` only if the wait ended for another reason.
        """
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
            name = name or fact.name
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

        Raises
        ------
        SessionClosedError
            If the session is closed.
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
        for cube in self._cubes.values():
            cube.close()
        self._interface.streamer.close()
        self._database.close()
        self._supervisor.stop()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosedError
