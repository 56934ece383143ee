"""A process that loads a topic into a session with a data directory, and tells each epoch, until it is killed.

python -m tests.kafka.loading_process BOOTSTRAP_SERVER TOPIC GROUP DATA_DIR
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gpu_engine as ge

EVENTS = {"n": ge.LONG, "partition": ge.LONG}
TOTALS = {"n": ge.LONG, "twice": ge.LONG}
SETTINGS = {"group.protocol": "consumer"}


def load(session: ge.Session, bootstrap_server: str, topic: str, group: str) -> ge.KafkaLoad:
    """Start to load the topic into two tables, one of them without a key, so that a message that counts twice shows."""
    events = session.create_table("events", types=EVENTS)
    totals = session.create_table("totals", types=TOTALS)

    def event(record: ge.kafka.Record) -> dict[str, Any]:
        return {"n": record.json()["n"], "partition": record.partition}

    def total(record: ge.kafka.Record) -> dict[str, Any]:
        return {"n": record.json()["n"], "twice": 2 * record.json()["n"]}

    return session.load_kafka(
        bootstrap_server,
        topic,
        group,
        routes={events: event, totals: total},
        batch_size=37,
        batch_duration=0.01,
        settings=SETTINGS,
    )


def main(bootstrap_server: str, topic: str, group: str, data_dir: str) -> None:
    with ge.Session(backend="cpu", data_dir=Path(data_dir), durability="os") as session:
        load(session, bootstrap_server, topic, group)
        epoch = session.epoch
        while True:
            epoch = session.wait_for_commit(epoch)
            print(epoch, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
