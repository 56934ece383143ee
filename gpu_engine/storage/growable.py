"""Growable arrays: append-only device buffers that double when full.

Floor 2. A reader takes a view of the first n values and keeps it: what it sees never moves, because growth copies into
a new buffer and leaves the old one to whoever still looks at it.
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

    __slots__ = ("_backend", "_dtype", "_fill", "_width", "buffer", "length")

    def __init__(self, backend: ArrayBackend, dtype: str, *, width: int | None = None, fill: object = 0) -> None:
        self._backend, self._dtype, self._width, self._fill = backend, dtype, width, fill
        self.length = 0
        """Number of values in use."""
        self.buffer: Array = self._allocate(_SMALLEST)
        """(capacity,) or (capacity, width): the values in use, then unused ones that hold `fill`."""

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
        """Make room for `capacity` values in all, at least doubling when it must grow.

        Raises
        ------
        MemoryError
            If there is no room; nothing has changed by then.
        """
        if capacity <= len(self.buffer):
            return
        # A first load gets what it asks for; later growth doubles, so that appends stay cheap on average.
        wanted = capacity if self.length == 0 else max(capacity, 2 * len(self.buffer))
        grown = self._allocate(wanted)
        grown[: self.length] = self.buffer[: self.length]
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

    def _allocate(self, capacity: int) -> Array:
        shape = capacity if self._width is None else (capacity, self._width)
        xp = self._backend.xp
        if self._fill == 0:
            return xp.zeros(shape, dtype=self._dtype)
        return xp.full(shape, self._fill, dtype=self._dtype)
