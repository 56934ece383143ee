"""What a listener costs the writer: `python -m benchmarks.bench_streamer [rows]` attaches some to a table of so many.

Periods with and without a listener take turns in one run, so that other work on the machine meets both alike. Each
listener asks for all rows of the table first, is attached while the writer commits, and then follows. The rows that it
was told must be those of the table: none lost, none doubled. Attaching may slow the writer by less than a tenth.
BENCH_SMALL=1 takes few rows and only proves that it runs.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import gpu_engine as ge
from benchmarks.timing import Timing

__all__ = ["Cost", "Period", "measure"]

ROWS, SMALL_ROWS = 1_000_000, 20_000
PERIODS, SMALL_PERIODS = 10, 2
COMMITS, SMALL_COMMITS = 1_000, 20
COMMIT_ROWS = 100
BOOKS = 60
MOST_SLOWER = 0.1
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds of each commit of one period, by what the listener was doing when it began."""

    alone: tuple[float, ...] = ()
    attaching: tuple[float, ...] = ()
    """Until the listener had the initial view."""
    following: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """Figures of one run."""

    rows: int
    """Rows of the table when the first listener attached."""
    periods: tuple[Period, ...]
    """Without a listener and with one, in turns."""
    attaching: Timing
    """Milliseconds until a listener had the initial view."""
    told: int
    """Rows that listeners were told, all of them checked."""

    def latency(self, phase: str) -> Timing:
        """Return milliseconds of a commit in one phase, over all periods."""
        return Timing.of(self._seconds(phase))

    def rows_per_second(self, phase: str) -> float:
        """Return rows written in one phase for each second of it."""
        seconds = self._seconds(phase)
        return COMMIT_ROWS * len(seconds) / sum(seconds)

    def slower(self, phase: str) -> tuple[float, float]:
        """Return by how much a phase slows the writer: its median commit, and its rows per second."""
        latency = self.latency(phase).median / self.latency("alone").median
        return latency - 1, self.rows_per_second("alone") / self.rows_per_second(phase) - 1

    def _seconds(self, phase: str) -> list[float]:
        return [one for period in self.periods for one in getattr(period, phase)]


class Keeping(ge.StreamListener):
    """Keeps all that it is told: batches never change."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.calls: list[tuple[str, tuple[pa.RecordBatch, ...]]] = []

    def records_updated(self, partition: Any, old: pa.RecordBatch, new: pa.RecordBatch) -> None:
        self.calls.append(("updated", (old, new)))

    def records_added(self, partition: Any, rows: pa.RecordBatch) -> None:
        self.calls.append(("added", (rows,)))

    def transaction_committed(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def check(self, table: pa.Table, epoch: int) -> int:
        """Fail unless what was told gives the rows of the table at an epoch; return how many rows were told."""
        assert self.epochs == list(range(self.epochs[0], epoch + 1)), "an epoch was left out or told twice"
        price = np.full(1 + _numbers(table, "id").max(), -1)
        told = 0
        for name, batches in self.calls:
            ids = _numbers(batches[0], "id")
            before = _numbers(batches[0], "price") if name == "updated" else -1
            assert (price[ids] == before).all(), f"rows {name} that were not as they should have been"
            price[ids] = _numbers(batches[-1], "price")
            told += len(ids)
        wanted = np.full_like(price, -1)
        wanted[_numbers(table, "id")] = _numbers(table, "price")
        assert (price == wanted).all(), "rows were lost or doubled"
        return told


def _numbers(rows: pa.RecordBatch | pa.Table, column: str) -> Any:
    return rows[column].to_numpy()


def measure(rows: int, periods: int, commits: int, backend: str = "cpu") -> Cost:
    """Return what attaching costs the writer of a table of so many rows.

    Parameters
    ----------
    periods : with a listener, and as many without
    commits : in one period; more where attaching takes longer
    """
    # Nothing is reclaimed meanwhile: that is another thing to measure.
    with ge.Session(backend=backend, retention=ge.RetentionPolicy(epochs=10**9)) as session:
        types = {"id": ge.LONG, "book": ge.STRING, "price": ge.LONG}
        table = session.create_table("trades", types, keys=["id"])
        table.load_arrow(_rows(range(rows), 0))
        upserts = _upserts(rows)
        for batch in _next(upserts, commits):
            table.load_arrow(batch)
        found: list[Period] = []
        seconds: list[float] = []
        told = 0
        for _ in range(periods):
            found.append(Period(alone=_timed(table, _next(upserts, commits))))
            listener = Keeping()
            query = session.database.prepare.list(table)
            begin = time.perf_counter()
            registration = session.database.streamer.register(query, listener)
            registration.attached.add_done_callback(lambda _, begin=begin: seconds.append(time.perf_counter() - begin))
            attaching: list[float] = []
            while not registration.attached.done():
                attaching += _timed(table, _next(upserts, 20))
            following = _timed(table, _next(upserts, max(20, commits - len(attaching))))
            found.append(Period(attaching=tuple(attaching), following=following))
            assert registration.wait_for(session.epoch, TIMEOUT), registration.error
            registration.unregister()
            told += listener.check(session.database.version().list(table, ["id", "price"]), session.epoch)
        return Cost(rows, tuple(found), Timing.of(seconds), told)
