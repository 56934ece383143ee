"""Shortage of memory, named: what any array library calls it becomes one error that says what was asked for.

Floor 1: imports errors and the array protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.errors import EngineError, MemoryShortageError

__all__ = ["named_shortage", "require"]

ASKED_FROM = 64 << 20
"""Work that takes fewer bytes is not asked about: the question would cost more than a small commit."""


@contextmanager
def named_shortage(backend: ArrayBackend, what: str) -> Iterator[None]:
    """Raise MemoryShortageError where `what` has met a MemoryError, of NumPy, CuPy, RMM or Python itself."""
    try:
        yield
    except MemoryError as error:
        if isinstance(error, EngineError):
            raise
        raise MemoryShortageError(what, None, backend.memory().available, backend.name) from error


def require(backend: ArrayBackend, what: str, nbytes: int) -> None:
    """Refuse work for which there is no room, before it begins.

    Raises
    ------
    MemoryShortageError
        If `nbytes` are not available.
    """
    if nbytes < ASKED_FROM:
        return
    available = backend.memory().available
    if nbytes > available:
        raise MemoryShortageError(what, nbytes, available, backend.name)
