"""Catalogs: the tables and the cubes of a session, by name.

Floor 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from gpu_engine.errors import UnknownNameError

__all__ = ["Catalog"]

T = TypeVar("T")


class Catalog(Mapping[str, T], Generic[T]):
    """Things by name, in order of creation, with an error that helps for a name that is not there.

    Readers need no lock: a change makes a new dictionary.
    """

    def __init__(self, error: type[UnknownNameError]) -> None:
        self._error = error
        self._things: dict[str, T] = {}

    def __getitem__(self, name: Any) -> T:
        try:
            return self._things[name]
        except (KeyError, TypeError):
            raise self._error(str(name), list(self._things)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def add(self, name: str, thing: T) -> None:
        """Take in a thing under a name that is free. One writer at a time, as for `remove`."""
        self._things = {**self._things, name: thing}

    def remove(self, name: str) -> None:
        """Forget what bears the name."""
        self._things = {other: thing for other, thing in self._things.items() if other != name}
