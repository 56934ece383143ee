"""Killed at any moment, a session with a data directory counts each message once after its restart."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_engine as ge
from tests.kafka.broker import Broker
from tests.kafka.loading_process import load
from tests.processes import line_of

KILLS = 5
MESSAGES = 6_000
PARTITIONS = 3


def test_each_message_counts_once_however_often_the_process_is_killed(
    broker: Broker, tmp_path: Path, project_root: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    topic, group, random_ = broker.topic(PARTITIONS), broker.group(), random.Random(11)
    sent = 0
    poison = 0

    def send(count: int) -> None:
        nonlocal sent, poison
        for partition in range(PARTITIONS):
            mine: list[Any] = [{"n": n} for n in range(sent, sent + count) if n % PARTITIONS == partition]
            broker.send(topic, mine[: len(mine) // 2], partition)
            broker.send(topic, [b"poison"], partition)
            broker.send(topic, mine[len(mine) // 2 :], partition)
            poison += 1
        sent += count

    command = [sys.executable, "-m", "tests.kafka.loading_process", broker.bootstrap_server, topic, group]
    for _ in range(KILLS):
        send(MESSAGES // KILLS)
        with subprocess.Popen([*command, str(tmp_path)], cwd=project_root, stdout=subprocess.PIPE) as process:
            try:
                for _ in range(random_.randrange(1, 12)):  # the kill comes while commits follow each other
                    assert line_of(process), "the process has ended, or commits nothing"
            finally:
                process.kill()
    with ge.Session(backend="cpu", data_dir=tmp_path) as session:
        assert session.tables.keys() <= {"events", "totals"}
        found = load(session, broker.bootstrap_server, topic, group)
        eventually(lambda: len(found.statistics().assigned) == PARTITIONS)  # members that died go first
        assert found.wait(120)
        events = session.tables["events"].to_arrow()
        totals = session.tables["totals"].to_arrow()
        assert sorted(events["n"].to_pylist()) == list(range(sent))
        assert sorted(totals["n"].to_pylist()) == list(range(sent))
        letters = [(letter.table, str(letter.position)) for letter in session.dead_letters]
        assert len(letters) == len(set(letters)) == 2 * poison
