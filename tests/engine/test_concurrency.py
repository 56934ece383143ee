"""Readers, subscribers and writers at the same time: every read is of one epoch, and nothing is lost or seen twice."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE, Heard, cells, eventually, plain, rows, told

ACCOUNTS = 8
START = 1_000_000


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Let Python change threads far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(usual)


class Threads:
    """Threads that stop together, and whose failures fail the test."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], Any], *, again: bool = True) -> None:
        """Run work once, or over and over until all stop."""

        def run() -> None:
            try:
                work()
                while again and not self.stop.is_set():
                    work()
            except BaseException as error:
                self._failures.append(error)
                self.stop.set()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        if self._failures:
            raise self._failures[0]
        assert not any(thread.is_alive() for thread in self._threads)


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.end()


class Bank:
    """Accounts and what their owners have at home. Commit number n carries a cent home from each account.

    So at every epoch all of it adds up to the same, and what is where follows from the epoch alone.
    """

    def __init__(self, session: ge.Session) -> None:
        self.session = session
        self.accounts = session.create_table(
            "accounts", types={"Id": ge.LONG, "Owner": ge.STRING, "cents": ge.LONG}, keys=["Id"]
        )
        self.owners = session.create_table("owners", types={"Name": ge.STRING, "home": ge.LONG}, keys=["Name"])
        self.accounts.join(self.owners, on={"Owner": "Name"})
        self.cube = session.create_cube(self.accounts)
        self.cube.measures["home"] = ge.agg.sum(self.owners["home"])
        self.cube.measures["least"] = ge.agg.min(self.accounts["cents"])
        self.carry()

    def carry(self) -> None:
        epoch = self.session.epoch + 1
        with self.session.start_transaction():
            self.accounts.append(*((number, f"owner {number}", START - epoch) for number in range(ACCOUNTS)))
            self.owners.append(*((f"owner {number}", epoch) for number in range(ACCOUNTS)))

    def carry_often(self, times: int) -> None:
        for _ in range(times):
            self.carry()

    def check(self, epoch: int | None = None, levels: tuple[str, ...] = ("Name",)) -> int:
        """Ask one question, hold the answer against its epoch, and return that."""
        answer = self.cube.query("cents.SUM", "home", "least", levels=levels, epoch=epoch, mode="arrow")
        shown = int(answer.schema.metadata[b"epoch"])
        each = (START - shown, shown, START - shown)
        if levels:
            assert plain(answer, 1) == {f"owner {number}": each for number in range(ACCOUNTS)}, shown
        else:
            assert plain(answer, 0) == {(): (ACCOUNTS * each[0], ACCOUNTS * each[1], each[2])}, shown
        return shown


@pytest.fixture
def bank(session: ge.Session) -> Bank:
    return Bank(session)


class TestReadersOfAMovingBank:
    def test_see_one_epoch_of_two_tables_by_scan(self, bank: Bank, threads: Threads) -> None:
        threads.start(bank.check)
        threads.start(lambda: bank.check(levels=()))
        bank.carry_often(800)
        assert bank.check() == 801

    def test_see_one_epoch_of_two_tables_by_provider(self, bank: Bank, threads: Threads) -> None:
        bank.cube.create_provider(["Name"], ["cents.SUM", "home", "least"])
        bank.cube.create_provider([], ["cents.SUM", "home", "least"])
        threads.start(bank.check)
        threads.start(lambda: bank.check(levels=()))
        bank.carry_often(400)
        assert bank.cube.query("home", levels=["Name"], explain=True).source == "provider"

    def test_never_see_time_run_backwards(self, bank: Bank, threads: Threads) -> None:
        bank.cube.create_provider(["Name"], ["cents.SUM", "home", "least"])
        newest = [0]

        def look() -> None:
            shown = bank.check()
            assert shown >= newest[0]
            newest[0] = shown

        threads.start(look)
        bank.carry_often(500)

    @pytest.mark.parametrize("provided", [False, True], ids=["scan", "provider"])
    def test_see_the_past_as_it_was(self, bank: Bank, threads: Threads, provided: bool) -> None:
        if provided:
            bank.cube.create_provider(["Name"], ["cents.SUM", "home", "least"])
        chance = random.Random(1)

        def look_back() -> None:
            epoch = max(1, bank.session.epoch - chance.randrange(40))
            assert bank.check(epoch) == epoch

        threads.start(look_back)
        bank.carry_often(800)

    def test_see_whole_tables(self, bank: Bank, threads: Threads) -> None:
        def list_rows() -> None:
            listed = {row["cents"] for row in rows(bank.accounts)}
            assert len(listed) == 1
            assert bank.owners.to_arrow().num_rows == ACCOUNTS
            assert bank.accounts.where(bank.accounts["cents"] + bank.owners["home"] == START).num_rows == ACCOUNTS

        threads.start(list_rows)
        bank.carry_often(800)

    def test_count_the_rows_of_one_epoch(self, bank: Bank, threads: Threads) -> None:
        counted: set[int] = set()
        threads.start(lambda: counted.add(len(bank.accounts)))
        threads.start(lambda: counted.add(bank.session.statistics().tables["owners"].rows))
        bank.carry_often(1500)
        threads.end()
        assert counted == {ACCOUNTS}

    def test_count_the_members_of_one_epoch(self, bank: Bank, threads: Threads) -> None:
        hierarchy = bank.cube.hierarchies["Name"]

        def count() -> None:
            assert set(hierarchy.members().values()) == {1}

        threads.start(count)
        bank.carry_often(500)


class TestSubscribersOfAMovingBank:
    def test_that_attach_in_mid_stream_end_in_the_final_state(self, bank: Bank, threads: Threads) -> None:
        lives: list[tuple[ge.LiveQuery, Heard]] = []

        def attach() -> None:
            if len(lives) < 12:
                heard = Heard()
                levels = [["Name"], [], ["Owner", "Name"]][len(lives) % 3]
                lives.append((bank.cube.live("cents.SUM", "home", "least", levels=levels, on_change=heard), heard))

        threads.start(attach)
        bank.carry_often(400)
        eventually(lambda: len(lives) == 12, "all are attached")
        threads.end()
        for number, (live, heard) in enumerate(lives):
            assert live.wait_for(401, DEADLINE), live.error
            assert heard.epochs == sorted(set(heard.epochs))
            assert heard.epochs[-1] == 401
            width = [1, 0, 2][number % 3]
            for change in heard.changes:
                added, changed, before, removed = told(change, width)
                share = ACCOUNTS if width == 0 else 1
                assert {cents + home for cents, home, _ in {**added, **changed}.values()} == {share * START}
                assert {home for _, home, _ in {**added, **changed}.values()} == {share * change.epoch}
                assert not removed
                if not change.snapshot:
                    assert {home for _, home, _ in before.values()} == {share * (change.from_epoch or 0)}

    def test_that_pull_miss_nothing(self, bank: Bank, threads: Threads) -> None:
        live = bank.cube.live("home", levels=["Name"])
        known: list[int | None] = [None]

        def pull() -> None:
            changes, reached = live.changes_since(known[0])
            for change in changes:
                assert known[0] is None or change.from_epoch == known[0]
                assert set(plain(change.added, 1).values()) | set(plain(change.changed, 1).values()) == {change.epoch}
                known[0] = change.epoch
            assert known[0] == reached

        threads.start(pull)
        bank.carry_often(700)
        threads.end()
        pull()
        assert known[0] == 701


def test_providers_made_in_mid_stream_equal_a_scan(session: ge.Session, threads: Threads) -> None:
    """Rows come, move and go, with ever new members, while providers attach one after the other."""
    table = session.create_table("t", types={"k": ge.LONG, "g": ge.STRING, "h": ge.STRING, "x": ge.LONG}, keys=["k"])
    other = session.create_table("d", types={"id": ge.STRING, "color": ge.STRING}, keys=["id"])
    table.join(other, on={"h": "id"})
    table.append(*((key, f"g{key % 5}", f"h{key % 7}", key) for key in range(5000)))
    cube = session.create_cube(table)
    cube.measures["most"] = ge.agg.max(table["x"])
    shapes = [["g"], ["color"], [], ["g", "color"], ["h", "color"], ["g", "h"], ["g", "h", "color"]]
    made: list[ge.AggregateProvider] = []

    def attach() -> None:
        if len(made) < len(shapes):
            made.append(cube.create_provider(shapes[len(made)], ["x.SUM", "most", "contributors.COUNT"]))

    threads.start(attach)
    chance = random.Random(3)
    for turn in range(300):
        with session.start_transaction():
            keys = chance.sample(range(5000), 5)
            table.append(*((key, f"g{chance.randrange(5 + turn // 20)}", f"h{turn % 50}", turn) for key in keys))
            table.drop(keys=chance.sample(range(5000), 3))
            if turn % 3 == 0:
                other.append((f"h{chance.randrange(50)}", f"c{chance.randrange(1 + turn // 30)}"))
    eventually(lambda: len(made) == len(shapes), "all are attached")
    threads.end()
    by_provider = [cells(cube, "x.SUM", "most", "contributors.COUNT", levels=levels) for levels in shapes]
    assert cube.query("most", levels=["g", "h", "color"], explain=True).source == "provider"
    scanning = session.create_cube(table, "scanning")
    scanning.measures["most"] = ge.agg.max(table["x"])
    assert by_provider == [cells(scanning, "x.SUM", "most", "contributors.COUNT", levels=levels) for levels in shapes]
    assert scanning.query("most", levels=["g"], explain=True).source == "scan"


def test_writers_of_many_threads_lose_nothing(session: ge.Session, threads: Threads) -> None:
    table = session.create_table("t", types={"k": ge.LONG, "g": ge.STRING, "n": ge.LONG}, keys=["k"])
    cube = session.create_cube(table)
    live = cube.live("n.SUM", "contributors.COUNT", levels=["g"])
    epochs: list[int] = []

    def write(writer: int) -> None:
        for number in range(200):
            report = table.append((writer * 1000 + number, f"g{number % 3}", 1), (writer * 1000, "g0", number))
            assert report is not None
            epochs.append(report.epoch)

    for writer in range(4):
        threads.start(lambda writer=writer: write(writer), again=False)  # type: ignore[misc]
    eventually(lambda: len(epochs) == 800, "all have written")
    threads.end()
    assert sorted(epochs) == list(range(1, 801))
    expected: dict[str, tuple[int, int]] = {}
    for row in rows(table):
        total, count = expected.get(row["g"], (0, 0))
        expected[row["g"]] = (total + row["n"], count + 1)
    assert len(table) == 800
    assert cells(cube, "n.SUM", "contributors.COUNT", levels=["g"]) == expected
    assert plain(live.result(mode="arrow"), 1) == expected


def test_live_queries_come_and_go_while_commits_go_on(bank: Bank, threads: Threads) -> None:
    def visit() -> None:
        heard = Heard()
        live = bank.cube.live("home", levels=["Owner"], on_change=heard)
        assert live.wait_for(bank.session.epoch, DEADLINE)
        live.close()
        assert heard.changes[0].snapshot

    threads.start(visit)
    threads.start(visit)
    bank.carry_often(400)
    threads.end()
    assert bank.session.statistics().providers["accounts"] == ()


def test_a_session_closes_while_everybody_works(threads: Threads) -> None:
    session = ge.Session(backend="cpu")
    bank = Bank(session)
    lives = [bank.cube.live("home", levels=["Name"], on_change=lambda change: None) for _ in range(3)]

    told = set()

    def until_closed(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except ge.errors.SessionClosedError:
                told.add(work)

        return run

    threads.start(until_closed(bank.carry))
    threads.start(until_closed(bank.check))
    eventually(lambda: session.epoch > 50, "work goes on")
    session.close()
    eventually(lambda: len(told) == 2, "writer and reader are told")
    assert all(live.error is None for live in lives)
    assert session.health().status == "ok"
