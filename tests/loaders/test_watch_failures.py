"""A watch when things go wrong, and how it begins and ends."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import pytest

from loaders.csv import read_csv
from loaders.errors import SourceError
from loaders.watch import FileWatcher
from tests.loaders.journal import TIMEOUT, Journal, Watch, settled, wait_until


class TestFailures:
    def test_of_a_file_are_reported_and_the_watch_goes_on(self, folder: Path, journal: Journal, watch: Watch) -> None:
        def load(path: Path) -> None:
            list(read_csv(path))
            journal.on_file(path)

        watcher = watch(on_file=load)
        watcher.start()
        (folder / "bad.csv").write_text("a,b\n1\n")
        journal.wait(lambda: len(journal.errors) == 1)
        (folder / "good.csv").write_text("a,b\n1,2\n")
        journal.wait_for_files(1)
        path, error = journal.errors[0]
        assert path == folder / "bad.csv"
        assert isinstance(error, SourceError)
        assert error.line == 2
        assert len(journal.threads) == 1
        wait_until(lambda: watcher.statistics().reported == 2)
        assert watcher.statistics().failures == 1
        (folder / "bad.csv").write_text("a,b\n1,2\n")
        journal.wait(lambda: "bad.csv" in journal.names)
        assert len(journal.errors) == 1

    def test_of_the_error_handler_are_logged_and_the_watch_goes_on(
        self, folder: Path, journal: Journal, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(path: Path) -> None:
            if path.name == "bad.csv":
                raise OSError("bad file")
            journal.on_file(path)

        def fail(path: Path | None, error: BaseException) -> None:
            raise RuntimeError("the handler itself fails")

        watcher = FileWatcher(folder, refuse, fail, settle=0.05)
        watcher.start()
        with caplog.at_level(logging.ERROR):
            (folder / "bad.csv").write_text("x")
            (folder / "good.csv").write_text("x")
            journal.wait_for_files(1)
            wait_until(lambda: watcher.statistics().reported == 2)
        watcher.stop()
        assert "bad file" in caplog.text
        assert "the handler itself fails" in caplog.text

    def test_a_removed_folder_is_reported_and_watched_again_when_it_is_back(
        self, folder: Path, journal: Journal, watch: Watch
    ) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        watcher = watch()
        watcher.start()
        shutil.rmtree(folder)
        journal.wait(lambda: len(journal.errors) == 1)
        path, error = journal.errors[0]
        assert path is None
        assert isinstance(error, SourceError)
        assert "gone" in error.reason
        assert not watcher.statistics().alive
        folder.mkdir()
        (folder / "b.csv").write_text("ID\n2\n")
        journal.wait_for_files(1)
        wait_until(lambda: watcher.statistics().alive)
        assert settled(folder, journal) == ["b.csv"]
        assert len(journal.errors) == 1
        assert journal.over.count(None) == 1, "once the folder is back, it is no longer a failure that it was gone"

    def test_of_a_file_are_over_when_it_goes(self, folder: Path, journal: Journal, watch: Watch) -> None:
        def refuse(path: Path) -> None:
            if path.name == "bad.csv":
                raise OSError("bad file")
            journal.on_file(path)

        watch(on_file=refuse).start()
        (folder / "bad.csv").write_text("x")
        journal.wait(lambda: len(journal.errors) == 1)
        assert journal.over == []
        (folder / "bad.csv").unlink()
        journal.wait(lambda: folder / "bad.csv" in journal.over)
        assert settled(folder, journal) == []
        assert len(journal.threads) == 1

    def test_of_the_handler_of_what_is_over_are_failures_like_others(self, folder: Path, journal: Journal) -> None:
        def fail(path: Path | None) -> None:
            raise RuntimeError("the handler itself fails")

        watcher = FileWatcher(folder, journal.on_file, journal.on_error, on_over=fail, settle=0.05)
        watcher.start()
        (folder / "a.csv").write_text("x")
        journal.wait_for_files(1)
        (folder / "a.csv").unlink()
        journal.wait(lambda: len(journal.errors) == 1)
        (folder / "b.csv").write_text("x")
        journal.wait_for_files(2)
        watcher.stop()
        assert journal.errors[0][0] == folder / "a.csv"

    def test_a_replaced_folder_is_reported_and_the_new_one_watched(
        self, folder: Path, journal: Journal, watch: Watch
    ) -> None:
        (folder / "a.csv").write_text("ID\n1\n")
        shutil.copytree(folder, folder.parent / "fresh")  # the same files, times included
        watch().start()
        folder.rename(folder.parent / "old")
        journal.wait(lambda: bool(journal.errors))
        (folder.parent / "fresh").rename(folder)
        (folder / "b.csv").write_text("ID\n2\n")
        journal.wait(lambda: "b.csv" in journal.names)
        assert settled(folder, journal) == ["b.csv"]
        assert journal.errors[0][0] is None

    def test_a_dead_observer_is_reported_and_replaced(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watcher = watch()
        before = set(threading.enumerate())
        watcher.start()
        for thread in set(threading.enumerate()) - before:
            if thread.name != f"watch {folder}":
                thread.stop()  # type: ignore[attr-defined]
        journal.wait(lambda: len(journal.errors) == 1)
        assert "thread" in str(journal.errors[0][1])
        (folder / "a.csv").write_text("x")
        journal.wait_for_files(1)
        assert settled(folder, journal) == ["a.csv"]


class TestLifeCycle:
    def test_a_folder_that_is_not_there_is_refused_at_the_start(self, folder: Path, journal: Journal) -> None:
        watcher = FileWatcher(folder / "no" / "*.csv", journal.on_file, journal.on_error)
        with pytest.raises(SourceError, match="cannot be watched"):
            watcher.start()
        (folder / "no").mkdir()
        watcher.start()
        assert watcher.statistics().alive
        watcher.stop()

    def test_a_watcher_is_started_once(self, watch: Watch) -> None:
        watcher = watch()
        watcher.start()
        with pytest.raises(RuntimeError, match="once"):
            watcher.start()
        watcher.stop()
        with pytest.raises(RuntimeError, match="once"):
            watcher.start()

    def test_stop_may_come_before_the_start_and_twice(self, watch: Watch) -> None:
        watch().stop()
        watcher = watch()
        watcher.start()
        watcher.stop()
        watcher.stop()
        assert not watcher.statistics().alive

    def test_nothing_is_called_after_stop(self, folder: Path, journal: Journal, watch: Watch) -> None:
        calls_after_stop: list[Path] = []
        stopped = threading.Event()

        def check(path: Path) -> None:
            if stopped.is_set():
                calls_after_stop.append(path)
            journal.on_file(path)

        watcher = watch(on_file=check, settle=0.0)
        watcher.start()
        for number in range(50):
            (folder / f"{number}.csv").write_text("x")
        journal.wait_for_files(1)
        watcher.stop()
        stopped.set()
        reported = list(journal.files)
        (folder / "late.csv").write_text("x")
        assert calls_after_stop == []
        assert journal.files == reported
        assert watcher.statistics().reported == len(reported)

    def test_stop_waits_for_the_call_under_way(self, folder: Path, journal: Journal, watch: Watch) -> None:
        started, go_on, over = threading.Event(), threading.Event(), threading.Event()

        def slow(path: Path) -> None:
            started.set()
            assert go_on.wait(TIMEOUT)
            over.set()

        watcher = watch(on_file=slow)
        watcher.start()
        (folder / "a.csv").write_text("x")
        assert started.wait(TIMEOUT)
        stopper = threading.Thread(target=watcher.stop)
        stopper.start()
        go_on.set()
        stopper.join(TIMEOUT)
        assert over.is_set()

    def test_a_callback_may_stop_its_own_watch(self, folder: Path, journal: Journal, watch: Watch) -> None:
        def once(path: Path) -> None:
            watcher.stop()
            journal.on_file(path)

        watcher = watch(on_file=once)
        watcher.start()
        for name in ("a.csv", "b.csv", "c.csv"):
            (folder / name).write_text("x")
        journal.wait_for_files(1)
        watcher.stop()
        assert len(journal.files) == 1

    def test_statistics_tell_how_it_goes(self, folder: Path, journal: Journal, watch: Watch) -> None:
        watcher = watch()
        assert watcher.statistics().last_event is None
        assert not watcher.statistics().alive
        watcher.start()
        assert watcher.statistics().alive
        (folder / "a.csv").write_text("x")
        journal.wait_for_files(1)
        wait_until(lambda: watcher.statistics().reported == 1 and watcher.statistics().last_event is not None)
        statistics = watcher.statistics()
        assert (statistics.path, statistics.failures, statistics.pending) == (str(folder), 0, 0)

    @pytest.mark.parametrize("options", [{"settle": -1.0}, {"interval": 0.0}])
    def test_times_must_make_sense(self, folder: Path, journal: Journal, options: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="seconds"):
            FileWatcher(folder, journal.on_file, journal.on_error, **options)  # type: ignore[arg-type]
