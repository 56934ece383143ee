"""`python -m benchmarks.gpu.versions`: what a report of a GPU machine depends on, a line each."""

from __future__ import annotations

import sys
from importlib import import_module

import gpu_engine as ge
from benchmarks.report import machine

__all__ = ["main"]

LIBRARIES = ("cupy", "rmm", "pylibcudf", "cudf")


def main() -> int:
    """Print machine, libraries and device; libraries that are not there are said to be missing."""
    for name, value in machine().items():
        print(f"{name}: {value}")
    for name in LIBRARIES:
        try:
            module = import_module(name)
        except ImportError as error:
            print(f"{name}: missing ({error})")
        else:
            print(f"{name}: {getattr(module, '__version__', 'no version')}")
    for step in ge.probe_gpu():
        print(f"{step.name}: {step.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
