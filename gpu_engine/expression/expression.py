"""Expressions: arithmetic over columns, row by row.

Floor 3. Users write `fact["quantity"] * product["unit_price"]`; a `Field` names a column, `bind` turns names into
references that can be read. A null operand makes a null result. Integers and decimals stay exact under + - *; a
division, or an operand that is a float, makes float64.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gpu_engine.errors import InvalidModelError
from gpu_engine.expression.condition import Operand, Resolve
from gpu_engine.expression.flat_rows import RowReader
from gpu_engine.expression.join import Reference
from gpu_engine.schema import DECIMAL, DOUBLE, LONG, DataType
from gpu_engine.storage.column import Values

__all__ = ["INTEGER", "REAL", "Arithmetic", "Bound", "Expression", "Field", "Literal", "NumericKind", "field"]

_DECIMAL_DIGITS = 18


@dataclass(frozen=True, slots=True)
class NumericKind:
    """What numbers an expression yields."""

    name: str
    """int (int64), float (float64) or decimal (int64 multiples of 10**-scale)."""
    scale: int = 0

    @property
    def dtype(self) -> str:
        """dtype of the arrays that hold such numbers."""
        return "float64" if self.name == "float" else "int64"


INTEGER, REAL = NumericKind("int"), NumericKind("float")


class Expression(Operand):
    """A value per row. Combine with + - * / and with numbers; compare to get a condition."""

    __slots__ = ()

    def __add__(self, other: object) -> Expression:
        return Arithmetic("+", self, as_expression(other))

    def __radd__(self, other: object) -> Expression:
        return Arithmetic("+", as_expression(other), self)

    def __sub__(self, other: object) -> Expression:
        return Arithmetic("-", self, as_expression(other))

    def __rsub__(self, other: object) -> Expression:
        return Arithmetic("-", as_expression(other), self)

    def __mul__(self, other: object) -> Expression:
        return Arithmetic("*", self, as_expression(other))

    def __rmul__(self, other: object) -> Expression:
        return Arithmetic("*", as_expression(other), self)

    def __truediv__(self, other: object) -> Expression:
        return Arithmetic("/", self, as_expression(other))

    def __rtruediv__(self, other: object) -> Expression:
        return Arithmetic("/", as_expression(other), self)

    def __neg__(self) -> Expression:
        return Arithmetic("-", Literal(0), self)

    def bind(self, resolve: Resolve) -> Expression:
        """Return the expression with every field resolved; errors as `resolve` raises them."""
        raise NotImplementedError

    @property
    def kind(self) -> NumericKind:
        """What numbers a bound expression yields.

        Raises
        ------
        InvalidModelError
            If it reads a column that is not numeric.
        """
        raise NotImplementedError

    @property
    def type(self) -> DataType:
        """Type of the values that a bound expression yields; errors as `kind`."""
        if self.kind.name == "decimal":
            return DECIMAL(_DECIMAL_DIGITS, self.kind.scale)
        return LONG if self.kind == INTEGER else DOUBLE


@dataclass(frozen=True, eq=False, slots=True)
class Field(Expression):
    """A column by name: of the table at hand, through joins (`product.color`), or taken from a given table."""

    path: tuple[str, ...]
    """Names of joins to follow, then the column."""
    table: str | None = None
    """Table that the column was taken from, as in `product["color"]`; None for `field("...")`."""

    def __repr__(self) -> str:
        return ".".join(self.path) if self.table is None else f"{self.table}[{self.path[-1]!r}]"

    def bind(self, resolve: Resolve) -> Expression:
        """Return the column that `resolve` finds."""
        return Bound(resolve(self))


def field(path: Any) -> Field:
    """Return the column that `path` names: `city`, or through joins `product.color`.

    Raises
    ------
    InvalidModelError
        If `path` is not a text with at least one character.
    """
    if not isinstance(path, str) or not path:
        raise InvalidModelError(f"field({path!r}): give the name of a column, or joins and a column: 'product.color'.")
    return Field(tuple(path.split(".")))


@dataclass(frozen=True, eq=False)
class Bound(Expression):
    """A column that has been found: what `bind` puts in the place of a `Field`."""

    column: Reference

    def __repr__(self) -> str:
        return self.column.path

    @property
    def reference(self) -> Reference:
        """The column."""
        return self.column

    @property
    def type(self) -> DataType:
        """Type of the column."""
        return self.column.column.type

    def bind(self, resolve: Resolve) -> Expression:
        """Return itself."""
        return self

    def references(self) -> frozenset[Reference]:
        """Return the one column."""
        return frozenset([self.column])

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same column by the same path."""
        return ("column", self.column)

    @cached_property
    def kind(self) -> NumericKind:
        """What numbers the column holds."""
        data_type = self.column.column.type
        if not data_type.numeric:
            raise InvalidModelError(
                f"column {self.column.path!r} is {data_type}; arithmetic and sums need a numeric column."
            )
        if data_type.scale is not None:
            return NumericKind("decimal", data_type.scale)
        return REAL if data_type.storage.startswith("float") else INTEGER

    def evaluate(self, rows: RowReader) -> Values:
        """Return the column's numbers; of a column that is not numeric only `valid` has a meaning."""
        values, data_type = rows.values(self.column), self.column.column.type
        if data_type.coded:
            return Values(values.data, values.data >= 0)
        if data_type.storage == "float64" or not data_type.numeric:
            return values
        return Values(values.data.astype(self.kind.dtype, copy=False), values.valid)


@dataclass(frozen=True, eq=False, slots=True)
class Literal(Expression):
    """A number."""

    value: int | float | decimal.Decimal

    def __repr__(self) -> str:
        return repr(self.value)

    def bind(self, resolve: Resolve) -> Expression:
        """Return itself."""
        return self

    def references(self) -> frozenset[Reference]:
        """Return no column."""
        return frozenset()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same number of the same type."""
        return ("number", type(self.value), self.value)

    @property
    def kind(self) -> NumericKind:
        """What number it is."""
        if isinstance(self.value, decimal.Decimal):
            exponent = self.value.as_tuple().exponent
            return NumericKind("decimal", max(0, -exponent)) if isinstance(exponent, int) else REAL
        return REAL if isinstance(self.value, float) else INTEGER

    @property
    def number(self) -> int | float:
        """The number in the dtype and unit of its kind."""
        if self.kind == REAL:
            return float(self.value)
        return int(decimal.Decimal(self.value).scaleb(self.kind.scale))

    def evaluate(self, rows: RowReader) -> Values:
        """Return the number once per row."""
        return Values(rows.backend.xp.full(len(rows), self.number), None)


@dataclass(frozen=True, eq=False)
class Arithmetic(Expression):
    """left op right, for op one of + - * /."""

    operator: str
    left: Expression
    right: Expression

    def __repr__(self) -> str:
        return f"({self.left!r} {self.operator} {self.right!r})"

    def bind(self, resolve: Resolve) -> Expression:
        """Return the operation with both sides bound."""
        return Arithmetic(self.operator, self.left.bind(resolve), self.right.bind(resolve))

    def references(self) -> frozenset[Reference]:
        """Return the columns of both sides."""
        return self.left.references() | self.right.references()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same operation on the same sides."""
        return (self.operator, self.left.identity(), self.right.identity())

    @cached_property
    def kind(self) -> NumericKind:
        """What numbers the operation yields."""
        left, right = self.left.kind, self.right.kind
        if self.operator == "/" or REAL in (left, right):
            return REAL
        scale = left.scale + right.scale if self.operator == "*" else max(left.scale, right.scale)
        if scale > _DECIMAL_DIGITS:
            return REAL
        return NumericKind("decimal", scale) if "decimal" in (left.name, right.name) else INTEGER

    def evaluate(self, rows: RowReader) -> Values:
        """Return the results; dividing by zero gives inf or NaN, as floats do; int64 wraps where it overflows."""
        left, right = self._side(self.left, rows), self._side(self.right, rows)
        data = _OPERATIONS[self.operator](left.data, right.data)
        if left.valid is None or right.valid is None:
            return Values(data, right.valid if left.valid is None else left.valid)
        return Values(data, left.valid & right.valid)

    def _side(self, side: Expression, rows: RowReader) -> Values:
        """Return one side in the unit that the operation needs."""
        values, kind, result = side.evaluate(rows), side.kind, self.kind
        if result == REAL:
            scaled = values.data / 10.0**kind.scale if kind.name == "decimal" else values.data
            return Values(scaled, values.valid)
        if self.operator == "*" or result.scale == kind.scale:
            return values
        return Values(values.data * 10 ** (result.scale - kind.scale), values.valid)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
}


def fits_int64(value: int) -> bool:
    """Return whether arrays of integers can hold the value."""
    return -(2**63) <= value < 2**63


def as_expression(value: object) -> Expression:
    """Return a number as a literal, and an expression as it is.

    Raises
    ------
    InvalidModelError
        If the value is neither.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool):
        return Literal(float(value) if isinstance(value, int) and not fits_int64(value) else value)
    raise InvalidModelError(f"{value!r} cannot be part of an expression. Use columns and numbers.")
