"""The Python client of streams: a dict kept by its calls equals the table, whatever happens to the connection."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from api.client import LiveError
from api.stream_client import StreamClient

DEADLINE = 20.0


class Mirror:
    """Keeps the rows of each branch by their key, and notes the calls."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Any, Any]] = {}
        self.calls: list[str] = []
        self.branch = ""
        self.initial: list[bool] = []

    def transaction_started(self, epoch, info):
        self.calls.append("started")
        self.branch = info.branch
        self.initial.append(info.initial)
        if info.initial:
            self.rows[info.branch] = {}

    def truncate(self):
        self.rows[self.branch].clear()

    def records_deleted(self, partition, rows):
        for row in rows.to_pylist():
            assert self.rows[self.branch].pop(row["ProductId"]) == row

    def records_updated(self, partition, old, new):
        for before, after in zip(old.to_pylist(), new.to_pylist(), strict=True):
            assert self.rows[self.branch][before["ProductId"]] == before
            self.rows[self.branch][after["ProductId"]] = after

    def records_added(self, partition, rows):
        for row in rows.to_pylist():
            assert row["ProductId"] not in self.rows[self.branch]
            self.rows[self.branch][row["ProductId"]] = row

    def transaction_committed(self, epoch):
        self.calls.append("committed")

    def transaction_rolled_back(self):
        self.calls.append("rolled back")


@pytest.fixture
def client(server) -> Iterator[StreamClient]:
    with StreamClient(server.url, timeout=DEADLINE) as client:
        yield client


def rows_of(session, branch="master"):
    version = session.database.version(branch)
    found = version.list("Sales", ["ProductId", "Quantity", "Products.Color"]).to_pylist()
    return {row["ProductId"]: row for row in found}


def register(client, mirror, **more):
    return client.register("Sales", mirror, ["ProductId", "Quantity", "Products.Color"], **more)


def test_a_mirror_equals_the_table_through_changes_and_disconnections(client, session):
    mirror, chance = Mirror(), random.Random(7)
    registration = register(client, mirror, branch="master")
    assert mirror.rows["master"] == rows_of(session)
    sales, products = session.tables["Sales"], session.tables["Products"]
    for step in range(60):
        if step % 20 == 10:
            client.close()
        choice, key = chance.randrange(5), f"P{chance.randrange(6)}"
        if choice < 3:
            sales.append(("2024-01-01", key, chance.randrange(100)))
        elif choice == 3:
            sales.drop(keys=[("2024-01-01", key)])
        else:
            products.append((key, chance.choice(["blue", "red"]), 1.0))
        if step % 7 == 0:
            assert client.wait_for(registration, session.epoch)
            assert mirror.rows["master"] == rows_of(session)
    assert client.wait_for(registration, session.epoch)
    assert mirror.rows["master"] == rows_of(session)
    assert client.reconnections > 0
    assert (registration.restarts, mirror.initial.count(True)) == (0, 1)


def test_a_mirror_of_codes_equals_the_table(client, session):
    mirror = Mirror()
    registration = register(client, mirror, branch="master", dictionarized=True)
    for number in range(5):
        session.tables["Sales"].append(("2024-01-01", f"P{number}", number))
        session.tables["Products"].append((f"P{number}", f"color {number}", 1.0))
    client.close()
    session.tables["Sales"].drop(keys=[("2024-01-01", "P1")])
    assert client.wait_for(registration, session.epoch)
    assert mirror.rows["master"] == rows_of(session)
    assert client.reconnections > 0


def test_all_branches_are_mirrored_and_a_roll_back_is_told(client, session):
    mirror = Mirror()
    registration = register(client, mirror)
    session.branches.create("b")
    with session.start_transaction("b"):
        session.tables["Sales"].append(("2024-01-01", "P1", 99))
    with pytest.raises(ZeroDivisionError), session.start_transaction("b"):
        session.tables["Sales"].truncate()
        raise ZeroDivisionError
    session.tables["Sales"].append(("2024-01-01", "P2", 1))
    assert client.wait_for(registration, session.epoch)
    assert mirror.rows == {"master": rows_of(session), "b": rows_of(session, "b")}
    assert mirror.calls.count("rolled back") == 1


class Fragile(Mirror):
    """Raises at a row of this quantity, once."""

    def __init__(self, quantity):
        super().__init__()
        self.quantity, self.failures = quantity, []

    def records_updated(self, partition, old, new):
        if self.quantity in new["Quantity"].to_pylist():
            self.quantity = None
            raise RuntimeError("no more room")
        super().records_updated(partition, old, new)

    def on_self_failure(self, error):
        self.failures.append(str(error))


def test_a_listener_that_raises_ends_its_registration_only_and_resumes_without_a_gap(client, session, wait_for):
    fragile, mirror = Fragile(quantity=11), Mirror()
    broken = register(client, fragile, branch="master")
    good = register(client, mirror, branch="master")
    sales = session.tables["Sales"]
    sales.append(("2024-01-01", "P1", 10))
    before = rows_of(session)
    for quantity in (11, 12):
        sales.append(("2024-01-01", "P1", quantity))
    with pytest.raises(RuntimeError, match="no more room"):
        client.wait_for(broken, session.epoch)
    assert client.wait_for(good, session.epoch)
    assert mirror.rows["master"] == rows_of(session)
    with pytest.raises(LiveError, match="no more room") as caught:
        client.wait_for(broken, session.epoch)
    assert (caught.value.code, fragile.failures) == ("listener_failed", ["no more room"])
    assert fragile.rows["master"] == before, "nothing was told after what it did not take"
    wait_for(lambda: len(session.database.streamer.registrations) == 1)
    client.resume(broken)
    sales.append(("2024-01-01", "P2", 1))
    for registration in (broken, good):
        assert client.wait_for(registration, session.epoch)
    assert fragile.rows["master"] == mirror.rows["master"] == rows_of(session)
    assert broken.restarts == 0
    assert session.health().status == "ok"


def test_a_listener_that_raised_begins_anew_where_what_it_missed_is_gone(client, session):
    fragile = Fragile(quantity=11)
    broken = register(client, fragile, branch="master")
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    with pytest.raises(RuntimeError):
        client.wait_for(broken, session.epoch)
    session.database.streamer.retain(2, 1 << 20)
    for quantity in range(5):
        session.tables["Sales"].append(("2024-01-01", "P1", 100 + quantity))
    client.close()
    client.resume(broken)
    session.tables["Sales"].append(("2024-01-01", "P1", 1))
    assert client.wait_for(broken, session.epoch)
    assert (broken.restarts, fragile.initial.count(True)) == (1, 2)
    assert fragile.rows["master"] == rows_of(session)


def test_what_is_no_longer_kept_makes_it_begin_anew_and_says_so(client, session):
    mirror = Mirror()
    registration = register(client, mirror, branch="master")
    session.database.streamer.retain(2, 1 << 20)
    client.close()
    for quantity in range(5):
        session.tables["Sales"].append(("2024-01-01", "P1", 100 + quantity))
    assert client.wait_for(registration, session.epoch)
    assert mirror.rows["master"] == rows_of(session)
    assert (registration.restarts, mirror.initial.count(True)) == (1, 2)


def test_a_refusal_is_raised_and_the_client_goes_on(client, session):
    with pytest.raises(LiveError, match="Sails") as refused:
        client.register("Sails", Mirror())
    assert refused.value.code == "unknown_table"
    mirror = Mirror()
    registration = register(client, mirror, send_initial_view=False)
    client.unregister(registration)
    session.tables["Sales"].append(("2024-01-01", "P1", 11))
    assert mirror.calls == []
    assert session.database.streamer.registrations == ()


def test_nobody_there_is_said_so():
    with pytest.raises(LiveError) as refused:
        StreamClient("http://127.0.0.1:9", timeout=0.2)
    assert refused.value.code == "unreachable"
