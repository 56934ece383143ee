"""The route of transactions: operations on any tables that become one epoch, or none.

Floor 6. {"operations": [operation, ...], "branch": "master"}; operations take effect in the order written, and each is

    {"table": table, "op": "append" | "update", "rows": [row, ...]}
    {"table": table, "op": "delete", "keys": [key, ...]}
    {"table": table, "op": "delete", "where": condition}
    {"table": table, "op": "drop_partition", "value": value}
    {"table": table, "op": "truncate"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response

import gpu_engine as ge
from api.commits import committed
from api.errors import RequestError, placed
from api.expect import expect_branch, expect_list, expect_members, expect_object, expect_text
from api.row_queries import parse_row_query
from api.row_values import key_of, row_of
from api.service import json_body, service
from api.wire import value_of

__all__ = ["transaction_routes"]

MAX_OPERATIONS = 1_000
MAX_ROWS = 1_000_000

Apply = Callable[[ge.Table, dict[str, Any], str], None]


def transaction_routes() -> Blueprint:
    """Return the blueprint with the route."""
    blueprint = Blueprint("transactions", __name__)
    blueprint.post("/transactions")(_commit)
    return blueprint


def _commit() -> Response:
    body = expect_object(json_body(), "$")
    expect_members(body, ("operations", "branch"), "$")
    operations = expect_list(body.get("operations"), "$.operations", "operations", MAX_OPERATIONS)
    with service().session.start_transaction(expect_branch(body.get("branch"), "$.branch")) as transaction:
        for i, operation in enumerate(operations):
            _apply(operation, f"$.operations[{i}]")
    return committed(transaction.report)


def _apply(given: Any, place: str) -> None:
    operation = expect_object(given, place)
    op = operation.get("op")
    if not isinstance(op, str) or op not in OPERATIONS:
        raise RequestError("invalid_request", f"expected one of {', '.join(OPERATIONS)}.", place=f"{place}.op")
    members, apply = OPERATIONS[op]
    expect_members(operation, ("table", "op", *members), place)
    name = expect_text(operation.get("table"), f"{place}.table", "the name of a table")
    with placed(f"{place}.table"):
        table = service().session.tables[name]
    with placed(place):
        apply(table, operation, place)


def _append(table: ge.Table, operation: dict[str, Any], place: str) -> None:
    table.append(*_rows(table, operation, place))


def _update(table: ge.Table, operation: dict[str, Any], place: str) -> None:
    table.update([expect_object(row, place) for row in _rows(table, operation, place)])


def _delete(table: ge.Table, operation: dict[str, Any], place: str) -> None:
    if ("keys" in operation) == ("where" in operation):
        raise RequestError("invalid_request", 'give either "keys" or "where".', place=place)
    if "keys" in operation:
        if not table.keys:
            raise RequestError("invalid_request", f"table {table.name!r} has no key columns.", place=f"{place}.keys")
        keys = expect_list(operation["keys"], f"{place}.keys", "keys", MAX_ROWS)
        table.drop(keys=[key_of(table, key, f"{place}.keys[{i}]") for i, key in enumerate(keys)])
        return
    query = parse_row_query(service().session, table, "list", {"where": operation["where"]}, place)
    if query.where is None:
        raise RequestError("invalid_request", "give a condition, or truncate the table.", place=f"{place}.where")
    table.drop(query.where)


def _drop_partition(table: ge.Table, operation: dict[str, Any], place: str) -> None:
    value = operation.get("value")
    if table.partition_by is not None:
        value = value_of(value, table.types[table.partition_by], f"{place}.value")
    table.drop_partition(value)


def _truncate(table: ge.Table, operation: dict[str, Any], place: str) -> None:
    table.truncate()


def _rows(table: ge.Table, operation: dict[str, Any], place: str) -> list[Any]:
    given = expect_list(operation.get("rows"), f"{place}.rows", "rows", MAX_ROWS)
    return [row_of(table, row, f"{place}.rows[{i}]") for i, row in enumerate(given)]


OPERATIONS: Mapping[str, tuple[tuple[str, ...], Apply]] = {
    "append": (("rows",), _append),
    "update": (("rows",), _update),
    "delete": (("keys", "where"), _delete),
    "drop_partition": (("value",), _drop_partition),
    "truncate": ((), _truncate),
}
"""Operation -> its members, and how it is done."""
