"""The zeros that follow the last record of a log: later records are written over them, and they are never damage."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import gpu_engine as ge
from gpu_engine.durability.log_file import ROOM_BYTES, LogFile
from gpu_engine.durability.segment import Segment
from tests.durability.conftest import Shops

COMMITS = 5


@pytest.fixture
def log(shops: Shops) -> Path:
    """The segment of a directory with some commits, as a session leaves it."""
    shop = shops.open()
    for number in range(1, COMMITS + 1):
        shop.sales.append((number, "Paris", number))
    shop.close()
    [path] = (shops.path / "log").iterdir()
    return path


def ends(path: Path) -> list[int]:
    return [record.end for record in Segment(path)]


def test_a_log_has_room_and_a_restart_goes_on_in_it(shops: Shops, log: Path) -> None:
    size, end = log.stat().st_size, ends(log)[-1]
    assert 0 < size - end <= ROOM_BYTES
    assert log.read_bytes()[end:].count(0) == size - end
    shop = shops.open()
    assert shop.directory.recovery.cut_bytes == 0
    shop.sales.append((9, "Rome", 9))
    shop.close()
    assert log.stat().st_size == size
    assert ends(log)[-1] > end
    assert shops.open().rows()[-1] == (9, "Rome", 9)


def test_a_log_that_is_never_synced_needs_no_room(shops: Shops) -> None:
    shop = shops.open(durability="os")
    shop.sales.append((1, "Paris", 1))
    shop.close()
    [path] = (shops.path / "log").iterdir()
    assert path.stat().st_size == ends(path)[-1]


def test_no_more_zeros_follow_than_a_start_takes_for_room(tmp_path: Path) -> None:
    path, sizes = tmp_path / "1.log", random.Random(7)
    file = LogFile(path)
    expected = b""
    for _ in range(300):
        record = b"x" * sizes.choice((10, 900, 9_000, 60_000, 90_000, ROOM_BYTES + 1))
        file.make_room(len(record))
        file.append([record])
        expected += record
        assert file.size == len(expected)
        assert 0 <= path.stat().st_size - file.size <= ROOM_BYTES
    file.close()
    content = path.read_bytes()
    assert content[: len(expected)] == expected
    assert content[len(expected) :].count(0) == len(content) - len(expected)


def test_a_record_torn_in_its_room_is_cut_off_and_reported(shops: Shops, log: Path) -> None:
    whole, places = log.read_bytes(), ends(log)
    start, end = places[-2], places[-1]
    # Pages reach the disk in any order: what is missing of the last record, zeros stand for.
    for first, last in ((start + 1, end), (start, (start + end) // 2), (start + 8, start + 40), (start, start + 4)):
        torn = bytearray(whole)
        torn[first:last] = bytes(last - first)
        log.write_bytes(torn)
        shop = shops.open()
        assert shop.session.epoch == COMMITS - 1
        assert shop.directory.recovery.cut_bytes == len(whole) - start
        shop.sales.append((9, "Rome", 9))
        shop.close()
        again = shops.open()
        assert again.directory.recovery.cut_bytes == 0
        assert [row[0] for row in again.rows()] == [*range(1, COMMITS), 9]
        again.close()


def test_zeros_among_acknowledged_records_are_damage(shops: Shops, log: Path) -> None:
    places = ends(log)
    damaged = bytearray(log.read_bytes())
    damaged[places[-3] : places[-2]] = bytes(places[-2] - places[-3])
    log.write_bytes(damaged)
    with pytest.raises(ge.errors.DataDirectoryDamagedError, match="repair"):
        shops.open()
    assert log.read_bytes() == damaged


def test_more_zeros_than_a_session_lays_are_cut_off_and_reported(shops: Shops, log: Path) -> None:
    end = ends(log)[-1]
    os.truncate(log, end)
    os.truncate(log, end + ROOM_BYTES + 1)
    shop = shops.open()
    assert shop.directory.recovery.cut_bytes == ROOM_BYTES + 1
    assert shop.session.epoch == COMMITS


def test_rubbish_in_the_room_is_cut_off_and_reported(shops: Shops, log: Path) -> None:
    whole, end = log.read_bytes(), ends(log)[-1]
    for place in (end, end + 7, (end + len(whole)) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        log.write_bytes(changed)
        shop = shops.open()
        assert shop.directory.recovery.cut_bytes == len(whole) - end
        assert shop.session.epoch == COMMITS
        shop.close()


def test_a_backup_of_a_log_with_room_can_be_started(shops: Shops, log: Path, tmp_path: Path) -> None:
    ge.data_directory.backup(shops.path, tmp_path / "copy")
    shop = shops.open(tmp_path / "copy")
    assert shop.directory.recovery.cut_bytes == 0
    assert shop.session.epoch == COMMITS
    assert ge.data_directory.repair(shops.path).taken_away == ()
