"""A Python client of the streams' websocket: registers listeners, tells them whole transactions, resumes where it was.

Floor 6, for clients: imports nothing of the engine or the service, so it runs wherever this package is installed.
Frames are read, and listeners called, by the caller's thread while it waits in a method of the client.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import simple_websocket

from api.folding import LiveError

__all__ = ["LiveError", "StreamClient", "StreamRegistration", "StreamTransaction"]

PATH = "/api/v1/streams"
RETRY_SECONDS = 0.1
BROKEN = (simple_websocket.ConnectionClosed, OSError)
"""What using a broken connection raises."""
ENDS = ("transaction_committed", "transaction_rolled_back")
ARGUMENTS = {
    "truncate": (),
    "partition_dropped": ("partition", "conditions", "rows"),
    "records_deleted": ("partition", "rows"),
    "records_updated": ("partition", "old", "new"),
    "records_added": ("partition", "rows"),
    "transaction_committed": ("epoch",),
    "transaction_rolled_back": (),
}
"""Frame -> what a listener's method of that name gets of it."""


@dataclass(frozen=True, slots=True)
class StreamTransaction:
    """Which transaction it is."""

    branch: str
    epoch: int
    """The epoch that it makes; of one rolled back the epoch that it would have made."""
    tables: tuple[str, ...]
    initial: bool
    """True for an initial view: its rows are all there are on the branch, what was known of it before is void."""


class StreamRegistration:
    """One listener of a `StreamClient`.

    Attributes
    ----------
    id : str
        Names the registration on its socket.
    epoch : int or None
        The listener has been told of everything up to this epoch; None before it is attached.
    restarts : int
        How often it began anew with an initial view, because what it had missed was no longer kept.
    error : LiveError or None
        Why the registration has ended, if it has: the service's error, or code `listener_failed`.
    """

    def __init__(self, registration_id: str, listener: object, request: Mapping[str, Any]) -> None:
        self.id, self.listener, self.request = registration_id, listener, request
        self.epoch: int | None = None
        self.run: str | None = None
        self.restarts = 0
        self.error: LiveError | None = None
        self._told: list[tuple[str, tuple[Any, ...]]] = []

    def take(self, frame: Mapping[str, Any]) -> None:
        """Take in one frame; the listener is called once its transaction is complete."""
        kind = frame["type"]
        if kind == "attached":
            self.epoch = frame["epoch"]
        elif kind == "transaction_started":
            about = StreamTransaction(frame["branch"], frame["epoch"], tuple(frame["tables"]), frame["initial"])
            self._told = [(kind, (about.epoch, about))]
        elif kind in ARGUMENTS:
            self._told.append((kind, tuple(frame[name] for name in ARGUMENTS[kind])))
        if kind in ENDS:
            self._tell()
        if kind == "transaction_committed" and self.epoch is not None:
            self.epoch = max(self.epoch, frame["epoch"])

    def forget(self) -> None:
        """Forget what has come of a transaction that is not complete."""
        self._told = []

    def _tell(self) -> None:
        told, self._told = self._told, []
        for method, arguments in told:
            call = getattr(self.listener, method, None)
            if call is not None:
                call(*arguments)


class StreamClient:
    """A connection to the streams of a served session. Not for several threads at once.

    Parameters
    ----------
    url : str
        Where the session is served, as `Session.serve` returned it; `https` becomes `wss`.
    timeout : float
        Longest wait, in seconds, for an answer of the service, and for it to come back after a disconnection.

    Raises
    ------
    LiveError
        With code `unreachable`, if nobody answers there.

    Notes
    -----
    When the connection breaks, whatever method is waiting connects again and resumes each registration after the last
    epoch it got. Where the service no longer has what was missed, the registration begins anew with an initial view,
    and the transaction that brings it says so.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        scheme, _, rest = url.partition("://")
        self.url = f"{scheme.replace('http', 'ws')}://{rest.split('/', 1)[0]}{PATH}"
        self.timeout = timeout
        self.registrations: dict[str, StreamRegistration] = {}
        self.reconnections = 0
        self._count = 0
        self._socket = self._connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def register(
        self,
        table: str,
        listener: object,
        fields: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        *,
        branch: str | None = None,
        send_initial_view: bool = True,
        dictionarized: bool = False,
    ) -> StreamRegistration:
        """Let a listener follow rows, and return once it is attached: it has the initial view if it asked for one.

        Parameters
        ----------
        listener : an object with any of the methods of `gpu_engine.StreamListener`
        fields, where : in the words of the HTTP interface; all columns and all rows by default
        branch : the branch to follow, None for all of them
        dictionarized : whether text comes as Arrow dictionary arrays, the codes of the table with its dictionary

        Raises
        ------
        LiveError
            With the service's code, if it refuses the query. The client stays usable.
        """
        request: dict[str, Any] = {"table": table, "fields": fields and list(fields), "where": where, "branch": branch}
        request |= {"send_initial_view": send_initial_view, "format": "arrow", "dictionarized": dictionarized}
        registration = StreamRegistration(self._free_id(), listener, request)
        self.registrations[registration.id] = registration
        try:
            self._ask_to_register(registration)
        except BROKEN:
            self.reconnect()
        except LiveError:
            del self.registrations[registration.id]
            raise
        end = time.monotonic() + self.timeout
        while registration.epoch is None and registration.error is None:
            if not self.receive(max(0.0, end - time.monotonic())) and time.monotonic() > end:
                raise LiveError("timeout", f"not attached within {self.timeout} s.")
        if registration.error is not None:
            raise registration.error
        return registration

    def resume(self, registration: StreamRegistration) -> None:
        """Take up a registration that has ended, after the last epoch that its listener was told of to the end.

        Raises
        ------
        LiveError
            With the service's code, if it refuses; it stays ended then.
        """
        self.registrations.pop(registration.id, None)
        # Whatever is still under way for the one that has ended goes by its id.
        registration.id = self._free_id()
        self.registrations[registration.id] = registration
        try:
            self._resume(registration)
        except BROKEN:
            registration.error = None
            self.reconnect()
        if registration.error is not None:
            raise registration.error

    def unregister(self, registration: StreamRegistration) -> None:
        """End a registration; its listener is called no more once this returns."""
        self.registrations.pop(registration.id, None)
        with suppress(*BROKEN):
            self._answer({"op": "unregister", "id": registration.id}, "unregistered")

    def receive(self, timeout: float | None = None) -> bool:
        """Read one frame and call the listener if it completes a transaction; False if none came in time.

        Raises
        ------
        LiveError
            If the service cannot be reached any more. What a listener raises is raised too: its registration has ended
            then, and no other one.
        """
        try:
            return self._read(self.timeout if timeout is None else timeout) is not None
        except BROKEN:
            self.reconnect()
            return False

    def wait_for(self, registration: StreamRegistration, epoch: int, timeout: float | None = None) -> bool:
        """Wait until a listener has been told of an epoch of a branch that it follows; False if that takes too long."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while registration.epoch is None or registration.epoch < epoch:
            if registration.error is not None:
                raise registration.error
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.receive(left)
        return True

    # -- connection --------------------------------------------------------------------------------------------------

    def reconnect(self) -> None:
        """Connect anew and resume every registration; called when the connection breaks.

        Raises
        ------
        LiveError
            With code `unreachable`, if the service did not come back within the client's timeout.
        """
        end = time.monotonic() + self.timeout
        while True:
            self.close()
            self._socket = self._connected()
            try:
                for registration in self.registrations.values():
                    if registration.error is None:
                        self._resume(registration)
                self.reconnections += 1
                return
            except BROKEN as error:
                if time.monotonic() > end:
                    raise LiveError("unreachable", f"{self.url} breaks every connection: {error}") from error

    def close(self) -> None:
        """Close the connection. A method that asks the service after this connects again."""
        with suppress(*BROKEN):
            self._socket.close()
        with suppress(OSError):
            self._socket.sock.close()

    def _connected(self) -> simple_websocket.Client:
        end = time.monotonic() + self.timeout
        while True:
            try:
                return simple_websocket.Client(self.url)
            except (*BROKEN, simple_websocket.ConnectionError) as error:
                if time.monotonic() + RETRY_SECONDS > end:
                    raise LiveError("unreachable", f"{self.url} does not answer: {error}") from error
                time.sleep(RETRY_SECONDS)

    def _free_id(self) -> str:
        self._count += 1
        return f"r{self._count}"

    def _resume(self, registration: StreamRegistration) -> None:
        registration.forget()
        try:
            self._ask_to_register(registration)
        except LiveError as error:
            if error.code == "epoch_not_retained":
                self._restart(registration)
            else:
                registration.error = error

    def _restart(self, registration: StreamRegistration) -> None:
        """Register anew, with an initial view: what was missed is no longer kept."""
        registration.forget()
        registration.epoch = None
        registration.restarts += 1
        try:
            self._ask_to_register(registration, send_initial_view=True)
        except LiveError as error:
            registration.error = error

    def _ask_to_register(self, registration: StreamRegistration, **changed: Any) -> None:
        resumed = {} if registration.epoch is None else {"from_epoch": registration.epoch, "run": registration.run}
        request = {"op": "register", "id": registration.id, **registration.request, **resumed, **changed}
        registration.run = self._answer(request, "registered")["run"]
        registration.error = None

    def _answer(self, message: Mapping[str, Any], answer: str) -> dict[str, Any]:
        """Send a message and read until its answer; raises what simple_websocket raises."""
        end = time.monotonic() + self.timeout
        self._socket.send(json.dumps(message))
        while True:
            frame = self._read(max(0.0, end - time.monotonic()))
            if frame is None:
                raise LiveError("timeout", f"no answer to {message['op']} within {self.timeout} s.")
            if frame.get("id") == message["id"]:
                if frame["type"] == answer:
                    return frame
                if frame["type"] == "error":
                    raise LiveError(frame["code"], frame["message"])

    def _read(self, timeout: float) -> dict[str, Any] | None:
        """Read one frame, with the binary frames that belong to it, and hand it to its registration."""
        text = self._socket.receive(timeout=timeout)
        if text is None:
            return None
        frame: dict[str, Any] = json.loads(text)
        for name in frame.get("binary", ()):
            frame[name] = _batch(self._socket.receive(timeout=self.timeout))
        registration = self.registrations.get(frame.get("id", ""))
        if registration is None or registration.error is not None:
            return frame
        if frame["type"] == "ended":
            self._ended(registration, LiveError(frame["code"], frame["message"]))
            return frame
        try:
            registration.take(frame)
        except BaseException as error:
            self._failed(registration, error)
            raise
        return frame

    def _failed(self, registration: StreamRegistration, error: BaseException) -> None:
        """End a registration whose listener has failed: what comes after would be told with a gap before it."""
        registration.error = LiveError("listener_failed", f"the listener raised {error!r}.")
        registration.forget()
        with suppress(*BROKEN):
            self._socket.send(json.dumps({"op": "unregister", "id": registration.id}))
        told = getattr(registration.listener, "on_self_failure", None)
        if told is not None:
            told(error)

    def _ended(self, registration: StreamRegistration, error: LiveError) -> None:
        if error.code == "epoch_not_retained":
            self._restart(registration)
        else:
            registration.error = error


def _batch(content: bytes | str | None) -> pa.RecordBatch:
    if not isinstance(content, bytes):
        raise ConnectionError("rows were announced and did not come")
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all().combine_chunks().to_batches()[0]
