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

PACKAGES = ("numpy", "pyarrow", "pandas", "duckdb")


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, cores, versions."""
    versions = {name: metadata.version(name) for name in PACKAGES}
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
        {"rows": run.rows, "backend": run.backend, "figures": [asdict(figure) for figure in run.figures]}
        for run in runs
    ]
    return json.dumps({"machine": dict(measured_on), "runs": shown}, indent=2) + "\n"


def to_markdown(runs: Sequence[Run], measured_on: Mapping[str, str]) -> str:
    """Return a table with a line per figure and a column per run: median and, in brackets, the 95th percentile."""
    names = list(dict.fromkeys(figure.name for run in runs for figure in run.figures))
    lines = [
        "; ".join(f"{name} {value}" for name, value in measured_on.items()),
        "",
        "| median (95th percentile) | " + " | ".join(f"{run.rows:,} trades, {run.backend}" for run in runs) + " |",
        "| --- |" + " ---: |" * len(runs),
    ]
    for name in names:
        found = [next((figure for figure in run.figures if figure.name == name), None) for run in runs]
        lines.append(f"| {name} | " + " | ".join(map(_shown, found)) + " |")
    return "\n".join(lines) + "\n"


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
