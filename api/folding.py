"""Cells of one live query, folded from the frames of the websocket.

Floor 6, for clients: imports nothing of the engine or the service.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEPTH", "FoldedCells", "LiveError"]

DEPTH = "__depth__"
"""Last column of a query with totals: how many levels the row names; fewer than all of them in a total."""

Key = tuple[Any, ...]

READERS: Mapping[str, Callable[[Any], Any]] = {
    "date32": datetime.date.fromisoformat,
    "timestamp": datetime.datetime.fromisoformat,
    "decimal128": decimal.Decimal,
}
"""Family of an Arrow type -> how its JSON text is read; values of all others are what JSON says."""


class LiveError(Exception):
    """The service refused something, or sent what cannot be.

    Attributes
    ----------
    code : str
        Stable, from the service's error frame; `protocol` if a frame does not follow from those before.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FoldedCells:
    """The cells of one query as of one epoch.

    Attributes
    ----------
    epoch : int or None
        The cells are as of this epoch, and of every later one up to which the service has said nothing; None before
        the first snapshot.
    branch : str or None
        The branch that the query is of.
    levels, measures : tuple of str
        As in the query.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.branch: str | None = None
        self.levels: tuple[str, ...] = ()
        self.measures: tuple[str, ...] = ()
        self._types: list[str] = []
        self._rows: dict[Key, tuple[Any, ...]] = {}

    def fold(self, frame: Mapping[str, Any]) -> None:
        """Take a `snapshot` or `change` frame.

        Raises
        ------
        LiveError
            With code `protocol`, if the change does not start from these cells. They are as before then.
        """
        if frame["type"] == "snapshot":
            self.levels, self.measures = tuple(frame["levels"]), tuple(frame["measures"])
            self._types, self.branch = list(frame["types"]), frame["branch"]
            self._rows = {}
        else:
            self._check(frame)
        for row in frame["removed"]:
            del self._rows[self._key(row)]
        for row in (*frame["changed"], *frame["added"]):
            self._rows[self._key(row)] = tuple(row)
        self.epoch = frame["epoch"]

    def cells(self) -> dict[Key, tuple[Any, ...]]:
        """Return the measures' values of each cell by its members.

        Returns
        -------
        dict of tuple to tuple
            Values as JSON has them: dates are ISO text, decimals text, N/A None. With totals the key ends with the
            number of levels that it names, and is None in the others: `("2024-01-01", 1)`, `(None, 0)`.
        """
        width = len(self.levels)
        return {key: row[width : width + len(self.measures)] for key, row in self._rows.items()}

    def to_arrow(self) -> pa.Table:
        """Return level columns, measure columns and with totals `__depth__`, in no particular order of rows.

        Types are those of `POST /cubes/NAME/query`, so dates are dates and decimals decimals. N/A is null. The schema's
        metadata says branch and epoch.
        """
        names = [*self.levels, *self.measures]
        names += [DEPTH] * (len(self._types) - len(names))
        columns = list(zip(*self._rows.values(), strict=True)) or [()] * len(names)
        arrays = [_array(column, kind) for column, kind in zip(columns, self._types, strict=True)]
        metadata = {"branch": self.branch or "", "epoch": str(self.epoch)}
        schema = pa.schema([pa.field(name, array.type) for name, array in zip(names, arrays, strict=True)], metadata)
        return pa.Table.from_arrays(arrays, schema=schema)

    def to_pandas(self) -> pd.DataFrame:
        """Return a frame with a column for each level, each measure and with totals `__depth__`."""
        return self.to_arrow().to_pandas()

    def _check(self, frame: Mapping[str, Any]) -> None:
        """Refuse a change that is not one of these cells."""
        if self.epoch is None or not self.epoch <= frame["from_epoch"] < frame["epoch"]:
            span = f"{frame['from_epoch']} to {frame['epoch']}"
            raise LiveError("protocol", f"a change from epoch {span} does not continue epoch {self.epoch}.")
        for row in (*frame["removed"], *frame["changed_from"]):
            if self._rows.get(self._key(row)) != tuple(row):
                raise LiveError("protocol", f"cell {row} was changed or removed but is not there.")
        for row in frame["added"]:
            if self._key(row) in self._rows:
                raise LiveError("protocol", f"cell {row} was added but is there already.")

    def _key(self, row: list[Any]) -> Key:
        return (*row[: len(self.levels)], *row[len(self.levels) + len(self.measures) :])


def _array(values: tuple[Any, ...], kind: str) -> pa.Array:
    """Return the values of a column as an Arrow array of the type of that name."""
    decimals = re.fullmatch(r"decimal128\((\d+), (-?\d+)\)", kind)
    arrow = pa.decimal128(int(decimals[1]), int(decimals[2])) if decimals else pa.type_for_alias(kind)
    read = READERS.get(re.split(r"\W", kind)[0])
    return pa.array(values if read is None else [None if value is None else read(value) for value in values], arrow)
