"""Each call that changes a data directory fails once: nothing acknowledged is lost, and nothing else is there.

The same work is done again and again; the first time the first call fails, then the second, and so on. The oracle is a
plain dict of what was acknowledged. Only a commit whose sync has failed may be there or not.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.durability import data_directory, write_ahead_log

CALLS = ("pwritev", "pwrite", "fdatasync", "fsync", "ftruncate", "open", "rename", "mkdir", "unlink")
COMMITS = 12
CHECKPOINTS_AFTER = (4, 8)
Rows = list[tuple[int, int]]


@dataclass
class Faults:
    """Counts calls, and lets one of them fail."""

    error: int
    at: int = 0
    """Which call fails; 0 for none."""
    count: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    """Call -> how often it has failed."""

    def meet(self, name: str, partly: Callable[[], object]) -> None:
        self.count += 1
        if self.count == self.at:
            self.hit[name] += 1
            partly()
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture(params=[errno.EIO, errno.ENOSPC], ids=["input/output error", "no space left"])
def faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    found = Faults(request.param)
    write = os.pwrite

    def failing(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **options: Any) -> Any:
            half = name == "pwritev" and found.error == errno.ENOSPC
            found.meet(name, lambda: write(given[0], bytes(given[1][0])[:5], given[2]) if half else None)
            return call(*given, **options)

        return called

    for name in CALLS:
        monkeypatch.setattr(os, name, failing(name, getattr(os, name)))
    monkeypatch.setattr(write_ahead_log, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(data_directory, "_SECONDS", 3600.0)  # checkpoints are made where the work says so
    yield found


def rows_of(session: ge.Session) -> Rows:
    if "rows" not in session.tables:
        return []
    return sorted(zip(*session.tables["rows"].to_arrow().to_pydict().values(), strict=True))


@dataclass
class Work:
    """What became of one session's commits."""

    acknowledged: list[int] = field(default_factory=list)
    uncertain: list[int] = field(default_factory=list)
    """Those whose sync failed; the log takes nothing after the first of them."""

    def do(self, path: Path) -> None:
        with ge.Session("cpu", path) as session:
            table = session.create_table("rows", {"key": ge.LONG, "n": ge.LONG}, keys=["key"])
            for number in range(1, COMMITS + 1):
                try:
                    table.append((number % 5, number), (100 + number, number))
                    self.acknowledged.append(number)
                except ge.errors.LogFailedError:
                    self.uncertain.append(number)
                except ge.errors.LogWriteError:
                    continue
                if number in CHECKPOINTS_AFTER:
                    with suppress(OSError, ge.errors.LogFailedError):
                        session.checkpoint()

    @property
    def may_have_left(self) -> tuple[Rows, Rows]:
        return after(self.acknowledged), after(self.acknowledged + self.uncertain[:1])


def after(commits: list[int]) -> Rows:
    rows: dict[int, int] = {}
    for number in commits:
        rows |= {number % 5: number, 100 + number: number}
    return sorted(rows.items())


def test_whatever_call_fails_what_was_acknowledged_is_there(faults: Faults, tmp_path: Path) -> None:
    for place in itertools.count(1):
        path = tmp_path / str(place)
        faults.at, faults.count = place, 0
        done = Work()
        with suppress(OSError, ge.errors.EngineError):  # where the session cannot begin, or not end
            done.do(path)
        faults.at = 0
        with ge.Session("cpu", path) as session:
            assert rows_of(session) in done.may_have_left, place
            assert session.health().status == "ok"
        shutil.rmtree(path)
        if faults.hit.total() < place:  # the work has fewer calls
            break
    assert done.acknowledged == list(range(1, COMMITS + 1))
    assert set(faults.hit) == set(CALLS)
