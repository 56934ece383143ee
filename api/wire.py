"""JSON and Arrow: how tables, rows and values travel.

Floor 6. JSON in and out is strict (no NaN, no Infinity, valid Unicode). Dates and timestamps are ISO 8601 text,
decimals text with all their digits, N/A and what is no finite number null.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

import gpu_engine as ge
from api.errors import RequestError

__all__ = ["ARROW_STREAM", "BRANCH", "dump", "ipc", "json_value", "load", "paired_rows", "rows", "value_of"]

ARROW_STREAM = "application/vnd.apache.arrow.stream"
BRANCH = "master"
"""The one branch there is; every answer names it."""

ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False, check_circular=False)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def load(text: str | bytes) -> Any:
    """Return the value that JSON `text` spells.

    Raises
    ------
    RequestError
        `malformed_json` if it is not JSON, is nested too deeply, or holds NaN, Infinity or half a surrogate pair.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
        if SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise RequestError("malformed_json", "the JSON is nested too deeply.") from error
    except ValueError as error:
        raise RequestError("malformed_json", f"this is not JSON: {error}. Send one JSON value in UTF-8.") from error


def dump(value: Any) -> bytes:
    """Return `value` as compact JSON in UTF-8; it must hold finite numbers only (`rows` sees to that)."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a text with half a surrogate pair, an integer of more than 64 bits
        return ENCODER.encode(value).encode("utf-8", "replace")


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows of `table`, each a tuple of JSON values in column order."""
    return list(zip(*map(_values, table.columns), strict=True)) if len(table) else []


def paired_rows(first: pa.Table, second: pa.Table, shared: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the `rows` of two tables whose first `shared` columns are the same."""
    if not len(first):
        return [], []
    known = [_values(column) for column in first.columns[:shared]]
    one, other = (zip(*known, *map(_values, table.columns[shared:]), strict=True) for table in (first, second))
    return list(one), list(other)


def json_value(value: Any) -> Any:
    """Return one Python value of a column as JSON knows it."""
    return None if value is None else _values(pa.chunked_array([[value]]))[0]


def ipc(table: pa.Table) -> bytes:
    """Return `table` as an Arrow IPC stream; its schema metadata travels with it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def value_of(value: Any, data_type: ge.DataType, place: str) -> Any:
    """Return the Python value that a JSON value spells in a column of `data_type`; null is None in every type.

    Raises
    ------
    RequestError
        `type_mismatch`, naming `place`, if it spells none: another JSON type, no date, a number out of range, ...
    """
    if value is None:
        return None
    kinds, convert, spelling = READERS[data_type.name.partition("(")[0]]
    if isinstance(value, kinds) and isinstance(value, bool) == (kinds is bool):
        try:
            return convert(value)
        except (ValueError, OverflowError, ArithmeticError):
            pass
    raise RequestError(
        "type_mismatch", f"{_shown(value)} is not a valid {data_type}. Give {spelling}, or null.", place=place
    )


def _whole(bits: int) -> Callable[[int], int]:
    def convert(value: int) -> int:
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise OverflowError(value)
        return value

    return convert


def _decimal(value: Any) -> decimal.Decimal:
    result = decimal.Decimal(repr(value) if isinstance(value, float) else value)
    if not result.is_finite():
        raise ValueError(value)
    return result


def _timestamp(value: str) -> datetime.datetime:
    """Return a moment without zone: as written, or in UTC where the text names a zone."""
    moment = datetime.datetime.fromisoformat(value)
    return moment if moment.tzinfo is None else moment.astimezone(datetime.UTC).replace(tzinfo=None)


def _vector(value: list[Any]) -> list[float | None]:
    if any(isinstance(item, bool) or not isinstance(item, int | float | None) for item in value):
        raise ValueError(value)
    return [None if item is None else float(item) for item in value]


READERS: Mapping[str, tuple[Any, Callable[[Any], Any], str]] = {
    "BOOLEAN": (bool, bool, "true or false"),
    "INT": (int, _whole(32), "a whole number of 32 bits"),
    "LONG": (int, _whole(64), "a whole number of 64 bits"),
    "FLOAT": ((int, float), float, "a number"),
    "DOUBLE": ((int, float), float, "a number"),
    "DECIMAL": ((int, float, str), _decimal, 'a number or a text like "12.50"'),
    "STRING": (str, str, "a text"),
    "LOCAL_DATE": (str, datetime.date.fromisoformat, 'a date like "2024-01-31"'),
    "TIMESTAMP": (str, _timestamp, 'a timestamp like "2024-01-31T09:30:00"'),
    "VECTOR": (list, _vector, "a list of numbers"),
}
"""Family of a type -> the JSON types that may spell its values, how they are read, what to advise."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column as JSON knows them."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        numbers = column.to_numpy()  # NaN where null
        if np.isfinite(numbers).all():
            return list(numbers.tolist())
        return list(pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind)).to_pylist())
    if pa.types.is_date(kind):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_timestamp(kind):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else format(value, "f") for value in column.to_pylist()]
    if pa.types.is_fixed_size_list(kind):
        return [None if value is None else [_finite(item) for item in value] for value in column.to_pylist()]
    return list(column.to_pylist())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _shown(value: Any) -> str:
    """Return `value` for a message: its JSON, cut short."""
    text = dump(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
