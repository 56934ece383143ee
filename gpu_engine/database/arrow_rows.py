"""Rows that come in columns, from Arrow or pandas, as one Arrow table.

Floor 3. What these libraries refuse becomes an error of ours, which names the column and, where its type is known, the
row and the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.errors import InvalidModelError
from gpu_engine.schema import DataType, arrow_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["arrow_table", "pandas_table", "refuse_twins"]


def arrow_table(given: Any, where: str, empty: pa.Schema | None = None) -> pa.Table:
    """Return several record batches as a table.

    Parameters
    ----------
    where : how errors name the rows
    empty : schema of no batches at all

    Raises
    ------
    InvalidModelError
        If they are none, or differ in their schema.
    """
    try:
        batches = list(given)
        return pa.Table.from_batches(batches, None if batches else empty)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidModelError(
            f"{where}: this cannot be taken as Arrow ({error}). Give a pyarrow.Table, a RecordBatch, or a list of "
            "RecordBatches of one schema."
        ) from error


def pandas_table(frame: pd.DataFrame, types: Mapping[str, DataType], where: str) -> pa.Table:
    """Return the rows of a DataFrame; NaN and NaT are null, a named index gives columns too.

    Parameters
    ----------
    types : types of columns, as far as they are known
    where : how errors name the rows

    Raises
    ------
    InvalidModelError
        If it is no DataFrame, two columns have one name, or a column of no known type has no Arrow type.
    TypeMismatchError
        If a value does not fit the known type of its column.
    """
    if not hasattr(frame, "reset_index") or not hasattr(frame, "columns"):
        raise InvalidModelError(f"{where}: a {type(frame).__name__} is no DataFrame. Give a pandas.DataFrame.")
    named = [name for name in frame.index.names if name is not None]
    refuse_twins([*named, *frame.columns], where)
    flat = frame.reset_index() if named else frame
    try:
        return pa.Table.from_pandas(flat, preserve_index=False)
    except pa.ArrowException:
        return pa.table({str(name): _column(values, types, where) for name, values in flat.items()})


def refuse_twins(names: Iterable[Any], where: str) -> None:
    """Raise InvalidModelError if two columns have one name: nobody can know which of them is meant."""
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise InvalidModelError(f"{where}: column {name!r} comes twice. Give each column a name of its own.")
        seen.add(name)


def _column(values: pd.Series, types: Mapping[str, DataType], where: str) -> pa.Array:
    """Return one column of a DataFrame of which some column could not be converted as a whole."""
    try:
        return pa.array(values, from_pandas=True)
    except pa.ArrowException as error:
        where = f"{where}, column {str(values.name)!r}"
        known = types.get(str(values.name))
        if known is None:
            raise InvalidModelError(
                f"{where}: its values are of several kinds, or of one that no column can hold ({error.args[0]}). Give "
                "types={column: type}, or convert them."
            ) from error
        absent = values.isna()
        return arrow_column([None if null else value for value, null in zip(values, absent, strict=True)], known, where)
