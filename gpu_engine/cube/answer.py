"""Answers: cells with their measures, in order, and as Arrow shows them.

Floor 4. Cells stay dictionary codes until the last moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.cells import CellSet
from gpu_engine.cube.numbers import Numbers
from gpu_engine.cube.query import Query
from gpu_engine.expression.expression import NumericKind
from gpu_engine.storage.column import RowSelection, Values, decode

__all__ = ["DEPTH", "Answer", "answer_of", "numbers_to_arrow"]

DEPTH = "__depth__"
"""Last column of an answer with totals: how many levels the row names; fewer than all of them in a total."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Cells of a query, n of them, each with a code per level and a number per measure."""

    backend: ArrayBackend
    query: Query
    codes: tuple[Array, ...]
    """Per level (n,) int32 codes; -1 for N/A, and where a total does not name the level."""
    depth: Array | None
    """(n,) int8: number of levels that the cell names; None where no totals were asked for."""
    values: tuple[Values, ...]
    """Per measure the (n,) numbers."""

    def __len__(self) -> int:
        return len(self.values[0])

    def take(self, places: RowSelection) -> Answer:
        """Return the cells at (k,) places, in that order."""
        return Answer(
            self.backend,
            self.query,
            tuple([codes[places] for codes in self.codes]),
            None if self.depth is None else self.depth[places],
            tuple([values.take(places) for values in self.values]),
        )

    def sorted(self) -> Answer:
        """Return the cells in the order of the levels, a total before what it sums up, N/A last."""
        if not self.codes or len(self) < 2:
            return self
        return self.take(self._order(self.codes, self.depth))

    def in_order(self, places: Array) -> Array:
        """Return the (k,) places in the order that `sorted` would give their cells."""
        if not self.codes or len(places) < 2:
            return places
        depth = None if self.depth is None else self.depth[places]
        return places[self._order([codes[places] for codes in self.codes], depth)]

    def _order(self, codes_of_levels: Sequence[Array], depth: Array | None) -> Array:
        xp = self.backend.xp
        keys, bits = [], []
        for place, (level, codes) in enumerate(zip(self.query.levels, codes_of_levels, strict=True)):
            ranks = level.ranks()
            rank = ranks.take(codes + 1) + 1
            keys.append(rank if depth is None else xp.where(depth > place, rank, 0))
            bits.append((len(ranks) + 1).bit_length())
        if sum(bits) > 63:
            return xp.lexsort(xp.stack(keys[::-1]))
        packed = keys[0]
        for key, width in zip(keys[1:], bits[1:], strict=True):
            packed = (packed << width) | key
        return xp.argsort(packed)

    def to_arrow(
        self, epoch: int | None = None, branch: str = "", members: Sequence[pa.Array] | None = None
    ) -> pa.Table:
        """Return level columns, then measure columns, then the depth if there are totals; N/A is null.

        Parameters
        ----------
        epoch, branch
            With an epoch, the schema's metadata says which branch and epoch the answer shows.
        members : the level columns, if they are known already
        """
        measures = zip(self.query.measures, self.values, strict=True)
        columns = list(self._level_columns() if members is None else members)
        columns += [numbers_to_arrow(self.backend, values, one.kind) for (_, one), values in measures]
        if self.depth is not None:
            columns.append(pa.array(self.backend.to_host(self.depth), pa.int8()))
        schema = arrow_schema(self.query)
        if epoch is not None:
            schema = schema.with_metadata({"branch": branch, "epoch": str(epoch)})
        return pa.Table.from_arrays(columns, schema=schema)

    def _level_columns(self) -> list[pa.Array]:
        """Return the members of each level as an Arrow array."""
        return [
            decode(self.backend, level.reference.column.dictionary, codes)
            for level, codes in zip(self.query.levels, self.codes, strict=True)
        ]


def answer_of(query: Query, parts: Sequence[CellSet]) -> Answer:
    """Return the measures of a query, in no particular order of cells.

    Parameters
    ----------
    parts : the cells by all levels; with totals, after them the cells by each shorter list of levels, down to none
    """
    backend = parts[0].backend
    with backend.ignore_float_errors():
        answers = [_part(query, cells, len(query.levels) - place) for place, cells in enumerate(parts)]
    return _joined(answers)


def paired_answer(query: Query, before: Sequence[CellSet], after: Sequence[CellSet]) -> Answer:
    """Return `answer_of` for the same cells before and after, in one: first all as they were, then all as they are."""
    backend, xp = before[0].backend, before[0].backend.xp
    answers = []
    with backend.ignore_float_errors():
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            codes = {level: xp.concatenate([part, new.codes[level]]) for level, part in old.codes.items()}
            both = CellSet(backend, codes, Numbers.concatenated(backend, [old.numbers, new.numbers]))
            answers.append(_part(query, both, len(query.levels) - place))
    if len(answers) == 1:
        return answers[0]
    sizes = list(map(len, before))
    was = [answer.take(slice(0, size)) for answer, size in zip(answers, sizes, strict=True)]
    now = [answer.take(slice(size, None)) for answer, size in zip(answers, sizes, strict=True)]
    return _joined([*was, *now])


def _joined(answers: Sequence[Answer]) -> Answer:
    """Return the cells of several answers of one query, one after the other."""
    first = answers[0]
    if len(answers) == 1:
        return first
    xp = first.backend.xp
    codes = zip(*(answer.codes for answer in answers), strict=True)
    values = zip(*(answer.values for answer in answers), strict=True)
    return Answer(
        first.backend,
        first.query,
        tuple(xp.concatenate(column) for column in codes),
        xp.concatenate([answer.depth for answer in answers]),
        tuple(Values.concatenated(first.backend, column) for column in values),
    )


def _part(query: Query, cells: CellSet, depth: int) -> Answer:
    backend, xp = cells.backend, cells.backend.xp
    if not query.levels and not len(cells):
        # Without levels there is always one cell, also over nothing.
        cells = CellSet(backend, {}, cells.numbers.layout.empty(backend, 1))
    codes = [cells.codes[level.reference] for level in query.levels[:depth]]
    if depth < len(query.levels):
        codes += [xp.full(len(cells), -1, dtype="int32")] * (len(query.levels) - depth)
    values = tuple(measure.evaluate(backend, cells.numbers) for _, measure in query.measures)
    named = xp.full(len(cells), depth, dtype="int8") if query.totals else None
    return Answer(backend, query, tuple(codes), named, values)


@lru_cache(maxsize=1024)
def arrow_schema(query: Query) -> pa.Schema:
    """Return names and types of the columns of a query's answers; a name that is taken already gets a prefix."""
    fields: dict[str, pa.DataType] = {}
    for level in query.levels:
        path = level.reference.path
        fields[_untaken(query, fields, level.name, f"{level.table}.{level.name}", path)] = level.type.arrow
    for name, measure in query.measures:
        fields[_untaken(query, fields, name, f"measure.{name}")] = _arrow_type(measure.kind)
    if query.totals:
        fields[DEPTH] = pa.int8()
    return pa.schema(list(fields.items()))


def _untaken(query: Query, taken: Iterable[str], *names: str) -> str:
    """Return the first name that no column has; the last one if all are taken."""
    reserved = {*taken, DEPTH} if query.totals else set(taken)
    return next((name for name in names if name not in reserved), names[-1])


@lru_cache(maxsize=1024)
def no_cells(query: Query) -> pa.Table:
    """Return an answer of a query without cells."""
    return arrow_schema(query).empty_table()


def _arrow_type(kind: NumericKind) -> pa.DataType:
    if kind.name == "decimal":
        return pa.decimal128(38, kind.scale)
    return pa.float64() if kind.name == "float" else pa.int64()


def numbers_to_arrow(backend: ArrayBackend, values: Values, kind: NumericKind) -> pa.Array:
    """Return the numbers of a measure as an Arrow array."""
    return backend.to_arrow(values.data, values.valid, _arrow_type(kind))
