"""Commit latency against the number of live queries: many share levels, so what counts is distinct providers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import combinations

import gpu_engine as ge
from benchmarks import workload
from benchmarks.engine import ASKED, Engine
from benchmarks.growth.curve import Curve
from benchmarks.timing import Timing
from benchmarks.workload import Upserts

__all__ = ["measure"]

LEVELS = ("book", "desk", "region", "product", "sector")


def measure(counts: Sequence[int], rows: int, commits: int, backend: str) -> list[Curve]:
    """Return commit latency against live queries on one provider, and on up to ten."""
    curve = Curve("live-queries", "100-row upsert against live queries", "live queries", "milliseconds for the commit")
    trades, instruments = workload.trades(rows, 1), workload.instruments(1)
    choices = {"all on the same levels": [LEVELS[:2]], "on ten sets of levels": list(combinations(LEVELS, 2))}
    for line, levels in choices.items():
        for count in counts:
            engine = Engine(backend, trades, instruments)
            queries = [engine.cube.live(*ASKED, levels=levels[number % len(levels)]) for number in range(count)]
            curve.add(line, count, _commits(engine, rows, commits))
            for query in queries:
                query.close()
            engine.close()
    return [curve]


def _commits(engine: Engine, rows: int, commits: int) -> float:
    seconds = []
    for batch in Upserts(rows, 1).take(100, commits):
        begin = time.perf_counter()
        report: ge.CommitReport | None = engine.trades.load_arrow(batch)
        seconds.append(time.perf_counter() - begin)
        assert report is not None
    return Timing.of(seconds).median
