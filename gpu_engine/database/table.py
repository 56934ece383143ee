"""Tables as users hold them: append, load, change, drop, join, look.

Floor 3. A table turns what it is given into operations and hands them to the transaction at hand. Files are read by
whoever the session names as reader: this floor knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from gpu_engine.database.database import Database
from gpu_engine.database.operation import DropKeys, DropPartition, DropWhere, Operation, Truncate, Update, Upsert
from gpu_engine.database.report import CommitReport
from gpu_engine.database.resolve import bound_condition
from gpu_engine.database.staging import (
    arrow_batches_to_columns,
    keys_to_columns,
    partial_rows_to_columns,
    rows_to_columns,
)
from gpu_engine.database.transaction import Transactions
from gpu_engine.errors import (
    BadFileError,
    EngineError,
    InvalidModelError,
    InvalidQueryError,
    InvalidRowError,
    UnknownColumnError,
)
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.expression import Field
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Join
from gpu_engine.schema import DataType, arrow_scalar
from gpu_engine.storage.table_store import TableStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FileReader", "Table"]


class FileReader(Protocol):
    """Reads files on behalf of a table."""

    def read(self, types: Mapping[str, DataType], path: str, file_format: str) -> Iterator[tuple[str, pa.Table]]:
        """Yield name and rows of each file that `path` (a file, folder or glob) means.

        Columns named in `types` come in those types; `file_format` is csv or parquet. Raises BadFileError.
        """
        ...


class Table:
    """A table of a session. Every method may be called from any thread."""

    def __init__(self, store: TableStore, database: Database, transactions: Transactions, reader: FileReader) -> None:
        self.store = store
        self._database, self._transactions, self._reader = database, transactions, reader

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self)} rows)"

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The table's name."""
        return self.store.name

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.store.schema.columns

    @property
    def types(self) -> Mapping[str, DataType]:
        """Type of each column."""
        return self.store.schema.types

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the key columns; empty for a table without a key."""
        return self.store.schema.keys

    @property
    def partition_by(self) -> str | None:
        """Name of the column whose values split the rows into partitions; None without partitions."""
        return self.store.schema.partition_by

    @property
    def joins(self) -> Mapping[str, Join]:
        """Joins that go out from this table, by name."""
        return {join.name: join for join in self._database.joins[self.store]}

    def __getitem__(self, column: str) -> Field:
        """Return a column, to compute and compare with.

        Raises
        ------
        UnknownColumnError
            If the table has no such column.
        """
        if column not in self.store.columns:
            raise UnknownColumnError(str(column), self.columns, f"table {self.name!r}")
        return Field((column,), self.name)

    def join(
        self, target: Table, on: Mapping[str, str] | None = None, name: str | None = None, *, optional: bool = True
    ) -> Join:
        """Let each row point to the row of `target` that has its key.

        Parameters
        ----------
        target : Table
            A table with a key.
        on : mapping
            Column of this table -> key column of the target, for all keys. By default the columns of the same names.
        name : str
            How paths name the join; by default the target's name.
        optional : bool
            Whether a row may be without a match (it then shows N/A); if not, a commit that leaves one is refused.

        Raises
        ------
        InvalidJoinError, DuplicateNameError, MissingMatchError, UnknownColumnError
            See `Database.create_join`. Nothing has changed then.
        """
        if on is None:
            on = {key: key for key in target.keys}
        for ours in on:
            self[ours]
        return self._database.create_join(name or target.name, self.store, target.store, on, optional=optional)

    # -- reading ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._database.head.table(self.store).alive_count

    def to_arrow(self, limit: int | None = None) -> pa.Table:
        """Return the rows alive at the head, oldest first, at most `limit` of them."""
        version = self._database.head.table(self.store)
        return pa.Table.from_batches([version.to_arrow(version.alive_rows()[:limit])])

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first `n` rows, indexed by the key if there is one."""
        frame: pd.DataFrame = self.to_arrow(n).to_pandas()
        return frame.set_index(list(self.keys)) if self.keys else frame

    # -- writing ----------------------------------------------------------------------------------------------------

    def append(self, *rows: Any) -> CommitReport | None:
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
        return self._submit(Upsert(self.store, rows_to_columns(self.name, self.store.schema, rows)))

    def update(self, rows: Iterable[Mapping[str, Any]]) -> CommitReport | None:
        """Change some columns of existing rows: each mapping gives the keys and the columns to change.

        Raises
        ------
        InvalidRowError
            If a row names no existing key, or nothing to change. No row is changed then.
        UnknownColumnError, TypeMismatchError
            If a value does not fit. No row is changed then.
        """
        given = [rows] if isinstance(rows, Mapping) else list(rows)
        batches = partial_rows_to_columns(self.name, self.store.schema, given)
        return self._submit(*(Update(self.store, batch) for batch in batches))

    def drop(self, condition: Condition | None = None, *, keys: Iterable[Any] | None = None) -> CommitReport | None:
        """Remove the rows for which a condition holds, or those with the given keys (unknown keys are passed over).

        Raises
        ------
        InvalidQueryError
            If not exactly one of the two is given, or the condition is none.
        UnknownColumnError, AmbiguousNameError, TypeMismatchError
            If the condition does not fit the table.
        """
        if (condition is None) == (keys is None):
            raise InvalidQueryError(["drop() takes a condition or keys=[...]; truncate() removes all rows."])
        if keys is not None:
            return self._submit(DropKeys(self.store, keys_to_columns(self.name, self.store.schema, keys)))
        return self._submit(DropWhere(self.store, bound_condition(self._database, self.store, condition)))

    def drop_partition(self, value: Any) -> CommitReport | None:
        """Remove all rows that have `value` in the column that partitions the table.

        Raises
        ------
        InvalidQueryError
            If the table has no partitions.
        TypeMismatchError
            If the value does not fit the column.
        """
        column = self.partition_by
        if column is None:
            raise InvalidQueryError(
                [f"table {self.name!r} has no partitions. Create it with partition_by=..., or drop by a condition."]
            )
        where = f"partition of table {self.name!r}, column {column!r}"
        value = arrow_scalar(value, self.types[column], where).as_py()
        condition = bound_condition(self._database, self.store, self[column] == value)
        return self._submit(DropPartition(self.store, column, value, condition))

    def truncate(self) -> CommitReport | None:
        """Remove all rows."""
        return self._submit(Truncate(self.store))

    def where(self, condition: Condition, limit: int | None = None) -> pa.Table:
        """Return the rows at the head for which a condition holds, oldest first.

        Raises
        ------
        UnknownColumnError, AmbiguousNameError, TypeMismatchError
            If the condition does not fit the table.
        """
        bound = bound_condition(self._database, self.store, condition)
        snapshot = self._database.head
        version = snapshot.table(self.store)
        rows = version.alive_rows()
        rows = rows[bound.mask(FlatView(snapshot, self.store).rows(rows))]
        return pa.Table.from_batches([version.to_arrow(rows[:limit])])

    # -- loading ----------------------------------------------------------------------------------------------------

    def load_arrow(self, rows: pa.Table | pa.RecordBatch | Sequence[pa.RecordBatch]) -> CommitReport | None:
        """Add or update rows from Arrow; columns go by name, a missing one takes its default.

        Raises
        ------
        InvalidRowError, UnknownColumnError, TypeMismatchError, MissingMatchError
            As `append`.
        """
        if isinstance(rows, pa.RecordBatch):
            rows = [rows]
        if not isinstance(rows, pa.Table):
            rows = pa.Table.from_batches(list(rows))
        return self._submit(Upsert(self.store, arrow_batches_to_columns(self.name, self.store.schema, rows)))

    def load_pandas(self, frame: pd.DataFrame) -> CommitReport | None:
        """Add or update rows from a DataFrame; NaN and NaT count as null, a named index gives columns too."""
        named = [name for name in frame.index.names if name is not None]
        rows = pa.Table.from_pandas(frame.reset_index() if named else frame, preserve_index=False)
        return self.load_arrow(rows)

    def load_csv(self, path: Any) -> CommitReport | None:
        """Add or update rows from a CSV file, a folder of them or a glob, as one commit.

        Raises
        ------
        BadFileError
            If a file is missing, empty or broken, or a value does not fit; it names file, line, column and value.
            Nothing of the load is kept.
        """
        return self.load_files(path, "csv")

    def load_parquet(self, path: Any) -> CommitReport | None:
        """Add or update rows from a Parquet file, a folder of them or a glob, as one commit; errors as `load_csv`."""
        return self.load_files(path, "parquet")

    def load(self, source: Any) -> CommitReport | None:
        """Add or update rows from whatever holds rows: Arrow, pandas, a file's path, rows themselves.

        Raises
        ------
        InvalidModelError
            If the source is none of those.
        """
        if isinstance(source, pa.Table | pa.RecordBatch):
            return self.load_arrow(source)
        if hasattr(source, "reset_index"):
            return self.load_pandas(source)
        if hasattr(source, "__arrow_c_stream__"):
            return self.load_arrow(pa.table(source))
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            path = str(source)
            return self.load_parquet(path) if path.endswith((".parquet", ".pq")) else self.load_csv(path)
        if isinstance(source, Iterable):
            rows = list(source)
            if rows and isinstance(rows[0], pa.RecordBatch):
                return self.load_arrow(rows)
            return self.append(*rows)
        raise InvalidModelError(
            f"table {self.name!r} cannot load a {type(source).__name__}. Give Arrow, pandas, a path, or rows."
        )

    def load_files(self, path: Any, file_format: str, skip: int = 0) -> CommitReport | None:
        """Add or update rows from files, but for the first `skip` of all their rows; errors as `load_csv`."""
        operations: list[Operation] = []
        for file, rows in self._reader.read(self.types, str(path), file_format):
            wanted, skip = rows.slice(skip), max(0, skip - rows.num_rows)
            try:
                columns = arrow_batches_to_columns(self.name, self.store.schema, wanted)
            except EngineError as error:
                raise BadFileError(file, str(error)) from error
            operations.append(Upsert(self.store, columns))
        return self._transactions.submit(*operations)

    def _submit(self, *operations: Operation) -> CommitReport | None:
        if not operations:
            raise InvalidRowError(self.name, 0, "there are no rows.")
        return self._transactions.submit(*operations)
