"""Queries: a validated, immutable question to a cube, and the names in it resolved.

Floor 4. All problems of a query are found together and reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gpu_engine.cube.aggregate import Primitive
from gpu_engine.cube.hierarchy import Level
from gpu_engine.cube.measure import Measure, NamedMeasure, refuse_strangers
from gpu_engine.errors import EngineError, InvalidQueryError
from gpu_engine.expression.connective import Condition, without_parameters
from gpu_engine.expression.join import Reference

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube

__all__ = ["Query", "compile_query"]


@dataclass(frozen=True, eq=False)
class Query:
    """What is asked: measures by levels, perhaps filtered, perhaps with totals."""

    measures: tuple[tuple[str, Measure], ...]
    """Names and expanded measures, in the order asked."""
    levels: tuple[Level, ...]
    """In the order asked."""
    condition: Condition | None
    slicers: tuple[Level, ...]
    """First levels of slicing hierarchies that the query does not name: each is held at its first member."""
    totals: bool

    @cached_property
    def primitives(self) -> frozenset[Primitive]:
        """The aggregates that the measures need."""
        needed: frozenset[Primitive] = frozenset()
        return needed.union(*(measure.primitives() for _, measure in self.measures))

    @cached_property
    def cell_levels(self) -> tuple[Reference, ...]:
        """Levels of the cells to compute: those asked for, then the slicers."""
        return tuple(level.reference for level in (*self.levels, *self.slicers))


def compile_query(
    cube: Cube, measures: Sequence[Any], levels: Sequence[Any], condition: Any, totals: bool, *, open: bool = False
) -> Query:
    """Return the query, every name resolved; with `open` its condition may have parameters.

    Raises
    ------
    EngineError
        The problem itself if there is one; InvalidQueryError that lists them all if there are several.
    """
    problems: list[EngineError] = []

    def attempt(resolve: Any, given: Any) -> Any:
        try:
            return resolve(given)
        except EngineError as error:
            problems.append(error)
            return None

    if not measures:
        problems.append(InvalidQueryError([f"name at least one measure. There are: {', '.join(cube.measures)}."]))
    named = [attempt(lambda one: _measure(cube, one), measure) for measure in measures]
    names = [one[0] for one in named if one is not None]
    if len(set(names)) != len(names):
        problems.append(InvalidQueryError([f"a measure comes twice in {names}."]))
    if isinstance(levels, str) or not isinstance(levels, Iterable):
        problems.append(InvalidQueryError([f"levels={levels!r}: give a list of levels, such as levels=['City']."]))
        levels = ()
    found = [attempt(cube.levels.__getitem__, level) for level in levels]
    present = [level for level in found if level is not None]
    if len({level.reference for level in present}) != len(present):
        problems.append(InvalidQueryError([f"a level comes twice in {[level.name for level in present]}."]))
    bound = None if condition is None else attempt(lambda one: _condition(cube, one, open), condition)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InvalidQueryError([str(problem) for problem in problems])
    mentioned = {level.reference for level in present} | (bound.references() if bound is not None else frozenset())
    return Query(tuple(named), tuple(present), bound, _slicers(cube, mentioned), bool(totals) and bool(levels))


def _measure(cube: Cube, given: Any) -> tuple[str, Measure]:
    if isinstance(given, str):
        return given, cube.measures[given].expand()
    if isinstance(given, NamedMeasure):
        measure = given.expand()
        refuse_strangers(measure, cube.root)
        return given.name, measure
    raise InvalidQueryError([f"{given!r} is no measure of cube {cube.name!r}. Assign it to cube.measures[...] first."])


def _condition(cube: Cube, given: Any, open: bool) -> Condition:
    if not isinstance(given, Condition):
        raise InvalidQueryError(
            [f"filter {given!r} is no condition. Write for example cube.levels['City'] == 'Paris'."]
        )
    bound = given.bind(cube.resolve)
    if not open:
        without_parameters(bound)
    known = {level.reference for level in cube.levels.all()}
    strange = [reference.path for reference in bound.references() if reference not in known]
    if strange:
        raise InvalidQueryError([f"filter on {', '.join(strange)}: a cube is filtered by its levels only."])
    return bound


def _slicers(cube: Cube, mentioned: set[Reference]) -> tuple[Level, ...]:
    return tuple(
        hierarchy.levels[0]
        for hierarchy in cube.hierarchies.values()
        if hierarchy.slicing and not any(level.reference in mentioned for level in hierarchy.levels)
    )
