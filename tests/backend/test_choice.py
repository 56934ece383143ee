"""Which backend is chosen, what the report says about it, and what happens when there is none."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.choice import choose_backend
from gpu_engine.backend.cuda_probe import ProbeStep, probe_gpu
from gpu_engine.backend.numpy_backend import NumpyBackend
from gpu_engine.errors import BackendUnavailableError, InvalidModelError


class FakeDriver:
    """A driver library with devices that we choose."""

    def __init__(
        self, devices: int = 1, version: int = 13010, init: int = 0, capability: tuple[int, int] = (9, 0)
    ) -> None:
        self.devices, self.speaks, self.init, self.capability = devices, version, init, capability

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

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value._obj.value = self.capability[{75: 0, 76: 1}[attribute]]
        return 0


def probe(driver: object, missing: tuple[str, ...] = (), kernel: str = "runs") -> tuple[ProbeStep, ...]:
    def run_kernel() -> str:
        if kernel != "runs":
            raise RuntimeError(kernel)
        return kernel

    return probe_gpu(lambda name: None if name in missing else name, lambda path: driver, run_kernel, lambda: "groups")


def working() -> tuple[ProbeStep, ...]:
    return probe(FakeDriver())


def refused_library(path: str) -> object:
    raise OSError(f"{path}: cannot open shared object file")


def without_driver() -> tuple[ProbeStep, ...]:
    return probe_gpu(lambda name: name, refused_library)


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
        backend, report = choose_backend("auto", without_driver)
    assert (backend.name, report.name, report.requested) == ("cpu", "cpu", "auto")
    failed = report.steps[-1]
    assert [step.ok for step in report.steps] == [True] * (len(report.steps) - 1) + [False]
    assert report.reason == f"no usable GPU ({failed.name}: {failed.detail})"
    told = [f"probe for a GPU: {step.name}: {'ok' if step.ok else 'failed'} ({step.detail})" for step in report.steps]
    assert [record.message for record in caplog.records] == [*told, f"backend cpu: {report.reason}"]


def test_gpu_fails_loudly() -> None:
    with pytest.raises(BackendUnavailableError, match=r"backend 'gpu' is not usable: .*Choose backend='cpu'") as caught:
        choose_backend("gpu", without_driver)
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
        choose_backend("auto", without_driver)


def test_the_variable_replaces_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "gpu")
    assert choose_backend("cpu")[1].name == "cpu"
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "cpu")
    with pytest.raises(BackendUnavailableError):
        choose_backend("gpu", without_driver)


def test_a_wrong_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_BACKEND", "tpu")
    with pytest.raises(InvalidModelError, match="GPU_ENGINE_BACKEND: 'tpu' is no backend"):
        choose_backend("auto")
    assert choose_backend("cpu")[1].name == "cpu"


def test_a_working_gpu_answers_every_step() -> None:
    steps = working()
    assert [step.name for step in steps] == [
        "libraries installed",
        "NVIDIA driver",
        "CUDA device",
        "driver version",
        "compute capability",
        "one stream",
        "compiled kernel",
        "pylibcudf group-by",
    ]
    assert all(step.ok for step in steps), steps
    assert [step.detail for step in steps[2:5]] == ["1 x NVIDIA H200", "CUDA 13.1", "9.0"]
    assert all(step.milliseconds >= 0 for step in steps)


@pytest.mark.parametrize(
    ("requested", "variable", "name", "reason"),
    [
        ("auto", "", "gpu", "a GPU works here (1 x NVIDIA H200)"),
        ("gpu", "cpu", "gpu", "backend='gpu' was asked for"),
        ("auto", "gpu", "gpu", "GPU_ENGINE_BACKEND=gpu was set"),
        ("auto", "cpu", "cpu", "GPU_ENGINE_BACKEND=cpu was set"),
    ],
)
def test_with_a_working_gpu(
    requested: str, variable: str, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_ENGINE_BACKEND", variable)
    opened: list[ArrayBackend] = []

    def open_gpu() -> ArrayBackend:
        opened.append(NumpyBackend())
        return opened[0]

    backend, report = choose_backend(requested, working, open_gpu)
    assert (report.name, report.requested, report.reason) == (name, requested, reason)
    assert opened == ([backend] if name == "gpu" else [])


def test_the_first_failure_ends_the_probe() -> None:
    assert probe(FakeDriver(), ("cupy", "cudf"))[-1].detail.startswith("cupy, cudf not installed; pip install")
    assert probe(FakeDriver(init=100))[-1].detail == "cuInit answered 100 (no CUDA device)"
    assert probe(FakeDriver(init=5))[-1].detail == "cuInit answered 5 (see the CUDA driver API)"
    assert probe(FakeDriver(devices=0))[-1].detail.startswith("none is visible; CUDA_VISIBLE_DEVICES is ")
    assert probe(FakeDriver(version=12080))[-1].detail == "the driver speaks CUDA 12.8, 13.0 is needed"
    old = probe(FakeDriver(capability=(7, 0)))[-1]
    assert (old.name, old.detail) == ("compute capability", "the device has 7.0, 7.5 is needed")
    broken = probe(FakeDriver(), kernel="no kernel image is available")[-1]
    assert (broken.name, broken.detail) == ("compiled kernel", "RuntimeError: no kernel image is available")
    missing = without_driver()[-1]
    assert (missing.name, missing.ok) == ("NVIDIA driver", False)
    assert "libcuda.so.1: cannot open" in missing.detail


def test_a_broken_driver_is_a_failed_step() -> None:
    broken = probe(object())[-1]
    assert (broken.name, broken.ok) == ("NVIDIA driver", False)
    assert broken.detail.startswith("AttributeError")


def test_streams_of_threads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_CUDA_PER_THREAD_DEFAULT_STREAM", "1")
    step = probe(FakeDriver())[-1]
    assert (step.name, step.ok) == ("one stream", False)
    assert "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM" in step.detail
