"""The benchmarks of the backends work, check their answers, and report every line. No time is asserted here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu.config import SMALL
from benchmarks.gpu.measure import measure
from benchmarks.gpu.run import to_markdown
from gpu_engine.backend.numpy_backend import NumpyBackend


def test_a_small_run_writes_a_line_for_each_figure(project_root: Path, tmp_path: Path) -> None:
    page = tmp_path / "figures.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.run", "--backend", "cpu", "--out", str(page)],
        cwd=project_root,
        env={**os.environ, "BENCH_SMALL": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = page.read_text()
    assert written in done.stdout
    figures = ("group 20,000 rows x 6 measures", "VaR of vector sums", "load 5,000 rows", "query a provider of 1,000")
    files = ("load 2,000 such rows from csv", "load 2,000 such rows from parquet")
    upserts = ("10-row upsert into 10 providers", "1,000-row upsert into 10 providers")
    for words in (*figures, *files, *upserts, "peak memory"):
        (line,) = [line for line in written.splitlines() if line.startswith(f"| {words}")][:1]
        shown, limit = line.strip("|").split("|")[1:]
        assert shown.strip() and (limit.strip() or words == "peak memory"), line


def test_backends_stand_side_by_side_beside_the_limit() -> None:
    run = measure("cpu", SMALL)
    assert run.bandwidth > 0 and run.peak > 0
    lines = to_markdown([run, run]).splitlines()
    head = next(line for line in lines if line.startswith("| median"))
    assert head == "| median (best) | cpu | cpu | limit of the cpu's memory |"
    grouped = next(line for line in lines if line.startswith("| group"))
    moved = SMALL.grouped_rows * (8 + 6 * 8)
    assert grouped.endswith(f"| {1e3 * moved / run.bandwidth:,.3f} ms |")
    assert all(line.endswith(" ms |") for line in lines if " rows" in line or "-row" in line or "cells" in line)


def test_a_wrong_sum_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    right = NumpyBackend.group_sum

    def wrong(self: NumpyBackend, *arguments: object) -> object:
        return right(self, *arguments) + np.float64(1 / 64)  # type: ignore[arg-type]

    monkeypatch.setattr(NumpyBackend, "group_sum", wrong)
    with pytest.raises(AssertionError, match="group_sum is wrong"):
        measure("cpu", SMALL)


def test_a_wrong_value_at_risk_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    right = NumpyBackend.group_sum

    def wrong(self: NumpyBackend, values: object, group_of: object, size: int) -> object:
        found = right(self, values, group_of, size)
        return found + 1 / 64 if size == SMALL.books else found

    monkeypatch.setattr(NumpyBackend, "group_sum", wrong)
    with pytest.raises(AssertionError, match="value at risk is wrong"):
        measure("cpu", SMALL)
