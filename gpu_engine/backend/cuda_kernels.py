"""Launching our kernels: the module `kernels.cu`, compiled once in a process, and the shape of each launch.

Floor 1: imports cupy. Arrays are handed over as they are: whoever launches sees to dtypes and contiguity. All launches
go to the default stream and return at once.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Protocol

__all__ = ["CudaKernels", "Kernels", "cuda_kernels", "kernel_source"]

BLOCK = 256
BLOCKS_PER_PROCESSOR = 16
PRIVATE_BLOCKS_PER_PROCESSOR = 4
INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


class Kernels(Protocol):
    """What launches kernels by name: on the device, or in tests on the CPU."""

    def each(self, name: str, elements: int, *arguments: Any) -> None:
        """Launch a kernel that works on so many elements one by one; none means no launch."""
        ...

    def private(self, name: str, rows: int, threads: int, shared: int, *arguments: Any) -> None:
        """Launch a kernel whose threads keep cells of their own, in `shared` bytes a block of so many threads."""
        ...

    def block(self, name: str, threads: int, *arguments: Any) -> None:
        """Launch a kernel as one block."""
        ...


class CudaKernels:
    """The kernels on the current device."""

    def __init__(self) -> None:
        import cupy

        self._module: Any = cupy.RawModule(code=kernel_source(), options=("-std=c++17",))
        self._processors = int(cupy.cuda.Device().attributes["MultiProcessorCount"])
        self._functions: dict[str, Any] = {}

    def each(self, name: str, elements: int, *arguments: Any) -> None:
        """Launch over so many elements."""
        if elements:
            blocks = min(-(-elements // BLOCK), BLOCKS_PER_PROCESSOR * self._processors)
            self._function(name)((blocks,), (BLOCK,), arguments)

    def private(self, name: str, rows: int, threads: int, shared: int, *arguments: Any) -> None:
        """Launch over so many rows, at least one."""
        blocks = min(-(-rows // threads), PRIVATE_BLOCKS_PER_PROCESSOR * self._processors)
        self._function(name)((blocks,), (threads,), arguments, shared_mem=shared)

    def block(self, name: str, threads: int, *arguments: Any) -> None:
        """Launch one block."""
        self._function(name)((1,), (threads,), arguments)

    def _function(self, name: str) -> Any:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._module.get_function(name)
        return function


def kernel_source(folder: Path = Path(__file__).parent) -> str:
    """Return `kernels.cu` with the files that it includes in their places.

    CuPy keeps compiled modules on disk by their text: of a file that is only included it would not notice a change.
    """
    source = (folder / "kernels.cu").read_text(encoding="utf-8")
    return INCLUDE.sub(lambda line: (folder / line[1]).read_text(encoding="utf-8"), source)


@cache
def cuda_kernels() -> CudaKernels:
    """Return the kernels of the device; the first call makes them, the first launch compiles them."""
    return CudaKernels()
