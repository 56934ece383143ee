"""The broker that a test runs against: the mock cluster, or one that is given by address."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.mock_cluster import MockCluster

QUICK = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
"""Settings of tests: a member that has died is missed soon."""


class Broker:
    """Topics with names of their own, and messages in them."""

    def __init__(self, bootstrap_server: str, mock: MockCluster | None) -> None:
        self.bootstrap_server, self.mock = bootstrap_server, mock
        self._producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap_server, "linger.ms": 1})

    def topic(self, partitions: int = 1) -> str:
        """Return the name of a new topic."""
        name = f"test-{uuid.uuid4().hex[:10]}"
        if self.mock is not None:
            self.mock.create_topic(name, partitions)
        else:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_server})
            admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
        return name

    def send(self, topic: str, values: Iterable[Any], partition: int = 0, key: str | bytes | None = None) -> None:
        """Produce values, as JSON unless they are bytes or None, and wait until the broker has them."""
        failures: list[Any] = []
        for value in values:
            data = value if isinstance(value, bytes | None) else json.dumps(value).encode()
            self._producer.produce(
                topic,
                data,
                key,
                partition,
                on_delivery=lambda error, _: failures.append(error) if error is not None else None,
            )
            self._producer.poll(0)
        assert not self._producer.flush(30)
        assert not failures, failures

    def group(self) -> str:
        """Return the name of a new consumer group."""
        return f"group-{uuid.uuid4().hex[:10]}"

    def load(self, topic: str, group: str | None = None, **given: Any) -> dict[str, Any]:
        """Return arguments of `load_kafka`."""
        settings = {**QUICK, **given.pop("settings", {})}
        if settings.get("group.protocol") == "consumer":
            settings = {name: value for name, value in settings.items() if name not in QUICK}
        arguments = {"bootstrap_server": self.bootstrap_server, "topic": topic, "group_id": group or self.group()}
        return {**arguments, "settings": settings, "batch_duration": 0.02, **given}

    def committed(self, topic: str, group: str, partition: int = 0) -> int:
        """Return the offset that a group has committed; negative if none."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap_server, "group.id": group})
        try:
            return int(consumer.committed([confluent_kafka.TopicPartition(topic, partition)], timeout=10)[0].offset)
        finally:
            consumer.close()
