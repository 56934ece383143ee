"""The measures of a cube by name: defined, redefined while serving, removed.

Floor 4.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from gpu_engine.cube.measure import Measure, NamedMeasure, as_measure, refuse_strangers
from gpu_engine.errors import InvalidModelError, UnknownMeasureError

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube

__all__ = ["Measures"]


class Measures(MutableMapping[str, Measure]):
    """Measures of a cube by name. Assigning one makes or redefines it, also while the cube serves queries."""

    def __init__(self, cube: Cube) -> None:
        self._cube = cube
        self._definitions: dict[str, Measure] = {}

    def __getitem__(self, name: str) -> Measure:
        """Return a measure; UnknownMeasureError if there is none of that name."""
        self.definition(name)
        return NamedMeasure(name, self)

    def __setitem__(self, name: Any, measure: Any) -> None:
        """Define a measure. Its own name in it means what the name meant before.

        Live queries that use a measure which is redefined go over to the new definition: they tell of it by a
        snapshot at the next epoch.

        Raises
        ------
        InvalidModelError
            If it is no measure, sums something not numeric, would be defined by way of itself, or uses a measure of
            another cube that reads what this one does not reach.
        UnknownColumnError, AmbiguousNameError
            If a column is not found, or not clear.
        """
        if not isinstance(name, str) or not name:
            raise InvalidModelError(f"measure name {name!r}: give a text with at least one character.")
        bound = as_measure(measure).bind(self._cube.resolve)
        if name in self._definitions:
            bound = bound.substitute(name, self._definitions[name])
        if name in bound.names():
            raise InvalidModelError(f"measure {name!r} would be defined by way of itself.")
        refuse_strangers(bound.expand(), self._cube.root)
        self._definitions = {**self._definitions, name: bound}
        self._cube.follow_measures()

    def __delitem__(self, name: str) -> None:
        """Remove a measure; InvalidModelError if another one uses it."""
        self.definition(name)
        users = [other for other, measure in self._definitions.items() if other != name and name in measure.names()]
        if users:
            raise InvalidModelError(f"measure {name!r} is used by {users}. Redefine those first.")
        self._definitions = {other: measure for other, measure in self._definitions.items() if other != name}

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def definition(self, name: str) -> Measure:
        """Return what a name stands for now; UnknownMeasureError if nothing."""
        try:
            return self._definitions[name]
        except (KeyError, TypeError):
            raise UnknownMeasureError(str(name), self._definitions, f"cube {self._cube.name!r}") from None
