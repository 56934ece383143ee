"""Hierarchies and levels: the axes along which a cube is looked at.

Floor 4. A level is a column that facts reach, dictionary-encoded, with an order for its members. A hierarchy is a list
of levels from coarse to fine. A level belongs to one hierarchy: naming it in a new one takes it out of its single-level
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.branch import MASTER
from gpu_engine.errors import AmbiguousNameError, InvalidModelError, UnknownHierarchyError, UnknownLevelError
from gpu_engine.expression.condition import Operand, Resolve
from gpu_engine.expression.expression import Field
from gpu_engine.expression.join import Reference
from gpu_engine.schema import DataType, arrow_scalar
from gpu_engine.storage.column import Values

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube
    from gpu_engine.expression.flat_rows import RowReader

__all__ = ["Hierarchies", "Hierarchy", "Level", "Levels"]

Order = str | tuple[Any, ...]


class Level(Operand):
    """One level of a hierarchy. Comparing it makes a filter."""

    def __init__(self, reference: Reference, table: str) -> None:
        self._reference, self._table = reference, table
        self._order: Order = "ascending"
        self._ranks: tuple[Order, Array] | None = None
        self.labels: tuple[Array, Any] | None = None
        """Ranks, and the members in that order as pandas labels; `frame` keeps them here."""
        self.hierarchy = ""
        """Name of the hierarchy it belongs to."""

    def __repr__(self) -> str:
        return f"Level({self.table!r}, {self.column!r})"

    @property
    def name(self) -> str:
        """The column's name; where two levels share it, `cube.levels` tells them apart by (table, column)."""
        return self._reference.column.name

    @property
    def column(self) -> str:
        """The column's name."""
        return self._reference.column.name

    @property
    def table(self) -> str:
        """Name of the table, or of the join that leads to it."""
        return self._table

    @property
    def type(self) -> DataType:
        """Type of the members."""
        return self._reference.column.type

    @property
    def reference(self) -> Reference:
        """The column as the facts reach it."""
        return self._reference

    @property
    def order(self) -> Order:
        """Order of the members: "ascending", "descending", or a sequence of members that come first. N/A is last.

        Setting it raises InvalidModelError for anything else, and TypeMismatchError for a member of another type.
        """
        return self._order

    @order.setter
    def order(self, order: str | Sequence[Any]) -> None:
        if isinstance(order, str):
            if order not in ("ascending", "descending"):
                raise InvalidModelError(f"order {order!r} of {self!r}: use 'ascending', 'descending' or a list.")
            self._order = order
        else:
            where = f"order of level {self.name!r}"
            self._order = tuple(arrow_scalar(member, self.type, where).as_py() for member in order)

    def ranks(self) -> Array:
        """Return (size + 1,) int64: the place of N/A, which is last, then of each code in the level's order."""
        ranks, dictionary = self._ranks, self._reference.column.dictionary
        if ranks is None or ranks[0] != self._order or len(ranks[1]) != len(dictionary) + 1:
            ranks = self._ranks = (self._order, self._ranked())
        return ranks[1]

    def bind(self, resolve: Resolve) -> Operand:
        """Return itself: a level is bound already."""
        return self

    def references(self) -> frozenset[Reference]:
        """Return the column."""
        return frozenset([self._reference])

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same column by the same path."""
        return ("column", self._reference)

    def evaluate(self, rows: RowReader) -> Values:
        """Return the column's values."""
        return rows.values(self._reference)

    def _ranked(self) -> Array:
        dictionary = self._reference.column.dictionary
        ranks = dictionary.ranks()
        backend = self._reference.column.backend
        xp, size = backend.xp, len(ranks)
        if self._order == "descending":
            ranks = size - 1 - ranks
        elif not isinstance(self._order, str):
            values = dictionary.values(size)
            first = [values.index(arrow_scalar(member, self.type, "order")).as_py() for member in self._order]
            ranks = ranks + len(first)
            for rank, code in enumerate(first):
                if code >= 0:
                    ranks[code] = rank
            ranks = xp.argsort(xp.argsort(ranks))  # without gaps, so that their number bounds them
        return xp.concatenate([xp.full(1, size, dtype="int64"), ranks])


class Hierarchy:
    """Levels from coarse to fine."""

    def __init__(self, cube: Cube, name: str, levels: Sequence[Level]) -> None:
        self._cube, self.name, self.levels = cube, name, tuple(levels)
        self._slicing = False

    def __repr__(self) -> str:
        return f"Hierarchy({self.name!r}, {[level.name for level in self.levels]})"

    @property
    def slicing(self) -> bool:
        """Whether its members do not add up: a query that names none of its levels takes the first member in order."""
        return self._slicing

    @slicing.setter
    def slicing(self, slicing: bool) -> None:
        if slicing:
            self._cube.member_provider(self.levels[:1])
        self._slicing = slicing

    def members(self, branch: str = MASTER, epoch: int | None = None) -> dict[tuple[Any, ...], int]:
        """Return the paths that facts have at a version, in order, with the number of facts of each.

        Of the head, which is the default, they are kept by deltas from the first call on.

        Raises
        ------
        UnknownBranchError, EpochNotRetainedError
            If the version cannot be read.
        """
        return self._cube.members(self.levels, branch, epoch)


class Levels(Mapping[str, Level]):
    """Levels of a cube by column name; where that is not clear by (table, column), or by the path of joins to it."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self._hierarchies = hierarchies

    def __getitem__(self, name: Any) -> Level:
        """Return a level.

        Raises
        ------
        UnknownLevelError
            If no hierarchy has it.
        AmbiguousNameError
            If levels of several tables bear the name.
        """
        levels = list(self._all())
        if isinstance(name, Level):
            if any(level is name for level in levels):
                return name
            name = (name.table, name.column)
        parts = name if isinstance(name, tuple) else (name,)
        shown = ".".join(map(str, parts))
        found = []
        if all(isinstance(part, str) for part in parts):
            found = [level for level in levels if name in ((level.table, level.name), level.name, level.reference.path)]
        if not found:
            raise UnknownLevelError(shown, list(dict.fromkeys(self)), self._hierarchies.where)
        if len(found) > 1:
            pairs = [repr((level.table, level.name)) for level in found]
            told_apart = pairs if len(set(pairs)) == len(pairs) else [repr(level.reference.path) for level in found]
            raise AmbiguousNameError("level", shown, told_apart)
        return found[0]

    def __iter__(self) -> Iterator[str]:
        names = [level.name for level in self._all()]
        return iter(dict.fromkeys(names))

    def __len__(self) -> int:
        return len({level.name for level in self._all()})

    def all(self) -> tuple[Level, ...]:
        """Return every level, also those that share a name."""
        return tuple(self._all())

    def _all(self) -> list[Level]:
        return [level for hierarchy in self._hierarchies.values() for level in hierarchy.levels]


class Hierarchies(MutableMapping[str, Hierarchy]):
    """Hierarchies of a cube by name. Assign a list of levels or columns to make one."""

    def __init__(self, cube: Cube) -> None:
        self._cube = cube
        self._by_name: dict[str, Hierarchy] = {}

    @property
    def where(self) -> str:
        """How errors name the cube."""
        return f"cube {self._cube.name!r}"

    def __getitem__(self, name: str) -> Hierarchy:
        """Return a hierarchy; UnknownHierarchyError if there is none of that name."""
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            raise UnknownHierarchyError(str(name), self._by_name, self.where) from None

    def __setitem__(self, name: str, levels: Any) -> None:
        """Make a hierarchy of levels or columns, coarse to fine; their single-level hierarchies go.

        Raises
        ------
        InvalidModelError
            If there is no level, one comes twice or belongs to another hierarchy of several levels.
        UnknownColumnError, AmbiguousNameError
            If a column is not found, or not clear.
        """
        given: list[Level | Field] = [levels] if isinstance(levels, Level | Field) else list(levels)
        if not given:
            raise InvalidModelError(f"hierarchy {name!r} needs at least one level.")
        made = [self._cube.level(item) for item in given]
        if len({level.reference for level in made}) != len(made):
            raise InvalidModelError(f"hierarchy {name!r}: a level comes twice in {made}.")
        others = {}
        for other in self._by_name.values():
            shared = [level for level in made if any(level.reference == own.reference for own in other.levels)]
            if shared and len(other.levels) > 1 and other.name != name:
                raise InvalidModelError(f"hierarchy {name!r}: {shared[0]!r} belongs to hierarchy {other.name!r}.")
            if not shared and other.name != name:
                others[other.name] = other
        for level in made:
            level.hierarchy = name
        self._by_name = {**others, name: Hierarchy(self._cube, name, made)}

    def __delitem__(self, name: str) -> None:
        """Remove a hierarchy and its levels from the cube."""
        gone = self[name].name
        self._by_name = {other: hierarchy for other, hierarchy in self._by_name.items() if other != gone}

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)
