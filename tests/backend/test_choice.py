"""Which backend is chosen, what the report says about it, and what happens when there is none."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import pytest

from gpu_engine.backend.choice import ProbeStep, choose_backend, probe_gpu
from gpu_engine.errors import BackendUnavailableError, InvalidModelError


class FakeDriver:
    """A driver library with devices that we choose."""

    def __init__(self, devices: int = 1, version: int = 13010, init: int = 0) -> None:
        self.devices, self.speaks, self.init = devices, version, init

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.devices
        return 0

    def cuDeviceGetName(self, name: ctypes.Array[ctypes.c_char], size: int, device: int) -> int:
        name.value = b"NVIDIA H200"
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.speaks
        return 0


def probe(driver: object, cupy: bool = True) -> tuple[ProbeStep, ...]:
    return probe_gpu(lambda name: name if cupy else None, lambda path: driver)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_ENGINE_BACKEND", raising=False)


def test_cpu_is_taken_without_a_probe() -> None:
    backend, report = choose_backend("cpu")
    assert backend.name == report.name == report.requested == "cpu"
    assert report.steps == ()
    assert report.reason == "backend='cpu' was asked for"


def test_auto_ends_on_the_cpu_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gpu_engine"):
        backend, report = choose_backend("auto")
    assert (backend.name, report.name, report.requested) == ("cpu", "cpu", "auto")
    failed = report.steps[-1]
    assert [step.ok for step in report.steps] == [True] * (len(report.steps) - 1) + [False]
    assert report.reason == f"no usable GPU ({failed.name}: {failed.detail})"
    assert f"backend cpu: {report.reason}" in caplog.messages


def test_gpu_fails_loudly() -> None:
    with pytest.raises(BackendUnavailableError, match=r"backend 'gpu' is not usable: .*Choose backend='cpu'") as caught:
        choose_backend("gpu")
    assert caught.value.requested == "gpu"
    assert caught.value.code == "backend_unavailable"


@pytest.mark.parametrize("name", ["cuda", "CPU", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidModelError, match=f"backend: {name!r} is no backend. Choose 'auto', 'cpu' or 'gpu'"):
        choose_backend(name)


def test_the_variable_replaces_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "cpu")
    _, report = choose_backend("auto")
    assert (report.name, report.requested, report.steps) == ("cpu", "auto", ())
    assert report.reason == "GPU_ENGINE_BACKEND=cpu was set"
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "gpu")
    with pytest.raises(BackendUnavailableError, match="GPU_ENGINE_BACKEND=gpu was set"):
        choose_backend("auto")


def test_the_variable_replaces_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "gpu")
    assert choose_backend("cpu")[1].name == "cpu"
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "cpu")
    with pytest.raises(BackendUnavailableError):
        choose_backend("gpu")


def test_a_wrong_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "tpu")
    with pytest.raises(InvalidModelError, match="GPU_ENGINE_BACKEND: 'tpu' is no backend"):
        choose_backend("auto")
    assert choose_backend("cpu")[1].name == "cpu"


def test_with_a_working_gpu_the_last_step_is_the_missing_backend() -> None:
    steps = probe(FakeDriver())
    assert [step.name for step in steps] == [
        "cupy installed",
        "NVIDIA driver",
        "CUDA device",
        "driver version",
        "gpu backend in this release",
    ]
    assert [step.ok for step in steps] == [True, True, True, True, False]
    assert [step.detail for step in steps[2:]] == [
        "1 x NVIDIA H200",
        "CUDA 13.1",
        "this release has no GPU backend yet",
    ]
    assert all(step.milliseconds >= 0 for step in steps)


def refused_library(path: str) -> object:
    raise OSError(f"{path}: cannot open shared object file")


def test_the_first_failure_ends_the_probe() -> None:
    assert probe(FakeDriver(), cupy=False)[-1].detail.startswith("cupy is not installed; pip install")
    assert probe(FakeDriver(init=100))[-1].detail == "cuInit answered 100 (no CUDA device)"
    assert probe(FakeDriver(init=5))[-1].detail == "cuInit answered 5 (see the CUDA driver API)"
    assert probe(FakeDriver(devices=0))[-1].detail.startswith("none is visible; CUDA_VISIBLE_DEVICES is ")
    assert probe(FakeDriver(version=12080))[-1].detail == "the driver speaks CUDA 12.8, 13.0 is needed"
    missing = probe_gpu(lambda name: name, refused_library)[-1]
    assert (missing.name, missing.ok) == ("NVIDIA driver", False)
    assert "libcuda.so.1: cannot open" in missing.detail


def test_a_broken_driver_is_a_failed_step() -> None:
    broken = probe(object())[-1]
    assert (broken.name, broken.ok) == ("NVIDIA driver", False)
    assert broken.detail.startswith("AttributeError")
