"""The benchmark of branches runs, and what it must not exceed holds at small sizes too."""

from __future__ import annotations

from benchmarks.bench_branches import MOST_BYTES, SMALL_ROWS, measure


def test_a_branch_takes_no_memory_for_rows() -> None:
    cost = measure(SMALL_ROWS)
    assert 0 < cost.nbytes < MOST_BYTES / 10
    assert cost.creating.median > 0
