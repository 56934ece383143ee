"""The heap of the process: what has been freed goes back to the operating system.

Floor 1. The C library keeps blocks that were freed for those to come, large ones too once it has seen some. So after
much has been dropped at once the process is as large as before, unless it is asked.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

__all__ = ["give_back_freed_memory"]


def _found() -> Callable[[int], object] | None:
    """Return the C library's call for it; None where it has none."""
    if not sys.platform.startswith("linux"):
        return None
    call: Callable[[int], object] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return call


_trim = _found()


def give_back_freed_memory() -> None:
    """Give back what the C library holds of freed blocks. Takes some milliseconds; other threads go on meanwhile."""
    if _trim is not None:
        _trim(0)
