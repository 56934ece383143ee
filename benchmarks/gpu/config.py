"""Sizes and repetitions: in earnest, and in the tiny mode that only proves that everything works."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["FULL", "SMALL", "Config", "chosen"]


@dataclass(frozen=True, slots=True)
class Config:
    """One run."""

    grouped_rows: int
    """Rows that are summed up by group, with six measures each."""
    groups: int
    vectors: int
    """Vectors of `scenarios` numbers that are summed up by book."""
    scenarios: int
    books: int
    loaded_rows: int
    """Rows of the bulk load."""
    file_rows: int
    """Rows of the files that are loaded."""
    transactions: tuple[int, ...]
    """Rows of an upsert."""
    table_rows: int
    """Rows of the table that is upserted into."""
    providers: int
    cells: int
    """Cells of the provider that is queried."""
    copied_bytes: int
    """Size of the array whose copy measures the memory."""
    runs: int
    """Repetitions that are timed; one more comes before them."""


FULL = Config(
    grouped_rows=100_000_000,
    groups=2_400,
    vectors=500_000,
    scenarios=250,
    books=100,
    loaded_rows=100_000_000,
    file_rows=5_000_000,
    transactions=(1_000, 100_000),
    table_rows=1_000_000,
    providers=10,
    cells=100_000,
    copied_bytes=4 << 30,
    runs=7,
)
SMALL = Config(
    grouped_rows=20_000,
    groups=24,
    vectors=500,
    scenarios=40,
    books=7,
    loaded_rows=5_000,
    file_rows=2_000,
    transactions=(10, 1_000),
    table_rows=2_000,
    providers=10,
    cells=1_000,
    copied_bytes=1 << 20,
    runs=2,
)


def chosen() -> Config:
    """Return the sizes in earnest; BENCH_SMALL=1 asks for the tiny ones."""
    return SMALL if os.environ.get("BENCH_SMALL") == "1" else FULL
