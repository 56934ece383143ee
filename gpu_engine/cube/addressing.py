"""Addressing: from the codes of a cell's levels to the place where its numbers are kept.

Floor 4. While the product of the level sizes is small, the place is computed (mixed radix, each radix a power of two);
beyond that, codes are looked up in an index. An addressing never changes what it has given out. When a level outgrows
its radix a new addressing is made, and cells move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gpu_engine.backend.array_backend import Array, ArrayBackend

__all__ = ["Addressing", "DenseAddressing", "SparseAddressing", "addressing_for", "readdressed"]

DENSE_CELLS = 2**20
"""Largest number of places that are computed rather than looked up."""


class Addressing(Protocol):
    """Cells of some levels -> places 0 to size - 1."""

    @property
    def size(self) -> int:
        """Number of places so far."""
        ...

    def fits(self, sizes: Sequence[int]) -> bool:
        """Return whether levels with so many codes can be addressed."""
        ...

    def encode(self, codes: Sequence[Array]) -> Array:
        """Return (n,) int64 places for (n,) codes of each level, -1 meaning N/A; new cells get a place."""
        ...

    def decode(self, places: Array) -> list[Array]:
        """Return (n,) int32 codes of each level for (n,) places that were given out."""
        ...


class DenseAddressing:
    """Places computed from the codes: N/A is 0, code c is c + 1, each level in a bit field of its own."""

    def __init__(self, backend: ArrayBackend, sizes: Sequence[int]) -> None:
        self._backend = backend
        self._bits = [size.bit_length() for size in sizes]

    def __eq__(self, other: object) -> bool:
        """Return whether the other one gives the same places."""
        return isinstance(other, DenseAddressing) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(tuple(self._bits))

    @property
    def size(self) -> int:
        """Number of places, most of them perhaps without a cell."""
        return 1 << sum(self._bits)

    def fits(self, sizes: Sequence[int]) -> bool:
        """Return whether each level's codes fit its bit field."""
        return all(size.bit_length() <= bits for size, bits in zip(sizes, self._bits, strict=True))

    def encode(self, codes: Sequence[Array]) -> Array:
        """Return the places; a cube without levels has the one place 0, which needs the caller's row count."""
        places, shift = None, 0
        for level, bits in zip(codes, self._bits, strict=True):
            digit = level.astype("int64") + 1
            if shift:
                digit <<= shift
            places = digit if places is None else places + digit
            shift += bits
        assert places is not None, "cells without levels are addressed by their owner"
        return places

    def decode(self, places: Array) -> list[Array]:
        """Return the codes."""
        result, shift = [], 0
        for bits in self._bits:
            result.append((((places >> shift) & ((1 << bits) - 1)) - 1).astype("int32"))
            shift += bits
        return result


class SparseAddressing:
    """Places looked up: levels are folded pairwise into ids, as the entity index does with key columns."""

    def __init__(self, backend: ArrayBackend, levels: int) -> None:
        self._folds = [backend.int_index() for _ in range(max(1, levels - 1))]
        self._levels = levels

    @property
    def size(self) -> int:
        """Number of cells that ever had rows."""
        return len(self._folds[-1])

    def fits(self, sizes: Sequence[int]) -> bool:
        """Return True: an index has no radix."""
        return True

    def encode(self, codes: Sequence[Array]) -> Array:
        """Return the places."""
        ids = codes[0].astype("int64")
        if self._levels == 1:
            return self._folds[0].insert(ids).astype("int64")
        for fold, level in zip(self._folds, codes[1:], strict=True):
            ids = fold.insert((ids << 32) | (level.astype("int64") & 0xFFFFFFFF)).astype("int64")
        return ids

    def decode(self, places: Array) -> list[Array]:
        """Return the codes."""
        if self._levels == 1:
            return [self._folds[0].keys[places].astype("int32")]
        result: list[Array] = []
        for fold in reversed(self._folds):
            pairs = fold.keys[places]
            result.append(pairs.astype("int32"))
            places = pairs >> 32
        return [places.astype("int32"), *reversed(result)]


def addressing_for(backend: ArrayBackend, sizes: Sequence[int]) -> DenseAddressing | SparseAddressing:
    """Return an addressing for levels with so many codes each, with none given out yet."""
    dense = DenseAddressing(backend, sizes)
    return dense if dense.size <= DENSE_CELLS else SparseAddressing(backend, len(sizes))


def readdressed(places: Array, old: Addressing, new: Addressing) -> Array:
    """Return (n,) where a new addressing has the cells that are at (n,) places of an old one."""
    return places if old == new else new.encode(old.decode(places))
