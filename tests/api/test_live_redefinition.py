"""A measure that is redefined while it is watched: all subscribers get its new values at the next epoch, flagged."""

from __future__ import annotations

import gpu_engine as ge

BY_COLOR = ("Sales", ["Amount"], ["Color"])


def redefine(session):
    session.cubes["Sales"].measures["Amount"] = ge.agg.sum(session.tables["Sales"]["Quantity"])


def test_all_subscribers_of_a_shared_live_query_get_a_snapshot(connect, session, live_statistics):
    early, late = connect(), connect()
    early.subscribe("a", *BY_COLOR)
    assert early.next()["types"] == ["string", "double"]
    redefine(session)
    late.subscribe("a", *BY_COLOR)
    assert late.next()["added"] == [["blue", 10], ["red", 20], [None, 30]]
    epoch = session.tables["Sales"].append(("2024-01-02", "P1", 1)).epoch
    for client in (early, late):
        frame = client.next()
        assert (frame["type"], frame["epoch"], frame["from_epoch"]) == ("snapshot", epoch, None)
        assert (frame["types"], frame["added"]) == (["string", "int64"], [["blue", 11], ["red", 20], [None, 30]])
    session.tables["Sales"].append(("2024-01-02", "P1", 2))
    assert [client.next()["changed"] for client in (early, late)] == [[["blue", 12]]] * 2
    assert live_statistics().feeds == 1


def test_in_a_group_it_comes_in_the_frame_of_that_epoch(connect, session):
    client = connect()
    client.subscribe("a", *BY_COLOR, group="board")
    client.subscribe("b", "Sales", ["Quantity.SUM"], [], group="board")
    client.send(op="sync")
    client.next_of("synced")
    redefine(session)
    epoch = session.tables["Sales"].append(("2024-01-02", "P1", 1)).epoch
    frame = client.next_of("changes")
    assert [(one["id"], one["type"], one["epoch"]) for one in frame["changes"]] == [
        ("a", "snapshot", epoch),
        ("b", "change", epoch),
    ]


def test_who_was_paused_gets_it_on_resuming(connect, session):
    client = connect()
    client.subscribe("a", *BY_COLOR)
    client.next()
    client.send(op="pause", id="a")
    client.next_of("paused")
    redefine(session)
    session.tables["Sales"].append(("2024-01-02", "P1", 1))
    client.send(op="resume", id="a")
    assert client.next_of("snapshot", "change")["type"] == "snapshot"
    assert client.cells["a"] == {("blue",): (11,), ("red",): (20,), (None,): (30,)}
