"""Any order of commits, and every answer, every change and every past epoch equals a recompute from plain rows."""

from __future__ import annotations

import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.properties.actions import (
    FIRST_DESKS,
    operations,
    operations_on_one_table,
    random_transaction,
    rows_of,
)
from tests.properties.market import ASKED, QUESTIONS, TABLES, Operation, Question
from tests.properties.trial import WAYS, Trial

SCALE = settings.default.max_examples / 100
"""1 in CI; more where the profile asks for more examples."""

CIRCUMSTANCES: dict[str, dict[str, int]] = {
    "dense cells": {},
    "sparse cells": {"gpu_engine.cube.addressing.DENSE_CELLS": 1},
    "cells that turn from dense to sparse": {"gpu_engine.cube.addressing.DENSE_CELLS": 64},
    "sparse cells found by several threads": {
        "gpu_engine.cube.addressing.DENSE_CELLS": 1,
        "gpu_engine.backend.numpy_backend.NumpyBackend.chunk_rows": 4,
    },
    "small buffers": {
        "gpu_engine.backend.numpy_backend.NumpyBackend.chunk_rows": 4,
        "gpu_engine.storage.postings._TAIL": 2,
        "gpu_engine.storage.postings._RUNS": 2,
        "gpu_engine.storage.growable._SMALLEST": 1,
        "gpu_engine.cube.provider._STALE_ENTRIES": 0,
        "gpu_engine.expression.flat_rows._MANY": 1,
    },
    "few contenders for extremes": {
        "gpu_engine.cube.contenders.KEPT": 2,
        "gpu_engine.cube.contenders.WORTH_ROWS": 1,
    },
    "short histories": {"gpu_engine.cube.provider.HISTORY_BYTES": 1500, "gpu_engine.cube.live.MERGE_AFTER": 3},
}


class CubeEqualsRecompute(RuleBasedStateMachine):
    """Every rule moves engine and oracle alike; the invariant asks both."""

    all_kept = True

    def __init__(self) -> None:
        super().__init__()
        self.trial = Trial(all_kept=self.all_kept)

    def teardown(self) -> None:
        try:
            self.trial.finish()
        finally:
            self.trial.close()

    @initialize(trades=st.lists(rows_of("trades"), max_size=8), products=st.lists(rows_of("products"), max_size=3))
    def open(self, trades: list[dict[str, Any]], products: list[dict[str, Any]]) -> None:
        self.trial.commit([("upsert", "desks", FIRST_DESKS)])
        self.trial.commit([("upsert", "products", products), ("upsert", "trades", trades)])

    @rule(operation=operations())
    def commit_one(self, operation: Operation) -> None:
        self.trial.commit([operation])

    @rule(
        several=st.lists(operations(), min_size=2, max_size=6),
        nested=st.booleans(),
        fails=st.sampled_from([False, False, False, True]),
    )
    def commit_block(self, several: list[Operation], nested: bool, fails: bool) -> None:
        self.trial.commit(several, nested=nested, fails=fails)

    @rule(several=operations_on_one_table())
    def revise_one_table(self, several: list[Operation]) -> None:
        self.trial.commit(several)

    @rule(count=st.integers(1, 40))
    def grow(self, count: int) -> None:
        self.trial.grow(count)

    @rule(
        place=st.integers(0, WAYS * len(QUESTIONS) - 1),
        question=st.sampled_from(ASKED),
        table=st.sampled_from(TABLES),
        back=st.integers(1, 6),
    )
    def look(self, place: int, question: Question, table: str, back: int) -> None:
        self.trial.pull(place)
        self.trial.list_rows(table)
        self.trial.watch_for_a_moment(question)
        self.trial.ask_the_past(question, back)

    @invariant()
    def equals_a_recompute(self) -> None:
        self.trial.check()


class ForgetfulCubeEqualsRecompute(CubeEqualsRecompute):
    """The same where histories are short, so that subscribers who lag get snapshots and merged changes."""

    all_kept = False


@pytest.fixture(params=CIRCUMSTANCES)
def circumstance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the engine's limits such that all of its ways are taken."""
    for name, value in CIRCUMSTANCES[request.param].items():
        monkeypatch.setattr(name, value)
    return str(request.param)


def test_any_order_of_commits(circumstance: str) -> None:
    machine = ForgetfulCubeEqualsRecompute if circumstance == "short histories" else CubeEqualsRecompute
    examples = round(SCALE * (10 if circumstance == "dense cells" else 5))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25))


@pytest.mark.parametrize("seed", range(round(2 * SCALE)))
def test_long_histories(circumstance: str, seed: int) -> None:
    chance = random.Random(seed)
    trial = Trial(all_kept=circumstance != "short histories")
    try:
        trial.commit([("upsert", "desks", FIRST_DESKS)])
        for _ in range(100):
            trial.commit(random_transaction(chance), nested=chance.random() < 0.2, fails=chance.random() < 0.1)
            if chance.random() < 0.1:
                trial.grow(chance.randint(1, 12))
            if chance.random() < 0.2:
                trial.pull(chance.randrange(WAYS * len(QUESTIONS)))
                trial.ask_the_past(chance.choice(ASKED), chance.randint(1, 6))
                trial.watch_for_a_moment(chance.choice(ASKED))
                trial.list_rows(chance.choice(TABLES))
            trial.check()
    finally:
        trial.close()
