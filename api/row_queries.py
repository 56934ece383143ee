"""The grammar of queries of rows in JSON: lists, rows by key, distinct values.

Floor 6. The members of each, all but `keys` and the `fields` of distinct values optional:

    list      {"fields": [path, ...], "where": condition, "limit": 1000, "offset": 0}
    get       {"fields": [path, ...], "keys": [key, ...]}
    distinct  {"fields": [path, ...], "where": condition, "limit": 1000}

A path is the name of a column, after the names of the joins that lead to it: "product.color". `api.conditions` has the
grammar of a condition. A key is a list of values in key order, an object of them, or for one key column its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from api.conditions import ConditionReader
from api.errors import RequestError, placed
from api.expect import expect_count, expect_list, expect_text

__all__ = ["DEFAULT_ROWS", "MAX_ROWS", "ROW_QUERIES", "RowQuery", "parse_row_query"]

MAX_ROWS = 100_000
"""Rows of one answer, or keys of one question."""
MAX_OFFSET = 2**53
DEFAULT_ROWS = 1_000
MAX_FIELDS = 1_000
ROW_QUERIES: Mapping[str, tuple[str, ...]] = {
    "list": ("fields", "where", "limit", "offset"),
    "get": ("fields",),
    "distinct": ("fields", "where", "limit"),
}
"""Kind of a query -> its members, apart from the keys to get."""


@dataclass(frozen=True, slots=True)
class RowQuery:
    """A query whose every name is known to its table."""

    kind: str
    """"list", "get" or "distinct"."""
    table: ge.Table
    fields: Mapping[str, ge.DataType]
    """Path -> type."""
    where: ge.Condition | None
    limit: int
    offset: int

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""
        return pa.schema([(name, data_type.arrow) for name, data_type in self.fields.items()])

    def run(self, runner: ge.QueryRunner) -> pa.Table:
        """Return the rows of a list, or the first distinct values."""
        paths = list(self.fields)
        if self.kind == "list":
            return runner.list(self.table, paths, self.where, self.limit, self.offset)
        return runner.distinct(self.table, paths, self.where).slice(0, self.limit)


def parse_row_query(
    session: ge.Session, table: ge.Table, kind: str, body: Mapping[str, Any], place: str = "$", *, open: bool = False
) -> RowQuery:
    """Return the query of a kind that the members of `body` spell; other members are somebody else's to refuse.

    Parameters
    ----------
    open : whether the condition may have parameters

    Raises
    ------
    RequestError
        With the place of the first mistake.
    """

    def find(given: Any, where: str) -> tuple[Any, ge.DataType]:
        path = expect_text(given, where, "the path of a field")
        return ge.field(path), _type_of(session, table, path, where)

    fields = _fields(session, table, body.get("fields"), f"{place}.fields", required=kind == "distinct")
    given = body.get("where")
    condition = None
    if given is not None:
        condition = ConditionReader("field", find, columns=True, open=open).read(given, f"{place}.where")
    limit = expect_count(body.get("limit", DEFAULT_ROWS), f"{place}.limit", MAX_ROWS)
    offset = expect_count(body.get("offset", 0), f"{place}.offset", MAX_OFFSET)
    return RowQuery(kind, table, fields, condition, limit, offset)


def _fields(session: ge.Session, table: ge.Table, given: Any, place: str, *, required: bool) -> dict[str, ge.DataType]:
    if given is None and not required:
        return dict(table.types)
    paths = expect_list(given, place, "fields", MAX_FIELDS)
    if not paths:
        raise RequestError("invalid_request", "name at least one field.", place=place, known=table.columns)
    found: dict[str, ge.DataType] = {}
    for i, one in enumerate(paths):
        here = f"{place}[{i}]"
        path = expect_text(one, here, "the path of a field")
        if path in found:
            raise RequestError("invalid_request", f"field {path!r} comes twice.", place=here)
        found[path] = _type_of(session, table, path, here)
    return found


def _type_of(session: ge.Session, table: ge.Table, path: str, place: str) -> ge.DataType:
    """Follow a path as the engine does: a column's whole name first, else a join and the rest of the path."""
    at, rest = table, path
    while rest not in at.types:
        step, dot, rest = rest.partition(".")
        joins = at.joins
        if not dot or step not in joins:
            known = (*joins, *at.columns) if dot else at.columns
            what = f"joins and columns of table {at.name!r}" if dot else f"table {at.name!r}"
            with placed(place):
                raise ge.errors.UnknownColumnError(step, known, what)
        at = session.tables[joins[step].target.name]
    return at.types[rest]
