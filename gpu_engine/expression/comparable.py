"""Comparable values: what a user compares a column with, in the unit in which the column rests.

Floor 3. Any number may be compared with numeric columns, and the comparison is exact: a fraction is compared with
integers by rounding it to the side that keeps every answer. A FLOAT column is compared in its own precision, so that
the value which was appended is found again.
"""

from __future__ import annotations

import datetime
import decimal
import math
import operator
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.errors import TypeMismatchError
from gpu_engine.schema import BOOLEAN, FLOAT, LOCAL_DATE, TIMESTAMP, DataType, arrow_scalar

if TYPE_CHECKING:
    from gpu_engine.expression.condition import Operand

__all__ = ["COMPARE", "ROUNDED_UP", "fitted", "place_of", "resting"]

COMPARE: dict[str, Callable[[Any, Any], Array]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""Operators on arrays and scalars."""

ROUNDED_UP = ("<", ">=")
"""Operators for which integers compare with a fraction as with the next integer; for <= and > with the one before."""


def place_of(operand: Operand) -> str:
    """Return how errors name a condition on an operand."""
    return f"condition on {operand!r}" if operand.reference is None else f"condition on {operand.reference.path!r}"


def fitted(value: Any, data_type: DataType, where: str) -> Any:
    """Return `value` as it can be compared with values of `data_type`; None stays None.

    Raises
    ------
    TypeMismatchError
        If it cannot.
    """
    if value is None:
        return None
    if data_type.numeric and isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool):
        return value
    if data_type == BOOLEAN and not isinstance(value, bool):
        raise TypeMismatchError(where, value, str(data_type))
    return arrow_scalar(value, data_type, where).as_py()


def resting(value: Any, data_type: DataType, op: str) -> int | float | None:
    """Return a fitted value as the arrays of `data_type` hold it, to be compared by `op`; None if nothing equals it.

    Not for text, which rests as codes.
    """
    if data_type in (LOCAL_DATE, TIMESTAMP):
        return _since_1970(value, data_type)
    if data_type == FLOAT:
        return _in_single_precision(_as_float(value))
    if data_type.storage == "float64" or (not isinstance(value, int) and not math.isfinite(value)):
        return _as_float(value)
    exact = Fraction(repr(value)) if isinstance(value, float) and data_type.scale is not None else Fraction(value)
    unit: int = 10 ** (data_type.scale or 0)
    scaled = exact * unit
    if not -(2**63) <= scaled < 2**63:
        return math.inf if scaled > 0 else -math.inf
    if scaled.denominator == 1:
        return scaled.numerator
    if op == "==":
        return None
    return math.ceil(scaled) if op in ROUNDED_UP else math.floor(scaled)


def _since_1970(value: datetime.date, data_type: DataType) -> int:
    stored = pa.int32() if data_type == LOCAL_DATE else pa.int64()
    days_or_microseconds: int = pa.scalar(value, data_type.arrow).cast(stored).as_py()
    return days_or_microseconds


def _as_float(value: int | float | decimal.Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _in_single_precision(value: float) -> float:
    try:
        single: float = struct.unpack("f", struct.pack("f", value))[0]
        return single
    except OverflowError:
        return math.copysign(math.inf, value)
