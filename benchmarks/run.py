"""Measure the engine on the common workload, check every answer against DuckDB, and write the figures.

    python -m benchmarks.run --rows 1000000 --rows 5000000 --out figures.json --out figures.md

BENCH_SMALL=1, or few rows, gives a tiny run that only proves that everything works.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.check import wrong_answers
from benchmarks.config import FULL, SMALL, Config, chosen
from benchmarks.measure import Run, measure
from benchmarks.report import machine, to_json, to_markdown

__all__ = ["main"]

SUFFIXES = (".json", ".md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return 1, and report no time, if an answer is wrong."""
    options = _parser().parse_args(arguments)
    sizes = options.rows or (SMALL if os.environ.get("BENCH_SMALL") == "1" else FULL).rows
    runs = []
    for rows in sizes:
        run = _measured_alone(rows, chosen(rows), options.seed, options.backend)
        wrong = wrong_answers(run, options.seed)
        for problem in wrong:
            print(f"{rows:,} trades, {problem}", file=sys.stderr)
        if wrong:
            return 1
        print(f"{rows:,} trades: all {len(run.answers)} answers equal DuckDB's.", file=sys.stderr)
        runs.append(run)
    measured_on = machine()
    print(to_markdown(runs, measured_on))
    for path in options.out:
        render = to_json if path.suffix == ".json" else to_markdown
        path.write_text(render(runs, measured_on))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure the common workload.")
    parser.add_argument("--rows", type=int, action="append", help="trades before the first upsert; may be repeated")
    parser.add_argument("--out", type=_report_path, action="append", default=[], help="a .json or .md file to write")
    parser.add_argument("--backend", default="cpu", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--seed", type=int, default=1)
    return parser


def _report_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} ends in none of {', '.join(SUFFIXES)}")
    return path


def _measured_alone(rows: int, config: Config, seed: int, backend: str) -> Run:
    """Measure in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, rows, config, seed, backend).result()


if __name__ == "__main__":
    sys.exit(main())
