"""Compiled cube queries: a query whose filter may have parameters, to be run at any version.

Floor 4. Names, measures and levels are as they were when it was compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gpu_engine.cube.answer import answer_of
from gpu_engine.cube.answer_modes import rendered
from gpu_engine.cube.plan import answer_cells
from gpu_engine.cube.query import Query
from gpu_engine.database.commit import Version
from gpu_engine.expression.parameter import ParameterType

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube

__all__ = ["CompiledCubeQuery"]


@dataclass(frozen=True, eq=False)
class CompiledCubeQuery:
    """A query of a cube with every name found."""

    cube: Cube
    query: Query
    mode: str
    """One of `answer_modes.MODES`."""

    @cached_property
    def parameters(self) -> Mapping[str, ParameterType]:
        """Values that the filter leaves open."""
        return {} if self.query.condition is None else self.query.condition.parameters()

    def run(self, version: Version, values: Mapping[str, Any]) -> Any:
        """Return the cells at a version as `Cube.query` does."""
        query = self.query
        if query.condition is not None and self.parameters:
            query = replace(query, condition=query.condition.assign(values))
        answer = answer_of(query, answer_cells(self.cube, query, version)[0]).sorted()
        return rendered(answer, self.mode, version.epoch, version.branch)
