"""The backends that a test over all of them runs on: those of this machine; one that is missing is skipped by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.cuda_backend import CudaBackend
from gpu_engine.backend.cuda_probe import probe_gpu
from gpu_engine.backend.numpy_backend import NumpyBackend
from tests.cuda_on_cpu import CudaOnCpu
from tests.strict.strict_backend import StrictBackend

__all__ = ["BACKENDS", "gpu_backend", "without_gpu"]


def gpu_backend() -> ArrayBackend:
    """Return the GPU's backend; without one skip the test, see `without_gpu`."""
    refused = next((step for step in probe_gpu() if not step.ok), None)
    if refused is not None:
        without_gpu(f"{refused.name}: {refused.detail}")
    return CudaBackend()


def without_gpu(why: str) -> NoReturn:
    """Skip a test that needs a GPU and say why; fail it in a run that was told to use one, GPU_ENGINE_REQUIRE_GPU=1."""
    if os.environ.get("GPU_ENGINE_REQUIRE_GPU") == "1":
        pytest.fail(f"no GPU: {why}")
    pytest.skip(f"no GPU: {why}")


BACKENDS: dict[str, Callable[[], ArrayBackend]] = {
    "NumpyBackend": NumpyBackend,
    "StrictBackend": StrictBackend,
    "CudaOnCpu": CudaOnCpu,
    "CudaBackend": gpu_backend,
}
"""Name -> how to make one."""
