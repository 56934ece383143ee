"""The GPU backend on the CPU: its own code and kernels, over arrays that refuse what a GPU refuses.

What this cannot show: speed, the order of work on a device, and libcudf, for which NumPy stands in here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_engine.backend import cuda_csv
from gpu_engine.backend.array_backend import Array, DeviceColumn, HowFar, MemoryUse
from gpu_engine.backend.cuda_backend import CudaBackend
from gpu_engine.backend.numpy_backend import NumpyBackend
from tests.conformance.cuda_shim.cpu_module import CpuModule
from tests.conftest import system_program
from tests.strict.strict_array import StrictArray
from tests.strict.strict_namespace import StrictNamespace
from tests.strict.transfers import TransferMeter

__all__ = ["CudaOnCpu", "launches"]

BLOCKS, THREADS = 3, 8
"""Threads take turns in any order, so few of them show as much as many."""


class CudaOnCpu(CudaBackend):
    """The GPU backend, with memory and kernels of the CPU."""

    name = "cuda on the cpu"
    chunk_rows = 1 << 10

    def __init__(self) -> None:
        self.kernels = CpuKernels(_module())
        super().__init__(CpuMemory(TransferMeter()), self.kernels)
        self._cpu = NumpyBackend()

    def encode_strings(self, texts: pa.Array) -> tuple[pa.Array, Array]:
        distinct, places = self._cpu.encode_strings(texts)
        return distinct, self.from_host(places)

    def read_file(
        self, path: str, file_format: str, types: Mapping[str, pa.DataType], heard: HowFar
    ) -> pa.Table | None:
        """Decode CSV of any size, in small parts."""
        if file_format != "csv":
            return None
        return cuda_csv.read_csv(path, types, self, self._kernels, heard, smallest=0, at_once=1 << 20)

    def ignore_float_errors(self) -> AbstractContextManager[object]:
        return np.errstate(all="ignore")

    def to_frame(self, columns: Mapping[str, DeviceColumn]) -> Any:
        return self._cpu.to_frame(columns)


class CpuMemory:
    """Strict arrays in the memory of the process."""

    def __init__(self, meter: TransferMeter) -> None:
        self._meter = meter
        self.xp: Any = _Namespace(meter)

    def use(self) -> MemoryUse:
        return NumpyBackend().memory()

    def upload(self, host: Any) -> StrictArray:
        self._meter.up(host.nbytes)
        return StrictArray(np.array(host), self._meter)

    def download(self, array: Any) -> Any:
        host = _host(array)
        self._meter.down(host.nbytes)
        return host.copy()

    def synchronize(self) -> None:
        """Return at once."""


class _Namespace(StrictNamespace):
    """The shared namespace, and what the backend uses of CuPy beyond it."""

    def __init__(self, meter: TransferMeter) -> None:
        super().__init__(meter)
        self._meter_of_copies = meter

    def ascontiguousarray(self, array: Any) -> StrictArray:
        return StrictArray(np.ascontiguousarray(_host(array)), self._meter_of_copies)


class CpuKernels:
    """Launches the kernels on the CPU."""

    def __init__(self, module: CpuModule) -> None:
        self._module = module
        self.listeners: list[list[str]] = []

    def each(self, name: str, elements: int, *arguments: Any) -> None:
        if elements:
            self._launch(name, BLOCKS, THREADS, 0, arguments)

    def private(self, name: str, rows: int, threads: int, shared: int, *arguments: Any) -> None:
        assert rows > 0
        assert shared <= 48 * 1024, "more shared memory than a block has without asking"
        self._launch(name, BLOCKS, threads, shared, arguments)

    def block(self, name: str, threads: int, *arguments: Any) -> None:
        self._launch(name, 1, threads, 0, arguments)

    def _launch(self, name: str, blocks: int, threads: int, shared: int, arguments: tuple[Any, ...]) -> None:
        for names in self.listeners:
            names.append(name)
        passed = tuple(one if type(one) is int else _host(one) for one in arguments)
        self._module.get_function(name)((blocks,), (threads,), passed, shared_mem=shared)


@contextmanager
def launches(backend: CudaOnCpu) -> Iterator[list[str]]:
    """Note the names of the kernels that are launched in the block."""
    names: list[str] = []
    backend.kernels.listeners.append(names)
    try:
        yield names
    finally:
        backend.kernels.listeners.remove(names)


def _host(array: Any) -> Any:
    assert isinstance(array, StrictArray), f"{type(array).__name__} is no device array"
    return array._host


@cache
def _module() -> CpuModule:
    """Return the kernels, compiled once in a process; without a compiler skip the test and say so."""
    with tempfile.TemporaryDirectory() as folder:
        return CpuModule(system_program("g++", "g++"), Path(folder))
