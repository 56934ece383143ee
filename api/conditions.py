"""The grammar of a condition in JSON, for filters of cubes and conditions on rows alike.

Floor 6. What is compared is named by the member "level" in a filter and by "field" in a condition on rows:

    {"field": path, "op": "==" | "!=" | "<" | "<=" | ">" | ">=", "value": value}
    {"field": path, "op": "isin", "value": [value, ...]}
    {"field": path, "op": "isnull"}
    {"op": "and" | "or", "of": [condition, ...]}
    {"op": "not", "of": condition}

with values as `api.wire` spells them (dates as ISO text). The value may be another column, {"field": path}, in a
condition on rows, and {"param": name} in a query that is prepared: also as one of the values of `isin`, or as all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import gpu_engine as ge
from api.errors import RequestError, placed
from api.expect import expect_list, expect_members, expect_object
from api.wire import value_of

__all__ = ["ConditionReader"]

MAX_DEPTH = 16
MAX_PARTS = 1_000
MAX_VALUES = 100_000

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CONNECTIVES: Mapping[str, Callable[[Any, Any], Any]] = {"and": operator.and_, "or": operator.or_}
OPERATORS = (*COMPARISONS, "isin", "isnull", *CONNECTIVES, "not")

Find = Callable[[Any, str], tuple[Any, ge.DataType]]
"""Returns what a name at a place stands for, and the type of its values; raises a `RequestError` if nothing."""


class ConditionReader:
    """Reads one condition; counts its parts so that none grows without bound.

    Parameters
    ----------
    member : the member that names what is compared, "level" or "field"
    find : finds it
    columns : whether it may be compared with another of its kind
    open : whether values may be parameters
    """

    def __init__(self, member: str, find: Find, *, columns: bool = False, open: bool = False) -> None:
        self._member, self._find, self._columns, self._open = member, find, columns, open
        self._parts = 0

    def read(self, given: Any, place: str, depth: int = 0) -> ge.Condition:
        """Return the condition that `given` spells; RequestError with the place of the first mistake."""
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            raise RequestError(
                "invalid_request",
                f"the filter is too large: at most {MAX_DEPTH} deep and {MAX_PARTS} parts.",
                place=place,
            )
        given = expect_object(given, place)
        op = given.get("op")
        if not isinstance(op, str) or op not in OPERATORS:
            raise RequestError("invalid_request", f"expected one of {' '.join(OPERATORS)}.", place=f"{place}.op")
        if op in CONNECTIVES or op == "not":
            expect_members(given, ("op", "of"), place)
            return self._combined(op, given.get("of"), f"{place}.of", depth)
        expect_members(given, ("op", self._member, *(() if op == "isnull" else ("value",))), place)
        return self._compared(op, given, place)

    def _combined(self, op: str, of: Any, place: str, depth: int) -> ge.Condition:
        if op == "not":
            return ~self.read(of, place, depth + 1)
        parts = expect_list(of, place, "filters", MAX_PARTS)
        if not parts:
            raise RequestError("invalid_request", "give at least one filter.", place=place)
        return _balanced(CONNECTIVES[op], [self.read(part, f"{place}[{i}]", depth + 1) for i, part in enumerate(parts)])

    def _compared(self, op: str, given: dict[str, Any], place: str) -> ge.Condition:
        operand, data_type = self._find(given.get(self._member), f"{place}.{self._member}")
        if op == "isnull":
            empty: ge.Condition = operand.isnull()
            return empty
        if "value" not in given:
            raise RequestError("invalid_request", f"{op} needs a member 'value'.", place=place)
        value, here = given["value"], f"{place}.value"
        if op == "isin":
            among: ge.Condition = operand.isin(self._values(value, data_type, here))
            return among
        if value is None and op not in ("==", "!="):
            raise RequestError("type_mismatch", "null has no order. Use == or isnull.", place=here)
        with placed(here):
            condition: ge.Condition = COMPARISONS[op](operand, self._value(value, data_type, here))
        return condition

    def _values(self, given: Any, data_type: ge.DataType, place: str) -> Any:
        if self._open and isinstance(given, dict):
            return self._parameter(given, place)
        values = expect_list(given, place, "values", MAX_VALUES)
        return [self._one(value, data_type, f"{place}[{i}]") for i, value in enumerate(values)]

    def _value(self, given: Any, data_type: ge.DataType, place: str) -> Any:
        if self._columns and isinstance(given, dict) and self._member in given:
            expect_members(given, (self._member,), place)
            return self._find(given[self._member], f"{place}.{self._member}")[0]
        return self._one(given, data_type, place)

    def _one(self, given: Any, data_type: ge.DataType, place: str) -> Any:
        if self._open and isinstance(given, dict):
            return self._parameter(given, place)
        if data_type.numeric and isinstance(given, int | float) and not isinstance(given, bool):
            return given
        return value_of(given, data_type, place)

    @staticmethod
    def _parameter(given: dict[str, Any], place: str) -> ge.Parameter:
        expect_members(given, ("param",), place)
        with placed(f"{place}.param"):
            return ge.param(given.get("param"))


def _balanced(combine: Callable[[Any, Any], Any], parts: list[ge.Condition]) -> ge.Condition:
    """Return all parts combined as a tree of logarithmic depth, so that no list is too long to evaluate."""
    while len(parts) > 1:
        pairs = [combine(left, right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]
