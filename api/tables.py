"""Routes of tables: what they hold, and rows in and out.

Floor 6.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

import gpu_engine as ge
from api.errors import RequestError
from api.queries import expect_branch, expect_list, expect_members, expect_object, kind_of
from api.service import json_body, reply, reply_table, service, wants_arrow
from api.wire import BRANCH, rows, value_of

__all__ = ["table_routes"]

MAX_ROWS_IN = 1_000_000
MAX_ROWS_OUT = 100_000
MAX_EPOCH = 2**53
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
    limit = _whole(request.args.get("limit", str(DEFAULT_ROWS_OUT)), MAX_ROWS_OUT, "?limit")
    as_arrow = wants_arrow()
    epoch = request.args.get("epoch")
    version = service().session.database.version(
        request.args.get("branch", BRANCH), None if epoch is None else _whole(epoch, MAX_EPOCH, "?epoch")
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
        found.append(*(_row(found, row, f"$.rows[{i}]") for i, row in enumerate(given)))
    return _committed(transaction.report)


def _delete_rows(table: str) -> Response:
    found = service().session.tables[table]
    body = expect_object(json_body(), "$")
    expect_members(body, ("keys", "branch"), "$")
    keys = expect_list(body.get("keys"), "$.keys", "keys", MAX_ROWS_IN)
    if not found.keys:
        raise RequestError("invalid_request", f"table {table!r} has no key columns, so rows cannot be named.")
    with service().session.start_transaction(_branch(body)) as transaction:
        found.drop(keys=[_key(found, key, f"$.keys[{i}]") for i, key in enumerate(keys)])
    return _committed(transaction.report)


def _row(table: ge.Table, given: Any, place: str) -> tuple[Any, ...] | dict[str, Any]:
    """Return one row as the engine takes it, from a list of values in column order or an object."""
    if isinstance(given, dict):
        return {name: value_of(value, _type(table, name, place), f"{place}.{name}") for name, value in given.items()}
    if not isinstance(given, list):
        raise RequestError("invalid_row", f"expected a list of values or an object, got {kind_of(given)}.", place=place)
    return _values(table, table.columns, given, place)


def _values(table: ge.Table, columns: tuple[str, ...], values: list[Any], place: str) -> tuple[Any, ...]:
    if len(values) != len(columns):
        raise RequestError(
            "invalid_row", f"expected {len(columns)} values ({', '.join(columns)}), got {len(values)}.", place=place
        )
    types = table.types
    return tuple(
        value_of(value, types[name], f"{place}[{i}] (column {name!r})")
        for i, (name, value) in enumerate(zip(columns, values, strict=True))
    )


def _type(table: ge.Table, column: str, place: str) -> ge.DataType:
    if column not in table.types:
        error = ge.errors.UnknownColumnError(column, table.columns, f"table {table.name!r}")
        raise RequestError(error.code, str(error), place=place, known=error.known)
    return table.types[column]


def _key(table: ge.Table, given: Any, place: str) -> tuple[Any, ...]:
    """Return one key, as a list of values in key order or an object of them."""
    if isinstance(given, dict):
        expect_members(given, table.keys, place)
        given = [given.get(name) for name in table.keys]
    if not isinstance(given, list):
        raise RequestError("invalid_row", f"expected a list of key values, got {kind_of(given)}.", place=place)
    return _values(table, table.keys, given, place)


def _whole(text: str, most: int, place: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > most:
        raise RequestError("invalid_request", f"expected a whole number up to {most}, got {text[:40]!r}.", place=place)
    return int(text)


def _branch(body: dict[str, Any]) -> str:
    """Return the branch to write to: a member of the body, else of the query string, else master."""
    return expect_branch(body.get("branch", request.args.get("branch")), "$.branch")


def _committed(report: ge.CommitReport | None) -> Response:
    """Answer with what a commit did; a service's thread is never inside a transaction, so there is a report."""
    if report is None:
        raise RuntimeError("a request was handled inside a transaction")
    tables = {
        name: {
            "added": one.added,
            "updated": one.updated,
            "removed": one.removed,
            "unchanged": one.unchanged,
            "duplicates": one.duplicates,
        }
        for name, one in report.tables.items()
    }
    return reply({"tables": tables}, report.epoch, branch=report.branch)
