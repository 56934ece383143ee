"""One fixture, three brokers: the mock cluster, Apache Kafka started by ci/kafka, or any other given by address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker
from tests.kafka.mock_cluster import MockCluster

SECONDS = 60.0
"""A wait that takes longer has failed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", help="address of a Kafka broker to test against, instead of the mock cluster")
    parser.addoption("--broker-restart", help="command that restarts that broker and returns once it answers")


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The broker of this run."""
    address = request.config.getoption("--broker", default=None)
    if address:
        yield Broker(address, None)
        return
    mock = MockCluster()
    try:
        yield Broker(mock.bootstrap_server, mock)
    finally:
        mock.close()


@pytest.fixture
def mock(broker: Broker) -> MockCluster:
    """The mock cluster, for tests that need faults on request."""
    if broker.mock is None:
        pytest.skip("a real broker gives no errors on request")
    return broker.mock


@pytest.fixture
def real_broker(broker: Broker) -> Broker:
    """A real broker, for what the mock cluster does not do."""
    if broker.mock is not None:
        pytest.skip("needs a real broker: ci/kafka, or pytest tests/kafka --broker host:port")
    return broker


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    """A table with a key."""
    return session.create_table("trades", types={"id": ge.LONG, "desk": ge.STRING, "price": ge.DOUBLE}, keys=["id"])


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds; fail if it never does."""

    def wait(holds: Callable[[], object]) -> None:
        until = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < until, "it never came to hold"
            time.sleep(0.02)

    return wait
