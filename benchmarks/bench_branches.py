"""What a branch costs: `python -m benchmarks.bench_branches [rows]` creates some over a table of so many rows.

Creating a branch copies no rows, so neither its time nor its memory may depend on their number: less than 10 ms and
less than 1 MB for each, over 5 million rows, from the head or from a past epoch. Memory is measured twice: as the
tables count it, and as Python and NumPy have asked for it. BENCH_SMALL=1 takes few rows and only proves that it runs.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

import gpu_engine as ge
from benchmarks.timing import Timing, timed

__all__ = ["Cost", "measure"]

ROWS, SMALL_ROWS = 5_000_000, 20_000
BRANCHES = 20
MOST_MILLISECONDS = 10.0
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Figures of one run."""

    rows: int
    creating: Timing
    """Milliseconds for one branch from the head."""
    creating_past: Timing
    """Milliseconds for one branch from a past epoch."""
    nbytes: float
    """Bytes that the tables grew by for each branch."""
    peak: int
    """Bytes asked for at most while one was created, from the head or from a past epoch."""
    first_write: Timing
    """Milliseconds for the first commit of one row on a new branch."""
    nbytes_of_write: float
    """Bytes that the tables grew by for each branch with its first commit, the marks of rows included."""


def measure(rows: int, backend: str = "cpu") -> Cost:
    """Return what branches cost over a table of so many rows; its answers are checked."""
    with ge.Session(backend=backend) as session:
        table = session.create_table("trades", {"id": ge.LONG, "price": ge.LONG}, keys=["id"])
        table.load_arrow(pa.table({"id": range_of(rows), "price": range_of(rows)}))
        names = iter(f"branch {number}" for number in range(BRANCHES))
        past = session.epoch
        table.append((1, -2))
        before = session.statistics().tables["trades"].nbytes
        creating = timed(lambda: session.branches.create(next(names)), BRANCHES)
        created = session.statistics().tables["trades"].nbytes
        written = iter(session.branches.list()[1:])
        older = iter(f"older {number}" for number in range(BRANCHES + 2))
        creating_past = timed(lambda: session.branches.create(next(older), epoch=past), BRANCHES)
        peaks = (
            asked_for(lambda: session.branches.create(next(older))),
            asked_for(lambda: session.branches.create(next(older), epoch=past)),
        )
        before_writes = session.statistics().tables["trades"].nbytes

        def write() -> None:
            with session.start_transaction(next(written).name):
                table.append((0, -1))

        first_write = timed(write, BRANCHES)
        after = session.statistics().tables["trades"].nbytes
        for branch in session.branches:
            price = session.database.version(branch).get("trades", 0, ["price"])
            assert price == {"price": -1 if branch.startswith("branch") else 0}, (branch, price)
        wanted = {"master": -2, "branch 0": -2, "older 0": 1}
        for branch, price in wanted.items():
            assert session.database.version(branch).get("trades", 1, ["price"]) == {"price": price}, branch
        nbytes, nbytes_of_write = (created - before) / BRANCHES, (after - before_writes) / BRANCHES
        return Cost(rows, creating, creating_past, nbytes, max(peaks), first_write, nbytes_of_write)


def asked_for(create: Callable[[], object]) -> int:
    """Return how many bytes more than before were in use at most while something was done."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        create()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def range_of(rows: int) -> pa.Array:
    return pa.array(range(rows), pa.int64())


def main(arguments: list[str]) -> int:
    """Print the figures; fail if creating a branch costs more than it may."""
    rows = int(arguments[0]) if arguments else SMALL_ROWS if os.environ.get("BENCH_SMALL") == "1" else ROWS
    cost = measure(rows)
    print(f"{BRANCHES} branches over {cost.rows:,} rows, medians")
    for name, creating in ("create a branch", cost.creating), ("from a past epoch", cost.creating_past):
        print(f"{name}: {creating.median:.3f} ms (95%: {creating.p95:.3f} ms)")
    print(f"memory of one: {cost.nbytes:,.0f} bytes of the tables, {cost.peak:,} asked for at most")
    print(f"first commit on it: {cost.first_write.median:.3f} ms, {cost.nbytes_of_write:,.0f} bytes")
    slowest = max(cost.creating.median, cost.creating_past.median)
    return int(slowest >= MOST_MILLISECONDS or max(cost.nbytes, cost.peak) >= MOST_BYTES)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
