"""Audits: the cells of a provider against the same cells computed anew from the rows, at one version.

Floor 4. The version is held, so both sides show the same epoch while commits go on; no lock is held but to copy the
cells where commits outran the history. Counts, sums of integers and decimals, minima and maxima must be equal.

A sum of floats depends on the order of its additions. Adding n numbers errs by at most n u times the sum of their
magnitudes (u = 2**-53), and both sides do so; each commit that moved the cell rounded once more, while the cell held
values that may be gone. Those are taken to be no larger than the largest value there is, hence the tolerance
2 u (rows + commits) (sum of magnitudes in the cell + largest magnitude in the provider). A sum that is further off than
that lost digits to values far larger than those left, or is wrong. Nothing is replaced: a reader of an epoch gets the
same numbers at any time, and a live query is told of every number that changes, which a silent correction would break.
Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 4.2.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.aggregate import Primitive
from gpu_engine.cube.cells import CellSet, paired_cells
from gpu_engine.cube.numbers import Layout
from gpu_engine.cube.provider import AggregateProvider
from gpu_engine.cube.scan import scan
from gpu_engine.database.commit import Version
from gpu_engine.database.database import Database
from gpu_engine.expression.flat_rows import FlatRows, FlatView
from gpu_engine.storage.column import decode

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube

__all__ = ["CellDifference", "ProviderAudit", "audit_provider"]

MOST_NAMED = 10
"""Differences of a provider that a report names."""

_EPSILON = 2.0**-52


@dataclass(frozen=True, slots=True)
class CellDifference:
    """One number of one cell that is not what its rows give."""

    cell: Mapping[str, Any]
    """Path of a level -> member, None for N/A."""
    aggregate: str
    """The primitive aggregate, such as "rows" or "sum(quantity)"."""
    held: int | float | Decimal
    """What the provider has; of a cell that it does not have, what a cell without rows holds."""
    recomputed: int | float | Decimal
    """What the rows give."""
    tolerance: float
    """How far apart the two may be; 0 for all but sums of floats."""


@dataclass(frozen=True, slots=True)
class ProviderAudit:
    """What an audit of one provider has found."""

    cube: str
    provider: str
    """Its name: the levels."""
    branch: str
    epoch: int
    """The epoch that was compared."""
    cells: int
    """Cells compared: those that the provider or the rows have."""
    different_cells: int
    """Cells of which some number differs."""
    differences: tuple[CellDifference, ...]
    """The first `MOST_NAMED` differences."""
    largest_drift: float
    """Largest distance between a finite sum of floats and the one recomputed, whether tolerated or not."""
    seconds: float


class _Magnitude(Primitive):
    """The sum or the maximum of the magnitudes of what each row brings to a sum."""

    __slots__ = ("_summed",)

    def __init__(self, function: str, summed: Primitive) -> None:
        super().__init__(function, ("magnitude", summed.function, *summed.identity.value), summed.expression)
        self._summed = summed

    def values(self, rows: FlatRows) -> Array:
        """Return (n,) float64 magnitudes, 0 where the expression is null."""
        return abs(self._summed.values(rows))


def audit_provider(cube: Cube, provider: AggregateProvider) -> ProviderAudit | None:
    """Return how a provider differs from its rows at the head of its branch; None if it has ended meanwhile.

    Notes
    -----
    Costs one scan of the facts, and memory for two more copies of the cells.
    """
    started = time.perf_counter()
    pinned = _cells_at_head(cube.database, provider)
    if pinned is None:
        return None
    version, cells = pinned
    sums = [one for one in provider.primitives if one.linear and one.dtype == "float64"]
    magnitudes = [_Magnitude(function, one) for one in sums for function in ("sum", "max")]
    layout = Layout([*provider.primitives, *magnitudes])
    table = scan(FlatView(version, cube.root), provider.levels, layout, provider.condition)
    held, anew = paired_cells(cells, CellSet.filled(table, table.numbers, provider.levels))
    with provider.backend.ignore_float_errors():
        found = _Comparison(provider, held, anew)
    return ProviderAudit(
        cube.name,
        provider.name,
        version.branch,
        version.epoch,
        len(held),
        found.different_cells,
        tuple(found.named()),
        found.largest_drift,
        time.perf_counter() - started,
    )


def _cells_at_head(database: Database, provider: AggregateProvider) -> tuple[Version, CellSet] | None:
    """Return the newest version of the provider's branch and the cells there."""
    branch = database.branches.get(provider.branch)
    if branch is None or provider.ended:
        return None
    version = branch.head
    cells = provider.read(version.epoch) if provider.covers(version) else None
    if cells is None:
        with database.writing():
            version = branch.head
            cells = provider.read(version.epoch) if provider.covers(version) else None
    # One that was released meanwhile may have missed the commits up to the head.
    follows = provider in database.followers(provider.branch)
    return (version, cells) if follows and cells is not None else None


class _Comparison:
    """Two lists of the same cells, number by number."""

    def __init__(self, provider: AggregateProvider, held: CellSet, anew: CellSet) -> None:
        self._held, self._anew = held, anew
        self._backend: ArrayBackend = provider.backend
        self._primitives = held.numbers.layout.primitives
        self._operations = held.numbers.rows + anew.numbers.rows + provider.statistics().commits
        xp = self._backend.xp
        self._tolerances: dict[Primitive, Array] = {}
        self._wrong: dict[Primitive, Array] = {}
        self._any = xp.zeros(len(held), dtype="bool")
        self.largest_drift = 0.0
        for primitive in self._primitives:
            wrong = self._wrong[primitive] = ~self._equal(primitive)
            self._any |= wrong
        self.different_cells = int(self._backend.scalar(self._any.sum()))

    def _equal(self, primitive: Primitive) -> Array:
        ours, theirs = self._held.numbers[primitive], self._anew.numbers[primitive]
        same = (ours == theirs) | ((ours != ours) & (theirs != theirs))
        if primitive.linear and primitive.dtype == "float64" and len(self._held):
            xp = self._backend.xp
            finite = xp.isfinite(ours) & xp.isfinite(theirs)
            distance = xp.where(finite, abs(ours - theirs), 0.0)
            self.largest_drift = max(self.largest_drift, float(self._backend.scalar(distance.max())))
            tolerance = self._tolerances[primitive] = self._tolerance(primitive)
            same |= finite & (distance <= tolerance)
        return same

    def _tolerance(self, primitive: Primitive) -> Array:
        """Return (n,) float64: how far the sums of each cell may be apart; see the module."""
        xp = self._backend.xp
        total = self._anew.numbers[_Magnitude("sum", primitive)]
        largest = self._anew.numbers[_Magnitude("max", primitive)]
        return _EPSILON * self._operations * (total + xp.where(xp.isfinite(largest), largest, 0.0).max())

    def named(self) -> list[CellDifference]:
        """Return the first differences, cell by cell."""
        places = self._backend.xp.flatnonzero(self._any)[:MOST_NAMED]
        if not len(places):
            return []
        members = {
            level.path: decode(self._backend, level.column.dictionary, codes[places]).to_pylist()
            for level, codes in self._held.codes.items()
        }
        wrong = {one: self._listed(marks, places) for one, marks in self._wrong.items()}
        held, anew, tolerances = (
            {one: self._listed(numbers[one], places) for one in marked}
            for numbers, marked in (
                (self._held.numbers, self._primitives),
                (self._anew.numbers, self._primitives),
                (self._tolerances, self._tolerances),
            )
        )
        named = [
            CellDifference(
                {path: column[cell] for path, column in members.items()},
                repr(one),
                _shown(one, held[one][cell]),
                _shown(one, anew[one][cell]),
                tolerances[one][cell] if one in tolerances else 0.0,
            )
            for cell in range(len(places))
            for one in self._primitives
            if wrong[one][cell]
        ]
        return named[:MOST_NAMED]

    def _listed(self, numbers: Array, places: Array) -> list[Any]:
        listed: list[Any] = self._backend.to_host(numbers[places]).tolist()
        return listed


def _shown(primitive: Primitive, number: int | float) -> int | float | Decimal:
    """Return the number as users know it: a decimal is kept as a scaled integer."""
    kind = primitive.kind
    return Decimal(number).scaleb(-kind.scale) if kind.name == "decimal" and number != primitive.empty else number
