"""Backups, exports and the commands on data directories, with and without a session at work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpu_engine as ge
from tests.durability.conftest import Shops

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: object, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def fill(shops: Shops) -> None:
    shop = shops.open()
    shop.sales.append((1, "Paris", 1), (2, "Rome", 2))
    shop.visits.append(("Paris", 7))
    shop.session.branches.create("what-if")
    shop.session.pin()
    shop.directory.checkpoint()
    shop.sales.append((1, "Paris", 10))
    with shop.session.start_transaction("what-if"):
        shop.sales.drop(keys=[2])
    shop.close()


def test_a_backup_goes_on_where_it_was_taken(shops: Shops, tmp_path: Path) -> None:
    fill(shops)
    command("backup", shops.path, tmp_path / "backup")
    shop = shops.open()
    shop.sales.truncate()
    shop.close()
    command("restore", tmp_path / "backup", tmp_path / "restored")
    for path in (tmp_path / "restored", tmp_path / "backup"):
        again = shops.open(path)
        assert sorted(again.rows()) == [(1, "Paris", 10), (2, "Rome", 2)]
        assert again.rows("what-if") == [(1, "Paris", 1)]
        assert again.rows(epoch=2) == [(1, "Paris", 1), (2, "Rome", 2)]
        again.close()
    assert shops.open().rows() == []


def test_a_backup_is_taken_while_a_session_works(shops: Shops, tmp_path: Path) -> None:
    shop = shops.open()
    shop.sales.append((0, "Paris", 0))
    done = threading.Event()

    def work() -> None:
        number = 0
        while not done.is_set():
            number += 1
            shop.sales.append((0, "Paris", number))
            shop.visits.append(("Paris", number))
            if number % 20 == 0:
                shop.directory.checkpoint()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        epochs = []
        for number in range(5):
            before = shop.session.epoch
            ge.data_directory.backup(shops.path, tmp_path / str(number))
            epochs.append(before)
    finally:
        done.set()
        worker.join(60)
    assert not worker.is_alive()
    for number, before in enumerate(epochs):
        again = shops.open(tmp_path / str(number))
        epoch = again.session.epoch
        assert epoch >= before
        assert again.rows() == [(0, "Paris", epoch // 2)]
        assert again.rows(table="visits") == [("Paris", visit) for visit in range(1, (epoch - 1) // 2 + 1)]
        again.close()


def test_a_backup_of_damage_is_none(shops: Shops, tmp_path: Path) -> None:
    fill(shops)
    path = max((shops.path / "log").iterdir())
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data))
    refusal = command("backup", shops.path, tmp_path / "backup", status=2)
    assert str(path) in refusal and "repair" in refusal
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]
    assert "given up" in command("repair", shops.path)
    assert "no damage" in command("repair", shops.path)
    command("backup", shops.path, tmp_path / "backup")


def test_an_export_is_what_the_version_held(shops: Shops, tmp_path: Path) -> None:
    fill(shops)
    shop = shops.open()  # exports do not need the directory for themselves
    said = command("export", shops.path, tmp_path / "all")
    assert "sales (2 rows)" in said and "visits (1 rows)" in said
    found = duckdb.sql(f"select * from '{tmp_path / 'all' / 'sales.parquet'}' order by id").fetchall()
    assert found == [(1, "Paris", 10), (2, "Rome", 2)]
    command("export", shops.path, tmp_path / "branch", "--branch", "what-if", "--table", "sales")
    assert pq.read_table(tmp_path / "branch" / "sales.parquet").to_pylist() == [{"id": 1, "city": "Paris", "n": 1}]
    assert not (tmp_path / "branch" / "visits.parquet").exists()
    command("export", shops.path, tmp_path / "past", "--epoch", 2)
    assert pq.read_table(tmp_path / "past" / "sales.parquet")["n"].to_pylist() == [1, 2]
    assert "Readable epochs" in command("export", shops.path, tmp_path / "none", "--epoch", 1, status=2)
    shop.close()


def test_an_exported_type_is_the_type_of_the_column(shops: Shops, tmp_path: Path) -> None:
    shop = shops.open()
    types = {"m": ge.DECIMAL(9, 2), "day": ge.LOCAL_DATE, "at": ge.TIMESTAMP, "s": ge.STRING}
    table = shop.session.create_table("types", types)
    table.append(("1.25", "2024-01-01", "2024-01-01T10:00:00", None), (None, None, None, "x"))
    expected = table.to_arrow()
    assert ge.data_directory.export(shops.path, tmp_path / "out", tables=["types"]) == {"types": 2}
    found = pq.read_table(tmp_path / "out" / "types.parquet")
    assert found.schema.types == [pa.decimal128(9, 2), pa.date32(), pa.timestamp("us"), pa.string()]
    assert found.to_pylist() == expected.to_pylist()


@pytest.mark.parametrize("name", ["backup", "restore", "repair", "checkpoint", "export"])
def test_a_folder_that_is_no_data_directory_is_named(tmp_path: Path, name: str) -> None:
    target = [] if name in ("repair", "checkpoint") else [tmp_path / "target"]
    assert "is no data directory" in command(name, tmp_path / "nowhere", *target, status=2)
    assert os.listdir(tmp_path) == []


def test_a_target_that_exists_is_left_alone(shops: Shops, tmp_path: Path) -> None:
    fill(shops)
    for name in ("backup", "restore", "export"):
        assert "exists already" in command(name, shops.path, tmp_path, status=2)


def test_the_command_makes_a_checkpoint(shops: Shops) -> None:
    fill(shops)
    command("checkpoint", shops.path)
    assert shops.open().directory.recovery.records == 0
    assert "in use" in command("checkpoint", shops.path, status=2)
