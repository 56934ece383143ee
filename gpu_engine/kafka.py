"""Kafka as users name it: `ge.kafka.Record`, `Tombstone`, and deserializers for what is not plain JSON.

Floor 5. Hands on names of the loaders; a deserializer is any function from a record to rows (docs/kafka.md).
"""

from loaders.debezium import debezium
from loaders.kafka_decoding import decode_json as json
from loaders.kafka_record import DecodingError, Tombstone, UnavailableError
from loaders.kafka_record import KafkaRecord as Record
from loaders.kafka_registry import avro, protobuf

__all__ = ["DecodingError", "Record", "Tombstone", "UnavailableError", "avro", "debezium", "json", "protobuf"]
