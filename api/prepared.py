"""Routes of prepared queries: compiled once under a name, run with parameters at any version.

Floor 6. A query is {"name": name, "kind": "list" | "get" | "distinct", "table": table, ...} with the members that
`api.row_queries` explains, or {"name": name, "kind": "cube", "cube": cube, ...} with those of `api.queries`; without a
name it is given one. {"param": name} stands for a value in its conditions; to get rows the key columns are parameters.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from flask import Blueprint, Response

import gpu_engine as ge
from api.errors import RequestError, placed
from api.expect import expect_members, expect_object, expect_text
from api.queries import parse_query
from api.reads import answer_rows, runner_of
from api.row_queries import ROW_QUERIES, parse_row_query
from api.service import json_body, reply, wants_arrow
from api.wire import value_of

__all__ = ["PreparedQueries"]

MAX_QUERIES = 1_000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
KINDS = (*ROW_QUERIES, "cube")
CUBE_MEMBERS = ("measures", "levels", "filter", "totals")


@dataclass(slots=True)
class Entry:
    """One prepared query."""

    name: str
    kind: str
    target: str
    """The table or cube that it reads."""
    query: ge.PreparedQuery[Any]
    finish: Callable[[Any], pa.Table]
    """Makes a table of what it answers."""
    runs: int = 0

    def about(self) -> dict[str, Any]:
        """Return what clients see of it."""
        parameters = {name: str(kind) for name, kind in self.query.parameters.items()}
        reads = {"cube" if self.kind == "cube" else "table": self.target}
        return {"name": self.name, "kind": self.kind, **reads, "parameters": parameters, "runs": self.runs}


class PreparedQueries:
    """The prepared queries of one application, a bounded number of them."""

    def __init__(self, session: ge.Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def routes(self) -> Blueprint:
        """Return the blueprint with the routes under /queries."""
        blueprint = Blueprint("prepared", __name__)
        blueprint.get("/queries")(self._list)
        blueprint.post("/queries")(self._create)
        blueprint.get("/queries/<name>")(self._show)
        blueprint.post("/queries/<name>/run")(self._run)
        blueprint.delete("/queries/<name>")(self._delete)
        return blueprint

    def _list(self) -> Response:
        with self._lock:
            entries = [entry.about() for entry in self._entries.values()]
        compiled = self._session.database.statistics().compilations_total
        return reply({"queries": entries, "most": MAX_QUERIES, "compilations_total": compiled})

    def _create(self) -> Response:
        body = expect_object(json_body(), "$")
        name = body.get("name")
        if name is None:
            name = uuid.uuid4().hex
        elif not isinstance(name, str) or not NAME.fullmatch(name):
            advice = "expected a name: letters, digits, '_', '-' and '.', at most 100, no '.' or '-' first."
            raise RequestError("invalid_request", advice, place="$.name")
        self._refuse(name)
        entry = self._prepare(name, body)
        with self._lock:
            self._refuse(name)
            self._entries[name] = entry
        return reply(entry.about(), status=201)

    def _show(self, name: str) -> Response:
        return reply(self._entry(name).about())

    def _run(self, name: str) -> Response:
        entry, body = self._entry(name), expect_object(json_body(), "$")
        expect_members(body, ("parameters", "branch", "epoch"), "$")
        given = expect_object(body.get("parameters", {}), "$.parameters")
        types = entry.query.parameters
        values = {key: _value(value, types.get(key)) for key, value in given.items()}
        as_arrow, runner = wants_arrow(), runner_of(body)
        try:
            found = entry.query.run(runner, **values)
        except ge.errors.InvalidParameterError as error:
            raise RequestError(error.code, str(error), place="$.parameters", known=tuple(types)) from error
        with self._lock:
            entry.runs += 1
        return answer_rows(entry.finish(found), runner.branch, runner.epoch, as_arrow=as_arrow)

    def _delete(self, name: str) -> Response:
        self._entry(name)
        with self._lock:
            self._entries.pop(name, None)
        return reply({"deleted": name})

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            message = f"there is no prepared query {name!r}. POST it to /queries first."
            raise RequestError("unknown_query", message, status=404, known=tuple(self._entries))
        return entry

    def _refuse(self, name: str) -> None:
        """Refuse a name that is taken, and one query too many."""
        if name in self._entries:
            message = f"there is a prepared query {name!r} already. Delete it first, or choose another name."
            raise RequestError("duplicate_name", message, status=409)
        if len(self._entries) >= MAX_QUERIES:
            message = f"there are {MAX_QUERIES} prepared queries, which is the most. Delete one."
            raise RequestError("too_many_queries", message, status=409)

    def _prepare(self, name: str, body: Mapping[str, Any]) -> Entry:
        kind = body.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise RequestError("invalid_request", f"expected one of {', '.join(KINDS)}.", place="$.kind")
        return self._prepare_cube(name, body) if kind == "cube" else self._prepare_rows(name, kind, body)

    def _prepare_cube(self, name: str, body: Mapping[str, Any]) -> Entry:
        expect_members(body, ("name", "kind", "cube", *CUBE_MEMBERS), "$")
        given = expect_text(body.get("cube"), "$.cube", "the name of a cube")
        with placed("$.cube"):
            cube = self._session.cubes[given]
        members = {member: body[member] for member in CUBE_MEMBERS if member in body}
        query = parse_query(cube, members, open=True)
        with placed("$"):
            prepared = self._session.database.prepare.cube(
                cube, query.measures, query.levels, query.filter, totals=query.totals, mode="arrow"
            )
        return Entry(name, "cube", given, prepared, _as_it_is)

    def _prepare_rows(self, name: str, kind: str, body: Mapping[str, Any]) -> Entry:
        expect_members(body, ("name", "kind", "table", *ROW_QUERIES[kind]), "$")
        given = expect_text(body.get("table"), "$.table", "the name of a table")
        with placed("$.table"):
            table = self._session.tables[given]
        query = parse_row_query(self._session, table, kind, body, open=True)
        prepare, paths = self._session.database.prepare, list(query.fields)
        with placed("$"):
            if kind == "list":
                listing = prepare.list(table, paths, query.where, query.limit, query.offset)
                return Entry(name, kind, given, listing, _as_it_is)
            if kind == "distinct":
                distinct = prepare.distinct(table, paths, query.where)
                return Entry(name, kind, given, distinct, lambda found: found.slice(0, query.limit))
            getting = prepare.get(table, paths)
        schema = query.schema
        return Entry(name, kind, given, getting, lambda row: pa.Table.from_pylist([row] if row else [], schema))


def _as_it_is(found: pa.Table) -> pa.Table:
    return found


def _value(given: Any, wanted: ge.DataType | ge.ListType | None) -> Any:
    """Return the value of a parameter as far as JSON spells it; what it does not is left for the query to refuse."""
    if isinstance(wanted, ge.ListType) and isinstance(given, list):
        return [_value(one, wanted.element) for one in given]
    if isinstance(wanted, ge.DataType):
        try:
            return value_of(given, wanted, "$")
        except RequestError:
            return given
    return given
