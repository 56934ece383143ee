"""Primitive aggregates: what is kept per cell, and how a commit moves it.

Floor 4. A primitive is *linear* when totals of a union are sums of totals: row counts, value counts and sums, which
take a removal by subtracting. Minima and maxima are not: a cell that loses its extreme is read again from its rows.
All primitives merge, so cells of finer levels add up to cells of coarser ones.
Source: Gray et al., Data Cube, 1997 (distributive and algebraic aggregates), https://doi.org/10.1023/A:1009726021843
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.database.expression import INTEGER, Expression, NumericKind
from gpu_engine.database.flat_rows import FlatRows

__all__ = ["ROWS", "Primitive"]

_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)


@dataclass(frozen=True, slots=True)
class Primitive:
    """One number per cell: `rows`, `count`, `sum`, `min` or `max` of an expression. Equal ones are kept once."""

    function: str
    identity: tuple[object, ...] = ()
    """Identity of the bound expression; empty for `rows`."""
    expression: Expression | None = field(default=None, compare=False)
    """What is aggregated; None for `rows`."""

    @staticmethod
    def of(function: str, expression: Expression) -> Primitive:
        """Return the primitive of a bound expression."""
        return Primitive(function, expression.identity(), expression)

    @property
    def kind(self) -> NumericKind:
        """What numbers it holds: counts are integers, the others as their expression."""
        if self.expression is None or self.function == "count":
            return INTEGER
        return self.expression.kind

    @property
    def dtype(self) -> str:
        """dtype of its array of cells."""
        return self.kind.dtype

    @property
    def linear(self) -> bool:
        """Whether a removal can be subtracted."""
        return self.function not in ("min", "max")

    @property
    def empty(self) -> int | float:
        """What a cell without values holds."""
        if self.linear:
            return 0
        lowest = self.function == "max"
        if self.dtype == "float64":
            return float("-inf") if lowest else float("inf")
        return _INT64_MIN if lowest else _INT64_MAX

    def values(self, rows: FlatRows) -> Array:
        """Return (n,) what each row brings to its cell; what is `empty` where the expression is null."""
        xp = rows.backend.xp
        if self.expression is None:
            return xp.ones(len(rows), dtype="int64")
        values = rows.evaluated(self.expression, self.identity)
        if self.function == "count":
            return xp.ones(len(rows), dtype="int64") if values.valid is None else values.valid.astype("int64")
        return values.data if values.valid is None else xp.where(values.valid, values.data, self.empty)

    def merge(self, backend: ArrayBackend, values: Array, group_of: Array, size: int) -> Array:
        """Return (size,) what (n,) values make together, group by group; `empty` for groups without any."""
        if self.linear:
            return backend.group_sum(values, group_of, size)
        group = backend.group_max if self.function == "max" else backend.group_min
        return group(values, group_of, size, self.empty)

    def combine(self, backend: ArrayBackend, left: Array, right: Array) -> Array:
        """Return (n,) what pairs of cells make together."""
        if self.linear:
            return left + right
        return backend.xp.maximum(left, right) if self.function == "max" else backend.xp.minimum(left, right)


ROWS = Primitive("rows")
"""Number of rows of a cell; a cell exists while it is above 0."""
