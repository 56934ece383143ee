"""An audit computes every provider anew from the rows: it finds nothing, and whatever was broken on purpose."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import defaultdict
from decimal import Decimal

import pyarrow as pa
import pytest

import gpu_engine as ge
from gpu_engine.cube.provider import AggregateProvider
from tests.engine.answers import DEADLINE

GROUPS = ("a", "b", None)
TYPES = {"k": ge.LONG, "g": ge.STRING, "x": ge.DOUBLE, "q": ge.LONG, "d": ge.DECIMAL(10, 2)}


@pytest.fixture
def table(session: ge.Session) -> ge.Table:
    return session.create_table("t", types=TYPES, keys=["k"])


@pytest.fixture
def cube(session: ge.Session, table: ge.Table) -> ge.Cube:
    cube = session.create_cube(table)
    cube.measures["most"] = ge.agg.max(table["x"] * table["q"])
    cube.measures["least"] = ge.agg.min(table["d"])
    return cube


def commit_at_random(table: ge.Table, chance: random.Random, commits: int) -> None:
    for _ in range(commits):
        cents = Decimal(chance.randrange(10_000)) / 100
        table.append(
            *((chance.randrange(40), chance.choice(GROUPS), chance.uniform(-1, 1), n, cents) for n in range(9))
        )
        table.drop(keys=[chance.randrange(40)])


def test_finds_nothing_wrong_with_any_provider(session: ge.Session, table: ge.Table, cube: ge.Cube) -> None:
    cube.create_provider(["g"], list(cube.measures))
    cube.create_provider([], ["x.SUM"])
    cube.create_provider(["k"], ["q.SUM"], filter=cube.levels["g"] == "a")
    live = cube.live("x.SUM", levels=["k", "g"])
    commit_at_random(table, random.Random(7), 60)
    report = session.reprocess()
    assert {audit.provider for audit in report.providers} == {"g", "grand total", "k", "k x g"}
    assert {(audit.epoch, audit.different_cells, audit.differences) for audit in report.providers} == {
        (session.epoch, 0, ())
    }
    keys = {(row["k"], row["g"]) for row in table.to_arrow().to_pylist()}
    groups, chosen = {g for _, g in keys}, [k for k, g in keys if g == "a"]
    assert report.cells == len(groups) + 1 + len(chosen) + len(keys)
    assert session.health().status == "ok"
    live.close()
    assert "k x g" not in {audit.provider for audit in session.reprocess().providers}


@pytest.mark.parametrize(
    ("block", "aggregate", "wrong"),
    [
        ("floats", "sum(x)", 1e-9),
        ("floats", "sum(x)", math.nan),
        ("floats", "max((x * q))", 1e-12),
        ("integers", "rows", 1),
        ("integers", "count(q)", -1),
        ("integers", "sum(q)", 1),
        ("integers", "sum(d)", 1),
        ("integers", "min(d)", 1),
    ],
)
def test_finds_a_number_that_was_broken(
    session: ge.Session, table: ge.Table, cube: ge.Cube, block: str, aggregate: str, wrong: float
) -> None:
    provider = cube.create_provider(["g"], list(cube.measures))
    commit_at_random(table, random.Random(11), 40)
    numbers = provider._cells.numbers
    primitive = next(one for one in numbers.layout.primitives if repr(one) == aggregate)
    (place,) = places_of(provider, ["b"])
    before = provider.backend.scalar(numbers[primitive][place])
    numbers[primitive][place] += wrong
    (audit,) = session.reprocess().providers
    assert (audit.provider, audit.different_cells) == ("g", 1)
    (difference,) = audit.differences
    assert (difference.cell, difference.aggregate) == ({"g": "b"}, aggregate)
    expected = truth(table, aggregate, "b")
    assert difference.recomputed == (pytest.approx(expected, abs=1e-12) if block == "floats" else expected)
    assert difference.held != difference.recomputed
    failure = session.health().failures[0]
    assert (failure.code, failure.component) == ("audit_difference", "providers of cube 't'")
    numbers[primitive][place] = before
    assert session.reprocess().different_cells == 0
    assert session.health().status == "ok"


def places_of(provider: AggregateProvider, groups: list[str]) -> list[int]:
    codes = provider.levels[0].column.dictionary.encode(pa.array(groups))
    return list(provider.backend.to_host(provider._cells.addressing.encode([codes])).tolist())


def truth(table: ge.Table, aggregate: str, group: str) -> float | int | Decimal:
    rows = [row for row in table.to_arrow().to_pylist() if row["g"] == group]
    return {
        "sum(x)": lambda: math.fsum(row["x"] for row in rows),
        "max((x * q))": lambda: max(row["x"] * row["q"] for row in rows),
        "rows": lambda: len(rows),
        "count(q)": lambda: len(rows),
        "sum(q)": lambda: sum(row["q"] for row in rows),
        "sum(d)": lambda: sum(row["d"] for row in rows),
        "min(d)": lambda: min(row["d"] for row in rows),
    }[aggregate]()


def test_finds_cells_that_are_missing_or_should_not_be_there(
    session: ge.Session, table: ge.Table, cube: ge.Cube
) -> None:
    provider = cube.create_provider(["g"], ["q.SUM"])
    table.append((1, "a", None, 10, None), (2, "b", None, 20, None), (3, "c", None, 30, None))
    table.drop(keys=[3])
    numbers = provider._cells.numbers
    lost, left = places_of(provider, ["b", "c"])
    numbers.integers[lost] = 0
    numbers.rows[left] = 5
    (audit,) = session.reprocess().providers
    assert (audit.cells, audit.different_cells) == (3, 2)
    told = {(one.cell["g"], one.aggregate): (one.held, one.recomputed) for one in audit.differences}
    assert told == {("b", "rows"): (0, 1), ("b", "count(q)"): (0, 1), ("b", "sum(q)"): (0, 20), ("c", "rows"): (5, 0)}


def test_tolerates_what_rounding_explains(session: ge.Session, table: ge.Table, cube: ge.Cube) -> None:
    cube.create_provider(["g"], ["x.SUM"])
    chance = random.Random(3)
    held = {}
    for _ in range(400):
        key, x = chance.randrange(30), chance.choice([0.1, -0.1, 1e6, -1e6]) * chance.random()
        held[key] = x
        table.append((key, "a", x, 0, None))
    (audit,) = session.reprocess().providers
    assert audit.different_cells == 0
    exact = math.fsum(held.values())
    assert 0 < audit.largest_drift < 1e-6
    assert cube.query("x.SUM", levels=["g"])["x.SUM"].item() == pytest.approx(exact, abs=1e-6)


def test_names_a_sum_that_lost_its_digits_to_a_value_that_is_gone(
    session: ge.Session, table: ge.Table, cube: ge.Cube
) -> None:
    cube.create_provider(["g"], ["x.SUM"])
    table.append((1, "a", 1e20, 0, None), (2, "a", 3.0, 0, None), (3, "b", 1.0, 0, None))
    table.drop(keys=[1])
    (audit,) = session.reprocess().providers
    (difference,) = audit.differences
    assert (difference.cell, difference.held, difference.recomputed) == ({"g": "a"}, 0.0, 3.0)
    assert difference.tolerance < 1e-12
    assert audit.largest_drift == 3.0


def test_compares_infinities_and_nan(session: ge.Session, table: ge.Table, cube: ge.Cube) -> None:
    cube.create_provider(["g"], list(cube.measures))
    table.append(
        (1, "a", math.inf, 1, None), (2, "b", math.nan, 1, None), (3, "c", 0.5, 1, None), (4, None, None, None, None)
    )
    assert session.reprocess().different_cells == 0
    table.drop(keys=[1, 2])
    assert session.reprocess().different_cells == 0


def test_goes_on_while_commits_do(session: ge.Session, table: ge.Table, cube: ge.Cube) -> None:
    cube.create_provider(["g"], list(cube.measures))
    cube.create_provider(["k"], ["x.SUM", "least"])
    commit_at_random(table, random.Random(1), 5)
    chance, errors = random.Random(2), []

    def commit(stop: threading.Event) -> None:
        while not stop.is_set():
            commit_at_random(table, chance, 1)

    writer = session.run_in_background("writer", commit)
    epochs = defaultdict(int)
    first = session.epoch
    end = time.monotonic() + DEADLINE
    while len(epochs) < 20 or session.epoch < first + 20:
        assert writer.alive and time.monotonic() < end, f"{len(epochs)} audits, {session.epoch - first} commits"
        report = session.reprocess()
        errors += [audit for audit in report.providers if audit.different_cells]
        epochs[report.providers[0].epoch] += 1
    writer.stop()
    assert not errors
    assert not session.health().failures


def test_reads_each_provider_on_its_branch(session: ge.Session, table: ge.Table, cube: ge.Cube) -> None:
    table.append((1, "a", 0.5, 1, None))
    cube.create_provider(["g"], ["q.SUM"])
    session.branches.create("what-if")
    cube.create_provider(["g"], ["q.SUM"], branch="what-if")
    with session.start_transaction(branch="what-if"):
        table.append((2, "b", 0.5, 2, None))
    found = {audit.branch: (audit.cells, audit.different_cells) for audit in session.reprocess().providers}
    assert found == {"master": (1, 0), "what-if": (2, 0)}
    session.branches.delete("what-if")
    assert [audit.branch for audit in session.reprocess().providers] == ["master"]
