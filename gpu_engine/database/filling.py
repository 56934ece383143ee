"""Filling: rows into one table, as users give them: rows, Arrow, pandas, files, a topic.

Floor 3. The part of a table that takes rows in. A load that may leave rows out sets bad ones aside as dead letters, in
the transaction that the good ones are in.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.database.arrow_rows import arrow_table, pandas_table
from gpu_engine.database.dead_letter import ROW, DeadLetter, raw_row
from gpu_engine.database.operation import Operation, Upsert
from gpu_engine.database.reader import Reader, TopicLoad
from gpu_engine.database.report import CommitReport
from gpu_engine.database.salvage import salvage
from gpu_engine.database.staging import arrow_to_columns, rows_to_columns
from gpu_engine.database.transaction import Transactions
from gpu_engine.errors import BadFileError, EngineError, InvalidModelError, InvalidRowError
from gpu_engine.storage.table_store import TableStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FillableTable", "check_on_error"]

ON_ERROR = ("fail", "dead_letter")
Columns = Mapping[str, pa.Array]


def check_on_error(on_error: str) -> None:
    """Refuse with InvalidModelError what is no way to treat bad rows."""
    if on_error not in ON_ERROR:
        raise InvalidModelError(f"on_error={on_error!r}: choose one of {', '.join(map(repr, ON_ERROR))}.")


class FillableTable:
    """What takes rows into a table. Every method may be called from any thread.

    Where there is an `on_error`, "fail" keeps nothing of a load with a bad row; "dead_letter" loads the good rows and
    puts the bad ones into `Session.dead_letters`.
    """

    def __init__(self, store: TableStore, transactions: Transactions, reader: Reader) -> None:
        self.store = store
        self._transactions, self._reader = transactions, reader

    @property
    def name(self) -> str:
        """The table's name."""
        return self.store.name

    def append(self, *rows: Any, on_error: str = "fail") -> CommitReport | None:
        """Add rows, or update those whose key exists, as one commit.

        Parameters
        ----------
        *rows : tuples in column order, or mappings by column name (a column left out takes its default)

        Returns
        -------
        CommitReport or None
            None inside a transaction.

        Raises
        ------
        InvalidRowError, UnknownColumnError, TypeMismatchError
            If a row does not fit; none of the rows is kept.
        MissingMatchError
            If a mandatory join would be left without a match.
        """
        check_on_error(on_error)
        if on_error == "fail":
            return self._submit(Upsert(self.store, rows_to_columns(self.name, self.store.schema, rows)))
        load = uuid.uuid4().hex
        operations, letters = self._salvaged(
            len(rows),
            lambda part: rows_to_columns(self.name, self.store.schema, rows[part]),
            lambda place, error: self._buried("append", {"load": load, "row": place}, error, lambda: rows[place]),
        )
        return self._submit_all(operations, letters)

    def load_arrow(
        self, rows: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch], *, on_error: str = "fail"
    ) -> CommitReport | None:
        """Add or update rows from Arrow; columns go by name, a missing one takes its default.

        Raises
        ------
        InvalidRowError, UnknownColumnError, TypeMismatchError, MissingMatchError
            As `append`.
        InvalidModelError
            If these are no Arrow rows, or two columns have one name.
        """
        check_on_error(on_error)
        if not isinstance(rows, pa.Table | pa.RecordBatch):
            rows = arrow_table(rows, f"table {self.name!r}", self.store.schema.arrow)
        if on_error == "fail":
            return self._submit(Upsert(self.store, self._columns(rows)))
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        return self._submit_all(
            *self._salvaged_table(rows, "Arrow rows", range(rows.num_rows), "row", uuid.uuid4().hex)
        )

    def load_pandas(self, frame: pd.DataFrame, *, on_error: str = "fail") -> CommitReport | None:
        """Add or update rows from a DataFrame; NaN and NaT count as null, a named index gives columns too.

        Raises
        ------
        InvalidModelError
            If it is no DataFrame, or two columns have one name.
        InvalidRowError, UnknownColumnError, TypeMismatchError, MissingMatchError
            As `append`.
        """
        return self.load_arrow(pandas_table(frame, self.store.schema.types, f"table {self.name!r}"), on_error=on_error)

    def load_csv(self, path: Any, *, on_error: str = "fail") -> CommitReport | None:
        """Add or update rows from a CSV file, a folder of them or a glob, as one commit.

        Raises
        ------
        BadFileError
            If a file is missing, empty or broken, or a value does not fit; it names file, line, column and value.
            Nothing of the load is kept. With on_error="dead_letter" only if a file as a whole cannot be read.
        """
        return self.load_files(path, "csv", on_error=on_error)

    def load_parquet(self, path: Any, *, on_error: str = "fail") -> CommitReport | None:
        """Add or update rows from a Parquet file, a folder of them or a glob, as one commit; errors as `load_csv`."""
        return self.load_files(path, "parquet", on_error=on_error)

    def load(self, source: Any, *, on_error: str = "fail") -> CommitReport | None:
        """Add or update rows from whatever holds rows: Arrow, pandas, a file's path, rows themselves.

        Raises
        ------
        InvalidModelError
            If the source is none of those.
        """
        if isinstance(source, pa.Table | pa.RecordBatch):
            return self.load_arrow(source, on_error=on_error)
        if hasattr(source, "reset_index"):
            return self.load_pandas(source, on_error=on_error)
        if hasattr(source, "__arrow_c_stream__"):
            return self.load_arrow(pa.table(source), on_error=on_error)
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            path = str(source)
            file_format = "parquet" if path.endswith((".parquet", ".pq")) else "csv"
            return self.load_files(path, file_format, on_error=on_error)
        if isinstance(source, Iterable):
            rows = list(source)
            if rows and isinstance(rows[0], pa.RecordBatch):
                return self.load_arrow(rows, on_error=on_error)
            return self.append(*rows, on_error=on_error)
        raise InvalidModelError(
            f"table {self.name!r} cannot load a {type(source).__name__}. Give Arrow, pandas, a path, or rows."
        )

    def load_files(self, path: Any, file_format: str, skip: int = 0, *, on_error: str = "fail") -> CommitReport | None:
        """Add or update rows from files, but for the first `skip` of all their rows; errors as `load_csv`."""
        check_on_error(on_error)
        if on_error == "dead_letter":
            return self._load_fitting(str(path), file_format)
        operations: list[Operation] = []
        for file, rows in self._reader.read(self.store.schema.types, str(path), file_format):
            wanted, skip = rows.slice(skip), max(0, skip - rows.num_rows)
            try:
                operations.append(Upsert(self.store, self._columns(wanted)))
            except EngineError as error:
                raise BadFileError(file, str(error)) from error
        return self._transactions.submit(*operations)

    def load_kafka(
        self,
        bootstrap_server: str,
        topic: str,
        group_id: str,
        deserializer: Callable[[Any], Any] | None = None,
        batch_duration: float = 0.1,
        batch_size: int = 10_000,
        start: str | datetime | Mapping[int, int] = "earliest",
        settings: Mapping[str, Any] | None = None,
    ) -> TopicLoad:
        """Load a topic until the load is stopped; return at once. See `Session.load_kafka`.

        Parameters
        ----------
        deserializer : a function from a `ge.kafka.Record` to a mapping of columns, several of them or None to skip the
            message; by default the message is a JSON object
        """
        given: dict[str, Any] = {"bootstrap_server": bootstrap_server, "topic": topic, "group_id": group_id}
        given |= {"batch_duration": batch_duration, "batch_size": batch_size, "start": start}
        return self._reader.load_kafka({self.name: deserializer}, {**given, "options": settings or {}})

    # -- loads that leave bad rows out ------------------------------------------------------------------------------

    def _load_fitting(self, path: str, file_format: str) -> CommitReport | None:
        operations: list[Operation] = []
        letters: list[DeadLetter] = []
        for part in self._reader.read_fitting(self.name, self.store.schema.types, path, file_format):
            letters += part.dead_letters
            try:
                staged, buried = self._salvaged_table(part.rows, part.file, part.places, part.place)
            except EngineError as error:
                raise BadFileError(part.file, str(error)) from error
            operations += staged
            letters += buried
        return self._submit_all(operations, letters)

    def _salvaged_table(
        self, rows: pa.Table, source: str, places: Sequence[int], place_name: str, load: str | None = None
    ) -> tuple[list[Operation], list[DeadLetter]]:
        self._columns(rows.slice(0, 0))  # what is wrong with the columns is wrong with all rows
        of_load = {} if load is None else {"load": load}
        return self._salvaged(
            rows.num_rows,
            lambda part: self._columns(rows.slice(part.start, part.stop - part.start)),
            lambda place, error: self._buried(
                source,
                {**of_load, place_name: places[place]},
                error,
                lambda: rows.slice(place, 1).to_pylist()[0],
            ),
        )

    def _salvaged(
        self,
        count: int,
        stage: Callable[[slice], Columns],
        bury: Callable[[int, EngineError], DeadLetter],
    ) -> tuple[list[Operation], list[DeadLetter]]:
        found = salvage(count, stage)
        return [Upsert(self.store, columns) for columns in found.staged], [bury(*fault) for fault in found.faults]

    def _buried(
        self, source: str, position: Mapping[str, Any], error: EngineError, row: Callable[[], Any]
    ) -> DeadLetter:
        return DeadLetter.of(self.name, source, position, error, raw_row(row()), ROW)

    def _columns(self, rows: pa.Table | pa.RecordBatch) -> dict[str, pa.Array]:
        return arrow_to_columns(self.name, self.store.schema, rows)

    def _submit(self, *operations: Operation) -> CommitReport | None:
        if not operations:
            raise InvalidRowError(self.name, 0, "there are no rows.")
        return self._transactions.submit(*operations)

    def _submit_all(self, operations: Sequence[Operation], letters: Sequence[DeadLetter]) -> CommitReport | None:
        return self._transactions.submit(*operations, dead_letters=[letter.to_json() for letter in letters])
