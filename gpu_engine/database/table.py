"""Tables as users hold them: fill, change, drop, join, look.

Floor 3. A table turns what it is given into operations and hands them to the transaction at hand. How rows come in is
in `filling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.backend.shortage import named_shortage
from gpu_engine.database.commit import Version
from gpu_engine.database.database import Database
from gpu_engine.database.filling import FillableTable
from gpu_engine.database.joining import create_join
from gpu_engine.database.operation import DropKeys, DropPartition, DropWhere, Truncate, Update
from gpu_engine.database.reader import Reader
from gpu_engine.database.report import CommitReport
from gpu_engine.database.resolve import bound_condition
from gpu_engine.database.staging import keys_to_columns, partial_rows_to_columns
from gpu_engine.database.transaction import Transactions
from gpu_engine.errors import InvalidJoinError, InvalidQueryError, UnknownColumnError
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.expression import Field
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Join
from gpu_engine.schema import DataType, arrow_scalar
from gpu_engine.storage.table_store import TableStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table"]


class Table(FillableTable):
    """A table of a session. Every method may be called from any thread."""

    def __init__(self, store: TableStore, database: Database, transactions: Transactions, reader: Reader) -> None:
        super().__init__(store, transactions, reader)
        self._database = database

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self._database.head.table(self.store).alive_count} rows)"

    # -- what it is -------------------------------------------------------------------------------------------------

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
            See `joining.create_join`. Nothing has changed then.
        """
        if not isinstance(target, Table):
            raise InvalidJoinError(
                f"join from table {self.name!r}: {target!r} is no table. Give one of session.tables."
            )
        if on is None:
            on = {key: key for key in target.keys}
        if not isinstance(on, Mapping):
            raise InvalidJoinError(
                f"join {self.name!r} -> {target.name!r}: on={on!r} must map columns of {self.name!r} to the target's "
                f"keys: {list(target.keys)}."
            )
        for ours in on:
            self[ours]
        return create_join(self._database, name or target.name, self.store, target.store, on, optional=optional)

    # -- reading ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._database.version().table(self.store).alive_count

    def to_arrow(self, limit: int | None = None) -> pa.Table:
        """Return the rows alive at the head, oldest first, at most `limit` of them.

        The schema's metadata tells branch and epoch.

        Raises
        ------
        SessionClosedError
            If the session is closed; so do all that read.
        """
        version = self._database.version()
        return self._stamped(version, version.table(self.store).alive_rows()[:limit])

    def to_cudf(self) -> Any:
        """Return the rows alive at the head as a `cudf.DataFrame`; do not write to it.

        While no row has ended, numbers and timestamps are the table's own buffers, without a copy; they stay as they
        are whatever is committed later. Texts are made from their codes, dates widened to seconds.

        Raises
        ------
        NeedsGpuError
            If the session does not work on a GPU.
        MemoryShortageError
            If the device has no room for the texts and the rows that have to be gathered.
        """
        backend = self._database.backend
        version = self._database.version().table(self.store)
        with named_shortage(backend, f"the frame of table {self.name!r}"):
            rows = slice(0, version.row_count) if version.alive_count == version.row_count else version.alive_rows()
            columns = self.store.columns.items()
            return backend.to_frame(
                {name: column.where_it_lies(version.read(column, rows)) for name, column in columns}
            )

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first `n` rows, indexed by the key if there is one."""
        frame: pd.DataFrame = self.to_arrow(n).to_pandas()
        return frame.set_index(list(self.keys)) if self.keys else frame

    # -- writing ----------------------------------------------------------------------------------------------------

    def update(self, rows: Iterable[Mapping[str, Any]]) -> CommitReport | None:
        """Change some columns of existing rows: each mapping gives the keys and the columns to change.

        Raises
        ------
        InvalidRowError
            If a row names no existing key, or nothing to change. No row is changed then.
        UnknownColumnError, TypeMismatchError
            If a value does not fit. No row is changed then.
        """
        given = [rows] if isinstance(rows, Mapping) or not isinstance(rows, Iterable) else list(rows)
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
        version = self._database.version()
        rows = version.table(self.store).alive_rows()
        rows = rows[bound.mask(FlatView(version, self.store).rows(rows))]
        return self._stamped(version, rows[:limit])

    def _stamped(self, version: Version, rows: Array) -> pa.Table:
        found = pa.Table.from_batches([version.table(self.store).to_arrow(rows)])
        return found.replace_schema_metadata({"branch": version.branch, "epoch": str(version.epoch)})
