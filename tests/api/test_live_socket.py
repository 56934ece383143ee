"""The websocket: snapshot and changes fold to the query's cells, for every client and every way to ask."""

from __future__ import annotations

import pytest

from api.service import EXTENSION

BY_COLOR = ("Sales", ["Amount", "Quantity.SUM"], ["Color"])
BY_DAY = ("Sales", ["Quantity.SUM"], ["Date"])


def test_the_snapshot_is_the_querys_answer(connect, http):
    client = connect()
    acknowledgement = client.subscribe("a", *BY_COLOR)
    snapshot = client.next()
    assert acknowledgement["type"] == "subscribed"
    assert (snapshot["type"], snapshot["id"], snapshot["branch"], snapshot["epoch"]) == ("snapshot", "a", "master", 2)
    assert snapshot["from_epoch"] is None
    assert (snapshot["levels"], snapshot["measures"]) == (["Color"], ["Amount", "Quantity.SUM"])
    assert client.cells["a"] == http.cells(*BY_COLOR)


def test_a_late_product_is_one_cell_gone_and_one_come(connect, http):
    client = connect()
    client.subscribe("a", "Sales", ["Amount"], ["Date", "Color"])
    client.next()
    http.post("/tables/Products/rows", {"rows": [["P3", "green", 15.0]]})
    change = client.next()
    assert (change["type"], change["epoch"], change["from_epoch"]) == ("change", 3, 2)
    assert change["added"] == [["2024-01-01", "green", 450.0]]
    assert change["removed"] == [["2024-01-01", None, 0.0]]
    assert change["changed"] == change["changed_from"] == []


def test_folded_changes_equal_the_query_after_many_commits(connect, http, session):
    client = connect()
    client.subscribe("colors", *BY_COLOR)
    client.subscribe("days", *BY_DAY)
    sales, products = session.tables["Sales"], session.tables["Products"]
    for i in range(200):
        sales.append((f"2024-01-{1 + i % 9:02}", f"P{i % 5}", i))
        if i % 7 == 0:
            products.append((f"P{i % 5}", ["blue", "red", "pink"][i % 3], float(i)))
        if i % 11 == 0:
            sales.drop(keys=[(f"2024-01-{1 + i % 9:02}", f"P{i % 5}")])
    for name, query in (("colors", BY_COLOR), ("days", BY_DAY)):
        client.follow(name, http.cells(*query))


def test_totals_change_with_their_cells(connect, http):
    client = connect()
    client.subscribe("a", *BY_DAY, query={"totals": True})
    assert sorted(client.next()["added"], key=str) == [["2024-01-01", 60, 1], [None, 60, 0]]
    http.post("/tables/Sales/rows", {"rows": [["2024-01-02", "P1", 5]]})
    change = client.next()
    assert change["added"] == [["2024-01-02", 5, 1]]
    assert change["changed"] == [[None, 65, 0]]


def test_a_filtered_subscription_hears_only_its_cells(connect, http):
    client = connect()
    client.subscribe("a", *BY_COLOR, query={"filter": {"level": "Color", "op": "==", "value": "red"}})
    client.next()
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", 1]]})
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P2", 1]]})
    change = client.next()
    assert (change["epoch"], [row[0] for row in change["changed"]]) == (4, ["red"])


def test_a_client_that_was_away_resumes_with_what_it_missed(connect, http):
    first = connect()
    run = first.subscribe("a", *BY_COLOR)["run"]
    first.next()
    first.close()
    for quantity in (1, 2, 3):
        http.post("/tables/Sales/rows", {"rows": [["2024-01-07", "P1", quantity]]})
    second = connect()
    second.cells, second.epochs = first.cells, first.epochs
    second.subscribe("a", *BY_COLOR, from_epoch=first.epochs["a"], run=run)
    second.follow("a", http.cells(*BY_COLOR))
    second.send(op="ping")
    assert second.next_of("pong", "snapshot")["type"] == "pong"


@pytest.mark.parametrize(("epoch", "run"), [(2, "another life"), (10**9, None), (10**30, None)])
def test_an_epoch_of_another_life_gets_a_snapshot(connect, epoch, run):
    client = connect()
    client.subscribe("a", *BY_COLOR, from_epoch=epoch, run=run)
    assert client.next()["type"] == "snapshot"


def test_nothing_comes_after_unsubscribing(connect, http):
    client = connect()
    client.subscribe("a", *BY_COLOR)
    client.next()
    client.send(op="unsubscribe", id="a")
    assert client.next() == {"type": "unsubscribed", "id": "a"}
    http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", 1]]})
    client.subscribe("a", *BY_DAY)
    assert client.next()["levels"] == ["Date"]


def test_equal_queries_share_one_live_query_and_one_encoding(connect, server, live_statistics, http, wait_for):
    clients = [connect() for _ in range(5)]
    for i, client in enumerate(clients):
        client.subscribe(f"id {i}", *BY_COLOR)
        client.next()
    encoded = []
    for quantity in range(1, 21):  # a socket that is busy with its own answer is served a round later
        before = live_statistics()
        http.post("/tables/Sales/rows", {"rows": [["2024-01-05", "P1", quantity]]})
        for i, client in enumerate(clients):
            assert client.next()["id"] == f"id {i}"
        wait_for(lambda sent=before.frames_sent + 5: live_statistics().frames_sent == sent)
        after = live_statistics()
        assert (after.feeds, after.subscribers) == (1, 5)
        encoded.append(after.frames_encoded - before.frames_encoded)
    assert min(encoded) == 1
    server.app.extensions[EXTENSION].hub.linger_seconds = 0.01
    for client in clients:
        client.close()
    wait_for(lambda: live_statistics().subscribers == 0)
    wait_for(lambda: live_statistics().feeds == 0)
