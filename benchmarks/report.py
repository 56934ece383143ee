"""Reports: figures of runs beside each other, as Markdown and as JSON, with what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import gpu_engine as ge
from benchmarks.measure import Figure, Run

__all__ = ["machine", "to_json", "to_markdown"]

PACKAGES = ("numpy", "pyarrow", "pandas", "duckdb", "polars", "datafusion", "perspective-python")


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, cores, versions."""
    versions = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu_engine": ge.__version__,
        **versions,
    }


def to_json(runs: Sequence[Run], measured_on: Mapping[str, str]) -> str:
    """Return machine and figures as JSON."""
    shown = [
        {"rows": run.rows, "engine": run.engine, "figures": [asdict(figure) for figure in run.figures]} for run in runs
    ]
    return json.dumps({"machine": dict(measured_on), "runs": shown}, indent=2) + "\n"


def to_markdown(runs: Sequence[Run], measured_on: Mapping[str, str]) -> str:
    """Return a table per number of rows: a line per figure, a column per engine, medians with 95th percentiles."""
    parts = ["; ".join(f"{name} {value}" for name, value in measured_on.items())]
    parts += [
        _table(rows, [run for run in runs if run.rows == rows]) for rows in dict.fromkeys(run.rows for run in runs)
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: int, runs: Sequence[Run]) -> str:
    lines = [
        f"| {rows:,} trades: median (95th percentile) | " + " | ".join(run.engine for run in runs) + " |",
        "| --- |" + " ---: |" * len(runs),
    ]
    for name in dict.fromkeys(figure.name for run in runs for figure in run.figures):
        found = [next((figure for figure in run.figures if figure.name == name), None) for run in runs]
        lines.append(f"| {name} | " + " | ".join(map(_shown, found)) + " |")
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.timing is None:
        return f"{figure.value:,.0f} {figure.unit}"
    return f"{_number(figure.timing.median)} ({_number(figure.timing.p95)}) {figure.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
