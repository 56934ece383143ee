"""What a watcher has said, for tests to wait on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from loaders.watch import FileWatcher

TIMEOUT = 20.0
Watch = Callable[..., FileWatcher]


class Journal:
    """What a watcher has said, in order; the tests wait on it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.files: list[Path] = []
        self.contents: list[str] = []
        self.errors: list[tuple[Path | None, BaseException]] = []
        self.over: list[Path | None] = []
        self.threads: set[int] = set()

    def on_file(self, path: Path) -> None:
        with self._changed:
            self.files.append(path)
            self.contents.append(path.read_text())
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def on_error(self, path: Path | None, error: BaseException) -> None:
        with self._changed:
            self.errors.append((path, error))
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def on_over(self, path: Path | None) -> None:
        with self._changed:
            self.over.append(path)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def wait(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, TIMEOUT), f"files: {self.files}, errors: {self.errors}"

    def wait_for_files(self, number: int) -> list[Path]:
        self.wait(lambda: len(self.files) >= number)
        return self.files

    @property
    def names(self) -> list[str]:
        return [path.name for path in self.files]


def settled(folder: Path, journal: Journal) -> list[str]:
    """Return the names reported so far; what was changed before this call has been reported by then."""
    (folder / "zz.csv").write_text("end\n")
    journal.wait(lambda: "zz.csv" in journal.names)
    return [name for name in journal.names if name != "zz.csv"]


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it has not come true"
        pause.wait(0.005)
