"""Conditions: which rows, or which cells, are meant.

Floor 3. A condition is true or false, never unknown: a comparison with null is false, and its negation true; `isnull`
asks for null itself. A column that rests as dictionary codes is compared once per distinct value, not once per row.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.join import Reference
from gpu_engine.errors import InvalidQueryError, TypeMismatchError
from gpu_engine.schema import BOOLEAN, LOCAL_DATE, DataType, arrow_scalar
from gpu_engine.storage.column import Values

if TYPE_CHECKING:
    from gpu_engine.database.expression import Field
    from gpu_engine.database.flat_rows import RowReader

__all__ = ["AllOf", "AnyOf", "Comparison", "Condition", "Operand"]

Resolve = Callable[["Field"], Reference]


class Operand:
    """Something that has a value per row; comparing it makes a condition."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return self.isnull() if other is None else Comparison(self, "==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return ~(self == other)

    def __lt__(self, other: object) -> Condition:
        return Comparison(self, "<", other)

    def __le__(self, other: object) -> Condition:
        return Comparison(self, "<=", other)

    def __gt__(self, other: object) -> Condition:
        return Comparison(self, ">", other)

    def __ge__(self, other: object) -> Condition:
        return Comparison(self, ">=", other)

    def isin(self, values: Iterable[Any]) -> Condition:
        """Return the condition that the value is one of `values`; a None among them matches null."""
        return Comparison(self, "isin", tuple(values))

    def isnull(self) -> Condition:
        """Return the condition that the value is null (N/A)."""
        return Comparison(self, "isin", (None,))

    @property
    def reference(self) -> Reference | None:
        """The column, where the operand is just that and has been bound."""
        return None

    def bind(self, resolve: Resolve) -> Operand:
        """Return the operand with every field resolved."""
        raise NotImplementedError

    def references(self) -> frozenset[Reference]:
        """Return the columns that a bound operand reads."""
        raise NotImplementedError

    def identity(self) -> tuple[object, ...]:
        """Return a hashable value, equal for bound operands that always yield the same."""
        raise NotImplementedError

    def evaluate(self, rows: RowReader) -> Values:
        """Return the numbers that a bound operand yields; columns that are no numbers are compared otherwise."""
        raise NotImplementedError


class Condition:
    """True or false per row. Combine with & (and), | (or) and ~ (not)."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        return AllOf((self, _condition(other)))

    def __or__(self, other: Condition) -> Condition:
        return AnyOf((self, _condition(other)))

    def __invert__(self) -> Condition:
        return Not(self)

    def __bool__(self) -> bool:
        raise InvalidQueryError(["a condition has no truth value. Combine with &, | and ~, not with and/or/not."])

    def bind(self, resolve: Resolve) -> Condition:
        """Return the condition with every field resolved and every value in its column's type.

        Raises
        ------
        TypeMismatchError
            If a value cannot be compared with its column.
        UnknownColumnError, AmbiguousNameError
            As `resolve` raises them.
        """
        raise NotImplementedError

    def references(self) -> frozenset[Reference]:
        """Return the columns that a bound condition reads."""
        raise NotImplementedError

    def identity(self) -> tuple[object, ...]:
        """Return a hashable value, equal for bound conditions that always mean the same."""
        raise NotImplementedError

    def mask(self, rows: RowReader) -> Array:
        """Return (n,) bool: for which rows a bound condition holds."""
        raise NotImplementedError


def _condition(value: object) -> Condition:
    if not isinstance(value, Condition):
        raise InvalidQueryError([f"{value!r} is not a condition. Write for example field('city') == 'Paris'."])
    return value


@dataclass(frozen=True, slots=True)
class _Combination(Condition):
    """Conditions joined by one connective."""

    parts: tuple[Condition, ...]

    def bind(self, resolve: Resolve) -> Condition:
        return type(self)(tuple(part.bind(resolve) for part in self.parts))

    def references(self) -> frozenset[Reference]:
        return frozenset().union(*(part.references() for part in self.parts))

    def identity(self) -> tuple[object, ...]:
        return (type(self).__name__, *(part.identity() for part in self.parts))


@dataclass(frozen=True, slots=True)
class AllOf(_Combination):
    """True where every part is."""

    def mask(self, rows: RowReader) -> Array:
        """Return where all parts hold."""
        result = self.parts[0].mask(rows)
        for part in self.parts[1:]:
            result = result & part.mask(rows)
        return result


@dataclass(frozen=True, slots=True)
class AnyOf(_Combination):
    """True where some part is."""

    def mask(self, rows: RowReader) -> Array:
        """Return where at least one part holds."""
        result = self.parts[0].mask(rows)
        for part in self.parts[1:]:
            result = result | part.mask(rows)
        return result


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """True where the part is false."""

    part: Condition

    def bind(self, resolve: Resolve) -> Condition:
        return Not(self.part.bind(resolve))

    def references(self) -> frozenset[Reference]:
        return self.part.references()

    def identity(self) -> tuple[object, ...]:
        return ("Not", self.part.identity())

    def mask(self, rows: RowReader) -> Array:
        return ~self.part.mask(rows)


_COMPARE_ARROW = {
    "==": pc.equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_COMPARE_ARRAYS = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison(Condition):
    """operand op value, for op one of == < <= > >= isin."""

    operand: Operand
    operator: str
    value: Any
    """A Python value; for isin a tuple of them, in which None stands for null."""
    _table: _CodeTable = field(default_factory=lambda: _CodeTable(), compare=False, repr=False)

    def bind(self, resolve: Resolve) -> Condition:
        """Return the comparison with its column found and its value in the column's type."""
        operand = self.operand.bind(resolve)
        if operand.reference is None:
            _check_number(self.value)
            return Comparison(operand, self.operator, self.value)
        data_type = operand.reference.column.type
        where = f"condition on {operand.reference.path!r}"
        if data_type.width is not None:
            raise TypeMismatchError(where, self.value, "operand (a VECTOR cannot be compared)")
        if self.operator == "isin":
            value: Any = tuple(_fitted(item, data_type, where) for item in self.value)
        else:
            value = _fitted(self.value, data_type, where)
        return Comparison(operand, self.operator, value)

    def references(self) -> frozenset[Reference]:
        """Return the columns of the operand."""
        return self.operand.references()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same comparison of the same operand."""
        return (self.operator, self.operand.identity(), _hashable(self.value))

    def mask(self, rows: RowReader) -> Array:
        """Return where the comparison holds; a column of codes is compared once per distinct value."""
        reference = self.operand.reference
        if reference is None:
            return self._compare(self.operand.evaluate(rows), self.value, rows)
        if rows.holds_values and not reference.column.coded:
            return self._compare(rows.values(reference), _stored(self.value, reference.column.type), rows)
        codes = rows.codes(reference)
        return self._table.of(self, reference, rows)[codes + 1]

    def holds(self, values: pa.Array) -> pa.Array:
        """Return for each of (n,) values, none of them null, whether the comparison holds."""
        if self.operator != "isin":
            return _COMPARE_ARROW[self.operator](values, pa.scalar(self.value))
        wanted = [value for value in self.value if value is not None]
        if pa.types.is_string(values.type):
            return pc.is_in(values, value_set=pa.array(wanted, values.type))
        result = pa.repeat(False, len(values))
        for value in wanted:
            result = pc.or_(result, pc.equal(values, pa.scalar(value)))
        return result

    @property
    def matches_null(self) -> bool:
        """Whether a null satisfies the comparison: only `isin` with a None does."""
        return self.operator == "isin" and None in self.value

    def _compare(self, values: Values, value: Any, rows: RowReader) -> Array:
        """Compare numbers as they rest with a value in the same unit."""
        if self.operator == "isin":
            result = rows.backend.xp.zeros(len(rows), dtype="bool")
            for wanted in value:
                if wanted is not None:
                    result |= values.data == wanted
        else:
            result = _COMPARE_ARRAYS[self.operator](values.data, value)
        if values.valid is None:
            return result
        result &= values.valid
        return result | ~values.valid if self.matches_null else result


class _CodeTable:
    """Truth of a comparison per dictionary code, extended when the dictionary has grown."""

    __slots__ = ("_truth",)

    def __init__(self) -> None:
        self._truth: Array | None = None

    def of(self, comparison: Comparison, reference: Reference, rows: RowReader) -> Array:
        """Return (size + 1,) bool: first for null, then for each code."""
        dictionary, backend = reference.column.dictionary, rows.backend
        truth, size = self._truth, len(dictionary)
        if truth is None:
            truth = backend.from_host([comparison.matches_null], "bool")
        known = len(truth) - 1
        if known < size:
            fresh, _ = backend.from_arrow(comparison.holds(dictionary.values(size).slice(known)))
            truth = backend.xp.concatenate([truth, fresh])
            self._truth = truth
        return truth


def _fitted(value: Any, data_type: DataType, where: str) -> Any:
    """Return `value` as it can be compared with values of `data_type`; any number goes with numeric columns."""
    if value is None:
        return None
    if data_type.numeric and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, Operand):
        raise TypeMismatchError(where, value, f"{data_type} value (compare with a value, not with a column)")
    if data_type == BOOLEAN and not isinstance(value, bool):
        raise TypeMismatchError(where, value, str(data_type))
    return arrow_scalar(value, data_type, where).as_py()


def _stored(value: Any, data_type: DataType) -> Any:
    """Return a fitted value as the column's arrays hold it: days, microseconds, multiples of a decimal's unit."""
    if isinstance(value, tuple):
        return tuple(_stored(item, data_type) for item in value)
    if value is None or isinstance(value, bool | float):
        return value if data_type.scale is None or value is None else value * 10**data_type.scale
    if data_type.scale is not None:
        return int(decimal.Decimal(value).scaleb(data_type.scale))
    if data_type.numeric:
        return value
    return pa.scalar(value, data_type.arrow).cast(pa.int32() if data_type == LOCAL_DATE else pa.int64()).as_py()


def _check_number(value: Any) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if item is not None and (not isinstance(item, int | float) or isinstance(item, bool)):
            raise TypeMismatchError("condition on an arithmetic expression", item, "number")


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
