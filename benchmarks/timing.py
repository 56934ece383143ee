"""Times of repeated runs, and the memory that a process has taken at most."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Timing", "peak_memory", "timed", "touch_memory"]


@dataclass(frozen=True, slots=True)
class Timing:
    """What repeated runs of one thing took, in milliseconds."""

    median: float
    p95: float
    best: float
    runs: int

    @staticmethod
    def of(seconds: Iterable[float]) -> Timing:
        """Return the figures of at least one run."""
        ordered = sorted(1e3 * one for one in seconds)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        return Timing(statistics.median(ordered), p95, ordered[0], len(ordered))


def timed(action: Callable[[], object], runs: int) -> Timing:
    """Return what `action` takes, over so many runs."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return Timing.of(seconds)


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # no /proc: its own figure may be that of the parent, which Linux passes on
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def touch_memory(size: int) -> None:
    """Let the system have `size` bytes of free memory at hand.

    A virtual machine may have given memory back that nobody used; to get a page again takes ten times as long as to
    clear it, and would be measured instead of the engine. A process of its own touches the memory and ends, so that
    the peak memory of this one stays what it is.
    """
    if size:
        subprocess.run([sys.executable, "-c", f"bytearray(b'1') * {size}"], check=True)
