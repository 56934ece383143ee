"""What may happen to the market: operations and transactions, drawn by hypothesis or by a generator of numbers."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st

from tests.properties.market import DROPS, RELATIONS, TYPES, Operation

Row = dict[str, Any]

VALUES: dict[str, Sequence[Any]] = {
    "TradeId": [0, -1, 2**62, -(2**63)],
    "Leg": ["", "é"],
    "Product": ["P0", "P1", "P2", "P3", "elsewhere", None],
    "Desk": [1] * 6 + [2] * 6 + [3],
    "Region": ["N", "S", "E", None],
    "Day": [None, *(datetime.date(2024, 1, day) for day in range(1, 6))],
    "cents": [None, -7, -1, 0, 1, 5, 5, 99, 2**40],
    "quantity": [None, -2, 0, 1, 3],
    "ProductId": ["P0", "P1", "P2", "P3"],
    "Color": ["red", "blue", "", None],
    "Line": ["L0", "L1", "L2", None],
    "price": [None, 0, 1, 10, -3],
    "LineId": ["L0", "L1", "L2"],
    "Sector": ["s0", "s1", None],
    "weight": [None, 0, 2, 3],
    "DeskId": [1, 2, 3],
    "City": ["Paris", "Rome", None],
}
UNKNOWN_KEY: Operation = ("update", "trades", [{"TradeId": 77, "Leg": "a", "cents": 1}])
RARE: list[Operation] = [
    *(("drop_where", table, name) for name, (table, *_) in DROPS.items()),
    ("truncate", "trades", None),
    ("truncate", "products", None),
    UNKNOWN_KEY,
]
MOSTLY = ["trades"] * 6 + ["products"] * 3 + ["lines"] * 2 + ["desks"]
FIRST_DESKS = [{"DeskId": 1, "City": "Paris"}, {"DeskId": 2, "City": None}]


# -- drawn by hypothesis ----------------------------------------------------------------------------------------------


def rows_of(table: str) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({name: st.sampled_from(VALUES[name]) for name in TYPES[table]})


def changes_of(table: str) -> st.SearchStrategy[Row]:
    others = {name: st.sampled_from(VALUES[name]) for name in _not_keys(table)}
    return st.fixed_dictionaries({}, optional=others).filter(bool)


def operations_on(table: str) -> st.SearchStrategy[Operation]:
    keys = st.tuples(*(st.sampled_from(VALUES[name]) for name in RELATIONS[table].keys))
    places = st.lists(st.integers(0, 20), min_size=1, max_size=3)
    one, some = st.lists(rows_of(table), min_size=1, max_size=1), st.lists(rows_of(table), max_size=6)
    return st.one_of(
        st.tuples(st.just("upsert"), st.just(table), one | some),
        st.tuples(st.just("restore"), st.just(table), st.tuples(places, st.just({}) | changes_of(table))),
        st.tuples(st.just("revise"), st.just(table), st.tuples(places, changes_of(table))),
        st.tuples(st.just("discard"), st.just(table), st.tuples(places, st.none())),
        st.tuples(st.just("drop_keys"), st.just(table), st.lists(keys, max_size=3)),
    )


def operations() -> st.SearchStrategy[Operation]:
    usual = st.sampled_from(MOSTLY).flatmap(operations_on)
    return st.integers(0, 7).flatmap(lambda draw: usual if draw else st.sampled_from(RARE))


def operations_on_one_table() -> st.SearchStrategy[list[Operation]]:
    return st.sampled_from(MOSTLY).flatmap(lambda table: st.lists(operations_on(table), min_size=2, max_size=5))


# -- drawn by a generator of numbers ----------------------------------------------------------------------------------


def random_row(chance: random.Random, table: str) -> Row:
    return {name: chance.choice(VALUES[name]) for name in TYPES[table]}


def random_operation(chance: random.Random, table: str) -> Operation:
    if chance.random() < 0.08:
        return chance.choice(RARE)
    kind = chance.choice(["upsert", "upsert", "restore", "revise", "discard"])
    if kind == "upsert":
        return kind, table, [random_row(chance, table) for _ in range(chance.choice([1, 1, 2, 6]))]
    places = [chance.randrange(20) for _ in range(chance.choice([1, 1, 3]))]
    if kind == "discard":
        return kind, table, (places, None)
    changed = chance.sample(_not_keys(table), chance.randint(kind == "revise", 1))
    return kind, table, (places, {name: chance.choice(VALUES[name]) for name in changed})


def random_transaction(chance: random.Random) -> list[Operation]:
    """Return operations on one table or on several, so that they often meet at a key."""
    table = chance.choice(MOSTLY)
    same = chance.random() < 0.5
    return [
        random_operation(chance, table if same else chance.choice(MOSTLY)) for _ in range(chance.choice([1, 1, 2, 4]))
    ]


def new_members(fresh: int, count: int) -> list[Operation]:
    """Return trades and products with members that no dictionary knows yet, numbered from `fresh` on."""
    trades, products = [], []
    for number in range(fresh, fresh + count):
        name, day = f"new {number}", datetime.date(2000, 1, 1) + datetime.timedelta(days=number)
        products.append({"ProductId": name, "Color": name, "Line": name, "price": 2})
        trade = {"TradeId": 100 + number, "Leg": "", "Product": name, "Desk": 1, "Region": name, "Day": day}
        trades.append({**trade, "cents": 4, "quantity": 1})
    return [("upsert", "trades", trades), ("upsert", "products", products)]


def _not_keys(table: str) -> list[str]:
    return [name for name in TYPES[table] if name not in RELATIONS[table].keys]
