"""X1 to X3: operations on any tables become one epoch or none, in the order written, and every read is of one epoch."""

from __future__ import annotations

import threading

import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE, Heard, cells, rows
from tests.engine.conftest import Shop


class Boom(Exception):
    """Something goes wrong in a transaction."""


@pytest.fixture
def accounts(session: ge.Session) -> ge.Table:
    table = session.create_table("accounts", types={"Id": ge.STRING, "cents": ge.LONG}, keys=["Id"])
    table.append(("a", 100), ("b", 50))
    return table


def balances(table: ge.Table) -> dict[str, int]:
    return {row["Id"]: row["cents"] for row in rows(table)}


class TestBlock:
    def test_makes_one_epoch_of_operations_on_two_tables(self, shop: Shop) -> None:
        with shop.session.start_transaction() as transaction:
            assert shop.products.append(("P3", "green", 15.0)) is None
            assert shop.sales.append(("2024-01-02", "P3", 1)) is None
        assert shop.session.epoch == 3
        assert transaction.report == ge.CommitReport(
            3, {"products": ge.TableReport(added=1), "sales": ge.TableReport(added=1)}
        )

    def test_shows_nothing_before_it_ends(self, shop: Shop) -> None:
        with shop.session.start_transaction():
            shop.products.append(("P3", "green", 15.0))
            assert len(shop.products) == 2
            assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50, "red": 200, None: 0}
        assert len(shop.products) == 3

    def test_has_no_report_before_it_ends(self, shop: Shop) -> None:
        with shop.session.start_transaction() as transaction:
            shop.products.append(("P3", "green", 15.0))
            assert transaction.report is None

    def test_without_operations_makes_no_epoch(self, shop: Shop) -> None:
        with shop.session.start_transaction() as transaction:
            pass
        assert transaction.report == ge.CommitReport(2, {})
        assert shop.session.epoch == 2

    def test_that_raises_leaves_nothing(self, shop: Shop) -> None:
        with pytest.raises(Boom), shop.session.start_transaction() as transaction:
            shop.products.append(("P3", "green", 15.0))
            shop.sales.truncate()
            raise Boom
        assert transaction.report is None
        assert shop.session.epoch == 2
        assert (len(shop.products), len(shop.sales)) == (2, 3)
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50, "red": 200, None: 0}

    def test_that_fails_to_commit_leaves_nothing(self, shop: Shop) -> None:
        with (
            pytest.raises(ge.errors.InvalidRowError, match="no row has the key"),
            shop.session.start_transaction() as transaction,
        ):
            shop.sales.append(("2024-01-02", "P1", 1))
            shop.products.update([{"Id": "P9", "color": "grey"}])
        assert transaction.report is None
        assert shop.session.epoch == 2
        assert len(shop.sales) == 3

    def test_after_one_that_failed_works(self, shop: Shop) -> None:
        with pytest.raises(Boom), shop.session.start_transaction():
            shop.products.append(("P3", "black", 1.0))
            raise Boom
        with shop.session.start_transaction():
            shop.products.append(("P3", "green", 15.0))
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50, "green": 450, "red": 200}

    def test_goes_on_after_a_row_that_was_refused(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction():
            with pytest.raises(ge.errors.TypeMismatchError):
                accounts.append(("c", "much"))
            accounts.append(("c", 7))
        assert balances(accounts) == {"a": 100, "b": 50, "c": 7}

    def test_belongs_to_its_thread(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction():
            accounts.append(("c", 7))
            other = threading.Thread(target=lambda: accounts.append(("d", 1)))
            other.start()
            other.join(DEADLINE)
            assert balances(accounts) == {"a": 100, "b": 50, "d": 1}
        assert balances(accounts) == {"a": 100, "b": 50, "d": 1, "c": 7}

    def test_wakes_a_live_query_once(self, shop: Shop) -> None:
        heard = Heard()
        live = shop.cube.live("Revenue", levels=["color"], on_change=heard)
        with shop.session.start_transaction():
            shop.products.append(("P3", "green", 15.0))
            shop.sales.append(("2024-01-02", "P1", 1))
            shop.products.append(("P2", "red", 11.0))
        assert live.wait_for(3, DEADLINE)
        assert heard.epochs == [2, 3]


class TestOrder:
    def test_the_last_write_of_a_key_wins(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction():
            accounts.append(("a", 1))
            accounts.append(("a", 2))
            accounts.update([{"Id": "a", "cents": 3}])
            accounts.append(("b", 4))
        assert balances(accounts) == {"a": 3, "b": 4}

    def test_a_drop_takes_what_was_written_before_it(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction() as transaction:
            accounts.append(("c", 1))
            accounts.append(("a", 2))
            accounts.drop(accounts["cents"] < 10)
        assert balances(accounts) == {"b": 50}
        assert transaction.report is not None
        assert transaction.report.tables["accounts"] == ge.TableReport(removed=1)

    def test_a_write_after_a_drop_stays(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction() as transaction:
            accounts.drop(keys=["a", "b"])
            accounts.append(("a", 1))
        assert balances(accounts) == {"a": 1}
        assert transaction.report is not None
        assert transaction.report.tables["accounts"] == ge.TableReport(updated=1, removed=1)

    def test_an_update_sees_what_was_written_before_it(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction():
            accounts.append(("c", 1))
            accounts.update([{"Id": "c", "cents": 2}])
        assert balances(accounts)["c"] == 2

    def test_an_update_after_a_drop_finds_no_row(self, accounts: ge.Table, session: ge.Session) -> None:
        with pytest.raises(ge.errors.InvalidRowError), session.start_transaction():
            accounts.drop(keys=["a"])
            accounts.update([{"Id": "a", "cents": 2}])
        assert balances(accounts) == {"a": 100, "b": 50}

    def test_a_condition_sees_other_tables_as_written_before_it(self, shop: Shop) -> None:
        with shop.session.start_transaction():
            shop.products.append(("P3", "red", 1.0), ("P2", "blue", 1.0))
            shop.sales.drop(ge.field("products.color") == "red")
        assert [row["ProductId"] for row in rows(shop.sales)] == ["P1", "P2"]

    def test_a_row_dropped_and_written_again_as_it_was_has_not_changed(
        self, accounts: ge.Table, session: ge.Session
    ) -> None:
        with session.start_transaction() as transaction:
            accounts.truncate()
            accounts.append(("a", 100), ("b", 50))
        assert transaction.report == ge.CommitReport(1, {"accounts": ge.TableReport(unchanged=2)})
        assert session.epoch == 1

    def test_a_row_changed_and_changed_back_has_not_changed(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction():
            accounts.append(("a", 1))
            accounts.drop(keys=["b"])
            accounts.append(("b", 2))
            accounts.append(("a", 100), ("b", 50))
        assert session.epoch == 1

    def test_a_new_row_that_is_dropped_again_never_was(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction():
            accounts.append(("c", 1))
            accounts.drop(keys=["c"])
        assert session.epoch == 1
        assert accounts.append(("c", 1)) == ge.CommitReport(2, {"accounts": ge.TableReport(added=1)})


def test_replacing_rows_shows_no_reader_the_gap(accounts: ge.Table, session: ge.Session) -> None:
    cube = session.create_cube(accounts)
    live = cube.live("cents.SUM", "contributors.COUNT")
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(cells(cube, "cents.SUM", "contributors.COUNT")[()])
            seen.add((sum(balances(accounts).values()), len(accounts)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(200):
            with session.start_transaction():
                accounts.drop(accounts["cents"] >= 0)
                accounts.append(("a", turn), ("b", 150 - turn))
    finally:
        stop.set()
        reader.join(DEADLINE)
    assert seen == {(150, 2)}
    live.close()


class TestNestedBlock:
    def test_joins_the_outer_one(self, accounts: ge.Table, session: ge.Session) -> None:
        with session.start_transaction() as outer:
            accounts.append(("c", 1))
            with session.start_transaction() as inner:
                accounts.append(("d", 2))
            assert session.epoch == 1
        assert inner is outer
        assert session.epoch == 2

    def test_that_raises_takes_the_outer_one_with_it(self, accounts: ge.Table, session: ge.Session) -> None:
        with pytest.raises(Boom), session.start_transaction():
            accounts.append(("c", 1))
            with session.start_transaction():
                accounts.append(("d", 2))
                raise Boom
        assert balances(accounts) == {"a": 100, "b": 50}

    def test_that_raises_into_hands_that_go_on_leaves_nothing_of_itself(
        self, accounts: ge.Table, session: ge.Session
    ) -> None:
        with session.start_transaction():
            accounts.append(("c", 1))
            with pytest.raises(Boom), session.start_transaction():
                accounts.append(("d", 2))
                raise Boom
            accounts.append(("e", 3))
        assert balances(accounts) == {"a": 100, "b": 50, "c": 1, "e": 3}


class TestEpochs:
    def test_a_past_epoch_shows_all_tables_as_they_were(self, shop: Shop) -> None:
        shop.cube.create_provider(["color"], ["Revenue"])
        shop.products.append(("P3", "green", 15.0))
        shop.sales.append(("2024-01-02", "P1", 100))
        shop.products.drop(keys=["P1"])
        by_epoch = [cells(shop.cube, "Revenue", levels=["color"], epoch=epoch) for epoch in range(6)]
        assert by_epoch == [
            {},
            {None: 0},
            {"blue": 50, "red": 200, None: 0},
            {"blue": 50, "green": 450, "red": 200},
            {"blue": 550, "green": 450, "red": 200},
            {"green": 450, "red": 200, None: 0},
        ]

    def test_an_answer_carries_its_epoch_and_branch(self, shop: Shop) -> None:
        answer = shop.cube.query("Revenue", epoch=1, mode="arrow")
        assert answer.schema.metadata == {b"branch": b"master", b"epoch": b"1"}
        assert shop.cube.query("Revenue", mode="arrow").schema.metadata[b"epoch"] == b"2"

    @pytest.mark.parametrize("epoch", [3, -1])
    def test_an_epoch_that_is_not_there_is_refused(self, shop: Shop, epoch: int) -> None:
        with pytest.raises(ge.errors.EpochNotRetainedError, match=rf"epoch {epoch} is not readable.*0 to 2") as caught:
            shop.cube.query("Revenue", epoch=epoch)
        assert caught.value.code == "epoch_not_retained"
