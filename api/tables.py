"""Routes of tables: what they hold, and rows in and out.

Floor 6.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from api.commits import committed
from api.errors import RequestError
from api.expect import MAX_EPOCH, expect_branch, expect_digits, expect_list, expect_members, expect_object
from api.row_values import key_of, row_of
from api.service import json_body, reply, reply_table, service, wants_arrow
from api.wire import BRANCH, rows

__all__ = ["table_routes"]

MAX_ROWS_IN = 1_000_000
MAX_ROWS_OUT = 100_000
DEFAULT_ROWS_OUT = 1_000


def table_routes() -> Blueprint:
    """Return the blueprint with the routes under /tables."""
    blueprint = Blueprint("tables", __name__)
    blueprint.get("/tables")(_list_tables)
    blueprint.get("/tables/<table>")(_show_table)
    blueprint.get("/tables/<table>/rows")(_read_rows)
    blueprint.post("/tables/<table>/rows")(_append_rows)
    blueprint.post("/tables/<table>/delete")(_delete_rows)
    return blueprint


def _list_tables() -> Response:
    tables = service().session.tables
    return reply({"tables": [{"name": name, "row_count": len(tables[name])} for name in tables]})


def _show_table(table: str) -> Response:
    found = service().session.tables[table]
    return reply(
        {
            "name": found.name,
            "columns": [{"name": name, "type": str(found.types[name])} for name in found.columns],
            "keys": list(found.keys),
            "joins": list(found.joins),
            "row_count": len(found),
        }
    )


def _read_rows(table: str) -> Response:
    found = service().session.tables[table]
    limit = expect_digits(request.args.get("limit", str(DEFAULT_ROWS_OUT)), MAX_ROWS_OUT, "?limit")
    as_arrow = wants_arrow()
    epoch = request.args.get("epoch")
    version = service().session.database.version(
        request.args.get("branch", BRANCH), None if epoch is None else expect_digits(epoch, MAX_EPOCH, "?epoch")
    )
    content = version.list(found, limit=limit)
    if as_arrow:
        return reply_table(content, version.epoch, version.branch)
    answer = {"columns": content.column_names, "rows": rows(content)}
    return reply(answer, version.epoch, branch=version.branch)


def _append_rows(table: str) -> Response:
    found = service().session.tables[table]
    body = expect_object(json_body(), "$")
    expect_members(body, ("rows", "branch"), "$")
    given = expect_list(body.get("rows"), "$.rows", "rows", MAX_ROWS_IN)
    with service().session.start_transaction(_branch(body)) as transaction:
        found.append(*(row_of(found, row, f"$.rows[{i}]") for i, row in enumerate(given)))
    return committed(transaction.report)


def _delete_rows(table: str) -> Response:
    found = service().session.tables[table]
    body = expect_object(json_body(), "$")
    expect_members(body, ("keys", "branch"), "$")
    keys = expect_list(body.get("keys"), "$.keys", "keys", MAX_ROWS_IN)
    if not found.keys:
        raise RequestError("invalid_request", f"table {table!r} has no key columns, so rows cannot be named.")
    with service().session.start_transaction(_branch(body)) as transaction:
        found.drop(keys=[key_of(found, key, f"$.keys[{i}]") for i, key in enumerate(keys)])
    return committed(transaction.report)


def _branch(body: dict[str, Any]) -> str:
    """Return the branch to write to: a member of the body, else of the query string, else master."""
    return expect_branch(body.get("branch", request.args.get("branch")), "$.branch")
