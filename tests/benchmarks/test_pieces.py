"""The benchmarks of small pieces work and check their answers. No time is asserted here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_every_piece_runs_and_is_right(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable", "benchmarks/pieces"],
        cwd=project_root,
        env={**os.environ, "BENCH_SMALL": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
