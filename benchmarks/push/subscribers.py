"""Subscribers: plain websocket readers on one event loop, light enough that the server is what is measured.

They answer no pings and read no cells: of each frame they note the epoch and the moment at which all of it was there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Subscriber"]

EPOCH = re.compile(rb'"type":"(\w+)".{0,80}?"epoch":(\d+)')


@dataclass(slots=True)
class Subscriber:
    """One socket with one live query."""

    query: dict[str, Any]
    on_change: Callable[[int, float], None] | None = None
    """Told of each change as it is noted."""
    received: list[tuple[int, float]] = field(default_factory=list)
    """Epoch of each change, and when it was there."""
    merged: int = 0
    """Changes that covered several epochs: this subscriber had fallen behind."""
    nbytes: int = 0

    async def run(self, host: str, port: int, ready: asyncio.Semaphore) -> None:
        """Subscribe, then read until the socket ends; `ready` is released once the snapshot is there."""
        reader, writer = await asyncio.open_connection(host, port, limit=2**26)
        try:
            await _shake_hands(reader, writer, host)
            subscribe = {"op": "subscribe", "id": "s", "cube": "trades", "query": self.query}
            writer.write(_masked(json.dumps(subscribe).encode()))
            last = None
            while True:
                opcode, payload = await _frame(reader)
                if opcode == 8:
                    return
                if opcode == 9:  # who answers no ping is cut off
                    writer.write(struct.pack(">BB4x", 0x8A, 0x80 | len(payload)) + payload)
                    continue
                moment = time.monotonic()
                self.nbytes += len(payload)
                found = EPOCH.search(payload[:300])
                if found is None:
                    continue
                kind, epoch = found[1], int(found[2])
                if kind == b"snapshot":
                    ready.release()
                elif kind == b"change":
                    self.received.append((epoch, moment))
                    if self.on_change is not None:
                        self.on_change(epoch, moment)
                    self.merged += last is not None and epoch > last + 1
                elif kind == b"error":
                    raise RuntimeError(payload.decode())
                last = epoch
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def _shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /api/v1/live HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in answer.split(b"\r\n", 1)[0]:
        raise ConnectionError(answer.decode(errors="replace"))


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return opcode and payload of a frame as servers send them: whole and not masked (RFC 6455, 5.2)."""
    first, length = await reader.readexactly(2)
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    return first & 15, await reader.readexactly(length)


def _masked(payload: bytes) -> bytes:
    """Return a text frame as clients send them, with a mask of zeros."""
    assert len(payload) < 2**16
    head = struct.pack(">BB", 0x81, 0x80 | 126) + struct.pack(">H", len(payload))
    return head + bytes(4) + payload
