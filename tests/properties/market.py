"""A small market, once in the engine and once in the oracle, and the questions that both are asked.

Trades have a composite key, an optional product (which has an optional line) and a mandatory desk. Money is integer
cents, so that equality is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

import gpu_engine as ge
from tests.oracle import Aggregate, Cells, Changes, Draft, Get, Link, Oracle, Relation, Rows

TYPES: Mapping[str, Mapping[str, ge.DataType]] = {
    "trades": {
        "TradeId": ge.LONG,
        "Leg": ge.STRING,
        "Product": ge.STRING,
        "Desk": ge.INT,
        "Region": ge.STRING,
        "Day": ge.LOCAL_DATE,
        "cents": ge.LONG,
        "quantity": ge.LONG,
    },
    "products": {"ProductId": ge.STRING, "Color": ge.STRING, "Line": ge.STRING, "price": ge.LONG},
    "lines": {"LineId": ge.STRING, "Sector": ge.STRING, "weight": ge.LONG},
    "desks": {"DeskId": ge.INT, "City": ge.STRING},
}
RELATIONS: Mapping[str, Relation] = {
    "trades": Relation(
        tuple(TYPES["trades"]),
        ("TradeId", "Leg"),
        {"product": Link("products", ("Product",)), "desk": Link("desks", ("Desk",), optional=False)},
    ),
    "products": Relation(tuple(TYPES["products"]), ("ProductId",), {"line": Link("lines", ("Line",))}),
    "lines": Relation(tuple(TYPES["lines"]), ("LineId",)),
    "desks": Relation(tuple(TYPES["desks"]), ("DeskId",)),
}
TABLES = tuple(TYPES)


def product_of(*paths: str) -> Callable[[Get], Any]:
    """Return the function that multiplies columns, None if one of them is."""

    def value(get: Get) -> Any:
        result = 1
        for path in paths:
            factor = get(path)
            if factor is None:
                return None
            result *= factor
        return result

    return value


MEASURES: Mapping[str, Aggregate] = {
    "contributors.COUNT": Aggregate("rows"),
    "cents.SUM": Aggregate("sum", product_of("cents")),
    "cents.MEAN": Aggregate("mean", product_of("cents")),
    "Worth": Aggregate("sum", product_of("quantity", "product.price")),
    "Weighted": Aggregate("sum", product_of("cents", "product.line.weight")),
    "Priced": Aggregate("count", product_of("product.price")),
    "Largest": Aggregate("max", product_of("cents")),
    "Least worth": Aggregate("min", product_of("quantity", "product.price")),
}
SUMS = ("contributors.COUNT", "cents.SUM", "Worth")

Predicate = Callable[[Get], bool]
Filter = tuple[Callable[[ge.Cube], ge.Condition], Predicate]

FILTERS: Mapping[str, Filter] = {
    "not in s0": (lambda cube: cube.levels["Sector"] != "s0", lambda get: get("product.line.Sector") != "s0"),
    "north or nowhere": (
        lambda cube: cube.levels["Region"].isin(["N", None]),
        lambda get: get("Region") in ("N", None),
    ),
}


@dataclass(frozen=True)
class Question:
    """A query in both languages."""

    levels: tuple[str, ...]
    """Paths from the trades, as the oracle reads them."""
    measures: tuple[str, ...] = tuple(MEASURES)
    filter: str | None = None
    totals: bool = False
    newest_day: bool = False
    """Asked to the cube that slices by day, the newest first."""
    source: str = "provider"
    """How the engine is to answer at the head."""


QUESTIONS: tuple[Question, ...] = (
    Question(("Region",)),
    Question(("product.Color", "Region"), totals=True),
    Question(("product.line.Sector",)),
    Question(()),
    Question(("Product", "Day"), ("cents.SUM", "Priced", "Largest", "Least worth"), filter="not in s0", totals=True),
    Question(("Region",), newest_day=True),
    Question(("product.Color",), ("contributors.COUNT",), totals=True, newest_day=True),
    Question((), SUMS, newest_day=True),
    Question(("product.Line", "Region"), ("Largest", "Worth"), filter="north or nowhere", newest_day=True),
)
"""Live ones: each keeps a provider of its own."""
ASKED: tuple[Question, ...] = (
    *QUESTIONS,
    Question(("Day",), SUMS),
    Question(("desk.City",), SUMS, filter="north or nowhere"),
    Question(("desk.City", "Leg", "product.line.Sector"), totals=True, source="scan"),
    Question(("Region", "product.Color"), ("Largest", "cents.MEAN"), filter="not in s0", source="scan"),
)
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "Assortment": ("product.line.Sector", "product.Line", "product.Color"),
    "Region": ("Region",),
    "City": ("desk.City",),
}

DROPS: Mapping[str, tuple[str, Callable[[Mapping[str, ge.Table]], ge.Condition], Predicate]] = {
    "trades of the north": (
        "trades",
        lambda tables: tables["trades"]["Region"] == "N",
        lambda get: get("Region") == "N",
    ),
    "trades in red": (
        "trades",
        lambda tables: ge.field("product.Color") == "red",
        lambda get: get("product.Color") == "red",
    ),
    "trades not in s1 that cost": (
        "trades",
        lambda tables: ~(tables["lines"]["Sector"] == "s1") & (tables["trades"]["cents"] < 0),
        lambda get: get("product.line.Sector") != "s1" and get("cents") is not None and get("cents") < 0,
    ),
    "trades of some worth": (
        "trades",
        lambda tables: tables["trades"]["quantity"] * tables["products"]["price"] > 10,
        lambda get: (worth := product_of("quantity", "product.price")(get)) is not None and worth > 10,
    ),
    "products without a sector": (
        "products",
        lambda tables: ge.field("line.Sector").isnull(),
        lambda get: get("line.Sector") is None,
    ),
    "lines that weigh nothing": (
        "lines",
        lambda tables: tables["lines"]["weight"].isin([0, None]),
        lambda get: get("weight") in (0, None),
    ),
}

Operation = tuple[str, str, Any]
"""What to do (upsert, update, drop_keys, drop_where, truncate), to which table, with what.

Three more name rows by their places: revise updates and discard drops some that are there, restore upserts some as they
were before the transaction, with a change or without.
"""


class Market:
    """The engine's session and the oracle, moved together."""

    def __init__(self) -> None:
        self.session = ge.Session(backend="cpu")
        self.oracle = Oracle(RELATIONS)
        self._expected: dict[tuple[Question, int], Cells] = {}
        self.tables = {
            name: self.session.create_table(name, types, keys=RELATIONS[name].keys) for name, types in TYPES.items()
        }
        trades, products = self.tables["trades"], self.tables["products"]
        trades.join(products, on={"Product": "ProductId"}, name="product")
        products.join(self.tables["lines"], on={"Line": "LineId"}, name="line")
        trades.join(self.tables["desks"], on={"Desk": "DeskId"}, name="desk", optional=False)
        self.cube = self._cube("all")
        self.newest = self._cube("newest")
        self.newest.levels["Day"].order = "descending"
        self.newest.hierarchies["Day"].slicing = True
        self.cube.hierarchies["Assortment"] = [self.level(self.cube, path) for path in MEMBERS["Assortment"]]
        for path in ("Region", "Day"), ("Region", "desk.City"):
            self.cube.create_provider([self.level(self.cube, one) for one in path], SUMS)

    def _cube(self, name: str) -> ge.Cube:
        cube = self.session.create_cube(self.tables["trades"], name)
        trades, products, lines = self.tables["trades"], self.tables["products"], self.tables["lines"]
        worth = trades["quantity"] * products["price"]
        cube.measures["Worth"] = ge.agg.sum(worth)
        cube.measures["Weighted"] = ge.agg.sum(trades["cents"] * lines["weight"])
        cube.measures["Priced"] = ge.agg.count(products["price"])
        cube.measures["Largest"] = ge.agg.max(trades["cents"])
        cube.measures["Least worth"] = ge.agg.min(worth)
        return cube

    @staticmethod
    def level(cube: ge.Cube, path: str) -> Any:
        table, _, column = path.rpartition(".")
        return cube.levels[table.rpartition(".")[2] or "trades", column]

    # -- asking -----------------------------------------------------------------------------------------------------

    def arguments(self, question: Question) -> tuple[ge.Cube, dict[str, Any]]:
        cube = self.newest if question.newest_day else self.cube
        return cube, {
            "levels": [self.level(cube, path) for path in question.levels],
            "filter": None if question.filter is None else FILTERS[question.filter][0](cube),
            "totals": question.totals,
        }

    def ask(self, question: Question, epoch: int | None = None) -> Cells:
        cube, arguments = self.arguments(question)
        return cells_of(cube.query(*question.measures, **arguments, epoch=epoch, mode="arrow"), question)

    def explain(self, question: Question) -> ge.Explanation:
        cube, arguments = self.arguments(question)
        explanation = cube.query(*question.measures, **arguments, explain=True)
        assert isinstance(explanation, ge.Explanation)
        return explanation

    def expected(self, question: Question, epoch: int | None = None) -> Cells:
        epoch = self.oracle.epoch if epoch is None else epoch
        cells = self._expected.get((question, epoch))
        if cells is None:
            where = FILTERS[question.filter][1] if question.filter is not None else lambda get: True
            if question.newest_day:
                days = [get("Day") for get in self.oracle.readers("trades", epoch)]
                newest = max((day for day in days if day is not None), default=None)
                where = lambda get, plain=where: get("Day") == newest and plain(get)  # noqa: E731
            aggregates = [MEASURES[name] for name in question.measures]
            cells = self.oracle.cells("trades", question.levels, aggregates, where, question.totals, epoch)
            self._expected[question, epoch] = cells
        return cells

    # -- moving -----------------------------------------------------------------------------------------------------

    def plan(self, operations: Sequence[Operation]) -> tuple[Draft, list[Operation]]:
        """Apply operations to a draft of the oracle; return it, and the operations with the rows they mean."""
        draft, concrete = self.oracle.begin(), []
        for operation in operations:
            kind, table, what = _concrete(operation, draft, self.oracle.now)
            concrete.append((kind, table, what))
            if kind == "drop_where":
                draft.drop_where(table, DROPS[what][2])
            elif kind == "truncate":
                draft.truncate(table)
            else:
                getattr(draft, kind)(table, what)
        return draft, concrete

    def apply(self, operation: Operation) -> ge.CommitReport | None:
        """Apply one operation to the engine."""
        kind, name, what = operation
        table = self.tables[name]
        if kind == "upsert":
            return table.append(*what)
        if kind == "update":
            return table.update(what)
        if kind == "drop_keys":
            return table.drop(keys=what)
        if kind == "drop_where":
            return table.drop(DROPS[what][1](self.tables))
        return table.truncate()


def _concrete(operation: Operation, draft: Draft, before: Mapping[str, Rows]) -> Operation:
    kind, table, what = operation
    if kind not in ("restore", "revise", "discard"):
        return operation
    places, change = what
    rows = before[table] if kind == "restore" else draft.tables[table]
    keys = list(rows)
    chosen = [keys[place % len(keys)] for place in places] if keys else []
    if kind == "discard":
        return "drop_keys", table, chosen
    if kind == "restore":
        return "upsert", table, [{**rows[key], **change} for key in chosen]
    names = RELATIONS[table].keys
    updates = [{**dict(zip(names, key, strict=True)), **change} for key in chosen]
    return ("update", table, updates) if updates else ("drop_keys", table, [])


def cells_of(answer: pa.Table, question: Question) -> Cells:
    """Return an Arrow answer as the oracle gives it, refusing cells that come twice."""
    columns = [column.to_pylist() for column in answer.columns]
    width = len(question.levels)
    keys = list(zip(*columns[:width], strict=True)) if width else [()] * answer.num_rows
    values = list(zip(*columns[width : width + len(question.measures)], strict=True))
    if question.totals:
        keys = [(depth, *key) for depth, key in zip(columns[-1], keys, strict=True)]
    cells = dict(zip(keys, values, strict=True))
    assert len(cells) == answer.num_rows, f"cells come twice: {keys}"
    return cells


def same_report(report: ge.CommitReport, changes: Mapping[str, Changes]) -> bool:
    """Whether a commit report tells of the rows that the oracle saw move."""
    told = {name: Changes(one.added, one.updated, one.removed) for name, one in report.tables.items()}
    return told == dict(changes)
