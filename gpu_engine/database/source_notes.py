"""Source notes: where each source stands after the last commit, and the records that could not become rows.

Floor 3. They come with transactions and are kept with them, so that a restart finds rows and positions in step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_engine.database.commit_log import Notes

__all__ = ["GONE", "MOST_BYTES", "MOST_DEAD_LETTERS", "SourceNotes"]

MOST_DEAD_LETTERS = 10_000
"""Dead letters that are kept; beyond that the oldest goes."""
MOST_BYTES = 64 << 20
"""Bytes of raw records in them, about; beyond that the oldest goes."""
GONE = "gone"
"""Member of a note that takes the dead letter of its id back."""
_BESIDES = 1 << 10


class SourceNotes:
    """Notes of all commits so far. One writer; readers need no lock."""

    def __init__(self) -> None:
        self.positions: Mapping[str, Any] = {}
        """Source -> its position after the last commit that named one."""
        self.dead_letters: Mapping[str, Mapping[str, Any]] = {}
        """Id -> dead letter, oldest first."""
        self.dropped_total = 0
        """Dead letters that had to go for newer ones."""
        self._nbytes = 0

    def take(self, notes: Notes) -> None:
        """Take in what came with a commit; a position replaces the one before, and None forgets it."""
        if notes.positions:
            positions = {**self.positions, **notes.positions}
            self.positions = {source: position for source, position in positions.items() if position is not None}
        if notes.dead_letters:
            self._take_letters(notes.dead_letters)

    def _take_letters(self, letters: Sequence[Mapping[str, Any]]) -> None:
        kept = dict(self.dead_letters)
        for letter in letters:
            before = kept.pop(letter["id"], None)
            self._nbytes -= 0 if before is None else _size(before)
            if not letter.get(GONE):
                kept[letter["id"]] = letter
                self._nbytes += _size(letter)
        while len(kept) > MOST_DEAD_LETTERS or (self._nbytes > MOST_BYTES and len(kept) > 1):
            self._nbytes -= _size(kept.pop(next(iter(kept))))
            self.dropped_total += 1
        self.dead_letters = kept


def _size(letter: Mapping[str, Any]) -> int:
    return len(letter.get("raw") or "") + _BESIDES
