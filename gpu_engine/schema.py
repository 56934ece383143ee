"""Types of columns: what users write, how Arrow carries it, how arrays hold it.

Floor 1: imports errors only. A value travels as Arrow and rests as a fixed-width array: dates as int32 days,
timestamps as int64 microseconds UTC, decimals as int64 multiples of their unit (so that their sums are exact), strings
as int32 codes of a dictionary.
"""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from gpu_engine.errors import InvalidModelError, TypeMismatchError, UnknownColumnError

__all__ = [
    "BOOLEAN",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "LOCAL_DATE",
    "LONG",
    "STRING",
    "TIMESTAMP",
    "VECTOR",
    "DataType",
    "Schema",
    "arrow_column",
    "arrow_scalar",
    "conform",
    "given_types",
    "type_of_arrow",
]

MAX_DECIMAL_DIGITS = 18


@dataclass(frozen=True, slots=True)
class DataType:
    """Type of a column. Compare with ==; `str(type)` is the name that users and the service see."""

    name: str
    """What users write: LONG, DECIMAL(18,2), ..."""
    arrow: pa.DataType
    """The Arrow type that carries values of this type."""
    storage: str
    """dtype of the array that holds them: int64, float64, ...; int32 codes for STRING."""
    numeric: bool
    """True where adding values up makes sense: INT, LONG, FLOAT, DOUBLE, DECIMAL."""
    width: int | None = None
    """Length of a VECTOR, None for scalars."""

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    @property
    def coded(self) -> bool:
        """Whether columns of this type rest as dictionary codes."""
        return self.name == "STRING"

    @property
    def scale(self) -> int | None:
        """Digits after the point of a DECIMAL, None for every other type."""
        return self.arrow.scale if pa.types.is_decimal(self.arrow) else None


BOOLEAN = DataType("BOOLEAN", pa.bool_(), "bool", numeric=False)
INT = DataType("INT", pa.int32(), "int32", numeric=True)
LONG = DataType("LONG", pa.int64(), "int64", numeric=True)
FLOAT = DataType("FLOAT", pa.float32(), "float32", numeric=True)
DOUBLE = DataType("DOUBLE", pa.float64(), "float64", numeric=True)
STRING = DataType("STRING", pa.string(), "int32", numeric=False)
LOCAL_DATE = DataType("LOCAL_DATE", pa.date32(), "int32", numeric=False)
TIMESTAMP = DataType("TIMESTAMP", pa.timestamp("us"), "int64", numeric=False)


def DECIMAL(precision: int, scale: int) -> DataType:
    """Return the exact decimal type of `precision` digits, `scale` of them after the point.

    Raises
    ------
    InvalidModelError
        If not 1 <= precision <= 18 or not 0 <= scale <= precision (values rest as int64).
    """
    if not (1 <= precision <= MAX_DECIMAL_DIGITS and 0 <= scale <= precision):
        raise InvalidModelError(
            f"DECIMAL({precision},{scale}): precision must be 1 to {MAX_DECIMAL_DIGITS}, scale 0 to precision."
        )
    return DataType(f"DECIMAL({precision},{scale})", pa.decimal128(precision, scale), "int64", numeric=True)


def VECTOR(length: int) -> DataType:
    """Return the type of arrays of exactly `length` DOUBLEs.

    Raises
    ------
    InvalidModelError
        If length < 1.
    """
    if length < 1:
        raise InvalidModelError(f"VECTOR({length}): the length must be at least 1.")
    return DataType(f"VECTOR({length})", pa.list_(pa.float64(), length), "float64", numeric=False, width=length)


def type_of_arrow(arrow: pa.DataType, where: str) -> DataType:
    """Return the column type that holds values of the Arrow type `arrow` without loss.

    8- and 16-bit integers become INT, unsigned 32-bit LONG, half floats FLOAT, timestamps of any unit TIMESTAMP,
    dictionaries the type of their values, columns of nulls STRING.

    Raises
    ------
    InvalidModelError
        If no column type holds it (structs, maps, lists of variable length, ...); `where` names the column.
    """
    is_ = pa.types
    if is_.is_dictionary(arrow):
        return type_of_arrow(arrow.value_type, where)
    if is_.is_string(arrow) or is_.is_large_string(arrow) or is_.is_string_view(arrow) or is_.is_null(arrow):
        return STRING
    if is_.is_decimal(arrow):
        return DECIMAL(min(arrow.precision, MAX_DECIMAL_DIGITS), max(arrow.scale, 0))
    if is_.is_fixed_size_list(arrow) and is_.is_floating(arrow.value_type):
        return VECTOR(arrow.list_size)
    simple: tuple[tuple[bool, DataType], ...] = (
        (is_.is_boolean(arrow), BOOLEAN),
        (is_.is_integer(arrow) and (arrow.bit_width < 32 or arrow == pa.int32()), INT),
        (is_.is_integer(arrow), LONG),
        (is_.is_floating(arrow) and arrow.bit_width <= 32, FLOAT),
        (is_.is_floating(arrow), DOUBLE),
        (is_.is_date(arrow), LOCAL_DATE),
        (is_.is_timestamp(arrow), TIMESTAMP),
    )
    for holds, data_type in simple:
        if holds:
            return data_type
    raise InvalidModelError(f"{where}: no column type holds Arrow type {arrow}. Give types= or cast the column.")


@dataclass(frozen=True)
class Schema:
    """Columns of a table in order, their types, which of them are the key, what fills a missing one."""

    types: Mapping[str, DataType]
    keys: tuple[str, ...] = ()
    defaults: Mapping[str, Any] | None = None
    partition_by: str | None = None
    """Column whose values split the rows into partitions; None for a table without partitions."""

    def __post_init__(self) -> None:
        """Refuse what cannot work: names of no column, a VECTOR in the key, a default of another type."""
        given_types(self.types)
        if not self.types:
            raise InvalidModelError("a table needs at least one column.")
        if len(set(self.keys)) != len(self.keys):
            raise InvalidModelError(f"a column comes twice in the key {list(self.keys)}.")
        for name in self.types:
            if not name or not isinstance(name, str):
                raise InvalidModelError(f"column name {name!r}: give a text with at least one character.")
        partitioning = () if self.partition_by is None else (self.partition_by,)
        for key in (*self.keys, *(self.defaults or {}), *partitioning):
            if key not in self.types:
                raise UnknownColumnError(key, self.types)
        for key in self.keys:
            if self.types[key].width is not None:
                raise InvalidModelError(f"column {key!r}: a VECTOR cannot be part of the key.")
        for column in partitioning:
            if self.types[column].storage.startswith("float"):
                raise InvalidModelError(
                    f"partition_by={column!r}: a {self.types[column]} column cannot partition a table. "
                    "Take one whose values are exact: text, a date, an integer, ..."
                )
        for name, value in (self.defaults or {}).items():
            arrow_scalar(value, self.types[name], f"default of column {name!r}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in order."""
        return tuple(self.types)

    def default(self, column: str) -> Any:
        """Return what a row that does not mention `column` holds there; None (null) unless declared."""
        return (self.defaults or {}).get(column)

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of whole rows."""
        return pa.schema([(name, data_type.arrow) for name, data_type in self.types.items()])

    @cached_property
    def has_vectors(self) -> bool:
        """Whether a column is of vectors."""
        return any(data_type.width is not None for data_type in self.types.values())


def given_types(types: Any) -> dict[str, DataType]:
    """Return types of columns as users give them; InvalidModelError if they are none."""
    if not isinstance(types, Mapping):
        raise InvalidModelError(f"types={types!r}: give column -> type, such as {{'city': gpu_engine.STRING}}.")
    for name, data_type in types.items():
        if not isinstance(data_type, DataType):
            raise InvalidModelError(f"column {name!r}: {data_type!r} is no type. Use gpu_engine.LONG, STRING, ...")
    return dict(types)


def conform(column: pa.Array, data_type: DataType, where: str) -> pa.Array:
    """Return `column` as an Arrow array of `data_type.arrow`; no copy where it already is.

    Raises
    ------
    TypeMismatchError
        If a value does not fit (text that is no number, an integer out of range, a fraction in a LONG, ...); it names
        the first such value and its row.
    """
    if column.type == data_type.arrow:
        return _whole_vectors(column, data_type, where)
    if pa.types.is_dictionary(column.type) and data_type.coded:
        text = column.type.value_type in (pa.string(), pa.large_string(), pa.string_view())
        return column if text else conform(column.dictionary_decode(), data_type, where)
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            column = column.cast(pa.timestamp(column.type.unit))
        if pa.types.is_timestamp(data_type.arrow) and pa.types.is_timestamp(column.type):
            return column.cast(data_type.arrow, safe=False)
        if pa.types.is_floating(column.type) and data_type.scale is not None:
            return column.cast(pa.decimal128(38, data_type.scale)).cast(data_type.arrow)
        return _whole_vectors(column.cast(data_type.arrow), data_type, where)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        row = _first_misfit(column, data_type)
        value = column[row].as_py() if row is not None else f"a column of {column.type}"
        raise TypeMismatchError(where, value, str(data_type), row) from error


def arrow_column(values: Sequence[Any], data_type: DataType, where: str) -> pa.Array:
    """Return Python values as an Arrow array of `data_type.arrow`.

    Dates and timestamps may also be ISO 8601 text, decimals also int, float or text.

    Raises
    ------
    TypeMismatchError
        If a value does not fit; it names the first such value and its row.
    """
    try:
        if not _would_lose_something(values, data_type):
            return _whole_vectors(pa.array(values, type=data_type.arrow), data_type, where)
    except TypeMismatchError:
        raise
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError, ValueError):
        pass
    converted = []
    for row, value in enumerate(values):
        try:
            converted.append(pa.scalar(_lenient(value, data_type), type=data_type.arrow).as_py())
        except (pa.ArrowException, OverflowError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise TypeMismatchError(where, value, str(data_type), row) from error
    return pa.array(converted, type=data_type.arrow)


def _whole_vectors(column: pa.Array, data_type: DataType, where: str) -> pa.Array:
    """Return the column, unless it is of vectors and one of them lacks an element."""
    if data_type.width is not None and column.flatten().null_count:
        for row, value in enumerate(column.to_pylist()):
            if value is not None and None in value:
                raise TypeMismatchError(where, value, str(data_type), row)
    return column


def arrow_scalar(value: Any, data_type: DataType, where: str) -> pa.Scalar:
    """Return one Python value as an Arrow scalar; the same rules and errors as `arrow_column`, without a row."""
    try:
        return arrow_column([value], data_type, where)[0]
    except TypeMismatchError as error:
        raise TypeMismatchError(where, value, str(data_type)) from error


def _would_lose_something(values: Sequence[Any], data_type: DataType) -> bool:
    """Return whether Arrow might change a value quietly: cut a fraction or a time of day, make a day of a number."""
    kinds = set(map(type, values))
    if data_type in (INT, LONG):
        return any(issubclass(kind, float | decimal.Decimal) for kind in kinds)
    if data_type in (FLOAT, DOUBLE):
        return bool in kinds
    if data_type == LOCAL_DATE and any(issubclass(kind, datetime.datetime) for kind in kinds):
        return True
    return data_type in (LOCAL_DATE, TIMESTAMP) and any(issubclass(kind, numbers.Real) for kind in kinds)


def _lenient(value: Any, data_type: DataType) -> Any:
    """Return `value` in the Python type that Arrow wants, for the spellings that people and JSON use."""
    if value is None or isinstance(value, bool) != (data_type == BOOLEAN):
        if value is None:
            return None
        raise ValueError(value)
    if data_type in (LOCAL_DATE, TIMESTAMP) and isinstance(value, numbers.Real):
        raise ValueError(value)
    if isinstance(value, str):
        if data_type == LOCAL_DATE:
            return datetime.date.fromisoformat(value)
        if data_type == TIMESTAMP:
            return _naive_utc(datetime.datetime.fromisoformat(value))
        if data_type.scale is not None:
            return decimal.Decimal(value).quantize(decimal.Decimal(1).scaleb(-data_type.scale))
    if data_type.scale is not None and isinstance(value, int | float | decimal.Decimal):
        return decimal.Decimal(repr(value) if isinstance(value, float) else value).quantize(
            decimal.Decimal(1).scaleb(-data_type.scale)
        )
    if data_type == TIMESTAMP and isinstance(value, datetime.datetime):
        return _naive_utc(value)
    if data_type in (FLOAT, DOUBLE) and isinstance(value, decimal.Decimal):
        return float(value)
    if data_type == LOCAL_DATE and isinstance(value, datetime.datetime):
        if value.time() != datetime.time():
            raise ValueError(value)
        return value.date()
    if data_type in (INT, LONG) and isinstance(value, float | decimal.Decimal):
        if value != int(value):
            raise ValueError(value)
        return int(value)
    return value


def _naive_utc(moment: datetime.datetime) -> datetime.datetime:
    if moment.tzinfo is None:
        return moment
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)


def _first_misfit(column: pa.Array, data_type: DataType) -> int | None:
    """Return the row of the first value that cannot be cast, by halving; None if the types never fit."""
    if not _casts(column.slice(0, 0), data_type):
        return None
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        if _casts(column.slice(low, middle - low), data_type):
            low = middle
        else:
            high = middle
    return low if high > low and not _casts(column.slice(low, 1), data_type) else None


def _casts(column: pa.Array, data_type: DataType) -> bool:
    try:
        column.cast(data_type.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return False
    return True
