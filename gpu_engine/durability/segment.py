"""Segments: the files of the log, each a run of records; and what is wrong with one that cannot be read to its end.

Floor 4. A segment is complete before the next one begins, so only the last one may end in the middle of a record.
Zeros may follow the last record: room for those that did not come.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from gpu_engine.durability.log_file import ROOM_BYTES
from gpu_engine.durability.record import Record, next_record, record_at

__all__ = [
    "SEGMENT_HEADER_BYTES",
    "Fault",
    "Segment",
    "first_sequence",
    "segment_header",
    "segment_path",
    "segments",
    "segments_after",
]

_SUFFIX = ".log"
_HEADER = struct.Struct("<8sQ")
_CHECKSUM = struct.Struct("<I4x")
_MAGIC = b"GELOG\x00\x00\x01"
SEGMENT_HEADER_BYTES = _HEADER.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a segment cannot be read on."""

    offset: int
    """The first byte that is no part of a sound record."""
    sequence: int
    """The record that should be there."""
    lost: tuple[int, ...]
    """Sound records that come later."""
    acknowledged: int
    """The last record that is known, by those that come later, to have been acknowledged."""

    @property
    def unfinished(self) -> bool:
        """Whether it is no more than what a crash leaves: a tail that nobody was told of."""
        return self.acknowledged < self.sequence


class Segment:
    """One file of the log, read from the beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = first_sequence(path)
        """Its first record."""
        self.data: pa.Buffer = pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b"")
        self.end = 0
        """The offset after the last record read."""
        self.room = 0
        """Zeros after the last record."""
        self.fault: Fault | None = None
        """What ended the reading; None at the end of the file."""

    def __iter__(self) -> Iterator[Record]:
        """Yield its records up to the end or to a fault."""
        sequence = self.first
        if self.data[:SEGMENT_HEADER_BYTES].to_pybytes() != segment_header(self.first):
            fault = self._fault(0, sequence)
            # The header is on the disk before anything is written behind it.
            whole = self.data.size > SEGMENT_HEADER_BYTES
            self.fault = replace(fault, acknowledged=sequence) if whole else fault
            return
        self.end = SEGMENT_HEADER_BYTES
        while self.end < self.data.size:
            record = record_at(self.data, self.end)
            if record is None or record.sequence != sequence:
                self.room = self._zeros()
                self.fault = None if self.room else self._fault(self.end, sequence)
                return
            self.end = record.end
            yield record
            sequence += 1

    def _zeros(self) -> int:
        """Return how many bytes are left, if all are zeros and no more than a session lays; else 0."""
        left = self.data.size - self.end
        return left if left <= ROOM_BYTES and self.data.slice(self.end).to_pybytes().count(0) == left else 0

    def _fault(self, offset: int, sequence: int) -> Fault:
        lost: list[int] = []
        acknowledged = 0
        found = next_record(self.data, offset)
        while found is not None:
            if found.sequence >= sequence:
                lost.append(found.sequence)
                acknowledged = max(acknowledged, found.acknowledged)
            found = next_record(self.data, found.end)
        return Fault(offset, sequence, tuple(lost), acknowledged)


def segment_header(first: int) -> bytes:
    """Return the first bytes of a segment."""
    head = _HEADER.pack(_MAGIC, first)
    return head + _CHECKSUM.pack(zlib.crc32(head))


def segment_path(folder: Path, first: int) -> Path:
    """Return where the segment that starts with a record lies."""
    return folder / f"{first:020}{_SUFFIX}"


def first_sequence(path: Path) -> int:
    """Return the first record of a segment, by its name."""
    return int(path.name.removesuffix(_SUFFIX))


def segments_after(folder: Path, sequence: int) -> list[Path]:
    """Return the segments that hold what comes after a record, oldest first; the last one is always among them."""
    paths = segments(folder)
    ends = [first_sequence(path) for path in paths[1:]]
    return [path for path, end in zip(paths[:-1], ends, strict=True) if end > sequence + 1] + paths[-1:]


def segments(folder: Path) -> list[Path]:
    """Return the segments of a log, oldest first."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.name.removesuffix(_SUFFIX).isdigit())
