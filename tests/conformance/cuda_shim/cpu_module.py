"""Our CUDA kernels, compiled with g++ to run on the CPU, in the shape of `cupy.RawModule`.

Arrays are NumPy's. What CUDA would take in silence is refused here: an argument of another dtype than the kernel reads,
an array that is not contiguous, one number of arguments for another, an empty grid.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CpuModule", "TrappedError"]

SHIM = Path(__file__).parent
KERNELS = SHIM.parents[2] / "gpu_engine" / "backend"
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(([^)]*)\)')
DTYPES = {
    **{"double": "float64", "int64": "int64", "uint64": "int64", "int": "int32", "bool": "bool"},
    "unsigned char": "uint8",
}
WORKERS = 2
_seeds = itertools.count()


class TrappedError(AssertionError):
    """A kernel was given something out of range, or its threads did not all reach a barrier."""


class CpuModule:
    """All kernels. `get_function(name)(grid, block, arguments, shared_mem=bytes)` runs one to its end."""

    def __init__(self, compiler: str, folder: Path) -> None:
        library = folder / "kernels.so"
        command = [
            compiler,
            "-std=c++17",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fno-strict-aliasing",
            "-shared",
            "-fPIC",
        ]
        command += [
            "-pthread",
            "-DCHECK_BOUNDS",
            f"-I{SHIM}",
            f"-I{KERNELS}",
            str(SHIM / "host.cpp"),
            "-o",
            str(library),
        ]
        built = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if built.returncode:
            raise AssertionError(f"g++ refuses the kernels:\n{built.stderr}")
        self._library = ctypes.CDLL(str(library))
        self.parameters = declared_kernels(*KERNELS.glob("kernels*.cu*"), SHIM / "host.cpp")

    def get_function(self, name: str) -> Callable[..., None]:
        """Return a kernel by its name."""
        declared = self.parameters[name]
        if self._library.arity(name.encode()) != len(declared):
            raise LookupError(f"kernel {name!r} is declared but host.cpp has no entry for it")

        def run(
            grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], *, shared_mem: int = 0
        ) -> None:
            self._launch(name, grid[0], block[0], arguments, shared_mem)

        return run

    def _launch(self, name: str, grid: int, block: int, arguments: tuple[Any, ...], shared_mem: int) -> None:
        declared = self.parameters[name]
        assert grid > 0, f"{name}: a grid of {grid} blocks"
        assert 0 < block <= 1024, f"{name}: a block of {block} threads"
        assert len(arguments) == len(declared), f"{name} takes {len(declared)} arguments, not {len(arguments)}"
        given = [_passed(f"{name}({text})", text, value) for text, value in zip(declared, arguments, strict=True)]
        places = (ctypes.c_void_p * len(given))(*[ctypes.addressof(value) for value in given])
        traps, barriers = ctypes.c_longlong(), ctypes.c_longlong()
        self._library.launch(
            name.encode(),
            ctypes.c_uint(grid),
            ctypes.c_uint(block),
            ctypes.c_ulonglong(shared_mem),
            places,
            ctypes.c_uint(min(WORKERS, grid)),
            ctypes.c_ulonglong(next(_seeds)),
            ctypes.byref(traps),
            ctypes.byref(barriers),
        )
        if traps.value or barriers.value:
            raise TrappedError(
                f"{name}: {traps.value} threads trapped, {barriers.value} barriers were not reached by all"
            )


def declared_kernels(*files: Path) -> dict[str, list[str]]:
    """Return name -> parameters of all kernels, as their source declares them."""
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    return {name: re.sub(r"\s+", " ", parameters).strip().split(", ") for name, parameters in KERNEL.findall(source)}


def _passed(where: str, declared: str, value: Any) -> Any:
    """Return an argument as ctypes passes it; its address is that of the value."""
    if "*" not in declared:
        assert isinstance(value, int | np.int64), f"{where}: {value!r} is not a 64-bit integer"
        return ctypes.c_longlong(value)
    kind = declared.removeprefix("const ").partition("*")[0].strip()
    assert isinstance(value, np.ndarray), f"{where}: {type(value).__name__} is not an array"
    assert value.dtype == DTYPES[kind], f"{where}: an array of {value.dtype}"
    assert value.flags.c_contiguous, f"{where}: an array that is not contiguous"
    return ctypes.c_void_p(value.ctypes.data)
