"""Conditions as users write them: comparing operands, combining what that gives.

Floor 3. A comparison knows names and values only; `bind` finds the column and says what kind of comparison it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_engine.errors import TypeMismatchError
from gpu_engine.expression.column_comparison import compare_columns
from gpu_engine.expression.connective import AllOf, AnyOf, Condition, Resolve
from gpu_engine.expression.join import Reference
from gpu_engine.expression.parameter import Parameter
from gpu_engine.expression.value_comparison import compare_with_value
from gpu_engine.schema import DataType
from gpu_engine.storage.column import Values

if TYPE_CHECKING:
    from gpu_engine.expression.flat_rows import RowReader

__all__ = ["AllOf", "AnyOf", "Comparison", "Condition", "Operand", "Resolve"]


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

    def isin(self, values: Iterable[Any] | Parameter) -> Condition:
        """Return the condition that the value is one of `values`; a None among them matches null."""
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable | Parameter):
            raise TypeMismatchError(f"isin on {self!r}", values, "list of values")
        return Comparison(self, "isin", values if isinstance(values, Parameter) else tuple(values))

    def isnull(self) -> Condition:
        """Return the condition that the value is null (N/A)."""
        return Comparison(self, "isin", (None,))

    @property
    def reference(self) -> Reference | None:
        """The column, where the operand is just that and has been bound."""
        return None

    @property
    def type(self) -> DataType:
        """Type of the values that a bound operand yields."""
        raise NotImplementedError

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


@dataclass(frozen=True, eq=False, slots=True)
class Comparison(Condition):
    """operand op value, for op one of == < <= > >= isin, before it is bound."""

    operand: Operand
    operator: str
    value: Any
    """A value, a parameter or another operand; for isin a tuple of values and parameters, or one parameter."""

    def bind(self, resolve: Resolve) -> Condition:
        """Return the comparison with its column found and its value in the column's type."""
        operand = self.operand.bind(resolve)
        if isinstance(self.value, Operand):
            return compare_columns(operand, self.operator, self.value.bind(resolve))
        return compare_with_value(operand, self.operator, self.value)
