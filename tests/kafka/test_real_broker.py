"""What only a real broker does: transactions of producers, watermarks, times, and a restart of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime

import confluent_kafka
import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker

Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def events(session: ge.Session) -> ge.Table:
    return session.create_table("events", types={"n": ge.LONG})


def numbers(table: ge.Table) -> list[int]:
    return sorted(row["n"] for row in table.to_arrow().to_pylist())


def test_only_committed_transactions_of_producers_are_read(real_broker: Broker, events: ge.Table) -> None:
    topic = real_broker.topic()
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": real_broker.bootstrap_server, "transactional.id": topic, "linger.ms": 1}
    )
    producer.init_transactions(30)
    for first, commits in ((0, True), (10, False), (20, True)):
        producer.begin_transaction()
        for n in range(first, first + 10):
            producer.produce(topic, json.dumps({"n": n}))
        producer.flush(30)
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    load = events.load_kafka(**real_broker.load(topic))
    assert load.wait(60), "marks of transactions at the end of a topic are no lag"
    assert numbers(events) == [*range(10), *range(20, 30)]
    assert load.statistics().messages_total == 20


def test_lag_counts_from_the_watermark(real_broker: Broker, events: ge.Table, eventually: Eventually) -> None:
    topic = real_broker.topic(partitions=2)
    real_broker.send(topic, [{"n": n} for n in range(30)], partition=0)
    load = events.load_kafka(**real_broker.load(topic))
    assert load.wait(60)
    load.pause()
    real_broker.send(topic, [{"n": n} for n in range(30, 37)], partition=1)
    eventually(lambda: load.lag() == 7)
    load.resume()
    assert load.wait(60)
    assert numbers(events) == list(range(37))


def test_a_load_may_start_at_a_time(real_broker: Broker, events: ge.Table) -> None:
    topic = real_broker.topic()
    real_broker.send(topic, [{"n": n} for n in range(5)])
    time.sleep(0.05)  # times of messages are whole milliseconds
    moment = datetime.now(UTC)
    real_broker.send(topic, [{"n": n} for n in range(5, 10)])
    assert events.load_kafka(**real_broker.load(topic, start=moment)).wait(60)
    assert numbers(events) == list(range(5, 10))


def test_a_broker_restarts(
    real_broker: Broker, request: pytest.FixtureRequest, events: ge.Table, eventually: Eventually
) -> None:
    restart = request.config.getoption("--broker-restart")
    if not restart:
        pytest.skip("needs --broker-restart")
    topic = real_broker.topic()
    real_broker.send(topic, [{"n": n} for n in range(10)])
    load = events.load_kafka(**real_broker.load(topic))
    assert load.wait(60)
    subprocess.run([restart], check=True, timeout=180)
    real_broker.send(topic, [{"n": n} for n in range(10, 20)])
    eventually(lambda: len(events) == 20)
    eventually(lambda: load.error is None)
    assert load.wait(60)
    assert numbers(events) == list(range(20))
