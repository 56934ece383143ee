"""The query runner: rows of any table at one epoch of a branch.

Floor 3. A runner holds its version, so what it reads stays the same while writers go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from gpu_engine.database.commit import Version
from gpu_engine.errors import InvalidQueryError
from gpu_engine.expression.connective import Condition
from gpu_engine.query.query_compiler import Fields, QueryCompiler, TableLike
from gpu_engine.query.table_statistics import TableStatistics, table_statistics

__all__ = ["QueryRunner"]


class QueryRunner:
    """Reads tables at one version. Get one from `session.database.version()`; any thread may call any method.

    Answers are Arrow tables whose schema metadata tells branch and epoch.
    """

    def __init__(self, version: Version, compiler: QueryCompiler) -> None:
        self._version, self.compiler = version, compiler

    def __repr__(self) -> str:
        return f"QueryRunner(branch={self.branch!r}, epoch={self.epoch})"

    @property
    def branch(self) -> str:
        """The branch that is read."""
        return self._version.branch

    @property
    def epoch(self) -> int:
        """The epoch that is read."""
        return self._version.epoch

    @property
    def version(self) -> Version:
        """What is read.

        Raises
        ------
        SessionClosedError
            If the session is closed: whatever the runner is asked then raises it.
        """
        self.compiler.database.refuse_if_closed()
        return self._version

    def list(
        self,
        table: TableLike,
        fields: Fields = None,
        where: Condition | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> pa.Table:
        """Return rows, those written earlier first.

        Parameters
        ----------
        table : a table or its name
        fields : names, paths through joins ("product.color"), `field(...)` or `table[...]`; all columns of the table
        where : condition on the table's columns and on those that its joins reach
        limit, offset : at most so many rows, after passing over so many

        Raises
        ------
        UnknownTableError, UnknownColumnError, AmbiguousNameError, TypeMismatchError, InvalidParameterError
            If the query does not fit the tables; InvalidQueryError lists the problems if there are several.
        """
        return self.compiler.list(table, fields, where, limit, offset).run(self.version, {})

    def get(self, table: TableLike, key: Any, fields: Fields = None) -> dict[str, Any] | None:
        """Return the row with a key, None if there is none.

        Parameters
        ----------
        key : the value of the key column, or of several a tuple in key order or a mapping by name

        Raises
        ------
        InvalidRowError, TypeMismatchError
            If the key lacks a part, has one too many, or one of another type.
        InvalidQueryError
            If the table has no key. Otherwise as `list`.
        """
        return self.compiler.get(table, fields).one(self.version, key)

    def get_many(self, table: TableLike, keys: Iterable[Any], fields: Fields = None) -> pa.Table:
        """Return one row for each key, in the order of the keys; all null for a key that has no row. Errors as `get`.

        A key column among the fields tells the two apart: it is null only where there is no row.
        """
        given: object = keys
        if not isinstance(given, Iterable) or isinstance(given, str):
            raise InvalidQueryError([f"keys {keys!r}: give a list of keys."])
        return self.compiler.get(table, fields).many(self.version, tuple(keys))

    def distinct(self, table: TableLike, fields: Fields, where: Condition | None = None) -> pa.Table:
        """Return each combination of values once, ascending field by field, null last. Errors as `list`."""
        return self.compiler.distinct(table, fields, where).run(self.version, {})

    def statistics(self, table: TableLike) -> TableStatistics:
        """Return exact figures of a table: rows, and per column its distinct values, nulls, least and greatest value.

        Raises
        ------
        UnknownTableError
            If the session has no such table.
        """
        return table_statistics(self.version, self.compiler.store(table))
