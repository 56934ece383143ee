"""Kill a session anywhere and look what is left: `python -m tests.durability.kill_harness KILLS [SEED]`.

A child commits known transactions to a data directory, on two branches, with checkpoints in between, and prints each
epoch once it is acknowledged. It is killed without warning; the directory must then hold a whole number of
transactions, all acknowledged ones among them. The next child goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gpu_engine as ge

__all__ = ["kill_again_and_again"]

ROOT = Path(__file__).resolve().parents[2]
KEYS = 50
Rows = dict[str, Any]


def transaction(number: int) -> tuple[str, list[tuple[int, int]], list[int]]:
    """Return what transaction `number` does, which is never nothing: its branch, rows to upsert, keys to drop."""
    chance = random.Random(number)
    rows = [(chance.randrange(KEYS), number) for _ in range(chance.choice([1, 3, 20, 200]))]
    dropped = [key for key in chance.sample(range(KEYS), 3) if key not in dict(rows)]
    return ("what-if" if number % 3 == 0 else "master"), rows, dropped


def expected(epoch: int) -> dict[str, Rows]:
    """Return what both branches hold after the first transactions, by a plain account of them."""
    state: dict[str, Rows] = {"master": {}, "what-if": {}}
    logs: dict[str, list[int]] = {"master": [], "what-if": []}
    for number in range(1, epoch + 1):
        branch, rows, dropped = transaction(number)
        for key in dropped:
            state[branch].pop(key, None)
        state[branch].update(dict(rows))
        logs[branch].append(number)
    return {branch: {"rows": state[branch], "log": logs[branch]} for branch in state}


def open_session(path: Path, durability: str) -> ge.Session:
    session = ge.Session("cpu", path, durability=durability)
    session.create_table("rows", {"key": ge.LONG, "number": ge.LONG}, keys=["key"])
    session.create_table("log", {"number": ge.LONG})
    if "what-if" not in session.branches:
        session.branches.create("what-if")
    return session


def found(session: ge.Session, branch: str) -> Rows:
    version = session.database.version(branch)
    rows = version.list("rows").to_pydict()
    return {
        "rows": dict(zip(rows["key"], rows["number"], strict=True)),
        "log": version.list("log").to_pydict()["number"],
    }


def last_epoch(session: ge.Session) -> int:
    return max(branch.epoch for branch in session.branches.list())


def work(path: Path, durability: str) -> None:
    """Commit until killed."""
    session = open_session(path, durability)
    assert session.data_directory is not None
    number = last_epoch(session)
    while True:
        number += 1
        branch, rows, dropped = transaction(number)
        with session.start_transaction(branch) as open_transaction:
            session.tables["rows"].drop(keys=dropped)
            session.tables["rows"].append(*rows)
            session.tables["log"].append((number,))
            open_transaction.positions["source"] = number
        print(number, flush=True)
        if number % 40 == 0:
            session.data_directory.checkpoint()


def check(path: Path, durability: str, acknowledged: int) -> int:
    """Return the last epoch of the directory after verifying it."""
    with open_session(path, durability) as session:
        epoch = last_epoch(session)
        assert epoch >= acknowledged, f"epoch {acknowledged} was acknowledged, {epoch} is left"
        for branch, rows in expected(epoch).items():
            assert found(session, branch) == rows, f"branch {branch} at epoch {epoch}"
        assert session.positions.get("source", 0) == epoch
        assert session.health().status == "ok", session.health()
    return epoch


def kill_once(path: Path, durability: str, seconds: float) -> int:
    """Let a child work for some time after its first commit, kill it, and return the last epoch it has acknowledged."""
    command = [sys.executable, "-m", "tests.durability.kill_harness", "work", str(path), durability]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        output = os.read(child.stdout.fileno(), 1 << 16)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([child.stdout], [], [], left)[0]:
                output += os.read(child.stdout.fileno(), 1 << 16)
        child.send_signal(signal.SIGKILL)
        with contextlib.suppress(ValueError):
            output += child.stdout.read()
    lines = output.decode().split("\n")[:-1]  # what comes after the last line end was not printed to its end
    assert lines, "the child has committed nothing"
    return int(lines[-1])


def kill_again_and_again(kills: int, seed: int) -> int:
    """Return the epochs that were committed in all."""
    chance = random.Random(seed)
    epoch = 0
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        path = Path(folder) / "data"
        for number in range(kills):
            durability = chance.choice(["group", "group", "fsync", "os"])
            acknowledged = kill_once(path, durability, chance.uniform(0.0, 0.25))
            epoch = check(path, durability, acknowledged)
            print(f"kill {number + 1}: {acknowledged} acknowledged, {epoch} found", flush=True)
    return epoch


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]), sys.argv[3])
    else:
        kill_again_and_again(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6))
