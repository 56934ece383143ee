"""Sources of the killed work, and a plain account of what they have given: two folders of files, and a topic."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import gpu_engine as ge

__all__ = ["Folders", "Topic", "rows_of"]

JUMPS_NS = (0, 10**18, 4_102_444_800 * 10**9)
"""Times of change that a clock gives which is set wrong: 1970, 2001, 2100 (nanoseconds since 1970)."""


class Folders:
    """Writes files while the work runs and while it does not, and knows what must be in the tables once they rest."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path, self._chance = path, chance
        for folder in ("lines", "prices"):
            (path / folder).mkdir()
        self.lines: list[tuple[int, int]] = []
        self.prices: dict[int, int] = {}
        self.count = 0
        """Files written, new ones and new contents."""
        self._written = 0
        self._versions = 0
        self._half: tuple[Path, str] | None = None
        self._touched: set[Path] = set()

    def act(self) -> None:
        """Do something to a file that no version of it can be missed by."""
        self._chance.choice([self._add, self._add, self._rename, self._touch, self._price, self._copy_back])()

    def rest(self) -> None:
        """Finish what is half written."""
        if self._half is not None:
            path, rest = self._half
            with path.open("a") as file:
                file.write(rest)
            self._half = None

    def next_round(self) -> None:
        """All is loaded: files may change again, and old ones go."""
        self._touched.clear()
        for path in self._files("lines")[:-8]:
            path.unlink()

    def _files(self, folder: str) -> list[Path]:
        return sorted((self._path / folder).glob("*.csv"))

    def _add(self) -> None:
        self._written += 1
        self.count += 1
        rows = [(self._written * 100 + index, self._written) for index in range(self._chance.choice([1, 5, 60]))]
        self.lines += rows
        aside = self._path / "lines" / ".new"
        aside.write_text(text(rows))
        if self._chance.random() < 0.3:
            # Later than all others of that second, so that no two files look the same.
            time = self._chance.choice(JUMPS_NS) + self._written
            os.utime(aside, ns=(time, time))
        aside.rename(self._path / "lines" / f"{self._written:06d}.csv")

    def _rename(self) -> None:
        if files := self._files("lines"):
            file = self._chance.choice(files)
            self._written += 1
            file.rename(file.with_name(f"{self._written:06d}.csv"))

    def _touch(self) -> None:
        """Change the time of a file and nothing else."""
        if files := self._files("prices"):
            file = self._chance.choice(files)
            time = self._chance.choice(JUMPS_NS) + self._versions
            os.utime(file, ns=(time, time))

    def _price(self) -> None:
        """Write a file of the other folder in place, in two halves; longer or shorter than it was; once in a round."""
        self.rest()
        path = self._path / "prices" / f"{self._chance.randrange(6)}.csv"
        if path in self._touched:
            return
        self._touched.add(path)
        self.count += 1
        self._versions += 1
        count = self._chance.choice([2, 10, 50])
        rows = [(int(path.stem) * 100 + index, self._versions) for index in range(count)]
        self.prices |= dict(rows)
        written = text(rows)
        cut = written.index("\n", len(written) // 2) + 1
        path.write_text(written[:cut])
        self._half = path, written[cut:]

    def _copy_back(self) -> None:
        """Take a file away and put it back as it was."""
        if files := self._files("lines"):
            file = self._chance.choice(files)
            file.rename(self._path / "aside")
            (self._path / "aside").rename(file)


def text(rows: list[tuple[int, int]]) -> str:
    return "id,value\n" + "".join(f"{key},{value}\n" for key, value in rows)


class Topic:
    """Messages in three partitions of a mock cluster."""

    PARTITIONS = 3

    def __init__(self) -> None:
        from tests.kafka.broker import Broker
        from tests.kafka.mock_cluster import MockCluster

        self._cluster = MockCluster()
        self._broker = Broker(self._cluster.bootstrap_server, self._cluster)
        self.name = self._broker.topic(self.PARTITIONS)
        self.address = (self._cluster.bootstrap_server, self.name)
        self.sent: list[list[int]] = [[] for _ in range(self.PARTITIONS)]

    def send(self, count: int) -> None:
        for partition, sent in enumerate(self.sent):
            numbers = range(len(sent), len(sent) + count)
            self._broker.send(self.name, [{"n": number} for number in numbers], partition)
            sent += numbers

    def check(self, session: ge.Session) -> int:
        """Each partition gave the messages before its position, each once; return how many in all."""
        found = rows_of(session, "events")
        for partition, sent in enumerate(self.sent):
            offset = session.positions.get(f"kafka group killed topic {self.name} partition {partition}", 0)
            assert [number for one, number in found if one == partition] == sent[:offset], f"partition {partition}"
        return len(found)

    def close(self) -> None:
        self._cluster.close()


def rows_of(session: ge.Session, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table, sorted."""
    columns = session.tables[table].to_arrow().to_pydict().values()
    return sorted(zip(*columns, strict=True))
