"""The pieces that users wait for: a commit, a live query's change, a query with and without a provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks import workload
from benchmarks.engine import Engine, Mirror
from benchmarks.pieces.conftest import TABLE_ROWS
from benchmarks.workload import LIVE, QUERIES, Upserts


@pytest.fixture(scope="module")
def engine(backend_name: str) -> Iterator[Engine]:
    engine = Engine(backend_name, workload.trades(TABLE_ROWS, 1), workload.instruments(1))
    yield engine
    engine.close()


@pytest.mark.parametrize("rows", [1, 100, 1_000])
def bench_commit_with_live_query(timed: Callable[..., Any], engine: Engine, rows: int) -> None:
    live, mirror = engine.open_live(), Mirror()
    upserts = Upserts(TABLE_ROWS, rows)
    changes, epoch = live.changes_since(None)
    state = {"epoch": epoch}

    def commit() -> None:
        engine.trades.load_arrow(next(upserts.take(rows, 1)))
        changes, state["epoch"] = live.changes_since(state["epoch"])
        for change in changes:
            mirror.receive(change)

    for change in changes:
        mirror.receive(change)
    timed(commit)
    mirror.fold()
    assert mirror.cells == engine.cells(LIVE)
    live.close()


@pytest.mark.parametrize("question", QUERIES, ids=lambda question: question.name)
def bench_scan(timed: Callable[..., Any], engine: Engine, question: workload.Question) -> None:
    assert engine.source(question) == "scan"
    answer = timed(engine.ask, question)
    assert answer["contributors.COUNT"].sum() > 0


def bench_read_of_a_provider(timed: Callable[..., Any], engine: Engine) -> None:
    with_provider = engine.cover(LIVE)
    answer = timed(engine.ask, LIVE)
    assert engine.source(LIVE) == "provider"
    assert len(answer) == with_provider.statistics().cells
