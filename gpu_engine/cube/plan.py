"""Plans: the smallest provider that covers a query, else a scan of the facts at that version.

Floor 4. A provider covers a query if it has its levels, those of its filter and its aggregates, and counts either all
facts or just those that the filter asks for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_engine.cube.cells import CellSet
from gpu_engine.cube.numbers import Layout
from gpu_engine.cube.provider import AggregateProvider
from gpu_engine.cube.query import Query
from gpu_engine.cube.scan import scan
from gpu_engine.database.commit import Version
from gpu_engine.expression.flat_rows import FlatView

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube

__all__ = ["Explanation", "answer_cells"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a query was answered."""

    source: str
    """"provider" or "scan"."""
    provider: str | None
    """Name of the provider that was read."""
    cells: int
    """Cells of the answer, totals not counted."""
    rows_read: int
    """Rows of facts that were read; 0 from a provider."""
    milliseconds: float
    """Time for the cells, without turning them into a frame."""


def answer_cells(cube: Cube, query: Query, version: Version) -> tuple[list[CellSet], Explanation]:
    """Return the cells of a query by its levels and, if totals are asked for, by each shorter list of them."""
    started = time.perf_counter()
    source, rows_read = "provider", 0
    provider, cells = _from_provider(cube.providers, query, version)
    if cells is None:
        source, provider = "scan", None
        view = FlatView(version, cube.root)
        table = scan(view, query.cell_levels, Layout(query.primitives), query.condition)
        cells = CellSet.filled(table, table.numbers, query.cell_levels)
        rows_read = version.table(cube.root).row_count
    cells = sliced(cube, query, cells, version)
    milliseconds = (time.perf_counter() - started) * 1e3
    explanation = Explanation(source, None if provider is None else provider.name, len(cells), rows_read, milliseconds)
    return [cells, *totals_of(query, cells)], explanation


def sliced(cube: Cube, query: Query, cells: CellSet, version: Version) -> CellSet:
    """Return the cells at the first member of each slicer."""
    if not query.slicers:
        return cells
    held = cells.backend.xp.ones(len(cells), dtype="bool")
    for slicer in query.slicers:
        held &= cells.codes[slicer.reference] == cube.first_member(slicer, version)
    named = [level for level in cells.codes if level not in [slicer.reference for slicer in query.slicers]]
    return cells.take(cells.backend.xp.flatnonzero(held)).at(named)


def totals_of(query: Query, cells: CellSet) -> list[CellSet]:
    """Return the cells by each shorter list of levels, down to none; nothing if no totals are asked for."""
    if not query.totals:
        return []
    parts = [cells]
    for depth in reversed(range(len(query.levels))):
        parts.append(parts[-1].roll_up([level.reference for level in query.levels[:depth]]))
    return parts[1:]


def _from_provider(
    providers: Iterable[AggregateProvider], query: Query, version: Version
) -> tuple[AggregateProvider | None, CellSet | None]:
    fitting = [provider for provider in providers if provider.covers(version) and _covers(provider, query)]
    for provider in sorted(fitting, key=lambda one: one.size):
        cells = provider.read(version.epoch)
        if cells is None:
            continue
        if query.condition is not None and provider.condition is None:
            cells = cells.take(cells.backend.xp.flatnonzero(query.condition.mask(cells.reader())))
        if set(provider.levels) != set(query.cell_levels):
            cells = cells.roll_up(query.cell_levels)
        return provider, cells
    return None, None


def _covers(provider: AggregateProvider, query: Query) -> bool:
    needed = set(query.cell_levels)
    if provider.condition is not None:
        if query.condition is None or query.condition.identity() != provider.condition.identity():
            return False
    elif query.condition is not None:
        needed |= query.condition.references()
    return needed <= set(provider.levels) and query.primitives <= provider.primitives
