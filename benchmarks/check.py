"""The oracle: DuckDB over the same rows, told nothing by the engine.

It sees the trades, the instruments and every upsert; the newest row of each key counts. No time is reported unless all
answers agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from benchmarks import workload
from benchmarks.workload import Cells, Question, Upserts

if TYPE_CHECKING:
    from benchmarks.measure import Run

__all__ = ["Oracle", "first_difference", "wrong_answers"]

MEASURES_SQL = "count(*), sum(quantity), sum(pnl), avg(price), max(pnl), sum(quantity * unit_price)"


def wrong_answers(run: Run, seed: int) -> list[str]:
    """Return in words which answers of a run are wrong, and where."""
    oracle = Oracle(workload.trades(run.rows, seed), workload.instruments(seed))
    upserts, applied, wrong = Upserts(run.rows, seed), 0, []
    for answer in run.answers:
        steps = run.taken[applied : answer.after]
        oracle.upsert([batch for size, count in steps for batch in upserts.take(size, count)])
        applied = answer.after
        difference = first_difference(oracle.cells(answer.question), answer.cells)
        if difference is not None:
            wrong.append(f"{answer.question.name} from {answer.source}: {difference}")
    oracle.close()
    return wrong


class Oracle:
    """The tables in DuckDB, after any number of upserts."""

    def __init__(self, trades: pa.Table, instruments: pa.Table) -> None:
        self._connection = duckdb.connect()
        self._take("instruments", instruments)
        self._take("trades", trades)

    def upsert(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Let the rows of the batches take the place of those with their keys; later batches win."""
        if not batches:
            return
        numbered = [
            pa.Table.from_batches([batch]).append_column("turn", pa.repeat(turn, batch.num_rows))
            for turn, batch in enumerate(batches)
        ]
        self._take("changes", pa.concat_tables(numbered))
        self._connection.execute(
            """
            CREATE TABLE newest AS
                SELECT * EXCLUDE (turn) FROM changes
                QUALIFY row_number() OVER (PARTITION BY trade_id ORDER BY turn DESC) = 1;
            DELETE FROM trades WHERE trade_id IN (SELECT trade_id FROM newest);
            INSERT INTO trades SELECT * FROM newest;
            DROP TABLE newest;
            DROP TABLE changes;
            """
        )

    def cells(self, question: Question) -> Cells:
        """Return the answer to a question."""
        levels = ", ".join(f'"{level}"' for level in question.levels)
        condition = "TRUE" if question.currency is None else f"currency = '{question.currency}'"
        answer = self._connection.execute(
            f"""
            SELECT {levels + "," if levels else ""} {MEASURES_SQL}
            FROM trades LEFT JOIN instruments ON ticker = symbol
            WHERE {condition} {"GROUP BY " + levels if levels else ""}
            """
        )
        width = len(question.levels)
        return {row[:width]: row[width:] for row in answer.fetchall()}

    def close(self) -> None:
        """Forget the tables."""
        self._connection.close()

    def _take(self, name: str, rows: pa.Table) -> None:
        self._connection.register("given", rows)
        self._connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
        self._connection.unregister("given")


def first_difference(expected: Cells, given: Cells) -> str | None:
    """Return in words where two answers differ; None if they are equal to the last bit."""
    for key in expected.keys() | given.keys():
        if key not in given:
            return f"cell {key} is missing; it should be {expected[key]}"
        if key not in expected:
            return f"cell {key} should not be there; it is {given[key]}"
        if expected[key] != given[key]:
            return f"cell {key} is {given[key]}; it should be {expected[key]}"
    return None
