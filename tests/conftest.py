"""What all tests share: a session that must leave no thread behind, system programs, and deterministic hypothesis."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import gpu_engine as ge
import gpu_engine.session
from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.choice import BackendReport, choose_backend
from gpu_engine.backend.cuda_backend import CudaBackend
from gpu_engine.backend.cuda_probe import probe_gpu
from tests.strict.strict_backend import StrictBackend

# Both profiles print how to repeat a failure. HYPOTHESIS_PROFILE=explore looks for new examples at every run, ten times
# as many: give such a run --timeout 0.
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

BACKEND = os.environ.get("GPU_ENGINE_TEST_BACKEND", "")
"""What sessions of the tests work on instead of the CPU: "strict", the array double of tests/strict, "cuda-on-cpu", the
GPU backend with its kernels on the CPU, or "gpu"."""

NEEDS = "needs the system package"


def system_program(name: str, package: str) -> str:
    """Return the path of a program; without it skip the test and say how to have it, or fail where CI=true."""
    path = shutil.which(name)
    if path is None:
        reason = f"{NEEDS} {package}: apt-get install {package}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's Chromium, for playwright's `executable_path`."""
    return system_program("chromium", "chromium")


@pytest.fixture(scope="session")
def curl() -> str:
    """Path of curl."""
    return system_program("curl", "curl")


@pytest.fixture
def session() -> Iterator[ge.Session]:
    """A CPU session; after the test it is closed and none of its threads may be left."""
    before = set(threading.enumerate())
    with ge.Session(backend="cpu") as opened:
        yield opened
    deadline = time.monotonic() + 5
    started = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = [thread.name for thread in started if thread.is_alive()]
    assert not left, f"threads that outlive their session: {left}"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the settings of pytest-timeout where it is missing too, as it may be on a machine with a GPU (ci/gpu)."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds that a test may take")
        parser.addini("timeout_method", "what happens then")


def pytest_configure() -> None:
    """Let sessions take the backend that the run is for."""
    if BACKEND not in ("", "strict", "cuda-on-cpu", "gpu"):
        raise pytest.UsageError(
            f"GPU_ENGINE_TEST_BACKEND={BACKEND}: leave it out, or choose strict, cuda-on-cpu or gpu"
        )
    refused = next((step for step in probe_gpu() if not step.ok), None) if BACKEND == "gpu" else None
    if refused is not None:
        raise pytest.UsageError(f"GPU_ENGINE_TEST_BACKEND=gpu, but no GPU works: {refused.name}: {refused.detail}")
    if BACKEND:
        gpu_engine.session.choose_backend = _backend_of_this_run


def _backend_of_this_run(requested: str) -> tuple[ArrayBackend, BackendReport]:
    """Return the run's backend with the report of the real choice, which refuses what it refuses."""
    from tests.cuda_on_cpu import CudaOnCpu

    _, report = choose_backend(requested)
    made = {"strict": StrictBackend, "cuda-on-cpu": CudaOnCpu, "gpu": CudaBackend}[BACKEND]
    return made(), report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `browser` every test that asks for Chromium."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that a missing system package has skipped, and how to have them; count those that need a GPU."""
    skipped: dict[str, list[str]] = {}
    without_gpu: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if NEEDS in reason:
            skipped.setdefault(reason, []).append(report.nodeid)
        elif reason.startswith("no GPU"):
            without_gpu[reason] += 1
    for reason, count in without_gpu.items():
        terminalreporter.line(f"{count} tests skipped: {reason}")
    for reason, tests in skipped.items():
        terminalreporter.section(f"{len(tests)} tests skipped: {reason}")
        for test in tests:
            terminalreporter.line(f"  {test}")
