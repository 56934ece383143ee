"""What can be read of a CSV file that has bad records, and the bad records as they are.

Floor 0: imports loaders.csv_decoding, csv_faults and errors. Slower than reading: the csv module splits the file into
records. Those that have the header's number of fields are decoded together, and halved until each bad one stands alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from loaders.csv_decoding import PARSING, convert, convert_options
from loaders.csv_faults import END_OF_FILE, Check, Record, closed, find_no_text, find_shape, records_of
from loaders.errors import SourceError

__all__ = ["BadRecord", "Salvaged", "salvage_records", "salvage_text"]

ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not become a row."""

    error: SourceError
    raw: str
    """The record as CSV, without the header and the end of the line."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """Some records of a file."""

    rows: pa.RecordBatch
    lines: Sequence[int]
    """Physical line where the record of each row starts."""
    bad: Sequence[BadRecord]


def salvage_records(
    file: Path, header: Sequence[str], decoded: Mapping[str, pa.DataType], wanted: Mapping[str, pa.DataType]
) -> Iterator[Salvaged]:
    """Yield what can be read of a file and what cannot.

    Parameters
    ----------
    decoded, wanted
        Types of all columns of the header: what pyarrow.csv is asked for and what becomes of it.
    """
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield from salvage_text(str(file), text, header, decoded, wanted)


def salvage_text(
    path: str,
    lines: Iterator[str],
    header: Sequence[str],
    decoded: Mapping[str, pa.DataType],
    wanted: Mapping[str, pa.DataType],
) -> Iterator[Salvaged]:
    """Yield what can be read of lines, the first of which is the header; see `salvage_records`."""
    records = closed(Path(path), records_of(Path(path), chain(lines, [END_OF_FILE])))
    next(records, None)
    part = _Part(path, header, decoded, wanted)
    while chunk := part.next_chunk(records):
        yield part.salvaged(chunk)
    if part.unclosed is not None:
        yield Salvaged(part.decode([]), [], [BadRecord(part.unclosed, part.unclosed.value or "")])


class _Part:
    """Decodes records of one file."""

    def __init__(
        self, path: str, header: Sequence[str], decoded: Mapping[str, pa.DataType], wanted: Mapping[str, pa.DataType]
    ) -> None:
        self._path, self._header, self._decoded = path, header, decoded
        self._schema = pa.schema([(name, wanted[name]) for name in header])
        self._checks = [
            Check(path, index, name, decoded[name], wanted[name], guessed=False)
            for index, name in enumerate(header)
            if wanted[name] != pa.string()
        ]
        self.unclosed: SourceError | None = None
        """A quote that was never closed: it has swallowed the rest of the file."""

    def next_chunk(self, records: Iterator[Record]) -> list[Record]:
        chunk: list[Record] = []
        try:
            chunk.extend(islice(records, ROWS_AT_ONCE))
        except SourceError as error:
            self.unclosed = error
        return chunk

    def salvaged(self, chunk: Sequence[Record]) -> Salvaged:
        batches: list[pa.RecordBatch] = []
        lines: list[int] = []
        bad: list[BadRecord] = []
        parts = [(0, len(chunk))]
        while parts:
            start, stop = parts.pop()
            part = chunk[start:stop]
            try:
                if find_shape(self._path, self._header, part) or find_no_text(self._path, self._header, part):
                    raise pa.ArrowInvalid("a record has another number of fields, or is no text")
                batches.append(self.decode(part))
            except pa.ArrowException as error:
                if stop - start == 1:
                    bad.append(BadRecord(self._fault(part[0], error), _as_csv([part[0].fields]).rstrip("\r\n")))
                else:
                    middle = (start + stop) // 2
                    parts += [(middle, stop), (start, middle)]
                continue
            lines += [record.line for record in part]
        rows = pa.Table.from_batches(batches, self._schema).combine_chunks().to_batches()
        return Salvaged(rows[0] if rows else self.decode([]), lines, bad)

    def decode(self, records: Sequence[Record]) -> pa.RecordBatch:
        """Return records as rows; ArrowInvalid if one does not fit."""
        if not records:
            return pa.RecordBatch.from_pylist([], self._schema)
        text = _as_csv([self._header, *(record.fields for record in records)])
        table = pacsv.read_csv(
            io.BytesIO(text.encode()),
            pacsv.ReadOptions(use_threads=False, block_size=max(len(text) * 4, 1 << 16)),
            PARSING,
            convert_options(self._decoded),
        )
        return convert(table.combine_chunks().to_batches()[0], self._schema)

    def _fault(self, record: Record, error: Exception) -> SourceError:
        finders = [find_shape(self._path, self._header, [record]), find_no_text(self._path, self._header, [record])]
        found = next((found for found in finders if found is not None), None)
        if found is None:
            found = next((one for check in self._checks if (one := check.find([record])) is not None), None)
        return SourceError(self._path, str(error), record.line) if found is None else found[1]


def _as_csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode(errors="surrogateescape").decode(errors="backslashreplace")
