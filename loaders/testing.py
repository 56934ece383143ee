"""The contract that every source keeps, for anyone to run on their own, and a source that plays a script.

Floor 0: imports loaders.source. Meant for tests, public nevertheless: whoever writes a source checks it with this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Self

import pyarrow as pa

from loaders.source import Source, SourceBatch

__all__ = ["ContractError", "ScriptedSource", "check_source"]


class ContractError(AssertionError):
    """A source does not keep the contract; the message says which part of it."""


class ScriptedSource:
    """A source that gives the batches of a script and raises the errors in it, each once and in order."""

    def __init__(self, script: Iterable[SourceBatch | Exception]) -> None:
        self._script = iter(script)

    def __iter__(self) -> Self:
        """Return the source itself."""
        return self

    def __next__(self) -> SourceBatch:
        """Play the next step."""
        step = next(self._script)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        """Drop the rest of the script."""
        self._script = iter(())


def check_source(
    open_at: Callable[[Any], Source], *, position_key: Callable[[Any], Any] = lambda position: position
) -> None:
    """Read a source in every way that its contract allows, and compare.

    Parameters
    ----------
    open_at
        Opens the source at a position; None means at the start. The source must be finite and not change meanwhile.
    position_key
        Makes of a position something that can be compared with <. Positions of files are numbers already.

    Raises
    ------
    ContractError
        If the schema changes, a position does not grow with the rows, a second reading gives other rows, going on at a
        position does not give just the rows after it, or the source gives rows after it was closed.
    """
    batches = _read(open_at(None))
    _demand(len(batches) > 0, "a source gives at least one batch, an empty one if it has no rows")
    _check_schema(batches)
    _check_positions(batches, position_key)
    schema = batches[0].rows.schema
    again = _table(_read(open_at(None)), schema)
    _demand(_same(again, _table(batches, schema)), "a second reading gives other rows")
    for index, batch in enumerate(batches):
        rest = _table(batches[index + 1 :], schema)
        resumed = _table(_read(open_at(batch.position)), schema)
        _demand(_same(resumed, rest), f"opened at {batch.position!r} it does not give just the rows after it")
    _check_close(open_at(None), read_first=False)
    _check_close(open_at(None), read_first=True)


def _read(source: Source) -> list[SourceBatch]:
    try:
        return list(source)
    finally:
        source.close()


def _table(batches: list[SourceBatch], schema: pa.Schema) -> pa.Table:
    """Return the rows as one table; `schema` is that of no batches."""
    return pa.Table.from_batches([batch.rows for batch in batches], None if batches else schema)


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Return whether the rows are the same; not-a-number is the same as not-a-number here."""
    return bool(left.equals(right)) or repr(left.to_pylist()) == repr(right.to_pylist())


def _check_schema(batches: list[SourceBatch]) -> None:
    for number, batch in enumerate(batches, start=1):
        same = batch.rows.schema.equals(batches[0].rows.schema, check_metadata=True)
        _demand(same, f"batch {number} has another schema than the first: {batch.rows.schema}")


def _check_positions(batches: list[SourceBatch], key: Callable[[Any], Any]) -> None:
    for number, (before, after) in enumerate(pairwise(batches), start=2):
        goes_back = key(after.position) < key(before.position)
        stays = not key(before.position) < key(after.position)
        where = f"batch {number}: position {after.position!r} after {before.position!r}"
        _demand(not goes_back, f"{where} goes back")
        _demand(not (stays and after.rows.num_rows), f"{where} does not grow though there are rows")


def _check_close(source: Source, *, read_first: bool) -> None:
    if read_first:
        next(source)
    source.close()
    source.close()
    _demand(next(source, None) is None, "it gives rows after it was closed")


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise ContractError(message)
