"""Counts by epoch: a number that changes at some epochs, readable as of any of them.

Floor 2.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable

__all__ = ["EpochCounts"]


class EpochCounts:
    """epoch -> count, 16 bytes per change. One writer; readers need no lock: a count is there before its epoch."""

    def __init__(self, initial: int = 0) -> None:
        self._epochs = array("q", [-1])
        self._counts = array("q", [initial])

    def __len__(self) -> int:
        return len(self._epochs)

    def append(self, epoch: int, count: int) -> None:
        """Note the count that holds from an epoch on, later than all before."""
        self._counts.append(count)
        self._epochs.append(epoch)

    def at(self, epoch: int) -> int:
        """Return the count that holds at an epoch."""
        return self._counts[bisect_right(self._epochs, epoch) - 1]

    def first_at_least(self, count: int) -> int:
        """Return the first epoch whose count, of counts that only grow, is at least `count`; the last one if none."""
        place = bisect_left(self._counts, count)
        return max(0, self._epochs[min(place, len(self._epochs) - 1)])

    def mapped(self, function: Callable[[int], int], entries: int) -> EpochCounts:
        """Return the first entries put through a function; an epoch that then brings no change takes no place."""
        other = EpochCounts(function(self._counts[0]))
        for place in range(1, entries):
            mapped = function(self._counts[place])
            if mapped != other._counts[-1]:
                other.append(self._epochs[place], mapped)
        return other
