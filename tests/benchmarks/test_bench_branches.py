"""The benchmark of branches runs, and what it must not exceed holds at small sizes too."""

from __future__ import annotations

from benchmarks.bench_branches import MOST_BYTES, SMALL_ROWS, asked_for, measure


def test_a_branch_takes_no_memory_for_rows() -> None:
    cost = measure(SMALL_ROWS)
    assert 0 < cost.nbytes < MOST_BYTES / 10
    assert cost.creating.median > 0
    assert cost.creating_past.median > 0
    # Marks of rows would take a byte for each at least.
    assert 0 < cost.peak < SMALL_ROWS


def test_what_is_asked_for_is_measured() -> None:
    assert 1_000_000 < asked_for(lambda: bytearray(1_000_000)) < 1_100_000
