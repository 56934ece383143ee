"""Numbers: what cells or rows hold for many primitives at once, as one block of floats and one of integers.

Floor 4. Work on a block is one array operation for all primitives of a kind, however many there are: that is what keeps
a commit of a hundred rows down to a handful of operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array, ArrayBackend, Cells
from gpu_engine.cube.aggregate import ROWS, Primitive

__all__ = ["Layout", "Numbers"]


class Layout:
    """Which primitive stands in which column of which block: ROWS first, linear ones before extremes."""

    def __init__(self, primitives: Iterable[Primitive]) -> None:
        ordered = sorted(set(primitives) - {ROWS}, key=lambda one: (not one.linear, one.function, repr(one)))
        self.floats = tuple(one for one in ordered if one.dtype == "float64")
        self.integers = (ROWS, *(one for one in ordered if one.dtype == "int64"))
        self.primitives = (*self.integers, *self.floats)
        self.linear_floats = tuple(one for one in self.floats if one.linear)
        self.linear_integers = tuple(one for one in self.integers if one.linear)
        self._columns = {one: column for block in (self.floats, self.integers) for column, one in enumerate(block)}

    def column(self, primitive: Primitive) -> int:
        """Return the column of a primitive in its block."""
        return self._columns[primitive]

    def empty(self, backend: ArrayBackend, count: int) -> Numbers:
        """Return what `count` cells without rows hold."""
        return Numbers(
            self,
            _filled(backend, count, self.floats, "float64"),
            _filled(backend, count, self.integers, "int64"),
        )


def _filled(backend: ArrayBackend, count: int, primitives: Sequence[Primitive], dtype: str) -> Array:
    block = backend.xp.zeros((count, len(primitives)), dtype=dtype)
    for column, primitive in enumerate(primitives):
        if primitive.empty:
            block[:, column] = primitive.empty
    return block


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of n cells."""

    layout: Layout
    floats: Array
    """(n, number of float primitives) float64."""
    integers: Array
    """(n, number of integer primitives) int64."""

    def __len__(self) -> int:
        return len(self.integers)

    def __getitem__(self, primitive: Primitive) -> Array:
        """Return the (n,) numbers of one primitive, as a view."""
        block = self.floats if primitive.dtype == "float64" else self.integers
        return block[:, self.layout.column(primitive)]

    @property
    def rows(self) -> Array:
        """(n,) int64: rows of each cell, as a view."""
        return self.integers[:, 0]

    @property
    def nbytes(self) -> int:
        """Bytes of both blocks."""
        return int(self.floats.nbytes + self.integers.nbytes)

    def take(self, backend: ArrayBackend, places: Array) -> Numbers:
        """Return the numbers at (k,) int64 places."""
        return Numbers(self.layout, *backend.take_cells((self.floats, self.integers), places))

    def summed(self, backend: ArrayBackend, places: Array, added: Cells) -> tuple[Numbers, Numbers]:
        """Return the numbers at (k,) int64 places, and what they are with what is added to the linear primitives."""
        before, after = backend.sum_cells((self.floats, self.integers), places, added)
        return Numbers(self.layout, *before), Numbers(self.layout, *after)

    def copy(self) -> Numbers:
        """Return the same numbers in arrays of their own."""
        return Numbers(self.layout, self.floats.copy(), self.integers.copy())

    def put(self, backend: ArrayBackend, places: Array, numbers: Numbers) -> None:
        """Write the numbers of k cells at (k,) distinct int64 places."""
        backend.put_cells((self.floats, self.integers), places, (numbers.floats, numbers.integers))

    def merged(self, backend: ArrayBackend, group_of: Array, size: int) -> Numbers:
        """Return what the cells of each group hold together; what is empty for groups without any."""
        result = self.layout.empty(backend, size)
        for primitive in self.layout.primitives:
            result[primitive][:] = primitive.merge(backend, self[primitive], group_of, size)
        return result

    @staticmethod
    def concatenated(backend: ArrayBackend, parts: Sequence[Numbers]) -> Numbers:
        """Return the numbers of several lists of cells of one layout as one."""
        if len(parts) == 1:
            return parts[0]
        return Numbers(
            parts[0].layout,
            backend.xp.concatenate([part.floats for part in parts]),
            backend.xp.concatenate([part.integers for part in parts]),
        )
