"""The engine tells the time, and never relies on it: the clock of the machine may be wrong, and jump."""

from __future__ import annotations

import ast
import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

import gpu_engine as ge
from tests.durability.conftest import Shops
from tests.engine.answers import eventually

ROOT = Path(__file__).resolve().parents[2]
WALL_CLOCKS = {
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "clock_gettime")),
    *(f"{kind}.{name}" for kind in ("datetime", "datetime.datetime") for name in ("now", "utcnow", "today")),
    *("date.today", "datetime.date.today"),
}
TELLS_THE_TIME = {"gpu_engine/database/dead_letter.py", "gpu_engine/supervisor.py", "loaders/watch.py"}
"""Modules that say when something happened, for people to read."""


def reads_the_wall_clock(module: Path) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call))
    return any(ast.unparse(call) in WALL_CLOCKS for call in calls)


def test_only_what_people_read_comes_from_the_wall_clock() -> None:
    modules = [path for folder in ("gpu_engine", "loaders") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in modules if reads_the_wall_clock(path)}
    assert found == TELLS_THE_TIME


class Jumping(datetime):
    """A clock that jumps by a century at each look, forwards and backwards."""

    years = itertools.cycle([2100, 1971, 2026, 1999])

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime(next(cls.years), 1, 1, tzinfo=UTC)


def test_a_clock_that_jumps_changes_nothing(shops: Shops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gpu_engine.database.dead_letter", "gpu_engine.supervisor", "loaders.watch"):
        monkeypatch.setattr(f"{module}.datetime", Jumping)
    monkeypatch.setattr("time.time", lambda: Jumping.now().timestamp())
    monkeypatch.setattr("time.time_ns", lambda: int(Jumping.now().timestamp()) * 10**9)
    folder = tmp_path / "files"
    folder.mkdir()
    expected = []
    for start in range(3):
        shop = shops.open()
        for number in range(start * 10, start * 10 + 10):
            shop.sales.append((number, "Paris", number))
            expected.append((number, "Paris", number))
        shop.directory.checkpoint()
        table = shop.session.read_csv(folder / "*.csv", "t", types={"n": ge.LONG}, watch=True)
        for number, seconds in enumerate((10**9, 0, 4 * 10**9)):
            aside = folder / ".aside"
            aside.write_text(f"n\n{start * 10 + number}\n")
            os.utime(aside, (seconds + start, seconds + start))
            aside.rename(folder / f"{start}-{number}.csv")
        eventually(lambda table=table, start=start: len(table) == 3 * (start + 1), "all files are loaded")  # type: ignore[misc]
        assert shop.rows() == expected
        assert sorted(table.to_arrow()["n"].to_pylist()) == [10 * a + b for a in range(start + 1) for b in range(3)]
        assert shop.session.health().status == "ok"
        shop.close()
