"""The kernels of the GPU backend, on the CPU."""

from __future__ import annotations

import pytest

from tests.conformance.cuda_shim.cpu_module import CpuModule
from tests.conftest import system_program


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CpuModule:
    """All kernels as `cupy.RawModule` would have them."""
    return CpuModule(system_program("g++", "g++"), tmp_path_factory.mktemp("kernels"))
