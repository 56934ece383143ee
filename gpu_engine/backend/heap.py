"""The heap of the process: how much of what has been freed is kept for what comes, and when it all goes back.

Floor 1. A page of memory that comes from the operating system costs more than most array operations do with it (2
microseconds on a virtual machine), and the C library by itself gives back whatever it can at once and asks again. So
an engine that works by allocating arrays has it keep some. After much has been dropped at once all of it goes back.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

KEPT_BYTES = 256 << 20
"""Freed memory at the end of the heap that is kept."""
LARGE_BYTES = 32 << 20
"""Blocks of this size and more are no part of the heap: each comes from the system and goes back to it."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""


def _found(name: str) -> Any:
    """Return a function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


_trim, _set = _found("malloc_trim"), _found("mallopt")


def keep_freed_memory() -> None:
    """Have the C library keep freed memory, up to `KEPT_BYTES`, unless the environment says what it shall do."""
    if _set is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _set(_MMAP_THRESHOLD, LARGE_BYTES)
        _set(_TRIM_THRESHOLD, KEPT_BYTES)


def give_back_freed_memory() -> None:
    """Give back what the C library holds of freed blocks. Takes some milliseconds; other threads go on meanwhile."""
    if _trim is not None:
        _trim(0)
