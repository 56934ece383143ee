"""Commit latency against the number of cells that a provider holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

import gpu_engine as ge
from benchmarks.growth.curve import Curve
from benchmarks.timing import Timing

__all__ = ["measure"]


def measure(counts: Sequence[int], rows: int, commits: int, backend: str) -> list[Curve]:
    """Return commit latency against cells, with sums alone and with a maximum."""
    curve = Curve("cells", "100-row upsert against cells of the provider", "cells", "milliseconds for the commit")
    for count in counts:
        for line, aggregates in {"sum and count": ("SUM",), "with a maximum": ("SUM", "MAX")}.items():
            curve.add(line, count, _commits(count, max(rows, count), aggregates, commits, backend))
    return [curve]


def _commits(cells: int, rows: int, aggregates: Sequence[str], commits: int, backend: str) -> float:
    random = np.random.default_rng(1)
    with ge.Session(backend=backend) as session:
        table = session.create_table("facts", {"id": ge.LONG, "cell": ge.LONG, "x": ge.DOUBLE}, keys=["id"])
        table.load_arrow(pa.table({"id": np.arange(rows), "cell": np.arange(rows) % cells, "x": random.random(rows)}))
        cube = session.create_cube(table, mode="manual")
        cube.hierarchies["cell"] = [table["cell"]]
        makers = {"SUM": ge.agg.sum, "MAX": ge.agg.max}
        for name in aggregates:
            cube.measures[name] = makers[name](table["x"])
        cube.create_provider(levels=["cell"], measures=list(aggregates))
        seconds = []
        for _ in range(commits):
            ids = random.choice(rows, 100, replace=False)
            batch = pa.table({"id": ids, "cell": random.integers(0, cells, 100), "x": random.random(100)})
            begin = time.perf_counter()
            table.load_arrow(batch)
            seconds.append(time.perf_counter() - begin)
    return Timing.of(seconds).median
