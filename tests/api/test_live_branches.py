"""Live queries on branches: each hears its own branch, resumes on it, and keeps it while it lasts."""

from __future__ import annotations

import pytest

BY_COLOR = ("Sales", ["Amount"], ["Color"])
ON_X = {"query": {"branch": "x"}}
CELLS = {("blue",): (50.0,), ("red",): (200.0,), (None,): (0.0,)}


@pytest.fixture(autouse=True)
def branch(session):
    """Branch x, from the second epoch of master."""
    session.branches.create("x")


def write(session, quantity, branch="master"):
    """Let the blue amount of a branch be 5 times the quantity; return the epoch."""
    with session.start_transaction(branch) as transaction:
        session.tables["Sales"].append(("2024-01-01", "P1", quantity))
    return transaction.report.epoch


def delete(http, name="x"):
    status, _, content = http.request("DELETE", f"/branches/{name}", None, {})
    return status, content.get("error", {}).get("code")


def blue(frame):
    return [row[1] for row in frame["changed"]]


def test_a_subscriber_hears_its_branch_and_not_master(connect, session):
    client = connect()
    acknowledgement = client.subscribe("a", *BY_COLOR, **ON_X)
    assert (acknowledgement["branch"], acknowledgement["epoch"]) == ("x", 2)
    snapshot = client.next()
    assert (snapshot["branch"], snapshot["epoch"], client.cells["a"]) == ("x", 2, CELLS)
    write(session, 77)
    epoch = write(session, 11, "x")
    change = client.next()
    assert (change["branch"], change["epoch"], blue(change)) == ("x", epoch, [55.0])
    assert 2 <= change["from_epoch"] < epoch


def test_a_subscriber_of_master_hears_nothing_of_a_branch(connect, session):
    client = connect()
    client.subscribe("a", *BY_COLOR)
    client.next()
    write(session, 77, "x")
    epoch = write(session, 11)
    change = client.next()
    assert (change["branch"], change["epoch"], blue(change)) == ("master", epoch, [55.0])


def test_equal_queries_on_two_branches_are_two_live_queries(connect, session, live_statistics):
    client = connect()
    client.subscribe("master", *BY_COLOR)
    client.subscribe("x", *BY_COLOR, **ON_X)
    for i in range(1, 41):
        write(session, 10 + i, "x" if i % 3 else "master")
    client.follow("x", {**CELLS, ("blue",): (250.0,)})
    client.follow("master", {**CELLS, ("blue",): (245.0,)})
    assert live_statistics().feeds == 2


def test_a_quiet_branch_in_a_group_does_not_merge_the_changes_of_the_others(connect, session):
    client = connect()
    for name, more in (("quiet", ON_X), ("busy", {})):
        client.subscribe(name, *BY_COLOR, group="board", **more)
        client.next_of("changes")
    for i in range(1, 61):
        epoch = write(session, 10 + i)
        frame = client.next()
        assert [(one["id"], one["epoch"], one["from_epoch"]) for one in frame["changes"]] == [
            ("busy", epoch, epoch - 1)
        ]
    epoch = write(session, 9, "x")
    (change,) = client.next()["changes"]
    assert (change["id"], change["epoch"], blue(change)) == ("quiet", epoch, [45.0])


def test_who_was_away_resumes_on_the_branch(connect, session):
    first = connect()
    run = first.subscribe("a", *BY_COLOR, **ON_X)["run"]
    first.next()
    first.close()
    write(session, 77)
    epoch = write(session, 11, "x")
    second = connect()
    second.cells, second.epochs = first.cells, first.epochs
    second.subscribe("a", *BY_COLOR, **ON_X, from_epoch=first.epochs["a"], run=run)
    change = second.next()
    assert (change["type"], change["branch"], change["epoch"], blue(change)) == ("change", "x", epoch, [55.0])


def test_an_unknown_branch_is_refused(connect):
    error = connect().subscribe("a", *BY_COLOR, query={"branch": "y"})
    assert (error["type"], error["code"], error["id"]) == ("error", "unknown_branch", "a")


@pytest.mark.parametrize("paused", [False, True])
def test_a_branch_with_a_subscriber_stays(connect, http, session, paused):
    client = connect()
    client.subscribe("a", *BY_COLOR, **ON_X, paused=paused)
    assert delete(http) == (409, "branch_in_use")
    epoch = write(session, 11, "x")
    client.send(op="resume", id="a")
    client.follow("a", {**CELLS, ("blue",): (55.0,)})
    assert client.epochs["a"] == epoch


@pytest.mark.parametrize("by_http", [True, False])
def test_a_branch_whose_last_subscriber_has_left_goes_at_once(connect, http, session, live_statistics, by_http):
    client = connect()
    client.subscribe("a", *BY_COLOR)
    client.subscribe("b", *BY_COLOR, **ON_X)
    client.send(op="unsubscribe", id="b")
    client.next_of("unsubscribed")
    assert live_statistics().feeds == 2
    if by_http:
        assert delete(http) == (200, None)
    else:
        session.branches.delete("x")
    assert live_statistics().feeds == 1
    assert client.subscribe("b", *BY_COLOR, **ON_X)["code"] == "unknown_branch"


def test_a_new_branch_of_the_old_name_begins_with_a_snapshot(connect, http, session):
    client = connect()
    run = client.subscribe("a", *BY_COLOR, **ON_X)["run"]
    client.next()
    left_at = write(session, 11, "x")
    client.next()
    client.send(op="unsubscribe", id="a")
    client.next_of("unsubscribed")
    assert delete(http) == (200, None)
    session.branches.create("x", epoch=2)
    write(session, 30, "x")
    assert client.subscribe("a", *BY_COLOR, **ON_X, from_epoch=left_at, run=run)["run"] != run
    snapshot = client.next()
    assert (snapshot["type"], client.cells["a"]) == ("snapshot", {**CELLS, ("blue",): (150.0,)})
