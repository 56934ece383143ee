"""Parameters: values that a query leaves open until it is run.

Floor 3. A parameter takes the type of what it is compared with, so a wrong value is found before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_engine.errors import InvalidModelError, InvalidParameterError, TypeMismatchError
from gpu_engine.schema import DOUBLE, INT, LONG, DataType

__all__ = ["Fit", "ListType", "Parameter", "ParameterType", "checked_values", "merged_types", "param"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """The place of a value in a condition; made by `param`."""

    name: str

    def __repr__(self) -> str:
        return f"param({self.name!r})"


@dataclass(frozen=True, slots=True)
class ListType:
    """Type of a parameter that stands for all the values of `isin`."""

    element: DataType

    def __str__(self) -> str:
        return f"LIST({self.element})"

    def __repr__(self) -> str:
        return str(self)


ParameterType = DataType | ListType
"""What a parameter takes: one value, or a list of them."""

Fit = Callable[[Any, DataType, str], Any]
"""Returns a value in a type, or raises TypeMismatchError; the last argument says where the value stands."""


def param(name: Any) -> Parameter:
    """Return a parameter: `field("city") == param("city")`, `isin(param("cities"))`, `isin(["Rome", param("city")])`.

    Raises
    ------
    InvalidModelError
        If `name` is not a text with at least one character.
    """
    if not isinstance(name, str) or not name:
        raise InvalidModelError(f"param({name!r}): give the parameter's name, a text with at least one character.")
    return Parameter(name)


def merged_types(parts: Iterable[Mapping[str, ParameterType]]) -> dict[str, ParameterType]:
    """Return the type of each parameter over all places where it stands.

    Raises
    ------
    InvalidParameterError
        If the places want values of different types. Numbers of different types agree on LONG or DOUBLE.
    """
    result: dict[str, ParameterType] = {}
    for part in parts:
        for name, wanted in part.items():
            known = result.setdefault(name, wanted)
            common = _common(known, wanted)
            if common is None:
                problem = f"parameter {name!r} stands for {known} and for {wanted}; use a parameter for each"
                raise InvalidParameterError([problem], result)
            result[name] = common
    return result


def checked_values(types: Mapping[str, ParameterType], given: Mapping[str, Any], fit: Fit) -> dict[str, Any]:
    """Return the values of all parameters, as `fit` makes them of what was given.

    Parameters
    ----------
    fit : what makes a value of a type

    Raises
    ------
    InvalidParameterError
        If a value is missing, of another type, or of no parameter; it lists all problems and all parameters.
    """
    problems = [f"parameter {name!r} is not known" for name in given if name not in types]
    values = {}
    for name, wanted in types.items():
        if name not in given:
            problems.append(f"parameter {name!r} has no value")
            continue
        try:
            values[name] = _fitted(given[name], wanted, fit, f"parameter {name!r}")
        except TypeMismatchError as error:
            problems.append(f"{error.where}: {error.value!r} is not a valid {error.expected}")
    if problems:
        raise InvalidParameterError(problems, types)
    return values


def _common(left: ParameterType, right: ParameterType) -> ParameterType | None:
    if left == right:
        return left
    if isinstance(left, ListType) and isinstance(right, ListType):
        element = _common(left.element, right.element)
        return ListType(element) if isinstance(element, DataType) else None
    if isinstance(left, ListType) or isinstance(right, ListType) or not (left.numeric and right.numeric):
        return None
    return LONG if {left, right} == {INT, LONG} else DOUBLE


def _fitted(value: Any, wanted: ParameterType, fit: Fit, where: str) -> Any:
    if isinstance(wanted, DataType):
        return fit(value, wanted, where)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeMismatchError(where, value, str(wanted))
    return tuple(fit(item, wanted.element, where) for item in value)
