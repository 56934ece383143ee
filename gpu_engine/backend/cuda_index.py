"""The integer index on the GPU: one open-addressing table in device memory, looked up and filled by kernels.

Floor 1: uses the array namespace that it is given. A slot holds an id, and the id's key proves a hit; at most half of
the slots are taken. The kernels and the order in which they must run are in kernels_index.cuh. The host knows how many
keys there are, so each insert waits once; a lookup never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu_engine.backend.array_backend import Array
from gpu_engine.backend.cuda_kernels import Kernels

__all__ = ["CudaIndex"]

MAX_KEYS = 2**31 - 1
SMALLEST_SLOTS = 256
BLOCK_ROWS = 1024
"""So many rows are inserted by one launch."""
FIRST_PART, PART_GROWTH = 1 << 16, 8
"""A bulk is inserted in parts that grow: rows that repeat a key of an earlier part take no room."""


@dataclass(frozen=True, slots=True)
class _Table:
    """What a lookup needs. Outgrown, it is left to its readers, and another takes its place by one assignment."""

    slots: Array
    """(capacity,) int32, capacity a power of two: id, -1 for a free slot, less while an insert is under way."""
    keys: Array
    """(room,) int64: the key of each id; the rest is free."""

    @property
    def mask(self) -> int:
        return len(self.slots) - 1


class CudaIndex:
    """The `IntIndex` of the GPU. One writer at a time; readers may look up meanwhile."""

    def __init__(self, xp: Any, kernels: Kernels, scalar: Callable[[Array], int | float | bool]) -> None:
        self._xp, self._kernels, self._scalar = xp, kernels, scalar
        self._table = _Table(self._free_slots(SMALLEST_SLOTS), xp.empty(SMALLEST_SLOTS // 2, dtype="int64"))
        self._count = 0

    def __len__(self) -> int:
        """Return how many keys have an id."""
        return self._count

    @property
    def keys(self) -> Array:
        """(len,) int64: the key of each id."""
        count = self._count  # read before the table: a larger one has these keys too
        return self._table.keys[:count]

    @property
    def nbytes(self) -> int:
        """Bytes held, free room included."""
        table = self._table
        return int(table.slots.nbytes + table.keys.nbytes)

    def lookup(self, keys: Array) -> Array:
        """Return (n,) int32: the id of each key, -1 where it has none; waits for nothing."""
        wanted, table = self._checked(keys), self._table
        ids = self._xp.empty(len(wanted), dtype="int32")
        self._kernels.each("index_lookup", len(wanted), wanted, len(wanted), table.slots, table.mask, table.keys, ids)
        return ids

    def insert(self, keys: Array) -> Array:
        """Return (n,) int32: the id of each key; unknown ones get the next ids. Waits for their number."""
        wanted = self._checked(keys)
        if 0 < len(wanted) <= BLOCK_ROWS and self._count + len(wanted) <= MAX_KEYS:
            return self._insert_block(wanted)
        ids = self.lookup(wanted)
        unknown = self._xp.flatnonzero(ids < 0)
        held, count, size = self._table, self._count, FIRST_PART
        try:
            while len(unknown):
                part, unknown = unknown[:size], unknown[size:]
                ids[part] = self._insert_part(wanted[part])
                if len(unknown):
                    found = self.lookup(wanted[unknown])
                    ids[unknown] = found
                    unknown = unknown[found < 0]
                size *= PART_GROWTH
        except OverflowError:
            self._undo(held, count)
            raise
        return ids

    def _insert_block(self, wanted: Array) -> Array:
        table = self._room_for(self._count + len(wanted))
        ids, count = self._xp.empty(len(wanted), dtype="int32"), self._xp.empty(1, dtype="int64")
        threads = max(32, 1 << (len(wanted) - 1).bit_length())
        arguments = (wanted, len(wanted), table.slots, table.mask, table.keys, self._count, ids, count)
        self._kernels.block("index_insert_block", threads, *arguments)
        self._count = int(self._scalar(count))
        return ids

    def _insert_part(self, wanted: Array) -> Array:
        """Insert rows, at least one, by claiming slots first and giving ids then; see kernels_index.cuh."""
        xp, each, n = self._xp, self._kernels.each, len(wanted)
        table = self._room_for(self._count + n)
        slot_of, first = xp.empty(n, dtype="int64"), xp.empty(n, dtype="int32")
        ids = xp.empty(n, dtype="int32")
        each("index_claim", n, wanted, n, table.slots, table.mask, table.keys, slot_of)
        try:
            each("index_first", n, table.slots, slot_of, n, first)
            rank = xp.cumsum(first, dtype="int64")
            fresh = int(self._scalar(rank[-1:]))
            if self._count + fresh > MAX_KEYS:
                raise OverflowError(f"an index holds at most {MAX_KEYS} keys; {self._count + fresh} are asked for")
        except BaseException:
            each("index_withdraw", n, table.slots, slot_of, n)
            raise
        if fresh:
            each("index_publish", n, wanted, slot_of, first, rank, n, self._count, table.slots, table.keys)
        each("index_gather", n, table.slots, slot_of, n, ids)
        self._count += fresh
        return ids

    def _room_for(self, total: int) -> _Table:
        """Return the table, replaced if it has to grow, with room for so many keys.

        Slots and keys are replaced together: an id that a reader meets in its slots lies within its keys.
        """
        table = self._table
        if total > len(table.keys):
            capacity = 1 << (2 * total - 1).bit_length()
            keys = self._xp.empty(capacity // 2, dtype="int64")
            keys[: self._count] = table.keys[: self._count]
            table = self._table = _Table(self._hashed(keys, self._count, capacity), keys)
        return table

    def _undo(self, held: _Table, count: int) -> None:
        """Forget the keys that the parts before one that was refused have been given."""
        if self._count > count:
            self._table = _Table(self._hashed(held.keys, count, len(held.slots)), held.keys)
            self._count = count

    def _hashed(self, keys: Array, count: int, capacity: int) -> Array:
        slots = self._free_slots(capacity)
        self._kernels.each("index_rehash", count, keys, count, slots, capacity - 1)
        return slots

    def _free_slots(self, capacity: int) -> Array:
        return self._xp.full(capacity, -1, dtype="int32")

    def _checked(self, keys: Array) -> Array:
        if keys.dtype != "int64":
            raise TypeError(f"an index takes int64 keys, not {keys.dtype}")
        return self._xp.ascontiguousarray(keys)
