"""Which backend a session works on: chosen once, with a report of what was tried.

Floor 1: imports errors and the backends. "auto" takes a GPU if every probe of it succeeds, else the CPU. The log has
each step of the probe, what was chosen and why. "gpu" fails where "auto" would fall back. After the choice there is no
fallback.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.cuda_backend import CudaBackend
from gpu_engine.backend.cuda_probe import ProbeStep, probe_gpu
from gpu_engine.backend.heap import keep_freed_memory
from gpu_engine.backend.numpy_backend import NumpyBackend
from gpu_engine.errors import BackendUnavailableError, InvalidModelError

__all__ = ["BackendReport", "choose_backend"]

CHOICES = ("auto", "cpu", "gpu")
VARIABLE = "GPU_ENGINE_BACKEND"

_log = logging.getLogger(__name__)


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


def choose_backend(
    requested: str,
    probe: Callable[[], tuple[ProbeStep, ...]] = probe_gpu,
    open_gpu: Callable[[], ArrayBackend] = CudaBackend,
) -> tuple[ArrayBackend, BackendReport]:
    """Return the backend for `requested`, "auto", "cpu" or "gpu", and the report of the choice.

    The environment variable GPU_ENGINE_BACKEND replaces "auto" by what it says, and nothing else.

    Parameters
    ----------
    probe, open_gpu
        How to find out whether a GPU works, and to open its backend; tests bring their own.

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
    steps = () if wanted == "cpu" else probe()
    refused = next((f"{step.name}: {step.detail}" for step in steps if not step.ok), None)
    if wanted == "gpu" and refused is not None:
        raise BackendUnavailableError("gpu", f"{refused} ({why})")
    on_gpu = wanted != "cpu" and refused is None
    if refused is not None:
        why = f"no usable GPU ({refused})"
    elif wanted == "auto":
        why = f"a GPU works here ({next(step.detail for step in steps if step.name == 'CUDA device')})"
    report = BackendReport("gpu" if on_gpu else "cpu", requested, why, steps)
    for step in steps:
        _log.info("probe for a GPU: %s: %s (%s)", step.name, "ok" if step.ok else "failed", step.detail)
    _log.info("backend %s: %s", report.name, report.reason)
    if on_gpu:
        return open_gpu(), report
    keep_freed_memory()
    return NumpyBackend(), report


def _known(name: str, where: str) -> str:
    if name not in CHOICES:
        raise InvalidModelError(f"{where}: {name!r} is no backend. Choose 'auto', 'cpu' or 'gpu'.")
    return name
