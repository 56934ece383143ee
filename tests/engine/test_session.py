"""T1: a session starts with nothing, says what it is, and takes everything with it when it closes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import threading
from collections.abc import Callable

import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE, eventually
from tests.engine.conftest import Shop


def test_starts_with_no_arguments() -> None:
    with ge.Session() as session:
        assert session.epoch == 0
        assert dict(session.tables) == {}
        assert dict(session.cubes) == {}
        assert session.url is None
        assert session.backend.requested == "auto"
        assert session.backend.name in ("cpu", "gpu")
        assert session.backend.reason
        assert session.health() == ge.Health("ok", ())


def test_finds_tables_and_cubes_by_name(shop: Shop) -> None:
    assert list(shop.session.tables) == ["sales", "products"]
    assert shop.session.tables["sales"] is shop.sales
    assert shop.session.cubes["sales"] is shop.cube
    assert "prices" not in shop.session.tables
    assert shop.session.tables.get("prices") is None


def test_counts_epochs_by_commits(shop: Shop) -> None:
    assert shop.session.epoch == 2


def test_closes_twice_without_complaint() -> None:
    session = ge.Session(backend="cpu")
    session.close()
    session.close()


@pytest.mark.parametrize(
    "work",
    [
        lambda shop: shop.sales.append(("2024-01-01", "P1", 1)),
        lambda shop: shop.products.drop(keys=["P1"]),
        lambda shop: shop.session.create_table("more", types={"a": ge.LONG}),
        lambda shop: shop.session.create_cube(shop.sales, "another"),
        lambda shop: shop.cube.create_provider(["color"], ["Revenue"]),
        lambda shop: shop.cube.live("Revenue"),
        lambda shop: shop.session.run_in_background("late", lambda stopping: None),
        lambda shop: shop.session.serve(),
    ],
    ids=["append", "drop", "create_table", "create_cube", "create_provider", "live", "run_in_background", "serve"],
)
def test_takes_no_work_once_closed(shop: Shop, work: Callable[[Shop], object]) -> None:
    shop.session.close()
    with pytest.raises(ge.errors.SessionClosedError, match="closed") as caught:
        work(shop)
    assert caught.value.code == "session_closed"


@pytest.mark.parametrize(
    "read",
    [
        lambda shop, runner, live: len(shop.sales),
        lambda shop, runner, live: shop.sales.head(),
        lambda shop, runner, live: shop.sales.to_arrow(),
        lambda shop, runner, live: shop.sales.where(shop.sales["quantity"] > 10),
        lambda shop, runner, live: shop.cube.query("Revenue"),
        lambda shop, runner, live: shop.cube.query("Revenue", epoch=1),
        lambda shop, runner, live: shop.cube.hierarchies["color"].members(),
        lambda shop, runner, live: shop.session.database.version(),
        lambda shop, runner, live: shop.session.database.prepare.list("sales").run(runner),
        lambda shop, runner, live: runner.list("sales"),
        lambda shop, runner, live: runner.get("products", "P1"),
        lambda shop, runner, live: runner.distinct("products", "color"),
        lambda shop, runner, live: runner.statistics("sales"),
        lambda shop, runner, live: live.result(),
        lambda shop, runner, live: live.changes_since(None),
        lambda shop, runner, live: live.changes_since(2),
        lambda shop, runner, live: shop.session.pin(),
        lambda shop, runner, live: shop.session.diff(("master", 1), ("master", 2)),
    ],
)
def test_answers_nothing_once_closed(shop: Shop, read: Callable[[Shop, ge.QueryRunner, ge.LiveQuery], object]) -> None:
    runner, live = shop.session.database.version(), shop.cube.live("Revenue")
    shop.session.close()
    with pytest.raises(ge.errors.SessionClosedError):
        read(shop, runner, live)
    assert repr(shop.sales) == "Table('sales', 3 rows)"
    assert shop.session.statistics().tables["sales"].rows == 3


def test_refuses_a_transaction_once_closed(shop: Shop) -> None:
    shop.session.close()
    with pytest.raises(ge.errors.SessionClosedError), shop.session.start_transaction():
        shop.sales.append(("2024-01-01", "P1", 1))


def test_close_ends_every_thread_it_started(shop: Shop) -> None:
    before = set(threading.enumerate())
    stopped = threading.Event()

    def tick(stopping: threading.Event) -> None:
        assert stopping.wait(DEADLINE)
        stopped.set()

    shop.session.run_in_background("ticker", tick)
    live = shop.cube.live("Revenue", levels=["color"], on_change=lambda change: None)
    started = set(threading.enumerate()) - before
    assert len(started) == 2
    shop.session.close()
    assert stopped.is_set()
    assert not any(thread.is_alive() for thread in started)
    assert not live.wait_for(shop.session.epoch + 1, timeout=DEADLINE)


def test_statistics_are_json(shop: Shop) -> None:
    shop.cube.create_provider(["color"], ["Revenue"])
    figures = json.loads(json.dumps(dataclasses.asdict(shop.session.statistics())))
    assert figures["epoch"] == 2
    assert figures["tables"]["sales"]["rows"] == 3
    assert figures["tables"]["sales"]["nbytes"] > 0
    assert figures["providers"]["sales"][0]["levels"] == ["products.color"]
    assert figures["memory_used"] > 0


def test_statistics_count_what_was_rolled_back(shop: Shop) -> None:
    with pytest.raises(ge.errors.InvalidRowError):
        shop.products.update([{"Id": "P9", "color": "grey"}])
    assert shop.session.statistics().rolled_back_total == 1


class TestHealth:
    def test_tells_of_a_background_task_that_raises(self, session: ge.Session) -> None:
        def fails(stopping: threading.Event) -> None:
            raise RuntimeError("the feed is gone")

        task = session.run_in_background("feed", fails)
        eventually(lambda: session.health().status == "degraded", "the failure shows")
        failure = session.health().failures[0]
        assert (failure.component, failure.code, failure.message) == ("feed", "RuntimeError", "the feed is gone")
        assert failure.count == 1
        assert datetime.datetime.fromisoformat(failure.at).utcoffset() == datetime.timedelta()
        eventually(lambda: not task.alive, "the task ends")
        assert isinstance(task.error, RuntimeError)

    def test_is_ok_again_once_cleared(self, session: ge.Session) -> None:
        session.report_failure("feed", ValueError("odd"))
        session.report_failure("feed", ValueError("odder"))
        assert [(one.message, one.count) for one in session.health().failures] == [("odder", 2)]
        session.clear_failure("feed")
        session.clear_failure("never failed")
        assert session.health().status == "ok"

    def test_keeps_the_code_of_an_engine_error(self, session: ge.Session) -> None:
        session.report_failure("loader", ge.errors.UnknownTableError("x", []))
        assert session.health().failures[0].code == "unknown_table"


class TestWaitForCommit:
    def test_returns_at_once_when_the_head_is_past(self, shop: Shop) -> None:
        assert shop.session.wait_for_commit(after=0, timeout=DEADLINE) == 2

    def test_gives_up_after_its_time(self, shop: Shop) -> None:
        assert shop.session.wait_for_commit(after=2, timeout=0.01) == 2

    def test_wakes_on_the_next_commit(self, shop: Shop) -> None:
        seen: list[int] = []
        waiter = threading.Thread(target=lambda: seen.append(shop.session.wait_for_commit(2, timeout=DEADLINE)))
        waiter.start()
        shop.products.append(("P3", "green", 15.0))
        waiter.join(DEADLINE)
        assert seen == [3]

    def test_wakes_when_the_session_closes(self, shop: Shop) -> None:
        seen: list[int] = []
        waiter = threading.Thread(target=lambda: seen.append(shop.session.wait_for_commit(2, timeout=DEADLINE)))
        waiter.start()
        shop.session.close()
        waiter.join(DEADLINE)
        assert seen == [2]


def test_the_cpu_can_be_asked_for(session: ge.Session) -> None:
    assert (session.backend.name, session.backend.requested) == ("cpu", "cpu")


def test_a_backend_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ge.errors.InvalidModelError, match=r"'tpu'.*'auto', 'cpu' or 'gpu'"):
        ge.Session(backend="tpu")
