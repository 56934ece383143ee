"""A Kafka topic as batches of messages, each batch with the positions after it.

Floor 0: imports other files of loaders. One thread gathers; `lag`, `pause`, `resume` and `statistics` may be asked from
any. Memory is bounded: a batch by its size, and what librdkafka fetches ahead by `kafka_settings.AHEAD_KILOBYTES`.

Where to go on is never left to the broker alone: every partition that is assigned is placed at what was reached here,
else at the position that the owner remembers, else at the group's committed offset, else at the start asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import confluent_kafka as ck

from loaders.errors import SourceError
from loaders.kafka_decoding import record_of
from loaders.kafka_record import KafkaRecord
from loaders.kafka_settings import KafkaSettings
from loaders.kafka_start import PATIENCE_SECONDS, begin

__all__ = ["KafkaBatch", "KafkaSource", "KafkaSourceStatistics", "Partition"]

BATCH_BYTES = 32 << 20
"""A batch whose keys and values take more is given, however few they are."""
_TICK = 0.1

_log = logging.getLogger(__name__)

Partition = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class KafkaBatch:
    """Some messages and how far the topic has been read with them."""

    records: Sequence[KafkaRecord]
    """In the order in which they came; those of one partition are in the order of their offsets."""
    positions: Mapping[Partition, int]
    """The offset to go on with, for each partition."""


@dataclass(frozen=True, slots=True)
class KafkaSourceStatistics:
    """Figures of one moment."""

    assigned: tuple[int, ...]
    """Partitions that are read here."""
    positions: Mapping[int, int]
    """Partition -> offset after the last batch that was acknowledged here."""
    messages_total: int
    rebalances_total: int
    commit_failures_total: int
    """Commits of offsets to the group that failed; each is tried again."""
    waiting: int
    """Messages gathered for the next batch."""


class KafkaSource:
    """A member of a consumer group.

    Parameters
    ----------
    remembered : callable
        Partition -> the position that is kept with the rows, or None.
    given_up : callable
        Told of partitions that another member goes on with, at offsets that the group has.

    Raises
    ------
    SourceError
        If librdkafka refuses the settings.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        remembered: Callable[[Partition], int | None] = lambda partition: None,
        given_up: Callable[[Sequence[Partition]], None] = lambda partitions: None,
    ) -> None:
        self.settings, self._remembered, self._given_up = settings, remembered, given_up
        self._waiting: list[ck.Message] = []
        self._waiting_bytes = 0
        self._due_at = 0.0
        self._reached: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._assigned: set[Partition] = set()
        self._uncommitted: dict[Partition, int] = {}
        self._try_at = 0.0
        self._paused = self._closing = self._closed = False
        self._placed_once = False
        self._using = threading.Lock()
        self._messages_total = self._rebalances_total = self._commit_failures_total = 0
        self.trouble: BaseException | None = None
        """What keeps the topic from being read at the moment; None while all is well."""
        try:
            config = settings.consumer()
            self._consumer = ck.Consumer(
                {**config, "error_cb": self._troubled, "on_commit": self._committed, "logger": _log}
            )
            # A broker answers the requests of a connection in order: a question would wait behind a waiting fetch.
            self._enquirer = ck.Consumer({**config, "logger": _log})
            self._consumer.subscribe([settings.topic], self._on_assign, self._on_revoke, self._on_lost)
        except (ck.KafkaException, TypeError, ValueError) as error:
            raise SourceError(self._where, f"librdkafka refuses the settings: {error}") from error

    @property
    def _where(self) -> str:
        return f"kafka topic {self.settings.topic}"

    # -- the thread that gathers ------------------------------------------------------------------------------------

    def gather(self) -> bool:
        """Listen to the broker for a moment; return whether a batch is due.

        Raises
        ------
        SourceError
            If a position is no longer at the broker, or the client can never work again.
        """
        wait = _TICK if not self._waiting else min(_TICK, max(0.0, self._due_at - time.monotonic()))
        first = self._consumer.poll(0 if self._full and not self._paused else wait)
        if first is not None:
            room = max(1, self.settings.batch_size - len(self._waiting) - 1)
            for message in [first, *self._consumer.consume(room, timeout=0)]:
                self._take_in(message)
        self._tend()
        return bool(self._waiting) and not self._paused and (self._full or time.monotonic() >= self._due_at)

    def take(self) -> KafkaBatch:
        """Return all that has been gathered; it counts as read once it is acknowledged."""
        records = [record_of(message) for message in self._waiting]
        self._waiting, self._waiting_bytes = [], 0
        positions = {one: self._reached[one] for one in self._assigned if one in self._reached}
        for record in records:
            positions[record.topic, record.partition] = record.offset + 1
        for one, end in self._ends.items():
            positions[one] = max(end, positions.get(one, 0))
        self._ends = {}
        return KafkaBatch(records, positions)

    def acknowledge(self, positions: Mapping[Partition, int]) -> None:
        """Note that rows and positions are kept; the group is told."""
        self._reached |= positions
        self._uncommitted |= {one: offset for one, offset in positions.items() if one in self._assigned}
        self._commit()

    def rewind(self, batch: KafkaBatch) -> None:
        """Read those messages of a batch once more that were not acknowledged, and forget what came after them."""
        first: dict[Partition, int] = {}
        for record in batch.records:
            first.setdefault((record.topic, record.partition), record.offset)
        for message in self._waiting:
            first.setdefault((str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0))
        self._waiting, self._waiting_bytes, self._ends = [], 0, {}
        for (topic, number), offset in first.items():
            if (topic, number) in self._assigned:
                place = max(offset, self._reached.get((topic, number), offset))
                self._consumer.seek(ck.TopicPartition(topic, number, place))

    def request_close(self) -> None:
        """Let whatever waits for the broker give up."""
        self._closing = True

    def close(self) -> None:
        """Tell the group how far it has come, and leave it. Calling it again does nothing."""
        with self._using:
            if self._closed:
                return
            self._closing = self._closed = True
            if self.trouble is None:
                self._commit_now(list(self._uncommitted))
            self._consumer.close()
            self._enquirer.close()

    # -- any thread -------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Give no further batch; the group's member stays."""
        self._paused = True
        self._each_assigned(self._consumer.pause)

    def resume(self) -> None:
        """Go on where it was paused."""
        self._paused = False
        self._each_assigned(self._consumer.resume)

    def lag(self, timeout: float = PATIENCE_SECONDS) -> int | None:
        """Return how many messages wait at the broker or here; None before the group has assigned partitions.

        Raises
        ------
        SourceError
            If the broker does not answer, or the source is closed.
        """
        with self._using:
            if self._closed:
                raise SourceError(self._where, "the load has ended, so there is no lag.")
            if not self._placed_once:
                return None
            behind = 0
            for topic, number in tuple(self._assigned):
                try:
                    found = self._enquirer.get_watermark_offsets(ck.TopicPartition(topic, number), timeout=timeout)
                except ck.KafkaException as error:
                    raise SourceError(self._where, f"the broker does not tell the end of the topic: {error}") from error
                if found is None:
                    raise SourceError(self._where, f"the broker did not answer within {timeout} seconds.")
                behind += max(0, found[1] - self._reached.get((topic, number), found[0]))
            return behind

    def statistics(self) -> KafkaSourceStatistics:
        """Return the figures of now."""
        return KafkaSourceStatistics(
            tuple(sorted(number for _, number in tuple(self._assigned))),
            {number: offset for (_, number), offset in sorted(self._reached.items())},
            self._messages_total,
            self._rebalances_total,
            self._commit_failures_total,
            len(self._waiting),
        )

    # -- messages ---------------------------------------------------------------------------------------------------

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self.settings.batch_size or self._waiting_bytes >= BATCH_BYTES

    def _take_in(self, message: ck.Message) -> None:
        error = message.error()
        if error is None:
            if not self._waiting:
                self._due_at = time.monotonic() + self.settings.batch_duration
            self._waiting.append(message)
            self._waiting_bytes += len(message)
            self._messages_total += 1
            self.trouble = None
        elif error.code() == ck.KafkaError._PARTITION_EOF:
            self._reach_end((str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0))
        elif error.code() == ck.KafkaError._AUTO_OFFSET_RESET:
            raise SourceError(self._where, f"partition {message.partition()} cannot go on: {error.str()}. {_GAP}")
        else:
            self._troubled(error)

    def _reach_end(self, partition: Partition, offset: int) -> None:
        """Note where a partition ends: after its last message, and after what transactions have left there."""
        self.trouble = None
        if any((message.topic(), message.partition()) == partition for message in self._waiting):
            self._ends[partition] = offset
        else:
            self._reached[partition] = max(offset, self._reached.get(partition, 0))

    def _troubled(self, error: ck.KafkaError) -> None:
        if error.fatal():
            raise SourceError(self._where, f"the client cannot go on: {error.str()}")
        self.trouble = SourceError(self._where, f"{error.str()}. It goes on by itself once the broker is back.")
        self._try_at = time.monotonic() + 1.0

    def _tend(self) -> None:
        """Once in a while ask whether a trouble has passed, and tell the group again what it did not hear."""
        if time.monotonic() < self._try_at or not (self.trouble or self._uncommitted):
            return
        self._try_at = time.monotonic() + 1.0
        if self.trouble is not None:
            try:
                found = self._enquirer.list_topics(self.settings.topic, timeout=1.0).topics[self.settings.topic]
            except ck.KafkaException:
                return
            if found.error is not None:
                return
            self.trouble = None
        self._commit()

    # -- the group --------------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._rebalances_total += 1
        placed = self._placed(partitions) if partitions else []
        if self.settings.cooperative:
            consumer.incremental_assign(placed)
        else:
            consumer.assign(placed)
        self._assigned |= {(one.topic, one.partition) for one in placed}
        self._placed_once = True
        if self._paused and placed:
            consumer.pause(placed)

    def _on_revoke(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        going = [(one.topic, one.partition) for one in partitions]
        told = self.trouble is None and self._commit_now(going)
        self._drop(going)
        if told and not self._closing:
            self._given_up(going)

    def _on_lost(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._drop([(one.topic, one.partition) for one in partitions])

    def _drop(self, going: Sequence[Partition]) -> None:
        """Forget what was gathered of partitions: whoever has them next reads it again."""
        gone = set(going)
        self._assigned -= gone
        kept = [one for one in self._waiting if (one.topic(), one.partition()) not in gone]
        self._waiting, self._waiting_bytes = kept, sum(map(len, kept))
        for partition in gone:
            self._ends.pop(partition, None)
            self._uncommitted.pop(partition, None)

    def _placed(self, partitions: list[ck.TopicPartition]) -> list[ck.TopicPartition]:
        """Return where to go on; waits for the broker's answer, until closed."""
        while True:
            try:
                return self._places(partitions)
            except ck.KafkaException as error:
                self._troubled(error.args[0])
                if self._closing:
                    return []
                time.sleep(_TICK)

    def _places(self, partitions: list[ck.TopicPartition]) -> list[ck.TopicPartition]:
        placed, fresh = [], []
        for one in self._enquirer.committed(partitions, timeout=PATIENCE_SECONDS):
            if one.error is not None:
                raise ck.KafkaException(one.error)
            partition = (one.topic, one.partition)
            reached = self._reached.get(partition)
            # What was reached here may be behind: another member may have had the partition in between.
            place = self._remembered(partition) if reached is None else max(reached, one.offset)
            if place is None and one.offset < 0:
                fresh.append(one)
            else:
                if place is not None and place > one.offset:
                    self._uncommitted[partition] = place  # the group has not heard of it yet
                one.offset = one.offset if place is None else place
                placed.append(one)
        placed += begin(self._enquirer, fresh, self.settings.start)
        self._reached |= {(one.topic, one.partition): one.offset for one in placed if one.offset >= 0}
        return placed

    def _commit(self) -> None:
        """Tell the group how far the rows have come, without waiting for its answer."""
        if self._uncommitted:
            self._try_at = time.monotonic() + 1.0
            try:
                self._consumer.commit(offsets=_offsets(self._uncommitted), asynchronous=True)
            except ck.KafkaException as error:
                self._commit_failures_total += 1
                self._troubled(error.args[0])

    def _commit_now(self, partitions: Sequence[Partition]) -> bool:
        """Tell the group and wait; return whether it knows how far these partitions have come."""
        due = {one: self._uncommitted[one] for one in partitions if one in self._uncommitted}
        if due:
            try:
                answers = self._consumer.commit(offsets=_offsets(due), asynchronous=False)
            except ck.KafkaException:
                self._commit_failures_total += 1
                return False
            return all(one.error is None for one in answers)
        return True

    def _committed(self, error: ck.KafkaError | None, partitions: list[ck.TopicPartition]) -> None:
        failures = [one.error for one in partitions if one.error is not None]
        if error is not None or failures:
            self._commit_failures_total += 1
        for one in partitions if error is None else ():
            if one.error is None and self._uncommitted.get((one.topic, one.partition)) == one.offset:
                del self._uncommitted[one.topic, one.partition]

    def _each_assigned(self, do: Callable[[list[ck.TopicPartition]], None]) -> None:
        with self._using:
            if not self._closed and self._assigned:
                try:
                    do([ck.TopicPartition(*one) for one in tuple(self._assigned)])
                except ck.KafkaException as error:  # a partition has gone in between
                    _log.info("%s: %s", self._where, error)


_GAP = (
    "The messages after the position that was kept are no longer there. To go on without them, load with another "
    "group_id and start='earliest'."
)


def _offsets(positions: Mapping[Partition, int]) -> list[ck.TopicPartition]:
    return [ck.TopicPartition(topic, number, offset) for (topic, number), offset in positions.items()]
