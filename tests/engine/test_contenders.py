"""Cells that lose one extreme after the other: right against plain Python, and read once in many times."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.cube import contenders

CELLS, ROWS = 3, 900
LEVELS = (("cell",), ("side",), ("cell", "side"))
MEASURES = ("most x", "least n", "most n")
Row = dict[str, Any]


class Prices:
    """Prices in cells, of which some are reached through a join; beside them the same rows as plain dicts."""

    def __init__(self, session: ge.Session) -> None:
        self.session, self.rows, self.sides = session, dict[int, Row](), dict[str, str]()
        types = {"id": ge.LONG, "cell": ge.STRING, "kind": ge.STRING, "x": ge.DOUBLE, "n": ge.LONG}
        self.table = session.create_table("prices", types, keys=["id"])
        self.kinds = session.create_table("kinds", {"kind": ge.STRING, "side": ge.STRING}, keys=["kind"])
        self.table.join(self.kinds, on={"kind": "kind"})
        self.cube = session.create_cube(self.table)
        self.cube.measures["most x"] = ge.agg.max(self.table["x"])
        self.cube.measures["least n"] = ge.agg.min(self.table["n"])
        self.cube.measures["most n"] = ge.agg.max(self.table["n"])

    def upsert(self, *rows: Row) -> None:
        self.rows.update({row["id"]: row for row in rows})
        self.table.append(*rows)

    def drop(self, *ids: int) -> None:
        for one in ids:
            self.rows.pop(one, None)
        self.table.drop(keys=list(ids))

    def turn(self, kind: str, side: str) -> None:
        self.sides[kind] = side
        self.kinds.append((kind, side))

    def best(self, count: int, of: str, *, most: bool) -> list[int]:
        """Return the ids of the rows that hold the extremes."""
        held = [row for row in self.rows.values() if row[of] is not None]
        return [row["id"] for row in sorted(held, key=lambda row: row[of], reverse=most)[:count]]

    def expected(self, levels: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        cells: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows.values():
            seen = {"cell": row["cell"], "side": self.sides.get(row["kind"])}
            cells.setdefault(tuple(seen[level] for level in levels), []).append(row)
        return {
            key: (
                max((row["x"] for row in rows if row["x"] is not None), default=None),
                min(row["n"] for row in rows),
                max(row["n"] for row in rows),
            )
            for key, rows in cells.items()
        }

    def told(self, levels: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        answer = self.cube.query(*MEASURES, levels=levels, mode="arrow").to_pylist()
        return {tuple(row[level] for level in levels): tuple(row[one] for one in MEASURES) for row in answer}


def price(one: int, source: random.Random) -> Row:
    odd = source.random() < 0.02
    return {
        "id": one,
        "cell": f"cell {one % CELLS}",
        "kind": f"kind {one % 4}",
        "x": source.choice([None, math.inf, -math.inf]) if odd else source.randrange(-4000, 4000) / 4,
        "n": source.randrange(-(10**6), 10**6),
    }


@pytest.fixture(params=["as many as there are", "few"])
def prices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prices]:
    if request.param == "few":
        monkeypatch.setattr(contenders, "KEPT", 3)
        monkeypatch.setattr(contenders, "WORTH_ROWS", 2)
    # Compaction may take every dead row at once, and gives the others new numbers.
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
        yield Prices(session)


def steps(prices: Prices, source: random.Random) -> list[Callable[[], object]]:
    """Return what may happen to prices, the loss of extremes most of all."""

    def change(ids: list[int]) -> None:
        prices.upsert(*({**prices.rows[one], "x": None, "n": 0} for one in ids))

    def move(ids: list[int]) -> None:
        prices.upsert(*({**prices.rows[one], "cell": f"cell {source.randrange(CELLS)}"} for one in ids))

    def fail() -> None:
        with pytest.raises(ZeroDivisionError), prices.session.start_transaction():
            prices.table.drop(keys=prices.best(5, "n", most=True))
            raise ZeroDivisionError

    return [
        lambda: prices.drop(*prices.best(3, "x", most=True)),
        lambda: prices.drop(*prices.best(2, "n", most=False), *prices.best(2, "n", most=True)),
        lambda: change(prices.best(3, "n", most=True)),
        lambda: move(prices.best(3, "x", most=True)),
        lambda: prices.upsert(*(price(source.randrange(2 * ROWS), source) for _ in range(4))),
        lambda: prices.upsert(price(source.randrange(2 * ROWS), source) | {"x": 5000.0, "n": 2 * 10**6}),
        lambda: prices.turn(f"kind {source.randrange(4)}", source.choice(["buy", "sell"])),
        lambda: prices.session.compact(),
        fail,
    ]


@pytest.mark.parametrize("seed", range(4))
def test_any_losses_leave_the_extremes_of_plain_python(prices: Prices, seed: int) -> None:
    source = random.Random(seed)
    prices.turn("kind 0", "buy")
    prices.upsert(*(price(one, source) for one in range(ROWS)))
    for levels in LEVELS:
        prices.cube.create_provider(levels, MEASURES)
    choices = steps(prices, source)
    for _ in range(60):
        source.choice(choices)()
        for levels in LEVELS:
            assert prices.told(levels) == prices.expected(levels), levels
    assert prices.session.reprocess().different_cells == 0


def test_a_cell_that_loses_one_extreme_after_the_other_is_read_once_in_many_times(session: ge.Session) -> None:
    prices = Prices(session)
    provider = prices.cube.create_provider(["cell"], ["most n"])
    prices.upsert(*({"id": n, "cell": "one", "kind": "k", "x": None, "n": n} for n in range(1000)))
    losses = 4 * contenders.KEPT
    for n in range(999, 999 - losses, -1):
        prices.drop(n)
        assert prices.told(("cell",))[("one",)][2] == n - 1
    assert provider.statistics().cells_reread == 4
    assert provider.statistics().full_refresh_total == 0


def test_rows_that_come_later_are_not_overlooked(session: ge.Session) -> None:
    prices = Prices(session)
    prices.cube.create_provider(["cell"], ["most n", "least n"])
    prices.upsert(*({"id": n, "cell": "one", "kind": "k", "x": None, "n": n} for n in range(200)))
    prices.drop(199)  # from here on there are contenders
    prices.upsert({"id": 500, "cell": "one", "kind": "k", "x": None, "n": 300})
    prices.upsert({"id": 501, "cell": "one", "kind": "k", "x": None, "n": 250})
    for gone, most in ((500, 250), (501, 198), (198, 197)):
        prices.drop(gone)
        assert prices.told(("cell",)) == {("one",): (None, 0, most)}
