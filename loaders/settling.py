"""Which files have changed since they were last reported, and which of these have come to rest.

Floor 0: imports only loaders.files. No threads, no clock and no disk: the caller says what a file looks like and when.
Only states count, not events, so an event that comes twice, late or never changes nothing but the time of a report.
Memory is one entry per file, however often it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loaders.files import FileStamp

__all__ = ["Settling"]

EMPTY_PATIENCE = 10
"""An empty file must rest so many times longer: writers open a file first and fill it later."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A file that differs from its last report."""

    stamp: FileStamp
    ripe_at: float
    """When it will have rested long enough, if it stays as it is (seconds of the caller's clock)."""


class Settling:
    """Files with their last reported stamps, and the changes that are not reported yet.

    Parameters
    ----------
    quiet
        How long size and modification time of a file must stay the same before it may be reported (seconds).
    reported
        Files that count as reported at the start. A durable ledger of processed files can be given here.
    """

    def __init__(self, quiet: float, reported: Mapping[Path, FileStamp]) -> None:
        self._quiet = quiet
        self._reported = dict(reported)
        self._pending: dict[Path, _Change] = {}

    def __len__(self) -> int:
        """Return the number of files changed and not reported yet."""
        return len(self._pending)

    @property
    def paths(self) -> set[Path]:
        """Every file that it remembers."""
        return self._reported.keys() | self._pending.keys()

    def observe(self, path: Path, stamp: FileStamp | None, now: float) -> None:
        """Take in how a file looks now; None means that it is gone, and it is forgotten."""
        if stamp is None:
            self._pending.pop(path, None)
            self._reported.pop(path, None)
        elif self._reported.get(path) == stamp:
            self._pending.pop(path, None)
        elif path not in self._pending or self._pending[path].stamp != stamp:
            quiet = self._quiet if stamp.size else self._quiet * EMPTY_PATIENCE
            self._pending[path] = _Change(stamp, now + quiet)

    def forget(self, path: Path) -> None:
        """Take a file for new when it is seen again."""
        self.observe(path, None, 0.0)

    def next_ripe(self) -> float | None:
        """Return when the next change will have rested long enough, or None if there is no change."""
        return min((change.ripe_at for change in self._pending.values()), default=None)

    def ripe(self, now: float) -> list[Path]:
        """Return the files that have rested long enough, oldest modification first."""
        return self._by_age(path for path, change in self._pending.items() if change.ripe_at <= now)

    def take(self, path: Path, now: float) -> bool:
        """Return whether the file has rested long enough; if so it counts as reported from here on."""
        change = self._pending.get(path)
        if change is None or change.ripe_at > now:
            return False
        self._reported[path] = change.stamp
        del self._pending[path]
        return True

    def _by_age(self, paths: Iterable[Path]) -> list[Path]:
        return sorted(paths, key=lambda path: (self._pending[path].stamp.mtime_ns, path))
