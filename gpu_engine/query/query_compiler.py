"""The query compiler: from tables, fields and conditions as users write them to row queries.

Floor 3. Everything wrong with a query is found here, before anything is read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from gpu_engine.database.database import Database
from gpu_engine.database.resolve import bound_condition, resolver
from gpu_engine.database.table import Table
from gpu_engine.errors import EngineError, InvalidQueryError
from gpu_engine.expression.expression import Field, field
from gpu_engine.expression.join import Reference
from gpu_engine.query.row_query import DistinctQuery, KeyQuery, ListQuery
from gpu_engine.storage.table_store import TableStore

__all__ = ["Fields", "QueryCompiler", "TableLike"]

TableLike: TypeAlias = Table | str
"""A table or its name."""

Fields: TypeAlias = Sequence[str | Field] | str | Field | None
"""Columns by name, by path through joins ("product.color"), as `field(...)` or `table[...]`; None: the table's own."""


class QueryCompiler:
    """Compiles the queries of one session and counts them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._counting = threading.Lock()
        self._compilations = 0

    @property
    def compilations_total(self) -> int:
        """Queries compiled so far."""
        return self._compilations

    def count(self) -> None:
        """Count a compilation, also of queries that are compiled elsewhere."""
        with self._counting:
            self._compilations += 1

    def store(self, table: TableLike) -> TableStore:
        """Return a table's store.

        Raises
        ------
        UnknownTableError
            If the session has no such table.
        """
        name = table.name if isinstance(table, Table) else table
        store = self.database.table(str(name))
        if isinstance(table, Table) and table.store is not store:
            raise InvalidQueryError([f"table {name!r} belongs to another session. Give its name to mean this one's."])
        return store

    def list(
        self, table: TableLike, fields: Fields, where: Any, limit: int | None, offset: int, *, open: bool = False
    ) -> ListQuery:
        """Return the query of rows that satisfy a condition; with `open` it may have parameters.

        Raises
        ------
        EngineError
            The problem itself if there is one; InvalidQueryError that lists them all if there are several.
        """
        problems = _Problems()
        with problems:
            _check_count("limit", 0 if limit is None else limit)
        with problems:
            _check_count("offset", offset)
        root, found, condition = self._parts(problems, table, fields, where, open)
        return ListQuery(root, found, condition, limit, offset)

    def distinct(self, table: TableLike, fields: Fields, where: Any, *, open: bool = False) -> DistinctQuery:
        """Return the query of combinations of values; errors as `list`."""
        return DistinctQuery(*self._parts(_Problems(), table, fields, where, open))

    def get(self, table: TableLike, fields: Fields) -> KeyQuery:
        """Return the query of rows by key; errors as `list`, and if the table has no key."""
        problems = _Problems()
        store = self.store(table)
        if not store.schema.keys:
            reason = f"table {store.name!r} has no key, so no row can be found by one. List by a condition."
            problems.add(InvalidQueryError([reason]))
        root, found, _ = self._parts(problems, table, fields, None, False)
        return KeyQuery(root, found)

    def _parts(
        self, problems: _Problems, table: TableLike, fields: Fields, where: Any, open: bool
    ) -> tuple[TableStore, dict[str, Reference], Any]:
        root = self.store(table)
        found = _named_fields(problems, self.database, root, fields)
        condition = None
        if where is not None:
            with problems:
                condition = bound_condition(self.database, root, where, open=open)
        problems.refuse()
        self.count()
        return root, found, condition


def _named_fields(problems: _Problems, database: Database, root: TableStore, fields: Fields) -> dict[str, Reference]:
    if fields is None:
        return {name: Reference((), column) for name, column in root.columns.items()}
    resolve, found = resolver(database, root), dict[str, Reference]()
    given: Iterable[Any] = list(fields) if isinstance(fields, Iterable) and not isinstance(fields, str) else [fields]
    for one in given:
        with problems:
            if not isinstance(one, str | Field):
                raise InvalidQueryError([f"{one!r} is no field. Give names, paths like 'product.color', or columns."])
            reference = resolve(field(one) if isinstance(one, str) else one)
            if reference.path in found:
                raise InvalidQueryError([f"field {reference.path!r} comes twice."])
            found[reference.path] = reference
    if not given:
        problems.add(InvalidQueryError([f"name at least one field of table {root.name!r}: {', '.join(root.columns)}."]))
    return found


def _check_count(name: str, rows: Any) -> None:
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise InvalidQueryError([f"{name} {rows!r}: give a whole number of rows, 0 or more."])


class _Problems:
    """Collects the errors of one query; as a context, those raised inside."""

    def __init__(self) -> None:
        self._found: list[EngineError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, EngineError):
            self._found.append(error)
            return True
        return False

    def add(self, error: EngineError) -> None:
        self._found.append(error)

    def refuse(self) -> None:
        """Raise what was found: the error if it is one, all of them in one if there are several."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise InvalidQueryError([str(error) for error in self._found])
