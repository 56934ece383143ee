"""A stream's listener that is a websocket: each call becomes a frame.

Floor 6. The registration's own thread writes to the socket and waits while the client does not read, so nothing is
queued: the registration stays behind in the transaction log. Frames of one transaction leave together where they are
small. A socket that is gone ends the registration quietly; a log that no longer reaches back is told to the client.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pyarrow as pa
from wsproto.frame_protocol import FrameProtocol

import gpu_engine as ge
from api.channel import Channel, text_frame
from api.errors import answer
from api.wire import dump, ipc, json_value, rows

__all__ = ["StreamWriter"]

TOGETHER_BYTES = 64 * 1024
"""Frames of a transaction are sent when they are that many bytes, and at its end."""


class StreamWriter(ge.StreamListener):
    """Writes what one registration is told as frames with its id.

    Parameters
    ----------
    as_arrow : whether rows follow their frame as Arrow IPC streams in binary frames, instead of as JSON in it
    """

    def __init__(self, channel: Channel, stream_id: str, session: ge.Session, *, as_arrow: bool) -> None:
        self._channel, self._id, self._session, self._as_arrow = channel, stream_id, session, as_arrow
        self._registration: ge.Registration | None = None
        self._begun = threading.Event()
        self._frames: list[bytes] = []
        self._size = 0

    def begin(self, registration: ge.Registration) -> None:
        """Let frames out from now on, the acknowledgement of the registration being sent."""
        self._registration = registration
        registration.attached.add_done_callback(self._attached)
        self._begun.set()

    # -- what the stream calls --------------------------------------------------------------------------------------

    def transaction_started(self, epoch: int, info: ge.TransactionInfo) -> None:
        """Write which transaction the frames up to its end belong to."""
        self._begun.wait()
        about = {"branch": info.branch, "tables": info.tables, "initial": info.initial}
        self._put({"type": "transaction_started", "epoch": epoch, **about})

    def truncate(self) -> None:
        """Write that all rows of the branch are gone."""
        self._put({"type": "truncate"})

    def partition_dropped(self, partition: Any, conditions: Mapping[str, Any], rows: pa.RecordBatch) -> None:
        """Write that a partition is gone."""
        named = {name: json_value(value) for name, value in conditions.items()}
        self._put({"type": "partition_dropped", "partition": json_value(partition), "conditions": named}, rows=rows)

    def records_deleted(self, partition: Any, rows: pa.RecordBatch) -> None:
        """Write rows that are gone."""
        self._put({"type": "records_deleted", "partition": json_value(partition)}, rows=rows)

    def records_updated(self, partition: Any, old: pa.RecordBatch, new: pa.RecordBatch) -> None:
        """Write rows as they were and as they are."""
        self._put({"type": "records_updated", "partition": json_value(partition)}, old=old, new=new)

    def records_added(self, partition: Any, rows: pa.RecordBatch) -> None:
        """Write rows that have come."""
        self._put({"type": "records_added", "partition": json_value(partition)}, rows=rows)

    def transaction_committed(self, epoch: int) -> None:
        """Write the end of a transaction."""
        self._put({"type": "transaction_committed", "epoch": epoch})
        self._flush()

    def transaction_rolled_back(self) -> None:
        """Write the end of a transaction that changed nothing."""
        self._put({"type": "transaction_rolled_back"})
        self._flush()

    def on_self_failure(self, error: BaseException) -> None:
        """Write why the registration has ended; that its client was slow is no failure of the service."""
        self._begun.wait()
        if isinstance(error, ge.errors.EpochNotRetainedError) and self._registration is not None:
            self._session.clear_failure(self._registration.name)
        _, body = answer(error, self._session, "stream")
        self._put({"type": "ended", **body["error"]})
        self._flush()

    # -- how --------------------------------------------------------------------------------------------------------

    def _attached(self, attached: Future[int]) -> None:
        if not attached.cancelled() and attached.exception() is None:
            self._put({"type": "attached", "epoch": attached.result()})
            self._flush()

    def _put(self, message: Mapping[str, Any], **batches: pa.RecordBatch) -> None:
        """Add a frame to those that go out next; batches become members of it, or Arrow frames behind it."""
        tables = {name: pa.Table.from_batches([batch]) for name, batch in batches.items()}
        binary: list[bytes] = []
        if self._as_arrow:
            content: dict[str, Any] = {"binary": list(tables)} if tables else {}
            binary = [_binary_frame(ipc(table)) for table in tables.values()]
        else:
            content = {name: rows(table) for name, table in tables.items()}
        frame = text_frame(dump({"id": self._id, **message, **content}))
        self._frames += [frame, *binary]
        self._size += len(frame) + sum(map(len, binary))
        if self._size > TOGETHER_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Send what there is, waiting for the client; end the registration if it is gone."""
        frames, self._frames, self._size = b"".join(self._frames), [], 0
        try:
            self._channel.send(frames)
        except OSError:
            if self._registration is not None:
                self._registration.unregister()


def _binary_frame(payload: bytes) -> bytes:
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(payload, fin=True))
