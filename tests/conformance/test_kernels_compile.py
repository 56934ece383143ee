"""The kernels compile for the GPUs that we support, and keep their values in registers. Needs no GPU and no driver."""

from __future__ import annotations

import ctypes
import os
import re
from importlib import metadata
from pathlib import Path

import pytest

from gpu_engine.backend.cuda_kernels import kernel_source
from tests.conformance.cuda_shim.cpu_module import KERNELS, declared_kernels

WHEEL = "nvidia-cuda-nvrtc"
MOST_REGISTERS = 64  # a block of 1024 threads still fits
USED = re.compile(
    r"entry function '(?P<name>\w+)' for 'sm_90'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill "
    r"stores, (?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class Compiler:
    """NVRTC, the compiler that CuPy uses for the same text."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def compile(self, *options: str) -> tuple[bool, str]:
        """Return whether the kernels compile, and what the compiler says."""
        program, source = ctypes.c_void_p(), kernel_source().encode()
        assert self._library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None) == 0
        try:
            given = ["-std=c++17", "-arch=sm_90", "-Xptxas=-v", *options]
            encoded = (ctypes.c_char_p * len(given))(*[option.encode() for option in given])
            status = self._library.nvrtcCompileProgram(program, len(given), encoded)
            size = ctypes.c_size_t()
            assert self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
            log = ctypes.create_string_buffer(size.value)
            assert self._library.nvrtcGetProgramLog(program, log) == 0
            return status == 0, log.value.decode()
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if re.match(r"libnvrtc\.so\.\d+$", file.name):
            return Compiler(Path(str(file.locate())))
    reason = f"no CUDA compiler: pip install '{WHEEL}>=13,<14' (58 MB, Linux)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.parametrize("options", [[], ["-DCHECK_BOUNDS"]], ids=["release", "bounds checked"])
def test_kernels_compile_without_spills(
    compiler: Compiler, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    compiled, log = compiler.compile(*options)
    assert compiled, log
    assert "warning" not in log, log
    used = {match["name"]: match for match in USED.finditer(log)}
    assert used.keys() == declared_kernels(*KERNELS.glob("kernels*.cu*")).keys()
    with capsys.disabled():
        spilled = sum(int(match["stores"]) + int(match["loads"]) for match in used.values())
        registers = ", ".join(f"{name} {match['registers']}" for name, match in sorted(used.items()))
        print(f"\nsm_90 {' '.join(options)}: {spilled} bytes spilled; registers: {registers}")
    for name, match in used.items():
        assert (match["stack"], match["stores"], match["loads"]) == ("0", "0", "0"), f"{name} spills: {match[0]}"
        assert int(match["registers"]) <= MOST_REGISTERS, name


def test_the_text_that_cupy_compiles_is_all_there_is() -> None:
    """CuPy's cache on disk knows a module by its text and options: an included file that changes must change them."""
    source = kernel_source()
    assert '#include "' not in source
    assert all(part.read_text(encoding="utf-8") in source for part in KERNELS.glob("*.cuh"))


def test_errors_are_reported(compiler: Compiler) -> None:
    compiled, log = compiler.compile("-DEMPTY=1")
    assert not compiled
    assert "error" in log
