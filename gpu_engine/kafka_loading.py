"""Loading from Kafka: batches of a topic become transactions that carry their positions.

Floor 5. Rows, offsets and dead letters of a batch are one commit. With a data directory they are one record of the log,
and a restart goes on at the offsets that came with the rows: each message counts once. Without one, offsets are
committed to the consumer group after the rows: at least once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_engine.database.database import Database
from gpu_engine.database.dead_letter import DeadLetter
from gpu_engine.database.operation import Operation
from gpu_engine.database.source_notes import SourceNotes
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transactions
from gpu_engine.errors import (
    EngineError,
    InvalidModelError,
    KafkaError,
    LogFailedError,
    LogWriteError,
    MemoryShortageError,
    SessionClosedError,
    UnknownTableError,
)
from gpu_engine.kafka_staging import letter_of, stage_batch
from gpu_engine.storage.table_store import TableStore
from gpu_engine.supervisor import Supervisor
from loaders.errors import SourceError
from loaders.kafka import KafkaSource, Partition
from loaders.kafka_decoding import decode_json, decode_records
from loaders.kafka_record import Deserializer, KafkaRecord, UnavailableError
from loaders.kafka_settings import KafkaSettings

__all__ = ["KafkaLoad", "KafkaLoadStatistics", "KafkaLoads"]

_PATIENCE_SECONDS = 1.0
"""After a batch that could not be kept yet the next try waits so long."""
_WAIT_SECONDS = 0.02
_LASTING = (LogFailedError, SessionClosedError)
_PASSING = (LogWriteError, MemoryShortageError, UnavailableError)


@dataclass(frozen=True, slots=True)
class KafkaLoadStatistics:
    """Figures of one load from Kafka at one moment."""

    topic: str
    group_id: str
    state: str
    """running, paused, stopped or failed."""
    assigned: tuple[int, ...]
    """Partitions that are read here."""
    positions: Mapping[int, int]
    """Partition -> the offset that follows the last message that was committed here."""
    messages_total: int
    """Messages that came, those read twice included."""
    batches_total: int
    """Transactions."""
    dead_letters_total: int
    rebalances_total: int
    commit_failures_total: int
    """Commits of offsets to the group that failed; each is tried again."""
    waiting: int
    """Messages gathered for the next batch."""


class KafkaLoad:
    """A load from Kafka that goes on until it is stopped, or the session is closed."""

    def __init__(
        self,
        settings: KafkaSettings,
        routes: Mapping[str, Deserializer],
        stores: Mapping[str, TableStore],
        transactions: Transactions,
        notes: SourceNotes,
        supervisor: Supervisor,
    ) -> None:
        self.topic, self.group_id = settings.topic, settings.group_id
        self._routes, self._stores, self._transactions = routes, stores, transactions
        self._notes, self._supervisor = notes, supervisor
        self._component = f"kafka topic {self.topic!r}, group {self.group_id!r}"
        self._applying = threading.Lock()
        self._paused = False
        self._unkept: BaseException | None = None
        self._reported: BaseException | None = None
        self._batches_total = self._dead_letters_total = 0
        try:
            self._source = KafkaSource(settings, self._remembered, self._given_up)
        except SourceError as error:
            raise InvalidModelError(str(error)) from error
        self._task = supervisor.start(self._component, self._run)

    def __repr__(self) -> str:
        return f"KafkaLoad(topic={self.topic!r}, group_id={self.group_id!r}, {self.state})"

    # -- for users --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One of running, paused, stopped and failed."""
        if self._task.alive:
            return "paused" if self._paused else "running"
        return "stopped" if self._task.error is None else "failed"

    @property
    def error(self) -> BaseException | None:
        """What has ended the load, or keeps it from reading at the moment; None while all is well."""
        return self._task.error or self._reported

    def stop(self) -> None:
        """Commit nothing more and leave the group; a commit under way is finished. Calling it again does nothing."""
        self._task.request_stop()
        self._source.request_close()
        self._task.stop()
        if self._reported is not None:
            self._supervisor.clear(self._component)

    def pause(self) -> None:
        """Commit nothing more until `resume`; a commit under way is finished. The group keeps its partitions here."""
        with self._applying:
            self._paused = True
            self._source.pause()

    def resume(self) -> None:
        """Go on where `pause` has stopped."""
        with self._applying:
            self._paused = False
            self._source.resume()

    def lag(self) -> int | None:
        """Return how many messages of the partitions read here are not committed yet; the broker is asked.

        Returns
        -------
        int or None
            None before the group has given out partitions.

        Raises
        ------
        KafkaError
            If the broker does not answer, or the load has ended.
        """
        try:
            return self._source.lag()
        except SourceError as error:
            raise KafkaError(self.topic, error.reason) from error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all messages of the partitions read here are committed; return False after `timeout` seconds.

        Raises
        ------
        KafkaError
            If the load ends before that.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._task.alive:
                raise KafkaError(self.topic, f"the load has ended: {self._task.error or 'it was stopped'}")
            if self._reported is None and self.lag() == 0:
                return True
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(_WAIT_SECONDS)

    def statistics(self) -> KafkaLoadStatistics:
        """Return the figures of now."""
        found = self._source.statistics()
        return KafkaLoadStatistics(
            self.topic,
            self.group_id,
            self.state,
            found.assigned,
            found.positions,
            found.messages_total,
            self._batches_total,
            self._dead_letters_total,
            found.rebalances_total,
            found.commit_failures_total,
            found.waiting,
        )

    # -- its thread -------------------------------------------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        try:
            while not stopping.is_set():
                due = self._source.gather()
                self._show(self._unkept or self._source.trouble)
                with self._applying:
                    wait = self._take_one() if due and not self._paused else 0.0
                if wait:
                    stopping.wait(wait)
        except SourceError as error:
            raise KafkaError(self.topic, error.reason) from error
        finally:
            self._source.request_close()
            self._source.close()

    def _take_one(self) -> float:
        """Commit a batch; return how long to wait before the next, in seconds."""
        batch = self._source.take()
        try:
            self._apply(batch.records, batch.positions)
        except _PASSING as error:
            self._unkept = error
            self._show(error)
            self._source.rewind(batch)
            return _PATIENCE_SECONDS
        self._unkept = None
        return 0.0

    def _apply(self, records: Sequence[KafkaRecord], positions: Mapping[Partition, int]) -> None:
        """Commit messages; if a commit is refused for what they bring, halve them until the bad one stands alone."""
        decoded = decode_records(records, self._routes)
        operations, letters = stage_batch(decoded, self._stores)
        try:
            self._commit(operations, letters, positions)
        except (*_LASTING, *_PASSING):
            raise
        except EngineError as error:
            if len(records) == 1:
                tables = [table for table, routed in decoded.routes.items() if routed.contents]
                refused = {letter.id: letter for letter in (letter_of(table, records[0], error) for table in tables)}
                self._commit([], [*refused.values(), *(one for one in letters if one.id not in refused)], positions)
                return
            half = len(records) // 2
            self._apply(records[:half], _after(records[:half]))
            self._apply(records[half:], positions)

    def _commit(
        self, operations: Sequence[Operation], letters: Sequence[DeadLetter], positions: Mapping[Partition, int]
    ) -> None:
        with self._transactions.start() as transaction:
            transaction.operations += operations
            transaction.positions |= {self._name(one): offset for one, offset in positions.items()}
            transaction.dead_letters += [letter.to_json() for letter in letters]
        self._source.acknowledge(positions)
        self._batches_total += 1
        self._dead_letters_total += len(letters)

    def _show(self, trouble: BaseException | None) -> None:
        """Let a trouble show in health while it lasts."""
        if isinstance(trouble, SourceError):
            trouble = KafkaError(self.topic, trouble.reason)
        elif isinstance(trouble, UnavailableError):
            trouble = KafkaError(self.topic, f"{trouble}. The same messages are read again later.")
        before, self._reported = self._reported, trouble
        if trouble is None and before is not None:
            self._supervisor.clear(self._component)
        elif trouble is not None and before is None:
            self._supervisor.report(self._component, trouble)

    # -- positions --------------------------------------------------------------------------------------------------

    def _name(self, partition: Partition) -> str:
        topic, number = partition
        return f"kafka group {self.group_id} topic {topic} partition {number}"

    def _remembered(self, partition: Partition) -> int | None:
        found = self._notes.positions.get(self._name(partition))
        return None if found is None else int(found)

    def _given_up(self, partitions: Sequence[Partition]) -> None:
        """Forget positions of partitions that another member goes on with, at offsets that the group has."""
        known = self._notes.positions
        names = [name for partition in partitions if (name := self._name(partition)) in known]
        try:
            if names:
                with self._transactions.start() as transaction:
                    transaction.positions |= dict.fromkeys(names)
        except EngineError as error:
            self._supervisor.report(f"{self._component}: positions of partitions that have gone", error)


class KafkaLoads:
    """The loads from Kafka of a session."""

    def __init__(
        self,
        database: Database,
        tables: Mapping[str, Table],
        transactions: Transactions,
        supervisor: Supervisor,
    ) -> None:
        self._database, self._tables, self._transactions = database, tables, transactions
        self._supervisor = supervisor
        self.started: list[KafkaLoad] = []
        """Loads that have been started."""
        self._deserializers: dict[tuple[str, str], Deserializer] = {}

    def start(self, routes: Mapping[Any, Deserializer | None], settings: Mapping[str, Any]) -> KafkaLoad:
        """Start a load; parameters and errors as `Session.load_kafka`."""
        self._database.refuse_if_closed()
        names = {_name_of(table): deserializer or decode_json for table, deserializer in dict(routes).items()}
        if not names:
            raise InvalidModelError("load_kafka() needs routes: a deserializer, or None for JSON, for each table.")
        for name, deserializer in names.items():
            if name not in self._tables:
                raise UnknownTableError(name, self._tables)
            if not callable(deserializer):
                raise InvalidModelError(f"the deserializer of table {name!r} is no function but {deserializer!r}.")
        try:
            wanted = KafkaSettings(**settings)
        except (TypeError, ValueError) as error:
            raise InvalidModelError(f"load_kafka: {error}") from error
        stores = {name: self._tables[name].store for name in names}
        load = KafkaLoad(wanted, names, stores, self._transactions, self._database.notes, self._supervisor)
        self._deserializers |= {(wanted.topic, name): deserializer for name, deserializer in names.items()}
        self.started = [*(other for other in self.started if other.state != "stopped"), load]
        return load

    def deserializer(self, topic: str, table: str) -> Deserializer | None:
        """Return what a load of this session last made of a topic's messages for a table; None if there was none."""
        return self._deserializers.get((topic, table))

    def stop(self) -> None:
        """End all loads."""
        for load in self.started:
            load.stop()


def _after(records: Sequence[KafkaRecord]) -> dict[Partition, int]:
    return {(record.topic, record.partition): record.offset + 1 for record in records}


def _name_of(table: Any) -> str:
    return str(getattr(table, "name", table))
