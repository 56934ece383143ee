"""Measures: numbers computed on cells from primitive aggregates, and the arithmetic between them.

Floor 4. `ge.agg.sum(expression)` aggregates rows; measures combine with + - * / and numbers. A combination is null
where an operand is; a division by zero gives inf or NaN, as floats do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.cube.numbers import Numbers
from gpu_engine.errors import InvalidModelError
from gpu_engine.expression.condition import Operand, Resolve
from gpu_engine.expression.expression import INTEGER, REAL, Expression, NumericKind, as_expression, fits_int64
from gpu_engine.storage.column import Values
from gpu_engine.storage.table_store import TableStore

__all__ = ["Aggregation", "CountRows", "Measure", "NamedMeasure", "agg", "as_measure", "refuse_strangers"]


class Measure:
    """A number per cell. Combine with + - * / and with numbers."""

    __slots__ = ()

    def __add__(self, other: object) -> Measure:
        return Combination("+", self, as_measure(other))

    def __radd__(self, other: object) -> Measure:
        return Combination("+", as_measure(other), self)

    def __sub__(self, other: object) -> Measure:
        return Combination("-", self, as_measure(other))

    def __rsub__(self, other: object) -> Measure:
        return Combination("-", as_measure(other), self)

    def __mul__(self, other: object) -> Measure:
        return Combination("*", self, as_measure(other))

    def __rmul__(self, other: object) -> Measure:
        return Combination("*", as_measure(other), self)

    def __truediv__(self, other: object) -> Measure:
        return Combination("/", self, as_measure(other))

    def __rtruediv__(self, other: object) -> Measure:
        return Combination("/", as_measure(other), self)

    def __neg__(self) -> Measure:
        return Combination("-", Number(0), self)

    def bind(self, resolve: Resolve) -> Measure:
        """Return the measure with every column resolved.

        Raises
        ------
        UnknownColumnError, AmbiguousNameError, InvalidModelError
            If a column is not found, not clear, or not numeric.
        """
        raise NotImplementedError

    def expand(self) -> Measure:
        """Return the measure with every name replaced by what it stands for now."""
        return self

    def substitute(self, name: str, definition: Measure) -> Measure:
        """Return the measure with a name replaced by a definition."""
        return self

    def names(self) -> frozenset[str]:
        """Return the names of measures that it uses, directly or through others."""
        return frozenset()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for expanded measures which compute the same."""
        raise NotImplementedError

    @property
    def kind(self) -> NumericKind:
        """What numbers an expanded measure yields."""
        raise NotImplementedError

    def primitives(self) -> frozenset[Primitive]:
        """Return the aggregates that an expanded measure is computed from."""
        raise NotImplementedError

    def evaluate(self, backend: ArrayBackend, cells: Numbers) -> Values:
        """Return the (n,) numbers of n cells, and which of them are there."""
        raise NotImplementedError


class Catalog(Protocol):
    """Where names of measures are looked up."""

    def definition(self, name: str) -> Measure:
        """Return what the name stands for now."""
        ...


@dataclass(frozen=True, slots=True)
class NamedMeasure(Measure):
    """A measure of a cube, by name: what uses it follows when the name is given a new meaning."""

    name: str
    catalog: Catalog

    def bind(self, resolve: Resolve) -> Measure:
        """Return itself: what the name stands for is bound already."""
        return self

    def expand(self) -> Measure:
        """Return what the name stands for now."""
        return self.catalog.definition(self.name).expand()

    def substitute(self, name: str, definition: Measure) -> Measure:
        """Return the definition if the name is this one."""
        return definition if name == self.name else self

    def names(self) -> frozenset[str]:
        """Return this name and those behind it."""
        return self.catalog.definition(self.name).names() | {self.name}


@dataclass(frozen=True, slots=True)
class CountRows(Measure):
    """Number of facts of each cell: `contributors.COUNT`."""

    def bind(self, resolve: Resolve) -> Measure:
        """Return itself."""
        return self

    def identity(self) -> tuple[object, ...]:
        """Return that rows are counted."""
        return ("rows",)

    @property
    def kind(self) -> NumericKind:
        """An integer."""
        return INTEGER

    def primitives(self) -> frozenset[Primitive]:
        """Return the row count."""
        return frozenset([ROWS])

    def evaluate(self, backend: ArrayBackend, cells: Numbers) -> Values:
        """Return the row counts."""
        return Values(cells[ROWS], None)


@dataclass(frozen=True)
class Aggregation(Measure):
    """sum, count, mean, min or max of an expression over the facts of each cell; nulls are passed over."""

    function: str
    expression: Expression

    def bind(self, resolve: Resolve) -> Measure:
        """Return the aggregation of the bound expression."""
        bound = self.expression.bind(resolve)
        if self.function != "count":
            _ = bound.kind
        return Aggregation(self.function, bound)

    def identity(self) -> tuple[object, ...]:
        """Return the function and what it aggregates."""
        return (self.function, self.expression.identity())

    @property
    def kind(self) -> NumericKind:
        """Counts are integers, means floats, the others as their expression."""
        if self.function == "count":
            return INTEGER
        return REAL if self.function == "mean" else self.expression.kind

    def primitives(self) -> frozenset[Primitive]:
        """Return what is kept per cell; a count always is, to know when no value is left."""
        return frozenset([self._count, self._primitive])

    @cached_property
    def _count(self) -> Primitive:
        return Primitive.of("count", self.expression)

    @cached_property
    def _primitive(self) -> Primitive:
        return Primitive.of("sum" if self.function == "mean" else self.function, self.expression)

    def evaluate(self, backend: ArrayBackend, cells: Numbers) -> Values:
        """Return sums and counts (0 where there is no value), means and extremes (null where there is none)."""
        data = cells[self._primitive]
        if self.function in ("sum", "count"):
            return Values(data, None)
        count = cells[self._count]
        if self.function == "mean":
            unit = 10.0**self.expression.kind.scale
            data = data / (backend.xp.maximum(count, 1) * unit)
        return Values(data, count > 0)


@dataclass(frozen=True, slots=True)
class Number(Measure):
    """The same number in every cell."""

    value: int | float

    def bind(self, resolve: Resolve) -> Measure:
        """Return itself."""
        return self

    def identity(self) -> tuple[object, ...]:
        """Return the number; 1 and 1.0 differ."""
        return (type(self.value).__name__, self.value)

    @property
    def kind(self) -> NumericKind:
        """What number it is."""
        return REAL if isinstance(self.value, float) else INTEGER

    def primitives(self) -> frozenset[Primitive]:
        """Return nothing."""
        return frozenset()

    def evaluate(self, backend: ArrayBackend, cells: Numbers) -> Values:
        """Return the number for each cell."""
        return Values(backend.xp.full(len(cells), self.value), None)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Combination(Measure):
    """left op right, cell by cell."""

    operator: str
    left: Measure
    right: Measure

    def bind(self, resolve: Resolve) -> Measure:
        """Return the combination of both sides bound."""
        return replace(self, left=self.left.bind(resolve), right=self.right.bind(resolve))

    def expand(self) -> Measure:
        """Return the combination of both sides expanded."""
        return replace(self, left=self.left.expand(), right=self.right.expand())

    def substitute(self, name: str, definition: Measure) -> Measure:
        """Return the combination with both sides substituted."""
        return replace(self, left=self.left.substitute(name, definition), right=self.right.substitute(name, definition))

    def names(self) -> frozenset[str]:
        """Return the names that both sides use."""
        return self.left.names() | self.right.names()

    def identity(self) -> tuple[object, ...]:
        """Return the operator and both sides."""
        return (self.operator, self.left.identity(), self.right.identity())

    @property
    def kind(self) -> NumericKind:
        """Integers stay integers under + - *; everything else is float."""
        exact = self.operator != "/" and self.left.kind == INTEGER and self.right.kind == INTEGER
        return INTEGER if exact else REAL

    def primitives(self) -> frozenset[Primitive]:
        """Return what both sides need."""
        return self.left.primitives() | self.right.primitives()

    def evaluate(self, backend: ArrayBackend, cells: Numbers) -> Values:
        """Return the results."""
        sides = [self._side(side, backend, cells) for side in (self.left, self.right)]
        data = _OPERATIONS[self.operator](sides[0].data, sides[1].data)
        valid = [side.valid for side in sides if side.valid is not None]
        return Values(data, None if not valid else valid[0] if len(valid) == 1 else valid[0] & valid[1])

    def _side(self, side: Measure, backend: ArrayBackend, cells: Numbers) -> Values:
        values, kind = side.evaluate(backend, cells), side.kind
        if kind.name != "decimal":
            return values
        return Values(values.data / 10.0**kind.scale, values.valid)


def refuse_strangers(measure: Measure, root: TableStore) -> None:
    """Refuse an expanded measure that reads columns which rows of `root` do not reach.

    Raises
    ------
    InvalidModelError
        If it does, because it was taken from a cube over another table.
    """
    for primitive in measure.primitives():
        for reference in frozenset() if primitive.expression is None else primitive.expression.references():
            column = root.columns.get(reference.column.name)
            if reference.joins[0].source is not root if reference.joins else column is not reference.column:
                raise InvalidModelError(
                    f"a measure reads {reference.path!r}, which table {root.name!r} does not reach: it was taken from "
                    "a cube over another table. Define it for this cube."
                )


def as_measure(value: object) -> Measure:
    """Return a number as a measure, and a measure as it is.

    Raises
    ------
    InvalidModelError
        If the value is neither.
    """
    if isinstance(value, Measure):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(value if isinstance(value, float) or fits_int64(value) else float(value))
    if isinstance(value, Operand):
        raise InvalidModelError(f"{value!r} is a column, not a measure. Aggregate it: gpu_engine.agg.sum(...).")
    raise InvalidModelError(f"{value!r} is no measure. Use gpu_engine.agg.sum(...), a cube's measures, or numbers.")


class agg:
    """The aggregations: `gpu_engine.agg.sum(fact["quantity"] * product["unit_price"])`."""

    @staticmethod
    def sum(expression: Any) -> Measure:
        """Return the sum over the facts of each cell; 0 where every value is null."""
        return Aggregation("sum", as_expression(expression))

    @staticmethod
    def count(expression: Any) -> Measure:
        """Return the number of facts of each cell whose value is not null; of a column of any type."""
        return Aggregation("count", as_expression(expression))

    @staticmethod
    def mean(expression: Any) -> Measure:
        """Return the mean of the values that are not null; null where there is none."""
        return Aggregation("mean", as_expression(expression))

    @staticmethod
    def min(expression: Any) -> Measure:
        """Return the least value; null where there is none."""
        return Aggregation("min", as_expression(expression))

    @staticmethod
    def max(expression: Any) -> Measure:
        """Return the greatest value; null where there is none."""
        return Aggregation("max", as_expression(expression))
