"""Streams over the websocket /api/v1/streams: every frame, in order, and clients that misbehave."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from simple_websocket import Client

import gpu_engine as ge

DEADLINE = 20.0
RED = {"field": "Products.Color", "op": "==", "value": "red"}


class Streams:
    """A client that always reads."""

    def __init__(self, url: str) -> None:
        self.socket = Client.connect(url.replace("http", "ws", 1) + "api/v1/streams")

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def next(self) -> Any:
        content = self.socket.receive(timeout=DEADLINE)
        assert content is not None, "no frame came"
        return content if isinstance(content, bytes) else json.loads(content)

    def ask(self, **message: Any) -> Any:
        self.send(**message)
        return self.next()

    def register(self, stream_id: str = "a", table: str = "Sales", **more: Any) -> Any:
        return self.ask(op="register", id=stream_id, table=table, **more)

    def transaction(self) -> list[Any]:
        """Return the frames of one transaction, from its start to its end."""
        frames = [self.next()]
        assert frames[0]["type"] == "transaction_started", frames
        while frames[-1]["type"] not in ("transaction_committed", "transaction_rolled_back"):
            frames.append(self.next())
        return frames

    def close(self) -> None:
        if self.socket.connected:
            self.socket.close()


@pytest.fixture
def streams(server) -> Iterator[Streams]:
    client = Streams(server.url)
    yield client
    client.close()


def kinds(frames: list[Any]) -> list[str]:
    return [frame["type"] for frame in frames]


def test_the_initial_view_comes_first_and_then_each_transaction(streams, session):
    registered = streams.register(fields=["ProductId", "Quantity", "Products.Color"], branch="master")
    assert (registered["type"], registered["branch"]) == ("registered", "master")
    assert registered["columns"] == ["ProductId", "Quantity", "Products.Color"]
    assert registered["types"] == ["STRING", "LONG", "STRING"]
    started, added, committed = streams.transaction()
    assert started == {
        "id": "a", "type": "transaction_started", "epoch": 2, "branch": "master", "tables": [], "initial": True,
    }  # fmt: skip
    assert added["rows"] == [["P1", 10, "blue"], ["P2", 20, "red"], ["P3", 30, None]]
    assert committed == {"id": "a", "type": "transaction_committed", "epoch": 2}
    assert streams.next() == {"id": "a", "type": "attached", "epoch": 2}

    sales = session.tables["Sales"]
    with session.start_transaction():
        sales.append(("2024-01-01", "P1", 11), ("2024-01-02", "P2", 5))
        sales.drop(keys=[("2024-01-01", "P3")])
    frames = streams.transaction()
    assert kinds(frames) == [
        "transaction_started", "records_deleted", "records_updated", "records_added", "transaction_committed",
    ]  # fmt: skip
    assert (frames[0]["initial"], frames[0]["tables"], frames[0]["epoch"]) == (False, ["Sales"], 3)
    assert frames[1]["rows"] == [["P3", 30, None]]
    assert (frames[2]["old"], frames[2]["new"]) == ([["P1", 10, "blue"]], [["P1", 11, "blue"]])
    assert frames[3]["rows"] == [["P2", 5, "red"]]

    session.tables["Products"].append(("P1", "green", 5.0))
    assert streams.transaction()[1]["new"] == [["P1", 11, "green"]]
    sales.truncate()
    assert kinds(streams.transaction()) == ["transaction_started", "truncate", "transaction_committed"]


def test_rows_enter_and_leave_the_condition(streams, session):
    streams.register(fields=["Quantity"], where=RED, send_initial_view=False, branch="master")
    assert streams.next()["type"] == "attached"
    session.tables["Products"].append(("P1", "red", 5.0), ("P2", "blue", 10.0))
    _, deleted, added, _ = streams.transaction()
    assert (deleted["type"], deleted["rows"]) == ("records_deleted", [[20]])
    assert (added["type"], added["rows"]) == ("records_added", [[10]])


def test_a_rolled_back_transaction_says_so_and_nothing_else(streams, session):
    streams.register(send_initial_view=False)
    assert streams.next()["type"] == "attached"
    with pytest.raises(ZeroDivisionError), session.start_transaction():
        session.tables["Sales"].append(("2024-01-05", "P1", 1))
        raise ZeroDivisionError
    assert kinds(streams.transaction()) == ["transaction_started", "transaction_rolled_back"]


def test_partitions_are_named(streams, session):
    days = session.create_table("Days", types={"Day": ge.LOCAL_DATE, "X": ge.LONG}, partition_by="Day")
    days.append(("2024-01-01", 1), ("2024-01-02", 2))
    streams.register(table="Days", fields=["X"], branch="master")
    view = streams.transaction()
    assert [(frame["partition"], frame["rows"]) for frame in view[1:-1]] == [
        ("2024-01-01", [[1]]),
        ("2024-01-02", [[2]]),
    ]
    assert streams.next()["type"] == "attached"
    days.drop_partition("2024-01-01")
    dropped = streams.transaction()[1]
    assert (dropped["type"], dropped["partition"], dropped["rows"]) == ("partition_dropped", "2024-01-01", [[1]])
    assert dropped["conditions"] == {"Day": "2024-01-01"}


def test_without_a_branch_all_are_followed_and_named(streams, session):
    streams.register(fields=["Quantity"])
    assert streams.transaction()[0]["branch"] == "master"
    assert streams.next()["type"] == "attached"
    session.branches.create("b")
    with session.start_transaction("b"):
        session.tables["Sales"].append(("2024-01-01", "P1", 99))
    view, change = streams.transaction(), streams.transaction()
    assert (view[0]["branch"], view[0]["initial"]) == ("b", True)
    assert (change[0]["branch"], change[1]["new"]) == ("b", [[99]])


def test_a_branch_that_is_followed_is_in_use(streams, session, http):
    session.branches.create("b")
    streams.register(branch="b", send_initial_view=False)
    assert streams.next()["type"] == "attached"
    status, _, content = http.request("DELETE", "/branches/b", None, {})
    assert (status, content["error"]["code"]) == (409, "branch_in_use")
    assert streams.ask(op="unregister", id="a") == {"type": "unregistered", "id": "a"}
    assert http.request("DELETE", "/branches/b", None, {})[0] == 200


def test_rows_come_as_arrow_behind_their_frame(streams, session):
    streams.register(fields=["Date", "Quantity"], format="arrow", branch="master")
    assert streams.next()["type"] == "transaction_started"
    assert streams.next()["binary"] == ["rows"]
    view = pa.ipc.open_stream(streams.next()).read_all()
    assert view.schema.types == [pa.date32(), pa.int64()]
    assert view["Quantity"].to_pylist() == [10, 20, 30]
    assert [streams.next()["type"] for _ in range(2)] == ["transaction_committed", "attached"]
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    assert streams.next()["type"] == "transaction_started"
    assert streams.next()["binary"] == ["old", "new"]
    pair = [pa.ipc.open_stream(streams.next()).read_all()["Quantity"].to_pylist() for _ in range(2)]
    assert pair == [[10], [11]]


def next_batch(streams):
    while "binary" not in streams.next():
        pass
    return pa.ipc.open_stream(streams.next()).read_all().combine_chunks().to_batches()[0]


def test_codes_come_with_their_dictionary_and_mean_the_same_in_every_frame(streams, session):
    streams.register(fields=["ProductId", "Products.Color"], format="arrow", branch="master", dictionarized=True)
    first = next_batch(streams)
    session.tables["Sales"].append(("2024-01-02", "P2", 1), ("2024-01-02", "P9", 2))
    second = next_batch(streams)
    for column in (*first.columns, *second.columns):
        assert column.type == pa.dictionary(pa.int32(), pa.string())
    assert first["ProductId"].to_pylist() == ["P1", "P2", "P3"]
    assert first["Products.Color"].to_pylist() == ["blue", "red", None]
    assert second["ProductId"].to_pylist() == ["P2", "P9"]
    assert second["ProductId"].indices[0] == first["ProductId"].indices[1]
    known = first["ProductId"].dictionary.to_pylist()
    assert second["ProductId"].dictionary.to_pylist() == [*known, "P9"]


def test_a_truncated_table_is_one_frame(streams, session):
    streams.register(fields=["Quantity"], branch="master")
    assert streams.transaction()[-1]["epoch"] == 2
    assert streams.next()["type"] == "attached"
    with session.start_transaction():
        session.tables["Sales"].truncate()
        session.tables["Sales"].append(("2024-01-02", "P2", 1))
    kinds = [(frame["type"], frame.get("rows")) for frame in streams.transaction()[1:-1]]
    assert kinds == [("truncate", None), ("records_added", [[1]])]


def test_a_stream_resumes_after_an_epoch(streams, session, server):
    run = streams.register(send_initial_view=False, branch="master")["run"]
    streams.close()
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    again = Streams(server.url)
    registered = again.register(fields=["Quantity"], branch="master", from_epoch=2, run=run)
    assert registered["type"] == "registered"
    assert again.next()["type"] == "attached"
    _, updated, committed = again.transaction()
    assert (updated["new"], committed["epoch"]) == ([[11]], 3)
    for wrong in ({"from_epoch": 2, "run": "another"}, {"from_epoch": 99}):
        error = again.register("b", branch="master", **wrong)
        assert (error["type"], error["code"], error["id"]) == ("error", "epoch_not_retained", "b")
    again.close()


def test_an_epoch_that_the_log_no_longer_holds_is_refused(streams, session):
    session.database.streamer.retain(2, 1 << 20)
    for quantity in range(5):
        session.tables["Sales"].append(("2024-01-01", "P1", 100 + quantity))
    error = streams.register(from_epoch=2)
    assert (error["type"], error["code"]) == ("error", "epoch_not_retained")
    assert streams.register()["type"] == "registered"


@pytest.mark.parametrize(
    ("message", "code", "place"),
    [
        ({"op": "subscribe"}, "unknown_operation", "$.op"),
        ({"op": "register"}, "invalid_request", "$.id"),
        ({"op": "register", "id": "b"}, "invalid_request", "$.table"),
        ({"op": "register", "id": "b", "table": "Sails"}, "unknown_table", "$.table"),
        ({"op": "register", "id": "b", "table": "Sales", "limit": 1}, "invalid_request", "$"),
        ({"op": "register", "id": "b", "table": "Sales", "fields": ["X"]}, "unknown_column", "$.fields[0]"),
        ({"op": "register", "id": "b", "table": "Sales", "where": {}}, "invalid_request", "$.where.op"),
        ({"op": "register", "id": "b", "table": "Sales", "branch": "x"}, "unknown_branch", "$.branch"),
        ({"op": "register", "id": "b", "table": "Sales", "format": "csv"}, "invalid_request", "$.format"),
        ({"op": "register", "id": "b", "table": "Sales", "from_epoch": "1"}, "invalid_request", "$.from_epoch"),
        (
            {"op": "register", "id": "b", "table": "Sales", "send_initial_view": 1},
            "invalid_request",
            "$.send_initial_view",
        ),
        ({"op": "register", "id": "b", "table": "Sales", "dictionarized": True}, "invalid_request", "$.dictionarized"),
        (
            {"op": "register", "id": "b", "table": "Sales", "format": "arrow", "dictionarized": "yes"},
            "invalid_request",
            "$.dictionarized",
        ),
        ({"op": "unregister", "id": "b"}, "unknown_registration", "$.id"),
    ],
)
def test_a_message_without_meaning_is_answered_and_the_socket_goes_on(streams, session, message, code, place):
    error = streams.ask(**message)
    assert (error["type"], error["code"], error["place"]) == ("error", code, place)
    assert streams.ask(op="ping") == {"type": "pong", "branch": "master", "epoch": 2}
    assert session.database.streamer.registrations == ()


def test_what_is_no_json_is_answered(streams):
    streams.socket.send(b"x")
    assert streams.next()["code"] == "malformed_message"
    streams.socket.send("{")
    assert streams.next()["code"] == "malformed_json"


def test_an_id_is_taken_once_and_a_socket_holds_only_so_many(streams):
    assert streams.register(send_initial_view=False)["type"] == "registered"
    assert streams.next()["type"] == "attached"
    assert streams.register()["code"] == "duplicate_registration"
    for number in range(15):
        assert streams.register(f"s{number}", send_initial_view=False)["type"] == "registered"
        assert streams.next()["type"] == "attached"
    assert streams.register("one too many")["code"] == "too_many_registrations"


def test_a_client_that_goes_ends_its_registrations_and_nothing_fails(streams, session, wait_for):
    streams.register(send_initial_view=False)
    assert streams.next()["type"] == "attached"
    streams.close()
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    wait_for(lambda: session.database.streamer.registrations == ())
    assert session.health().status == "ok"


class Stalled:
    """A client that registers through a small receive buffer and reads nothing unless told to."""

    def __init__(self, server: Any, **message: Any) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((server.host, server.port))
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(
            f"GET /api/v1/streams HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = self.socket.recv(1)
            assert part, "the server closed the connection"
            head += part
        payload = json.dumps({"op": "register", "id": "a", **message}).encode().ljust(200)
        self.socket.sendall(bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4) + payload)

    def read_until(self, wanted: bytes) -> bytes:
        content = b""
        while wanted not in content[-100_000:]:
            part = self.socket.recv(65536)
            assert part, "the server closed the connection"
            content += part
        return content


@pytest.fixture
def wide(session) -> ge.Table:
    """A table whose rows are large."""
    table = session.create_table("Wide", types={"Id": ge.LONG, "Text": ge.STRING}, keys=["Id"])
    table.append((0, "x"))
    return table


def test_a_client_that_reads_nothing_delays_no_commit_and_is_cut_off(server, session, wide, wait_for, http):
    stalled = Stalled(server, table="Wide", branch="master", send_initial_view=False, fields=["Id", "Text"])
    wait_for(lambda: len(session.database.streamer.registrations) == 1)
    [registration] = session.database.streamer.registrations
    for number in range(60):
        wide.append((number, f"{number:03}" * 100_000))
    assert registration.epoch < session.epoch, "the commits did not wait for the client"
    wait_for(lambda: session.database.streamer.registrations == ())
    assert http.get("/health")[2]["status"] == "ok"
    stalled.socket.close()


def test_a_client_that_falls_behind_the_log_is_told_and_may_begin_anew(server, session, wide, wait_for, streams):
    server.app.config["LIVE_PATIENCE_SECONDS"] = DEADLINE
    stalled = Stalled(server, table="Wide", branch="master", send_initial_view=False, fields=["Id", "Text"])
    wait_for(lambda: len(session.database.streamer.registrations) == 1)
    [registration] = session.database.streamer.registrations
    session.database.streamer.retain(2, 1 << 30)
    until, number = time.monotonic() + DEADLINE, 0
    # Transactions are read from the log in lots, so it takes a few before one finds the log gone past it.
    while registration.epoch + 10 > session.epoch:
        assert time.monotonic() < until
        wide.append((number % 3, f"{number:03}" * 300_000))
        number += 1
    content = stalled.read_until(b'"type":"ended"')
    content += stalled.read_until(b"}") if not content.endswith(b"}") else b""
    assert b'"code":"epoch_not_retained"' in content
    wait_for(lambda: session.database.streamer.registrations == ())
    assert session.health().status == "ok"
    stalled.socket.close()
    assert streams.register(table="Wide", branch="master")["type"] == "registered"
    assert streams.transaction()[0]["initial"]
