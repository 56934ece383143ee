"""Connectives: conditions and how they combine with and, or, not.

Floor 3. A condition is true or false, never unknown: a comparison with null is false, and its negation true; `isnull`
asks for null itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_engine.backend.array_backend import Array
from gpu_engine.errors import InvalidParameterError, InvalidQueryError
from gpu_engine.expression.join import Reference
from gpu_engine.expression.parameter import ParameterType, merged_types

if TYPE_CHECKING:
    from gpu_engine.expression.expression import Field
    from gpu_engine.expression.flat_rows import RowReader

__all__ = ["AllOf", "AnyOf", "Condition", "Resolve", "without_parameters"]

Resolve = Callable[["Field"], Reference]


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

    def parameters(self) -> Mapping[str, ParameterType]:
        """Return the parameters that a bound condition leaves open, and their types.

        Raises
        ------
        InvalidParameterError
            If one parameter stands for values of different types.
        """
        return {}

    def assign(self, values: Mapping[str, Any]) -> Condition:
        """Return a bound condition with values, fitted to their types, in the place of its parameters."""
        return self

    def references(self) -> frozenset[Reference]:
        """Return the columns that a bound condition reads."""
        raise NotImplementedError

    def identity(self) -> tuple[object, ...]:
        """Return a hashable value, equal for bound conditions that always mean the same."""
        raise NotImplementedError

    def mask(self, rows: RowReader) -> Array:
        """Return (n,) bool: for which rows a bound condition without open parameters holds."""
        raise NotImplementedError


def without_parameters(condition: Condition) -> Condition:
    """Return a bound condition that is to be used at once.

    Raises
    ------
    InvalidParameterError
        If it has parameters, which nobody could give values.
    """
    types = condition.parameters()
    if types:
        problems = [f"parameter {name!r} has no value" for name in types]
        raise InvalidParameterError([*problems, "parameters are for session.database.prepare"], types)
    return condition


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

    def parameters(self) -> Mapping[str, ParameterType]:
        return merged_types(part.parameters() for part in self.parts)

    def assign(self, values: Mapping[str, Any]) -> Condition:
        return type(self)(tuple(part.assign(values) for part in self.parts))

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

    def parameters(self) -> Mapping[str, ParameterType]:
        return self.part.parameters()

    def assign(self, values: Mapping[str, Any]) -> Condition:
        return Not(self.part.assign(values))

    def references(self) -> frozenset[Reference]:
        return self.part.references()

    def identity(self) -> tuple[object, ...]:
        return ("Not", self.part.identity())

    def mask(self, rows: RowReader) -> Array:
        return ~self.part.mask(rows)
