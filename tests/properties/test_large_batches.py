"""Batches of thousands of rows take other ways through the engine than a handful does; DuckDB is the oracle here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import gpu_engine as ge

TRADES = 100_000
PRODUCTS = 300
LEVELS = (["color", "region"], ["sector"], [], ["product", "leg"])
MEASURES = ("contributors.COUNT", "cents.SUM", "cents.MEAN", "worth", "least", "most")
SQL = {
    "contributors.COUNT": "count(*)",
    "cents.SUM": "coalesce(sum(cents), 0)::bigint",
    "cents.MEAN": "sum(cents)::double / count(cents)",
    "worth": "coalesce(sum(cents * price), 0)::bigint",
    "least": "min(cents * price)",
    "most": "max(cents)",
}
SCHEMA = """
create table trades(id bigint, leg varchar, product varchar, region varchar, cents bigint, primary key (id, leg));
create table products(product_id varchar primary key, color varchar, line varchar, price bigint);
create table lines(line_id varchar primary key, sector varchar);
create view facts as from trades left join products on product = product_id left join lines on line = line_id;
"""


class World:
    """The same three tables in the engine and in DuckDB."""

    def __init__(self, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        self.session = ge.Session(backend="cpu")
        self.database = duckdb.connect()
        self.database.execute(SCHEMA)
        text, number = ge.STRING, ge.LONG
        types = {"id": number, "leg": text, "product": text, "region": text, "cents": number}
        self.trades = self.session.create_table("trades", types, keys=["id", "leg"])
        types = {"product_id": text, "color": text, "line": text, "price": number}
        self.products = self.session.create_table("products", types, keys=["product_id"])
        self.lines = self.session.create_table("lines", {"line_id": text, "sector": text}, keys=["line_id"])
        self.trades.join(self.products, on={"product": "product_id"})
        self.products.join(self.lines, on={"line": "line_id"})
        self.cube = self.session.create_cube(self.trades)
        worth = self.trades["cents"] * self.products["price"]
        self.cube.measures["worth"] = ge.agg.sum(worth)
        self.cube.measures["least"] = ge.agg.min(worth)
        self.cube.measures["most"] = ge.agg.max(self.trades["cents"])

    # -- writing ----------------------------------------------------------------------------------------------------

    def upsert_trades(self, count: int) -> None:
        chance = self.chance
        frame = pd.DataFrame(
            {
                "id": chance.integers(0, TRADES // 2, count),
                "leg": chance.choice(["near", "far"], count),
                "product": self._names("P", PRODUCTS + 20, count),
                "region": chance.choice(["N", "S", "E", "W"], count),
                "cents": pd.array(chance.integers(-(10**9), 10**9, count), dtype="Int64"),
            }
        )
        frame.loc[chance.random(count) < 0.02, "cents"] = pd.NA
        frame.loc[chance.random(count) < 0.02, "product"] = None
        self._upsert(self.trades, frame)

    def upsert_products(self, count: int) -> None:
        chance = self.chance
        frame = pd.DataFrame(
            {
                "product_id": self._names("P", PRODUCTS, count),
                "color": chance.choice(["red", "green", "blue"], count),
                "line": self._names("L", 12, count),
                "price": chance.integers(1, 100, count),
            }
        )
        self._upsert(self.products, frame)

    def upsert_lines(self, count: int) -> None:
        sectors = self.chance.choice(["a", "b", "c"], count)
        self._upsert(self.lines, pd.DataFrame({"line_id": self._names("L", 12, count), "sector": sectors}))

    def drop(self, table: ge.Table, condition: ge.Condition, sql: str) -> None:
        table.drop(condition)
        self.database.execute(f"delete from {table.name} where {sql}")

    def _names(self, prefix: str, many: int, count: int) -> list[str]:
        return [f"{prefix}{number}" for number in self.chance.integers(0, many, count)]

    def _upsert(self, table: ge.Table, frame: pd.DataFrame) -> None:
        report = table.load_pandas(frame)
        last = frame.drop_duplicates(list(table.keys), keep="last")
        if report is not None:
            told = report.tables[table.name]
            assert told.duplicates == len(frame) - len(last)
            assert told.added + told.updated + told.unchanged == len(last)
        self.database.execute(f"insert or replace into {table.name} from last")

    # -- asking -----------------------------------------------------------------------------------------------------

    def expected(self, levels: list[str]) -> dict[Any, Any]:
        selected = ", ".join([*levels, *(SQL[name] for name in MEASURES)])
        grouped = f"group by {', '.join(levels)}" if levels else ""
        rows = self.database.execute(f"select {selected} from facts {grouped}").fetchall()
        return {row[: len(levels)]: row[len(levels) :] for row in rows}

    def answer(self, levels: list[str], epoch: int | None = None) -> dict[Any, Any]:
        answer = self.cube.query(*MEASURES, levels=levels, epoch=epoch, mode="arrow")
        rows = zip(*(column.to_pylist() for column in answer.columns), strict=True)
        return {row[: len(levels)]: row[len(levels) :] for row in rows}


@pytest.fixture(params=[1, 2])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    with made.session:
        made.upsert_lines(20)
        made.upsert_products(PRODUCTS)
        made.upsert_trades(TRADES)
        yield made


def test_large_batches_equal_sql(world: World) -> None:
    for levels in LEVELS[:3]:
        world.cube.create_provider(levels, MEASURES)
    past: dict[int, list[dict[Any, Any]]] = {}
    for turn in range(7):
        world.upsert_trades(10_000)
        world.upsert_products(25)
        world.upsert_lines(2)
        if turn == 2:
            world.drop(world.trades, world.trades["region"] == "E", "region = 'E'")
        if turn == 3:
            world.drop(world.products, world.products["price"] < 20, "price < 20")
        if turn == 4:
            world.drop(
                world.trades,
                ge.field("products.lines.sector") == "a",
                "product in (select product from facts where sector = 'a')",
            )
        if turn == 5:
            with world.session.start_transaction():
                world.upsert_products(50)
                world.upsert_lines(6)
                world.drop(
                    world.trades,
                    ge.field("products.lines.sector") == "b",
                    "product in (select product from facts where sector = 'b')",
                )
                world.upsert_trades(3000)
                world.drop(world.products, world.products["price"] < 40, "price < 40")
                world.upsert_products(10)
        past[world.session.epoch] = [world.expected(levels) for levels in LEVELS]
        assert [world.answer(levels) for levels in LEVELS] == past[world.session.epoch]
    for epoch, expected in past.items():
        assert [world.answer(levels, epoch) for levels in LEVELS] == expected
    assert not any(one.full_refresh_total for one in world.session.statistics().providers["trades"])
