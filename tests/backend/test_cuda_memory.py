"""Device memory: the pool that all libraries share, and copies through pinned buffers. CuPy and RMM are stood in for.

A copy of the double is done when somebody waits for it and not before, as late as a device could do it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpu_engine.backend import cuda_memory
from gpu_engine.backend.cuda_memory import DeviceMemory

TOTAL, FREE = 1000, 900


class Stream:
    """Work that has been asked for and is not done."""

    def __init__(self) -> None:
        self.pending: list[Callable[[], Any]] = []

    def synchronize(self) -> None:
        while self.pending:
            self.pending.pop(0)()


class Event:
    """A place in a stream; whoever waits for it has the stream do its work."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self._stream: Stream | None = None

    def record(self, stream: Stream) -> None:
        self._stream = stream

    def synchronize(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


class Pointer:
    def __init__(self, address: int) -> None:
        self.address = address

    def __add__(self, offset: int) -> Pointer:
        return Pointer(self.address + offset)

    def copy_from_host_async(self, source: int, size: int, stream: Stream) -> None:
        stream.pending.append(lambda: ctypes.memmove(self.address, source, size))


class DeviceArray:
    def __init__(self, shape: Any, dtype: Any) -> None:
        self.held = np.full(shape, 93, dtype)
        self.data = Pointer(self.held.ctypes.data)

    def get(self) -> Any:
        NULL.synchronize()
        return self.held.copy()


class Pinned(bytearray):
    @property
    def ptr(self) -> int:
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self))


NULL = Stream()


class Resource:
    """A memory resource of RMM; `Counted` counts what another gives out."""


class Plain(Resource):
    """What RMM starts with: cudaMalloc."""


class AsyncPool(Resource):
    pass


class Counted(Resource):
    def __init__(self, upstream: Resource) -> None:
        self.upstream = upstream
        self.allocation_counts = SimpleNamespace(current_bytes=40, peak_bytes=70)


@pytest.fixture
def rmm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The state of both libraries: RMM's current resource, CuPy's allocator, and how much of the device is free."""
    state = SimpleNamespace(current=Plain(), allocator=None, free=FREE, pinned=0)

    def pinned(size: int) -> Pinned:
        state.pinned += 1
        return Pinned(size)

    cupy, mr, allocators = ModuleType("cupy"), ModuleType("rmm.mr"), ModuleType("rmm.allocators.cupy")
    runtime = SimpleNamespace(memGetInfo=lambda: (state.free, TOTAL))
    vars(cupy).update(
        cuda=SimpleNamespace(
            runtime=runtime,
            set_allocator=lambda allocator: vars(state).update(allocator=allocator),
            alloc_pinned_memory=pinned,
            Stream=SimpleNamespace(null=NULL),
            Event=Event,
        ),
        empty=DeviceArray,
        asarray=lambda host: ("by CuPy", host.copy()),
    )
    vars(mr).update(
        get_current_device_resource=lambda: state.current,
        set_current_device_resource=lambda resource: vars(state).update(current=resource),
        CudaAsyncMemoryResource=AsyncPool,
        CudaMemoryResource=Plain,
        StatisticsResourceAdaptor=Counted,
    )
    vars(allocators)["rmm_cupy_allocator"] = "the allocator that asks RMM"
    root = ModuleType("rmm")
    vars(root)["mr"] = mr
    modules = {"cupy": cupy, "rmm": root, "rmm.mr": mr, "rmm.allocators": ModuleType("rmm.allocators")}
    for name, module in {**modules, "rmm.allocators.cupy": allocators}.items():
        monkeypatch.setitem(sys.modules, name, module)
    NULL.pending.clear()
    return state


def test_all_libraries_get_one_asynchronous_pool(rmm: SimpleNamespace) -> None:
    DeviceMemory()
    assert isinstance(rmm.current, Counted)
    assert isinstance(rmm.current.upstream, AsyncPool)
    assert rmm.allocator == "the allocator that asks RMM"


def test_a_pool_that_the_application_has_chosen_is_kept(rmm: SimpleNamespace) -> None:
    chosen = rmm.current = AsyncPool()
    DeviceMemory()
    assert rmm.current.upstream is chosen


def test_memory_that_the_pool_holds_is_available(rmm: SimpleNamespace) -> None:
    memory = DeviceMemory()
    rmm.free = 300  # others have 100, the pool 600, of which 40 are given out
    use = memory.use()
    assert (use.used, use.total, use.available) == (700, TOTAL, TOTAL - 100 - 40)
    assert memory.peak == 70


def test_small_arrays_are_left_to_cupy(rmm: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_memory, "STAGED_BYTES", 80)
    kind, copy = DeviceMemory().upload(np.arange(9))
    assert (kind, copy.tolist(), rmm.pinned) == ("by CuPy", list(range(9)), 0)


@pytest.mark.parametrize("count", [10, 16, 17, 32, 33, 100])
@pytest.mark.parametrize("step", [1, 3])
def test_large_arrays_go_through_two_buffers_and_may_change_at_once(
    rmm: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, count: int, step: int
) -> None:
    monkeypatch.setattr(cuda_memory, "STAGED_BYTES", 80)
    monkeypatch.setattr(cuda_memory, "STAGE_BYTES", 128)
    memory = DeviceMemory()
    made = []
    for start in (0, 1000):
        host = np.arange(start, start + step * count).reshape(count, step)[:, :1]
        made.append((memory.upload(host), host.tolist()))
        host[:] = -1
    assert NULL.pending, "the last parts are under way, and nobody has waited for them"
    for array, expected in made:
        assert memory.download(array).tolist() == expected
    assert rmm.pinned == 2


def test_synchronizing_waits_for_the_default_stream(rmm: SimpleNamespace) -> None:
    done: list[int] = []
    memory = DeviceMemory()
    NULL.pending.append(lambda: done.append(1))
    memory.synchronize()
    assert done == [1]
