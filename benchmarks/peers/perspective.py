"""The workload on Perspective: an indexed table that a view of the live query follows by deltas.

Its views read one table, so trades are given with the columns of their instruments; joining them is not timed.
"""

from __future__ import annotations

import io
from typing import Any

import perspective
import pyarrow as pa

from benchmarks.peers.peer import cells_of_frame
from benchmarks.workload import LIVE, Cells, Question

__all__ = ["PerspectivePeer"]

AGGREGATES = {
    "trade_id": "count",
    "quantity": "sum",
    "pnl": "sum",
    "price": "mean",
    "best_pnl": "max",
    "notional": "sum",
}
EXPRESSIONS = {"best_pnl": '"pnl"', "notional": '"quantity" * "unit_price"'}


class PerspectivePeer:
    """A server in this process, with one table."""

    distribution = "perspective-python"

    def __init__(self, trades: pa.Table, instruments: pa.Table) -> None:
        self._instruments = instruments
        self._client = perspective.Server().new_local_client()
        self._table = self._client.table(_stream(self._joined(trades)), index="trade_id")
        self._view: Any = None

    def _joined(self, trades: pa.Table) -> pa.Table:
        return trades.join(self._instruments, keys="ticker", right_keys="symbol")

    def _open(self, question: Question) -> Any:
        filters = [] if question.currency is None else [["currency", "==", question.currency]]
        return self._table.view(
            group_by=list(question.levels),
            group_rollup_mode="flat" if question.levels else "total",
            columns=list(AGGREGATES),
            aggregates=AGGREGATES,
            expressions=EXPRESSIONS,
            filter=filters,
        )

    def ask(self, question: Question) -> Any:
        """Open a view, which computes it, and read it."""
        view = self._open(question)
        frame = _frame(view)
        view.delete()
        return frame

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """Return the rows with their instruments' columns, as an Arrow stream."""
        return _stream(self._joined(pa.Table.from_batches([batch])))

    def upsert(self, prepared: Any) -> None:
        """Update by the index."""
        self._table.update(prepared)

    def open_live(self) -> None:
        """Open the view that follows the table."""
        self._view = self._open(LIVE)

    def live(self) -> Any:
        """Return the view's cells as an Arrow stream."""
        return self._view.to_arrow()

    def live_cells(self) -> Cells:
        """Return the view's cells."""
        return cells_of_frame(_frame(self._view), len(LIVE.levels))

    def close(self) -> None:
        """Delete view and table."""
        if self._view is not None:
            self._view.delete()
        self._table.delete()


def _stream(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def _frame(view: Any) -> Any:
    return pa.ipc.open_stream(view.to_arrow()).read_all().to_pandas()
