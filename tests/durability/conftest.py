"""A small model on a data directory of its own, opened as often as a test likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.durability.data_directory import DataDirectory


class Shop:
    """A session with a keyed table, `sales`, and one without a key, `visits`."""

    def __init__(self, session: ge.Session) -> None:
        self.session = session
        self.sales = session.create_table("sales", {"id": ge.LONG, "city": ge.STRING, "n": ge.LONG}, keys=["id"])
        self.visits = session.create_table("visits", {"city": ge.STRING, "n": ge.LONG})

    @property
    def directory(self) -> DataDirectory:
        assert self.session.data_directory is not None
        return self.session.data_directory

    def rows(self, branch: str = "master", epoch: int | None = None, table: str = "sales") -> list[tuple[Any, ...]]:
        columns = self.session.database.version(branch, epoch).list(table).to_pydict().values()
        return list(zip(*columns, strict=True))

    def close(self) -> None:
        self.session.close()


class Shops:
    """Opens shops, and closes those that a test leaves open."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path, self._stack = path, stack

    def open(self, path: Path | None = None, **options: Any) -> Shop:
        session = ge.Session("cpu", path or self.path, **options)
        self._stack.callback(session.close)
        return Shop(session)


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[Shops]:
    with ExitStack() as stack:
        yield Shops(tmp_path / "data", stack)
