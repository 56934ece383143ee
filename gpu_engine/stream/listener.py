"""What a stream tells a listener: the calls, their order, and the words in them.

Floor 4. For each transaction: `transaction_started`, then what it changes in the query's rows, then
`transaction_committed` or `transaction_rolled_back`. Whole partitions that went come first, then deleted, updated and
added rows. Calls of one registration come one after the other, in the order of epochs, on a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpu_engine.errors import InvalidQueryError

__all__ = ["Event", "StreamListener", "StreamOptions", "TransactionInfo", "calls_of"]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a listener wants to be told."""

    send_initial_view: bool = True
    """Whether to send the rows that are there first, as one transaction; otherwise only changes are sent."""
    branch: str | None = None
    """The branch to follow; None for all of them, those to come included."""
    dictionarized: bool = False
    """Whether text comes as Arrow dictionary arrays, the codes of the table with its dictionary."""


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    """Which transaction it is."""

    branch: str
    epoch: int
    """The epoch that it makes; of one rolled back the epoch that it would have made, which another one takes."""
    tables: tuple[str, ...]
    """Names of the tables that it changed, or was to write to."""
    initial: bool = False
    """True for an initial view: its rows are all there are on the branch, what was known of it before is void."""


class StreamListener:
    """A listener that does nothing; override what is of interest. A listener need not derive from this class.

    `partition` is the value of the table's partitioning column that all rows of the call share, None for a table
    without partitions. Batches are immutable and safe to keep; their columns are the fields of the query.
    """

    def transaction_started(self, epoch: int, info: TransactionInfo) -> None:
        """Take notice that the calls up to `transaction_committed` or `transaction_rolled_back` belong together."""

    def truncate(self) -> None:
        """Forget all rows of the branch."""

    def partition_dropped(self, partition: Any, conditions: Mapping[str, Any], rows: pa.RecordBatch) -> None:
        """Forget the rows of a partition; `conditions` is its column and value, `rows` are those that were sent."""

    def records_deleted(self, partition: Any, rows: pa.RecordBatch) -> None:
        """Forget rows, given as they were."""

    def records_updated(self, partition: Any, old: pa.RecordBatch, new: pa.RecordBatch) -> None:
        """Replace rows, given as they were and, in the same order, as they are."""

    def records_added(self, partition: Any, rows: pa.RecordBatch) -> None:
        """Take in rows."""

    def transaction_committed(self, epoch: int) -> None:
        """Take notice that all of the transaction has been told."""

    def transaction_rolled_back(self) -> None:
        """Take notice that the transaction has changed nothing."""

    def on_self_failure(self, error: BaseException) -> None:
        """Take notice that the registration has ended because of `error`; what came since the last commit is void."""


@dataclass(frozen=True, slots=True)
class Event:
    """One call of a listener, between the start of a transaction and its end."""

    method: str
    arguments: tuple[Any, ...] = ()
    rows: int = 0
    """Rows that it tells of; an update counts once."""


_CALLS = tuple(name for name in vars(StreamListener) if not name.startswith("_"))


def calls_of(listener: object) -> dict[str, Callable[..., object]]:
    """Return the methods of a listener by name; those that it lacks do nothing.

    Raises
    ------
    InvalidQueryError
        If it has none of them, or something else under such a name.
    """
    silent, given = StreamListener(), {name: getattr(listener, name, None) for name in _CALLS}
    problems = [
        f"{name} of {listener!r} is no method." for name, call in given.items() if not callable(call or silent.truncate)
    ]
    if not any(given.values()):
        problems = [f"{listener!r} is no listener. Give an object with one of the methods {', '.join(_CALLS)}."]
    if problems:
        raise InvalidQueryError(problems)
    return {name: call or getattr(silent, name) for name, call in given.items()}
