"""Device memory: one pool for CuPy, libcudf and our kernels, and the copies between host and device.

Floor 1: imports cupy, numpy and rmm. RMM's asynchronous pool serves everybody, so that memory which one library gives
back is there for the next. It frees in stream order: a buffer that was let go is handed out again only behind the work
that was asked for before, which is safe because all work of a session goes through one stream (docs/decisions/0010).
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpu_engine.backend.array_backend import Array, MemoryUse

__all__ = ["DeviceMemory", "Memory", "device_memory"]

STAGED_BYTES = 8 << 20
"""From so many bytes on a copy to the device goes through our own pinned buffers; CuPy stages smaller ones."""
STAGE_BYTES = 32 << 20
"""Size of a pinned buffer. There are two: one is filled while the other is sent."""


class Memory(Protocol):
    """What holds arrays and copies them: the device, or in tests the CPU."""

    xp: Any
    """The array namespace."""

    def use(self) -> MemoryUse:
        """Return the memory figures."""
        ...

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a host array on the device."""
        ...

    def download(self, array: Array) -> npt.NDArray[Any]:
        """Return a device array on the host; waits for it."""
        ...

    def synchronize(self) -> None:
        """Wait until all work asked for so far is done."""
        ...


class DeviceMemory:
    """The memory of the current device. One for each process: get it with `device_memory`."""

    def __init__(self) -> None:
        import cupy
        import rmm.mr
        from rmm.allocators.cupy import rmm_cupy_allocator

        self.xp: Any = cupy
        free, self._total = cupy.cuda.runtime.memGetInfo()
        self._taken_by_others = self._total - free
        given = rmm.mr.get_current_device_resource()
        # Plain cudaMalloc is what RMM starts with; a pool that the application has chosen is kept.
        pool = rmm.mr.CudaAsyncMemoryResource() if isinstance(given, rmm.mr.CudaMemoryResource) else given
        self._counted: Any = rmm.mr.StatisticsResourceAdaptor(pool)
        rmm.mr.set_current_device_resource(self._counted)
        cupy.cuda.set_allocator(rmm_cupy_allocator)
        self._staging = threading.Lock()
        self._stages: list[_Stage] = []

    @property
    def peak(self) -> int:
        """The most bytes that this process has held at once since it started."""
        return int(self._counted.allocation_counts.peak_bytes)

    def use(self) -> MemoryUse:
        """Return what is taken of the device by anybody, what it has, and what is left for this process.

        What the pool holds and has not given out counts as taken, and as available.
        """
        free, total = self.xp.cuda.runtime.memGetInfo()
        own = int(self._counted.allocation_counts.current_bytes)
        return MemoryUse(used=total - free, total=total, available=max(free, self._total - self._taken_by_others - own))

    def upload(self, host: npt.NDArray[Any]) -> Array:
        """Return a host array on the device. It may be changed at once: it has been read by then."""
        if host.nbytes < STAGED_BYTES:
            return self.xp.asarray(host)
        source = np.ascontiguousarray(host).reshape(-1).view(np.uint8)
        device = self.xp.empty(host.shape, host.dtype)
        with self._staging:
            if not self._stages:
                self._stages = [_Stage(self.xp), _Stage(self.xp)]
            for number, start in enumerate(range(0, len(source), STAGE_BYTES)):
                self._stages[number % 2].send(source[start : start + STAGE_BYTES], device.data + start)
        return device

    def download(self, array: Array) -> npt.NDArray[Any]:
        """Return a device array on the host, once the work that makes it is done."""
        host: npt.NDArray[Any] = array.get()
        return host

    def synchronize(self) -> None:
        """Wait until all work asked for so far is done; what has failed on the device is raised here."""
        self.xp.cuda.Stream.null.synchronize()


class _Stage:
    """A pinned buffer on its way to the device."""

    def __init__(self, cupy: Any) -> None:
        self._memory = cupy.cuda.alloc_pinned_memory(STAGE_BYTES)
        self._bytes = np.frombuffer(self._memory, np.uint8, STAGE_BYTES)
        self._stream = cupy.cuda.Stream.null
        self._sent = cupy.cuda.Event(block=True, disable_timing=True)

    def send(self, part: npt.NDArray[np.uint8], target: Any) -> None:
        """Copy bytes into the buffer once its last ones are gone, and from there to the device."""
        self._sent.synchronize()
        np.copyto(self._bytes[: len(part)], part)
        target.copy_from_host_async(self._memory.ptr, len(part), self._stream)
        self._sent.record(self._stream)


_one = threading.Lock()
_memory: DeviceMemory | None = None


def device_memory() -> DeviceMemory:
    """Return the memory of the device, with the pool set up for all libraries; only the first call does so."""
    global _memory
    with _one:
        if _memory is None:
            _memory = DeviceMemory()
        return _memory
