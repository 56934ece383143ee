"""Stream views: one list query for all listeners that ask for it.

Floor 4. A view keeps no rows, only what the last commits changed, for listeners that have not come to them yet: so each
commit is evaluated once, by the first listener that gets to it, however many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from gpu_engine.database.commit import Commit, Version
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.join import Join, Reference
from gpu_engine.query.row_batches import RowBatches
from gpu_engine.query.row_query import ListQuery
from gpu_engine.stream.change import StreamChanges
from gpu_engine.stream.listener import Event
from gpu_engine.stream.outcome import Rules

__all__ = ["StreamView", "ViewStatistics"]

SHARED_ROWS = 262_144
"""Rows in evaluated commits that a view keeps; a commit that changes nothing counts as one."""


@dataclass(frozen=True, slots=True)
class ViewStatistics:
    """Figures of one view."""

    table: str
    fields: tuple[str, ...]
    listeners: int
    evaluations: int
    """Commits evaluated. Each counts once, unless listeners are far apart or it moves very many rows."""
    shared_rows: int
    """Rows in evaluated commits that it keeps for listeners which have not come to them; at most `SHARED_ROWS`."""


class StreamView:
    """One query, in one form. Any thread may call any method."""

    def __init__(self, query: ListQuery, *, dictionarized: bool) -> None:
        self.root, self.fields = query.root, dict(query.fields)
        self.joins = _joins_read(self.fields, query.condition)
        """Every join on a path that the query reads."""
        condition = None if query.condition is None else query.condition.identity()
        self.identity = (self.root, tuple(self.fields.items()), condition, dictionarized)
        """Equal for queries that always give the same batches."""
        partition = self.root.schema.partition_by
        column = None if partition is None else self.root.columns[partition]
        form = RowBatches(self.fields, column, dictionarized=dictionarized)
        self._changes = StreamChanges(self.root, self.joins, Rules(query.condition, form))
        self.listeners = 0
        """Registrations that use the view; kept by the streamer."""
        self._lock = threading.Lock()
        self._shared: dict[int, tuple[Event, ...]] = {}
        """Epoch -> what it changes, for listeners that have not come to it."""
        self._evaluations = self._shared_rows = 0

    def rows(self, version: Version) -> Iterator[Event]:
        """Yield all rows of the query at one epoch, as added."""
        return self._changes.rows(version)

    def changes(self, commits: Sequence[Commit]) -> Iterator[Iterable[Event]]:
        """Yield what each of some published commits changes, as `StreamChanges.changes`."""
        self._changes.hold(commits)
        if self.listeners < 2:
            self._evaluations += len(commits)
            return self._changes.changes(commits)
        return chain.from_iterable(map(self._shared_changes, self._changes.parts(commits)))

    def statistics(self) -> ViewStatistics:
        """Return figures for operators and tests."""
        return ViewStatistics(self.root.name, tuple(self.fields), self.listeners, self._evaluations, self._shared_rows)

    def _shared_changes(self, commits: Sequence[Commit]) -> Iterable[Iterable[Event]]:
        """Return what commits that can be evaluated together change; those that others have come to are known."""
        with self._lock:
            told: dict[int, Iterable[Event]] = {}
            for known, span in groupby(commits, lambda commit: commit.epoch in self._shared):
                part = list(span)
                found = [self._shared[one.epoch] for one in part] if known else self._evaluate(part)
                told.update(zip((commit.epoch for commit in part), found, strict=True))
            for epoch, events in told.items():
                if isinstance(events, tuple):
                    self._shared[epoch] = events
            self._trim()
        return told.values()

    def _evaluate(self, commits: Sequence[Commit]) -> list[Iterable[Event]]:
        self._evaluations += len(commits)
        return list(self._changes.evaluated(commits))

    def _trim(self) -> None:
        """Forget the oldest of what is shared when it is too much."""
        rows = sum(map(_weight, self._shared.values()))
        for epoch in sorted(self._shared):
            if rows <= SHARED_ROWS:
                break
            rows -= _weight(self._shared.pop(epoch))
        self._shared_rows = rows


def _weight(events: tuple[Event, ...]) -> int:
    return 1 + sum(event.rows for event in events)


def _joins_read(fields: Mapping[str, Reference], condition: Condition | None) -> frozenset[Join]:
    read = set(fields.values()) | (set() if condition is None else condition.references())
    return frozenset(join for reference in read for join in reference.joins)
