"""Messages: a JSON head and the binary parts that it speaks of, as one run of bytes.

Floor 4. Parts start at multiples of 8 bytes, so that Arrow reads them where they lie.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

__all__ = ["ALIGNMENT", "Message", "padding"]

ALIGNMENT = 8
_LENGTHS = struct.Struct("<II")
_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Message:
    """What one record of the log says."""

    head: dict[str, Any]
    """JSON."""
    parts: Sequence[pa.Buffer] = ()
    """Binary parts, by their place."""

    def encode(self) -> list[Any]:
        """Return the message as buffers to be written one after the other; together a multiple of 8 bytes."""
        sizes = [part.size for part in self.parts]
        # A file name that is not UTF-8 holds lone surrogates; JSON has them as such escapes.
        text = _json([self.head, sizes]).encode(errors="backslashreplace")
        buffers: list[Any] = [_LENGTHS.pack(len(text), len(sizes)) + text + padding(len(text))]
        for part in self.parts:
            buffers.append(part)
            if part.size % ALIGNMENT:
                buffers.append(padding(part.size))
        return buffers

    @classmethod
    def decode(cls, data: pa.Buffer) -> Message:
        """Return the message that `data` holds; its parts are views of `data`."""
        length, _ = _LENGTHS.unpack_from(data)
        at = _LENGTHS.size
        head, sizes = json.loads(data.slice(at, length).to_pybytes())
        at += length + len(padding(length))
        parts = []
        for size in sizes:
            parts.append(data.slice(at, size))
            at += size + len(padding(size))
        return cls(head, parts)


def padding(length: int) -> bytes:
    """Return the zeros that fill `length` bytes up to the next multiple of 8."""
    return b"\0" * (-length % ALIGNMENT)
