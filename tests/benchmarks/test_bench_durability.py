"""The benchmark of durability runs, and what comes back after its restarts is right."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench_durability import DURABILITIES, measure


def test_the_benchmark_runs(tmp_path: Path) -> None:
    cost = measure(2_000, tmp_path, commits=10)
    assert tuple(cost.by_durability) == DURABILITIES
    assert all(one.fresh.best >= one.acknowledged.best > 0 for one in cost.by_durability.values())
    assert cost.restart.live > 0 and cost.restart.tables > 0
