"""A listener that writes down what it is told, checks the order of it, and keeps the rows that follow from it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

import gpu_engine as ge

TIMEOUT = 30.0
RANK = {"truncate": 0, "partition_dropped": 0, "records_deleted": 1, "records_updated": 2, "records_added": 3}

Line = tuple[Any, ...]
"""The partition, then the fields of a row."""
Lines = Counter[Line]


@dataclass
class Told:
    """One transaction as it was told."""

    branch: str
    epoch: int
    info: ge.TransactionInfo
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    """(name, partition, rows ...) of each call, rows as lists of tuples."""
    end: str = ""
    """Name of the call that ended it."""
    known: Lines = field(default_factory=Counter)
    """What the listener knew of the branch then, if it committed and that is to be kept."""

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def rows(self, name: str, place: int = 2) -> list[Line]:
        """Return all rows of calls of one name, each with its partition in front."""
        return [(call[1], *row) for call in self.calls if call[0] == name for row in call[place]]


def tuples(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    assert isinstance(batch, pa.RecordBatch)
    assert batch.num_rows > 0
    columns = [map(hashable, column.to_pylist()) for column in batch.columns]
    return list(zip(*columns, strict=True))


def hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Recorder:
    """Fails, and so ends its registration, at anything that a listener must not see."""

    def __init__(self, known: Mapping[str, Iterable[Line]] | None = None, *, keep_states: bool = True) -> None:
        self.told: list[Told] = []
        self.rows: dict[str, Lines] = {branch: Counter(lines) for branch, lines in (known or {}).items()}
        """Branch -> what the listener knows of it."""
        self.states: dict[tuple[str, int], Lines] = {}
        """What it knew when a transaction had been told, if that is to be kept."""
        self._keep_states = keep_states
        self.schemas: set[pa.Schema] = set()
        self.batches: list[pa.RecordBatch] = []
        self.failure: BaseException | None = None
        self._open: Told | None = None
        self._thread: int | None = None

    # -- calls ------------------------------------------------------------------------------------------------------

    def transaction_started(self, epoch: int, info: ge.TransactionInfo) -> None:
        self._same_thread()
        assert self._open is None
        assert info.epoch == epoch
        assert all(epoch >= told.epoch for told in self.told[-1:] if told.end == "transaction_committed")
        self._open = Told(info.branch, epoch, info)
        if info.initial:
            self.rows[info.branch] = Counter()

    def truncate(self) -> None:
        self._note("truncate")
        self._known().clear()

    def partition_dropped(self, partition: Any, conditions: Mapping[str, Any], rows: pa.RecordBatch) -> None:
        self._note("partition_dropped", partition, rows)
        assert list(conditions.values()) == [partition]
        self._take(partition, tuples(rows))
        assert not any(line[0] == partition for line in self._known())

    def records_deleted(self, partition: Any, rows: pa.RecordBatch) -> None:
        self._note("records_deleted", partition, rows)
        self._take(partition, tuples(rows))

    def records_updated(self, partition: Any, old: pa.RecordBatch, new: pa.RecordBatch) -> None:
        self._note("records_updated", partition, old, new)
        assert old.num_rows == new.num_rows
        assert all(before != after for before, after in zip(tuples(old), tuples(new), strict=True))
        self._take(partition, tuples(old))
        self._known().update((partition, *row) for row in tuples(new))

    def records_added(self, partition: Any, rows: pa.RecordBatch) -> None:
        self._note("records_added", partition, rows)
        self._known().update((partition, *row) for row in tuples(rows))

    def transaction_committed(self, epoch: int) -> None:
        told = self._end("transaction_committed")
        assert epoch == told.epoch
        rows = self.rows.setdefault(told.branch, Counter())
        if self._keep_states:
            self.states[told.branch, epoch] = told.known = Counter(rows)

    def transaction_rolled_back(self) -> None:
        assert not self._end("transaction_rolled_back").calls

    def on_self_failure(self, error: BaseException) -> None:
        assert self.failure is None
        self.failure = error

    # -- for tests --------------------------------------------------------------------------------------------------

    def lines(self, branch: str = "master") -> list[Line]:
        """Return the rows that the listener knows, sorted."""
        return sorted(self.rows[branch].elements(), key=repr)

    def last(self) -> Told:
        return self.told[-1]

    # -- how --------------------------------------------------------------------------------------------------------

    def _note(self, name: str, partition: Any = None, *batches: pa.RecordBatch) -> None:
        self._same_thread()
        assert self._open is not None
        assert all(RANK[earlier] <= RANK[name] for earlier in self._open.names())
        self._open.calls.append((name, partition, *map(tuples, batches)))
        self.batches += batches
        self.schemas.update(batch.schema for batch in batches)

    def _end(self, name: str) -> Told:
        self._same_thread()
        assert self._open is not None
        told, self._open = self._open, None
        told.end = name
        self.told.append(told)
        return told

    def _known(self) -> Lines:
        assert self._open is not None
        return self.rows.setdefault(self._open.branch, Counter())

    def _take(self, partition: Any, rows: list[tuple[Any, ...]]) -> None:
        known = self._known()
        for line in ((partition, *row) for row in rows):
            assert known[line] > 0, f"never heard of {line}"
            known[line] -= 1
            if not known[line]:
                del known[line]

    def _same_thread(self) -> None:
        self._thread = self._thread or threading.get_ident()
        assert self._thread == threading.get_ident()


class Blocking(Recorder):
    """Stands still in a call until it is let go."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.entered, self.let_go = threading.Event(), threading.Event()
        self._method, self._before = method, getattr(self, method)
        setattr(self, method, self._stand)

    def _stand(self, *arguments: Any) -> None:
        self._before(*arguments)
        self.entered.set()
        assert self.let_go.wait(TIMEOUT)


class Boom(Exception):
    code = "boom"


class Failing(Recorder):
    """Raises at the n-th call of a method."""

    def __init__(self, method: str, at: int = 1) -> None:
        super().__init__()
        self._left, self._before = at, getattr(self, method)
        setattr(self, method, self._raise)

    def _raise(self, *arguments: Any) -> None:
        self._left -= 1
        if not self._left:
            raise Boom("no more")
        self._before(*arguments)


def follow(
    session: ge.Session,
    fields: Any = None,
    where: ge.Condition | None = None,
    *,
    table: str = "trades",
    listener: Any = None,
    from_epoch: int | None = None,
    **options: Any,
) -> tuple[ge.Registration, Any]:
    """Register a listener, by default a recorder, and wait until it is attached."""
    listener = Recorder() if listener is None else listener
    query = session.database.prepare.list(table, fields, where)
    registration = session.database.streamer.register(query, listener, ge.StreamOptions(**options), from_epoch)
    registration.attached.result(TIMEOUT)
    return registration, listener


def caught_up(session: ge.Session, registration: ge.Registration) -> None:
    """Wait until a registration has told everything."""
    newest = max(branch.epoch for branch in session.branches.values())
    reached = registration.wait_for(newest, TIMEOUT)
    if registration.error is not None:
        raise registration.error
    assert reached


def ended(registration: ge.Registration) -> bool:
    """Wait until a registration has ended."""
    registration.wait_for(2**62, TIMEOUT)
    return not registration.active


def commit(table: ge.Table, times: int) -> None:
    for number in range(times):
        table.append((1, "Paris", 1000 + len(table) + number))


def known_at(recorder: Recorder, epoch: int) -> dict[str, list[Any]]:
    return {branch: list(lines.elements()) for (branch, at), lines in recorder.states.items() if at == epoch}
