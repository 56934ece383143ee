"""Commit latency against table size: a 100-row upsert into 10 thousand to 10 million trades, the live query open."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import workload
from benchmarks.engine import Engine
from benchmarks.growth.curve import Curve
from benchmarks.timing import Timing
from benchmarks.workload import Upserts

__all__ = ["measure"]


def measure(sizes: Sequence[int], commits: int, backend: str) -> list[Curve]:
    """Return commit latency and memory per row against table size."""
    latency = Curve("table-size", "100-row upsert against table size", "trades", "milliseconds")
    memory = Curve("memory", "Memory of the tables against their Arrow source", "trades", "bytes held / bytes of Arrow")
    for rows in sizes:
        trades, instruments = workload.trades(rows, 1), workload.instruments(1)
        engine = Engine(backend, trades, instruments)
        source = trades.nbytes + instruments.nbytes
        del trades
        held = sum(table.nbytes for table in engine.session.statistics().tables.values())
        memory.add("tables", rows, held / source)
        live = engine.open_live()
        _, epoch = live.changes_since(None)
        alone, fresh = [], []
        for batch in Upserts(rows, 1).take(100, commits):
            begin = time.perf_counter()
            engine.trades.load_arrow(batch)
            committed = time.perf_counter()
            _, epoch = live.changes_since(epoch)
            fresh.append(time.perf_counter() - begin)
            alone.append(committed - begin)
        latency.add("commit", rows, Timing.of(alone).median)
        latency.add("live query fresh", rows, Timing.of(fresh).median)
        live.close()
        engine.close()
    return [latency, memory]
