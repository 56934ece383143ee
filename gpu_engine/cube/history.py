"""History: what each commit changed in a provider's cells, kept for a while.

Floor 4. The writer notes a change before it makes it. A reader copies the cells without any lock and then undoes every
noted change that is newer than its epoch: whatever mixture of before and after it copied, the cells that moved get the
numbers they had. The same notes, read forwards, are what live queries send. Bounded in bytes; who asks for more than is
kept starts afresh.
Source: Larson et al., Multi-version concurrency control in main memory (undo records), VLDB 2011,
https://doi.org/10.14778/2095686.2095689
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.addressing import addressing_for
from gpu_engine.cube.aggregate import Primitive
from gpu_engine.cube.cells import CellTable

__all__ = ["CellsMoved", "History", "MergedMoves", "merge_moves"]


@dataclass(frozen=True, slots=True)
class CellsMoved:
    """The cells that one commit touched, before and after it."""

    epoch: int
    table: CellTable
    """The table whose places are meant."""
    places: Array
    """(k,) int64 distinct places, ascending."""
    before: Mapping[Primitive, Array]
    """Primitive -> (k,) numbers in the epoch before."""
    after: Mapping[Primitive, Array]
    """Primitive -> (k,) numbers from this epoch on."""

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return int(self.places.nbytes + 2 * sum(values.nbytes for values in self.before.values()))


@dataclass(frozen=True, slots=True)
class MergedMoves:
    """What several commits together did to the cells that they touched."""

    codes: Sequence[Array]
    """Per level (k,) int32 codes of the touched cells; no two cells are the same."""
    before: Mapping[Primitive, Array]
    """Primitive -> (k,) numbers before the first of the commits."""
    after: Mapping[Primitive, Array]
    """Primitive -> (k,) numbers after the last of them."""


def merge_moves(records: Sequence[CellsMoved], sizes: Sequence[int]) -> MergedMoves:
    """Return what one or more commits, oldest first, did together.

    Parameters
    ----------
    sizes : number of codes of each level by now
    """
    first = records[0]
    backend, levels = first.table.backend, bool(sizes)
    codes = [record.table.addressing.decode(record.places) if levels else [] for record in records]
    if len(records) == 1:
        return MergedMoves(codes[0], first.before, first.after)
    xp = backend.xp
    if all(record.table is first.table for record in records):
        places = xp.concatenate([record.places for record in records])
    else:
        # Cells moved to other places in between: a common addressing tells which are the same.
        addressing = addressing_for(backend, sizes)
        places = xp.concatenate([addressing.encode(part) for part in codes])
    groups = backend.group(places)
    entries, count = xp.arange(len(places)), len(groups.keys)
    earliest = backend.group_min(entries, groups.group_of, count, len(places))
    latest = backend.group_max(entries, groups.group_of, count, -1)
    return MergedMoves(
        [xp.concatenate(parts)[earliest] for parts in zip(*codes, strict=True)],
        {one: xp.concatenate([record.before[one] for record in records])[earliest] for one in first.before},
        {one: xp.concatenate([record.after[one] for record in records])[latest] for one in first.after},
    )


class History:
    """The latest changes of one provider. One writer; any number of readers."""

    def __init__(self, since: int, budget: int) -> None:
        self._lock = threading.Lock()
        self._records: deque[CellsMoved] = deque()
        self._budget = budget
        self._nbytes = 0
        self.since = since
        """Oldest epoch from which on no change is missing."""

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return self._nbytes

    def add(self, record: CellsMoved) -> None:
        """Note a change that is about to be made; forget the oldest ones beyond the budget, never this one."""
        with self._lock:
            self._records.append(record)
            self._nbytes += record.nbytes
            while self._nbytes > self._budget and len(self._records) > 1:
                forgotten = self._records.popleft()
                self._nbytes -= forgotten.nbytes
                self.since = forgotten.epoch

    def after(self, epoch: int) -> list[CellsMoved] | None:
        """Return the changes of epochs past `epoch`, oldest first; None if some are no longer kept."""
        found: list[CellsMoved] = []
        with self._lock:
            if epoch < self.since:
                return None
            for record in reversed(self._records):
                if record.epoch <= epoch:
                    break
                found.append(record)
        found.reverse()
        return found
