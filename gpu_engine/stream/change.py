"""Stream changes: what commits change in the rows of a list query, as the calls that listeners get.

Floor 4. Commits that only write to the root table are evaluated together, some hundred at a time: their rows never
change, so they can be read all at once, and a listener that is behind catches up cheaply. A commit that changes what
joins reach, clears the table or moves very many rows is evaluated by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Commit, Moves, Version
from gpu_engine.expression.flat_rows import FlatView
from gpu_engine.expression.join import Join
from gpu_engine.storage.table_store import TableChange, TableStore
from gpu_engine.stream.clearing import MOST_ROWS, Cleared, cleared_by, rows_of
from gpu_engine.stream.listener import Event
from gpu_engine.stream.outcome import Outcome, Rules, Told

__all__ = ["StreamChanges"]


class StreamChanges:
    """Evaluates commits for one query. Stateless; any thread may call."""

    def __init__(self, root: TableStore, joins: frozenset[Join], rules: Rules) -> None:
        self._root, self._joins, self._rules = root, joins, rules
        self._targets = frozenset(join.target for join in joins)

    def rows(self, version: Version) -> Iterator[Event]:
        """Yield all rows of the query at one epoch, as added."""
        return rows_of(version, self._root, self._rules)

    def changes(self, commits: Sequence[Commit]) -> Iterator[Iterable[Event]]:
        """Yield what each of some published commits changes; a tuple, unless it is very much.

        Parameters
        ----------
        commits : in the order of epochs, without a gap on any branch
        """
        for part in self.parts(commits):
            yield from self.evaluated(part)

    def hold(self, commits: Iterable[Commit]) -> None:
        """Take hold of what joins reach: evaluated later, commits still read the rows of now, whatever is reclaimed."""
        for commit in commits:
            for target in self._targets:
                commit.before.table(target)
                commit.after.table(target)

    def parts(self, commits: Sequence[Commit]) -> Iterator[list[Commit]]:
        """Yield the same commits, those together that can be evaluated together."""
        run: list[Commit] = []
        rows = 0
        for commit in commits:
            size = self._size(commit)
            if run and (size is None or rows + size > MOST_ROWS or not _continues(run, commit, self._root)):
                yield run
                run, rows = [], 0
            if size is None:
                yield [commit]
            else:
                run.append(commit)
                rows += size
        if run:
            yield run

    def evaluated(self, part: Sequence[Commit]) -> Iterator[Iterable[Event]]:
        """Yield, as `changes`, what the commits of one of the `parts`, or some of it in a row, change."""
        if len(part) == 1 and self._size(part[0]) is None:
            yield self._alone(part[0])
        else:
            yield from self._together(part)

    # -- several commits --------------------------------------------------------------------------------------------

    def _size(self, commit: Commit) -> int | None:
        """Return how many rows a commit moves; None if it must be evaluated by itself."""
        if self._root in commit.clearings or not self._targets.isdisjoint(commit.changes):
            return None
        change = commit.changes.get(self._root)
        size = 0 if change is None else len(change.updated_old) + len(change.added) + len(change.removed)
        return size if size <= MOST_ROWS else None

    def _together(self, run: Sequence[Commit]) -> Iterator[tuple[Event, ...]]:
        """Yield what each commit changes, all of them on one branch and with nothing between them that joins reach."""
        told: list[list[Event]] = [[] for _ in run]
        moving = [place for place, commit in enumerate(run) if self._root in commit.changes]
        if moving:
            changes = [run[place].changes[self._root] for place in moving]
            view = FlatView(run[moving[-1]].after, self._root)
            for owner, event in self._told(view, changes):
                told[moving[owner]].append(event)
        yield from map(tuple, told)

    def _told(self, view: FlatView, changes: Sequence[TableChange]) -> list[Told]:
        """Return the calls for changes whose rows, ended ones too, can all be read in one view."""
        xp, rules = self._root.backend.xp, self._rules
        updated = [change.updated_old for change in changes]
        old = [*updated, *(change.removed for change in changes)]
        new = [*(change.updated_new for change in changes), *(change.added for change in changes)]
        paired = sum(map(len, updated))
        outcome = rules.outcome(view.rows(xp.concatenate(old)), view.rows(xp.concatenate(new)), paired, None)
        one = len(changes) == 1
        old_owner, new_owner = (None, None) if one else (self._owners(old), self._owners(new))
        return [
            *rules.told("records_deleted", outcome.old, outcome.deleted, old_owner),
            *rules.updates(outcome, new_owner),
            *rules.told("records_added", outcome.new, outcome.added, new_owner),
        ]

    def _owners(self, parts: Sequence[Array]) -> Array:
        """Return the number of the change that each row belongs to, for two parts of each change."""
        xp, half = self._root.backend.xp, len(parts) // 2
        lengths = self._root.backend.from_host([len(part) for part in parts], "int64")
        return xp.repeat(xp.arange(len(parts)) % half, lengths)

    # -- one commit -------------------------------------------------------------------------------------------------

    def _alone(self, commit: Commit) -> Iterable[Event]:
        assert isinstance(commit.after, Version)
        events, taken, rows = self._events(commit, commit.after), [], 0
        for event in events:
            taken.append(event)
            rows += event.rows
            if rows > MOST_ROWS:
                return chain(taken, events)
        return tuple(taken)

    def _events(self, commit: Commit, after: Version) -> Iterator[Event]:
        cleared = cleared_by(commit, self._root)
        if cleared is not None:
            yield from cleared.events(commit.before, self._root, self._rules)
        parts = self._parts(commit, cleared)
        for part in parts:
            yield from _calls(self._rules.told("records_deleted", part.old, part.deleted))
        for part in parts:
            yield from _calls(self._rules.updates(part))
        for part in parts:
            yield from _calls(self._rules.told("records_added", part.new, part.added))
        if cleared is not None:
            yield from rows_of(after, self._root, self._rules, cleared)

    def _parts(self, commit: Commit, cleared: Cleared | None) -> Iterable[Outcome]:
        before, after = FlatView(commit.before, self._root), FlatView(commit.after, self._root)

        def part(moves: Moves) -> Outcome:
            old, new = before.rows(moves.old), after.rows(moves.new)
            left_out = None if cleared is None else (cleared.holds(old), cleared.holds(new))
            return self._rules.outcome(old, new, moves.paired, left_out)

        pieces = _pieces(commit.read_moves(self._root, self._joins))
        return [part(piece) for piece in pieces] if len(pieces) < 2 else _Again(part, pieces)


class _Again:
    """Parts that are made anew each time they are gone through, so that one of them is there at a time."""

    def __init__(self, make: Callable[[Moves], Outcome], pieces: Sequence[Moves]) -> None:
        self._make, self._pieces = make, pieces

    def __iter__(self) -> Iterator[Outcome]:
        return map(self._make, self._pieces)


def _calls(told: Iterable[Told]) -> Iterator[Event]:
    return (event for _, event in told)


def _continues(run: Sequence[Commit], commit: Commit, root: TableStore) -> bool:
    """Return whether the rows of a commit can be read in one view with those of a run."""
    if commit.before.number != run[0].before.number:
        return False
    last = next((one for one in reversed(run) if root in one.changes), None)
    if last is None or root not in commit.changes:
        return True
    return last.before.table(root).rows is commit.before.table(root).rows


def _pieces(moves: Moves) -> list[Moves]:
    """Return the moves in pieces of so many rows: pairs first, then rows that only end, then rows that only begin."""
    if not moves:
        return []
    if len(moves.old) + len(moves.new) <= MOST_ROWS:
        return [moves]
    old, new, paired = moves.old, moves.new, moves.paired
    pairs = [(start, min(start + MOST_ROWS, paired)) for start in range(0, paired, MOST_ROWS)]
    pieces = [Moves(old[start:end], new[start:end], end - start) for start, end in pairs]
    starts = range(paired, len(old), MOST_ROWS)
    pieces += [Moves(old[start : start + MOST_ROWS], new[:0], 0) for start in starts]
    starts = range(paired, len(new), MOST_ROWS)
    return pieces + [Moves(old[:0], new[start : start + MOST_ROWS], 0) for start in starts]
