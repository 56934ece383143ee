"""Sums of floats stay within a tolerance of a recompute, and NaN and infinities leave no trace once their rows go."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import gpu_engine as ge
from tests.oracle import Aggregate, Cells, Get, Oracle, Relation

TOLERANCE = 1e-5
"""For sums of some dozens of values below 10^8, after some dozens of commits."""

NUMBERS = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([None, 0.0, -0.0, 0.1, 1e-300, math.nan, math.inf, -math.inf]),
)
ROWS = st.fixed_dictionaries(
    {
        "k": st.integers(0, 7),
        "g": st.sampled_from(["a", "b", None]),
        "x": NUMBERS,
        "y": st.sampled_from([None, -3.5, 0.0, 100.0]),
    }
)
KEYS = st.lists(st.integers(0, 7), min_size=1, max_size=4)


def times(get: Get) -> Any:
    x, y = get("x"), get("y")
    return None if x is None or y is None else x * y


MEASURES = {
    "contributors.COUNT": Aggregate("rows"),
    "n": Aggregate("count", lambda get: get("x")),
    "x.SUM": Aggregate("sum", lambda get: get("x")),
    "x.MEAN": Aggregate("mean", lambda get: get("x")),
    "least": Aggregate("min", lambda get: get("x")),
    "most": Aggregate("max", times),
    "xy": Aggregate("sum", times),
}
SUMS = {name: MEASURES[name] for name in ("contributors.COUNT", "x.SUM", "x.MEAN", "xy")}


class FloatsEqualRecompute(RuleBasedStateMachine):
    """Cells by one level and the grand total, both kept by providers and both live."""

    measures = MEASURES

    def __init__(self) -> None:
        super().__init__()
        self.session = ge.Session(backend="cpu")
        self.oracle = Oracle({"t": Relation(("k", "g", "x", "y"), ("k",))})
        types = {"k": ge.LONG, "g": ge.STRING, "x": ge.DOUBLE, "y": ge.DOUBLE}
        self.table = self.session.create_table("t", types, keys=["k"])
        self.cube = self.session.create_cube(self.table)
        self.cube.measures["n"] = ge.agg.count(self.table["x"])
        self.cube.measures["least"] = ge.agg.min(self.table["x"])
        self.cube.measures["most"] = ge.agg.max(self.table["x"] * self.table["y"])
        self.cube.measures["xy"] = ge.agg.sum(self.table["x"] * self.table["y"])

    def teardown(self) -> None:
        self.session.close()

    @initialize(rows=st.lists(ROWS, max_size=4))
    def open(self, rows: list[dict[str, Any]]) -> None:
        self.upsert(rows)
        self.lives = {levels: self.cube.live(*self.measures, levels=levels) for levels in (("g",), ())}
        self.folded: dict[tuple[str, ...], Cells] = {levels: {} for levels in self.lives}
        self.at: dict[tuple[str, ...], int | None] = dict.fromkeys(self.lives)

    @rule(rows=st.lists(ROWS, min_size=1, max_size=4))
    def upsert(self, rows: list[dict[str, Any]]) -> None:
        draft = self.oracle.begin()
        draft.upsert("t", rows)
        self.oracle.states.append(draft.tables)
        self.table.append(*rows)

    @rule(keys=KEYS)
    def drop(self, keys: list[int]) -> None:
        draft = self.oracle.begin()
        draft.drop_keys("t", [(key,) for key in keys])
        self.oracle.states.append(draft.tables)
        self.table.drop(keys=keys)

    @rule(levels=st.sampled_from([("g",), ()]))
    def pull(self, levels: tuple[str, ...]) -> None:
        changes, self.at[levels] = self.lives[levels].changes_since(self.at[levels])
        folded = self.folded[levels]
        for change in changes:
            changed, before = cells_of(change.changed, levels), cells_of(change.changed_from, levels)
            for cell, values in before.items():
                assert alike(folded[cell], values, exactly=True)
                assert not alike(changed[cell], values, exactly=True)
            for cell in cells_of(change.removed, levels):
                del folded[cell]
            folded.update({**cells_of(change.added, levels), **changed})
        result = cells_of(self.lives[levels].result(mode="arrow"), levels)
        assert folded.keys() == result.keys()
        assert all(alike(folded[cell], result[cell], exactly=True) for cell in result)

    @invariant()
    def equals_a_recompute(self) -> None:
        for levels in ("g",), ():
            expected = self.oracle.cells("t", levels, list(self.measures.values()))
            answer = self.cube.query(*self.measures, levels=levels, mode="arrow")
            cells = cells_of(answer, levels)
            assert cells.keys() == expected.keys()
            for cell, values in expected.items():
                assert alike(cells[cell], values), (cell, cells[cell], values)
            assert self.cube.query(*self.measures, levels=levels, explain=True).source == "provider"


class SumsEqualRecompute(FloatsEqualRecompute):
    """Providers without minima and maxima know the rows of a cell only once they have to read them again."""

    measures = SUMS


def cells_of(answer: Any, levels: tuple[str, ...]) -> Cells:
    columns = [column.to_pylist() for column in answer.columns]
    keys = columns[0] if levels else [None] * answer.num_rows
    return {(key,) if levels else (): values for key, *values in zip(keys, *columns[len(levels) :], strict=True)}


def alike(left: Any, right: Any, *, exactly: bool = False) -> bool:
    """Whether two lists of numbers are the same: NaN is NaN, null is null, finite ones within the tolerance."""
    for ours, theirs in zip(left, right, strict=True):
        if ours is None or theirs is None or math.isnan(ours) or math.isnan(theirs):
            same = ours is theirs or (ours is not None and theirs is not None and ours != ours and theirs != theirs)
        elif exactly or math.isinf(ours) or math.isinf(theirs):
            same = ours == theirs
        else:
            same = abs(ours - theirs) <= TOLERANCE
        if not same:
            return False
    return True


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("machine", [FloatsEqualRecompute, SumsEqualRecompute])
def test_floats_equal_a_recompute(machine: type[FloatsEqualRecompute]) -> None:
    examples = round(settings.default.max_examples * 0.5)
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20))
