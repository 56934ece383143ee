"""Waiting for files at the start: a clock that the tests move, and a writer that writes when it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from loaders.files import stamp
from loaders.watch import PATIENCE, SETTLE, at_rest


class Clock:
    """Moves when somebody sleeps; then it lets a writer write."""

    def __init__(self) -> None:
        self.now = 0.0
        self.write: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.write()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("loaders.watch.time", SimpleNamespace(monotonic=made.monotonic, sleep=made.sleep))
    return made


def add(path: Path, content: str = "x") -> None:
    with path.open("a") as file:
        file.write(content)


def test_nothing_is_waited_for_without_files(clock: Clock) -> None:
    assert at_rest([]) == {}
    assert clock.now == 0


def test_files_that_stay_as_they_are_take_one_wait(clock: Clock, tmp_path: Path) -> None:
    files = [tmp_path / "b", tmp_path / "a"]
    for file in files:
        add(file)
    assert list(at_rest(files).items()) == [(file, stamp(file)) for file in files]
    assert clock.now == pytest.approx(SETTLE)


def test_a_file_is_waited_for_until_its_writer_is_done(clock: Clock, tmp_path: Path) -> None:
    parts = iter("abc")

    def write() -> None:
        for part in parts:
            add(tmp_path / "half", part)
            return

    write()
    clock.write = write
    found = at_rest([tmp_path / "half"])
    assert (tmp_path / "half").read_text() == "abc"
    assert found == {tmp_path / "half": stamp(tmp_path / "half")}
    assert clock.now == pytest.approx(3 * SETTLE)


def test_a_file_that_never_rests_and_one_that_goes_are_left_out(clock: Clock, tmp_path: Path) -> None:
    for name in ("busy", "goes", "rests"):
        add(tmp_path / name)

    def write() -> None:
        add(tmp_path / "busy")
        (tmp_path / "goes").unlink(missing_ok=True)

    clock.write = write
    assert list(at_rest(tmp_path / name for name in ("busy", "goes", "rests"))) == [tmp_path / "rests"]
    assert clock.now <= PATIENCE + SETTLE
