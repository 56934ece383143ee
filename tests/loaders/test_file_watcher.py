"""Watching real files with the real watchdog: everything new or changed is reported, once, when it is whole."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from loaders.csv import read_csv
from loaders.files import expand, snapshot
from loaders.watch import FileWatcher
from tests.loaders.journal import TIMEOUT, Journal, Watch, settled, wait_until


class TestNewFiles:
    def test_are_reported_once(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watch().start()
        (folder / "a.csv").write_text("ID\n1\n")
        journal.wait_for_files(1)
        (folder / "b.csv").write_text("ID\n2\n")
        assert settled(folder, journal) == ["a.csv", "b.csv"]
        assert journal.files[0] == folder / "a.csv"
        assert journal.contents[:2] == ["ID\n1\n", "ID\n2\n"]
        assert journal.errors == []

    def test_may_be_copied_moved_in_or_renamed(self, folder: Path, journal: Journal, watch: Watch) -> None:
        outside = folder.parent / "outside.csv"
        outside.write_text("ID\n1\n")
        watch().start()
        shutil.copy(outside, folder / "copied.csv")
        shutil.copy2(outside, folder / "copied_with_its_times.csv")
        (folder / "half.tmp").write_text("ID\n2\n")
        os.rename(folder / "half.tmp", folder / "renamed.csv")
        os.rename(outside, folder / "moved_in.csv")
        expected = ["copied.csv", "copied_with_its_times.csv", "moved_in.csv", "renamed.csv"]
        assert sorted(settled(folder, journal)) == expected

    def test_that_replace_another_by_renaming_are_reported(self, folder: Path, journal: Journal, watch: Watch) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watch().start()
        for number in (10, 200):
            (folder / "a.tmp").write_text(f"ID\n{number}\n")
            os.replace(folder / "a.tmp", folder / "a.csv")
            journal.wait(lambda number=number: journal.contents[-1:] == [f"ID\n{number}\n"])  # type: ignore[misc]
        assert settled(folder, journal) == ["a.csv", "a.csv"]

    def test_that_come_at_once_are_each_reported_once(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watch().start()
        names = [f"{number:03}.csv" for number in range(100)]
        for name in names:
            (folder / name).write_text(f"ID\n{name}\n")
        journal.wait_for_files(100)
        assert sorted(settled(folder, journal)) == names
        assert len(journal.threads) == 1

    def test_that_are_no_data_files_are_left_alone(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watch().start()
        for name in ("a.txt", ".a.csv", "a.csv.part", "a.parquet"):
            (folder / name).write_text("x")
        (folder / "folder.csv").mkdir()
        (folder / "upper.CSV").write_text("x")
        assert settled(folder, journal) == ["upper.CSV"]

    def test_are_whole_when_they_are_reported(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watcher = watch(settle=1.0)
        watcher.start()
        with (folder / "slow.csv").open("w", newline="") as file:
            file.write("ID,Name\n1,")
            file.flush()
            wait_until(lambda: watcher.statistics().pending == 1)
            file.write("x\n" * 10_000)
        assert settled(folder, journal) == ["slow.csv"]
        assert journal.contents[0] == "ID,Name\n1," + "x\n" * 10_000

    def test_are_not_reported_empty_while_their_writer_thinks(
        self, folder: Path, journal: Journal, watch: Watch
    ) -> None:
        watcher = watch(settle=0.1)
        watcher.start()
        with (folder / "opened.csv").open("w") as file:
            wait_until(lambda: watcher.statistics().pending == 1)
            (folder / "other.csv").write_text("x")
            journal.wait_for_files(1)
            file.write("ID\n1\n")
        assert settled(folder, journal) == ["other.csv", "opened.csv"]
        assert journal.contents[1] == "ID\n1\n"


class TestChangedFiles:
    def test_are_reported_after_each_change(self, folder: Path, journal: Journal, watch: Watch) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watch().start()
        for number in range(2, 5):
            with (folder / "a.csv").open("a") as file:
                file.write(f"{number}\n")
            journal.wait_for_files(number - 1)
        assert settled(folder, journal) == ["a.csv"] * 3
        assert journal.contents[2] == "ID\n1\n2\n3\n4\n"

    def test_of_the_same_size_are_noticed(self, folder: Path, journal: Journal, watch: Watch) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        os.utime(folder / "a.csv", (0, 0))
        watch().start()
        (folder / "a.csv").write_text("ID\n2\n")
        journal.wait_for_files(1)
        assert journal.contents == ["ID\n2\n"]

    def test_while_being_reported_are_reported_again(self, folder: Path, journal: Journal, watch: Watch) -> None:
        started, go_on = threading.Event(), threading.Event()

        def slow(path: Path) -> None:
            journal.on_file(path)
            started.set()
            assert go_on.wait(TIMEOUT)

        watch(on_file=slow).start()
        (folder / "a.csv").write_text("first")
        assert started.wait(TIMEOUT)
        (folder / "a.csv").write_text("second!")
        go_on.set()
        assert settled(folder, journal) == ["a.csv", "a.csv"]
        assert journal.contents[1] == "second!"

    def test_that_were_deleted_are_not_reported_until_they_are_back(
        self, folder: Path, journal: Journal, watch: Watch
    ) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watch().start()
        (folder / "a.csv").unlink()
        assert settled(folder, journal) == []
        (folder / "a.csv").write_text("ID\n1\n")
        journal.wait(lambda: "a.csv" in journal.names)
        assert journal.errors == []

    def test_are_not_made_by_reading(self, folder: Path, journal: Journal, watch: Watch) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watch().start()
        for _ in range(5):
            list(read_csv(folder / "a.csv"))
        os.chmod(folder / "a.csv", 0o600)
        assert settled(folder, journal) == []


class TestFilesBeforeTheStart:
    def test_are_not_reported(self, folder: Path, journal: Journal, watch: Watch) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watch().start()
        assert settled(folder, journal) == []

    def test_are_reported_if_they_differ_from_what_is_known(self, folder: Path, journal: Journal, watch: Watch) -> None:
        for name in ("same.csv", "changed.csv", "gone.csv"):
            (folder / name).write_text("ID\n1\n")
        known = snapshot(folder, suffix=".csv")
        assert list(known) == expand(folder, suffix=".csv")
        with (folder / "changed.csv").open("a") as file:
            file.write("2\n")
        (folder / "gone.csv").unlink()
        (folder / "new.csv").write_text("ID\n3\n")
        watch().start(known)
        assert sorted(settled(folder, journal)) == ["changed.csv", "new.csv"]

    def test_are_all_reported_if_nothing_is_known(self, folder: Path, journal: Journal, watch: Watch) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watch().start({})
        journal.wait_for_files(1)
        assert journal.names == ["a.csv"]

    def test_may_be_known_by_relative_paths(
        self, folder: Path, journal: Journal, watch: Watch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        monkeypatch.chdir(folder.parent)
        watch("incoming").start(snapshot("incoming"))
        assert settled(folder, journal) == []
        assert all(path.is_absolute() for path in journal.files)

    def test_come_oldest_first(self, folder: Path, journal: Journal, watch: Watch) -> None:
        for age, name in enumerate(["c.csv", "a.csv", "b.csv"]):
            (folder / name).write_text("ID\n1\n")
            os.utime(folder / name, ns=(0, age))
        watch().start({})
        assert journal.wait_for_files(3) == [folder / "c.csv", folder / "a.csv", folder / "b.csv"]


class TestSelection:
    def test_may_be_one_file(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watch(folder / "prices.csv").start()
        (folder / "other.csv").write_text("x")
        (folder / "prices.csv").write_text("1")
        journal.wait_for_files(1)
        (folder / "prices.csv").write_text("22")
        journal.wait_for_files(2)
        assert journal.names == ["prices.csv", "prices.csv"]

    def test_may_be_a_glob_over_folders(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watch(folder / "*" / "sales_*.csv").start()
        (folder / "sales_0.csv").write_text("not one folder down")
        for day in ("2021-05-01", "2021-05-02"):
            (folder / day).mkdir()
            (folder / day / "sales_1.csv").write_text("x")
            (folder / day / "costs_1.csv").write_text("x")
        made = folder.parent / "made_elsewhere"
        made.mkdir()
        (made / "sales_2.csv").write_text("x")
        made.rename(folder / "moved_in")
        journal.wait_for_files(3)
        (folder / "2021-05-02" / "sales_3.csv").write_text("the last")
        journal.wait(lambda: "sales_3.csv" in journal.names)
        assert sorted(journal.names) == ["sales_1.csv", "sales_1.csv", "sales_2.csv", "sales_3.csv"]

    def test_may_lie_behind_a_link(self, folder: Path, journal: Journal, watch: Watch) -> None:
        link = folder.parent / "link"
        link.symlink_to(folder, target_is_directory=True)
        watch(link).start()
        (folder / "a.csv").write_text("x")
        journal.wait_for_files(1)
        assert journal.files == [link / "a.csv"]

    def test_may_be_of_another_ending(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watch(suffix=".parquet").start()
        (folder / "a.csv").write_text("x")
        (folder / "a.parquet").write_text("x")
        journal.wait_for_files(1)
        assert journal.names == ["a.parquet"]


def test_files_are_found_though_the_system_tells_of_no_event(folder: Path, journal: Journal) -> None:
    target = folder.parent / "target.csv"
    target.write_text("first")
    (folder / "link.csv").symlink_to(target)
    watcher = FileWatcher(folder, journal.on_file, journal.on_error, settle=0.05, interval=0.05)
    watcher.start()
    target.write_text("changed where no one watches")
    journal.wait_for_files(1)
    watcher.stop()
    assert journal.contents == ["changed where no one watches"]


def test_writers_and_reports_in_any_order_lose_nothing(folder: Path, journal: Journal) -> None:
    """Four writers rewrite twelve files at random moments; the last report of each shows its last content."""
    watcher = FileWatcher(folder, journal.on_file, journal.on_error, settle=0.02)
    watcher.start()

    def write(writer: int) -> None:
        for turn in range(40):
            temporary = folder / f"{writer}.tmp"
            temporary.write_text(f"{writer} {turn}" + "x" * turn)
            os.replace(temporary, folder / f"{writer}-{turn % 3}.csv")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in writers)
    final = {path: path.read_text() for path in expand(folder)}
    journal.wait(lambda: dict(zip(journal.files, journal.contents, strict=True)) == final)
    watcher.stop()
    assert len(final) == 12
    assert journal.errors == []
