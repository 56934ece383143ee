"""The workload on DuckDB: a table with a primary key, INSERT OR REPLACE, the join and the group-by at query time."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.peers.peer import cells_of_frame
from benchmarks.workload import LIVE, Cells, Question

__all__ = ["DuckDBPeer", "select"]

MEASURES = (
    "count(*) AS trades, sum(quantity) AS quantity, sum(pnl) AS pnl, avg(price) AS mean_price, max(pnl) AS best_pnl, "
    "sum(quantity * unit_price) AS notional"
)


def select(question: Question, trades: str, instruments: str) -> str:
    """Return the question as SQL."""
    levels = "".join(f'"{level}", ' for level in question.levels)
    where = "" if question.currency is None else f" WHERE currency = '{question.currency}'"
    group = f" GROUP BY {levels.rstrip(', ')}" if levels else ""
    return f"SELECT {levels}{MEASURES} FROM {trades} LEFT JOIN {instruments} ON ticker = symbol{where}{group}"


class DuckDBPeer:
    """Keyed tables in memory."""

    distribution = "duckdb"

    def __init__(self, trades: pa.Table, instruments: pa.Table) -> None:
        self._connection = duckdb.connect()
        self._create("instruments", "symbol", instruments)
        self._create("trades", "trade_id", trades)

    def _create(self, name: str, key: str, rows: pa.Table) -> None:
        self._connection.register("given", rows)
        described = self._connection.execute("DESCRIBE given").fetchall()
        columns = ", ".join(f"{column} {type_}" for column, type_, *_ in described)
        self._connection.execute(f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({key}))")
        self._connection.execute(f"INSERT INTO {name} SELECT * FROM given")
        self._connection.unregister("given")

    def ask(self, question: Question) -> Any:
        """Compute the answer from the rows."""
        return self._connection.execute(select(question, "trades", "instruments")).df()

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """Return an Arrow table, which DuckDB reads in place."""
        return pa.Table.from_batches([batch])

    def upsert(self, prepared: Any) -> None:
        """Insert, or replace by the primary key."""
        self._connection.register("given", prepared)
        self._connection.execute("INSERT OR REPLACE INTO trades SELECT * FROM given")
        self._connection.unregister("given")

    def open_live(self) -> None:
        """Do nothing: DuckDB recomputes."""

    def live(self) -> Any:
        """Compute the cells from the rows, to Arrow."""
        return self._connection.sql(select(LIVE, "trades", "instruments")).to_arrow_table()

    def live_cells(self) -> Cells:
        """Compute the cells from the rows."""
        return cells_of_frame(self.ask(LIVE), len(LIVE.levels))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
