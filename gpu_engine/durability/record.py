"""Records: how a message rests in the log, so that damage shows and the next record is found.

Floor 4. A header names length, place in the log and checksum. It also says up to which record the log had been
acknowledged when this one was written: a hole before that is damage, a hole after it is what a crash leaves behind.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

__all__ = ["HEADER_BYTES", "Record", "frame", "next_record", "record_at"]

_MAGIC = b"gel\x01"
_FRAME = struct.Struct("<4sI")
_FIELDS = struct.Struct("<QQQ")
HEADER_BYTES = _FRAME.size + _FIELDS.size


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was found, checksum verified."""

    sequence: int
    """Its place in the log, from 1."""
    acknowledged: int
    """The last record that had been acknowledged when it was written."""
    payload: pa.Buffer
    start: int
    """Offset of its first byte."""

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.start + HEADER_BYTES + int(self.payload.size)


def frame(sequence: int, acknowledged: int, payload: list[Any]) -> list[Any]:
    """Return the buffers of a record, header first, to be written one after the other."""
    length = sum([len(part) for part in payload])
    fields = _FIELDS.pack(length, sequence, acknowledged)
    checksum = zlib.crc32(fields)
    for part in payload:
        checksum = zlib.crc32(part, checksum)
    return [_FRAME.pack(_MAGIC, checksum) + fields, *payload]


def record_at(data: pa.Buffer, start: int) -> Record | None:
    """Return the record that starts at an offset, None if no whole and sound one does."""
    if start + HEADER_BYTES > data.size:
        return None
    magic, checksum = _FRAME.unpack_from(data, start)
    length, sequence, acknowledged = _FIELDS.unpack_from(data, start + _FRAME.size)
    if magic != _MAGIC or length > data.size - start - HEADER_BYTES:
        return None
    if zlib.crc32(data.slice(start + _FRAME.size, _FIELDS.size + length)) != checksum:
        return None
    return Record(sequence, acknowledged, data.slice(start + HEADER_BYTES, length), start)


def next_record(data: pa.Buffer, start: int) -> Record | None:
    """Return the first sound record that starts at or after an offset, wherever it is."""
    found = record_at(data, start)
    if found is not None:
        return found
    text = data.to_pybytes()
    while (start := text.find(_MAGIC, start + 1)) >= 0:
        found = record_at(data, start)
        if found is not None:
            return found
    return None
