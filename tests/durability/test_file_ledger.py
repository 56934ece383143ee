"""Files that are renamed, cut, half written or gone: each row is there once, while a session runs and later."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.loading import Files
from tests.engine.answers import eventually

TYPES = {"id": ge.LONG, "value": ge.LONG}
MARKS = range(1_000_000, 2_000_000)


class Following:
    """A table that follows a folder; `again` restarts its session where there is a data directory."""

    def __init__(self, path: Path, stack: ExitStack, keys: list[str], durable: bool) -> None:
        self.folder = path / "files"
        self.folder.mkdir()
        self.durable = durable
        self._data, self._stack, self._keys = path / "data" if durable else None, stack, keys
        self._marks = iter(MARKS)

    def start(self) -> None:
        self.session = self._stack.enter_context(ge.Session("cpu", self._data))
        self.table = self.session.read_csv(self.folder / "*.csv", "t", keys=self._keys, types=TYPES, watch=True)

    def again(self) -> None:
        if self.durable:
            self.session.close()
            self.start()

    def settle(self) -> None:
        """Wait until all that has happened in the folder has been looked at."""
        mark = next(self._marks)
        write(self.folder / f"zz{mark}.csv", (mark, 0))
        eventually(lambda: mark in self.table.to_arrow()["id"].to_pylist(), "the mark is loaded")

    def rows(self) -> Counter[tuple[int, int]]:
        found = self.table.to_arrow().to_pydict()
        return Counter(pair for pair in zip(found["id"], found["value"], strict=True) if pair[0] not in MARKS)

    def failures(self) -> list[str]:
        return [failure.message for failure in self.session.health().failures]

    def holds(self, *rows: tuple[int, int]) -> None:
        """The rows are there, each once: now, and after restarts."""
        self.settle()
        for _ in range(3):
            assert self.rows() == Counter(rows)
            self.again()


@pytest.fixture(params=[True, False], ids=["data_dir", "memory"])
def durable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[["id"], []], ids=["keyed", "keyless"])
def keys(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


@pytest.fixture
def following(tmp_path: Path, keys: list[str], durable: bool) -> Iterator[Following]:
    with ExitStack() as stack:
        made = Following(tmp_path, stack, keys, durable)
        write(made.folder / "a.csv", (1, 10), (2, 20))
        write(made.folder / "b.csv", (3, 30))
        made.start()
        yield made


def write(path: Path, *rows: tuple[int, int]) -> None:
    """Put a file in its place whole."""
    aside = path.with_name(f".{path.name}")
    aside.write_text("id,value\n" + "".join(f"{key},{value}\n" for key, value in rows))
    aside.rename(path)


ALL = ((1, 10), (2, 20), (3, 30))


def test_the_ledger_has_size_time_and_digest(following: Following) -> None:
    file = following.folder / "a.csv"
    assert following.session.positions[f"file {file} of table t"] == {
        "size": file.stat().st_size,
        "modified_ns": file.stat().st_mtime_ns,
        "digest": hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest(),
    }


def test_a_name_that_is_not_utf_8_is_a_name(following: Following) -> None:
    write(Path(os.fsdecode(os.fsencode(following.folder) + b"/caf\xe9.csv")), (4, 40))
    following.holds(*ALL, (4, 40))
    if following.durable:
        following.session.checkpoint()
        following.again()
    following.holds(*ALL, (4, 40))
    assert following.failures() == []


def test_a_renamed_file_is_known(following: Following) -> None:
    (following.folder / "a.csv").rename(following.folder / "c.csv")
    following.holds(*ALL)
    names = {Path(name.split()[1]).name for name in following.session.positions}
    assert {"b.csv", "c.csv"} <= names
    assert "a.csv" not in names
    assert following.failures() == []


def test_a_file_renamed_onto_another_is_known(following: Following) -> None:
    os.replace(following.folder / "a.csv", following.folder / "b.csv")
    following.holds(*ALL)
    assert following.failures() == []


def test_files_that_exchange_their_names_are_known(following: Following) -> None:
    a, b, aside = (following.folder / name for name in ("a.csv", "b.csv", ".aside"))
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    following.holds(*ALL)
    assert following.failures() == []


def test_a_name_that_was_passed_on_is_a_new_file(following: Following) -> None:
    a, b, c = (following.folder / name for name in ("a.csv", "b.csv", "c.csv"))
    b.rename(c)
    a.rename(b)
    write(a, (4, 40))
    following.holds(*ALL, (4, 40))
    assert following.failures() == []


def test_a_copy_is_a_file_of_its_own(following: Following, keys: list[str]) -> None:
    shutil.copy2(following.folder / "b.csv", following.folder / "c.csv")
    following.holds(*ALL, *([] if keys else [(3, 30)]))


def test_a_touched_file_is_known(following: Following) -> None:
    os.utime(following.folder / "a.csv", ns=(0, 0))
    following.holds(*ALL)
    assert following.failures() == []


def test_a_renamed_file_takes_nothing_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = Following(tmp_path, stack, ["id"], durable=True)
        write(made.folder / "a.csv", (1, 10))
        made.start()
        made.table.append((1, 11))
        (made.folder / "a.csv").rename(made.folder / "c.csv")
        made.holds((1, 11))


def test_a_file_cut_short_is_read_again_or_refused(following: Following, keys: list[str]) -> None:
    with (following.folder / "a.csv").open("r+") as file:
        file.write("id,value\n1,77\n")
        file.truncate()
    following.holds(*([(1, 77), (2, 20), (3, 30)] if keys else ALL))
    assert [("has changed" in message, "a.csv" in message) for message in following.failures()] == (
        [] if keys else [(True, True)]
    )


def test_a_file_that_goes_and_comes_back_is_known(following: Following) -> None:
    file, aside = following.folder / "a.csv", following.folder.parent / "aside"
    file.rename(aside)
    following.holds(*ALL)
    aside.rename(file)
    following.holds(*ALL)
    assert following.failures() == []


def test_what_happens_while_the_session_is_away(tmp_path: Path, keys: list[str]) -> None:
    with ExitStack() as stack:
        made = Following(tmp_path, stack, keys, durable=True)
        folder = made.folder
        for number, name in enumerate(["renamed", "cut", "gone", "touched", "same", "longer"]):
            write(folder / f"{name}.csv", (number, 1), (100 + number, 1))
        made.start()
        made.session.close()
        (folder / "renamed.csv").rename(folder / "other.csv")
        (folder / "gone.csv").unlink()
        os.utime(folder / "touched.csv", ns=(0, 0))
        write(folder / "cut.csv", (1, 2))
        write(folder / "longer.csv", (5, 2), (105, 2), (205, 2))
        write(folder / "new.csv", (6, 2))
        made.start()
        loaded = {key: 1 for number in range(6) for key in (number, 100 + number)} | {6: 2}
        if keys:
            loaded |= {1: 2, 5: 2, 105: 2, 205: 2}
        assert len(made.failures()) == (0 if keys else 2)
        made.holds(*loaded.items())


def test_a_file_that_is_never_at_rest_is_left_to_the_watch(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = Following(tmp_path, stack, ["id"], durable=True)
        file, stop, begun = made.folder / "a.csv", threading.Event(), threading.Event()

        def write_on() -> None:
            with file.open("a") as half:
                half.write("id,value\n")
                for number in itertools.count():
                    half.write(f"{number},0\n")
                    half.flush()
                    begun.set()
                    if stop.wait(0.005):
                        return

        writer = threading.Thread(target=write_on)
        writer.start()
        stack.callback(writer.join, 60)
        stack.callback(stop.set)
        assert begun.wait(60)
        made.start()
        stop.set()
        writer.join(60)
        assert not writer.is_alive()
        lines = file.read_text().count("\n") - 1
        made.holds(*((number, 0) for number in range(lines)))


def test_a_file_that_changes_while_it_is_read_is_read_again(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Files.read
    late = following.folder / "late.csv"
    meanwhile = threading.Event()

    def read_slowly(self: Files, types: Any, path: str, file_format: str) -> Any:
        yield from read(self, types, path, file_format)
        if Path(path) == late and not meanwhile.is_set():
            meanwhile.set()
            write(late, (8, 80), (9, 90))

    monkeypatch.setattr(Files, "read", read_slowly)
    write(late, (8, 80))
    eventually(lambda: following.rows()[9, 90] == 1, "the file is loaded as it is in the end")
    assert meanwhile.is_set()
    following.holds(*ALL, (8, 80), (9, 90))
    assert following.failures() == []


def test_a_table_whose_first_load_failed_has_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Files.read

    def change_after(self: Files, types: Any, path: str, file_format: str) -> Any:
        yield from read(self, types, path, file_format)
        if Path(path).name == "b.csv":
            write(tmp_path / "b.csv", (2, 0), (3, 0))

    write(tmp_path / "a.csv", (1, 0))
    write(tmp_path / "b.csv", (2, 0))
    with ge.Session("cpu", tmp_path / "data") as session:
        with monkeypatch.context() as patch:
            patch.setattr(Files, "read", change_after)
            with pytest.raises(ge.errors.BadFileError, match=r"b\.csv.*changed while it was read"):
                session.read_csv(tmp_path / "*.csv", "t", types=TYPES)
        assert "t" not in session.tables
        assert len(session.read_csv(tmp_path / "b.csv", "t", types=TYPES)) == 2
    with ge.Session("cpu", tmp_path / "data") as session:
        table = session.read_csv(tmp_path / "*.csv", "t", types=TYPES)
        assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2, 3]
