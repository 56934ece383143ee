"""Random conditions over columns of every type, join paths and parameters, against plain Python; at every epoch."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpu_engine as ge
from tests.engine import row_oracle as oracle
from tests.engine.row_oracle import (
    FLOATS,
    KEYS,
    OPERATORS,
    PATHS,
    TYPES,
    VALUED,
    Both,
    Either,
    Given,
    InList,
    IsNull,
    Negation,
    Node,
    State,
    SumOfTwo,
    TwoColumns,
    WithValue,
)

TEXTS = ["", "a", "B", "ab", "é", "😀", "zz"]
NUMBERS: list[Any] = [0, 1, -1, 7, 2**53 + 1, -(2**63), 2**63 - 1, 2**70, 10**400, 0.0, -0.0, 0.1, 0.5, -2.5, 7.0]
NUMBERS += [2.0**53, 1e300, math.inf, -math.inf, math.nan, Decimal("0.07"), Decimal("0.075"), Decimal("7"), 0.07]
POOLS: Mapping[ge.DataType, list[Any]] = {
    ge.STRING: TEXTS,
    ge.BOOLEAN: [True, False],
    ge.INT: [-(2**31), -1, 0, 1, 7, 2**31 - 1],
    ge.LONG: [-(2**63), -(2**53) - 1, -1, 0, 1, 7, 2**53 + 1, 2**63 - 1],
    ge.FLOAT: [oracle.single(0.1), -0.0, 0.0, 0.5, -2.5, math.nan, math.inf, -math.inf],
    ge.DOUBLE: [0.1, -0.0, 0.0, 0.5, -2.5, 7.0, math.nan, math.inf, -math.inf, 2.0**53, 1e300],
    VALUED["money"]: [Decimal(text) for text in ("0.00", "0.07", "-0.07", "0.10", "7.00", "99999999.99")],
    VALUED["fine"]: [Decimal(text) for text in ("0.0000", "0.0700", "0.0750", "0.1000", "-99999999999999.9999")],
    ge.LOCAL_DATE: [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(9999, 12, 31)],
    ge.TIMESTAMP: [
        dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
        dt.datetime(2024, 2, 29),
        dt.datetime(2024, 3, 1, 1),
    ],
    VALUED["pair"]: [[0.0, 1.0], [-0.0, 1.0], [math.nan, 1.0], [2.0, math.inf], [2.0, -1.0]],
}
SCALARS = [path for path, kind in PATHS.items() if kind.width is None]
NUMERIC = [path for path in SCALARS if PATHS[path].numeric]
INTS = [path for path in SCALARS if PATHS[path] == ge.INT]


def values(kind: ge.DataType) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(POOLS[kind])


def row(table: str) -> st.SearchStrategy[dict[str, Any]]:
    columns = {name: values(kind) for name, kind in TYPES[table].items()}
    narrow = {"id": st.integers(0, 2), "leg": st.sampled_from(["x", ""]), "since": st.just(dt.date(2024, 1, 1))}
    narrow |= {"Item": st.sampled_from([None, "i0", "i1", "i2"]), "item": st.sampled_from(["i0", "i1"])}
    narrow |= {"Maker": st.sampled_from([None, 0, 1, 2]), "maker": st.integers(0, 1)}
    return st.fixed_dictionaries({name: narrow.get(name, column) for name, column in columns.items()})


Step = tuple[Any, ...]
"""("commit", which branch, table, rows), ("branch", which of the versions so far) or ("compact",)."""


def commits(table: str) -> st.SearchStrategy[Step]:
    return st.tuples(st.just("commit"), st.integers(0, 3), st.just(table), st.lists(row(table), min_size=1, max_size=6))


COMMITS = st.sampled_from(list(TYPES)).flatmap(commits)
STEPS = st.lists(
    COMMITS | COMMITS | COMMITS | st.tuples(st.just("branch"), st.integers(0, 9)) | st.just(("compact",)),
    min_size=1,
    max_size=8,
)


class Parameters:
    """Names for values that are given as parameters, each its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw, self._count = draw, 0

    def name(self) -> str | None:
        if not self._draw(st.booleans()):
            return None
        self._count += 1
        return f"p{self._count}"

    def given(self, value: Any) -> Given:
        return Given(value, self.name())


def comparable(kind: ge.DataType) -> st.SearchStrategy[Any]:
    return values(kind) | st.sampled_from(NUMBERS) if kind.numeric else values(kind)


@st.composite
def leaves(draw: st.DrawFn, parameters: Parameters) -> Node:
    kind = draw(st.sampled_from(["value", "value", "list", "null", "columns", "columns", "sum"]))
    op = draw(st.sampled_from(list(OPERATORS)))
    if kind == "null":
        return IsNull(draw(st.sampled_from(list(PATHS))))
    if kind == "sum":
        given_value = parameters.given(draw(st.none() | st.sampled_from(NUMBERS)))
        return SumOfTwo(draw(st.sampled_from(INTS)), draw(st.sampled_from(INTS)), op, given_value)
    path = draw(st.sampled_from(SCALARS))
    if kind == "columns":
        partners = NUMERIC if PATHS[path].numeric else [other for other in SCALARS if PATHS[other] == PATHS[path]]
        return TwoColumns(path, op, draw(st.sampled_from(partners)))
    if kind == "list":
        items = draw(st.lists(comparable(PATHS[path]), max_size=4))
        name = parameters.name()
        if name is not None:
            return InList(path, tuple(map(Given, items)), name)
        return InList(path, tuple(map(parameters.given, items)))
    return WithValue(path, op, parameters.given(draw(comparable(PATHS[path]))), op == "==" and draw(st.booleans()))


@st.composite
def conditions(draw: st.DrawFn) -> Node:
    parameters = Parameters(draw)
    node = draw(leaves(parameters))
    for step in draw(st.lists(st.sampled_from([Both, Either, Negation]), max_size=3)):
        node = Negation(node) if step is Negation else step(node, draw(leaves(parameters)))
    return node


FIELDS = st.lists(st.sampled_from(list(PATHS)), min_size=1, max_size=4, unique=True)


def rows_of(answer: pa.Table) -> list[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in answer.columns]
    return [tuple(map(oracle.identity, values)) for values in zip(*columns, strict=True)]


class Played:
    """A session and the oracle after the same steps, with a runner for each version."""

    def __init__(self, session: ge.Session, steps: Sequence[Step]) -> None:
        self.session = session
        self.tables = oracle.create_tables(session)
        self.heads: dict[str, State] = {"master": oracle.empty()}
        self.past: list[tuple[ge.QueryRunner, State]] = [(session.database.version(), oracle.empty())]
        self.keys: list[Any] = []
        for kind, *what in steps:
            getattr(self, kind)(*what)

    def commit(self, which: int, table: str, rows: list[dict[str, Any]]) -> None:
        branch = list(self.heads)[which % len(self.heads)]
        with self.session.start_transaction(branch=branch) as transaction:
            self.tables[table].append(*rows)
        self.heads[branch] = oracle.upserted(self.heads[branch], table, rows)
        if table == "facts":
            self.keys += [tuple(one[name] for name in KEYS["facts"]) for one in rows]
        assert transaction.report is not None
        self.past.append((self.session.database.version(branch, transaction.report.epoch), self.heads[branch]))

    def branch(self, which: int) -> None:
        runner, state = self.past[which % len(self.past)]
        name = f"b{len(self.heads)}"
        try:
            self.session.branches.create(name, from_branch=runner.branch, epoch=runner.epoch)
        except ge.errors.EpochNotRetainedError:
            return
        self.heads[name] = state
        self.past.append((self.session.database.version(name), state))

    def compact(self) -> None:
        self.session.compact()


patient = settings(suppress_health_check=list(HealthCheck))


@patient
@given(STEPS, st.lists(conditions(), min_size=1, max_size=6), FIELDS)
def test_rows_and_distinct_values_of_any_condition_at_any_epoch(
    steps: Sequence[Step], nodes: list[Node], fields: list[str]
) -> None:
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
        played = Played(session, steps)
        for node in nodes:
            values = node.values()
            listing = session.database.prepare.list("facts", fields, node.engine())
            listing_distinct = session.database.prepare.distinct("facts", fields, node.engine())
            assert set(listing.parameters) == set(values)
            for runner, state in played.past:
                expected = oracle.listed(state, fields, node)
                assert rows_of(listing.run(runner, **values)) == expected
                assert rows_of(listing.assign(**values).run(runner)) == expected
                assert rows_of(listing_distinct.run(runner, **values)) == oracle.distinct(state, fields, node)
                if not values:
                    assert rows_of(runner.list("facts", fields, node.engine())) == expected
                    some = runner.list(played.tables["facts"], fields, node.engine(), limit=2, offset=1)
                    assert rows_of(some) == expected[1:3]


@patient
@given(STEPS)
def test_statistics_and_keys_at_any_epoch(steps: Sequence[Step]) -> None:
    with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
        played = Played(session, steps)
        for runner, state in played.past:
            for table in TYPES:
                statistics = runner.statistics(table)
                assert (statistics.row_count, statistics.epoch) == (len(state[table]), runner.epoch)
                for column, found in statistics.columns.items():
                    told = oracle.Figures(found.cardinality, found.nulls, found.min, found.max)
                    assert told == oracle.figures(state, table, column), column
            keys, fields = [*played.keys, (99, "x", dt.date(2024, 1, 1))], [*KEYS["facts"], "made.maker.text", "pair"]
            found_rows = [runner.get("facts", key, fields) for key in keys]
            together = runner.get_many("facts", keys, fields).to_pylist()
            for key, one, other in zip(keys, found_rows, together, strict=True):
                held = state["facts"].get(key)
                if held is None:
                    assert one is None
                    assert set(other.values()) == {None}
                    continue
                get = oracle.reader(state, held)
                assert one is not None
                assert {name: oracle.identity(value) for name, value in one.items()} == {
                    name: oracle.identity(get(name)) for name in one
                }
                assert oracle.identity(list(other.values())) == oracle.identity(list(one.values()))


def test_pools_cover_every_type_and_its_floats_are_representable() -> None:
    assert set(POOLS) == set(VALUED.values())
    for kind in FLOATS:
        assert any(math.isnan(value) for value in POOLS[kind])
    assert all(oracle.is_nan(value) or oracle.single(value) == value for value in POOLS[ge.FLOAT])
