"""A real server on a free port over a small session, and the clients that talk to it."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simple_websocket import Client

import gpu_engine as ge
from api.app import create_app
from api.client import LiveClient
from api.hub import HubStatistics
from api.server import Server
from api.service import EXTENSION

DEADLINE = 20.0
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
)

Cells = dict[tuple[Any, ...], tuple[Any, ...]]
"""Level values -> measure values, and with totals the depth."""


class Http:
    """Speaks HTTP with the server; `get` and `post` return status, headers and JSON."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **headers: str) -> tuple[int, Any, Any]:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any, Any]:
        return self.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any, Any]:
        status, given, content = self.raw(method, path, body, headers)
        return status, given, json.loads(content)

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, bytes]:
        request = urllib.request.Request(f"{self.url}api/v1{path}", body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def cells(self, cube: str, measures: list[str], levels: list[Any], **more: Any) -> Cells:
        """Return the cells of a query: level values -> measure values."""
        status, _, content = self.post(f"/cubes/{cube}/query", {"measures": measures, "levels": levels, **more})
        assert status == 200, content
        return {tuple(row[: len(levels)]): tuple(row[len(levels) :]) for row in content["rows"]}


class Folding:
    """Reads frames and folds them into cells, subscription by subscription, checking each against the last."""

    def __init__(self) -> None:
        self.cells: dict[str, Cells] = {}
        self.epochs: dict[str, int] = {}

    def read(self) -> str:
        """Return the text of the next frame."""
        raise NotImplementedError

    def next(self) -> dict[str, Any]:
        """Return the next frame, folded into `cells` if it carries any."""
        frame: dict[str, Any] = json.loads(self.read())
        for change in frame["changes"] if frame["type"] == "changes" else [frame]:
            if change["type"] in ("snapshot", "change"):
                self._fold(change, len(change["levels"]))
        return frame

    def next_of(self, *kinds: str) -> dict[str, Any]:
        """Return the next frame of one of these types, passing over others."""
        while (frame := self.next())["type"] not in kinds:
            pass
        return frame

    def follow(self, subscription_id: str, expected: Cells) -> int:
        """Read frames until the cells of one subscription are as expected; return how many it took."""
        frames, end = 0, time.monotonic() + DEADLINE
        while self.cells.get(subscription_id) != expected:
            assert time.monotonic() < end, "the cells did not come to be as expected"
            self.next()
            frames += 1
        return frames

    def _fold(self, frame: dict[str, Any], depth: int) -> None:
        cells = self.cells.setdefault(frame["id"], {})
        if frame["type"] == "snapshot":
            cells.clear()
        else:
            assert frame["epoch"] > self.epochs[frame["id"]]
        for row in frame["removed"]:
            assert cells.pop(tuple(row[:depth])) == tuple(row[depth:])
        for old, new in zip(frame["changed_from"], frame["changed"], strict=True):
            assert cells[tuple(old[:depth])] == tuple(old[depth:])
            assert old[:depth] == new[:depth]
            assert old != new, "a cell was sent whose value did not change"
            cells[tuple(new[:depth])] = tuple(new[depth:])
        for row in frame["added"]:
            assert tuple(row[:depth]) not in cells
            cells[tuple(row[:depth])] = tuple(row[depth:])
        self.epochs[frame["id"]] = frame["epoch"]


class Live(Folding):
    """A well-behaved websocket client, which always reads."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.socket = Client.connect(url.replace("http", "ws", 1) + "api/v1/live")

    def read(self) -> str:
        text = self.socket.receive(timeout=DEADLINE)
        assert isinstance(text, str), "no frame came"
        return text

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def subscribe(
        self, subscription_id: str, cube: str, measures: list[str], levels: list[Any], **more: Any
    ) -> dict[str, Any]:
        """Subscribe and return the acknowledgement, or the error."""
        query = {"measures": measures, "levels": levels, **more.pop("query", {})}
        self.send(op="subscribe", id=subscription_id, cube=cube, query=query, **more)
        return self.next_of("subscribed", "error")

    def close(self) -> None:
        if self.socket.connected:
            self.socket.close()


class Raw(Folding):
    """A websocket client that reads only when told to, through a small receive buffer, and frames by hand."""

    def __init__(self, server: Server, headers: str) -> None:
        super().__init__()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((server.host, server.port))
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(
            f"GET /api/v1/live HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n{headers}\r\n\r\n".encode()
        )
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self._exactly(1)

    def rest(self) -> bytes:
        """Return all that still comes until the server closes."""
        return b"".join(iter(lambda: self.socket.recv(65536), b""))

    def send(self, payload: bytes | str, opcode: int = 0x1) -> None:
        """Send one frame, masked with zeros."""
        payload = payload.encode() if isinstance(payload, str) else payload
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + length.to_bytes(2, "big")
        self.socket.sendall(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def read(self) -> str:
        opcode, payload = self.read_frame()
        assert opcode == 0x1
        return payload.decode()

    def read_frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the server's next frame."""
        head = self._exactly(2)
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
        assert head[0] & 0x80, "the server never splits a message"
        return head[0] & 0x0F, self._exactly(length)

    def close(self) -> None:
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.socket.recv(min(65536, size - len(parts)))
            assert part, "the server closed the connection"
            parts += part
        return bytes(parts)


@pytest.fixture
def session(session: ge.Session) -> ge.Session:
    """Sales joined to products; product P3 has not arrived yet."""
    sales = session.create_table(
        "Sales", types={"Date": ge.LOCAL_DATE, "ProductId": ge.STRING, "Quantity": ge.LONG}, keys=["Date", "ProductId"]
    )
    products = session.create_table(
        "Products", types={"Id": ge.STRING, "Color": ge.STRING, "UnitPrice": ge.DOUBLE}, keys=["Id"]
    )
    sales.join(products, on={"ProductId": "Id"})
    cube = session.create_cube(sales, name="Sales")
    cube.measures["Amount"] = ge.agg.sum(sales["Quantity"] * products["UnitPrice"])
    products.append(("P1", "blue", 5.0), ("P2", "red", 10.0))
    sales.append(("2024-01-01", "P1", 10), ("2024-01-01", "P2", 20), ("2024-01-01", "P3", 30))
    return session


@pytest.fixture
def typed(session: ge.Session) -> ge.Table:
    """A table with a column of every type, in the same session."""
    return session.create_table(
        "Typed",
        types={
            "Key": ge.LONG,
            "Flag": ge.BOOLEAN,
            "Small": ge.INT,
            "Real": ge.FLOAT,
            "Wide": ge.DOUBLE,
            "Money": ge.DECIMAL(10, 2),
            "Text": ge.STRING,
            "Day": ge.LOCAL_DATE,
            "Moment": ge.TIMESTAMP,
            "Curve": ge.VECTOR(2),
        },
        keys=["Key"],
    )


@pytest.fixture
def server(session: ge.Session) -> Iterator[Server]:
    app = create_app(session)
    app.config["LIVE_PATIENCE_SECONDS"] = 0.5
    with Server(app, "127.0.0.1", 0) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Http:
    return Http(server.url)


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], Live]]:
    """Open websocket clients; all are closed at the end."""
    opened: list[Live] = []

    def open_one() -> Live:
        opened.append(Live(server.url))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def connect_folding(server: Server) -> Iterator[Callable[[], LiveClient]]:
    """Open clients of `api.client`; all are closed at the end."""
    opened: list[LiveClient] = []

    def open_one() -> LiveClient:
        opened.append(LiveClient(server.url, timeout=DEADLINE))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def connect_raw(server: Server) -> Iterator[Callable[..., Raw]]:
    """Open websocket clients that read only when told to; all are closed at the end."""
    opened: list[Raw] = []

    def open_one(headers: str = HANDSHAKE) -> Raw:
        opened.append(Raw(server, headers))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def live_statistics(server: Server) -> Callable[[], HubStatistics]:
    """Return the broadcaster's figures of now."""
    return server.app.extensions[EXTENSION].hub.statistics


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds."""

    def wait(condition: Callable[[], bool]) -> None:
        pause, end = threading.Event(), time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, "the condition did not come to hold"
            pause.wait(0.01)

    return wait
