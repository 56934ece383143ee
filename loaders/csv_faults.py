"""What is wrong with a CSV file, found with the csv module once pyarrow has refused it.

Floor 0: imports loaders.csv_decoding and loaders.errors. pyarrow is fast and does not say in which line it stopped;
this reads the file again, slowly, and says line, column, value and what to do. It runs on the failure path only, except
for the header, which is looked at first of all.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from loaders.csv_decoding import fits
from loaders.errors import SourceError

__all__ = [
    "END_OF_FILE",
    "Check",
    "Record",
    "closed",
    "find_fault",
    "find_no_text",
    "find_shape",
    "read_header",
    "records_of",
]

ROWS_AT_ONCE = 1 << 14
OTHER_SEPARATORS = (";", "\t", "|")
"""What separates columns in files that have another layout."""
END_OF_FILE = "\0end of file\0"

EXAMPLES: Sequence[tuple[str, str]] = (
    ("bool", "a truth value like true or false"),
    ("int", "a whole number like 42"),
    ("uint", "a whole number like 42, not below zero"),
    ("float", "a number like 42.5"),
    ("double", "a number like 42.5"),
    ("date", "a date like 2021-05-31"),
    ("timestamp", "a time like 2021-05-31T12:30:00, or with a zone (2021-05-31T12:30:00Z) in all lines"),
)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file."""

    line: int
    """Physical line where it starts."""
    fields: list[str]


Found = tuple[int, SourceError]
"""Index of a record in its chunk and what is wrong with it."""
Finder = Callable[[Sequence[Record]], Found | None]


def read_header(path: Path) -> list[str]:
    """Return the names of the columns.

    Raises
    ------
    SourceError
        If there is no header, a name in it is missing, double or not text, or it is one name that looks like several.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            header = next(records_of(path, text), None)
        empty = path.stat().st_size == 0
    except OSError as error:
        raise SourceError(str(path), f"the file cannot be read ({error.strerror}). Check its permissions.") from error
    if header is None:
        what = "the file is empty (0 bytes)" if empty else "the file has blank lines only"
        raise SourceError(str(path), f"{what}. Its first line must name the columns.")
    for index, name in enumerate(header.fields):
        problem = _problem_of_name(header.fields, index)
        if problem is not None:
            raise SourceError(str(path), problem, header.line, column=_printable(name))
    separator = next((one for one in OTHER_SEPARATORS if one in header.fields[0]), None)
    if len(header.fields) == 1 and separator is not None:
        what = f"the header is a single name that holds {separator!r}, which seems to separate columns here"
        advice = "Write the file with commas, and values that hold a comma in quotes."
        raise SourceError(str(path), f"{what}. {advice}", header.line, column=_printable(header.fields[0]))
    return header.fields


def find_fault(
    path: Path,
    decoded: Mapping[str, pa.DataType],
    wanted: Mapping[str, pa.DataType],
    guessed: Collection[str] = (),
) -> SourceError | None:
    """Return the first fault of a file, or None if the csv module sees none.

    Parameters
    ----------
    decoded, wanted
        Types by column, as reading has them: what pyarrow.csv is asked for and what becomes of it.
    guessed
        Columns whose type comes from the first part of the file, which the message then says.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            records = closed(path, records_of(path, chain(text, [END_OF_FILE])))
            header = next(records, Record(1, [])).fields
            finders: list[Finder] = [partial(find_shape, str(path), header), partial(find_no_text, str(path), header)]
            for index, name in enumerate(header):
                if name in wanted and wanted[name] != pa.string():
                    check = Check(str(path), index, name, decoded[name], wanted[name], name in guessed)
                    finders.append(check.find)
            while chunk := list(islice(records, ROWS_AT_ONCE)):
                fault = _first(chunk, finders)
                if fault is not None:
                    return fault
    except SourceError as fault:
        return fault
    except OSError:
        return None  # what has stopped pyarrow is told instead
    return None


def records_of(path: Path, lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records that are not blank, each with the line where it starts."""
    reader = csv.reader(lines)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"the record is not CSV ({error}). Look for a quote that is never closed."
            raise SourceError(str(path), reason, start) from error
        if fields:
            yield Record(start, fields)


def _problem_of_name(names: Sequence[str], index: int) -> str | None:
    name = names[index]
    if not name.strip():
        return f"column {index + 1} has no name. Name it, or leave it out (pandas: to_csv(..., index=False))."
    if name in names[:index]:
        return f"columns {names.index(name) + 1} and {index + 1} have the same name. Give each its own."
    if "\0" in name or not _is_text(name):
        return "the header is not UTF-8 text. Save the file as CSV in UTF-8."
    return None


def closed(path: Path, records: Iterator[Record]) -> Iterator[Record]:
    """Yield the records without the end mark; if an open quote has swallowed the mark, raise."""
    for record in records:
        last = record.fields[-1]
        if record.fields == [END_OF_FILE]:
            return
        if last.endswith(END_OF_FILE):
            reason = (
                "a quote is opened and never closed; the file may be cut off. Close the quote, or write the file anew."
            )
            raise SourceError(str(path), reason, record.line, value=_printable(last.removesuffix(END_OF_FILE)))
        yield record


def _first(records: Sequence[Record], finders: Sequence[Finder]) -> SourceError | None:
    """Return the fault with the lowest line: each finder sees only what lies before the faults found so far."""
    fault = None
    for find in finders:
        found = find(records)
        if found is not None:
            row, fault = found
            records = records[:row]
    return fault


def find_shape(path: str, header: Sequence[str], records: Sequence[Record]) -> Found | None:
    """Return the first record with too few or too many fields."""
    for row, record in enumerate(records):
        if len(record.fields) != len(header):
            reason = (
                f"the line has {len(record.fields)} field(s), the header has {len(header)}. "
                "Correct the line; a value that holds a comma, a quote or a line break goes in quotes."
            )
            return row, SourceError(path, reason, record.line)
    return None


def find_no_text(path: str, header: Sequence[str], records: Sequence[Record]) -> Found | None:
    """Return the first record that is not UTF-8."""
    for row, record in enumerate(records):
        if not _is_text("".join(record.fields)):
            name, text = next(pair for pair in zip(header, record.fields, strict=True) if not _is_text(pair[1]))
            reason = "this is not UTF-8 text. Save the file in UTF-8."
            return row, SourceError(path, reason, record.line, name, _printable(text))
    return None


@dataclass(frozen=True, slots=True)
class Check:
    """Looks for values of one column that are not of its type."""

    path: str
    index: int
    name: str
    decoded: pa.DataType
    wanted: pa.DataType
    guessed: bool

    def find(self, records: Sequence[Record]) -> Found | None:
        """Return the first record whose value is not of the type."""
        texts = [record.fields[self.index] for record in records]
        if fits(texts, self.decoded, self.wanted):
            return None
        row = bisect_left(range(1, len(texts)), True, key=lambda n: not fits(texts[:n], self.decoded, self.wanted))
        return row, SourceError(self.path, self._reason(), records[row].line, self.name, texts[row])

    def _reason(self) -> str:
        if pa.types.is_fixed_size_list(self.wanted):
            length = self.wanted.list_size
            what = f"a vector of {length} numbers like {';'.join(['1.0'] * length)}"
        elif pa.types.is_decimal(self.wanted):
            what = f"a number of at most {self.wanted.precision} digits, {self.wanted.scale} of them after the point"
        else:
            name = str(self.wanted)
            what = next((words for start, words in EXAMPLES if name.startswith(start)), "of the column's type")
        origin = ", taken from the first part of the file" if self.guessed else ""
        return f"not {what} (type {self.wanted}{origin}). Correct the value, or give the column another type."


def _is_text(text: str) -> bool:
    """Return whether the text was UTF-8; other bytes stand in it as lone surrogates."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _printable(text: str) -> str:
    """Return the text with bytes that are not UTF-8 written as hexadecimal escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
