"""Where partitions begin that nobody has a position for.

Floor 0: imports loaders.kafka_settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import confluent_kafka as ck

from loaders.kafka_settings import Start

__all__ = ["PATIENCE_SECONDS", "begin"]

PATIENCE_SECONDS = 5.0
"""How long the broker has for an answer."""


def begin(consumer: ck.Consumer, partitions: Sequence[ck.TopicPartition], start: Start) -> list[ck.TopicPartition]:
    """Return the partitions with the offsets to begin at; "latest" is settled now, so that it does not move.

    Raises
    ------
    KafkaException
        If the broker does not answer.
    """
    return [_begun(consumer, one, start) for one in partitions]


def _begun(consumer: ck.Consumer, one: ck.TopicPartition, start: Start) -> ck.TopicPartition:
    if isinstance(start, Mapping):
        return ck.TopicPartition(one.topic, one.partition, start.get(one.partition, ck.OFFSET_BEGINNING))
    if isinstance(start, datetime):
        asked = ck.TopicPartition(one.topic, one.partition, int(start.timestamp() * 1000))
        found = consumer.offsets_for_times([asked], timeout=PATIENCE_SECONDS)[0]
        if found.error is not None:
            raise ck.KafkaException(found.error)
        if found.offset >= 0:
            return found
    elif start == "earliest":
        return ck.TopicPartition(one.topic, one.partition, ck.OFFSET_BEGINNING)
    ends = consumer.get_watermark_offsets(one, timeout=PATIENCE_SECONDS)
    if ends is None:
        raise ck.KafkaException(ck.KafkaError(ck.KafkaError._TIMED_OUT))
    return ck.TopicPartition(one.topic, one.partition, ends[1])
