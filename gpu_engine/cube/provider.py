"""Aggregate providers: primitive aggregates of a cube's facts by some levels, moved by every commit.

Floor 4. A commit costs what it moves, whatever the size of the table: signed contributions are grouped by cell and
added; only a cell that loses its minimum or maximum (or holds inf or NaN, which cannot be subtracted) is read again
from its own rows. Readers at any epoch that the history still covers need no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.backend.shortage import named_shortage
from gpu_engine.cube.addressing import Addressing, addressing_for
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.cube.cells import CellSet, CellTable, place_rows
from gpu_engine.cube.contribution import Contribution, MovedRows
from gpu_engine.cube.history import CellsMoved, History, merge_moves
from gpu_engine.cube.numbers import Layout, Numbers
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
        parts: list[tuple[Addressing, Array, Array]] = []
        table = scan(view, self.levels, self._layout, self.condition, lambda *part: parts.append(part))
        by_cell = RowsByCell(self.backend)
        by_cell.reserve(sum(len(rows) for _, _, rows in parts))
        for addressing, places, rows in parts:
            if addressing != table.addressing:
                places = table.addressing.encode(addressing.decode(places))
            by_cell.add(places, rows)
        by_cell.prepare(table.size)
        return table, by_cell

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

    def _prepare(self, commit: Commit, moves: Moves) -> Callable[[], None]:
        rows = MovedRows(commit, moves, self._root, self._joins, self.levels, self.condition)
        table, by_cell = self._cells, self._rows_by_cell(commit.before)
        sizes = level_sizes(self.levels)
        if not table.addressing.fits(sizes):
            addressing = addressing_for(self.backend, sizes)
            if by_cell is not None:
                by_cell = by_cell.readdressed(table.addressing, addressing)
            table = table.readdressed(addressing)
        contribution = Contribution(rows, table.addressing)
        places = contribution.places
        if not len(places):
            return lambda: None
        table.cover()
        before, after, lost = self._moved(contribution, table)
        for primitives, cells in lost.items():
            if by_cell is None:
                by_cell = self._index_rows(commit.before, table)
            self._read_again(commit, table, by_cell, contribution, primitives, after, cells)
        record = CellsMoved(commit.epoch, table, places, before, after)
        entries = None
        if by_cell is not None:
            entries = contribution.entries()
            by_cell.reserve(len(entries[0]))
        return lambda: self._publish(record, by_cell, entries)

    def _rows_by_cell(self, version: Version) -> RowsByCell | None:
        """Return the rows of each cell, if they are kept at all, without the stale entries once those are many."""
        by_cell, rows = self._by_cell, version.table(self._root)
        if by_cell is not None and len(by_cell) > 2 * rows.alive_count + _STALE_ENTRIES:
            by_cell = self._by_cell = by_cell.compacted(rows.alive_rows())
        return by_cell

    def _moved(
        self, contribution: Contribution, table: CellTable
    ) -> tuple[Numbers, Numbers, dict[tuple[Primitive, ...], Array]]:
        """Return the numbers of the touched cells before and after the commit, and which must be read again where.

        An extreme must if the rows that left may have held it; a sum if it is not finite: what made it so may be gone.
        """
        xp, floats = self.backend.xp, self._layout.linear_floats
        added = contribution.sums(floats, self._layout.linear_integers)
        before, after = table.numbers.summed(self.backend, contribution.places, added)
        sums = after.floats[:, : len(floats)]
        emptied = after.integers == 0
        # One wait for the device tells whether anything needs a second look.
        unusual = self.backend.scalar(emptied.any() | ~xp.isfinite(sums.sum()))
        broken = ~xp.isfinite(sums).all(axis=1) if unusual and floats else None
        lost = None
        for primitive in self._extremes:
            entering, leaving = contribution.entering(primitive), contribution.leaving(primitive)
            held = before[primitive]
            after[primitive][:] = primitive.combine(self.backend, held, entering)
            gone = ~_beyond(primitive, held, leaving) & ~_reaches(primitive, entering, held)
            lost = gone if lost is None else lost | gone
        if unusual:
            self._clear_empty(after, emptied)
        again = {}
        for primitives, marks in ((self._extremes, lost), (floats, broken)):
            cells = (marks & (after.rows > 0)).nonzero()[0] if marks is not None else ()
            if len(cells):
                again[primitives] = cells
        return before, after, again

    def _clear_empty(self, after: Numbers, emptied: Array) -> None:
        """Let cells without values, where their count is `emptied`, hold exactly what they held before they had any."""
        for counted in [one for one in self._layout.integers if one.function == "count"]:
            without = emptied[:, self._layout.column(counted)]
            for primitive in self._layout.primitives:
                if primitive.identity == counted.identity and primitive != counted:
                    after[primitive][without] = primitive.empty

    def _index_rows(self, version: Version, table: CellTable) -> RowsByCell:
        """Return the rows of each cell of `table`, for a provider that so far needed none (no extremes, all finite)."""
        scanned, by_cell = self._scan_with_rows(FlatView(version, self._root))
        return by_cell.readdressed(scanned.addressing, table.addressing) if self.levels else by_cell

    def _read_again(
        self,
        commit: Commit,
        table: CellTable,
        by_cell: RowsByCell,
        contribution: Contribution,
        primitives: Sequence[Primitive],
        after: Numbers,
        cells: Array,
    ) -> None:
        """Set primitives of (k,) touched cells in `after` from all rows that lie in them after the commit.

        Rows that the commit does not move are read as they were before it, the others as they are after it.
        """
        self._cells_reread += len(cells)
        wanted = contribution.places[cells]
        before, moves = commit.before.table(self._root), contribution.moves
        gone = self.backend.xp.zeros(before.row_count, dtype="bool")
        gone[moves.old] = True
        rows = by_cell.find(wanted, table.size)
        rows = rows[before.alive(rows) & ~gone[rows]]
        entering = contribution.rows_entering(wanted)
        still = self._aggregates(FlatView(commit.before, self._root), rows, table, wanted, primitives)
        fresh = self._aggregates(FlatView(commit.after, self._root), entering, table, wanted, primitives)
        for primitive, old, new in zip(primitives, still, fresh, strict=True):
            after[primitive][cells] = primitive.combine(self.backend, old, new)

    def _aggregates(
        self, view: FlatView, numbers: Array, table: CellTable, wanted: Array, primitives: Sequence[Primitive]
    ) -> list[Array]:
        """Return (k,) aggregates of (k,) ascending places over those of (n,) rows that lie in them."""
        rows = view.rows(numbers)
        places = place_rows(table.addressing, rows, self.levels)
        group_of = self.backend.xp.minimum(self.backend.xp.searchsorted(wanted, places), len(wanted) - 1)
        here = wanted[group_of] == places
        if self.condition is not None:
            here &= self.condition.mask(rows)
        kept = self.backend.xp.flatnonzero(here)
        rows, group_of = view.rows(numbers[kept]), group_of[kept]
        return [one.merge(self.backend, one.values(rows), group_of, len(wanted)) for one in primitives]

    def _publish(self, record: CellsMoved, by_cell: RowsByCell | None, entries: tuple[Array, Array] | None) -> None:
        """Make the change; takes no memory of the device, so it cannot fail for want of it."""
        self._history.add(record)
        record.table.numbers.put(self.backend, record.places, record.after)
        self._cells = record.table
        self._commits += 1
        if by_cell is not None and entries is not None:
            by_cell.add(*entries)
            self._by_cell = by_cell

    # -- reading ----------------------------------------------------------------------------------------------------

    def covers(self, version: Version) -> bool:
        """Return whether the cells can be read at a version."""
        return self._number == version.number and self._backlog is None and self._history.since <= version.epoch

    def read(self, epoch: int) -> CellSet | None:
        """Return the cells as they were at an epoch not after the head; None if the history no longer covers it."""
        table = self._cells
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


def _beyond(primitive: Primitive, extreme: Array, values: Array) -> Array:
    """Return where `extreme` is strictly beyond `values`, so that losing them does not touch it."""
    return values < extreme if primitive.function == "max" else values > extreme


def _reaches(primitive: Primitive, values: Array, extreme: Array) -> Array:
    """Return where `values` reach `extreme`, so that it stays or is passed."""
    return values >= extreme if primitive.function == "max" else values <= extreme
