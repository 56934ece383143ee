"""The session: where tables, cubes, loaders and the service come together.

Floor 5, the composition root. It owns everything that has to be ended: watches, background threads, live queries and
the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.backend.choice import BackendReport, choose_backend
from gpu_engine.catalog import Catalog
from gpu_engine.cube.cube import Cube
from gpu_engine.database.database import MASTER, Database
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transaction, Transactions
from gpu_engine.errors import (
    DuplicateNameError,
    InvalidModelError,
    SessionClosedError,
    UnknownCubeError,
    UnknownTableError,
)
from gpu_engine.loading import Files, Watch, infer_types
from gpu_engine.schema import DataType, Schema, type_of_arrow
from gpu_engine.statistics import SessionStatistics, TableStatistics
from gpu_engine.supervisor import BackgroundTask, Health, Supervisor
from loaders.files import default_name

if TYPE_CHECKING:
    import pandas as pd

    from api.server import Server

__all__ = ["Session"]


class Session:
    """A set of tables and cubes, in memory.

    Parameters
    ----------
    backend : "auto", "cpu" or "gpu"
        Where arrays live. "auto" takes a GPU that works, and says in `backend` and in the log what it chose and why.
    data_dir : None
        Reserved for the durable log, which this release does not have.

    Raises
    ------
    BackendUnavailableError
        If "gpu" is asked for and none can be used.
    InvalidModelError
        If the backend is none of the three, or a data directory is given.
    """

    def __init__(self, backend: str = "auto", data_dir: str | None = None) -> None:
        if data_dir is not None:
            raise InvalidModelError(f"data_dir={data_dir!r}: this release keeps tables in memory only. Leave it out.")
        self._backend, self._report = choose_backend(backend)
        self._database = Database(self._backend)
        self._transactions = Transactions(self._database)
        self._files = Files()
        self._supervisor = Supervisor()
        self._watches: list[Watch] = []
        self._tables: Catalog[Table] = Catalog(UnknownTableError)
        self._cubes: Catalog[Cube] = Catalog(UnknownCubeError)
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._closed = False

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
        return SessionStatistics(
            epoch=self.epoch,
            tables={
                name: TableStatistics(len(table), table.store.row_count - len(table), table.store.nbytes)
                for name, table in dict(self._tables).items()
            },
            providers={
                name: tuple(provider.statistics() for provider in cube.providers)
                for name, cube in dict(self._cubes).items()
            },
            watches=tuple(watch.statistics() for watch in self._watches),
            background_tasks={task.name: task.alive for task in self._supervisor.tasks},
            rolled_back_total=self._database.rolled_back_total,
            memory_used=self._backend.memory().used,
        )

    # -- tables -----------------------------------------------------------------------------------------------------

    def create_table(
        self,
        name: Any,
        types: Mapping[str, DataType],
        keys: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
    ) -> Table:
        """Create an empty table.

        Parameters
        ----------
        types : column -> type, in column order
        keys : columns that identify a row; without them rows are only ever added
        defaults : what a row that does not mention a column holds there; null unless given

        Raises
        ------
        DuplicateNameError
            If a table has the name.
        InvalidModelError, UnknownColumnError, TypeMismatchError
            If the columns, keys or defaults do not fit together.
        """
        if not isinstance(name, str) or not name:
            raise InvalidModelError(f"table name {name!r}: give a text with at least one character.")
        schema = Schema(dict(types), tuple([keys] if isinstance(keys, str) else keys), defaults)
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
        return self._read(str(path), "csv", table_name, keys, types, defaults, watch, polling, sample)

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
    ) -> Table:
        """Create a table from a Parquet file, a folder of them or a glob, and load it; see `read_csv`."""
        return self._read(str(path), "parquet", table_name, keys, types, defaults, watch, polling, sample)

    def read_arrow(
        self,
        rows: pa.Table | pa.RecordBatch,
        table_name: str,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Table:
        """Create a table from Arrow rows and load them; errors as `create_table`, and `Table.load_arrow`."""
        rows = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        given = types or {}
        inferred = {
            column.name: given.get(column.name) or type_of_arrow(column.type, f"column {column.name!r}")
            for column in rows.schema
        }
        with self._new_table(table_name, {**inferred, **given}, keys, defaults) as table:
            table.load_arrow(rows)
        return table

    def read_pandas(
        self,
        frame: pd.DataFrame,
        table_name: str,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Table:
        """Create a table from a DataFrame and load it; a named index gives columns too. Errors as `read_arrow`."""
        named = [name for name in frame.index.names if name is not None]
        rows = pa.Table.from_pandas(frame.reset_index() if named else frame, preserve_index=False)
        return self.read_arrow(rows, table_name, keys, types, defaults)

    def load_all_data(self) -> None:
        """Load the rows that `sample=` has left out, table by table.

        Raises
        ------
        BadFileError
            If a file is gone or has changed for the worse; tables loaded before stay loaded, the others can be tried
            again.
        """
        self._files.load_rest()

    def _read(
        self,
        path: str,
        file_format: str,
        table_name: str | None,
        keys: Sequence[str],
        types: Mapping[str, DataType] | None,
        defaults: Mapping[str, Any] | None,
        watch: bool,
        polling: bool,
        sample: int | None,
    ) -> Table:
        name = table_name or default_name(path)
        if name in self._tables:
            raise DuplicateNameError("table", name)
        known = infer_types(path, file_format, types or {})
        with self._new_table(name, known, keys, defaults) as table:
            following = Watch(table, path, file_format, self._supervisor, polling=polling) if watch else None
            if sample is not None:
                self._files.load_sample(table, path, file_format, sample)
            elif following is None or following.has_files:
                table.load_csv(path) if file_format == "csv" else table.load_parquet(path)
            if following is not None:
                following.start()
                self._watches.append(following)
        return table

    @contextmanager
    def _new_table(
        self, name: str, types: Mapping[str, DataType], keys: Sequence[str], defaults: Mapping[str, Any] | None
    ) -> Iterator[Table]:
        """Create a table for a first load; if the load fails, nothing of the table remains."""
        table = self.create_table(name, types, keys, defaults)
        try:
            yield table
        except BaseException:
            with self._lock:
                self._database.forget_table(table.store)
                self._tables.remove(name)
            raise

    # -- transactions and cubes -------------------------------------------------------------------------------------

    def start_transaction(self, branch: str = MASTER) -> AbstractContextManager[Transaction]:
        """Return a block whose operations, on any tables, become one epoch; an exception in it leaves nothing.

        A block inside a block of the same thread joins the outer one. `report` of the transaction is there afterwards.
        """
        return self._transactions.start(branch)

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
        for watch in self._watches:
            watch.stop()
        for cube in self._cubes.values():
            cube.close()
        self._database.close()
        self._supervisor.stop()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosedError
