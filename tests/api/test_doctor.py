"""`gpu-engine doctor`: every step in a line, what follows from them, and the status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpu_engine as ge
from api.app import create_app
from api.doctor import diagnosis


def test_a_working_gpu() -> None:
    steps = (ge.ProbeStep("NVIDIA driver", True, "initialised", 0.25), ge.ProbeStep("kernel", True, "runs", 31.0))
    assert diagnosis(steps) == [
        "NVIDIA driver  ok      initialised (0.2 ms)",
        "kernel         ok      runs (31.0 ms)",
        "A GPU works here: sessions with backend='auto' or 'gpu' use it.",
    ]


def test_a_step_that_fails_is_named_with_what_follows() -> None:
    steps = (ge.ProbeStep("driver", True, "initialised", 0.1), ge.ProbeStep("device", False, "none is visible", 0.1))
    assert diagnosis(steps)[1:] == [
        "device  failed  none is visible (0.1 ms)",
        "No GPU works here (device): backend='auto' means the CPU, and 'gpu' is refused.",
    ]


def test_the_command_says_what_a_session_decides_by(project_root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "doctor"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    steps = ge.probe_gpu()
    lines = done.stdout.splitlines()
    assert done.returncode == (0 if steps[-1].ok else 1), done.stderr
    assert [line.startswith(step.name) for line, step in zip(lines, steps, strict=False)] == [True] * len(steps)
    assert lines[-1] == diagnosis(steps)[-1]


def test_health_has_the_report_of_the_choice_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_ENGINE_BACKEND", raising=False)
    with ge.Session() as session:
        told = create_app(session).test_client().get("/api/v1/health").get_json()["backend"]
        report = session.backend
    assert (told["name"], told["requested"], told["reason"]) == (report.name, "auto", report.reason)
    assert [(step["name"], step["ok"], step["detail"]) for step in told["steps"]] == [
        (step.name, step.ok, step.detail) for step in report.steps
    ]
    assert [step.name for step in report.steps] == [step.name for step in ge.probe_gpu()]
