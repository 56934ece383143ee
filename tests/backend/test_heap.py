"""The heap: memory that has been freed serves again, and goes back when it is asked back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap of glibc, on Linux")

FAULTS = """
import resource
import numpy as np
from gpu_engine.backend.choice import choose_backend
from gpu_engine.backend.heap import give_back_freed_memory

choose_backend("cpu")

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    for _ in range(20):
        first = np.ones(1 << 18, np.int64)
        second = first + first
        del first, second

work()
before = faults()
work()
again = faults() - before
give_back_freed_memory()
before = faults()
work()
print(again, faults() - before)
"""
PAGES = 2 * (1 << 21) // 4096
"""Pages of the two arrays that are alive at a time."""


def faults(**environment: str) -> tuple[int, int]:
    """Return the page faults of the same work done once more, and of that after freed memory was given back."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    again, after = done.stdout.split()
    return int(again), int(after)


def test_freed_memory_is_used_again_and_can_be_given_back() -> None:
    again, after = faults()
    assert again < PAGES // 4
    assert after >= PAGES // 2


def test_what_the_environment_says_of_the_heap_counts() -> None:
    again, _ = faults(MALLOC_MMAP_THRESHOLD_="131072", MALLOC_TRIM_THRESHOLD_="131072")
    assert again >= 20 * PAGES // 2, "each array came from the system anew"
