"""The benchmark of durability runs, and what comes back after its restarts is right."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench_durability import measure


def test_the_benchmark_runs(tmp_path: Path) -> None:
    cost = measure(2_000, tmp_path, commits=10)
    assert list(cost.commit) == ["memory", "os", "group", "fsync"]
    assert cost.restart_seconds > 0
