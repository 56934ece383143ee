"""What a GPU charges for: bytes that cross between host and device, and waits for the device, counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Transfers:
    """Figures up to a moment; subtract two to know what happened in between."""

    up_calls: int = 0
    """Copies from host to device (`from_host`, `from_arrow`)."""
    up_bytes: int = 0
    down_calls: int = 0
    """Copies from device to host (`to_host`, `to_arrow`); each waits for the device."""
    down_bytes: int = 0
    scalars: int = 0
    """Single values read by `scalar`; each waits for the device."""
    sizes: int = 0
    """Results whose length the values decide (a mask, `flatnonzero`, `unique`, `group`, new keys): it is waited for."""

    def __sub__(self, earlier: Transfers) -> Transfers:
        return Transfers(*(getattr(self, one.name) - getattr(earlier, one.name) for one in fields(self)))


class TransferMeter:
    """Counts for one backend, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys((one.name for one in fields(Transfers)), 0)

    @property
    def now(self) -> Transfers:
        with self._lock:
            return Transfers(**self._counts)

    def up(self, nbytes: int) -> None:
        self._add(up_calls=1, up_bytes=nbytes)

    def down(self, nbytes: int) -> None:
        self._add(down_calls=1, down_bytes=nbytes)

    def scalar(self) -> None:
        self._add(scalars=1)

    def size(self) -> None:
        self._add(sizes=1)

    def _add(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                self._counts[name] += count
