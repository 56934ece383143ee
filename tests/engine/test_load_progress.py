"""Whoever watches hears how many rows and bytes of how many a load has read."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpu_engine as ge
from loaders import csv, parquet
from tests.engine.answers import DEADLINE

ROWS = 400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CSV files and a Parquet file of several row groups, of which the larger CSV takes more than one block."""
    made = tmp_path_factory.mktemp("files")
    lines = "".join(f"{key},some text that makes the line long enough\n" for key in range(ROWS))
    (made / "a.csv").write_text(f"Id,Text\n{lines}")
    (made / "b.csv").write_text(f"Id,Text\n{ROWS},last\n")
    pq.write_table(pa.table({"Id": range(ROWS)}), made / "c.parquet", row_group_size=100_000)
    return made


def test_rows_and_bytes_grow_to_their_totals(session: ge.Session, folder: Path) -> None:
    heard: list[ge.LoadProgress] = []
    with ge.watching_loads(heard.append):
        table = session.read_csv(folder / "*.csv", "t", keys=["Id"])
    total = sum(file.stat().st_size for file in folder.glob("*.csv"))
    last = heard[-1]
    assert (last.rows, last.nbytes, last.total_bytes, last.files) == (len(table), total, total, 2)
    assert (last.source, last.file_format) == (str(folder / "*.csv"), "csv")
    assert [one.done for one in heard] == [False] * (len(heard) - 1) + [True]
    assert [one.rows for one in heard] == sorted(one.rows for one in heard)
    assert [one.nbytes for one in heard] == sorted(one.nbytes for one in heard)
    assert 0 < heard[0].rows < ROWS
    assert 0 < heard[0].nbytes <= total
    assert {one.total_bytes for one in heard} == {total}


def test_parquet_counts_the_row_groups_that_are_decoded(session: ge.Session, folder: Path) -> None:
    heard: list[ge.LoadProgress] = []
    with ge.watching_loads(heard.append):
        session.read_parquet(folder / "c.parquet")
    assert [one.rows for one in heard] == [100_000, 200_000, 300_000, 400_000, 400_000]
    size = (folder / "c.parquet").stat().st_size
    assert heard[0].nbytes == 0
    assert 0 < heard[1].nbytes < heard[2].nbytes < size
    assert heard[-1].nbytes == size


def test_a_sample_ends_where_it_has_its_rows(session: ge.Session, folder: Path) -> None:
    heard: list[ge.LoadProgress] = []
    with ge.watching_loads(heard.append):
        session.read_csv(folder / "*.csv", "t", sample=10)
        assert heard[-1].done
        session.load_all_data()
    assert heard[-1].rows == ROWS + 1


def test_only_loads_of_the_same_thread_within_the_block_are_heard(session: ge.Session, folder: Path) -> None:
    heard: list[ge.LoadProgress] = []
    with ge.watching_loads(heard.append):
        other = threading.Thread(target=session.read_csv, args=(folder / "b.csv", "other"))
        other.start()
        other.join(DEADLINE)
        assert not other.is_alive()
    session.read_csv(folder / "b.csv", "after")
    assert set(session.tables) == {"other", "after"}
    assert not heard


@pytest.mark.parametrize("name", ["a.csv", "b.csv"])
def test_a_csv_reader_tells_every_byte_once(folder: Path, name: str) -> None:
    told: list[int] = []
    for _ in csv.read_csv(folder / name, {"Id": pa.int64(), "Text": pa.string()}, on_bytes=told.append):
        assert sum(told) > 0
    assert sum(told) == (folder / name).stat().st_size


def test_a_parquet_reader_tells_row_groups(folder: Path) -> None:
    told: list[int] = []
    list(parquet.read_parquet(folder / "c.parquet", on_bytes=told.append))
    assert len(told) == 4
    assert 0 < sum(told) < (folder / "c.parquet").stat().st_size
