"""What a load from Kafka is asked to do: which topic, as which group, from where, in which portions.

Floor 0: imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["AHEAD_KILOBYTES", "KafkaSettings", "Start"]

AHEAD_KILOBYTES = 32 << 10
"""What librdkafka fetches ahead of the batch at hand, at most."""
_OURS = (
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
)

Start = str | datetime | Mapping[int, int]
"""earliest, latest, a time, or partition -> offset."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """What to read and in which portions."""

    bootstrap_server: str
    topic: str
    group_id: str
    start: Start = "earliest"
    """Where a partition begins that nobody has a position for: earliest, latest, a time, or an offset for each."""
    batch_duration: float = 0.1
    """Seconds after its first message that a batch is given at the latest."""
    batch_size: int = 10_000
    """Messages of a batch, at most."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of librdkafka."""

    def __post_init__(self) -> None:
        """Refuse with ValueError what cannot work."""
        for name in ("bootstrap_server", "topic", "group_id"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a text with at least one character.")
        if not 0 <= self.batch_duration <= 60:
            raise ValueError(f"batch_duration={self.batch_duration!r}: give seconds, 0 to 60.")
        if not 1 <= self.batch_size <= 1_000_000:
            raise ValueError(f"batch_size={self.batch_size!r}: give a number of messages, 1 to 1,000,000.")
        if not (self.start in ("earliest", "latest") if isinstance(self.start, str) else _is_place(self.start)):
            raise ValueError(f"start={self.start!r}: give 'earliest', 'latest', a datetime, or {{partition: offset}}.")
        taken = sorted(set(self.options) & set(_OURS))
        if taken:
            raise ValueError(f"settings {taken} are set by load_kafka itself: positions are kept with the rows.")

    @property
    def cooperative(self) -> bool:
        """Whether partitions move one by one, not all at once."""
        strategy = str(self.options.get("partition.assignment.strategy", "cooperative-sticky"))
        return self.options.get("group.protocol") == "consumer" or strategy.startswith("cooperative")

    def consumer(self) -> dict[str, Any]:
        """Return the settings of librdkafka's consumer."""
        modern = self.options.get("group.protocol") == "consumer"
        return {
            "bootstrap.servers": self.bootstrap_server,
            "group.id": self.group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": AHEAD_KILOBYTES,
            **({} if modern else {"partition.assignment.strategy": "cooperative-sticky"}),
            **self.options,
        }


def _is_place(start: object) -> bool:
    if isinstance(start, datetime):
        return True
    return isinstance(start, Mapping) and all(type(one) is int for pair in start.items() for one in pair)
