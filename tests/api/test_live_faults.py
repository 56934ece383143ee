"""The websocket under fire: rubbish, broken handshakes, huge frames, slow readers; nobody else notices."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from api.service import EXTENSION
from tests.api.conftest import DEADLINE

BY_COLOR = ("Sales", ["Amount", "Quantity.SUM"], ["Color"])
BY_DAY = ("Sales", ["Quantity.SUM"], ["Date"])
EVERY_SALE = ("Sales", ["Quantity.SUM"], ["Date", "ProductId"])
QUERY = {"measures": EVERY_SALE[1], "levels": EVERY_SALE[2]}
PING, PONG = 0x9, 0xA
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade"
HANDSHAKE = f"{UPGRADE}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"


def subscribing(**members: Any) -> str:
    """Return the text of a subscription to Amount, with some members changed or added."""
    return json.dumps({"op": "subscribe", "id": "b", "cube": "Sales", "query": {"measures": ["Amount"]}, **members})


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "malformed_json"),
        ("hello", "malformed_json"),
        (b"\x00\x01", "malformed_message"),
        ("[" * 100_000, "malformed_json"),
        ("x" * 300_000, "message_too_large"),
        ('{"op": NaN}', "malformed_json"),
        ('"\\ud800"', "malformed_json"),
        ("[]", "invalid_request"),
        ("{}", "unknown_operation"),
        ('{"op": "dance"}', "unknown_operation"),
        ('{"op": ["subscribe"]}', "unknown_operation"),
        (subscribing(id=None), "invalid_request"),
        (subscribing(id=""), "invalid_request"),
        (subscribing(cube=5), "invalid_request"),
        (subscribing(cube="Sails"), "unknown_cube"),
        (subscribing(query=None), "invalid_request"),
        (subscribing(query={"measures": ["x"]}), "unknown_measure"),
        (subscribing(from_epoch=-1), "invalid_request"),
        (subscribing(from_epoch=True), "invalid_request"),
        (subscribing(run=1), "invalid_request"),
        (subscribing(form=1), "invalid_request"),
        (subscribing(id="a"), "duplicate_subscription"),
        ('{"op": "unsubscribe", "id": "b"}', "unknown_subscription"),
        ('{"op": "unsubscribe"}', "unknown_subscription"),
    ],
)
def test_a_message_without_meaning_is_answered_and_the_socket_stays(connect, http, session, message, code):
    client = connect()
    client.subscribe("a", *BY_COLOR)
    client.next()
    client.socket.send(message)
    error = client.next()
    assert (error["type"], error["code"]) == ("error", code)
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", 1]]})
    assert client.next()["type"] == "change"
    assert session.health().status == "ok"


def test_a_message_beyond_all_bounds_closes_only_its_socket(connect, http, wait_for):
    other, client = connect(), connect()
    other.subscribe("a", *BY_COLOR)
    other.next()
    client.socket.send("x" * 5_000_000)
    wait_for(lambda: not client.socket.connected)
    assert client.socket.close_reason == 1009
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", 1]]})
    assert other.next()["type"] == "change"


def test_a_socket_holds_a_bounded_number_of_subscriptions(connect):
    client = connect()
    for i in range(64):
        assert client.subscribe(str(i), *BY_DAY)["type"] == "subscribed"
    assert client.subscribe("one more", *BY_DAY)["code"] == "too_many_subscriptions"


@pytest.mark.parametrize("headers", [UPGRADE, f"{UPGRADE}\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 8"])
def test_a_bad_handshake_is_refused_in_json(connect_raw, session, headers):
    client = connect_raw(headers)
    assert client.head.startswith(b"HTTP/1.1 400")
    assert b'"bad_handshake"' in client.rest()
    assert session.health().status == "ok"


def test_a_page_of_another_site_may_not_connect(connect_raw):
    client = connect_raw(f"{HANDSHAKE}\r\nOrigin: https://elsewhere.example")
    assert client.head.startswith(b"HTTP/1.1 403")
    assert b'"foreign_origin"' in client.rest()


def test_a_page_of_this_server_may_connect(connect_raw, server):
    client = connect_raw(f"{HANDSHAKE}\r\nOrigin: http://{server.host}:{server.port}")
    assert client.head.startswith(b"HTTP/1.1 101")


def test_a_broken_frame_ends_only_its_own_socket(connect, connect_raw, http, session):
    other = connect()
    other.subscribe("a", *BY_COLOR)
    other.next()
    client = connect_raw()
    client.socket.sendall(b"\xff" * 8)
    assert b"HTTP" not in client.rest()
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", 1]]})
    assert other.next()["type"] == "change"
    assert session.health().status == "ok"


def test_frames_of_several_megabytes_arrive_whole(server, connect, session, http):
    server.app.config["LIVE_PATIENCE_SECONDS"] = DEADLINE
    fill(session, 60_000, quantity=1)
    client = connect()
    client.subscribe("a", *EVERY_SALE)
    client.next()
    assert len(client.cells["a"]) == 60_003
    fill(session, 60_000, quantity=1_000_000)
    client.follow("a", http.cells(*EVERY_SALE))
    client.send(op="ping")
    assert client.next()["type"] == "pong"


def test_a_ping_amid_a_large_frame_breaks_neither(server, connect_raw, session, live_statistics, wait_for):
    server.app.config["LIVE_PATIENCE_SECONDS"] = DEADLINE
    fill(session, 60_000, quantity=1)
    client = connect_raw()
    client.send(subscribing(query=QUERY))
    wait_for(lambda: live_statistics().frames_encoded == 1)
    client.send(b"hello", opcode=PING)
    frames = [client.read_frame() for _ in range(3)]
    texts = [json.loads(payload) for opcode, payload in frames if opcode != PONG]
    assert [payload for opcode, payload in frames if opcode == PONG] == [b"hello"]
    assert [text["type"] for text in texts] == ["subscribed", "snapshot"]
    assert len(texts[1]["added"]) == 60_003


def test_a_reader_that_stops_is_cut_off_and_delays_nobody(
    server, connect, connect_raw, http, session, live_statistics, wait_for
):
    server.app.config["LIVE_PATIENCE_SECONDS"] = 2.0  # for the one that reads nothing; the other one reads all the time
    fill(session, 20_000, quantity=-1)
    good, stuck = connect(), connect_raw()
    good.subscribe("a", *EVERY_SALE)
    good.next()
    stuck.send(subscribing(query=QUERY, from_epoch=session.epoch))
    wait_for(lambda: live_statistics().subscribers == 2)
    for i in range(500):
        epoch = fill(session, 20_000, quantity=i)
        started = time.monotonic()
        while good.epochs["a"] < epoch:
            good.next()
        assert time.monotonic() - started < DEADLINE
        if live_statistics().dropped:
            break
    assert live_statistics().dropped == 1
    assert good.cells["a"] == http.cells(*EVERY_SALE)
    wait_for(lambda: live_statistics().subscribers == 1)


def test_a_slow_reader_gets_epochs_merged_and_ends_at_the_truth(server, connect_raw, http, session):
    server.app.config["LIVE_PATIENCE_SECONDS"] = 20
    fill(session, 1_000, quantity=-1)
    client = connect_raw()
    client.send(subscribing(query=QUERY))
    assert [client.next()["type"], client.next()["type"]] == ["subscribed", "snapshot"]
    commits = 200
    for i in range(commits):
        fill(session, 1_000, quantity=i)
    assert client.follow("b", http.cells(*EVERY_SALE)) < commits


def test_a_failing_live_query_ends_its_subscribers_alone(server, connect, http, session, monkeypatch):
    broken, sound = connect(), connect()
    for client, query in ((broken, BY_DAY), (sound, BY_COLOR)):
        client.subscribe("a", *query)
        client.next()
    hub = server.app.extensions[EXTENSION].hub
    feed = next(feed for feed in hub._feeds.values() if feed.query.measures == ("Quantity.SUM",))
    monkeypatch.setattr(feed, "pull", lambda *_: 1 / 0)
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", 1]]})
    error = broken.next()
    assert (error["type"], error["id"], error["code"]) == ("error", "a", "internal_error")
    assert sound.next()["type"] == "change"
    assert session.health().failures[0].component == "live query"
    assert broken.subscribe("a", *BY_DAY)["type"] == "subscribed"
    assert broken.next()["type"] == "snapshot"


def test_closing_the_server_ends_sockets_and_threads(server, connect, session, wait_for):
    before = threading.active_count()
    clients = [connect() for _ in range(3)]
    for client in clients:
        client.subscribe("a", *BY_COLOR)
        client.next()
    server.close()
    wait_for(lambda: not any(client.socket.connected for client in clients))
    wait_for(lambda: threading.active_count() < before)
    assert session.epoch == 2


def fill(session: Any, rows: int, quantity: int) -> int:
    """Set the quantity of that many sales of our own; return the epoch."""
    sales = [(f"2025-{1 + i % 12:02}-{1 + i % 28:02}", f"product {i}", quantity) for i in range(rows)]
    return session.tables["Sales"].append(*sales).epoch
