"""Bytes changed, blocks zeroed and files lost anywhere in a data directory: what is wrong is never taken for true.

The oracle is a list of what the tables held after each commit. A start finds all of it, or refuses and changes nothing;
after a repair it finds what was there after one of the commits. Only what reaches into the last record of the log may
cost that record, for nothing can tell it from one that was never finished.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.durability import write_ahead_log
from gpu_engine.durability.segment import Segment, segments
from tests.durability.conftest import Shop, Shops

COMMITS = 24
CHECKPOINTS_AFTER = (6, 15)
PIN_AFTER = 10
State = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Original:
    """A directory with two checkpoints, some segments, a branch and a pin; and what it held after each commit."""

    path: Path
    states: list[State]

    @property
    def last_record(self) -> tuple[Path, int]:
        """The last segment, and where its last record starts."""
        path = segments(self.path / "log")[-1]
        return path, [record.start for record in Segment(path)][-1]

    def epoch_before(self, segment: Path, offset: int) -> int:
        """The newest epoch of which all records end before an offset."""
        lost = sum(record.end > offset for record in Segment(segment))
        return len(self.states) - 1 - lost


@pytest.fixture
def original(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> Original:
    monkeypatch.setattr(write_ahead_log, "SEGMENT_BYTES", 3000)
    shop = shops.open()
    states = [state(shop)]
    for number in range(1, COMMITS + 1):
        with shop.session.start_transaction() as transaction:
            shop.sales.append((number % 7, f"city {number}", number), (number, "Oslo", -number))
            shop.visits.append(("Rome", number))
            if number % 5 == 0:
                shop.visits.drop(shop.visits["n"] == number - 1)
            transaction.positions["source"] = number
        states.append(state(shop))
        if number in CHECKPOINTS_AFTER:
            shop.directory.checkpoint()
        if number == PIN_AFTER:
            shop.session.pin()
            shop.session.branches.create("what-if")
    shop.close()
    return Original(shops.path, states)


def state(shop: Shop) -> State:
    position = shop.session.positions.get("source", 0)
    return {"sales": sorted(shop.rows()), "visits": shop.rows(table="visits"), "position": [(position,)]}


def content(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lock"}


def opened(shops: Shops, path: Path) -> State:
    shop = shops.open(path)
    try:
        if "what-if" in shop.session.branches:
            shop.rows("what-if")
        return state(shop)
    finally:
        shop.close()


def check(shops: Shops, original: Original, path: Path, least: int) -> str:
    """Start a damaged directory, repair it if it is refused, and return what was found; `least` is the oldest epoch."""
    before = content(path)
    try:
        found = opened(shops, path)
    except ge.errors.DataDirectoryDamagedError:
        assert content(path) == before
    else:
        assert found in original.states[least:]
        return "all" if found == original.states[-1] else "all but the end"
    try:
        ge.data_directory.repair(path)
    except ge.errors.DataDirectoryDamagedError:
        return "nothing"
    assert opened(shops, path) in original.states
    return "what a repair left"


def damaged_copy(original: Original, tmp_path: Path, damage: Callable[[Path], None]) -> Path:
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(original.path, copy)
    damage(copy)
    return copy


@pytest.mark.parametrize("longest", [1, 600], ids=["a bit", "a block"])
def test_damage_is_never_taken_for_true(shops: Shops, original: Original, tmp_path: Path, longest: int) -> None:
    chance = random.Random(longest)
    last, start_of_last = original.last_record
    met: set[str] = set()
    for file in [*segments(original.path / "log"), *sorted((original.path / "checkpoints").rglob("*.*"))]:
        if not file.is_file():
            continue
        end = [record.end for record in Segment(file)][-1] if file.suffix == ".log" else file.stat().st_size
        for _ in range(4):
            first = chance.randrange(end)
            length = chance.randint(1, longest)

            def harm(copy: Path, file: Path = file, first: int = first, length: int = length) -> None:
                target = copy / file.relative_to(original.path)
                data = bytearray(target.read_bytes())
                if length == 1:
                    data[first] ^= 1 << chance.randrange(8)
                else:
                    data[first : first + length] = bytes(len(data[first : first + length]))
                target.write_bytes(data)

            at_the_end = file == last and first + length > start_of_last
            least = original.epoch_before(last, first) if at_the_end else COMMITS
            met.add(check(shops, original, damaged_copy(original, tmp_path, harm), least))
    assert {"all", "what a repair left"} <= met


def test_a_file_that_is_gone_is_never_passed_over(shops: Shops, original: Original, tmp_path: Path) -> None:
    last, _ = original.last_record
    met = set()
    for file in content(original.path):
        if file == last:  # nothing can tell that there was one more
            continue
        for harm in (Path.unlink, lambda path: path.write_bytes(b"")):

            def damage(copy: Path, file: Path = file, harm: Callable[[Path], Any] = harm) -> None:
                harm(copy / file.relative_to(original.path))

            met.add(check(shops, original, damaged_copy(original, tmp_path, damage), COMMITS))
    assert {"all", "what a repair left"} <= met
