"""Text of a CSV column to Arrow values: the one set of rules for reading and for finding faults.

Floor 0: imports nothing of the project. pyarrow.csv decodes; what it cannot (vectors, times with a zone that go into a
column without one) is decoded as text or as UTC first and turned into the wanted type here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

__all__ = ["PARSING", "convert", "convert_options", "decoded_type", "fits", "is_naive_timestamp"]

PARSING = pacsv.ParseOptions(newlines_in_values=True)

VECTOR_SEPARATOR = ";"


def convert_options(decoded: Mapping[str, pa.DataType], only: Sequence[str] = ()) -> pacsv.ConvertOptions:
    """Return how pyarrow.csv is to decode: an empty field, quoted or not, is null, and nothing else is."""
    return pacsv.ConvertOptions(
        column_types=decoded, null_values=[""], strings_can_be_null=True, include_columns=list(only) or None
    )


def decoded_type(wanted: pa.DataType, *, zoned: bool = False) -> pa.DataType:
    """Return the type that pyarrow.csv is asked for so that `convert` can make the wanted one of it."""
    if pa.types.is_fixed_size_list(wanted):
        return pa.string()
    if zoned and is_naive_timestamp(wanted):
        return pa.timestamp(wanted.unit, "UTC")
    return wanted


def is_naive_timestamp(type_: pa.DataType) -> bool:
    """Return whether the type is a timestamp without a time zone."""
    return bool(pa.types.is_timestamp(type_)) and type_.tz is None


def convert(rows: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """Return the decoded rows in the wanted types.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a text is not a vector of the wanted length, or a number has too many digits.
    """
    columns = [_convert_column(column, field.type) for column, field in zip(rows.columns, wanted, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def fits(texts: Sequence[str], decoded: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether every text is a value of the type, by decoding them just as reading does."""
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["value"], *([text] for text in texts)])
    try:
        table = pacsv.read_csv(
            io.BytesIO(file.getvalue().encode()),
            parse_options=PARSING,
            convert_options=convert_options({"value": decoded}),
        )
        for rows in table.to_batches():
            convert(rows, pa.schema([("value", wanted)]))
    except pa.ArrowException:
        return False
    return True


def _convert_column(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(wanted):
        column.validate(full=True)  # pyarrow.csv lets 10000 pass as decimal128(6, 2)
    if column.type == wanted:
        return column
    return _vectors(column, wanted) if pa.types.is_fixed_size_list(wanted) else column.cast(wanted)


def _vectors(texts: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return texts like 1.0;2.0;3.0 as vectors."""
    length = wanted.list_size
    nothing = VECTOR_SEPARATOR.join(["0"] * length)
    lists = pc.split_pattern(texts.fill_null(nothing), VECTOR_SEPARATOR)
    if not pc.all(pc.equal(pc.list_value_length(lists), length)).as_py():
        raise pa.ArrowInvalid(f"a vector has not {length} numbers")
    numbers = pc.utf8_trim_whitespace(pc.list_flatten(lists)).cast(wanted.value_type)
    return pa.FixedSizeListArray.from_arrays(numbers, type=wanted, mask=texts.is_null())
