"""The work that is killed: `python -m tests.durability.kill_workload PATH DURABILITY SEED [BOOTSTRAP_SERVER TOPIC]`.

Known transactions on two branches, and around them what a session does besides: files of two watched folders, a topic,
checkpoints and new segments all the time, branches that come and go, pins, compaction. Each line printed is a promise:
a transaction that is acknowledged, a pin that is there.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import gpu_engine as ge
from gpu_engine.durability import data_directory, write_ahead_log

__all__ = ["EVENTS", "MODEL", "TOPIC", "last_transaction", "open_session", "read_files", "transaction"]

KEYS = 50
MODEL: dict[str, Any] = {"key": ge.LONG, "number": ge.LONG}
EVENTS = {"partition": ge.LONG, "n": ge.LONG}
TOPIC = "events"
FILES = {"id": ge.LONG, "value": ge.LONG}


def transaction(number: int) -> tuple[str, list[tuple[int, int]], list[int]]:
    """Return what transaction `number` does, which is never nothing: its branch, rows to upsert, keys to drop."""
    chance = random.Random(number)
    rows = [(chance.randrange(KEYS), number) for _ in range(chance.choice([1, 3, 20, 200]))]
    dropped = [key for key in chance.sample(range(KEYS), 3) if key not in dict(rows)]
    return ("what-if" if number % 3 == 0 else "master"), rows, dropped


def open_session(path: Path, durability: str) -> ge.Session:
    session = ge.Session("cpu", path, durability=durability)
    session.create_table("rows", MODEL, keys=["key"])
    session.create_table("log", {"number": ge.LONG})
    session.create_table("events", EVENTS)
    if "what-if" not in session.branches:
        session.branches.create("what-if")
    return session


def read_files(session: ge.Session, path: Path) -> None:
    """Follow the two folders: files that are never changed in a table without a key, others in one with a key."""
    session.read_csv(path / "lines" / "*.csv", "lines", types=FILES, watch=True)
    session.read_csv(path / "prices" / "*.csv", "prices", keys=["id"], types=FILES, watch=True)


def last_transaction(session: ge.Session) -> int:
    return int(session.positions.get("source", 0))


def load_topic(session: ge.Session, bootstrap_server: str, topic: str) -> None:
    def event(record: ge.kafka.Record) -> dict[str, Any]:
        return {"partition": record.partition, "n": record.json()["n"]}

    session.load_kafka(
        bootstrap_server,
        topic,
        "killed",
        routes={session.tables["events"]: event},
        batch_size=37,
        batch_duration=0.005,
        settings={"group.protocol": "consumer"},
    )


def besides(session: ge.Session, chance: random.Random, number: int) -> None:
    """Now and then do what is no transaction, and say which pins hold from here on."""
    assert session.data_directory is not None
    if chance.random() < 0.05:
        for branch in [name for name in session.branches if name.startswith("trial")]:
            session.branches.delete(branch)
        session.branches.create(f"trial {number}")
        with session.start_transaction(f"trial {number}"):
            session.tables["rows"].append((-1, number))
    if chance.random() < 0.05:
        for pin in session.data_directory.pins:
            print(f"unpin {pin.epoch}", flush=True)
            pin.release()
        print(f"pin {session.pin().epoch}", flush=True)
    if chance.random() < 0.05:
        session.compact()
    if chance.random() < 0.03:
        session.checkpoint()


def work(path: Path, durability: str, seed: int, *topic: str) -> None:
    """Work until killed."""
    data_directory.CHECKPOINT_BYTES = 1 << 15
    data_directory._SECONDS = 0.02
    write_ahead_log.SEGMENT_BYTES = 1 << 15
    chance = random.Random(seed)
    session = open_session(path / "data", durability)
    number = last_transaction(session)
    read_files(session, path)
    if topic:
        load_topic(session, *topic)
    while True:
        number += 1
        branch, rows, dropped = transaction(number)
        with session.start_transaction(branch) as open_transaction:
            session.tables["rows"].drop(keys=dropped)
            session.tables["rows"].append(*rows)
            session.tables["log"].append((number,))
            open_transaction.positions["source"] = number
        print(f"done {number}", flush=True)
        besides(session, chance, number)


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
