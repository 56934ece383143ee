"""Comparisons with values: which rows have one of some values, or one below or above a value.

Floor 3. Text, and any column of which only codes are known, is compared once per distinct value and not once per row;
what that gave is kept and extended as the dictionary grows. A comparison with a parameter is open: it becomes one with
values before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.errors import TypeMismatchError
from gpu_engine.expression.comparable import COMPARE, fitted, place_of, resting
from gpu_engine.expression.connective import Condition, Resolve, without_parameters
from gpu_engine.expression.join import Reference
from gpu_engine.expression.parameter import ListType, Parameter, ParameterType, merged_types
from gpu_engine.schema import DataType
from gpu_engine.storage.column import Values

if TYPE_CHECKING:
    from gpu_engine.expression.condition import Operand
    from gpu_engine.expression.flat_rows import RowReader

__all__ = ["OpenComparison", "ValueComparison", "compare_with_value"]

_COMPARE_TEXT = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}


def compare_with_value(operand: Operand, operator: str, value: Any) -> Condition:
    """Return the comparison of a bound operand with a value, or with parameters.

    Parameters
    ----------
    operator : one of == < <= > >= isin
    value : what a user gave; for isin a parameter, or a tuple in which None stands for null; == None means is null

    Raises
    ------
    TypeMismatchError
        If a value cannot be compared with the operand.
    """
    many, where = operator == "isin", place_of(operand)
    given = value if many and not isinstance(value, Parameter) else (value,)
    if operand.type.width is not None and not (many or (operator == "==" and given == (None,))):
        raise TypeMismatchError(where, value, "operand (a VECTOR is null or not, it cannot be compared)")
    parts = tuple(item if isinstance(item, Parameter) else fitted(item, operand.type, where) for item in given)
    if any(isinstance(item, Parameter) for item in parts):
        return OpenComparison(operand, operator, parts[0] if isinstance(value, Parameter) else parts)
    return ValueComparison.of(operand, operator, parts)


@dataclass(frozen=True, eq=False)
class ValueComparison(Condition):
    """A bound operand that is one of some values, or on one side of a value."""

    operand: Operand
    operator: str
    """isin, or one of < <= > >= with at most one value."""
    values: tuple[Any, ...]
    """Fitted values, none of them None; without any nothing but null can match."""
    matches_null: bool
    """Whether a null satisfies the comparison."""
    _table: _CodeTable = field(default_factory=lambda: _CodeTable(), repr=False)

    @classmethod
    def of(cls, operand: Operand, operator: str, parts: tuple[Any, ...]) -> ValueComparison:
        """Return the comparison with fitted values, in which None stands for null; < None is never true."""
        equality = operator in ("==", "isin")
        present = tuple(item for item in parts if item is not None)
        return cls(operand, "isin" if equality else operator, present, equality and len(present) < len(parts))

    def bind(self, resolve: Resolve) -> Condition:
        """Return itself."""
        return self

    def references(self) -> frozenset[Reference]:
        """Return the columns of the operand."""
        return self.operand.references()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same comparison of the same operand, whatever the order of values."""
        return (self.operator, self.operand.identity(), frozenset(self.values), self.matches_null)

    def mask(self, rows: RowReader) -> Array:
        """Return where the comparison holds."""
        reference = self.operand.reference
        if reference is None:
            return self._among(self.operand.evaluate(rows), rows.backend)
        if rows.holds_values and not reference.column.coded:
            return self._among(rows.values(reference), rows.backend)
        codes = rows.codes(reference)
        return self._table.of(self, reference, rows.backend).take(codes + 1)

    def holds(self, values: pa.Array, backend: ArrayBackend) -> Array:
        """Return (n,) bool: for which of (n,) values, none of them null, the comparison holds."""
        if not pa.types.is_string(values.type):
            return self._compare(backend.from_arrow(values)[0], backend)
        if not self.values:
            return backend.xp.zeros(len(values), dtype="bool")
        if self.operator == "isin":
            found = pc.is_in(values, value_set=pa.array(self.values, values.type))
        else:
            found = _COMPARE_TEXT[self.operator](values, pa.scalar(self.values[0], values.type))
        return backend.from_arrow(found)[0]

    @cached_property
    def _resting(self) -> tuple[int | float, ...]:
        """The values as the operand's arrays hold them, without those that nothing can equal."""
        op = "==" if self.operator == "isin" else self.operator
        values = [resting(value, self.operand.type, op) for value in self.values]
        return tuple(value for value in values if value is not None)

    def _among(self, values: Values, backend: ArrayBackend) -> Array:
        result = self._compare(values.data, backend)
        if values.valid is None:
            return result
        return (result & values.valid) | ~values.valid if self.matches_null else result & values.valid

    def _compare(self, data: Array, backend: ArrayBackend) -> Array:
        result = backend.xp.zeros(len(data), dtype="bool")
        for value in self._resting:
            result |= COMPARE["==" if self.operator == "isin" else self.operator](data, value)
        return result


class _CodeTable:
    """Truth of a comparison per dictionary code, extended when the dictionary has grown."""

    __slots__ = ("_truth",)

    def __init__(self) -> None:
        self._truth: Array | None = None

    def of(self, comparison: ValueComparison, reference: Reference, backend: ArrayBackend) -> Array:
        """Return (size + 1,) bool: first for null, then for each code."""
        dictionary = reference.column.dictionary
        truth, size = self._truth, len(dictionary)
        if truth is None:
            truth = backend.from_host([comparison.matches_null], "bool")
        known = len(truth) - 1
        if known < size:
            fresh = comparison.holds(dictionary.values(size).slice(known), backend)
            truth = backend.xp.concatenate([truth, fresh])
            self._truth = truth
        return truth


@dataclass(frozen=True, eq=False)
class OpenComparison(Condition):
    """A bound operand compared with parameters that have no value yet."""

    operand: Operand
    operator: str
    value: Parameter | tuple[Any, ...]
    """One parameter (for isin: of a list), or fitted values and parameters of which there is more than one for isin."""

    def bind(self, resolve: Resolve) -> Condition:
        """Return itself."""
        return self

    def parameters(self) -> Mapping[str, ParameterType]:
        """Return the parameters: of the operand's type, or of a list of it."""
        data_type: DataType = self.operand.type
        if isinstance(self.value, Parameter):
            return {self.value.name: ListType(data_type) if self.operator == "isin" else data_type}
        names = [item.name for item in self.value if isinstance(item, Parameter)]
        return merged_types({name: data_type} for name in names)

    def assign(self, values: Mapping[str, Any]) -> Condition:
        """Return the comparison with the parameters' values."""
        if isinstance(self.value, Parameter):
            given = values[self.value.name]
            return ValueComparison.of(self.operand, self.operator, given if self.operator == "isin" else (given,))
        parts = tuple(values[item.name] if isinstance(item, Parameter) else item for item in self.value)
        return ValueComparison.of(self.operand, self.operator, parts)

    def references(self) -> frozenset[Reference]:
        """Return the columns of the operand."""
        return self.operand.references()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same comparison with the same parameters."""
        return (self.operator, self.operand.identity(), self.value)

    def mask(self, rows: RowReader) -> Array:
        """Refuse: without values there is nothing to compare with."""
        return without_parameters(self).mask(rows)
