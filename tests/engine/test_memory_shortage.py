"""Where memory is short, what was asked for is refused by name and the epoch stays what it was."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

import gpu_engine as ge
from gpu_engine.backend.numpy_backend import NumpyBackend
from gpu_engine.backend.shortage import ASKED_FROM, named_shortage
from gpu_engine.cube.rows_by_cell import RowsByCell
from gpu_engine.database.admission import bytes_of_rows, bytes_to_add

ROWS = 100


def leave(table: ge.Table, available: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the session's backend have so many bytes left."""
    backend = table.store.backend
    use = replace(backend.memory(), available=available)
    monkeypatch.setattr(type(backend), "memory", lambda _: use)


@pytest.fixture
def table(session: ge.Session) -> ge.Table:
    table = session.create_table("t", {"id": ge.LONG, "x": ge.DOUBLE, "v": ge.VECTOR(8)}, keys=["id"])
    table.append(*((i, i / 2, [0.0] * 8) for i in range(ROWS)))
    return table


def rows(count: int) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0] * (8 * count)), 8)
    return pa.table({"id": pa.array(range(count), pa.int64()), "x": pa.array([1.0] * count), "v": vectors})


def test_rows_are_estimated_from_the_types(table: ge.Table) -> None:
    per_row = 8 + 8 + 64 + 8 + 8
    assert bytes_of_rows(table.store, 1000) == 1000 * per_row
    room = len(table.store.rows.removed.buffer) - ROWS
    assert bytes_to_add(table.store, room) == room * per_row
    full = ROWS + room
    assert bytes_to_add(table.store, room + 1) == (room + 1 + max(2 * full, full + 1)) * per_row


def test_a_load_that_cannot_fit_is_refused_before_it_begins(
    session: ge.Session, table: ge.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_engine.backend.shortage.ASKED_FROM", 1)
    leave(table, 10_000, monkeypatch)
    epoch = session.epoch
    with pytest.raises(ge.errors.MemoryShortageError, match=r"adding 5,000 rows to table 't' needs about") as caught:
        table.load_arrow(rows(5000))
    assert caught.value.code == "memory_short"
    assert caught.value.needed == bytes_to_add(table.store, 5000)
    assert (caught.value.available, caught.value.device) == (10_000, table.store.backend.name)
    assert isinstance(caught.value, MemoryError)
    assert (session.epoch, len(table)) == (epoch, ROWS)
    monkeypatch.undo()
    table.load_arrow(rows(5000))
    assert len(table) == 5000


def test_all_loads_of_a_transaction_count_together(
    session: ge.Session, table: ge.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_engine.backend.shortage.ASKED_FROM", 1)
    one = bytes_to_add(table.store, 5000)
    leave(table, one + 1, monkeypatch)
    with (
        pytest.raises(ge.errors.MemoryShortageError, match="10,000 rows"),
        session.start_transaction(),
    ):
        table.load_arrow(rows(5000))
        table.load_arrow(rows(5000))
    table.load_arrow(rows(5000))


def test_small_commits_are_not_asked_about(table: ge.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bytes_to_add(table.store, 1000) < ASKED_FROM
    leave(table, 0, monkeypatch)
    table.load_arrow(rows(1000))
    assert len(table) == 1000


def test_a_commit_that_runs_short_on_its_way_leaves_nothing(
    session: ge.Session, table: ge.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise MemoryError("Unable to allocate 745 GiB")

    epoch, before = session.epoch, table.to_arrow()
    monkeypatch.setattr(type(table.store.backend), "enlarged", no_room)
    with pytest.raises(ge.errors.MemoryShortageError, match=r"the commit needs more memory; backend '.+' has"):
        table.load_arrow(rows(200))
    monkeypatch.undo()
    assert session.epoch == epoch
    assert table.to_arrow().equals(before)
    assert session.statistics().rolled_back_total == 1


def test_a_query_that_runs_short_says_so(session: ge.Session, table: ge.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = session.create_cube(table)

    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(table.store.backend), "group_sum", no_room)
    with pytest.raises(ge.errors.MemoryShortageError, match="the query of cube 't' needs more memory"):
        cube.query("x.SUM", levels=["id"])


def test_a_provider_that_runs_short_says_so(
    session: ge.Session, table: ge.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = session.create_cube(table)

    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(table.store.backend), "group_sum", no_room)
    with pytest.raises(ge.errors.MemoryShortageError, match="provider 'id' needs more memory"):
        cube.live("x.SUM", levels=["id"])
    monkeypatch.undo()
    table.append((0, 5.0, [0.0] * 8))  # nothing half-made follows
    assert cube.query("x.SUM")["x.SUM"][0] == 5.0 + sum(i / 2 for i in range(1, ROWS))


def test_a_provider_has_room_for_its_index_before_a_commit_is_published(
    session: ge.Session, table: ge.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = session.create_cube(table)
    cube.measures["top"] = ge.agg.max(table["x"])
    live = cube.live("top", levels=["id"])
    epoch = live.changes_since(None)[1]
    tried = []

    def no_room(self: RowsByCell, count: int) -> None:
        tried.append(count)
        raise MemoryError

    monkeypatch.setattr(RowsByCell, "reserve", no_room)
    with pytest.raises(ge.errors.MemoryShortageError, match="the commit needs more memory"):
        table.append((ROWS, 1.0, [0.0] * 8), (0, 2.0, [0.0] * 8))
    assert (tried, session.epoch, len(table)) == ([2], epoch, ROWS)
    assert live.changes_since(epoch)[0] == []


def test_a_named_shortage_keeps_its_name() -> None:
    named = ge.errors.MemoryShortageError("a load", 5 << 30, 1 << 20, "gpu")
    assert "a load needs about 5.0 GiB; backend 'gpu' has 1.0 MiB available. Nothing has changed." in str(named)
    with pytest.raises(ge.errors.MemoryShortageError) as caught, named_shortage(NumpyBackend(), "something else"):
        raise named
    assert caught.value is named
