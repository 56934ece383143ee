"""Joining: a new join between two tables, for the rows that exist and those to come.

Floor 3.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpu_engine.database.database import Database
from gpu_engine.database.integrity import check_join_matches
from gpu_engine.errors import DuplicateNameError, InvalidJoinError
from gpu_engine.expression.join import Join, check_join
from gpu_engine.storage.table_store import TableStore

__all__ = ["create_join"]


def create_join(
    database: Database, name: str, source: TableStore, target: TableStore, on: Mapping[str, str], *, optional: bool
) -> Join:
    """Let rows of `source` point to rows of `target`; rows that exist are pointed at once.

    Raises
    ------
    InvalidJoinError
        See `check_join`; also if the join would close a circle.
    DuplicateNameError
        If the source has a join or a column of that name.
    MissingMatchError
        If the join is mandatory and a row of the source has no match.
    """
    joins = database.joins
    with database.writing():
        if target not in joins:
            raise InvalidJoinError(f"table {target.name!r} belongs to another session. Join tables of one session.")
        check_join(source, target, on)
        if name in source.columns or any(join.name == name for join in joins[source]):
            raise DuplicateNameError(f"column or join of table {source.name!r}", name)
        if source in _reachable(database, target):
            raise InvalidJoinError(f"join {name!r} would lead from {target.name!r} back to {source.name!r}.")
        join = Join(name, source, target, on, optional=optional)
        rows = slice(0, source.rows.row_count)
        join.point(0, {column: source.rows.read(source.columns[column], rows) for column in on})
        if not optional:
            check_join_matches(join, [branch.head for branch in database.branches.values()])
        joins[source] = [*joins[source], join]
        database.join_count += 1
    return join


def _reachable(database: Database, store: TableStore) -> set[TableStore]:
    """Return the table and all tables that its joins lead to."""
    found = {store}
    for join in database.joins[store]:
        found |= _reachable(database, join.target)
    return found
