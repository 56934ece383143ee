"""Primitive aggregates: what is kept per cell, and how a commit moves it.

Floor 4. A primitive is *linear* when totals of a union are sums of totals: row counts, value counts and sums, which
take a removal by subtracting. Minima and maxima are not: a cell that loses its extreme is read again from its rows.
All primitives merge, so cells of finer levels add up to cells of coarser ones.
Source: Gray et al., Data Cube, 1997 (distributive and algebraic aggregates), https://doi.org/10.1023/A:1009726021843
"""

from __future__ import annotations

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.expression.expression import INTEGER, Expression, NumericKind
from gpu_engine.expression.flat_rows import FlatRows, Identity

__all__ = ["ROWS", "Primitive"]

_EMPTY: dict[str, dict[str, int | float]] = {
    "float64": {"min": float("inf"), "max": float("-inf")},
    "int64": {"min": 2**63 - 1, "max": -(2**63)},
}


class Primitive:
    """One number per cell: `rows`, `count`, `sum`, `min` or `max` of an expression. Equal ones are kept once."""

    __slots__ = ("_hash", "dtype", "empty", "expression", "function", "identity", "kind", "linear")

    def __init__(self, function: str, identity: tuple[object, ...] = (), expression: Expression | None = None) -> None:
        self.function = function
        self.identity = Identity(identity)
        """Identity of the bound expression; empty for `rows`."""
        self.expression = expression
        """What is aggregated; None for `rows`."""
        self.kind: NumericKind = INTEGER if expression is None or function == "count" else expression.kind
        """What numbers it holds: counts are integers, the others as their expression."""
        self.dtype: str = self.kind.dtype
        """dtype of its array of cells."""
        self.linear: bool = function not in ("min", "max")
        """Whether a removal can be subtracted."""
        self.empty: int | float = _EMPTY[self.dtype].get(function, 0)
        """What a cell without values holds."""
        self._hash = hash((function, self.identity))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Primitive) and (self.function, self.identity) == (other.function, other.identity)

    def __repr__(self) -> str:
        return self.function if self.expression is None else f"{self.function}({self.expression!r})"

    @staticmethod
    def of(function: str, expression: Expression) -> Primitive:
        """Return the primitive of a bound expression."""
        return Primitive(function, expression.identity(), expression)

    def values(self, rows: FlatRows) -> Array:
        """Return (n,) what each row brings to its cell; what is `empty` where the expression is null."""
        xp = rows.backend.xp
        if self.expression is None:
            return xp.ones(len(rows), dtype="int64")
        values = rows.evaluated(self.expression, self.identity)
        if self.function == "count":
            return xp.ones(len(rows), dtype="int64") if values.valid is None else values.valid.astype("int64")
        return values.data if values.valid is None else xp.where(values.valid, values.data, self.empty)

    def counts_all(self, rows: FlatRows) -> bool:
        """Return whether it counts every one of the rows: it is `rows`, or the count of what is null in none."""
        if self.expression is None:
            return True
        return self.function == "count" and rows.evaluated(self.expression, self.identity).valid is None

    def merge(self, backend: ArrayBackend, values: Array, group_of: Array, size: int) -> Array:
        """Return (size,) what (n,) values make together, group by group; `empty` for groups without any."""
        if self.linear:
            return backend.group_sum(values, group_of, size)
        group = backend.group_max if self.function == "max" else backend.group_min
        return group(values, group_of, size, self.empty)

    def total(self, values: Array) -> Array:
        """Return () what (n,) values, at least one, make together."""
        if self.linear:
            return values.sum(dtype=self.dtype)
        return values.max() if self.function == "max" else values.min()

    def combine(self, backend: ArrayBackend, left: Array, right: Array) -> Array:
        """Return (n,) what pairs of cells make together."""
        if self.linear:
            return left + right
        return backend.xp.maximum(left, right) if self.function == "max" else backend.xp.minimum(left, right)


ROWS = Primitive("rows")
"""Number of rows of a cell; a cell exists while it is above 0."""
