"""The websocket /api/v1/live: what clients say and how they are answered.

Floor 6. Messages are JSON objects in text frames. A client sends

    {"op": "subscribe", "id": "a", "cube": "Sales", "query": {...}, "from_epoch": null, "run": null, "group": null,
     "paused": false}
    {"op": "unsubscribe", "id": "a"}        this and the next two also with "group" for all of a group
    {"op": "pause", "id": "a"}
    {"op": "resume", "id": "a"}
    {"op": "sync"}
    {"op": "ping"}

and gets `subscribed`, `unsubscribed`, `paused`, `resumed`, `synced`, `pong` or `error` back, and for each subscription
a `snapshot` and then a `change` per epoch that changed its cells; for a group one `changes` per epoch with all of them.
docs/live.md has every frame. What a message cannot mean is answered by an `error` frame; the socket stays open. The
query is that of HTTP (`api.queries`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, current_app, request
from flask_sock import Sock
from simple_websocket import Server

import gpu_engine as ge
from api.channel import Channel, text_frame
from api.errors import RequestError, answer, placed
from api.expect import expect_members, expect_object
from api.groups import Group, Subscription
from api.hub import Hub
from api.queries import parse_query
from api.service import service
from api.wire import BRANCH, dump, load

__all__ = ["MAX_ID", "MAX_MESSAGE", "SOCKET_OPTIONS", "WEBSOCKET_FLAG", "live_routes", "prepare_socket"]

WEBSOCKET_FLAG = "gpu_engine.websocket"
"""Set in the WSGI environment of a request that became a websocket: there is no HTTP answer to write after it."""

MAX_MESSAGE = 256 * 1024
"""Longer messages are answered with an error."""
HARD_MESSAGE_LIMIT = 4 * 1024 * 1024
"""Longer ones close the socket with status 1009, so that nobody fills the memory."""
PING_SECONDS = 25
MAX_SUBSCRIPTIONS = 64
MAX_ID = 100

SOCKET_KEYS = ("werkzeug.socket", "gunicorn.socket")


class _ReadingThread(Thread):
    """The thread in which simple-websocket reads one socket; it does not keep the process alive.

    When it ends it wakes the thread that waits for messages: after a message over the hard limit simple-websocket
    itself does so too early, and that thread would wait for ever.
    """

    def __init__(self, *, target: Callable[[], None]) -> None:
        super().__init__(target=target, name="gpu-engine websocket", daemon=True)
        self._websocket: Server = target.__self__  # type: ignore[attr-defined]

    def run(self) -> None:
        """Read until the socket ends."""
        try:
            super().run()
        finally:
            self._websocket.connected = False
            self._websocket.event.set()


SOCKET_OPTIONS = {
    "ping_interval": PING_SECONDS,
    "max_message_size": HARD_MESSAGE_LIMIT,
    "receive_bytes": 65536,
    "thread_class": _ReadingThread,
}
"""How flask-sock makes its sockets."""


def live_routes() -> Blueprint:
    """Return the blueprint with the websocket route."""
    blueprint = Blueprint("live", __name__)
    blueprint.before_request(prepare_socket)
    Sock().route("/live", bp=blueprint)(_serve)
    return blueprint


def prepare_socket() -> None:
    """Refuse pages of other sites, and put a `Channel` in the place of the socket before the handshake.

    Compression is not negotiated: a frame is encoded once for all its subscribers.
    """
    origin = request.headers.get("Origin")
    if origin and urlsplit(origin).netloc != request.host and origin not in current_app.config["ALLOWED_ORIGINS"]:
        raise RequestError("foreign_origin", f"pages of {origin} may not connect here.", status=403)
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    for key in SOCKET_KEYS:
        if key in request.environ:
            request.environ[key] = Channel(request.environ[key], current_app.config["LIVE_PATIENCE_SECONDS"])


def _serve(websocket: Server) -> None:
    """Answer one client's messages until it goes."""
    request.environ[WEBSOCKET_FLAG] = True
    client = _Client(websocket.sock, service().hub, service().session)
    try:
        while True:
            client.handle(websocket.receive())
    finally:
        client.leave()


@dataclass(slots=True)
class _Client:
    """One socket: its subscriptions by id, its groups by name."""

    channel: Channel
    hub: Hub
    session: ge.Session
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def handle(self, message: str | bytes | None) -> None:
        """Do what one message asks; whatever is wrong with it is answered, never raised."""
        subscription_id: str | None = None
        try:
            content = self._read(message)
            given = content.get("id")
            subscription_id = given if isinstance(given, str) else None
            self._operation(content)(content)
        except OSError:
            raise
        except Exception as error:
            _, body = answer(error, self.session, "websocket")
            self._send({"type": "error", "id": subscription_id, **body["error"]})

    def leave(self) -> None:
        """End all subscriptions of this socket."""
        for subscription in self.subscriptions.values():
            self.hub.unsubscribe(subscription)

    def _send(self, message: Mapping[str, Any]) -> None:
        self.channel.send(text_frame(dump(message)))

    @staticmethod
    def _read(message: str | bytes | None) -> dict[str, Any]:
        if not isinstance(message, str):
            raise RequestError("malformed_message", "binary messages have no meaning here. Send JSON as text.")
        if len(message) > MAX_MESSAGE:
            raise RequestError("message_too_large", f"{len(message)} characters are too many, at most {MAX_MESSAGE}.")
        return expect_object(load(message), "$")

    def _operation(self, content: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
        operations = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "pause": self._pause,
            "resume": self._resume,
            "sync": self._sync,
            "ping": self._ping,
        }
        op = content.get("op")
        if not isinstance(op, str) or op not in operations:
            raise RequestError("unknown_operation", f"expected one of {', '.join(operations)}.", place="$.op")
        return operations[op]

    def _subscribe(self, content: dict[str, Any]) -> None:
        expect_members(content, ("op", "id", "cube", "query", "from_epoch", "run", "group", "paused"), "$")
        subscription_id = self._free_id(content.get("id"))
        cube_name = content.get("cube")
        if not isinstance(cube_name, str):
            raise RequestError("invalid_request", "expected the name of a cube.", place="$.cube")
        with placed("$.cube"):
            cube = self.session.cubes[cube_name]
        query = parse_query(cube, content.get("query"), "$.query")
        epoch, paused = self._epoch(content, query.branch), content.get("paused", False)
        if not isinstance(paused, bool):
            raise RequestError("invalid_request", "expected true or false.", place="$.paused")
        group = self._group(content.get("group"))
        self.subscriptions[subscription_id] = self.hub.subscribe(group, subscription_id, query, epoch, paused=paused)

    def _free_id(self, given: Any) -> str:
        if not isinstance(given, str) or not 0 < len(given) <= MAX_ID:
            raise RequestError("invalid_request", f"expected a text of 1 to {MAX_ID} characters.", place="$.id")
        self._forget_closed()
        if given in self.subscriptions:
            raise RequestError("duplicate_subscription", f"{given!r} is subscribed already.", place="$.id")
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise RequestError("too_many_subscriptions", f"a socket holds at most {MAX_SUBSCRIPTIONS} subscriptions.")
        return given

    def _epoch(self, content: dict[str, Any], branch: str) -> int | None:
        """Return the epoch to resume from; None if it is of another life of the service or the branch."""
        epoch, run = content.get("from_epoch"), content.get("run")
        if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0):
            raise RequestError("invalid_request", "expected an epoch or null.", place="$.from_epoch")
        if run is not None and not isinstance(run, str):
            raise RequestError("invalid_request", "expected the run of an acknowledgement or null.", place="$.run")
        return epoch if run is None or run == self.hub.run_of(branch) else None

    def _group(self, given: Any) -> Group:
        """Return the group of that name, a new one without name for null."""
        if given is None:
            return Group(self.channel)
        if not isinstance(given, str) or not 0 < len(given) <= MAX_ID:
            raise RequestError("invalid_request", f"expected a text of 1 to {MAX_ID} characters.", place="$.group")
        self.groups = {name: group for name, group in self.groups.items() if group.members}
        return self.groups.setdefault(given, Group(self.channel, given))

    def _forget_closed(self) -> None:
        self.subscriptions = {key: one for key, one in self.subscriptions.items() if not one.closed}

    def _named(self, content: dict[str, Any]) -> tuple[dict[str, str], list[Subscription]]:
        """Return the `id` or `group` that a message names, and the subscriptions meant."""
        expect_members(content, ("op", "id", "group"), "$")
        if "id" in content and "group" in content:
            raise RequestError("invalid_request", "give the id of a subscription or a group, not both.", place="$")
        self._forget_closed()
        name = "group" if "group" in content else "id"
        given = content.get(name)
        known = {key: [one] for key, one in self.subscriptions.items()}
        if name == "group":
            known = {key: group.members for key, group in self.groups.items() if group.members}
        if not isinstance(given, str) or given not in known:
            raise RequestError(
                f"unknown_{'subscription' if name == 'id' else 'group'}",
                f"nothing is subscribed under this {name} on this socket.",
                place=f"$.{name}",
                known=tuple(known),
            )
        return {name: given}, list(known[given])

    def _unsubscribe(self, content: dict[str, Any]) -> None:
        named, subscriptions = self._named(content)
        for subscription in subscriptions:
            self.hub.unsubscribe(subscription)
            del self.subscriptions[subscription.id]
        self._send({"type": "unsubscribed", **named})

    def _pause(self, content: dict[str, Any]) -> None:
        named, subscriptions = self._named(content)
        subscriptions[0].group.pause(subscriptions, True)
        self._send({"type": "paused", **named, "epochs": _epochs(subscriptions)})

    def _resume(self, content: dict[str, Any]) -> None:
        named, subscriptions = self._named(content)
        self._send({"type": "resumed", **named, "epochs": _epochs(subscriptions)})
        self.hub.resume(subscriptions[0].group, subscriptions)

    def _sync(self, content: dict[str, Any]) -> None:
        expect_members(content, ("op",), "$")
        self._forget_closed()
        for group in {id(one.group): one.group for one in self.subscriptions.values()}.values():
            self.hub.catch_up(group)
        self._send({"type": "synced", "epochs": _epochs(self.subscriptions.values())})

    def _ping(self, content: dict[str, Any]) -> None:
        self._send({"type": "pong", "branch": BRANCH, "epoch": self.session.epoch})


def _epochs(subscriptions: Iterable[Subscription]) -> dict[str, int | None]:
    """Return up to which epoch each subscription has been told of everything."""
    return {subscription.id: subscription.epoch for subscription in subscriptions}
