"""The Python client: what it folds is what the query answers, over pauses, disconnections and other lives."""

from __future__ import annotations

import datetime
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import gpu_engine as ge
from api.app import create_app
from api.client import LiveClient, LiveError, LiveSubscription
from api.folding import FoldedCells
from api.server import Server
from tests.api.conftest import DEADLINE

AMOUNTS = ["Amount", "Quantity.SUM"]
QUERIES: list[tuple[list[str], list[str], dict[str, Any]]] = [
    (AMOUNTS, ["Color"], {}),
    (AMOUNTS, ["Date", "Color"], {"totals": True}),
    (["contributors.COUNT"], [], {}),
    (["Quantity.MEAN"], ["ProductId"], {"filter": {"level": "Color", "op": "!=", "value": "red"}}),
]


@pytest.fixture
def client(connect_folding) -> LiveClient:
    return connect_folding()


def expected(http, subscription: LiveSubscription) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return the cells that HTTP answers for the subscription's query, with the depth in the key."""
    query = subscription.request["query"]
    status, _, content = http.post("/cubes/Sales/query", query)
    assert status == 200, content
    width, measures = len(query["levels"]), len(query["measures"])
    return {(*row[:width], *row[width + measures :]): tuple(row[width : width + measures]) for row in content["rows"]}


def commit_something(session: ge.Session, dice: random.Random) -> int:
    """Add, change or drop some rows of either table; return the epoch."""
    sales, products = session.tables["Sales"], session.tables["Products"]
    day, product = f"2024-01-{dice.randint(1, 5):02}", f"P{dice.randint(1, 5)}"
    kind = dice.random()
    if kind < 0.6:
        return sales.append((day, product, dice.randint(-5, 5))).epoch
    if kind < 0.75:
        return sales.drop(keys=[(day, product)]).epoch
    if kind < 0.95:
        return products.append((product, dice.choice(["red", "blue", None]), float(dice.randint(1, 9)))).epoch
    return products.drop(keys=[(product,)]).epoch


@pytest.mark.parametrize("seed", range(5))
def test_folded_cells_equal_the_query_after_random_commits_pauses_and_disconnections(client, http, session, seed):
    dice = random.Random(seed)
    subscriptions = [
        client.subscribe("Sales", measures, levels, group=dice.choice([None, "g"]), **more)
        for measures, levels, more in QUERIES
    ]
    for _ in range(60):
        commit_something(session, dice)
        action = dice.random()
        one = dice.choice(subscriptions)
        if action < 0.1 and one.paused:
            client.resume(one)
        elif action < 0.2 and not one.paused:
            client.pause(one)
        elif action < 0.25:
            client.close()
        elif action < 0.5:
            client.sync()
    client.resume(*[one for one in subscriptions if one.paused])
    for one in subscriptions:
        assert client.wait_for(one, session.epoch)
        assert one.cells() == expected(http, one)


def test_a_change_says_which_epochs_it_covers(client, session):
    one = client.subscribe("Sales", AMOUNTS, ["Color"])
    assert one.epoch == 2
    session.tables["Sales"].append(("2024-01-02", "P1", 1))
    change = client.receive()
    assert (change["type"], change["from_epoch"], change["epoch"]) == ("change", 2, 3)
    assert one.cells()[("blue",)] == (55.0, 11)


def test_while_paused_nothing_comes_and_resuming_brings_one_change(client, http, session, live_statistics):
    one = client.subscribe("Sales", AMOUNTS, ["Color"])
    other = client.subscribe("Sales", ["Quantity.SUM"], ["Date"])
    client.pause(one)
    before = one.cells()
    for quantity in range(5):
        epoch = session.tables["Sales"].append(("2024-01-02", "P1", quantity)).epoch
    assert client.wait_for(other, epoch)
    assert (one.epoch, one.cells()) == (2, before)
    assert live_statistics().paused == 1
    client.resume(one)
    assert client.sync()[one.id] == epoch
    assert one.cells() == expected(http, one)
    assert live_statistics().paused == 0
    assert live_statistics().merged == 1


def test_resuming_is_one_frame_however_long_the_pause(connect, session):
    client = connect()
    client.subscribe("a", "Sales", AMOUNTS, ["Color"])
    client.next()
    client.send(op="pause", id="a")
    assert client.next() == {"type": "paused", "id": "a", "epochs": {"a": 2}}
    for quantity in range(100):
        epoch = session.tables["Sales"].append(("2024-01-02", "P1", quantity)).epoch
    client.send(op="resume", id="a")
    assert client.next() == {"type": "resumed", "id": "a", "epochs": {"a": 2}}
    change = client.next()
    assert (change["type"], change["from_epoch"], change["epoch"]) == ("change", 2, epoch)
    client.send(op="sync")
    assert client.next() == {"type": "synced", "epochs": {"a": epoch}}


def test_resuming_after_more_than_is_kept_is_a_flagged_snapshot(connect, session, monkeypatch):
    client = connect()
    monkeypatch.setattr("gpu_engine.cube.provider.HISTORY_BYTES", 10_000)
    client.subscribe("a", "Sales", ["Amount"], ["Date", "ProductId"])
    client.next()
    client.send(op="pause", id="a")
    client.next_of("paused")
    for i in range(100):
        epoch = session.tables["Sales"].append(("2024-01-02", f"P{i % 3}", i)).epoch
    client.send(op="resume", id="a")
    client.next_of("resumed")
    snapshot = client.next()
    assert (snapshot["type"], snapshot["from_epoch"], snapshot["epoch"]) == ("snapshot", None, epoch)


def test_a_subscription_may_start_paused(client, http):
    one = client.subscribe("Sales", AMOUNTS, ["Color"], paused=True)
    assert client.sync() == {one.id: None}
    assert one.cells() == {}
    client.resume(one)
    client.sync()
    assert one.cells() == expected(http, one)


def test_a_client_that_was_cut_off_resumes_with_changes(client, http, session):
    one = client.subscribe("Sales", AMOUNTS, ["Color"])
    client._socket.sock.shutdown(socket.SHUT_RDWR)
    epoch = session.tables["Sales"].append(("2024-01-02", "P1", 1)).epoch
    assert client.wait_for(one, epoch)
    assert client.reconnections == 1
    assert one.cells() == expected(http, one)
    session.tables["Sales"].append(("2024-01-02", "P1", 2))
    assert client.receive()["from_epoch"] == epoch


@pytest.fixture
def two_lives() -> Iterator[tuple[Server, ge.Session, ge.Session]]:
    """A server of one session, and another session to be served at the same address."""
    with ge.Session(backend="cpu") as first, ge.Session(backend="cpu") as second:
        for session in (first, second):
            table = session.create_table("T", types={"K": ge.STRING, "Q": ge.LONG}, keys=["K"])
            session.create_cube(table)
            for quantity in range(3):
                table.append(("a" if session is first else "b", quantity))
        with Server(create_app(first), "127.0.0.1", 0) as server:
            yield server, first, second


def test_another_life_of_the_service_sends_a_snapshot(two_lives):
    server, first, second = two_lives
    with LiveClient(server.url, timeout=DEADLINE) as client:
        active = client.subscribe("T", ["Q.SUM"], ["K"])
        paused = client.subscribe("T", ["Q.SUM"], ["K"])
        client.pause(paused)
        server.close()
        with Server(create_app(second), server.host, server.port):
            assert first.epoch == second.epoch
            assert client.wait_for(active, second.epoch)
            assert active.cells() == {("b",): (2,)}
            assert paused.cells() == {("a",): (2,)}
            client.resume(paused)
            client.sync()
            assert paused.cells() == {("b",): (2,)}


def test_a_service_that_is_gone_is_named(server):
    client = LiveClient(server.url, timeout=DEADLINE)
    client.subscribe("Sales", AMOUNTS)
    server.close()
    client.timeout = 0.3
    with pytest.raises(LiveError) as caught:
        client.sync()
    assert caught.value.code == "unreachable"


def test_cells_have_the_types_of_the_engine(client, session):
    one = client.subscribe("Sales", ["Amount", "Quantity.SUM"], ["Date"], totals=True)
    table = one.to_arrow()
    answer = session.cubes["Sales"].query("Amount", "Quantity.SUM", levels=["Date"], totals=True, mode="arrow")
    assert table.schema.remove_metadata() == answer.schema.remove_metadata()
    assert sorted(table.to_pylist(), key=str) == sorted(answer.to_pylist(), key=str)
    assert table.schema.metadata == {b"branch": b"master", b"epoch": b"2"}
    assert datetime.date(2024, 1, 1) in list(one.to_pandas()["Date"])


def test_cells_without_rows_make_an_empty_table(client):
    nothing = {"level": "Color", "op": "==", "value": "no such color"}
    one = client.subscribe("Sales", AMOUNTS, ["Color"], filter=nothing)
    assert one.cells() == {}
    assert one.to_arrow().num_rows == 0
    assert one.to_arrow().column_names == ["Color", *AMOUNTS]


def test_waiting_for_an_epoch_that_does_not_come_ends(client, session):
    one = client.subscribe("Sales", AMOUNTS, ["Color"])
    assert not client.wait_for(one, session.epoch + 1, timeout=0.2)


def test_waiting_for_an_epoch_that_changes_no_cell_ends(client, session):
    one = client.subscribe("Sales", AMOUNTS, ["Color"], filter={"level": "Color", "op": "==", "value": "red"})
    epoch = session.tables["Sales"].append(("2024-01-02", "P1", 1)).epoch
    assert client.wait_for(one, epoch)
    assert one.epoch == 2


def test_unsubscribing_leaves_the_cells(client, session):
    one = client.subscribe("Sales", AMOUNTS, ["Color"])
    before = one.cells()
    client.unsubscribe(one)
    session.tables["Sales"].append(("2024-01-02", "P1", 1))
    assert client.sync() == {}
    assert one.cells() == before


def test_a_refused_query_leaves_the_client_usable(client):
    with pytest.raises(LiveError) as caught:
        client.subscribe("Sales", ["Amont"])
    assert caught.value.code == "unknown_measure"
    assert "Amount" in str(caught.value)
    assert client.subscribe("Sales", ["Amount"]).cells() == {(): (250.0,)}


def frame(kind: str, epoch: int, begin: int | None, **rows: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"added": [], "changed": [], "changed_from": [], "removed": []}
    head = {"type": kind, "branch": "master", "epoch": epoch, "from_epoch": begin, "levels": ["L"], "measures": ["M"]}
    return {**head, "types": ["string", "int64"], **empty, **rows}


@pytest.mark.parametrize(
    "change",
    [
        frame("change", 3, 1, added=[["b", 1]]),
        frame("change", 2, 2, added=[["b", 1]]),
        frame("change", 3, 2, added=[["a", 1]]),
        frame("change", 3, 2, removed=[["b", 1]]),
        frame("change", 3, 2, changed=[["a", 3]], changed_from=[["a", 2]]),
    ],
)
def test_a_change_that_does_not_continue_the_cells_is_refused_and_changes_nothing(change):
    cells = FoldedCells()
    cells.fold(frame("snapshot", 2, None, added=[["a", 1]]))
    with pytest.raises(LiveError) as caught:
        cells.fold(change)
    assert caught.value.code == "protocol"
    assert (cells.epoch, cells.cells()) == (2, {("a",): (1,)})
