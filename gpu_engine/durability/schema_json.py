"""Schemas as JSON: what the log and the checkpoints say of a table.

Floor 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpu_engine.schema import (
    BOOLEAN,
    DECIMAL,
    DOUBLE,
    FLOAT,
    INT,
    LOCAL_DATE,
    LONG,
    STRING,
    TIMESTAMP,
    VECTOR,
    DataType,
    Schema,
    arrow_scalar,
)

__all__ = ["schema_from_json", "schema_to_json"]

_SIMPLE: Mapping[str, DataType] = {
    one.name: one for one in (BOOLEAN, INT, LONG, FLOAT, DOUBLE, STRING, LOCAL_DATE, TIMESTAMP)
}


def schema_to_json(schema: Schema) -> dict[str, Any]:
    """Return a schema as a JSON object."""
    return {
        "columns": [[name, kind.name] for name, kind in schema.types.items()],
        "keys": list(schema.keys),
        "defaults": {name: _plain(value, schema.types[name]) for name, value in (schema.defaults or {}).items()},
        "partition_by": schema.partition_by,
    }


def schema_from_json(given: Mapping[str, Any]) -> Schema:
    """Return the schema that `schema_to_json` has written."""
    kinds = {name: _type(kind) for name, kind in given["columns"]}
    defaults = {name: arrow_scalar(value, kinds[name], name).as_py() for name, value in given["defaults"].items()}
    return Schema(kinds, tuple(given["keys"]), defaults, given["partition_by"])


def _plain(value: Any, kind: DataType) -> Any:
    """Return a default as JSON that reads back as the same value: dates, times and decimals as text."""
    exact = arrow_scalar(value, kind, "default").as_py()
    if hasattr(exact, "isoformat"):
        return exact.isoformat()
    return str(exact) if kind.scale is not None and exact is not None else exact


def _type(name: str) -> DataType:
    sized = re.fullmatch(r"(DECIMAL|VECTOR)\((\d+)(?:,(\d+))?\)", name)
    if sized is None:
        return _SIMPLE[name]
    return DECIMAL(int(sized[2]), int(sized[3])) if sized[1] == "DECIMAL" else VECTOR(int(sized[2]))
