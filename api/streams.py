"""The websocket /api/v1/streams: what commits change in the rows of a list query, told frame by frame.

Floor 6. Messages are JSON objects in text frames. A client sends

    {"op": "register", "id": "a", "table": "trades", "fields": [path, ...], "where": condition, "branch": null,
     "send_initial_view": true, "from_epoch": null, "run": null, "format": "json" | "arrow", "dictionarized": false}
    {"op": "unregister", "id": "a"}
    {"op": "ping"}

and gets `registered`, `unregistered`, `pong` or `error` back, and for each registration the frames that
`api.stream_writer` makes of the calls of a stream's listener. docs/http.md has every frame. What a message cannot mean
is answered by an `error` frame; the socket stays open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, request
from flask_sock import Sock
from simple_websocket import Server

import gpu_engine as ge
from api.channel import Channel, text_frame
from api.errors import RequestError, answer, placed
from api.expect import expect_branch, expect_epoch, expect_members, expect_object, expect_text
from api.live import MAX_ID, MAX_MESSAGE, WEBSOCKET_FLAG, prepare_socket
from api.row_queries import parse_row_query
from api.service import Service, service
from api.stream_writer import StreamWriter
from api.wire import BRANCH, dump, load

__all__ = ["stream_routes"]

MAX_STREAMS = 16
"""Registrations of one socket; each has a thread."""
FORMATS = ("json", "arrow")
OPTIONS = ("branch", "send_initial_view", "from_epoch", "run", "format", "dictionarized")
MEMBERS = ("op", "id", "table", "fields", "where", *OPTIONS)


def stream_routes() -> Blueprint:
    """Return the blueprint with the websocket route."""
    blueprint = Blueprint("streams", __name__)
    blueprint.before_request(prepare_socket)
    Sock().route("/streams", bp=blueprint)(_serve)
    return blueprint


def _serve(websocket: Server) -> None:
    """Answer one client's messages until it goes."""
    request.environ[WEBSOCKET_FLAG] = True
    client = _Client(websocket.sock, service())
    try:
        while True:
            client.handle(websocket.receive())
    finally:
        client.leave()


@dataclass(slots=True)
class _Client:
    """One socket and its registrations by id."""

    channel: Channel
    service: Service
    registrations: dict[str, ge.Registration] = field(default_factory=dict)

    def handle(self, message: str | bytes | None) -> None:
        """Do what one message asks; whatever is wrong with it is answered, never raised."""
        stream_id: str | None = None
        try:
            if not isinstance(message, str):
                raise RequestError("malformed_message", "binary messages have no meaning here. Send JSON as text.")
            if len(message) > MAX_MESSAGE:
                text = f"{len(message)} characters are too many, at most {MAX_MESSAGE}."
                raise RequestError("message_too_large", text)
            content = expect_object(load(message), "$")
            given = content.get("id")
            stream_id = given if isinstance(given, str) else None
            self._do(content)
        except OSError:
            raise
        except Exception as error:
            _, body = answer(error, self.service.session, "websocket")
            self._send({"type": "error", "id": stream_id, **body["error"]})

    def leave(self) -> None:
        """End all registrations of this socket; one that waits for the client is freed by cutting it."""
        self.channel.cut()
        for registration in self.registrations.values():
            registration.unregister()

    def _do(self, content: dict[str, Any]) -> None:
        operations = {"register": self._register, "unregister": self._unregister, "ping": self._ping}
        op = content.get("op")
        if not isinstance(op, str) or op not in operations:
            raise RequestError("unknown_operation", f"expected one of {', '.join(operations)}.", place="$.op")
        operations[op](content)

    def _send(self, message: Mapping[str, Any]) -> None:
        self.channel.send(text_frame(dump(message)))

    def _register(self, content: dict[str, Any]) -> None:
        expect_members(content, MEMBERS, "$")
        session, stream_id = self.service.session, self._free_id(content.get("id"))
        name = expect_text(content.get("table"), "$.table", "the name of a table")
        with placed("$.table"):
            table = session.tables[name]
        query = parse_row_query(session, table, "list", content)
        as_arrow = _format(content.get("format", "json")) == "arrow"
        options = _options(content, as_arrow=as_arrow)
        from_epoch, run = self._place(content, options.branch)
        prepared = session.database.prepare.list(table, list(query.fields), query.where)
        writer = StreamWriter(self.channel, stream_id, session, as_arrow=as_arrow)
        registration = session.database.streamer.register(prepared, writer, options, from_epoch)
        self.registrations[stream_id] = registration
        try:
            about = {"table": name, "branch": options.branch, "run": run}
            columns = {"columns": list(query.fields), "types": [str(one) for one in query.fields.values()]}
            self._send({"type": "registered", "id": stream_id, **about, **columns})
        finally:
            writer.begin(registration)

    def _free_id(self, given: Any) -> str:
        if not isinstance(given, str) or not 0 < len(given) <= MAX_ID:
            raise RequestError("invalid_request", f"expected a text of 1 to {MAX_ID} characters.", place="$.id")
        self.registrations = {key: one for key, one in self.registrations.items() if one.active}
        if given in self.registrations:
            raise RequestError("duplicate_registration", f"{given!r} is registered already.", place="$.id")
        if len(self.registrations) >= MAX_STREAMS:
            raise RequestError("too_many_registrations", f"a socket holds at most {MAX_STREAMS} registrations.")
        return given

    def _place(self, content: dict[str, Any], branch: str | None) -> tuple[int | None, str]:
        """Return the epoch to resume from, and the life of the service that it must be of."""
        if branch is not None:
            with placed("$.branch"):
                _ = self.service.session.branches[branch]
        current = self.service.hub.run_of(BRANCH if branch is None else branch)
        epoch, run = expect_epoch(content.get("from_epoch"), "$.from_epoch"), content.get("run")
        if run is not None and not isinstance(run, str):
            raise RequestError("invalid_request", "expected the run of an acknowledgement or null.", place="$.run")
        if epoch is not None and run not in (None, current):
            message = "the service or the branch is another one by now. Register anew, with an initial view."
            raise RequestError("epoch_not_retained", message, place="$.from_epoch")
        return epoch, current

    def _unregister(self, content: dict[str, Any]) -> None:
        expect_members(content, ("op", "id"), "$")
        given = content.get("id")
        if not isinstance(given, str) or given not in self.registrations:
            message = "nothing is registered under this id on this socket."
            raise RequestError("unknown_registration", message, place="$.id", known=tuple(self.registrations))
        self.registrations.pop(given).unregister()
        self._send({"type": "unregistered", "id": given})

    def _ping(self, content: dict[str, Any]) -> None:
        self._send({"type": "pong", "branch": BRANCH, "epoch": self.service.session.epoch})


def _options(content: dict[str, Any], *, as_arrow: bool) -> ge.StreamOptions:
    branch = None if content.get("branch") is None else expect_branch(content["branch"], "$.branch")
    initial = _flag(content, "send_initial_view", default=True)
    dictionarized = _flag(content, "dictionarized", default=False)
    if dictionarized and not as_arrow:
        message = 'JSON has no dictionaries. Ask for "format": "arrow", or leave it out.'
        raise RequestError("invalid_request", message, place="$.dictionarized")
    return ge.StreamOptions(send_initial_view=initial, branch=branch, dictionarized=dictionarized)


def _flag(content: dict[str, Any], name: str, *, default: bool) -> bool:
    given = content.get(name, default)
    if not isinstance(given, bool):
        raise RequestError("invalid_request", "expected true or false.", place=f"$.{name}")
    return given


def _format(given: Any) -> str:
    if not isinstance(given, str) or given not in FORMATS:
        raise RequestError("invalid_request", f"expected one of {', '.join(FORMATS)}.", place="$.format")
    return given
