"""Watching a file, a folder or a glob: every new or changed file is reported once, when it has come to rest.

Floor 0: imports loaders.errors, files, observing and settling. watchdog's observer only says where to look; what is
reported follows from how the files look. Now and then all of them are looked at, because events get lost: the kernel's
queue overflows, links lead elsewhere, folders are mounted over. One thread of its own does all of it and calls back.

A folder that is lost is reported and waited for. What changed meanwhile is reported when it is back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loaders.errors import SourceError
from loaders.files import FileStamp, PathLike, Selection, stamp
from loaders.observing import FolderObserver
from loaders.settling import Settling

__all__ = ["FileWatcher", "NotAtRest", "WatchStatistics", "at_rest"]

logger = logging.getLogger(__name__)

SETTLE = 0.1
"""Seconds for which a file must stay as it is before it is read."""
LOOKS_APART = 5
"""All files are looked at once in so many intervals, ..."""
LOOKING_SHARE = 20
"""... but so much less often than a look takes that it never costs more than 1/20 of the time."""


class NotAtRest(Exception):
    """Raised by `on_file`: the file changed or went while it was read. It is reported again once it rests."""


PATIENCE = 1.0
"""Seconds after which a start no longer waits for files that are being written."""


def at_rest(files: Iterable[Path], settle: float = SETTLE, patience: float = PATIENCE) -> dict[Path, FileStamp]:
    """Wait until files have come to rest, and return them as they look then, in their order.

    Parameters
    ----------
    settle
        As for `FileWatcher`.
    patience
        Seconds after which files that still change, and files that are still empty, are left out. Those that have gone
        are left out as well.
    """
    files = list(files)
    settling = Settling(settle, {})
    resting: dict[Path, FileStamp] = {}
    until = time.monotonic() + patience
    while True:
        now = time.monotonic()
        for file in files:
            if file not in resting:
                looks = stamp(file)
                settling.observe(file, looks, now)
                if looks is not None and settling.take(file, now):
                    resting[file] = looks
        ripe = settling.next_ripe()
        if ripe is None or ripe > until:
            return {file: resting[file] for file in files if file in resting}
        time.sleep(max(0.0, ripe - time.monotonic()))


@dataclass(frozen=True, slots=True)
class WatchStatistics:
    """How a watch is doing, at one moment."""

    path: str
    """The file, folder or glob watched, as it was given."""
    reported: int
    """Calls of `on_file` that are over, failed ones included."""
    failures: int
    """Calls of `on_error` that are over."""
    pending: int
    """Files seen to have changed that have not come to rest yet, or wait for their turn."""
    last_event: str | None
    """When the operating system last told of a change (ISO 8601, UTC); None if it has not yet."""
    alive: bool
    """Whether changes are noticed now: the watch is started, not stopped, and its folder is there."""


class FileWatcher:
    """Reports files of a path, folder or glob when they are new or have changed.

    Parameters
    ----------
    path_or_glob
        A file (which may come later), a folder (the files in it that end in `suffix`), or a glob.
    on_file
        Called with the absolute path of a file that has come to rest, for one file at a time, always by the same
        thread. Files that come to rest together are reported in the order of their modification times.
    on_error
        Called by the same thread: with a path and what `on_file` raised for it, or with None and what has interrupted
        the watch, for example that the folder is gone. The watch goes on in both cases.
    on_over
        Called by the same thread when what `on_error` was told is over by itself: with the path of a file that is gone,
        whether it had failed or not, or with None when an interrupted watch goes on.
    settle
        How long a file's size and modification time must stay the same before it is reported (seconds); an empty file's
        ten times as long. A writer that pauses for longer should write elsewhere and rename the file when it is done.
    polling
        Compare listings every `interval` seconds, for drives where the operating system tells of no events. Choose
        `settle` above the time for which such a drive remembers a file's size.
    suffix
        Ending of the files that count in a folder; upper and lower case are the same.
    interval
        Seconds between two listings when polling; all files are looked at in any case every five intervals.
    """

    def __init__(
        self,
        path_or_glob: PathLike,
        on_file: Callable[[Path], None],
        on_error: Callable[[Path | None, BaseException], None],
        *,
        on_over: Callable[[Path | None], None] | None = None,
        settle: float = SETTLE,
        polling: bool = False,
        suffix: str = ".csv",
        interval: float = 1.0,
    ) -> None:
        if settle < 0 or interval <= 0:
            raise ValueError(f"settle={settle!r} must be at least 0, interval={interval!r} more than 0 seconds")
        self._path = os.fspath(path_or_glob)
        self._selection = Selection.of(os.path.abspath(path_or_glob), suffix)
        self._on_file, self._on_error, self._on_over = on_file, on_error, on_over
        self._settle, self._interval = settle, interval
        self._observer = FolderObserver(self._selection, self._take_hint, polling=polling, interval=interval)
        self._settling = Settling(settle, {})
        self._wake = threading.Condition()
        self._touched: set[Path] = set()
        self._next_look = 0.0
        self._stopping = False
        self._worker: threading.Thread | None = None
        self._reported = self._failures = 0
        self._last_event: datetime | None = None

    def start(self, known: Mapping[Path, FileStamp] | None = None) -> None:
        """Begin to watch; returns once no later change can be missed.

        Parameters
        ----------
        known
            Files that need no report, as they looked before they were read (`loaders.files.snapshot`). A file that is
            not among them or looks different is reported. Without it, what is there now needs no report.

        Raises
        ------
        SourceError
            If the folder is not there or the operating system refuses to watch it. The watcher may be started again.
        RuntimeError
            If it was started or stopped before.
        """
        with self._wake:
            if self._worker is not None or self._stopping:
                raise RuntimeError("a watcher is started once. Make a new FileWatcher.")
            reported = self._selection.scan() if known is None else known
            self._settling = Settling(
                self._settle, {Path(os.path.abspath(path)): was for path, was in reported.items()}
            )
            self._observer.begin()
            self._worker = threading.Thread(target=self._run, name=f"watch {self._path}", daemon=True)
            self._worker.start()

    def stop(self) -> None:
        """End the watch and its threads; after it returns there are no more calls. May be called again.

        A call that is under way is waited for, unless it is the one that stops the watch: then the threads end when it
        returns. Changes not reported by then are not reported.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join()

    def statistics(self) -> WatchStatistics:
        """Return how the watch is doing now."""
        with self._wake:
            working = self._worker is not None and self._worker.is_alive() and not self._stopping
            return WatchStatistics(
                path=self._path,
                reported=self._reported,
                failures=self._failures,
                pending=len(self._settling),
                last_event=self._last_event.isoformat() if self._last_event else None,
                alive=working and self._observer.active,
            )

    def _take_hint(self, files: set[Path], folders_changed: bool) -> None:
        with self._wake:
            self._last_event = datetime.now(UTC)
            self._touched |= files
            if folders_changed:
                self._next_look = 0.0
            self._wake.notify_all()

    def _run(self) -> None:
        try:
            while self._wait():
                if time.monotonic() >= self._next_look:
                    self._look_at_all()
                self._look_at_touched()
                self._report_settled()
        except BaseException as error:
            self._fail(None, error)
        finally:
            self._observer.end()

    def _wait(self) -> bool:
        """Sleep until there is something to do; return False when it is time to stop."""
        with self._wake:
            while not self._stopping and not self._touched:
                times = (self._next_look, self._settling.next_ripe())
                left = min(due for due in times if due is not None) - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            return not self._stopping

    def _look_at_all(self) -> None:
        """Compare all files with what is known of them; this is also how a lost folder is noticed and found again."""
        observed = self._is_observed()
        started = time.monotonic()
        with self._wake:
            self._next_look = started + self._interval * (LOOKS_APART if observed else 1)
        if not observed:
            return
        try:
            found = self._selection.scan()
        except OSError as error:
            self._lose(error)
            return
        for path, looks in found.items():
            self._settling.observe(path, looks, started)
        for path in self._settling.paths - found.keys():
            self._observe(path)
        with self._wake:
            if self._next_look:  # zero: a hint came meanwhile, and asks for another look
                self._next_look = max(self._next_look, started + LOOKING_SHARE * (time.monotonic() - started))

    def _is_observed(self) -> bool:
        """Return whether the folder is being observed; if not, say so once and try to begin again."""
        if self._observer.active:
            problem = self._observer.problem()
            if problem is None:
                return True
            self._lose(problem)
        try:
            self._observer.begin()
        except SourceError:
            return False
        logger.info("watching %s again", self._path)
        self._tell_over(None)
        return True

    def _lose(self, problem: BaseException) -> None:
        self._observer.end()
        self._fail(None, problem)

    def _look_at_touched(self) -> None:
        with self._wake:
            touched, self._touched = self._touched, set()
        for path in touched:
            self._observe(path)

    def _observe(self, path: Path) -> None:
        try:
            looks = stamp(path)
        except OSError as error:
            logger.warning("%s cannot be looked at now: %s", path, error)
        else:
            # A folder that is gone says nothing of its files: it may come back with them.
            if looks is not None or self._selection.root.is_dir():
                self._settling.observe(path, looks, time.monotonic())
                if looks is None:
                    self._tell_over(path)

    def _report_settled(self) -> None:
        for path in self._settling.ripe(time.monotonic()):
            if self._stopping:
                return
            self._observe(path)
            if self._settling.take(path, time.monotonic()):
                self._report(path)

    def _report(self, path: Path) -> None:
        try:
            self._on_file(path)
        except NotAtRest:
            self._settling.forget(path)
            self._observe(path)
        except BaseException as error:
            self._fail(path, error)
        finally:
            self._reported += 1

    def _tell_over(self, path: Path | None) -> None:
        if self._on_over is not None:
            try:
                self._on_over(path)
            except BaseException as error:
                self._fail(path, error)

    def _fail(self, path: Path | None, error: BaseException) -> None:
        try:
            self._on_error(path, error)
        except BaseException:
            logger.exception("on_error of the watch on %s has failed; it was told of %r", self._path, error)
        finally:
            self._failures += 1
