"""Deletions: removing rows that hold a cell's minimum or maximum, against table size."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

import gpu_engine as ge
from benchmarks.growth.curve import Curve
from benchmarks.timing import Timing

__all__ = ["measure"]

CELLS = 100


def measure(sizes: Sequence[int], commits: int, backend: str) -> list[Curve]:
    """Return what dropping 100 rows by key takes, each one the extreme of its cell and any of it."""
    curve = Curve("deletions", "Dropping 100 rows against table size", "rows", "milliseconds for the commit")
    for rows in sizes:
        for line, functions in {
            "mean": ("mean",),
            "min, max and mean": ("mean", "min", "max"),
        }.items():
            curve.add(f"{line}, extremes dropped", rows, _drops(rows, functions, True, commits, backend))
            curve.add(f"{line}, any rows dropped", rows, _drops(rows, functions, False, commits, backend))
    return [curve]


def _drops(rows: int, functions: Sequence[str], extremes: bool, commits: int, backend: str) -> float:
    """Rows of a cell have falling values, so the next hundred keys hold the maxima of all cells."""
    numbers = np.arange(rows)
    order = numbers if extremes else np.random.default_rng(1).permutation(rows)
    with ge.Session(backend=backend) as session:
        table = session.create_table("facts", {"id": ge.LONG, "cell": ge.LONG, "x": ge.DOUBLE}, keys=["id"])
        table.load_arrow(pa.table({"id": numbers, "cell": numbers % CELLS, "x": (rows - numbers).astype("float64")}))
        cube = session.create_cube(table, mode="manual")
        cube.hierarchies["cell"] = [table["cell"]]
        for name in functions:
            cube.measures[name] = getattr(ge.agg, name)(table["x"])
        cube.create_provider(levels=["cell"], measures=list(functions))
        seconds = []
        for turn in range(min(commits, rows // CELLS - 1)):
            keys = order[turn * CELLS : (turn + 1) * CELLS].tolist()
            begin = time.perf_counter()
            table.drop(keys=keys)
            seconds.append(time.perf_counter() - begin)
        left = cube.query(*functions, levels=["cell"], mode="arrow").to_pydict()
        expected = (rows - np.sort(order[len(seconds) * CELLS :])).astype("float64")
        assert "max" not in functions or max(left["max"]) == expected.max()
    return Timing.of(seconds).median
