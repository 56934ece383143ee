"""Salvage: which records of a load fit, and why the others do not.

Floor 3. What is staged together fails together; a load that may leave records out halves what failed until each bad
record stands alone. n records with k bad ones are staged about 1 + 2 k log2(n / k) times, in parts of falling size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gpu_engine.errors import EngineError, InvalidRowError, MemoryShortageError, TypeMismatchError

__all__ = ["Salvage", "salvage"]

Part = TypeVar("Part")


@dataclass(slots=True)
class Salvage(Generic[Part]):
    """What came of a load."""

    staged: list[Part] = field(default_factory=list)
    """The good records, staged in runs, in their order."""
    places: list[int] = field(default_factory=list)
    """Places of the good records."""
    faults: list[tuple[int, EngineError]] = field(default_factory=list)
    """Place of each bad record, ascending, and what is wrong with it."""


def salvage(count: int, stage: Callable[[slice], Part]) -> Salvage[Part]:
    """Return what of `count` records `stage` accepts; it raises EngineError for a slice with a bad record in it."""
    found: Salvage[Part] = Salvage()
    parts: list[tuple[int, int]] = [(0, count)] if count else []
    while parts:
        start, stop = parts.pop()
        try:
            staged = stage(slice(start, stop))
        except MemoryShortageError:
            raise
        except EngineError as error:
            if stop - start == 1:
                found.faults.append((start, _at(start, error)))
            else:
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
            continue
        found.staged.append(staged)
        found.places += range(start, stop)
    return found


def _at(place: int, error: EngineError) -> EngineError:
    """Return the error of a record that was staged alone, as one of the record at its place."""
    if isinstance(error, TypeMismatchError):
        return TypeMismatchError(error.where, error.value, error.expected)
    return InvalidRowError(error.table, place, error.reason) if isinstance(error, InvalidRowError) else error
