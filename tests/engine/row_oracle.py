"""Rows of three joined tables with columns of every type, and conditions on them, in plain Python.

The oracle of the query tests. It shares no code with the engine. A condition is a tree of nodes, each of which says
what it means twice: as the engine's condition and as a predicate on a row of the oracle.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import gpu_engine as ge

Key = tuple[Any, ...]
Row = Mapping[str, Any]
State = Mapping[str, Mapping[Key, Row]]
Get = Callable[[str], Any]
"""Reads a row by path; None where there is nothing."""

OPERATORS = {"==": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
FLOATS = (ge.FLOAT, ge.DOUBLE)

VALUED: Mapping[str, ge.DataType] = {
    "text": ge.STRING,
    "other": ge.STRING,
    "flag": ge.BOOLEAN,
    "small": ge.INT,
    "big": ge.LONG,
    "single": ge.FLOAT,
    "real": ge.DOUBLE,
    "money": ge.DECIMAL(10, 2),
    "fine": ge.DECIMAL(18, 4),
    "day": ge.LOCAL_DATE,
    "at": ge.TIMESTAMP,
    "pair": ge.VECTOR(2),
}
TYPES: Mapping[str, Mapping[str, ge.DataType]] = {
    "facts": {"id": ge.LONG, "leg": ge.STRING, "since": ge.LOCAL_DATE, "Item": ge.STRING, **VALUED},
    "items": {"item": ge.STRING, "Maker": ge.INT, **VALUED},
    "makers": {"maker": ge.INT, **VALUED},
}
KEYS: Mapping[str, tuple[str, ...]] = {"facts": ("id", "leg", "since"), "items": ("item",), "makers": ("maker",)}
LINKS = {"facts": ("made", "Item", "items"), "items": ("maker", "Maker", "makers")}
"""Table -> name of its join, the column it goes by, the table it leads to."""
PATHS: Mapping[str, ge.DataType] = {
    **VALUED,
    **{f"made.{name}": kind for name, kind in VALUED.items()},
    **{f"made.maker.{name}": kind for name, kind in VALUED.items()},
    "id": ge.LONG,
    "leg": ge.STRING,
    "since": ge.LOCAL_DATE,
    "Item": ge.STRING,
    "made.item": ge.STRING,
    "made.Maker": ge.INT,
}
"""What the rows of `facts` can read."""


def create_tables(session: ge.Session) -> dict[str, ge.Table]:
    tables = {name: session.create_table(name, types, keys=KEYS[name]) for name, types in TYPES.items()}
    for source, (name, column, target) in LINKS.items():
        tables[source].join(tables[target], on={column: KEYS[target][0]}, name=name)
    return tables


# -- states ----------------------------------------------------------------------------------------------------------


def empty() -> State:
    return {name: {} for name in TYPES}


def upserted(state: State, table: str, rows: Iterable[Row]) -> State:
    """Return the state after a commit: the last row of a key counts, and goes to the end unless it changes nothing."""
    held = dict(state[table])
    fresh: dict[Key, Row] = {}
    for row in rows:
        key = tuple(row[name] for name in KEYS[table])
        fresh.pop(key, None)
        fresh[key] = row
    for key, row in fresh.items():
        if key in held and all(same(held[key][name], row[name]) for name in TYPES[table]):
            continue
        held.pop(key, None)
        held[key] = row
    return {**state, table: held}


def reader(state: State, row: Row, table: str = "facts") -> Get:
    def get(path: str) -> Any:
        at, here = table, row
        *joins, column = path.split(".")
        for join in joins:
            name, by, target = LINKS[at]
            assert name == join
            found = state[target].get((here[by],))
            if found is None:
                return None
            at, here = target, found
        return here[column]

    return get


def readers(state: State) -> list[Get]:
    return [reader(state, row) for row in state["facts"].values()]


# -- values ----------------------------------------------------------------------------------------------------------


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def same(left: Any, right: Any) -> bool:
    return identity(left) == identity(right)


def identity(value: Any) -> Any:
    """Return a hashable value, equal where the engine sees one value: NaN is NaN, -0.0 is 0.0."""
    if isinstance(value, list):
        return tuple(identity(item) for item in value)
    return "NaN" if is_nan(value) else value


def place(value: Any) -> Any:
    """Return the sort key of a value: NaN after numbers, null last."""
    if isinstance(value, list):
        return (0, [place(item) for item in value])
    return (2, 0) if value is None else (1, 0) if is_nan(value) else (0, value)


def single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def compared(op: str, left: Any, right: Any, kind: ge.DataType) -> bool:
    """Compare a value of a column with a value that a user gave."""
    if left is None or right is None:
        return op == "==" and left is None and right is None
    if kind in FLOATS:
        right = single(as_float(right)) if kind == ge.FLOAT else as_float(right)
    elif isinstance(left, Decimal) and isinstance(right, float):
        right = Decimal(repr(right))
    if is_nan(left) or is_nan(right) or (isinstance(right, Decimal) and right.is_nan()):
        return False
    return bool(OPERATORS[op](left, right))


def columns_compared(op: str, left: Any, right: Any, floats: bool) -> bool:
    """Compare values of two columns: null compares with nothing; floats make all of it floats."""
    if left is None or right is None:
        return False
    return bool(OPERATORS[op](float(left), float(right)) if floats else OPERATORS[op](left, right))


# -- conditions ------------------------------------------------------------------------------------------------------

Values = Mapping[str, Any]
"""Parameter -> value."""


@dataclass(frozen=True)
class Given:
    """A value in a condition; with a name it is given as a parameter."""

    value: Any
    name: str | None = None

    @property
    def written(self) -> Any:
        return self.value if self.name is None else ge.param(self.name)


class Node:
    """A condition in both languages."""

    def engine(self) -> ge.Condition:
        raise NotImplementedError

    def holds(self, get: Get) -> bool:
        raise NotImplementedError

    def values(self) -> Values:
        """Return what the parameters stand for."""
        return {}


@dataclass(frozen=True)
class WithValue(Node):
    path: str
    op: str
    given: Given
    negated: bool = False

    def engine(self) -> ge.Condition:
        if self.negated:
            return ge.field(self.path) != self.given.written
        return OPERATORS[self.op](ge.field(self.path), self.given.written)

    def holds(self, get: Get) -> bool:
        return compared(self.op, get(self.path), self.given.value, PATHS[self.path]) != self.negated

    def values(self) -> Values:
        return {} if self.given.name is None else {self.given.name: self.given.value}


@dataclass(frozen=True)
class InList(Node):
    path: str
    items: tuple[Given, ...]
    name: str | None = None
    """Of a parameter that stands for the whole list."""

    def engine(self) -> ge.Condition:
        written = ge.param(self.name) if self.name is not None else [item.written for item in self.items]
        return ge.field(self.path).isin(written)

    def holds(self, get: Get) -> bool:
        return any(compared("==", get(self.path), item.value, PATHS[self.path]) for item in self.items)

    def values(self) -> Values:
        if self.name is not None:
            return {self.name: [item.value for item in self.items]}
        return {item.name: item.value for item in self.items if item.name is not None}


@dataclass(frozen=True)
class IsNull(Node):
    path: str

    def engine(self) -> ge.Condition:
        return ge.field(self.path).isnull()

    def holds(self, get: Get) -> bool:
        return get(self.path) is None


@dataclass(frozen=True)
class TwoColumns(Node):
    left: str
    op: str
    right: str

    def engine(self) -> ge.Condition:
        return OPERATORS[self.op](ge.field(self.left), ge.field(self.right))

    def holds(self, get: Get) -> bool:
        floats = PATHS[self.left] in FLOATS or PATHS[self.right] in FLOATS
        return columns_compared(self.op, get(self.left), get(self.right), floats)


@dataclass(frozen=True)
class SumOfTwo(Node):
    """left + right compared with a value; both columns are INT, so that nothing overflows."""

    left: str
    right: str
    op: str
    given: Given

    def engine(self) -> ge.Condition:
        return OPERATORS[self.op](ge.field(self.left) + ge.field(self.right), self.given.written)

    def holds(self, get: Get) -> bool:
        left, right = get(self.left), get(self.right)
        total = None if left is None or right is None else left + right
        return compared(self.op, total, self.given.value, ge.LONG)

    def values(self) -> Values:
        return {} if self.given.name is None else {self.given.name: self.given.value}


@dataclass(frozen=True)
class Negation(Node):
    part: Node

    def engine(self) -> ge.Condition:
        return ~self.part.engine()

    def holds(self, get: Get) -> bool:
        return not self.part.holds(get)

    def values(self) -> Values:
        return self.part.values()


@dataclass(frozen=True)
class Both(Node):
    left: Node
    right: Node

    def engine(self) -> ge.Condition:
        return self.left.engine() & self.right.engine()

    def holds(self, get: Get) -> bool:
        return self.left.holds(get) and self.right.holds(get)

    def values(self) -> Values:
        return {**self.left.values(), **self.right.values()}


@dataclass(frozen=True)
class Either(Both):
    def engine(self) -> ge.Condition:
        return self.left.engine() | self.right.engine()

    def holds(self, get: Get) -> bool:
        return self.left.holds(get) or self.right.holds(get)


# -- answers ---------------------------------------------------------------------------------------------------------


def listed(state: State, fields: Sequence[str], where: Node | None) -> list[tuple[Any, ...]]:
    """Return the rows of `facts` that satisfy a condition, in the order in which they were last written."""
    return [
        tuple(identity(get(path)) for path in fields) for get in readers(state) if where is None or where.holds(get)
    ]


def distinct(state: State, fields: Sequence[str], where: Node | None) -> list[tuple[Any, ...]]:
    found = {}
    for get in readers(state):
        if where is None or where.holds(get):
            values = [get(path) for path in fields]
            found.setdefault(tuple(map(identity, values)), [place(value) for value in values])
    return sorted(found, key=found.__getitem__)


@dataclass(frozen=True)
class Figures:
    cardinality: int
    nulls: int
    least: Any
    greatest: Any


def figures(state: State, table: str, column: str) -> Figures:
    values = [row[column] for row in state[table].values()]
    present = [value for value in values if value is not None]
    ordered = [value for value in present if not isinstance(value, list) and not is_nan(value)]
    return Figures(
        len(set(map(identity, present))),
        len(values) - len(present),
        min(ordered, default=None),
        max(ordered, default=None),
    )
