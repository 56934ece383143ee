"""The common workload: trades joined to instruments, upserts into the trades, and what is asked of them.

Everything follows from a seed, so two processes that never meet have the same data. All numbers are multiples of 1/64
and small enough that float64 sums of them are exact in any order: answers can be compared for equality.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["LIVE", "MEASURES", "QUERIES", "Cells", "Question", "Upserts", "instruments", "python_rows", "trades"]

Cells = dict[tuple[Any, ...], tuple[Any, ...]]
"""Members of the levels -> the measures: how answers are compared, whoever gave them."""

MEASURES = ("trades", "quantity", "pnl", "mean_price", "best_pnl", "notional")
"""Of each cell: the number of trades, two sums, a mean, a maximum, and the sum of quantity x unit price."""

BOOKS, DESKS, TRADERS, REGIONS, DATES = 60, 12, 200, 6, 250
INSTRUMENT_COUNT, PRODUCTS, SECTORS, CURRENCIES = 500, 40, 11, ("CHF", "EUR", "GBP", "JPY", "USD")

FIRST_KEY = 1_000_000_000
"""Trades are numbered from here on, as a booking system does."""
FIRST_DATE = 19_000
"""Days since 1970-01-01 of the oldest trade."""
GRAIN = 64

TRADES_SCHEMA = pa.schema(
    [
        ("trade_id", pa.int64()),
        ("book", pa.string()),
        ("ticker", pa.string()),
        ("trader", pa.string()),
        ("desk", pa.string()),
        ("region", pa.string()),
        ("date", pa.date32()),
        ("quantity", pa.float64()),
        ("price", pa.float64()),
        ("pnl", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Question:
    """A query: the measures by some levels, perhaps of one currency only."""

    name: str
    levels: tuple[str, ...]
    currency: str | None = None


LIVE = Question("live", ("book", "product"))
"""The live query: 60 books x 40 products = 2,400 cells."""

QUERIES = (
    Question("Q1", ()),
    Question("Q2", ("desk",)),
    Question("Q3", ("book", "product")),
    Question("Q4", ("sector",), currency="EUR"),
    Question("Q5", ("ticker", "desk")),
    Question("Q6", ("date", "region", "desk")),
)

Ints = npt.NDArray[np.int64]


def instruments(seed: int) -> pa.Table:
    """Return the instruments: 500 rows with a key, three texts and two numbers."""
    random = np.random.default_rng([seed, 1])
    numbers = np.arange(INSTRUMENT_COUNT)
    return pa.table(
        {
            "symbol": _names("T", numbers, INSTRUMENT_COUNT),
            "product": _names("product-", numbers % PRODUCTS, PRODUCTS),
            "sector": _names("sector-", random.integers(0, SECTORS, INSTRUMENT_COUNT), SECTORS),
            "currency": _text(random.integers(0, len(CURRENCIES), INSTRUMENT_COUNT), CURRENCIES),
            "unit_price": random.integers(GRAIN, 512 * GRAIN, INSTRUMENT_COUNT) / GRAIN,
            "lot_size": random.integers(1, 100, INSTRUMENT_COUNT).astype(np.float64),
        }
    )


def trades(rows: int, seed: int) -> pa.Table:
    """Return the trades that are there before the first upsert, in the order of their keys."""
    random = np.random.default_rng([seed, 2])
    return pa.Table.from_batches([_trades(np.arange(rows), random)])


def python_rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return a batch as tuples of Python values."""
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


class Upserts:
    """The stream of upserts: whole rows, half of them for trades that exist, half for new ones.

    An updated trade takes new values everywhere, so it also leaves one cell for another. A batch of one row is an
    update and an insert by turns.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._random = np.random.default_rng([seed, 3])
        self._count = rows
        self._turn = 0

    def take(self, size: int, count: int) -> Iterator[pa.RecordBatch]:
        """Yield the next `count` batches of `size` rows; no key comes twice in one of them."""
        for _ in range(count):
            self._turn += 1
            updates = size // 2 if size > 1 else self._turn % 2
            known = self._distinct(updates)
            fresh = np.arange(self._count, self._count + size - updates)
            self._count += len(fresh)
            yield _trades(self._random.permutation(np.concatenate([known, fresh])), self._random)

    def _distinct(self, size: int) -> Ints:
        drawn = np.unique(self._random.integers(0, self._count, size + size // 8 + 8))
        if len(drawn) < size:
            return self._random.permutation(self._count)[:size]
        return self._random.permutation(drawn)[:size]


def _trades(numbers: Ints, random: np.random.Generator) -> pa.RecordBatch:
    count = len(numbers)
    books = random.integers(0, BOOKS, count)
    columns = [
        pa.array(numbers + FIRST_KEY),
        _names("book-", books, BOOKS),
        _names("T", random.integers(0, INSTRUMENT_COUNT, count), INSTRUMENT_COUNT),
        _names("trader-", random.integers(0, TRADERS, count), TRADERS),
        _names("desk-", books * DESKS // BOOKS, DESKS),
        _names("region-", random.integers(0, REGIONS, count), REGIONS),
        pa.array((random.integers(0, DATES, count) + FIRST_DATE).astype(np.int32)).cast(pa.date32()),
        pa.array(random.integers(-1000, 1001, count).astype(np.float64)),
        pa.array(random.integers(GRAIN, 512 * GRAIN, count) / GRAIN),
        pa.array(random.integers(-100_000 * GRAIN, 100_000 * GRAIN, count) / GRAIN),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TRADES_SCHEMA)


def _names(prefix: str, numbers: Ints, count: int) -> pa.Array:
    width = len(str(count - 1))
    return _text(numbers, [f"{prefix}{number:0{width}d}" for number in range(count)])


def _text(codes: Ints, names: Sequence[str]) -> pa.Array:
    """Return text as most sources deliver it: plain strings, not a dictionary."""
    return pa.array(names, pa.string()).take(pa.array(codes))
