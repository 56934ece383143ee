"""How often each thing is measured: in earnest, and in the tiny mode that only proves that the benchmarks run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FULL", "SMALL", "Config", "chosen"]


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and repetitions of one run."""

    rows: tuple[int, ...]
    """Trades in the table before the first upsert; one run per entry."""
    loads: int
    """Times that the tables are loaded, each time into a new session."""
    opens: int
    """Times that the live query is opened."""
    reads: int
    """Times that a query which a provider covers is read."""
    scans: int
    """Times that a query which no provider covers is computed."""
    commits: Mapping[int, int]
    """Rows of an upsert -> how many such upserts one series times."""
    warm_up: int
    """Upserts before each series that are made, checked and not timed."""
    stream: tuple[int, int]
    """Rows of an upsert and number of upserts of the series that measures rows per second."""
    peer_commits: Mapping[int, int]
    """The same as `commits` for other engines."""
    peer_warm_up: int
    """The same as `warm_up`."""
    peer_stream: tuple[int, int]
    """The same as `stream`."""
    touched: int
    """Bytes per trade that are touched before each load and series; see `touch_memory`."""


FULL = Config(
    rows=(1_000_000,),
    loads=5,
    opens=9,
    reads=300,
    scans=9,
    commits={1: 500, 100: 500, 10_000: 40},
    warm_up=10,
    stream=(10_000, 40),
    peer_commits={1: 30, 100: 30, 10_000: 10},
    peer_warm_up=3,
    peer_stream=(10_000, 10),
    touched=512,
)
SMALL = Config(
    rows=(2_000,),
    loads=1,
    opens=2,
    reads=2,
    scans=1,
    commits={1: 3, 100: 3, 1_000: 2},
    warm_up=1,
    stream=(1_000, 2),
    peer_commits={1: 2, 100: 2, 1_000: 1},
    peer_warm_up=1,
    peer_stream=(1_000, 2),
    touched=0,
)
SMALL_ROWS = 10_000
"""Up to so many trades a run only proves that it works, and is kept short."""


def chosen(rows: int) -> Config:
    """Return the configuration for a run over so many trades; BENCH_SMALL=1 asks for the tiny one."""
    small = os.environ.get("BENCH_SMALL") == "1" or rows <= SMALL_ROWS
    return SMALL if small else FULL
