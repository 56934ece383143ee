"""What the benchmarks of small pieces share: a backend, and sizes that BENCH_SMALL=1 makes tiny.

    pytest benchmarks/pieces                         all of them, with pytest-benchmark's table
    pytest benchmarks/pieces --backend gpu -k group  some, on a GPU

Every piece checks what it has computed; what is timed ends with the device's work.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.choice import choose_backend

SMALL = os.environ.get("BENCH_SMALL") == "1"
ROWS = (100, 1_000) if SMALL else (100, 10_000, 1_000_000)
"""Rows of a batch: a small commit, a large one, a bulk."""
TABLE_ROWS = 2_000 if SMALL else 1_000_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="cpu", choices=("cpu", "gpu"), help="where the pieces run")


@pytest.fixture(scope="session")
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--backend"))


@pytest.fixture(scope="session")
def backend(backend_name: str) -> ArrayBackend:
    return choose_backend(backend_name)[0]


@pytest.fixture(params=ROWS, ids=lambda rows: f"{rows:,}")
def rows(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def timed(benchmark: Any, backend: ArrayBackend, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Time a call until the device has done it; return what it gave."""
    benchmark.group = request.node.originalname

    def run(action: Callable[..., Any], *arguments: Any) -> Any:
        def done() -> Any:
            result = action(*arguments)
            backend.synchronize()
            return result

        return benchmark(done)

    return run
