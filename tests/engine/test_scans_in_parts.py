"""Scans cut into parts that several workers take: the same cells as in one piece, whatever the levels."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.backend.numpy_backend import NumpyBackend

LEVELS = [[], ["desk"], ["day"], ["desk", "day"], ["serial", "desk"], ["serial", "day", "desk"]]
MEASURES = ("contributors.COUNT", "x.SUM", "x.MEAN", "x.MAX")

Facts = list[tuple[int, str | None, int, int, int | None]]


@pytest.fixture(params=[1, 2, 3, 7])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(NumpyBackend, "workers", request.param)
    monkeypatch.setattr(NumpyBackend, "chunk_rows", 16)
    return int(request.param)


@pytest.fixture
def facts(session: ge.Session, workers: int) -> Facts:
    """400 rows of which a tenth is gone, in a cube over them."""
    draw = random.Random(workers)
    rows: Facts = [
        (id, draw.choice(["a", "b", None]), draw.randrange(5), id // 3, draw.choice([None, draw.randrange(-99, 99)]))
        for id in range(400)
    ]
    types = {"id": ge.LONG, "desk": ge.STRING, "day": ge.INT, "serial": ge.LONG, "x": ge.LONG}
    table = session.create_table("facts", types, keys=["id"])
    table.append(*rows)
    table.drop(keys=list(range(0, 400, 10)))
    cube = session.create_cube(table, mode="manual")
    for level in ("desk", "day", "serial"):
        cube.hierarchies[level] = [table[level]]
    for function in ("sum", "mean", "max"):
        cube.measures[f"x.{function.upper()}"] = getattr(ge.agg, function)(table["x"])
    return [row for row in rows if row[0] % 10]


def expected(facts: Facts, levels: list[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    groups: dict[tuple[Any, ...], list[int | None]] = defaultdict(list)
    if not levels:
        groups[()] = []
    for _, desk, day, serial, x in facts:
        members = {"desk": desk, "day": day, "serial": serial}
        groups[tuple(members[level] for level in levels)].append(x)
    answer = {}
    for key, values in groups.items():
        known = [value for value in values if value is not None]
        mean, most = (sum(known) / len(known), max(known)) if known else (None, None)
        answer[key] = (len(values), sum(known), mean, most)
    return answer


def answer(session: ge.Session, levels: list[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    table = session.cubes["facts"].query(*MEASURES, levels=levels, mode="arrow")
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {row[: len(levels)]: row[len(levels) :] for row in rows}


@pytest.mark.parametrize("levels", LEVELS, ids=" x ".join)
def test_a_scan_gives_the_cells(session: ge.Session, facts: Facts, levels: list[str]) -> None:
    assert answer(session, levels) == expected(facts, levels)


@pytest.mark.parametrize("levels", LEVELS, ids=" x ".join)
def test_a_provider_made_by_it_finds_extremes_again(session: ge.Session, facts: Facts, levels: list[str]) -> None:
    session.cubes["facts"].create_provider(levels, MEASURES)
    ranked = sorted(facts, key=lambda fact: -999 if fact[4] is None else fact[4])
    while len(ranked) > 20:
        gone, ranked = ranked[-60:], ranked[:-60]
        session.tables["facts"].drop(keys=[fact[0] for fact in gone])
        assert session.cubes["facts"].query(*MEASURES, levels=levels, explain=True).source == "provider"
        assert answer(session, levels) == expected(ranked, levels)


def test_cells_that_are_many_and_turn_sparse(
    session: ge.Session, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_engine.cube.addressing.DENSE_CELLS", 8)
    for levels in LEVELS:
        assert answer(session, levels) == expected(facts, levels)


def test_a_failing_part_fails_the_whole() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    backend, ended = NumpyBackend(), []
    with pytest.raises(ZeroDivisionError):
        backend.in_parallel([lambda: ended.append(1), fail, lambda: ended.append(2)])
    assert sorted(ended) == [1, 2]
    assert backend.in_parallel([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
