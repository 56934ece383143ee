"""What the engine asks of an index from integers to dense ids: keys to entities, cells to places.

Floor 1: imports nothing of the project but the name of arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gpu_engine.backend.array_backend import Array

__all__ = ["IntIndex"]


class IntIndex(Protocol):
    """Append-only map from int64 keys to dense int32 ids: 0, 1, 2, ... in order of first insertion.

    One writer at a time: whoever owns the index serialises calls of `insert`. Readers never wait: a `lookup` finds
    every key whose `insert` had returned before it started, may or may not find newer ones, and never gives a wrong
    id. Every int64 is a valid key.
    """

    def __len__(self) -> int:
        """Return how many keys have an id."""
        ...

    def lookup(self, keys: Array) -> Array:
        """Return (n,) int32: the id of each of the (n,) int64 `keys`, -1 where it has none."""
        ...

    def insert(self, keys: Array) -> Array:
        """Return (n,) int32: the id of each of the (n,) int64 `keys`; unknown keys get the next ids.

        `keys` may repeat a key: all its rows get the one id, and new ids follow the order of first occurrence.

        Raises
        ------
        OverflowError
            If there would be more than 2**31 - 1 keys. Nothing has changed by then.
        """
        ...

    @property
    def keys(self) -> Array:
        """(len,) int64: the key of each id. A view; the part that was returned never changes."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held by the index."""
        ...
