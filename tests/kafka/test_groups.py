"""Sessions of one consumer group share the partitions; each message reaches one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker

Eventually = Callable[[Callable[[], object]], None]
PROTOCOLS: dict[str, dict[str, Any]] = {
    "cooperative": {},
    "eager": {"partition.assignment.strategy": "range"},
    "next generation": {"group.protocol": "consumer"},
}


def numbers(session: ge.Session) -> list[int]:
    return [row["n"] for row in session.tables["events"].to_arrow().to_pylist()]


def send(broker: Broker, topic: str, first: int, count: int) -> None:
    for partition in range(4):
        mine = [{"n": n} for n in range(first, first + count) if n % 4 == partition]
        broker.send(topic, mine, partition=partition)


@pytest.mark.parametrize("settings", PROTOCOLS.values(), ids=PROTOCOLS)
def test_partitions_move_when_a_session_comes_and_goes(
    broker: Broker, eventually: Eventually, settings: dict[str, Any]
) -> None:
    topic, group = broker.topic(partitions=4), broker.group()

    def start(session: ge.Session) -> Any:
        table = session.create_table("events", types={"n": ge.LONG})
        return table.load_kafka(**broker.load(topic, group, settings=settings))

    with ge.Session(backend="cpu") as one, ge.Session(backend="cpu") as two:
        first = start(one)
        send(broker, topic, 0, 100)
        eventually(lambda: len(numbers(one)) == 100)
        second = start(two)
        eventually(lambda: len(first.statistics().assigned) == len(second.statistics().assigned) == 2)
        send(broker, topic, 100, 100)
        eventually(lambda: len(numbers(one)) + len(numbers(two)) == 200)
        assert numbers(two), "the second session has partitions, so it has messages"
        first.stop()
        eventually(lambda: len(second.statistics().assigned) == 4)
        send(broker, topic, 200, 100)
        eventually(lambda: len(numbers(one)) + len(numbers(two)) == 300)
        assert sorted(numbers(one) + numbers(two)) == list(range(300))


def test_positions_of_partitions_that_moved_are_forgotten(
    broker: Broker, tmp_path: Any, eventually: Eventually
) -> None:
    topic, group = broker.topic(partitions=4), broker.group()
    with (
        ge.Session(backend="cpu", data_dir=tmp_path / "one") as one,
        ge.Session(backend="cpu", data_dir=tmp_path / "two") as two,
    ):
        loads = []
        for number, session in enumerate((one, two)):
            table = session.create_table("events", types={"n": ge.LONG})
            loads.append(table.load_kafka(**broker.load(topic, group)))
            if number == 0:
                send(broker, topic, 0, 40)
                eventually(lambda: len(numbers(one)) == 40)
                assert len(one.positions) == 4
        eventually(lambda: len(loads[0].statistics().assigned) == len(loads[1].statistics().assigned) == 2)
        eventually(lambda: len(one.positions) == 2)
        send(broker, topic, 40, 40)
        eventually(lambda: len(numbers(one)) + len(numbers(two)) == 80)
        loads[1].stop()
        eventually(lambda: len(loads[0].statistics().assigned) == 4)
        send(broker, topic, 80, 40)
        eventually(lambda: len(numbers(one)) + len(numbers(two)) == 120)
        assert sorted(numbers(one) + numbers(two)) == list(range(120))
