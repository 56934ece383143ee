"""Kill a session anywhere and look what is left: `python -m tests.durability.kill_harness KILLS [SEED]`.

A child does the work of `kill_workload`; meanwhile its files change, and now and then it is stopped for a while. It is
killed without warning. The directory must then hold what an uninterrupted run holds after as many transactions: rows of
all branches and pins, positions, each row of each file once; and nothing that was promised may be missing. The next
child goes on from there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gpu_engine as ge
from tests.durability.kill_sources import Folders, Topic, rows_of
from tests.durability.kill_workload import last_transaction, open_session, read_files, transaction

__all__ = ["Outcome", "kill_again_and_again"]

ROOT = Path(__file__).resolve().parents[2]
KAFKA_EVERY = 10
"""Kills from one that meets Kafka to the next: by then the group has missed the member that died."""
SECONDS = 120.0
"""A child that says nothing for so long hangs."""
Rows = dict[int, int]


@dataclass
class Outcome:
    """What a run has come to."""

    kills: int = 0
    transactions: int = 0
    files: int = 0
    """Files that were written, or written again."""
    messages: int = 0
    met: Counter[str] = field(default_factory=Counter)
    """What the kills fell into."""

    def __str__(self) -> str:
        met = ", ".join(f"{count} {name}" for name, count in sorted(self.met.items()))
        work = f"{self.transactions} transactions, {self.files} files, {self.messages} messages"
        return f"{self.kills} kills over {work}: nothing acknowledged lost, nothing twice ({met})"


class Uninterrupted:
    """A plain account of the transactions, in step with what is found."""

    def __init__(self) -> None:
        self.number = 0
        self.rows: dict[str, Rows] = {"master": {}, "what-if": {}}
        self.log: dict[str, list[int]] = {"master": [], "what-if": []}
        self.past: dict[int, Rows] = {0: {}}
        """Rows of master after each of its transactions."""

    def advance(self, number: int) -> None:
        for each in range(self.number + 1, number + 1):
            branch, rows, dropped = transaction(each)
            for key in dropped:
                self.rows[branch].pop(key, None)
            self.rows[branch].update(dict(rows))
            self.log[branch].append(each)
            if branch == "master":
                self.past[each] = dict(self.rows[branch])
        self.number = number


class Run:
    """One data directory, killed again and again."""

    def __init__(self, path: Path, seed: int, topic: Topic | None) -> None:
        self._path, self._chance, self._topic = path, random.Random(seed), topic
        self._folders = Folders(path, random.Random(seed + 1))
        self._account = Uninterrupted()
        self._pins: set[int] = set()
        self.outcome = Outcome()

    def kill(self) -> None:
        """Let a child work, kill it, and compare what it has left."""
        durability = self._chance.choice(["group", "group", "fsync", "os"])
        with_topic = self._topic is not None and self.outcome.kills % KAFKA_EVERY == 0
        for _ in range(self._chance.randrange(3)):
            self._folders.act()  # while nobody looks
        lines = self._let_work(durability, with_topic)
        self._folders.rest()
        promised = self._account.number
        for word, number in (line.split() for line in lines):
            if word == "done":
                promised = int(number)
            else:
                (self._pins.add if word == "pin" else self._pins.discard)(int(number))
        self._check(durability, promised)
        self._folders.next_round()
        self.outcome.kills += 1
        self.outcome.files = self._folders.count
        self.outcome.transactions = self._account.number

    def _let_work(self, durability: str, with_topic: bool) -> list[str]:
        command = [sys.executable, "-m", "tests.durability.kill_workload", str(self._path), durability]
        command.append(str(self._chance.randrange(10**9)))
        if with_topic and self._topic is not None:
            self._topic.send(200)
            command += self._topic.address
            self.outcome.met["with a topic"] += 1
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as child:
            assert child.stdout is not None
            try:
                output = self._until_killed(child, with_topic)
            finally:
                child.kill()
            output += child.stdout.read()
        return output.decode().split("\n")[:-1]  # what comes after the last line end was not printed to its end

    def _until_killed(self, child: subprocess.Popen[bytes], with_topic: bool) -> bytes:
        assert child.stdout is not None
        output = b""
        if self._chance.random() < 0.1:
            self.outcome.met["while it started"] += 1
            seconds = self._chance.uniform(0.2, 1.2)
        else:
            assert select.select([child.stdout], [], [], SECONDS)[0], "the child hangs"
            output += os.read(child.stdout.fileno(), 1 << 16)
            assert output, "the child has ended by itself"
            seconds = self._chance.uniform(0.0, 0.4) + 2.0 * with_topic
        until = time.monotonic() + seconds
        stop = self._chance.random() < 0.2
        act = 0.0
        while (left := until - time.monotonic()) > 0:
            if time.monotonic() >= act:
                self._folders.act()
                act = time.monotonic() + self._chance.uniform(0.0, 0.1)
            if select.select([child.stdout], [], [], min(left, 0.02))[0]:
                output += os.read(child.stdout.fileno(), 1 << 16)
            if stop and left < seconds / 2:
                stop = False
                self.outcome.met["after a stop"] += 1
                child.send_signal(signal.SIGSTOP)
                time.sleep(self._chance.uniform(0.0, 0.2))
                child.send_signal(signal.SIGCONT)
        return output

    def _check(self, durability: str, promised: int) -> None:
        with open_session(self._path / "data", durability) as session:
            found = last_transaction(session)
            assert found >= promised, f"transaction {promised} was acknowledged, {found} is left"
            self._account.advance(found)
            for branch, rows in self._account.rows.items():
                assert state(session, branch) == (rows, self._account.log[branch]), f"branch {branch}"
            for branch in session.branches:
                if branch.startswith("trial"):
                    self._is_past(session, branch, None)
                    self.outcome.met["with a branch under trial"] += 1
            assert session.data_directory is not None
            pins = {pin.epoch for pin in session.data_directory.pins}
            assert pins >= self._pins, f"pins {self._pins - pins} were acknowledged and are gone"
            self._pins = pins
            for epoch in pins:
                self._is_past(session, "master", epoch)
                self.outcome.met["with a pin"] += 1
            if self._topic is not None:
                self.outcome.messages = self._topic.check(session)
            read_files(session, self._path)
            assert rows_of(session, "lines") == sorted(self._folders.lines), "files without a key"
            assert dict(rows_of(session, "prices")) == self._folders.prices, "files with a key"
            assert session.health().status == "ok", session.health()

    def _is_past(self, session: ge.Session, branch: str, epoch: int | None) -> None:
        """A branch or a pin holds what master held after some transaction, all of it."""
        rows, log = state(session, branch, epoch)
        last = log[-1] if log else 0
        rows.pop(-1, None)
        assert (rows, log) == (self._account.past[last], [n for n in self._account.log["master"] if n <= last]), branch


def state(session: ge.Session, branch: str, epoch: int | None = None) -> tuple[Rows, list[int]]:
    version = session.database.version(branch, epoch)
    rows: dict[str, list[Any]] = version.list("rows").to_pydict()
    return dict(zip(rows["key"], rows["number"], strict=True)), version.list("log").to_pydict()["number"]


def kill_again_and_again(kills: int, seed: int) -> Outcome:
    """Return what a run with so many kills has come to; AssertionError if anything promised was missing."""
    with tempfile.TemporaryDirectory(prefix="kill-") as folder, contextlib.ExitStack() as stack:
        topic = Topic() if importlib.util.find_spec("confluent_kafka") else None
        if topic is not None:
            stack.callback(topic.close)
        run = Run(Path(folder), seed, topic)
        for number in range(kills):
            run.kill()
            if not (number + 1) % 10:
                print(f"{number + 1} kills, {run.outcome.transactions} transactions", flush=True)
    return run.outcome


if __name__ == "__main__":
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    print(f"seed {seed}: {kill_again_and_again(int(sys.argv[1]), seed)}")
