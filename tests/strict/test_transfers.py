"""What a commit and its readers move between host and device, where and how often: docs/architecture.md lists it.

Counted, not timed: on a GPU each wait costs some ten microseconds, whatever the number of rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.backend.choice import choose_backend
from tests.engine.streams import caught_up, follow
from tests.strict.strict_backend import StrictBackend
from tests.strict.transfers import TransferMeter, Transfers

ROWS = 100
COLUMNS = 7
ROW_BYTES = 8 + 4 + 4 + 4 + 4 + 8 + 8
"""Key, three texts as codes, a date, two numbers."""
LEVELS = [["book", "color"], ["desk"], ["color"], ["day"], ["book", "day"]]
MEASURES = ["value", "qty.SUM", "mean", "top"]


class Market:
    """Trades joined to products, with as many live queries as asked for; each brings a provider of its own."""

    def __init__(self, session: ge.Session, trades: int, live: int) -> None:
        self.session = session
        self.products = session.create_table(
            "products", types={"Id": ge.STRING, "color": ge.STRING, "unit": ge.DOUBLE}, keys=["Id"]
        )
        types = {"Id": ge.LONG, "book": ge.STRING, "desk": ge.STRING, "day": ge.LOCAL_DATE, "product": ge.STRING}
        self.trades = session.create_table("trades", types={**types, "qty": ge.LONG, "price": ge.DOUBLE}, keys=["Id"])
        self.trades.join(self.products, on={"product": "Id"})
        self.products.append(*[(f"P{i}", f"color {i % 4}", 1.5 * i) for i in range(10)])
        self.trades.append(*[trade(i, 0) for i in range(trades)])
        self.cube = session.create_cube(self.trades)
        self.cube.measures["value"] = ge.agg.sum(self.trades["qty"] * self.products["unit"])
        self.cube.measures["mean"] = ge.agg.mean(self.trades["price"])
        self.cube.measures["top"] = ge.agg.max(self.trades["price"])
        self.live = [self.cube.live(*MEASURES, levels=levels) for levels in LEVELS[:live]]


def trade(i: int, version: int) -> tuple[object, ...]:
    day = date(2024, 1, 1) + timedelta(days=i % 20)
    return (i, f"book {i % 7}", f"desk {i % 3}", day, f"P{i % 10}", i % 13 + version, float(i % 17) + version)


Open = Callable[[int, int], Market]


@pytest.fixture
def backend() -> StrictBackend:
    return StrictBackend()


@pytest.fixture
def market(backend: StrictBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr("gpu_engine.session.choose_backend", lambda requested: (backend, choose_backend("cpu")[1]))
    sessions: list[ge.Session] = []

    def opened(trades: int, live: int) -> Market:
        sessions.append(ge.Session(backend="cpu"))
        return Market(sessions[-1], trades, live)

    yield opened
    for session in sessions:
        session.close()


def cost(backend: StrictBackend, action: Callable[[], object]) -> Transfers:
    before = backend.meter.now
    action()
    return backend.meter.now - before


def upsert(market: Market, backend: StrictBackend, trades: int = 1000) -> Transfers:
    """Update the last 50 of the trades and add 50."""
    rows = [trade(i, 1) for i in range(trades - 50, trades + 50)]
    return cost(backend, lambda: market.trades.append(*rows))


def test_a_commit_brings_its_rows_up_and_nothing_down(market: Open, backend: StrictBackend) -> None:
    spent = upsert(market(1000, 4), backend)
    assert (spent.up_calls, spent.up_bytes) == (COLUMNS, ROWS * ROW_BYTES)
    assert (spent.down_calls, spent.down_bytes) == (0, 0)


@pytest.mark.parametrize("live", [0, 1, 4])
def test_a_commit_waits_a_bounded_number_of_times(market: Open, backend: StrictBackend, live: int) -> None:
    spent = upsert(market(1000, live), backend)
    days = 1 if live == 4 else 0
    assert spent.scalars <= 1 + days + live  # whether a key comes twice, new dates, one a provider
    assert spent.sizes <= 7 + 4 * live


def test_the_size_of_the_table_does_not_matter(market: Open, backend: StrictBackend) -> None:
    assert upsert(market(1000, 4), backend) == upsert(market(4000, 4), backend, trades=4000)


def test_a_dimension_row_costs_the_facts_that_see_it_no_transfer(market: Open, backend: StrictBackend) -> None:
    for trades in (1000, 4000):
        opened = market(trades, 4)
        spent = cost(backend, lambda opened=opened: opened.products.append(("P1", "color 2", 7.0)))
        assert (spent.up_calls, spent.up_bytes) == (3, 4 + 4 + 8)
        assert spent.down_calls == 0
        assert spent.scalars <= 1 + 4
        assert spent.sizes <= 12 + 12 * 4


def test_a_transaction_that_changes_nothing_asks_no_provider(market: Open, backend: StrictBackend) -> None:
    opened = market(1000, 4)
    spent = cost(backend, lambda: opened.trades.append(*[trade(i, 0) for i in range(ROWS)]))
    assert (spent.scalars, spent.down_calls) == (1, 0)
    assert spent.sizes <= 12  # each column is compared, until one differs


def test_a_live_query_brings_down_what_changed_and_no_more(market: Open, backend: StrictBackend) -> None:
    opened = market(1000, 1)
    (_, epoch), live = opened.live[0].changes_since(None), opened.live[0]
    opened.trades.append(trade(3, 1))
    found = []
    spent = cost(backend, lambda: found.extend(live.changes_since(epoch)[0]))
    (change,) = found
    assert change.changed.num_rows == 1
    assert spent.up_calls == spent.scalars == 0
    width = len(LEVELS[0]) + 2 * len(MEASURES)
    assert spent.down_calls <= width
    assert spent.down_bytes <= width * (8 + 1)


def test_a_stream_brings_down_the_fields_of_the_rows_that_changed(market: Open, backend: StrictBackend) -> None:
    opened = market(1000, 0)
    fields = ["Id", "book", "price", "products.color"]
    registration, recorder = follow(opened.session, fields)
    before = backend.meter.now
    upsert(opened, backend)
    caught_up(opened.session, registration)
    spent = backend.meter.now - before
    told = recorder.last()
    assert (len(told.rows("records_updated")), len(told.rows("records_added"))) == (50, 50)
    assert spent.up_calls == COLUMNS
    assert spent.down_calls <= 3 * len(fields)  # old and new of what was updated, and what was added
    assert spent.down_bytes <= 3 * 50 * len(fields) * (8 + 1)


# --- where ------------------------------------------------------------------------------------------------------------


IN_COMMITS = {
    "up": {"storage/column.py", "storage/dictionary.py", "expression/value_comparison.py"},
    "down": {"database/draft.py"},
    "scalar": {"storage/dictionary.py", "expression/join.py", "cube/movement.py", "cube/scan.py", "database/draft.py"},
}
"""Files of the engine that let data cross, or wait for a value, while providers are opened and commits are made."""
IN_READS = {
    "up": {"storage/dictionary.py", "expression/value_comparison.py"},
    "down": {"storage/column.py", "cube/answer.py", "cube/frame.py"},
    "scalar": {
        "storage/dictionary.py",
        "cube/frame.py",
        "cube/provider.py",
        "cube/scan.py",
        "cube/audit.py",
        "expression/join.py",
    },
}
"""The same while cubes and tables are read and audited."""


@contextmanager
def noted_places(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[str]]]:
    """Note which files of the engine let data cross, or wait for a value."""
    found: dict[str, set[str]] = {"up": set(), "down": set(), "scalar": set()}
    engine = Path(ge.__file__).parent

    def noting(counted: Callable[..., None], places: set[str]) -> Callable[..., None]:
        def method(*given: Any) -> None:
            asked = next(Path(frame.f_code.co_filename) for frame in callers() if engine in _parents(frame))
            places.add(str(asked.relative_to(engine)))
            counted(*given)

        return method

    with monkeypatch.context() as patched:
        for kind, places in found.items():
            patched.setattr(TransferMeter, kind, noting(getattr(TransferMeter, kind), places))
        yield found


def callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _parents(frame: FrameType) -> Sequence[Path]:
    return Path(frame.f_code.co_filename).parents


def test_data_crosses_at_the_documented_places_only(market: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with noted_places(monkeypatch) as committing:
        opened = market(1000, 5)
        opened.trades.append(*[trade(i, 1) for i in range(950, 1050)])
        opened.products.append(("P1", "color 2", 7.0), ("P77", "color 9", 7.0))
        opened.trades.update([{"Id": 5, "price": 3.0}])
        opened.trades.drop(keys=[3])
        opened.trades.drop(opened.trades["book"] == "book 1")
    with noted_places(monkeypatch) as reading:
        opened.cube.query("value", "mean", levels=["book"], filter=opened.cube.levels["desk"] == "desk 1", totals=True)
        opened.cube.query("value", levels=["book", "desk", "color"])
        opened.live[0].changes_since(opened.session.epoch - 1)
        opened.trades.to_arrow()
        assert opened.session.reprocess().different_cells == 0
    for found, known in ((committing, IN_COMMITS), (reading, IN_READS)):
        assert {kind: places - known[kind] for kind, places in found.items()} == {
            "up": set(),
            "down": set(),
            "scalar": set(),
        }
        assert all(found.values()), "nothing was noted"
