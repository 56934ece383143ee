"""Readers, a writer, branches, pins and compactions at the same time: every version read is one that was committed.

Money moves between two tables, never in or out: in every version of every branch both together hold the same total.
How often each account was paid is known from the epoch alone, so a reader can also tell one version from another.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest

import gpu_engine as ge

ACCOUNTS = 50
TOTAL = 2 * ACCOUNTS * 1000
TRANSFERS = 3000
SECONDS = 20.0
REGION = ("left", "region")


class Bank:
    """Accounts in two tables. Each transfer is one epoch, and writes its number into the journal."""

    def __init__(self) -> None:
        self.session = ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=50))
        kinds = {"id": ge.LONG, "region": ge.STRING, "balance": ge.LONG}
        self.left = self.session.create_table("left", kinds, keys=["id"])
        self.right = self.session.create_table("right", kinds, keys=["id"])
        self.journal = self.session.create_table("journal", {"key": ge.STRING, "transfers": ge.LONG}, keys=["key"])
        self.left.join(self.right, on={"id": "id"})
        cube = self.cube = self.session.create_cube(self.left)
        cube.measures["Right"] = ge.agg.sum(ge.field("right.balance"))
        cube.measures["Total"] = cube.measures["balance.SUM"] + cube.measures["Right"]
        cube.measures["Largest"] = ge.agg.max(self.left["balance"])
        with self.session.start_transaction():
            for table in (self.left, self.right):
                table.append(*((key, f"r{key % 5}", 1000) for key in range(ACCOUNTS)))
            self.journal.append(("n", 0))

    def transfer(self, chance: random.Random, branch: str = "master") -> int:
        """Move an amount from one table to the other, on one branch; return the epoch."""
        with self.session.start_transaction(branch) as transaction:
            before = self.session.database.version(branch)
            key, amount = chance.randrange(ACCOUNTS), chance.randint(1, 100)
            for table, signed in ((self.left, amount), (self.right, -amount)):
                row = before.get(table.name, key)
                assert row is not None
                table.append((key, row["region"], row["balance"] + signed))
            self.journal.append(("n", self.transfers(before) + 1))
        assert transaction.report is not None
        return transaction.report.epoch

    def transfers(self, version: ge.QueryRunner) -> int:
        row = version.get("journal", "n")
        assert row is not None
        return int(row["transfers"])

    def check(self, version: ge.QueryRunner) -> None:
        """Every table of a version is whole, read in one piece and key by key."""
        left, right = (version.list(name, ["id", "balance"]) for name in ("left", "right"))
        assert left.num_rows == right.num_rows == ACCOUNTS
        assert sum(left["balance"].to_pylist()) + sum(right["balance"].to_pylist()) == TOTAL
        joined = version.list("left", ["balance", "right.balance"])
        assert sum(joined[0].to_pylist()) + sum(joined[1].to_pylist()) == TOTAL
        row = version.get("left", 7, ["balance"])
        assert row is not None and row["balance"] == dict(zip(*left.to_pydict().values(), strict=True))[7]

    def check_cells(self, branch: str, epoch: int | None) -> None:
        table = self.cube.query(
            "Total", "contributors.COUNT", levels=[REGION], branch=branch, epoch=epoch, mode="arrow"
        )
        assert sum(table["contributors.COUNT"].to_pylist()) == ACCOUNTS
        assert sum(table["Total"].to_pylist()) == TOTAL


@pytest.fixture
def bank() -> Iterator[Bank]:
    bank = Bank()
    with bank.session:
        yield bank


def rows_by_region(table: pa.Table) -> dict[str, tuple[int, ...]]:
    return {row[0]: row[1:] for row in zip(*table.to_pydict().values(), strict=True)}


@contextmanager
def together(*jobs: Callable[[random.Random], None]) -> Iterator[None]:
    """Run jobs over and over, each on a thread of its own, for as long as the block runs; raise what they raise."""
    stop, failures = threading.Event(), []
    rounds = [0] * len(jobs)

    def work(number: int, job: Callable[[random.Random], None]) -> None:
        chance = random.Random(number)
        try:
            while not stop.is_set():
                job(chance)
                rounds[number] += 1
        except BaseException as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=work, args=one) for one in enumerate(jobs)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    if failures:
        raise failures[0]
    assert not any(thread.is_alive() for thread in threads)
    assert all(rounds), f"a job never came round: {rounds}"


def transfers(bank: Bank, branches: tuple[str, ...] = ("master",)) -> None:
    """Make thousands of transfers, or as many as fit the time."""
    chance, end = random.Random(1), time.monotonic() + SECONDS / 4
    for number in range(TRANSFERS):
        bank.transfer(chance, branches[number % len(branches)])
        if time.monotonic() > end:
            break


def test_readers_see_whole_versions_while_a_writer_and_compactions_go_on(bank: Bank) -> None:
    cube, session = bank.cube, bank.session
    cube.create_provider([REGION], ["Total", "Largest"])
    first = session.epoch

    def read_head(chance: random.Random) -> None:
        version = session.database.version()
        assert bank.transfers(version) == version.epoch - first
        bank.check(version)
        bank.check_cells("master", None)

    def read_past(chance: random.Random) -> None:
        oldest = max(first, session.statistics().oldest_epoch)
        epoch = chance.randint(oldest, session.epoch)
        try:
            version = session.database.version(epoch=epoch)
            bank.check_cells("master", epoch)
        except ge.errors.EpochNotRetainedError:
            assert session.statistics().oldest_epoch > epoch
            return
        for _ in range(3):
            assert bank.transfers(version) == epoch - first
            bank.check(version)

    def read_pinned(chance: random.Random) -> None:
        with session.pin() as pin:
            for _ in range(3):
                bank.check(session.database.version(epoch=pin.epoch))
                bank.check_cells("master", pin.epoch)

    def compact(chance: random.Random) -> None:
        session.compact()

    with together(read_head, read_past, read_pinned, compact):
        transfers(bank)
    session.compact()
    assert session.statistics().tables["left"].dead_rows <= 50
    assert bank.transfers(session.database.version()) == session.epoch - first
    bank.check(session.database.version())


def test_branches_come_and_go_while_all_are_written_and_compacted(bank: Bank) -> None:
    session = bank.session
    session.branches.create("kept")

    def come_and_go(chance: random.Random) -> None:
        name = f"short {threading.get_ident()}"
        parent = chance.choice(["master", "kept"])
        session.branches.create(name, parent)
        before = bank.transfers(session.database.version(name))
        for _ in range(5):
            bank.transfer(chance, name)
        version = session.database.version(name)
        assert bank.transfers(version) == before + 5
        bank.check_cells(name, None)
        session.branches.delete(name)
        bank.check(version)

    def read_kept(chance: random.Random) -> None:
        bank.check(session.database.version("kept"))
        bank.check_cells("kept", None)

    def compare(chance: random.Random) -> None:
        with session.pin() as pin, session.pin(branch="kept") as other:
            found = session.diff(("master", pin.epoch), ("kept", other.epoch))
            moved = sum(
                sum(diff.updated_new["balance"].to_pylist()) - sum(diff.updated_old["balance"].to_pylist())
                for name, diff in found.items()
                if name != "journal"
            )
            assert moved == 0

    def compact(chance: random.Random) -> None:
        session.compact()

    with together(come_and_go, come_and_go, read_kept, compare, compact):
        transfers(bank, ("master", "kept"))
    assert list(session.branches) == ["master", "kept"]
    for name in session.branches:
        bank.check(session.database.version(name))


def test_live_queries_on_two_branches_miss_nothing(bank: Bank) -> None:
    session, names = bank.session, ("master", "x")
    session.branches.create("x")
    cells: dict[str, dict[str, tuple[int, ...]]] = {name: {} for name in names}

    def follow(name: str) -> Callable[[ge.CellChange], None]:
        known = cells[name]

        def on_change(change: ge.CellChange) -> None:
            if change.snapshot:
                known.clear()
            old = {**rows_by_region(change.removed), **rows_by_region(change.changed_from)}
            assert {key: known.pop(key) for key in old} == old
            known.update({**rows_by_region(change.added), **rows_by_region(change.changed)})
            assert sum(values[0] for values in known.values()) == TOTAL

        return on_change

    measures = ("Total", "balance.SUM", "Largest")
    live = {name: bank.cube.live(*measures, levels=[REGION], branch=name, on_change=follow(name)) for name in names}

    def resume(chance: random.Random) -> None:
        query = bank.cube.live(*measures, levels=[REGION], branch="x")
        query.changes_since(chance.randint(0, session.branches["x"].epoch))
        query.close()

    def compact(chance: random.Random) -> None:
        session.compact()

    with together(resume, compact):
        transfers(bank, names)
    for name in names:
        assert live[name].wait_for(session.branches[name].epoch, SECONDS)
        assert live[name].error is None
        table = bank.cube.query(*measures, levels=[REGION], branch=name, mode="arrow")
        assert cells[name] == rows_by_region(table)
    assert session.health().status == "ok"
