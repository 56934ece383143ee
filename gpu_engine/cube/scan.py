"""Scans: aggregates computed from the rows of a version, chunk by chunk.

Floor 4. Chunks, as large as the backend likes them, bound what a scan takes beyond its result. As many workers as the
backend has take a part of the rows each, into cells of their own; these are merged in the order of the parts, so that a
scan gives the same floats every time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.addressing import Addressing, addressing_for, readdressed
from gpu_engine.cube.cells import CellTable, place_rows
from gpu_engine.cube.numbers import Layout
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatRows, FlatView
from gpu_engine.expression.join import Reference

__all__ = ["add_rows", "level_sizes", "live_rows", "scan"]

OnPlaces = Callable[[int, Addressing, Array, Array | None], None]


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
        Gets, chunk by chunk, where the chunk starts, the addressing, the (n,) places and the (n,) rows that were
        counted there, None for all n rows from where it starts. Several threads may call it.
    """
    backend, row_count = view.root.backend, view.snapshot.table(view.root).row_count
    workers = max(1, min(backend.workers, row_count // backend.chunk_rows))
    ends = [row_count * part // workers for part in range(workers + 1)]
    tables = backend.in_parallel(
        [
            partial(_scan, view, levels, layout, condition, on_places, start, stop)
            for start, stop in itertools.pairwise(ends)
        ]
    )
    table = tables[0]
    for other in tables[1:]:
        table = _merged(table, other, levels)
    return table


def _scan(
    view: FlatView,
    levels: Sequence[Reference],
    layout: Layout,
    condition: Condition | None,
    on_places: OnPlaces | None,
    start: int,
    end: int,
) -> CellTable:
    """Return the aggregates of rows `start` to `end`."""
    backend = view.root.backend
    # Levels take their codes on the way, so the sizes known at the start may turn out too small.
    table = CellTable(backend, addressing_for(backend, level_sizes(levels)), layout)
    while start < end:
        stop = min(end, start + max(backend.chunk_rows, table.size if levels else 0))
        with backend.ignore_float_errors():
            rows, numbers = live_rows(view, start, stop, condition)
            table, places = add_rows(table, rows, levels)
        if on_places is not None:
            on_places(start, table.addressing, places, numbers)
        start = stop
    return table


def _merged(table: CellTable, other: CellTable, levels: Sequence[Reference]) -> CellTable:
    """Add the cells of another table to those of the first, in place; a level that outgrew it moves them first."""
    backend, filled = table.backend, other.backend.xp.flatnonzero(other.numbers.rows)
    if not table.addressing.fits(level_sizes(levels)):
        table = table.readdressed(addressing_for(backend, level_sizes(levels)))
    places = readdressed(filled, other.addressing, table.addressing)
    table.cover()
    for primitive in table.numbers.layout.primitives:
        held = table.numbers[primitive]
        held[places] = primitive.combine(backend, held[places], other.numbers[primitive][filled])
    return table


def live_rows(view: FlatView, start: int, stop: int, condition: Condition | None) -> tuple[FlatRows, Array | None]:
    """Return those of rows `start` to `stop` that are alive and meant, and their numbers; None if all are."""
    backend = view.root.backend
    numbers = None
    alive = view.snapshot.table(view.root).alive(slice(start, stop))
    rows = view.rows(slice(start, stop))
    if not backend.scalar(alive.all()):
        numbers = backend.xp.flatnonzero(alive) + start
        rows = view.rows(numbers)
    if condition is not None:
        held = backend.xp.flatnonzero(condition.mask(rows))
        numbers = held + start if numbers is None else numbers[held]
        rows = rows.narrowed(held, numbers)
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
    if levels:
        counted = backend.group_count(places, table.size)
        for primitive in table.numbers.layout.primitives:
            held = table.numbers[primitive]
            if primitive.counts_all(rows):
                held += counted
            else:
                merged = primitive.merge(backend, primitive.values(rows), places, table.size)
                held[:] = primitive.combine(backend, held, merged)
    elif len(rows):
        for primitive in table.numbers.layout.primitives:
            held = table.numbers[primitive][:1]
            held[:] = primitive.combine(backend, held, primitive.total(primitive.values(rows)))
    return table, places


def level_sizes(levels: Sequence[Reference]) -> list[int]:
    """Return how many codes each level has by now."""
    return [len(level.column.dictionary) for level in levels]
