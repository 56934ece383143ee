"""What durability costs: `python -m benchmarks.bench_durability [rows] [--folder FOLDER]`.

Commits of 100 rows with and without a data directory, 10,000-row commits a second, and the restart of a table from its
checkpoint and from its log. A folder on the disk in question says more than one in /tmp. Each figure stands beside the
cost of a plain write and sync of as many bytes, which is the disk's part. BENCH_SMALL=1 only proves that it runs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from benchmarks.timing import Timing, timed

__all__ = ["Cost", "measure"]

ROWS, SMALL_ROWS = 5_000_000, 20_000
SMALL_COMMIT, LARGE_COMMIT = 100, 10_000
MOST_MILLISECONDS = 0.3
LEAST_ROWS_PER_SECOND = 1_000_000
MOST_RESTART_SECONDS = 5.0
TYPES = {
    "id": ge.LONG,
    "book": ge.STRING,
    "product": ge.STRING,
    "city": ge.STRING,
    "day": ge.LOCAL_DATE,
    "quantity": ge.DOUBLE,
    "price": ge.DOUBLE,
    "cost": ge.DOUBLE,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Figures of one run."""

    rows: int
    commit: Mapping[str, Timing]
    """Durability, or "memory" -> milliseconds of a 100-row commit by one writer."""
    disk: Timing
    """Milliseconds of a plain write and sync of as many bytes."""
    rows_per_second: Mapping[str, float]
    """Durability, or "memory" -> rows through 10,000-row commits of one writer."""
    checkpoint_seconds: float
    longest_stall: float
    """Milliseconds of the slowest 100-row commit while the checkpoint was made."""
    restart_seconds: float
    """From the checkpoint, until the session can be used."""
    replay_seconds: float
    """The same from the log of `replayed` 100-row commits besides."""
    replayed: int


def measure(rows: int, folder: Path, commits: int) -> Cost:
    """Return what durability costs over a table of so many rows; what comes back is checked."""
    figures = {name: commits_of(folder, name, rows, commits) for name in ("memory", "os", "group", "fsync")}
    return Cost(
        rows,
        {name: small for name, (small, _) in figures.items()},
        disk_part(folder, commits),
        {name: large for name, (_, large) in figures.items()},
        *restart(folder / "group", rows, commits),
        commits,
    )


def commits_of(folder: Path, name: str, rows: int, commits: int) -> tuple[Timing, float]:
    """Return what 100-row commits take with a durability, and the rows a second of 10,000-row commits."""
    durability: dict[str, Any] = {} if name == "memory" else {"data_dir": folder / name, "durability": name}
    with ge.Session("cpu", **durability) as session:
        table = session.create_table("trades", TYPES, keys=["id"])
        table.load_arrow(trades(0, rows))
        batches = iter([trades(7 * number % rows, SMALL_COMMIT, number) for number in range(2 * commits)])
        timed(lambda: table.load_arrow(next(batches)), commits)
        small = timed(lambda: table.load_arrow(next(batches)), commits)
        stream = [trades(number * LARGE_COMMIT % rows, LARGE_COMMIT, number) for number in range(max(1, commits // 10))]
        begin = time.perf_counter()
        for batch in stream:
            table.load_arrow(batch)
        return small, len(stream) * LARGE_COMMIT / (time.perf_counter() - begin)


def restart(folder: Path, rows: int, commits: int) -> tuple[float, float, float, float]:
    """Return the seconds of a checkpoint, the slowest commit meanwhile (ms), and the seconds of two restarts."""
    with ge.Session("cpu", folder) as session:
        table = session.create_table("trades", TYPES, keys=["id"])
        directory = session.data_directory
        assert directory is not None
        seconds: list[float] = []

        def write() -> None:
            begin = time.perf_counter()
            directory.checkpoint()
            seconds.append(time.perf_counter() - begin)

        writing = threading.Thread(target=write)
        writing.start()
        stalls, number = [0.0], 0
        while writing.is_alive():
            number += 1
            batch = trades(0, SMALL_COMMIT, -number)
            begin = time.perf_counter()
            table.load_arrow(batch)
            stalls.append(1e3 * (time.perf_counter() - begin))
        writing.join()
        directory.checkpoint()
        expected = table.to_arrow().sort_by("id")
    from_checkpoint = started(folder, expected)
    with ge.Session("cpu", folder) as session:
        table = session.create_table("trades", TYPES, keys=["id"])
        for number in range(commits):
            table.load_arrow(trades(7 * number % rows, SMALL_COMMIT, -number))
        expected = table.to_arrow().sort_by("id")
    return seconds[0], max(stalls), from_checkpoint, started(folder, expected)


def started(folder: Path, expected: pa.Table) -> float:
    begin = time.perf_counter()
    with ge.Session("cpu", folder) as session:
        seconds = time.perf_counter() - begin
        assert session.tables["trades"].to_arrow().sort_by("id").equals(expected)
    return seconds


def disk_part(folder: Path, runs: int) -> Timing:
    """Return what writing and syncing the bytes of a 100-row commit takes."""
    data = bytes(pa.record_batch(trades(0, SMALL_COMMIT).to_batches()[0]).nbytes)
    path = folder / "plain"
    with path.open("wb", buffering=0) as file:

        def write() -> None:
            file.write(data)
            os.fdatasync(file.fileno())

        found = timed(write, runs)
    path.unlink()
    return found


def trades(first: int, count: int, seed: int = 0) -> pa.Table:
    """Return trades with consecutive keys; another seed gives other values."""
    numbers = range(first, first + count)
    values = pa.array([float((number * 31 + seed) % 1009) for number in numbers])
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "book": [f"book {number % 120}" for number in numbers],
            "product": [f"product {number % 500}" for number in numbers],
            "city": [f"city {number % 40}" for number in numbers],
            "day": pa.array([19_000 + number % 250 for number in numbers], pa.int32()).cast(pa.date32()),
            "quantity": values,
            "price": values,
            "cost": values,
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; fail if one is worse than promised."""
    small = os.environ.get("BENCH_SMALL") == "1"
    parser = argparse.ArgumentParser(prog="bench_durability")
    parser.add_argument("rows", type=int, nargs="?", default=SMALL_ROWS if small else ROWS)
    parser.add_argument("--folder", type=Path, help="where data directories are made, and removed (default: temporary)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        cost = measure(options.rows, Path(folder), 20 if small else 500)
    memory = cost.commit["memory"].median
    print(f"{cost.rows:,} rows; a plain write and sync of 100 rows: {cost.disk.median:.3f} ms")
    for name, timing in cost.commit.items():
        more = timing.median - memory
        print(
            f"{name:>6}: 100-row commit {timing.median:.3f} ms (+{more:.3f}, 95%: {timing.p95:.3f}), "
            f"{cost.rows_per_second[name]:,.0f} rows/s by 10,000-row commits"
        )
    print(f"checkpoint {cost.checkpoint_seconds:.2f} s, slowest commit meanwhile {cost.longest_stall:.1f} ms")
    print(f"restart {cost.restart_seconds:.2f} s; with {cost.replayed} commits in the log {cost.replay_seconds:.2f} s")
    return int(
        cost.commit["group"].median - memory > MOST_MILLISECONDS
        or cost.rows_per_second["group"] < LEAST_ROWS_PER_SECOND
        or cost.restart_seconds > MOST_RESTART_SECONDS
    )


if __name__ == "__main__":
    raise SystemExit(main())
