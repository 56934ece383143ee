"""Table loading: how tables and their rows come to a session, from files, Arrow, pandas and Kafka.

Floor 5. The part of a session that speaks of tables to be; `session.Session` adds what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.database.table import Table
from gpu_engine.dead_letters import DeadLetters
from gpu_engine.first_load import FileRequest, FirstLoads, TableRequest
from gpu_engine.kafka_loading import KafkaLoad, KafkaLoads
from gpu_engine.loading import Files
from gpu_engine.schema import DataType
from gpu_engine.table_catalog import TableCatalog
from loaders.kafka_record import Deserializer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableLoading"]


class TableLoading:
    """What a session has for tables that are to be made or filled."""

    _tables: TableCatalog
    _files: Files
    _loads: FirstLoads
    _kafka: KafkaLoads
    _letters: DeadLetters

    def create_table(
        self,
        name: Any,
        types: Mapping[str, DataType],
        keys: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create an empty table, or take the one that the data directory has.

        Parameters
        ----------
        types : column -> type, in column order
        keys : columns that identify a row; without them rows are only ever added
        defaults : what a row that does not mention a column holds there; null unless given
        partition_by : a column, no floating point or VECTOR one; `Table.drop_partition` drops all rows of a value

        Raises
        ------
        DuplicateNameError, TableChangedError
            If a table has the name, or the data directory has it with other columns or another key.
        InvalidModelError, UnknownColumnError, TypeMismatchError
            If the columns, keys or defaults do not fit together.
        """
        return self._tables.create(name, types, keys, defaults, partition_by)

    def read_csv(
        self,
        path: Any,
        table_name: str | None = None,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        *,
        watch: bool = False,
        polling: bool = False,
        sample: int | None = None,
        partition_by: str | None = None,
        on_error: str = "fail",
    ) -> Table:
        """Create a table from a CSV file, a folder of them or a glob, and load it as one commit.

        Parameters
        ----------
        table_name : by default the name of the file without its ending, or of the folder
        types : types of columns; those left out are inferred from the first file (see `loaders.csv`)
        watch : also load new files and, if the table has a key, changed ones, as they come
        polling : watch by comparing listings, for drives where the system tells of no events
        sample : load that many rows only; `load_all_data` loads the rest
        on_error : "dead_letter" loads the rows that fit and puts the others into `dead_letters`; a sample fails

        Raises
        ------
        BadFileError
            If a file is missing, empty or broken, or a value does not fit. There is no table then.
        DuplicateNameError, InvalidModelError, UnknownColumnError, TypeMismatchError
            As `create_table`.
        """
        table = TableRequest(table_name, keys, types, defaults, partition_by)
        return self._loads.from_files(table, FileRequest(str(path), "csv", watch, polling, sample, on_error))

    def read_parquet(
        self,
        path: Any,
        table_name: str | None = None,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        *,
        watch: bool = False,
        polling: bool = False,
        sample: int | None = None,
        partition_by: str | None = None,
        on_error: str = "fail",
    ) -> Table:
        """Create a table from a Parquet file, a folder of them or a glob, and load it; see `read_csv`."""
        table = TableRequest(table_name, keys, types, defaults, partition_by)
        return self._loads.from_files(table, FileRequest(str(path), "parquet", watch, polling, sample, on_error))

    def read_arrow(
        self,
        rows: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch],
        table_name: str,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create a table from Arrow rows and load them; errors as `create_table`, and `Table.load_arrow`."""
        return self._loads.from_arrow(TableRequest(table_name, keys, types, defaults, partition_by), rows)

    def read_pandas(
        self,
        frame: pd.DataFrame,
        table_name: str,
        keys: Sequence[str] = (),
        types: Mapping[str, DataType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        partition_by: str | None = None,
    ) -> Table:
        """Create a table from a DataFrame and load it; a named index gives columns too. Errors as `read_arrow`."""
        return self._loads.from_pandas(TableRequest(table_name, keys, types, defaults, partition_by), frame)

    def load_all_data(self) -> None:
        """Load the rows that `sample=` has left out; what a BadFileError leaves unread can be tried again."""
        self._files.load_rest()

    def load_kafka(
        self,
        bootstrap_server: str,
        topic: str,
        group_id: str,
        routes: Mapping[Table | str, Deserializer | None],
        batch_duration: float = 0.1,
        batch_size: int = 10_000,
        start: str | datetime | Mapping[int, int] = "earliest",
        settings: Mapping[str, Any] | None = None,
    ) -> KafkaLoad:
        """Load a topic into tables until the load is stopped; return at once (docs/kafka.md).

        All that a batch of messages brings to all tables is one transaction, together with the offsets after it.

        Parameters
        ----------
        bootstrap_server : addresses of brokers, as librdkafka takes them: "host:9092,other:9092"
        group_id : consumer group; with a data directory give each session its own
        routes : table -> deserializer: a function from a `ge.kafka.Record` to a mapping of columns, several of them or
            None to skip the message; None instead of a function takes the message as a JSON object
        batch_duration : seconds after its first message that a batch is committed at the latest
        batch_size : messages of a batch, at most
        start : where partitions begin that nobody has an offset for: "earliest", "latest", a datetime, or an offset
            for each partition
        settings : further settings of librdkafka's consumer

        Raises
        ------
        UnknownTableError
            If a table does not exist.
        InvalidModelError
            If there are no routes, or a setting cannot work. A broker that is not there is no error: the load waits
            for it, and `health` says so.
        """
        return self._kafka.start(
            routes,
            {
                "bootstrap_server": bootstrap_server,
                "topic": topic,
                "group_id": group_id,
                "batch_duration": batch_duration,
                "batch_size": batch_size,
                "start": start,
                "options": settings or {},
            },
        )

    @property
    def dead_letters(self) -> DeadLetters:
        """Records that could not become rows: list them, try them again, discard them."""
        return self._letters
