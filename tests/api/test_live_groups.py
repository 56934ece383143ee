"""Groups: several queries on one socket whose changes of one epoch come in one frame."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

BY_COLOR = ("Sales", ["Amount", "Quantity.SUM"], ["Color"])
BY_DAY = ("Sales", ["Quantity.SUM"], ["Date"])
EVERY_SALE = ("Sales", ["Quantity.SUM"], ["Date", "ProductId"])


def subscribe(client: Any, group: str, **queries: tuple[str, list[str], list[str]]) -> None:
    """Subscribe to queries in a group, by id, and read until all have their snapshots."""
    for subscription_id, query in queries.items():
        assert client.subscribe(subscription_id, *query, group=group)["group"] == group
        assert subscription_id in [change["id"] for change in client.next_of("changes")["changes"]]


def kinds(frame: dict[str, Any]) -> dict[str, str]:
    return {change["id"]: change["type"] for change in frame["changes"]}


def test_all_changes_of_an_epoch_come_in_one_frame(connect, session):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR, days=BY_DAY)
    epoch = session.tables["Sales"].append(("2024-01-01", "P1", 11)).epoch
    frame = client.next()
    assert (frame["type"], frame["group"]) == ("changes", "g")
    assert (frame["from_epoch"], frame["epoch"]) == (epoch - 1, epoch)
    assert kinds(frame) == {"colors": "change", "days": "change"}
    assert {change["epoch"] for change in frame["changes"]} == {epoch}


def test_only_members_whose_cells_changed_are_in_the_frame(connect, session):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR, days=BY_DAY)
    session.tables["Products"].append(("P1", "blue", 6.0))
    assert kinds(client.next()) == {"colors": "change"}


def test_a_group_is_one_epoch_per_frame(connect, http, session):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR, days=BY_DAY, sales=EVERY_SALE)
    dice = random.Random(1)
    for i in range(30):
        session.tables["Sales"].append((f"2024-01-0{dice.randint(1, 9)}", f"P{dice.randint(1, 4)}", 100 + i))
    last = 2
    while last < session.epoch:
        frame = client.next()
        assert frame["from_epoch"] >= last
        assert {change["epoch"] for change in frame["changes"]} == {frame["epoch"]}
        assert kinds(frame).keys() >= {"days", "sales"}
        last = frame["epoch"]
    for name, query in (("colors", BY_COLOR), ("days", BY_DAY), ("sales", EVERY_SALE)):
        assert client.cells[name] == http.cells(*query)


def test_members_that_start_paused_get_their_snapshots_in_one_frame(connect):
    client = connect()
    for name, query in (("colors", BY_COLOR), ("days", BY_DAY)):
        client.subscribe(name, *query, group="g", paused=True)
    client.send(op="resume", group="g")
    assert client.next() == {"type": "resumed", "group": "g", "epochs": {"colors": None, "days": None}}
    frame = client.next()
    assert (frame["from_epoch"], frame["epoch"]) == (None, 2)
    assert kinds(frame) == {"colors": "snapshot", "days": "snapshot"}


def test_who_joins_meets_the_others_at_one_epoch(connect, session):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR)
    client.send(op="pause", group="g")
    client.next_of("paused")
    epoch = session.tables["Sales"].append(("2024-01-01", "P1", 11)).epoch
    client.subscribe("days", *BY_DAY, group="g")
    assert kinds(client.next()) == {"days": "snapshot"}
    client.send(op="resume", group="g")
    client.next_of("resumed")
    frame = client.next()
    assert kinds(frame) == {"colors": "change"}
    assert (frame["from_epoch"], frame["epoch"]) == (2, epoch)


def test_a_paused_member_stays_while_the_others_advance(connect, session, http):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR, days=BY_DAY)
    client.send(op="pause", id="days")
    assert client.next()["epochs"] == {"days": 2}
    for quantity in (11, 12):
        epoch = session.tables["Sales"].append(("2024-01-01", "P1", quantity)).epoch
        assert kinds(client.next()) == {"colors": "change"}
    client.send(op="resume", id="days")
    client.next_of("resumed")
    frame = client.next()
    assert kinds(frame) == {"days": "change"}
    assert (frame["changes"][0]["from_epoch"], frame["epoch"]) == (2, epoch)
    assert client.cells["days"] == http.cells(*BY_DAY)


def test_leaving_a_group_leaves_the_others(connect, session):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR, days=BY_DAY)
    client.send(op="unsubscribe", id="days")
    assert client.next() == {"type": "unsubscribed", "id": "days"}
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    assert kinds(client.next()) == {"colors": "change"}
    client.send(op="unsubscribe", group="g")
    assert client.next() == {"type": "unsubscribed", "group": "g"}
    client.send(op="resume", group="g")
    assert client.next()["code"] == "unknown_group"


def test_groups_of_equal_queries_share_their_encoding(connect, session, live_statistics, wait_for):
    clients = [connect() for _ in range(3)]
    for client in clients:
        subscribe(client, "g", colors=BY_COLOR, days=BY_DAY)
        client.send(op="ping")
        client.next_of("pong")
    encoded = []
    for quantity in range(11, 31):  # a socket that is busy with its own answer is served a round later
        before = live_statistics()
        session.tables["Sales"].append(("2024-01-01", "P1", quantity))
        for client in clients:
            assert kinds(client.next()) == {"colors": "change", "days": "change"}
        wait_for(lambda sent=before.frames_sent + 3: live_statistics().frames_sent == sent)
        encoded.append(live_statistics().frames_encoded - before.frames_encoded)
    assert min(encoded) == 2
    assert (live_statistics().subscribers, live_statistics().feeds) == (6, 2)


def test_a_group_that_reads_slowly_gets_one_merged_frame_and_ends_at_the_truth(server, connect_raw, http, session):
    server.app.config["LIVE_PATIENCE_SECONDS"] = 20
    fill(session, -1)
    client = connect_raw()
    for name, query in (("sales", EVERY_SALE), ("days", BY_DAY)):
        members = {"measures": query[1], "levels": query[2]}
        client.send(json.dumps({"op": "subscribe", "id": name, "cube": "Sales", "query": members, "group": "g"}))
        client.next_of("changes")
    begin = session.epoch
    for quantity in range(200):
        fill(session, quantity)
    spans = []
    while client.epochs["sales"] < session.epoch:
        frame = client.next()
        assert {change["epoch"] for change in frame["changes"]} == {frame["epoch"]}
        spans.append((frame["from_epoch"], frame["epoch"]))
    assert [first for first, _ in spans] == [begin, *(last for _, last in spans[:-1])]
    assert len(spans) < 200
    assert max(last - first for first, last in spans) > 32
    assert client.cells["sales"] == http.cells(*EVERY_SALE)
    assert client.cells["days"] == http.cells(*BY_DAY)


def test_a_member_whose_live_query_fails_ends_alone(server, connect, session, monkeypatch):
    client = connect()
    subscribe(client, "g", colors=BY_COLOR, days=BY_DAY)
    hub = server.app.extensions["gpu_engine"].hub
    feed = next(feed for feed in hub._feeds.values() if feed.query.measures == ("Quantity.SUM",))
    monkeypatch.setattr(feed, "pull", lambda *_: 1 / 0)
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    error = client.next()
    assert (error["type"], error["id"], error["code"]) == ("error", "days", "internal_error")
    assert kinds(client.next()) == {"colors": "change"}


@pytest.mark.parametrize(
    ("message", "code", "place"),
    [
        ({"op": "pause"}, "unknown_subscription", "$.id"),
        ({"op": "pause", "id": "b"}, "unknown_subscription", "$.id"),
        ({"op": "pause", "id": ["a"]}, "unknown_subscription", "$.id"),
        ({"op": "pause", "group": None}, "unknown_group", "$.group"),
        ({"op": "resume", "group": "h"}, "unknown_group", "$.group"),
        ({"op": "resume", "group": {}}, "unknown_group", "$.group"),
        ({"op": "resume", "id": "a", "group": "g"}, "invalid_request", "$"),
        ({"op": "resume", "id": "a", "epoch": 3}, "invalid_request", "$"),
        ({"op": "sync", "id": "a"}, "invalid_request", "$"),
        ({"op": "subscribe", "id": "b", "cube": "Sales", "query": {"measures": ["Amount"]}, "group": ""}, None, None),
        ({"op": "subscribe", "id": "b", "cube": "Sales", "query": {"measures": ["Amount"]}, "group": 1}, None, None),
        ({"op": "subscribe", "id": "b", "cube": "Sales", "query": {"measures": ["Amount"]}, "paused": 1}, None, None),
    ],
)
def test_a_message_without_meaning_is_answered(connect, session, message, code, place):
    client = connect()
    subscribe(client, "g", a=BY_COLOR)
    client.send(**message)
    error = client.next()
    assert (error["type"], error["code"]) == ("error", code or "invalid_request")
    if place:
        assert error["place"] == place
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    assert kinds(client.next()) == {"a": "change"}
    assert session.health().status == "ok"


def fill(session: Any, quantity: int) -> int:
    """Set the quantity of 1,000 sales of our own; return the epoch."""
    sales = [(f"2025-{1 + i % 12:02}-{1 + i % 28:02}", f"product {i}", quantity) for i in range(1_000)]
    return session.tables["Sales"].append(*sales).epoch
