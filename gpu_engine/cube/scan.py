"""Scans: aggregates computed from the rows of a version, chunk by chunk.

Floor 4. Chunks, as large as the backend likes them, bound what a scan takes beyond its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.addressing import Addressing, addressing_for
from gpu_engine.cube.cells import CellTable, place_rows
from gpu_engine.cube.numbers import Layout
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatRows, FlatView
from gpu_engine.expression.join import Reference

__all__ = ["add_rows", "level_sizes", "scan"]

OnPlaces = Callable[[Addressing, Array, Array], None]


def scan(
    view: FlatView,
    levels: Sequence[Reference],
    layout: Layout,
    condition: Condition | None = None,
    on_places: OnPlaces | None = None,
) -> CellTable:
    """Return the aggregates of all rows alive in the view that satisfy the condition.

    Parameters
    ----------
    on_places : callable
        Gets, chunk by chunk, the addressing, the (n,) places and the (n,) rows that were counted there.
    """
    backend, version = view.root.backend, view.snapshot.table(view.root)
    # Levels take their codes on the way, so the sizes known at the start may turn out too small.
    table = CellTable(backend, addressing_for(backend, level_sizes(levels)), layout)
    start = 0
    while start < version.row_count:
        stop = min(version.row_count, start + max(backend.chunk_rows, table.size if levels else 0))
        with backend.ignore_float_errors():
            rows, numbers = _chunk(view, start, stop, condition)
            table, places = add_rows(table, rows, levels)
        if on_places is not None:
            on_places(table.addressing, places, backend.xp.arange(start, stop) if numbers is None else numbers)
        start = stop
    return table


def _chunk(view: FlatView, start: int, stop: int, condition: Condition | None) -> tuple[FlatRows, Array | None]:
    """Return the rows of a chunk that are alive and meant, and their numbers; None if they are all of them."""
    backend = view.root.backend
    numbers = None
    alive = view.snapshot.table(view.root).alive(slice(start, stop))
    rows = view.rows(slice(start, stop))
    if not backend.scalar(alive.all()):
        numbers = backend.xp.flatnonzero(alive) + start
        rows = view.rows(numbers)
    if condition is not None:
        held = condition.mask(rows)
        numbers = backend.xp.flatnonzero(held) + start if numbers is None else numbers[held]
        rows = view.rows(numbers)
    return rows, numbers


def add_rows(table: CellTable, rows: FlatRows, levels: Sequence[Reference]) -> tuple[CellTable, Array]:
    """Add rows to the cells in place; a level that outgrew the addressing moves the cells first.

    Returns
    -------
    CellTable, (n,) int64
        The table, perhaps another one, and the place of each row.
    """
    backend = rows.backend
    for level in levels:
        rows.codes(level)
    if not table.addressing.fits(level_sizes(levels)):
        table = table.readdressed(addressing_for(backend, level_sizes(levels)))
    places = place_rows(table.addressing, rows, levels)
    table.cover()
    for primitive in table.numbers.layout.primitives:
        held, values = table.numbers[primitive], primitive.values(rows)
        if levels:
            held[:] = primitive.combine(backend, held, primitive.merge(backend, values, places, table.size))
        elif len(rows):
            held[:1] = primitive.combine(backend, held[:1], primitive.total(backend, values))
    return table, places


def level_sizes(levels: Sequence[Reference]) -> list[int]:
    """Return how many codes each level has by now."""
    return [len(level.column.dictionary) for level in levels]
