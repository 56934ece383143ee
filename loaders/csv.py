"""CSV files as Arrow batches: comma, header line, UTF-8 with or without a byte order mark, quotes as in RFC 4180.

Floor 0: imports loaders.csv_decoding, csv_faults, csv_salvage, errors, files and source. pyarrow.csv decodes, block by
block where the types of all columns are given.

Types that are not given are inferred, each from all values of its column: whole numbers become int64; true and false
become bool; dates (2021-05-31) date32; times (2021-05-31T12:30, with a space or T, seconds and up to six digits of
fractions optional) timestamp[us]; other numbers float64; everything else text, and so does a column without any value.
Times with a zone (Z, +02:00) become UTC. What would lose something stays text: times of day, times finer than a
microsecond, whole numbers too large for int64. Leading zeros of numbers do not count: give codes like 00042 a type.
Of a file larger than `INFERENCE_BYTES` the first so many bytes decide, and a later value that does not fit is an error
that says so.

An empty field, quoted or not, is null, in text columns too; nothing else is. Blank lines are skipped. Vectors are
written 1.0;2.0;3.0 and need their type given.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from loaders.csv_decoding import PARSING, convert, convert_options, decoded_type, is_naive_timestamp
from loaders.csv_faults import find_fault, read_header
from loaders.csv_salvage import Salvaged, salvage_records, salvage_text
from loaders.errors import SourceError
from loaders.files import PathLike, regular_file
from loaders.source import OnBytes, SourceBatch, number_rows

__all__ = ["infer_schema", "read_csv", "salvage_csv", "salvage_lines"]

BLOCK_BYTES = 8 << 20
"""A batch holds about so much of the file."""
INFERENCE_BYTES = 256 << 20
"""So much of a file is decoded at once, at most, to infer types."""
KEPT = (pa.null(), pa.int64(), pa.bool_(), pa.date32(), pa.float64(), pa.string())
"""Inferred types that hold all that the text says; timestamps are looked at one by one."""
LARGEST_WHOLE = float(1 << 63)
HUGE_WHOLE = r"^\s*[+-]?[0-9]{19,}\s*$"


def read_csv(
    path: PathLike,
    types: Mapping[str, pa.DataType] | None = None,
    limit: int | None = None,
    *,
    resume: int | None = None,
    on_bytes: OnBytes | None = None,
) -> Generator[SourceBatch, None, None]:
    """Yield the rows of a CSV file; there is at least one batch, an empty one if there are no rows.

    Parameters
    ----------
    path
        The file.
    types
        Arrow types by column name; they win over inferred ones. Fixed-size lists are vectors. Columns that the file
        does not have are passed over; columns of the file that are not named here are inferred (see the module).
    limit
        Give at most so many rows. Types are the same as without it.
    resume
        A position given before: go on after that many rows.
    on_bytes
        Told the bytes of each block as it is read, a block or two ahead of the rows; nothing where types are inferred.

    Raises
    ------
    SourceError
        While iterating: the file is missing, empty, without a proper header, not UTF-8, cut off within quotes, has a
        line with too few or too many fields, or a value that does not fit its type. Batches given before stand.
    """
    file = regular_file(path)
    layout = _Layout.given(file, read_header(file), types or {})
    with layout.explained():
        layout.look_for_zones()
        whole = layout.infer() if layout.unknown else None
        batches = layout.stream(on_bytes) if whole is None else whole.to_batches()
        rows = (convert(batch, layout.schema) for batch in batches)
        yield from number_rows(rows, layout.schema, resume=resume or 0, limit=limit)


def infer_schema(path: PathLike, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Return the columns and types that `read_csv` gives with the same arguments.

    Raises
    ------
    SourceError
        If the file is missing or not a CSV with a header; with unknown types also for a fault in a line.
    """
    file = regular_file(path)
    layout = _Layout.given(file, read_header(file), types or {})
    with layout.explained():
        if layout.unknown:
            layout.infer()
    return layout.schema


def salvage_csv(path: PathLike, types: Mapping[str, pa.DataType]) -> tuple[list[str], Iterator[Salvaged]]:
    """Return the header of a CSV file, and what can be read of it with what cannot.

    Parameters
    ----------
    types
        Arrow types by column name; columns that are not named here are read as text.

    Raises
    ------
    SourceError
        At once if the file is missing, empty or without a proper header.
    """
    file = regular_file(path)
    header = read_header(file)
    layout = _Layout.given(file, header, {**dict.fromkeys(header, pa.string()), **types})
    with suppress(pa.ArrowException, UnicodeError):  # times with a zone are looked for in files that can be read
        layout.look_for_zones()
    return header, salvage_records(file, header, layout.decoded, layout.wanted)


def salvage_lines(path: str, header: Sequence[str], lines: str, types: Mapping[str, pa.DataType]) -> Iterator[Salvaged]:
    """Yield what can be read of some lines of a file that has a header; types as for `salvage_csv`."""
    wanted = {name: types.get(name, pa.string()) for name in header}
    decoded = {name: decoded_type(type_) for name, type_ in wanted.items()}
    text = chain([",".join(["column"] * len(header)) + "\n"], [line + "\n" for line in lines.split("\n")])
    return salvage_text(path, text, header, decoded, wanted)


@dataclass
class _Layout:
    """Columns and types of one file, and how far they are known."""

    file: Path
    header: list[str]
    decoded: dict[str, pa.DataType]
    """Type that pyarrow.csv is asked for, for the columns known so far."""
    wanted: dict[str, pa.DataType]
    """Type that the column has in the end, for the columns known so far."""
    guessed: Collection[str] = ()

    @classmethod
    def given(cls, file: Path, header: list[str], types: Mapping[str, pa.DataType]) -> _Layout:
        wanted = {name: types[name] for name in header if name in types}
        return cls(file, header, {name: decoded_type(type_) for name, type_ in wanted.items()}, wanted)

    @property
    def unknown(self) -> list[str]:
        return [name for name in self.header if name not in self.wanted]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, self.wanted[name]) for name in self.header])

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what pyarrow raises into an error that names line, column and value."""
        try:
            yield
        except (pa.ArrowException, UnicodeError) as error:
            fault = find_fault(self.file, self.decoded, self.wanted, self.guessed)
            raise fault or SourceError(str(self.file), f"this cannot be read as CSV: {error}") from error
        except OSError as error:
            raise SourceError(str(self.file), f"reading stopped: {error}. Check the drive and read again.") from error

    def look_for_zones(self) -> None:
        """Have times with a zone decoded as UTC in columns whose given type has no zone."""
        naive = [name for name, type_ in self.decoded.items() if is_naive_timestamp(type_)]
        if not naive:
            return
        with _File(self.file) as file, _reader(file, {}, BLOCK_BYTES, naive) as reader:
            for field in reader.schema:
                zoned = pa.types.is_timestamp(field.type) and field.type.tz is not None
                self.decoded[field.name] = decoded_type(self.wanted[field.name], zoned=zoned)

    def infer(self) -> pa.Table | None:
        """Settle the types of the unknown columns; return all rows if they had to be decoded for it."""
        whole = self.file.stat().st_size <= INFERENCE_BYTES
        unknown = self.unknown
        sample = self._sample(self.decoded, whole=whole)
        as_text = {name: pa.string() for name in unknown if self._loses(sample.column(name), name)}
        if as_text:
            sample = self._sample(self.decoded | as_text, whole=whole)
        for name in unknown:
            self.decoded[name], self.wanted[name] = _settled(sample.column(name))
        self.guessed = () if whole else unknown
        return sample.cast(pa.schema([(name, self.decoded[name]) for name in self.header])) if whole else None

    def stream(self, on_bytes: OnBytes | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows block by block; all types are known."""
        with _File(self.file, on_bytes) as file, _reader(file, self.decoded, BLOCK_BYTES) as reader:
            yield from reader
            self._refuse_open_quote(file)

    def _sample(self, decoded: Mapping[str, pa.DataType], *, whole: bool, only: Sequence[str] = ()) -> pa.Table:
        """Return all rows, or those of the first `INFERENCE_BYTES`."""
        with _File(self.file) as file:
            if not whole:
                with _reader(file, decoded, INFERENCE_BYTES, only) as reader:
                    return pa.Table.from_batches([reader.read_next_batch()])
            options = pacsv.ReadOptions(block_size=BLOCK_BYTES)
            table = pacsv.read_csv(file, options, PARSING, convert_options(decoded, only))
            self._refuse_open_quote(file)
            return table

    def _loses(self, column: pa.ChunkedArray, name: str) -> bool:
        """Return whether the inferred type of a column loses something of its texts."""
        type_ = column.type
        if pa.types.is_binary(type_):
            raise pa.ArrowInvalid(f"column {name!r} is not UTF-8")
        if pa.types.is_timestamp(type_) and type_.unit == "ns":
            times = column.cast(pa.int64())
            return not pc.all(pc.equal(pc.multiply(pc.divide(times, 1000), 1000), times)).as_py()
        if pa.types.is_float64(type_) and (pc.max(pc.abs(column)).as_py() or 0.0) >= LARGEST_WHOLE:
            texts = self._sample({name: pa.string()}, whole=True, only=[name]).column(name)
            return bool(pc.any(pc.match_substring_regex(texts, HUGE_WHOLE)).as_py())
        return not (pa.types.is_timestamp(type_) or type_ in KEPT)

    def _refuse_open_quote(self, file: _File) -> None:
        """Raise if a quote was never closed: pyarrow takes all the rest of the file as its value."""
        if file.quotes % 2:
            fault = find_fault(self.file, {}, {})
            if fault is not None:
                raise fault


class _File:
    """A file for pyarrow that counts quotes, and ends the last line where the file does not."""

    def __init__(self, path: Path, on_bytes: OnBytes | None = None) -> None:
        self._file, self._on_bytes = path.open("rb"), on_bytes
        self.quotes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if self._on_bytes is not None:
            self._on_bytes(len(data))
        if 0 < len(data) < size and not data.endswith(b"\n"):
            data += b"\n"
        self.quotes += data.count(b'"')
        return data


def _reader(
    file: _File, decoded: Mapping[str, pa.DataType], block_bytes: int, only: Sequence[str] = ()
) -> pacsv.CSVStreamingReader:
    options = pacsv.ReadOptions(block_size=block_bytes)
    return pacsv.open_csv(file, options, PARSING, convert_options(decoded, only))


def _settled(column: pa.ChunkedArray) -> tuple[pa.DataType, pa.DataType]:
    """Return what to ask pyarrow.csv for and what to make of it, for a column as pyarrow.csv has inferred it."""
    if pa.types.is_null(column.type):
        return pa.string(), pa.string()
    if pa.types.is_timestamp(column.type):
        return pa.timestamp("us", column.type.tz), pa.timestamp("us")
    if pa.types.is_string(column.type) and column.null_count < len(column):
        # pyarrow.csv tries nanoseconds only, which do not reach far: 9999-12-31T23:59:59.999 is text to it.
        for times in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
            with suppress(pa.ArrowInvalid):
                column.drop_null()[:1].cast(times)  # a failing cast of a whole column is slow
                column.cast(times)
                return times, pa.timestamp("us")
    return column.type, column.type
