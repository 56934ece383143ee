"""The grammar of a cube query in JSON, for HTTP and websocket alike.

Floor 6. A query is {"measures": [name, ...], "levels": [level, ...], "filter": filter, "totals": false, "branch":
"master"}; all but the measures may be left out. Over HTTP "epoch" asks for a past one. A level is its name, or
["Table", "Column"] where two levels share a name. A filter is one of

    {"level": level, "op": "==" | "!=" | "<" | "<=" | ">" | ">=", "value": value}
    {"level": level, "op": "isin", "value": [value, ...]}
    {"level": level, "op": "isnull"}
    {"op": "and" | "or", "of": [filter, ...]}
    {"op": "not", "of": filter}

with values as `api.wire` spells them (dates as ISO text). Every mistake is answered with its place, such as
`$.levels[0]`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from api.errors import RequestError, placed
from api.wire import BRANCH, dump, value_of

__all__ = ["CubeQuery", "expect_branch", "expect_epoch", "expect_members", "expect_object", "parse_query"]

MAX_NAMES = 64
MAX_FILTER_DEPTH = 16
MAX_FILTER_PARTS = 1_000
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


@dataclass(frozen=True, slots=True)
class CubeQuery:
    """A query whose every name is known to its cube."""

    cube: ge.Cube
    measures: tuple[str, ...]
    levels: tuple[ge.Level, ...]
    filter: ge.Condition | None
    totals: bool
    branch: str
    epoch: int | None
    """None for the head."""
    key: str
    """Canonical text: two queries that ask for the same cells in the same order have the same key."""

    def run(self) -> pa.Table:
        """Return the cells as the engine's Arrow table."""
        return self.cube.query(
            *self.measures,
            levels=self.levels,
            filter=self.filter,
            totals=self.totals,
            branch=self.branch,
            epoch=self.epoch,
            mode="arrow",
        )

    def live(self) -> ge.LiveQuery:
        """Return a live query of the same cells; the caller closes it."""
        return self.cube.live(
            *self.measures, levels=self.levels, filter=self.filter, totals=self.totals, branch=self.branch
        )


def parse_query(cube: ge.Cube, body: Any, place: str = "$", *, past: bool = False) -> CubeQuery:
    """Return the query that `body` spells.

    Parameters
    ----------
    past : whether it may ask for an epoch

    Raises
    ------
    RequestError
        With the place of the first mistake: a wrong JSON type, an unknown member, level or measure, a value that
        cannot be one of its level, a filter nested too deeply.
    """
    body = expect_object(body, place)
    known = ("measures", "levels", "filter", "totals", "branch", *(("epoch",) if past else ()))
    expect_members(body, known, place)
    measures = _measures(cube, body.get("measures"), f"{place}.measures")
    levels = _levels(cube, body.get("levels", []), f"{place}.levels")
    totals = body.get("totals", False)
    if not isinstance(totals, bool):
        raise RequestError("invalid_request", "expected true or false.", place=f"{place}.totals")
    given = body.get("filter")
    condition = None if given is None else _FilterReader(cube).read(given, f"{place}.filter", 0)
    branch = expect_branch(body.get("branch"), f"{place}.branch")
    epoch = expect_epoch(body.get("epoch"), f"{place}.epoch")
    named = [[level.table, level.column] for level in levels]
    key = dump([cube.name, measures, named, given, totals, branch]).decode()
    return CubeQuery(cube, measures, levels, condition, totals, branch, epoch, key)


def expect_branch(value: Any, place: str) -> str:
    """Return the name of a branch, master for null, else raise a `RequestError` that names `place`."""
    if value is None:
        return BRANCH
    if not isinstance(value, str):
        raise RequestError("invalid_request", f"expected the name of a branch, got {kind_of(value)}.", place=place)
    return value


def expect_epoch(value: Any, place: str) -> int | None:
    """Return an epoch or None if `value` is one of the two, else raise a `RequestError` that names `place`."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RequestError("invalid_request", f"expected an epoch (a whole number), got {kind_of(value)}.", place=place)


def expect_object(value: Any, place: str) -> dict[str, Any]:
    """Return `value` if it is a JSON object, else raise a `RequestError` that names `place`."""
    if not isinstance(value, dict):
        raise RequestError("invalid_request", f"expected a JSON object, got {kind_of(value)}.", place=place)
    return value


def expect_members(value: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    """Refuse a member that nobody reads: it is a misspelling more often than not."""
    for name in value:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known)}."
            raise RequestError("invalid_request", f"unknown member {name!r}. {hint}", place=place)


def expect_list(value: Any, place: str, what: str, limit: int) -> list[Any]:
    """Return `value` if it is a list of at most `limit` items, else raise a `RequestError` that names `place`."""
    if not isinstance(value, list):
        raise RequestError("invalid_request", f"expected a list of {what}, got {kind_of(value)}.", place=place)
    if len(value) > limit:
        raise RequestError("invalid_request", f"{len(value)} {what} are too many, at most {limit}.", place=place)
    return value


def kind_of(value: Any) -> str:
    """Return what JSON calls the type of `value`, with its article."""
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _measures(cube: ge.Cube, given: Any, place: str) -> tuple[str, ...]:
    names = expect_list(given, place, "measure names", MAX_NAMES)
    if not names:
        raise RequestError("invalid_request", "name at least one measure.", place=place, known=tuple(cube.measures))
    for i, name in enumerate(names):
        here = f"{place}[{i}]"
        if not isinstance(name, str):
            raise RequestError("invalid_request", f"expected the name of a measure, got {kind_of(name)}.", place=here)
        if name in names[:i]:
            raise RequestError("invalid_request", f"measure {name!r} is named twice.", place=here)
        with placed(here):
            _ = cube.measures[name]
    return tuple(names)


def _levels(cube: ge.Cube, given: Any, place: str) -> tuple[ge.Level, ...]:
    names = expect_list(given, place, "levels", MAX_NAMES)
    found: list[ge.Level] = []
    for i, name in enumerate(names):
        here = f"{place}[{i}]"
        level = _level(cube, name, here)
        if any(level is other for other in found):
            raise RequestError("invalid_request", f"level {level.name!r} is named twice.", place=here)
        found.append(level)
    return tuple(found)


def _level(cube: ge.Cube, given: Any, place: str) -> ge.Level:
    if isinstance(given, str):
        with placed(place):
            return cube.levels[given]
    if isinstance(given, list) and len(given) == 2 and all(isinstance(part, str) for part in given):
        with placed(place):
            return cube.levels[(given[0], given[1])]
    raise RequestError(
        "invalid_request", f'expected the name of a level or ["Table", "Column"], got {kind_of(given)}.', place=place
    )


class _FilterReader:
    """Reads one filter; counts its parts so that no filter grows without bound."""

    def __init__(self, cube: ge.Cube) -> None:
        self._cube = cube
        self._parts = 0

    def read(self, given: Any, place: str, depth: int) -> ge.Condition:
        """Return the condition that `given` spells."""
        self._parts += 1
        if depth > MAX_FILTER_DEPTH or self._parts > MAX_FILTER_PARTS:
            raise RequestError(
                "invalid_request",
                f"the filter is too large: at most {MAX_FILTER_DEPTH} deep and {MAX_FILTER_PARTS} parts.",
                place=place,
            )
        given = expect_object(given, place)
        op = given.get("op")
        if not isinstance(op, str) or op not in OPERATORS:
            raise RequestError("invalid_request", f"expected one of {' '.join(OPERATORS)}.", place=f"{place}.op")
        if op in CONNECTIVES or op == "not":
            expect_members(given, ("op", "of"), place)
            return self._combined(op, given.get("of"), f"{place}.of", depth)
        expect_members(given, ("op", "level") if op == "isnull" else ("op", "level", "value"), place)
        return self._compared(op, given, place)

    def _combined(self, op: str, of: Any, place: str, depth: int) -> ge.Condition:
        if op == "not":
            return ~self.read(of, place, depth + 1)
        parts = expect_list(of, place, "filters", MAX_FILTER_PARTS)
        if not parts:
            raise RequestError("invalid_request", "give at least one filter.", place=place)
        return _balanced(CONNECTIVES[op], [self.read(part, f"{place}[{i}]", depth + 1) for i, part in enumerate(parts)])

    def _compared(self, op: str, given: dict[str, Any], place: str) -> ge.Condition:
        level = _level(self._cube, given.get("level"), f"{place}.level")
        if op == "isnull":
            return level.isnull()
        if "value" not in given:
            raise RequestError("invalid_request", f"{op} needs a member 'value'.", place=place)
        value, here = given["value"], f"{place}.value"
        if op == "isin":
            values = expect_list(value, here, "values", MAX_VALUES)
            return level.isin([value_of(one, level.type, f"{here}[{i}]") for i, one in enumerate(values)])
        if value is None and op not in ("==", "!="):
            raise RequestError("type_mismatch", "null has no order. Use == or isnull.", place=here)
        condition: ge.Condition = COMPARISONS[op](level, value_of(value, level.type, here))
        return condition


def _balanced(combine: Callable[[Any, Any], Any], parts: list[ge.Condition]) -> ge.Condition:
    """Return all parts combined as a tree of logarithmic depth, so that no list is too long to evaluate."""
    while len(parts) > 1:
        pairs = [combine(left, right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]
