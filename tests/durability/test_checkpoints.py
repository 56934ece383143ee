"""Checkpoints hold what has to stay readable, cut the log, and are passed over when they are damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import gpu_engine as ge
from gpu_engine.durability import write_ahead_log
from tests.durability.conftest import Shop, Shops
from tests.engine.answers import eventually


def five_epochs(shops: Shops) -> Shop:
    shop = shops.open()
    for number in range(1, 6):
        shop.sales.append((1, "Paris", number))
    return shop


def test_an_epoch_before_the_checkpoint_is_readable_if_it_was_pinned_before(shops: Shops) -> None:
    shop = five_epochs(shops)
    shop.session.pin(2)
    shop.directory.checkpoint()
    shop.close()
    again = shops.open()
    assert again.rows(epoch=2) == [(1, "Paris", 2)]
    assert again.rows() == [(1, "Paris", 5)]
    with pytest.raises(ge.errors.EpochNotRetainedError):
        again.rows(epoch=3)


def test_an_epoch_before_the_checkpoint_is_readable_if_it_is_pinned_afterwards(shops: Shops) -> None:
    shop = five_epochs(shops)
    shop.directory.checkpoint()
    shop.session.pin(3)
    shop.sales.append((2, "Rome", 6))
    shop.close()
    again = shops.open()
    assert again.rows(epoch=3) == [(1, "Paris", 3)]
    assert again.session.epoch == 6


def test_a_pin_that_only_a_damaged_checkpoint_held_is_lost_by_name(shops: Shops) -> None:
    shop = five_epochs(shops)
    shop.directory.checkpoint()
    shop.session.pin(3)
    newest = max((shops.path / "checkpoints").iterdir())
    shop.sales.append((1, "Paris", 6))
    shop.close()
    # The same records: the second checkpoint replaced the first, so the log from the beginning is what is left.
    damage(newest / "manifest.json")
    whole = shops.open()
    assert whole.rows(epoch=3) == [(1, "Paris", 3)]
    whole.directory.checkpoint()
    whole.session.pin(2)
    whole.sales.append((1, "Paris", 7))
    whole.directory.checkpoint()
    whole.session.pin(1)
    whole.close()
    damage(max((shops.path / "checkpoints").iterdir()) / "manifest.json")
    again = shops.open()
    assert again.directory.recovery.lost_pins == (("master", 1),)
    assert again.session.statistics().pins == (("master", 2), ("master", 3))
    assert [again.rows(epoch=epoch)[0][2] for epoch in (2, 3, 7)] == [2, 3, 7]


def test_a_branch_may_start_before_the_checkpoint(shops: Shops) -> None:
    shop = five_epochs(shops)
    shop.directory.checkpoint()
    shop.session.branches.create("what-if", epoch=2)
    with shop.session.start_transaction("what-if"):
        shop.sales.append((2, "Rome", 6))
    shop.directory.checkpoint()
    shop.close()
    again = shops.open()
    assert again.rows("what-if") == [(1, "Paris", 2), (2, "Rome", 6)]
    assert again.rows() == [(1, "Paris", 5)]
    assert again.session.branches["what-if"] == ge.BranchInfo("what-if", 6, "master", 2)


def test_a_pin_of_an_earlier_session_can_be_released(shops: Shops) -> None:
    shop = five_epochs(shops)
    shop.session.pin(2)
    shop.close()
    again = shops.open()
    [pin] = again.directory.pins
    assert (pin.branch, pin.epoch) == ("master", 2)
    pin.release()
    again.close()
    assert shops.open().session.statistics().pins == ()


def test_figures_are_among_those_of_the_session(shops: Shops) -> None:
    shop = five_epochs(shops)
    assert shop.session.checkpoint().is_dir()
    figures = shop.session.statistics().data_directory
    assert figures is not None
    assert (figures.checkpoint_epoch, figures.log_nbytes, figures.checkpoints_total) == (5, 0, 1)
    assert figures.log.durability == "group"
    shop.sales.append((1, "Paris", 6))
    assert shop.directory.statistics().log_nbytes > 0
    with ge.Session("cpu") as session:
        assert session.statistics().data_directory is None
        with pytest.raises(ge.errors.InvalidModelError, match="data_dir"):
            session.checkpoint()


def test_two_checkpoints_stay_and_the_log_since_the_older_one(shops: Shops) -> None:
    shop = five_epochs(shops)
    for number in range(4):
        shop.directory.checkpoint()
        shop.sales.append((1, "Paris", 10 + number))
    assert len(list((shops.path / "checkpoints").iterdir())) == 2
    assert len(list((shops.path / "log").iterdir())) == 2


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("pattern", ["*.arrow", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_and_reported(shops: Shops, pattern: str) -> None:
    shop = five_epochs(shops)
    shop.directory.checkpoint()
    shop.sales.append((1, "Paris", 6))
    newest = shop.directory.checkpoint()
    shop.sales.append((1, "Paris", 7))
    shop.close()
    damage(next(newest.glob(pattern)))
    again = shops.open()
    assert again.rows() == [(1, "Paris", 7)]
    assert len(again.directory.recovery.damaged_checkpoints) == 1
    assert again.session.health().status == "degraded"
    # What is damaged does not count as one of the two that are kept.
    assert not newest.exists() and (shops.path / "damaged" / newest.name).is_dir()
    again.close()
    third = shops.open()
    assert third.session.health().status == "ok"
    damage(next(third.directory.checkpoint().glob(pattern)))
    third.close()
    assert shops.open().rows() == [(1, "Paris", 7)]


def test_no_sound_checkpoint_is_refused_and_nothing_changes(shops: Shops) -> None:
    shop = five_epochs(shops)
    for _ in range(3):
        shop.sales.append((1, "Paris", 6))
        shop.directory.checkpoint()
        shop.sales.append((1, "Paris", 7))
    shop.close()
    for manifest in shops.path.rglob("manifest.json"):
        damage(manifest)
    before = {path: path.read_bytes() for path in shops.path.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(ge.errors.DataDirectoryDamagedError, match="no checkpoint is sound"):
        shops.open()
    assert {path: path.read_bytes() for path in before} == before


def test_an_unfinished_checkpoint_is_ignored(shops: Shops) -> None:
    shop = five_epochs(shops)
    folder = shop.directory.checkpoint()
    shop.close()
    folder.rename(folder.with_name(folder.name + ".unfinished"))
    again = shops.open()
    assert again.rows() == [(1, "Paris", 5)]
    again.directory.checkpoint()
    assert not list((shops.path / "checkpoints").glob("*.unfinished"))


def test_commits_go_on_while_a_checkpoint_is_made(shops: Shops) -> None:
    shop = five_epochs(shops)
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            shop.sales.append((number % 7, "Rome", number))
            if number % 3 == 0:
                shop.visits.append(("Rome", number))
            if number % 10 == 0:
                shop.visits.drop(shop.visits["n"] < number - 6)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            shop.directory.checkpoint()
    finally:
        done.set()
        writer.join(60)
    assert not writer.is_alive()
    rows, visits, epoch = shop.rows(), shop.rows(table="visits"), shop.session.epoch
    shop.close()
    again = shops.open()
    assert sorted(again.rows()) == sorted(rows)
    assert again.rows(table="visits") == visits
    assert again.session.epoch == epoch


def test_a_log_goes_on_in_the_next_segment(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "SEGMENT_BYTES", 2000)
    shop = shops.open()
    for number in range(100):
        shop.sales.append((number, "Paris", number))
    assert len(list((shops.path / "log").iterdir())) > 5
    rows = shop.rows()
    shop.close()
    again = shops.open()
    assert again.rows() == rows
    assert again.session.epoch == 100


def test_the_log_asks_for_a_checkpoint_when_it_is_long(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_engine.durability.data_directory.CHECKPOINT_BYTES", 1)
    shop = five_epochs(shops)
    eventually(lambda: shop.directory.statistics().checkpoints_total > 0, "a checkpoint")
    assert shop.session.health().status == "ok"


class OneLook(threading.Event):
    """Lets whoever waits for it go on once, and then stop."""

    looks = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.looks += 1
        return self.looks > 1


def test_many_small_records_are_worth_a_checkpoint_now_and_then(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "gpu_engine.durability.data_directory"
    monkeypatch.setattr(f"{module}._SECONDS", 3600.0)  # nobody looks but this test
    monkeypatch.setattr(f"{module}.CHECKPOINT_RECORDS", 7)
    shop = five_epochs(shops)
    directory = shop.directory

    def made(*seconds: float) -> int:
        """Look whether a checkpoint is due, with a clock that shows these times, and return how many there are."""
        times = iter(seconds)
        with monkeypatch.context() as clock:
            clock.setattr(f"{module}.monotonic", lambda: next(times))
            directory.checkpoint_when_due(OneLook())
        return directory.statistics().checkpoints_total

    assert made(100.0, 100.0, 102.0) == 1  # for two tables and five commits; it takes until 102
    for number in range(6):
        shop.sales.append((2, "Rome", number))
    assert made() == 1
    shop.sales.append((3, "Oslo", 1))
    assert made(141.9) == 1  # twenty times two seconds have not passed
    assert made(142.0, 142.0, 142.5) == 2
    shop.close()
    again = shops.open()
    assert again.directory.recovery.records == 0
    assert len(again.rows()) == 3


def test_a_start_that_has_replayed_many_records_makes_a_checkpoint(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_epochs(shops).close()
    monkeypatch.setattr("gpu_engine.durability.data_directory.CHECKPOINT_RECORDS", 7)
    again = shops.open()
    eventually(lambda: again.directory.statistics().checkpoints_total > 0, "a checkpoint")
    again.close()
    assert shops.open().directory.recovery.records == 0
