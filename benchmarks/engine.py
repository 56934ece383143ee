"""The common workload on this engine, through its public names only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from benchmarks.workload import LIVE, MEASURES, Cells, Question

__all__ = ["ASKED", "Engine", "Mirror", "cells_of", "fill"]

TRADE_TYPES = {
    "trade_id": ge.LONG,
    "book": ge.STRING,
    "ticker": ge.STRING,
    "trader": ge.STRING,
    "desk": ge.STRING,
    "region": ge.STRING,
    "date": ge.LOCAL_DATE,
    "quantity": ge.DOUBLE,
    "price": ge.DOUBLE,
    "pnl": ge.DOUBLE,
}
INSTRUMENT_TYPES = {
    "symbol": ge.STRING,
    "product": ge.STRING,
    "sector": ge.STRING,
    "currency": ge.STRING,
    "unit_price": ge.DOUBLE,
    "lot_size": ge.DOUBLE,
}
ASKED = ("contributors.COUNT", *MEASURES[1:])
"""What the cube calls the measures: the number of facts is there without being defined."""


def fill(session: ge.Session, trades: pa.Table | None, instruments: pa.Table | None) -> tuple[ge.Table, ge.Cube]:
    """Create the two tables and the cube of the workload in a session, load them, and return trades and cube.

    Without rows to load, the tables are those that a data directory has brought back.
    """
    dimension = session.create_table("instruments", INSTRUMENT_TYPES, keys=["symbol"])
    table = session.create_table("trades", TRADE_TYPES, keys=["trade_id"])
    table.join(dimension, on={"ticker": "symbol"})
    if instruments is not None:
        dimension.load_arrow(instruments)
    if trades is not None:
        table.load_arrow(trades)
    cube = session.create_cube(table, mode="auto")
    measures = cube.measures
    measures["quantity"] = ge.agg.sum(table["quantity"])
    measures["pnl"] = ge.agg.sum(table["pnl"])
    measures["mean_price"] = ge.agg.mean(table["price"])
    measures["best_pnl"] = ge.agg.max(table["pnl"])
    measures["notional"] = ge.agg.sum(table["quantity"] * dimension["unit_price"])
    return table, cube


class Engine:
    """A session with the two tables, keyed and joined, and a cube over them."""

    def __init__(
        self, backend: str, trades: pa.Table | None = None, instruments: pa.Table | None = None, **options: Any
    ) -> None:
        self.session = ge.Session(backend=backend, **options)
        self.trades, self.cube = fill(self.session, trades, instruments)

    def ask(self, question: Question, **options: Any) -> Any:
        """Return the answer to a question, by default as a pandas frame."""
        return self.cube.query(*ASKED, levels=question.levels, filter=self._filter(question), **options)

    def open_live(self, on_change: Any = None) -> ge.LiveQuery:
        """Open the live query."""
        return self.cube.live(*ASKED, levels=LIVE.levels, on_change=on_change)

    def cover(self, question: Question) -> ge.AggregateProvider:
        """Make a provider that covers a question, whatever currency it asks for."""
        levels = question.levels if question.currency is None else (*question.levels, "currency")
        return self.cube.create_provider(levels=levels, measures=ASKED)

    def source(self, question: Question) -> str:
        """Return what answers a question: a provider, or a scan of the rows."""
        return str(self.ask(question, explain=True).source)

    def cells(self, question: Question) -> Cells:
        """Return the answer to a question in the form in which answers are compared."""
        return cells_of(self.ask(question, mode="arrow"), len(question.levels))

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def _filter(self, question: Question) -> ge.Condition | None:
        return None if question.currency is None else self.cube.levels["currency"] == question.currency


class Mirror:
    """The cells of a live query, put together by a client from what it was told."""

    def __init__(self) -> None:
        self.cells: Cells = {}
        self._untold: deque[ge.CellChange] = deque()

    def receive(self, change: ge.CellChange) -> None:
        """Take a change in; what it says counts from the next `fold` on, so that receiving costs nothing."""
        self._untold.append(change)

    def fold(self) -> None:
        """Apply what was received."""
        while self._untold:
            change = self._untold.popleft()
            if change.snapshot:
                self.cells = {}
            for key, values in _rows(change.removed, len(LIVE.levels)):
                self._expect(key, values, change)
                del self.cells[key]
            for key, values in _rows(change.changed_from, len(LIVE.levels)):
                self._expect(key, values, change)
            self.cells.update(_rows(change.added, len(LIVE.levels)))
            self.cells.update(_rows(change.changed, len(LIVE.levels)))

    def _expect(self, key: tuple[Any, ...], values: tuple[Any, ...], change: ge.CellChange) -> None:
        known = self.cells.get(key)
        if known != values:
            raise AssertionError(f"epoch {change.epoch} says that cell {key} was {values}, but {known} was told before")


def cells_of(answer: pa.Table, levels: int) -> Cells:
    """Return an Arrow answer as members -> measures."""
    return dict(_rows(answer, levels))


def _rows(answer: pa.Table, levels: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    columns: Iterable[list[Any]] = (column.to_pylist() for column in answer.columns)
    return ((row[:levels], row[levels:]) for row in zip(*columns, strict=True))
