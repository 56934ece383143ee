"""Which files a path, a folder or a glob means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loaders.errors import SourceError
from loaders.files import FileStamp, Selection, default_name, expand, is_pattern, regular_file, snapshot, stamp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ["b.csv", "a.csv", "c.CSV", "d.parquet", "e.txt", ".hidden.csv", "sub/f.csv", "sub/deep/g.csv", "x[1].csv"]
    for name in names:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ID\n1\n")
    (tmp_path / "data" / "folder.csv").mkdir()
    return tmp_path / "data"


@pytest.fixture
def inside(folder: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a.csv", "b.csv", "x[1].csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("*/*.csv", ["sub/f.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "sub/deep/g.csv", "sub/f.csv", "x[1].csv"]),
        ("sub/**", ["sub/deep/g.csv", "sub/f.csv"]),
        ("x[1].csv", ["x[1].csv"]),
        (".h*.csv", [".hidden.csv"]),
        ("none*.csv", []),
    ],
)
def test_a_glob_means_what_the_glob_module_finds(folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(expand(folder / pattern), folder) == expected
    selection = Selection.of(folder / pattern)
    everything = [path for path in folder.rglob("*") if path.is_file()]
    assert sorted(path for path in everything if selection.matches(path)) == expand(folder / pattern)
    assert list(snapshot(folder / pattern)) == expand(folder / pattern)


def test_a_folder_means_its_data_files(folder: Path) -> None:
    assert names(expand(folder), folder) == ["a.csv", "b.csv", "c.CSV", "d.parquet", "x[1].csv"]
    assert names(expand(folder, suffix=".csv"), folder) == ["a.csv", "b.csv", "c.CSV", "x[1].csv"]
    assert names(expand(folder, suffix=".parquet"), folder) == ["d.parquet"]
    assert expand(folder / "sub" / "deep", suffix=".parquet") == []


def test_a_relative_path_stays_relative(inside: Path) -> None:
    assert expand("a.csv") == [Path("a.csv")]
    assert expand("*.csv") == [Path("a.csv"), Path("b.csv"), Path("x[1].csv")]
    assert expand("sub") == [Path("sub/f.csv")]
    assert default_name("*.csv") == default_name(".") == "data"


def test_a_file_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"Did you mean 'a\.csv'\?"):
        expand(folder / "aa.csv")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.csv", "a"),
        ("sales.2021.csv", "sales.2021"),
        ("", "data"),
        ("sub", "sub"),
        ("sub/*.csv", "sub"),
        ("**/*.csv", "data"),
    ],
)
def test_a_table_is_named_after_its_file_or_folder(folder: Path, path: str, name: str) -> None:
    assert default_name(folder / path) == name


def test_wildcards_in_the_name_of_a_file_that_exists_are_no_pattern(folder: Path) -> None:
    assert not is_pattern(folder / "x[1].csv")
    assert is_pattern(folder / "x[2].csv")


def test_a_stamp_tells_a_changed_file(folder: Path) -> None:
    path = folder / "a.csv"
    first = stamp(path)
    assert isinstance(first, FileStamp)
    os.utime(path, ns=(0, 1_000))
    assert stamp(path) == FileStamp(first.size, 1_000)
    path.write_text("longer than before")
    assert stamp(path) != first


def test_a_stamp_is_none_for_what_is_no_file(folder: Path) -> None:
    assert stamp(folder / "none.csv") is None
    assert stamp(folder) is None
    assert stamp(folder / "a.csv" / "below") is None


def test_a_pipe_is_refused_instead_of_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(SourceError, match="not a regular file"):
        regular_file(folder / "pipe.csv")
    assert folder / "pipe.csv" not in expand(folder)
