"""Arrays that grow where they are: address space is taken ahead, and pages of it as they are written.

Floor 1: imports numpy only. Doubling a buffer copies it, which at millions of rows is a pause of many milliseconds, and
leaves it half empty. A reservation does neither: the system gives a page of memory when it is first written to. Where
it refuses to reserve (a limit on address space, strict accounting), arrays double as they do elsewhere.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["enlarged", "growth", "held", "roomy"]

Values = npt.NDArray[Any]

RESERVED_FROM = 1 << 20
"""Bytes from which on an array gets a reservation; smaller ones are cheap to copy."""
MOST_ROWS = 2**31
"""Rows of a reservation: row numbers, codes and entities are int32."""
STEP = 8
"""An array that must grow in its reservation grows by one part in so many at least."""

_NO_RESERVE = 0x4000
"""MAP_NORESERVE of Linux, a claim to address space and none to memory; not every Python names it."""
_ON_LINUX = hasattr(mmap, "MADV_HUGEPAGE")


def roomy(rows: int, dtype: npt.DTypeLike, row_shape: tuple[int, ...] = ()) -> Values:
    """Return an array of 0 of at least `rows` rows; if they are many, of as many as there may ever be.

    Raises
    ------
    MemoryError
        If there is no room.
    """
    kind = np.dtype(dtype)
    row_bytes = kind.itemsize * int(np.prod(row_shape, dtype=np.int64))
    if _ON_LINUX and rows * row_bytes >= RESERVED_FROM:
        most = max(rows, min(MOST_ROWS, _memory() // row_bytes))
        pages = _reservation(most * row_bytes)
        if pages is not None:
            return np.ndarray((most, *row_shape), kind, pages)
    return np.zeros((rows, *row_shape), kind)


def enlarged(array: Values, used: int, capacity: int) -> Values:
    """Return an array of at least `capacity` rows, the first `used` of them those of `array`; see `ArrayBackend`."""
    whole = _reserved(array, capacity)
    if whole is None:
        whole = roomy(growth(array, used, capacity), array.dtype, array.shape[1:])
        whole[:used] = array[:used]
        if not _is_reservation(whole):
            return whole
    return whole[: min(len(whole), capacity if used == 0 else max(capacity, len(array) + len(array) // STEP))]


def growth(array: Values, used: int, capacity: int) -> int:
    """Return how many rows `enlarged` takes memory for."""
    if _reserved(array, capacity) is not None:
        return max(capacity - len(array), len(array) // STEP)
    return capacity if used == 0 else max(capacity, 2 * len(array))


def held(array: Values, used: int) -> int:
    """Return the bytes that an array of `roomy` takes of the memory, its first `used` rows having been written."""
    return array[:used].nbytes if _is_reservation(array) else array.nbytes


def _reserved(array: Values, capacity: int) -> Values | None:
    """Return the reservation that an array is the beginning of, if it has so much room."""
    whole: Any = array.base
    return whole if _is_reservation(whole) and capacity <= len(whole) else None


def _is_reservation(array: Any) -> bool:
    """Whether it is a whole one, not a view of a part."""
    return isinstance(array, np.ndarray) and isinstance(array.base, mmap.mmap)


def _reservation(size: int) -> mmap.mmap | None:
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
        pages.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, OverflowError):
        return None
    return pages


def _memory() -> int:
    """Return the bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
