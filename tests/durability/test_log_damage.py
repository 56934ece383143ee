"""A log cut or changed anywhere: its unfinished end is cut off and reported, other damage is refused."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import gpu_engine as ge
from gpu_engine.durability import write_ahead_log
from gpu_engine.durability.record import HEADER_BYTES, frame, next_record, record_at
from gpu_engine.durability.segment import SEGMENT_HEADER_BYTES, Segment
from tests.durability.conftest import Shops

COMMITS = 8


@pytest.fixture
def log(shops: Shops) -> Path:
    """The only segment of a directory with two tables and some commits, each acknowledged before the next.

    It ends with the last record; test_log_room.py is about the zeros that may follow.
    """
    shop = shops.open()
    for number in range(1, COMMITS + 1):
        shop.sales.append((number, "Paris", number))
    shop.close()
    [path] = (shops.path / "log").iterdir()
    os.truncate(path, ends(path)[-1])
    return path


def ends(path: Path) -> list[int]:
    """Offsets after each record."""
    return [record.end for record in Segment(path)]


def commits_in(shops: Shops) -> int:
    """The commits that a restart finds, which must be the first ones."""
    shop = shops.open()
    try:
        assert shop.rows() == [(number, "Paris", number) for number in range(1, shop.session.epoch + 1)]
        return shop.session.epoch
    finally:
        shop.close()


def test_a_log_cut_anywhere_gives_the_whole_commits_before(shops: Shops, log: Path) -> None:
    whole, places = log.read_bytes(), ends(log)
    for length in range(0, len(whole), 17):
        log.write_bytes(whole[:length])
        records = sum(end <= length for end in places)
        shop = shops.open()
        expected = max(0, records - 2)
        assert shop.session.epoch == expected
        assert [row[0] for row in shop.rows()] == list(range(1, expected + 1))
        sound = max([0, *(end for end in places if end <= length)]) or min(length, SEGMENT_HEADER_BYTES)
        if length >= SEGMENT_HEADER_BYTES:
            assert shop.directory.recovery.cut_bytes == length - sound
        shop.sales.append((99, "Rome", 1))
        shop.close()
        again = shops.open()
        assert again.rows()[-1] == (99, "Rome", 1)
        assert again.directory.recovery.cut_bytes == 0
        again.close()
        for path in log.parent.iterdir():
            path.unlink()


def test_a_changed_byte_is_never_accepted(shops: Shops, log: Path) -> None:
    whole, places = log.read_bytes(), ends(log)
    for place in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[place] ^= 1 << random.Random(place).randrange(8)
        log.write_bytes(bytes(changed))
        if place >= places[-2]:
            assert commits_in(shops) == COMMITS - 1
            log.write_bytes(bytes(changed))
            shop = shops.open()
            assert shop.directory.recovery.cut_bytes == len(whole) - places[-2]
            shop.close()
            continue
        with pytest.raises(ge.errors.DataDirectoryDamagedError, match="repair"):
            shops.open()
        assert log.read_bytes() == bytes(changed)
    log.write_bytes(whole)
    assert commits_in(shops) == COMMITS


def test_a_hole_that_nobody_was_told_of_is_an_unfinished_end(shops: Shops, log: Path) -> None:
    # Three records written before any of them was synced: the disk may have kept the last and lost the first.
    data = pa.py_buffer(log.read_bytes())
    start = ends(log)[-1]
    last = record_at(data, ends(log)[-2])
    assert last is not None
    acknowledged = last.sequence
    tail = [b"".join(map(bytes, frame(last.sequence + n, acknowledged, [bytes(8)]))) for n in (1, 2, 3)]
    with log.open("ab") as file:
        file.write(bytes(len(tail[0])) + tail[1] + tail[2])
    assert commits_in(shops) == COMMITS
    assert log.stat().st_size == start


def test_a_missing_segment_is_refused(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "SEGMENT_BYTES", 1000)
    shop = shops.open()
    for number in range(30):
        shop.sales.append((number, "Paris", number))
    shop.close()
    paths = sorted((shops.path / "log").iterdir())
    assert len(paths) > 3
    kept = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(ge.errors.DataDirectoryDamagedError, match="missing"):
        shops.open()
    paths[1].write_bytes(kept)
    os.truncate(paths[1], ends(paths[1])[-1] - 1)
    with pytest.raises(ge.errors.DataDirectoryDamagedError, match="damaged"):
        shops.open()


def test_repair_keeps_what_comes_before_the_damage(shops: Shops, log: Path) -> None:
    places = ends(log)
    data = bytearray(log.read_bytes())
    data[places[5] + HEADER_BYTES + 3] ^= 1  # in the fifth commit, after two tables
    log.write_bytes(bytes(data))
    report = ge.data_directory.repair(shops.path)
    assert (report.epoch, report.lost_records, report.checkpoint) == (4, COMMITS - 5, None)
    assert report.taken_away == (f"damaged/{log.name}",)
    assert (shops.path / "damaged" / log.name).read_bytes() == bytes(data)
    assert commits_in(shops) == 4
    assert ge.data_directory.repair(shops.path).taken_away == ()


def test_repair_takes_away_what_follows_a_missing_segment(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "SEGMENT_BYTES", 1000)
    shop = shops.open()
    for number in range(30):
        shop.sales.append((number, "Paris", number))
    shop.close()
    paths = sorted((shops.path / "log").iterdir())
    left = sum(len(ends(path)) for path in paths[:2])
    paths[2].unlink()
    report = ge.data_directory.repair(shops.path)
    assert report.epoch == left - 2
    assert report.lost_records == 30 + 2 - left - (first(paths[3]) - first(paths[2]))
    again = shops.open()
    assert [row[0] for row in again.rows()] == list(range(report.epoch))
    again.sales.append((99, "Rome", 1))


def first(path: Path) -> int:
    return int(path.stem)


def test_repair_refuses_where_nothing_can_be_kept(shops: Shops, log: Path, tmp_path: Path) -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="no data directory"):
        ge.data_directory.repair(tmp_path / "nowhere")
    shop = shops.open()
    for _ in range(3):
        shop.sales.append((1, "Rome", 0), (2, "Rome", 0))
        shop.directory.checkpoint()
        shop.sales.drop(keys=[2])
    with pytest.raises(ge.errors.DataDirectoryInUseError):
        ge.data_directory.repair(shops.path)
    shop.close()
    for folder in (shops.path / "checkpoints").iterdir():
        (folder / "manifest.json").unlink()
    with pytest.raises(ge.errors.DataDirectoryDamagedError):
        ge.data_directory.repair(shops.path)
    shutil.rmtree(shops.path / "checkpoints")
    with pytest.raises(ge.errors.DataDirectoryDamagedError):
        shops.open()


def test_records_are_found_behind_any_rubbish() -> None:
    sound = b"".join(map(bytes, frame(7, 6, [b"payload "])))
    data = pa.py_buffer(b"gel\x01 rubbish" + sound[:-1] + sound)
    found = next_record(data, 0)
    assert found is not None
    assert (found.sequence, found.acknowledged, found.payload.to_pybytes()) == (7, 6, b"payload ")
    assert next_record(data, found.start + 1) is None
