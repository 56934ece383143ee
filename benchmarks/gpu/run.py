"""`python -m benchmarks.gpu.run [--backend cpu|gpu] [--out FILE]`: the figures of each backend, side by side."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import gpu_engine as ge
from benchmarks.gpu.config import chosen
from benchmarks.gpu.measure import NOTES, Figure, Run, measure
from benchmarks.report import machine

__all__ = ["main", "to_markdown"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, and write them where they are wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.run", description="Measure the backends.")
    parser.add_argument("--backend", action="append", choices=("cpu", "gpu"), help="may be repeated (default: both)")
    parser.add_argument("--out", type=Path, help="a Markdown file to append to")
    options = parser.parse_args(arguments)
    report = to_markdown([_measured_alone(name) for name in options.backend or ("cpu", "gpu")])
    print(report)
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as out:
            out.write(report)
    return 0


def to_markdown(runs: Sequence[Run]) -> str:
    """Return a line for each figure and a column for each backend, beside what the last one's memory allows."""
    measured = runs[-1]
    head = ["median (best)", *(run.backend for run in runs), f"limit of the {measured.backend}'s memory"]
    lines = [
        "; ".join(f"{name} {value}" for name, value in machine().items()),
        "",
        *(f"- {run.backend}: {run.reason}; a copy moves {run.bandwidth / 1e9:,.0f} GB/s" for run in runs),
        "",
        f"| {' | '.join(head)} |",
        "| --- |" + " ---: |" * (len(runs) + 1),
    ]
    for name in dict.fromkeys(figure.name for run in runs for figure in run.figures):
        found = [next((figure for figure in run.figures if figure.name == name), None) for run in runs]
        moved = next(figure.moved for figure in found if figure is not None)
        lines.append(
            f"| {name} | " + " | ".join(map(_shown, found)) + f" | {_milliseconds(moved / measured.bandwidth)} |"
        )
    peaks = " | ".join(f"{run.peak / 2**30:,.1f} GiB" for run in runs)
    peak = "peak memory (of the device on a GPU, of the process on the CPU)"
    return "\n".join([*lines, f"| {peak} | {peaks} | |", "", *(f"- {line}" for line in NOTES), ""])


def _milliseconds(seconds: float) -> str:
    """Return a time of any size: the limit of a small commit is far below a microsecond."""
    return f"{1e3 * seconds:,.3f} ms" if seconds >= 1e-5 else f"{1e3 * seconds:.2g} ms"


def _shown(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.timing.median:,.3f} ({figure.timing.best:,.3f}) ms"


def _measured_alone(name: str) -> Run:
    """Measure in a process of its own, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, name).result()


def _measure(name: str) -> Run:
    try:
        return measure(name, chosen())
    except ge.errors.EngineError as error:  # it knows more than crosses from process to process
        raise RuntimeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
