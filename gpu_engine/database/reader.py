"""The reader of a table: what it asks of whoever knows the outside world.

Floor 3. This floor knows no file format and no broker; the session names who does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from gpu_engine.database.dead_letter import DeadLetter
from gpu_engine.schema import DataType

__all__ = ["FittingRows", "Reader", "TopicLoad"]


@dataclass(frozen=True, slots=True)
class FittingRows:
    """What of a part of a file could be read."""

    file: str
    rows: pa.Table
    places: Sequence[int]
    """Where each of the rows is in the file."""
    place: str
    """What that counts: line or row."""
    dead_letters: Sequence[DeadLetter]
    """Records that could not be read."""


class TopicLoad(Protocol):
    """A load from Kafka that goes on until it is stopped."""

    def stop(self) -> None:
        """Commit nothing more and leave the group."""
        ...

    def pause(self) -> None:
        """Commit nothing more until `resume`."""
        ...

    def resume(self) -> None:
        """Go on where `pause` has stopped."""
        ...

    def lag(self) -> int | None:
        """Return how many messages are not committed yet."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all messages of the partitions read here are committed."""
        ...

    def statistics(self) -> Any:
        """Return the figures of now."""
        ...

    @property
    def state(self) -> str:
        """One of running, paused, stopped and failed."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What has ended the load, or keeps it from reading at the moment."""
        ...


class Reader(Protocol):
    """Reads on behalf of a table."""

    def read(self, types: Mapping[str, DataType], path: str, file_format: str) -> Iterator[tuple[str, pa.Table]]:
        """Yield name and rows of each file that `path` (a file, folder or glob) means.

        Columns named in `types` come in those types; `file_format` is csv or parquet. Raises BadFileError.
        """
        ...

    def read_fitting(
        self, table: str, types: Mapping[str, DataType], path: str, file_format: str
    ) -> Iterator[FittingRows]:
        """Yield what can be read of each file, and the rest as dead letters of a table; BadFileError for no file."""
        ...

    def load_kafka(self, routes: Mapping[str, Any], settings: Mapping[str, Any]) -> TopicLoad:
        """Start a load from Kafka, by table names."""
        ...
