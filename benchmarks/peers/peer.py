"""What the benchmark asks of another engine: load, answer, take upserts, and keep the live query's cells fresh."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from benchmarks.workload import Cells, Question

__all__ = ["Peer", "cells_of_frame"]


class Peer(Protocol):
    """One engine with the two tables in it."""

    distribution: str
    """What to install."""

    def __init__(self, trades: pa.Table, instruments: pa.Table) -> None:
        """Load the tables so that upserts by `trade_id` and the join by ticker are possible."""
        ...

    def ask(self, question: Question) -> Any:
        """Return the answer to a question as a pandas frame: levels, then the measures of `workload.MEASURES`."""
        ...

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """Return an upsert in the form that the engine takes; this is not timed."""
        ...

    def upsert(self, prepared: Any) -> None:
        """Let whole rows take the place of those with their keys, or be added."""
        ...

    def open_live(self) -> None:
        """Get ready to answer the live query after each upsert, by deltas if the engine can."""
        ...

    def live(self) -> Any:
        """Return the cells of the live query as they are after the last upsert, in the engine's cheapest form."""
        ...

    def live_cells(self) -> Cells:
        """Return the same cells in the form in which answers are compared."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def cells_of_frame(frame: Any, levels: int) -> Cells:
    """Return a pandas answer as members -> measures; a day is a `date`."""
    columns = [list(map(_plain, frame[name])) for name in frame.columns]
    return {row[:levels]: row[levels:] for row in zip(*columns, strict=True)}


def _plain(value: Any) -> Any:
    return value.date() if hasattr(value, "to_pydatetime") else value
