"""Progress: how far a restart has come, as a bar on a terminal and as lines in the log elsewhere.

Floor 4.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

__all__ = ["Progress"]

_log = logging.getLogger(__name__)
_WIDTH = 30
_SECONDS = 0.1
"""A bar is drawn at most so often, and not before so long."""


class Progress:
    """A bar that grows with the bytes read; a context manager."""

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what, self._total, self._stream = what, max(total, 1), stream or sys.stderr
        self._done = 0
        self._begun = self._drawn = time.monotonic()
        self._visible = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._visible:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, nbytes: int) -> None:
        """Note that so many bytes more have been read."""
        self._done += nbytes
        now = time.monotonic()
        if now - self._drawn >= _SECONDS:
            self._drawn = now
            if self._stream.isatty():
                self._draw()
            else:
                _log.debug("%s: %d of %d bytes", self._what, self._done, self._total)

    def _draw(self) -> None:
        self._visible = True
        share = min(1.0, self._done / self._total)
        bar = "#" * round(share * _WIDTH)
        seconds = time.monotonic() - self._begun
        self._stream.write(f"\r{self._what} [{bar:<{_WIDTH}}] {share:4.0%} {seconds:.1f} s")
        self._stream.flush()
