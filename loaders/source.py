"""What a source gives: Arrow rows, and with them the position after them.

Floor 0: imports nothing of the project. Whoever takes a batch commits rows and position together; opened again at
that position, the source gives the rows that follow, so that a restart neither repeats nor loses any.
`loaders.testing.check_source` runs this contract on any source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import pyarrow as pa

__all__ = ["OnBytes", "Source", "SourceBatch", "number_rows"]

OnBytes = Callable[[int], None]
"""Told how many further bytes of a file have been read, so that somebody can say how far the reading has come."""


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Some rows of a source and how far it has come with them."""

    rows: pa.RecordBatch
    """The rows; every batch of one source has the same schema."""
    position: object
    """Where to go on after these rows. For a file: how many of its rows have been given (int)."""


class Source(Protocol):
    """An iterator over batches that can be closed early, any number of times; generators are such iterators."""

    def __iter__(self) -> Self:
        """Return the source itself: it is read once."""
        ...

    def __next__(self) -> SourceBatch:
        """Return the next rows with the position after them; after the last ones raise StopIteration."""
        ...

    def close(self) -> None:
        """Let go of files and connections. After it there are no more batches."""
        ...


def number_rows(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, *, first: int = 0, resume: int = 0, limit: int | None = None
) -> Iterator[SourceBatch]:
    """Yield the rows after `resume`, at most `limit` of them, each batch with the number of rows up to its end.

    Parameters
    ----------
    batches
        Rows of a file in file order, the first of them having the number `first` (counted from 0).
    schema
        Their schema. Where no rows are left to give, one empty batch carries it, so there is always a batch.
    """
    end = None if limit is None else resume + limit
    given = False
    reached = first
    for rows in batches if end is None or resume < end else ():
        start = max(resume - reached, 0)
        stop = rows.num_rows if end is None else min(rows.num_rows, end - reached)
        if start < stop:
            given = True
            yield SourceBatch(rows.slice(start, stop - start), position=reached + stop)
        reached += rows.num_rows
        if end is not None and reached >= end:
            break
    if not given:
        yield SourceBatch(pa.RecordBatch.from_pylist([], schema=schema), position=resume)
