"""What a listener costs the writer: `python -m benchmarks.bench_streamer [rows]` attaches some to a table of so many.

Rounds are many and short, and each measures commits without a listener before and after those with one, so that other
work on the machine meets both alike. The listener asks for all rows of the table, gets them while the writer goes on,
and then follows. What it was told must give the rows of the table: none lost, none doubled. Attaching may slow the
writer by less than a tenth.
BENCH_SMALL=1 takes few rows and only proves that it runs.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
import pyarrow as pa

import gpu_engine as ge
from benchmarks.timing import Timing

__all__ = ["Cost", "Round", "measure"]

ROWS, SMALL_ROWS = 1_000_000, 20_000
ROUNDS, SMALL_ROUNDS = 10, 2
COMMITS, SMALL_COMMITS = 2_000, 20
COMMIT_ROWS = 100
BOOKS = pa.array([f"book {number}" for number in range(60)])
MOST_SLOWER = 0.1
PHASES = ("alone", "attaching", "following")
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of each commit, by what there was beside it."""

    alone: tuple[float, ...]
    attaching: tuple[float, ...]
    """While a listener got the initial view."""
    following: tuple[float, ...]
    """While it caught up with what was committed meanwhile, and then followed."""
    attached: float
    """Seconds until it had the initial view."""
    told: int
    """Rows that it was told, all of them checked."""

    def slower(self, phase: str) -> float:
        """Return by how much the writer was slower in a phase than alone, in rows per second."""
        return statistics.fmean(getattr(self, phase)) / statistics.fmean(self.alone) - 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Figures of one run."""

    rows: int
    """Rows of the table at first."""
    rounds: tuple[Round, ...]

    @property
    def told(self) -> int:
        """Rows that listeners were told."""
        return sum(one.told for one in self.rounds)

    @property
    def attached(self) -> Timing:
        """Milliseconds until a listener had the initial view."""
        return Timing.of(one.attached for one in self.rounds)

    def latency(self, phase: str) -> Timing:
        """Return milliseconds of a commit in one phase, over all rounds."""
        return Timing.of(self._seconds(phase))

    def rows_per_second(self, phase: str) -> float:
        """Return rows written in one phase for each second of it."""
        seconds = self._seconds(phase)
        return COMMIT_ROWS * len(seconds) / sum(seconds)

    def slower(self, phase: str) -> tuple[float, float]:
        """Return by how much a phase slows the writer: its median commit, and its rows/s in the median of rounds."""
        latency = self.latency(phase).median / self.latency("alone").median
        return latency - 1, statistics.median(one.slower(phase) for one in self.rounds)

    def _seconds(self, phase: str) -> list[float]:
        return [one for round in self.rounds for one in getattr(round, phase)]


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


def measure(rows: int, rounds: int, commits: int, backend: str = "cpu") -> Cost:
    """Return what listeners cost the writer of a table of so many rows.

    Parameters
    ----------
    commits : without a listener, and with one that follows, in each round
    """
    return Cost(rows, tuple(_round(rows, commits, backend) for _ in range(rounds)))


def _round(rows: int, commits: int, backend: str) -> Round:
    gc.collect()
    gc.freeze()  # or the objects of earlier rounds are walked in later ones
    # Nothing is reclaimed meanwhile: that is another thing to measure.
    with ge.Session(backend=backend, retention=ge.RetentionPolicy(epochs=10**9)) as session:
        types = {"id": ge.LONG, "book": ge.STRING, "price": ge.LONG}
        table = session.create_table("trades", types, keys=["id"])
        table.load_arrow(_rows(range(rows), 0))
        upserts = _upserts(rows)
        _timed(table, _next(upserts, commits // 4))  # buffers have grown by then
        alone = _timed(table, _next(upserts, commits // 2))

        listener, done = Keeping(), []
        begin = time.perf_counter()
        registration = session.database.streamer.register(session.database.prepare.list(table), listener)
        registration.attached.add_done_callback(lambda _: done.append(time.perf_counter() - begin))
        attaching: list[float] = []
        while not (done and attaching):
            attaching += _timed(table, _next(upserts, 20))
        following = _timed(table, _next(upserts, commits))
        assert registration.wait_for(session.epoch, TIMEOUT), registration.error
        registration.unregister()

        told = listener.check(session.database.version().list(table, ["id", "price"]), session.epoch)
        alone += _timed(table, _next(upserts, commits // 2))
        return Round(alone, tuple(attaching), following, done[0], told)


def _timed(table: ge.Table, batches: Iterable[pa.Table]) -> tuple[float, ...]:
    """Return the seconds that each commit took."""
    seconds = []
    for batch in batches:
        begin = time.perf_counter()
        table.load_arrow(batch)
        seconds.append(time.perf_counter() - begin)
    return tuple(seconds)


def _next(upserts: Iterator[pa.Table], count: int) -> list[pa.Table]:
    """Return so many upserts, made before anything is timed."""
    return list(islice(upserts, count))


def _upserts(rows: int) -> Iterator[pa.Table]:
    """Yield upserts, half of rows that are there and half of new ones."""
    random_, half = random.Random(1), COMMIT_ROWS // 2
    for number in count(1):
        yield _rows([*random_.sample(range(rows), half), *range(rows, rows + half)], number)
        rows += half


def _rows(ids: Sequence[int], number: int) -> pa.Table:
    """Return rows with these keys; `number` makes their prices differ from those of other upserts."""
    keys = np.asarray(ids, "int64")
    return pa.table({"id": keys, "book": BOOKS.take(keys % len(BOOKS)), "price": keys + number})


def main(arguments: list[str]) -> int:
    """Print the figures; fail if attaching slows the writer by more than it may."""
    small = os.environ.get("BENCH_SMALL") == "1"
    rows = int(arguments[0]) if arguments else SMALL_ROWS if small else ROWS
    cost = measure(rows, SMALL_ROUNDS if small else ROUNDS, SMALL_COMMITS if small else COMMITS)
    print(f"commits of {COMMIT_ROWS} rows to a table of {cost.rows:,}, listeners told {cost.told:,} rows, all checked")
    print(f"attach: {cost.attached.median:,.0f} ms (95%: {cost.attached.p95:,.0f} ms), {cost.attached.runs} times")
    for phase in PHASES:
        latency = cost.latency(phase)
        slower = "" if phase == "alone" else "; slower by {:.1%} (median), {:.1%} (rows/s)".format(*cost.slower(phase))
        print(
            f"{phase}: {latency.runs:,} commits, {latency.median:.3f} ms (95%: {latency.p95:.3f} ms), "
            f"{cost.rows_per_second(phase):,.0f} rows/s{slower}"
        )
    return int(max(cost.slower("attaching")) >= MOST_SLOWER)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
