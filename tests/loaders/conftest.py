"""A folder, watchers on it, and the journal of what they say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loaders.watch import FileWatcher
from tests.loaders.journal import Journal, Watch

SETTLE = 0.05


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture(params=[False, True], ids=["native", "polling"])
def watch(request: pytest.FixtureRequest, folder: Path, journal: Journal) -> Iterator[Watch]:
    """Make watchers on the folder; after the test they are stopped, and none of their threads may be left."""
    before = set(threading.enumerate())
    made: list[FileWatcher] = []

    def make(path: Path | str = folder, **options: object) -> FileWatcher:
        chosen: dict[str, object] = {"settle": SETTLE, "polling": request.param, "interval": 0.05, **options}
        on_file = chosen.pop("on_file", journal.on_file)
        made.append(FileWatcher(path, on_file, journal.on_error, on_over=journal.on_over, **chosen))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for watcher in made:
        watcher.stop()
    assert set(threading.enumerate()) <= before
