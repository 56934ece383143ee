"""Versions: any readable epoch shows all tables as they were, and what is held or pinned stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gpu_engine as ge


@pytest.fixture
def session() -> Iterator[ge.Session]:
    """Orders and their items, with two epochs to go back."""
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=2)) as session:
        items = session.create_table("items", {"code": ge.STRING, "color": ge.STRING}, keys=["code"])
        orders = session.create_table("orders", {"id": ge.LONG, "item": ge.STRING, "pieces": ge.LONG}, keys=["id"])
        orders.join(items, on={"item": "code"})
        session.create_cube(orders)
        with session.start_transaction():
            items.append(("A", "red"), ("B", "blue"))
            orders.append((1, "A", 10), (2, "B", 20))
        yield session


def pieces(session: ge.Session, **version: object) -> dict[str, int]:
    frame = session.cubes["orders"].query("pieces.SUM", levels=["color"], **version)
    return {str(color): int(value) for color, value in frame["pieces.SUM"].items()}


def commit(session: ge.Session, times: int, branch: str = "master") -> None:
    for _ in range(times):
        with session.start_transaction(branch):
            row = session.database.version(branch).get("orders", 1)
            session.tables["orders"].append((1, "A", 1 if row is None else row["pieces"] + 1))


def test_a_past_epoch_shows_all_tables_as_they_were(session: ge.Session) -> None:
    session.tables["orders"].append((3, "A", 5))
    session.tables["items"].append(("A", "green"))
    assert pieces(session) == {"blue": 20, "green": 15}
    assert pieces(session, epoch=2) == {"blue": 20, "red": 15}
    assert pieces(session, epoch=1) == {"blue": 20, "red": 10}
    assert pieces(session, epoch=0) == {}


@pytest.mark.parametrize("epoch", [-1, 2, 10**12])
def test_an_epoch_that_never_was_is_refused_with_those_there_are(session: ge.Session, epoch: int) -> None:
    with pytest.raises(ge.errors.EpochNotRetainedError, match=f"epoch {epoch} .* 0 to 1"):
        session.database.version(epoch=epoch)
    with pytest.raises(ge.errors.EpochNotRetainedError):
        pieces(session, epoch=epoch)


def test_the_head_of_an_idle_branch_is_also_its_version_at_later_epochs(session: ge.Session) -> None:
    session.branches.create("idle")
    commit(session, 2)
    assert session.database.version("idle", 3).epoch == 1
    assert pieces(session, branch="idle", epoch=3) == {"blue": 20, "red": 10}


def test_before_its_fork_a_branch_is_what_its_parent_was(session: ge.Session) -> None:
    commit(session, 1)
    session.branches.create("late")
    commit(session, 1, "late")
    assert pieces(session, branch="late", epoch=1) == pieces(session, epoch=1) == {"blue": 20, "red": 10}
    assert pieces(session, branch="late", epoch=0) == {}
    assert pieces(session, branch="late") == {"blue": 20, "red": 12}


def test_a_dropped_epoch_is_refused_and_a_pinned_one_is_not(session: ge.Session) -> None:
    with session.pin() as pin:
        commit(session, 10)
        session.compact()
        assert (pin.branch, pin.epoch, session.statistics().pins) == ("master", 1, (("master", 1),))
        assert pieces(session, epoch=1) == {"blue": 20, "red": 10}
        with pytest.raises(ge.errors.EpochNotRetainedError, match=r"epoch 2 .* 9 to 11"):
            pieces(session, epoch=2)
    session.compact()
    with pytest.raises(ge.errors.EpochNotRetainedError):
        pieces(session, epoch=1)
    assert session.statistics().pins == ()


def test_releasing_a_pin_twice_takes_back_one(session: ge.Session) -> None:
    first, second = session.pin(), session.pin()
    commit(session, 10)
    first.release()
    first.release()
    session.compact()
    assert pieces(session, epoch=1)
    second.release()


def test_only_a_readable_epoch_can_be_pinned(session: ge.Session) -> None:
    commit(session, 10)
    session.compact()
    with pytest.raises(ge.errors.EpochNotRetainedError):
        session.pin(1)
    with pytest.raises(ge.errors.UnknownBranchError):
        session.pin(branch="nowhere")
    assert session.statistics().pins == ()


def test_a_pin_may_outlive_its_session() -> None:
    with ge.Session(backend="cpu") as session:
        pin = session.pin()
    pin.release()


def test_a_runner_reads_its_epoch_for_as_long_as_it_is_held(session: ge.Session) -> None:
    first, second = session.database.version(), session.database.version(epoch=0)
    commit(session, 10)
    session.compact()
    commit(session, 10)
    session.compact()
    assert first.get("orders", 1, ["pieces", "items.color"]) == {"pieces": 10, "items.color": "red"}
    assert first.list("items").num_rows == 2
    assert second.list("orders").num_rows == 0


def test_a_runner_on_a_deleted_branch_reads_on(session: ge.Session) -> None:
    session.branches.create("gone")
    commit(session, 3, "gone")
    with session.start_transaction("gone"):
        session.tables["items"].truncate()
    runner = session.database.version("gone")
    session.branches.delete("gone")
    session.create_table("younger", {"x": ge.LONG}, keys=["x"])
    commit(session, 10)
    session.compact()
    commit(session, 1)
    session.compact()
    assert runner.get("orders", 1, ["pieces", "items.color"]) == {"pieces": 13, "items.color": None}
    assert (runner.list("items").num_rows, runner.list("younger").num_rows) == (0, 0)


def test_the_first_head_of_a_branch_is_held_too(session: ge.Session) -> None:
    session.branches.create("x")
    runner = session.database.version("x")
    commit(session, 5, "x")
    commit(session, 5)
    session.compact()
    assert runner.get("orders", 1) == {"id": 1, "item": "A", "pieces": 10}


def test_a_prepared_cube_query_slices_at_the_version_it_runs_at(session: ge.Session) -> None:
    orders, cube = session.tables["orders"], session.cubes["orders"]
    cube.hierarchies["id"].slicing = True
    prepared = session.database.prepare.cube("orders", ["pieces.SUM"], levels=["color"], mode="arrow")
    session.branches.create("x")
    on_branch, on_master = session.database.version("x"), session.database.version()
    orders.drop(keys=[1])
    with session.start_transaction("x"):
        orders.drop(keys=[1])
    commit(session, 10)
    session.branches.delete("x")
    session.compact()
    for runner in (on_branch, on_master):
        assert prepared.run(runner).to_pylist() == [{"color": "red", "pieces.SUM": 10}]


def test_a_table_younger_than_an_epoch_is_empty_there(session: ge.Session) -> None:
    table = session.create_table("younger", {"x": ge.LONG}, keys=["x"])
    table.append((1,))
    assert session.database.version(epoch=1).list("younger").num_rows == 0
    assert session.database.version(epoch=2).list("younger").num_rows == 1


def test_rows_of_a_table_say_which_version_they_are_of(session: ge.Session) -> None:
    table = session.create_table("t", {"k": ge.LONG}, keys=["k"])
    for key in (1, 2):
        report = table.append((key,))
        assert report is not None
        stamp = {b"branch": b"master", b"epoch": str(report.epoch).encode()}
        assert table.to_arrow().schema.metadata == stamp
        assert table.to_arrow(0).schema.metadata == stamp
        assert table.where(table["k"] > 9).schema.metadata == stamp
