"""The grammar of a cube query in JSON, for HTTP and websocket alike.

Floor 6. A query is {"measures": [name, ...], "levels": [level, ...], "filter": filter, "totals": false, "branch":
"master"}; all but the measures may be left out. Over HTTP "epoch" asks for a past one. A level is its name, or
["Table", "Column"] where two levels share a name. `api.conditions` has the grammar of a filter. Every mistake is
answered with its place, such as `$.levels[0]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from api.conditions import ConditionReader
from api.errors import RequestError, placed
from api.expect import expect_branch, expect_epoch, expect_list, expect_members, expect_object, kind_of
from api.wire import dump

__all__ = ["CubeQuery", "parse_query"]

MAX_NAMES = 64


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


def parse_query(
    cube: ge.Cube, body: Any, place: str = "$", *, past: bool = False, open: bool = False, more: tuple[str, ...] = ()
) -> CubeQuery:
    """Return the query that `body` spells.

    Parameters
    ----------
    past : whether it may ask for an epoch
    open : whether its filter may have parameters
    more : further members of `body`, which somebody else reads

    Raises
    ------
    RequestError
        With the place of the first mistake: a wrong JSON type, an unknown member, level or measure, a value that
        cannot be one of its level, a filter nested too deeply.
    """
    body = expect_object(body, place)
    known = ("measures", "levels", "filter", "totals", "branch", *(("epoch",) if past else ()), *more)
    expect_members(body, known, place)
    measures = _measures(cube, body.get("measures"), f"{place}.measures")
    levels = _levels(cube, body.get("levels", []), f"{place}.levels")
    totals = body.get("totals", False)
    if not isinstance(totals, bool):
        raise RequestError("invalid_request", "expected true or false.", place=f"{place}.totals")
    given = body.get("filter")
    condition = None if given is None else _filter(cube, open=open).read(given, f"{place}.filter")
    branch = expect_branch(body.get("branch"), f"{place}.branch")
    epoch = expect_epoch(body.get("epoch"), f"{place}.epoch")
    named = [[level.table, level.column] for level in levels]
    key = dump([cube.name, measures, named, given, totals, branch]).decode()
    return CubeQuery(cube, measures, levels, condition, totals, branch, epoch, key)


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


def _filter(cube: ge.Cube, *, open: bool) -> ConditionReader:
    def find(given: Any, place: str) -> tuple[ge.Level, ge.DataType]:
        level = _level(cube, given, place)
        return level, level.type

    return ConditionReader("level", find, open=open)
