"""Contenders: which rows come next where cells have lost their minimum or maximum.

Floor 4. A cell that loses its extreme is read again from its own rows. If those are many, the best of them are kept, in
order, beside a bound that no other row of the cell is beyond. The next time the best contender that is still alive is
the answer, if it is not short of the bound; only if it is, or none is left, the cell is read again. Rows that enter the
cell later are no contenders: they move the bound. So a cell from which one extreme after the other is taken is read
once in `KEPT` times. Used by the writer only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.aggregate import Primitive
from gpu_engine.storage.growable import GrowableArray

__all__ = ["Contenders", "Ranking"]

KEPT = 32
"""Contenders of a cell."""
WORTH_ROWS = 64
"""Rows from which on a cell has contenders; to read fewer again costs no more than asking."""

Ranking = Mapping[Primitive, tuple[Array, Array, Array]]
"""Primitive -> (k, KEPT) int64 rows, best first and -1 for none; (k, KEPT) their values; (k,) the bound."""


class Contenders:
    """For each extreme the rows next in line, in cells by place."""

    def __init__(self, backend: ArrayBackend, extremes: Sequence[Primitive]) -> None:
        self._backend, self._extremes = backend, tuple(extremes)
        self._slots = GrowableArray(backend, "int32", fill=-1)
        """place -> the cell's line in the arrays below, -1 for none."""
        self._lines = 0
        self._rows = {one: GrowableArray(backend, "int32", width=KEPT, fill=-1) for one in extremes}
        self._values = {one: GrowableArray(backend, one.dtype, width=KEPT) for one in extremes}
        self._bounds = {one: GrowableArray(backend, one.dtype) for one in extremes}

    def __len__(self) -> int:
        """Return how many cells have had contenders."""
        return self._lines

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = [*self._rows.values(), *self._values.values(), *self._bounds.values()]
        return self._slots.nbytes + sum([array.nbytes for array in arrays])

    def next_in_line(self, places: Array, alive: Callable[[Array], Array]) -> tuple[dict[Primitive, Array], Array]:
        """Return the extremes of (k,) cells without the rows that have just come, and (k,) bool where they are known.

        Parameters
        ----------
        alive : tells of (n,) int64 rows which are still in their cells
        """
        xp = self._backend.xp
        lines = self._lines_of(places)
        known = lines >= 0
        lines = xp.maximum(lines, 0)
        found = {}
        for one in self._extremes:
            rows = self._rows[one].buffer[lines]
            running = (rows >= 0) & alive(xp.maximum(rows, 0).ravel().astype("int64")).reshape(rows.shape)
            values = xp.where(running, self._values[one].buffer[lines], one.empty)
            best = found[one] = values.max(axis=1) if one.function == "max" else values.min(axis=1)
            bound = self._bounds[one].buffer[lines]
            known &= running.any(axis=1) & ((best >= bound) if one.function == "max" else (best <= bound))
        return found, known

    def rank(self, rows: Array, group_of: Array, values: Mapping[Primitive, Array], size: int) -> tuple[Array, Ranking]:
        """Return (k,) which of the `size` groups have rows enough to have contenders, and those of each.

        Parameters
        ----------
        rows, group_of : (n,) rows of cells, and which of the cells each lies in
        values : per extreme (n,) what the rows bring to it
        """
        xp, backend = self._backend.xp, self._backend
        counts = backend.group_count(group_of, size)
        chosen = (counts >= WORTH_ROWS).nonzero()[0]
        ends = xp.cumsum(counts)[chosen]
        starts = ends - counts[chosen]
        offsets = xp.arange(KEPT + 1)
        ranking = {}
        for one in self._extremes:
            by_value = xp.argsort(values[one])
            order = by_value[backend.order_by_code(group_of[by_value], size)]
            if one.function == "max":
                places = ends[:, None] - 1 - offsets
                inside = places >= starts[:, None]
            else:
                places = starts[:, None] + offsets
                inside = places < ends[:, None]
            ranked = order[xp.where(inside, places, 0)]
            best = xp.where(inside, values[one][ranked], one.empty)
            line = xp.where(inside, rows[ranked], -1)
            ranking[one] = line[:, :KEPT], best[:, :KEPT], best[:, KEPT]
        return chosen, ranking

    def reserve(self, size: int, count: int) -> None:
        """Make room for so many places, and for so many cells more, so that nothing below can fail."""
        self._slots.resize(max(size, self._slots.length))
        for arrays in (self._rows, self._values, self._bounds):
            for array in arrays.values():
                array.reserve(self._lines + count)

    def enter(self, places: Array, entering: Mapping[Primitive, Array]) -> None:
        """Take in that rows have come into (k,) distinct cells: per extreme (k,) the best of them."""
        lines = self._lines_of(places)
        known = (lines >= 0).nonzero()[0]
        lines = lines[known]
        for one in self._extremes:
            bounds = self._bounds[one].buffer
            bounds[lines] = one.combine(self._backend, bounds[lines], entering[one][known])

    def forget(self, places: Array) -> None:
        """Have no contenders in (k,) distinct cells: their rows may have other values, or have left."""
        lines = self._lines_of(places)
        lines = lines[(lines >= 0).nonzero()[0]]
        for rows in self._rows.values():
            rows.buffer[lines] = -1

    def take(self, places: Array, ranking: Ranking) -> None:
        """Let (k,) distinct cells have these contenders; there is room for them."""
        if not len(places):
            return
        lines = self._lines_of(places)
        fresh = (lines < 0).nonzero()[0]
        lines[fresh] = self._backend.xp.arange(self._lines, self._lines + len(fresh))
        self._slots.buffer[places] = lines
        self._lines += len(fresh)
        for one, (rows, values, bounds) in ranking.items():
            self._rows[one].resize(self._lines)
            self._values[one].resize(self._lines)
            self._bounds[one].resize(self._lines)
            self._rows[one].buffer[lines] = rows
            self._values[one].buffer[lines] = values
            self._bounds[one].buffer[lines] = bounds

    def renumber(self, new_of: Array) -> None:
        """Go by new row numbers: `new_of` gives that of each old row, -1 where it is gone."""
        xp = self._backend.xp
        for rows in self._rows.values():
            known = rows.buffer[: self._lines]
            rows.buffer[: self._lines] = xp.where(known >= 0, new_of[xp.maximum(known, 0)], -1)

    def _lines_of(self, places: Array) -> Array:
        """Return (k,) int32 the lines of cells, -1 for none."""
        xp, known = self._backend.xp, self._slots.length
        if not self._lines:
            return xp.full(len(places), -1, dtype="int32")
        return xp.where(places < known, self._slots.buffer[xp.minimum(places, known - 1)], -1)
