"""Aggregate providers: primitive aggregates of a cube's facts by some levels, moved by every commit.

Floor 4. A commit costs what it moves, whatever the size of the table: signed contributions are grouped by cell and
added; only a cell that loses its minimum or maximum (or holds inf or NaN, which cannot be subtracted) is read again
from its own rows. Readers at any epoch that the history still covers need no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gpu_engine.backend.array_backend import Array
from gpu_engine.backend.shortage import named_shortage
from gpu_engine.cube.addressing import Addressing, addressing_for, readdressed
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.cube.cells import CellSet, CellTable
from gpu_engine.cube.contenders import Contenders, Ranking
from gpu_engine.cube.contribution import Contribution, MovedRows
from gpu_engine.cube.history import CellsMoved, History, merge_moves
from gpu_engine.cube.movement import Movement, move_cells
from gpu_engine.cube.numbers import Layout
from gpu_engine.cube.rereading import CellRows, Rereading
from gpu_engine.cube.rows_by_cell import RowsByCell
from gpu_engine.cube.scan import level_sizes, scan
from gpu_engine.database.branch import MASTER
from gpu_engine.database.commit import Commit, Moves, Version
from gpu_engine.database.database import Database
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Join, Reference
from gpu_engine.storage.table_store import TableStore

__all__ = ["AggregateProvider", "ProviderStatistics"]

HISTORY_BYTES = 32 << 20
"""Bytes of changes that a provider keeps for readers behind the head."""

_STALE_ENTRIES = 1 << 20
_CATCH_UP_COMMITS = 1000


@dataclass(frozen=True, slots=True)
class ProviderStatistics:
    """Figures of one provider."""

    name: str
    levels: tuple[str, ...]
    aggregates: tuple[str, ...]
    cells: int
    """Cells that have rows."""
    nbytes: int
    """Bytes of cells, row index and history."""
    commits: int
    """Commits that moved cells."""
    cells_reread: int
    """Cells that were read again from their rows because they lost an extreme."""
    full_refresh_total: int
    """Times that all rows were read again after the first time. Stays 0."""


class AggregateProvider:
    """Cells of some levels, at every epoch from its creation on. Create it with `attach`."""

    def __init__(
        self,
        database: Database,
        root: TableStore,
        levels: Sequence[Reference],
        primitives: Iterable[Primitive],
        condition: Condition | None = None,
        branch: str = MASTER,
    ) -> None:
        self.branch = branch
        """Name of the branch whose facts it counts."""
        self.levels = tuple(levels)
        self.primitives = frozenset([ROWS, *primitives])
        self.condition = condition
        """Bound condition on rows; only those for which it holds are counted."""
        self._database, self._root = database, root
        self.backend = database.backend
        self._joins = _joins_read(self.levels, self.primitives, condition)
        self._layout = Layout(self.primitives)
        self._extremes = tuple(one for one in self._layout.primitives if not one.linear)
        self._cells = CellTable(self.backend, addressing_for(self.backend, level_sizes(self.levels)), self._layout)
        self._history = History(0, HISTORY_BYTES)
        self._by_cell: RowsByCell | None = None
        self._contenders = Contenders(self.backend, self._extremes)
        self._backlog: deque[tuple[Commit, Moves]] | None = deque()
        """Commits that came while the cells were computed; None once they are applied."""
        self.live_queries = 0
        """Live queries that read it; whoever owns the provider counts them."""
        self.ended = False
        """Whether its branch is gone."""
        self._number = -1
        self._commits = self._cells_reread = self._full_refreshes = 0

    # -- opening ----------------------------------------------------------------------------------------------------

    def attach(self) -> AggregateProvider:
        """Compute the cells at the head and follow every commit from there on; writers go on meanwhile.

        Raises
        ------
        MemoryShortageError
            If there is no room for the cells; nothing follows then.
        """
        with self._database.writing():
            version = self._database.branch(self.branch).head
            self._number = version.number
            self._database.follow(self, self.branch)
        try:
            with named_shortage(self.backend, f"provider {self.name!r}"), self.backend.ignore_float_errors():
                self._build(version)
                self._catch_up()
        except BaseException:
            self._database.unfollow(self)
            raise
        return self

    def detach(self) -> None:
        """Follow no further commit. What has been read stays good."""
        self._database.unfollow(self)

    def _build(self, version: Version) -> None:
        view = FlatView(version, self._root)
        if self._extremes:
            self._cells, self._by_cell = self._scan_with_rows(view)
        else:
            self._cells = scan(view, self.levels, self._layout, self.condition)
        self._history = History(version.epoch, HISTORY_BYTES)

    def _scan_with_rows(self, view: FlatView) -> tuple[CellTable, RowsByCell]:
        parts: list[tuple[int, Addressing, Array, Array | None]] = []

        def keep(start: int, addressing: Addressing, places: Array, rows: Array | None) -> None:
            parts.append((start, addressing, places.astype("int32"), None if rows is None else rows.astype("int32")))

        table = scan(view, self.levels, self._layout, self.condition, keep)
        entered = [
            (start, readdressed(places, addressing, table.addressing), rows)
            for start, addressing, places, rows in parts
        ]
        return table, RowsByCell.of(self.backend, entered, table.size)

    def _catch_up(self) -> None:
        """Apply what was committed while the cells were computed; the last of it with the writer held."""
        backlog = self._backlog
        assert backlog is not None
        for _ in range(_CATCH_UP_COMMITS):
            if len(backlog) <= 2:
                break
            self._prepare(*backlog.popleft())()
        with self._database.writing():
            while backlog:
                self._prepare(*backlog.popleft())()
            self._backlog = None

    # -- following --------------------------------------------------------------------------------------------------

    def derive(self, commit: Commit) -> Callable[[], None] | None:
        """Work out how a commit moves the cells; see `Follower`."""
        moves = commit.moves(self._root, self._joins)
        if not moves:
            return None
        backlog = self._backlog
        if backlog is not None:
            return lambda: backlog.append((commit, moves))
        return self._prepare(commit, moves)

    def listeners(self) -> int:
        """Return how many live queries read it; see `Follower`."""
        return self.live_queries

    def end(self) -> None:
        """Take notice that the branch is gone; see `Follower`."""
        self.ended = True

    def attaching(self, store: TableStore) -> bool:
        """Return whether the cells are still being computed from the rows of the table."""
        return store is self._root and self._backlog is not None

    def renumber(self, store: TableStore, new_of: Array) -> None:
        """Go by new row numbers; see `Follower`."""
        if store is self._root and self._by_cell is not None:
            self._by_cell = self._by_cell.renumbered(new_of)
            self._contenders.renumber(new_of)

    def _prepare(self, commit: Commit, moves: Moves) -> Callable[[], None]:
        rows = MovedRows(commit, moves, self._root, self._joins, self.levels, self.condition)
        table, by_cell, contenders = self._cells, self._rows_by_cell(commit.before), self._contenders
        sizes = level_sizes(self.levels)
        if not table.addressing.fits(sizes):
            addressing = addressing_for(self.backend, sizes)
            if by_cell is not None:
                by_cell = by_cell.readdressed(table.addressing, addressing)
            table, contenders = table.readdressed(addressing), Contenders(self.backend, self._extremes)
        contribution = Contribution(rows, table.addressing)
        places = contribution.places
        if not len(places):
            return lambda: None
        table.cover()
        moved = move_cells(contribution, table, self._extremes)
        # Rows that stay may then have other values, or lie in other cells, than before.
        joined_change = any(join.target in commit.changes for join in self._joins)
        ranked = None
        for primitives, cells in moved.again.items():
            reading = Rereading(self._root, self.levels, self.condition, commit, contribution)
            if primitives == self._extremes and not joined_change:
                cells = self._settled_apart(contenders, reading, places, moved, cells)
            if not len(cells):
                continue
            if by_cell is None:
                by_cell = self._index_rows(commit.before, table)
            lying = reading.rows_of(cells, table, by_cell)
            found = self._read_again(contenders, lying, primitives, moved, cells)
            if found is not None:
                ranked = places[cells][found[0]], found[1]
        record = CellsMoved(commit.epoch, table, places, moved.before, moved.after)
        entries = None
        if by_cell is not None:
            entries = contribution.entries()
            by_cell.reserve(len(entries[0]))
        if ranked is not None:
            contenders.reserve(table.size, len(ranked[0]))
        entering = None if joined_change else moved.entering
        return lambda: self._publish(record, by_cell, entries, contenders, entering, ranked)

    def _rows_by_cell(self, version: Version) -> RowsByCell | None:
        """Return the rows of each cell, if they are kept at all, without the stale entries once those are many."""
        by_cell = self._by_cell
        if by_cell is not None and len(by_cell) > 2 * version.table(self._root).alive_count + _STALE_ENTRIES:
            by_cell = self._by_cell = self._index_rows(version, self._cells)
        return by_cell

    def _index_rows(self, version: Version, table: CellTable) -> RowsByCell:
        """Return the rows of each cell of `table` at a version."""
        return RowsByCell.scanned(FlatView(version, self._root), self.levels, self.condition, table.addressing)

    def _settled_apart(
        self, contenders: Contenders, reading: Rereading, places: Array, moved: Movement, cells: Array
    ) -> Array:
        """Set the extremes of those of (k,) touched cells whose next in line is known; return the other cells."""
        if not len(contenders):
            return cells
        best, known = contenders.next_in_line(places[cells], partial(reading.remain, cells=cells))
        settled = cells[known]
        for one in self._extremes:
            moved.after[one][settled] = one.combine(self.backend, best[one][known], moved.entering[one][settled])
        return cells[~known]

    def _read_again(
        self,
        contenders: Contenders,
        rows: tuple[CellRows, CellRows],
        primitives: Sequence[Primitive],
        moved: Movement,
        cells: Array,
    ) -> tuple[Array, Ranking] | None:
        """Set primitives of (k,) touched cells to what the rows make that remain in them and enter them.

        Return, for extremes, which of the cells have contenders from now on, and those.
        """
        self._cells_reread += len(cells)
        still, fresh = rows
        came = {one: fresh.merged(one) for one in primitives}
        for one in primitives:
            moved.after[one][cells] = one.combine(self.backend, still.merged(one), came[one])
        if primitives != self._extremes:
            return None
        values = {one: one.values(still.rows) for one in primitives}
        chosen, ranking = contenders.rank(still.numbers, still.group_of, values, len(cells))
        return chosen, {
            one: (lines, best, one.combine(self.backend, bound, came[one][chosen]))
            for one, (lines, best, bound) in ranking.items()
        }

    def _publish(
        self,
        record: CellsMoved,
        by_cell: RowsByCell | None,
        entries: tuple[Array, Array] | None,
        contenders: Contenders,
        entering: Mapping[Primitive, Array] | None,
        ranked: tuple[Array, Ranking] | None,
    ) -> None:
        """Make the change; takes no memory of the device, so it cannot fail for want of it.

        `entering` is the best of what enters each touched cell; None where their contenders may no longer be right.
        """
        self._history.add(record)
        record.table.numbers.put(self.backend, record.places, record.after)
        self._cells = record.table
        self._commits += 1
        if by_cell is not None and entries is not None:
            by_cell.add(*entries)
            by_cell.settled &= entering is not None
            self._by_cell = by_cell
        self._contenders = contenders
        if len(contenders):
            if entering is None:
                contenders.forget(record.places)
            else:
                contenders.enter(record.places, entering)
        if ranked is not None:
            contenders.take(*ranked)

    # -- reading ----------------------------------------------------------------------------------------------------

    def covers(self, version: Version) -> bool:
        """Return whether the cells can be read at a version."""
        return self._number == version.number and self._backlog is None and self._history.since <= version.epoch

    def read(self, epoch: int) -> CellSet | None:
        """Return the cells as they were at an epoch not after the head; None if the history no longer covers it."""
        table = self._cells
        if self._history.after(epoch) == []:
            cells = CellSet.filled(table, table.numbers, self.levels)
            if self._history.after(epoch) == []:  # nothing has moved while they were read, either
                return cells
        numbers = table.numbers.copy()
        records = self._history.after(epoch)
        if records is None:
            return None
        if all(record.table is table for record in records):
            for record in reversed(records):
                places, before = record.places, record.before
                if len(numbers) < table.size:
                    inside = self.backend.xp.flatnonzero(places < len(numbers))
                    places, before = places[inside], before.take(self.backend, inside)
                numbers.put(self.backend, places, before)
            return CellSet.filled(table, numbers, self.levels)
        return CellSet.filled(table, numbers, self.levels).replaced(merge_moves(records, self.levels)[0])

    def changes(self, after: int, until: int) -> list[CellsMoved] | None:
        """Return what moved in epochs after < epoch <= until, oldest first; None if not all of it is kept."""
        records = self._history.after(after)
        return None if records is None else [record for record in records if record.epoch <= until]

    def no_cells(self) -> CellSet:
        """Return an empty set of cells."""
        codes = {level: self.backend.xp.zeros(0, dtype="int32") for level in self.levels}
        return CellSet(self.backend, codes, self._layout.empty(self.backend, 0))

    def statistics(self) -> ProviderStatistics:
        """Return figures for operators and tests."""
        rows = self._cells.numbers.rows
        nbytes = self._cells.nbytes + self._history.nbytes + (self._by_cell.nbytes if self._by_cell else 0)
        nbytes += self._contenders.nbytes
        return ProviderStatistics(
            self.name,
            tuple(level.path for level in self.levels),
            tuple(sorted({one.function for one in self.primitives})),
            int(self.backend.scalar((rows > 0).sum())),
            nbytes,
            self._commits,
            self._cells_reread,
            self._full_refreshes,
        )

    @property
    def size(self) -> int:
        """Number of places for cells: what reading all of them costs."""
        return self._cells.size

    @property
    def name(self) -> str:
        """What explanations and statistics call it: its levels."""
        return " x ".join(level.path for level in self.levels) or "grand total"


def _joins_read(
    levels: Sequence[Reference], primitives: frozenset[Primitive], condition: Condition | None
) -> frozenset[Join]:
    """Return every join on a path that the provider reads."""
    read = set(levels)
    for primitive in primitives:
        if primitive.expression is not None:
            read |= primitive.expression.references()
    if condition is not None:
        read |= condition.references()
    return frozenset(join for reference in read for join in reference.joins)
