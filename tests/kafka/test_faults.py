"""Brokers that fail, go away and come back: no message is lost, none counts twice, and health says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.errors import LogWriteError
from tests.kafka import mock_cluster
from tests.kafka.broker import Broker
from tests.kafka.mock_cluster import MockCluster

Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def events(session: ge.Session) -> ge.Table:
    """A table without a key: a message that counts twice shows."""
    return session.create_table("events", types={"n": ge.LONG})


def numbers(table: ge.Table) -> list[int]:
    return sorted(row["n"] for row in table.to_arrow().to_pylist())


@pytest.mark.parametrize(
    ("request_number", "error"),
    [
        (mock_cluster.FETCH, mock_cluster.NOT_LEADER),
        (mock_cluster.OFFSET_FETCH, mock_cluster.COORDINATOR_LOADING),
        (mock_cluster.JOIN_GROUP, mock_cluster.NOT_COORDINATOR),
        (mock_cluster.HEARTBEAT, mock_cluster.COORDINATOR_LOADING),
        (mock_cluster.PRODUCE, mock_cluster.NOT_LEADER),
    ],
)
def test_errors_of_requests_pass(
    broker: Broker, mock: MockCluster, events: ge.Table, request_number: int, error: int
) -> None:
    topic = broker.topic()
    mock.fail(request_number, error, times=3)
    broker.send(topic, [{"n": n} for n in range(100)])
    load = events.load_kafka(**broker.load(topic))
    assert load.wait(60)
    assert numbers(events) == list(range(100))


def test_offsets_that_could_not_be_committed_are_committed_later(
    broker: Broker, mock: MockCluster, events: ge.Table, eventually: Eventually
) -> None:
    topic, group = broker.topic(), broker.group()
    broker.send(topic, [{"n": n} for n in range(10)])
    mock.fail(mock_cluster.OFFSET_COMMIT, 25, times=2)  # UNKNOWN_MEMBER_ID
    load = events.load_kafka(**broker.load(topic, group))
    assert load.wait(60)
    eventually(lambda: broker.committed(topic, group) == 10)
    assert load.wait(60)
    assert numbers(events) == list(range(10))


def test_a_broker_goes_away_and_comes_back(
    broker: Broker, mock: MockCluster, session: ge.Session, events: ge.Table, eventually: Eventually
) -> None:
    topic = broker.topic()
    broker.send(topic, [{"n": n} for n in range(10)])
    load = events.load_kafka(**broker.load(topic))
    assert load.wait(60)
    mock.set_down()
    eventually(lambda: load.error is not None)
    assert isinstance(load.error, ge.errors.KafkaError) and load.state == "running"
    [failure] = session.health().failures
    assert failure.code == "kafka_failed" and topic in failure.component
    mock.set_up()
    broker.send(topic, [{"n": n} for n in range(10, 20)])
    eventually(lambda: len(events) == 20)
    eventually(lambda: load.error is None)
    assert numbers(events) == list(range(20))
    assert session.health().status == "ok"


def test_a_load_may_start_before_its_broker(
    broker: Broker, mock: MockCluster, events: ge.Table, eventually: Eventually
) -> None:
    topic = broker.topic()
    broker.send(topic, [{"n": 1}])
    mock.set_down()
    load = events.load_kafka(**broker.load(topic))
    eventually(lambda: load.error is not None)
    mock.set_up()
    eventually(lambda: len(events) == 1)


def test_a_load_that_waits_for_its_broker_can_be_stopped(
    broker: Broker, mock: MockCluster, events: ge.Table, eventually: Eventually
) -> None:
    topic = broker.topic()
    mock.set_down()
    load = events.load_kafka(**broker.load(topic))
    eventually(lambda: load.error is not None)
    load.stop()
    assert load.state == "stopped"


def test_without_an_answer_lag_is_an_error_and_stopping_is_quick(
    broker: Broker, mock: MockCluster, events: ge.Table, eventually: Eventually
) -> None:
    topic = broker.topic()
    broker.send(topic, [{"n": 1}])
    load = events.load_kafka(**broker.load(topic))
    assert load.wait(60)
    mock.set_down()
    eventually(lambda: load.error is not None)
    with pytest.raises(ge.errors.KafkaError, match="broker"):
        load.lag()
    load.stop()
    assert load.state == "stopped" and len(events) == 1


def test_messages_that_have_gone_end_the_load_and_are_not_passed_over(
    broker: Broker, mock: MockCluster, session: ge.Session, events: ge.Table, eventually: Eventually
) -> None:
    topic, group = broker.topic(), broker.group()
    broker.send(topic, [{"n": n} for n in range(5)])
    first = events.load_kafka(**broker.load(topic, group))
    assert first.wait(60)
    first.stop()
    broker.send(topic, [{"n": n} for n in range(5, 20)])
    mock.delete_records(topic, 0, 10)
    load = events.load_kafka(**broker.load(topic, group))
    eventually(lambda: load.state == "failed")
    assert isinstance(load.error, ge.errors.KafkaError) and "no longer there" in str(load.error)
    assert numbers(events) == list(range(5)) and session.health().status == "degraded"


def test_a_commit_that_has_no_room_is_tried_again(
    broker: Broker, session: ge.Session, events: ge.Table, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = session._database.log
    append = log.append
    refusals = 2

    def full_disk(event: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise LogWriteError("log", "no space left on device")
        return append(event)

    topic = broker.topic(partitions=2)
    broker.send(topic, [{"n": n} for n in range(10)], partition=0)
    broker.send(topic, [{"n": n} for n in range(10, 20)], partition=1)
    monkeypatch.setattr(log, "append", full_disk)
    load = events.load_kafka(**broker.load(topic))
    eventually(lambda: not refusals and len(events) == 20)
    eventually(lambda: load.error is None)
    assert numbers(events) == list(range(20)) and load.wait(60)


def test_what_was_committed_of_a_batch_is_not_read_again_when_the_rest_has_no_room(
    broker: Broker, session: ge.Session, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = session.create_table("products", types={"id": ge.LONG}, keys=["id"])
    sales = session.create_table("sales", types={"n": ge.LONG, "id": ge.LONG})
    sales.join(products, on={"id": "id"}, optional=False)
    products.append((1,))
    log = session._database.log
    append, commits = log.append, 0

    def full_disk_once(event: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == 2:
            raise LogWriteError("log", "no space left on device")
        return append(event)

    topic = broker.topic()
    broker.send(topic, [{"n": n, "id": 9 if n == 13 else 1} for n in range(16)])
    monkeypatch.setattr(log, "append", full_disk_once)
    load = sales.load_kafka(**broker.load(topic, batch_size=16, batch_duration=2))
    eventually(lambda: commits > 2)
    broker.send(topic, [{"n": n, "id": 1} for n in range(16, 19)])
    eventually(lambda: len(sales) >= 18)
    assert numbers(sales) == [n for n in range(19) if n != 13]
    assert [letter.position["offset"] for letter in session.dead_letters] == [13]
    load.stop()


def test_a_log_that_has_failed_ends_the_load(
    broker: Broker, session: ge.Session, events: ge.Table, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(event: Any) -> Any:
        raise ge.errors.LogFailedError("log", "input/output error")

    topic, group = broker.topic(), broker.group()
    broker.send(topic, [{"n": 1}])
    monkeypatch.setattr(session._database.log, "append", failed)
    load = events.load_kafka(**broker.load(topic, group))
    eventually(lambda: load.state == "failed")
    assert isinstance(load.error, ge.errors.LogFailedError)
    assert broker.committed(topic, group) < 0, "nothing may be told to the group that is not kept"
