"""The workload on Apache DataFusion: Arrow tables in memory and SQL; an upsert makes a new table by an anti-join."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datafusion import SessionContext

from benchmarks.peers.duckdb import select
from benchmarks.peers.peer import cells_of_frame
from benchmarks.workload import LIVE, Cells, Question

__all__ = ["DataFusionPeer"]


class DataFusionPeer:
    """Two tables in memory, of as many partitions as there are batches."""

    distribution = "datafusion"

    def __init__(self, trades: pa.Table, instruments: pa.Table) -> None:
        self._context = SessionContext()
        self._register("trades", trades.to_batches(max_chunksize=65_536))
        self._register("instruments", instruments.to_batches())

    def _register(self, name: str, batches: list[pa.RecordBatch]) -> None:
        if self._context.table_exist(name):
            self._context.deregister_table(name)
        self._context.register_record_batches(name, [batches])

    def ask(self, question: Question) -> Any:
        """Compute the answer from the rows."""
        return self._context.sql(select(question, "trades", "instruments")).to_pandas()

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """Return the batch itself."""
        return batch

    def upsert(self, prepared: Any) -> None:
        """Keep the rows whose keys are not given, and add those that are."""
        self._register("given", [prepared])
        kept = self._context.sql("SELECT trades.* FROM trades LEFT ANTI JOIN given ON trades.trade_id = given.trade_id")
        self._register("trades", [batch.cast(prepared.schema) for batch in kept.collect()] + [prepared])

    def open_live(self) -> None:
        """Do nothing: DataFusion recomputes."""

    def live(self) -> Any:
        """Compute the cells from the rows, to Arrow."""
        return self._context.sql(select(LIVE, "trades", "instruments")).collect()

    def live_cells(self) -> Cells:
        """Compute the cells from the rows."""
        return cells_of_frame(self.ask(LIVE), len(LIVE.levels))

    def close(self) -> None:
        """Forget the tables."""
        self._context = SessionContext()
