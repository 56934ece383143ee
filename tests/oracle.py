"""The oracle: tables as dicts of plain rows, every answer recomputed from all of them. Shares no code with the engine.

It remembers the state of every epoch, so it can also say what a past epoch held and what a commit changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Key = tuple[Any, ...]
Row = Mapping[str, Any]
Rows = Mapping[Key, Row]
Get = Callable[[str], Any]
"""Reads a value of one row by path: "Region", or through joins "product.category.sector"; None where nothing is."""
Cells = dict[Key, tuple[Any, ...]]


class Rejected(Exception):
    """The engine must refuse what was asked, with this code, and keep nothing of it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Link:
    """A join: columns of the source -> key columns of the target, in key order."""

    target: str
    columns: tuple[str, ...]
    optional: bool = True


@dataclass(frozen=True)
class Relation:
    """A table: its columns, its key, its joins by name."""

    columns: tuple[str, ...]
    keys: tuple[str, ...]
    links: Mapping[str, Link] = field(default_factory=dict)

    def key(self, row: Row) -> Key:
        return tuple(row[name] for name in self.keys)


@dataclass(frozen=True)
class Aggregate:
    """rows, sum, count, mean, min or max of a value per row; None values are passed over."""

    function: str
    value: Callable[[Get], Any] = lambda get: None

    def over(self, readers: Sequence[Get]) -> Any:
        if self.function == "rows":
            return len(readers)
        values = [value for get in readers if (value := self.value(get)) is not None]
        if self.function == "count":
            return len(values)
        if self.function == "sum":
            return sum(values)
        if not values:
            return None
        if self.function == "mean":
            return sum(values) / len(values)
        if any(isinstance(value, float) and math.isnan(value) for value in values):
            return math.nan
        return {"min": min, "max": max}[self.function](values)


@dataclass(frozen=True)
class Changes:
    """Rows of one table that a commit added, updated and removed."""

    added: int
    updated: int
    removed: int


class Draft:
    """What a transaction makes of a state, operation by operation."""

    def __init__(self, relations: Mapping[str, Relation], state: Mapping[str, Rows]) -> None:
        self._relations = relations
        self.tables = {name: dict(rows) for name, rows in state.items()}
        self.written: set[str] = set()

    def upsert(self, table: str, rows: Iterable[Row]) -> None:
        self.written.add(table)
        for row in rows:
            self.tables[table][self._relations[table].key(row)] = dict(row)

    def update(self, table: str, rows: Sequence[Row]) -> None:
        self.written.add(table)
        relation, held = self._relations[table], self.tables[table]
        if any(relation.key(row) not in held for row in rows):
            raise Rejected("invalid_row")
        for row in rows:
            held[relation.key(row)] = {**held[relation.key(row)], **row}

    def drop_keys(self, table: str, keys: Iterable[Key]) -> None:
        self.written.add(table)
        for key in keys:
            self.tables[table].pop(key, None)

    def drop_where(self, table: str, condition: Callable[[Get], bool]) -> None:
        self.written.add(table)
        rows = self.tables[table]
        self.tables[table] = {
            key: row for key, row in rows.items() if not condition(reader(self._relations, self.tables, table, row))
        }

    def truncate(self, table: str) -> None:
        self.written.add(table)
        self.tables[table] = {}


class Oracle:
    """Tables of a session, and what they were at every epoch."""

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self.relations = relations
        self.states: list[Mapping[str, Rows]] = [{name: {} for name in relations}]

    @property
    def epoch(self) -> int:
        return len(self.states) - 1

    @property
    def now(self) -> Mapping[str, Rows]:
        return self.states[-1]

    def begin(self) -> Draft:
        return Draft(self.relations, self.now)

    def commit(self, draft: Draft) -> dict[str, Changes]:
        """Make the draft the next epoch, unless it changes nothing; return what it did to the tables it wrote to."""
        self._check_mandatory(draft.tables)
        before = self.now
        if any(draft.tables[name] != before[name] for name in draft.written):
            self.states.append(draft.tables)
        return {name: _changes(before[name], draft.tables[name]) for name in draft.written}

    def readers(self, table: str, epoch: int | None = None) -> list[Get]:
        state = self.states[self.epoch if epoch is None else epoch]
        return [reader(self.relations, state, table, row) for row in state[table].values()]

    def cells(
        self,
        table: str,
        levels: Sequence[str],
        aggregates: Sequence[Aggregate],
        where: Callable[[Get], bool] = lambda get: True,
        totals: bool = False,
        epoch: int | None = None,
    ) -> Cells:
        """Return level values -> measures, in order; with totals the number of levels named comes before the values."""
        facts = [get for get in self.readers(table, epoch) if where(get)]
        members = [tuple(get(level) for level in levels) for get in facts]
        groups: dict[Key, list[Get]] = {}
        for depth in range(len(levels) + 1) if totals else [len(levels)]:
            for get, member in zip(facts, members, strict=True):
                named = (*member[:depth], *[None] * (len(levels) - depth))
                groups.setdefault((depth, *named), []).append(get)
        if not levels:
            groups.setdefault((0,), [])
        return {
            cell if totals else cell[1:]: tuple(aggregate.over(groups[cell]) for aggregate in aggregates)
            for cell in sorted(groups, key=_place)
        }

    def members(self, table: str, levels: Sequence[str]) -> dict[Key, int]:
        cells = self.cells(table, levels, [Aggregate("rows")])
        return {member: count for member, (count,) in cells.items()}

    def _check_mandatory(self, tables: Mapping[str, Rows]) -> None:
        for name, relation in self.relations.items():
            for link in relation.links.values():
                if not link.optional and any(_linked(tables, link, row) is None for row in tables[name].values()):
                    raise Rejected("missing_match")


def reader(relations: Mapping[str, Relation], tables: Mapping[str, Rows], table: str, row: Row) -> Get:
    """Return the function that reads a row by path."""

    def get(path: str) -> Any:
        at, here = table, row
        *joins, column = path.split(".")
        for join in joins:
            link = relations[at].links[join]
            found = _linked(tables, link, here)
            if found is None:
                return None
            at, here = link.target, found
        return here[column]

    return get


def _linked(tables: Mapping[str, Rows], link: Link, row: Row) -> Row | None:
    return tables[link.target].get(tuple(row[column] for column in link.columns))


def _changes(before: Rows, after: Rows) -> Changes:
    return Changes(
        added=sum(key not in before for key in after),
        updated=sum(key in before and before[key] != row for key, row in after.items()),
        removed=sum(key not in after for key in before),
    )


def _place(cell: Key) -> Any:
    """Sort key: by level after level, a total before what it sums up, N/A last."""
    depth, *values = cell
    return [(0, 0) if place >= depth else (2, 0) if value is None else (1, value) for place, value in enumerate(values)]
