"""Dimension changes: one row of a joined table changes, and 1 to 100,000 facts see it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

import gpu_engine as ge
from benchmarks.growth.curve import Curve
from benchmarks.timing import Timing

__all__ = ["measure"]


def measure(touched: Sequence[int], rows: int, commits: int, backend: str) -> list[Curve]:
    """Return what changing one product takes against the number of facts that point to it."""
    curve = Curve("dimension-changes", "One row of a dimension changes", "facts touched", "milliseconds for the commit")
    for facts in touched:
        curve.add("its price", facts, _changes(facts, max(rows, facts), "price", commits, backend))
        curve.add("its colour, a level", facts, _changes(facts, max(rows, facts), "color", commits, backend))
    return [curve]


def _changes(facts: int, rows: int, column: str, commits: int, backend: str) -> float:
    """Product 0 has so many facts, all the others share the rest."""
    numbers = np.arange(rows)
    product = np.where(numbers < facts, 0, 1 + numbers % 999)
    with ge.Session(backend=backend) as session:
        products = session.create_table(
            "products", {"id": ge.LONG, "color": ge.STRING, "price": ge.DOUBLE}, keys=["id"]
        )
        sales = session.create_table("sales", {"id": ge.LONG, "product": ge.LONG, "quantity": ge.DOUBLE}, keys=["id"])
        sales.join(products, on={"product": "id"})
        products.append(*((number, "blue", 1.0) for number in range(1000)))
        sales.load_arrow(pa.table({"id": numbers, "product": product, "quantity": np.ones(rows)}))
        cube = session.create_cube(sales, mode="manual")
        cube.hierarchies["color"] = [products["color"]]
        cube.measures["value"] = ge.agg.sum(sales["quantity"] * products["price"])
        cube.create_provider(levels=["color"], measures=["value"])
        seconds = []
        for turn in range(commits):
            changed = (0, "red", 2.0 + turn) if column == "price" else (0, "red" if turn % 2 else "green", 2.0)
            begin = time.perf_counter()
            products.append(changed)
            seconds.append(time.perf_counter() - begin)
        total = cube.query("value", mode="arrow")["value"][0].as_py()
        assert total == rows - facts + facts * changed[2], total
    return Timing.of(seconds[1:] or seconds).median
