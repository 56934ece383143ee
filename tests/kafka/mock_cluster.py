"""librdkafka's mock cluster: brokers inside this process, with faults on request.

Through ctypes on the library that the confluent-kafka wheel brings. Ordinary clients of any process can talk to it.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka

PRODUCE, FETCH, LIST_OFFSETS, OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT = 0, 1, 2, 8, 9, 11, 12
"""Numbers of requests, https://kafka.apache.org/protocol#protocol_api_keys"""
NOT_LEADER, COORDINATOR_LOADING, NOT_COORDINATOR = 6, 14, 16
"""Errors that a broker answers with, https://kafka.apache.org/protocol#protocol_error_codes"""


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).resolve().parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*.so*"))))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
        ("rd_kafka_mock_clear_request_errors", None, [pointer, ctypes.c_int16]),
        ("rd_kafka_mock_partition_delete_records", number, [pointer, text, ctypes.c_int32, ctypes.c_int64]),
        ("rd_kafka_mock_partition_set_leader", number, [pointer, text, ctypes.c_int32, ctypes.c_int32]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_set_group_consumer_session_timeout_ms", None, [pointer, number]),
        ("rd_kafka_mock_set_group_consumer_heartbeat_interval_ms", None, [pointer, number]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class MockCluster:
    """Some brokers with topics."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        self._numbers = range(1, brokers + 1)
        message = ctypes.create_string_buffer(512)
        self._client = self._library.rd_kafka_new(0, self._library.rd_kafka_conf_new(), message, 512)
        assert self._client, message.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        assert self._cluster
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self._library.rd_kafka_mock_set_group_consumer_session_timeout_ms(self._cluster, 3000)
        self._library.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(self._cluster, 500)
        self.bootstrap_server: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def set_down(self) -> None:
        """Let no broker answer; they keep what they have."""
        for number in self._numbers:
            assert not self._library.rd_kafka_mock_broker_set_down(self._cluster, number)

    def set_up(self) -> None:
        for number in self._numbers:
            assert not self._library.rd_kafka_mock_broker_set_up(self._cluster, number)

    def fail(self, request: int, error: int, times: int) -> None:
        """Answer the next requests of a kind with an error."""
        errors = (ctypes.c_int * times)(*[error] * times)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, times, errors)

    def mend(self, request: int) -> None:
        """Answer requests of a kind again."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, request)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Drop the messages before an offset, as a retention does."""
        assert not self._library.rd_kafka_mock_partition_delete_records(
            self._cluster, topic.encode(), partition, before
        )

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        assert not self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker)

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)
