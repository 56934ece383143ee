"""Measure engines on the common workload, check every answer against DuckDB, and write the figures side by side.

    python -m benchmarks.run --rows 1000000,5000000 --engines all --out figures.json --out figures.md

BENCH_SMALL=1, or few rows, gives a tiny run that only proves that everything works.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from benchmarks.check import wrong_answers
from benchmarks.config import FULL, SMALL, chosen
from benchmarks.measure import Run, measure
from benchmarks.measure_peer import measure_peer
from benchmarks.peers import PEERS, installed
from benchmarks.report import machine, to_json, to_markdown

__all__ = ["main"]

OURS = "gpu_engine"
SUFFIXES = (".json", ".md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return 1, and report no time, if an answer is wrong."""
    options = _parser().parse_args(arguments)
    sizes = options.rows or (SMALL if os.environ.get("BENCH_SMALL") == "1" else FULL).rows
    runs = []
    for rows, engine in product(sizes, options.engines):
        run = _measured_alone(engine, rows, options)
        wrong = wrong_answers(run, options.seed)
        for problem in wrong:
            print(f"{rows:,} trades, {run.engine}, {problem}", file=sys.stderr)
        if wrong:
            return 1
        print(f"{rows:,} trades, {run.engine}: all {len(run.answers)} answers equal DuckDB's.", file=sys.stderr)
        runs.append(run)
        _write(runs, options.out)
    print(to_markdown(runs, machine()))
    return 0


def _write(runs: Sequence[Run], paths: Sequence[Path]) -> None:
    """Write what has been measured so far: who ends a long run early keeps the rest."""
    for path in paths:
        render = to_json if path.suffix == ".json" else to_markdown
        path.write_text(render(runs, machine()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure the common workload.")
    parser.add_argument(
        "--rows", type=_sizes, default=(), help="trades before the first upsert, such as 1000000,5000000"
    )
    parser.add_argument(
        "--engines", type=_engines, default=(OURS,), help=f"'all', or some of {', '.join((OURS, *PEERS))}"
    )
    parser.add_argument("--out", type=_report_path, action="append", default=[], help="a .json or .md file to write")
    parser.add_argument("--backend", default="cpu", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--seed", type=int, default=1)
    return parser


def _report_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} ends in none of {', '.join(SUFFIXES)}")
    return path


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _engines(text: str) -> tuple[str, ...]:
    """Return the engines asked for: 'all' means those that are installed, a name one that has to be."""
    if text == "all":
        return (OURS, *filter(installed, PEERS))
    names = tuple(text.split(","))
    for name in names:
        if name != OURS and (name not in PEERS or not installed(name)):
            known = ", ".join((OURS, *filter(installed, PEERS)))
            raise argparse.ArgumentTypeError(f"{name!r} is none of the engines that are installed here: {known}")
    return names


def _measured_alone(engine: str, rows: int, options: argparse.Namespace) -> Run:
    """Measure in a process of its own."""
    config = chosen(rows)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        if engine == OURS:
            return pool.submit(measure, rows, config, options.seed, options.backend).result()
        return pool.submit(measure_peer, engine, rows, config, options.seed).result()


if __name__ == "__main__":
    sys.exit(main())
