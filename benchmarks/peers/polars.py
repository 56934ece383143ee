"""The workload on Polars: frames, an anti-join and a concatenation per upsert, lazy queries over both tables."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks.peers.peer import cells_of_frame
from benchmarks.workload import LIVE, Cells, Question

__all__ = ["PolarsPeer"]

MEASURES = (
    pl.len().alias("trades"),
    pl.col("quantity").sum().alias("quantity_sum"),
    pl.col("pnl").sum().alias("pnl_sum"),
    pl.col("price").mean().alias("mean_price"),
    pl.col("pnl").max().alias("best_pnl"),
    (pl.col("quantity") * pl.col("unit_price")).sum().alias("notional"),
)
TEXTS = ("book", "ticker", "trader", "desk", "region", "symbol", "product", "sector", "currency")


class PolarsPeer:
    """Two frames; texts are categorical, as its guide recommends for group keys that repeat."""

    distribution = "polars"

    def __init__(self, trades: pa.Table, instruments: pa.Table) -> None:
        self._trades, self._instruments = _frame(trades), _frame(instruments)

    def ask(self, question: Question) -> Any:
        """Compute the answer from the rows."""
        return self._computed(question).to_pandas()

    def _computed(self, question: Question) -> pl.DataFrame:
        joined = self._trades.lazy().join(self._instruments.lazy(), left_on="ticker", right_on="symbol", how="left")
        if question.currency is not None:
            joined = joined.filter(pl.col("currency") == question.currency)
        if not question.levels:
            return joined.select(*MEASURES).collect()
        return joined.group_by(question.levels).agg(*MEASURES).collect()

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """Return a frame."""
        return _frame(pa.Table.from_batches([batch]))

    def upsert(self, prepared: Any) -> None:
        """Keep the rows whose keys are not given, and add those that are."""
        kept = self._trades.join(prepared, on="trade_id", how="anti")
        self._trades = pl.concat([kept, prepared])

    def open_live(self) -> None:
        """Do nothing: Polars recomputes."""

    def live(self) -> Any:
        """Compute the cells from the rows."""
        return self._computed(LIVE)

    def live_cells(self) -> Cells:
        """Compute the cells from the rows."""
        return cells_of_frame(self.ask(LIVE), len(LIVE.levels))

    def close(self) -> None:
        """Forget the frames."""
        self._trades = self._instruments = pl.DataFrame()


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(rows)
    return frame.with_columns(pl.col(name).cast(pl.Categorical) for name in TEXTS if name in frame.columns)
