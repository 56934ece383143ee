"""What durability costs: `python -m benchmarks.bench_durability [rows] [--folder FOLDER]`.

The common workload (workload.py) with its live query, in four sessions that differ in where their commits go: in memory
only, and to a log of each durability. They take the same upserts by turns, so that whatever else the machine does costs
them the same; a plain write and sync of as many bytes, by turns with them, is the disk's part. Then the restart of a
table from its checkpoint and from its log. A folder on the disk in question says more than one in /tmp.
BENCH_SMALL=1 only proves that it runs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from benchmarks.engine import Engine
from benchmarks.timing import Timing
from benchmarks.workload import LIVE, Upserts, instruments, trades

__all__ = ["Commits", "Cost", "Restart", "measure"]

ROWS, SMALL_ROWS = 5_000_000, 20_000
COMMIT_ROWS = 1_000_000
"""Trades in each of the four sessions: what a commit costs does not depend on them."""
SMALL_COMMIT, LARGE_COMMIT = 100, 10_000
WARM_UP = 20
SEED = 5
DURABILITIES = ("memory", "os", "group", "fsync")
MOST_MILLISECONDS = 0.3
LEAST_ROWS_PER_SECOND = 1_000_000
MOST_RESTART_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Commits:
    """What commits take with one durability."""

    acknowledged: Timing
    """Milliseconds of a 100-row commit until it returns; the live query's thread may have had its turn by then."""
    fresh: Timing
    """Milliseconds until it has returned and the live query has told what changed."""
    more: float
    """Milliseconds that the latter takes longer than the same commit in memory: the median of the differences."""
    rows_per_second: float
    """Rows through 10,000-row commits of one writer, until the live query is fresh: the median of some rounds."""


@dataclass(frozen=True, slots=True)
class Restart:
    """What a checkpoint and a start take, in seconds."""

    checkpoint: float
    longest_stall: float
    """Milliseconds of the slowest 100-row commit while the checkpoint was made."""
    tables: float
    """From the checkpoint, until the session can be used."""
    live: float
    """The same until the model is made and the live query has its snapshot."""
    replayed: float
    """As `tables`, with 100-row commits in the log besides."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Figures of one run."""

    rows: int
    commits: int
    by_durability: Mapping[str, Commits]
    """"memory", or a durability -> what commits take."""
    disk: Timing
    """Milliseconds of a plain write and sync of as many bytes as a 100-row commit has."""
    restart: Restart

    @property
    def kept(self) -> bool:
        """Whether it is no more than was promised."""
        group = self.by_durability["group"]
        return (
            group.more <= MOST_MILLISECONDS
            and group.rows_per_second >= LEAST_ROWS_PER_SECOND
            and self.restart.live <= MOST_RESTART_SECONDS
        )


class Subject:
    """A session with the workload loaded, and its live query."""

    def __init__(self, durability: str, folder: Path, rows: int | None) -> None:
        options: dict[str, Any] = {} if durability == "memory" else {"data_dir": folder, "durability": durability}
        given = () if rows is None else (trades(rows, SEED), instruments(SEED))
        self.engine = Engine("cpu", *given, **options)
        self.session, self.table = self.engine.session, self.engine.trades
        self.live = self.engine.open_live(on_change=lambda change: None)

    def settle(self) -> None:
        """Have nothing to do any more but what is asked from now on."""
        self.live.wait_for(self.session.epoch)
        if self.session.data_directory is not None:
            self.session.checkpoint()

    def commit(self, batch: pa.Table) -> tuple[float, float]:
        """Return the seconds of a commit until it returns, and until the live query is fresh."""
        begin = time.perf_counter()
        report = self.table.load_arrow(batch)
        acknowledged = time.perf_counter() - begin
        self.live.wait_for(report.epoch)
        return acknowledged, time.perf_counter() - begin


def measure(rows: int, folder: Path, commits: int) -> Cost:
    """Return what durability costs, with so many trades after a restart; what comes back is checked."""
    by_durability, disk = cost_of_commits(folder, min(rows, COMMIT_ROWS), commits)
    return Cost(rows, commits, by_durability, disk, restart(folder / "restart", rows, commits))


def cost_of_commits(folder: Path, rows: int, commits: int) -> tuple[dict[str, Commits], Timing]:
    """Return what commits take with each durability, and the disk's part."""
    stream = Upserts(rows, SEED)
    with ExitStack() as stack:
        subjects = [stack.enter_context(opened(name, folder / name, rows)) for name in DURABILITIES]
        for subject in subjects:
            subject.settle()
        plain = stack.enter_context((folder / "plain").open("wb", buffering=0))
        acknowledged: list[list[float]] = [[] for _ in subjects]
        fresh: list[list[float]] = [[] for _ in subjects]
        disk = []
        for number, batch in enumerate(_tables(stream, SMALL_COMMIT, WARM_UP + commits)):
            for place in _turns(number):
                first, last = subjects[place].commit(batch)
                acknowledged[place].append(first)
                fresh[place].append(last)
            disk.append(_plain(plain.fileno(), batch.nbytes))
        speeds = rows_per_second(subjects, stream, max(1, commits // 50))
        answers = [subject.engine.cells(LIVE) for subject in subjects]
        assert all(answer == answers[0] for answer in answers)
    found = {}
    for name, first, last, speed in zip(DURABILITIES, acknowledged, fresh, speeds, strict=True):
        differences = [mine - other for mine, other in zip(last[WARM_UP:], fresh[0][WARM_UP:], strict=True)]
        found[name] = Commits(
            Timing.of(first[WARM_UP:]), Timing.of(last[WARM_UP:]), Timing.of(differences).median, speed
        )
    return found, Timing.of(disk[WARM_UP:])


def rows_per_second(subjects: Sequence[Subject], stream: Upserts, rounds: int) -> list[float]:
    """Return the rows a second that each session takes by large commits."""
    commits = 5
    seconds: list[list[float]] = [[] for _ in subjects]
    for number in range(rounds):
        batches = list(_tables(stream, LARGE_COMMIT, commits))
        for place in _turns(number):
            begin = time.perf_counter()
            for batch in batches:
                report = subjects[place].table.load_arrow(batch)
            subjects[place].live.wait_for(report.epoch)
            seconds[place].append(time.perf_counter() - begin)
    return [1e3 * commits * LARGE_COMMIT / Timing.of(each).median for each in seconds]


def restart(folder: Path, rows: int, commits: int) -> Restart:
    """Return what it takes to make a checkpoint and to start from it."""
    stream = Upserts(rows, SEED)
    with opened("group", folder, rows) as subject:
        subject.settle()
        checkpoint, stall = _checkpoint_meanwhile(subject, stream)
        subject.session.checkpoint()
        expected = rows_of(subject.session)
    tables, live = started(folder, expected)
    with opened("group", folder, None) as subject:
        for batch in _tables(stream, SMALL_COMMIT, commits):
            subject.table.load_arrow(batch)
        expected = rows_of(subject.session)
    replayed, _ = started(folder, expected)
    return Restart(checkpoint, stall, tables, live, replayed)


def _checkpoint_meanwhile(subject: Subject, stream: Upserts) -> tuple[float, float]:
    """Return the seconds of a checkpoint, and the milliseconds of the slowest commit while it was made."""
    seconds: list[float] = []

    def write() -> None:
        begin = time.perf_counter()
        subject.session.checkpoint()
        seconds.append(time.perf_counter() - begin)

    stalls = [0.0]
    writing = threading.Thread(target=write)
    writing.start()
    while writing.is_alive():
        [batch] = _tables(stream, SMALL_COMMIT, 1)
        stalls.append(subject.commit(batch)[0])
    writing.join()
    return seconds[0], 1e3 * max(stalls)


def started(folder: Path, expected: pa.Table) -> tuple[float, float]:
    """Return the seconds of a start until the tables are there, and until the live query is; the rows are checked."""
    begin = time.perf_counter()
    with ge.Session("cpu", folder) as session:
        tables = time.perf_counter() - begin
        found = rows_of(session)
    assert found.equals(expected)
    begin = time.perf_counter()
    with opened("group", folder, None) as subject:
        subject.live.wait_for(subject.session.epoch)
        return tables, time.perf_counter() - begin


def rows_of(session: ge.Session) -> pa.Table:
    """Return the trades in the order of their keys."""
    return session.tables["trades"].to_arrow().sort_by("trade_id")


@contextmanager
def opened(durability: str, folder: Path, rows: int | None) -> Iterator[Subject]:
    """Give a subject, and end its session."""
    subject = Subject(durability, folder, rows)
    try:
        yield subject
    finally:
        subject.engine.close()


def _tables(stream: Upserts, size: int, count: int) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in stream.take(size, count))


def _turns(number: int) -> Iterator[int]:
    """Return the places of the sessions, each time beginning with another one."""
    return ((number + place) % len(DURABILITIES) for place in range(len(DURABILITIES)))


def _plain(descriptor: int, nbytes: int) -> float:
    """Return the seconds of a write and a sync."""
    data = bytes(nbytes)
    begin = time.perf_counter()
    os.write(descriptor, data)
    os.fdatasync(descriptor)
    return time.perf_counter() - begin


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; fail if one is worse than promised."""
    small = os.environ.get("BENCH_SMALL") == "1"
    parser = argparse.ArgumentParser(prog="bench_durability")
    parser.add_argument("rows", type=int, nargs="?", default=SMALL_ROWS if small else ROWS)
    parser.add_argument("--folder", type=Path, help="where data directories are made, and removed (default: temporary)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        cost = measure(options.rows, Path(folder), 20 if small else 500)
    print(f"{min(cost.rows, COMMIT_ROWS):,} trades; a plain write and sync of 100 rows: {cost.disk.median:.3f} ms")
    for name, one in cost.by_durability.items():
        print(
            f"{name:>6}: 100-row commit {one.acknowledged.median:.3f} ms, until the live query is fresh "
            f"{one.fresh.median:.3f} (95%: {one.fresh.p95:.3f}) ms, {one.more:+.3f} ms; "
            f"{one.rows_per_second:,.0f} rows/s by 10,000-row commits"
        )
    again = cost.restart
    print(f"{cost.rows:,} trades; checkpoint {again.checkpoint:.2f} s, slowest commit meanwhile", end=" ")
    print(f"{again.longest_stall:.1f} ms; restart {again.tables:.2f} s, until the live query is there", end=" ")
    print(f"{again.live:.2f} s; with {cost.commits} commits in the log {again.replayed:.2f} s")
    return int(not cost.kept)


if __name__ == "__main__":
    raise SystemExit(main())
