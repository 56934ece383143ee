"""Disks that are full, syncs that fail, directories in use: each by name, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gpu_engine as ge
from gpu_engine.durability.log_file import LogFile
from tests.durability.conftest import Shop, Shops

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def log_of(shops: Shops) -> Path:
    return max((shops.path / "log").iterdir())


def fill_the_disk(shop: Shop) -> list[tuple[int, str, int]]:
    """Let a shop sell until its log has no room for the next sale, and return what it sold."""
    sold: list[tuple[int, str, int]] = []
    with pytest.raises(ge.errors.LogWriteError, match="Make room"):
        while True:
            sale = (len(sold), "Paris" * 10_000, len(sold))
            shop.sales.append(sale)
            sold.append(sale)
    return sold


def test_a_full_disk_fails_the_transaction_and_leaves_the_epoch(shops: Shops) -> None:
    shop = shops.open()
    # Room for a part of the record: what was written of it has to be taken back.
    most = log_of(shops).stat().st_size + 1_220_000
    with largest_file(most):
        sold = fill_the_disk(shop)
    assert 20 < len(sold) < 30
    assert shop.session.epoch == len(sold)
    assert shop.rows() == sold
    assert shop.session.statistics().rolled_back_total == 1
    written = log_of(shops).stat().st_size
    assert most - 50_000 < written < most
    shop.sales.append((99, "Oslo", 3))
    assert shop.session.health().status == "ok"
    shop.close()
    again = shops.open()
    assert again.directory.recovery.cut_bytes == 0
    assert again.rows() == [*sold, (99, "Oslo", 3)]


def test_a_full_disk_fails_tables_branches_and_pins(shops: Shops) -> None:
    shop = shops.open()
    with largest_file(log_of(shops).stat().st_size + 1_000_000):
        fill_the_disk(shop)
    with largest_file(log_of(shops).stat().st_size):
        with pytest.raises(ge.errors.LogWriteError):
            shop.session.create_table("more", {"a": ge.LONG})
        with pytest.raises(ge.errors.LogWriteError):
            shop.session.branches.create("what-if")
        with pytest.raises(ge.errors.LogWriteError):
            shop.session.pin()
    assert "more" not in shop.session.tables
    assert list(shop.session.branches) == ["master"]
    assert shop.session.statistics().pins == ()
    shop.session.create_table("more", {"a": ge.LONG}).append((1,))
    shop.session.branches.create("what-if")
    shop.close()
    again = shops.open()
    assert list(again.session.branches) == ["master", "what-if"]


def test_a_checkpoint_without_room_leaves_the_others(shops: Shops) -> None:
    shop = shops.open()
    shop.sales.append(*((number, "Paris", number) for number in range(1000)))
    first = shop.directory.checkpoint()
    shop.sales.append((1, "Rome", 2))
    with largest_file(5000), pytest.raises(OSError):
        shop.directory.checkpoint()
    assert list((shops.path / "checkpoints").iterdir()) == [first]
    shop.sales.append((1, "Oslo", 3))
    shop.close()
    again = shops.open()
    assert len(again.rows()) == 1000
    assert (1, "Oslo", 3) in again.rows()


@pytest.fixture
def failing_sync(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Once set, no log file reaches the disk."""
    fails = threading.Event()
    sync = LogFile.sync

    def sync_or_fail(self: LogFile) -> None:
        if fails.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(self)

    monkeypatch.setattr(LogFile, "sync", sync_or_fail)
    return fails


def is_read_only(shop: Shop) -> None:
    for write in (
        lambda: shop.sales.append((9, "Bonn", 9)),
        lambda: shop.session.create_table("more", {"a": ge.LONG}),
        lambda: shop.session.branches.create("what-if"),
        shop.directory.checkpoint,
    ):
        with pytest.raises(ge.errors.LogFailedError, match="read-only"):
            write()
    assert [failure.code for failure in shop.session.health().failures] == ["log_failed"]
    assert shop.directory.statistics().log.failed
    assert (1, "Paris", 1) in shop.rows()


def test_a_failed_sync_makes_the_session_read_only(shops: Shops, failing_sync: threading.Event) -> None:
    shop = shops.open()
    shop.sales.append((1, "Paris", 1))
    failing_sync.set()
    with pytest.raises(ge.errors.LogFailedError):
        shop.sales.append((2, "Rome", 2))
    failing_sync.clear()  # a later sync that succeeds proves nothing
    is_read_only(shop)
    shop.close()
    assert shops.open().rows()[0] == (1, "Paris", 1)


def test_with_durability_fsync_readers_never_see_what_could_not_be_synced(
    shops: Shops, failing_sync: threading.Event
) -> None:
    shop = shops.open(durability="fsync")
    shop.sales.append((1, "Paris", 1))
    failing_sync.set()
    with pytest.raises(ge.errors.LogFailedError):
        shop.sales.append((2, "Rome", 2))
    assert shop.session.epoch == 1
    assert shop.rows() == [(1, "Paris", 1)]
    is_read_only(shop)


def test_many_commits_share_a_sync(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops.open()
    sync, first, held = LogFile.sync, threading.Event(), threading.Event()

    def slow(self: LogFile) -> None:
        first.set()
        assert held.wait(60)
        sync(self)

    before = shop.directory.statistics().log
    monkeypatch.setattr(LogFile, "sync", slow)
    threads = [threading.Thread(target=shop.sales.append, args=((number, "Rome", 1),)) for number in range(8)]
    threads[0].start()
    assert first.wait(60)
    for thread in threads[1:]:
        thread.start()
    # The writer goes on while the first commit is being synced: all are visible, none is acknowledged.
    while (epoch := shop.session.epoch) < len(threads):
        assert shop.session.wait_for_commit(epoch, 60) > epoch, "the writer waits for the sync"
    log = shop.directory.statistics().log
    assert (log.acknowledged, log.appended) == (before.acknowledged, before.appended + len(threads))
    held.set()
    for thread in threads:
        thread.join(60)
    after = shop.directory.statistics().log
    assert after.acknowledged == after.appended
    assert after.syncs_total == before.syncs_total + 2


def test_a_second_session_is_refused(shops: Shops) -> None:
    shop = shops.open()
    with pytest.raises(ge.errors.DataDirectoryInUseError, match=f"process {os.getpid()}"):
        shops.open()
    code = "import gpu_engine as ge, sys\nge.Session('cpu', sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(shops.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"in use by process {os.getpid()}" in done.stderr
    assert done.returncode
    shop.close()
    shops.open()


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_every_durability_survives_a_restart(shops: Shops, durability: str) -> None:
    shop = shops.open(durability=durability)
    for number in range(5):
        shop.sales.append((number, "Paris", number))
    shop.close()
    assert len(shops.open(durability=durability).rows()) == 5


def test_an_unknown_durability_is_refused(shops: Shops) -> None:
    with pytest.raises(ge.errors.InvalidModelError, match="'group'"):
        shops.open(durability="maybe")
    with pytest.raises(ge.errors.InvalidModelError, match="'group'"):
        ge.Session("cpu", durability="maybe")
