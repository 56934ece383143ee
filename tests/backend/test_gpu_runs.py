"""Runs that were told to use the GPU: without one they say so and fail; others skip what needs one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpu_engine as ge
from gpu_engine.backend.cuda_probe import ProbeStep
from tests import backends

NEEDS_ONE = "tests/conformance/test_backend_cells.py::test_one_cell_may_be_taken_often[CudaBackend]"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_ENGINE_REQUIRE_GPU", raising=False)
    if ge.probe_gpu()[-1].ok:
        pytest.skip("here a GPU works")


def run(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GPU_ENGINE")}
    return subprocess.run(
        command,
        cwd=root,
        env={**environment, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def pytest_run(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(root, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, **variables)


def test_the_reason_names_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (ProbeStep("NVIDIA driver", True, "there", 0.1), ProbeStep("CUDA device", False, "none is visible", 0.1))
    monkeypatch.setattr(backends, "probe_gpu", lambda: steps)
    with pytest.raises(pytest.skip.Exception, match=r"^no GPU: CUDA device: none is visible$"):
        backends.gpu_backend()
    monkeypatch.setenv("GPU_ENGINE_REQUIRE_GPU", "1")
    with pytest.raises(pytest.fail.Exception, match=r"^no GPU: CUDA device: none is visible$"):
        backends.gpu_backend()


def test_tests_that_need_one_are_skipped_unless_it_is_required(project_root: Path) -> None:
    skipped = pytest_run(project_root, NEEDS_ONE)
    assert (skipped.returncode, "1 tests skipped: no GPU: " in skipped.stdout) == (0, True), skipped.stdout
    failed = pytest_run(project_root, NEEDS_ONE, GPU_ENGINE_REQUIRE_GPU="1")
    assert (failed.returncode, "no GPU: " in failed.stdout) == (1, True), failed.stdout


def test_the_engine_suite_on_a_gpu_that_is_not_there_does_not_begin(project_root: Path) -> None:
    refused = pytest_run(project_root, "tests/engine/test_tables.py", GPU_ENGINE_TEST_BACKEND="gpu")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"no GPU works: {ge.probe_gpu()[-1].name}" in refused.stderr


def test_ci_gpu_ends_at_once_and_its_report_says_why(project_root: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    done = run(project_root, "ci/gpu", "--out", str(report), BENCH_SMALL="1")
    assert done.returncode == 1
    assert "no GPU works here" in done.stderr
    written = report.read_text(encoding="utf-8")
    assert "## Is a GPU usable: FAILED" in written
    assert ge.probe_gpu()[-1].detail in written
    assert "Nothing else was run" in written
    assert "Conformance" not in written and "Benchmarks" not in written


def test_ci_gpu_knows_its_parts(project_root: Path) -> None:
    done = run(project_root, "ci/gpu", "everything")
    assert (done.returncode, "usage: ci/gpu" in done.stderr) == (2, True)
