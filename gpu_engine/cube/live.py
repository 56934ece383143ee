"""Live cube queries: a snapshot, then per epoch exactly the cells whose values changed.

Floor 4. Nothing is queued: a subscriber knows the epoch it has, and asks what changed since. The answer comes from the
histories of the providers below the query, epoch by epoch while the subscriber keeps up, as one merged change when it
is far behind, and as a snapshot when the history no longer reaches back. So slow subscribers cost nothing, and a
reconnecting one resumes by the same call. When a measure is redefined, everybody gets a snapshot at the next epoch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpu_engine.cube.answer import Answer, answer_of
from gpu_engine.cube.cells import CellSet, paired_cells
from gpu_engine.cube.change import CellChange, difference, snapshot
from gpu_engine.cube.frame import frame_of
from gpu_engine.cube.hierarchy import Level
from gpu_engine.cube.history import merge_moves
from gpu_engine.cube.measure import Measure
from gpu_engine.cube.plan import sliced
from gpu_engine.cube.provider import AggregateProvider
from gpu_engine.cube.query import Query
from gpu_engine.database.version_name import epoch_named
from gpu_engine.errors import EpochNotRetainedError, InvalidQueryError, UnknownMeasureError

if TYPE_CHECKING:
    from gpu_engine.cube.cube import Cube

__all__ = ["LiveQuery", "LiveQueryStatistics"]

MERGE_AFTER = 64
"""Epochs with changes that a subscriber may be behind before they are merged into one change."""

_CLOSING_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LiveQueryStatistics:
    """Figures of one live query."""

    measures: tuple[str, ...]
    levels: tuple[str, ...]
    branch: str
    epoch: int
    """What `on_change` has been told of; without it the newest epoch, since its user asks when it wants."""
    lag: int
    """Epochs between that and the newest of the branch."""
    error: str | None
    """What ended it, if it failed. It keeps its aggregates until it is closed."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read, until a measure is redefined."""

    query: Query
    parts: tuple[AggregateProvider, ...]
    """A provider by all levels; with totals, then one by each shorter list of levels."""
    since: float
    """Who has an epoch up to this one may have values of earlier definitions."""


class LiveQuery:
    """A query kept up to date by deltas. Create it with `Cube.live`; close it to free what it keeps."""

    def __init__(
        self,
        cube: Cube,
        query: Query,
        measures: Sequence[Measure],
        branch: str,
        on_change: Callable[[CellChange], None] | None,
    ) -> None:
        self.branch = branch
        self._cube, self._line = cube, cube.database.branch(branch)
        self._measures = measures
        self._reading = _Reading(query, self._open_parts(query), -1)
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self._progress = threading.Condition()
        self._delivered = -1
        self.error: BaseException | None = None
        """What ended it: an error of `on_change`, or of going over to a redefined measure."""
        self._delivery: threading.Thread | None = None
        if on_change is not None:
            self._delivery = threading.Thread(
                target=self._deliver, args=(on_change,), name=f"live {cube.name}", daemon=True
            )
            self._delivery.start()

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def query(self) -> Query:
        """What is asked, its measures as they are defined now."""
        return self._reading.query

    @property
    def epoch(self) -> int:
        """The epoch that `on_change` has been told of (-1 before the snapshot); without `on_change` the head."""
        return self._line.head.epoch if self._delivery is None else self._delivered

    def statistics(self) -> LiveQueryStatistics:
        """Return figures for operators and tests."""
        query, epoch = self.query, self.epoch
        return LiveQueryStatistics(
            tuple(name for name, _ in query.measures),
            tuple(level.name for level in query.levels),
            self.branch,
            epoch,
            max(0, self._line.head.epoch - max(0, epoch)),
            None if self.error is None else str(self.error) or type(self.error).__name__,
        )

    def result(self, mode: str = "pandas") -> Any:
        """Return the cells at `epoch` as `Cube.query` would; at the head if that epoch is no longer kept.

        Raises
        ------
        InvalidQueryError
            If the mode is neither pandas nor arrow, or the live query is closed.
        SessionClosedError
            If the session is closed.
        """
        if mode not in ("pandas", "arrow"):
            raise InvalidQueryError([f"mode {mode!r}: use 'pandas' or 'arrow'."])
        epoch = max(self.epoch, 0)
        answer = self._answer_at(self._reading, epoch)
        if answer is None:
            epoch, answer = self._newest()
        return frame_of(answer) if mode == "pandas" else answer.to_arrow(epoch, self.branch)

    def wait_for(self, epoch: int, timeout: float | None = None) -> bool:
        """Wait until `self.epoch` is at least `epoch`; return False if it is not within `timeout` seconds."""
        epoch = epoch_named(epoch)
        if self._delivery is None:
            return self._cube.database.wait_for_commit(epoch - 1, timeout, branch=self.branch) >= epoch
        with self._progress:
            self._progress.wait_for(lambda: self._delivered >= epoch or self._ended(), timeout)
        return self._delivered >= epoch

    def changes_since(
        self, epoch: int | None, merge: bool = False, until: int | None = None
    ) -> tuple[list[CellChange], int]:
        """Return what changed after an epoch, and the epoch up to which that is all.

        Parameters
        ----------
        epoch : int or None
            The epoch that the caller has; None if it has nothing yet.
        merge : bool
            Whether all epochs are to be told of as one change; a cell that is again what it was is then not in it.
        until : int or None
            The last epoch to tell of, so that several live queries can be brought to the same one; by default the head.

        Returns
        -------
        list of CellChange
            One per epoch that changed cells; one for all of them when there are very many; a single snapshot when the
            caller has nothing, the epoch is no longer kept, or a measure was redefined at it or later. A snapshot is
            newer than `until` if that is not kept.
        int
            The epoch to ask with next time.

        Raises
        ------
        InvalidQueryError
            If the live query is closed, or an epoch is no whole number.
        SessionClosedError
            If the session is closed.
        """
        self._refuse_if_closed()
        epoch = None if epoch is None else epoch_named(epoch)
        until = None if until is None else epoch_named(until)
        newest = self._line.head.epoch
        reading = self._reading  # only now: an earlier one may not go on to `newest`
        head = newest if until is None else min(until, newest)
        if epoch is not None and head <= epoch <= newest:
            return [], epoch
        steps = None
        if epoch is not None and reading.since < epoch < head:
            steps = self._steps(reading, epoch, head, merge)
        if steps is not None:
            changes = [self._change(reading, begin, end) for begin, end in steps]
            if all(change is not _GONE for change in changes):
                return [change for change in changes if isinstance(change, CellChange)], head
        answer = self._answer_at(reading, head)
        if answer is None:
            head, answer = self._newest()
        return [snapshot(answer, head, self.branch)], head

    def follow_measures(self) -> None:
        """Go over to measures that have been redefined, if it uses any; one that was removed stays what it was."""
        try:
            with self._changing:
                if not self._closed.is_set():
                    self._redefine()
        except Exception as error:
            self._fail(error)
            self.close()

    def _redefine(self) -> None:
        before = self._reading
        old = before.query.measures
        pairs = zip(old, self._measures, strict=True)
        new = tuple([(name, _definition(given, measure)) for (name, measure), given in pairs])
        if [one.identity() for _, one in new] == [one.identity() for _, one in old]:
            return
        query = replace(before.query, measures=new)
        # Who reads by the old definitions until then has an epoch that is at most the head after it.
        self._reading = _Reading(query, self._open_parts(query), float("inf"))
        self._reading = replace(self._reading, since=self._line.head.epoch)
        self._cube.release(before.parts)

    def close(self) -> None:
        """Stop calling `on_change` and give back what the query keeps. May be called from `on_change`."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._cube.forget(self)
        with self._changing:
            self._cube.release(self._reading.parts)
        self._cube.database.wake()
        with self._progress:
            self._progress.notify_all()
        if self._delivery is not None and self._delivery is not threading.current_thread():
            self._delivery.join(_CLOSING_SECONDS)
            if self._delivery.is_alive():
                _log.error("live query on cube %s: on_change does not return", self._cube.name)

    # -- how --------------------------------------------------------------------------------------------------------

    def _open_parts(self, query: Query) -> tuple[AggregateProvider, ...]:
        slicers = [level.reference for level in query.slicers]
        references = [level.reference for level in query.levels]
        depths = range(len(references), -1, -1) if query.totals else [len(references)]
        acquire, parts = self._cube.acquire, list[AggregateProvider]()
        try:
            for depth in depths:
                levels = [*references[:depth], *slicers]
                parts.append(acquire(levels, query.primitives, query.condition, self.branch, 1))
        except BaseException:
            self._cube.release(parts)
            raise
        return tuple(parts)

    def _refuse_if_closed(self) -> None:
        self._cube.database.refuse_if_closed()
        if self._closed.is_set():
            raise InvalidQueryError(["the live query is closed."])

    def _answer_at(self, reading: _Reading, epoch: int) -> Answer | None:
        self._refuse_if_closed()
        parts = []
        for provider in reading.parts:
            cells = provider.read(epoch)
            if cells is None:
                return None
            try:
                parts.append(self._sliced(cells, epoch))
            except EpochNotRetainedError:
                return None
        return answer_of(reading.query, parts).sorted()

    def _newest(self) -> tuple[int, Answer]:
        while True:
            epoch = self._line.head.epoch
            answer = self._answer_at(self._reading, epoch)
            if answer is not None:
                return epoch, answer

    def _steps(self, reading: _Reading, epoch: int, head: int, merge: bool) -> list[tuple[int, int]] | None:
        """Return the spans of epochs to tell of one by one; None if not all changes are kept."""
        epochs: set[int] = set()
        for provider in [*reading.parts, *self._cube.slicing_providers(reading.query, self.branch)]:
            records = provider.changes(epoch, head)
            if records is None:
                return None
            epochs.update(record.epoch for record in records)
        ends = sorted(epochs)
        if len(ends) > (0 if merge else MERGE_AFTER):
            return [(epoch, head)]
        return list(zip([epoch, *ends], ends, strict=False))

    def _change(self, reading: _Reading, begin: int, end: int) -> CellChange | object | None:
        """Return what changed in begin < epoch <= end; None if no value did, _GONE if it is no longer kept."""
        before, after = [], []
        for provider in reading.parts:
            try:
                moved = self._moved(provider, begin, end)
            except EpochNotRetainedError:
                moved = None
            if moved is None:
                return _GONE
            before.append(moved[0])
            after.append(moved[1])
        return difference(reading.query, before, after, (begin, end), self.branch)

    def _moved(self, provider: AggregateProvider, begin: int, end: int) -> tuple[CellSet, CellSet] | None:
        """Return cells before and after, pair by pair, that hold every cell that may have changed."""
        if any(self._first(slicer, begin) != self._first(slicer, end) for slicer in self.query.slicers):
            old_cells, new_cells = provider.read(begin), provider.read(end)
            if old_cells is None or new_cells is None:
                return None
            return paired_cells(self._sliced(old_cells, begin), self._sliced(new_cells, end))
        records = provider.changes(begin, end)
        if records is None:
            return None
        if not records:
            return self._sliced(provider.no_cells(), end), self._sliced(provider.no_cells(), end)
        before, after = merge_moves(records, provider.levels)
        return self._sliced(before, end), self._sliced(after, end)

    def _first(self, slicer: Level, epoch: int) -> int:
        return self._cube.first_member(slicer, self._line.version(epoch))

    def _sliced(self, cells: CellSet, epoch: int) -> CellSet:
        return sliced(self._cube, self.query, cells, self._line.version(epoch))

    # -- delivery ---------------------------------------------------------------------------------------------------

    def _ended(self) -> bool:
        return self._closed.is_set() or self.error is not None or self._cube.database.closed

    def _deliver(self, on_change: Callable[[CellChange], None]) -> None:
        """Tell `on_change` of the snapshot and of every change, one epoch after the other."""
        known: int | None = None
        try:
            while not self._ended():
                changes, head = self.changes_since(known)
                for change in changes:
                    if self._closed.is_set():
                        return
                    on_change(change)
                    self._advance(change.epoch)
                self._advance(head)
                known = head
                self._cube.database.wait_for_commit(known, until=self._closed.is_set, branch=self.branch)
        except BaseException as error:
            if not self._closed.is_set():
                self._fail(error)
            with self._progress:
                self._progress.notify_all()

    def _fail(self, error: BaseException) -> None:
        self.error = error
        _log.error("live query on cube %s stopped", self._cube.name, exc_info=error)
        self._cube.report_failure(f"live query on cube {self._cube.name}", error)

    def _advance(self, epoch: int) -> None:
        if epoch == self._delivered:
            return
        with self._progress:
            self._delivered = epoch
            self._progress.notify_all()


def _definition(given: Measure, known: Measure) -> Measure:
    """Return what a measure stands for now; what it stood for if it has been removed."""
    try:
        return given.expand()
    except UnknownMeasureError:
        return known


_GONE = object()
