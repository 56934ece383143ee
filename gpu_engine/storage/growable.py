"""Growable arrays: append-only device buffers that make room as they fill.

Floor 2. A reader takes a view of the first n values and keeps it: what it sees never moves, because growth goes on
behind it, or copies into a new buffer and leaves the old one to whoever still looks at it.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend

__all__ = ["GrowableArray"]

_SMALLEST = 64


class GrowableArray:
    """An array whose first `length` values are in use.

    One writer at a time; readers need no lock. A reader must know from elsewhere (a version) how many values are
    visible to it, and must take `buffer` after it learnt that number.
    """

    __slots__ = ("_backend", "_fill", "buffer", "length")

    def __init__(self, backend: ArrayBackend, dtype: str, *, width: int | None = None, fill: object = 0) -> None:
        self._backend, self._fill = backend, fill
        self.length = 0
        """Number of values in use."""
        shape = _SMALLEST if width is None else (_SMALLEST, width)
        self.buffer: Array = backend.xp.full(shape, fill, dtype=dtype)
        """(capacity,) or (capacity, width): the values in use, then unused ones: `fill`, or what was written there."""

    def __len__(self) -> int:
        return self.length

    @property
    def array(self) -> Array:
        """The values in use, as a view."""
        return self.buffer[: self.length]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer, unused capacity included."""
        return int(self.buffer.nbytes)

    def reserve(self, capacity: int) -> None:
        """Make room for `capacity` values in all, and for more ahead when it must grow.

        Raises
        ------
        MemoryError
            If there is no room; nothing has changed by then.
        """
        known = len(self.buffer)
        if capacity <= known:
            return
        grown = self._backend.enlarged(self.buffer, self.length if self._fill == 0 else known, capacity)
        if self._fill != 0:
            grown[known:] = self._fill
        self.buffer = grown

    def write(self, start: int, values: Array) -> None:
        """Write (n,) `values` at positions start to start + n; `length` becomes start + n.

        start <= length: what stood behind `start` was never visible to anybody and is written over.
        """
        end = start + len(values)
        if end > len(self.buffer):
            self.reserve(end)
        self.buffer[start:end] = values
        self.length = end

    def resize(self, length: int) -> None:
        """Set `length`; values that come into use hold the fill value unless they were written before."""
        self.reserve(length)
        self.length = length
