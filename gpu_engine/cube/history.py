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
from collections.abc import Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.cells import CellSet, CellTable, common_places
from gpu_engine.cube.numbers import Numbers
from gpu_engine.expression.join import Reference

__all__ = ["CellsMoved", "History", "merge_moves"]


_RECORD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CellsMoved:
    """The cells that one commit touched, before and after it."""

    epoch: int
    table: CellTable
    """The table whose places are meant."""
    places: Array
    """(k,) int64 distinct places, ascending."""
    before: Numbers
    """The k cells' numbers in the epoch before."""
    after: Numbers
    """The k cells' numbers from this epoch on."""

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays and of the objects around them."""
        return _RECORD_BYTES + int(self.places.nbytes) + self.before.nbytes + self.after.nbytes


def merge_moves(records: Sequence[CellsMoved], levels: Sequence[Reference]) -> tuple[CellSet, CellSet]:
    """Return the cells that one or more commits, oldest first, touched: before the first and after the last, paired."""
    first = records[0]
    backend, xp = first.table.backend, first.table.backend.xp
    codes = [record.table.addressing.decode(record.places) if levels else [] for record in records]
    if len(records) == 1:
        shared = dict(zip(levels, codes[0], strict=True))
        return CellSet(backend, shared, first.before), CellSet(backend, shared, first.after)
    joined = [xp.concatenate(parts) for parts in zip(*codes, strict=True)]
    if all(record.table is first.table for record in records) or not levels:
        places = xp.concatenate([record.places for record in records])
    else:
        # Cells moved to other places in between: only their codes tell which are the same.
        places = common_places(backend, levels, joined)
    groups = backend.group(places)
    entries, count = xp.arange(len(places)), len(groups.keys)
    earliest = backend.group_min(entries, groups.group_of, count, len(places))
    latest = backend.group_max(entries, groups.group_of, count, -1)
    shared = {level: part[earliest] for level, part in zip(levels, joined, strict=True)}
    before = Numbers.concatenated(backend, [record.before for record in records]).take(backend, earliest)
    after = Numbers.concatenated(backend, [record.after for record in records]).take(backend, latest)
    return CellSet(backend, shared, before), CellSet(backend, shared, after)


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
