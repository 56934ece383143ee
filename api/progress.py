"""Progress on a terminal: one line that is written over, and a line that stays for each load that has ended.

Floor 6. Where the stream is no terminal nothing is written: logs and pipes get no control characters.
"""

from __future__ import annotations

import time
from typing import TextIO

import gpu_engine as ge

__all__ = ["ProgressLine"]

WIDTH = 24
"""Characters of a bar."""
PAUSE = 0.1
"""Seconds between two versions of the line."""
CLEAR = "\r\x1b[K"


class ProgressLine:
    """What a batch is doing, on the last line of a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._shown = 0.0

    def load(self, progress: ge.LoadProgress) -> None:
        """Show how far a load is: rows, bytes and the time that is left at the pace so far."""
        read, total = progress.nbytes, progress.total_bytes
        counted = f"{progress.source}  {progress.rows:,} rows"
        if progress.done:
            self._write(f"{counted}  {read / 1e6:,.1f} MB  in {progress.seconds:.1f} s\n", now=True)
        else:
            left = f"  {_clock(progress.seconds * (total - read) / read)} left" if read else ""
            share = read / total if total else 0.0
            self._write(f"{_bar(share)} {counted}  {read / 1e6:,.1f} of {total / 1e6:,.1f} MB{left}")

    def step(self, what: str, number: int, steps: int, seconds: float) -> None:
        """Show that step `number` of `steps`, counted from 1, has begun `seconds` after the first one."""
        done = number - 1
        left = f"  {_clock(seconds * (steps - done) / done)} left" if done else ""
        self._write(f"{_bar(done / steps)} {number} of {steps}: {what}{left}", now=True)

    def clear(self) -> None:
        """Take the line away."""
        self._write("", now=True)

    def _write(self, text: str, *, now: bool = False) -> None:
        moment = time.monotonic()
        if self._stream is not None and (now or moment - self._shown >= PAUSE):
            self._shown = moment
            self._stream.write(CLEAR + text)
            self._stream.flush()


def _bar(share: float) -> str:
    filled = round(WIDTH * share)
    return f"[{'#' * filled}{'-' * (WIDTH - filled)}] {share:4.0%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
