"""Large CSV files decoded on the device: strictly, or not at all.

Floor 1: uses a backend and its kernels (kernels_csv.cuh). The loaders promise an error that names line, column and
value; libcudf's reader fills short lines up, cuts long ones off and makes nulls of what it cannot read. So our kernels
take a file only if every line has a field for each column and every field is written in a form that means the same to
the loaders. Whatever else it holds, blank lines or quotes within fields for example, leaves the whole file to the
host, which decodes it or says what is wrong with it.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_engine.backend import numpy_arrow
from gpu_engine.backend.array_backend import Array, ArrayBackend, HowFar
from gpu_engine.backend.cuda_arrow import dictionary_array
from gpu_engine.backend.cuda_kernels import Kernels

__all__ = ["powers_of_five", "read_csv"]

CSV_BYTES = 16 << 20
"""Files of fewer bytes are decoded on the host."""
CSV_BYTES_AT_ONCE = 64 << 20
"""Bytes that are decoded at a time: what bounds the memory that decoding takes."""
MOST_TEXTS = 1 << 20
"""A column with more distinct texts in one part is no dictionary: the host decodes it sooner."""
LEAST_POWER, MOST_POWER = -342, 308
IRREGULAR = "a line has another number of fields than the header, or is blank, or a quote stands within a field"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_log = logging.getLogger(__name__)


class _Refused(Exception):
    """The device cannot vouch for the file; the text says why."""


def read_csv(
    path: str,
    types: Mapping[str, pa.DataType],
    backend: ArrayBackend,
    kernels: Kernels,
    heard: HowFar,
    *,
    smallest: int = CSV_BYTES,
    at_once: int = CSV_BYTES_AT_ONCE,
) -> pa.Table | None:
    """Return the rows of a file of at least `smallest` bytes, its texts as a dictionary; None for any other."""
    parts: list[pa.Table] = []
    rows = 0
    try:
        with open(path, "rb") as file:
            if file.seek(0, 2) < smallest:
                return None
            file.seek(0)
            columns = _columns(file.readline(), types)
            for text in _whole_lines(file, at_once):
                parts.append(_Part(text, columns, backend, kernels).rows())
                rows += parts[-1].num_rows
                heard(rows, file.tell())
    except (_Refused, OSError, MemoryError) as reason:
        _log.info("%s is decoded on the host: %s", path, reason)
        return None
    return pa.concat_tables(parts).unify_dictionaries() if parts else None


def _columns(line: bytes, types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return name and type of each column of the header."""
    try:
        names = next(csv.reader([line.removeprefix(BYTE_ORDER_MARK).decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise _Refused(f"the header cannot be read ({error})") from None
    if len(names) < 2 or len(set(names)) < len(names) or any(name not in types for name in names):
        raise _Refused("the header is not a list of two or more columns whose types are given")
    other = next((name for name in names if not (types[name] == pa.string() or _kernel(types[name]))), None)
    if other is not None:
        raise _Refused(f"column {other!r} is of type {types[other]}")
    return {name: types[name] for name in names}


def _whole_lines(file: Any, at_once: int) -> Iterator[bytes]:
    """Yield the rest of a file in parts of whole lines."""
    rest = b""
    while read := file.read(at_once):
        text = rest + read
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        if end:
            yield text[:end]
    if rest:
        yield rest + b"\n"


@dataclass(frozen=True, slots=True)
class _Parser:
    """Which kernel reads a type."""

    kernel: str
    dtype: str
    """What it writes."""
    limits: tuple[int, ...] = ()


def _kernel(type: pa.DataType) -> _Parser | None:
    if pa.types.is_decimal128(type):
        fits = type.precision <= numpy_arrow.DECIMAL_DIGITS and 0 <= type.scale <= type.precision
        return _Parser("csv_decimals", "int64", (type.scale, 10**type.precision - 1)) if fits else None
    return _PARSERS.get(type)


_PARSERS = {
    pa.int64(): _Parser("csv_integers", "int64", (2**63 - 1,)),
    pa.int32(): _Parser("csv_integers", "int64", (2**31 - 1,)),
    pa.float64(): _Parser("csv_floats", "float64"),
    pa.bool_(): _Parser("csv_truths", "bool"),
    pa.date32(): _Parser("csv_dates", "int32"),
    pa.timestamp("us"): _Parser("csv_times", "int64"),
}


class _Part:
    """Some whole lines of a file, on the device."""

    def __init__(
        self, text: bytes, columns: Mapping[str, pa.DataType], backend: ArrayBackend, kernels: Kernels
    ) -> None:
        self._host, self._columns, self._width = text, columns, len(columns)
        self._backend, self._each, self._xp = backend, kernels.each, backend.xp
        self._text = backend.from_host(np.frombuffer(text, np.uint8))
        line_end, comma, wrong = self._text == ord("\n"), self._text == ord(","), None
        if b'"' in text:
            line_end, comma, wrong = self._outside_quotes(line_end, comma)
        self._ends = self._xp.flatnonzero(line_end | comma)
        self._rows, beyond = divmod(len(self._ends), self._width)
        if beyond or not self._rows:
            raise _Refused(IRREGULAR)
        irregular = self._irregular(line_end)
        if backend.scalar(irregular if wrong is None else irregular | wrong):
            raise _Refused(IRREGULAR)
        self._refused = self._xp.zeros(1, dtype="int64")

    def _outside_quotes(self, line_end: Array, comma: Array) -> tuple[Array, Array, Array]:
        """Return which line ends and commas separate, and whether a quote stands where none may.

        A field is quoted from its first byte to its last; within it two quotes stand for one. So a quote that opens
        follows a separator, or the quote of such a pair, and one that closes comes before one.
        """
        quote = self._text == ord('"')
        count = self._xp.cumsum(quote, dtype="int32")
        inside = (count & 1) == 1
        line_end, comma = line_end & ~inside, comma & ~inside
        border = line_end | comma | quote
        opens_wrong = (quote & inside)[1:] & ~border[:-1]
        closes_wrong = (quote & ~inside)[:-1] & ~(border | (self._text == ord("\r")))[1:]
        return line_end, comma, opens_wrong.any() | closes_wrong.any() | inside[-1]

    def _irregular(self, line_end: Array) -> Array:
        """Return whether lines end anywhere but behind every `width` fields; a lone CR ends one for the loaders."""
        last, returns = self._ends[self._width - 1 :: self._width], self._text == ord("\r")
        regular = line_end[last].all() & (line_end.sum() == self._rows)
        return ~regular | (returns.sum() != returns[last - 1].sum())

    def rows(self) -> pa.Table:
        """Return the rows; all columns are asked for before the device is waited for."""
        parsers = [_kernel(type) for type in self._columns.values()]
        parsed = [self._texts(k) if parser is None else self._parsed(k, parser) for k, parser in enumerate(parsers)]
        count = int(self._backend.scalar(self._refused))
        if count:
            raise _Refused(f"{count} fields are not written as the device reads them")
        columns = [
            self._dictionary(k, *made) if parser is None else self._column(type, *made)
            for k, (type, parser, made) in enumerate(zip(self._columns.values(), parsers, parsed, strict=True))
        ]
        return pa.table(columns, names=list(self._columns))

    def _parsed(self, column: int, parser: _Parser) -> tuple[Array, Array]:
        values, valid = self._xp.empty(self._rows, dtype=parser.dtype), self._xp.empty(self._rows, dtype="bool")
        more: Sequence[Any] = parser.limits
        if parser.kernel == "csv_floats":
            more = (self._backend.from_host(powers_of_five()),)
        self._each(parser.kernel, self._rows, *self._fields(column), values, valid, self._refused, *more)
        return values, valid

    def _fields(self, column: int) -> tuple[Any, ...]:
        return self._text, self._ends, self._rows, self._width, column

    def _column(self, type: pa.DataType, values: Array, valid: Array) -> pa.Array:
        present, host = self._backend.to_host(valid), self._backend.to_host(values)
        narrow = host.astype(np.int32) if type == pa.int32() else host
        return numpy_arrow.to_arrow(narrow, None if present.all() else present, type)

    def _texts(self, column: int) -> tuple[Array, Array]:
        """Return the place of each row's text among the distinct ones, and the row where each of these comes first."""
        hashes = self._xp.empty(self._rows, dtype="int64")
        self._each("csv_hashes", self._rows, *self._fields(column), hashes)
        index = self._backend.int_index()
        places = index.insert(hashes)
        if len(index) > MOST_TEXTS:
            raise _Refused(f"a column has {len(index)} distinct texts or more")
        first = self._backend.group_min(self._xp.arange(self._rows), places, len(index), self._rows)
        self._each("csv_compare", self._rows, *self._fields(column), places, first, self._refused)
        return places, first

    def _dictionary(self, column: int, places: Array, first: Array) -> pa.DictionaryArray:
        at = first * self._width + column
        stops = self._backend.to_host(self._ends[at]).tolist()
        before = self._xp.where(at > 0, self._ends[self._xp.maximum(at - 1, 0)] + 1, 0)
        starts = self._backend.to_host(before).tolist()
        texts = [self._host[start:stop].removesuffix(b"\r") for start, stop in zip(starts, stops, strict=True)]
        try:
            distinct = pa.array([_unquoted(text).decode() or None for text in texts], pa.string())
        except UnicodeDecodeError:
            raise _Refused("a text is not UTF-8") from None
        return dictionary_array(distinct, self._backend.to_host(places))


def _unquoted(text: bytes) -> bytes:
    return text[1:-1].replace(b'""', b'"') if text.startswith(b'"') else text


@cache
def powers_of_five() -> npt.NDArray[np.int64]:
    """Return (651 * 2,) 64-bit words: 5**-342 to 5**308, each the 128 leading bits, the high word first.

    Inverse powers are rounded up, as the proof in the source of `nearest_double` (kernels_csv.cuh) wants them.
    """
    words: list[int] = []
    for power in range(LEAST_POWER, MOST_POWER + 1):
        five = 5 ** abs(power)
        if power < 0:
            bits = (five - 1).bit_length()
            five = 2 ** (bits + 127 if power >= -27 else 2 * bits + 128) // five + 1
        shift = five.bit_length() - 128
        leading = five >> shift if shift > 0 else five << -shift
        words += divmod(leading, 1 << 64)
    return np.array(words, np.uint64).view(np.int64)
