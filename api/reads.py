"""Routes that read rows of tables at a version: lists, rows by key, distinct values, exact statistics.

Floor 6. Bodies have the members that `api.row_queries` explains, and "branch" and "epoch".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from flask import Blueprint, Response, request

import gpu_engine as ge
from api.errors import RequestError
from api.expect import MAX_EPOCH, expect_branch, expect_digits, expect_epoch, expect_list, expect_members, expect_object
from api.row_queries import MAX_ROWS, ROW_QUERIES, parse_row_query
from api.row_values import key_of
from api.service import json_body, reply, reply_table, service, wants_arrow
from api.wire import BRANCH, json_value, rows

__all__ = ["answer_rows", "read_routes", "runner_of"]


def read_routes() -> Blueprint:
    """Return the blueprint with the reading routes under /tables."""
    blueprint = Blueprint("reads", __name__)
    blueprint.post("/tables/<table>/list")(lambda table: _run(table, "list"))
    blueprint.post("/tables/<table>/distinct", endpoint="distinct")(lambda table: _run(table, "distinct"))
    blueprint.post("/tables/<table>/get")(_get)
    blueprint.get("/tables/<table>/statistics")(_statistics)
    return blueprint


def runner_of(body: Mapping[str, Any]) -> ge.QueryRunner:
    """Return what reads the branch and epoch that a body names, by default the head of master."""
    branch = expect_branch(body.get("branch"), "$.branch")
    return service().session.database.version(branch, expect_epoch(body.get("epoch"), "$.epoch"))


def answer_rows(content: pa.Table, branch: str, epoch: int, *, as_arrow: bool) -> Response:
    """Return rows as Arrow or as JSON."""
    if as_arrow:
        return reply_table(content, epoch, branch)
    return reply({"columns": content.column_names, "rows": rows(content)}, epoch, branch=branch)


def _run(table: str, kind: str) -> Response:
    session = service().session
    found, body = session.tables[table], expect_object(json_body(), "$")
    expect_members(body, (*ROW_QUERIES[kind], "branch", "epoch"), "$")
    query, as_arrow, runner = parse_row_query(session, found, kind, body), wants_arrow(), runner_of(body)
    return answer_rows(query.run(runner), runner.branch, runner.epoch, as_arrow=as_arrow)


def _get(table: str) -> Response:
    """Answer a row for each key, in the order of the keys: null in JSON, all null in Arrow, where there is none."""
    session = service().session
    found, body = session.tables[table], expect_object(json_body(), "$")
    expect_members(body, (*ROW_QUERIES["get"], "keys", "branch", "epoch"), "$")
    if not found.keys:
        raise RequestError("invalid_request", f"table {table!r} has no key columns. List rows by a condition.")
    given = expect_list(body.get("keys"), "$.keys", "keys", MAX_ROWS)
    keys = [key_of(found, key, f"$.keys[{i}]") for i, key in enumerate(given)]
    query, as_arrow, runner = parse_row_query(session, found, "get", body), wants_arrow(), runner_of(body)
    paths = list(query.fields)
    if as_arrow:
        return reply_table(runner.get_many(found, keys, paths), runner.epoch, runner.branch)
    # A key column is null only where there is no row.
    witness = found.keys[0]
    content = runner.get_many(found, keys, paths if witness in paths else [*paths, witness])
    missing = content[witness].is_null().to_pylist()
    answers = [None if gone else row for gone, row in zip(missing, rows(content.select(paths)), strict=True)]
    return reply({"columns": paths, "rows": answers}, runner.epoch, branch=runner.branch)


def _statistics(table: str) -> Response:
    found = service().session.tables[table]
    epoch = request.args.get("epoch")
    asked = None if epoch is None else expect_digits(epoch, MAX_EPOCH, "?epoch")
    runner = service().session.database.version(request.args.get("branch", BRANCH), asked)
    figures = runner.statistics(found)
    columns = [
        {
            "name": name,
            "type": one.type,
            "cardinality": one.cardinality,
            "nulls": one.nulls,
            "min": json_value(one.min),
            "max": json_value(one.max),
        }
        for name, one in figures.columns.items()
    ]
    content = {"table": figures.table, "row_count": figures.row_count, "columns": columns}
    return reply(content, figures.epoch, branch=figures.branch)
