"""Postings: for each code, the entries that carry it (an inverted index over an append-only array of codes).

Floor 2. Entries are sorted by code; those appended since form a tail that is searched as it is, until it has grown
enough to be sorted and merged in. So a look-up costs what it finds plus the tail, and keeping the index costs next to
nothing.
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend

__all__ = ["Postings"]

_TAIL = 65_536
"""Entries that a tail may always have; a longer one may have a quarter of the sorted part."""


class Postings:
    """Sorted entries of a codes array that grows elsewhere. Used by one thread at a time (the writer)."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._entries: Array = backend.xp.zeros(0, dtype="int32")
        self._starts: Array = backend.xp.zeros(2, dtype="int64")
        """(codes + 2,): where the entries of code -1, 0, 1, ... start in the sorted part, and its end."""
        self._sorted = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the sorted part."""
        return int(self._entries.nbytes + self._starts.nbytes)

    def find(self, codes: Array, wanted: Array, size: int) -> tuple[Array, Array]:
        """Return which entries carry which of the wanted codes.

        Parameters
        ----------
        codes : (n,) integer
            Code of each entry, -1 to size - 1. The same array as in the call before, perhaps grown.
        wanted : (k,) int64
            Distinct codes, ascending, 0 to size - 1.
        size : int
            Number of codes that exist.

        Returns
        -------
        owners, entries : (m,) int64
            Entry entries[i] carries wanted[owners[i]]. In no particular order.
        """
        self.prepare(codes, size)
        owners, entries = self._find_sorted(wanted)
        tail = codes[self._sorted :]
        if not len(tail):
            return owners, entries
        tail_owners, tail_entries = self._find_tail(tail, wanted, size)
        xp = self._backend.xp
        return xp.concatenate([owners, tail_owners]), xp.concatenate([entries, tail_entries + self._sorted])

    def prepare(self, codes: Array, size: int) -> None:
        """Merge the tail into the sorted part if it has grown long."""
        tail = len(codes) - self._sorted
        if tail <= max(_TAIL, self._sorted // 4):
            return
        xp = self._backend.xp
        shifted = codes[self._sorted :].astype("int64")
        shifted += 1
        order = self._backend.order_by_code(shifted, size + 1)
        starts = xp.full(size + 2, self._sorted, dtype="int64")
        starts[: len(self._starts)] = self._starts
        self._entries = self._merged(order, shifted, starts) if self._sorted else order.astype("int32")
        starts[1:] += xp.cumsum(self._backend.group_count(shifted, size + 1))
        self._starts, self._sorted = starts, len(codes)

    def _merged(self, order: Array, shifted: Array, starts: Array) -> Array:
        """Return the sorted entries with those of the tail, each after all of its code that came before it."""
        xp, total = self._backend.xp, self._sorted + len(order)
        places = starts[1:].take(shifted.take(order))
        places += xp.arange(len(order))
        entries = xp.empty(total, dtype="int32")
        is_sorted = xp.ones(total, dtype="bool")
        is_sorted[places] = False
        entries[is_sorted] = self._entries
        entries[places] = order + self._sorted
        return entries

    def _find_sorted(self, wanted: Array) -> tuple[Array, Array]:
        xp = self._backend.xp
        last = len(self._starts) - 1
        begins = self._starts[xp.minimum(wanted + 1, last)]
        lengths = self._starts[xp.minimum(wanted + 2, last)] - begins
        owners = xp.repeat(xp.arange(len(wanted)), lengths)
        skipped = xp.cumsum(lengths) - lengths
        places = xp.arange(len(owners)) + (begins - skipped)[owners]
        return owners, self._entries[places].astype("int64")

    def _find_tail(self, tail: Array, wanted: Array, size: int) -> tuple[Array, Array]:
        xp = self._backend.xp
        if size <= 4 * len(tail):
            # Code -1 reads the last place, which is of no code.
            is_wanted = xp.zeros(size + 1, dtype="bool")
            is_wanted[wanted] = True
            entries = xp.flatnonzero(is_wanted.take(tail))
            return xp.searchsorted(wanted, tail[entries]), entries
        owners = xp.minimum(xp.searchsorted(wanted, tail), len(wanted) - 1)
        entries = xp.flatnonzero(wanted[owners] == tail)
        return owners[entries], entries
