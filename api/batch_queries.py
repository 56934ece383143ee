"""The grammar of a batch's file of queries, and how each of them is answered.

Floor 6. The file is a JSON list; each item has a "name", which becomes that of its Parquet file, and is one of

    {"name": name, "cube": cube, ...}     a cube query with the members that `api.queries` explains, "epoch" included
    {"name": name, "table": table, "fields": [path, ...], "limit": number, "branch": branch, "epoch": epoch}

where all members of the second but the table may be left out. Every mistake is answered with its place, such as
`$[0].levels[0]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

import gpu_engine as ge
from api.errors import RequestError, placed
from api.expect import expect_branch, expect_epoch, expect_list, expect_members, expect_object, kind_of
from api.queries import CubeQuery, parse_query

__all__ = ["CHANGE", "BatchQuery", "Found", "expect_queries", "parse_queries"]

CHANGE = "__change__"
"""First column of a difference: "added", "changed" (new values) or "removed" (old values)."""

MAX_QUERIES = 10_000
MAX_FIELDS = 1_000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Found:
    """An answer and how it was found."""

    table: pa.Table
    """Its schema's metadata says branch and epoch, and of a difference since when."""
    source: str
    """"provider", "scan", "table" or "difference"."""
    provider: str | None
    """Name of the provider that was read."""


class BatchQuery(Protocol):
    """A query whose every name is known to the session."""

    @property
    def name(self) -> str:
        """Name of its file without the ending."""
        ...

    @property
    def branch(self) -> str:
        """The branch that it reads."""
        ...

    def about(self) -> Mapping[str, str]:
        """Return what it reads: {"cube": name} or {"table": name}."""
        ...

    def run(self, epoch: int, since: int | None) -> Found:
        """Return the answer at an epoch, if the query asks for none itself; with `since` what differs from there."""
        ...


@dataclass(frozen=True, slots=True)
class CubeCells:
    """A query of a cube."""

    name: str
    query: CubeQuery

    @property
    def branch(self) -> str:
        """The branch that it reads."""
        return self.query.branch

    def about(self) -> Mapping[str, str]:
        """Return the cube's name."""
        return {"cube": self.query.cube.name}

    def run(self, epoch: int, since: int | None) -> Found:
        """Return the cells, or with `since` those that differ."""
        asked = self.query
        until = epoch if asked.epoch is None else asked.epoch
        shape: dict[str, Any] = {"levels": asked.levels, "filter": asked.filter, "totals": asked.totals}
        if since is not None:
            change = asked.cube.diff(*asked.measures, since=(asked.branch, since), until=(asked.branch, until), **shape)
            if change is not None:
                parts = {"added": change.added, "changed": change.changed, "removed": change.removed}
                return Found(_stamped(parts, asked.branch, until, since), "difference", None)
        table, how = asked.cube.query_explained(*asked.measures, **shape, branch=asked.branch, epoch=until)
        if since is not None:
            return Found(_stamped({"unchanged": table.slice(0, 0)}, asked.branch, until, since), "difference", None)
        return Found(table, how.source, how.provider)


@dataclass(frozen=True, slots=True)
class TableRows:
    """A list of a table's rows."""

    name: str
    session: ge.Session
    table: str
    query: ge.PreparedQuery[pa.Table]
    branch: str
    epoch: int | None

    def about(self) -> Mapping[str, str]:
        """Return the table's name."""
        return {"table": self.table}

    def run(self, epoch: int, since: int | None) -> Found:
        """Return the rows; `since` was refused before."""
        version = self.session.database.version(self.branch, epoch if self.epoch is None else self.epoch)
        return Found(self.query.run(version), "table", None)


def expect_queries(given: Any) -> list[dict[str, Any]]:
    """Return the queries of a file that has been read, each with a proper name of its own.

    Raises
    ------
    RequestError
        If it is not a list, one of them has no name that can be a file's, or two have the same.
    """
    queries = [expect_object(item, f"$[{i}]") for i, item in enumerate(expect_list(given, "$", "queries", MAX_QUERIES))]
    if not queries:
        raise RequestError("invalid_request", "there are no queries. Give at least one.", place="$")
    taken: dict[str, int] = {}
    for i, item in enumerate(queries):
        name, place = item.get("name"), f"$[{i}].name"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            advice = "expected a name for a file: letters, digits, '_', '-' and '.', at most 100, no '.' or '-' first."
            raise RequestError("invalid_request", advice, place=place)
        if name.casefold() in taken:
            other = f"$[{taken[name.casefold()]}]"
            raise RequestError("invalid_request", f"{name!r} is the name of {other} too. Choose another.", place=place)
        taken[name.casefold()] = i
    return queries


def parse_queries(session: ge.Session, queries: Sequence[dict[str, Any]], *, differences: bool) -> list[BatchQuery]:
    """Return the queries with every name found.

    Parameters
    ----------
    differences : whether they will be asked what differs since an epoch, which rows of tables cannot tell

    Raises
    ------
    RequestError
        With the place of the first mistake.
    """
    return [_parse(session, item, f"$[{i}]", differences) for i, item in enumerate(queries)]


def _parse(session: ge.Session, item: dict[str, Any], place: str, differences: bool) -> BatchQuery:
    if ("cube" in item) == ("table" in item):
        raise RequestError("invalid_request", 'give either a "cube" or a "table".', place=place)
    if "cube" in item:
        with placed(f"{place}.cube"):
            cube = session.cubes[_text(item["cube"], f"{place}.cube")]
        body = {name: value for name, value in item.items() if name not in ("name", "cube")}
        query: BatchQuery = CubeCells(item["name"], parse_query(cube, body, place, past=True))
    else:
        if differences:
            raise RequestError("invalid_request", "--since compares cells; leave out the rows of tables.", place=place)
        query = _table_rows(session, item, place)
    with placed(f"{place}.branch"):
        session.database.version(query.branch)
    return query


def _table_rows(session: ge.Session, item: dict[str, Any], place: str) -> TableRows:
    expect_members(item, ("name", "table", "fields", "limit", "branch", "epoch"), place)
    table = _text(item["table"], f"{place}.table")
    with placed(f"{place}.table"):
        _ = session.tables[table]
    fields = item.get("fields")
    if fields is not None:
        listed = expect_list(fields, f"{place}.fields", "fields", MAX_FIELDS)
        fields = [_text(field, f"{place}.fields[{i}]") for i, field in enumerate(listed)]
    limit = item.get("limit")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise RequestError("invalid_request", "expected a number of rows, 0 or more.", place=f"{place}.limit")
    with placed(f"{place}.fields"):
        query = session.database.prepare.list(table, fields, limit=limit)
    branch = expect_branch(item.get("branch"), f"{place}.branch")
    return TableRows(item["name"], session, table, query, branch, expect_epoch(item.get("epoch"), f"{place}.epoch"))


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise RequestError("invalid_request", f"expected a name, got {kind_of(value)}.", place=place)
    return value


def _stamped(parts: Mapping[str, pa.Table], branch: str, epoch: int, since: int) -> pa.Table:
    """Return cells as one table that says what became of each."""
    marked = [part.add_column(0, CHANGE, pa.repeat(kind, part.num_rows)) for kind, part in parts.items()]
    metadata = {"branch": branch, "epoch": str(epoch), "since": str(since)}
    return pa.concat_tables(marked).replace_schema_metadata(metadata)
