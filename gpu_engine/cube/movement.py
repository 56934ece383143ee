"""Movement: what a commit does to the numbers of the cells that it touches, as far as differences say it.

Floor 4. Sums and counts take what enters and leaves. An extreme takes what enters; whether it survives what leaves is
known from the numbers alone in all but the cells that may have lost it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.cube.aggregate import Primitive
from gpu_engine.cube.cells import CellTable
from gpu_engine.cube.contribution import Contribution
from gpu_engine.cube.numbers import Layout, Numbers

__all__ = ["Movement", "move_cells"]


@dataclass(frozen=True, slots=True)
class Movement:
    """The numbers of the k touched cells."""

    before: Numbers
    after: Numbers
    """Those to be read again are not right yet."""
    entering: Mapping[Primitive, Array]
    """Extreme -> (k,) the best of what enters, or stays in, each cell."""
    again: Mapping[tuple[Primitive, ...], Array]
    """Primitives -> places among the k cells where these must be read again from the rows."""


def move_cells(contribution: Contribution, table: CellTable, extremes: Sequence[Primitive]) -> Movement:
    """Return the numbers of the touched cells before and after a commit, and which must be read again where.

    An extreme must if the rows that left may have held it; a sum if it is not finite: what made it so may be gone.
    """
    backend, layout = table.backend, table.numbers.layout
    xp, floats = backend.xp, layout.linear_floats
    added = contribution.sums(floats, layout.linear_integers)
    before, after = table.numbers.summed(backend, contribution.places, added)
    sums = after.floats[:, : len(floats)]
    emptied = after.integers == 0
    # One wait for the device tells whether anything needs a second look.
    unusual = backend.scalar(emptied.any() | ~xp.isfinite(sums.sum()))
    broken = ~xp.isfinite(sums).all(axis=1) if unusual and floats else None
    lost, entering = None, {}
    for primitive in extremes:
        came, leaving = contribution.entering(primitive), contribution.leaving(primitive)
        held, entering[primitive] = before[primitive], came
        after[primitive][:] = primitive.combine(backend, held, came)
        gone = ~_beyond(primitive, held, leaving) & ~_reaches(primitive, came, held)
        lost = gone if lost is None else lost | gone
    if unusual:
        _clear_empty(layout, after, emptied)
    again = {}
    for primitives, marks in ((tuple(extremes), lost), (floats, broken)):
        cells = (marks & (after.rows > 0)).nonzero()[0] if marks is not None else ()
        if len(cells):
            again[primitives] = cells
    return Movement(before, after, entering, again)


def _clear_empty(layout: Layout, after: Numbers, emptied: Array) -> None:
    """Let cells without values, where their count is `emptied`, hold exactly what they held before they had any."""
    for counted in [one for one in layout.integers if one.function == "count"]:
        without = emptied[:, layout.column(counted)]
        for primitive in layout.primitives:
            if primitive.identity == counted.identity and primitive != counted:
                after[primitive][without] = primitive.empty


def _beyond(primitive: Primitive, extreme: Array, values: Array) -> Array:
    """Return where `extreme` is strictly beyond `values`, so that losing them does not touch it."""
    return values < extreme if primitive.function == "max" else values > extreme


def _reaches(primitive: Primitive, values: Array, extreme: Array) -> Array:
    """Return where `values` reach `extreme`, so that it stays or is passed."""
    return values >= extreme if primitive.function == "max" else values <= extreme
