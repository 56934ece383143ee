"""Draw the curves: `python -m benchmarks.growth --out docs/images [curve ...]`; BENCH_SMALL=1 proves that it works."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.growth import cells, deletions, dimension_changes, live_queries, table_size
from benchmarks.growth.curve import Curve
from benchmarks.growth.plot import draw, to_markdown

__all__ = ["main"]

Measure = Callable[[str], list[Curve]]

FULL: dict[str, Measure] = {
    "table-size": lambda backend: table_size.measure(
        (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000), 200, backend
    ),
    "live-queries": lambda backend: live_queries.measure((1, 3, 10, 30, 100, 300, 1_000), 300_000, 100, backend),
    "cells": lambda backend: cells.measure((100, 1_000, 10_000, 100_000, 1_000_000), 1_000_000, 200, backend),
    "deletions": lambda backend: deletions.measure((10_000, 100_000, 1_000_000, 10_000_000), 90, backend),
    "dimension-changes": lambda backend: dimension_changes.measure(
        (1, 10, 100, 1_000, 10_000, 100_000), 1_000_000, 30, backend
    ),
}
SMALL: dict[str, Measure] = {
    "table-size": lambda backend: table_size.measure((1_000, 2_000), 2, backend),
    "live-queries": lambda backend: live_queries.measure((1, 2), 1_000, 2, backend),
    "cells": lambda backend: cells.measure((10, 100), 1_000, 2, backend),
    "deletions": lambda backend: deletions.measure((500, 1_000), 2, backend),
    "dimension-changes": lambda backend: dimension_changes.measure((1, 10), 1_000, 3, backend),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write the plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="Draw how costs grow.")
    parser.add_argument("curves", nargs="*", metavar="curve", help=f"some of {', '.join(FULL)}; all by default")
    parser.add_argument("--out", type=Path, help="folder for the plots")
    parser.add_argument("--backend", default="cpu", choices=("auto", "cpu", "gpu"))
    options = parser.parse_args(arguments)
    measures = SMALL if os.environ.get("BENCH_SMALL") == "1" else FULL
    unknown = set(options.curves) - set(measures)
    if unknown:
        parser.error(f"no such curve: {', '.join(sorted(unknown))}; there are {', '.join(measures)}")
    for name in options.curves or measures:
        for curve in measures[name](options.backend):
            print(to_markdown(curve))
            if options.out is not None:
                options.out.mkdir(parents=True, exist_ok=True)
                print(draw(curve, options.out), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
