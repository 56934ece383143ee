"""The benchmark of streams runs; it fails by itself if a listener is told of a row too few or too many."""

from __future__ import annotations

import pyarrow as pa
import pytest

from benchmarks.bench_streamer import COMMIT_ROWS, PHASES, SMALL_COMMITS, SMALL_ROUNDS, SMALL_ROWS, Keeping, measure


def test_listeners_are_told_every_row_and_no_row_twice() -> None:
    cost = measure(SMALL_ROWS, SMALL_ROUNDS, SMALL_COMMITS)
    assert len(cost.rounds) == SMALL_ROUNDS
    assert cost.told >= SMALL_ROUNDS * (SMALL_ROWS + SMALL_COMMITS * COMMIT_ROWS)
    assert cost.attached.runs == SMALL_ROUNDS
    for phase in PHASES:
        assert cost.latency(phase).median > 0
        assert cost.rows_per_second(phase) > 0


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([[0, 1]], id="lost"),
        pytest.param([[0, 1], [1, 2]], id="doubled"),
    ],
)
def test_what_is_lost_or_doubled_is_found(ids: list[list[int]]) -> None:
    listener = Keeping()
    for part in ids:
        listener.records_added(None, pa.RecordBatch.from_pydict({"id": part, "price": part}))
    listener.transaction_committed(1)
    with pytest.raises(AssertionError):
        listener.check(pa.table({"id": [0, 1, 2], "price": [0, 1, 2]}), 1)


def test_an_epoch_that_is_left_out_is_found() -> None:
    listener = Keeping()
    listener.records_added(None, pa.RecordBatch.from_pydict({"id": [0], "price": [0]}))
    for epoch in (1, 3):
        listener.transaction_committed(epoch)
    with pytest.raises(AssertionError, match="left out"):
        listener.check(pa.table({"id": [0], "price": [0]}), 3)
