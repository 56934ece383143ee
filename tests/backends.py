"""The backends that a test over all of them runs on: those of this machine; one that is missing is skipped by name."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.cuda_backend import CudaBackend
from gpu_engine.backend.cuda_probe import probe_gpu
from gpu_engine.backend.numpy_backend import NumpyBackend
from tests.cuda_on_cpu import CudaOnCpu
from tests.strict.strict_backend import StrictBackend

__all__ = ["BACKENDS", "gpu_backend"]


def gpu_backend() -> ArrayBackend:
    """Return the GPU's backend; without one skip the test and say why, or fail where GPU_ENGINE_REQUIRE_GPU=1."""
    refused = next((step for step in probe_gpu() if not step.ok), None)
    if refused is not None:
        reason = f"no GPU: {refused.name}: {refused.detail}"
        if os.environ.get("GPU_ENGINE_REQUIRE_GPU") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return CudaBackend()


BACKENDS: dict[str, Callable[[], ArrayBackend]] = {
    "NumpyBackend": NumpyBackend,
    "StrictBackend": StrictBackend,
    "CudaOnCpu": CudaOnCpu,
    "CudaBackend": gpu_backend,
}
"""Name -> how to make one."""
