"""A Python client of the websocket: subscribes, keeps cells up to date, resumes where it was.

Floor 6, for clients: imports nothing of the engine or the service, so it runs wherever this package is installed.
Frames are read and folded by the caller's thread while it waits in a method of the client; there is no other thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import simple_websocket

from api.folding import FoldedCells, LiveError

__all__ = ["LiveClient", "LiveError", "LiveSubscription"]

PATH = "/api/v1/live"
SYNC_SECONDS = 0.05
"""How often the service is asked for an epoch that it has not reached."""
RETRY_SECONDS = 0.1
BROKEN = (simple_websocket.ConnectionClosed, OSError)
"""What using a broken connection raises."""


class LiveSubscription(FoldedCells):
    """One live query of a `LiveClient`; its cells are as of the last frame that the client has read.

    Attributes
    ----------
    id : str
        Names the subscription on its socket.
    group : str or None
        The group that it advances with.
    paused : bool
        Whether the service was asked to send nothing.
    error : LiveError or None
        Why the service ended the subscription, if it did.
    """

    def __init__(self, subscription_id: str, request: Mapping[str, Any]) -> None:
        super().__init__()
        self.id = subscription_id
        self.group: str | None = request.get("group")
        self.paused = False
        self.error: LiveError | None = None
        self.request = request
        self.run: str | None = None
        """The life of the service that `epoch` is of."""


class LiveClient:
    """A connection to the websocket of a served session. Not for several threads at once.

    Parameters
    ----------
    url : str
        Where the session is served, as `Session.serve` returned it or the command line printed it; `https` becomes
        `wss`.
    timeout : float
        Longest wait, in seconds, for an answer of the service, and for it to come back after a disconnection.

    Raises
    ------
    LiveError
        With code `unreachable`, if nobody answers there.

    Notes
    -----
    When the connection breaks, whatever method is waiting connects again and resumes each subscription after the last
    epoch it got. The service sends what was missed, or a snapshot where it no longer knows or is another one by now.

    Examples
    --------
    >>> with LiveClient(session.serve()) as client:  # doctest: +SKIP
    ...     sales = client.subscribe("Sales", ["Quantity.SUM"], ["Shop"])
    ...     client.wait_for(sales, session.epoch)
    ...     print(sales.cells())
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        scheme, _, rest = url.partition("://")
        self.url = f"{scheme.replace('http', 'ws')}://{rest.split('/', 1)[0]}{PATH}"
        self.timeout = timeout
        self.subscriptions: dict[str, LiveSubscription] = {}
        self.reconnections = 0
        self._count = 0
        self._socket = self._connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- asking ------------------------------------------------------------------------------------------------------

    def subscribe(
        self,
        cube: str,
        measures: Sequence[str],
        levels: Sequence[str | Sequence[str]] = (),
        *,
        group: str | None = None,
        paused: bool = False,
        **query: Any,
    ) -> LiveSubscription:
        """Return a subscription whose first snapshot has been read, unless it starts paused.

        Parameters
        ----------
        cube, measures, levels :
            What to subscribe to; a level is its name, or table and column.
        group : str, optional
            Subscriptions of one group advance together: the cells of all of them are always of the same epoch.
        paused : bool
            Whether to send nothing before `resume`. Several members of a group that start paused get their snapshots in
            one frame.
        **query :
            Further members of the query, such as `filter` and `totals`, in the words of the HTTP interface.

        Raises
        ------
        LiveError
            With the service's code, if it refuses the query. The client stays usable.
        """
        body = {"measures": list(measures), "levels": [_level(one) for one in levels], **query}
        subscription = LiveSubscription(f"s{self._count}", {"cube": cube, "query": body, "group": group})
        subscription.paused = paused
        self._count += 1
        self.subscriptions[subscription.id] = subscription
        try:
            self._open(subscription, paused)
        except LiveError:
            self.subscriptions.pop(subscription.id, None)
            raise
        return subscription

    def unsubscribe(self, subscription: LiveSubscription) -> None:
        """End a subscription. Its cells stay as they are."""
        self._ask({"op": "unsubscribe", "id": subscription.id}, "unsubscribed")
        self.subscriptions.pop(subscription.id, None)

    def pause(self, *subscriptions: LiveSubscription) -> None:
        """Have nothing sent for these subscriptions; when this returns, all that was under way is folded."""
        for subscription in subscriptions:
            self._ask({"op": "pause", "id": subscription.id}, "paused")
            subscription.paused = True

    def resume(self, *subscriptions: LiveSubscription, group: str | None = None) -> None:
        """Have these subscriptions, or all of a group, go on: what they missed comes as one change or snapshot."""
        for subscription in subscriptions:
            self._ask({"op": "resume", "id": subscription.id}, "resumed")
            subscription.paused = False
        if group is not None:
            self._ask({"op": "resume", "group": group}, "resumed")
            for subscription in self.subscriptions.values():
                subscription.paused &= subscription.group != group

    # -- waiting -----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Read one frame, fold what it says, and return it.

        Parameters
        ----------
        timeout : float, optional
            Longest wait in seconds; by default that of the client.

        Returns
        -------
        dict or None
            The frame; None if none came in time or the connection had to be made anew.

        Raises
        ------
        LiveError
            If the frame contradicts those before, or the service cannot be reached any more.
        """
        try:
            return self._read(self.timeout if timeout is None else timeout)
        except BROKEN:
            self.reconnect()
            return None

    def frames(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield frames, folded, until none comes for `timeout` seconds."""
        while (frame := self.receive(timeout)) is not None:
            yield frame

    def sync(self) -> dict[str, int | None]:
        """Read all that the service has for now; return up to which epoch each subscription is complete, by id."""
        epochs: dict[str, int | None] = self._ask({"op": "sync"}, "synced")["epochs"]
        return epochs

    def wait_for(self, subscription: LiveSubscription, epoch: int, timeout: float | None = None) -> bool:
        """Wait until the cells of a subscription show an epoch, such as that of a write's answer.

        Returns
        -------
        bool
            False if the epoch was not reached within `timeout` seconds (by default the client's).

        Raises
        ------
        LiveError
            If the service has ended the subscription or cannot be reached any more.
        """
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            reached = self.sync().get(subscription.id)
            if subscription.error is not None:
                raise subscription.error
            if reached is not None and reached >= epoch:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.receive(min(SYNC_SECONDS, left))

    # -- connection --------------------------------------------------------------------------------------------------

    def reconnect(self) -> None:
        """Connect anew and resume every subscription after the last epoch it got; called when the connection breaks.

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
                self._resume_all()
                self.reconnections += 1
                return
            except BROKEN as error:
                if time.monotonic() > end:
                    raise LiveError("unreachable", f"{self.url} breaks every connection: {error}") from error

    def close(self) -> None:
        """Close the connection; the cells stay. A method that asks the service after this connects again."""
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

    def _resume_all(self) -> None:
        """Subscribe again; the members of a group paused, so that it goes on as a whole, in one frame."""
        members = [one for one in self.subscriptions.values() if one.error is None]
        active = [one for one in members if not one.paused]
        for subscription in active:
            self._subscribe_again(subscription, subscription.group is not None)
        for group in {one.group for one in active if one.group is not None and one.error is None}:
            self._answer({"op": "resume", "group": group}, "resumed")
        for subscription in members:
            if subscription.paused:
                self._subscribe_again(subscription, True)

    def _subscribe_again(self, subscription: LiveSubscription, paused: bool) -> None:
        try:
            self._subscribe(subscription, paused)
        except LiveError as error:
            subscription.error = error

    def _open(self, subscription: LiveSubscription, paused: bool) -> None:
        try:
            self._subscribe(subscription, paused)
        except BROKEN:
            self.reconnect()
        end = time.monotonic() + self.timeout
        while subscription.error is None and subscription.epoch is None and not paused:
            if self.receive(max(0.0, end - time.monotonic())) is None and time.monotonic() > end:
                raise LiveError("timeout", f"no snapshot within {self.timeout} s.")
        if subscription.error is not None:
            raise subscription.error

    def _subscribe(self, subscription: LiveSubscription, paused: bool) -> None:
        request = {
            "op": "subscribe",
            "id": subscription.id,
            **subscription.request,
            "paused": paused,
            "from_epoch": subscription.epoch,
            "run": subscription.run,
        }
        run = self._answer(request, "subscribed")["run"]
        if run != subscription.run:
            # Another life of the service: the epoch means nothing to it, and a snapshot is to come.
            subscription.run, subscription.epoch = run, None

    def _ask(self, message: Mapping[str, Any], answer: str) -> dict[str, Any]:
        """Send a message and read until its answer; once more if the connection breaks."""
        while True:
            try:
                return self._answer(message, answer)
            except BROKEN:
                self.reconnect()

    def _answer(self, message: Mapping[str, Any], answer: str) -> dict[str, Any]:
        end = time.monotonic() + self.timeout
        self._socket.send(json.dumps(message))
        while True:
            frame = self._read_before(end, message["op"])
            if frame.get("id") == message.get("id"):
                if frame["type"] == answer:
                    return frame
                if frame["type"] == "error":
                    raise LiveError(frame["code"], frame["message"])

    def _read_before(self, end: float, operation: str) -> dict[str, Any]:
        frame = self._read(max(0.0, end - time.monotonic()))
        if frame is None:
            raise LiveError("timeout", f"no answer to {operation} within {self.timeout} s.")
        return frame

    def _read(self, timeout: float) -> dict[str, Any] | None:
        """Read and fold one frame; raises what simple_websocket raises."""
        text = self._socket.receive(timeout=timeout)
        if text is None:
            return None
        frame: dict[str, Any] = json.loads(text)
        for change in _changes_of(frame):
            subscription = self.subscriptions.get(change["id"])
            if subscription is not None:
                subscription.fold(change)
        if frame["type"] == "error" and frame.get("id") in self.subscriptions:
            self.subscriptions[frame["id"]].error = LiveError(frame["code"], frame["message"])
        return frame


def _changes_of(frame: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if frame["type"] == "changes":
        changes: Sequence[Mapping[str, Any]] = frame["changes"]
        return changes
    return [frame] if frame["type"] in ("snapshot", "change") else []


def _level(given: str | Sequence[str]) -> str | list[str]:
    return given if isinstance(given, str) else list(given)
