"""Postings: for each code, the entries that carry it (an inverted index that is only ever added to).

Floor 2. Entries are kept in runs, each sorted by code, and behind them a tail in order of arrival that is searched as
it is. A tail that has grown long is sorted and becomes a run; when there are many runs of a tier they are sorted into
one of the next. So adding costs next to nothing, an entry is sorted once for each tier that it passes through, and a
look-up costs what it finds plus a step for each run.
Source: O'Neil et al., The log-structured merge-tree, 1996 (here with tiers), https://doi.org/10.1007/s002360050048
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.storage.growable import GrowableArray

__all__ = ["Postings"]

_TAIL = 65_536
"""Entries that a tail may have."""
_RUNS = 8
"""So many runs of a tier become one of the next, which is so many times as large."""
_SPREAD = 4
"""Codes are told apart in a table over all that exist, if those are at most so many times as many as the entries."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Entries from one place to another, sorted by code."""

    codes: Array
    """(k,) int64: the distinct codes, ascending."""
    bounds: Array
    """(k + 1,) int64: where the entries of each code begin, and where the last ones end."""
    start: int
    stop: int

    @property
    def tier(self) -> int:
        """0 for a run of less than `_RUNS` tails, and one more for each `_RUNS` times as long."""
        tails, tier = (self.stop - self.start - 1) // _TAIL, 0
        while tails := tails // _RUNS:
            tier += 1
        return tier

    def find(self, backend: ArrayBackend, wanted: Array) -> tuple[Array, Array]:
        """Return (k,) where the entries of each wanted code begin, and how many they are."""
        xp = backend.xp
        places = xp.minimum(xp.searchsorted(self.codes, wanted), len(self.codes) - 1)
        begins = self.bounds[places]
        return begins, (self.bounds[places + 1] - begins) * (self.codes[places] == wanted)

    def moved(self, backend: ArrayBackend, places: Array) -> _Run:
        """Return the run with its entries at other places; `places` gives that of each, and of the end."""
        start, stop = (int(backend.scalar(places[place])) for place in (self.start, self.stop))
        return _Run(self.codes, places[self.bounds], start, stop)


class Postings:
    """Entries by code. Used by one thread at a time (the writer)."""

    def __init__(self, backend: ArrayBackend) -> None:
        self._backend = backend
        self._entries = GrowableArray(backend, "int32")
        self._runs: list[_Run] = []
        self._tail = GrowableArray(backend, "int32")
        """Code of each entry behind the last run."""

    @staticmethod
    def of(backend: ArrayBackend, parts: Sequence[tuple[Array, Array | int]], size: int) -> Postings:
        """Return postings of parts, a run each, sorted on all cores.

        Parameters
        ----------
        parts
            Each (n,) codes below `size`, and (n,) entries, or the first of n consecutive ones.
        """
        postings = Postings(backend)
        parts = [part for part in parts if len(part[0])]
        starts = [0]
        for codes, _ in parts:
            starts.append(starts[-1] + len(codes))
        postings._entries.resize(starts[-1])
        tasks = [
            partial(postings._sorted, start, codes, entries, size)
            for start, (codes, entries) in zip(starts[:-1], parts, strict=True)
        ]
        postings._runs = backend.in_parallel(tasks) if tasks else []
        return postings

    def __len__(self) -> int:
        return self._entries.length

    @property
    def nbytes(self) -> int:
        """Bytes of the entries and of what leads to them."""
        runs = sum(run.codes.nbytes + run.bounds.nbytes for run in self._runs)
        return int(self._entries.nbytes + self._tail.nbytes + runs)

    def reserve(self, count: int) -> None:
        """Make room for so many entries more, so that `add` cannot fail."""
        self._entries.reserve(self._entries.length + count)
        self._tail.reserve(self._tail.length + count)

    def add(self, codes: Array, entries: Array) -> None:
        """Take in that (n,) entries carry (n,) codes, all of them 0 or more."""
        self.reserve(len(entries))
        self._entries.write(self._entries.length, entries)
        self._tail.write(self._tail.length, codes)

    def find(self, wanted: Array, size: int) -> tuple[Array, Array]:
        """Return which entries carry which of the wanted codes.

        Parameters
        ----------
        wanted : (k,) int64
            Distinct codes, ascending, 0 to size - 1.
        size : int
            Number of codes that exist.

        Returns
        -------
        owners, entries : (m,) int64
            Entry entries[i] carries wanted[owners[i]]. In no particular order.
        """
        xp = self._backend.xp
        self._tidy(size)
        tail_owners, tail_places = self._find_tail(wanted, size)
        if not self._runs:
            return tail_owners, self._entries.buffer[tail_places].astype("int64")
        found = [run.find(self._backend, wanted) for run in self._runs]
        begins, lengths = xp.concatenate([begin for begin, _ in found]), xp.concatenate([count for _, count in found])
        owners = xp.repeat(xp.concatenate([xp.arange(len(wanted))] * len(found)), lengths)
        places = xp.repeat(begins - (xp.cumsum(lengths) - lengths), lengths)
        places += xp.arange(len(places))
        owners, places = xp.concatenate([owners, tail_owners]), xp.concatenate([places, tail_places])
        return owners, self._entries.buffer[places].astype("int64")

    def pairs(self) -> tuple[Array, Array]:
        """Return the (n,) codes and (n,) entries, in no particular order; a view of the entries."""
        codes = [*(self._codes_of(run) for run in self._runs), self._tail.array]
        return self._backend.xp.concatenate(codes), self._entries.array

    def renumbered(self, new_of: Array) -> Postings:
        """Return the same with other entries in their places; `new_of` gives that of each old one, -1 for none."""
        xp, other = self._backend.xp, Postings(self._backend)
        entries = new_of[self._entries.array]
        kept = entries >= 0
        places = xp.zeros(len(entries) + 1, dtype="int64")
        xp.cumsum(kept, out=places[1:])
        moved = [run.moved(self._backend, places) for run in self._runs]
        other._runs = [run for run in moved if run.start < run.stop]
        other._entries.write(0, entries[kept])
        other._tail.write(0, self._tail.array[kept[len(kept) - self._tail.length :]])
        return other

    def _tidy(self, size: int) -> None:
        """Make a run of a long tail, and one run of many of a tier."""
        if self._tail.length <= _TAIL:
            return
        start, fresh = self._entries.length - self._tail.length, GrowableArray(self._backend, "int32")
        self._runs.append(self._sorted(start, self._tail.array, self._entries.array[start:], size))
        self._tail = fresh
        while len(self._runs) >= _RUNS and self._runs[-_RUNS].tier <= self._runs[-1].tier:
            runs = self._runs[-_RUNS:]
            start, stop = runs[0].start, runs[-1].stop
            codes = self._backend.xp.concatenate([self._codes_of(run) for run in runs])
            self._runs[-_RUNS:] = [self._sorted(start, codes, self._entries.buffer[start:stop], size)]

    def _codes_of(self, run: _Run) -> Array:
        """Return (n,) int32: the code of each entry of a run."""
        return self._backend.xp.repeat(run.codes.astype("int32"), self._backend.xp.diff(run.bounds))

    def _sorted(self, start: int, codes: Array, entries: Array | int, size: int) -> _Run:
        """Write n entries, at least one, to the places from `start` on, sorted by their codes below `size`.

        Nothing has changed if memory runs short on the way.
        """
        order, stop = self._backend.order_by_code(codes, size), start + len(codes)
        ordered = order + entries if isinstance(entries, int) else entries[order]
        present, bounds = self._bounds(codes, order, size)
        run = _Run(present, bounds + start, start, stop)
        self._entries.buffer[start:stop] = ordered
        return run

    def _bounds(self, codes: Array, order: Array, size: int) -> tuple[Array, Array]:
        """Return (k,) the distinct ones of (n,) codes, and (k + 1,) where each begins in their order, and the end."""
        xp = self._backend.xp
        if size <= _SPREAD * len(codes):
            counts = self._backend.group_count(codes, size)
            present = counts.nonzero()[0]
            bounds = xp.zeros(len(present) + 1, dtype="int64")
            xp.cumsum(counts[present], out=bounds[1:])
            return present, bounds
        ordered = codes[order]
        begins = xp.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        bounds = xp.zeros(len(begins) + 2, dtype="int64")
        bounds[1:-1] = begins
        bounds[-1] = len(codes)
        return ordered[bounds[:-1]].astype("int64"), bounds

    def _find_tail(self, wanted: Array, size: int) -> tuple[Array, Array]:
        """Return which of the wanted codes are in the tail, and the places of their entries."""
        xp, tail = self._backend.xp, self._tail.array
        if size <= _SPREAD * len(tail):
            is_wanted = xp.zeros(size, dtype="bool")
            is_wanted[wanted] = True
            found = xp.flatnonzero(is_wanted[tail])
            owners = xp.searchsorted(wanted, tail[found])
        else:
            owners = xp.minimum(xp.searchsorted(wanted, tail), len(wanted) - 1)
            found = xp.flatnonzero(wanted[owners] == tail)
            owners = owners[found]
        return owners, found + (self._entries.length - len(tail))
