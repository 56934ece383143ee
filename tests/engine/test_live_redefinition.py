"""C3, L1: whoever watches a measure that is redefined gets a snapshot with its new values at the next epoch."""

from __future__ import annotations

import threading

import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE, Heard, cells, eventually, plain, told
from tests.engine.conftest import Shop

SALE = ("2024-01-01", "P1", 1)


def redefine(shop: Shop, name: str = "Revenue") -> None:
    shop.cube.measures[name] = ge.agg.sum(shop.sales["quantity"])


def test_a_subscriber_gets_a_snapshot_at_the_next_epoch(shop: Shop) -> None:
    live = shop.cube.live("Revenue", levels=["color"])
    redefine(shop)
    assert live.changes_since(2) == ([], 2)
    shop.sales.append(SALE)
    (change,), epoch = live.changes_since(2)
    assert (change.snapshot, change.from_epoch, change.epoch, epoch) == (True, None, 3, 3)
    assert told(change, 1) == ({"blue": 11, "red": 20, None: 30}, {}, {}, {})
    shop.sales.append(SALE)
    (change,), _ = live.changes_since(3)
    assert (change.snapshot, told(change, 1)) == (False, ({}, {"blue": 12}, {"blue": 11}, {}))


def test_epochs_before_the_redefinition_are_not_told_of_one_by_one(shop: Shop) -> None:
    live = shop.cube.live("Revenue")
    shop.sales.append(SALE)
    redefine(shop)
    shop.sales.append(SALE)
    (change,), epoch = live.changes_since(2)
    assert (change.snapshot, epoch, told(change, 0)[0]) == (True, 4, {(): 62})


@pytest.mark.parametrize("totals", [False, True])
def test_a_callback_gets_a_snapshot_and_then_changes(shop: Shop, totals: bool) -> None:
    heard = Heard()
    live = shop.cube.live("Revenue", levels=["color"], totals=totals, on_change=heard)
    assert live.wait_for(2, DEADLINE)
    redefine(shop)
    for _ in range(2):
        shop.sales.append(SALE)
        assert live.wait_for(shop.session.epoch, DEADLINE)
    assert [(change.epoch, change.snapshot) for change in heard.changes] == [(2, True), (3, True), (4, False)]
    assert plain(live.result(mode="arrow"), 1) == cells(shop.cube, "Revenue", levels=["color"], totals=totals)
    live.close()


def test_measures_built_on_it_follow(shop: Shop) -> None:
    shop.cube.measures["Double"] = shop.cube.measures["Revenue"] * 2
    live = shop.cube.live("Double")
    redefine(shop)
    shop.sales.append(SALE)
    (change,), _ = live.changes_since(2)
    assert (change.snapshot, told(change, 0)[0]) == (True, {(): 122})


def test_it_holds_on_a_branch(shop: Shop) -> None:
    shop.session.branches.create("x")
    live = shop.cube.live("Revenue", branch="x")
    redefine(shop)
    shop.sales.append(SALE)
    assert live.changes_since(2) == ([], 2)
    with shop.session.start_transaction("x"):
        shop.sales.append(SALE)
    (change,), epoch = live.changes_since(2)
    assert (change.snapshot, epoch, told(change, 0)[0]) == (True, 4, {(): 61})


@pytest.mark.parametrize("what", ["another measure", "the same definition", "a new name", "a removal"])
def test_other_changes_of_the_model_go_unnoticed(shop: Shop, what: str) -> None:
    live = shop.cube.live("Revenue")
    if what == "another measure":
        redefine(shop, "quantity.SUM")
    elif what == "a new name":
        redefine(shop, "Units")
    elif what == "a removal":
        del shop.cube.measures["Revenue"]
    else:
        shop.cube.measures["Revenue"] = ge.agg.sum(shop.sales["quantity"] * shop.products["unit_price"])
    shop.sales.append(SALE)
    (change,), _ = live.changes_since(2)
    assert (change.snapshot, told(change, 0)[1]) == (False, {(): 255.0})


def test_providers_of_the_old_definition_go(shop: Shop) -> None:
    live = shop.cube.live("Revenue", levels=["color"], totals=True)
    for price in (True, False) * 3:
        column = shop.products["unit_price"] if price else shop.sales["quantity"]
        shop.cube.measures["Revenue"] = ge.agg.max(column)
    assert len(shop.session.statistics().providers["sales"]) == 2
    live.close()
    assert shop.session.statistics().providers["sales"] == ()


def test_changes_follow_from_each_other_while_measures_are_redefined(shop: Shop) -> None:
    quantity = ge.agg.sum(shop.sales["quantity"])
    shop.cube.measures["Revenue"] = quantity
    live, stop = shop.cube.live("Revenue"), threading.Event()
    total = {2: 60}

    def write() -> None:
        try:
            for _ in range(300):
                epoch = shop.session.epoch + 1
                total[epoch] = total[epoch - 1] + 1
                shop.sales.append(SALE)
        finally:
            stop.set()

    def change() -> None:
        factor = 1
        while not stop.is_set():
            factor = factor % 3 + 1
            shop.cube.measures["Revenue"] = quantity * factor

    threads = [threading.Thread(target=write), threading.Thread(target=change)]
    for thread in threads:
        thread.start()
    epoch, value = None, 0
    try:
        while not stop.is_set() or epoch != shop.session.epoch:
            changes, epoch = live.changes_since(epoch)
            for one in changes:
                added, changed, before, _ = told(one, 0)
                if not one.snapshot:
                    assert before == {(): value}
                value = (added or changed)[()]
                assert value in [total[one.epoch] * factor for factor in (1, 2, 3)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
    shop.cube.measures["Revenue"] = quantity * 7
    shop.sales.append(SALE)
    (last,), _ = live.changes_since(epoch)
    assert (last.snapshot, told(last, 0)[0]) == (True, {(): 7 * (max(total.values()) + 1)})


def test_a_live_query_that_cannot_go_over_ends_and_shows_in_health(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    live = shop.cube.live("Revenue")

    def refuse(*arguments: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(shop.cube, "acquire", refuse)
        redefine(shop)
    assert isinstance(live.error, MemoryError)
    eventually(lambda: shop.session.health().status != "ok", "the failure shows")
    with pytest.raises(ge.errors.InvalidQueryError, match="closed"):
        live.changes_since(2)
    assert cells(shop.cube, "Revenue") == {(): 60}
