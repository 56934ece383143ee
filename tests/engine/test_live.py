"""L1: a snapshot, then per epoch exactly the cells whose values changed, to callbacks and to whoever asks."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE, Heard, cells, eventually, plain, told
from tests.engine.conftest import Shop


class TestChanges:
    def test_begin_with_a_snapshot(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", levels=["color"])
        (snapshot,), epoch = live.changes_since(None)
        assert snapshot.snapshot
        assert (snapshot.epoch, snapshot.from_epoch, snapshot.branch, epoch) == (2, None, "master", 2)
        assert told(snapshot, 1) == ({"blue": 50.0, "red": 200.0, None: 0.0}, {}, {}, {})

    def test_tell_added_changed_and_removed_cells(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", "contributors.COUNT", levels=["color"])
        shop.products.append(("P3", "green", 15.0), ("P1", "red", 5.0))
        (change,), epoch = live.changes_since(2)
        assert (change.snapshot, change.epoch, change.from_epoch, epoch) == (False, 3, 2, 3)
        assert told(change, 1) == (
            {"green": (450.0, 1)},
            {"red": (250.0, 2)},
            {"red": (200.0, 1)},
            {"blue": (50.0, 1), None: (0.0, 1)},
        )

    def test_have_levels_and_measures_as_columns_in_all_four_tables(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", "Revenue", levels=["color", "Date"])
        shop.sales.append(("2024-01-01", "P1", 1))
        (change,), _ = live.changes_since(2)
        schema = pa.schema(
            [("color", pa.string()), ("Date", pa.date32()), ("quantity.SUM", pa.int64()), ("Revenue", pa.float64())]
        )
        for part in (change.added, change.changed, change.changed_from, change.removed):
            assert part.schema.equals(schema)

    def test_leave_out_cells_whose_values_stayed(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", levels=["ProductId"])
        shop.sales.append(("2024-01-02", "P3", 7), ("2024-01-02", "P1", 1))
        (change,), _ = live.changes_since(2)
        assert told(change, 1) == ({}, {"P1": 55.0}, {"P1": 50.0}, {})

    def test_leave_out_cells_where_changes_cancel_out(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", levels=["ProductId"])
        shop.sales.append(("2024-01-02", "P1", 5), ("2024-01-02", "P1", -5))
        assert live.changes_since(2) == ([], 3)

    def test_see_a_count_change_where_the_sum_stays(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", "contributors.COUNT", levels=["ProductId"])
        shop.sales.append(("2024-01-02", "P1", 5), ("2024-01-02", "P1", -5))
        (change,), _ = live.changes_since(2)
        assert told(change, 1)[1] == {"P1": (10, 3)}

    def test_come_one_per_epoch_that_changed_cells(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", levels=["color"])
        shop.products.append(("P1", "blue", 6.0))
        shop.products.append(("P8", "white", 6.0))
        shop.sales.append(("2024-01-02", "P2", 1))
        changes, epoch = live.changes_since(2)
        assert epoch == 5
        assert [(change.from_epoch, change.epoch) for change in changes] == [(2, 3), (3, 5)]
        assert [told(change, 1)[1] for change in changes] == [{"blue": 60.0}, {"red": 210.0}]

    def test_are_merged_for_those_far_behind(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", levels=["ProductId"])
        for _ in range(100):
            shop.sales.append(("2024-01-02", "P1", 1), ("2024-01-02", "P2", -1))
        shop.sales.append(("2024-01-02", "P2", 100))
        changes, epoch = live.changes_since(2)
        assert epoch == 103
        (change,) = changes
        assert (change.from_epoch, change.epoch) == (2, 103)
        assert told(change, 1) == ({}, {"P1": 110}, {"P1": 10}, {})

    def test_start_afresh_for_those_behind_the_history(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gpu_engine.cube.provider.HISTORY_BYTES", 1)
        live = shop.cube.live("quantity.SUM", levels=["ProductId"])
        for _ in range(3):
            shop.sales.append(("2024-01-02", "P1", 1))
        (change,), epoch = live.changes_since(2)
        assert change.snapshot
        assert (change.epoch, epoch) == (5, 5)
        assert told(change, 1)[0] == {"P1": 13, "P2": 20, "P3": 30}
        assert live.changes_since(4)[0][0].snapshot is False

    def test_start_afresh_for_an_epoch_that_never_was(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM")
        for strange in (99, -5):
            (change,), epoch = live.changes_since(strange)
            assert change.snapshot
            assert epoch == 2

    def test_start_afresh_for_an_epoch_before_the_query(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM")
        (change,), _ = live.changes_since(1)
        assert change.snapshot

    def test_of_no_levels_change_the_one_cell(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", "contributors.COUNT")
        shop.sales.truncate()
        shop.sales.append(("2024-01-01", "P1", 1))
        changes, _ = live.changes_since(2)
        assert [told(change, 0) for change in changes] == [
            ({}, {(): (0.0, 0)}, {(): (250.0, 3)}, {}),
            ({}, {(): (5.0, 1)}, {(): (0.0, 0)}, {}),
        ]

    def test_of_totals_include_the_totals(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", levels=["Date", "color"], totals=True)
        (snapshot,), _ = live.changes_since(None)
        assert snapshot.added.schema.names == ["Date", "color", "Revenue", "__depth__"]
        assert snapshot.added["__depth__"].to_pylist() == [0, 1, 2, 2, 2]
        shop.products.append(("P3", "blue", 1.0))
        (change,), _ = live.changes_since(2)
        assert change.changed.drop_columns("Date").to_pylist() == [
            {"color": None, "Revenue": 280.0, "__depth__": 0},
            {"color": None, "Revenue": 280.0, "__depth__": 1},
            {"color": "blue", "Revenue": 80.0, "__depth__": 2},
        ]
        assert change.changed_from["Revenue"].to_pylist() == [250.0, 250.0, 50.0]
        assert change.removed.drop_columns("Date").to_pylist() == [{"color": None, "Revenue": 0.0, "__depth__": 2}]
        assert change.added.num_rows == 0

    def test_of_totals_see_a_dimension_that_the_totals_do_not_read(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", levels=["color"], totals=True)
        shop.products.update([{"Id": "P1", "color": "red"}])
        (change,), _ = live.changes_since(2)
        assert told(change, 1) == ({}, {"red": (30, 1)}, {"red": (20, 1)}, {"blue": (10, 1)})

    def test_of_a_filter_see_facts_enter_and_leave(self, shop: Shop) -> None:
        color = shop.cube.levels["color"]
        live = shop.cube.live("quantity.SUM", levels=["ProductId"], filter=color == "red")
        assert plain(live.changes_since(None)[0][0].added, 1) == {"P2": 20}
        shop.products.append(("P1", "red", 5.0), ("P2", "blue", 10.0))
        (change,), _ = live.changes_since(2)
        assert told(change, 1) == ({"P1": 10}, {}, {}, {"P2": 20})

    def test_of_an_extreme_tell_only_when_it_moves(self, shop: Shop) -> None:
        shop.cube.measures["most"] = ge.agg.max(shop.sales["quantity"])
        live = shop.cube.live("most", levels=["Date"])
        shop.sales.append(("2024-01-01", "P1", 29))
        assert live.changes_since(2) == ([], 3)
        shop.sales.drop(shop.sales["quantity"] == 30)
        (change,), _ = live.changes_since(3)
        assert list(told(change, 1)[1].values()) == [29]

    def test_keep_a_float_bit_for_bit_where_other_columns_change(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "x": ge.DOUBLE, "note": ge.STRING}, keys=["k"])
        table.append((1, 0.1, ""), (2, 0.2, ""), (3, 0.3, ""))
        live = session.create_cube(table).live("x.SUM")
        for number in range(20):
            table.append((2, 0.2, f"note {number}"))
        assert live.changes_since(1) == ([], 21)

    def test_take_nan_for_equal_to_nan(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "x": ge.DOUBLE}, keys=["k"])
        table.append((1, float("nan")), (2, 1.0))
        live = session.create_cube(table).live("x.SUM")
        table.append((2, 2.0))
        assert live.changes_since(1) == ([], 2)

    def test_of_two_levels_come_in_the_order_of_the_levels(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", levels=["color", "ProductId"])
        shop.sales.append(("2024-01-01", "P3", 1), ("2024-01-01", "P2", 1), ("2024-01-01", "P1", 1))
        (change,), _ = live.changes_since(2)
        keys = [("blue", "P1"), ("red", "P2"), (None, "P3")]
        assert list(plain(change.changed, 2)) == keys
        assert list(plain(change.changed_from, 2)) == keys

    def test_stay_as_they_were_when_kept(self, shop: Shop) -> None:
        live = shop.cube.live("quantity.SUM", levels=["ProductId"])
        (snapshot,), _ = live.changes_since(None)
        for _ in range(100):
            shop.sales.append(("2024-01-02", "P1", 1))
        assert told(snapshot, 1)[0] == {"P1": 10, "P2": 20, "P3": 30}


class TestCallback:
    def test_gets_the_snapshot_first_then_changes_in_epoch_order(self, shop: Shop) -> None:
        heard = Heard()
        live = shop.cube.live("quantity.SUM", levels=["ProductId"], on_change=heard)
        assert live.wait_for(2, DEADLINE)
        for number in range(20):
            shop.sales.append(("2024-01-02", f"P{number % 5}", number))
        assert live.wait_for(22, DEADLINE)
        assert heard.changes[0].snapshot
        assert not any(change.snapshot for change in heard.changes[1:])
        assert heard.epochs == sorted(set(heard.epochs))
        assert [change.from_epoch for change in heard.changes[1:]] == heard.epochs[:-1]
        folded: dict[Any, Any] = {}
        for change in heard.changes:
            added, changed, _, removed = told(change, 1)
            folded = {cell: value for cell, value in {**folded, **added, **changed}.items() if cell not in removed}
        assert folded == cells(shop.cube, "quantity.SUM", levels=["ProductId"])

    def test_is_not_waited_for_by_a_commit(self, shop: Shop) -> None:
        entered, go = threading.Event(), threading.Event()
        heard: list[ge.CellChange] = []

        def slow(change: ge.CellChange) -> None:
            heard.append(change)
            entered.set()
            assert go.wait(DEADLINE)

        live = shop.cube.live("quantity.SUM", on_change=slow)
        assert entered.wait(DEADLINE)
        for _ in range(200):
            shop.sales.append(("2024-01-02", "P1", 1))
        assert shop.session.epoch == 202
        assert len(heard) == 1
        (figures,) = shop.session.statistics().live_queries["sales"]
        assert (figures.measures, figures.levels, figures.branch) == (("quantity.SUM",), (), "master")
        assert (figures.epoch, figures.lag, figures.error) == (-1, 202, None), "told of nothing to its end"
        go.set()
        assert live.wait_for(202, DEADLINE)
        assert len(heard) == 2, "a slow one gets epochs merged"
        (figures,) = shop.session.statistics().live_queries["sales"]
        assert (figures.epoch, figures.lag) == (202, 0)
        live.close()
        assert shop.session.statistics().live_queries == {"sales": ()}
        assert told(heard[1], 0)[1] == {(): 260}

    def test_may_ask_the_cube_and_commit(self, shop: Shop) -> None:
        def echo(change: ge.CellChange) -> None:
            total = cells(shop.cube, "quantity.SUM")[()]
            if total < 64:
                shop.sales.append(("2024-01-02", "P1", 1))

        live = shop.cube.live("quantity.SUM", on_change=echo)
        eventually(lambda: cells(shop.cube, "quantity.SUM") == {(): 64}, "the echo ends")
        assert live.wait_for(shop.session.epoch, DEADLINE)

    @pytest.mark.parametrize("given", [5, "print"])
    def test_that_cannot_be_called_is_refused(self, shop: Shop, given: Any) -> None:
        with pytest.raises(ge.errors.InvalidQueryError, match=f"on_change={given!r}: give a function"):
            shop.cube.live("quantity.SUM", on_change=given)
        assert shop.session.statistics().live_queries["sales"] == ()

    def test_that_raises_ends_its_live_query_only(self, shop: Shop) -> None:
        def fails(change: ge.CellChange) -> None:
            if not change.snapshot:
                raise RuntimeError("no more")

        good = Heard()
        bad_one = shop.cube.live("quantity.SUM", on_change=fails)
        good_one = shop.cube.live("quantity.SUM", on_change=good)
        assert bad_one.wait_for(2, DEADLINE)
        shop.sales.append(("2024-01-02", "P1", 1))
        shop.sales.append(("2024-01-02", "P1", 1))
        assert good_one.wait_for(4, DEADLINE)
        assert not bad_one.wait_for(4, DEADLINE)
        assert isinstance(bad_one.error, RuntimeError)
        assert good_one.error is None
        eventually(lambda: shop.session.health().failures, "the failure shows")
        (failure,) = shop.session.health().failures
        assert (failure.code, failure.message) == ("RuntimeError", "no more")
        figures = {one.error: (one.epoch, one.lag) for one in shop.session.statistics().live_queries["sales"]}
        assert figures == {"no more": (2, 2), None: (4, 0)}
        bad_one.close()
        assert [one.error for one in shop.session.statistics().live_queries["sales"]] == [None]
        assert cells(shop.cube, "quantity.SUM") == {(): 62}

    def test_may_close_its_live_query(self, shop: Shop) -> None:
        heard: list[int] = []
        made: list[ge.LiveQuery] = []
        ready = threading.Event()

        def once(change: ge.CellChange) -> None:
            assert ready.wait(DEADLINE)
            heard.append(change.epoch)
            made[0].close()

        made.append(shop.cube.live("quantity.SUM", on_change=once))
        ready.set()
        eventually(lambda: heard, "the snapshot came")
        shop.sales.append(("2024-01-02", "P1", 1))
        assert not made[0].wait_for(3, DEADLINE)
        assert heard == [2]

    def test_is_not_called_after_close(self, shop: Shop) -> None:
        heard = Heard()
        live = shop.cube.live("quantity.SUM", on_change=heard)
        assert live.wait_for(2, DEADLINE)
        live.close()
        shop.sales.append(("2024-01-02", "P1", 1))
        live.close()
        assert heard.epochs == [2]


class TestResult:
    def test_is_what_a_query_would_give(self, shop: Shop) -> None:
        arguments: dict[str, Any] = {"levels": ["color", "Date"], "totals": True}
        live = shop.cube.live("Revenue", "quantity.MEAN", **arguments)
        shop.products.append(("P3", "green", 15.0))
        asked = shop.cube.query("Revenue", "quantity.MEAN", mode="arrow", **arguments)
        assert live.result(mode="arrow").equals(asked)
        assert live.result().equals(shop.cube.query("Revenue", "quantity.MEAN", **arguments))
        assert live.result(mode="arrow").schema.metadata == {b"branch": b"master", b"epoch": b"3"}

    def test_of_a_closed_one_is_refused(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue")
        live.close()
        with pytest.raises(ge.errors.InvalidQueryError, match="closed"):
            live.result()
        with pytest.raises(ge.errors.InvalidQueryError, match="closed"):
            live.changes_since(None)

    def test_waits_for_no_epoch_that_does_not_come(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue")
        assert live.epoch == 2
        assert live.wait_for(2, timeout=0.01)
        assert not live.wait_for(3, timeout=0.01)


class TestProvidersOfLiveQueries:
    def test_are_shared_by_equal_queries_and_go_with_the_last(self, shop: Shop) -> None:
        one = shop.cube.live("Revenue", levels=["color"])
        two = shop.cube.live("Revenue", levels=["color"])
        assert len(shop.session.statistics().providers["sales"]) == 1
        one.close()
        assert len(shop.session.statistics().providers["sales"]) == 1
        two.close()
        assert len(shop.session.statistics().providers["sales"]) == 0
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50.0, "red": 200.0, None: 0.0}

    def test_outlive_them_where_a_user_created_them(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", levels=["color"])
        shop.cube.create_provider(["color"], ["Revenue"])
        live.close()
        assert len(shop.session.statistics().providers["sales"]) == 1


@pytest.mark.parametrize("epoch", ["x", 1.5, True])
def test_what_is_no_epoch_is_refused(shop: Shop, epoch: Any) -> None:
    live = shop.cube.live("quantity.SUM")
    for ask in (
        lambda: live.changes_since(epoch),
        lambda: live.changes_since(0, until=epoch),
        lambda: live.wait_for(epoch, 0.1),
    ):
        with pytest.raises(ge.errors.InvalidQueryError, match="give a whole number"):
            ask()
