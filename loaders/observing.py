"""A watchdog observer on one folder: hints that files have changed, and whether hints can still be expected.

Floor 0: imports loaders.errors and files. The hints come in the observer's thread; they may be late, double or missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from loaders.errors import SourceError
from loaders.files import Selection

__all__ = ["FolderObserver"]

READING = {"opened", "closed_no_write"}
"""Events that leave a file as it is. Whoever reads a file causes them: they must not lead to reading it again."""


class FolderObserver(FileSystemEventHandler):
    """Observes the folder of a selection; it can be set up again after the folder was lost.

    Parameters
    ----------
    selection
        What to observe; its root is an absolute path.
    hint
        Called in the observer's thread with the selected files that an event names, and whether folders have changed,
        so that any file may have. It must return at once.
    polling, interval
        Compare listings every `interval` seconds instead of asking the operating system for events.
    """

    def __init__(
        self, selection: Selection, hint: Callable[[set[Path], bool], None], *, polling: bool, interval: float
    ) -> None:
        self._selection, self._hint = selection, hint
        self._polling, self._interval = polling, interval
        self._observer: BaseObserver | None = None
        self._real_root = selection.root
        self._identity = (0, 0)

    @property
    def active(self) -> bool:
        """Whether it is set up; `problem` tells whether it still works."""
        return self._observer is not None

    def begin(self) -> None:
        """Set it up; when it returns, events are being collected.

        Raises
        ------
        SourceError
            If the folder is not there or cannot be observed. Nothing is left running.
        """
        root = self._selection.root
        try:
            # A watch on a symbolic link would be told about the link, not about the folder it leads to.
            self._real_root = root.resolve(strict=True)
            self._identity = _identity(self._real_root)
        except OSError as error:
            raise SourceError(
                str(root), f"this folder cannot be watched ({error.strerror}). Create it first."
            ) from error
        observer = PollingObserver(timeout=self._interval) if self._polling else Observer()
        try:
            observer.schedule(self, str(self._real_root), recursive=self._selection.recursive)
            observer.start()
        except OSError as error:
            observer.stop()
            reason = f"the operating system does not watch this folder ({error}). Raise its limit, or use polling=True."
            raise SourceError(str(root), reason) from error
        self._observer = observer

    def end(self) -> None:
        """Stop observing and wait for the observer's threads. May be called again."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def problem(self) -> SourceError | None:
        """Return why no more hints can be expected, or None while all is well."""
        root = str(self._selection.root)
        try:
            same = _identity(self._selection.root) == self._identity
        except OSError as error:
            return SourceError(
                root, f"the watched folder is gone ({error.strerror}). It is watched again once it is back."
            )
        if not same:
            return SourceError(root, "the watched folder was replaced by another. The new one is watched from now on.")
        observer = self._observer
        if observer is None or not observer.is_alive() or not all(part.is_alive() for part in observer.emitters):
            return SourceError(root, "the thread that observes this folder has ended. A new one is started.")
        return None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Turn an event of watchdog into a hint, if it can mean that a selected file has changed."""
        if event.event_type in READING:
            return
        named = (self._given_path(path) for path in (event.src_path, getattr(event, "dest_path", "")) if path)
        files = {path for path in named if self._selection.matches(path)}
        folders_changed = event.is_directory and event.event_type != "modified"
        if files or folders_changed:
            self._hint(files, folders_changed)

    def _given_path(self, path: bytes | str) -> Path:
        found = Path(os.fsdecode(path))
        if not found.is_relative_to(self._real_root):
            return found
        return self._selection.root / found.relative_to(self._real_root)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
