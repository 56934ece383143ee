"""What the GPU backend needs, asked of the machine step by step, cheapest first.

Floor 1: imports ctypes; the last two steps import cupy and pylibcudf. A probe asks the driver and runs kernels:
`import cupy` succeeds without a GPU, so it would prove nothing. Up to the first kernel it takes less than a millisecond
and makes no context on a device.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

__all__ = ["ProbeStep", "probe_gpu"]

LIBRARIES = ("cupy", "rmm", "pylibcudf", "cudf")
MIN_DRIVER = 13000
"""The driver must speak CUDA 13.0, which CuPy's and cuDF's cu13 wheels are built for."""
MIN_CAPABILITY = (7, 5)
"""The oldest devices that those wheels have code for."""
STREAM_VARIABLES = ("CUPY_CUDA_PER_THREAD_DEFAULT_STREAM", "CUDF_PER_THREAD_STREAM", "RMM_PER_THREAD_DEFAULT_STREAM")
"""Set, they would give each thread a stream, and nothing would order their work."""

_CAPABILITY = (75, 76)
_CUDA_ERRORS = {
    2: "out of memory",
    3: "driver not initialised",
    34: "stub library instead of a driver",
    100: "no CUDA device",
    101: "invalid device",
    803: "kernel module and driver library have different versions",
    804: "forward compatibility is not supported on this device",
    999: "unknown driver error",
}


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One question asked of the machine, and its answer."""

    name: str
    """What was asked for, e.g. "NVIDIA driver"."""
    ok: bool
    """Whether it is there."""
    detail: str
    """What was found, or why not."""
    milliseconds: float
    """How long the answer took."""


class _Refused(Exception):
    """A probe's answer is no; its text says why."""


def probe_gpu(
    find_module: Callable[[str], object | None] = find_spec,
    load_library: Callable[[str], Any] = ctypes.CDLL,
    run_kernel: Callable[[], str] | None = None,
    run_group_by: Callable[[], str] | None = None,
) -> tuple[ProbeStep, ...]:
    """Return the answers of the probes in order; the last one is the first that failed, if any did.

    Parameters
    ----------
    find_module, load_library, run_kernel, run_group_by
        How to find a Python module without importing it, to open the driver, to compile and run a kernel of ours and
        to have pylibcudf group a column; tests bring their own.
    """
    driver = _Driver(load_library)
    probes: list[tuple[str, Callable[[], str]]] = [
        ("libraries installed", lambda: _installed(find_module)),
        ("NVIDIA driver", driver.open),
        ("CUDA device", driver.devices),
        ("driver version", driver.version),
        ("compute capability", driver.capability),
        ("one stream", _one_stream),
        ("compiled kernel", run_kernel or _kernel_runs),
        ("pylibcudf group-by", run_group_by or _group_by_runs),
    ]
    steps: list[ProbeStep] = []
    for name, probe in probes:
        steps.append(_step(name, probe))
        if not steps[-1].ok:
            break
    return tuple(steps)


def _step(name: str, probe: Callable[[], str]) -> ProbeStep:
    start = time.perf_counter()
    try:
        ok, detail = True, probe()
    except _Refused as refusal:
        ok, detail = False, str(refusal)
    except Exception as error:  # a broken driver may fail in any way, and must not keep the CPU from working
        ok, detail = False, f"{type(error).__name__}: {error}"
    return ProbeStep(name, ok, detail, round((time.perf_counter() - start) * 1e3, 3))


def _installed(find_module: Callable[[str], object | None]) -> str:
    missing = [name for name in LIBRARIES if find_module(name) is None]
    if missing:
        raise _Refused(
            f"{', '.join(missing)} not installed; pip install '.[gpu]' in the project's folder brings what is needed"
        )
    return f"{', '.join(LIBRARIES)} found"


def _one_stream() -> str:
    wrong = [name for name in STREAM_VARIABLES if os.environ.get(name, "0") not in ("", "0")]
    if wrong:
        raise _Refused(f"{', '.join(wrong)} set: each thread would have a stream of its own. Unset it")
    return "all threads use the default stream"


def _kernel_runs() -> str:
    from gpu_engine.backend.cuda_backend import CudaBackend

    backend = CudaBackend()
    sums = backend.group_sum(backend.from_host([1.5, 2.0, 4.0]), backend.from_host([1, 0, 1], "int64"), 2)
    if backend.to_host(sums).tolist() != [2.0, 5.5]:
        raise _Refused(f"a sum of three numbers is wrong: {backend.to_host(sums).tolist()} instead of [2.0, 5.5]")
    return f"cupy {backend.xp.__version__} compiles and runs kernels"


def _group_by_runs() -> str:
    import cupy
    import pylibcudf as plc

    column = plc.Column.from_cuda_array_interface(cupy.arange(4, dtype="int64"))
    request = plc.groupby.GroupByRequest(column, [plc.aggregation.sum()])
    keys, _ = plc.groupby.GroupBy(plc.Table([column])).aggregate([request])
    if keys.num_rows() != 4:
        raise _Refused(f"pylibcudf found {keys.num_rows()} groups instead of 4")
    return "pylibcudf runs"


class _Driver:
    """The NVIDIA driver library, asked through ctypes; creates no context on a device."""

    def __init__(self, load_library: Callable[[str], Any]) -> None:
        self._load_library = load_library
        self._library: Any = None

    def open(self) -> str:
        """Load and initialise the driver."""
        try:
            self._library = self._load_library("libcuda.so.1")
        except OSError as error:
            raise _Refused(f"there is no driver library ({error})") from error
        _check("cuInit", self._library.cuInit(0))
        return "libcuda.so.1 initialised"

    def devices(self) -> str:
        """Say how many devices there are, and name the first."""
        count = ctypes.c_int()
        _check("cuDeviceGetCount", self._library.cuDeviceGetCount(ctypes.byref(count)))
        if not count.value:
            raise _Refused(f"none is visible; CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
        name = ctypes.create_string_buffer(100)
        _check("cuDeviceGetName", self._library.cuDeviceGetName(name, len(name), 0))
        return f"{count.value} x {name.value.decode(errors='replace')}"

    def version(self) -> str:
        """Say which CUDA version the driver speaks."""
        version = ctypes.c_int()
        _check("cuDriverGetVersion", self._library.cuDriverGetVersion(ctypes.byref(version)))
        if version.value < MIN_DRIVER:
            raise _Refused(f"the driver speaks CUDA {_dotted(version.value)}, {_dotted(MIN_DRIVER)} is needed")
        return f"CUDA {_dotted(version.value)}"

    def capability(self) -> str:
        """Say which generation the first device is of."""
        found = []
        for attribute in _CAPABILITY:
            value = ctypes.c_int()
            status = self._library.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0)
            _check("cuDeviceGetAttribute", status)
            found.append(value.value)
        if tuple(found) < MIN_CAPABILITY:
            raise _Refused(f"the device has {found[0]}.{found[1]}, {MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]} is needed")
        return f"{found[0]}.{found[1]}"


def _check(function: str, status: int) -> None:
    if status:
        raise _Refused(f"{function} answered {status} ({_CUDA_ERRORS.get(status, 'see the CUDA driver API')})")


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
