"""Which backend a session works on: chosen once, with a report of what was tried.

Floor 1: imports errors and the backends. "auto" takes a GPU if every probe of it succeeds, else the CPU, and logs what
it chose and why. "gpu" fails where "auto" would fall back. After the choice there is no fallback.
A probe asks the driver, not a library: `import cupy` succeeds without a GPU, so it would prove nothing.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.numpy_backend import NumpyBackend
from gpu_engine.errors import BackendUnavailableError, InvalidModelError

__all__ = ["BackendReport", "ProbeStep", "choose_backend", "probe_gpu"]

CHOICES = ("auto", "cpu", "gpu")
VARIABLE = "GPU_ENGINE_BACKEND"
MIN_DRIVER = 13000
"""The driver must speak CUDA 13.0, which CuPy's and cuDF's cu13 wheels are built for."""

_log = logging.getLogger(__name__)

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
    """What was asked for, e.g. "cupy installed"."""
    ok: bool
    """Whether it is there."""
    detail: str
    """What was found, or why not."""
    milliseconds: float
    """How long the answer took."""


@dataclass(frozen=True, slots=True)
class BackendReport:
    """Which backend was chosen, and why."""

    name: str
    """The backend: "cpu" or "gpu"."""
    requested: str
    """What the caller asked for: "auto", "cpu" or "gpu"."""
    reason: str
    """Why it is this one, in a sentence."""
    steps: tuple[ProbeStep, ...]
    """What was probed, in order, up to the first failure; nothing where nothing had to be found out."""


class _Refused(Exception):
    """A probe's answer is no; its text says why."""


def choose_backend(requested: str) -> tuple[ArrayBackend, BackendReport]:
    """Return the backend for `requested`, "auto", "cpu" or "gpu", and the report of the choice.

    The environment variable GPU_ENGINE_BACKEND replaces "auto" by what it says, and nothing else.

    Raises
    ------
    InvalidModelError
        If `requested`, or the variable where it counts, is none of the three.
    BackendUnavailableError
        If the GPU was asked for and cannot work here.
    """
    wanted = _known(requested, "backend")
    why = f"backend={requested!r} was asked for"
    override = os.environ.get(VARIABLE)
    if wanted == "auto" and override:
        wanted = _known(override, VARIABLE)
        why = f"{VARIABLE}={override} was set"
    steps = () if wanted == "cpu" else probe_gpu()
    refused = next((f"{step.name}: {step.detail}" for step in steps if not step.ok), None)
    if wanted == "gpu":
        raise BackendUnavailableError("gpu", f"{refused} ({why})")
    reason = why if refused is None else f"no usable GPU ({refused})"
    report = BackendReport("cpu", requested, reason, steps)
    _log.info("backend %s: %s", report.name, report.reason)
    return NumpyBackend(), report


def probe_gpu(
    find_module: Callable[[str], object | None] = find_spec, load_library: Callable[[str], Any] = ctypes.CDLL
) -> tuple[ProbeStep, ...]:
    """Return the answers of the probes in order; the last one is the first that failed, if any did.

    Parameters
    ----------
    find_module, load_library
        How to find a Python module without importing it, and how to open the driver; tests bring their own.
    """
    driver = _Driver(load_library)
    probes: list[tuple[str, Callable[[], str]]] = [
        ("cupy installed", lambda: _installed("cupy", find_module)),
        ("NVIDIA driver", driver.open),
        ("CUDA device", driver.devices),
        ("driver version", driver.version),
        ("gpu backend in this release", _in_this_release),
    ]
    steps: list[ProbeStep] = []
    for name, probe in probes:
        steps.append(_step(name, probe))
        if not steps[-1].ok:
            break
    return tuple(steps)


def _known(name: str, where: str) -> str:
    if name not in CHOICES:
        raise InvalidModelError(f"{where}: {name!r} is no backend. Choose 'auto', 'cpu' or 'gpu'.")
    return name


def _step(name: str, probe: Callable[[], str]) -> ProbeStep:
    start = time.perf_counter()
    try:
        ok, detail = True, probe()
    except _Refused as refusal:
        ok, detail = False, str(refusal)
    except Exception as error:  # a broken driver may fail in any way, and must not keep the CPU from working
        ok, detail = False, f"{type(error).__name__}: {error}"
    return ProbeStep(name, ok, detail, round((time.perf_counter() - start) * 1e3, 3))


def _installed(module: str, find_module: Callable[[str], object | None]) -> str:
    if find_module(module) is None:
        raise _Refused(f"{module} is not installed; pip install 'gpu-engine[gpu]' brings it")
    return f"{module} found"


def _in_this_release() -> str:
    raise _Refused("this release has no GPU backend yet")


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


def _check(function: str, status: int) -> None:
    if status:
        raise _Refused(f"{function} answered {status} ({_CUDA_ERRORS.get(status, 'see the CUDA driver API')})")


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
