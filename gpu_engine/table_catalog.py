"""The table catalog: the tables of a session, made by its model or found in its data directory.

Floor 5. What a data directory holds is there from the start. The model that declares a table again gets it as it is,
once; declaring another table under its name is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gpu_engine.catalog import Catalog
from gpu_engine.database.commit_log import MemoryOnly
from gpu_engine.database.database import Database
from gpu_engine.database.reader import Reader
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transactions
from gpu_engine.errors import DuplicateNameError, InvalidModelError, TableChangedError, UnknownTableError
from gpu_engine.schema import DataType, Schema, given_types
from gpu_engine.storage.table_store import TableStore

__all__ = ["TableCatalog"]


class TableCatalog(Catalog[Table]):
    """Tables by name."""

    def __init__(self, database: Database, transactions: Transactions, reader: Reader) -> None:
        super().__init__(UnknownTableError)
        self._database, self._transactions, self._reader = database, transactions, reader
        self._lock = threading.RLock()
        self._undeclared: set[str] = set()

    @property
    def positions(self) -> Mapping[str, Any]:
        """Source -> its position after the last commit that named one."""
        return self._database.notes.positions

    @property
    def durable(self) -> bool:
        """Whether there is a data directory."""
        return not isinstance(self._database.log, MemoryOnly)

    @contextmanager
    def noting(self, positions: Mapping[str, Any]) -> Iterator[None]:
        """Let what is loaded in the block, and these positions, be one commit."""
        with self._transactions.start() as transaction:
            yield
            transaction.positions.update(positions)

    def restore(self) -> None:
        """Take in the tables that the database has found in its data directory."""
        for store in self._database.stores.values():
            self._add(store)
            self._undeclared.add(store.name)

    def stored(self, name: str) -> Table | None:
        """Return the table that the data directory had under a name and that the model has not declared yet.

        Raises
        ------
        DuplicateNameError
            If the model has declared it.
        """
        if name in self and name not in self._undeclared:
            raise DuplicateNameError("table", name)
        return self.get(name)

    def create(
        self,
        name: Any,
        types: Mapping[str, DataType],
        keys: Sequence[str],
        defaults: Mapping[str, Any] | None,
        partition_by: str | None,
    ) -> Table:
        """Return a new, empty table, or the one that the data directory has.

        Raises
        ------
        DuplicateNameError
            If the model has declared a table of the name before.
        TableChangedError
            If the data directory has it with other columns or another key.
        InvalidModelError, UnknownColumnError, TypeMismatchError
            If the columns, keys or defaults do not fit together.
        """
        if not isinstance(name, str) or not name:
            raise InvalidModelError(f"table name {name!r}: give a text with at least one character.")
        schema = Schema(given_types(types), tuple([keys] if isinstance(keys, str) else keys), defaults, partition_by)
        with self._lock:
            table = self.stored(name)
            if table is None:
                return self._add(self._database.create_table(name, schema))
            stored = table.store.schema
            if list(stored.types.items()) != list(schema.types.items()) or stored.keys != schema.keys:
                raise TableChangedError(name, _described(stored), _described(schema))
            table.store.schema = schema  # its defaults and partitions say what later rows mean, not earlier ones
            self._undeclared.discard(name)
            return table

    def forget(self, table: Table) -> None:
        """Remove a table that no join and no cube refers to yet."""
        with self._lock:
            self._database.forget_table(table.store)
            self.remove(table.name)

    def undeclare(self, table: Table) -> None:
        """Let the model declare a table of the data directory again."""
        self._undeclared.add(table.name)

    def _add(self, store: TableStore) -> Table:
        table = Table(store, self._database, self._transactions, self._reader)
        self.add(store.name, table)
        return table


def _described(schema: Schema) -> str:
    columns = ", ".join(f"{name} {kind}" for name, kind in schema.types.items())
    return f"the columns {columns} and the key {list(schema.keys)}"
