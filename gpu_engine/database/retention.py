"""Retention: which epochs stay readable, and the compaction that reclaims what no readable epoch shows.

Floor 3. An epoch stays readable while it is among the newest ones, or young, or pinned, or somebody holds a version of
it. Rows that no such epoch shows are dropped, table by table, while the writer goes on; it is held only for what
happened meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any

from gpu_engine.backend.array_backend import Array
from gpu_engine.backend.heap import give_back_freed_memory
from gpu_engine.database.branch import MASTER
from gpu_engine.database.commit import Version
from gpu_engine.database.commit_log import Pinned, Unpinned
from gpu_engine.errors import EpochNotRetainedError, InvalidModelError, SessionClosedError
from gpu_engine.storage.compaction import Compaction
from gpu_engine.storage.epoch_counts import EpochCounts
from gpu_engine.storage.table_store import TableStore
from gpu_engine.storage.table_version import Lineage

if TYPE_CHECKING:
    from gpu_engine.database.database import Database

__all__ = ["CompactionReport", "Pin", "Retention", "RetentionPolicy", "TableCompaction"]

_COMPACTION_SECONDS = 0.5
_WORTH_ROWS = 100_000
"""Dead rows below which automatic compaction leaves a table alone."""


def _is_number(given: Any, kind: type | UnionType) -> bool:
    return isinstance(given, kind) and not isinstance(given, bool)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Which epochs stay readable although nobody pins or holds them."""

    epochs: int = 1000
    """So many before the newest one."""
    seconds: float = 0.0
    """Those younger than this."""

    def __post_init__(self) -> None:
        """Refuse what is no number of epochs or of seconds."""
        epochs, seconds = self.epochs, self.seconds
        if not (_is_number(epochs, int) and _is_number(seconds, int | float) and epochs >= 0 and seconds >= 0):
            raise InvalidModelError(f"{self!r}: give the number of epochs and seconds to keep, 0 or more.")


@dataclass(frozen=True, slots=True)
class TableCompaction:
    """What compaction did to one table."""

    rows_before: int
    rows_after: int
    nbytes_before: int
    nbytes_after: int


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What one compaction did."""

    oldest_epoch: int
    """Epochs before this are readable only if pinned or held."""
    tables: dict[str, TableCompaction]
    """Tables that had rows to reclaim."""
    memory_before: int
    """Bytes used when it began: of the process on the CPU, of the device on a GPU."""
    memory_after: int
    """The same when it ended. A version that somebody still reads keeps the old rows until it is let go."""
    milliseconds: float


class Pin:
    """Keeps one epoch readable until it is released; a context manager."""

    def __init__(self, retention: Retention, branch: str, epoch: int) -> None:
        self._retention, self.branch, self.epoch = retention, branch, epoch
        self._released = False

    def __repr__(self) -> str:
        return f"Pin({self.branch!r}, epoch {self.epoch}{', released' if self._released else ''})"

    def __enter__(self) -> Pin:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the epoch go; calling it again does nothing."""
        if not self._released:
            self._released = True
            self._retention.unpin(self.branch, self.epoch)


class Retention:
    """Owner of pins, of the oldest readable epoch, and of compaction."""

    def __init__(self, database: Database, policy: RetentionPolicy) -> None:
        self.policy = policy
        self.oldest_epoch = 0
        """Epochs before this are readable only if pinned or held."""
        self.last_report: CompactionReport | None = None
        self.reports_total = 0
        self._database = database
        self._pins: Counter[tuple[str, int]] = Counter()
        self._times = EpochCounts()
        self._compacting = threading.Lock()
        self._kept: dict[TableStore, int] = {}
        """Rows that the last compaction had to keep, so that nothing is gained by another one just now."""

    def note(self, epoch: int) -> None:
        """Note when an epoch began; the writer calls it with every commit."""
        if self.policy.seconds:
            self._times.append(epoch, time.monotonic_ns())

    def readable(self, branch: str, epoch: int) -> bool:
        """Return whether an epoch that is not ahead can be read."""
        return epoch >= self.oldest_epoch or self._pins[branch, epoch] > 0

    def not_readable(self, branch: str, epoch: int) -> EpochNotRetainedError:
        """Return the error that an epoch of a branch cannot be read, and which ones can."""
        pinned = [pin for name, pin in self.pins if name == branch and pin < self.oldest_epoch]
        return EpochNotRetainedError(epoch, self.oldest_epoch, self._database.last_epoch, pinned)

    def hold(self, version: Version) -> Version:
        """Return a version whose rows stay for as long as somebody has the object.

        Raises
        ------
        EpochNotRetainedError
            If nobody has held it so far and its rows are no longer kept.
        """
        if version not in self._database.held_versions():
            self._database.hold(version)
            if not self.readable(version.branch, version.epoch):
                raise self.not_readable(version.branch, version.epoch)
        return version

    def pin(self, branch: str = MASTER, epoch: int | None = None) -> Pin:
        """Keep an epoch readable, by default the head; errors as `Database.version`."""
        if epoch is not None:
            self._database.log.keep(self._database.version(branch, epoch))
        with self._database.writing():
            version = self._database.version(branch, epoch)
            acknowledge = self._database.log.append(Pinned(branch, version.epoch))
            self._pins[branch, version.epoch] += 1
        acknowledge()
        return Pin(self, branch, version.epoch)

    def unpin(self, branch: str, epoch: int) -> None:
        """Take one pin back."""
        with suppress(SessionClosedError), self._database.writing():
            self._database.log.append(Unpinned(branch, epoch))
            self._pins[branch, epoch] -= 1
            if not self._pins[branch, epoch]:
                del self._pins[branch, epoch]
            self.reconsider()

    def restore(self, oldest_epoch: int, pins: Iterable[tuple[str, int]]) -> None:
        """Go on from what another process left: its pins, and the epoch from which on all is there."""
        self.oldest_epoch, self._pins = oldest_epoch, Counter(pins)

    def restored_pin(self, branch: str, epoch: int) -> Pin:
        """Return the pin of an epoch that is pinned already, so that it can be released."""
        return Pin(self, branch, epoch)

    @property
    def pins(self) -> list[tuple[str, int]]:
        """(branch, epoch) of every pin."""
        return sorted(self._pins.elements())

    # -- compaction -------------------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Return whether some table has so many dead rows that compaction is worth its cost."""
        return any(self._dead_rows(store) > max(_WORTH_ROWS, self._wanted_rows(store)) for store in self._stores())

    def reconsider(self) -> None:
        """Take notice that rows may be reclaimed which the last compaction had to keep."""
        self._kept.clear()

    def compact_when_due(self, stopping: threading.Event) -> None:
        """Look now and then whether compaction is due, until asked to stop."""
        while not stopping.wait(_COMPACTION_SECONDS):
            if self.due():
                self.compact()

    def compact(self) -> CompactionReport:
        """Reclaim the rows that no readable epoch shows; one compaction at a time."""
        started, memory = time.perf_counter(), self._database.backend.memory
        with self._compacting:
            used = memory().used
            with self._database.writing():
                oldest = max(self.oldest_epoch, self._oldest_wanted())
                self.oldest_epoch = oldest
                for observer in self._database.observers:
                    observer.forget_before(oldest)
                self._forget_branches()
            tables = {}
            for store in self._stores():
                done = self._compact(store, oldest)
                if done is not None:
                    tables[store.name] = done
        if tables:
            give_back_freed_memory()
        self.reports_total += 1
        milliseconds = (time.perf_counter() - started) * 1e3
        self.last_report = report = CompactionReport(oldest, tables, used, memory().used, milliseconds)
        return report

    def _forget_branches(self) -> None:
        """Let tables forget what branches did that are gone and that no held version shows."""
        database = self._database
        numbers = {branch.number for branch in database.branches.values()}
        numbers |= {number for version in database.held_versions() for number, _ in version.lineage}
        for store in self._stores():
            store.keep_branches(numbers)

    def _compact(self, store: TableStore, oldest: int) -> TableCompaction | None:
        before = store.nbytes
        with self._database.writing():
            if self._database.attaching(store):
                return None
            rows_before, newest = store.rows.row_count, self._database.branch(MASTER).head.table(store)
            lineages = self._retained(oldest)
            compaction = Compaction(store)
        try:
            keep = self._keep(store, lineages, rows_before, oldest)
            dropped = int(self._database.backend.scalar((~keep).sum()))
            self._kept[store] = rows_before - dropped
            if not dropped:
                compaction.abandon()
                return None
            compaction.build(keep, newest)
        except BaseException:
            compaction.abandon()
            raise
        with self._database.writing():
            if self._database.attaching(store):
                compaction.abandon()
                return None
            self._database.renumber(store, compaction.finish())
        return TableCompaction(rows_before, rows_before - dropped, before, store.nbytes)

    def _keep(self, store: TableStore, lineages: Iterable[Lineage], rows: int, oldest: int) -> Array:
        """Return (rows,) bool: which rows some readable epoch shows."""
        xp = self._database.backend.xp
        keep = xp.arange(rows) >= store.rows.row_counts.at(oldest)
        for lineage in lineages:
            version = store.version(lineage)
            keep[: version.row_count] |= version.alive(slice(0, version.row_count))
        return keep

    def _retained(self, oldest: int) -> set[Lineage]:
        """Return the versions whose rows to keep, besides all rows born after the oldest epoch."""
        branches = self._database.branches
        numbers = {branch.number for branch in branches.values()}
        held = self._database.held_versions()
        # Of a branch that is gone, versions after the oldest epoch show rows that this one shows, or younger ones.
        older = {
            ((number, min(epoch, oldest)), *parents)
            for version in held
            for (number, epoch), *parents in [version.lineage]
            if epoch < oldest or number not in numbers
        }
        pinned = {branches[name].lineage(epoch) for name, epoch in self._pins if epoch < oldest}
        return older | pinned | {branch.lineage(oldest) for branch in branches.values()}

    def _oldest_wanted(self) -> int:
        head = self._database.last_epoch
        oldest = max(0, head - self.policy.epochs)
        if self.policy.seconds:
            begun = time.monotonic_ns() - int(self.policy.seconds * 1e9)
            oldest = min(oldest, self._times.first_at_least(begun))
        return min([oldest, *(observer.oldest_wanted() for observer in self._database.observers)])

    def _stores(self) -> list[TableStore]:
        return list(self._database.stores.values())

    def _wanted_rows(self, store: TableStore) -> int:
        """Return how many rows, at least, have to stay."""
        alive = max(line.head.table(store).alive_count for line in self._database.branches.values())
        return max(alive, self._kept.get(store, 0))

    def _dead_rows(self, store: TableStore) -> int:
        return min(store.rows.row_counts.at(self._oldest_wanted()), store.rows.row_count) - self._wanted_rows(store)
