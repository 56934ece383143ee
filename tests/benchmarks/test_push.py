"""The benchmark of the push runs, and every subscriber gets every epoch. No time is asserted here."""

from __future__ import annotations

from benchmarks.push.__main__ import SMALL, measure


def test_every_subscriber_hears_of_every_commit() -> None:
    push = measure(SMALL)
    assert push.frames + push.merged >= push.expected * 0.9, "an epoch may leave a query's cells as they were"
    assert 0 < push.median <= push.p99
    assert push.memory_after > 0
    assert "99th percentile" in push.to_markdown(SMALL)
